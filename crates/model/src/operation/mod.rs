//! Durable operations: what each does next.
//!
//! An operation only writes wishes and waits for facts; reconcilers make facts follow wishes. `advance` looks at
//! the rows and says which rows to write, in one transaction, and until when to wait for the next fact. It
//! cannot fail, touches nothing, and called again with the same rows writes nothing new: so being killed
//! between any two transactions costs time only. Undoing is wishing the old state again.

mod abandoned;
mod call;
mod delete;
mod deploy;
mod failure;
mod pause;
mod queue;
mod removal;
mod rescale;
mod rolling;
#[cfg(test)]
mod tests;
mod undo;

pub use abandoned::{abandoned, left_behind};
pub use call::{Call, CallError, Called, Cancelled, Standing, call, cancel};
pub use rolling::{Mending, mend};

use crate::build::{BuildOutcome, BuildSpec};
use crate::draw::Draw;
use crate::ids::{BuildId, InstanceId, OperationId, RevisionNumber, ServiceId};
use crate::instance::Fault;
use crate::limits;
use crate::reconcile::{Slot, SlotWish};
use crate::service::{Revision, Service, ServiceConfig, settled};
use crate::source::ServiceInput;
use crate::time::{Timestamp, WallTime, seconds};
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

    /// One that brings a revision up, and may fail or be ended before it serves.
    fn deploys(self) -> bool {
        match self {
            OperationKind::CreateService
            | OperationKind::UpdateService
            | OperationKind::StartDeployment
            | OperationKind::ResumeService => true,
            OperationKind::PauseService | OperationKind::DeleteService => false,
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
    /// Nobody asked for it: a push began it, and no caller has joined it since.
    pub automatic: bool,
    /// Looks at the source anew even where its configuration leaves the source as it is, because it took the place
    /// of a deployment.
    pub fresh: bool,
    /// What it is for beside its kind, where no other row says it.
    pub asked: Option<Asked>,
    /// The wish that it ends before its time, and the reason that it then has.
    pub cancelled: Option<String>,
    /// Why it failed or was rolled back.
    pub fault: Option<Fault>,
}

/// What an operation is for beside its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// What was written is laid over the configuration that the service has when the turn of the operation comes,
    /// whatever the operations before it make of that. One that failed keeps it to be repeated in the same way.
    Update(Box<ServiceInput>),
    /// Going back to what served before the revision that is active when the turn of the operation comes.
    RevisionBefore,
    /// Going back to this revision: its configuration and its image, without a build.
    Revision(RevisionNumber),
}

impl Asked {
    /// The repository that is asked for, which may be an upload.
    pub fn repository_url(&self) -> Option<&str> {
        match self {
            Asked::Update(input) => {
                input.source.as_ref()?.code.as_ref().map(|code| code.repository_url.as_str())
            }
            Asked::RevisionBefore | Asked::Revision(_) => None,
        }
    }
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
            automatic: false,
            fresh: false,
            asked: None,
            cancelled: None,
            fault: None,
        }
    }

    /// It waits for its turn and has not been opened.
    pub fn is_queued(&self) -> bool {
        self.step == Step::Queued
    }

    /// The revision to go back to.
    fn rollback(&self) -> Option<RevisionNumber> {
        match self.asked {
            Some(Asked::Revision(number)) => Some(number),
            Some(Asked::Update(_) | Asked::RevisionBefore) | None => None,
        }
    }

    fn is_rollback(&self) -> bool {
        match self.asked {
            Some(Asked::RevisionBefore | Asked::Revision(_)) => true,
            Some(Asked::Update(_)) | None => false,
        }
    }
}

/// Where an operation stands: the wishes it wrote last, and how long it waits for their facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Behind the open operation of its service; opened in the transaction that ends the one before it.
    Queued,
    /// Nothing is wished yet.
    Admitted,
    /// Waits for an image.
    Building {
        build: BuildId,
        deadline: Timestamp,
        #[serde(default)]
        place: Place,
    },
    /// Waits for the candidate's instances to be healthy.
    Starting {
        deadline: Timestamp,
        /// Since when it is known that the machine cannot start them: a full disk, no memory left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hindered: Option<Timestamp>,
    },
    /// Instances change places one by one; waits for the candidate's that came last to be healthy, or for the active
    /// revision's in whose place it came to be gone.
    Rolling {
        deadline: Timestamp,
        /// As in `Starting`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hindered: Option<Timestamp>,
    },
    /// The candidate is wished active; waits until every live proxy serves it, the pivot.
    Routing {
        old: Option<RevisionNumber>,
        deadline: Timestamp,
    },
    /// Instances of the old revision that were replaced already come back one by one, all of them until the deadline.
    Returning {
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

/// Builds are made few at a time. One that waits for its place uses up none of its own time, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// It had one at once, as far as is known.
    #[default]
    AtOnce,
    Waits {
        since: Timestamp,
        /// So many builds were before it when that was last said.
        before: u32,
    },
    AfterWait,
}

impl Step {
    /// What serves meanwhile serves as before, and may become more.
    fn leaves_instances_alone(&self) -> bool {
        match self {
            Step::Queued | Step::Admitted | Step::Building { .. } | Step::Starting { .. } => true,
            Step::Rolling { .. }
            | Step::Routing { .. }
            | Step::Returning { .. }
            | Step::RollingBack { .. }
            | Step::Removing { .. }
            | Step::Ended => false,
        }
    }

    /// A failure of a deployment here leaves everything as it was before.
    fn is_before_the_pivot(&self) -> bool {
        match self {
            Step::Queued
            | Step::Admitted
            | Step::Building { .. }
            | Step::Starting { .. }
            | Step::Rolling { .. }
            | Step::Routing { .. } => true,
            Step::Returning { .. } | Step::RollingBack { .. } | Step::Removing { .. } | Step::Ended => false,
        }
    }

    /// One word or two for people.
    pub fn as_str(&self) -> &'static str {
        match self {
            Step::Queued => "queued",
            Step::Admitted => "admitted",
            Step::Building { place: Place::Waits { .. }, .. } => "waiting to build",
            Step::Building { place: Place::AtOnce | Place::AfterWait, .. } => "building",
            Step::Starting { .. } => "starting",
            Step::Rolling { .. } => "replacing instances",
            Step::Routing { .. } => "routing",
            Step::Returning { .. } => "restoring instances",
            // A first deployment that failed passes here too, and has nothing to roll back to.
            Step::RollingBack { .. } => "restoring routes",
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
    /// All places are taken, and so many others have theirs or come before it.
    Waits {
        before: u32,
    },
    Done(BuildOutcome),
    /// How the latest try failed.
    Failed(Fault),
}

impl Build {
    /// Another try may help, and somebody waits for it.
    pub fn is_due(&self) -> bool {
        self.wanted
            && match &self.fact {
                BuildFact::Unknown | BuildFact::Waits { .. } => true,
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
    /// Those that wait behind it, first come first.
    pub queued: Vec<Operation>,
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
        self.slots.iter().filter(move |slot| slot.wish.runs() && Some(slot.revision) == revision)
    }

    fn is_routed(&self) -> bool {
        is_routed(&self.service, self.routed_version)
    }
}

/// Every live proxy serves what the service's row wishes.
fn is_routed(service: &Service, routed_version: u64) -> bool {
    routed_version >= service.route_version
}

/// One row to write. Rows are written whole, in the transaction that read the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Service(Box<Service>),
    /// A row that is there.
    Operation(Box<Operation>),
    /// A row that is new.
    OperationNew(Box<Operation>),
    Revision(Box<Revision>),
    /// A deployment of it has succeeded.
    RevisionServed(RevisionNumber),
    /// It is to have this configuration: one that says nothing else of its instances than the one before.
    RevisionConfig(RevisionNumber, Box<ServiceConfig>),
    RevisionForget(RevisionNumber),
    Build(Box<Build>),
    Slot(Box<Slot>),
    SlotWish(InstanceId, SlotWish),
    /// To the service's events, or to the deployment log of this operation.
    Line(OperationId, Line),
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
    if view.operation.status.is_ended() || view.operation.is_queued() {
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
        self.line(Line::Event(text.into()));
    }

    fn deployment(&mut self, text: impl AsRef<str>) {
        self.line(deployment_line(text.as_ref()));
    }

    fn line(&mut self, line: Line) {
        self.writes.push(Write::Line(self.operation.id.clone(), line));
    }

    /// In the event log and in the deployment's.
    fn both(&mut self, text: &str) {
        self.event(text);
        self.deployment(text);
    }

    /// The first lines of every operation.
    fn begin(&mut self) {
        self.event("Service status is set to OPERATION_IN_PROGRESS.");
        let Operation { id, kind, .. } = &self.operation;
        let text =
            format!("{} with ID : {id} started. Cause : {}.", kind.words(), call::cause(&self.operation));
        self.both(&text);
    }

    fn drain(&mut self, slots: impl Iterator<Item = InstanceId>, until: Timestamp, draw: &Draw) {
        let since = Some(draw.now);
        self.writes.extend(slots.map(|id| Write::SlotWish(id, SlotWish::Drain { since, until })));
    }

    fn reroute(&mut self) {
        self.service.route_version += 1;
    }

    /// The operation ends here, the service being in the state that was set; the next one that waits is opened.
    fn end(mut self, status: OperationStatus, draw: &Draw) -> Advance {
        assert!(status.is_ended(), "an operation ends with a status of its end");
        self.operation.status = status;
        self.operation.step = Step::Ended;
        self.operation.ended_at = Some(draw.wall);
        self.service.operation = None;
        self.service.updated_at = draw.wall;
        self.service.candidate = None;
        let Operation { id, kind, started_at, .. } = &self.operation;
        let took = seconds(draw.wall.0.saturating_sub(started_at.unwrap_or(draw.wall).0));
        let what = format!("{} with ID : {id}", kind.words());
        if status == OperationStatus::Succeeded {
            self.both(&format!("{what} completed successfully in {took}."));
            self.service.last_failure = None;
            self.operation.asked = None;
        } else {
            self.both(&format!("{what} ended after {took}."));
        }
        let next = queue::open_next(self.view, &mut self.service, &self.writes, draw.wall);
        self.rescale();
        match &self.service.operation {
            None => {
                let status = settled(self.service.state).as_str();
                self.both(&format!("Service status is set to {status}."));
            }
            Some(next) => self.both(&format!("The operation with ID : {next} is next.")),
        }
        self.line(Line::DeploymentEnd);
        self.writes.push(Write::Operation(Box::new(self.operation)));
        // Only now is the place of the open one free.
        self.writes.extend(next);
        self.writes.push(Write::Service(Box::new(self.service)));
        Advance { writes: self.writes, wake: Wake::Done }
    }

    /// The operation goes on; facts or the deadline wake it.
    fn step(mut self, step: Step, deadline: Timestamp) -> Advance {
        self.operation.step = step;
        self.rescale();
        self.writes.push(Write::Operation(Box::new(self.operation)));
        self.writes.push(Write::Service(Box::new(self.service)));
        Advance { writes: self.writes, wake: Wake::ByFactOr(deadline) }
    }
}

/// A line of the deployment log in the platform's own voice.
fn deployment_line(text: &str) -> Line {
    Line::Deployment(format!("[AppRunner] {text}"))
}

/// How long a wait has taken by now that may take `limit_ms` until its deadline.
fn waited(draw: &Draw, deadline: Timestamp, limit_ms: u64) -> String {
    seconds((draw.now.0 + limit_ms).saturating_sub(deadline.0))
}

/// "1 instance", "2 instances".
fn instances(count: usize) -> String {
    format!("{count} instance{}", if count == 1 { "" } else { "s" })
}

fn after(draw: &Draw, ms: u64) -> Timestamp {
    draw.now + Duration::from_millis(ms)
}
