//! Back to a revision that has served.

use super::calls::{cpu, path, running};
use super::*;
use crate::extension::InstanceTags;
use crate::source::InstanceInput;

/// Revisions 1 to 3 have served, the third is active, and each has its own image.
fn with_history() -> Rows {
    let mut rows = running();
    rows.call(cpu("1024")).unwrap();
    rows.drive();
    rows.removed();
    assert_eq!(rows.view.service.active, Some(3));
    for revision in &mut rows.view.revisions {
        let digest = format!("sha256:{:064}", revision.number);
        revision.image = Some(crate::ids::Digest::new(digest));
    }
    rows
}

#[test]
fn it_restores_configuration_and_image_and_makes_no_revision() {
    let mut rows = with_history();
    rows.tag("team", "blue");
    let (before, builds) = (rows.view.revisions.clone(), rows.builds.len());
    let called = rows.call(Call::Rollback(None)).unwrap();
    assert_eq!(called.revision, Some(2));
    assert_eq!(called.service.config, before.iter().find(|one| one.number == 2).unwrap().config);
    assert_eq!(rows.view.operation.kind, OperationKind::UpdateService);
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!((rows.view.service.active, rows.running().as_slice()), (Some(2), [2].as_slice()));
    assert_eq!((&rows.view.revisions, rows.builds.len()), (&before, builds));
    assert_eq!(rows.view.service.tags["team"], "blue");
    rows.removed();
    // And forth again.
    assert_eq!(rows.call(Call::Rollback(None)).unwrap().revision, Some(3));
    rows.drive();
    assert_eq!(rows.view.service.active, Some(3));
    rows.removed();
    assert_eq!(rows.call(Call::Rollback(Some(1))).unwrap().revision, Some(1));
    rows.drive();
    assert_eq!((rows.view.service.active, &rows.view.service.config), (Some(1), &before[0].config));
    // The number of the next one is still new.
    rows.removed();
    rows.call(cpu("1024")).unwrap();
    rows.drive();
    assert_eq!(rows.view.service.active, Some(4));
}

#[test]
fn one_that_fails_leaves_what_serves_and_can_be_repeated() {
    let mut rows = with_history();
    let config = rows.view.service.config.clone();
    rows.call(Call::Rollback(Some(1))).unwrap();
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.seen(exited);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    assert_eq!((rows.view.service.active, &rows.view.service.config), (Some(3), &config));
    assert_eq!(rows.running(), [3]);
    rows.removed();
    let called = rows.call(Call::Retry(Box::new(rows.view.operation.clone()))).unwrap();
    assert_eq!(called.revision, Some(1));
    rows.drive();
    assert_eq!(rows.view.service.active, Some(1));
}

#[test]
fn it_is_refused_with_the_reason() {
    let mut rows = with_history();
    let check = |rows: &mut Rows, number, says: &str| {
        let error = rows.call(Call::Rollback(number)).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        error
    };
    assert!(matches!(check(&mut rows, Some(9), "no revision 9; kept are: "), CallError::Unknown(_)));
    check(&mut rows, Some(3), "it is the active revision already");
    let second = rows.view.revisions.iter_mut().find(|one| one.number == 2).unwrap();
    second.served = false;
    check(&mut rows, Some(2), "it has never served");
    let first = rows.view.revisions.iter_mut().find(|one| one.number == 1).unwrap();
    first.image = None;
    check(&mut rows, Some(1), "it has no image");
    rows.view.revisions.retain(|one| one.number == 3);
    check(&mut rows, None, "no other revision of it has served");
    let mut rows = Rows::admitted(State::CreateFailed, OperationKind::UpdateService, asked());
    rows.cancel(None).unwrap();
    rows.advance();
    assert!(rows.call(Call::Rollback(None)).is_err());
}

#[test]
fn of_a_paused_service_the_next_resume_brings_it_up() {
    let mut rows = with_history();
    rows.call(Call::Pause).unwrap();
    rows.drive();
    rows.call(Call::Rollback(Some(1))).unwrap();
    assert_eq!(rows.advance(), Wake::Done);
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Paused));
    assert_eq!(rows.running(), Vec::<u32>::new());
    let builds = rows.builds.len();
    rows.call(Call::Resume).unwrap();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!((rows.view.service.active, rows.builds.len()), (Some(1), builds));
}

/// Tags that say what an instance is are recorded in the revision that is made under them.
#[test]
fn tags_take_effect_with_the_next_revision_and_go_back_with_it() {
    let tags_of =
        |rows: &Rows, number: u32| rows.view.revision(Some(number)).unwrap().run.as_ref().unwrap().tags;
    let mut rows = running();
    rows.tag("apron:memory", "100");
    rows.tag("apron:config-merge", "api");
    rows.call(cpu("1024")).unwrap();
    rows.drive();
    let expect = InstanceTags { memory_mib: Some(100), ..Default::default() };
    assert_eq!(tags_of(&rows, 3), expect, "an image that is used again keeps what it was built with");
    rows.removed();
    rows.call(super::calls::DEPLOY).unwrap();
    rows.drive();
    assert_eq!(tags_of(&rows, 4), InstanceTags { api_over_file: true, ..expect });
    rows.removed();
    rows.call(Call::Rollback(Some(2))).unwrap();
    rows.drive();
    assert_eq!(tags_of(&rows, 2), InstanceTags::default());
    rows.removed();
    // A resume makes a revision of what the tags say by now.
    rows.call(Call::Pause).unwrap();
    rows.drive();
    rows.tag("apron:cpu", "64");
    rows.call(Call::Resume).unwrap();
    rows.drive();
    assert_eq!(rows.view.service.active, Some(5));
    assert_eq!(tags_of(&rows, 5), InstanceTags { cpu_units: Some(64), ..expect });
}

#[test]
fn slow_starters_are_given_their_grace() {
    let mut rows = running();
    rows.tag("apron:health-check-grace-seconds", "600");
    rows.call(super::calls::DEPLOY).unwrap();
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    let began = rows.now;
    let elsewhere = |slot: &Slot| Observed {
        health: Health::Starting { hint: Some("listening on 8000, expected 8080".to_owned()) },
        ..fixture::healthy(slot)
    };
    rows.seen(elsewhere);
    rows.now = Timestamp(began.0 + 600_000);
    let wrong_port = Timestamp(began.0 + 600_000 + limits::WRONG_PORT_MS);
    assert_eq!(rows.advance(), Wake::ByFactOr(wrong_port));
    rows.seen(|slot| Observed { health: Health::Starting { hint: None }, ..fixture::healthy(slot) });
    let deadline = Timestamp(began.0 + 600_000 + limits::BECOME_HEALTHY_MS);
    assert_eq!(rows.advance(), Wake::ByFactOr(deadline));
    rows.now = deadline;
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    // An exit is no failing check, and the node, which knows the grace, has counted the answers.
    let refused = |slot: &Slot| Observed {
        health: Health::Unhealthy { reason: "GET / answered 404".to_owned() },
        ..fixture::healthy(slot)
    };
    let facts: [fn(&Slot) -> Observed; 2] = [exited, refused];
    for fact in facts {
        let mut rows = running();
        rows.tag("apron:health-check-grace-seconds", "600");
        rows.call(super::calls::DEPLOY).unwrap();
        rows.drive_to(|step| matches!(step, Step::Starting { .. }));
        let view = &rows.view;
        let revision = view.revision(view.service.candidate).unwrap();
        let slot = view.running(view.service.candidate).next().unwrap();
        let spec = crate::run::instance_spec(&view.service, revision, slot).unwrap();
        assert_eq!(spec.health_grace_ms, 600_000);
        rows.seen(fact);
        rows.advance();
        assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    }
}

/// Brings up one more revision than there are.
fn deployed(rows: &mut Rows, to: &str) {
    rows.removed();
    let Call::Update(mut input) = path(to) else { unreachable!("it is one") };
    let size = InstanceInput { cpu: Some("1024".to_owned()), ..Default::default() };
    input.instance = Some(size);
    rows.call(Call::Update(input)).unwrap();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    rows.removed();
}

fn rolled_back(rows: &mut Rows, number: Option<RevisionNumber>) -> Option<RevisionNumber> {
    rows.removed();
    let called = rows.call(Call::Rollback(number)).unwrap();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(rows.view.service.active, called.revision);
    rows.removed();
    called.revision
}

#[test]
fn by_default_it_goes_to_what_served_before_the_active_one() {
    let mut rows = with_history();
    // 3 turns out to be bad, and 4 comes after 2.
    assert_eq!(rolled_back(&mut rows, None), Some(2));
    deployed(&mut rows, "/next");
    assert_eq!(rows.view.service.active, Some(4));
    assert_eq!(rolled_back(&mut rows, None), Some(2));
    // Pausing and resuming changes nothing of what served before, and neither does a failure.
    for call in [Call::Pause, Call::Resume] {
        rows.call(call).unwrap();
        rows.drive();
        rows.removed();
    }
    rows.call(super::calls::DEPLOY).unwrap();
    rows.drive_to(|step| matches!(step, Step::Routing { .. }));
    rows.seen(exited);
    rows.drive();
    assert_eq!(rows.ended().0, OperationStatus::RollbackSucceeded);
    assert_eq!(rolled_back(&mut rows, None), Some(4));
}

#[test]
fn what_served_before_is_kept_however_old_it_is() {
    let mut rows = running();
    for n in 0..limits::REVISIONS_KEPT {
        deployed(&mut rows, &format!("/{n}"));
    }
    let oldest = rows.view.revisions.iter().map(|one| one.number).min().unwrap();
    rolled_back(&mut rows, Some(oldest));
    deployed(&mut rows, "/next");
    // One that fails makes an end of whatever is of no use.
    rows.call(super::calls::DEPLOY).unwrap();
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.seen(exited);
    rows.advance();
    assert_eq!(rows.ended().0, OperationStatus::RollbackSucceeded);
    assert_eq!(rolled_back(&mut rows, None), Some(oldest));
}

#[test]
fn one_that_waits_learns_where_it_goes_when_its_turn_comes() {
    let mut rows = with_history();
    rows.tag("apron:queue-operations", "true");
    rows.call(path("/new")).unwrap();
    let called = rows.call(Call::Rollback(None)).unwrap();
    assert_eq!(called.revision, None, "it depends on what is before it");
    // By name also to the revision that is active as yet.
    assert_eq!(rows.call(Call::Rollback(Some(3))).unwrap().revision, Some(3));
    rows.drive();
    assert_eq!(rows.view.service.active, Some(4));
    rows.turn();
    rows.drive();
    assert_eq!(rows.view.service.active, Some(3));
    let [last] = rows.never_opened.as_slice() else { panic!("{:?}", rows.never_opened) };
    assert!(last.fault.as_ref().unwrap().reason.contains("is the active revision already"), "{last:?}");
}

#[test]
fn values_that_a_paused_service_was_given_can_be_taken_back() {
    let mut rows = with_history();
    let config = rows.view.service.config.clone();
    rows.call(Call::Pause).unwrap();
    rows.drive();
    rows.removed();
    for number in [None, Some(3)] {
        rows.call(path("/new")).unwrap();
        rows.drive();
        assert_ne!(rows.view.service.config, config);
        assert_eq!(rows.call(Call::Rollback(number)).unwrap().revision, Some(3));
        rows.drive();
        assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Paused));
        assert_eq!((rows.view.service.active, &rows.view.service.config), (Some(3), &config));
    }
    assert!(rows.call(Call::Rollback(Some(3))).is_err(), "there is nothing to take back any more");
    assert_eq!(rows.call(Call::Rollback(None)).unwrap().revision, Some(2));
    rows.drive();
    assert_eq!(rows.call(Call::Rollback(None)).unwrap().revision, Some(3), "and forth again");
}
