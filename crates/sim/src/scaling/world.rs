//! An application's instances, a line before them, and time in steps: what any scaler is judged in.
//!
//! An instance that has more requests than its target works on each of them so much slower, as if all shared it. Nothing
//! in here knows who decides.

use super::trace::{Arrival, Policy, Trace};
use std::collections::VecDeque;

/// One step of time. Far below what is measured with it.
const STEP_MS: u64 = 10;
/// A scaler sees what happened this often, whatever it makes of it.
pub const LOOK_MS: u64 = 100;

/// What a platform's balancer does with requests.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Requests that an instance gets at most, while more instances come and while none does.
    pub ceiling: u32,
    pub ceiling_alone: u32,
    /// Requests that may wait, per instance, and at least; a further one is refused.
    pub waiting_per_instance: u32,
    pub waiting_min: u32,
    /// Who waits for longer is refused.
    pub wait_max_ms: u64,
}

/// What a scaler is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Requests at instances and in the line, on average since the last look.
    pub concurrency: f64,
    /// The same at this moment.
    pub now: u32,
    /// Of those, in the line.
    pub waiting: u32,
    /// Since the beginning: requests that came and were not refused, and those that were answered.
    pub arrived: u64,
    pub answered: u64,
    pub ready: u32,
    pub starting: u32,
}

/// Who decides.
pub trait Autoscaler {
    fn rules(&self, policy: Policy) -> Rules;
    /// How many instances there should be, starting ones included.
    fn decide(&mut self, now_ms: u64, sample: &Sample) -> u32;
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub requests: u64,
    /// Refused, because the line was full or too slow.
    pub errors: u64,
    /// Waits of those that were served, sorted, in ms.
    waits: Vec<u32>,
    /// Of instances, from the wish to the end, drains included.
    pub instance_seconds: f64,
    /// Of the instances that the requests needed, had each of them been there at once.
    pub needed_seconds: f64,
    /// Once a second: requests that there are, and instances.
    pub history: Vec<(u32, u32)>,
}

impl Run {
    pub fn wait_mean_ms(&self) -> f64 {
        let sum: f64 = self.waits.iter().map(|wait| f64::from(*wait)).sum();
        sum / self.waits.len().max(1) as f64
    }

    /// By the nearest rank.
    pub fn wait_p99_ms(&self) -> u32 {
        let rank = (self.waits.len() * 99).div_ceil(100).max(1);
        self.waits.get(rank - 1).copied().unwrap_or(0)
    }

    /// Instance-seconds beyond those that were needed, as a share of those.
    pub fn over_provisioned(&self) -> f64 {
        (self.instance_seconds - self.needed_seconds).max(0.0) / self.needed_seconds
    }
}

struct Request {
    at_ms: u64,
    left_ms: f64,
}

struct Instance {
    ready_ms: u64,
    requests: Vec<Request>,
    drains: bool,
}

struct World<'a> {
    trace: &'a Trace,
    rules: Rules,
    now_ms: u64,
    instances: Vec<Instance>,
    line: VecDeque<Request>,
    run: Run,
}

/// Has a scaler live through a trace. It begins with the least number of instances, which are there.
pub fn run(trace: &Trace, arrivals: &[Arrival], scaler: &mut dyn Autoscaler) -> Run {
    let policy = trace.policy;
    let instance = || Instance { ready_ms: 0, requests: Vec::new(), drains: false };
    let mut world = World {
        trace,
        rules: scaler.rules(policy),
        now_ms: 0,
        instances: (0..policy.min).map(|_| instance()).collect(),
        line: VecDeque::new(),
        run: Run { needed_seconds: needed(trace, arrivals), ..Run::default() },
    };
    let mut arrivals = arrivals.iter().peekable();
    let end_ms = u64::from(trace.seconds) * 1_000;
    let mut seen = 0.0;
    // Beyond the end until the last request is answered; nothing is counted there but that.
    while world.now_ms < end_ms || world.requests() > 0 {
        while let Some(arrival) = arrivals.next_if(|arrival| arrival.at_ms < world.now_ms + STEP_MS) {
            world.arrive(arrival);
        }
        world.give_places();
        world.work();
        world.now_ms += STEP_MS;
        seen += f64::from(world.requests());
        if world.now_ms.is_multiple_of(LOOK_MS) {
            let sample = world.sample(seen * STEP_MS as f64 / LOOK_MS as f64);
            seen = 0.0;
            let wanted = scaler.decide(world.now_ms, &sample).clamp(policy.min, policy.max);
            world.scale(wanted);
        }
        if world.now_ms <= end_ms {
            world.run.instance_seconds += world.instances.len() as f64 * STEP_MS as f64 / 1_000.0;
            if world.now_ms.is_multiple_of(1_000) {
                world.run.history.push((world.requests(), world.instances.len() as u32));
            }
        }
    }
    world.run.waits.sort_unstable();
    world.run
}

/// Instance-seconds that requests need which are served as they come, on instances that are full.
fn needed(trace: &Trace, arrivals: &[Arrival]) -> f64 {
    let steps = (u64::from(trace.seconds) * 1_000 / STEP_MS) as usize;
    // How the number of requests changes with each step.
    let mut changes = vec![0_i64; steps + 1];
    for arrival in arrivals {
        let first = (arrival.at_ms / STEP_MS) as usize;
        let behind = first + (arrival.work_ms / STEP_MS as f64).ceil().max(1.0) as usize;
        changes[first] += 1;
        changes[behind.min(steps)] -= 1;
    }
    let Policy { target, min, max } = trace.policy;
    let mut requests = 0;
    let instances = changes[..steps].iter().map(|change| {
        requests += change;
        (requests as u32).div_ceil(target).clamp(min, max)
    });
    instances.map(f64::from).sum::<f64>() * STEP_MS as f64 / 1_000.0
}

impl World<'_> {
    fn requests(&self) -> u32 {
        (self.line.len() + self.instances.iter().map(|one| one.requests.len()).sum::<usize>()) as u32
    }

    fn is_ready(&self, instance: &Instance) -> bool {
        instance.ready_ms <= self.now_ms && !instance.drains
    }

    fn ready(&self) -> u32 {
        self.instances.iter().filter(|one| self.is_ready(one)).count() as u32
    }

    fn starting(&self) -> u32 {
        self.instances.iter().filter(|one| one.ready_ms > self.now_ms).count() as u32
    }

    fn arrive(&mut self, arrival: &Arrival) {
        self.run.requests += 1;
        let places = self.ready() * self.rules.waiting_per_instance;
        let most = places.max(self.rules.waiting_min) as usize;
        self.line.push_back(Request { at_ms: arrival.at_ms, left_ms: arrival.work_ms });
        self.give_places();
        if self.line.len() > most {
            self.line.pop_back();
            self.run.errors += 1;
        }
    }

    /// To the head of the line, at the instance with the fewest requests.
    fn give_places(&mut self) {
        let ceiling =
            if self.starting() > 0 { self.rules.ceiling } else { self.rules.ceiling_alone } as usize;
        while let Some(head) = self.line.front() {
            if self.now_ms.saturating_sub(head.at_ms) > self.rules.wait_max_ms {
                self.line.pop_front();
                self.run.errors += 1;
                continue;
            }
            let now_ms = self.now_ms;
            let fit =
                |one: &&mut Instance| one.ready_ms <= now_ms && !one.drains && one.requests.len() < ceiling;
            let Some(instance) = self.instances.iter_mut().filter(fit).min_by_key(|one| one.requests.len())
            else {
                return;
            };
            let Some(request) = self.line.pop_front() else { return };
            self.run.waits.push(now_ms.saturating_sub(request.at_ms) as u32);
            instance.requests.push(request);
        }
    }

    fn work(&mut self) {
        let (now_ms, target, warm_ms) = (self.now_ms, self.trace.policy.target as usize, self.trace.warm_ms);
        for instance in &mut self.instances {
            let share = target as f64 / instance.requests.len().max(target) as f64;
            // The first instances have been there for long.
            let cold = instance.ready_ms > 0 && now_ms < instance.ready_ms + warm_ms;
            let speed = if cold { share / 2.0 } else { share };
            instance.requests.iter_mut().for_each(|request| request.left_ms -= speed * STEP_MS as f64);
            instance.requests.retain(|request| request.left_ms > 0.0);
        }
        self.instances.retain(|one| !one.drains || !one.requests.is_empty());
    }

    fn sample(&self, concurrency: f64) -> Sample {
        Sample {
            concurrency,
            now: self.requests(),
            waiting: self.line.len() as u32,
            arrived: self.run.requests,
            answered: self.run.requests - self.run.errors - u64::from(self.requests()),
            ready: self.ready(),
            starting: self.starting(),
        }
    }

    /// More are started; of too many those go first that still start, then those with the fewest requests.
    fn scale(&mut self, wanted: u32) {
        let here = |one: &Instance| !one.drains;
        let count = self.instances.iter().filter(|one| here(one)).count() as u32;
        for _ in count..wanted {
            let ready_ms = self.now_ms + self.trace.start_ms;
            self.instances.push(Instance { ready_ms, requests: Vec::new(), drains: false });
        }
        for _ in wanted..count {
            let now_ms = self.now_ms;
            let first = |one: &&mut Instance| (one.ready_ms <= now_ms, one.requests.len());
            if let Some(instance) = self.instances.iter_mut().filter(|one| here(one)).min_by_key(first) {
                instance.drains = true;
            }
        }
        self.instances.retain(|one| !one.drains || !one.requests.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::trace::TRACES;

    /// Always the same number.
    struct Fixed(u32);

    impl Autoscaler for Fixed {
        fn rules(&self, policy: Policy) -> Rules {
            let ceiling = policy.target;
            Rules {
                ceiling,
                ceiling_alone: ceiling,
                waiting_per_instance: 0,
                waiting_min: 5,
                wait_max_ms: 1_000,
            }
        }

        fn decide(&mut self, _: u64, _: &Sample) -> u32 {
            self.0
        }
    }

    #[test]
    fn enough_instances_make_nobody_wait_and_too_few_refuse() {
        let step = &TRACES[0];
        let arrivals = step.arrivals(1);
        let all = run(step, &arrivals, &mut Fixed(25));
        assert_eq!((all.requests, all.errors), (arrivals.len() as u64, 0));
        assert!(all.wait_mean_ms() < 1.0 && all.instance_seconds > 24.0 * 480.0, "{}", all.wait_mean_ms());
        let one = run(step, &arrivals, &mut Fixed(1));
        assert_eq!(one.instance_seconds.round(), 480.0);
        // 600 a second come, and 100 can be served.
        let expect = 240.0 * 500.0;
        assert!((one.errors as f64 / expect - 1.0).abs() < 0.05, "{}", one.errors);
    }

    /// Seven minutes of 5 at a time and four of 60, each by a Poisson distribution around that.
    #[test]
    fn what_is_needed_is_what_the_requests_fill() {
        let step = &TRACES[0];
        let needed = run(step, &step.arrivals(1), &mut Fixed(1)).needed_seconds;
        assert!((240.0 * 6.3 + 240.0 * 1.0..240.0 * 6.9 + 240.0 * 1.1).contains(&needed), "{needed}");
    }

    #[test]
    fn a_burst_is_served_as_fast_as_the_instances_are_and_not_faster() {
        let trace = Trace { policy: Policy { target: 10, min: 1, max: 1 }, ..TRACES[0] };
        let arrivals: Vec<Arrival> = (0..20).map(|_| Arrival { at_ms: 0, work_ms: 1_000.0 }).collect();
        struct Double;
        impl Autoscaler for Double {
            fn rules(&self, _: Policy) -> Rules {
                Rules {
                    ceiling: 20,
                    ceiling_alone: 20,
                    waiting_per_instance: 0,
                    waiting_min: 0,
                    wait_max_ms: 0,
                }
            }
            fn decide(&mut self, _: u64, _: &Sample) -> u32 {
                1
            }
        }
        let run = run(&trace, &arrivals, &mut Double);
        assert_eq!((run.errors, run.waits.len()), (0, 20));
        // 20 seconds of work, 10 at a time: two seconds, of which one at least is seen.
        assert_eq!([run.history[0].0, run.history[1].0.min(1)], [20, run.history[1].0]);
    }
}
