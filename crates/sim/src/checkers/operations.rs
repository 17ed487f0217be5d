//! An operation ends; a service has one that is open, or none.

use super::{Checker, Seen};
use apron_model::ids::OperationId;
use apron_model::limits;
use apron_model::operation::Step;
use apron_model::service::{State, settled};
use apron_model::time::Timestamp;
use std::collections::BTreeMap;

/// Longer than all waits of one operation together, and a start of control between each two of them.
const LIFE_MS_MAX: u64 = limits::BUILD_WAIT_MS_MAX
    + 2 * limits::BUILD_MS_MAX
    + limits::BECOME_HEALTHY_MS
    + 3_600_000
    + limits::REMOVE_MS_MAX
    + 2 * limits::ROUTE_MS_MAX
    + 60 * 60 * 1000;

#[derive(Default)]
pub(crate) struct Operations {
    begun: BTreeMap<OperationId, Timestamp>,
}

impl Checker for Operations {
    fn look(&mut self, seen: &Seen) -> Result<(), String> {
        let mut open: BTreeMap<&_, &OperationId> = BTreeMap::new();
        for operation in &seen.operations {
            let ended = operation.status.is_ended();
            if ended != (operation.step == Step::Ended) || ended != operation.ended_at.is_some() {
                return Err(format!("an operation is half ended: {operation:?}"));
            }
            if ended {
                self.begun.remove(&operation.id);
                continue;
            }
            // What waits for its turn has not begun.
            if operation.is_queued() {
                continue;
            }
            if let Some(other) = open.insert(&operation.service, &operation.id) {
                return Err(format!("{other} and {} are open at once", operation.id));
            }
            let begun = *self.begun.entry(operation.id.clone()).or_insert(seen.now);
            if (seen.now - begun).as_millis() as u64 > LIFE_MS_MAX {
                return Err(format!("an operation does not end: {operation:?}"));
            }
        }
        Ok(())
    }

    fn rest(&mut self, seen: &Seen) -> Result<(), String> {
        for row in &seen.services {
            let service = &row.service;
            if service.operation.is_some() || service.candidate.is_some() {
                return Err(format!("something is open: {service:?}"));
            }
            match service.state {
                State::Running | State::Paused | State::CreateFailed | State::DeleteFailed => {}
                state @ (State::Creating | State::Deleting | State::Deleted) => {
                    return Err(format!("{} is no state to rest in: {service:?}", settled(state).as_str()));
                }
            }
        }
        for operation in &seen.operations {
            if !operation.status.is_ended() {
                return Err(format!("an operation is open for ever: {operation:?}"));
            }
        }
        Ok(())
    }
}
