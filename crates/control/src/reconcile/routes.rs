//! Routes: proxies see the tables that follow from the rows, and what they acknowledge becomes facts.
//!
//! The same pass lets drained instances stop, because both need to know what every proxy was given.

use crate::clock::Clock;
use crate::engine::{Epoch, Hints};
use crate::publish::{Drained, Proxies, is_alive};
use apron_model::ids::Generation;
use apron_model::reconcile::SlotWish;
use apron_model::routes;
use apron_store::{ServiceRoutes, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const SCAN_EVERY: Duration = Duration::from_secs(5);
/// While something waits for proxies: a lease that lapses or a process that dies gives no hint.
const WAITING_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Routes {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) proxies: Proxies,
    pub(crate) hints: Hints,
    pub(crate) epoch: Epoch,
    pub(crate) apps_domain: String,
}

impl Routes {
    pub(crate) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let pause = match self.pass().await {
                Ok(waiting) => {
                    if waiting {
                        WAITING_EVERY
                    } else {
                        SCAN_EVERY
                    }
                }
                Err(error) => {
                    tracing::error!(error = %crate::chain(&error), "routes cannot be looked after");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = self.hints.for_routes() => {}
                () = tokio::time::sleep(pause) => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Publishes what changed, records what is served, stops what is drained. True while something waits for
    /// proxies.
    pub(crate) async fn pass(&self) -> Result<bool, StoreError> {
        let rows = self.store.service_routes().await?;
        let generation = self.publish(&rows);
        self.forget_dead().await?;
        let mut waiting = false;
        let behind: Vec<_> = rows
            .iter()
            .filter(|row| row.routed_version < row.service.route_version)
            .map(|row| (row.service.id.clone(), row.service.route_version))
            .collect();
        if !behind.is_empty() {
            if self.proxies.all_serve(generation) {
                self.store.service_routed_put(&behind).await?;
                self.hints.operation();
            } else {
                waiting = true;
            }
        }
        let draining = self.drain(&rows).await?;
        self.proxies.set_draining(draining);
        Ok(waiting || draining)
    }

    /// Makes the table of these rows the newest one, if it differs, and returns the newest one's generation.
    fn publish(&self, rows: &[ServiceRoutes]) -> Generation {
        let services: Vec<_> = rows.iter().map(|row| (row.service.clone(), row.slots.clone())).collect();
        let epoch = self.epoch.get();
        let newest = self.proxies.table();
        let present = newest.as_ref().map_or(Generation::default(), |table| table.generation);
        let mut table = routes::table(present, &services, &self.apps_domain);
        if newest.as_deref() == Some(&table) && present.epoch == epoch {
            return present;
        }
        let counter = if present.epoch == epoch { present.counter + 1 } else { 1 };
        table.generation = Generation { epoch, counter };
        let generation = table.generation;
        self.proxies.publish(table);
        generation
    }

    /// Stops slots that no proxy uses any more. True while some are not there yet.
    async fn drain(&self, rows: &[ServiceRoutes]) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut stop = Vec::new();
        let mut waiting = false;
        for slot in rows.iter().flat_map(|row| &row.slots) {
            let SlotWish::Drain { until } = slot.wish else { continue };
            match self.proxies.drained(&slot.id, now >= until) {
                Drained::Yes => stop.push(slot.id.clone()),
                Drained::NotAcknowledged | Drained::Busy => waiting = true,
            }
        }
        if !stop.is_empty() {
            self.store.slot_stop(&stop).await?;
            self.hints.instances();
        }
        let present: BTreeSet<_> =
            rows.iter().flat_map(|row| row.slots.iter().map(|slot| &slot.id)).collect();
        self.proxies.retain_instances(|id| present.contains(id));
        Ok(waiting)
    }

    /// A proxy without a connection that has ended holds nothing up any more.
    async fn forget_dead(&self) -> Result<(), StoreError> {
        for process in self.proxies.disconnected() {
            if !is_alive(&process) {
                self.store.proxy_forget(&process).await?;
                self.proxies.forget(&process);
            }
        }
        Ok(())
    }
}
