//! The route table of this process: what is served, who serves it already, and what it counts.
//!
//! `apply` takes newer generations only. It publishes an immutable snapshot to every loop; `serving` is the
//! generation that the slowest of them has reached. What control is told, `acknowledged_generation`, is also on
//! disk: control takes an instance away once the tables that name it are acknowledged as replaced, and a proxy that
//! starts from the file after a kill must not go back to one of those.

use crate::balance::Instances;
use crate::queue::Bell;
use crate::route::{Host, Service, Snapshot};
use apron_activity::Region;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::routes::{Load, RouteChange, RouteTable};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A table that is not on disk after this long, such as on a full one, is acknowledged all the same: a deployment
/// and the traffic of the new revision matter more than a start from the file at the wrong moment.
const UNSAVED_TIME_MAX: Duration = Duration::from_secs(5);

pub(crate) struct Tables {
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// The table as it came, for the file.
    table: watch::Sender<Option<Arc<RouteTable>>>,
    instances: Mutex<Instances>,
    region: Arc<Region>,
    /// What each loop serves.
    loops: Mutex<Vec<Generation>>,
    disk: Mutex<Disk>,
    acknowledged: Notify,
    bell: Arc<Bell>,
}

/// What a proxy would start from.
#[derive(Default)]
struct Disk {
    saved: Generation,
    /// Since when the disk lags behind without having made a step.
    behind_since: Option<Instant>,
}

impl Disk {
    /// What may be acknowledged of this generation, which every loop serves.
    fn settled(&self, serving: Generation, now: Instant) -> Generation {
        match self.behind_since {
            Some(since) if now.duration_since(since) < UNSAVED_TIME_MAX => serving.min(self.saved),
            _ => serving,
        }
    }
}

/// Why a table was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotApplied {
    #[error("generation {offered:?} is not newer than {served:?}")]
    NotNewer { offered: Generation, served: Generation },
    #[error("the change begins at {base:?}, and here is {served:?}")]
    OtherBase { base: Generation, served: Generation },
}

impl Tables {
    pub(crate) fn sharing(loops: usize, region: Arc<Region>) -> Tables {
        let instances = Instances::new(region.clone());
        Tables {
            snapshot: watch::Sender::new(Arc::new(Snapshot::unknown())),
            table: watch::Sender::new(None),
            bell: instances.bell(),
            instances: Mutex::new(instances),
            region,
            loops: Mutex::new(vec![Generation::default(); loops]),
            disk: Mutex::default(),
            acknowledged: Notify::new(),
        }
    }

    pub(crate) fn apply(&self, table: RouteTable) -> Result<(), NotApplied> {
        let mut instances = lock(&self.instances);
        let served = self.generation();
        if table.generation <= served {
            return Err(NotApplied::NotNewer { offered: table.generation, served });
        }
        let snapshot = Arc::new(Snapshot::build(&table, &mut instances));
        // Before any loop can acknowledge it: from then on no place of an instance that it does not name is given
        // to a request that waits.
        instances.follow(&snapshot);
        self.publish(snapshot.clone());
        self.table.send_replace(Some(Arc::new(table)));
        pump(snapshot.services());
        Ok(())
    }

    /// The same of what a newer table changes, at the price of that.
    pub(crate) fn change(&self, change: &RouteChange) -> Result<(), NotApplied> {
        let mut instances = lock(&self.instances);
        let before = self.snapshot();
        let served = before.generation;
        if change.base != served || !before.known {
            return Err(NotApplied::OtherBase { base: change.base, served });
        }
        if change.generation <= served {
            return Err(NotApplied::NotNewer { offered: change.generation, served });
        }
        let (snapshot, made) = before.changed(change, &mut instances);
        instances.follow_change(&made, &change.gone);
        self.publish(Arc::new(snapshot));
        // For the file, behind what serves.
        self.table.send_modify(|table| {
            if let Some(table) = table {
                Arc::make_mut(table).change(change);
            }
        });
        pump(made.iter());
        Ok(())
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        // One step under the disk's lock: `saved` must not call the disk up to date between the two.
        let mut disk = lock(&self.disk);
        disk.behind_since.get_or_insert_with(Instant::now);
        self.snapshot.send_replace(snapshot);
    }

    /// The counts that this process shares with others.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The newest table that was applied; loops may still be on their way to it.
    pub(crate) fn generation(&self) -> Generation {
        self.snapshot.borrow().generation
    }

    /// Does the newest table name the host?
    pub(crate) fn knows(&self, host: &Host) -> bool {
        self.snapshot.borrow().find(host).is_some()
    }

    /// What loops serve, or are about to.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
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

    /// This table is on disk, or is no longer ours to keep.
    pub(crate) fn saved(&self, generation: Generation) {
        let mut disk = lock(&self.disk);
        disk.saved = disk.saved.max(generation);
        disk.behind_since = (disk.saved < self.generation()).then(Instant::now);
        drop(disk);
        self.acknowledged.notify_one();
    }

    /// What control may rely on: every loop serves it, and a successor would start from it.
    pub(crate) fn acknowledged_generation(&self) -> Generation {
        let serving = self.serving();
        lock(&self.disk).settled(serving, Instant::now())
    }

    /// What a new connection to control begins with: no more than is acknowledged, and of the newest epoch that was
    /// applied, since control begins one above it. No table has the counter 0.
    pub(crate) fn greeted_generation(&self) -> Generation {
        let newest = Generation { epoch: self.generation().epoch, counter: 0 };
        self.acknowledged_generation().max(newest)
    }

    /// The generation that every loop has reached.
    pub(crate) fn serving(&self) -> Generation {
        lock(&self.loops).iter().min().copied().unwrap_or_default()
    }

    /// Waits until a loop or the disk acknowledges; has one listener, `link`.
    pub(crate) async fn acknowledged(&self) {
        self.acknowledged.notified().await;
    }

    /// Requests in flight per instance.
    pub(crate) fn in_flight(&self) -> BTreeMap<InstanceId, u32> {
        let mut instances = lock(&self.instances);
        instances.forget_unused();
        instances.in_flight()
    }

    /// What services are asked for, where that is not what was told before; `told` learns it. Of these services, or of all.
    pub(crate) fn load(
        &self,
        told: &mut HashMap<ServiceId, Load>,
        services: Option<&BTreeSet<ServiceId>>,
    ) -> BTreeMap<ServiceId, Load> {
        let snapshot = self.snapshot();
        let mut news = BTreeMap::new();
        let mut tell = |service: &Arc<Service>| {
            let load = service.load();
            if told.get(&service.id).copied().unwrap_or_default() != load {
                told.insert(service.id.clone(), load);
                news.insert(service.id.clone(), load);
            }
        };
        match services {
            Some(some) => some.iter().filter_map(|id| snapshot.service(id)).for_each(tell),
            None => snapshot.services().for_each(&mut tell),
        }
        news
    }

    /// Rings when a line forms.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }
}

/// Lets requests go on that waited for what a table brings.
fn pump<'a>(services: impl Iterator<Item = &'a Arc<Service>>) {
    let lines = services.map(|service| &service.queue);
    lines.filter(|queue| queue.waiting() > 0).for_each(|queue| queue.pump());
}

/// Data behind these locks is whole after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl Tables {
    pub(crate) fn new(loops: usize) -> Tables {
        Tables::sharing(loops, Arc::new(Region::create().unwrap()))
    }
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
    fn a_table_is_acknowledged_when_it_is_on_disk_or_the_disk_had_its_time() {
        let generation = |counter| Generation { epoch: 1, counter };
        let since = Instant::now();
        let behind = Disk { saved: generation(1), behind_since: Some(since) };
        assert_eq!(behind.settled(generation(3), since), generation(1));
        assert_eq!(behind.settled(generation(3), since + UNSAVED_TIME_MAX), generation(3));

        let tables = Tables::new(1);
        assert!(tables.apply(table(1, 1)).is_ok() && tables.apply(table(1, 2)).is_ok());
        tables.acknowledge(0, generation(2));
        assert_eq!(tables.acknowledged_generation(), Generation::default());
        tables.saved(generation(1));
        assert_eq!(tables.acknowledged_generation(), generation(1));
        tables.saved(generation(2));
        assert_eq!(tables.acknowledged_generation(), generation(2));
        assert!(lock(&tables.disk).behind_since.is_none());
    }

    #[test]
    fn control_is_greeted_with_what_is_acknowledged_and_the_newest_epoch() {
        let tables = Tables::new(2);
        assert!(tables.apply(table(2, 7)).is_ok());
        tables.saved(Generation { epoch: 2, counter: 7 });
        tables.acknowledge(0, Generation { epoch: 2, counter: 7 });
        assert_eq!(tables.greeted_generation(), Generation { epoch: 2, counter: 0 });
        tables.acknowledge(1, Generation { epoch: 2, counter: 7 });
        assert_eq!(tables.greeted_generation(), Generation { epoch: 2, counter: 7 });
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
