//! Calls on a service: what they open, join and supersede, what cancels, and what is repeated.

use super::*;
use crate::ids::Digest;
use crate::service::{Action, Refusal};
use crate::source::{HealthInput, InstanceInput, ServiceInput};

impl Rows {
    fn standing(&self) -> Standing {
        let view = &self.view;
        Standing {
            service: view.service.clone(),
            open: Some(view.operation.clone()).filter(|one| !one.status.is_ended()),
            queued: view.queued.clone(),
            revisions: view.revisions.clone(),
            build: view.build.clone(),
            routed_version: view.routed_version,
            source_seen: self.source_seen.clone(),
        }
    }

    /// A call and its writes. What is refused writes nothing.
    pub(super) fn call(&mut self, asked: Call) -> Result<Called, CallError> {
        let mut draw = self.draw();
        let (called, writes) = call(&self.standing(), &asked, &mut draw)?;
        self.apply(writes);
        Ok(called)
    }

    pub(super) fn cancel(&mut self, id: Option<&OperationId>) -> Result<Cancelled, CallError> {
        let draw = self.draw();
        let (cancelled, writes) = cancel(&self.standing(), id, &draw)?;
        self.apply(writes);
        Ok(cancelled)
    }

    /// The operation that the last one's end has opened.
    pub(super) fn turn(&mut self) {
        self.view.operation = self.next.take().expect("another was opened");
    }

    pub(super) fn tag(&mut self, tag: &str, value: &str) {
        self.view.service.tags.insert(tag.to_owned(), value.to_owned());
    }
}

/// A service that runs, with nothing under way.
pub(super) fn running() -> Rows {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    rows.removed();
    rows.lines.clear();
    rows
}

pub(super) fn cpu(units: &str) -> Call {
    let instance = InstanceInput { cpu: Some(units.to_owned()), ..Default::default() };
    Call::Update(Box::new(ServiceInput { instance: Some(instance), ..Default::default() }))
}

pub(super) const DEPLOY: Call = Call::StartDeployment { automatic: false };
const PUSH: Call = Call::StartDeployment { automatic: true };

fn impossible(result: Result<impl std::fmt::Debug, CallError>, says: &str) {
    match result {
        Err(CallError::Impossible(sentence)) => assert!(sentence.contains(says), "{sentence}"),
        other => panic!("{other:?}, expected {says}"),
    }
}

#[test]
fn a_call_opens_what_the_matrix_says() {
    let mut rows = running();
    let called = rows.call(cpu("2 vCPU")).unwrap_err();
    assert!(matches!(called, CallError::Input(_)), "2 vCPU and 2 GB are no pair");
    let called = rows.call(cpu("1024")).unwrap();
    assert_eq!((called.service.config.size.cpu_units, &called.service.operation), (1024, &called.operation));
    assert_eq!(rows.view.service, called.service);
    assert_eq!(rows.call(Call::Pause), Err(CallError::Refused(Refusal::InProgress)));
    assert_eq!(rows.call(DEPLOY), Err(CallError::Refused(Refusal::InProgress)));
    rows.drive();
    assert_eq!(rows.call(Call::Resume).unwrap().operation, None);
    rows.call(Call::Pause).unwrap();
    rows.drive();
    assert_eq!(rows.call(Call::Pause).unwrap().operation, None);
    assert_eq!(rows.call(DEPLOY), Err(CallError::Refused(Refusal::State(State::Paused))));
    rows.call(Call::Delete).unwrap();
    rows.drive();
    for call in [Call::Pause, Call::Delete, DEPLOY, cpu("1024"), Call::Rollback(None)] {
        assert_eq!(rows.call(call), Err(CallError::Refused(Refusal::Deleted)));
    }
}

#[test]
fn the_words_of_refusals_are_those_that_tools_look_for() {
    let says = |refusal: Refusal, action| refusal.sentence(action);
    assert_eq!(
        says(Refusal::InProgress, Action::Update),
        "Service cannot be updated in the current state: OPERATION_IN_PROGRESS."
    );
    assert!(
        says(Refusal::State(State::Paused), Action::StartDeployment)
            .contains("because it isn't in RUNNING state")
    );
}

#[test]
fn what_is_cancelled_ends_as_its_failure_does() {
    let waits: [fn(&Step) -> bool; 4] = [
        |step| matches!(step, Step::Admitted),
        |step| matches!(step, Step::Building { .. }),
        |step| matches!(step, Step::Starting { .. }),
        |step| matches!(step, Step::Routing { .. }),
    ];
    let deployments = [
        (OperationKind::CreateService, State::Creating, OperationStatus::Failed, State::CreateFailed),
        (OperationKind::UpdateService, State::CreateFailed, OperationStatus::Failed, State::CreateFailed),
        (OperationKind::UpdateService, State::Running, OperationStatus::RollbackSucceeded, State::Running),
        (OperationKind::StartDeployment, State::Running, OperationStatus::RollbackSucceeded, State::Running),
        (OperationKind::ResumeService, State::Paused, OperationStatus::Failed, State::Paused),
    ];
    for (kind, state, status, after) in deployments {
        for wait in waits {
            let mut rows = Rows::admitted(state, kind, asked());
            if !wait(&rows.view.operation.step) {
                rows.drive_to(wait);
            }
            let active = rows.view.revisions.iter().find(|one| one.served).map(|one| one.number);
            let cancelled = rows.cancel(None).unwrap();
            assert_eq!(cancelled.operation, rows.view.operation.id);
            assert_eq!(rows.cancel(None), Ok(cancelled), "once more is no mistake");
            // Facts that come meanwhile change nothing.
            rows.routed();
            rows.advance();
            if matches!(rows.view.operation.step, Step::RollingBack { .. }) {
                impossible(rows.cancel(None), "is being restored");
                rows.routed();
                rows.advance();
            }
            assert_eq!(rows.ended(), (status, after), "{kind:?} of {state:?}");
            assert_eq!(rows.view.operation.fault, Some(Fault::permanent("Cancelled by a caller.")));
            assert_eq!(rows.view.service.last_failure.as_deref(), Some("Cancelled by a caller."));
            assert_eq!(rows.view.service.active, active);
            impossible(rows.cancel(None), "no open operation");
        }
    }
}

#[test]
fn what_only_goes_forward_is_not_cancelled() {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.drive_to(|step| matches!(step, Step::Routing { .. }));
    rows.routed();
    impossible(rows.cancel(None), "every proxy serves the new revision");
    let id = rows.view.operation.id.clone();
    rows.drive();
    impossible(rows.cancel(Some(&id)), "has ended");
    for (kind, says) in [
        (OperationKind::PauseService, "resume the service"),
        (OperationKind::DeleteService, "does not come back"),
    ] {
        let mut rows = Rows::admitted(State::Running, kind, asked());
        impossible(rows.cancel(None), says);
        rows.advance();
        impossible(rows.cancel(None), says);
    }
    let mut rows = Rows::admitted(State::Paused, OperationKind::UpdateService, asked());
    impossible(rows.cancel(None), "stored already");
}

/// An automatic deployment in the wait that is asked for, of what the source is known to have.
fn pushed(wait: fn(&Step) -> bool) -> Rows {
    let mut rows = running();
    rows.source_seen = Some(fixture::outcome().image.to_string());
    let opened = rows.call(PUSH).unwrap();
    assert_eq!(opened.operation, Some(rows.view.operation.id.clone()));
    assert!(rows.view.operation.automatic);
    if !wait(&rows.view.operation.step) {
        rows.drive_to(wait);
    }
    rows
}

#[test]
fn a_person_joins_an_automatic_deployment_of_the_same() {
    let waits: [fn(&Step) -> bool; 4] = [
        |step| matches!(step, Step::Admitted),
        |step| matches!(step, Step::Building { .. }),
        |step| matches!(step, Step::Starting { .. }),
        |step| matches!(step, Step::Routing { .. }),
    ];
    for wait in waits {
        let mut rows = pushed(wait);
        let open = rows.view.operation.id.clone();
        let joined = rows.call(DEPLOY).unwrap();
        assert_eq!(joined.operation, Some(open.clone()));
        assert!(!rows.view.operation.automatic, "somebody waits for it now");
        assert_eq!(rows.call(DEPLOY), Err(CallError::Refused(Refusal::InProgress)));
        if rows.view.operation.step != Step::Admitted {
            rows.routed();
        }
        rows.drive();
        assert_eq!((rows.ended().0, &rows.view.operation.id), (OperationStatus::Succeeded, &open));
    }
    // By the commit as well as by the digest.
    let mut rows = pushed(|step| matches!(step, Step::Starting { .. }));
    rows.source_seen = Some("c0ffee".to_owned());
    rows.view.revisions.iter_mut().max_by_key(|one| one.number).unwrap().commit = Some("c0ffee".to_owned());
    assert_eq!(rows.call(DEPLOY).unwrap().operation, Some(rows.view.operation.id.clone()));
}

#[test]
fn a_person_supersedes_an_automatic_deployment_of_something_else() {
    for seen in [None, Some("sha256:other".to_owned())] {
        let mut rows = pushed(|step| matches!(step, Step::Starting { .. }));
        rows.source_seen = seen;
        let first = rows.view.operation.id.clone();
        let second = rows.call(DEPLOY).unwrap().operation.unwrap();
        assert_ne!(first, second);
        assert_eq!(rows.call(Call::Pause), Err(CallError::Refused(Refusal::InProgress)), "a person waits");
        rows.advance();
        assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
        let reason = rows.view.operation.fault.clone().unwrap().reason;
        assert_eq!(reason, "Superseded by StartDeployment.");
        rows.turn();
        assert_eq!(rows.view.operation.id, second);
        rows.drive();
        assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    }
}

#[test]
fn an_update_that_supersedes_brings_what_was_pushed() {
    let mut rows = pushed(|step| matches!(step, Step::Building { .. }));
    let active = rows.view.service.active;
    let builds = rows.builds.len();
    rows.call(cpu("1024")).unwrap();
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    assert_eq!(rows.view.service.active, active);
    rows.turn();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(rows.view.service.config.size.cpu_units, 1024);
    assert_eq!(rows.builds.len(), builds + 1, "the source is looked at, though the update leaves it alone");
}

#[test]
fn what_a_person_asks_for_is_never_refused_for_a_push() {
    for (call, state) in [(Call::Pause, State::Paused), (Call::Delete, State::Deleted)] {
        let mut rows = pushed(|step| matches!(step, Step::Starting { .. }));
        rows.call(call).unwrap();
        rows.advance();
        rows.turn();
        rows.drive();
        assert_eq!(rows.ended(), (OperationStatus::Succeeded, state));
    }
    let mut rows = pushed(|step| matches!(step, Step::Starting { .. }));
    assert_eq!(rows.call(Call::Resume).unwrap().operation, None, "it runs, and goes on deploying");
    assert_eq!(rows.view.operation.cancelled, None);
    // A push gives way to a person, and to another push.
    assert_eq!(rows.call(PUSH), Err(CallError::Refused(Refusal::InProgress)));
    let mut rows = running();
    rows.call(DEPLOY).unwrap();
    assert_eq!(rows.call(PUSH), Err(CallError::Refused(Refusal::InProgress)));
}

/// What serves everywhere already is not taken back; the next one just follows.
#[test]
fn a_push_that_is_through_is_followed() {
    let mut rows = pushed(|step| matches!(step, Step::Routing { .. }));
    rows.routed();
    rows.call(cpu("1024")).unwrap();
    assert_eq!(rows.view.operation.cancelled, None);
    rows.advance();
    assert_eq!(rows.ended().0, OperationStatus::Succeeded);
    rows.turn();
    rows.drive();
    assert_eq!(rows.ended().0, OperationStatus::Succeeded);
}

/// Fails the open operation, and asks for it again.
fn broken(rows: &mut Rows) -> Call {
    rows.drive_to(|step| matches!(step, Step::Building { .. } | Step::Starting { .. }));
    match rows.view.operation.step {
        Step::Building { .. } => rows.built(BuildFact::Failed(Fault::permanent("no file")), 1),
        _ => rows.seen(exited),
    }
    rows.advance();
    rows.removed();
    Call::Retry(Box::new(rows.view.operation.clone()))
}

pub(super) fn path(path: &str) -> Call {
    let health = HealthInput { http: Some(true), path: Some(path.to_owned()), ..Default::default() };
    Call::Update(Box::new(ServiceInput { health: Some(health), ..Default::default() }))
}

#[test]
fn what_failed_is_laid_over_what_has_come_since() {
    let mut rows = running();
    rows.call(cpu("1024")).unwrap();
    rows.drive();
    rows.removed();
    let before = rows.view.service.config.clone();
    rows.call(path("/first")).unwrap();
    let retry = broken(&mut rows);
    assert_eq!(rows.view.service.config, before, "it was taken back");
    let instance =
        InstanceInput { cpu: Some("2048".to_owned()), memory: Some("4096".to_owned()), ..Default::default() };
    let larger = ServiceInput { instance: Some(instance), ..Default::default() };
    rows.call(Call::Update(Box::new(larger))).unwrap();
    rows.drive();
    rows.removed();
    let called = rows.call(retry).unwrap();
    assert_eq!(called.operation, Some(rows.view.operation.id.clone()));
    let again = broken(&mut rows);
    rows.call(again).unwrap();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    let config = &rows.view.service.config;
    assert_eq!((config.size.cpu_units, config.health_path.as_str()), (2048, "/first"));
    rows.removed();
    impossible(rows.call(Call::Retry(Box::new(rows.view.operation.clone()))), "it succeeded");

    // A deployment and a resume bring what the service is by then.
    let mut rows = running();
    rows.call(DEPLOY).unwrap();
    let retry = broken(&mut rows);
    rows.call(cpu("1024")).unwrap();
    rows.drive();
    rows.removed();
    rows.call(retry).unwrap();
    rows.drive();
    assert_eq!(rows.view.service.config.size.cpu_units, 1024);
    rows.removed();
    rows.call(Call::Pause).unwrap();
    rows.drive();
    rows.removed();
    rows.call(Call::Resume).unwrap();
    let retry = broken(&mut rows);
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::Paused));
    rows.call(path("/second")).unwrap();
    rows.drive();
    rows.call(retry).unwrap();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(rows.view.service.config.health_path, "/second");
}

#[test]
fn what_failed_is_repeated_as_what_it_was() {
    // A creation is repeated as one, until the service has been put right otherwise.
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    let retry = broken(&mut rows);
    rows.call(retry.clone()).unwrap();
    assert_eq!(rows.view.operation.kind, OperationKind::CreateService);
    let again = broken(&mut rows);
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::CreateFailed));
    assert!(rows.lines.iter().all(|line| match line {
        Line::Event(text) | Line::Deployment(text) => !text.to_ascii_lowercase().contains("roll"),
        Line::DeploymentEnd => true,
    }));
    rows.call(again).unwrap();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    rows.call(retry).unwrap();
    assert_eq!(rows.view.operation.kind, OperationKind::UpdateService);

    // A resume leaves its values in place, and needs none of them back.
    let mut rows = Rows::admitted(State::Paused, OperationKind::ResumeService, asked());
    let retry = broken(&mut rows);
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::Paused));
    rows.call(retry.clone()).unwrap();
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(rows.call(retry).unwrap().operation, None, "it runs");
}

#[test]
fn what_does_not_deploy_or_has_not_ended_is_not_repeated() {
    let mut rows = Rows::admitted(State::Running, OperationKind::DeleteService, asked());
    rows.advance();
    let open = rows.view.operation.clone();
    rows.now = Timestamp(rows.now.0 + limits::REMOVE_MS_MAX);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::DeleteFailed));
    impossible(rows.call(Call::Retry(Box::new(open))), "has not ended");
    impossible(rows.call(Call::Retry(Box::new(rows.view.operation.clone()))), "delete the service again");
    let mut old = rows.view.operation.clone();
    old.kind = OperationKind::UpdateService;
    impossible(rows.call(Call::Retry(Box::new(old))), "not known any more");
}

#[test]
fn a_cancelled_update_can_be_repeated() {
    let mut rows = running();
    rows.call(cpu("1024")).unwrap();
    rows.cancel(None).unwrap();
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    assert_eq!(rows.view.service.config.size.cpu_units, 512);
    rows.call(Call::Retry(Box::new(rows.view.operation.clone()))).unwrap();
    rows.drive();
    assert_eq!(rows.view.service.config.size.cpu_units, 1024);
}

#[test]
fn seen_versions_are_digests_or_commits() {
    let mut rows = pushed(|step| matches!(step, Step::Starting { .. }));
    let other = Digest::new(format!("sha256:{}", "b".repeat(64)));
    rows.source_seen = Some(other.to_string());
    let open = rows.view.operation.id.clone();
    assert_ne!(rows.call(DEPLOY).unwrap().operation, Some(open));
}
