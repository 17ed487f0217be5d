//! AWS App Runner, as it was observed from outside; its arithmetic is not published.
//!
//! Observed: 40 connections at MaxConcurrency 10 on one instance had a second one after 22 s and a third after 50 s, and
//! all 40 were answered meanwhile (AWS's own demonstration of 2021); no instance to five in about a minute at
//! MaxConcurrency 1 (Antvirf/aws-app-runner-scale-test); bursts get 429 before instances come
//! (apprunner-roadmap#224). Assumed, where nothing is known: a step at most doubles what is there, which fits both
//! figures; 40 for 10 is what may be at an instance and before it, so that thirty wait; whatever the application, the
//! times that were observed hold its start; an instance that nobody needs goes after a minute, the least that is charged.

use super::trace::Policy;
use super::world::{Autoscaler, Rules, Sample};

/// From the first look that finds too much to the first instance.
const FIRST_MS: u64 = 22_000;
/// From one to the next.
const NEXT_MS: u64 = 28_000;
const CALM_MS: u64 = 60_000;
/// Requests at an instance and before it, in times its target.
const HELD: u32 = 4;

pub struct AppRunner {
    policy: Policy,
    wanted: u32,
    /// When the next step is due, while there is too much.
    due_ms: Option<u64>,
    /// Since when fewer would do.
    calm_ms: Option<u64>,
}

impl AppRunner {
    pub fn new(policy: Policy) -> AppRunner {
        AppRunner { policy, wanted: policy.min, due_ms: None, calm_ms: None }
    }
}

impl Autoscaler for AppRunner {
    fn rules(&self, policy: Policy) -> Rules {
        Rules {
            ceiling: policy.target,
            ceiling_alone: policy.target,
            cold_ms: 0,
            waiting_per_instance: policy.target * (HELD - 1),
            waiting_min: 0,
            wait_max_ms: 120_000,
            hears_of_lines: false,
            told_late_ms: 0,
            start_included: true,
        }
    }

    /// Says what is to serve at this moment.
    fn decide(&mut self, now_ms: u64, sample: &Sample) -> u32 {
        let needed = (sample.concurrency / f64::from(self.policy.target)).ceil() as u32;
        let needed = needed.clamp(self.policy.min, self.policy.max);
        if needed <= self.wanted {
            self.due_ms = None;
        } else {
            let due_ms = *self.due_ms.get_or_insert(now_ms + FIRST_MS);
            if now_ms >= due_ms {
                self.wanted = needed.min(self.wanted * 2);
                self.due_ms = Some(now_ms + NEXT_MS);
            }
        }
        if needed >= self.wanted {
            self.calm_ms = None;
        } else if now_ms >= *self.calm_ms.get_or_insert(now_ms) + CALM_MS {
            (self.wanted, self.calm_ms) = (needed, None);
        }
        self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Arrival, TRACES, Trace};
    use crate::world::{self, LOOK_MS};

    /// When it first wants so many, under a load that stays.
    fn seconds_until(target: u32, max: u32, concurrency: f64, wanted: u32) -> f64 {
        let mut scaler = AppRunner::new(Policy { target, min: 1, max });
        let sample = Sample { concurrency, ..Sample::default() };
        let mut looks = (0..).map(|look| look * LOOK_MS);
        looks.find(|now_ms| scaler.decide(*now_ms, &sample) >= wanted).unwrap() as f64 / 1_000.0
    }

    #[test]
    fn it_is_as_slow_as_it_was_seen_to_be() {
        assert_eq!(seconds_until(10, 3, 40.0, 2), 22.0);
        assert_eq!(seconds_until(10, 3, 40.0, 3), 50.0);
        assert!((50.0..80.0).contains(&seconds_until(1, 25, 50.0, 5)));
    }

    /// Notes when it first sees that more serve.
    struct Noting {
        scaler: AppRunner,
        served: Vec<(u64, u32)>,
    }

    impl Autoscaler for Noting {
        fn rules(&self, policy: Policy) -> Rules {
            self.scaler.rules(policy)
        }

        fn decide(&mut self, now_ms: u64, sample: &Sample) -> u32 {
            if self.served.last().is_none_or(|(_, ready)| *ready < sample.ready) {
                self.served.push((now_ms, sample.ready));
            }
            self.scaler.decide(now_ms, sample)
        }
    }

    #[test]
    fn its_instances_serve_when_they_were_seen_to() {
        let policy = Policy { target: 10, min: 1, max: 3 };
        let trace = Trace { seconds: 60, policy, start_ms: 5_000, start_each_ms: 700.0, ..TRACES[0] };
        // They stay until the third one is there.
        let arrivals: Vec<Arrival> = (0..40).map(|_| Arrival { at_ms: 0, work_ms: 60_000.0 }).collect();
        let mut noting = Noting { scaler: AppRunner::new(policy), served: Vec::new() };
        let run = world::run(&trace, &arrivals, &mut noting);
        // From the first look on, and seen at the look behind.
        assert_eq!(noting.served, [(LOOK_MS, 1), (22_000 + 2 * LOOK_MS, 2), (50_000 + 2 * LOOK_MS, 3)]);
        assert_eq!((run.requests, run.errors), (40, 0));
        // One for 22 s, two for 28 s and three for the rest of a minute.
        assert!(
            (run.instance_seconds - (22.1 + 2.0 * 28.0 + 3.0 * 9.9)).abs() < 0.1,
            "{}",
            run.instance_seconds
        );
    }
}
