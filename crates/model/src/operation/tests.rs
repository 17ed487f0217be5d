//! Every operation through generic harnesses: to the end with good facts, and with each wait failing in turn.

mod builds;
mod calls;
mod hindered;
mod lines;
mod queued;
mod repeated;
mod rollback;
mod rolling;
mod scaling;

use super::*;
use crate::fixture;
use crate::instance::{Exit, Health, Observed, Phase};
use crate::reconcile::refused;
use crate::service::{ServiceConfig, State};

/// Rows in memory, and facts as a test wants them.
struct Rows {
    view: View,
    /// The next operation, opened by the end of the one in the view.
    next: Option<Operation>,
    /// Operations that ended without having been opened.
    never_opened: Vec<Operation>,
    source_seen: Option<String>,
    builds: Vec<Build>,
    lines: Vec<Line>,
    now: Timestamp,
    draws: u128,
}

impl Rows {
    /// A service in `state` with an operation of this kind admitted. A service that was deployed has revision 1
    /// with a healthy instance; a paused one the revision alone.
    fn admitted(state: State, kind: OperationKind, asked: ServiceConfig) -> Rows {
        let mut service = fixture::service("web", fixture::code_config(true));
        service.state = state;
        let mut revisions = Vec::new();
        let mut slots = Vec::new();
        if matches!(state, State::Running | State::Paused) {
            service.active = Some(1);
            revisions.push(fixture::revision(&service, 1));
        }
        if state == State::Running {
            let mut slot = fixture::slot(&service, 1, 0);
            slot.fact = Some(fixture::healthy(&slot));
            slot.ever_healthy = true;
            slots.push(slot);
        }
        service.config = asked;
        let id = OperationId::new("0".repeat(32));
        service.operation = Some(id.clone());
        let operation = Operation::pending(id, service.id.clone(), kind, WallTime(5));
        let queued = Vec::new();
        let view = View { service, operation, queued, revisions, build: None, slots, routed_version: 0 };
        Rows {
            view,
            next: None,
            never_opened: Vec::new(),
            source_seen: None,
            builds: Vec::new(),
            lines: Vec::new(),
            now: Timestamp(1000),
            draws: 1,
        }
    }

    fn draw(&mut self) -> Draw {
        self.draws += 1;
        Draw::new(self.now, WallTime(self.now.0), 1, self.draws)
    }

    /// One call, its writes applied. Then calls until nothing is written, which must come soon.
    fn advance(&mut self) -> Wake {
        self.advance_checked(|_| ())
    }

    /// Looks at the rows after each transaction as well.
    fn advance_checked(&mut self, mut check: impl FnMut(&Rows)) -> Wake {
        for _ in 0..10 {
            let mut draw = self.draw();
            let again = advance(&self.view, &mut draw.clone());
            let advance = advance(&self.view, &mut draw);
            assert_eq!(again, advance, "the same rows and draw decide the same");
            if advance.writes.is_empty() {
                return advance.wake;
            }
            self.apply(advance.writes);
            check(self);
        }
        panic!("it keeps writing without new facts: {:?}", self.view.operation);
    }

    fn apply(&mut self, writes: Vec<Write>) {
        let view = &mut self.view;
        for write in writes {
            match write {
                Write::Service(row) => view.service = *row,
                Write::Operation(row) if row.id == view.operation.id => view.operation = *row,
                Write::Operation(row) => {
                    view.queued.retain(|one| one.id != row.id);
                    match row.step {
                        Step::Ended => self.never_opened.push(*row),
                        Step::Admitted => {
                            assert!(view.operation.status.is_ended(), "one is open at a time");
                            assert_eq!(self.next.replace(*row), None, "one is opened at a time");
                        }
                        _ => panic!("no turn: {row:?}"),
                    }
                }
                Write::OperationNew(row) if row.is_queued() => view.queued.push(*row),
                Write::OperationNew(row) => {
                    assert!(view.operation.status.is_ended(), "one is open at a time");
                    view.operation = *row;
                }
                Write::Revision(row) => view.revisions.push(*row),
                Write::RevisionServed(number) => {
                    let found = view.revisions.iter_mut().find(|one| one.number == number);
                    found.expect("a kept revision").served = true;
                }
                Write::RevisionConfig(number, config) => {
                    let found = view.revisions.iter_mut().find(|one| one.number == number);
                    found.expect("a kept revision").config = *config;
                }
                Write::RevisionForget(number) => view.revisions.retain(|one| one.number != number),
                Write::Build(row) => {
                    self.builds.retain(|one| one.id != row.id);
                    self.builds.push(*row);
                }
                Write::Slot(row) => view.slots.push(*row),
                Write::SlotWish(id, wish) => {
                    view.slots.iter_mut().find(|slot| slot.id == id).expect("a known slot").wish = wish;
                }
                Write::Line(_, line) => self.lines.push(line),
            }
        }
        view.build = match &view.operation.step {
            Step::Building { build, .. } => self.builds.iter().find(|one| one.id == *build).cloned(),
            _ => None,
        };
    }

    fn built(&mut self, fact: BuildFact, failures: u32) {
        let build = self.view.build.as_mut().expect("it waits for a build");
        build.fact = fact;
        build.failures = failures;
        let row = build.clone();
        self.builds.retain(|one| one.id != row.id);
        self.builds.push(row);
    }

    /// A fact for every instance of the candidate.
    fn seen(&mut self, fact: impl Fn(&Slot) -> Observed) {
        let (now, candidate) = (self.now, self.view.service.candidate);
        let running = |slot: &&mut Slot| slot.wish.runs() && Some(slot.revision) == candidate;
        for slot in self.view.slots.iter_mut().filter(running) {
            let fact = fact(slot);
            slot.ever_healthy |= fact.health == Health::Healthy;
            slot.fact = Some(fact);
            slot.fact_at = now;
        }
    }

    fn healthy(&mut self) {
        self.seen(fixture::healthy);
    }

    fn routed(&mut self) {
        self.view.routed_version = self.view.service.route_version;
    }

    fn removed(&mut self) {
        self.view.slots.retain(|slot| slot.wish.runs());
    }

    /// What is wished is there and healthy, and what is not is gone.
    fn exchanged(&mut self) {
        self.removed();
        for slot in &mut self.view.slots {
            slot.fact = Some(fixture::healthy(slot));
            slot.ever_healthy = true;
        }
    }

    fn running(&self) -> Vec<RevisionNumber> {
        self.view.slots.iter().filter(|slot| slot.wish.runs()).map(|slot| slot.revision).collect()
    }

    /// Good facts until the end, each wait checked to be one.
    fn drive(&mut self) {
        for _ in 0..20 {
            match self.advance() {
                Wake::Done => return,
                Wake::ByFactOr(deadline) => assert!(deadline > self.now, "a wait ends in the future"),
            }
            match self.view.operation.step.clone() {
                Step::Building { .. } => self.built(BuildFact::Done(fixture::outcome()), 0),
                Step::Starting { .. } => self.healthy(),
                Step::Rolling { .. } | Step::Returning { .. } => self.exchanged(),
                Step::Routing { .. } | Step::RollingBack { .. } => self.routed(),
                Step::Removing { .. } => {
                    self.routed();
                    self.removed();
                }
                Step::Queued | Step::Admitted | Step::Ended => panic!("it waits in no step"),
            }
        }
        panic!("it does not end: {:?}", self.view.operation);
    }

    /// Drives to the wait that `is` tells.
    fn drive_to(&mut self, is: fn(&Step) -> bool) {
        for _ in 0..10 {
            self.advance();
            if is(&self.view.operation.step) {
                return;
            }
            match self.view.operation.step {
                Step::Building { .. } => self.built(BuildFact::Done(fixture::outcome()), 0),
                Step::Starting { .. } => self.healthy(),
                Step::Rolling { .. } => self.exchanged(),
                _ => panic!("it passed the wait: {:?}", self.view.operation.step),
            }
        }
    }

    fn ended(&self) -> (OperationStatus, State) {
        let view = &self.view;
        assert!(view.operation.status.is_ended(), "{:?}", view.operation);
        assert!(view.operation.ended_at.is_some());
        assert_eq!(view.service.operation, self.next.as_ref().map(|next| next.id.clone()));
        assert_eq!(view.service.candidate, None);
        assert_eq!(self.lines.last(), Some(&Line::DeploymentEnd));
        assert!(self.builds.iter().all(|build| !build.is_due()), "nothing is built for nobody");
        (view.operation.status, view.service.state)
    }
}

fn asked() -> ServiceConfig {
    let mut config = fixture::code_config(true);
    config.size.cpu_units = 512;
    let crate::service::Source::Code(code) = &mut config.source else { panic!("code") };
    code.branch = "next".to_owned();
    config
}

fn exit() -> Exit {
    Exit {
        code: Some(7),
        signal: None,
        out_of_memory: false,
        reason: None,
        last_lines: vec!["boom".to_owned()],
    }
}

fn exited(slot: &Slot) -> Observed {
    Observed {
        phase: Phase::Exited(exit()),
        health: Health::Starting { hint: None },
        last_exit: Some(exit()),
        ..fixture::healthy(slot)
    }
}

#[test]
fn each_kind_succeeds_with_good_facts() {
    use OperationKind::*;
    let check = |state, kind, expect: State, active: Option<u32>, running: &[u32]| {
        let mut rows = Rows::admitted(state, kind, asked());
        rows.drive();
        assert_eq!(rows.ended(), (OperationStatus::Succeeded, expect), "{kind:?} of {state:?}");
        assert_eq!((rows.view.service.active, rows.running().as_slice()), (active, running), "{kind:?}");
        assert_eq!(rows.view.service.last_failure, None);
        assert_eq!(rows.view.service.config, asked());
    };
    check(State::Creating, CreateService, State::Running, Some(1), &[1]);
    check(State::CreateFailed, UpdateService, State::Running, Some(1), &[1]);
    check(State::Running, UpdateService, State::Running, Some(2), &[2]);
    check(State::Running, StartDeployment, State::Running, Some(2), &[2]);
    check(State::Running, PauseService, State::Paused, Some(1), &[]);
    check(State::Paused, ResumeService, State::Running, Some(2), &[2]);
    check(State::Paused, UpdateService, State::Paused, Some(1), &[]);
    check(State::Running, DeleteService, State::Deleted, None, &[]);
    check(State::Paused, DeleteService, State::Deleted, None, &[]);
    check(State::CreateFailed, DeleteService, State::Deleted, None, &[]);
    check(State::DeleteFailed, DeleteService, State::Deleted, None, &[]);
}

/// A failure before the pivot: the old wishes are back, the reason is everywhere, and the candidate goes.
fn check_undone(kind: OperationKind, state: State, wait: fn(&Step) -> bool, fail: fn(&mut Rows), says: &str) {
    let mut rows = Rows::admitted(state, kind, asked());
    let before = rows.view.service.clone();
    rows.drive_to(wait);
    let active = rows.running();
    fail(&mut rows);
    rows.advance();
    if matches!(rows.view.operation.step, Step::RollingBack { .. }) {
        let shown = match state {
            State::Running => OperationStatus::RollbackInProgress,
            // What has nothing to roll back to does not speak of it.
            _ => OperationStatus::InProgress,
        };
        assert_eq!(rows.view.operation.status, shown);
        rows.routed();
        rows.advance();
    }
    let (status, after) = rows.ended();
    let about = format!("{kind:?} of {state:?}: {says}");
    match state {
        State::Running => assert_eq!((status, after), (OperationStatus::RollbackSucceeded, state), "{about}"),
        State::Creating | State::CreateFailed => {
            assert_eq!((status, after), (OperationStatus::Failed, State::CreateFailed), "{about}");
        }
        _ => assert_eq!((status, after), (OperationStatus::Failed, state), "{about}"),
    }
    let service = &rows.view.service;
    assert_eq!(service.active, before.active, "{about}");
    let kept = if state == State::Running { fixture::code_config(true) } else { asked() };
    assert_eq!(service.config, kept, "{about}");
    let old: Vec<u32> = active.into_iter().filter(|_| state == State::Running).filter(|n| *n == 1).collect();
    assert_eq!(rows.running(), old, "{about}");
    let reason = rows.view.operation.fault.as_ref().expect("a reason").reason.clone();
    assert!(reason.contains(says), "{about}: {reason}");
    assert_eq!(service.last_failure.as_deref(), Some(reason.as_str()));
    let told = |line: &Line| matches!(line, Line::Event(text) if text.contains(&reason));
    assert!(rows.lines.iter().any(told), "{about}: the event log tells why");
    // The next one succeeds as if nothing had been.
    if kind != OperationKind::CreateService && state == State::Running {
        let id = OperationId::new("1".repeat(32));
        rows.view.service.operation = Some(id.clone());
        rows.view.operation = Operation::pending(id, service_id(&rows), kind, WallTime(9));
        rows.drive();
        assert_eq!(rows.ended().0, OperationStatus::Succeeded);
        assert_eq!(rows.view.service.last_failure, None);
    }
}

fn service_id(rows: &Rows) -> ServiceId {
    rows.view.service.id.clone()
}

#[test]
fn each_wait_that_fails_brings_the_old_wishes_back() {
    use OperationKind::*;
    let deployments = [
        (CreateService, State::Creating),
        (UpdateService, State::CreateFailed),
        (UpdateService, State::Running),
        (StartDeployment, State::Running),
    ];
    let building: fn(&Step) -> bool = |step| matches!(step, Step::Building { .. });
    let starting: fn(&Step) -> bool = |step| matches!(step, Step::Starting { .. });
    let routing: fn(&Step) -> bool = |step| matches!(step, Step::Routing { .. });
    let late: fn(&mut Rows) = |rows| rows.now = Timestamp(rows.now.0 + limits::BUILD_MS_MAX);
    type Fail = (fn(&Step) -> bool, fn(&mut Rows), &'static str);
    let fails: &[Fail] = &[
        (building, |rows| rows.built(BuildFact::Failed(Fault::permanent("no file")), 1), "no file"),
        (
            building,
            |rows| rows.built(BuildFact::Failed(Fault::transient("busy")), limits::BUILD_TRIES_MAX),
            "busy",
        ),
        (building, late, "not finished in time"),
        (starting, |rows| rows.seen(exited), "Container exit code: 7"),
        (starting, |rows| rows.seen(|slot| refused(slot, "no memory".to_owned())), "no memory"),
        (starting, late, "does not answer"),
        (
            starting,
            |rows| {
                rows.seen(|slot| Observed {
                    health: Health::Starting { hint: Some("listening on 8000, expected 8080".to_owned()) },
                    ..fixture::healthy(slot)
                });
                rows.now = Timestamp(rows.now.0 + limits::WRONG_PORT_MS);
            },
            "listening on 8000, expected 8080",
        ),
        (
            starting,
            |rows| {
                rows.seen(|slot| Observed {
                    health: Health::Unhealthy { reason: "status 404".to_owned() },
                    ..fixture::healthy(slot)
                });
            },
            "status 404",
        ),
        (
            starting,
            |rows| {
                rows.seen(|slot| Observed {
                    health: Health::Starting { hint: None },
                    restarts: 1,
                    last_exit: Some(exit()),
                    ..fixture::healthy(slot)
                });
            },
            "Container exit code: 7",
        ),
        (routing, |rows| rows.seen(exited), "Container exit code: 7"),
    ];
    for (wait, fail, says) in fails {
        for (kind, state) in deployments {
            check_undone(kind, state, *wait, *fail, says);
        }
        if wait(&Step::Building { build: BuildId::new("b"), deadline: Timestamp(0), place: Place::AtOnce }) {
            continue;
        }
        check_undone(ResumeService, State::Paused, *wait, *fail, says);
    }
}

#[test]
fn an_application_that_is_slow_to_listen_has_all_its_time() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.seen(|slot| Observed {
        health: Health::Starting { hint: Some("nothing listens yet, expected port 8080".to_owned()) },
        ..fixture::healthy(slot)
    });
    rows.now = Timestamp(rows.now.0 + limits::BECOME_HEALTHY_MS - 1);
    assert_eq!(rows.advance(), Wake::ByFactOr(Timestamp(rows.now.0 + 1)));
    rows.drive();
    assert_eq!(rows.ended().0, OperationStatus::Succeeded);
}

#[test]
fn a_proxy_that_lags_never_rolls_back() {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.drive_to(|step| matches!(step, Step::Routing { .. }));
    rows.now = Timestamp(rows.now.0 + limits::ROUTE_MS_MAX);
    assert_eq!(rows.advance(), Wake::Done);
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    let old = rows.view.slots.iter().find(|slot| slot.revision == 1).unwrap();
    assert!(matches!(old.wish, SlotWish::Drain { .. }), "the old one waits for the proxy");
    assert_eq!(rows.view.service.previous.map(|(number, _)| number), Some(1));
}

#[test]
fn an_instance_that_crashes_after_it_was_healthy_is_left_to_the_node() {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, {
        let mut config = asked();
        config.scaling.min_size = 2;
        config
    });
    rows.drive_to(|step| matches!(step, Step::Routing { .. }));
    let crashed = rows.view.slots.iter_mut().find(|slot| slot.revision == 2).unwrap();
    crashed.fact = Some(exited(crashed));
    assert!(matches!(rows.advance(), Wake::ByFactOr(_)), "one of two still serves");
    rows.routed();
    assert_eq!(rows.advance(), Wake::Done);
    assert_eq!(rows.running(), [2, 2]);
}

#[test]
fn resume_without_a_change_builds_nothing() {
    let mut rows = Rows::admitted(State::Paused, OperationKind::ResumeService, fixture::code_config(true));
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!((rows.view.service.active, rows.builds.len()), (Some(1), 0));
    let mut changed = fixture::code_config(true);
    let crate::service::Source::Code(code) = &mut changed.source else { panic!("code") };
    code.branch = "next".to_owned();
    let mut rows = Rows::admitted(State::Paused, OperationKind::ResumeService, changed);
    rows.drive();
    assert_eq!((rows.view.service.active, rows.builds.len()), (Some(2), 1), "another source is built");
}

/// The active revision's configuration, changed outside of its source.
fn resized() -> ServiceConfig {
    let mut config = fixture::code_config(true);
    config.size.cpu_units = 512;
    config
}

#[test]
fn an_update_that_leaves_the_source_uses_the_image_again() {
    let check = |asked: ServiceConfig, kind, builds: usize| {
        let mut rows = Rows::admitted(State::Running, kind, asked.clone());
        rows.view.revisions[0].commit = Some("c0ffee".to_owned());
        rows.drive();
        assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
        assert_eq!(rows.builds.len(), builds, "{kind:?}");
        let active = rows.view.revision(Some(2)).expect("a new revision");
        assert_eq!((active.number, &active.config, active.served), (2, &asked, true));
        assert_eq!(active.image, Some(fixture::outcome().image));
        active.commit.clone()
    };
    let commit = check(resized(), OperationKind::UpdateService, 0);
    assert_eq!(commit.as_deref(), Some("c0ffee"));
    check(asked(), OperationKind::UpdateService, 1);
    // Whoever changes nothing wants the source deployed again, as with StartDeployment.
    check(fixture::code_config(true), OperationKind::UpdateService, 1);
    check(fixture::code_config(true), OperationKind::StartDeployment, 1);
}

#[test]
fn an_update_of_what_never_ran_builds() {
    let mut rows = Rows::admitted(State::CreateFailed, OperationKind::UpdateService, resized());
    rows.drive();
    assert_eq!((rows.ended().0, rows.builds.len()), (OperationStatus::Succeeded, 1));
}

#[test]
fn what_never_served_is_forgotten_but_its_number() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.drive();
    let mut deploy = |fails: bool, n: u32| {
        let id = OperationId::new(format!("{n:032x}"));
        rows.view.service.operation = Some(id.clone());
        let service = service_id(&rows);
        rows.view.operation = Operation::pending(id, service, OperationKind::StartDeployment, WallTime(9));
        if fails {
            rows.drive_to(|step| matches!(step, Step::Starting { .. }));
            rows.seen(exited);
            rows.advance();
        } else {
            rows.drive();
        }
        rows.removed();
        let mut kept: Vec<(u32, bool)> =
            rows.view.revisions.iter().map(|one| (one.number, one.served)).collect();
        kept.sort_unstable();
        kept
    };
    assert_eq!(deploy(true, 1), [(1, true), (2, false)]);
    assert_eq!(deploy(true, 2), [(1, true), (3, false)], "the number of the second is not given again");
    assert_eq!(deploy(false, 3), [(1, true), (4, true)]);
}

#[test]
fn what_has_no_effect_is_said_once() {
    let mut config = asked();
    config.auto_deployments = true;
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, config);
    rows.drive();
    let said = rows.lines.iter().filter(
        |line| matches!(line, Line::Event(text) if text.starts_with("Warning: AutoDeploymentsEnabled")),
    );
    assert_eq!(said.count(), 1);
}

#[test]
fn what_cannot_be_removed_does_not_hold_an_operation_open() {
    let check = |kind, status, state| {
        let mut rows = Rows::admitted(State::Running, kind, asked());
        rows.advance();
        rows.routed();
        assert!(matches!(rows.advance(), Wake::ByFactOr(_)));
        rows.now = Timestamp(rows.now.0 + limits::REMOVE_MS_MAX);
        assert_eq!(rows.advance(), Wake::Done);
        assert_eq!(rows.ended(), (status, state), "{kind:?}");
        assert_eq!(rows.running(), Vec::<u32>::new(), "the wish to go stays");
    };
    check(OperationKind::PauseService, OperationStatus::Succeeded, State::Paused);
    check(OperationKind::DeleteService, OperationStatus::Failed, State::DeleteFailed);
}

/// What still drains after a deployment that has just ended is not waited for longer than what drains because of
/// this operation.
#[test]
fn what_drains_already_is_given_no_more_time_than_the_rest() {
    for kind in [OperationKind::PauseService, OperationKind::DeleteService] {
        let mut rows = Rows::admitted(State::Running, kind, asked());
        let soon = Timestamp(rows.now.0 + 5);
        let late = Timestamp(rows.now.0 + limits::DRAIN_MS);
        for (number, until) in [(1, late), (2, soon)] {
            let mut slot = fixture::slot(&rows.view.service, 1, number);
            slot.wish = SlotWish::Drain { since: None, until };
            rows.view.slots.push(slot);
        }
        rows.advance();
        let stop = Timestamp(rows.now.0 + limits::DRAIN_STOP_MS);
        let wishes: Vec<SlotWish> = rows.view.slots.iter().map(|slot| slot.wish).collect();
        let now = Some(rows.now);
        let expect = [(now, stop), (now, stop), (None, soon)];
        assert_eq!(wishes, expect.map(|(since, until)| SlotWish::Drain { since, until }), "{kind:?}");
    }
}

#[test]
fn five_revisions_are_kept_and_numbers_never_come_again() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.drive();
    for n in 0..9_u32 {
        let id = OperationId::new(format!("{n:032x}"));
        rows.view.service.operation = Some(id.clone());
        let service = service_id(&rows);
        rows.view.operation = Operation::pending(id, service, OperationKind::StartDeployment, WallTime(9));
        rows.drive();
        rows.removed();
    }
    assert_eq!(rows.view.service.active, Some(10));
    let mut kept: Vec<u32> = rows.view.revisions.iter().map(|one| one.number).collect();
    kept.sort_unstable();
    // The one that drained while the last was brought up stays until the next deployment.
    assert_eq!(kept, [6, 7, 8, 9, 10]);
}
