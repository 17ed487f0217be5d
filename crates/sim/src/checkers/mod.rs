//! What must be true at every moment, and what must be true when all has come to rest: one module each.

pub(crate) mod configuration;
pub(crate) mod generations;
pub(crate) mod operations;
pub(crate) mod orphans;
pub(crate) mod scaling;
pub(crate) mod serving;
#[cfg(test)]
mod tests;

use apron_compute::sim::Effect;
use apron_model::ids::{Generation, InstanceId, RevisionNumber, ServiceId};
use apron_model::instance::Observed;
use apron_model::operation::Operation;
use apron_model::routes::RouteTable;
use apron_model::service::Revision;
use apron_model::time::Timestamp;
use apron_store::{ProxyProcess, ServiceRoutes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows and the world between two steps of the walk.
pub(crate) struct Seen {
    pub(crate) now: Timestamp,
    /// Every service that is not deleted, with its slots.
    pub(crate) services: Vec<ServiceRoutes>,
    /// Operations that were open when last looked at, as they are now.
    pub(crate) operations: Vec<Operation>,
    /// The revisions that services and slots name.
    pub(crate) revisions: BTreeMap<(ServiceId, RevisionNumber), Revision>,
    /// What the driver has.
    pub(crate) observed: Vec<Observed>,
    /// What the driver did since the last look.
    pub(crate) effects: Vec<Effect>,
    /// Containers that the walk put there, which no row knows.
    pub(crate) strangers: BTreeSet<InstanceId>,
    /// What proxies took since the last look.
    pub(crate) taken: Vec<Taken>,
    pub(crate) proxies: Vec<ProxySeen>,
    /// The newest table that control has made.
    pub(crate) table: Option<Arc<RouteTable>>,
    /// Instances that a fault has struck since the last look, or may strike at any time.
    pub(crate) ill: BTreeSet<InstanceId>,
    /// Which revision of which service the driver's containers are of.
    pub(crate) containers: BTreeMap<InstanceId, (ServiceId, RevisionNumber)>,
    /// Services that were seen to run with nothing open before this look: a deployment of them had succeeded when the
    /// tables of `taken` were made.
    pub(crate) ran: BTreeSet<ServiceId>,
    /// Services that somebody asked to pause or to delete, and that have not been seen to serve as ever since.
    pub(crate) stopped: BTreeSet<String>,
}

/// A proxy took another table.
pub(crate) struct Taken {
    pub(crate) process: ProxyProcess,
    pub(crate) before: Option<Arc<RouteTable>>,
    pub(crate) after: Arc<RouteTable>,
}

pub(crate) struct ProxySeen {
    pub(crate) process: ProxyProcess,
    pub(crate) generation: Generation,
    pub(crate) connected: bool,
}

impl Seen {
    pub(crate) fn service(&self, id: &ServiceId) -> Option<&ServiceRoutes> {
        self.services.iter().find(|row| row.service.id == *id)
    }
}

/// Looks on, and says what is wrong.
pub(crate) trait Checker {
    /// After every step.
    fn look(&mut self, seen: &Seen) -> Result<(), String>;

    /// When nothing is wrong any more: until all has come to rest it may find something, then nothing.
    fn rest(&mut self, seen: &Seen) -> Result<(), String>;
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(orphans::Orphans),
        Box::new(operations::Operations::default()),
        Box::new(scaling::Scaling::default()),
        Box::new(serving::Serving::default()),
        Box::new(generations::Generations::default()),
        Box::new(configuration::Configuration),
    ]
}
