//! Routes: proxies see the tables that follow from the rows, and what they acknowledge becomes facts.
//!
//! The same pass lets drained instances stop, because both need to know what every proxy was given. A pass reads what
//! changed since the one before, so that what one service does costs little among thousands.

use crate::clock::Clock;
use crate::engine::{Epoch, Hints};
use crate::publish::{Drained, Proxies};
use apron_model::ids::{Generation, ServiceId};
use apron_model::limits;
use apron_model::operation;
use apron_model::reconcile::{self, Slot, SlotWish};
use apron_model::routes;
use apron_model::service::Service;
use apron_store::{ProxyProcess, RoutesSeen, ServiceRoutes, Store, StoreError};
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
    /// Is this process of this boot still there?
    pub(crate) is_alive: Arc<dyn Fn(&ProxyProcess) -> bool + Send + Sync>,
    pub(crate) known: Known,
}

/// The rows as they were read last.
#[derive(Default)]
pub(crate) struct Known {
    /// None before they were read for the first time.
    seen: Option<RoutesSeen>,
    /// Those that are not deleted, in the order of their ids.
    services: Vec<(Service, Vec<Slot>)>,
    /// Of each of them the version that proxies serve.
    routed: Vec<u64>,
    /// A change since the newest table may show in the next one.
    shows: bool,
}

impl Known {
    fn find(&self, id: &ServiceId) -> Result<usize, usize> {
        self.services.binary_search_by(|(service, _)| service.id.cmp(id))
    }

    /// Takes over what was read of one service.
    fn take(&mut self, row: ServiceRoutes, apps_domain: &str) {
        let ServiceRoutes { service, slots, routed_version } = row;
        let pair = (service, slots);
        // Alone in a table it shows all that it brings into the whole one.
        let alone = |pair: &(Service, Vec<Slot>)| {
            routes::table(Generation::default(), std::slice::from_ref(pair), apps_domain)
        };
        match (self.find(&pair.0.id), pair.0.deleted_at) {
            (Ok(at), Some(_)) => {
                self.services.remove(at);
                self.routed.remove(at);
                self.shows = true;
            }
            (Err(_), Some(_)) => {}
            (Ok(at), None) => {
                self.shows |= alone(&self.services[at]) != alone(&pair);
                self.services[at] = pair;
                self.routed[at] = routed_version;
            }
            (Err(at), None) => {
                self.services.insert(at, pair);
                self.routed.insert(at, routed_version);
                self.shows = true;
            }
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.services.iter().flat_map(|(_, slots)| slots)
    }
}

impl Routes {
    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
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
    pub(crate) async fn pass(&mut self) -> Result<bool, StoreError> {
        let changed = self.store.service_routes_changed(self.known.seen).await?;
        for row in changed.rows {
            self.known.take(row, &self.apps_domain);
        }
        self.known.seen = Some(changed.seen);
        let generation = self.publish();
        self.forget_dead().await?;
        let mut waiting = false;
        let behind: Vec<_> = self
            .known
            .services
            .iter()
            .zip(&self.known.routed)
            .filter(|((service, _), routed)| **routed < service.route_version)
            .map(|((service, _), _)| (service.id.clone(), service.route_version))
            .collect();
        if !behind.is_empty() {
            if self.proxies.all_serve(generation) {
                self.store.service_routed_put(&behind).await?;
                self.hints.operation();
            } else {
                waiting = true;
            }
        }
        self.relieve().await?;
        let draining = self.drain().await?;
        self.proxies.set_draining(draining);
        Ok(waiting || draining)
    }

    /// Makes the table of these rows the newest one, if it differs, and returns the newest one's generation.
    fn publish(&mut self) -> Generation {
        let epoch = self.epoch.get();
        let newest = self.proxies.table();
        let present = newest.as_ref().map_or(Generation::default(), |table| table.generation);
        let current = newest.is_some() && present.epoch == epoch;
        if current && !self.known.shows {
            return present;
        }
        self.known.shows = false;
        let mut table = routes::table(present, &self.known.services, &self.apps_domain);
        if current && newest.as_deref() == Some(&table) {
            return present;
        }
        let counter = if present.epoch == epoch { present.counter + 1 } else { 1 };
        table.generation = Generation { epoch, counter };
        let generation = table.generation;
        self.proxies.publish(table);
        generation
    }

    /// Lets go what served in place of instances that serve again.
    async fn relieve(&self) -> Result<(), StoreError> {
        let rows = self.known.services.iter();
        // An operation may have begun since these rows were read: the transaction decides again.
        for (service, _) in rows.filter(|(service, slots)| !operation::relieved(service, slots).is_empty()) {
            let now = self.clock.now();
            let until = now + Duration::from_millis(limits::DRAIN_MS);
            let wish = SlotWish::Drain { since: Some(now), until };
            match self.store.slot_drain(&service.id, wish, self.clock.wall()).await {
                Ok(()) => self.hints.routes(),
                // What cannot be read of one service does not hold up the others.
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::warn!(service = %service.id, %error, "its instances cannot be looked after");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stops slots that no proxy uses any more. True while some are not there yet.
    async fn drain(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut stop = Vec::new();
        let mut waiting = false;
        for slot in self.known.slots() {
            let SlotWish::Drain { until, .. } = slot.wish else { continue };
            match self.proxies.drained(&slot.id, now >= until) {
                Drained::Yes => stop.push(reconcile::drained(slot, now)),
                Drained::NotAcknowledged | Drained::Busy => waiting = true,
            }
        }
        if !stop.is_empty() {
            self.store.slot_stop(&stop, self.clock.wall()).await?;
            self.hints.instances();
        }
        let present: BTreeSet<_> = self.known.slots().map(|slot| &slot.id).collect();
        self.proxies.retain_instances(|id| present.contains(id));
        Ok(waiting)
    }

    /// A proxy without a connection that has ended holds nothing up any more.
    async fn forget_dead(&self) -> Result<(), StoreError> {
        for process in self.proxies.disconnected() {
            if !(self.is_alive)(&process) {
                self.store.proxy_forget(&process).await?;
                self.proxies.forget(&process);
            }
        }
        Ok(())
    }
}
