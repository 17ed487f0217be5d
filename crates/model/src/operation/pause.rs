//! PauseService: proxies answer for the service themselves, its instances drain and go, its revision stays.
//!
//! The first transaction is already the pivot. From there it only goes forward: an instance that will not go
//! keeps its wish to, and does not keep the service from being paused.

use super::{Advance, Changes, OperationStatus, Step, View, after};
use crate::draw::Draw;
use crate::limits;
use crate::service::State;

pub(super) fn advance(view: &View, draw: &mut Draw) -> Advance {
    match view.operation.step {
        Step::Admitted => {
            let mut changes = Changes::new(view, draw);
            changes.begin();
            changes.service.state = State::Paused;
            changes.reroute();
            changes.drain(
                view.running(view.service.active).map(|slot| slot.id.clone()),
                after(draw, limits::DRAIN_STOP_MS),
            );
            let deadline = after(draw, limits::REMOVE_MS_MAX);
            changes.step(Step::Removing { deadline }, deadline)
        }
        Step::Removing { deadline } => {
            let left = view.slots.len();
            if (left > 0 || !view.is_routed()) && draw.now < deadline {
                return Advance::wait(deadline);
            }
            let mut changes = Changes::new(view, draw);
            if left > 0 {
                changes.both(&format!("{left} instances have not ended yet; stopping them goes on."));
            }
            changes.end(OperationStatus::Succeeded, draw)
        }
        Step::Building { .. }
        | Step::Starting { .. }
        | Step::Routing { .. }
        | Step::RollingBack { .. }
        | Step::Ended => unreachable!("a pause has no such step: {:?}", view.operation.step),
    }
}
