//! A revision never has more instances than its configuration allows, neither wished nor at the driver, and at rest as
//! many as it wants.
//!
//! What drains is not counted: it has been replaced and only ends the requests that it has. A service that goes back to
//! a revision which still drains therefore has more containers of it for a while, and that while is looked at instead:
//! it is `limits::DRAIN_MS` from the first look at most, and is never made longer. Where an update allows fewer than there
//! are, those go, and none comes until then.

use super::{Checker, Seen};
use apron_model::ids::{InstanceId, RevisionNumber, ServiceId};
use apron_model::instance::Phase;
use apron_model::limits;
use apron_model::reconcile::{Slot, SlotWish};
use apron_model::service::State;
use apron_model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Revisions of one service that have instances at once, without what drains: the one that serves, the one that
/// takes its place or is taken back, and one that was taken back before and fills gaps meanwhile.
const REVISIONS_MAX: usize = 3;

#[derive(Default)]
pub(crate) struct Scaling {
    /// Until when those drain that were told to.
    drains: BTreeMap<InstanceId, Timestamp>,
    /// How many were wished when last looked at.
    before: BTreeMap<(ServiceId, RevisionNumber), u32>,
}

type Counts<'a> = BTreeMap<(&'a ServiceId, RevisionNumber), u32>;

fn wished(seen: &Seen) -> Counts<'_> {
    let mut counts = BTreeMap::new();
    for slot in seen.services.iter().flat_map(|row| &row.slots) {
        if slot.wish.runs() {
            *counts.entry((&slot.service, slot.revision)).or_default() += 1;
        }
    }
    counts
}

/// Containers that the driver has and that nobody has told to stop or to drain.
fn running(seen: &Seen) -> Counts<'_> {
    let slots: BTreeMap<&InstanceId, &Slot> =
        seen.services.iter().flat_map(|row| &row.slots).map(|slot| (&slot.id, slot)).collect();
    let mut counts = BTreeMap::new();
    for one in seen.observed.iter().filter(|one| one.phase != Phase::Stopping) {
        let goes = slots.get(&one.id).is_some_and(|slot| !slot.wish.runs());
        if let Some((service, revision)) = seen.containers.get(&one.id)
            && !goes
            && !seen.strangers.contains(&one.id)
        {
            *counts.entry((service, *revision)).or_default() += 1;
        }
    }
    counts
}

fn bounded(
    seen: &Seen,
    counts: &Counts<'_>,
    what: &str,
    before: &BTreeMap<(ServiceId, RevisionNumber), u32>,
) -> Result<(), String> {
    for ((id, number), count) in counts {
        let Some(revision) = seen.revisions.get(&((*id).clone(), *number)) else { continue };
        let most = revision.config.scaling.max_size;
        let there = before.get(&((*id).clone(), *number)).copied().unwrap_or_default();
        if *count > most.max(there) {
            return Err(format!("{count} instances {what} of revision {number} of {id}, {most} at most"));
        }
    }
    for row in &seen.services {
        let of: BTreeSet<_> =
            counts.keys().filter(|(id, _)| **id == row.service.id).map(|(_, number)| number).collect();
        if of.len() > REVISIONS_MAX {
            return Err(format!("instances {what} of the revisions {of:?} at once: {:?}", row.service));
        }
    }
    Ok(())
}

impl Checker for Scaling {
    fn look(&mut self, seen: &Seen) -> Result<(), String> {
        let wished = wished(seen);
        for ((id, number), count) in &wished {
            if !seen.revisions.contains_key(&((*id).clone(), *number)) {
                return Err(format!(
                    "{count} instances are wished of revision {number} of {id}, which is none"
                ));
            }
        }
        bounded(seen, &wished, "are wished", &self.before)?;
        bounded(seen, &running(seen), "run", &self.before)?;
        self.before = wished.iter().map(|((id, number), count)| (((*id).clone(), *number), *count)).collect();
        let mut drains = BTreeMap::new();
        for slot in seen.services.iter().flat_map(|row| &row.slots) {
            let SlotWish::Drain { until, .. } = slot.wish else { continue };
            let latest = self.drains.get(&slot.id).copied();
            let latest = latest.unwrap_or(seen.now + Duration::from_millis(limits::DRAIN_MS));
            if until > latest {
                return Err(format!("{} drains until {until:?}, after {latest:?}", slot.id));
            }
            drains.insert(slot.id.clone(), until);
        }
        self.drains = drains;
        Ok(())
    }

    fn rest(&mut self, seen: &Seen) -> Result<(), String> {
        let counts = wished(seen);
        for row in &seen.services {
            let service = &row.service;
            for ((id, number), count) in &counts {
                let active = service.state == State::Running && service.active == Some(*number);
                if **id == service.id && !active {
                    return Err(format!("{count} instances of revision {number} are left: {service:?}"));
                }
            }
            let (State::Running, Some(active)) = (service.state, service.active) else { continue };
            let count = counts.get(&(&service.id, active)).copied().unwrap_or_default();
            let revision = &seen.revisions[&(service.id.clone(), active)];
            let least = revision.config.scaling.min_size.max(1);
            if count != least {
                return Err(format!("revision {active} of {} has {count} of {least} instances", service.id));
            }
        }
        Ok(())
    }
}
