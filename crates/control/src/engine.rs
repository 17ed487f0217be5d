//! The engine: advances open operations whenever a fact comes or a deadline passes.
//!
//! It holds no state of its own: what it knows is in the rows, so starting it is the same as going on.

use crate::clock::Clock;
use crate::reconcile::backoff;
use apron_model::draw::Draw;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::{Line, Wake};
use apron_model::time::Timestamp;
use apron_store::{Store, StoreError};
use apron_telemetry::{Logs, Stream};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Without any hint the engine looks this often; it then finds nothing to do.
const SCAN_EVERY: Duration = Duration::from_secs(5);
/// Steps that one operation takes in a row before the next one has its turn.
const STEPS_MAX: usize = 8;
/// Lines that are carried to the logs at once.
const LINES_MAX: u32 = 256;
/// Who speaks in the event and deployment logs.
pub(crate) const SOURCE: &str = "AppRunner";

/// Who has something to look at. A hint carries nothing and may be lost: every receiver also scans.
#[derive(Clone, Debug, Default)]
pub struct Hints(Arc<Receivers>);

#[derive(Debug, Default)]
struct Receivers {
    operations: Notify,
    builds: Notify,
    instances: Notify,
    routes: Notify,
    load: Notify,
    output: Notify,
}

impl Hints {
    /// An operation was opened, or a fact that one may wait for was written.
    pub fn operation(&self) {
        self.0.operations.notify_one();
    }

    /// Something that proxies see may have changed.
    pub fn routes(&self) {
        self.0.routes.notify_one();
    }

    /// Proxies see another load than before.
    pub(crate) fn load(&self) {
        self.0.load.notify_one();
    }

    pub(crate) fn builds(&self) {
        self.0.builds.notify_one();
    }

    pub(crate) fn instances(&self) {
        self.0.instances.notify_one();
    }

    /// Some instance may have new output, and nobody knows which.
    pub(crate) fn output(&self) {
        self.0.output.notify_one();
    }

    pub(crate) async fn for_operations(&self) {
        self.0.operations.notified().await;
    }

    pub(crate) async fn for_builds(&self) {
        self.0.builds.notified().await;
    }

    pub(crate) async fn for_instances(&self) {
        self.0.instances.notified().await;
    }

    pub(crate) async fn for_routes(&self) {
        self.0.routes.notified().await;
    }

    pub(crate) async fn for_load(&self) {
        self.0.load.notified().await;
    }

    pub(crate) async fn for_output(&self) {
        self.0.output.notified().await;
    }
}

/// Time and names for one decision, and how many instances the operator allows.
pub(crate) fn draw(clock: &dyn Clock, epoch: u64, instances_max: Option<u32>) -> Draw {
    let mut draw = Draw::new(clock.now(), clock.wall(), epoch, clock.seed());
    draw.instances_max = instances_max;
    draw
}

/// The epoch that newly wished generations carry; it grows when a peer reports a higher one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    pub(crate) fn new(epoch: u64) -> Epoch {
        Epoch(Arc::new(AtomicU64::new(epoch)))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Begins an epoch above `seen`, stored before it is used. Does nothing if this one is above it already.
    ///
    /// Fails with `EpochTooFar` when what was seen is not to be believed.
    pub(crate) async fn raise_above(&self, seen: u64, store: &Store) -> Result<(), StoreError> {
        if seen >= self.get() {
            let epoch = store.epoch_raise(seen).await?;
            self.0.fetch_max(epoch, Ordering::AcqRel);
        }
        Ok(())
    }
}

pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) logs: Logs,
    pub(crate) hints: Hints,
    pub(crate) epoch: Epoch,
    pub(crate) instances_max: Option<u32>,
    pub(crate) paused: Paused,
}

/// Operations that could not be advanced: how often in a row, and when the next try is due.
#[derive(Debug, Default)]
pub(crate) struct Paused(Mutex<BTreeMap<OperationId, (u32, Timestamp)>>);

impl Paused {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<OperationId, (u32, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those that are not open any more.
    fn retain(&self, open: &VecDeque<(OperationId, ServiceId)>) {
        let mut paused = self.locked();
        if !paused.is_empty() {
            paused.retain(|id, _| open.iter().any(|(one, _)| one == id));
        }
    }

    fn until(&self, id: &OperationId) -> Option<Timestamp> {
        self.locked().get(id).map(|(_, until)| *until)
    }

    fn failed(&self, id: &OperationId, now: Timestamp) -> Timestamp {
        let mut paused = self.locked();
        let failures = paused.get(id).map_or(0, |(failures, _)| failures.saturating_add(1));
        let until = now + backoff(failures);
        paused.insert(id.clone(), (failures, until));
        until
    }

    fn went_on(&self, id: &OperationId) {
        self.locked().remove(id);
    }
}

/// What came of an operation's turn.
enum Turn {
    /// It waits for a fact, or for this time.
    Waits(Timestamp),
    /// It has taken as many steps as it may in a row.
    GoesOn,
    /// It is there no more, or its end has opened this one.
    Ended(Option<OperationId>),
}

impl Engine {
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let pause = match self.pass().await {
                Ok(wake) => wake.map_or(SCAN_EVERY, |at| (at - self.clock.now()).min(SCAN_EVERY)),
                Err(error) => {
                    tracing::error!(error = %crate::chain(&error), "operations cannot be advanced");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = self.hints.for_operations() => {}
                () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Advances every open operation as far as facts allow, and returns the earliest deadline. One that cannot be
    /// advanced is left alone for a while and does not hold up the others.
    pub(crate) async fn pass(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut earliest: Option<Timestamp> = None;
        let mut look_at = |time: Timestamp| earliest = Some(earliest.map_or(time, |least| least.min(time)));
        let mut wrote = false;
        let mut due = VecDeque::from(self.store.operation_list_open().await?);
        self.paused.retain(&due);
        let now = self.clock.now();
        while let Some((id, service)) = due.pop_front() {
            if let Some(until) = self.paused.until(&id).filter(|until| *until > now) {
                look_at(until);
                continue;
            }
            match self.turn(&id, &service, &mut wrote).await {
                Ok(turn) => {
                    self.paused.went_on(&id);
                    match turn {
                        Turn::Waits(deadline) => look_at(deadline),
                        // It has its turn at once.
                        Turn::Ended(Some(next)) => due.push_back((next, service)),
                        Turn::Ended(None) | Turn::GoesOn => {}
                    }
                }
                Err(error) if error.concerns_all() => return Err(error),
                Err(error) => {
                    let reason = crate::chain(&error);
                    tracing::error!(operation = %id, reason, "an operation cannot go on; it is tried again");
                    look_at(self.paused.failed(&id, now));
                }
            }
        }
        let carried = self.carry_lines().await;
        // Those who work write to the same logs: what they were told to do stands there before what they did.
        if wrote {
            self.hints.builds();
            self.hints.instances();
            self.hints.routes();
        }
        carried.map(|()| earliest)
    }

    /// Takes the steps of one operation that facts allow.
    async fn turn(
        &self,
        id: &OperationId,
        service: &ServiceId,
        wrote: &mut bool,
    ) -> Result<Turn, StoreError> {
        for _ in 0..STEPS_MAX {
            let mut draw = draw(self.clock.as_ref(), self.epoch.get(), self.instances_max);
            let advanced = match self.store.operation_advance(id, &mut draw).await {
                Err(error @ StoreError::Corrupt { .. }) => {
                    let reason = format!("The platform's database is damaged: {error}");
                    tracing::error!(operation = %id, reason, "an operation cannot go on; it is ended");
                    self.store.operation_abandon(id, &reason, &draw).await?
                }
                advanced => advanced?,
            };
            let Some(advanced) = advanced else { return Ok(Turn::Ended(None)) };
            *wrote |= advanced.wrote;
            match advanced.wake {
                Wake::Done if advanced.wrote => {
                    // Its end may have opened the next one of the service.
                    let service = self.store.service_get(service).await?;
                    return Ok(Turn::Ended(service.and_then(|row| row.operation)));
                }
                Wake::Done => return Ok(Turn::Ended(None)),
                Wake::ByFactOr(deadline) if !advanced.wrote => return Ok(Turn::Waits(deadline)),
                Wake::ByFactOr(_) => {}
            }
        }
        Ok(Turn::GoesOn)
    }

    /// Brings committed lines to the logs. Logs that take none keep them waiting, and nothing else.
    async fn carry_lines(&self) -> Result<(), StoreError> {
        loop {
            let lines = self.store.line_list(LINES_MAX).await?;
            let Some(last) = lines.last() else { return Ok(()) };
            for one in &lines {
                let events = Stream::Events(one.service.clone());
                let deployment = one.operation.clone().map(|id| Stream::Deployment(one.service.clone(), id));
                let written = crate::blocking(|| match (&one.line, &deployment) {
                    (Line::Event(text), _) => self.logs.append(&events, one.at, SOURCE, [text]),
                    (Line::Deployment(text), Some(log)) => self.logs.append(log, one.at, SOURCE, [text]),
                    (Line::DeploymentEnd, Some(log)) => self.logs.end(log),
                    // Only operations write to the logs of deployments.
                    (Line::Deployment(_) | Line::DeploymentEnd, None) => Ok(()),
                });
                if let Err(error) = written {
                    tracing::warn!(error = %crate::chain(&error), "the logs take no lines; they wait");
                    return Ok(());
                }
            }
            self.store.line_forget(last.seq).await?;
        }
    }
}
