//! Durable operations: what each does next.
//!
//! An operation only writes wishes and waits for facts; reconcilers make facts follow wishes. `advance` looks at
//! the rows and says which rows to write, in one transaction, and until when to wait for the next fact. It
//! cannot fail, touches nothing, and called again with the same rows writes nothing new: so being killed
//! between any two transactions costs time only. Undoing is wishing the old state again.

mod delete;
mod deploy;
mod failure;
mod pause;
mod removal;
#[cfg(test)]
mod tests;

use crate::build::{BuildOutcome, BuildSpec};
use crate::draw::Draw;
use crate::ids::{BuildId, InstanceId, OperationId, RevisionNumber, ServiceId};
use crate::instance::Fault;
use crate::limits;
use crate::reconcile::{Slot, SlotWish};
use crate::service::{Revision, Service, settled};
use crate::time::{Timestamp, WallTime};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What was asked for, by AWS's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    CreateService,
    UpdateService,
    StartDeployment,
    PauseService,
    ResumeService,
    DeleteService,
}

impl OperationKind {
    pub const ALL: [OperationKind; 6] = [
        OperationKind::CreateService,
        OperationKind::UpdateService,
        OperationKind::StartDeployment,
        OperationKind::PauseService,
        OperationKind::ResumeService,
        OperationKind::DeleteService,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            OperationKind::CreateService => "CREATE_SERVICE",
            OperationKind::UpdateService => "UPDATE_SERVICE",
            OperationKind::StartDeployment => "START_DEPLOYMENT",
            OperationKind::PauseService => "PAUSE_SERVICE",
            OperationKind::ResumeService => "RESUME_SERVICE",
            OperationKind::DeleteService => "DELETE_SERVICE",
        }
    }

    /// "Service creation", as event lines say it.
    fn words(self) -> &'static str {
        match self {
            OperationKind::CreateService => "Service creation",
            OperationKind::UpdateService => "Service update",
            OperationKind::StartDeployment => "Deployment",
            OperationKind::PauseService => "Service pause",
            OperationKind::ResumeService => "Service resume",
            OperationKind::DeleteService => "Service deletion",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    Pending,
    InProgress,
    Succeeded,
    Failed,
    RollbackInProgress,
    RollbackSucceeded,
}

impl OperationStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            OperationStatus::Pending => "PENDING",
            OperationStatus::InProgress => "IN_PROGRESS",
            OperationStatus::Succeeded => "SUCCEEDED",
            OperationStatus::Failed => "FAILED",
            OperationStatus::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            OperationStatus::RollbackSucceeded => "ROLLBACK_SUCCEEDED",
        }
    }

    pub fn is_ended(self) -> bool {
        match self {
            OperationStatus::Succeeded | OperationStatus::Failed | OperationStatus::RollbackSucceeded => true,
            OperationStatus::Pending | OperationStatus::InProgress | OperationStatus::RollbackInProgress => {
                false
            }
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub id: OperationId,
    pub service: ServiceId,
    pub kind: OperationKind,
    pub status: OperationStatus,
    pub step: Step,
    pub created_at: WallTime,
    pub started_at: Option<WallTime>,
    pub ended_at: Option<WallTime>,
    pub updated_at: WallTime,
    /// Why it failed or was rolled back.
    pub fault: Option<Fault>,
}

impl Operation {
    /// As the handler that admitted it writes it.
    pub fn pending(id: OperationId, service: ServiceId, kind: OperationKind, now: WallTime) -> Operation {
        Operation {
            id,
            service,
            kind,
            status: OperationStatus::Pending,
            step: Step::Admitted,
            created_at: now,
            started_at: None,
            ended_at: None,
            updated_at: now,
            fault: None,
        }
    }
}

/// Where an operation stands: the wishes it wrote last, and how long it waits for their facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nothing is wished yet.
    Admitted,
    /// Waits for an image.
    Building {
        build: BuildId,
        deadline: Timestamp,
    },
    /// Waits for the candidate's instances to be healthy.
    Starting {
        deadline: Timestamp,
        /// Since when it is known that the machine cannot start them: a full disk, no memory left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hindered: Option<Timestamp>,
    },
    /// The candidate is wished active; waits until every live proxy serves it, the pivot.
    Routing {
        old: Option<RevisionNumber>,
        deadline: Timestamp,
    },
    /// The old revision is wished active again; waits until every live proxy serves it.
    RollingBack {
        deadline: Timestamp,
    },
    /// Instances are wished away; waits until none is left.
    Removing {
        deadline: Timestamp,
    },
    Ended,
}

impl Step {
    /// One word for people.
    pub fn as_str(&self) -> &'static str {
        match self {
            Step::Admitted => "admitted",
            Step::Building { .. } => "building",
            Step::Starting { .. } => "starting",
            Step::Routing { .. } => "routing",
            Step::RollingBack { .. } => "rolling back",
            Step::Removing { .. } => "removing",
            Step::Ended => "ended",
        }
    }
}

/// The wish for an image and the fact that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    pub id: BuildId,
    pub service: ServiceId,
    pub operation: OperationId,
    pub wish: BuildWish,
    /// False once nobody waits for it any more; a running one is then cancelled.
    pub wanted: bool,
    /// Tries that failed.
    pub failures: u32,
    pub fact: BuildFact,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildWish {
    /// Build this source.
    Source(BuildSpec),
    /// Resolve this reference to a digest and pull it.
    Image { reference: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildFact {
    Unknown,
    Done(BuildOutcome),
    /// How the latest try failed.
    Failed(Fault),
}

impl Build {
    /// Another try may help, and somebody waits for it.
    pub fn is_due(&self) -> bool {
        self.wanted
            && match &self.fact {
                BuildFact::Unknown => true,
                BuildFact::Done(_) => false,
                BuildFact::Failed(fault) => !fault.permanent && self.failures < limits::BUILD_TRIES_MAX,
            }
    }
}

/// All rows that one operation may look at, read in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub service: Service,
    pub operation: Operation,
    pub revisions: Vec<Revision>,
    /// The build that the step names.
    pub build: Option<Build>,
    /// Those that are not gone.
    pub slots: Vec<Slot>,
    /// The `route_version` that every live proxy serves.
    pub routed_version: u64,
}

impl View {
    fn revision(&self, number: Option<RevisionNumber>) -> Option<&Revision> {
        self.revisions.iter().find(|revision| Some(revision.number) == number)
    }

    /// Wished instances of a revision.
    fn running(&self, revision: Option<RevisionNumber>) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.wish == SlotWish::Run && Some(slot.revision) == revision)
    }

    fn is_routed(&self) -> bool {
        self.routed_version >= self.service.route_version
    }
}

/// One row to write. Rows are written whole, in the transaction that read the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Service(Box<Service>),
    Operation(Operation),
    Revision(Box<Revision>),
    /// A deployment of it has succeeded.
    RevisionServed(RevisionNumber),
    RevisionForget(RevisionNumber),
    Build(Box<Build>),
    Slot(Box<Slot>),
    SlotWish(InstanceId, SlotWish),
    Line(Line),
}

/// A line for people. Lines are rows first and reach the logs after the commit, so that none is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Event(String),
    Deployment(String),
    /// No more will come for the deployment.
    DeploymentEnd,
}

/// When to look at the operation again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// With the next fact, or at this time.
    ByFactOr(Timestamp),
    /// The operation has ended.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    pub writes: Vec<Write>,
    pub wake: Wake,
}

impl Advance {
    fn wait(deadline: Timestamp) -> Advance {
        Advance { writes: Vec::new(), wake: Wake::ByFactOr(deadline) }
    }
}

/// The next step of an operation: the rows to write now, and what to wait for after them.
pub fn advance(view: &View, draw: &mut Draw) -> Advance {
    if view.operation.status.is_ended() {
        return Advance { writes: Vec::new(), wake: Wake::Done };
    }
    match view.operation.kind {
        OperationKind::CreateService
        | OperationKind::UpdateService
        | OperationKind::StartDeployment
        | OperationKind::ResumeService => deploy::advance(view, draw),
        OperationKind::PauseService => pause::advance(view, draw),
        OperationKind::DeleteService => delete::advance(view, draw),
    }
}

/// Collects the rows of one transaction: copies of the view's service and operation, changed on the way.
struct Changes<'a> {
    view: &'a View,
    service: Service,
    operation: Operation,
    writes: Vec<Write>,
}

impl<'a> Changes<'a> {
    fn new(view: &'a View, draw: &Draw) -> Changes<'a> {
        let mut operation = view.operation.clone();
        operation.updated_at = draw.wall;
        if operation.started_at.is_none() {
            operation.started_at = Some(draw.wall);
            operation.status = OperationStatus::InProgress;
        }
        Changes { view, service: view.service.clone(), operation, writes: Vec::new() }
    }

    fn event(&mut self, text: impl Into<String>) {
        self.writes.push(Write::Line(Line::Event(text.into())));
    }

    fn deployment(&mut self, text: impl AsRef<str>) {
        self.writes.push(Write::Line(Line::Deployment(format!("[AppRunner] {}", text.as_ref()))));
    }

    /// In the event log and in the deployment's.
    fn both(&mut self, text: &str) {
        self.event(text);
        self.deployment(text);
    }

    /// The first lines of every operation.
    fn begin(&mut self) {
        self.event("Service status is set to OPERATION_IN_PROGRESS.");
        self.both(&format!("{} started.", self.operation.kind.words()));
    }

    fn drain(&mut self, slots: impl Iterator<Item = InstanceId>, until: Timestamp) {
        self.writes.extend(slots.map(|id| Write::SlotWish(id, SlotWish::Drain { until })));
    }

    fn reroute(&mut self) {
        self.service.route_version += 1;
    }

    /// The operation goes on; facts or the deadline wake it.
    fn step(mut self, step: Step, deadline: Timestamp) -> Advance {
        self.operation.step = step;
        self.finish(Wake::ByFactOr(deadline))
    }

    /// The operation ends here, the service being in the state that was set.
    fn end(mut self, status: OperationStatus, draw: &Draw) -> Advance {
        assert!(status.is_ended(), "an operation ends with a status of its end");
        self.operation.status = status;
        self.operation.step = Step::Ended;
        self.operation.ended_at = Some(draw.wall);
        self.service.operation = None;
        self.service.updated_at = draw.wall;
        self.service.candidate = None;
        if status == OperationStatus::Succeeded {
            self.service.last_failure = None;
            self.both(&format!("{} completed successfully.", self.operation.kind.words()));
        }
        let status = settled(self.service.state).as_str();
        self.both(&format!("Service status is set to {status}."));
        self.writes.push(Write::Line(Line::DeploymentEnd));
        self.finish(Wake::Done)
    }

    fn finish(mut self, wake: Wake) -> Advance {
        self.writes.push(Write::Operation(self.operation));
        self.writes.push(Write::Service(Box::new(self.service)));
        Advance { writes: self.writes, wake }
    }
}

fn after(draw: &Draw, ms: u64) -> Timestamp {
    draw.now + Duration::from_millis(ms)
}
