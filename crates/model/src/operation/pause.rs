//! PauseService: proxies answer for the service themselves, its instances drain and go, its revision stays.
//!
//! An instance that will not go keeps its wish to, and does not keep the service from being paused.

use super::removal::{self, Removal};
use super::{Advance, Changes, OperationStatus, View};
use crate::draw::Draw;
use crate::service::State;

pub(super) fn advance(view: &View, draw: &mut Draw) -> Advance {
    let (left, took) = match removal::advance(view, State::Paused, draw) {
        Removal::Going(advance) => return advance,
        Removal::Over { left, took } => (left, took),
    };
    let mut changes = Changes::new(view, draw);
    // What was needed by then says nothing about what will be.
    changes.service.wanted = 0;
    if left > 0 {
        changes.both(&format!("{left} instances have not ended yet; stopping them goes on."));
    } else {
        changes.both(&format!("Every instance has stopped after {took}."));
    }
    changes.end(OperationStatus::Succeeded, draw)
}
