//! Our own, by the code that runs.

use super::trace::Policy;
use super::world::{self, Autoscaler, Rules};
use apron_model::scaling::{self, Fleet, Sample, Scaler, Targets, Used, Window};
use apron_model::time::Timestamp;

/// Proxies tell every `scaling::SAMPLE_MS`, and control looks as often by a clock of its own: on average in the middle.
const TOLD_LATE_MS: u64 = scaling::SAMPLE_MS / 2;

pub struct Ours {
    policy: scaling::Policy,
    window: Window,
    scaler: Scaler,
    told_late_ms: u64,
}

impl Ours {
    pub fn new(policy: Policy) -> Ours {
        Ours::told_late(policy, TOLD_LATE_MS)
    }

    /// Where control's clock is so much behind the proxies', less than `scaling::SAMPLE_MS`.
    pub fn told_late(policy: Policy, told_late_ms: u64) -> Ours {
        let Policy { target, min, max } = policy;
        let scaler = Scaler::new(min, Timestamp(0));
        let policy = scaling::Policy { target, min, max, also: Targets::default() };
        Ours { policy, window: Window::default(), scaler, told_late_ms }
    }
}

impl Autoscaler for Ours {
    /// As the proxy does it.
    fn rules(&self, policy: Policy) -> Rules {
        Rules {
            ceiling: policy.target * 2,
            ceiling_alone: policy.target,
            cold_ms: 10_000,
            waiting_per_instance: policy.target * 4,
            waiting_min: 10_000,
            wait_max_ms: 120_000,
            hears_of_lines: true,
            told_late_ms: self.told_late_ms,
            start_included: false,
        }
    }

    fn decide(&mut self, now_ms: u64, sample: &world::Sample) -> u32 {
        let world::Sample { arrived, answered, waiting, now, ready, starting, .. } = *sample;
        let at = Timestamp(now_ms);
        self.window.push(Sample { at, arrived, answered, in_flight: now - waiting, waiting, asleep: 0 });
        let fleet = Fleet { ready, starting, ill: 0 };
        let (scaler, wanted) =
            scaling::decide(&self.policy, &self.window, Used::default(), fleet, &self.scaler, at);
        self.scaler = scaler;
        wanted
    }
}
