//! What is counted about requests and services. Shared by all loops; read by `link` for its reports.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Counts of one service. They live outside the route table, so a new table never resets them.
#[derive(Default)]
pub(crate) struct ServiceCounts {
    requests: AtomicU64,
    waiting: AtomicU32,
}

impl ServiceCounts {
    /// One request was answered, by an instance or by `reply`: called once per request.
    pub(crate) fn answered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Takes a place among the requests that wait for an instance, if fewer than `max` do.
    pub(crate) fn enter_queue(&self, max: u32) -> bool {
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < max).then_some(waiting + 1)
            })
            .is_ok()
    }

    pub(crate) fn leave_queue(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded() {
        let counts = ServiceCounts::default();
        assert!(counts.enter_queue(2) && counts.enter_queue(2) && !counts.enter_queue(2));
        counts.leave_queue();
        assert!(counts.enter_queue(2));
    }
}
