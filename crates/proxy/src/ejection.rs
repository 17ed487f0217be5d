//! Passive ejection: an instance that fails time after time, or where nobody listens, gets no requests for a while.
//!
//! In → out for a second → one request on probation → in again, or out for twice as long. The state is one
//! number per instance that all loops share, so each step is one compare-and-swap, and an instance without
//! failures costs one load. Whether an ejected one is used all the same, because no other is left, is
//! `balance`'s decision.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Failures in a row that are no accident.
const FAILURES_MAX: u64 = 5;
/// The first time out: about what a process needs to start again.
const OUT_MS_MIN: u64 = 1_000;
const OUT_MS_MAX: u64 = 30_000;
/// A probe that has shown nothing for this long is forgotten, and the next request is one.
const PROBE_MS_MAX: u64 = 30_000;
/// Doubling stops here, far beyond `OUT_MS_MAX`.
const EJECTIONS_MAX: u64 = 15;

/// Milliseconds since this process first asked, and never 0.
pub(crate) fn now_ms() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = *BEGIN.get_or_init(Instant::now);
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    In,
    Out,
    /// Out, and one request may find out whether for longer.
    Probe,
}

/// What a request was let in as: whether its end says something about an ejection depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trial {
    /// The ejection that it knew of; 0: none.
    until_ms: u64,
    probe: bool,
}

/// What is known of one instance's failures.
#[derive(Default)]
pub(crate) struct Ejection(AtomicU64);

/// The number in parts: failures in a row in 8 bits, ejections in a row in 8 bits, and until when in 48 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    failures: u64,
    ejections: u64,
    /// 0: not ejected.
    until_ms: u64,
}

impl State {
    fn read(bits: u64) -> State {
        State { failures: bits & 0xff, ejections: bits >> 8 & 0xff, until_ms: bits >> 16 }
    }

    fn bits(self) -> u64 {
        self.failures | self.ejections << 8 | self.until_ms << 16
    }

    fn standing(self, now_ms: u64) -> Standing {
        match self.until_ms {
            0 => Standing::In,
            until if now_ms < until => Standing::Out,
            _ => Standing::Probe,
        }
    }

    /// None: the failure is no news.
    fn failed(mut self, trial: Trial, now_ms: u64) -> Option<State> {
        if self.until_ms == 0 {
            self.failures += 1;
            if self.failures >= FAILURES_MAX {
                self = State { failures: 0, ejections: 1, until_ms: now_ms + OUT_MS_MIN };
            }
            return Some(self);
        }
        // What was sent before the ejection is what led to it, and what was sent because there was no other
        // instance must not make it longer for ever.
        if !trial.probe || trial.until_ms != self.until_ms {
            return None;
        }
        self.until_ms = now_ms + (OUT_MS_MIN << self.ejections).min(OUT_MS_MAX);
        self.ejections = (self.ejections + 1).min(EJECTIONS_MAX);
        Some(self)
    }

    /// Requests from before an ejection may be answered long after it, by an instance that takes no new ones.
    fn answered(self, trial: Trial) -> Option<State> {
        (self != State::default() && self.until_ms == trial.until_ms).then_some(State::default())
    }

    fn abandoned(self, trial: Trial, now_ms: u64) -> Option<State> {
        (trial.probe && self.until_ms == trial.until_ms).then_some(State { until_ms: now_ms, ..self })
    }
}

impl Ejection {
    /// `now_ms` is asked for only when it matters, which is rare.
    pub(crate) fn standing(&self, now_ms: impl FnOnce() -> u64) -> Standing {
        match State::read(self.0.load(Ordering::Relaxed)) {
            State { until_ms: 0, .. } => Standing::In,
            state => state.standing(now_ms()),
        }
    }

    /// Lets a request in that was chosen by this standing. None: another one was quicker to be the probe.
    pub(crate) fn begin(&self, chosen_as: Standing, now_ms: impl FnOnce() -> u64) -> Option<Trial> {
        let seen = self.0.load(Ordering::Relaxed);
        let state = State::read(seen);
        if chosen_as != Standing::Probe {
            return Some(Trial { until_ms: state.until_ms, probe: false });
        }
        let now_ms = now_ms();
        if state.standing(now_ms) != Standing::Probe {
            return None;
        }
        let until_ms = now_ms + PROBE_MS_MAX;
        let next = State { until_ms, ..state }.bits();
        let taken = self.0.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed);
        taken.ok().map(|_| Trial { until_ms, probe: true })
    }

    /// Whoever watches over its health says that it is well, which is news.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// No connection, or none that lasted until the answer. True when this ejects the instance, or keeps it out.
    pub(crate) fn failed(&self, trial: Trial, now_ms: u64) -> bool {
        self.change(|state| state.failed(trial, now_ms)).is_some_and(|state| state.until_ms != 0)
    }

    /// Nobody listens there, which is no accident: the next request would fare the same. As for `failed`.
    pub(crate) fn refused(&self, trial: Trial, now_ms: u64) -> bool {
        let change = |state| State { failures: FAILURES_MAX, ..state }.failed(trial, now_ms);
        self.change(change).is_some_and(|state| state.until_ms != 0)
    }

    /// The head of an answer came, whatever it says. True when this ends an ejection.
    pub(crate) fn answered(&self, trial: Trial) -> bool {
        // The usual case writes nothing.
        self.0.load(Ordering::Relaxed) != 0
            && self.change(|state| state.answered(trial)).is_some()
            && trial.until_ms != 0
    }

    /// The request ended and nobody knows how the instance does, such as when its client went away.
    pub(crate) fn abandoned(&self, trial: Trial, now_ms: impl FnOnce() -> u64) {
        if trial.probe {
            let now_ms = now_ms();
            self.change(|state| state.abandoned(trial, now_ms));
        }
    }

    /// The new state, if there is one.
    fn change(&self, next: impl Fn(State) -> Option<State>) -> Option<State> {
        let change = |bits| next(State::read(bits)).map(State::bits);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).ok()?;
        next(State::read(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Trial = Trial { until_ms: 0, probe: false };

    fn ejected(now_ms: u64) -> Ejection {
        let ejection = Ejection::default();
        for _ in 1..FAILURES_MAX {
            assert!(!ejection.failed(SENT, now_ms));
        }
        assert!(ejection.failed(SENT, now_ms));
        ejection
    }

    fn check(ejection: &Ejection, now_ms: u64, expect: Standing) {
        assert_eq!(ejection.standing(|| now_ms), expect, "at {now_ms}");
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_between_them_does_not_let_them() {
        let ejection = Ejection::default();
        for _ in 0..10 {
            for _ in 1..FAILURES_MAX {
                assert!(!ejection.failed(SENT, 7));
            }
            assert!(!ejection.answered(SENT), "it was never out");
            check(&ejection, 7, Standing::In);
        }
        let ejection = ejected(7);
        check(&ejection, 7, Standing::Out);
        check(&ejection, 6 + OUT_MS_MIN, Standing::Out);
        check(&ejection, 7 + OUT_MS_MIN, Standing::Probe);
    }

    #[test]
    fn where_nobody_listens_nobody_asks_twice() {
        let ejection = Ejection::default();
        assert!(ejection.refused(SENT, 7) && !ejection.refused(SENT, 8));
        check(&ejection, 6 + OUT_MS_MIN, Standing::Out);
        let probe = ejection.begin(Standing::Probe, || 7 + OUT_MS_MIN).unwrap();
        assert!(ejection.refused(probe, 7 + OUT_MS_MIN));
        check(&ejection, 6 + 3 * OUT_MS_MIN, Standing::Out);
        let probe = ejection.begin(Standing::Probe, || 7 + 3 * OUT_MS_MIN).unwrap();
        assert!(ejection.answered(probe));
        check(&ejection, 7 + 3 * OUT_MS_MIN, Standing::In);
        assert!(!ejection.failed(SENT, 9), "one failure of another kind may be an accident");
    }

    #[test]
    fn one_probe_decides() {
        let ejection = ejected(0);
        let now = OUT_MS_MIN;
        let probe = ejection.begin(Standing::Probe, || now).unwrap();
        assert_eq!(ejection.begin(Standing::Probe, || now), None, "a second one");
        check(&ejection, now + PROBE_MS_MAX - 1, Standing::Out);
        assert!(ejection.answered(probe));
        check(&ejection, now, Standing::In);
        // The next ejection is a first one again.
        for _ in 0..FAILURES_MAX {
            ejection.failed(SENT, now);
        }
        check(&ejection, now + OUT_MS_MIN, Standing::Probe);
    }

    #[test]
    fn each_failed_probe_doubles_the_time_up_to_its_bound() {
        let (mut now, ejection) = (OUT_MS_MIN, ejected(0));
        for expect in [2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000] {
            let probe = ejection.begin(Standing::Probe, || now).unwrap();
            assert!(ejection.failed(probe, now));
            check(&ejection, now + expect - 1, Standing::Out);
            now += expect;
            check(&ejection, now, Standing::Probe);
        }
        for _ in 0..100 {
            let probe = ejection.begin(Standing::Probe, || now).unwrap();
            assert!(ejection.failed(probe, now));
            now += OUT_MS_MAX;
        }
        check(&ejection, now, Standing::Probe);
    }

    #[test]
    fn what_was_sent_before_says_nothing_about_now() {
        let ejection = ejected(0);
        assert!(!ejection.failed(SENT, 1) && !ejection.answered(SENT));
        check(&ejection, OUT_MS_MIN - 1, Standing::Out);
        check(&ejection, OUT_MS_MIN, Standing::Probe);
        // Sent because there was no other: its answer counts, its failure changes nothing.
        let nevertheless = ejection.begin(Standing::Out, || 2).unwrap();
        assert!(!ejection.failed(nevertheless, 3));
        check(&ejection, OUT_MS_MIN, Standing::Probe);
        assert!(ejection.answered(nevertheless));
        check(&ejection, 4, Standing::In);
    }

    #[test]
    fn an_abandoned_probe_makes_room_for_the_next() {
        let ejection = ejected(0);
        let probe = ejection.begin(Standing::Probe, || OUT_MS_MIN).unwrap();
        ejection.abandoned(probe, || OUT_MS_MIN + 5);
        check(&ejection, OUT_MS_MIN + 5, Standing::Probe);
        let second = ejection.begin(Standing::Probe, || OUT_MS_MIN + 9).unwrap();
        // The first one is over, whatever is said about it now.
        assert!(!ejection.failed(probe, OUT_MS_MIN + 10) && !ejection.answered(probe));
        assert!(ejection.answered(second));
    }

    #[test]
    fn threads_get_one_probe_between_them() {
        for _ in 0..100 {
            let ejection = ejected(0);
            let probes: usize = std::thread::scope(|scope| {
                let ask = || usize::from(ejection.begin(Standing::Probe, || OUT_MS_MIN).is_some());
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(probes, 1);
        }
    }
}
