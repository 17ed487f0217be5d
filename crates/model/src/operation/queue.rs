//! Turns: operations that wait behind the open one of their service, and what becomes of each when its turn comes.
//!
//! What a waiting operation means for the service's row is decided when it is opened, against the state and the
//! configuration that the service has then; what is impossible by then ends with the reason. One that waits has
//! touched nothing yet, so that ending it costs nothing.

use super::call::CallError;
use super::{Asked, Line, Operation, OperationKind, OperationStatus, Step, View, Write, deployment_line};
use crate::ids::RevisionNumber;
use crate::instance::Fault;
use crate::service::{Action, Admission, Revision, Service, ServiceConfig, State, admit};
use crate::source;
use crate::time::WallTime;

/// Opens the first of the waiting operations that can be, and ends those before it that cannot. `written` is what the
/// ending operation writes in the same transaction.
pub(super) fn open_next(view: &View, service: &mut Service, written: &[Write], now: WallTime) -> Vec<Write> {
    let forgotten: Vec<RevisionNumber> = written
        .iter()
        .filter_map(|write| if let Write::RevisionForget(number) = write { Some(*number) } else { None })
        .collect();
    let kept: Vec<&Revision> = view.revisions.iter().filter(|one| !forgotten.contains(&one.number)).collect();
    let mut writes = Vec::new();
    for waiting in &view.queued {
        let mut operation = waiting.clone();
        match open(service, &mut operation, &kept, now) {
            Ok(Admission::Open(_)) => {
                writes.push(Write::Operation(Box::new(operation)));
                break;
            }
            Ok(Admission::Nothing) => writes.extend(ended(operation, None, now)),
            Err(error) => {
                let reason = error.reason(action(&operation));
                service.last_failure = Some(reason.clone());
                writes.extend(ended(operation, Some(Fault::permanent(reason)), now));
            }
        }
    }
    writes
}

/// Opens an operation on a service that has none open: changes the service's row to what is asked for. Changes
/// neither row where it is refused, or where the service is as asked already.
pub(super) fn open(
    service: &mut Service,
    operation: &mut Operation,
    revisions: &[&Revision],
    now: WallTime,
) -> Result<Admission, CallError> {
    let Admission::Open(kind) = admit(service, action(operation)).map_err(CallError::Refused)? else {
        return Ok(Admission::Nothing);
    };
    let (asked, config) = match &operation.asked {
        Some(Asked::Update(input)) => (operation.asked.clone(), source::changed(service, input)?),
        Some(Asked::Revision(number)) => going_back(service, revisions, *number)?,
        Some(Asked::RevisionBefore) => going_back(service, revisions, revision_before(service, revisions)?)?,
        None => (None, service.config.clone()),
    };
    // A creation is repeated as one for as long as the service has never served.
    let creates = operation.kind == OperationKind::CreateService && service.state == State::CreateFailed;
    operation.kind = if creates { OperationKind::CreateService } else { kind };
    // What was created meanwhile is deployed once more, as an update that changes nothing does it.
    let creation_again = asked.is_none() && operation.kind == OperationKind::UpdateService;
    operation.asked = if creation_again { Some(Asked::Update(Box::default())) } else { asked };
    operation.step = Step::Admitted;
    operation.updated_at = now;
    service.config = config;
    service.updated_at = now;
    service.operation = Some(operation.id.clone());
    Ok(Admission::Open(kind))
}

/// What a rollback to a revision is for, and the configuration that it brings.
fn going_back(
    service: &Service,
    revisions: &[&Revision],
    number: RevisionNumber,
) -> Result<(Option<Asked>, ServiceConfig), CallError> {
    let revision = kept_to_go_back_to(revisions, number)?;
    if service.active == Some(number) && !service.has_strayed_from(revision) {
        return Err(no_way_back(number, "it is the active revision already"));
    }
    Ok((Some(Asked::Revision(number)), revision.config.clone()))
}

/// Where a rollback goes that names no revision.
fn revision_before(service: &Service, revisions: &[&Revision]) -> Result<RevisionNumber, CallError> {
    service.rollback_default(revisions.iter().copied()).ok_or_else(|| {
        CallError::Impossible(
            "The service cannot be rolled back: no other revision of it has served.".to_owned(),
        )
    })
}

/// A revision to which a service can be rolled back when it is not the active one.
pub(super) fn kept_to_go_back_to<'a>(
    revisions: &[&'a Revision],
    number: RevisionNumber,
) -> Result<&'a Revision, CallError> {
    let Some(revision) = revisions.iter().find(|one| one.number == number) else {
        let kept: Vec<String> = revisions.iter().map(|one| one.number.to_string()).collect();
        let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
        return Err(CallError::Unknown(format!("The service has no revision {number}; kept are: {kept}.")));
    };
    match revision {
        Revision { served: false, .. } => Err(no_way_back(number, "it has never served")),
        Revision { image: None, .. } | Revision { run: None, .. } => {
            Err(no_way_back(number, "it has no image"))
        }
        Revision { .. } => Ok(revision),
    }
}

fn no_way_back(number: RevisionNumber, why: &str) -> CallError {
    CallError::Impossible(format!("The service cannot be rolled back to revision {number}: {why}."))
}

/// What admission must allow for an operation to be opened.
pub(super) fn action(operation: &Operation) -> Action {
    match (operation.kind, operation.is_rollback()) {
        (OperationKind::UpdateService, true) => Action::Rollback,
        (OperationKind::CreateService | OperationKind::UpdateService, _) => Action::Update,
        (OperationKind::StartDeployment, _) => Action::StartDeployment,
        (OperationKind::PauseService, _) => Action::Pause,
        (OperationKind::ResumeService, _) => Action::Resume,
        (OperationKind::DeleteService, _) => Action::Delete,
    }
}

/// The end of an operation that was never opened: with a fault, or because there is nothing to do.
pub(super) fn ended(mut operation: Operation, fault: Option<Fault>, now: WallTime) -> Vec<Write> {
    let words = operation.kind.words();
    let line = match &fault {
        None => format!("{words} has nothing to do: the service is as asked already."),
        Some(fault) => {
            format!("{words} with ID : {} did not begin. Reason : {}", operation.id, fault.reason)
        }
    };
    let line_of = |line| Write::Line(operation.id.clone(), line);
    let mut writes =
        vec![line_of(deployment_line(&line)), line_of(Line::Event(line)), line_of(Line::DeploymentEnd)];
    operation.status = if fault.is_some() { OperationStatus::Failed } else { OperationStatus::Succeeded };
    operation.step = Step::Ended;
    operation.ended_at = Some(now);
    operation.updated_at = now;
    operation.fault = fault;
    writes.push(Write::Operation(Box::new(operation)));
    writes
}
