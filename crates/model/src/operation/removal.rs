//! What pausing and deleting have in common: proxies are told, instances drain and go, and that is waited for.
//!
//! The first transaction is already the pivot; from there it only goes forward.

use super::{Advance, Changes, Step, View, after, instances, waited};
use crate::draw::Draw;
use crate::limits;
use crate::reconcile::SlotWish;
use crate::service::State;

pub(super) enum Removal {
    /// Instances are going.
    Going(Advance),
    /// The wait is over after this time, with so many instances that did not go in it.
    Over { left: usize, took: String },
}

/// Puts the service into `state` and wishes its instances away, then waits for them.
pub(super) fn advance(view: &View, state: State, draw: &mut Draw) -> Removal {
    match view.operation.step {
        Step::Admitted => {
            let mut changes = Changes::new(view, draw);
            changes.begin();
            changes.service.state = state;
            changes.reroute();
            let until = after(draw, limits::DRAIN_STOP_MS);
            // What drains for an earlier deployment gets no more time than the rest.
            let longer = view.slots.iter().filter(|slot| match slot.wish {
                SlotWish::Run | SlotWish::Beside => true,
                SlotWish::Drain { until: later, .. } => later > until,
                SlotWish::Stop | SlotWish::Gone => false,
            });
            changes.drain(longer.map(|slot| slot.id.clone()), until, draw);
            changes.both(&format!("Draining {}.", instances(view.slots.len())));
            let deadline = after(draw, limits::REMOVE_MS_MAX);
            Removal::Going(changes.step(Step::Removing { deadline }, deadline))
        }
        Step::Removing { deadline } => {
            let left = view.slots.len();
            if (left > 0 || !view.is_routed()) && draw.now < deadline {
                return Removal::Going(Advance::wait(deadline));
            }
            let took = waited(draw, deadline, limits::REMOVE_MS_MAX);
            Removal::Over { left, took }
        }
        Step::Queued
        | Step::Building { .. }
        | Step::Starting { .. }
        | Step::Rolling { .. }
        | Step::Routing { .. }
        | Step::Returning { .. }
        | Step::RollingBack { .. }
        | Step::Ended => unreachable!("nothing is removed in this step: {:?}", view.operation.step),
    }
}
