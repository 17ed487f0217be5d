//! Instances: the driver's containers follow the slots' wishes, and what the driver sees becomes facts.

use super::backoff;
use crate::clock::Clock;
use crate::engine::{Epoch, Hints};
use apron_compute::driver::{Driver, DriverError, Hint};
use apron_model::ids::{Generation, InstanceId};
use apron_model::instance::{InstanceSpec, Observed};
use apron_model::limits;
use apron_model::reconcile::{self, Slot, SlotWish, Step};
use apron_model::run;
use apron_model::time::Timestamp;
use apron_store::{SlotsRead, Store, StoreError};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

const SCAN_EVERY: Duration = Duration::from_secs(5);
/// After something was done, what came of it is looked at; sooner if the driver hints.
const ACTED_PAUSE: Duration = Duration::from_millis(20);
/// A pass reads every instance. Between two of them is as much time as the last one took, at most this: news that comes
/// faster, of a hundred starts, is taken together.
const REST_MAX: Duration = Duration::from_millis(100);
/// What the driver refused for an instance, to make or to remove it, is asked again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// Instances that are left alone, and remembered so that each is reported once.
const REPORTED_MAX: usize = 1024;

pub(crate) struct Instances<D> {
    store: Store,
    driver: Arc<D>,
    clock: Arc<dyn Clock>,
    hints: Hints,
    epoch: Epoch,
    refused: BTreeMap<InstanceId, Timestamp>,
    reported: BTreeSet<InstanceId>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the driver failed")]
    Driver(#[from] DriverError),
}

impl<D: Driver> Instances<D> {
    pub(crate) fn new(
        store: Store,
        driver: Arc<D>,
        clock: Arc<dyn Clock>,
        hints: Hints,
        epoch: Epoch,
    ) -> Self {
        Instances { store, driver, clock, hints, epoch, refused: BTreeMap::new(), reported: BTreeSet::new() }
    }

    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let passed = self.pass().await;
            let rest = began.elapsed().min(REST_MAX);
            let pause = match passed {
                Ok(acted) => {
                    failures = 0;
                    if acted { ACTED_PAUSE } else { SCAN_EVERY }
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(error = %crate::chain(&error), "instances cannot be looked after");
                    }
                    failures += 1;
                    backoff(failures)
                }
            };
            // After a failure hints do not shorten the pause: they would come as fast as it fails.
            let hinted = async {
                tokio::time::sleep(rest).await;
                self.hints.for_instances().await;
            };
            tokio::select! {
                () = hinted, if failures == 0 => {}
                () = tokio::time::sleep(pause.max(rest)) => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Records what is seen, then does what is missing. True when it did something, so that another look is due.
    pub(crate) async fn pass(&mut self) -> Result<bool, PassError> {
        // Only this pass makes containers, so rows that are read after the list miss none of them.
        let observed = self.driver.list().await?;
        let present: Vec<InstanceId> = observed.iter().map(|one| one.id.clone()).collect();
        let SlotsRead { slots, unreadable } = self.store.slot_list_all(&present).await?;
        // What becomes of the instance of such a row nobody knows: it is left alone, and so it is not told of below.
        for (id, error) in unreadable {
            if self.reported.len() < REPORTED_MAX && self.reported.insert(id.clone()) {
                tracing::error!(instance = %id, %error, "its row cannot be read; it is left alone");
            }
        }
        self.record(&slots, &observed).await?;
        let now = self.clock.now();
        self.refused.retain(|_, until| *until > now);
        let steps = reconcile::diff(&slots, &observed);
        let mut acted = false;
        let mut gone = Vec::new();
        for step in steps {
            match step {
                Step::Ensure(id) => {
                    if !self.refused.contains_key(&id)
                        && let Some(slot) = slots.iter().find(|slot| slot.id == id)
                    {
                        acted |= self.ensure(slot).await?;
                    }
                }
                Step::Remove(id) => acted |= !self.refused.contains_key(&id) && self.remove(id).await?,
                Step::Gone(id) => {
                    let left = slots.iter().find(|slot| slot.id == id);
                    gone.extend(left.map(|slot| reconcile::gone(slot, now)));
                }
                Step::Raise(id, epoch) => acted |= self.raise(id, epoch).await?,
                Step::Report(id) => {
                    if self.reported.len() < REPORTED_MAX && self.reported.insert(id.clone()) {
                        tracing::warn!(instance = %id, "runs here, but no row knows it; it is left alone");
                    }
                }
            }
        }
        if !gone.is_empty() {
            self.store.slot_gone(&gone, self.clock.now(), self.clock.wall()).await?;
            self.hints.operation();
            self.hints.routes();
        }
        Ok(acted)
    }

    /// Writes the facts that changed.
    async fn record(&self, slots: &[Slot], observed: &[Observed]) -> Result<(), StoreError> {
        let seen: BTreeMap<&InstanceId, &Observed> = observed.iter().map(|one| (&one.id, one)).collect();
        let mut changed = Vec::new();
        for slot in slots.iter().filter(|slot| slot.wish != SlotWish::Gone) {
            let fact = seen.get(&slot.id).map(|one| (*one).clone());
            // With the row goes the fact, and whoever ends the row tells what became of it.
            if fact.is_none() && !slot.wish.runs() {
                continue;
            }
            let refused = fact.is_none() && self.refused.contains_key(&slot.id);
            if fact != slot.fact && !refused {
                changed.push(reconcile::change(slot, fact));
            }
        }
        if !changed.is_empty() {
            self.store.slot_facts_put(&changed, self.clock.now(), self.clock.wall()).await?;
            self.hints.operation();
            self.hints.routes();
        }
        Ok(())
    }

    /// False when there is nothing to hand over yet, or it was refused.
    async fn ensure(&mut self, slot: &Slot) -> Result<bool, PassError> {
        let reason = match self.spec(slot).await {
            Ok(Some(spec)) => match self.driver.ensure(&spec).await {
                Ok(()) => return Ok(true),
                Err(DriverError::Refused(reason)) => reason,
                Err(error) => return Err(error.into()),
            },
            // What is wrong with the rows of one instance must not keep the others from theirs.
            Ok(None) => "The revision of the instance is missing or has no image.".to_owned(),
            Err(error @ StoreError::Corrupt { .. }) => {
                format!("The rows of the instance cannot be read: {error}.")
            }
            Err(error) => return Err(error.into()),
        };
        tracing::warn!(instance = %slot.id, reason, "an instance is refused");
        let change = reconcile::change(slot, Some(reconcile::refused(slot, reason)));
        self.refused.insert(slot.id.clone(), self.clock.now() + REFUSED_PAUSE);
        self.store.slot_facts_put(&[change], self.clock.now(), self.clock.wall()).await?;
        self.hints.operation();
        Ok(false)
    }

    /// False when it was refused: the node's disk is full, say.
    async fn remove(&mut self, id: InstanceId) -> Result<bool, PassError> {
        match self.driver.remove(&id, Duration::from_millis(limits::STOP_GRACE_MS)).await {
            Ok(()) => Ok(true),
            Err(DriverError::Refused(reason)) => {
                tracing::warn!(instance = %id, reason, "an instance is not removed");
                self.refused.insert(id, self.clock.now() + REFUSED_PAUSE);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the slot a generation of an epoch above this one. False when that is not to be believed.
    async fn raise(&mut self, id: InstanceId, epoch: u64) -> Result<bool, StoreError> {
        match self.epoch.raise_above(epoch, &self.store).await {
            Ok(()) => {
                let above = Generation { epoch: self.epoch.get(), counter: 1 };
                self.store.slot_generation_put(&id, above).await?;
                Ok(true)
            }
            Err(error @ StoreError::EpochTooFar { .. }) => {
                if self.reported.len() < REPORTED_MAX && self.reported.insert(id.clone()) {
                    tracing::warn!(instance = %id, error = %crate::chain(&error), "it is left as it is");
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn spec(&self, slot: &Slot) -> Result<Option<InstanceSpec>, StoreError> {
        let Some(service) = self.store.service_get(&slot.service).await? else { return Ok(None) };
        let Some(revision) = self.store.revision_get(&slot.service, slot.revision).await? else {
            return Ok(None);
        };
        Ok(run::instance_spec(&service, &revision, slot))
    }
}

/// Turns the driver's hints into ours, connecting anew whenever the driver's end breaks.
pub(crate) async fn listen<D: Driver>(
    driver: Arc<D>,
    hints: Hints,
    output: mpsc::Sender<InstanceId>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut failures = 0;
    loop {
        let session = async {
            let Ok(changes) = driver.changes().await else { return false };
            // What happened while nobody listened is found by looking.
            hints.instances();
            hints.output();
            let mut changes = pin!(changes);
            while let Some(hint) = changes.next().await {
                match hint {
                    Hint::Instances => hints.instances(),
                    // A full queue loses the hint: then everything is looked at.
                    Hint::Output(id) => {
                        if output.try_send(id).is_err() {
                            hints.output();
                        }
                    }
                }
            }
            true
        };
        tokio::select! {
            connected = session => failures = if connected { 0 } else { failures + 1 },
            _ = shutdown.changed() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(backoff(failures)) => {}
            _ = shutdown.changed() => return,
        }
    }
}
