//! One `apron serve` and what a test does to it.

use super::processes::Seen;
use super::{APRON, eventually, processes};
use nix::mount::{MntFlags, umount2};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The start of a platform is a second or two; on a machine that builds beside the tests it may be ten.
const READY_MAX: Duration = Duration::from_secs(90);
/// A drain, the end of three processes and the removal of everything.
const STOP_MAX: Duration = Duration::from_secs(90);

/// Platforms that run at a time: with more on a small machine each one only waits for the others.
const PLATFORMS_MAX: usize = 3;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    pub flags: Vec<String>,
    /// Variables of `apron serve` beside the test's own.
    pub env: Vec<(String, String)>,
    pub ephemeral: bool,
    /// What to run in place of the program under test: a name for it that can get another meaning.
    pub program: Option<PathBuf>,
}

impl Options {
    pub fn standard() -> Options {
        let flags = ["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"];
        Options { flags: flags.map(str::to_owned).into(), env: Vec::new(), ephemeral: true, program: None }
    }
}

/// A running platform. Dropping it stops it and removes all that it made.
pub struct Platform {
    pub data: PathBuf,
    /// `host:port` as announced.
    pub api: String,
    pub apps: String,
    options: Options,
    serve: Option<Running>,
    _permit: Permit,
}

/// One of the platforms that may run at a time.
struct Permit;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

impl Permit {
    /// Waits for its turn. A test that wants a second platform keeps the first one's turn meanwhile.
    fn wait() -> Permit {
        let mut running = RUNNING.lock().unwrap();
        while *running >= PLATFORMS_MAX {
            running = ENDED.wait(running).unwrap();
        }
        *running += 1;
        Permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap() -= 1;
        ENDED.notify_one();
    }
}

struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    /// How often it has said that it is ready.
    starts: Arc<AtomicU32>,
}

impl Platform {
    pub fn start() -> Platform {
        Platform::with(Options::standard())
    }

    /// Starts in a new data directory and waits for the ready line.
    pub fn with(options: Options) -> Platform {
        Platform::in_directory(new_directory(), options)
    }

    pub fn in_directory(data: PathBuf, options: Options) -> Platform {
        let mut platform = Platform {
            data,
            api: String::new(),
            apps: String::new(),
            options,
            serve: None,
            _permit: Permit::wait(),
        };
        platform.serve();
        platform
    }

    /// Starts `apron serve` on this data directory, again where one ran before, on the ports of before.
    pub fn serve(&mut self) {
        assert!(self.serve.is_none(), "it runs already");
        let mut command = Command::new(self.options.program.as_deref().unwrap_or(Path::new(APRON)));
        command.arg("serve").arg("--data-dir").arg(&self.data).args(&self.options.flags);
        // Repositories of the tests lie below `scratch`.
        command.arg("--source-root").arg(self.scratch(""));
        command.envs(self.options.env.iter().map(|(name, value)| (name, value)));
        if self.options.ephemeral {
            command.arg("--ephemeral");
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("apron serve can be started");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let into = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = into.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let (sender, ready) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let starts = Arc::new(AtomicU32::new(0));
        let count = starts.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = sender.send(line);
            }
        });
        self.serve = Some(Running { child, log, starts });
        let Ok(line) = ready.recv_timeout(READY_MAX) else {
            panic!("apron serve is not ready; it says:\n{}", self.log());
        };
        let field = |name: &str| {
            let value = line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix("=http://"));
            value.unwrap_or_else(|| panic!("no {name} in the ready line: {line}")).to_owned()
        };
        assert!(line.starts_with("ready "), "{line}");
        (self.api, self.apps) = (field("api"), field("apps"));
        // A restart must find the same addresses, as a person's configuration would say.
        for (flag, address) in [("--api", self.api.clone()), ("--http", self.apps.clone())] {
            if let Some(at) = self.options.flags.iter().position(|f| f == flag) {
                self.options.flags[at + 1] = address;
            }
        }
        let https = self.record("supervisor").and_then(|record| {
            let listeners = record["listeners"].as_array()?.clone();
            listeners.iter().find(|l| l["name"] == "https")?["addr"].as_str().map(str::to_owned)
        });
        if let (Some(at), Some(address)) = (self.options.flags.iter().position(|f| f == "--https"), https) {
            self.options.flags[at + 1] = address;
        }
    }

    /// What the supervisor and its children said last.
    pub fn log(&self) -> String {
        self.serve.as_ref().map(|r| last_lines(&r.log.lock().unwrap())).unwrap_or_default()
    }

    /// Has the program that now has the name of the one that was started take its place, and waits until it has.
    pub fn replace(&self) {
        let starts = &self.serve.as_ref().expect("a platform that runs").starts;
        let before = starts.load(Ordering::Relaxed);
        self.process("supervisor").signal(libc::SIGUSR2);
        eventually(READY_MAX, "a replaced program", || {
            if starts.load(Ordering::Relaxed) > before { Ok(()) } else { Err(self.log()) }
        });
    }

    pub fn id(&self) -> String {
        fs::read_to_string(self.data.join("id")).expect("the data directory has an id").trim().to_owned()
    }

    fn record(&self, name: &str) -> Option<Value> {
        let text = fs::read_to_string(self.data.join(format!("run/{name}.json"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The living process of this name: supervisor, control, node or proxy.
    pub fn process(&self, name: &str) -> Seen {
        eventually(Duration::from_secs(10), &format!("a living {name}"), || {
            let seen = self.record(name).and_then(|r| Seen::recorded(&r)).ok_or("no record")?;
            if seen.alive() { Ok(seen) } else { Err(format!("pid {} is gone", seen.pid)) }
        })
    }

    /// Runs an `apron` command against this platform.
    pub fn apron(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(APRON);
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_APPRUNNER", "AWS_ACCESS_KEY_ID", "AWS_REGION"] {
            command.env_remove(name);
        }
        command.args(arguments).arg("--data-dir").arg(&self.data).stdin(Stdio::null());
        command.output().expect("apron can be run")
    }

    /// The standard output of a command that must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.apron(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "apron {arguments:?}: {}\n{out}{err}\n--- serve says:\n{}",
            output.status,
            self.log()
        );
        out
    }

    /// The whole output of a command that must fail.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.apron(arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!output.status.success(), "apron {arguments:?} succeeded:\n{said}");
        said
    }

    /// Host that the alias of a service goes by.
    pub fn alias(&self, service: &str) -> String {
        format!("{service}.apron.localhost")
    }

    /// Ends the supervisor with a signal and waits for it; the children of an orderly stop are gone too.
    pub fn stop(&mut self, signal: i32) {
        let Some(mut running) = self.serve.take() else { return };
        // SAFETY: takes numbers only; the child was not waited for, so the number is its.
        unsafe { libc::kill(running.child.id() as i32, signal) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(STOP_MAX, "the end of apron serve", || {
                running.child.try_wait().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())
            })
        }));
        if ended.is_err() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            panic!("apron serve did not stop; it says:\n{}", running.log.lock().unwrap());
        }
    }

    /// kill -9 of the supervisor and of every child.
    pub fn kill_everything(&mut self) {
        let children: Vec<Seen> = ["control", "node", "proxy"].map(|name| self.process(name)).into();
        self.stop(libc::SIGKILL);
        children.iter().for_each(Seen::kill);
    }

    /// Waits until the children of the records are gone.
    pub fn children_gone(&self) {
        for name in ["control", "node", "proxy"] {
            if let Some(seen) = self.record(name).and_then(|r| Seen::recorded(&r)) {
                seen.wait_gone(Duration::from_secs(10));
            }
        }
    }

    /// The first process of the service's only instance, as this machine numbers it.
    pub fn application(&self, service: &str) -> Seen {
        let living = self.applications(service);
        *living.first().unwrap_or_else(|| panic!("{service} has no living instance"))
    }

    /// The first process of each living instance of the service, of whatever revision.
    pub fn applications(&self, service: &str) -> Vec<Seen> {
        let read = |path: PathBuf| -> Option<Value> { serde_json::from_slice(&fs::read(path).ok()?).ok() };
        let node = self.data.join("node");
        let wanted = fs::read_dir(node.join("wanted")).expect("the wanted list").flatten();
        wanted
            .map(|entry| entry.path())
            // A file that is being replaced has a neighbour for a moment, which is of the same instance.
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(read)
            .filter(|wanted| wanted["spec"]["service_name"] == service)
            .filter_map(|wanted| {
                read(node.join("instances").join(wanted["spec"]["id"].as_str()?).join("state.json"))
            })
            .filter_map(|state| Seen::of(state["pid"].as_i64()? as i32))
            .collect()
    }

    /// A directory of this platform's data for what a test needs.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let dir = self.data.join("test").join(name);
        fs::create_dir_all(&dir).expect("a directory for the test");
        dir
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- apron serve says:\n{}", self.log());
        }
        if let Some(mut running) = self.serve.take() {
            // SAFETY: as in `stop`.
            unsafe { libc::kill(running.child.id() as i32, libc::SIGTERM) };
            let deadline = std::time::Instant::now() + STOP_MAX;
            while matches!(running.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        remove(&self.data);
    }
}

/// Removes a directory with every platform in it and all that these made on the machine, whatever state it is in.
pub fn remove(directory: &Path) {
    platforms(directory, 3).iter().for_each(|data| end(data));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|mount| mount.split(' ').nth(1)).map(Path::new);
    let below: Vec<&Path> = below.filter(|point| point.starts_with(directory)).collect();
    // What was mounted last lies on top.
    for point in below.into_iter().rev() {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
    let _ = fs::remove_dir_all(directory);
}

/// Data directories at this place and so many levels below it.
fn platforms(directory: &Path, levels: u32) -> Vec<PathBuf> {
    if directory.join("id").exists() || directory.join("run").exists() {
        return vec![directory.to_owned()];
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| levels > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.flat_map(|entry| platforms(&entry.path(), levels - 1)).collect()
}

fn end(data: &Path) {
    // The supervisor first: it would restart the others.
    for name in ["supervisor", "control", "node", "proxy"] {
        let record = fs::read(data.join(format!("run/{name}.json"))).unwrap_or_default();
        let record: Value = serde_json::from_slice(&record).unwrap_or_default();
        if let Some(seen) = Seen::recorded(&record) {
            seen.kill();
        }
    }
    if data.join("id").exists()
        && let Err(error) = apron_compute::local::purge::purge(data)
    {
        eprintln!("cannot remove what {} made: {error}", data.display());
    }
}

/// A new data directory. What test programs that were killed left behind is removed on the way.
pub fn new_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("e2e-").and_then(|n| n.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid| processes::Seen::of(pid).is_none()) {
            remove(&entry.path());
        }
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let data = root.join(format!("e2e-{}-{number}", std::process::id()));
    fs::create_dir_all(&data).expect("a data directory");
    data
}

/// Runs `apron serve` with flags that it must refuse; gives what it says.
pub fn serve_refused(data: &Path, flags: &[&str]) -> String {
    let mut child = Command::new(APRON)
        .arg("serve")
        .arg("--data-dir")
        .arg(data)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("apron serve can be started");
    let status = eventually(Duration::from_secs(20), "a refusal", || {
        child.try_wait().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())
    });
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(!status.success(), "it succeeded: {said}");
    said
}

/// Enough to see why a test failed.
fn last_lines(log: &str) -> String {
    const SHOWN: usize = 60;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
