//! SIGUSR2: the program that lies on disk now takes the place of this one (decision 15).
//!
//! It is looked at first: one that does not run, or does not take the settings, changes nothing. Then this process
//! becomes it by execve, with the same process id. The listening sockets stay open across that; for everything else it is a
//! start after the death of this supervisor, and takes over from the children as that does.

use super::process;
use super::record::Record;
use crate::children;
use crate::listeners::{self, Listeners};
use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::execve;
use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Holds the record of this process for the next program: its number and start time, which stay, and its listening
/// sockets.
const LEFT: &str = "APRON_LEFT";
/// How long a program may take to say its version, and to read the settings. It may have to be read from a slow disk.
const ASK_MAX: Duration = Duration::from_secs(10);
const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// What is shown of what it says.
const SAID_BYTES_MAX: usize = 2048;
/// Of links to a file that was removed, in /proc.
const DELETED: &str = " (deleted)";
/// Those that would end a program which does not wait for them yet.
const HELD: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2];

/// The program by the name that it was started by, which may stand for another file later.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
}

impl Program {
    /// That of this process. A link is not resolved, so that it may be made to point to the next program.
    pub(super) fn of_this_process() -> Result<Program> {
        let running = fs::metadata("/proc/self/exe").context("cannot look at the running program")?;
        let named = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let by_name = match named.components().count() {
            // As the shell that started it found it.
            1 => std::env::var_os("PATH")
                .map(|path| std::env::split_paths(&path).map(|dir| dir.join(&named)).collect())
                .unwrap_or_default(),
            _ => Vec::from_iter(std::path::absolute(&named)),
        };
        let runs = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == (running.dev(), running.ino()))
        };
        let path = match by_name.into_iter().find(runs) {
            Some(path) => path,
            None => present(std::env::current_exe().context("cannot find the running program")?),
        };
        Ok(Program { path })
    }

    /// Has the program say its version and read the settings, and gives the version. Blocking.
    fn look_at(&self) -> Result<String> {
        let version = self.ask(&["--version".into()])?;
        if !version.starts_with("apron ") {
            bail!("{} is not apron; it says '{version}'", self.path.display());
        }
        let arguments: Vec<OsString> = std::env::args_os().skip(1).chain(["--check".into()]).collect();
        self.ask(&arguments)?;
        Ok(version)
    }

    /// What it prints, once it has ended well.
    fn ask(&self, arguments: &[OsString]) -> Result<String> {
        let mut child = Command::new(&self.path)
            .args(arguments)
            .env_remove(LEFT)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be run", self.path.display()))?;
        let deadline = Instant::now() + ASK_MAX;
        let status = loop {
            let ended = child.try_wait().context("cannot wait for it")?;
            match ended {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(LOOK_PERIOD),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    bail!("{} did not answer in {} s", self.path.display(), ASK_MAX.as_secs());
                }
            }
        };
        let (out, err) =
            (child.stdout.map(said).unwrap_or_default(), child.stderr.map(said).unwrap_or_default());
        if !status.success() {
            let why = if err.is_empty() { out } else { err };
            bail!(
                "{} ended with {status}{}{why}",
                self.path.display(),
                if why.is_empty() { "" } else { ": " }
            );
        }
        Ok(out)
    }

    /// Becomes the program, with these sockets open, while signals are held. Returns only what kept it from that; then
    /// nothing has changed.
    pub(super) fn become_it<'a>(
        &self,
        sockets: impl IntoIterator<Item = (&'a str, &'a Listeners)>,
    ) -> anyhow::Error {
        let sockets: Vec<(&str, &Listeners)> = sockets.into_iter().collect();
        let error = match prepare(&self.path, &sockets) {
            // SIGPIPE stays ignored and everything else of ours is closed on exec; std's `Command::exec` would change
            // this process before it can fail.
            Ok((path, arguments, variables)) => {
                execve(&path, &arguments, &variables).err().map(anyhow::Error::from)
            }
            Err(error) => Some(error),
        };
        let _ = keep_across(&sockets, false);
        let error = error.unwrap_or_else(|| anyhow::anyhow!("execve returned"));
        error.context(format!("{} cannot be run", self.path.display()))
    }
}

/// The path, arguments and variables for execve, after everything else that could fail.
fn prepare(path: &Path, sockets: &[(&str, &Listeners)]) -> Result<(CString, Vec<CString>, Vec<CString>)> {
    let text = |bytes: Vec<u8>| CString::new(bytes).context("a zero byte");
    let arguments: Result<Vec<CString>> =
        std::env::args_os().map(|argument| text(argument.into_vec())).collect();
    let variable = |name: OsString, value: &[u8]| text([name.as_bytes(), b"=", value].concat());
    let left = Record::of_this_process(sockets.iter().copied());
    let left = serde_json::to_vec(&left).expect("numbers and strings always have a JSON form");
    let variables: Result<Vec<CString>> = std::env::vars_os()
        .filter(|(name, _)| name != LEFT)
        .map(|(name, value)| variable(name, value.as_bytes()))
        .chain([variable(LEFT.into(), &left)])
        .collect();
    let prepared = (text(path.as_os_str().as_bytes().to_vec())?, arguments?, variables?);
    keep_across(sockets, true).context("cannot keep the listening sockets open")?;
    Ok(prepared)
}

/// Whether the sockets stay open when another program is executed.
fn keep_across(sockets: &[(&str, &Listeners)], stay: bool) -> nix::Result<()> {
    let flag = if stay { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    let mut all = sockets.iter().flat_map(|(_, listeners)| &listeners.sockets);
    all.try_for_each(|socket| fcntl(socket, FcntlArg::F_SETFD(flag)).map(drop))
}

fn held() -> SigSet {
    HELD.into_iter().collect()
}

/// Keeps signals from this thread. Those that no thread takes wait, also until another program is there to take them.
pub(crate) fn hold_signals() {
    if let Err(error) = held().thread_block() {
        tracing::error!(%error, "signals cannot be held back");
    }
}

/// The calling thread takes signals, also those that were held back while one program became the other. Called when
/// they are waited for.
pub(super) fn let_signals_in() {
    if let Err(error) = held().thread_unblock() {
        tracing::error!(%error, "signals may not be heard");
    }
}

/// Takes the listening sockets of the program that this process was before, if it was one. Called once.
pub(super) fn kept() -> BTreeMap<String, Listeners> {
    let mut listeners: BTreeMap<String, Listeners> = BTreeMap::new();
    let Some(text) = std::env::var_os(LEFT) else { return listeners };
    let left: Record = match serde_json::from_slice(text.as_bytes()) {
        Ok(left) => left,
        Err(error) => {
            tracing::error!(%error, "what the program before this one left is not understood");
            return listeners;
        }
    };
    let own = std::process::id() as i32;
    // Anyone may set a variable; only in this very process the numbers mean what they say.
    if (left.pid, Some(left.start_time)) != (own, process::start_time(own)) {
        return listeners;
    }
    for one in &left.listeners {
        match children::inherited(&one.fd) {
            Ok(socket) if listeners::listening_address(&socket) == Some(one.addr) => listeners
                .entry(one.name.clone())
                .or_insert_with(|| Listeners { address: one.addr, sockets: Vec::new() })
                .sockets
                .push(socket),
            Ok(_) => tracing::warn!(fd = one.fd, "a listener that was kept is none"),
            Err(error) => tracing::warn!(fd = one.fd, "a listener was not kept: {error:#}"),
        }
    }
    listeners
}

/// Takes note of children of the program before this one that ended before anybody waited for them. Called before
/// there are other children; those that live are found already, and waited for by their pidfds.
pub(super) fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// Looks at the program on disk for each SIGUSR2, and gives the version of one that works. What does not work is said.
pub(super) fn requests(program: Program) -> Result<mpsc::Receiver<String>> {
    let mut asked = signal(SignalKind::user_defined2()).context("cannot wait for SIGUSR2")?;
    // One may wait while the platform starts; a second would mean the same.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while asked.recv().await.is_some() {
            let program = program.clone();
            match tokio::task::spawn_blocking(move || program.look_at()).await {
                Ok(Ok(version)) => {
                    if sender.send(version).await.is_err() {
                        return;
                    }
                }
                Ok(Err(error)) => tracing::error!("this program stays: {error:#}"),
                // A panic in there has been said on stderr.
                Err(_) => {}
            }
        }
    });
    Ok(receiver)
}

/// What a program that has ended left in a pipe, which something that it started may still hold open.
fn said(mut pipe: impl Read + AsFd) -> String {
    let mut bytes = vec![0; SAID_BYTES_MAX];
    let count = match does_not_wait(pipe.as_fd()) {
        Ok(()) => pipe.read(&mut bytes).unwrap_or(0),
        Err(_) => 0,
    };
    String::from_utf8_lossy(&bytes[..count]).trim().to_owned()
}

fn does_not_wait(pipe: BorrowedFd<'_>) -> nix::Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

/// The path of a program whose file was replaced while it ran.
fn present(link: PathBuf) -> PathBuf {
    let text = link.as_os_str().as_bytes();
    match text.strip_suffix(DELETED.as_bytes()) {
        Some(path) if !link.exists() => PathBuf::from(OsString::from_vec(path.to_vec())),
        _ => link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;

    #[test]
    fn a_path_is_found_again_when_its_file_was_replaced() {
        assert_eq!(present("/gone/apron (deleted)".into()), Path::new("/gone/apron"));
        assert_eq!(present("/proc/self/exe".into()), Path::new("/proc/self/exe"));
        let scratch = Scratch::new();
        let named_so = scratch.path().join("apron (deleted)");
        fs::write(&named_so, "").unwrap();
        assert_eq!(present(named_so.clone()), named_so);
    }

    fn check(script: &str, expect: Result<&str, &str>) {
        let answer = Program { path: "/bin/sh".into() }.ask(&["-c".into(), script.into()]);
        match (answer, expect) {
            (Ok(said), Ok(expected)) => assert_eq!(said, expected),
            (Err(error), Err(why)) => assert!(format!("{error:#}").contains(why), "{error:#}"),
            other => panic!("{script}: {other:?}"),
        }
    }

    #[test]
    fn a_program_is_asked_and_believed_only_when_it_ends_well() {
        check("echo apron 1.2.3", Ok("apron 1.2.3"));
        // Who holds the pipe open is not waited for.
        check("sleep 2 & echo said", Ok("said"));
        check("echo out; echo why >&2; exit 3", Err("exit status: 3: why"));
        check("kill -9 $$", Err("signal: 9"));
        let missing = Program { path: "/nonexistent/apron".into() };
        assert!(missing.look_at().unwrap_err().to_string().contains("/nonexistent/apron cannot be run"));
    }

    #[test]
    fn the_running_program_is_found_and_another_one_is_not_taken() {
        let program = Program::of_this_process().unwrap();
        assert!(program.path.is_file(), "{}", program.path.display());
        let stranger = Program { path: "/bin/echo".into() };
        assert!(stranger.look_at().unwrap_err().to_string().contains("is not apron"));
    }
}
