//! An application's instances, a line before them, and time in steps: what any scaler is judged in.
//!
//! An instance that has more requests than its target works on each of them so much slower, as if all shared it. Nothing
//! in here knows who decides.

use super::trace::{Arrival, Policy, Trace};
use std::collections::VecDeque;

/// One step of time. In longer ones there would be lines of those who come in a step and have a place at its end.
pub const STEP_MS: u64 = 1;
/// A scaler sees what happened at least this often, whatever it makes of it.
pub const LOOK_MS: u64 = 100;
/// Between two messages about lines.
const LINE_PAUSE_MS: u64 = 10;

/// What a platform's balancer does with requests.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Requests that an instance gets at most, while more instances come and while none does.
    pub ceiling: u32,
    pub ceiling_alone: u32,
    /// One that came less than so long ago has the latter in either case.
    pub cold_ms: u64,
    /// Requests that may wait, per instance, and at least; a further one is refused.
    pub waiting_per_instance: u32,
    pub waiting_min: u32,
    /// Who waits for longer is refused.
    pub wait_max_ms: u64,
    /// Who counts also tells when a line forms, and the scaler looks whenever it is told something and has not looked
    /// just before; at once where a line is new to it.
    pub hears_of_lines: bool,
    /// Who counts tells so long before the scaler looks of itself. Below `LOOK_MS`.
    pub told_late_ms: u64,
    /// The scaler wants instances when they are to serve: a start is before that, and takes no more.
    pub start_included: bool,
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
    /// From the arrival of each of them to its end, added up, in ms.
    answers_ms: f64,
    /// Of instances, from the wish to the end, drains included; a start that `Rules` include is not seen, nor counted.
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

    /// From a request's arrival to its end.
    pub fn answer_mean_ms(&self) -> f64 {
        self.answers_ms / self.waits.len().max(1) as f64
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

/// What a scaler was told, and when it looks at it.
#[derive(Default)]
struct Ears {
    /// Requests at the end of each step since it was told last, added up, and those steps.
    seen: (f64, f64),
    told: Sample,
    told_of_line_ms: u64,
    looked_ms: u64,
    /// As it was at the last look.
    waiting: u32,
}

impl Ears {
    /// At the end of each step; what to look at, if it is time to. `nobody_waited` before the step.
    fn hear(&mut self, world: &World, nobody_waited: bool) -> Option<Sample> {
        let (now_ms, rules) = (world.now_ms, world.rules);
        self.seen = (self.seen.0 + f64::from(world.requests()), self.seen.1 + 1.0);
        let is_told = (now_ms + rules.told_late_ms).is_multiple_of(LOOK_MS);
        let line_forms = rules.hears_of_lines
            && nobody_waited
            && !world.line.is_empty()
            && now_ms >= self.told_of_line_ms + LINE_PAUSE_MS;
        if is_told || line_forms {
            self.told = world.sample(self.seen.0 / self.seen.1);
            self.seen = (0.0, 0.0);
        }
        if line_forms {
            self.told_of_line_ms = now_ms;
        }
        let is_time = now_ms.is_multiple_of(LOOK_MS);
        let looks = if rules.hears_of_lines {
            let is_new = self.waiting == 0 && self.told.waiting > 0;
            (is_time || is_told || line_forms) && (is_new || now_ms >= self.looked_ms + LOOK_MS / 10 * 9)
        } else {
            is_time
        };
        looks.then(|| {
            (self.looked_ms, self.waiting) = (now_ms, self.told.waiting);
            // Of instances it knows by itself, and at once.
            Sample { ready: world.ready(), starting: world.starting(), ..self.told }
        })
    }
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
    let mut ears = Ears::default();
    // Beyond the end until the last request is answered; nothing is counted there but that.
    while world.now_ms < end_ms || world.requests() > 0 {
        let nobody_waits = world.line.is_empty();
        while let Some(arrival) = arrivals.next_if(|arrival| arrival.at_ms < world.now_ms + STEP_MS) {
            world.arrive(arrival);
        }
        world.give_places();
        world.work();
        world.now_ms += STEP_MS;
        if let Some(sample) = ears.hear(&world, nobody_waits) {
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
            let (now_ms, rules) = (self.now_ms, self.rules);
            // The first ones have been there for long.
            let is_cold = |one: &Instance| one.ready_ms > 0 && now_ms < one.ready_ms + rules.cold_ms;
            let most = |one: &Instance| if is_cold(one) { rules.ceiling_alone as usize } else { ceiling };
            let fit =
                |one: &&mut Instance| one.ready_ms <= now_ms && !one.drains && one.requests.len() < most(one);
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
            // It came somewhere in its first step, at whose beginning its work began, and ends with its last: on average the
            // two make up for each other.
            let ended = instance.requests.iter().filter(|request| request.left_ms <= 0.0);
            self.run.answers_ms +=
                ended.map(|request| (now_ms + STEP_MS - request.at_ms) as f64).sum::<f64>();
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
        let starting = self.starting();
        for one in 0..wanted.saturating_sub(count) {
            let longer_ms = self.trace.start_each_ms * f64::from(starting + one);
            let start_ms = if self.rules.start_included { 0 } else { self.trace.start_ms + longer_ms as u64 };
            let ready_ms = self.now_ms + start_ms;
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
    use crate::trace::TRACES;

    /// Always the same number.
    struct Fixed(u32);

    impl Autoscaler for Fixed {
        fn rules(&self, policy: Policy) -> Rules {
            let ceiling = policy.target;
            Rules {
                ceiling,
                ceiling_alone: ceiling,
                cold_ms: 0,
                waiting_per_instance: 0,
                waiting_min: 5,
                wait_max_ms: 1_000,
                hears_of_lines: false,
                told_late_ms: 0,
                start_included: false,
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
        assert!((98.0..102.0).contains(&all.answer_mean_ms()), "{}", all.answer_mean_ms());
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
                    cold_ms: 0,
                    waiting_per_instance: 0,
                    waiting_min: 0,
                    wait_max_ms: 0,
                    hears_of_lines: false,
                    told_late_ms: 0,
                    start_included: false,
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

    /// Notes when it looks and how many wait then; wants one instance more from the first line on.
    struct Noting {
        rules: Rules,
        looks: Vec<(u64, u32)>,
    }

    impl Autoscaler for Noting {
        fn rules(&self, _: Policy) -> Rules {
            self.rules
        }

        fn decide(&mut self, now_ms: u64, sample: &Sample) -> u32 {
            self.looks.push((now_ms, sample.waiting));
            1 + u32::from(self.looks.iter().any(|(_, waiting)| *waiting > 0))
        }
    }

    const HEARS: Rules = Rules {
        ceiling: 4,
        ceiling_alone: 2,
        cold_ms: 10_000,
        waiting_per_instance: 0,
        waiting_min: 100,
        wait_max_ms: 60_000,
        hears_of_lines: true,
        told_late_ms: 50,
        start_included: false,
    };

    /// Ten requests of a second each come at once, 212 ms after the beginning.
    fn burst(rules: Rules) -> Vec<(u64, u32)> {
        let trace = Trace { seconds: 3, policy: Policy { target: 4, min: 1, max: 2 }, ..TRACES[0] };
        let arrivals: Vec<Arrival> = (0..10).map(|_| Arrival { at_ms: 212, work_ms: 1_000.0 }).collect();
        let mut noting = Noting { rules, looks: Vec::new() };
        run(&trace, &arrivals, &mut noting);
        noting.looks
    }

    #[test]
    fn a_line_is_looked_at_at_once_and_then_not_again_before_it_is_time() {
        let looks = burst(HEARS);
        // At 300 the last look was too short a time ago: the next one is at what is told then.
        assert_eq!(&looks[..4], &[(100, 0), (200, 0), (213, 8), (350, 6)]);
        let looks = burst(Rules { hears_of_lines: false, ..HEARS });
        assert_eq!(&looks[..4], &[(100, 0), (200, 0), (300, 8), (400, 6)], "as it was 50 ms before");
    }

    #[test]
    fn one_that_has_just_come_gets_its_target_and_no_more() {
        let placed = |cold_ms| {
            let instance = |ready_ms| Instance { ready_ms, requests: Vec::new(), drains: false };
            let mut world = World {
                trace: &TRACES[0],
                rules: Rules { cold_ms, ..HEARS },
                now_ms: 1_000,
                // There from the beginning, for a moment, and not yet.
                instances: vec![instance(0), instance(900), instance(2_000)],
                line: (0..20).map(|_| Request { at_ms: 1_000, left_ms: 100.0 }).collect(),
                run: Run::default(),
            };
            world.give_places();
            world.instances.iter().map(|one| one.requests.len()).collect::<Vec<_>>()
        };
        assert_eq!(placed(10_000), [4, 2, 0]);
        assert_eq!(placed(100), [4, 4, 0], "it has been there for long enough");
    }

    #[test]
    fn those_that_start_at_once_come_one_behind_the_other() {
        let trace = Trace { start_ms: 100, start_each_ms: 10.0, ..TRACES[0] };
        let mut world = World {
            trace: &trace,
            rules: HEARS,
            now_ms: 1_000,
            instances: vec![Instance { ready_ms: 0, requests: Vec::new(), drains: false }],
            line: VecDeque::new(),
            run: Run::default(),
        };
        world.scale(2);
        world.scale(4);
        let ready: Vec<u64> = world.instances.iter().map(|one| one.ready_ms).collect();
        assert_eq!(ready, [0, 1_100, 1_110, 1_120]);
    }
}
