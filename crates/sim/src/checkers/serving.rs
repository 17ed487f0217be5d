//! What served goes on serving until something else does: a proxy's next table never takes a service away that
//! nobody asked to stop, nor an instance of it that is well; and requests go to a revision only when so many of its
//! instances as it wants have been well, and as many at a time to each of them as it says. That no instance is stopped
//! which a proxy may send to is looked at by the walk at each step, because proxies and the driver move between its
//! looks.
//!
//! A fault excuses the instances that it struck and no others, and those until they are well again by all that control
//! knows.

use super::{Checker, Seen, Taken};
use apron_model::ids::{InstanceId, RevisionNumber, ServiceId};
use apron_model::instance::{Health, Phase};
use apron_model::reconcile::{Slot, SlotWish};
use apron_model::routes::{RouteService, RouteState};
use apron_model::service::{Service, State};
use apron_store::ServiceRoutes;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Serving {
    /// Well when last looked at: healthy, recorded as such, and in the newest table.
    steady: BTreeSet<InstanceId>,
    /// Have been well, and were struck since.
    hurt: BTreeMap<InstanceId, Hurt>,
    /// The revisions that requests went to when last looked at.
    active: BTreeMap<ServiceId, RevisionNumber>,
}

struct Hurt {
    service: ServiceId,
    revision: RevisionNumber,
    /// It changes places with instances of another revision, and is routed as they are.
    beside: bool,
}

impl Hurt {
    /// A table of this service that sends requests to `revision` would name it if it were well.
    fn is_missed(&self, service: &ServiceId, revision: RevisionNumber) -> bool {
        self.service == *service && (self.revision == revision || self.beside)
    }
}

impl Serving {
    /// Takes those that faults may have struck from those that must serve.
    fn strike(&mut self, seen: &Seen) {
        for slot in seen.services.iter().flat_map(|row| &row.slots).filter(|slot| seen.ill.contains(&slot.id))
        {
            if self.steady.remove(&slot.id) || slot.ever_healthy {
                let (service, revision) = (slot.service.clone(), slot.revision);
                let hurt = || Hurt { service, revision, beside: false };
                let hurt = self.hurt.entry(slot.id.clone()).or_insert_with(hurt);
                match slot.wish {
                    SlotWish::Beside => hurt.beside = true,
                    SlotWish::Run => hurt.beside = false,
                    // The table that named it misses it all the same.
                    SlotWish::Drain { .. } | SlotWish::Stop | SlotWish::Gone => {}
                }
            }
        }
        // Of what the node has lost nothing else is left to see.
        self.steady.retain(|id| !seen.ill.contains(id));
    }

    fn table(&self, seen: &Seen, taken: &Taken, before: &RouteService) -> Result<(), String> {
        // A first deployment that fails after proxies were told of it goes back to nothing.
        if before.state != RouteState::Serving
            || before.instances.is_empty()
            || !seen.ran.contains(&before.id)
        {
            return Ok(());
        }
        let says = |what: &str| {
            let (old, new) = (taken.before.as_ref().map(|table| table.generation), taken.after.generation);
            Err(format!("{} served by {old:?} and by {new:?} {what} at {:?}", before.id, taken.process))
        };
        let stopped = seen.stopped.contains(before.id.as_str());
        let after = match taken.after.services.iter().find(|one| one.id == before.id) {
            None if stopped => return Ok(()),
            None => return says("is unknown"),
            Some(after) => after,
        };
        match after.state {
            RouteState::Paused if stopped => return Ok(()),
            RouteState::Paused => return says("is paused"),
            RouteState::NotDeployed => return says("was never deployed"),
            RouteState::Serving => {}
        }
        let slots = seen.service(&before.id).map(|row| row.slots.as_slice()).unwrap_or_default();
        for slot in slots.iter().filter(|slot| self.steady.contains(&slot.id)) {
            let named = after.instances.iter().any(|one| one.id == slot.id);
            if is_routed(slot, after.revision) && !named {
                return says(&format!("lacks {}, which is well and wished,", slot.id));
            }
        }
        let excused = || self.hurt.values().any(|hurt| hurt.is_missed(&after.id, after.revision));
        if after.instances.is_empty() && !excused() { says("has no instance") } else { Ok(()) }
    }

    /// Requests go to what has been well.
    fn pivot(&self, seen: &Seen, row: &ServiceRoutes) -> Result<(), String> {
        let service = &row.service;
        let Some(active) = serving(service) else { return Ok(()) };
        if self.active.get(&service.id) == Some(&active) {
            return Ok(());
        }
        let well = row.slots.iter().filter(|slot| is_routed(slot, active) && slot.ever_healthy).count();
        let revision = seen.revisions.get(&(service.id.clone(), active));
        let least = match revision {
            // It is what an operation deploys, and can still be taken back.
            Some(revision) if service.candidate == Some(active) => revision.config.scaling.min_size.max(1),
            Some(_) | None => 1,
        };
        if well < usize::try_from(least).unwrap_or(usize::MAX) {
            return Err(format!(
                "requests go to revision {active}, of which {well} of {least} have been well: {row:?}"
            ));
        }
        Ok(())
    }
}

/// Where proxies serve what its row wishes, its instances get as many requests at a time as their revision says.
fn concurrency(seen: &Seen, row: &ServiceRoutes) -> Result<(), String> {
    let service = &row.service;
    let routed = |_: &RevisionNumber| row.routed_version == service.route_version;
    let Some(active) = serving(service).filter(routed) else { return Ok(()) };
    let Some(revision) = seen.revisions.get(&(service.id.clone(), active)) else { return Ok(()) };
    let mut routes = seen.table.iter().flat_map(|table| &table.services);
    let Some(route) = routes.find(|one| one.id == service.id) else { return Ok(()) };
    let (told, says) = (route.max_concurrency, revision.config.scaling.max_concurrency);
    if told == says {
        return Ok(());
    }
    Err(format!("instances of revision {active} get {told} requests at a time, not {says}: {service:?}"))
}

/// The revision that requests go to.
fn serving(service: &Service) -> Option<RevisionNumber> {
    service.active.filter(|_| service.state == State::Running)
}

/// By its wish.
fn is_routed(slot: &Slot, active: RevisionNumber) -> bool {
    match slot.wish {
        SlotWish::Run => slot.revision == active,
        SlotWish::Beside => true,
        SlotWish::Drain { .. } | SlotWish::Stop | SlotWish::Gone => false,
    }
}

/// Healthy, recorded as such, and in the newest table.
fn steady(seen: &Seen) -> BTreeSet<InstanceId> {
    let well =
        |one: &&apron_model::instance::Observed| one.phase == Phase::Running && one.health == Health::Healthy;
    let healthy: BTreeSet<&InstanceId> = seen.observed.iter().filter(well).map(|one| &one.id).collect();
    let services = seen.table.iter().flat_map(|table| &table.services);
    let named: BTreeSet<&InstanceId> =
        services.flat_map(|service| service.instances.iter().map(|one| &one.id)).collect();
    let slots = seen.services.iter().flat_map(|row| &row.slots);
    slots
        .filter(|slot| slot.wish.runs() && slot.serves() && !seen.ill.contains(&slot.id))
        .filter(|slot| healthy.contains(&slot.id) && named.contains(&slot.id))
        .map(|slot| slot.id.clone())
        .collect()
}

impl Checker for Serving {
    fn look(&mut self, seen: &Seen) -> Result<(), String> {
        self.strike(seen);
        for taken in &seen.taken {
            for before in taken.before.iter().flat_map(|table| &table.services) {
                self.table(seen, taken, before)?;
            }
        }
        for row in &seen.services {
            self.pivot(seen, row)?;
            concurrency(seen, row)?;
        }
        let active = |row: &ServiceRoutes| Some((row.service.id.clone(), serving(&row.service)?));
        self.active = seen.services.iter().filter_map(active).collect();
        self.steady = steady(seen);
        let present: BTreeSet<&InstanceId> =
            seen.services.iter().flat_map(|row| &row.slots).map(|slot| &slot.id).collect();
        let serve: BTreeSet<&ServiceId> = seen
            .services
            .iter()
            .flat_map(|row| &row.slots)
            .filter(|slot| self.steady.contains(&slot.id))
            .map(|slot| &slot.service)
            .collect();
        // What stayed of a revision that was taken back may go while nothing of the service serves.
        let excuses = |id: &InstanceId, hurt: &Hurt| {
            present.contains(id) || (hurt.beside && !serve.contains(&hurt.service))
        };
        self.hurt.retain(|id, hurt| excuses(id, hurt) && !self.steady.contains(id));
        Ok(())
    }

    fn rest(&mut self, seen: &Seen) -> Result<(), String> {
        let Some(table) = &seen.table else { return Err("there is no table".to_owned()) };
        for row in &seen.services {
            let service = &row.service;
            let route = table.services.iter().find(|one| one.id == service.id);
            let expect = match service.state {
                State::Running => Some(RouteState::Serving),
                State::Paused => Some(RouteState::Paused),
                State::CreateFailed | State::Creating => Some(RouteState::NotDeployed),
                State::Deleting | State::DeleteFailed | State::Deleted => None,
            };
            if route.map(|route| route.state) != expect {
                return Err(format!("proxies see {route:?} of {service:?}"));
            }
            let Some(route) = route.filter(|route| route.state == RouteState::Serving) else { continue };
            let mut routed: Vec<_> = route.instances.iter().map(|one| &one.id).collect();
            let mut slots: Vec<_> = row.slots.iter().map(|slot| &slot.id).collect();
            routed.sort();
            slots.sort();
            if routed != slots || Some(route.revision) != service.active {
                return Err(format!("proxies see {routed:?} where {slots:?} run: {service:?}"));
            }
        }
        for id in table.services.iter().map(|one| &one.id) {
            if seen.service(id).is_none() {
                return Err(format!("proxies see {id}, which is no service"));
            }
        }
        Ok(())
    }
}
