//! The route table of this process: what is served, who serves it already, and what it counts.
//!
//! `apply` takes newer generations only. It publishes an immutable snapshot to every loop; `serving` is the
//! generation that the slowest of them has reached.

use crate::balance::Instances;
use crate::route::Snapshot;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::routes::RouteTable;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

pub(crate) struct Tables {
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// The table as it came, for the file.
    table: watch::Sender<Option<Arc<RouteTable>>>,
    instances: Mutex<Instances>,
    /// What each loop serves.
    loops: Mutex<Vec<Generation>>,
    acknowledged: Notify,
}

/// The answer to a table that is not newer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("generation {offered:?} is not newer than {served:?}")]
pub(crate) struct NotNewer {
    pub(crate) offered: Generation,
    pub(crate) served: Generation,
}

impl Tables {
    pub(crate) fn new(loops: usize) -> Tables {
        Tables {
            snapshot: watch::Sender::new(Arc::new(Snapshot::unknown())),
            table: watch::Sender::new(None),
            instances: Mutex::default(),
            loops: Mutex::new(vec![Generation::default(); loops]),
            acknowledged: Notify::new(),
        }
    }

    pub(crate) fn apply(&self, table: RouteTable) -> Result<(), NotNewer> {
        let mut instances = lock(&self.instances);
        let served = self.generation();
        if table.generation <= served {
            return Err(NotNewer { offered: table.generation, served });
        }
        let snapshot = Snapshot::build(&table, &mut instances);
        self.snapshot.send_replace(Arc::new(snapshot));
        self.table.send_replace(Some(Arc::new(table)));
        Ok(())
    }

    /// The newest table that was applied; loops may still be on their way to it.
    pub(crate) fn generation(&self) -> Generation {
        self.snapshot.borrow().generation
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    pub(crate) fn subscribe_table(&self) -> watch::Receiver<Option<Arc<RouteTable>>> {
        self.table.subscribe()
    }

    /// The loop of this number routes by this generation and by no older one.
    pub(crate) fn acknowledge(&self, number: usize, generation: Generation) {
        if let Some(slot) = lock(&self.loops).get_mut(number) {
            *slot = generation;
        }
        self.acknowledged.notify_one();
    }

    /// The generation that every loop has reached.
    pub(crate) fn serving(&self) -> Generation {
        lock(&self.loops).iter().min().copied().unwrap_or_default()
    }

    /// Waits until a loop acknowledges; has one listener, `link`.
    pub(crate) async fn acknowledged(&self) {
        self.acknowledged.notified().await;
    }

    /// Requests in flight per instance and requests answered per service.
    pub(crate) fn counts(&self) -> (BTreeMap<InstanceId, u32>, BTreeMap<ServiceId, u64>) {
        let mut instances = lock(&self.instances);
        instances.forget_unused();
        (instances.in_flight(), instances.requests())
    }
}

/// Data behind these locks is whole after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(epoch: u64, counter: u64) -> RouteTable {
        RouteTable { generation: Generation { epoch, counter }, services: Vec::new() }
    }

    #[test]
    fn only_newer_generations_are_applied() {
        let tables = Tables::new(1);
        assert!(tables.apply(table(1, 1)).is_ok());
        assert!(tables.apply(table(1, 1)).is_err());
        assert!(tables.apply(table(1, 2)).is_ok());
        assert!(tables.apply(table(2, 0)).is_ok());
        assert!(tables.apply(table(1, 9)).is_err());
        assert_eq!(tables.generation(), Generation { epoch: 2, counter: 0 });
    }

    #[test]
    fn a_table_is_served_when_the_last_loop_has_it() {
        let tables = Tables::new(2);
        let generation = Generation { epoch: 1, counter: 1 };
        tables.acknowledge(0, generation);
        assert_eq!(tables.serving(), Generation::default());
        tables.acknowledge(1, generation);
        assert_eq!(tables.serving(), generation);
    }
}
