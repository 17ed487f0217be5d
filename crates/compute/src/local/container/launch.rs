//! Starting one container; the node's side.
//!
//! `Launcher::spawn` writes `launch.json` and runs `apron launch DIR`, or tells the directory to a process that waits
//! for one (`ahead`). Its single thread makes the mounts, creates the container and becomes its shim without a change
//! of pid (`create`). What happens on the way comes back over a pipe, one line a step, so that a program that cannot be
//! executed is an error of `spawn`.

use crate::local::container::ahead::{Ahead, Begun};
use crate::local::container::alive::{Alive, Found, adopt, stop_all};
use crate::local::container::cgroup::Limits;
use crate::local::container::pair::Pair;
use crate::local::instance::shim;
use apron_model::instance::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::local::container::create::{launch_ahead_main, launch_main};

/// Places inside the container that get mounts of ours; the empty files and directories that the upper layer
/// then shows there are not the application's.
pub const MOUNT_POINTS: [&str; 3] = ["/dev", "/proc", "/sys"];
/// What a launch says beside its status, in the instance's directory.
pub(super) const ERRORS: &str = "launch.log";
/// All steps of a launch. It takes tens of milliseconds; a machine that swaps may need seconds.
const SPAWN_WAIT: Duration = Duration::from_secs(30);
/// All that a launch may say.
const STATUS_BYTES_MAX: usize = 64 * 1024;

/// Why there is no container. The text is a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The same image and command will not start here at another time either.
    #[error("{0}")]
    Permanent(String),
    #[error("{0}")]
    Transient(String),
}

impl LaunchError {
    pub fn fault(&self) -> Fault {
        match self {
            LaunchError::Permanent(reason) => Fault::permanent(reason),
            LaunchError::Transient(reason) => Fault::transient(reason),
        }
    }
}

/// Everything that a container is made from. Written to `launch.json`, mode 0600: values of variables are
/// secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Id of the instance or build.
    pub id: String,
    pub pair: Pair,
    /// Unpacked layers, lowest first; owners on disk are the ids of the image.
    pub layers: Vec<PathBuf>,
    /// False: what the container writes begins empty. True: it finds what the container before it in the same
    /// directory wrote, for the steps of a build.
    pub keep_upper: bool,
    /// The program is looked up in the environment's PATH, inside the container.
    pub argv: Vec<String>,
    /// The whole environment. PATH and HOME are added when they are missing.
    pub env: BTreeMap<String, String>,
    /// Made when it is missing; "" is "/".
    pub cwd: String,
    /// As an image says it: "", a name or an id, a group after a colon.
    pub user: String,
    pub hostname: String,
    pub limits: Limits,
    /// So many times the CPU of its limits it has until somebody takes that away, where the machine has it.
    #[serde(default)]
    pub boost: u32,
    /// 0 to 1000: whom the kernel ends first when the machine runs out of memory.
    pub oom_score_adj: u16,
    pub files: Vec<ExtraFile>,
    pub mounts: Vec<HostMount>,
    /// `/apron-<data id>/<instance>`.
    pub cgroup: String,
    /// Where all shims of the platform are: `/apron-<data id>/shims`.
    pub shim_cgroup: String,
}

impl fmt::Debug for Launch {
    /// Without the environment's values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("Launch")
            .field("id", &self.id)
            .field("pair", &self.pair)
            .field("layers", &self.layers)
            .field("argv", &self.argv)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("limits", &self.limits)
            .field("boost", &self.boost)
            .field("cgroup", &self.cgroup)
            .finish_non_exhaustive()
    }
}

/// A read-only file of ours in the container, such as `/etc/resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFile {
    pub target: String,
    pub content: String,
}

/// A file or directory of the host in a build container; ids inside are the ids on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    pub source: PathBuf,
    pub target: String,
    pub read_only: bool,
}

/// The program that understands `launch DIR`, and processes of it that wait for a directory.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    ahead: Arc<Ahead>,
}

/// A container that runs, and when its start had come how far, in milliseconds since the call.
#[derive(Debug)]
pub struct Spawned {
    pub alive: Alive,
    pub timings: Timings,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    pub mount_ms: u32,
    pub exec_ms: u32,
}

impl Launcher {
    /// No process of it waits.
    pub fn new(program: impl Into<PathBuf>) -> Launcher {
        let program = program.into();
        let ahead = Arc::new(Ahead::new(program.clone(), String::new(), 0));
        Launcher { program, ahead }
    }

    /// This program itself.
    pub fn own() -> Launcher {
        Launcher::new("/proc/self/exe")
    }

    /// So many wait in the cgroup of the shims, once somebody fills the pool.
    pub fn with_ahead(self, shim_cgroup: String, ready: usize) -> Launcher {
        let ahead = Arc::new(Ahead::new(self.program.clone(), shim_cgroup, ready));
        Launcher { ahead, ..self }
    }

    /// Those that wait.
    pub fn ahead(&self) -> &Arc<Ahead> {
        &self.ahead
    }

    /// Starts a container in `dir` and returns when its program was executed. After an error nothing of it runs;
    /// `dir` stays, with the output of earlier starts.
    pub fn spawn(&self, dir: &Path, launch: &Launch) -> Result<Spawned, LaunchError> {
        let began = Instant::now();
        if let Found::Alive(alive) = adopt(dir) {
            let reason = format!("{} already runs, as process {}", launch.id, alive.pid());
            return Err(LaunchError::Transient(reason));
        }
        // A node that was killed may have left a container half made.
        stop_all(dir, &launch.cgroup)?;
        write_launch(dir, launch)?;
        let (mut child, report) = match self.follow_ahead(dir, launch, began)? {
            Some(followed) => followed,
            None => self.follow(dir, began)?,
        };
        let found = match report.result {
            Ok(()) => adopt(dir),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                // The container may have been created before the error.
                stop_all(dir, &launch.cgroup)?;
                return Err(error);
            }
        };
        match found {
            Found::Alive(alive) => Ok(Spawned { alive, timings: report.timings }),
            // It ran, and ended at once: for the caller it is a container that exits.
            _ => match shim::read_state(dir) {
                Ok(Some(state)) if state.exit.is_some() => {
                    // It ends right after it has published the exit.
                    let _ = child.wait();
                    let alive = Alive::ended_already(dir, state);
                    Ok(Spawned { alive, timings: report.timings })
                }
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    stop_all(dir, &launch.cgroup)?;
                    Err(LaunchError::Transient("the shim ended without a word".to_owned()))
                }
            },
        }
    }

    /// Follows the launch by a process that waited for it. None: none did, or it died before it said a word.
    fn follow_ahead(
        &self,
        dir: &Path,
        launch: &Launch,
        began: Instant,
    ) -> Result<Option<(Child, Report)>, LaunchError> {
        let Some(Begun { mut child, status }) = self.ahead.begin(dir, &launch.shim_cgroup) else {
            return Ok(None);
        };
        let report = read_status(status, began);
        if !report.is_silent {
            return Ok(Some((child, report)));
        }
        let _ = child.kill();
        let _ = child.wait();
        // It may have begun.
        stop_all(dir, &launch.cgroup)?;
        Ok(None)
    }

    /// Follows the launch by a process of its own.
    fn follow(&self, dir: &Path, began: Instant) -> Result<(Child, Report), LaunchError> {
        let (status, writer) = io::pipe().map_err(|error| transient("make a pipe", error))?;
        let errors = fs::File::create(dir.join(ERRORS))
            .map_err(|error| transient(&format!("write in {}", dir.display()), error))?;
        let child = Command::new(&self.program)
            .arg("launch")
            .arg(dir)
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .spawn()
            .map_err(|error| transient(&format!("run {}", self.program.display()), error))?;
        Ok((child, read_status(status, began)))
    }
}

fn write_launch(dir: &Path, launch: &Launch) -> Result<(), LaunchError> {
    let failed = |error| transient(&format!("write in {}", dir.display()), error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let next = dir.join("launch.json.next");
    let text = serde_json::to_vec(launch).map_err(|error| failed(error.into()))?;
    // One that a killed node left may have another mode.
    let _ = fs::remove_file(&next);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next);
    file.and_then(|mut file| file.write_all(&text)).map_err(failed)?;
    fs::rename(&next, dir.join("launch.json")).map_err(failed)?;
    // The state of an earlier start must not be taken for this one's.
    match fs::remove_file(dir.join("state.json")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

struct Report {
    timings: Timings,
    result: Result<(), LaunchError>,
    /// It ended and had said nothing.
    is_silent: bool,
}

/// Follows a launch to its end: the shim's `started`, an error, or silence.
fn read_status(mut status: io::PipeReader, began: Instant) -> Report {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut report = Report { timings: Timings::default(), result: Ok(()), is_silent: false };
    let mut text = Vec::new();
    let mut lines_read = 0;
    loop {
        let left = SPAWN_WAIT.saturating_sub(began.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(status.as_fd(), PollFlags::POLLIN)], timeout);
        if ready == Ok(0) {
            let seconds = SPAWN_WAIT.as_secs();
            let reason = format!("the container was not created within {seconds} s");
            report.result = Err(LaunchError::Transient(reason));
            return report;
        }
        let mut bytes = [0u8; 4096];
        let count = match status.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                report.result = Err(transient("read what the launch says", error));
                return report;
            }
        };
        text.extend_from_slice(&bytes[..count]);
        while let Some(length) = text[lines_read..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&text[lines_read..lines_read + length]).into_owned();
            lines_read += length + 1;
            let elapsed_ms = began.elapsed().as_millis() as u32;
            match Step::parse(&line) {
                Step::Mounted => report.timings.mount_ms = elapsed_ms,
                Step::Executed => report.timings.exec_ms = elapsed_ms,
                Step::Started => return report,
                Step::Failed(error) => {
                    report.result = Err(error);
                    return report;
                }
            }
        }
        if count == 0 || text.len() > STATUS_BYTES_MAX {
            let reason = "the launch ended before the container was started".to_owned();
            report.result = Err(LaunchError::Transient(reason));
            report.is_silent = text.is_empty();
            return report;
        }
    }
}

/// One line that a launch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Mounted,
    Executed,
    /// Said by the shim.
    Started,
    Failed(LaunchError),
}

impl Step {
    fn parse(line: &str) -> Step {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "mounted" => Step::Mounted,
            "executed" => Step::Executed,
            "started" => Step::Started,
            "permanent" => Step::Failed(LaunchError::Permanent(rest.to_owned())),
            "transient" => Step::Failed(LaunchError::Transient(rest.to_owned())),
            // The shim names an errno and what it was about.
            "failed" => {
                let (errno, what) = rest.split_once(' ').unwrap_or((rest, "its start"));
                let error = io::Error::from_raw_os_error(errno.parse().unwrap_or(0));
                Step::Failed(LaunchError::Transient(format!("the shim failed at {what}: {error}")))
            }
            _ => Step::Failed(LaunchError::Transient(format!("the launch said: {line}"))),
        }
    }

    /// As one line, whatever the sentence holds.
    pub(crate) fn line(&self) -> String {
        let one_line = |text: &str| text.replace(['\n', '\r'], " ");
        match self {
            Step::Mounted => "mounted\n".to_owned(),
            Step::Executed => "executed\n".to_owned(),
            Step::Started => "started\n".to_owned(),
            Step::Failed(LaunchError::Permanent(reason)) => format!("permanent {}\n", one_line(reason)),
            Step::Failed(LaunchError::Transient(reason)) => format!("transient {}\n", one_line(reason)),
        }
    }
}

pub(crate) fn transient(action: &str, error: impl std::error::Error) -> LaunchError {
    let mut reason = format!("cannot {action}: {error}");
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !reason.ends_with(&inner_text) {
            reason.push_str(": ");
            reason.push_str(&inner_text);
        }
        source = inner.source();
    }
    LaunchError::Transient(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_dies_without_a_word_is_told_from_who_said_something() {
        for (said, is_silent) in [("", true), ("mounted\n", false), ("moun", false)] {
            let (status, mut writer) = io::pipe().unwrap();
            writer.write_all(said.as_bytes()).unwrap();
            drop(writer);
            let report = read_status(status, Instant::now());
            assert_eq!(report.is_silent, is_silent, "{said:?}");
            assert!(matches!(report.result, Err(LaunchError::Transient(_))));
        }
    }

    #[test]
    fn steps_are_read_as_written() {
        let steps = [
            Step::Mounted,
            Step::Executed,
            Step::Started,
            Step::Failed(LaunchError::Permanent("no such program".into())),
            Step::Failed(LaunchError::Transient("disk full".into())),
        ];
        for step in steps {
            assert_eq!(Step::parse(step.line().trim_end()), step);
        }
        let broken = Step::Failed(LaunchError::Permanent("two\nlines".into()));
        assert_eq!(broken.line(), "permanent two lines\n");
        let Step::Failed(LaunchError::Transient(reason)) = Step::parse("failed 28 state.json") else {
            panic!("a failure")
        };
        assert!(reason.starts_with("the shim failed at state.json: No space left"), "{reason}");
    }
}
