//! Control groups: limits, usage, freezing and killing, on version 2 and on version 1 (also hybrid) hosts.
//!
//! Paths are absolute within each hierarchy, `/apron-<data id>/<instance>`, so that two platforms on one host
//! never meet. Nothing outside such a path is changed, except that on version 2 the controllers are enabled on
//! the way down to it; inside a container, where that takes it, the container's own processes are first moved
//! out of the root to `/init`.
//!
//! Beside systemd: the paths lie next to its slices. It removes only cgroups of its own units, but takes back
//! controllers of the root that none of its units uses, and a weight or limit set by us with them. The kernel
//! refuses that while a cgroup right below the root hands the controller on; `prepare` makes one that does.

mod cpu;
mod reclaim;
mod v2;

use apron_model::instance::InstanceSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Processes and threads of one instance. Bounds a fork bomb; a large Java or Node server has some hundreds.
pub const PIDS_MAX: u32 = 4096;
/// Processes that were sent SIGKILL have this long to be gone; more means one hangs in the kernel.
const KILL_WAIT: Duration = Duration::from_secs(10);
const KILL_POLL: Duration = Duration::from_millis(2);
/// A cgroup is frozen within a millisecond or two. One whose process hangs in the kernel never is, and is killed as
/// it stands.
const FREEZE_WAIT: Duration = Duration::from_millis(200);
/// An ended process leaves its cgroup a moment after it was reaped.
const REMOVE_WAIT: Duration = Duration::from_secs(2);
/// Controllers of version 1 that a container sees. Java looks for all five or takes the host's size for its own.
const SHOWN: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "pids"];
/// What limits need; a host that lacks one of them cannot keep an instance in its size.
const REQUIRED: [&str; 3] = ["cpu", "memory", "pids"];

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// This host cannot run instances until its administrator changes something.
    #[error("control groups are not usable: {0}")]
    Unusable(String),
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Processes did not end although they were killed.
    #[error("{count} processes of {path} did not end")]
    StillAlive { path: String, count: usize },
}

/// What one instance may use. None of it is a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// 1024 are one core.
    pub cpu_units: u32,
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

impl Limits {
    pub fn of(size: InstanceSize) -> Limits {
        Limits {
            cpu_units: size.cpu_units,
            memory_bytes: u64::from(size.memory_mib) * 1024 * 1024,
            pids: PIDS_MAX,
        }
    }

    /// The size that has these limits.
    pub fn size(&self) -> InstanceSize {
        let memory_mib = u32::try_from(self.memory_bytes / (1024 * 1024)).unwrap_or(u32::MAX);
        InstanceSize { cpu_units: self.cpu_units, memory_mib }
    }
}

/// What an instance used since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_us: u64,
    /// Now, without caches of files that the kernel gives back first.
    pub memory_bytes: u64,
}

/// A cgroup as it looks below `/sys/fs/cgroup` of its container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Name there, nothing for the place itself, and the host's directory.
    pub directories: Vec<(String, PathBuf)>,
    /// Name there, and the directory that it leads to: controllers that share a hierarchy.
    pub links: Vec<(String, String)>,
}

/// The hierarchies of this host.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Layout,
}

#[derive(Clone, Debug)]
enum Layout {
    /// One hierarchy.
    V2 { root: PathBuf },
    /// One hierarchy per controller or group of them.
    V1 {
        /// Mount point by controller.
        controllers: BTreeMap<String, PathBuf>,
        /// Every mount point once, with named ones and the unified one of a hybrid host.
        all: Vec<PathBuf>,
    },
}

impl Cgroups {
    /// Finds out what this host has, once in the life of a process. Nothing is changed.
    pub fn detect() -> Result<Cgroups, CgroupError> {
        // The list of mounts has two rows for each instance.
        static FOUND: OnceLock<Cgroups> = OnceLock::new();
        match FOUND.get() {
            Some(found) => Ok(found.clone()),
            None => Cgroups::look().map(|found| FOUND.get_or_init(|| found).clone()),
        }
    }

    fn look() -> Result<Cgroups, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).map_err(|source| io_error("read", path, source))?;
        let layout = layout(&mounts)?;
        if let Layout::V2 { root } = &layout {
            let available = read(&root.join("cgroup.controllers"))?;
            require(|controller| available.split_whitespace().any(|name| name == controller))?;
        }
        Ok(Cgroups { layout })
    }

    /// Makes the cgroup that others with limits are going to be below.
    pub fn prepare(&self, path: &str) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V2 { root } => {
                v2::make(root, path)?;
                v2::enable_controllers(&below(root, path))
            }
            Layout::V1 { controllers, .. } => REQUIRED
                .iter()
                .try_for_each(|controller| make_directory(&below(&controllers[*controller], path))),
        }
    }

    /// Makes the cgroup, with these limits. One that is there is taken over.
    pub fn create(&self, path: &str, limits: &Limits) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V2 { root } => v2::make(root, path)?,
            Layout::V1 { controllers, .. } => {
                let used = ["freezer"].iter().chain(&SHOWN).filter_map(|name| controllers.get(*name));
                for mount in used {
                    make_directory(&below(mount, path))?;
                }
            }
        }
        self.set_limits(path, limits)
    }

    /// What a container is to see of its own cgroup, so that runtimes find their limits there.
    pub(crate) fn shown(&self, path: &str) -> Shown {
        match &self.layout {
            Layout::V2 { root } => {
                Shown { directories: vec![(String::new(), below(root, path))], links: vec![] }
            }
            Layout::V1 { controllers, .. } => {
                let mut shown = Shown::default();
                for controller in SHOWN {
                    let Some(mount) = controllers.get(controller) else { continue };
                    let Some(name) = mount.file_name().and_then(|name| name.to_str()) else { continue };
                    let directory = (name.to_owned(), below(mount, path));
                    if !shown.directories.contains(&directory) {
                        shown.directories.push(directory);
                    }
                    if name != controller {
                        shown.links.push((controller.to_owned(), name.to_owned()));
                    }
                }
                shown
            }
        }
    }

    /// Changes the limits. A memory limit below what is in use and cannot be reclaimed is refused.
    pub fn set_limits(&self, path: &str, limits: &Limits) -> Result<(), CgroupError> {
        self.unthrottle(path, limits)?;
        self.set_sizes(path, limits)
    }

    /// The limits but that of the CPU. What is in use beyond a new one is reclaimed, which may take seconds.
    pub fn set_sizes(&self, path: &str, limits: &Limits) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V2 { root } => {
                let at = below(root, path);
                write_if_there(&at.join("memory.swap.max"), "0")?;
                v2::set_memory(&at, limits.memory_bytes)?;
                write(&at.join("pids.max"), &limits.pids.to_string())
            }
            Layout::V1 { controllers, .. } => {
                set_memory_v1(&below(&controllers["memory"], path), limits.memory_bytes)?;
                let pids = below(&controllers["pids"], path);
                write(&pids.join("pids.max"), &limits.pids.to_string())
            }
        }
    }

    /// Weight against other cgroups when the CPU is busy, as version 1 counts it: 1024 is what everything has,
    /// 262144 the most. Makes the cgroup when it is missing.
    pub fn set_cpu_weight(&self, path: &str, shares: u32) -> Result<(), CgroupError> {
        let shares = u64::from(shares.clamp(2, 262_144));
        match &self.layout {
            Layout::V2 { root } => {
                v2::make(root, path)?;
                write(&below(root, path).join("cpu.weight"), &v2::weight_of(shares).to_string())
            }
            Layout::V1 { controllers, .. } => {
                let at = below(&controllers["cpu"], path);
                make_directory(&at)?;
                write(&at.join("cpu.shares"), &shares.to_string())
            }
        }
    }

    /// Moves a process, in every hierarchy. Makes the cgroup when it is missing.
    pub fn join(&self, path: &str, pid: i32) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V2 { root } => {
                v2::make(root, path)?;
                let joined = write(&below(root, path).join("cgroup.procs"), &pid.to_string());
                match joined {
                    // The root of a container, which hands controllers on and takes in nobody any more.
                    Err(CgroupError::Io { source, .. }) if path == "/" && is_busy(&source) => {
                        write(&root.join(v2::ROOT_LEAF).join("cgroup.procs"), &pid.to_string())
                    }
                    other => other,
                }
            }
            Layout::V1 { controllers, all } => {
                // A new cpuset has no CPUs and no memory nodes and takes nobody in.
                let cpuset = controllers.get("cpuset");
                for mount in all.iter().filter(|mount| Some(*mount) != cpuset) {
                    let at = below(mount, path);
                    make_directory(&at)?;
                    write(&at.join("cgroup.procs"), &pid.to_string())?;
                }
                Ok(())
            }
        }
    }

    pub fn usage(&self, path: &str) -> Result<Usage, CgroupError> {
        let (cpu_us, memory, caches) = match &self.layout {
            Layout::V2 { root } => {
                let at = below(root, path);
                let cpu_us = field(&read(&at.join("cpu.stat"))?, "usage_usec").unwrap_or(0);
                let caches = field(&read(&at.join("memory.stat"))?, "inactive_file");
                (cpu_us, read_number(&at.join("memory.current"))?, caches)
            }
            Layout::V1 { controllers, .. } => {
                let at = below(&controllers["memory"], path);
                let cpu_us = match controllers.get("cpuacct") {
                    Some(mount) => read_number(&below(mount, path).join("cpuacct.usage"))? / 1000,
                    None => 0,
                };
                let caches = field(&read(&at.join("memory.stat"))?, "total_inactive_file");
                (cpu_us, read_number(&at.join("memory.usage_in_bytes"))?, caches)
            }
        };
        Ok(Usage { cpu_us, memory_bytes: memory.saturating_sub(caches.unwrap_or(0)) })
    }

    /// The file whose line `oom_kill N` counts processes killed for the memory limit.
    pub fn out_of_memory_file(&self, path: &str) -> PathBuf {
        match &self.layout {
            Layout::V2 { root } => below(root, path).join("memory.events"),
            Layout::V1 { controllers, .. } => below(&controllers["memory"], path).join("memory.oom_control"),
        }
    }

    pub fn freeze(&self, path: &str) -> Result<(), CgroupError> {
        self.set_frozen(path, true)
    }

    /// An unknown cgroup is a success: there is nothing frozen in it.
    pub fn thaw(&self, path: &str) -> Result<(), CgroupError> {
        match self.set_frozen(path, false) {
            Err(CgroupError::Io { source, .. }) if is_gone(&source) => Ok(()),
            other => other,
        }
    }

    /// Ends every process of the cgroup and waits until they are gone. An unknown cgroup is a success.
    pub fn kill_all(&self, path: &str) -> Result<(), CgroupError> {
        let deadline = Instant::now() + KILL_WAIT;
        // It is gone, or has none.
        let _ = self.set_no_quota(path);
        loop {
            let pids = self.pids(path)?;
            if pids.is_empty() {
                return Ok(());
            }
            if !self.kill_at_once(path) {
                self.kill_frozen(path)?;
            }
            // Frozen processes of version 1 die when they run again.
            self.thaw(path)?;
            if Instant::now() > deadline {
                return Err(CgroupError::StillAlive { path: path.to_owned(), count: pids.len() });
            }
            std::thread::sleep(KILL_POLL);
        }
    }

    /// Kills one by one, while none of them can run: processes that fork and end faster than a list of them can
    /// be read would never be met otherwise.
    fn kill_frozen(&self, path: &str) -> Result<(), CgroupError> {
        match self.freeze(path) {
            Err(CgroupError::Io { source, .. }) if is_gone(&source) => return Ok(()),
            other => other?,
        }
        let deadline = Instant::now() + FREEZE_WAIT;
        while !self.is_frozen(path)? && Instant::now() < deadline {
            std::thread::sleep(KILL_POLL);
        }
        for pid in self.pids(path)? {
            // SAFETY: no memory is involved.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        Ok(())
    }

    /// Whether it is to be frozen, whether or not it is yet. An unknown cgroup is not.
    pub fn is_freezing(&self, path: &str) -> bool {
        let asked = match &self.layout {
            Layout::V2 { root } => read(&below(root, path).join("cgroup.freeze")),
            Layout::V1 { controllers, .. } => {
                read(&below(&controllers["freezer"], path).join("freezer.self_freezing"))
            }
        };
        asked.is_ok_and(|text| text.trim() == "1")
    }

    /// An unknown cgroup counts as frozen: nothing runs in it.
    fn is_frozen(&self, path: &str) -> Result<bool, CgroupError> {
        let state = match &self.layout {
            Layout::V2 { root } => read(&below(root, path).join("cgroup.events")),
            Layout::V1 { controllers, .. } => {
                read(&below(&controllers["freezer"], path).join("freezer.state"))
            }
        };
        match state {
            Ok(text) => Ok(text.trim() == "FROZEN" || field(&text, "frozen") == Some(1)),
            Err(CgroupError::Io { source, .. }) if is_gone(&source) => Ok(true),
            Err(other) => Err(other),
        }
    }

    /// Lets the kernel kill the whole cgroup, which no fork outruns: version 2 of Linux 5.14 and newer.
    fn kill_at_once(&self, path: &str) -> bool {
        match &self.layout {
            Layout::V2 { root } => write(&below(root, path).join("cgroup.kill"), "1").is_ok(),
            Layout::V1 { .. } => false,
        }
    }

    /// Processes of the cgroup itself, not of those below it.
    pub fn pids(&self, path: &str) -> Result<Vec<i32>, CgroupError> {
        let mount = match &self.layout {
            Layout::V2 { root } => root,
            Layout::V1 { controllers, .. } => &controllers["freezer"],
        };
        match read(&below(mount, path).join("cgroup.procs")) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(CgroupError::Io { source, .. }) if is_gone(&source) => Ok(Vec::new()),
            Err(other) => Err(other),
        }
    }

    /// Removes the cgroup and those below it, from every hierarchy, whatever happens in one of them. Processes must
    /// have ended; an unknown cgroup is a success.
    pub fn remove(&self, path: &str) -> Result<(), CgroupError> {
        let deadline = Instant::now() + REMOVE_WAIT;
        let mut removed = Ok(());
        for mount in self.mounts() {
            removed = removed.and(remove_tree(&below(mount, path), deadline));
        }
        removed
    }

    /// Removes the cgroup where it has neither processes nor others below it, and leaves it alone elsewhere.
    pub fn remove_if_empty(&self, path: &str) {
        for mount in self.mounts() {
            // In use, or gone.
            let _ = fs::remove_dir(below(mount, path));
        }
    }

    /// Names of the cgroups right below this one, in any hierarchy.
    pub fn list(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> =
            self.mounts().iter().flat_map(|mount| children(&below(mount, path))).collect();
        names.sort();
        names.dedup();
        names
    }

    fn mounts(&self) -> Vec<&PathBuf> {
        match &self.layout {
            Layout::V2 { root } => vec![root],
            Layout::V1 { all, .. } => all.iter().collect(),
        }
    }

    fn set_frozen(&self, path: &str, frozen: bool) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V2 { root } => {
                write(&below(root, path).join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
            Layout::V1 { controllers, .. } => {
                let file = below(&controllers["freezer"], path).join("freezer.state");
                write(&file, if frozen { "FROZEN" } else { "THAWED" })
            }
        }
    }
}

/// Reads the layout from the text of `mountinfo`.
fn layout(mountinfo: &str) -> Result<Layout, CgroupError> {
    let mut controllers = BTreeMap::new();
    let mut all = Vec::new();
    let mut unified = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount_point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
        let mut right = right.split(' ');
        match (right.next(), right.nth(1)) {
            (Some("cgroup2"), _) => unified = Some(mount_point),
            (Some("cgroup"), Some(options)) => {
                for option in options.split(',') {
                    controllers.entry(option.to_owned()).or_insert_with(|| mount_point.clone());
                }
                if !all.contains(&mount_point) {
                    all.push(mount_point);
                }
            }
            _ => {}
        }
    }
    if !controllers.contains_key("memory") {
        let root = unified.ok_or_else(|| {
            CgroupError::Unusable("neither version 1 nor version 2 is mounted under /sys/fs/cgroup".into())
        })?;
        return Ok(Layout::V2 { root });
    }
    require(|controller| controllers.contains_key(controller))?;
    if !controllers.contains_key("freezer") {
        return Err(CgroupError::Unusable("this host does not offer the controller freezer".into()));
    }
    all.extend(unified);
    Ok(Layout::V1 { controllers, all })
}

fn require(has: impl Fn(&str) -> bool) -> Result<(), CgroupError> {
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|controller| !has(controller)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let plural = if missing.len() > 1 { "s" } else { "" };
    let missing = missing.join(", ");
    Err(CgroupError::Unusable(format!("this host does not offer the controller{plural} {missing}")))
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// Memory and swap together get the same limit where swap is counted, which means no swap. Memory may never be
/// above both together, so the order depends on the direction.
fn set_memory_v1(at: &Path, bytes: u64) -> Result<(), CgroupError> {
    let memory = at.join("memory.limit_in_bytes");
    let both = at.join("memory.memsw.limit_in_bytes");
    let bytes = bytes.to_string();
    if write(&memory, &bytes).is_ok() {
        return write_if_there(&both, &bytes);
    }
    write_if_there(&both, &bytes)?;
    write(&memory, &bytes)
}

fn children(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn remove_tree(directory: &Path, deadline: Instant) -> Result<(), CgroupError> {
    for child in children(directory) {
        remove_tree(&directory.join(child), deadline)?;
    }
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(KILL_POLL);
            }
            Err(source) => return Err(io_error("remove", directory, source)),
        }
    }
}

fn make_directory(path: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(path).map_err(|source| io_error("make", path, source))
}

fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| io_error("read", path, source))
}

fn read_number(path: &Path) -> Result<u64, CgroupError> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| io_error("read", path, io::ErrorKind::InvalidData.into()))
}

/// The number behind `name` in lines of `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    // Without the flag to create: a file that is missing means a controller that is missing.
    let open = fs::OpenOptions::new().write(true).open(path);
    open.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|source| io_error("write", path, source))
}

fn write_if_there(path: &Path, text: &str) -> Result<(), CgroupError> {
    if path.exists() { write(path, text) } else { Ok(()) }
}

/// The cgroup, or the process in it, went away while we looked.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests;
