//! How many instances a service has.
//!
//! What a service needs follows from Little's law: requests that come in a second, times the seconds that one takes, are
//! served at a time, and an instance takes `Policy::target` of those. Requests that wait are not counted as need: a line
//! that grows while instances start would else ask for ever more of them, though it is gone a moment after they came.
//!
//! Two windows are looked at. A short one acts when there is more than the instances, starting ones included, can take:
//! at once, and for as many as the rate of this second needs. A longer one keeps some room while load grows slowly.
//! Fewer are wanted only when for a whole quiet time no moment wanted more.

use crate::ids::{InstanceId, ServiceId};
use crate::instance::InstanceSize;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;
use std::time::Duration;

/// How often proxies tell what they see.
pub const SAMPLE_MS: u64 = 100;
/// The short window: long enough for a rate, short enough for a burst.
const SHORT_MS: u64 = 1_000;
/// The long one. A request that takes longer is still seen in it as one at work.
const LONG_MS: u64 = 6_000;
/// Nothing is taken away before so much time without a need for it: what comes in bursts comes again, and an instance
/// that nobody asks costs memory only.
const QUIET_MS: u64 = 20_000;
/// Of the target: what instances may be filled to on average before one more is wanted.
const FILL: f64 = 0.85;
/// Use within a tenth of its target is no reason for another number of instances: it never stands still. As the tolerance of
/// Kubernetes' HorizontalPodAutoscaler.
const USE_TOLERANCE: f64 = 0.1;
/// The CPU that an instance uses before this time since it is healthy says little of what it will use: many compile, or fill
/// caches. As `--horizontal-pod-autoscaler-initial-readiness-delay` of Kubernetes.
const CPU_READY_MS: u64 = 30_000;
/// Readings further apart are not of the last seconds.
const READINGS_APART_MS_MAX: u64 = 10_000;
/// A line that is seen so often in a row is no chance: chance fills instances for a moment.
const LINE_SAMPLES: usize = 3;
/// Requests that begin and end between two samples take less, and how much less is not seen.
const KNOWN_S_MIN: f64 = 0.01;
/// A line is to be gone in this time once the instances are there.
const LINE_MS: f64 = 2_000.0;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Requests at a time that an instance is meant for: MaxConcurrency.
    pub target: u32,
    /// MinSize.
    pub min: u32,
    /// MaxSize.
    pub max: u32,
    pub also: Targets,
}

/// What an instance is meant for too, where that is said. The figure that needs the most instances counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Requests in a second.
    pub requests: Option<u32>,
    /// Percent of the CPU that it has.
    pub cpu: Option<u32>,
    /// Percent of its memory.
    pub memory: Option<u32>,
}

impl Targets {
    /// Whether what instances use has to be known.
    pub fn heeds_use(&self) -> bool {
        self.cpu.is_some() || self.memory.is_some()
    }
}

/// What an instance uses of what it has, 1.0 being all of it; or the sum of several: 1.5 is as much as one and a half of them
/// have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Of the last seconds, by those of which it is known.
    pub cpu: f64,
    /// Now, likewise.
    pub memory: f64,
    /// Instances of which it is not known.
    pub cpu_unknown: u32,
    pub memory_unknown: u32,
}

impl Used {
    /// Of one instance that nobody has told of.
    pub const UNKNOWN: Used = Used { cpu: 0.0, memory: 0.0, cpu_unknown: 1, memory_unknown: 1 };
}

impl AddAssign for Used {
    fn add_assign(&mut self, more: Used) {
        self.cpu += more.cpu;
        self.memory += more.memory;
        self.cpu_unknown += more.cpu_unknown;
        self.memory_unknown += more.memory_unknown;
    }
}

/// What a node counts of instances that are healthy, at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readings {
    /// Since its machine began.
    pub at_ms: u64,
    pub instances: Vec<Reading>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub instance: InstanceId,
    pub service: ServiceId,
    /// What it has.
    pub size: InstanceSize,
    /// Since when it is healthy, by the same clock; one of another time is another process, or not known to be the same.
    pub healthy_at_ms: u64,
    /// It has its whole CPU. Who sleeps needs nothing.
    pub is_awake: bool,
    /// Of CPUs, since its container was started.
    pub cpu_us: u64,
    /// Now, without caches of files that the kernel gives back first: the working set of Kubernetes.
    pub memory_bytes: u64,
}

impl Readings {
    /// What each instance used since the readings before.
    pub fn since(&self, before: &Readings) -> BTreeMap<InstanceId, Used> {
        let ms = self.at_ms.saturating_sub(before.at_ms);
        let is_recent = (1..=READINGS_APART_MS_MAX).contains(&ms);
        let earlier: BTreeMap<&InstanceId, &Reading> =
            before.instances.iter().map(|one| (&one.instance, one)).collect();
        let cpu = |one: &Reading| {
            let before = earlier.get(&one.instance).filter(|_| is_recent)?;
            let is_same = (before.healthy_at_ms, before.size) == (one.healthy_at_ms, one.size);
            let is_ready = self.at_ms.saturating_sub(one.healthy_at_ms) >= CPU_READY_MS;
            let cpu_us = one.cpu_us.checked_sub(before.cpu_us).filter(|_| is_same && is_ready)?;
            let has_us = ms as f64 * f64::from(one.size.cpu_units.max(1)) * 1_000.0 / 1_024.0;
            Some(cpu_us as f64 / has_us)
        };
        let used = |one: &Reading| {
            if !one.is_awake {
                return Used::default();
            }
            let memory = one.memory_bytes as f64 / (f64::from(one.size.memory_mib.max(1)) * 1_048_576.0);
            match cpu(one) {
                Some(cpu) => Used { cpu, memory, ..Used::default() },
                None => Used { memory, cpu_unknown: 1, ..Used::default() },
            }
        };
        self.instances.iter().map(|one| (one.instance.clone(), used(one))).collect()
    }
}

/// What all proxies together saw by a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub at: Timestamp,
    /// Requests that were let in, to an instance or into the line, since any beginning.
    pub arrived: u64,
    /// Those of them that have left an instance, likewise.
    pub answered: u64,
    /// At instances.
    pub in_flight: u32,
    /// In line.
    pub waiting: u32,
    /// Instances that are asleep, and are woken for those.
    pub asleep: u32,
}

/// The instances that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Get requests.
    pub ready: u32,
    /// Were wished and do not yet.
    pub starting: u32,
    /// Run, and get none while others are well.
    pub ill: u32,
}

/// The last seconds.
#[derive(Clone, Debug, Default)]
pub struct Window {
    samples: VecDeque<Sample>,
    /// What `service_s` was when a request was answered last.
    known_s: Option<f64>,
}

impl Window {
    /// That of a service whose requests took so many seconds when there were some.
    pub fn knowing(service_s: Option<f64>) -> Window {
        Window { known_s: service_s, ..Window::default() }
    }

    /// For `knowing`, of a window that is given up.
    pub fn known_s(&self) -> Option<f64> {
        self.known_s
    }

    /// Takes what was just seen, and forgets what is too long ago. What went back, because a proxy has gone, begins
    /// the window anew.
    pub fn push(&mut self, sample: Sample) {
        if self.samples.back().is_some_and(|last| {
            sample.arrived < last.arrived || sample.answered < last.answered || sample.at <= last.at
        }) {
            self.samples.clear();
        }
        self.samples.push_back(sample);
        while self.samples.front().is_some_and(|first| (sample.at - first.at).as_millis() as u64 > LONG_MS) {
            self.samples.pop_front();
        }
        // When one has just been answered, all its time was seen, or what of it fits. Later its end alone is.
        if self.samples.iter().rev().nth(1).is_some_and(|before| before.answered < sample.answered) {
            self.known_s = self.service_s().map(|service_s| service_s.max(KNOWN_S_MIN)).or(self.known_s);
        }
    }

    /// The sample that is so old, or the oldest.
    fn since(&self, ms: u64) -> Option<(&Sample, &Sample)> {
        let last = self.samples.back()?;
        let within = |one: &&Sample| (last.at - one.at) <= Duration::from_millis(ms);
        Some((self.samples.iter().find(within)?, last))
    }

    /// Requests that came in a second.
    fn rate(&self, ms: u64) -> f64 {
        match self.since(ms) {
            Some((first, last)) if first.at < last.at => {
                (last.arrived - first.arrived) as f64 / (last.at - first.at).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// The same over two seconds, of which nothing is known to have come in what was not seen: a few at once are no rate.
    fn rate_of_a_while(&self) -> f64 {
        let came = self.since(SHORT_MS * 2).map_or(0, |(first, last)| last.arrived - first.arrived);
        came as f64 * 1_000.0 / (SHORT_MS * 2) as f64
    }

    fn mean(&self, ms: u64, of: impl Fn(&Sample) -> f64) -> f64 {
        let Some((first, _)) = self.since(ms) else { return 0.0 };
        let newer = self.samples.iter().filter(|one| one.at >= first.at);
        let (sum, count) = newer.fold((0.0, 0_u32), |(sum, count), one| (sum + of(one), count + 1));
        sum / f64::from(count.max(1))
    }

    /// Seconds that a request takes at an instance. None: not one has ended.
    fn service_s(&self) -> Option<f64> {
        let (first, last) = self.since(LONG_MS)?;
        let answered = (last.answered - first.answered) as f64;
        let seconds = (last.at - first.at).as_secs_f64();
        (answered >= 1.0).then(|| self.mean(LONG_MS, |one| f64::from(one.in_flight)) * seconds / answered)
    }
}

/// What is remembered from one decision to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaler {
    /// The most that was needed in each part of the quiet time, newest last.
    needs: VecDeque<(Timestamp, u32)>,
}

impl Scaler {
    /// Of a service that has so many instances. What came before is not known, so nothing is taken away for a while.
    pub fn new(count: u32, now: Timestamp) -> Scaler {
        Scaler { needs: VecDeque::from([(now, count)]) }
    }

    /// What the load needs, whatever MinSize and MaxSize say.
    pub fn need(&self) -> u32 {
        self.needs.front().map_or(0, |(_, most)| *most)
    }

    /// Remembers a need, and gives the most of the quiet time.
    fn most(&mut self, need: u32, now: Timestamp) -> u32 {
        // What is older and less will never be the most again.
        while self.needs.back().is_some_and(|(_, older)| *older <= need) {
            self.needs.pop_back();
        }
        self.needs.push_back((now, need));
        let quiet = Duration::from_millis(QUIET_MS);
        while self.needs.front().is_some_and(|(at, _)| now - *at > quiet) {
            self.needs.pop_front();
        }
        self.need()
    }
}

/// How many instances there are to be, starting ones included; and what is to be remembered.
pub fn decide(
    policy: &Policy,
    window: &Window,
    used: Used,
    fleet: Fleet,
    before: &Scaler,
    now: Timestamp,
) -> (Scaler, u32) {
    let mut scaler = before.clone();
    let target = f64::from(policy.target.max(1));
    let need = window.samples.back().map_or(0, |last| {
        let calm = window.mean(SHORT_MS * 2, |one| f64::from(one.in_flight)) / (target * FILL);
        let capacity = fleet.ready.saturating_add(fleet.starting).saturating_mul(policy.target);
        let asked = last.in_flight.saturating_add(last.waiting);
        let overflows = asked > capacity || last.waiting > 0;
        let burst = if overflows { burst(window, last, fleet.ready) / target } else { 0.0 };
        let rate = |most: u32| window.rate_of_a_while() / (f64::from(most.max(1)) * FILL);
        let rate = policy.also.requests.map_or(0.0, rate);
        let cpu = use_of((used.cpu, used.cpu_unknown), policy.also.cpu, fleet.ready);
        let memory = use_of((used.memory, used.memory_unknown), policy.also.memory, fleet.ready);
        let need = [calm, burst, rate, cpu, memory].into_iter().fold(0.0, f64::max);
        let need = need.ceil().min(f64::from(u32::MAX)) as u32;
        // Whatever the figures say: a line that stays, with nothing on its way, waits for one more.
        let stays = |one: &Sample| one.waiting > 0 && one.asleep == 0;
        let stays = window.samples.iter().rev().take_while(|one| stays(one)).count() >= LINE_SAMPLES;
        let one_more = match fleet {
            // Where not one is well another would not be either.
            Fleet { ready: 1.., starting: 0, ill } if stays => {
                fleet.ready.saturating_add(ill).saturating_add(1)
            }
            _ => 0,
        };
        need.max(one_more)
    });
    let wanted = scaler.most(need, now).clamp(policy.min, policy.max.max(policy.min));
    (scaler, wanted)
}

/// Instances that so much use needs, at a target in percent: the arithmetic of Kubernetes' HorizontalPodAutoscaler, where what
/// the mean of the instances is of the target makes their number. Those of which nothing is known are as if they used nothing
/// before there are more, and as if they used what they are meant to before there are fewer.
fn use_of((used, unknown): (f64, u32), target: Option<u32>, ready: u32) -> f64 {
    let Some(target) = target else { return 0.0 };
    let least = used * 100.0 / f64::from(target.max(1));
    let most = least + f64::from(unknown);
    let ready = f64::from(ready);
    if least > ready * (1.0 + USE_TOLERANCE) {
        least
    } else if most < ready * (1.0 - USE_TOLERANCE) {
        most
    } else {
        ready
    }
}

/// Requests at a time that the present rate makes, and what it takes to be rid of the line soon.
fn burst(window: &Window, last: &Sample, ready: u32) -> f64 {
    let there = f64::from(last.in_flight) + f64::from(last.waiting);
    // While none serves the line grows with the time that a start takes, and says little of what it will need then. Where one
    // does, what was known of quiet times says little of a burst.
    let known_s = window.known_s.filter(|_| ready == 0);
    match window.service_s().or(known_s) {
        Some(service_s) => {
            let line = f64::from(last.waiting) * service_s * 1_000.0 / LINE_MS;
            // The beginning of a burst shows in the last moment only, where chance shows too: of a Poisson process
            // one count in fifty is more than two roots beyond its mean.
            let moment_s = 2.0 * SAMPLE_MS as f64 / 1_000.0;
            let count = window.rate(2 * SAMPLE_MS) * moment_s;
            let rate = window.rate(SHORT_MS).max((count - 2.0 * count.sqrt()) / moment_s);
            // Never more than there are: what takes longer than it seems shows in those.
            (rate * service_s + line).min(there)
        }
        None => there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_OTHER: Targets = Targets { requests: None, cpu: None, memory: None };
    const POLICY: Policy = Policy { target: 10, min: 1, max: 25, also: NO_OTHER };

    /// A service under a load, told of every `SAMPLE_MS`.
    struct Service {
        policy: Policy,
        window: Window,
        scaler: Scaler,
        fleet: Fleet,
        seen: Sample,
        used: Used,
    }

    impl Service {
        fn new(policy: Policy, ready: u32) -> Service {
            let scaler = Scaler::new(ready, Timestamp(0));
            let fleet = Fleet { ready, ..Fleet::default() };
            let (window, seen, used) = Default::default();
            Service { policy, window, scaler, fleet, seen, used }
        }

        /// For so long: so many come in a second, so many are answered, so many are at work, so many wait.
        fn sees(&mut self, ms: u64, [rate, answers]: [u64; 2], in_flight: u32, waiting: u32) -> u32 {
            let mut wanted = 0;
            for _ in 0..ms / SAMPLE_MS {
                self.seen.at = self.seen.at + Duration::from_millis(SAMPLE_MS);
                self.seen.arrived += rate * SAMPLE_MS / 1_000;
                self.seen.answered += answers * SAMPLE_MS / 1_000;
                (self.seen.in_flight, self.seen.waiting) = (in_flight, waiting);
                self.window.push(self.seen);
                let (scaler, count) =
                    decide(&self.policy, &self.window, self.used, self.fleet, &self.scaler, self.seen.at);
                (self.scaler, wanted) = (scaler, count);
            }
            wanted
        }
    }

    #[test]
    fn a_calm_load_has_some_room() {
        let mut service = Service::new(POLICY, 1);
        assert_eq!(service.sees(5_000, [70, 70], 7, 0), 1);
        assert_eq!(service.sees(5_000, [90, 90], 9, 0), 2, "nine of ten leave no room");
        service.fleet.ready = 2;
        assert_eq!(service.sees(60_000, [90, 90], 9, 0), 2, "and it stays so");
    }

    /// The first instance takes eight seconds to start, and could serve all that come in them many times over.
    #[test]
    fn a_line_before_a_slow_start_brings_no_more_than_its_rate_needs() {
        let line_of_eight_seconds = |window: Window| {
            let mut service = Service::new(Policy { max: 100, ..POLICY }, 1);
            (service.window, service.scaler) = (window, Scaler::new(0, Timestamp(0)));
            service.fleet = Fleet { starting: 1, ..Fleet::default() };
            (1..=80).map(|tenth| service.sees(SAMPLE_MS, [20, 0], 0, 2 * tenth)).max().unwrap()
        };
        assert_eq!(line_of_eight_seconds(Window::default()), 16, "each may take for ever");
        let mut before = Service::new(POLICY, 1);
        before.sees(5_000, [20, 20], 1, 0);
        before.sees(QUIET_MS, [0, 0], 0, 0);
        let known_s = before.window.known_s();
        assert!(known_s.is_some_and(|known| (0.04..0.06).contains(&known)), "{known_s:?}");
        let mut short = Service::new(POLICY, 1);
        short.sees(1_000, [200, 200], 0, 0);
        assert_eq!(short.window.known_s(), Some(KNOWN_S_MIN));
        assert_eq!(line_of_eight_seconds(Window::knowing(known_s)), 1);
        let mut warm = Service::new(POLICY, 1);
        warm.window = Window::knowing(known_s);
        assert_eq!(warm.sees(SAMPLE_MS, [400, 0], 10, 30), 4, "where one serves, what is there counts");
    }

    #[test]
    fn a_rate_can_be_a_reason_too() {
        // They are so short that there is hardly ever one at work.
        let mut service = Service::new(POLICY, 1);
        assert_eq!(service.sees(5_000, [400, 400], 1, 0), 1);
        service.policy.also.requests = Some(100);
        assert_eq!(service.sees(5_000, [400, 400], 1, 0), 5, "with some room");
        assert_eq!(service.sees(QUIET_MS + 4_000, [50, 50], 1, 0), 1);
        let mut fresh = Service::new(service.policy, 1);
        assert_eq!(
            fresh.sees(SAMPLE_MS * 2, [400, 400], 1, 0),
            1,
            "nineteen in a moment are no four hundred"
        );
    }

    #[test]
    fn use_is_what_was_counted_between_two_readings() {
        let reading = |instance: &str, cpu_us, mib: u64| Reading {
            instance: InstanceId::new(instance),
            service: ServiceId::new("web"),
            size: InstanceSize { cpu_units: 512, memory_mib: 1_024 },
            healthy_at_ms: 100_000,
            is_awake: true,
            cpu_us,
            memory_bytes: mib << 20,
        };
        let used = |before: &Reading, now: &Reading, ms: u64| {
            let before = Readings { at_ms: 131_000, instances: vec![before.clone()] };
            let now = Readings { at_ms: before.at_ms + ms, instances: vec![now.clone()] };
            now.since(&before).into_values().collect::<Vec<_>>()
        };
        let (before, now) = (reading("a", 500_000, 1), reading("a", 1_250_000, 256));
        let known = Used { cpu: 0.75, memory: 0.25, ..Used::default() };
        let unknown = Used { memory: 0.25, cpu_unknown: 1, ..Used::default() };
        let of = |before: &Reading, now: &Reading| used(before, now, 2_000);
        assert_eq!(of(&before, &now), [known]);
        assert_eq!(of(&reading("b", 500_000, 1), &now), [unknown], "it was not there");
        let restarted = Reading { healthy_at_ms: 100_500, ..now.clone() };
        assert_eq!(of(&before, &restarted), [unknown], "another process");
        let resized = Reading { size: InstanceSize { cpu_units: 256, memory_mib: 1_024 }, ..now.clone() };
        assert_eq!(of(&before, &resized), [unknown], "it had more");
        let young = |one: &Reading| Reading { healthy_at_ms: 110_000, ..one.clone() };
        assert_eq!(of(&young(&before), &young(&now)), [unknown], "it has just begun");
        assert_eq!(of(&before, &Reading { cpu_us: 7, ..now.clone() }), [unknown], "a new cgroup");
        for ms in [0, READINGS_APART_MS_MAX + 1] {
            assert_eq!(used(&before, &now, ms), [unknown], "{ms} ms");
        }
        assert_eq!(of(&before, &Reading { is_awake: false, ..now.clone() }), [Used::default()]);
        let asleep = Reading { is_awake: false, ..before.clone() };
        assert_eq!(of(&asleep, &now), [known], "it was counted all the same");
        let mut both = known;
        both += Used::UNKNOWN;
        assert_eq!(both, Used { cpu_unknown: 1, memory_unknown: 1, ..known });
    }

    #[test]
    fn use_can_be_a_reason_too() {
        let also = Targets { cpu: Some(70), memory: Some(80), requests: None };
        let mut service = Service::new(Policy { also, ..POLICY }, 2);
        let unknown = std::cell::Cell::new(0);
        let mut with = |cpu: f64, memory: f64, ready: u32| {
            let used = Used { cpu, memory, cpu_unknown: unknown.get(), ..Used::default() };
            (service.used, service.fleet.ready) = (used, ready);
            service.scaler = Scaler::new(0, service.seen.at);
            service.sees(SAMPLE_MS, [0, 0], 0, 0)
        };
        assert_eq!(with(2.0, 0.2, 2), 3, "two that are full, at 70 of a hundred each");
        assert_eq!(with(1.5, 0.2, 2), 2, "a little above is no reason");
        assert_eq!(with(1.6, 0.2, 2), 3);
        assert_eq!(with(0.6, 1.9, 2), 3, "memory is one as well");
        assert_eq!(with(3.6, 0.2, 6), 6, "nor is a little below");
        assert_eq!(with(2.9, 0.2, 6), 5);
        assert_eq!(with(0.0, 0.0, 6), 1, "they sleep");
        unknown.set(3);
        assert_eq!(with(2.9, 0.0, 6), 6, "of half of them nothing is known: none goes");
        assert_eq!(with(1.0, 0.0, 6), 5, "but one is too many, whatever they use");
        assert_eq!(with(3.0, 0.0, 4), 4, "nor does another come for those");
        assert_eq!(with(4.0, 0.0, 4), 6);
        service.policy.also = NO_OTHER;
        service.used = Used { cpu: 9.0, memory: 9.0, ..Used::default() };
        assert_eq!(service.sees(QUIET_MS + 1_000, [0, 0], 0, 0), 1, "nobody asked for it");
    }

    #[test]
    fn a_line_is_acted_on_at_once_and_counted_once() {
        let mut service = Service::new(POLICY, 1);
        assert_eq!(service.sees(10_000, [50, 50], 5, 0), 1);
        // Eight times the rate: 40 at a time, of which ten are at the instance.
        assert_eq!(service.sees(SAMPLE_MS, [400, 100], 10, 30), 2, "as far as a tenth of a second shows it");
        let after_a_second = service.sees(SHORT_MS - SAMPLE_MS, [400, 100], 10, 30);
        assert!((4..=6).contains(&after_a_second), "{after_a_second}");
        service.fleet.starting = after_a_second - 1;
        // It grows until they are here, and nothing more is asked for.
        let with_long_line = service.sees(1_000, [400, 100], 10, 300);
        assert!(with_long_line <= after_a_second + 2, "{with_long_line}");
    }

    #[test]
    fn what_comes_first_of_all_is_counted_by_heads() {
        let mut service = Service::new(POLICY, 1);
        service.seen.arrived = 40;
        service.seen.at = Timestamp(SAMPLE_MS);
        (service.seen.in_flight, service.seen.waiting) = (10, 30);
        service.window.push(service.seen);
        let Service { window, fleet, scaler, seen, used, .. } = service;
        let (_, wanted) = decide(&POLICY, &window, used, fleet, &scaler, seen.at);
        assert_eq!(wanted, 4, "40 at 10 each, and nobody knows how long they take");
    }

    #[test]
    fn less_is_wanted_after_a_quiet_time_only() {
        let mut service = Service::new(POLICY, 5);
        assert_eq!(service.sees(10_000, [400, 400], 40, 0), 5);
        assert_eq!(service.sees(QUIET_MS - 1_000, [10, 10], 1, 0), 5);
        assert_eq!(service.sees(4_000, [10, 10], 1, 0), 1);
        // One that has just begun knows nothing of before.
        let mut again = Service::new(POLICY, 5);
        assert_eq!(again.sees(QUIET_MS - 1_000, [10, 10], 1, 0), 5);
        assert_eq!(again.sees(2_000, [10, 10], 1, 0), 1);
    }

    #[test]
    fn sizes_bound_it() {
        let mut service = Service::new(Policy { min: 2, max: 3, ..POLICY }, 1);
        assert_eq!(service.sees(1_000, [0, 0], 0, 0), 2, "at once: that many there have to be");
        assert_eq!(service.sees(1_000, [1_000, 200], 20, 500), 3);
        service.policy.max = 2;
        assert_eq!(service.sees(SAMPLE_MS, [1_000, 200], 20, 500), 2, "and no more, at once");
    }

    #[test]
    fn counts_that_begin_anew_begin_the_window_anew() {
        let mut window = Window::default();
        let sample =
            |at, arrived| Sample { at: Timestamp(at), arrived, answered: arrived, ..Sample::default() };
        window.push(sample(100, 1_000));
        window.push(sample(200, 1_100));
        assert_eq!(window.rate(SHORT_MS), 1_000.0);
        window.push(sample(300, 10));
        assert_eq!((window.samples.len(), window.rate(SHORT_MS)), (1, 0.0));
        for at in 4..1_000 {
            window.push(sample(at * 100, at * 10));
        }
        assert_eq!(window.samples.len(), (LONG_MS / SAMPLE_MS + 1) as usize, "it has its bound");
    }
}
