//! Containers born for real: namespaces, mounts, limits, seccomp, the shim. Needs root.

#[path = "launch/ahead.rs"]
mod ahead;
#[path = "support/libraries.rs"]
mod libraries;
#[path = "support/sweep.rs"]
mod sweep;

use apron_compute::local::container::alive::{self, Alive, Found};
use apron_compute::local::container::cgroup::{Cgroups, Limits};
use apron_compute::local::container::launch::{ExtraFile, HostMount, Launch, LaunchError, Launcher, Spawned};
use apron_compute::local::container::pair::{Pair, PairConfig, Pairs};
use apron_compute::local::instance::shim::{self, State, StateExit};
use libraries::copy_libraries;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Everything of one test, gone at its end whatever happened.
struct World {
    root: PathBuf,
    pair: Pair,
    pairs: Pairs,
    /// Below it this test's cgroups are.
    cgroup: String,
    cgroups: Cgroups,
}

impl World {
    fn new() -> World {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep::sweep("launch");
        let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let platform = pid % 0x10000 * 0x100 + next;
        let name = format!("launch-{pid}-{next}");
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(&name);
        fs::create_dir_all(&root).unwrap();
        // The containers' users must get in without help from the directories above.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        make_layer(&root.join("layer"));
        let dir = root.join("pairs");
        let pairs = Pairs::open(PairConfig { dir, ready: 0, platform: format!("{platform:08x}") }).unwrap();
        let pair = pairs.take().unwrap();
        let cgroup = format!("/apron-test-{name}");
        World { root, pair, pairs, cgroup, cgroups: Cgroups::detect().unwrap() }
    }

    fn dir(&self) -> PathBuf {
        self.root.join("instance")
    }

    fn launch(&self, argv: &[&str]) -> Launch {
        Launch {
            id: "one".into(),
            pair: self.pair.clone(),
            layers: vec![self.root.join("layer")],
            keep_upper: false,
            argv: argv.iter().map(|word| word.to_string()).collect(),
            env: BTreeMap::from([("NAME".into(), "value".into())]),
            cwd: "/made/here".into(),
            user: String::new(),
            hostname: "inside".into(),
            oom_score_adj: 0,
            limits: Limits { cpu_units: 1024, memory_bytes: 256 << 20, pids: 64 },
            boost: 1,
            files: vec![ExtraFile { target: "/etc/extra".into(), content: "from outside".into() }],
            mounts: Vec::new(),
            cgroup: format!("{}/one", self.cgroup),
            shim_cgroup: format!("{}/shims", self.cgroup),
        }
    }

    fn spawn(&self, launch: &Launch) -> Result<Spawned, LaunchError> {
        launcher().spawn(&self.dir(), launch)
    }

    fn run(&self, argv: &[&str]) -> Alive {
        self.spawn(&self.launch(argv)).unwrap().alive
    }

    fn lines(&self) -> Vec<String> {
        let output = shim::read_output(&self.dir(), 0).unwrap();
        output.lines.into_iter().map(|line| line.text).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let gone = alive::destroy(&self.dir(), &format!("{}/one", self.cgroup));
        let _ = self.cgroups.kill_all(&format!("{}/shims", self.cgroup));
        let _ = self.cgroups.remove(&self.cgroup);
        let _ = self.pairs.release(self.pair.clone());
        let _ = Pairs::purge(&self.root.join("pairs"));
        let _ = fs::remove_dir_all(&self.root);
        if !std::thread::panicking() {
            gone.unwrap();
            assert!(!self.root.exists());
            assert!(self.cgroups.list(&self.cgroup).is_empty());
        }
    }
}

fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_compute-launch"))
}

/// The smallest file system in which the test program runs: itself and the libraries that it is linked to.
fn make_layer(layer: &Path) {
    let program = env!("CARGO_BIN_EXE_compute-launch");
    fs::create_dir_all(layer.join("bin")).unwrap();
    fs::hard_link(program, layer.join("bin/program")).unwrap();
    copy_libraries(Path::new(program), layer);
    fs::create_dir_all(layer.join("etc")).unwrap();
    fs::write(layer.join("etc/passwd"), "root:x:0:0::/root:\nweb:x:1000:1001::/srv:\n").unwrap();
    fs::write(layer.join("etc/group"), "root:x:0:\nweb:x:1001:\naudio:x:29:web\n").unwrap();
    fs::write(layer.join("bin/notexecutable"), "text").unwrap();
}

/// Some hosts keep CAP_SYS_RESOURCE to themselves.
fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & 1 << CAP_SYS_RESOURCE != 0
}

async fn ended(alive: &Alive) -> State {
    let found = tokio::time::timeout(Duration::from_secs(10), alive.ended()).await.expect("it ends");
    match found {
        Found::Exited(state) => state,
        other => panic!("{other:?}"),
    }
}

fn exit_of(state: &State) -> (Option<i32>, Option<i32>) {
    let StateExit { code, signal, at_ms } = state.exit.expect("an exit");
    assert!(at_ms >= state.started_at_ms);
    (code, signal)
}

#[tokio::test]
async fn a_container_sees_only_its_own() {
    let world = World::new();
    let alive = world.run(&["program", "look"]);
    let state = ended(&alive).await;
    assert_eq!(exit_of(&state), (Some(0), None), "{:?}", world.lines());
    let lines = world.lines();
    let value = |name: &str| {
        let found = lines.iter().find_map(|line| line.strip_prefix(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("{name} in {lines:#?}")).to_owned()
    };
    let first_id = world.pair.first_id;
    assert_eq!(value("Seccomp"), "2");
    assert_eq!(value("NoNewPrivs"), "1");
    assert_eq!(value("CapEff"), "00000000800405fb");
    assert_eq!(value("CapBnd"), "00000000800405fb");
    // Rust's own start ignores SIGPIPE, nothing else.
    assert_eq!(value("SigIgn"), "0000000000001000");
    assert_eq!(value("uid_map"), format!("0 {first_id} 65536"));
    assert_eq!(value("gid_map"), format!("0 {first_id} 65536"));
    assert_eq!(value("pid"), "1");
    assert_eq!(value("ids"), "0 0");
    assert_eq!(value("hostname"), "inside");
    assert_eq!(value("extra"), "from outside");
    assert_eq!(value("oom_score_adj"), "0");
    assert_eq!(value("cwd"), "/made/here");
    assert_eq!(value("root_writable"), "true");
    assert!(value("memory_limit").split(' ').any(|word| word == "268435456"), "{}", value("memory_limit"));
    assert_eq!(value("cgroup_writable"), "false");
    assert_eq!(value("port_80"), "true");
    assert_eq!(value("extra_writable"), "false");
    assert_eq!(value("sysctl_writable"), "false");
    let env: Vec<&String> = lines.iter().filter(|line| line.starts_with("env ")).collect();
    assert_eq!(env.len(), 3, "{env:?}");
    assert!(
        env.iter().any(|line| *line == "env HOME=/root") && env.iter().any(|line| *line == "env NAME=value")
    );
    for line in lines.iter().filter(|line| line.starts_with("mount ")) {
        let kind = line.rsplit(' ').next().unwrap();
        let known =
            ["overlay", "proc", "tmpfs", "devpts", "mqueue", "sysfs", "devtmpfs", "cgroup", "cgroup2"];
        assert!(known.contains(&kind), "a mount of the host: {line}");
    }
    assert!(!value("descriptors").contains("instance"), "{}", value("descriptors"));
    // What it wrote belongs to its root on the disk, in a directory that nobody else may enter.
    assert_eq!(fs::metadata(world.dir().join("upper/root/x")).unwrap().uid(), first_id);
    assert_eq!(fs::metadata(world.dir()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(world.dir().join("launch.json")).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_images_user_has_its_ids_groups_and_home() {
    let world = World::new();
    let launch = Launch { user: "web".into(), ..world.launch(&["program", "look"]) };
    let alive = world.spawn(&launch).unwrap().alive;
    ended(&alive).await;
    let lines = world.lines();
    for expected in [
        "ids 1000 1001",
        "Groups 29",
        "env HOME=/srv",
        "CapEff 0000000000000000",
        "port_80 true",
        "root_writable false",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected} in {lines:#?}");
    }
    let launch = Launch { user: "nobody-here".into(), ..world.launch(&["program", "look"]) };
    let error = world.spawn(&launch).unwrap_err();
    assert_eq!(
        error,
        LaunchError::Permanent("the image's user \"nobody-here\" is not in its /etc/passwd".into())
    );
}

#[test]
fn a_program_that_cannot_run_is_an_error_of_the_start() {
    let world = World::new();
    let check = |argv: &[&str], reason: &str| {
        let began = Instant::now();
        let error = world.spawn(&world.launch(argv)).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(2));
        assert!(matches!(&error, LaunchError::Permanent(text) if text.starts_with(reason)), "{error:?}");
        assert!(world.cgroups.pids(&format!("{}/shims", world.cgroup)).unwrap().is_empty());
        assert!(!world.cgroups.list(&world.cgroup).contains(&"one".to_owned()));
    };
    check(&["foo"], "start command 'foo' not found in PATH (/usr/local/sbin:");
    check(&["/opt/foo"], "start command '/opt/foo' not found: no such file in the image");
    check(
        &["notexecutable"],
        "start command 'notexecutable' (/bin/notexecutable) is not executable (mode 0644",
    );
    check(&[], "the start command cannot be run: it is empty");
    // A file where the working directory should be.
    let launch = Launch { cwd: "/etc/passwd/x".into(), ..world.launch(&["program", "look"]) };
    let error = world.spawn(&launch).unwrap_err();
    assert!(matches!(error, LaunchError::Permanent(_)), "{error:?}");
}

#[tokio::test]
async fn exits_are_recorded_and_a_restart_begins_fresh() {
    let world = World::new();
    for (run, code) in [3, 4].into_iter().enumerate() {
        let alive = world.run(&["program", "exit", &code.to_string()]);
        let state = ended(&alive).await;
        assert_eq!(exit_of(&state), (Some(code), None), "run {run}");
        assert!(matches!(alive::adopt(&world.dir()), Found::Exited(_)));
        alive::stop_all(&world.dir(), &format!("{}/one", world.cgroup)).unwrap();
    }
    ended(&world.run(&["program", "write", "/kept"])).await;
    assert!(world.dir().join("upper/kept").exists());
    ended(&world.run(&["program", "exit", "0"])).await;
    assert!(!world.dir().join("upper/kept").exists());

    // Steps of a build see what the step before wrote.
    ended(&world.run(&["program", "write", "/kept"])).await;
    let step = Launch { keep_upper: true, ..world.launch(&["program", "write", "/kept/not-a-directory"]) };
    let state = ended(&world.spawn(&step).unwrap().alive).await;
    assert_eq!(exit_of(&state), (Some(101), None));
    assert!(world.lines().iter().any(|line| line.contains("NotADirectory")), "{:?}", world.lines());
}

#[tokio::test]
async fn mounts_of_a_build_keep_the_owners_on_disk() {
    let world = World::new();
    let cache = world.root.join("cache");
    fs::create_dir_all(&cache).unwrap();
    let read_only = HostMount { source: cache.clone(), target: "/ro".into(), read_only: true };
    let writable = HostMount { source: cache.clone(), target: "/cache".into(), read_only: false };
    let file = HostMount { source: "/etc/hostname".into(), target: "/etc/host".into(), read_only: true };
    let mounts = vec![read_only, writable, file];
    let launch = Launch { mounts: mounts.clone(), ..world.launch(&["program", "write", "/cache/file"]) };
    let state = ended(&world.spawn(&launch).unwrap().alive).await;
    assert_eq!(exit_of(&state), (Some(0), None), "{:?}", world.lines());
    assert_eq!(fs::metadata(cache.join("file")).unwrap().uid(), 0);
    let launch = Launch { mounts, ..world.launch(&["program", "write", "/ro/file"]) };
    let state = ended(&world.spawn(&launch).unwrap().alive).await;
    assert_eq!(exit_of(&state), (Some(101), None));
}

#[tokio::test]
async fn output_is_kept_within_bounds() {
    let world = World::new();
    // 12 MiB go through segments of 4 MiB, of which two are kept.
    let alive = world.run(&["program", "print", "12288", "1024"]);
    let state = ended(&alive).await;
    assert_eq!(exit_of(&state), (Some(0), None));
    let kept: u64 = fs::read_dir(world.dir())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with("output-"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!((4 << 20..=8 << 20).contains(&kept), "{kept}");
    let mut next = 0;
    let mut lines = Vec::new();
    loop {
        let output = shim::read_output(&world.dir(), next).unwrap();
        if output.next == next {
            break;
        }
        next = output.next;
        lines.extend(output.lines);
    }
    assert!(lines[0].text.ends_with("bytes of older output are no longer kept)"), "{}", lines[0].text);
    let numbers = lines.iter().filter_map(|line| line.text.split_once(" x")?.0.parse::<u64>().ok());
    let numbers: Vec<u64> = numbers.collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(numbers.last(), Some(&12287));
    let tail = shim::tail(&world.dir(), 3).unwrap();
    assert!(tail.contains(&"no line feed".to_owned()) && tail.contains(&"to stderr".to_owned()), "{tail:?}");
    let exit = shim::exit(&world.dir(), &state);
    assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(0), None, false));
    assert_eq!(exit.last_lines.last().unwrap(), "no line feed");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_told() {
    let world = World::new();
    let limits = Limits { memory_bytes: 32 << 20, ..world.launch(&[]).limits };
    let launch = Launch { limits, ..world.launch(&["program", "fill"]) };
    let state = ended(&world.spawn(&launch).unwrap().alive).await;
    assert_eq!(exit_of(&state), (None, Some(libc::SIGKILL)));
    assert!(state.out_of_memory);
}

#[tokio::test]
async fn a_container_is_found_again_signalled_limited_and_ended() {
    let world = World::new();
    let cgroup = format!("{}/one", world.cgroup);
    let alive = world.run(&["program", "fork"]);
    drop(alive);
    let again = world.spawn(&world.launch(&["program", "sleep"])).unwrap_err().to_string();
    assert!(again.starts_with("one already runs, as process "), "{again}");
    let Found::Alive(alive) = alive::adopt(&world.dir()) else { panic!("it lives") };
    let larger = Limits { cpu_units: 2048, memory_bytes: 512 << 20, pids: 100 };
    world.cgroups.set_limits(&cgroup, &larger).unwrap();
    assert!(world.cgroups.usage(&cgroup).unwrap().memory_bytes > 0);

    // The shim is no part of the container's cgroup, and small.
    let shim = alive.state().shim_pid;
    assert_eq!(world.cgroups.pids(&format!("{}/shims", world.cgroup)).unwrap(), [shim]);
    assert!(!world.cgroups.pids(&cgroup).unwrap().contains(&shim));
    let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap().trim().to_owned();
    println!("shim pss: {pss}");
    let kib: u64 = pss.split(' ').next().unwrap().parse().unwrap();
    assert!(kib <= 256, "{pss}");
    assert_eq!(fs::read_to_string(format!("/proc/{shim}/comm")).unwrap(), "apron-shim\n");
    let score = fs::read_to_string(format!("/proc/{shim}/oom_score_adj")).unwrap();
    assert_eq!(score, if may_lower_oom_score() { "-900\n" } else { "0\n" });
    let own_mounts = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(fs::read_link(format!("/proc/{shim}/ns/mnt")).unwrap(), own_mounts);
    for descriptor in 0..3 {
        let link = fs::read_link(format!("/proc/{shim}/fd/{descriptor}")).unwrap();
        assert_eq!(link, Path::new("/dev/null"));
    }
    for signal in [libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGPIPE] {
        // SAFETY: the shim is ours; it ignores these.
        unsafe { libc::kill(shim, signal) };
    }

    world.cgroups.freeze(&cgroup).unwrap();
    alive::stop_all(&world.dir(), &cgroup).unwrap();
    let Found::Exited(state) = alive::adopt(&world.dir()) else { panic!("it ended") };
    assert_eq!(exit_of(&state), (None, Some(libc::SIGKILL)));
    assert!(!state.out_of_memory);
    alive.signal(libc::SIGTERM).unwrap();
    assert!(matches!(alive.ended().await, Found::Exited(_)));
}

#[tokio::test]
async fn a_container_without_its_shim_is_an_orphan() {
    let world = World::new();
    let cgroup = format!("{}/one", world.cgroup);
    let alive = world.run(&["program", "sleep"]);
    // SAFETY: the shim is ours.
    unsafe { libc::kill(alive.state().shim_pid, libc::SIGKILL) };
    assert!(matches!(alive.ended().await, Found::Orphaned(_)));
    assert!(matches!(alive::adopt(&world.dir()), Found::Orphaned(_)));
    assert!(!world.cgroups.pids(&cgroup).unwrap().is_empty());
    alive::stop_all(&world.dir(), &cgroup).unwrap();
    assert!(world.cgroups.pids(&cgroup).unwrap().is_empty());
    ended(&world.run(&["program", "exit", "0"])).await;
}

/// The figure that the bar of 80 ms is about: a start through all of it, less what the same program takes alone.
#[tokio::test]
async fn a_start_is_timed() {
    let world = World::new();
    let program = env!("CARGO_BIN_EXE_compute-launch");
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (mut alone, mut mounts, mut executed, mut whole) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let began = Instant::now();
        Command::new(program).args(["exit", "0"]).status().unwrap();
        alone.push(began.elapsed().as_secs_f64() * 1000.0);
        let began = Instant::now();
        let spawned = world.spawn(&world.launch(&["program", "exit", "0"])).unwrap();
        mounts.push(f64::from(spawned.timings.mount_ms));
        executed.push(f64::from(spawned.timings.exec_ms));
        ended(&spawned.alive).await;
        whole.push(began.elapsed().as_secs_f64() * 1000.0);
        alive::stop_all(&world.dir(), &format!("{}/one", world.cgroup)).unwrap();
    }
    println!(
        "medians of 20 in ms: alone {:.1}, mounted {:.0}, executed {:.0}, start to recorded exit {:.1}",
        median(alone),
        median(mounts),
        median(executed),
        median(whole)
    );
}
