//! Programs that a bench runs: pinned to a core, measured by the kernel's accounts, always stopped.

use super::interrupt;
use crate::program;
use anyhow::{Context, Result, ensure};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A started program listens within this time or has failed.
const START_TIME_MAX: Duration = Duration::from_secs(10);
/// A server ends within this time after SIGTERM; then it is killed.
pub(super) const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// A program in the foreground, stopped with its children when it is dropped.
pub(super) struct Process {
    child: Child,
    stop_time_max: Duration,
}

impl Process {
    /// Owns a program that was started.
    pub(super) fn of(child: Child, stop_time_max: Duration) -> Process {
        Process { child, stop_time_max }
    }

    /// Starts it on one core and waits until something accepts at the address.
    pub(super) fn start(
        cpu: usize,
        program: &str,
        arguments: &[&str],
        listens: SocketAddr,
    ) -> Result<Process> {
        let mut command = pinned(&cpu.to_string(), program);
        command.args(arguments);
        Process::launch(command, program, listens)
    }

    /// As `start`, of a command that `pinned` made.
    pub(super) fn launch(mut command: Command, program: &str, listens: SocketAddr) -> Result<Process> {
        interrupt::check()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run taskset (package util-linux)")?;
        let mut process = Process::of(child, STOP_TIME_MAX);
        let start = Instant::now();
        while TcpStream::connect(listens).is_err() {
            if let Some(status) = process.child.try_wait()? {
                anyhow::bail!("{program} ended at its start: {status}");
            }
            ensure!(start.elapsed() < START_TIME_MAX, "{program} does not listen at {listens}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// User and system time of it and its children so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let seconds = self.tree().into_iter().map(cpu_seconds).collect::<Result<Vec<_>>>()?;
        Ok(seconds.into_iter().flatten().sum())
    }

    /// Proportional set size of it and its children, in KiB.
    pub(super) fn pss_kib(&self) -> u64 {
        self.tree().iter().filter_map(|pid| pss_kib(*pid)).sum()
    }

    fn tree(&self) -> Vec<u32> {
        let mut all = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = all.get(next).copied() {
            all.extend(children(pid));
            next += 1;
        }
        all
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Process {
    /// SIGTERM, some time, SIGKILL. True: it ended in order. A second call gives the same answer.
    pub(super) fn stop(&mut self) -> bool {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.success();
        }
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
        let start = Instant::now();
        while start.elapsed() < self.stop_time_max {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program that is to run on these cores alone, such as `1` or `0,1`.
pub(super) fn pinned(cpus: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cpus, program]);
    command
}

/// A process that was seen alive; the start time keeps a number that is used again from being taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) pid: u32,
    pub(super) start_time: u64,
}

impl Seen {
    pub(super) fn of(pid: u32) -> Option<Seen> {
        let fields = stat(pid)?;
        let start_time = fields.get(19)?.parse().ok()?;
        (fields.first()? != "Z").then_some(Seen { pid, start_time })
    }

    pub(super) fn is_alive(&self) -> bool {
        Seen::of(self.pid) == Some(*self)
    }
}

/// The fields of a process's account after its name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// User and system time of one process; none of one that has ended.
pub(super) fn cpu_seconds(pid: u32) -> Result<Option<f64>> {
    // The 12th and 13th field after the name.
    let number = |fields: &[String], at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = stat(pid).and_then(|fields| Some(number(&fields, 11)? + number(&fields, 12)?));
    let per_second = ticks_per_second()? as f64;
    Ok(ticks.map(|ticks| ticks as f64 / per_second))
}

pub(super) fn children(pid: u32) -> Vec<u32> {
    // A child is listed with the thread that made it.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids =
        |list: String| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>();
    lists.flat_map(pids).collect()
}

pub(super) fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn ticks_per_second() -> Result<u64> {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let ticks = program::output(Command::new("getconf").arg("CLK_TCK"))?.parse()?;
    Ok(*KNOWN.get_or_init(|| ticks))
}

/// An address of this machine that was free a moment ago.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A directory that also servers with users of their own may read; removed when dropped.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Result<Directory> {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("apron-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(Directory(path))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
