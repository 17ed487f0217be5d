//! `apron launch DIR`: from a description to a running container, in one thread, then into the shim.
//! `apron launch-ahead`: the same, of a directory that it is told later.
//!
//! Order matters. The cgroups first, because everything after is inherited; then the mounts, in a mount
//! namespace of its own; then libcontainer, which makes the container's init a child of this process; then
//! the program's execve, whose failure is still this process's to tell; and last the shim's, after which
//! this process's pid is the shim's.

use crate::local::container::ahead;
use crate::local::container::alive::Process;
use crate::local::container::cgroup::{CgroupError, Cgroups};
use crate::local::container::launch::{ERRORS, Launch, LaunchError, Step};
use crate::local::container::mounts::{self, MountError};
use crate::local::container::program::Program;
use crate::local::container::rootfs::{self, RootfsError, User};
use crate::local::container::seccomp::Filters;
use crate::local::instance::shim;
use apron_images::tree;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout};
use serde_json::json;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::Path;

/// Open files of an application, as on Fargate.
const OPEN_FILES_MAX: u64 = 65_535;
/// What a container whose environment has no PATH is given, as other engines do.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Rights within the container's own user namespace. Less than other engines give by default: no device nodes,
/// no raw sockets, no audit log.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// Tells of the host or reaches into it, although the kernel also guards most of it by user namespace.
const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/bpf",
];
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// The shim must outlive its application when memory runs out: it tells the node why.
const SHIM_OOM_SCORE: &str = "-900";

/// The kernel takes no longer path.
const DIRECTORY_BYTES_MAX: u64 = libc::PATH_MAX as u64;

static SHIM: &[u8] = include_bytes!(env!("APRON_SHIM"));

/// Runs `apron launch DIR`. Call it before any thread exists. Standard output is the pipe that tells how far
/// it came.
pub fn launch_main(dir: &Path) -> ! {
    let Ok(mut status) = take_status() else { std::process::exit(2) };
    let launched = prepare().and_then(|cgroups| launch(dir, &cgroups, false, &mut status));
    fail(launched, status)
}

/// Runs `apron launch-ahead`: what `launch_main` does, of the directory that comes over standard input. Whoever started
/// this process has moved it to the cgroup of the shims by then.
pub fn launch_ahead_main() -> ! {
    let order = io::stdin().as_fd().try_clone_to_owned();
    let (Ok(order), Ok(mut status)) = (order, take_status()) else { std::process::exit(2) };
    let _ = nix::sys::prctl::set_name(ahead::NAME);
    // Without a word: the launch is then another process's, which can say what it is about.
    let Ok(cgroups) = prepare() else { std::process::exit(1) };
    let mut dir = Vec::new();
    let read = File::from(order).take(DIRECTORY_BYTES_MAX).read_to_end(&mut dir);
    // Whoever could tell it one has gone.
    if read.is_err() || dir.is_empty() {
        std::process::exit(0);
    }
    let dir = Path::new(OsStr::from_bytes(&dir));
    let launched = keep_errors(dir).and_then(|()| launch(dir, &cgroups, true, &mut status));
    fail(launched, status)
}

enum Never {}

fn fail(launched: Result<Never, LaunchError>, mut status: File) -> ! {
    let error = match launched {
        Ok(never) => match never {},
        Err(error) => error,
    };
    // Whoever listens may be gone; there is nobody else to tell.
    let _ = status.write_all(Step::Failed(error).line().as_bytes());
    std::process::exit(1)
}

/// What a launch does whatever its container is.
fn prepare() -> Result<Cgroups, LaunchError> {
    nix::unistd::setsid().map_err(failed("begin a session"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    limit_resources()?;
    Cgroups::detect().map_err(cgroup_error)
}

/// `is_among_shims`: this process is in their cgroup already.
fn launch(
    dir: &Path,
    cgroups: &Cgroups,
    is_among_shims: bool,
    status: &mut File,
) -> Result<Never, LaunchError> {
    let launch = read_launch(dir)?;
    let directory = File::open(dir).map_err(failed("open the instance's directory"))?;
    lock(&directory, &launch.id)?;
    cgroups.create(&launch.cgroup, &launch.limits).map_err(cgroup_error)?;
    // Where this machine's own CPU is limited there may not be as much: version 1 refuses what is above its parent.
    if launch.boost > 1 {
        let _ = cgroups.unthrottle(&launch.cgroup, &launch.limits.boosted(launch.boost));
    }
    if !is_among_shims {
        cgroups.join(&launch.shim_cgroup, std::process::id() as i32).map_err(failed("join the shims"))?;
    }
    let out_of_memory = File::open(cgroups.out_of_memory_file(&launch.cgroup))
        .map_err(failed("watch the container's memory"))?;
    let log = shim::resume(dir).map_err(failed("go on with the output"))?;

    let host = mount_all(dir, &launch, cgroups)?;
    say(status, Step::Mounted);
    let stage = dir.join(STAGE);
    let user = prepare_root(&stage, &launch)?;
    let program = Program::new(&launch.argv, &environment(&launch, &user))
        .map_err(|reason| LaunchError::Permanent(format!("the start command cannot be run: {reason}")))?;
    let filters = Filters::compile().map_err(failed("confine the container"))?;
    mounts::enter_stage(&stage).map_err(mount_error)?;
    write_specification(&launch, &user)?;

    let (output, output_in) = pipe("the output")?;
    // After the container's end the shim reads what is left and must not wait for more: somebody else may hold the
    // other end.
    nix::fcntl::fcntl(&output, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(failed("read the output"))?;
    let (mut executed, executed_in) = pipe("the program's start")?;
    let null = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    let output_err = output_in.try_clone().map_err(failed("share the output"))?;
    let executor = program.executor(filters, executed_in.as_raw_fd());
    let mut container = ContainerBuilder::new(launch.id.clone(), SyscallType::default())
        .with_executor(executor)
        .with_root_path("/state")
        .map_err(failed("create the container"))?
        .with_stdin(null)
        .with_stdout(output_in)
        .with_stderr(output_err)
        .as_init("/bundle")
        .with_systemd(false)
        .build()
        .map_err(failed("create the container"))?;
    drop(executed_in);
    let pid = container.pid().ok_or_else(|| LaunchError::Transient("the container has no pid".into()))?;
    let started_at_ms = wall_time_ms();
    container.start().map_err(failed("start the container"))?;

    // The pipe closes when the program is executed; before that the reason comes why it is not.
    let mut reason = String::new();
    (&mut executed).take(16 * 1024).read_to_string(&mut reason).map_err(failed("learn of the start"))?;
    if let Some((word, sentence)) = reason.split_once(' ') {
        let sentence = sentence.to_owned();
        return Err(match word {
            "permanent" => LaunchError::Permanent(sentence),
            _ => LaunchError::Transient(sentence),
        });
    }
    say(status, Step::Executed);
    drop(executed);

    mounts::return_to_host(&host).map_err(mount_error)?;
    let init = Process::read(pid.as_raw());
    let own = Process::read(std::process::id() as i32);
    let start_time = |process: Option<Process>| process.map_or(0, |process| process.start_time);
    let mut arguments = vec![
        format!("pid={}", pid.as_raw()),
        format!("start_time={}", start_time(init)),
        format!("shim_start_time={}", start_time(own)),
        format!("started_at_ms={started_at_ms}"),
        format!("log_start={}", log.start),
        format!("log_length={}", log.length),
    ];
    arguments.extend(log.previous.map(|previous| format!("log_previous={previous}")));
    arguments.push(format!("id={}", launch.id));
    become_shim(&arguments, [directory.into(), output.into(), dup(status)?, out_of_memory.into()])
}

/// Where the mounts of a launch are made, below the instance's directory.
const STAGE: &str = "stage";

fn read_launch(dir: &Path) -> Result<Launch, LaunchError> {
    let path = dir.join("launch.json");
    let text = fs::read(&path).map_err(failed("read launch.json"))?;
    serde_json::from_slice(&text).map_err(failed("read launch.json"))
}

/// Held by this process and then by the shim, as long as its descriptor is open: one directory never has two.
fn lock(directory: &File, id: &str) -> Result<(), LaunchError> {
    // SAFETY: no pointers.
    if unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => {
            Err(LaunchError::Transient(format!("{id} is being started, or runs, already")))
        }
        error => Err(failed("lock the instance's directory")(error)),
    }
}

fn cgroup_error(error: CgroupError) -> LaunchError {
    match error {
        CgroupError::Unusable(_) => LaunchError::Permanent(error.to_string()),
        other => failed("limit the container")(other),
    }
}

/// What the kernel or the file system cannot do today it cannot do in a minute, unless it lacks room.
fn mount_error(error: MountError) -> LaunchError {
    let passes = |source: &io::Error| {
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory
        )
    };
    match error {
        MountError::IdMapping { ref source, .. } | MountError::Overlay { ref source } if passes(source) => {
            failed("prepare mounts")(error)
        }
        MountError::IdMapping { .. } | MountError::Overlay { .. } | MountError::TooManyLayers(_) => {
            LaunchError::Permanent(error.to_string())
        }
        other => failed("prepare mounts")(other),
    }
}

/// Standard output is the status pipe at first, and must be nobody's later on.
fn take_status() -> io::Result<File> {
    let status = io::stdout().as_fd().try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(File::from(status))
}

/// Standard error is nobody's until there is a directory.
fn keep_errors(dir: &Path) -> Result<(), LaunchError> {
    let action = "keep what the launch says";
    let errors = File::create(dir.join(ERRORS)).map_err(failed(action))?;
    dup2_stderr(&errors).map_err(failed(action))
}

/// Inherited by the container, which cannot raise them.
fn limit_resources() -> Result<(), LaunchError> {
    // A host may itself be limited to less.
    let (_, host_max) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed("limit open files"))?;
    let open_files = match setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES_MAX, OPEN_FILES_MAX) {
        Err(nix::Error::EPERM) => setrlimit(Resource::RLIMIT_NOFILE, host_max, host_max),
        other => other,
    };
    open_files.map_err(failed("limit open files"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed("limit core dumps"))
}

/// Makes every mount; the answer leads back to the host's mount namespace.
fn mount_all(dir: &Path, launch: &Launch, cgroups: &Cgroups) -> Result<OwnedFd, LaunchError> {
    let prepare = "prepare mounts";
    let stage = dir.join(STAGE);
    let root = launch.pair.first_id;
    let earlier = "remove what an earlier start wrote";
    tree::remove(&dir.join(mounts::WORK)).map_err(failed(earlier))?;
    if !launch.keep_upper {
        tree::remove(&dir.join(mounts::UPPER)).map_err(failed(earlier))?;
    }
    for name in [mounts::UPPER, mounts::WORK, STAGE] {
        match fs::create_dir(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(prepare)(error)),
            _ => {}
        }
    }
    for name in [mounts::UPPER, mounts::WORK] {
        chown(dir.join(name), Some(root), Some(root)).map_err(failed(prepare))?;
    }

    let user_namespace = mounts::open_namespace(&launch.pair.user()).map_err(mount_error)?;
    // Opened while the host's mounts are this process's own: a source may be a descriptor of the node's.
    let sources: Vec<OwnedFd> = launch
        .mounts
        .iter()
        .map(|host_mount| mounts::open_source(&host_mount.source).map_err(mount_error))
        .collect::<Result<_, _>>()?;
    let host = mounts::leave_host().map_err(mount_error)?;
    mounts::stage(&stage).map_err(mount_error)?;
    mounts::hold_namespace(&launch.pair.user(), &stage.join("user")).map_err(mount_error)?;
    mounts::hold_namespace(&launch.pair.net(), &stage.join("net")).map_err(mount_error)?;
    mounts::show_cgroup(&stage, &cgroups.shown(&launch.cgroup)).map_err(mount_error)?;
    mounts::overlay(&stage, &launch.layers, dir, user_namespace.as_fd()).map_err(mount_error)?;
    for (index, (host_mount, source)) in launch.mounts.iter().zip(sources).enumerate() {
        let target = stage.join("mounts").join(index.to_string());
        let source = File::from(source);
        let is_directory = source.metadata().map_err(failed(prepare))?.is_dir();
        if is_directory { fs::create_dir(&target) } else { fs::write(&target, "") }
            .map_err(failed(prepare))?;
        let user_namespace = user_namespace.as_fd();
        mounts::mount_mapped(
            &source.into(),
            &host_mount.source,
            &target,
            user_namespace,
            host_mount.read_only,
        )
        .map_err(mount_error)?;
    }
    for (index, file) in launch.files.iter().enumerate() {
        let path = stage.join("files").join(index.to_string());
        fs::write(&path, &file.content).map_err(failed(prepare))?;
        chown(&path, Some(root), Some(root)).map_err(failed(prepare))?;
    }
    Ok(host)
}

/// Finds the user in the image and makes the working directory.
fn prepare_root(stage: &Path, launch: &Launch) -> Result<User, LaunchError> {
    let root = mounts::open_directory(&stage.join("rootfs")).map_err(mount_error)?;
    let user = rootfs::user(root.as_fd(), &launch.user).map_err(image_error)?;
    let owner =
        (Uid::from_raw(launch.pair.first_id + user.uid), Gid::from_raw(launch.pair.first_id + user.gid));
    rootfs::make_directory(root.as_fd(), Path::new(&launch.cwd), owner).map_err(image_error)?;
    Ok(user)
}

fn image_error(error: RootfsError) -> LaunchError {
    match &error {
        RootfsError::Io { source, .. } if source.kind() != io::ErrorKind::NotADirectory => {
            LaunchError::Transient(error.to_string())
        }
        _ => LaunchError::Permanent(error.to_string()),
    }
}

fn environment(launch: &Launch, user: &User) -> Vec<(String, String)> {
    let mut env = launch.env.clone();
    env.entry("PATH".to_owned()).or_insert_with(|| PATH_DEFAULT.to_owned());
    env.entry("HOME".to_owned()).or_insert_with(|| user.home.clone());
    env.into_iter().collect()
}

/// The container as libcontainer takes it. What the program is told is not in it: our executor has that.
fn write_specification(launch: &Launch, user: &User) -> Result<(), LaunchError> {
    let failed = failed("describe the container");
    let cwd = if launch.cwd.is_empty() { "/" } else { launch.cwd.as_str() };
    let bind = |source: String, target: &str, read_only: bool| {
        let mut options = vec!["bind", "nosuid", "nodev"];
        options.extend(read_only.then_some("ro"));
        json!({"destination": target, "type": "bind", "source": source, "options": options})
    };
    let mut all_mounts = vec![
        kernel_mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        kernel_mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        kernel_mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        kernel_mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        kernel_mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        kernel_mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        kernel_mount("/sys/fs/cgroup", "bind", "/cgroup", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
    ];
    for (index, file) in launch.files.iter().enumerate() {
        all_mounts.push(bind(format!("/files/{index}"), &file.target, true));
    }
    for (index, host_mount) in launch.mounts.iter().enumerate() {
        all_mounts.push(bind(format!("/mounts/{index}"), &host_mount.target, host_mount.read_only));
    }
    let ids = json!([{"containerID": 0, "hostID": launch.pair.first_id, "size": crate::local::container::pair::IDS}]);
    let specification = json!({
        "ociVersion": "1.0.2",
        "hostname": launch.hostname,
        "root": {"path": "/rootfs", "readonly": false},
        "process": {
            "terminal": false,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": launch.argv,
            "env": [],
            "cwd": cwd,
            "noNewPrivileges": true,
            "oomScoreAdj": launch.oom_score_adj,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
                "inheritable": [], "ambient": [],
            },
        },
        "mounts": all_mounts,
        "linux": {
            "cgroupsPath": launch.cgroup,
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"},
                {"type": "user", "path": "/user"}, {"type": "network", "path": "/net"},
            ],
            "uidMappings": ids,
            "gidMappings": ids,
            "rootfsPropagation": "private",
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READ_ONLY_PATHS,
            // A user other than root may listen on port 80: the network is the container's own.
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
        },
    });
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open("/bundle/config.json")
        .map_err(&failed)?;
    file.write_all(specification.to_string().as_bytes()).map_err(failed)
}

fn kernel_mount(target: &str, kind: &str, source: &str, options: &[&str]) -> serde_json::Value {
    json!({"destination": target, "type": kind, "source": source, "options": options})
}

/// Replaces this program by the shim; the descriptors are the ones the shim documents, in order.
fn become_shim(arguments: &[String], descriptors: [OwnedFd; 4]) -> Result<Never, LaunchError> {
    let failed_to = "run the shim";
    let program = sealed_memory(SHIM).map_err(failed(failed_to))?;
    // Refused without CAP_SYS_RESOURCE, which some hosts keep to themselves; then the shim takes its chances.
    let _ = fs::write("/proc/self/oom_score_adj", SHIM_OOM_SCORE);
    nix::unistd::chdir("/").map_err(failed(failed_to))?;
    // What a terminal, a service manager or a reader that went away would send.
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGTERM,
        libc::SIGALRM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ] {
        // SAFETY: ignoring needs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let null = File::options().write(true).open("/dev/null").map_err(failed(failed_to))?;
    dup2_stderr(&null).map_err(failed(failed_to))?;

    let mut argv = vec![CString::from(c"apron-shim")];
    for argument in arguments {
        argv.push(CString::new(argument.as_str()).map_err(failed(failed_to))?);
    }
    // First out of the way of the numbers they are going to have.
    let mut above = Vec::new();
    for descriptor in descriptors.iter().chain([&program]) {
        let moved = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(16))
            .map_err(failed(failed_to))?;
        above.push(moved);
    }
    let program = above.remove(4);
    for (moved, wanted) in above.iter().zip([
        apron_shim::fd::DIRECTORY,
        apron_shim::fd::OUTPUT,
        apron_shim::fd::STATUS,
        apron_shim::fd::OUT_OF_MEMORY,
    ]) {
        // SAFETY: whoever owned the wanted number in this program is not used any more; the copy survives execve.
        if unsafe { libc::dup2(*moved, wanted) } < 0 {
            return Err(failed(failed_to)(io::Error::last_os_error()));
        }
    }
    // SAFETY: no memory is involved; all of the higher ones close at execve.
    unsafe {
        libc::syscall(libc::SYS_close_range, 7, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    let mut pointers: Vec<*const libc::c_char> = argv.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let no_environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both lists end with a null pointer and their texts with a zero byte.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program,
            c"".as_ptr(),
            pointers.as_ptr(),
            no_environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err(failed(failed_to)(io::Error::last_os_error()))
}

/// A program in memory that nobody can change any more.
fn sealed_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a zero byte.
    let fd =
        unsafe { libc::memfd_create(c"apron-shim".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave it to us.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointers.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}

fn pipe(what: &'static str) -> Result<(File, OwnedFd), LaunchError> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed(what))?;
    Ok((File::from(read), write))
}

fn dup(status: &File) -> Result<OwnedFd, LaunchError> {
    status.try_clone().map(OwnedFd::from).map_err(failed("keep the status pipe"))
}

/// A node that died meanwhile hears nothing; the next one finds the container by its state.
fn say(status: &mut File, step: Step) {
    let _ = status.write_all(step.line().as_bytes());
}

fn wall_time_ms() -> u64 {
    apron_shim::sys::wall_time_ms()
}

/// Turns an error below into a sentence with all its causes. Unless somebody knows better, another try may help.
fn failed<E: std::error::Error>(action: &'static str) -> impl Fn(E) -> LaunchError {
    move |error| crate::local::container::launch::transient(action, error)
}
