//! Instances that are replaced one by one, in a world that takes one step at a time, in any order.

mod hanging;
mod memory;
mod mending;

use super::*;
use crate::ids::Generation;
use crate::routes;
use std::collections::BTreeSet;

const OLD: RevisionNumber = 1;
const NEW: RevisionNumber = 2;
const NO_MEMORY: &str = "not enough memory to start: 5 MiB are available";

/// A service, its world, and what must hold at each step.
struct World {
    rows: Rows,
    dice: u64,
    /// Instances for which there is memory.
    room: usize,
    /// Instances that there are at most.
    most: usize,
    /// Instances that proxies know at least.
    least: usize,
    broken: Option<RevisionNumber>,
    /// So many of those that serve end by themselves, at any moment.
    crashes: usize,
}

impl World {
    /// So many instances of revision 1, and a deployment that brings so many of the next.
    fn new(old: u32, new: u32, dice: u64) -> World {
        let mut config = asked();
        config.scaling.min_size = new;
        let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, config);
        rows.view.revisions[0].config.scaling.min_size = old;
        for number in 1..old {
            let slot = fixture::slot(&rows.view.service, OLD, number);
            rows.view.slots.push(slot);
        }
        rows.exchanged();
        let (most, least) = (old.max(new) as usize + 1, old.min(new) as usize);
        World { rows, dice, room: usize::MAX, most, least, broken: None, crashes: 0 }
    }

    fn rolling(old: u32, new: u32, dice: u64) -> World {
        let mut world = World::new(old, new, dice);
        world.rows.tag("apron:deploy", "rolling");
        world
    }

    fn listed(&self) -> usize {
        listed(&self.rows)
    }

    fn count(&self, revision: RevisionNumber) -> usize {
        self.rows.running().into_iter().filter(|one| *one == revision).count()
    }

    fn check(&self) {
        let (slots, listed) = (&self.rows.view.slots, self.listed());
        assert!(slots.len() <= self.most, "{} instances: {slots:#?}", slots.len());
        assert!(listed >= self.least, "{listed} of {} are routed: {slots:#?}", self.least);
    }

    /// The place of a slot that something can happen to: it does not run yet, or it is to go.
    fn moves(&self) -> Vec<usize> {
        let slots = self.rows.view.slots.iter().enumerate();
        slots.filter(|(_, slot)| !slot.wish.runs() || !runs(slot)).map(|(place, _)| place).collect()
    }

    /// One thing happens, or time passes.
    fn step(&mut self) {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moves = self.moves();
        let moved = moves.get((self.dice >> 33) as usize % moves.len().max(1)).copied();
        self.rows.now = Timestamp(self.rows.now.0 + 1_000);
        let serving = self.rows.view.slots.iter_mut().filter(|slot| slot.serves());
        if self.crashes > 0
            && (self.dice >> 50).is_multiple_of(4)
            && let Some(slot) =
                serving.max_by_key(|slot| self.dice ^ u64::from(slot.id.as_str().as_bytes()[0]))
        {
            self.crashes -= 1;
            slot.fact = Some(exited(slot));
            slot.fact_at = self.rows.now;
            return;
        }
        let Some(place) = moved else { return self.rows.routed() };
        let there = self.rows.view.slots.iter().filter(|slot| runs(slot)).count();
        let slot = &mut self.rows.view.slots[place];
        if !slot.wish.runs() {
            self.rows.view.slots.remove(place);
            return;
        }
        let restarts = slot.fact.as_ref().map_or(0, |fact| fact.restarts + 1);
        let fact = match () {
            () if self.broken == Some(slot.revision) => exited(slot),
            () if there >= self.room => Observed {
                phase: Phase::Failed(Fault::transient(NO_MEMORY)),
                health: Health::Starting { hint: None },
                address: None,
                restarts,
                ..fixture::healthy(slot)
            },
            () => fixture::healthy(slot),
        };
        slot.ever_healthy |= fact.health == Health::Healthy;
        slot.fact = Some(fact);
        slot.fact_at = self.rows.now;
    }

    /// Until `is`, or the end.
    fn until(&mut self, is: impl Fn(&World) -> bool) {
        for _ in 0..1_000 {
            let mut before = self.listed();
            let wake = self.rows.advance_checked(|rows| {
                let after = listed(rows);
                assert!(before == 0 || after > 0, "nothing that serves is routed: {:#?}", rows.view.slots);
                before = after;
            });
            if let Step::Rolling { .. } | Step::Returning { .. } = self.rows.view.operation.step {
                let mut slots = self.rows.view.slots.iter();
                let serves = slots.any(|slot| slot.wish.runs() && slot.serves());
                assert!(!serves || before > 0, "what serves is not routed: {:#?}", self.rows.view.slots);
            }
            if wake == Wake::Done || is(self) {
                return self.check();
            }
            self.check();
            if matches!(self.rows.view.operation.step, Step::Building { .. }) {
                self.rows.built(BuildFact::Done(fixture::outcome()), 0);
            } else {
                self.step();
            }
        }
        panic!("it does not end: {:?}", self.rows.view);
    }

    fn ends(&mut self) -> (OperationStatus, State) {
        self.until(|_| false);
        let beside = self.rows.view.slots.iter().filter(|slot| slot.wish == SlotWish::Beside).count();
        assert_eq!(beside, 0, "no exchange is left: {:?}", self.rows.view.slots);
        self.rows.ended()
    }

    fn told(&self, words: &str) -> usize {
        let told = |line: &&Line| matches!(line, Line::Event(text) if text.contains(words));
        self.rows.lines.iter().filter(told).count()
    }
}

/// Instances that proxies would know.
fn listed(rows: &Rows) -> usize {
    let (service, slots) = (rows.view.service.clone(), rows.view.slots.clone());
    routes::table(Generation::default(), &[(service, slots)], "a.test").services[0].instances.len()
}

/// It has its memory, whether it serves or hangs.
fn runs(slot: &Slot) -> bool {
    slot.fact.as_ref().is_some_and(|fact| fact.phase == Phase::Running)
}

const NEW_SERVES: (OperationStatus, State) = (OperationStatus::Succeeded, State::Running);
const OLD_SERVES: (OperationStatus, State) = (OperationStatus::RollbackSucceeded, State::Running);

#[test]
fn one_comes_and_one_goes_until_all_are_new() {
    for (old, new) in (1..5).flat_map(|old| (1..5).map(move |new| (old, new))) {
        for dice in 0..8 {
            let mut world = World::rolling(old, new, dice);
            assert_eq!(world.ends(), NEW_SERVES, "{old} {new}");
            assert_eq!((world.count(OLD), world.count(NEW)), (0, new as usize));
            assert_eq!(world.rows.view.service.active, Some(NEW));
        }
    }
    let mut world = World::rolling(3, 3, 1);
    let mut mixed = BTreeSet::new();
    while !world.rows.view.operation.status.is_ended() {
        let before = (world.count(OLD), world.count(NEW));
        world.until(|world| (world.count(OLD), world.count(NEW)) != before);
        mixed.insert((world.count(OLD), world.count(NEW)));
    }
    let expect = [(0, 3), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)];
    assert_eq!(mixed.into_iter().collect::<Vec<_>>(), expect);
}

#[test]
fn what_has_nothing_to_replace_comes_up_at_once() {
    for (kind, state) in
        [(OperationKind::CreateService, State::Creating), (OperationKind::ResumeService, State::Paused)]
    {
        let mut config = asked();
        config.scaling.min_size = 3;
        let mut rows = Rows::admitted(state, kind, config);
        rows.tag("apron:deploy", "rolling");
        rows.drive_to(|step| matches!(step, Step::Starting { .. }));
        assert_eq!(rows.running().len(), 3);
        rows.drive();
        assert_eq!(rows.ended(), NEW_SERVES);
    }
}

/// Wherever it is cut off, as many of the old revision serve in the end as before, and never fewer than that in all.
#[test]
fn each_failure_in_its_course_brings_all_old_ones_back() {
    type Hurt = (fn(&mut World), &'static str);
    let hurts: [Hurt; 3] = [
        (|world| drop(world.rows.cancel(None).unwrap()), "Cancelled by a caller"),
        (|world| world.broken = Some(NEW), "Container exit code: 7"),
        (
            |world| {
                // Whatever is new fails at once, also what serves.
                for slot in &mut world.rows.view.slots {
                    if slot.revision == NEW && slot.wish.runs() {
                        slot.fact = Some(exited(slot));
                    }
                }
                world.least = 0;
            },
            "Container exit code: 7",
        ),
    ];
    for (hurt, says) in hurts {
        for (old, new) in [(1, 1), (3, 3), (4, 2), (2, 4)] {
            for (place, dice) in (1..=new as usize).flat_map(|place| (0..8).map(move |dice| (place, dice))) {
                let mut world = World::rolling(old, new, dice);
                world.until(|world| world.count(NEW) == place);
                hurt(&mut world);
                let ended = world.ends();
                if world.rows.view.operation.fault.is_none() {
                    // With the last one new it was too late for that.
                    assert_eq!((ended, world.count(NEW), place), (NEW_SERVES, new as usize, new as usize));
                    continue;
                }
                assert_eq!(ended, OLD_SERVES, "{says} at {place}");
                assert_eq!((world.count(OLD), world.count(NEW)), (old as usize, 0), "{says} at {place}");
                assert_eq!(world.rows.view.service.active, Some(OLD));
                assert_eq!(world.rows.view.service.config, world.rows.view.revisions[0].config);
                let reason = world.rows.view.service.last_failure.clone().unwrap();
                assert!(reason.contains(says) && world.told(says) > 0, "{reason}");
            }
        }
    }
}

#[test]
fn until_proxies_serve_the_last_new_one_it_can_be_ended() {
    let mut world = World::rolling(3, 3, 1);
    world.until(|world| matches!(world.rows.view.operation.step, Step::Routing { .. }));
    assert_eq!((world.count(OLD), world.count(NEW)), (1, 3));
    world.rows.cancel(None).unwrap();
    world.until(|world| matches!(world.rows.view.operation.step, Step::Returning { .. }));
    assert_eq!(world.rows.view.operation.status, OperationStatus::RollbackInProgress);
    assert!(world.rows.cancel(None).is_err());
    assert_eq!(world.ends(), OLD_SERVES);
    assert_eq!((world.count(OLD), world.count(NEW)), (3, 0));
}

/// Old ones that do not come back do not keep the operation open, and are still wished.
#[test]
fn what_does_not_come_back_in_time_holds_no_operation_open() {
    let mut world = World::rolling(3, 3, 1);
    world.until(|world| world.count(NEW) == 3);
    world.rows.cancel(None).unwrap();
    world.rows.advance();
    world.rows.removed();
    world.rows.advance();
    world.rows.now = Timestamp(world.rows.now.0 + limits::BECOME_HEALTHY_MS + limits::REMOVE_MS_MAX);
    world.rows.advance();
    // What serves meanwhile stays.
    assert_eq!((world.count(OLD), world.count(NEW), world.listed()), (3, 2, 3));
    world.rows.routed();
    assert_eq!(world.rows.advance(), Wake::Done);
    assert_eq!(world.rows.ended(), OLD_SERVES);
    let warned = "Warning: not every instance of revision 1 serves again yet. 2 instances stay beside them.";
    assert_eq!(world.told(warned), 1, "{:?}", world.rows.lines);
    // It goes as the old ones come.
    for (serving, relieved) in [(1, 0), (1, 0), (2, 1), (3, 2)] {
        let old = world.rows.view.slots.iter_mut().filter(|slot| slot.revision == OLD);
        old.take(serving).for_each(|slot| slot.fact = Some(fixture::healthy(slot)));
        assert_eq!(world.relieved(), vec![NEW; relieved], "{serving}");
    }
    // An operation that is open sees to them itself.
    world.rows.view.service.operation = Some(OperationId::new("1"));
    assert_eq!(world.relieved(), [OLD; 0]);
}

/// What is left of a revision that was taken back goes with the next operation, whatever that is.
#[test]
fn what_stayed_goes_with_the_next_operation() {
    for (kind, expect) in [(OperationKind::StartDeployment, 3), (OperationKind::PauseService, 0)] {
        let mut world = World::rolling(3, 3, 1);
        world.until(|world| world.count(NEW) == 3);
        world.rows.cancel(None).unwrap();
        world.rows.advance();
        world.rows.now = Timestamp(world.rows.now.0 + limits::BECOME_HEALTHY_MS);
        world.rows.advance();
        world.rows.routed();
        assert_eq!(world.rows.advance(), Wake::Done);
        assert!(world.count(NEW) > 0);
        let id = OperationId::new("1".repeat(32));
        world.rows.view.service.operation = Some(id.clone());
        let service = world.rows.view.service.id.clone();
        world.rows.tag("apron:deploy", "all");
        world.rows.view.operation = Operation::pending(id, service, kind, WallTime(9));
        world.rows.drive();
        let left: BTreeSet<_> = world.rows.running().into_iter().collect();
        assert_eq!((left.len(), world.rows.running().len()), (usize::from(expect > 0), expect), "{left:?}");
        assert!(!left.contains(&NEW));
    }
}

#[test]
fn an_old_one_that_does_not_go_in_time_is_waited_for_no_longer() {
    let mut world = World::rolling(3, 3, 1);
    world.until(|world| world.count(OLD) == 2);
    assert_eq!(world.count(NEW), 1);
    world.rows.now = Timestamp(world.rows.now.0 + limits::REMOVE_MS_MAX);
    world.rows.advance();
    assert_eq!((world.count(OLD), world.count(NEW)), (2, 2));
    world.most += 1;
    assert_eq!(world.ends(), NEW_SERVES);
}

/// Some of the new revision stay beside old ones that do not come back in time; there are to be so many.
fn stayed(size: u32) -> World {
    let mut world = World::rolling(size, size, 1);
    world.until(|world| world.count(NEW) == size as usize);
    world.rows.cancel(None).unwrap();
    world.rows.advance();
    world.rows.now = Timestamp(world.rows.now.0 + limits::BECOME_HEALTHY_MS);
    world.rows.advance();
    world.rows.routed();
    assert_eq!(world.rows.advance(), Wake::Done);
    world.rows.removed();
    let beside = world.rows.view.slots.iter().filter(|slot| slot.wish == SlotWish::Beside).count();
    assert_eq!((world.count(OLD), world.count(NEW), beside), (size as usize, beside, beside));
    assert!(beside > 0);
    world.rows.view.revisions.iter_mut().for_each(|one| one.served = true);
    world
}

#[test]
fn what_stayed_counts_when_its_revision_comes_again() {
    for (size, tag) in [(2, "all"), (2, "rolling"), (3, "all"), (3, "rolling")] {
        let mut world = stayed(size as u32);
        world.rows.tag("apron:deploy", tag);
        world.rows.call(Call::Rollback(Some(NEW))).unwrap();
        world.rows.drive();
        assert_eq!(world.rows.ended(), NEW_SERVES);
        assert_eq!((world.count(OLD), world.count(NEW)), (0, size), "{size} {tag}");
        assert!(
            world
                .rows
                .view
                .slots
                .iter()
                .filter(|slot| slot.wish.runs())
                .all(|slot| slot.wish == SlotWish::Run)
        );
    }
    // Where it fails again, what serves in place of the others still does.
    for tag in ["all", "rolling"] {
        let mut world = stayed(3);
        world.rows.tag("apron:deploy", tag);
        let ill =
            world.rows.view.slots.iter_mut().find(|slot| slot.revision == NEW).expect("one that stayed");
        ill.fact.as_mut().expect("a fact").health = Health::Unhealthy { reason: "status 500".to_owned() };
        let (beside, listed) = (world.count(NEW), world.listed());
        world.rows.call(Call::Rollback(Some(NEW))).unwrap();
        world.rows.advance();
        world.rows.cancel(None).unwrap();
        assert_eq!(world.rows.advance(), Wake::Done, "{tag}");
        assert_eq!(world.rows.ended(), OLD_SERVES);
        assert_eq!((world.count(OLD), world.count(NEW), world.listed()), (3, beside, listed), "{tag}");
    }
}

/// To the way back, some of the old revision having gone.
fn returning() -> World {
    let mut world = World::rolling(3, 3, 1);
    world.until(|world| world.count(NEW) == 3);
    world.rows.cancel(None).unwrap();
    world.rows.advance();
    assert!(matches!(world.rows.view.operation.step, Step::Returning { .. }));
    world
}

#[test]
fn all_of_the_way_back_has_one_deadline() {
    let mut world = returning();
    let Step::Returning { deadline: first } = world.rows.view.operation.step else { unreachable!() };
    let mut turns = 0;
    while let Step::Returning { deadline } = world.rows.view.operation.step {
        assert_eq!(deadline, first);
        world.step();
        world.rows.advance();
        turns += 1;
    }
    assert!(turns > 2, "{turns}");
}

#[test]
fn an_old_one_that_cannot_come_back_is_not_waited_for() {
    let elsewhere = "listening on 5000, expected 8000";
    type Case = (fn(&Slot) -> Observed, u64, &'static str);
    let facts: [Case; 4] = [
        (exited, 0, "Container exit code: 7"),
        (|slot| refused(slot, "no such image".to_owned()), 0, "no such image"),
        (
            |slot| Observed {
                health: Health::Unhealthy { reason: "status 404".to_owned() },
                ..fixture::healthy(slot)
            },
            0,
            "not as the health check expects. The last answer: status 404.",
        ),
        (
            |slot| Observed {
                health: Health::Starting { hint: Some("listening on 5000, expected 8000".to_owned()) },
                ..fixture::healthy(slot)
            },
            limits::WRONG_PORT_MS,
            elsewhere,
        ),
    ];
    for (fact, waited, says) in facts {
        let mut world = returning();
        world.rows.removed();
        world.rows.advance();
        let now = world.rows.now;
        let new = |slot: &&mut Slot| slot.revision == OLD && slot.fact.is_none();
        let slot = world.rows.view.slots.iter_mut().find(new).expect("one that comes back");
        slot.fact = Some(fact(slot));
        slot.fact_at = now;
        if waited > 0 {
            assert_eq!(world.rows.advance(), Wake::ByFactOr(Timestamp(now.0 + waited)));
            world.rows.now = Timestamp(now.0 + waited);
        }
        world.rows.advance();
        assert!(matches!(world.rows.view.operation.step, Step::RollingBack { .. }), "{says}");
        world.rows.routed();
        assert_eq!(world.rows.advance(), Wake::Done);
        assert_eq!(world.rows.ended(), OLD_SERVES);
        assert_eq!((world.count(OLD), world.count(NEW)), (3, 2), "as many as are lacking stay");
        let told = |line: &&Line| {
            let warning = "Warning: not every instance of revision 1 serves again yet.";
            matches!(line, Line::Event(text) if text.starts_with(warning) && text.contains(says))
        };
        assert_eq!(world.rows.lines.iter().filter(told).count(), 1, "{says}: {:?}", world.rows.lines);
    }
}

#[test]
fn who_wants_no_instance_need_not_wait_for_the_way_back() {
    for (call, state) in [(Call::Pause, State::Paused), (Call::Delete, State::Deleted)] {
        let mut world = returning();
        assert!(world.rows.call(super::calls::DEPLOY).is_err());
        world.rows.call(call).unwrap();
        assert_eq!(world.rows.advance(), Wake::Done);
        assert_eq!(world.rows.ended(), OLD_SERVES);
        let says =
            "ends the way back before all instances of revision 1 serve again. Failure reason : Cancelled";
        let reason = &world.rows.view.operation.fault.as_ref().expect("a reason").reason;
        assert!(reason.contains(says), "{reason}");
        assert_eq!((world.told("goes on serving"), world.told("ends the way back before")), (0, 1));
        world.rows.turn();
        world.rows.drive();
        assert_eq!(world.rows.ended(), (OperationStatus::Succeeded, state));
        assert_eq!(world.rows.running(), Vec::<RevisionNumber>::new());
    }
    // A deletion also follows where a pause waits already.
    let mut world = returning();
    world.rows.call(Call::Pause).unwrap();
    world.rows.call(Call::Delete).unwrap();
    assert!(world.rows.call(Call::Pause).is_err());
    world.rows.advance();
    world.rows.turn();
    assert_eq!(world.rows.view.operation.kind, OperationKind::DeleteService);
}
