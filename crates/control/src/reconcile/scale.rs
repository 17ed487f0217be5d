//! Scaling: what proxies see of the load becomes the number of instances that a service is to have.
//!
//! The decision is `model::scaling`'s; here is what it is made from, and for which services at all: those that are asked
//! for something, and those that have another number of instances than at rest, which the clock may change. All others cost
//! nothing.

use super::uses::Uses;
use apron_model::extension::{self, ScaleTags};
use apron_model::ids::ServiceId;
use apron_model::instance::Phase;
use apron_model::price::Cap;
use apron_model::reconcile::{Slot, SlotWish};
use apron_model::routes::{self, Load};
use apron_model::scaling::{self, Fleet, Policy, SAMPLE_MS, Sample, Scaler, Used, Window};
use apron_model::schedule::Answer;
use apron_model::service::{Service, State};
use apron_model::time::{Timestamp, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Without a request for so long, a service that is as at rest is not looked at any more: longer than windows are.
const FORGET_AFTER: Duration = Duration::from_secs(10);
/// What changes nothing at present is written down no more often.
const REMEMBER_EVERY: Duration = Duration::from_secs(30);
/// What could not be brought about, because an operation changes the instances itself, is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Scale {
    /// No service is to have more; None where the operator has set no such quota.
    pub(crate) instances_max: Option<u32>,
    watched: BTreeMap<ServiceId, Watched>,
    /// How long requests took, in seconds, of services that were watched: one that comes from zero has none to tell.
    known_s: BTreeMap<ServiceId, f64>,
    /// Of every running service.
    rules: BTreeMap<ServiceId, Rules>,
    /// Those that scale on what their instances use.
    on_use: BTreeSet<ServiceId>,
}

/// What tags say of how many instances a service has, as they were read with its row.
#[derive(Default)]
struct Rules {
    tags: ScaleTags,
    quota: Option<u32>,
    /// What the schedule said last.
    answer: Option<Answer>,
}

struct Watched {
    window: Window,
    scaler: Scaler,
    last: Option<Sample>,
    /// When somebody was asked for something last.
    busy_at: Timestamp,
    /// What was decided last, and when.
    decided: Option<(u32, Timestamp)>,
}

impl Scale {
    pub(crate) fn new(instances_max: Option<u32>) -> Scale {
        let (watched, known_s, rules, on_use) = Default::default();
        Scale { instances_max, watched, known_s, rules, on_use }
    }

    /// Services that are to be looked at every `SAMPLE_MS`.
    pub(crate) fn watched(&self) -> impl Iterator<Item = &ServiceId> {
        self.watched.keys()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.watched.is_empty()
    }

    /// Services of which it has to be known what their instances use.
    pub(crate) fn on_use(&self) -> &BTreeSet<ServiceId> {
        &self.on_use
    }

    pub(crate) fn forget(&mut self, service: &ServiceId) {
        self.watched.remove(service);
        self.known_s.remove(service);
        self.rules.remove(service);
        self.on_use.remove(service);
    }

    /// Takes over what was read of a service. True: it is to be looked at also without load, because it has another number
    /// of instances than at rest.
    pub(crate) fn take(&mut self, service: &Service, wall: WallTime) -> bool {
        if service.deleted_at.is_some() || service.state != State::Running || service.active.is_none() {
            self.forget(&service.id);
            return false;
        }
        let tags = extension::scale(&service.tags);
        if tags.also.heeds_use() {
            self.on_use.insert(service.id.clone());
        } else {
            self.on_use.remove(&service.id);
        }
        let rules = self.rules.entry(service.id.clone()).or_default();
        if rules.tags != tags {
            *rules = Rules { tags, ..Rules::default() };
        }
        rules.quota = self.instances_max;
        rules.instances(service, service.wanted) != rules.policy(service, wall).min
    }

    /// Services that are to be looked at because the clock says something else of them than before.
    pub(crate) fn by_clock(&mut self, wall: WallTime) -> impl Iterator<Item = ServiceId> {
        self.rules.iter_mut().filter_map(move |(id, rules)| rules.has_changed(wall).then(|| id.clone()))
    }

    /// How many instances the load of the service needs, where its row should say so.
    pub(crate) fn look(
        &mut self,
        service: &Service,
        slots: &[Slot],
        load: Load,
        uses: &Uses,
        (now, wall): (Timestamp, WallTime),
    ) -> Option<u32> {
        let rules = self.rules.get_mut(&service.id)?;
        let watched = self.watched.entry(service.id.clone()).or_insert_with(|| Watched {
            window: Window::knowing(self.known_s.get(&service.id).copied()),
            scaler: Scaler::new(service.wanted, now),
            last: None,
            busy_at: now,
            decided: None,
        });
        let sample = Sample {
            at: now,
            arrived: load.arrived,
            answered: load.answered,
            in_flight: load.in_flight,
            waiting: load.waiting,
            asleep: load.asleep,
        };
        if !watched.is_due(&sample) {
            return None;
        }
        if watched.last.is_none_or(|last| last.arrived != load.arrived)
            || (load.in_flight, load.waiting) != (0, 0)
        {
            watched.busy_at = now;
        }
        watched.last = Some(sample);
        watched.window.push(sample);
        let policy = rules.policy(service, wall);
        let (least, most) = (policy.min, policy.max);
        let (mut fleet, used) = fleet(service, slots, uses);
        // A line before one that is being woken is no reason for another one.
        let woken = load.asleep.min(fleet.ready);
        fleet.ready -= woken;
        fleet.starting += woken;
        let wanted;
        (watched.scaler, wanted) =
            scaling::decide(&policy, &watched.window, used, fleet, &watched.scaler, now);

        // Between the bounds that is the same, and below it is what a deployment with a lower MinSize has to know.
        let need = watched.scaler.need().min(most);
        let remembers = if need > least || rules.instances(service, need) == wanted { need } else { wanted };
        let changes = wanted != rules.instances(service, service.wanted);
        if remembers == service.wanted {
            // Not before its need is out of mind too: the row is to say so.
            if wanted == least && watched.scaler.need() == 0 && now - watched.busy_at > FORGET_AFTER {
                let known_s = watched.window.known_s().map(|known_s| (service.id.clone(), known_s));
                self.known_s.extend(known_s);
                self.watched.remove(&service.id);
            }
            return None;
        }
        let pause = if changes { AGAIN_AFTER } else { REMEMBER_EVERY };
        let waits = |(before, at)| now - at < pause && (!changes || before == remembers);
        if watched.decided.is_some_and(waits) {
            return None;
        }
        watched.decided = Some((remembers, now));
        Some(remembers)
    }
}

impl Watched {
    /// A sample is worth its place when its time has come, or when a line has formed.
    fn is_due(&self, sample: &Sample) -> bool {
        let Some(last) = self.last else { return true };
        let forms = last.waiting == 0 && sample.waiting > 0 && sample.at > last.at;
        // Ticks come a little early or late.
        forms || sample.at - last.at >= Duration::from_millis(SAMPLE_MS / 10 * 9)
    }
}

impl Rules {
    /// So many instances where the load needs `wanted`.
    fn instances(&self, service: &Service, wanted: u32) -> u32 {
        service.scaling().instances(self.tags.max_size, wanted, self.quota)
    }

    /// Instances that there are at least by the clock.
    fn least(&mut self, wall: WallTime) -> u32 {
        let Some(schedule) = &self.tags.least else { return 0 };
        let known = self.answer.take().filter(|answer| answer.holds(wall));
        self.answer.insert(known.unwrap_or_else(|| schedule.answer(wall))).least.unwrap_or(0)
    }

    fn has_changed(&mut self, wall: WallTime) -> bool {
        let before = self.answer.as_ref().and_then(|answer| answer.least).unwrap_or(0);
        self.least(wall) != before
    }

    /// What is asked for now. Nothing is meant for more requests at a time than it gets at most.
    fn policy(&mut self, service: &Service, wall: WallTime) -> Policy {
        let least = self.least(wall);
        // One that is near its cap gets no more than it has.
        let most = if service.cap == Cap::Below { u32::MAX } else { service.wanted };
        let hard = self.tags.concurrency_hard.unwrap_or(u32::MAX);
        Policy {
            target: service.scaling().max_concurrency.min(hard),
            also: self.tags.also,
            min: self.instances(service, least.min(most)),
            max: self.instances(service, most),
        }
    }
}

/// Its instances, and what those use together that get requests.
fn fleet(service: &Service, slots: &[Slot], uses: &Uses) -> (Fleet, Used) {
    let (mut fleet, mut used) = (Fleet::default(), Used::default());
    for slot in slots {
        let routed = match slot.wish {
            SlotWish::Run => Some(slot.revision) == service.active,
            SlotWish::Beside => true,
            SlotWish::Drain { .. } | SlotWish::Stop | SlotWish::Gone => false,
        };
        if routed && slot.serves() {
            fleet.ready += 1;
            used += uses.instances.get(&slot.id).copied().unwrap_or(Used::UNKNOWN);
        } else if routed && routes::comes(slot) {
            fleet.starting += 1;
        } else if routed && slot.fact.as_ref().is_some_and(|fact| fact.phase == Phase::Running) {
            fleet.ill += 1;
        }
    }
    (fleet, used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::fixture;
    use apron_model::ids::InstanceId;
    use apron_model::instance::Health;

    struct World {
        scale: Scale,
        service: Service,
        slots: Vec<Slot>,
        load: Load,
        uses: Uses,
        now: Timestamp,
    }

    impl World {
        /// A running service with one instance, three at most, and ten requests for each.
        fn new() -> World {
            let mut config = fixture::image_config("r/web");
            config.scaling.max_concurrency = 10;
            config.scaling.max_size = 3;
            let service = Service { active: Some(1), ..fixture::service("web", config) };
            let mut world = World {
                scale: Scale::new(None),
                service,
                slots: Vec::new(),
                load: Load::default(),
                uses: Uses::default(),
                now: Timestamp(100_000),
            };
            world.has(1);
            world
        }

        fn has(&mut self, count: u32) {
            self.service.wanted = count;
            while self.slots.len() < count as usize {
                let mut slot = fixture::slot(&self.service, 1, self.slots.len() as u32);
                slot.fact = Some(fixture::healthy(&slot));
                self.slots.push(slot);
            }
            self.slots.truncate(count as usize);
        }

        fn wall(&self) -> WallTime {
            WallTime(self.now.0)
        }

        /// The row is read.
        fn take(&mut self) -> bool {
            let wall = self.wall();
            self.scale.take(&self.service, wall)
        }

        fn look(&mut self, ms: u64) -> Option<u32> {
            self.now = self.now + Duration::from_millis(ms);
            self.take();
            self.see()
        }

        fn see(&mut self) -> Option<u32> {
            let now = (self.now, self.wall());
            self.scale.look(&self.service, &self.slots, self.load, &self.uses, now)
        }
    }

    #[test]
    fn a_line_brings_instances_and_quiet_takes_them_away() {
        let mut world = World::new();
        assert_eq!(world.look(0), None);
        world.load = Load { arrived: 25, answered: 0, in_flight: 10, waiting: 15, asleep: 0 };
        assert_eq!(world.look(5), Some(3), "at once, and not at the next sample");
        assert_eq!(world.look(SAMPLE_MS), None, "once");
        assert_eq!(world.look(AGAIN_AFTER.as_millis() as u64), Some(3), "unless it is not brought about");
        world.has(3);
        assert_eq!(world.look(SAMPLE_MS), None);
        world.load = Load { arrived: 25, answered: 25, ..Load::default() };
        let mut quiet_ms = 0;
        let fewer = loop {
            assert!(quiet_ms < 60_000);
            quiet_ms += SAMPLE_MS;
            if let Some(fewer) = world.look(SAMPLE_MS) {
                break fewer;
            }
        };
        assert_eq!((fewer, quiet_ms > 10_000), (1, true));
        world.has(1);
        for _ in 0..200 {
            assert_eq!(world.look(SAMPLE_MS), None);
        }
    }

    #[test]
    fn what_serves_is_scaled_as_before_while_another_configuration_is_deployed() {
        let mut world = World::new();
        world.service.scaling = Some(world.service.config.scaling.clone());
        let asked = &mut world.service.config.scaling;
        (asked.max_concurrency, asked.min_size, asked.max_size) = (1, 2, 9);
        assert_eq!(world.look(0), None);
        world.load = Load { arrived: 25, answered: 0, in_flight: 10, waiting: 15, asleep: 0 };
        assert_eq!(world.look(5), Some(3), "as many as the present MaxSize and MaxConcurrency ask for");
    }

    /// Where MinSize hides what the load needs, the row comes to say it all the same: one with a lower MinSize asks it.
    #[test]
    fn what_the_load_needs_is_remembered_below_min_size() {
        let mut world = World::new();
        (world.service.config.scaling.min_size, world.service.config.scaling.max_size) = (5, 9);
        world.has(5);
        world.service.wanted = 0;
        let mut written = Vec::new();
        for step in 0..1_200 {
            let busy = step < 300;
            world.load = Load {
                arrived: world.load.arrived + if busy { 20 } else { 0 },
                answered: world.load.arrived,
                in_flight: if busy { 20 + step % 7 } else { 0 },
                ..Load::default()
            };
            if let Some(need) = world.look(SAMPLE_MS) {
                world.service.wanted = need;
                written.push(need);
            }
        }
        assert!(written.len() <= 4 && written.contains(&3) && written.last() == Some(&0), "{written:?}");
    }

    /// And costs nothing between its times.
    #[test]
    fn the_clock_brings_instances_and_takes_them_away() {
        let mut world = World::new();
        // It is a minute and forty seconds past midnight.
        let schedule = "2 0 * * * = 2; 4 0 * * * = 9; 10 0 * * * = 0";
        world.service.tags.insert("apron:min-size-schedule".to_owned(), schedule.to_owned());
        let (mut due, mut looks) = (world.take(), 0);
        assert!(!due);
        let mut changes = Vec::new();
        while world.now < Timestamp(15 * 60_000) {
            world.now = world.now + Duration::from_millis(SAMPLE_MS);
            let wall = world.wall();
            due |= world.scale.by_clock(wall).count() > 0;
            if !due && world.scale.is_idle() {
                continue;
            }
            looks += 1;
            due = false;
            if let Some(count) = world.see() {
                world.has(count);
                due = world.take();
                changes.push((world.now.0 / 60_000, count));
            }
        }
        assert_eq!(
            changes,
            [(2, 2), (4, 3), (10, 0)],
            "no more than MaxSize, and at last what the load needs"
        );
        assert!(looks < 1_000 && world.scale.is_idle(), "{looks} looks");
    }

    /// Forward or back, and also while nobody looked.
    #[test]
    fn a_wall_clock_that_is_set_counts() {
        let mut world = World::new();
        let schedule = "0 7 * * * = 3; 0 19 * * * = 1";
        world.service.tags.insert("apron:min-size-schedule".to_owned(), schedule.to_owned());
        let at = |hour: u64| WallTime((100 * 24 + hour) * 3_600_000);
        assert!(world.scale.take(&world.service, at(8)), "it has one and is to have three");
        for (hour, says) in [
            (8, 0),
            (9, 0),
            (18, 0),
            (20, 1),
            (20, 0),
            (8, 1),
            (20, 1),
            (24 + 6, 0),
            (24 + 7, 1),
            (24 + 7, 0),
        ] {
            assert_eq!(world.scale.by_clock(at(hour)).count(), says, "at {hour}");
        }
        world.has(3);
        assert!(!world.scale.take(&world.service, at(8)) && world.scale.take(&world.service, at(20)));
        world.service.state = State::Paused;
        assert!(!world.scale.take(&world.service, at(20)), "what is paused has none");
        assert_eq!(world.scale.by_clock(at(8)).count(), 0);
    }

    #[test]
    fn who_is_near_its_cap_gets_no_more() {
        let mut world = World::new();
        world.has(2);
        world.service.cap = Cap::Held;
        world.load = Load { arrived: 25, in_flight: 10, waiting: 15, ..Load::default() };
        for _ in 0..20 {
            assert_eq!(world.look(SAMPLE_MS), None);
        }
        world.service.tags.insert("apron:min-size-schedule".to_owned(), "* * * * * = 3".to_owned());
        assert_eq!(world.look(SAMPLE_MS), None, "nor by the clock");
        world.service.cap = Cap::Below;
        assert_eq!(world.look(SAMPLE_MS), Some(3));
    }

    #[test]
    fn the_operator_bounds_what_load_and_clock_ask_for() {
        let mut world = World::new();
        world.scale.instances_max = Some(2);
        world.service.tags.insert("apron:max-size".to_owned(), "100".to_owned());
        world.load = Load { arrived: 90, in_flight: 10, waiting: 80, ..Load::default() };
        assert_eq!(world.look(SAMPLE_MS), Some(2));
        let mut world = World::new();
        world.scale.instances_max = Some(2);
        world.service.tags.insert("apron:min-size-schedule".to_owned(), "* * * * * = 3".to_owned());
        assert_eq!(world.look(SAMPLE_MS), Some(2));
        world.has(2);
        assert!(!world.take(), "it is at rest");
    }

    /// Without a request: a worker that is kept awake, say.
    #[test]
    fn what_instances_use_brings_others_and_they_go_when_it_is_over() {
        let mut world = World::new();
        world.take();
        assert!(world.scale.on_use().is_empty());
        world.service.tags.insert("apron:scale-on".to_owned(), "cpu=50".to_owned());
        world.take();
        assert!(world.scale.on_use().contains(&world.service.id));
        let using = |cpu| Used { cpu, memory: 0.1, ..Used::default() };
        world.uses.instances.insert(world.slots[0].id.clone(), using(0.9));
        world.uses.instances.insert(InstanceId::new("of-another-service"), using(9.0));
        assert_eq!(world.look(3_000), Some(2));
        world.has(2);
        for _ in 0..20 {
            assert_eq!(world.look(3_000), None, "of the second nothing is known yet");
        }
        for slot in &world.slots {
            world.uses.instances.insert(slot.id.clone(), using(0.5));
        }
        for _ in 0..20 {
            assert_eq!(world.look(3_000), None);
        }
        world.slots[1].wish = SlotWish::Drain { since: None, until: world.now };
        assert_eq!(world.look(3_000), None, "who drains is not counted");
        world.slots[1].wish = SlotWish::Run;
        let instances = std::mem::take(&mut world.uses.instances);
        for _ in 0..20 {
            assert_eq!(world.look(3_000), None, "the node does not answer");
        }
        world.uses.instances = instances.into_keys().map(|id| (id, Used::default())).collect();
        let fewer = (0..20).find_map(|_| world.look(3_000));
        assert_eq!(fewer, Some(0), "all of them sleep");
    }

    /// With a target beyond what they get, full instances and a line would be no reason for another one.
    #[test]
    fn what_instances_get_at_most_is_what_they_are_meant_for() {
        let mut world = World::new();
        world.service.tags.insert("apron:concurrency-hard".to_owned(), "2".to_owned());
        world.load = Load { arrived: 5, in_flight: 2, waiting: 3, ..Load::default() };
        assert_eq!(world.look(0), Some(3));
    }

    /// A request waits for half a second for one instance that is woken: one is enough.
    #[test]
    fn a_line_before_one_that_is_woken_brings_no_other() {
        let mut world = World::new();
        world.load = Load { arrived: 1, waiting: 1, asleep: 1, ..Load::default() };
        for _ in 0..20 {
            assert_eq!(world.look(SAMPLE_MS), None);
        }
        // It is awake, and has not been given the request yet; but if the line stays then, one more is lacking.
        world.load.asleep = 0;
        assert_eq!([world.look(SAMPLE_MS), world.look(SAMPLE_MS)], [None, None]);
        assert_eq!(world.look(SAMPLE_MS), Some(2));
    }

    /// Also when it had been forgotten meanwhile: one of two seconds each needs more of them than one of a tenth.
    #[test]
    fn how_long_requests_took_is_known_when_they_come_back() {
        let come_back = |in_flight: u32| {
            let mut world = World::new();
            world.service.wanted = 0;
            (world.service.config.scaling.max_size, world.load.in_flight) = (25, in_flight);
            for _ in 0..200 {
                world.load.arrived += 1;
                world.load.answered += 1;
                world.look(SAMPLE_MS);
            }
            world.load.in_flight = 0;
            let quiet = (0..600).find(|_| {
                world.look(SAMPLE_MS);
                world.scale.is_idle()
            });
            assert!(quiet.is_some(), "it is still looked at");
            // Ten more come each second, while the only instance is started.
            let asked = (1..=50).filter_map(|waiting| {
                world.load.arrived += 1;
                (world.load.waiting, world.load.asleep) = (waiting, 1);
                world.look(SAMPLE_MS)
            });
            asked.max()
        };
        assert_eq!([come_back(1), come_back(20)], [Some(1), Some(5)]);
    }

    #[test]
    fn what_rests_is_forgotten() {
        let mut world = World::new();
        world.service.wanted = 0;
        assert!(world.scale.is_idle());
        world.load.arrived = 1;
        assert_eq!(world.look(0), None);
        assert!(!world.scale.is_idle());
        for _ in 0..FORGET_AFTER.as_millis() as u64 / SAMPLE_MS + 2 {
            assert_eq!(world.look(SAMPLE_MS), None);
            if world.scale.is_idle() {
                return;
            }
        }
        panic!("it is still looked at");
    }

    #[test]
    fn what_starts_is_counted_and_what_cannot_start_is_not() {
        let mut world = World::new();
        world.has(3);
        world.slots[1].fact = None;
        let refused = apron_model::reconcile::refused(&world.slots[2], "no memory".to_owned());
        world.slots[2].fact = Some(refused);
        assert_eq!(
            fleet(&world.service, &world.slots, &world.uses).0,
            Fleet { ready: 1, starting: 1, ill: 0 }
        );
        let mut unwell = fixture::healthy(&world.slots[2]);
        unwell.health = Health::Unhealthy { reason: "500".to_owned() };
        world.slots[2].fact = Some(unwell);
        assert_eq!(
            fleet(&world.service, &world.slots, &world.uses).0,
            Fleet { ready: 1, starting: 1, ill: 1 }
        );
        world.slots[0].wish = SlotWish::Stop;
        assert_eq!(
            fleet(&world.service, &world.slots, &world.uses).0,
            Fleet { ready: 0, starting: 1, ill: 1 }
        );
    }
}
