//! Routes: proxies see the tables that follow from the rows, and what they acknowledge becomes facts.
//!
//! The same pass lets drained instances stop, because both need to know what every proxy was given. A pass reads what
//! changed since the one before, so that what one service does costs little among thousands. Between passes the load is
//! looked at, which the rows that were read and the same proxies tell.

use super::scale::Scale;
use super::uses::ReaderHandle;
use crate::clock::Clock;
use crate::engine::{Epoch, Hints, draw};
use crate::publish::{Drained, Proxies};
use apron_model::extension;
use apron_model::ids::{Generation, ServiceId};
use apron_model::limits;
use apron_model::reconcile::{self, Slot, SlotWish};
use apron_model::routes;
use apron_model::scaling::SAMPLE_MS;
use apron_model::service::{Service, State};
use apron_store::{ProxyProcess, RoutesSeen, ServiceRoutes, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

const SCAN_EVERY: Duration = Duration::from_secs(5);
/// While something waits for proxies: a lease that lapses or a process that dies gives no hint.
const WAITING_EVERY: Duration = Duration::from_millis(250);
/// The store may be away.
const AFTER_ERROR: Duration = Duration::from_secs(1);

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
    pub(crate) scale: Scale,
    /// Whose load is to be looked at.
    pub(crate) due: BTreeSet<ServiceId>,
    /// What instances use, of services that scale on it.
    pub(crate) reader: ReaderHandle,
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
    /// Those whose rows changed since their instances were looked at, with no operation open that sees to them.
    changed: BTreeSet<ServiceId>,
    /// Some are not there any more.
    gone: bool,
}

impl Known {
    fn find(&self, id: &ServiceId) -> Result<usize, usize> {
        self.services.binary_search_by(|(service, _)| service.id.cmp(id))
    }

    /// Takes over what was read of one service.
    fn take(&mut self, row: ServiceRoutes, apps_domain: &str) {
        let ServiceRoutes { service, slots, routed_version } = row;
        if service.operation.is_none() && service.state == State::Running {
            self.changed.insert(service.id.clone());
        } else {
            self.changed.remove(&service.id);
        }
        for error in extension::policy(&service.tags).1 {
            // Its place in the table says the least that the tag could say; calls refuse such a one.
            tracing::warn!(service = %service.id, %error, "a tag of a row is not understood");
        }
        let pair = (service, slots);
        // Alone in a table it shows all that it brings into the whole one.
        let alone = |pair: &(Service, Vec<Slot>)| {
            routes::table(Generation::default(), std::slice::from_ref(pair), apps_domain)
        };
        match (self.find(&pair.0.id), pair.0.deleted_at) {
            (Ok(at), Some(_)) => {
                self.services.remove(at);
                self.routed.remove(at);
                (self.shows, self.gone) = (true, true);
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
        let mut samples = interval(Duration::from_millis(SAMPLE_MS));
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pass_at = Instant::now();
        loop {
            let all = tokio::select! {
                () = self.hints.for_routes() => None,
                () = sleep_until(pass_at) => None,
                () = self.hints.for_load() => Some(false),
                Ok(()) = self.reader.uses.changed() => {
                    self.due.extend(self.reader.uses.borrow_and_update().awake.iter().cloned());
                    Some(false)
                }
                _ = samples.tick(), if !self.scale.is_idle() => Some(true),
                _ = shutdown.changed() => return,
            };
            let Some(all) = all else {
                pass_at = Instant::now() + self.look_after().await;
                continue;
            };
            if let Err(error) = self.look_at_load(all).await {
                tracing::error!(error = %crate::chain(&error), "services cannot be scaled");
                pass_at = Instant::now() + AFTER_ERROR;
                sleep_until(pass_at).await;
            }
        }
    }

    /// A pass; the pause until the next one.
    async fn look_after(&mut self) -> Duration {
        match self.pass().await {
            Ok(true) => WAITING_EVERY,
            Ok(false) => SCAN_EVERY,
            Err(error) => {
                tracing::error!(error = %crate::chain(&error), "routes cannot be looked after");
                AFTER_ERROR
            }
        }
    }

    /// Brings services to the numbers of instances that their load needs: those of which proxies told something, or
    /// `all` that are to be looked at.
    pub(crate) async fn look_at_load(&mut self, all: bool) -> Result<(), StoreError> {
        self.due.extend(self.proxies.load_news());
        if all {
            self.due.extend(self.scale.watched().cloned());
        }
        // Without a proxy, or before the rows were read, nobody knows the load.
        if self.known.seen.is_none() || !self.proxies.any_lives() {
            return Ok(());
        }
        let now = (self.clock.now(), self.clock.wall());
        let mut mended = 0;
        while let Some(service) = self.due.pop_first() {
            let Ok(at) = self.known.find(&service) else {
                self.scale.forget(&service);
                continue;
            };
            let (row, slots) = &self.known.services[at];
            let load = self.proxies.load(&service);
            let wanted = self.scale.look(row, slots, load, &self.reader.uses.borrow(), now);
            if wanted.is_some() {
                self.mend_one(&service, wanted).await?;
                mended += 1;
            }
            // The others have their turn behind a pass, if one is due.
            if mended == limits::SERVICES_MENDED_MAX {
                self.hints.load();
                break;
            }
        }
        Ok(())
    }

    /// Publishes what changed, records what is served, stops what is drained. True while something waits for
    /// proxies.
    pub(crate) async fn pass(&mut self) -> Result<bool, StoreError> {
        let changed = self.store.service_routes_changed(self.known.seen).await?;
        let wall = self.clock.wall();
        for row in changed.rows {
            if self.scale.take(&row.service, wall) {
                self.due.insert(row.service.id.clone());
            }
            self.known.take(row, &self.apps_domain);
        }
        self.known.seen = Some(changed.seen);
        // Passes come often enough for a schedule, whose times are minutes.
        self.due.extend(self.scale.by_clock(wall));
        if !self.due.is_empty() {
            self.hints.load();
        }
        let read = self.scale.on_use();
        self.reader.services.send_if_modified(|known| {
            let differs = known != read;
            if differs {
                known.clone_from(read);
            }
            differs
        });
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
        self.mend().await?;
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

    /// Brings services to the instances that they are to have between operations.
    async fn mend(&mut self) -> Result<(), StoreError> {
        let looked_at: Vec<ServiceId> =
            self.known.changed.iter().take(limits::SERVICES_MENDED_MAX).cloned().collect();
        for service in looked_at {
            self.mend_one(&service, None).await?;
            self.known.changed.remove(&service);
        }
        if !self.known.changed.is_empty() {
            self.hints.routes();
        }
        Ok(())
    }

    async fn mend_one(&self, service: &ServiceId, scale: Option<u32>) -> Result<(), StoreError> {
        let mut draw = draw(self.clock.as_ref(), self.epoch.get(), self.scale.instances_max);
        // An operation may have begun since its rows were read: the transaction decides.
        match self.store.slot_mend(service, scale, &mut draw).await {
            Ok(true) => {
                self.hints.instances();
                self.hints.routes();
            }
            Ok(false) => {}
            // What cannot be read of one service does not hold up the others; mended rows are a change.
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::warn!(%service, %error, "its instances cannot be looked after");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Stops slots that no proxy uses any more. True while some are not there yet.
    async fn drain(&mut self) -> Result<bool, StoreError> {
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
        if std::mem::take(&mut self.known.gone) {
            self.proxies.retain_services(|id| self.known.find(id).is_ok());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::fixture;
    use apron_model::ids::OperationId;

    /// A service is looked at for what is amiss once for each change, and while nothing else sees to it.
    #[test]
    fn only_what_changed_is_looked_at() {
        let mut known = Known::default();
        let mut take = |operation: Option<&str>, state| {
            let config = fixture::image_config("r/web");
            let operation = operation.map(OperationId::new);
            let service = Service { operation, state, ..fixture::service("web", config) };
            known.take(ServiceRoutes { service, slots: Vec::new(), routed_version: 0 }, "a.test");
            std::mem::take(&mut known.changed).len()
        };
        assert_eq!(take(None, State::Running), 1);
        assert_eq!(take(Some("1"), State::Running), 0);
        assert_eq!((take(None, State::Paused), take(None, State::DeleteFailed)), (0, 0));
        assert_eq!(take(None, State::Running), 1);
    }
}
