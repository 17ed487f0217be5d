//! A proxy as a process of its own: its panics, its memory and what it holds open are seen from outside.

use crate::support::{Directory, listeners};
use apron_proxy::{Config, Listeners, StaticRoute};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

pub(super) const LOOPS: usize = 2;
/// Of what it complains, this many lines are kept.
const LINES_MAX: usize = 200;
/// Makes this test binary such a proxy: the application's address, the listeners' numbers, the admin socket.
const ARGUMENTS: &str = "APRON_TEST_FUZZED";
const READY: &str = "the proxy accepts";

pub(super) struct Process {
    child: Child,
    pub(super) address: SocketAddr,
    /// What it wrote on stderr, where a task that panics says so.
    complaints: Arc<Mutex<Vec<String>>>,
    admin: PathBuf,
    _sockets: Vec<OwnedFd>,
    _directory: Directory,
}

impl Process {
    /// Before one application, and accepting.
    pub(super) fn start(host: &str, application: SocketAddr) -> Process {
        let (sockets, address) = listeners("127.0.0.1", LOOPS);
        let directory = Directory::new();
        let admin = directory.file("admin.sock");
        let numbers: Vec<i32> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let list: Vec<String> = numbers.iter().map(i32::to_string).collect();
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("{module}::fuzzed_proxy"), "--nocapture"]);
        command.env(ARGUMENTS, format!("{host}={application} {} {}", list.join(","), admin.display()));
        // A backtrace for each panic is more than is kept.
        command.env("RUST_BACKTRACE", "0").stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                numbers.iter().try_for_each(|number| match libc::fcntl(*number, libc::F_SETFD, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                })
            });
        }
        let mut child = command.spawn().unwrap();
        let complaints = listen(child.stderr.take().unwrap());
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == READY), "the proxy ended at its start: {:?}", complaints.lock());
        Process { child, address, complaints, admin, _sockets: sockets, _directory: directory }
    }

    /// It runs, and has complained of nothing: nothing of it has panicked.
    pub(super) fn is_well(&self) -> Result<(), String> {
        let complaints = self.complaints.lock().unwrap();
        if !Path::new(&format!("/proc/{}/exe", self.child.id())).exists() {
            return Err(format!("the proxy ended: {complaints:?}"));
        }
        match complaints.as_slice() {
            [] => Ok(()),
            complaints => Err(format!("the proxy says {complaints:?}")),
        }
    }

    pub(super) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// How many descriptors it has open.
    pub(super) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// The sum of a metric's lines.
    pub(super) fn metric(&self, name: &str) -> Option<u64> {
        let mut stream = UnixStream::connect(&self.admin).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        lines.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the lines that come, until the other side ends.
fn listen(stderr: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let complaints = Arc::new(Mutex::new(Vec::new()));
    let keep = complaints.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok).filter(|line| !line.is_empty()) {
            let mut kept = keep.lock().unwrap();
            if kept.len() < LINES_MAX {
                kept.push(line);
            }
        }
    });
    complaints
}

/// No test: what `Process` runs.
#[test]
fn fuzzed_proxy() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let [route, numbers, admin] = arguments.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let route: StaticRoute = route.parse().unwrap();
    // SAFETY: `Process::start` leaves these open, and nothing else in this process uses them.
    let socket = |number: &str| unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) };
    let listeners =
        Listeners { http: numbers.split(',').map(socket).collect(), https: Vec::new(), counts: None };
    let mut config = Config::fixed(vec![route]);
    config.admin = Some(admin.into());
    // What ends only by the clock ends within the time that a client waits.
    (config.idle_timeout_ms, config.head_timeout_ms) = (1_000, 2_000);
    config.opening.request_head_ms = 2_000;
    // The harness may have begun a line.
    apron_proxy::run(config, listeners, || println!("\n{READY}"), || ()).unwrap();
}
