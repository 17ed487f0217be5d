//! Operations that wait for their turn.

use super::calls::{DEPLOY, cpu, running};
use super::*;
use crate::service::Refusal;

/// A service with the tag, and an update open on it.
fn busy() -> Rows {
    let mut rows = running();
    rows.tag("apron:queue-operations", "true");
    rows.call(cpu("1024")).unwrap();
    rows
}

fn reason(operation: &Operation) -> &str {
    &operation.fault.as_ref().expect("it failed").reason
}

#[test]
fn they_wait_for_their_turn_and_the_service_is_busy_between() {
    let mut rows = busy();
    let waiting: Vec<OperationId> = [Call::Pause, Call::Resume, DEPLOY]
        .into_iter()
        .map(|call| rows.call(call).unwrap().operation.expect("it waits"))
        .collect();
    assert_eq!(rows.view.queued.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), waiting);
    assert!(rows.view.queued.iter().all(|one| one.status == OperationStatus::Pending && one.is_queued()));
    let mut draw = rows.draw();
    let looked_at = View { operation: rows.view.queued[0].clone(), ..rows.view.clone() };
    assert_eq!(advance(&looked_at, &mut draw).writes, []);
    for id in &waiting {
        rows.drive();
        assert_eq!(rows.ended().0, OperationStatus::Succeeded);
        let settled = |line: &Line| matches!(line, Line::Event(text) if text.starts_with("Service status is set to RUN"));
        assert!(!rows.lines.iter().any(settled), "it is busy on");
        rows.turn();
        assert_eq!((&rows.view.operation.id, rows.view.operation.status), (id, OperationStatus::Pending));
        rows.removed();
    }
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!((&rows.view.queued, &rows.next), (&Vec::new(), &None));
}

#[test]
fn an_update_is_laid_over_the_configuration_of_its_turn() {
    let mut rows = busy();
    let shown = rows.call(cpu("2048")).unwrap_err();
    assert!(matches!(shown, CallError::Input(_)), "2048 and 2048 are no pair: refused at once");
    // The open one fails, so that its value goes; what was asked for behind it holds.
    let shown = rows.call(cpu("1024")).unwrap().service;
    assert_eq!(shown.config.size.cpu_units, 1024, "as the open one has it");
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.seen(exited);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    assert_eq!(rows.view.service.config.size.cpu_units, 1024, "its own turn has come");
    rows.turn();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(rows.view.service.config.size.cpu_units, 1024);
}

#[test]
fn what_is_impossible_by_then_fails_with_the_reason() {
    let mut rows = busy();
    rows.call(Call::Pause).unwrap();
    rows.call(DEPLOY).unwrap();
    rows.call(Call::Pause).unwrap();
    rows.call(Call::Resume).unwrap();
    rows.drive();
    rows.turn();
    rows.drive();
    // Of a paused service no deployment is begun, and pausing it is nothing.
    let [deployment, pause] = rows.never_opened.as_slice() else { panic!("{:?}", rows.never_opened) };
    assert_eq!(deployment.status, OperationStatus::Failed);
    assert!(reason(deployment).contains("isn't in RUNNING state"));
    assert_eq!((pause.status, &pause.fault), (OperationStatus::Succeeded, &None));
    assert!(pause.ended_at.is_some() && pause.step == Step::Ended);
    assert_eq!(rows.view.service.last_failure.as_deref(), Some(reason(deployment)));
    rows.turn();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    // One that never began can be repeated too.
    let retry = Call::Retry(Box::new(rows.never_opened[0].clone()));
    rows.call(retry).unwrap();
    assert_eq!(rows.view.operation.kind, OperationKind::StartDeployment);
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
}

#[test]
fn the_queue_has_an_end_and_a_deletion_takes_its_place() {
    let mut rows = busy();
    for _ in 0..limits::OPERATIONS_QUEUED_MAX {
        rows.call(DEPLOY).unwrap();
    }
    assert_eq!(rows.call(DEPLOY), Err(CallError::Refused(Refusal::InProgress)));
    let delete = rows.call(Call::Delete).unwrap().operation.unwrap();
    assert_eq!(rows.never_opened.len(), limits::OPERATIONS_QUEUED_MAX);
    assert!(rows.never_opened.iter().all(|one| reason(one) == "Superseded by DeleteService."));
    assert_eq!(rows.call(DEPLOY), Err(CallError::Refused(Refusal::InProgress)), "nothing follows a deletion");
    rows.drive();
    rows.turn();
    assert_eq!(rows.view.operation.id, delete);
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Deleted));
}

#[test]
fn one_that_waits_is_cancelled_at_once() {
    let mut rows = busy();
    let id = rows.call(Call::Pause).unwrap().operation.unwrap();
    let open = rows.view.operation.clone();
    let cancelled = rows.cancel(Some(&id)).unwrap();
    assert_eq!(cancelled, Cancelled { operation: id.clone(), status: OperationStatus::Failed });
    assert_eq!((&rows.view.operation, rows.view.queued.len()), (&open, 0));
    assert_eq!((&rows.never_opened[0].id, reason(&rows.never_opened[0])), (&id, "Cancelled by a caller."));
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
}

#[test]
fn without_the_tag_nothing_waits() {
    let mut rows = running();
    rows.tag("apron:queue-operations", "false");
    rows.call(cpu("1024")).unwrap();
    assert_eq!(rows.call(Call::Pause), Err(CallError::Refused(Refusal::InProgress)));
}

/// Behind a deployment that leaves the service CREATE_FAILED, an update puts it right.
#[test]
fn a_failed_creation_is_mended_by_what_waits_behind_it() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.tag("apron:queue-operations", "true");
    rows.call(cpu("1024")).unwrap();
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.seen(exited);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::CreateFailed));
    rows.turn();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(rows.view.service.config.size.cpu_units, 1024);
}
