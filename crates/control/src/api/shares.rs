//! Places that callers share so that none of them holds them all: memory for bodies, long polls.

use apron_model::throttle::Source;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Who holds a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Address(Source),
    /// By the key's id.
    Key(String),
}

/// Places of one kind.
pub(super) struct Shares {
    total: usize,
    /// Of each holder.
    each: usize,
    /// Nobody is in it without a place.
    held: Mutex<BTreeMap<Holder, usize>>,
    freed: Notify,
}

/// Given back when it is dropped.
pub(super) struct Place {
    shares: Arc<Shares>,
    holder: Holder,
}

impl Shares {
    pub(super) fn new(total: usize, each: usize) -> Arc<Shares> {
        Arc::new(Shares { total, each, held: Mutex::default(), freed: Notify::new() })
    }

    /// A place at once, or none.
    pub(super) fn take(self: &Arc<Self>, holder: Holder) -> Option<Place> {
        let mut held = self.held();
        let own = held.get(&holder).copied().unwrap_or(0);
        if own >= self.each || held.values().sum::<usize>() >= self.total {
            return None;
        }
        held.insert(holder.clone(), own + 1);
        Some(Place { shares: Arc::clone(self), holder })
    }

    /// A place as soon as there is one, within a time.
    pub(super) async fn wait(self: &Arc<Self>, holder: Holder, within: Duration) -> Option<Place> {
        let taken = async {
            loop {
                let mut freed = std::pin::pin!(self.freed.notified());
                // What is given back from here on is heard of.
                freed.as_mut().enable();
                if let Some(place) = self.take(holder.clone()) {
                    return place;
                }
                freed.await;
            }
        };
        tokio::time::timeout(within, taken).await.ok()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Holder, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        match held.get_mut(&self.holder) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.remove(&self.holder)),
        }
        drop(held);
        self.shares.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Holder {
        Holder::Key(id.to_owned())
    }

    #[tokio::test]
    async fn nobody_holds_all_and_what_is_given_back_is_there_again() {
        let shares = Shares::new(3, 2);
        let (_first, second) = (shares.take(key("a")).unwrap(), shares.take(key("a")).unwrap());
        assert!(shares.take(key("a")).is_none());
        let third = shares.take(key("b")).unwrap();
        assert!(shares.take(key("c")).is_none(), "all are taken");
        drop(third);
        assert!(shares.take(key("a")).is_none());
        assert!(shares.take(Holder::Address(Source::Loopback)).is_some());
        drop(second);
        assert!(shares.take(key("a")).is_some());
        assert_eq!(shares.held().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for() {
        let shares = Shares::new(1, 1);
        let held = shares.take(key("a")).unwrap();
        assert!(shares.wait(key("b"), Duration::from_secs(5)).await.is_none());
        let (got, ()) = tokio::join!(shares.wait(key("b"), Duration::from_secs(5)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(held);
        });
        assert!(got.is_some());
    }
}
