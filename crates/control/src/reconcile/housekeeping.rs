//! Housekeeping: forgets deleted services, their logs, and old rows; renews the clock's reservation.

use crate::clock::{Clock, RENEW_EVERY, SystemClock};
use apron_compute::driver::Driver;
use apron_store::Store;
use apron_telemetry::Logs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

const PURGE_EVERY: Duration = Duration::from_secs(10 * 60);

pub(crate) struct Housekeeping<D> {
    pub(crate) store: Store,
    pub(crate) driver: Arc<D>,
    pub(crate) logs: Logs,
    pub(crate) clock: Arc<SystemClock>,
}

impl<D: Driver> Housekeeping<D> {
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut renew = interval(RENEW_EVERY);
        let mut purge = interval(PURGE_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        purge.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = renew.tick() => {
                    if let Err(error) = self.clock.reserve(&self.store).await {
                        tracing::error!(error = %crate::chain(&error), "engine time is not reserved");
                    }
                }
                _ = purge.tick() => self.purge().await,
                _ = shutdown.changed() => return,
            }
        }
    }

    async fn purge(&self) {
        // Without the driver's word no row may go that a container could still need.
        let Ok(observed) = self.driver.list().await else { return };
        let present: Vec<_> = observed.into_iter().map(|one| one.id).collect();
        match self.store.purge(self.clock.now(), &present).await {
            Ok(purged) => {
                for service in purged.services {
                    if let Err(error) = self.logs.remove_service(&service) {
                        tracing::warn!(%service, error = %crate::chain(&error), "logs are not removed");
                    }
                }
            }
            Err(error) => tracing::warn!(error = %crate::chain(&error), "old rows are not forgotten"),
        }
    }
}
