//! DeleteService: no host name leads to it any more, its instances go, and its row tells for a day that it was.
//!
//! There is nothing to roll back to. What cannot be removed in time makes DELETE_FAILED, with the reason; the
//! wishes stay, and deleting again waits for them again.

use super::{Advance, Changes, OperationStatus, Step, View, Write, after};
use crate::draw::Draw;
use crate::instance::Fault;
use crate::limits;
use crate::reconcile::SlotWish;
use crate::service::State;

pub(super) fn advance(view: &View, draw: &mut Draw) -> Advance {
    match view.operation.step {
        Step::Admitted => {
            let mut changes = Changes::new(view, draw);
            changes.begin();
            changes.service.state = State::Deleting;
            changes.reroute();
            let running = view.slots.iter().filter(|slot| slot.wish == SlotWish::Run);
            changes.drain(running.map(|slot| slot.id.clone()), after(draw, limits::DRAIN_STOP_MS));
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
                let reason =
                    format!("{left} instances could not be removed in time; delete the service again.");
                changes.both(&format!("Service deletion failed. Failure reason : {reason}"));
                changes.service.state = State::DeleteFailed;
                changes.service.last_failure = Some(reason.clone());
                changes.operation.fault = Some(Fault::transient(reason));
                return changes.end(OperationStatus::Failed, draw);
            }
            changes.writes.extend(view.revisions.iter().map(|one| Write::RevisionForget(one.number)));
            changes.service.state = State::Deleted;
            changes.service.active = None;
            changes.service.previous = None;
            changes.service.deleted_at = Some(draw.wall);
            changes.service.purge_at = Some(after(draw, limits::DELETED_KEPT_MS));
            changes.end(OperationStatus::Succeeded, draw)
        }
        Step::Building { .. }
        | Step::Starting { .. }
        | Step::Routing { .. }
        | Step::RollingBack { .. }
        | Step::Ended => unreachable!("a deletion has no such step: {:?}", view.operation.step),
    }
}
