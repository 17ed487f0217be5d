//! What a call does to a service: it opens an operation, waits behind the open one, joins it, or ends it.
//!
//! ```text
//! nothing is open                    the operation is opened, or nothing is to be done
//! an automatic deployment is open    the same deployment: joined · anything else: it is cancelled, and the call's
//!                                    operation waits behind it
//! a deployment that failed returns   PauseService and DeleteService end that and follow it
//! another is open                    refused, or queued where the service's tag says so
//! ```
//! A decision sees the rows of one transaction and says which to write in it.

use super::queue;
use super::{
    Asked, Build, BuildFact, Line, Operation, OperationKind, OperationStatus, Step, Write, deployment_line,
    is_routed,
};
use crate::draw::Draw;
use crate::extension;
use crate::ids::{Digest, OperationId, RevisionNumber};
use crate::instance::Fault;
use crate::limits;
use crate::service::{Action, Admission, Refusal, Revision, Service, State, admit};
use crate::source::{self, InputError, ServiceInput};

/// The reason of an operation that CancelOperation ended.
const CANCELLED: &str = "Cancelled by a caller.";

/// The rows that decide about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub service: Service,
    pub open: Option<Operation>,
    /// Those that wait behind it, first come first.
    pub queued: Vec<Operation>,
    pub revisions: Vec<Revision>,
    /// The build that the open operation waits for.
    pub build: Option<Build>,
    /// The `route_version` that every live proxy serves.
    pub routed_version: u64,
    /// The digest or commit that the source had when it was looked at last; None before the first look.
    pub source_seen: Option<String>,
}

/// What is asked of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Update(Box<ServiceInput>),
    StartDeployment {
        /// Nobody's call, but a push.
        automatic: bool,
    },
    Pause,
    Resume,
    Delete,
    /// Back to this revision, or to what serves before the active one when its turn comes.
    Rollback(Option<RevisionNumber>),
    /// Once more what this operation was for. It belongs to the service.
    Retry(Box<Operation>),
}

impl Call {
    /// What admission calls it, and what a refusal speaks of.
    pub fn action(&self) -> Action {
        match self {
            Call::Update(_) => Action::Update,
            Call::StartDeployment { .. } => Action::StartDeployment,
            Call::Pause => Action::Pause,
            Call::Resume => Action::Resume,
            Call::Delete => Action::Delete,
            Call::Rollback(_) => Action::Rollback,
            Call::Retry(before) => queue::action(before),
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// As its row is after the call.
    pub service: Service,
    /// What does as asked; None where the service is as asked already.
    pub operation: Option<OperationId>,
    /// The revision that a rollback goes to; None also where that is not known before its turn comes.
    pub revision: Option<RevisionNumber>,
}

/// The end of an operation before its time, as far as it is known when that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    pub operation: OperationId,
    pub status: OperationStatus,
}

/// Why a call does nothing. All but the first carry a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the service refuses the call: {0}")]
    Refused(Refusal),
    #[error(transparent)]
    Input(#[from] InputError),
    /// It names something that is not there.
    #[error("{0}")]
    Unknown(String),
    /// Not possible as things stand.
    #[error("{0}")]
    Impossible(String),
}

impl CallError {
    /// The sentence for whoever asked for `action`.
    pub fn reason(&self, action: Action) -> String {
        match self {
            CallError::Refused(refusal) => refusal.sentence(action),
            CallError::Input(_) | CallError::Unknown(_) | CallError::Impossible(_) => self.to_string(),
        }
    }
}

/// Decides about a call, and which rows it writes.
///
/// # Errors
/// Whatever keeps the call from having any effect; nothing is written then.
pub fn call(standing: &Standing, call: &Call, draw: &mut Draw) -> Result<(Called, Vec<Write>), CallError> {
    let service = &standing.service;
    if service.state == State::Deleted {
        return Err(CallError::Refused(Refusal::Deleted));
    }
    let mut new = asked_for(standing, call, draw)?;
    let Some(open) = &standing.open else {
        let mut after = service.clone();
        let revisions: Vec<&Revision> = standing.revisions.iter().collect();
        return Ok(match queue::open(&mut after, &mut new, &revisions, draw.wall)? {
            Admission::Nothing => (called(service, None), Vec::new()),
            Admission::Open(_) => {
                let active = standing.revisions.iter().find(|one| Some(one.number) == after.active);
                after.rescale(active.map(|one| &one.config.scaling));
                let called = Called { revision: new.rollback(), ..called(&after, Some(new.id.clone())) };
                (called, vec![Write::OperationNew(Box::new(new)), Write::Service(Box::new(after))])
            }
        });
    };
    Ok(match turn(standing, open, &new).map_err(CallError::Refused)? {
        Turn::Nothing => (called(service, None), Vec::new()),
        Turn::Join => {
            let joined = Operation { automatic: false, updated_at: draw.wall, ..open.clone() };
            let line = Line::Event(format!("A caller waits for the deployment with ID : {} too.", open.id));
            let writes = vec![Write::Operation(Box::new(joined)), Write::Line(open.id.clone(), line)];
            (called(service, Some(open.id.clone())), writes)
        }
        Turn::Behind { supersedes } => {
            if let Call::Update(input) = call {
                // What is wrong as things stand is refused at once.
                source::changed(service, input)?;
            }
            let by = action_name(queue::action(&new));
            let reason = format!("Superseded by {by}.");
            let mut writes = Vec::new();
            if supersedes && revocable(standing, open).is_ok() {
                // What the deployment was to bring comes with the update in its place.
                new.fresh |= new.kind == OperationKind::UpdateService && !new.is_rollback();
                writes.extend(revoked(open, &reason, draw));
            }
            if new.kind == OperationKind::DeleteService {
                for waiting in &standing.queued {
                    let fault = Some(Fault::permanent(reason.clone()));
                    writes.extend(queue::ended(waiting.clone(), fault, draw.wall));
                }
            }
            new.step = Step::Queued;
            let line = format!("Waits for the operation with ID : {} to end.", open.id);
            writes.push(Write::Line(new.id.clone(), deployment_line(&line)));
            let called = Called { revision: new.rollback(), ..called(service, Some(new.id.clone())) };
            writes.push(Write::OperationNew(Box::new(new)));
            (called, writes)
        }
    })
}

fn called(service: &Service, operation: Option<OperationId>) -> Called {
    Called { service: service.clone(), operation, revision: None }
}

/// The operation that a call is for, not opened yet.
fn asked_for(standing: &Standing, call: &Call, draw: &mut Draw) -> Result<Operation, CallError> {
    let service = &standing.service;
    let mut new = |kind| Operation::pending(draw.operation_id(), service.id.clone(), kind, draw.wall);
    Ok(match call {
        Call::Update(input) => {
            Operation { asked: Some(Asked::Update(input.clone())), ..new(OperationKind::UpdateService) }
        }
        Call::StartDeployment { automatic } => {
            Operation { automatic: *automatic, ..new(OperationKind::StartDeployment) }
        }
        Call::Pause => new(OperationKind::PauseService),
        Call::Resume => new(OperationKind::ResumeService),
        Call::Delete => new(OperationKind::DeleteService),
        Call::Rollback(number) => {
            let asked = match number {
                None => Asked::RevisionBefore,
                Some(number) => {
                    queue::kept_to_go_back_to(&standing.revisions.iter().collect::<Vec<_>>(), *number)?;
                    Asked::Revision(*number)
                }
            };
            Operation { asked: Some(asked), ..new(OperationKind::UpdateService) }
        }
        Call::Retry(before) => {
            let asked = repeated(before)?;
            Operation { asked, fresh: before.fresh, ..new(before.kind) }
        }
    })
}

/// What to ask for again, beside the kind.
fn repeated(before: &Operation) -> Result<Option<Asked>, CallError> {
    let refused = |why: &str| {
        Err(CallError::Impossible(format!("The operation {} cannot be repeated: {why}.", before.id)))
    };
    match before.status {
        OperationStatus::Pending | OperationStatus::InProgress | OperationStatus::RollbackInProgress => {
            refused("it has not ended")
        }
        OperationStatus::Succeeded => refused("it succeeded"),
        OperationStatus::Failed | OperationStatus::RollbackSucceeded if !before.kind.deploys() => {
            refused("only what deploys is; pause or delete the service again instead")
        }
        OperationStatus::Failed | OperationStatus::RollbackSucceeded => match (before.kind, &before.asked) {
            (OperationKind::UpdateService, None) => refused("what it was for is not known any more"),
            // Others than updates deploy what the service's configuration is now.
            (_, asked) => Ok(asked.clone()),
        },
    }
}

/// What a new operation does about the open one.
enum Turn {
    /// The service will be as asked anyway.
    Nothing,
    /// The open one is what is asked for.
    Join,
    /// Waits behind it, or, superseding it, for its early end.
    Behind { supersedes: bool },
}

fn turn(standing: &Standing, open: &Operation, new: &Operation) -> Result<Turn, Refusal> {
    let deletes = |operation: &Operation| operation.kind == OperationKind::DeleteService;
    // Nothing follows a deletion.
    if deletes(open) || standing.queued.iter().any(deletes) {
        return Err(Refusal::InProgress);
    }
    if open.automatic && !new.automatic && standing.queued.is_empty() {
        let plain = new.kind == OperationKind::StartDeployment && new.asked.is_none();
        if plain && deploys_the_present(standing, open) {
            return Ok(Turn::Join);
        }
        let settled = Service { operation: None, ..standing.service.clone() };
        return Ok(match admit(&settled, queue::action(new))? {
            Admission::Nothing => Turn::Nothing,
            Admission::Open(_) => Turn::Behind { supersedes: true },
        });
    }
    // Instances need not come back to be stopped: one that waits ends that.
    let removes = deletes(new) || new.kind == OperationKind::PauseService;
    if removes && matches!(open.step, Step::Returning { .. }) && (standing.queued.is_empty() || deletes(new))
    {
        return Ok(Turn::Behind { supersedes: false });
    }
    // Tags are checked when they are set.
    let queues = extension::read(&standing.service.tags).is_ok_and(|tags| tags.queue_operations);
    // A deletion takes the place of all that wait.
    let room = standing.queued.len() < limits::OPERATIONS_QUEUED_MAX || deletes(new);
    if queues && room { Ok(Turn::Behind { supersedes: false }) } else { Err(Refusal::InProgress) }
}

/// Whether a deployment brings what its source has now, as far as rows tell. One that has not resolved its image yet
/// does; of another it must be known.
fn deploys_the_present(standing: &Standing, open: &Operation) -> bool {
    if open.cancelled.is_some() {
        return false;
    }
    let is_seen = |image: Option<&Digest>, commit: Option<&str>| {
        let seen = standing.source_seen.as_deref();
        seen.is_some() && (seen == commit || seen == image.map(Digest::as_str))
    };
    match &open.step {
        Step::Admitted => true,
        Step::Building { .. } => match standing.build.as_ref().map(|build| &build.fact) {
            Some(BuildFact::Done(outcome)) => is_seen(Some(&outcome.image), outcome.commit.as_deref()),
            Some(BuildFact::Unknown | BuildFact::Waits { .. } | BuildFact::Failed(_)) | None => true,
        },
        Step::Starting { .. } | Step::Rolling { .. } | Step::Routing { .. } => {
            let candidate = standing.service.candidate;
            standing
                .revisions
                .iter()
                .find(|one| Some(one.number) == candidate)
                .is_some_and(|one| is_seen(one.image.as_ref(), one.commit.as_deref()))
        }
        Step::Queued
        | Step::Returning { .. }
        | Step::RollingBack { .. }
        | Step::Removing { .. }
        | Step::Ended => false,
    }
}

/// Decides about the end of an operation before its time, of `id` or of the one that is open, and which rows that
/// writes. The operation of an `id` that is neither open nor queued must have ended.
///
/// # Errors
/// `Impossible` with the reason, above all when it can only go forward any more.
pub fn cancel(
    standing: &Standing,
    id: Option<&OperationId>,
    draw: &Draw,
) -> Result<(Cancelled, Vec<Write>), CallError> {
    let refused = |why: String| Err(CallError::Impossible(why));
    if let Some(waiting) = standing.queued.iter().find(|one| Some(&one.id) == id) {
        let writes = queue::ended(waiting.clone(), Some(Fault::permanent(CANCELLED)), draw.wall);
        let cancelled = Cancelled { operation: waiting.id.clone(), status: OperationStatus::Failed };
        return Ok((cancelled, writes));
    }
    let open = match (&standing.open, id) {
        (None, None) => return refused("The service has no open operation.".to_owned()),
        (Some(open), None) => open,
        (Some(open), Some(id)) if open.id == *id => open,
        (_, Some(id)) => {
            return refused(format!("The operation {id} has ended and cannot be cancelled any more."));
        }
    };
    if let Err(why) = revocable(standing, open) {
        return refused(format!("The operation {} cannot be cancelled: {why}.", open.id));
    }
    // Asked for twice is asked for.
    let writes = if open.cancelled.is_some() { Vec::new() } else { revoked(open, CANCELLED, draw) };
    Ok((Cancelled { operation: open.id.clone(), status: open.status }, writes))
}

/// Whether the open operation can still end as if it had failed, or why not.
fn revocable(standing: &Standing, open: &Operation) -> Result<(), &'static str> {
    let service = &standing.service;
    match open.kind {
        OperationKind::PauseService => {
            return Err("instances are being stopped already; resume the service when it is paused");
        }
        OperationKind::DeleteService => return Err("what is being deleted does not come back"),
        OperationKind::CreateService
        | OperationKind::UpdateService
        | OperationKind::StartDeployment
        | OperationKind::ResumeService => {}
    }
    match open.step {
        Step::Admitted if open.kind == OperationKind::UpdateService && service.state == State::Paused => {
            Err("the service is paused, and the new configuration is stored already; update it again")
        }
        Step::Routing { .. } if is_routed(service, standing.routed_version) => {
            Err("every proxy serves the new revision already; roll the service back instead")
        }
        Step::Queued
        | Step::Admitted
        | Step::Building { .. }
        | Step::Starting { .. }
        | Step::Rolling { .. }
        | Step::Routing { .. } => Ok(()),
        Step::Returning { .. } | Step::RollingBack { .. } => {
            Err("it has failed, and what was before it is being restored")
        }
        Step::Removing { .. } | Step::Ended => Err("it has ended"),
    }
}

/// The wish that an open operation ends before its time.
fn revoked(open: &Operation, reason: &str, draw: &Draw) -> Vec<Write> {
    let mut revoked = open.clone();
    revoked.cancelled = Some(reason.to_owned());
    revoked.updated_at = draw.wall;
    vec![Write::Operation(Box::new(revoked))]
}

/// What began an operation, for people.
pub(super) fn cause(operation: &Operation) -> &'static str {
    match operation.kind {
        _ if operation.automatic => "its source has changed",
        OperationKind::CreateService => "CreateService",
        OperationKind::UpdateService
        | OperationKind::StartDeployment
        | OperationKind::PauseService
        | OperationKind::ResumeService
        | OperationKind::DeleteService => action_name(queue::action(operation)),
    }
}

/// A call by AWS's name for it.
fn action_name(action: Action) -> &'static str {
    match action {
        Action::Update => "UpdateService",
        Action::StartDeployment => "StartDeployment",
        Action::Rollback => "RollbackService",
        Action::Pause => "PauseService",
        Action::Resume => "ResumeService",
        Action::Delete => "DeleteService",
    }
}
