//! What comes: seven kinds of load, each a rate over time and an application. Every scaler gets the same requests, drawn
//! before it runs.

use crate::{APP_RUNNER, Figure};

/// What a service's auto scaling configuration says.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// MaxConcurrency.
    pub target: u32,
    pub min: u32,
    pub max: u32,
}

/// One load on one application.
#[derive(Clone, Copy)]
pub struct Trace {
    pub name: &'static str,
    /// For people: what it stands for.
    pub what: &'static str,
    pub seconds: u32,
    /// Requests per second at a second.
    pub rate: fn(f64) -> f64,
    /// Mean of the exponential time that a request takes on an instance that is not over its target.
    pub service_ms: f64,
    pub policy: Policy,
    /// From the wish to the first request that an instance can take.
    pub start_ms: u64,
    /// So much longer for each other one that is started before it, and not there yet: they share a machine.
    pub start_each_ms: f64,
    /// From then on it is slow for so long: half as fast.
    pub warm_ms: u64,
    /// Why somebody else is better at something, as far as it is known.
    pub reasons: &'static [Reason],
    /// Seconds of `rate` that go by in one: see `faster`.
    pub speed: u32,
}

/// Why a scaler is better than ours at some figures.
pub struct Reason {
    pub scaler: &'static str,
    pub figures: &'static [Figure],
    pub why: &'static str,
}

/// What has no place is refused at once: that part of the load needs no instance.
const SERVES_LESS: Reason = Reason {
    scaler: APP_RUNNER,
    figures: &[Figure::InstanceSeconds],
    why: "what it refuses needs no instance, and the others make do with those that there are for the first 22 seconds",
};
/// The same of who waits.
const REFUSES_WHO_WAITS: Reason = Reason {
    scaler: APP_RUNNER,
    figures: &[Figure::WaitMean, Figure::WaitP99, Figure::AnswerMean],
    why: "who would wait for long is refused: only those wait for whom thirty places before an instance are enough",
};
/// Where load changes slowly it has nearly as many as ours.
const KEEPS_NO_ROOM: Reason = Reason {
    scaler: APP_RUNNER,
    figures: &[Figure::InstanceSeconds],
    why: "it fills instances to the target, and lets wait or refuses what chance brings beyond; ours keeps a seventh free",
};

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    pub at_ms: u64,
    /// Work, in ms of an instance that is not over its target.
    pub work_ms: f64,
}

const USUAL: Policy = Policy { target: 10, min: 1, max: 25 };

/// All of them, in the order of the page.
pub const TRACES: [Trace; 7] = [
    Trace {
        name: "step",
        what: "5 requests at a time, then 60 for four minutes, then 5 again",
        seconds: 480,
        rate: |s| if (60.0..300.0).contains(&s) { 600.0 } else { 50.0 },
        service_ms: 100.0,
        policy: USUAL,
        start_ms: 1_000,
        start_each_ms: 0.0,
        warm_ms: 0,
        reasons: &[SERVES_LESS],
        speed: 1,
    },
    Trace {
        name: "burst",
        what: "2 at a time, and once a minute 80 for three seconds",
        seconds: 480,
        rate: |s| if s % 60.0 >= 30.0 && s % 60.0 < 33.0 { 800.0 } else { 20.0 },
        service_ms: 100.0,
        policy: USUAL,
        start_ms: 1_000,
        start_each_ms: 0.0,
        warm_ms: 0,
        reasons: &[SERVES_LESS, REFUSES_WHO_WAITS],
        speed: 1,
    },
    Trace {
        name: "sawtooth",
        what: "from 2 at a time to 60 in two minutes, then at once 2 again, four times",
        seconds: 480,
        rate: |s| 20.0 + 580.0 * (s % 120.0) / 120.0,
        service_ms: 100.0,
        policy: USUAL,
        start_ms: 1_000,
        start_each_ms: 0.0,
        warm_ms: 0,
        reasons: &[SERVES_LESS],
        speed: 1,
    },
    Trace {
        name: "diurnal",
        what: "a day in 24 minutes: 3 at a time at night, 50 at noon",
        seconds: 1_440,
        rate: |s| 265.0 - 235.0 * (s * std::f64::consts::TAU / 1_440.0).cos(),
        service_ms: 100.0,
        policy: USUAL,
        start_ms: 1_000,
        start_each_ms: 0.0,
        warm_ms: 0,
        reasons: &[KEEPS_NO_ROOM],
        speed: 1,
    },
    Trace {
        name: "flash crowd",
        what: "1 at a time, then 100 within two seconds, a third of it gone every two minutes",
        seconds: 480,
        rate: |s| match s {
            s if s < 60.0 => 10.0,
            s if s < 62.0 => 10.0 + 990.0 * (s - 60.0) / 2.0,
            s => 10.0 + 990.0 * (-(s - 62.0) / 296.0).exp(),
        },
        service_ms: 100.0,
        policy: USUAL,
        start_ms: 1_000,
        start_each_ms: 0.0,
        warm_ms: 0,
        reasons: &[SERVES_LESS],
        speed: 1,
    },
    Trace {
        name: "slow handler",
        what: "requests of five seconds: 10 at a time, then 100 for four minutes, then 10",
        seconds: 480,
        rate: |s| if (60.0..300.0).contains(&s) { 20.0 } else { 2.0 },
        service_ms: 5_000.0,
        policy: USUAL,
        start_ms: 1_000,
        start_each_ms: 0.0,
        warm_ms: 0,
        reasons: &[SERVES_LESS],
        speed: 1,
    },
    Trace {
        name: "cold JVM",
        what: "5 at a time, then 40 for four minutes; eight seconds to start, and half as fast for twenty more",
        seconds: 480,
        rate: |s| if (60.0..300.0).contains(&s) { 400.0 } else { 50.0 },
        service_ms: 100.0,
        policy: USUAL,
        start_ms: 8_000,
        start_each_ms: 0.0,
        warm_ms: 20_000,
        reasons: &[SERVES_LESS, REFUSES_WHO_WAITS],
        speed: 1,
    },
];

impl Trace {
    /// The same rates, application and instances, and so many times as soon over.
    pub fn faster(self, speed: u32) -> Trace {
        Trace { seconds: self.seconds / speed, speed: self.speed * speed, ..self }
    }

    fn rate_at(&self, s: f64) -> f64 {
        (self.rate)(s * f64::from(self.speed))
    }

    /// Ten for each second.
    fn rates(&self) -> impl Iterator<Item = f64> {
        (0..self.seconds * 10).map(|tenth| self.rate_at(f64::from(tenth) / 10.0))
    }

    /// Its requests, by a Poisson process, in the order of their arrival. The same number gives the same ones.
    pub fn arrivals(&self, seed: u64) -> Vec<Arrival> {
        let mut dice = Dice(seed);
        let end_ms = u64::from(self.seconds) * 1_000;
        let mut arrivals = Vec::new();
        // Thinning: candidates at the highest rate, of which a share is taken.
        let highest = self.rates().fold(1.0, f64::max);
        let mut at_s = 0.0;
        loop {
            at_s += exponential(&mut dice) / highest;
            let at_ms = (at_s * 1_000.0) as u64;
            if at_ms >= end_ms {
                return arrivals;
            }
            if unit(&mut dice) * highest < self.rate_at(at_s) {
                arrivals.push(Arrival { at_ms, work_ms: self.service_ms * exponential(&mut dice) });
            }
        }
    }
}

/// splitmix64: chance that follows from one number.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
}

/// Above 0, at most 1.
fn unit(dice: &mut Dice) -> f64 {
    ((dice.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Of mean 1.
fn exponential(dice: &mut Dice) -> f64 {
    -unit(dice).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_what_it_says_and_repeats() {
        for trace in TRACES.into_iter().chain([TRACES[0].faster(4)]) {
            let arrivals = trace.arrivals(7);
            assert_eq!(arrivals, trace.arrivals(7));
            assert_ne!(arrivals, trace.arrivals(8));
            let expect = trace.rates().sum::<f64>() / 10.0;
            let count = arrivals.len() as f64;
            assert!(
                (count - expect).abs() < 4.0 * expect.sqrt() + 0.01 * expect,
                "{}: {count}, {expect}",
                trace.name
            );
            let work = arrivals.iter().map(|one| one.work_ms).sum::<f64>() / count;
            assert!((work / trace.service_ms - 1.0).abs() < 0.1, "{}: {work} ms", trace.name);
        }
    }
}
