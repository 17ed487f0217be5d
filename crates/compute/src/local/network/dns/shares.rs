//! How much of the relay each instance may have, so that one that floods leaves room for the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Bounds on what is under way, by source address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of all sources together.
    pub total_max: usize,
    /// Of one source, while less than half of the total is taken.
    pub own_max: usize,
    /// Of one source from then on.
    pub own_when_crowded_max: usize,
    /// Of one source that is being worked on; the rest of its own waits for these.
    pub at_once_max: usize,
}

/// Who has how much.
pub(super) struct Shares {
    limits: Limits,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    total: usize,
    sources: HashMap<IpAddr, Source>,
}

struct Source {
    held: usize,
    at_once: Arc<Semaphore>,
}

/// One piece of work of one source; it counts until this is dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    source: IpAddr,
    /// A permit of it is needed to work.
    pub at_once: Arc<Semaphore>,
}

impl Shares {
    pub(super) fn new(limits: Limits) -> Arc<Shares> {
        Arc::new(Shares { limits, held: Mutex::default() })
    }

    /// `None` when the source, or everyone together, has too much already.
    pub(super) fn take(self: &Arc<Shares>, source: IpAddr) -> Option<Share> {
        let mut held = self.held();
        let crowded = held.total >= self.limits.total_max / 2;
        let own_max = if crowded { self.limits.own_when_crowded_max } else { self.limits.own_max };
        let own = held.sources.get(&source).map_or(0, |source| source.held);
        if own >= own_max || held.total >= self.limits.total_max {
            return None;
        }
        held.total += 1;
        let at_once_max = self.limits.at_once_max;
        let entry = held
            .sources
            .entry(source)
            .or_insert_with(|| Source { held: 0, at_once: Arc::new(Semaphore::new(at_once_max)) });
        entry.held += 1;
        Some(Share { shares: self.clone(), source, at_once: entry.at_once.clone() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        held.total -= 1;
        if let Some(source) = held.sources.get_mut(&self.source) {
            source.held -= 1;
            if source.held == 0 {
                held.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_greedy_source_leaves_room_for_others() {
        let limits = Limits { total_max: 20, own_max: 8, own_when_crowded_max: 2, at_once_max: 1 };
        let shares = Shares::new(limits);
        let take = |source: u8, times: usize| -> Vec<Share> {
            (0..times).filter_map(|_| shares.take(Ipv4Addr::new(10, 0, 0, source).into())).collect()
        };
        let one = take(1, 100);
        assert_eq!(one.len(), 8);
        let two = take(2, 100);
        assert_eq!(two.len(), 2, "from here on it is crowded");
        let (three, four) = (take(3, 100), take(4, 1));
        assert_eq!((three.len(), four.len()), (2, 1));
        let rest: Vec<Vec<Share>> = (5..100).map(|source| take(source, 1)).collect();
        assert_eq!(rest.iter().flatten().count(), 20 - 13, "the total holds");
        assert!(Arc::ptr_eq(&one[0].at_once, &one[1].at_once));
        drop((one, two, three, four, rest));
        assert_eq!(take(1, 100).len(), 8);
        let held = shares.held();
        assert_eq!((held.total, held.sources.len()), (0, 0));
    }
}
