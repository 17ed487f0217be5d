//! Connections that have not carried a good signature yet. Where a place for one more is lacking, the oldest of them
//! gives way, so that nobody without a key keeps others out by connections that say nothing.

use apron_model::throttle::Source;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// All of them. Their number is bounded by that of connections.
#[derive(Default)]
pub(super) struct Guests {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Numbers rise, so the first is the oldest.
    next: u64,
    guests: BTreeMap<u64, (Source, oneshot::Sender<()>)>,
}

/// One of them; forgotten when it is dropped.
pub(super) struct Guest {
    guests: Arc<Guests>,
    number: u64,
}

impl Guests {
    /// A new connection, and what says `Ok` when it must give way.
    pub(super) fn enter(self: &Arc<Self>, source: Source) -> (Guest, oneshot::Receiver<()>) {
        let (evict, evicted) = oneshot::channel();
        let mut known = self.known();
        let number = known.next;
        known.next += 1;
        known.guests.insert(number, (source, evict));
        (Guest { guests: Arc::clone(self), number }, evicted)
    }

    /// Tells the oldest, of this source if one is named, to give way. False when there is none.
    pub(super) fn evict(&self, source: Option<Source>) -> bool {
        let mut known = self.known();
        let oldest = known.guests.iter().find(|(_, (from, _))| source.is_none_or(|source| source == *from));
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        known.guests.remove(&number).is_some_and(|(_, evict)| evict.send(()).is_ok())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// It has carried a good signature, and keeps its place.
    pub(super) fn proven(&self) {
        self.guests.known().guests.remove(&self.number);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.proven();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_without_a_signature_gives_way() {
        let guests = Arc::<Guests>::default();
        let (local, far) = (Source::Loopback, Source::V6(1));
        let (proven, mut of_proven) = guests.enter(local);
        let (_first, mut of_first) = guests.enter(far);
        let (_second, mut of_second) = guests.enter(local);
        let (gone, _) = guests.enter(local);
        proven.proven();
        drop(gone);
        assert!(guests.evict(Some(local)) && of_second.try_recv().is_ok());
        assert!(!guests.evict(Some(local)));
        assert!(guests.evict(None) && of_first.try_recv().is_ok());
        assert!(!guests.evict(None) && of_proven.try_recv().is_err());
        assert!(guests.known().guests.is_empty());
    }
}
