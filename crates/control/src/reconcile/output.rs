//! Output: what instances write is copied into the application log of their service, so that it outlives them.
//!
//! Where to read on is stored with the slot about once a second: after a kill some lines may be there twice,
//! none is lost that the driver still has.

use crate::engine::Hints;
use apron_compute::driver::{Driver, Output};
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::time::WallTime;
use apron_store::{Store, StoreError};
use apron_telemetry::{Line, Logs, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Hints that wait; of more only that there were some is kept.
pub(crate) const HINTS_MAX: usize = 1024;
/// Every instance is looked at this often even without a hint: the node drops one when many come at once. Each
/// look is a connection to the node, so with hundreds of quiet instances it must be rare.
const SCAN_EVERY: Duration = Duration::from_secs(60);
const STORE_EVERY: Duration = Duration::from_secs(1);
/// A chatty instance is read this often at most, so that many lines share one read.
const GATHER: Duration = Duration::from_millis(50);
/// Reads of one instance before others have their turn.
const READS_MAX: usize = 16;

pub(crate) struct Collector<D> {
    store: Store,
    driver: Arc<D>,
    logs: Logs,
    /// Instances whose output is followed, with how far it was read.
    following: BTreeMap<InstanceId, (ServiceId, u64)>,
    /// Offsets that are not stored yet.
    unsaved: BTreeSet<InstanceId>,
}

impl<D: Driver> Collector<D> {
    pub(crate) fn new(store: Store, driver: Arc<D>, logs: Logs) -> Collector<D> {
        Collector { store, driver, logs, following: BTreeMap::new(), unsaved: BTreeSet::new() }
    }

    pub(crate) async fn run(
        mut self,
        hints: Hints,
        mut output: mpsc::Receiver<InstanceId>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut scan = interval(SCAN_EVERY);
        let mut save = interval(STORE_EVERY);
        scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hinted = BTreeSet::new();
        let mut gathered_at = Instant::now();
        loop {
            tokio::select! {
                Some(id) = output.recv() => {
                    if hinted.is_empty() {
                        gathered_at = Instant::now() + GATHER;
                    }
                    hinted.insert(id);
                }
                () = sleep_until(gathered_at), if !hinted.is_empty() => {
                    for id in std::mem::take(&mut hinted) {
                        self.collect(&id).await;
                    }
                }
                () = hints.for_output() => self.scan().await,
                _ = scan.tick() => self.scan().await,
                _ = save.tick() => self.save().await,
                _ = shutdown.changed() => return self.save().await,
            }
        }
    }

    /// Looks at every instance that there is.
    pub(crate) async fn scan(&mut self) {
        match self.store.slot_list_all(&[]).await {
            Ok(read) => {
                let seen = read.slots.into_iter().filter(|slot| slot.fact.is_some()).map(|slot| slot.id);
                // Of one whose row cannot be read as a whole, what its output needs may be readable.
                let unreadable = read.unreadable.into_iter().map(|(id, _)| id);
                let present: BTreeSet<InstanceId> = seen.chain(unreadable).collect();
                self.following.retain(|id, _| present.contains(id) || self.unsaved.contains(id));
                for id in present {
                    self.collect(&id).await;
                }
            }
            Err(error) => tracing::warn!(error = %crate::chain(&error), "output is not collected"),
        }
    }

    /// Copies what is new of one instance.
    async fn collect(&mut self, id: &InstanceId) {
        if let Err(error) = self.try_collect(id).await {
            tracing::warn!(instance = %id, error = %crate::chain(&error), "output is not collected");
        }
    }

    async fn try_collect(&mut self, id: &InstanceId) -> Result<(), StoreError> {
        if !self.following.contains_key(id) {
            let Some(known) = self.store.slot_output_get(id).await? else { return Ok(()) };
            self.following.insert(id.clone(), known);
        }
        for _ in 0..READS_MAX {
            let Some((service, from)) = self.following.get(id).cloned() else { return Ok(()) };
            // An instance or a node that is not there: the next hint or scan comes.
            let Ok(Output { lines, next }) = self.driver.output(id, from).await else { return Ok(()) };
            if next == from {
                return Ok(());
            }
            let lines: Vec<Line> = lines
                .into_iter()
                .map(|line| Line {
                    at: WallTime(line.at_ms),
                    source: id.as_str().to_owned(),
                    text: line.text,
                })
                .collect();
            let stream = Stream::Application(service.clone());
            if let Err(error) = crate::blocking(|| self.logs.append_lines(&stream, &lines)) {
                tracing::warn!(error = %crate::chain(&error), "the application log takes no lines; they wait");
                return Ok(());
            }
            self.following.insert(id.clone(), (service, next));
            self.unsaved.insert(id.clone());
        }
        Ok(())
    }

    pub(crate) async fn save(&mut self) {
        let offsets: Vec<(InstanceId, u64)> =
            self.unsaved.iter().filter_map(|id| Some((id.clone(), self.following.get(id)?.1))).collect();
        if offsets.is_empty() {
            return;
        }
        match self.store.slot_output_put(&offsets).await {
            Ok(()) => self.unsaved.clear(),
            Err(error) => tracing::warn!(error = %crate::chain(&error), "read offsets are not stored"),
        }
    }
}
