//! What proxies see: one immutable table per generation, and the messages by which control and proxy speak.
//!
//! Messages are JSON, one per line, over a unix stream that the proxy opens to `run/control.sock`. The proxy
//! says `Hello`, then gets the newest table at once and each later one as it comes; it reports `Serving` when
//! all of its loops use a table, and renews its lease with `Status`.

use crate::ids::{Generation, InstanceId, RevisionNumber, ServiceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Version of the messages; a peer with another major number is refused with both numbers in the error.
pub const PROTOCOL_VERSION: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub generation: Generation,
    pub services: Vec<RouteService>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteService {
    pub id: ServiceId,
    pub name: String,
    /// Lower-case host names without a port; a host stands in one service only.
    pub hosts: Vec<String>,
    pub state: RouteState,
    pub revision: RevisionNumber,
    /// Target of concurrent requests per instance.
    pub max_concurrency: u32,
    pub instances: Vec<RouteInstance>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// Has instances, or will have them in a moment: a request without an instance waits.
    Serving,
    Paused,
    /// The first deployment has not succeeded.
    NotDeployed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInstance {
    pub id: InstanceId,
    pub address: SocketAddr,
}

/// From control to a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToProxy {
    Table(RouteTable),
    /// The peer speaks another version, or the table was older than what the proxy serves.
    Refused { reason: String },
}

/// From a proxy to control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromProxy {
    Hello {
        version: u32,
        pid: u32,
        /// What it serves from its saved table, so that control starts with an epoch above it.
        generation: Generation,
    },
    /// Every loop routes by this generation.
    Serving {
        generation: Generation,
    },
    /// Renews the lease, every `limits::PROXY_STATUS_MS`.
    Status {
        generation: Generation,
        /// Requests in flight per instance, also for instances that the table no longer names and that
        /// still have some. An instance that is absent has none.
        in_flight: BTreeMap<InstanceId, u32>,
        /// Requests answered since this proxy started, per service.
        requests: BTreeMap<ServiceId, u64>,
    },
}
