//! DeleteService: no host name leads to it any more, its instances go, and its row tells for a day that it was.
//!
//! There is nothing to roll back to. What cannot be removed in time makes DELETE_FAILED, with the reason; the
//! wishes stay, and deleting again waits for them again.

use super::removal::{self, Removal};
use super::{Advance, Changes, OperationStatus, View, Write, after};
use crate::draw::Draw;
use crate::instance::Fault;
use crate::limits;
use crate::service::State;

pub(super) fn advance(view: &View, draw: &mut Draw) -> Advance {
    let (left, took) = match removal::advance(view, State::Deleting, draw) {
        Removal::Going(advance) => return advance,
        Removal::Over { left, took } => (left, took),
    };
    let mut changes = Changes::new(view, draw);
    if left > 0 {
        let reason = format!("{left} instances could not be removed in time; delete the service again.");
        changes.both(&format!("Service deletion failed. Failure reason : {reason}"));
        changes.service.state = State::DeleteFailed;
        changes.service.last_failure = Some(reason.clone());
        changes.operation.fault = Some(Fault::transient(reason));
        return changes.end(OperationStatus::Failed, draw);
    }
    changes.both(&format!("Every instance has stopped after {took}."));
    changes.writes.extend(view.revisions.iter().map(|one| Write::RevisionForget(one.number)));
    changes.service.state = State::Deleted;
    changes.service.active = None;
    changes.service.previous = None;
    changes.service.deleted_at = Some(draw.wall);
    changes.service.purge_at = Some(after(draw, limits::DELETED_KEPT_MS));
    changes.end(OperationStatus::Succeeded, draw)
}
