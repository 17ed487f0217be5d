//! Keeps one child running: start, wait for ready, restart after an end or a silence, stop when asked.
//!
//! A child that works gives a sign of life every second. One that gives none for a while hangs: it is killed and
//! started anew. Children of an earlier supervisor give theirs to nobody; they are not kept, but replaced by the
//! takeover.

use super::Role;
use super::process::Process;
use super::record::{self, Former, Record};
use super::spawn::{self, Started};
use crate::children::SIGN_PERIOD;
use crate::listeners::Listeners;
use crate::log::{LINE_BYTES_MAX, say};
use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

/// The first pause after an end; each further one in a row is twice as long.
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(5);
/// From a start anew to the first sign of life: a node that was killed may have much to clear away first. The first
/// start of all has less time, since somebody waits for it.
const READY_MAX: Duration = Duration::from_secs(600);
/// A child that lived this long has earned a short pause again.
const SETTLED: Duration = Duration::from_secs(60);
/// The same of a proxy: users wait for the next one, and each of its starts costs little.
const PROXY_SETTLED: Duration = Duration::from_secs(5);
/// Control and node write what they hold and end; the proxy gets its drain time on top.
const END_GRACE: Duration = Duration::from_secs(10);
/// Signs of life in a row that a child may miss. Its lease with control ends after 2 s, and a deployment waits for a
/// proxy for 10 s; what the proxy does never waits for a disk, so that long without a turn it is no use to anyone.
const PROXY_SILENCE_MAX: u32 = 10;
/// Nothing that serves waits for these two, and a slow disk may hold up all that they do for seconds.
const OTHERS_SILENCE_MAX: u32 = 20;
/// Lines kept of each child for the report of a failed start.
const LAST_LINES: usize = 20;

/// What one child is started with, each time anew.
pub(super) struct Plan {
    pub(super) role: Role,
    pub(super) handover: Vec<u8>,
    pub(super) listeners: Vec<(&'static str, Arc<Listeners>)>,
    /// Where proxies count together.
    pub(super) counts: Option<Arc<OwnedFd>>,
    /// Proxies of before that may live.
    pub(super) former: Vec<Former>,
    /// The `run` directory.
    pub(super) run: PathBuf,
    /// After SIGTERM.
    pub(super) grace: Duration,
}

/// How far the platform is asked to go down. Only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    No,
    /// SIGTERM, the grace, SIGKILL.
    Orderly,
    /// Whoever asked, asked twice.
    Now,
}

/// What a keeper tells the supervisor.
#[derive(Debug)]
pub(super) enum Report {
    Ready(Role),
    /// It ended by itself or hung; `last_lines` is what it said, oldest first.
    Ended {
        role: Role,
        how: String,
        last_lines: Vec<String>,
    },
}

/// The grace of a role, with the time that a proxy may drain.
pub(super) fn grace(role: Role, drain: Duration) -> Duration {
    match role {
        Role::Proxy => drain + Duration::from_secs(2),
        Role::Control | Role::Node => END_GRACE,
    }
}

/// Runs until the child was stopped. Never gives up: whether a child that keeps dying is a failed start is for
/// the supervisor to decide.
pub(super) async fn keep(plan: Plan, mut stop: watch::Receiver<Stop>, reports: mpsc::Sender<Report>) {
    let mut failures = 0u32;
    while *stop.borrow() == Stop::No {
        let begun = Instant::now();
        let end = match started(&plan) {
            Ok(started) => watch_over(&plan, started, &mut stop, &reports).await,
            Err(error) => Some((format!("cannot be started: {error}"), Vec::new())),
        };
        let Some((how, last_lines)) = end else { return };
        let role = plan.role;
        tracing::error!(child = role.name(), "{} {how}", role.name());
        let _ = reports.send(Report::Ended { role, how, last_lines }).await;
        let lived = begun.elapsed();
        failures = if lived >= settled(role) { 0 } else { failures + 1 };
        tokio::select! {
            () = sleep(pause(role, failures)) => {}
            () = asked(&mut stop) => {}
        }
    }
}

/// How long to wait before the next start, after this many short lives in a row.
fn pause(role: Role, failures: u32) -> Duration {
    let doublings = match (role, failures) {
        // Connections wait in the backlog meanwhile.
        (Role::Proxy, 0 | 1) => return Duration::ZERO,
        (Role::Proxy, n) => n - 2,
        (Role::Control | Role::Node, n) => n.saturating_sub(1),
    };
    RESTART_FIRST.saturating_mul(1 << doublings.min(16)).min(RESTART_MAX)
}

fn started(plan: &Plan) -> std::io::Result<Started> {
    let listeners: Vec<(&str, &Listeners)> = plan.listeners.iter().map(|(n, l)| (*n, &**l)).collect();
    let started = spawn::start(plan.role, &plan.handover, &listeners, plan.counts.as_deref())?;
    let record = Record::new(&started.process, listeners);
    let record = record.counting_in(plan.counts.as_deref()).after(&plan.former);
    if let Err(error) = record::write(&plan.run, plan.role, &record) {
        // It serves all the same; only a takeover would not find it.
        tracing::error!(child = plan.role.name(), %error, "cannot write the record of a child");
    }
    Ok(started)
}

/// Waits for what comes first. None: it was stopped as asked; else how it ended and its last lines.
async fn watch_over(
    plan: &Plan,
    started: Started,
    stop: &mut watch::Receiver<Stop>,
    reports: &mpsc::Sender<Report>,
) -> Option<(String, Vec<String>)> {
    let Started { process, signs, log } = started;
    let last_lines = Arc::new(Mutex::new(VecDeque::new()));
    let pump = tokio::spawn(pump(plan.role, log, last_lines.clone()));
    let ready = reports.send(Report::Ready(plan.role));
    let end = tokio::select! {
        how = process.ended() => Some(how.to_string()),
        why = hangs(plan, signs, ready) => {
            process.signal(Signal::SIGKILL);
            let _ = timeout(END_GRACE, process.ended()).await;
            Some(why)
        }
        () = asked(stop) => None,
    };
    if end.is_none() {
        self::end(&process, plan.grace, stop).await;
    }
    // The pipe ends with the process and whatever inherited it; what it said last is worth a moment.
    let _ = timeout(Duration::from_millis(200), pump).await;
    let lines = std::mem::take(&mut *last_lines.lock().unwrap_or_else(PoisonError::into_inner));
    end.map(|how| (how, lines.into()))
}

/// Returns when the platform is asked to go down. A supervisor that dropped the sender asks for that too.
async fn asked(stop: &mut watch::Receiver<Stop>) {
    let _ = stop.wait_for(|s| *s > Stop::No).await;
}

/// Ends a process by SIGTERM and, after the grace or when it must be now, SIGKILL.
pub(super) async fn end(process: &Process, grace: Duration, stop: &mut watch::Receiver<Stop>) {
    process.signal(Signal::SIGTERM);
    tokio::select! {
        _ = process.ended() => return,
        () = sleep(grace) => tracing::warn!(pid = process.pid, "did not end in time and is killed"),
        _ = stop.wait_for(|s| *s == Stop::Now) => {}
    }
    process.signal(Signal::SIGKILL);
    let _ = timeout(END_GRACE, process.ended()).await;
}

/// Reads the signs of life until they fail, and says how; `ready` is awaited after the first.
///
/// Silence is counted in waits of this supervisor, not by the clock: a machine that was suspended, or a supervisor
/// that was itself late, adds one at most, and then finds what the child wrote meanwhile.
async fn hangs(plan: &Plan, signs: OwnedFd, ready: impl Future) -> String {
    let mut signs = match pipe::Receiver::from_owned_fd(signs) {
        Ok(signs) => signs,
        Err(error) => return format!("cannot be watched ({error}) and is killed"),
    };
    let mut bytes = [0u8; 64];
    let mut gives = async || matches!(signs.read(&mut bytes).await, Ok(1..));
    match timeout(READY_MAX, gives()).await {
        Ok(true) => drop(ready.await),
        Ok(false) => return ends(plan).await,
        Err(_) => return format!("was not ready after {} s and is killed", READY_MAX.as_secs()),
    }
    let mut missed = 0;
    while missed < silence_max(plan.role) {
        match timeout(SIGN_PERIOD, gives()).await {
            Ok(true) => missed = 0,
            Ok(false) => return ends(plan).await,
            Err(_) => missed += 1,
        }
    }
    let silence = SIGN_PERIOD * missed;
    format!("hangs: it gave no sign of life for {} s and is killed", silence.as_secs())
}

/// A child that closed its pipe is about to end by itself.
async fn ends(plan: &Plan) -> String {
    sleep(plan.grace).await;
    format!("was about to end, did not in {} s, and is killed", plan.grace.as_secs())
}

fn settled(role: Role) -> Duration {
    match role {
        Role::Proxy => PROXY_SETTLED,
        Role::Control | Role::Node => SETTLED,
    }
}

fn silence_max(role: Role) -> u32 {
    match role {
        Role::Proxy => PROXY_SILENCE_MAX,
        Role::Control | Role::Node => OTHERS_SILENCE_MAX,
    }
}

/// Prints the child's log lines under its name and remembers the last ones.
async fn pump(role: Role, pipe: OwnedFd, last_lines: Arc<Mutex<VecDeque<String>>>) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(pipe) else { return };
    let (mut pending, mut chunk) = (Vec::new(), vec![0u8; LINE_BYTES_MAX]);
    loop {
        let count = pipe.read(&mut chunk).await.unwrap_or(0);
        pending.extend_from_slice(&chunk[..count]);
        let ended = count == 0;
        if ended && !pending.is_empty() {
            pending.push(b'\n');
        }
        while let Some(at) = pending.iter().position(|b| *b == b'\n').or(cut(&pending)) {
            let row: Vec<u8> = pending.drain(..=at).collect();
            let line = String::from_utf8_lossy(&row);
            let line = line.trim_end();
            say(&format!("{:<7} {line}", role.name()));
            let mut last = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            last.push_back(line.to_owned());
            if last.len() > LAST_LINES {
                last.pop_front();
            }
        }
        if ended {
            return;
        }
    }
}

fn cut(pending: &[u8]) -> Option<usize> {
    (pending.len() >= LINE_BYTES_MAX).then_some(LINE_BYTES_MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded_and_a_proxy_returns_at_once() {
        let ms = |role, failures| pause(role, failures).as_millis();
        assert_eq!([1, 2, 3, 7, 60].map(|n| ms(Role::Control, n)), [100, 200, 400, 5000, 5000]);
        assert_eq!([0, 1, 2, 3].map(|n| ms(Role::Proxy, n)), [0, 0, 100, 200]);
        assert_eq!(ms(Role::Node, 0), 100);
    }

    /// What becomes of a proxy that gives its signs of life at these seconds and then closes its pipe, or not.
    async fn check(signs_at: &[u64], closes: bool, why: &str, after_s: u64) {
        let plan = Plan {
            role: Role::Proxy,
            handover: Vec::new(),
            listeners: Vec::new(),
            counts: None,
            former: Vec::new(),
            run: PathBuf::new(),
            grace: Duration::from_secs(32),
        };
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let begun = Instant::now();
        let child = async {
            for second in signs_at {
                tokio::time::sleep_until(begun + Duration::from_secs(*second)).await;
                nix::unistd::write(&writer, b"\n").unwrap();
            }
            let _open = (!closes).then_some(writer);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = child => {}
            said = hangs(&plan, reader, async {}) => assert!(said.contains(why), "{said}"),
        }
        assert_eq!(begun.elapsed().as_secs(), after_s, "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_child_hangs() {
        check(&[], false, "was not ready after 600 s", 600).await;
        check(&[50], false, "no sign of life for 10 s", 60).await;
        check(&[5, 14, 23, 24], false, "no sign of life for 10 s", 34).await;
        check(&[], true, "was about to end, did not in 32 s", 32).await;
        check(&[1, 2], true, "was about to end, did not in 32 s", 34).await;
    }

    #[tokio::test]
    async fn log_lines_are_kept_whole_and_bounded() {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let mut text: String = (0..30).map(|n| format!("line {n}\n")).collect();
        text.push_str("no newline");
        nix::unistd::write(&writer, text.as_bytes()).unwrap();
        drop(writer);
        let last = Arc::new(Mutex::new(VecDeque::new()));
        pump(Role::Node, reader, last.clone()).await;
        let last = last.lock().unwrap();
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last.back().map(String::as_str), Some("no newline"));
    }
}
