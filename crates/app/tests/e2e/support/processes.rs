//! Processes by number and start time, and what is left of a platform on the machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// A process that was seen alive; the start time keeps a reused number from being taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub pid: i32,
    start_time: u64,
}

impl Seen {
    pub fn of(pid: i32) -> Option<Seen> {
        Some(Seen { pid, start_time: start_time(pid)? })
    }

    /// The process that a record of the supervisor names.
    pub fn recorded(record: &serde_json::Value) -> Option<Seen> {
        Some(Seen { pid: record["pid"].as_i64()? as i32, start_time: record["start_time"].as_u64()? })
    }

    /// KiB of memory that it has in use, while it lives.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib = line.split_whitespace().next()?.parse().ok()?;
        self.alive().then_some(kib)
    }

    /// When it was started, in the kernel's clock ticks of 10 ms.
    pub fn started_ticks(&self) -> u64 {
        self.start_time
    }

    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    pub fn signal(&self, signal: i32) {
        if self.alive() {
            // SAFETY: takes numbers only.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// kill -9, and until it is gone.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
        self.wait_gone(Duration::from_secs(10));
    }

    pub fn wait_gone(&self, within: Duration) {
        super::eventually(within, &format!("the end of pid {}", self.pid), || match self.alive() {
            true => Err("it lives".into()),
            false => Ok(()),
        });
    }
}

fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let time = fields.nth(18)?.parse().ok()?;
    (state != "Z").then_some(time)
}

/// Everything on the machine that carries the data directory's id or lies mounted below it.
pub fn leftovers(id: &str, data: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for cgroups in ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/freezer"]
    {
        let path = format!("{cgroups}/apron-{id}");
        if Path::new(&path).exists() {
            found.push(format!("cgroup {path}"));
        }
    }
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(id) {
            found.push(format!("interface {name}"));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    found.extend(
        mounts.lines().filter(|m| m.contains(&*data.to_string_lossy())).map(|m| format!("mount {m}")),
    );
    let tables = std::process::Command::new("nft").args(["list", "tables"]).output();
    let tables = tables.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    found.extend(tables.lines().filter(|t| t.contains(id)).map(|t| format!("nft {t}")));
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(cmdline) = fs::read(entry.path().join("cmdline")) else { continue };
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        let own = entry.file_name().to_string_lossy() == std::process::id().to_string();
        if !own && cmdline.contains(&*data.to_string_lossy()) {
            found.push(format!("process {} {cmdline}", entry.file_name().to_string_lossy()));
        }
    }
    found
}
