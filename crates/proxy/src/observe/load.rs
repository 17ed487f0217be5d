//! Which requests are load: what scaling is told of.
//!
//! It is those that were let in, to an instance or into the line. What the proxy refuses, or answers by itself, is no work
//! for any instance, and stands in the metrics only. Whatever ends a request that is at an instance makes its place free:
//! it counts as answered also where it came to nothing.

use super::{Exchange, LoopCounts, Observer, Seen, ServiceCounts, add, read};
use std::sync::atomic::AtomicU64;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not let in, or at its end.
    Nowhere,
    Line,
    Instance,
}

impl Exchange {
    /// It stands in its service's line.
    pub(crate) fn enters_line(&mut self) {
        self.moves(Place::Line);
    }

    /// It has a place at an instance.
    pub(crate) fn gets_place(&mut self) {
        self.moves(Place::Instance);
    }

    /// Neither any more, though its client may not have heard of it yet.
    pub(crate) fn leaves(&mut self) {
        self.moves(Place::Nowhere);
    }

    fn moves(&mut self, to: Place) {
        self.client.event_loop.observer.moves(&mut self.seen, to);
    }
}

impl Observer {
    pub(super) fn moves(&self, seen: &mut Seen, to: Place) {
        let from = std::mem::replace(&mut seen.place, to);
        let Some(service) = &seen.service else { return };
        let counts = service.counts.of(self.number);
        let counter = match (from, to) {
            (Place::Nowhere, Place::Line | Place::Instance) => &counts.arrived,
            (Place::Instance, Place::Nowhere) => &counts.answered,
            (Place::Line, Place::Nowhere) => &counts.gave_up,
            _ => return,
        };
        add(counter, 1);
        self.step();
    }
}

impl ServiceCounts {
    /// Requests that were let in.
    pub(crate) fn arrived(&self) -> u64 {
        self.sum(|counts| &counts.arrived)
    }

    /// Those of them that have left an instance.
    pub(crate) fn answered(&self) -> u64 {
        self.sum(|counts| &counts.answered)
    }

    /// Those of them that have left the line without a place.
    pub(crate) fn gave_up(&self) -> u64 {
        self.sum(|counts| &counts.gave_up)
    }

    fn sum(&self, of: impl Fn(&LoopCounts) -> &AtomicU64) -> u64 {
        self.loops().map(|counts| read(of(counts))).sum()
    }
}
