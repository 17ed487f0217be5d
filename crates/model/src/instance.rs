//! One instance as control wishes it and as its driver sees it.
//!
//! `InstanceSpec` is what crosses from control to the node. It cannot express a host path, a host namespace
//! or an unmapped user id: whoever takes control over gains containers, not the host.

use crate::ids::{Digest, Generation, InstanceId, RevisionNumber, ServiceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A wished instance. Sending the same spec twice changes nothing; a newer generation may change limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Milliseconds between SIGTERM and SIGKILL.
    pub stop_grace_ms: u64,
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
    /// How often the node started it anew after an exit.
    pub restarts: u32,
    /// How it ended the last time, kept while it is started anew: whoever looks late still learns why.
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
    /// The end of the application's output, oldest first; at most `limits::LAST_LINES`.
    pub last_lines: Vec<String>,
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
    /// One sentence for the user: what, where, what would be right.
    pub reason: String,
    /// The end of the output that explains it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

impl Fault {
    pub fn permanent(reason: impl Into<String>) -> Self {
        Fault { permanent: true, reason: reason.into(), last_lines: Vec::new() }
    }
    pub fn transient(reason: impl Into<String>) -> Self {
        Fault { permanent: false, reason: reason.into(), last_lines: Vec::new() }
    }
}

/// Milliseconds from the moment the node took the wish, for the latest start. Absent: not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waterfall {
    pub namespace_ms: Option<u32>,
    pub mount_ms: Option<u32>,
    pub exec_ms: Option<u32>,
    pub listening_ms: Option<u32>,
    pub healthy_ms: Option<u32>,
}
