//! Starts one child with its configuration, listeners, memory of counts and pipes.

use super::Role;
use super::process::Process;
use crate::children::{CONFIG_FD, COUNTS_FD, LISTENERS, SIGNS_FD};
use crate::listeners::{self, Listeners};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::SigSet;
use nix::unistd::pipe2;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Variables that every child gets of the supervisor's: where programs are, how to log, how to write the time.
/// Whatever else the platform was started with (a password, a token) is nobody's but the supervisor's.
/// `config::help` says so to people.
const FOR_ALL: [&str; 7] = ["PATH", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "RUST_LOG", "RUST_BACKTRACE"];
/// What the node gets on top: by these the tools that assemble base images reach the network, and builds are
/// given this machine's certificates.
const FOR_NODE: [&str; 8] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

fn passed_on(
    role: Role,
    variable: impl Fn(&str) -> Option<OsString>,
) -> impl Iterator<Item = (&'static str, OsString)> {
    let more: &[&str] = if role == Role::Node { &FOR_NODE } else { &[] };
    FOR_ALL.iter().chain(more).filter_map(move |name| Some((*name, variable(name)?)))
}

/// A child that was started and has not yet said anything.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: Process,
    /// Gives a byte when the child can work and one every `SIGN_PERIOD` from then on, and ends before the child.
    pub(super) signs: OwnedFd,
    /// Its standard output and error.
    pub(super) log: OwnedFd,
}

/// Starts `apron <role>`. `handover` is the JSON of `children::Handover`.
pub(super) fn start(
    role: Role,
    handover: &[u8],
    listeners: &[(&str, &Listeners)],
    counts: Option<&OwnedFd>,
) -> io::Result<Started> {
    let mut config = File::from(memfd_create(c"apron-config", MFdFlags::MFD_CLOEXEC)?);
    config.write_all(handover)?;
    config.rewind()?;
    let (signs, signs_of_child) = pipe2(OFlag::O_CLOEXEC)?;
    let (log, log_of_child) = pipe2(OFlag::O_CLOEXEC)?;
    // Both ends: the child loses what nobody reads rather than waits, and the reader runs in an event loop.
    for end in [signs.as_fd(), signs_of_child.as_fd(), log.as_fd(), log_of_child.as_fd()] {
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let mut inherited: Vec<RawFd> = vec![config.as_raw_fd(), signs_of_child.as_raw_fd()];
    inherited.extend(listeners.iter().flat_map(|(_, l)| l.sockets.iter().map(AsRawFd::as_raw_fd)));
    let counts = counts.map(AsRawFd::as_raw_fd);
    inherited.extend(counts);
    // The link names the very program that runs, also after the file was replaced by a newer one.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("apron")
        .arg(role.name())
        .env_clear()
        .envs(passed_on(role, |name| std::env::var_os(name)))
        .env(CONFIG_FD, config.as_raw_fd().to_string())
        .env(SIGNS_FD, signs_of_child.as_raw_fd().to_string())
        .env(LISTENERS, listeners::describe(listeners.iter().copied()))
        .envs(counts.map(|number| (COUNTS_FD, number.to_string())))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log_of_child.try_clone()?)
        .stderr(log_of_child);
    // SAFETY: between fork and exec only fcntl, close_range, umask, setsid and pthread_sigmask are called, which are
    // async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            // What the supervisor was itself given by whoever started it, a lock perhaps, is not for children that
            // outlive it. A kernel before 5.11 refuses, and passes it on.
            let above = libc::STDERR_FILENO as libc::c_uint + 1;
            libc::syscall(libc::SYS_close_range, above, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            // Modes are said where files are made; a stricter mask would close directories to instances' users.
            libc::umask(0o022);
            // A Ctrl-C in the terminal is for the supervisor, which then ends its children in order.
            nix::unistd::setsid()?;
            // Ours, or of whoever started us, may be held back just now; a child must hear that it is to end.
            SigSet::empty().thread_set_mask()?;
            for number in &inherited {
                fcntl(BorrowedFd::borrow_raw(*number), FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
    // The handle may be dropped: the process is waited for by its pidfd.
    let mut child = command.spawn()?;
    match Process::of_child(child.id() as i32) {
        Ok(process) => Ok(Started { process, signs, log }),
        Err(error) => {
            // Nobody could watch it, stop it or take over from it; both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_for_no_child_and_a_way_to_the_network_for_the_node() {
        let given = |name: &str| {
            ["PATH", "HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY", "APRON_DATA_DIR"]
                .contains(&name)
                .then(OsString::new)
        };
        let names = |role| passed_on(role, given).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(Role::Control), ["PATH"]);
        assert_eq!(names(Role::Proxy), ["PATH"]);
        assert_eq!(names(Role::Node), ["PATH", "HTTPS_PROXY"]);
    }
}
