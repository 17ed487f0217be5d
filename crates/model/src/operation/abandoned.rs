//! The end of an operation whose rows cannot be read or followed any more. Nothing is known of where it stood, so what
//! serves goes on serving, and whatever else runs gives way to it.

use super::{Line, after, deployment_line};
use crate::draw::Draw;
use crate::ids::{OperationId, RevisionNumber};
use crate::limits;
use crate::reconcile::SlotWish;
use crate::service::{Service, State, settled};

/// What the operation leaves of its service, and the lines that tell of it.
pub fn abandoned(
    service: &Service,
    operation: &OperationId,
    reason: &str,
    draw: &Draw,
) -> (Service, Vec<Line>) {
    let state = match (service.state, service.active) {
        (State::Creating, None) => State::CreateFailed,
        (State::Creating, Some(_)) => State::Running,
        (State::Deleting, _) => State::DeleteFailed,
        (state @ (State::Running | State::Paused | State::CreateFailed), _) => state,
        (state @ (State::DeleteFailed | State::Deleted), _) => state,
    };
    let after = Service {
        state,
        candidate: None,
        operation: None,
        last_failure: Some(reason.to_owned()),
        updated_at: draw.wall,
        // Some of what proxies were to be told may be taken back.
        route_version: service.route_version + 1,
        ..service.clone()
    };
    let failed = format!("The operation with ID : {operation} failed. Failure reason : {reason}");
    let status = format!("Service status is set to {}.", settled(state).as_str());
    let mut lines = Vec::new();
    for text in [failed, status] {
        lines.push(deployment_line(&text));
        lines.push(Line::Event(text));
    }
    lines.push(Line::DeploymentEnd);
    (after, lines)
}

/// What becomes of an instance of the service, whose wish may be unreadable; None: nothing.
pub fn left_behind(
    service: &Service,
    revision: RevisionNumber,
    wish: Option<SlotWish>,
    draw: &Draw,
) -> Option<SlotWish> {
    let serves = match service.state {
        State::Running => service.active == Some(revision),
        State::Creating
        | State::Paused
        | State::CreateFailed
        | State::Deleting
        | State::DeleteFailed
        | State::Deleted => false,
    };
    match wish {
        Some(SlotWish::Run) if serves => None,
        None | Some(SlotWish::Beside) if serves => Some(SlotWish::Run),
        None | Some(SlotWish::Run | SlotWish::Beside) => {
            Some(SlotWish::Drain { since: Some(draw.now), until: after(draw, limits::DRAIN_MS) })
        }
        Some(SlotWish::Drain { .. } | SlotWish::Stop | SlotWish::Gone) => None,
    }
}
