//! The engine: advances open operations whenever a fact comes or a deadline passes.
//!
//! It holds no state of its own: what it knows is in the rows, so starting it is the same as going on.

use crate::clock::Clock;
use apron_model::draw::Draw;
use apron_model::operation::{Line, Wake};
use apron_model::time::Timestamp;
use apron_store::{Store, StoreError};
use apron_telemetry::{Logs, Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

    pub(crate) async fn for_output(&self) {
        self.0.output.notified().await;
    }
}

/// Time and names for one decision.
pub(crate) fn draw(clock: &dyn Clock, epoch: u64) -> Draw {
    Draw::new(clock.now(), clock.wall(), epoch, random_seed())
}

/// 128 bits of the kernel.
fn random_seed() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once the machine has booted");
    u128::from_le_bytes(bytes)
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

    /// Advances every open operation as far as facts allow, and returns the earliest deadline. One that cannot
    /// be read does not hold up the others.
    pub(crate) async fn pass(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut earliest: Option<Timestamp> = None;
        let mut wrote = false;
        for (id, _service) in self.store.operation_list_open().await? {
            for _ in 0..STEPS_MAX {
                let mut draw = draw(self.clock.as_ref(), self.epoch.get());
                let advanced = match self.store.operation_advance(&id, &mut draw).await {
                    Ok(Some(advanced)) => advanced,
                    Ok(None) => break,
                    Err(StoreError::Corrupt { table, column, reason }) => {
                        tracing::error!(operation = %id, table, column, reason, "an operation cannot go on");
                        break;
                    }
                    Err(error) => return Err(error),
                };
                wrote |= advanced.wrote;
                match advanced.wake {
                    Wake::Done => break,
                    Wake::ByFactOr(deadline) if !advanced.wrote => {
                        earliest = Some(earliest.map_or(deadline, |time| time.min(deadline)));
                        break;
                    }
                    Wake::ByFactOr(_) => {}
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
