//! Knative's autoscaler, by the arithmetic that it publishes (pkg/autoscaler/scaling/autoscaler.go and the defaults of
//! config-autoscaler, as of 2026): a stable window, a panic window, and no scale-in while it panics.

use super::trace::Policy;
use super::world::{Autoscaler, LOOK_MS, Rules, Sample};
use std::collections::VecDeque;

const TICK_MS: u64 = 2_000;
const STABLE_MS: u64 = 60_000;
/// A tenth of the stable window.
const PANIC_MS: u64 = 6_000;
/// Of the container's concurrency.
const TARGET_SHARE: f64 = 0.7;
const SCALE_UP_MAX: f64 = 1_000.0;
const SCALE_DOWN_MAX: f64 = 2.0;
const PANIC_THRESHOLD: f64 = 2.0;

pub struct Knative {
    target: f64,
    /// Concurrency at each look, newest last.
    seen: VecDeque<f64>,
    /// While it panics: when it was last over the threshold, and the most that it wanted.
    panic: Option<(u64, u32)>,
    wanted: u32,
}

impl Knative {
    pub fn new(policy: Policy) -> Knative {
        let target = f64::from(policy.target) * TARGET_SHARE;
        Knative { target, seen: VecDeque::new(), panic: None, wanted: policy.min }
    }

    /// Of what was seen in that time, or since the beginning.
    fn average(&self, window_ms: u64) -> f64 {
        let count = ((window_ms / LOOK_MS) as usize).min(self.seen.len()).max(1);
        self.seen.iter().rev().take(count).sum::<f64>() / count as f64
    }
}

impl Autoscaler for Knative {
    /// The activator holds what has no place; an instance's own limit is hard.
    fn rules(&self, policy: Policy) -> Rules {
        Rules {
            ceiling: policy.target,
            ceiling_alone: policy.target,
            cold_ms: 0,
            waiting_per_instance: 0,
            waiting_min: 10_000,
            wait_max_ms: 300_000,
            hears_of_lines: false,
            told_late_ms: 0,
            start_included: false,
        }
    }

    fn decide(&mut self, now_ms: u64, sample: &Sample) -> u32 {
        self.seen.push_back(sample.concurrency);
        if self.seen.len() > (STABLE_MS / LOOK_MS) as usize {
            self.seen.pop_front();
        }
        if !now_ms.is_multiple_of(TICK_MS) {
            return self.wanted;
        }
        let ready = f64::from(sample.ready.max(1));
        let bounds = ((ready / SCALE_DOWN_MAX).floor(), (ready * SCALE_UP_MAX).ceil());
        let want = |window_ms| (self.average(window_ms) / self.target).ceil().clamp(bounds.0, bounds.1);
        let (stable, panic) = (want(STABLE_MS), want(PANIC_MS));
        let is_over = (self.average(PANIC_MS) / self.target).ceil() / ready >= PANIC_THRESHOLD;
        self.panic = match self.panic {
            None if is_over => Some((now_ms, 0)),
            Some((_, most)) if is_over => Some((now_ms, most)),
            Some((since, _)) if now_ms >= since + STABLE_MS => None,
            kept => kept,
        };
        self.wanted = match &mut self.panic {
            Some((_, most)) => {
                *most = (*most).max(stable.max(panic) as u32);
                *most
            }
            None => stable as u32,
        };
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(knative: &mut Knative, from_ms: u64, for_ms: u64, concurrency: f64, ready: u32) -> u32 {
        let mut wanted = 0;
        for now_ms in (from_ms + LOOK_MS..=from_ms + for_ms).step_by(LOOK_MS as usize) {
            wanted = knative.decide(now_ms, &Sample { concurrency, ready, ..Sample::default() });
        }
        wanted
    }

    #[test]
    fn it_wants_seven_tenths_of_the_concurrency_on_each() {
        let mut knative = Knative::new(Policy { target: 10, min: 1, max: 25 });
        assert_eq!(after(&mut knative, 0, 60_000, 28.0, 4), 4);
        assert_eq!(after(&mut knative, 60_000, 60_000, 28.5, 4), 5);
    }

    #[test]
    fn it_panics_at_twice_what_is_there_and_gives_nothing_back_for_a_minute() {
        let mut knative = Knative::new(Policy { target: 10, min: 1, max: 25 });
        assert_eq!(after(&mut knative, 0, 60_000, 5.0, 1), 1);
        assert_eq!(after(&mut knative, 60_000, 6_000, 70.0, 1), 10);
        assert_eq!(after(&mut knative, 66_000, 58_000, 5.0, 10), 10);
        assert_eq!(after(&mut knative, 124_000, 10_000, 5.0, 10), 5, "half of what is there at most");
    }
}
