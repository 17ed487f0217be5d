//! The meter: what the driver's instances used is added to the store's sums, once; and services that come to cost as much
//! as they may are held, and throttled.

use crate::clock::Clock;
use crate::engine::Hints;
use apron_compute::driver::{Driver, DriverError};
use apron_model::extension;
use apron_model::idle::Standing;
use apron_model::ids::ServiceId;
use apron_model::meter::{BATCH_MAX, Taken};
use apron_model::price::{self, Cap, Usage};
use apron_model::service::Service;
use apron_store::{Store, StoreError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// More often would write more: each instance that is there has a row in each batch.
const EVERY: Duration = Duration::from_secs(60);
/// For calls they are brought up to date no more often, and no longer waited for.
const ASKED_EVERY: Duration = Duration::from_secs(5);
const ASKED_WAIT_MAX: Duration = Duration::from_secs(3);
/// Batches that are taken one behind the other: what a node has added up while control was away for long.
const BATCHES_MAX: usize = 100;

pub(crate) struct Meter<D> {
    store: Store,
    driver: Arc<D>,
    clock: Arc<dyn Clock>,
    hints: Hints,
    /// When the sums were brought up to date for a call.
    asked: Mutex<Option<Instant>>,
}

/// What calls ask of the driver, whichever it is.
pub(crate) trait Node: Send + Sync {
    /// How the instances of a service stand on the idle ladder.
    fn standing<'a>(&'a self, service: &'a ServiceId) -> BoxFuture<'a, Result<Vec<Standing>, DriverError>>;
    /// Brings the sums up to date, where the driver is there.
    fn meter(&self) -> BoxFuture<'_, ()>;
}

impl<D: Driver> Node for Meter<D> {
    fn standing<'a>(&'a self, service: &'a ServiceId) -> BoxFuture<'a, Result<Vec<Standing>, DriverError>> {
        self.driver.standing(service).boxed()
    }

    fn meter(&self) -> BoxFuture<'_, ()> {
        async {
            // Who asks meanwhile waits for the same.
            let mut asked = self.asked.lock().await;
            if asked.is_none_or(|at| at.elapsed() >= ASKED_EVERY) {
                // Late, it goes on with the next turn.
                let _ = timeout(ASKED_WAIT_MAX, self.take()).await;
                *asked = Some(Instant::now());
            }
        }
        .boxed()
    }
}

impl<D: Driver> Meter<D> {
    pub(crate) fn new(store: Store, driver: Arc<D>, clock: Arc<dyn Clock>, hints: Hints) -> Meter<D> {
        Meter { store, driver, clock, hints, asked: Mutex::default() }
    }

    pub(crate) async fn run(self: Arc<Meter<D>>, mut shutdown: watch::Receiver<bool>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.pass().await,
                _ = shutdown.changed() => return,
            }
        }
    }

    pub(crate) async fn pass(&self) {
        self.take().await;
        if let Err(error) = self.heed_caps().await {
            tracing::warn!(error = %crate::chain(&error), "what services cost is not compared with their caps");
        }
    }

    /// Adds what there is to be added.
    async fn take(&self) {
        for _ in 0..BATCHES_MAX {
            match self.take_one().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(error = %crate::chain(&error), "what instances used is not added up");
                    return;
                }
            }
        }
    }

    /// Whether there may be more.
    async fn take_one(&self) -> Result<bool, StoreError> {
        let taken = self.store.usage_taken().await?;
        // A node that is away, or cannot write its journal, keeps it, and says why in its own log.
        let Ok(handed) = self.driver.usage(taken.as_ref()).await else { return Ok(false) };
        let next = Taken { meter: handed.meter.clone(), number: handed.batch.number };
        if taken == Some(next) {
            return Ok(false);
        }
        self.store.usage_add(&handed).await?;
        Ok(handed.batch.rows.len() >= BATCH_MAX)
    }

    async fn heed_caps(&self) -> Result<(), StoreError> {
        for service in self.store.service_list_capped().await? {
            let cap = match extension::cap_usd_month(&service.tags) {
                None => Cap::Below,
                Some(usd) => price::cap(self.charge(&service).await?, usd),
            };
            if cap != service.cap {
                let said = said(&service, cap);
                self.store.service_cap_put(&service.id, cap, &said, self.clock.wall()).await?;
                self.hints.instances();
                self.hints.operation();
            }
        }
        Ok(())
    }

    /// Of this month, so far.
    async fn charge(&self, service: &Service) -> Result<price::Charge, StoreError> {
        let now = self.clock.wall();
        let month = now.month_begin();
        let (mut usage, mut build_ms) = (Usage::default(), 0);
        for row in self.store.usage_of(&service.id, month.day()..=now.day()).await? {
            usage += row.usage;
            build_ms += row.build_ms;
        }
        Ok(price::charge(service, (usage, build_ms), month, now))
    }
}

fn said(service: &Service, cap: Cap) -> String {
    let usd = extension::cap_usd_month(&service.tags).unwrap_or(0);
    match cap {
        Cap::Held => format!(
            "The service has reached nine tenths of its cap of ${usd} a month: no further instances are started."
        ),
        Cap::Throttled => format!(
            "The service has reached its cap of ${usd} a month: until the month ends or the tag apron:cap-usd-month is raised its instances have a sixtieth of their CPU."
        ),
        Cap::Below => "The service is below its cap again.".to_owned(),
    }
}
