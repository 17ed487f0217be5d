//! One instance as control wishes it and as its driver sees it.
//!
//! `InstanceSpec` is what crosses from control to the node. It cannot express a host path, a host namespace
//! or an unmapped user id: whoever takes control over gains containers, not the host.

use crate::idle::IdlePolicy;
use crate::ids::{Digest, Generation, InstanceId, RevisionNumber, ServiceId};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// A wished instance. Sending the same spec twice changes nothing; a newer generation may change limits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    pub id: InstanceId,
    pub generation: Generation,
    pub service: ServiceId,
    pub service_name: String,
    pub revision: RevisionNumber,
    /// Digest of the image manifest in the content store; layers and image configuration follow from it.
    pub image: Digest,
    pub command: Command,
    /// Everything the process is told beside the image's own `Env`; `PORT` and the context variables included.
    pub env: BTreeMap<String, String>,
    pub port: u16,
    pub size: InstanceSize,
    pub health: HealthCheck,
    /// So many milliseconds from each start wrong answers to the health check do not count yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub health_grace_ms: u64,
    /// Until it is healthy it has so many times its CPU.
    #[serde(default = "no_boost", skip_serializing_if = "is_no_boost")]
    pub startup_boost: u32,
    /// Milliseconds between SIGTERM and SIGKILL.
    pub stop_grace_ms: u64,
    /// What becomes of it while it has nothing to do.
    #[serde(default)]
    pub idle: IdlePolicy,
}

fn no_boost() -> u32 {
    1
}

fn is_no_boost(boost: &u32) -> bool {
    *boost == 1
}

fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

impl fmt::Debug for InstanceSpec {
    /// Without the values of variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InstanceSpec {
            id,
            generation,
            service,
            service_name,
            revision,
            image,
            command,
            env,
            port,
            size,
            health,
            health_grace_ms,
            startup_boost,
            stop_grace_ms,
            idle,
        } = self;
        let names: Vec<&String> = env.keys().collect();
        f.debug_struct("InstanceSpec")
            .field("id", id)
            .field("generation", generation)
            .field("service", service)
            .field("service_name", service_name)
            .field("revision", revision)
            .field("image", image)
            .field("command", command)
            .field("env", &names)
            .field("port", port)
            .field("size", size)
            .field("health", health)
            .field("health_grace_ms", health_grace_ms)
            .field("startup_boost", startup_boost)
            .field("stop_grace_ms", stop_grace_ms)
            .field("idle", idle)
            .finish()
    }
}

/// What to run. Plain words run without a shell; text that needs one goes through `/bin/sh -c`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The image's own Entrypoint and Cmd.
    Image,
    /// A start command for an image: replaces Entrypoint and Cmd.
    Argv(Vec<String>),
    Shell(String),
}

/// CPU and memory are limits, not reservations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSize {
    /// CPU units as AWS counts them: 1024 are one core.
    pub cpu_units: u32,
    pub memory_mib: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    pub protocol: HealthProtocol,
    pub interval_s: u32,
    pub timeout_s: u32,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
}

impl HealthCheck {
    /// So many milliseconds of wrong answers in a row, none healthy before them, show that an application has started
    /// and is not what the check expects: its threshold's number of them, an interval apart, and two at least.
    pub fn refused_after_ms(&self) -> u64 {
        let pauses = self.unhealthy_threshold.max(2) - 1;
        u64::from(self.interval_s.max(1)) * u64::from(pauses) * 1000
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthProtocol {
    Tcp,
    /// Healthy when the path answers 200 to 399.
    Http {
        path: String,
    },
}

/// The truth about one container, as its driver reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub id: InstanceId,
    pub generation: Generation,
    /// Belongs to the id for as long as the instance is wanted, over crash and restart.
    pub address: Option<SocketAddr>,
    pub phase: Phase,
    pub health: Health,
    /// How often the node started it anew, after an exit or after a start that failed for a passing reason.
    pub restarts: u32,
    /// How it ended the last time, kept while it is started anew: whoever looks late still learns why. Absent while
    /// the phase itself says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    pub waterfall: Waterfall,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Creating,
    Running,
    /// Stopped by itself. The node starts it anew with backoff; before its first healthy check control may
    /// instead take it as the reason to give a revision up.
    Exited(Exit),
    /// It could not be started at all.
    Failed(Fault),
    /// SIGTERM was sent; SIGKILL follows when the grace ends.
    Stopping,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out_of_memory: bool,
    /// Why the platform ended it, where it did: "wrote 3.2 GiB, the limit is 3 GiB".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The end of the application's output, oldest first; see `last_lines`.
    pub last_lines: Vec<String>,
}

impl Exit {
    /// How it ended, in words; App Runner's own for a code.
    pub fn how(&self) -> String {
        match (self.out_of_memory, self.code, self.signal) {
            _ if let Some(reason) = &self.reason => format!("It was ended because it {reason}"),
            (true, ..) => "It was ended because it needed more memory than the instance has".to_owned(),
            (false, Some(code), _) => format!("Container exit code: {code}"),
            (false, None, Some(signal)) => format!("Container ended by signal: {signal}"),
            (false, None, None) => "Container exit code: unknown".to_owned(),
        }
    }

    /// The last line of its output, which is mostly the error itself, as far as a sentence takes it.
    pub fn last_line(&self) -> Option<String> {
        let line = self.last_lines.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty())?;
        Some(line.chars().take(limits::REASON_LINE_CHARS_MAX).collect())
    }
}

/// The end of an output as it travels with a failure: at most `limits::LAST_LINES` and as much text as the limits
/// say, from the newest backwards, oldest first. Control characters, as of coloured output, are left out.
pub fn last_lines<S: AsRef<str>>(lines: &[S]) -> Vec<String> {
    let mut room = limits::LAST_LINES_BYTES_MAX;
    let mut kept = Vec::new();
    for line in lines.iter().rev().take(limits::LAST_LINES) {
        let line = shortened(line.as_ref(), limits::LAST_LINE_BYTES_MAX);
        // Quotes and a comma go around it.
        let Some(left) = room.checked_sub(json_bytes(&line) + 3) else { break };
        room = left;
        kept.push(line);
    }
    kept.reverse();
    kept
}

/// A sentence as it travels: on one line, and no longer than `limits::REASON_BYTES_MAX`.
pub fn reason(text: &str) -> String {
    shortened(&text.replace('\n', " "), limits::REASON_BYTES_MAX)
}

/// Text without control characters, other than tabs, cut where its JSON would be longer than `bytes_max`.
fn shortened(text: &str, bytes_max: usize) -> String {
    const CUT: char = '…';
    let plain: String = text.chars().filter(|c| *c == '\t' || !c.is_control()).collect();
    if json_bytes(&plain) <= bytes_max {
        return plain;
    }
    let mut room = bytes_max - CUT.len_utf8();
    let fits = |c: &char| {
        let left = room.checked_sub(json_character_bytes(*c));
        room = left.unwrap_or(0);
        left.is_some()
    };
    plain.chars().take_while(fits).chain([CUT]).collect()
}

fn json_bytes(text: &str) -> usize {
    text.chars().map(json_character_bytes).sum()
}

fn json_character_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\t' => 2,
        other => other.len_utf8(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not yet checked successfully since the process started.
    Starting {
        /// What is known of why not, e.g. "listening on 8000, expected 8080".
        hint: Option<String>,
    },
    Healthy,
    /// It has failed its checks since it was healthy, or answers wrongly and was never healthy.
    Unhealthy {
        /// The last answer: a status, a refused connection, a time-out.
        reason: String,
    },
}

impl Health {
    /// The hint, when it says that sockets were seen and none is the expected one: on another port, or on
    /// loopback only. Drivers begin such hints with one of these words, and others not.
    pub fn listens_elsewhere(&self) -> Option<&str> {
        match self {
            Health::Starting { hint: Some(hint) } => {
                ["listening on ", "listens on "].iter().any(|words| hint.starts_with(words)).then_some(hint)
            }
            Health::Starting { hint: None } | Health::Healthy | Health::Unhealthy { .. } => None,
        }
    }
}

/// Why something did not work, and whether another try may help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub permanent: bool,
    /// One sentence for the user: what, where, what would be right; see `limits::REASON_BYTES_MAX`.
    pub reason: String,
    /// The end of the output that explains it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

impl Fault {
    /// How a driver begins the reason when it cannot start an instance for want of memory.
    pub const NO_MEMORY: &str = "not enough memory to start";

    /// It could not be started for want of memory, which may come when something else ends.
    pub fn lacks_memory(&self) -> bool {
        !self.permanent && self.reason.starts_with(Self::NO_MEMORY)
    }

    pub fn permanent(reason: impl Into<String>) -> Self {
        Fault { permanent: true, reason: reason.into(), last_lines: Vec::new() }.bounded()
    }
    pub fn transient(reason: impl Into<String>) -> Self {
        Fault { permanent: false, reason: reason.into(), last_lines: Vec::new() }.bounded()
    }
    /// With its text cut to what may travel.
    pub fn bounded(self) -> Self {
        Fault { reason: reason(&self.reason), last_lines: last_lines(&self.last_lines), ..self }
    }
}

/// Milliseconds from the moment the node took the wish, for the latest start. Absent: not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waterfall {
    /// The image is unpacked, and not too many others are being started.
    pub queued_ms: Option<u32>,
    pub namespace_ms: Option<u32>,
    pub mount_ms: Option<u32>,
    pub exec_ms: Option<u32>,
    pub listening_ms: Option<u32>,
    pub healthy_ms: Option<u32>,
    /// Its first answer since it was healthy began: as late as it was asked.
    pub first_byte_ms: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_not_shown() {
        let mut spec = InstanceSpec {
            id: InstanceId::new("a"),
            generation: Generation::default(),
            service: ServiceId::new("b"),
            service_name: "c".to_owned(),
            revision: 1,
            image: Digest::new("d"),
            command: Command::Image,
            env: BTreeMap::new(),
            port: 1,
            size: InstanceSize { cpu_units: 1, memory_mib: 1 },
            health: HealthCheck {
                protocol: HealthProtocol::Tcp,
                interval_s: 1,
                timeout_s: 1,
                healthy_threshold: 1,
                unhealthy_threshold: 1,
            },
            health_grace_ms: 0,
            startup_boost: 1,
            stop_grace_ms: 1,
            idle: IdlePolicy::default(),
        };
        spec.env.insert("TOKEN".to_owned(), "very-secret".to_owned());
        let shown = format!("{spec:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("very-secret"), "{shown}");
    }

    #[test]
    fn last_lines_are_bounded_as_json() {
        assert_eq!(last_lines(&["one", "\u{1b}[31mtwo\tx"]), ["one", "[31mtwo\tx"]);
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(last_lines(&many), many[80..]);
        for nasty in ["\"", "\\", "\u{0}", "\u{fffd}", "€", "\u{10ffff}", "x"] {
            let lines: Vec<String> = (0..30).map(|_| nasty.repeat(16 * 1024)).collect();
            let kept = last_lines(&lines);
            let json = serde_json::to_string(&kept).unwrap();
            assert!(json.len() <= limits::LAST_LINES_BYTES_MAX + 2, "{nasty:?}: {}", json.len());
            assert!(nasty == "\u{0}" || kept.len() == 3, "{nasty:?}: {}", kept.len());
            let fault = Fault::transient(nasty.repeat(1 << 20));
            let json = serde_json::to_string(&fault.reason).unwrap();
            assert!(json.len() <= limits::REASON_BYTES_MAX + 2, "{nasty:?}: {}", json.len());
        }
        let short = Fault { permanent: true, reason: "a\nb".into(), last_lines: vec!["c".into()] };
        assert_eq!(short.clone().bounded(), Fault { reason: "a b".into(), ..short });
    }
}
