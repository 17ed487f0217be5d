//! Nothing runs that no row wishes, and nothing that a row wishes is stopped.

use super::{Checker, Seen};
use apron_compute::sim::Effect;
use apron_model::ids::InstanceId;
use apron_model::instance::Phase;
use apron_model::reconcile::SlotWish;
use std::collections::BTreeSet;

pub(crate) struct Orphans;

fn wished(seen: &Seen) -> BTreeSet<&InstanceId> {
    let slots = seen.services.iter().flat_map(|row| &row.slots);
    slots.filter(|slot| slot.wish.runs()).map(|slot| &slot.id).collect()
}

impl Checker for Orphans {
    fn look(&mut self, seen: &Seen) -> Result<(), String> {
        // A wish to run is given up for good, so rows that are read later say no less.
        let wished = wished(seen);
        for effect in &seen.effects {
            let Effect::Removed(id) = effect else { continue };
            if wished.contains(id) {
                return Err(format!("{id} is told to stop, and its row wishes that it runs"));
            }
            if seen.strangers.contains(id) {
                return Err(format!("{id}, which no row knows, is told to stop"));
            }
        }
        Ok(())
    }

    fn rest(&mut self, seen: &Seen) -> Result<(), String> {
        for slot in seen.services.iter().flat_map(|row| &row.slots) {
            if slot.wish != SlotWish::Run {
                return Err(format!("{} is still to go: {:?}", slot.id, slot.wish));
            }
        }
        let wished = wished(seen);
        for one in seen.observed.iter().filter(|one| !seen.strangers.contains(&one.id)) {
            if !wished.contains(&one.id) {
                return Err(format!("{} runs, and no row wishes it: {:?}", one.id, one.phase));
            }
        }
        for id in wished {
            let runs = seen.observed.iter().any(|one| one.id == *id && one.phase == Phase::Running);
            if !runs {
                return Err(format!("{id} is wished and does not run"));
            }
        }
        Ok(())
    }
}
