//! A service: its configuration, which revisions it has, what may be done to it, and the status that it shows.

use crate::extension;
use crate::extension::InstanceTags;
use crate::extension::keys::IDLE;
use crate::idle::{IdlePolicy, Rung};
use crate::ids::{BuildId, Digest, OperationId, RevisionNumber, ServiceId};
use crate::instance::{HealthCheck, InstanceSize};
use crate::operation::OperationKind;
use crate::price::Cap;
use crate::time::{Timestamp, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One row: who the service is, what is wished of it, and which revisions serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub id: ServiceId,
    /// Any region of a signature is a name space of its own.
    pub region: String,
    pub name: String,
    /// The ten characters that begin its default URL.
    pub url_label: String,
    pub created_at: WallTime,
    pub updated_at: WallTime,
    pub deleted_at: Option<WallTime>,
    pub state: State,
    /// What the user asked for last; DescribeService shows it. After a rollback it is the active revision's.
    pub config: ServiceConfig,
    /// By what its instances are scaled, where `config` says something else, which then waits to be deployed.
    pub scaling: Option<Scaling>,
    pub tags: BTreeMap<String, String>,
    /// Serves now.
    pub active: Option<RevisionNumber>,
    /// Being brought up by the open operation.
    pub candidate: Option<RevisionNumber>,
    /// Served before the active one, and drains until this time.
    pub previous: Option<(RevisionNumber, Timestamp)>,
    /// The one open operation, if any.
    pub operation: Option<OperationId>,
    /// So many instances its load needs, as far as that was seen. What its configuration allows may be fewer or more.
    pub wanted: u32,
    /// How it stands to its cap, by what was metered last.
    pub cap: Cap,
    /// Why the last operation failed, for `status`; cleared by the next success.
    pub last_failure: Option<String>,
    /// Grows by one with every change of what proxies must see of the service. The fact that answers it is
    /// the version that every live proxy serves.
    pub route_version: u64,
    /// When the row of a deleted service is forgotten, in engine time.
    pub purge_at: Option<Timestamp>,
}

impl Service {
    /// By what its instances are scaled: what its active revision says also while another configuration is deployed.
    pub fn scaling(&self) -> &Scaling {
        self.scaling.as_ref().unwrap_or(&self.config.scaling)
    }

    /// Keeps what its active revision says of scaling, for as long as it runs. Where nothing serves, what is asked for
    /// counts.
    pub fn rescale(&mut self, active: Option<&Scaling>) {
        let runs = self.state == State::Running;
        self.scaling = active.filter(|active| runs && **active != self.config.scaling).cloned();
    }

    /// So many instances under this configuration where the load needs `wanted` and the operator allows `quota`. A service
    /// without any would not come back by itself, so there is always one, be it asleep.
    pub fn instances(&self, scaling: &Scaling, wanted: u32, quota: Option<u32>) -> u32 {
        scaling.instances(extension::max_size(&self.tags), wanted, quota)
    }

    /// What becomes of its instances while they have nothing to do, or are to cost no more.
    /// Where no tag says how far down they go, a MinSize of 0 does: to where there is no process.
    pub fn idle(&self) -> IdlePolicy {
        let mut policy = extension::idle(&self.tags);
        if self.scaling().min_size == 0 && !self.tags.contains_key(IDLE.tag) {
            policy.lowest = Rung::Zero;
        }
        policy.is_capped = self.cap == Cap::Throttled;
        policy
    }

    /// It was created, and no deployment of it has succeeded so far.
    pub fn never_served(&self) -> bool {
        self.state == State::CreateFailed && self.active.is_none()
    }

    /// Where a rollback goes that names no revision: to what served before the active one. For a paused service with
    /// values that were never deployed it is the active one, whose values they replaced.
    pub fn rollback_default<'a>(
        &self,
        revisions: impl IntoIterator<Item = &'a Revision>,
    ) -> Option<RevisionNumber> {
        let served: Vec<&Revision> = revisions.into_iter().filter(|one| one.served).collect();
        if served.iter().any(|one| self.active == Some(one.number) && self.has_strayed_from(one)) {
            return self.active;
        }
        let others = served.iter().map(|one| one.number).filter(|number| self.active != Some(*number));
        let before = self.previous.map(|(number, _)| number);
        // What served before may be forgotten, or older than the record of it.
        others.max_by_key(|number| (Some(*number) == before, *number))
    }

    /// It is paused, and the next resume would bring up something else than this revision of it.
    pub fn has_strayed_from(&self, revision: &Revision) -> bool {
        self.state == State::Paused && self.config != revision.config
    }
}

/// What the service is when no operation is open. With one open, the status on the wire is
/// OPERATION_IN_PROGRESS; see `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The first deployment is under way.
    Creating,
    Running,
    Paused,
    CreateFailed,
    /// Everything of it is being removed.
    Deleting,
    DeleteFailed,
    Deleted,
}

/// What DescribeService shows, by AWS's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    CreateFailed,
    Running,
    Deleted,
    DeleteFailed,
    Paused,
    OperationInProgress,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::CreateFailed => "CREATE_FAILED",
            Status::Running => "RUNNING",
            Status::Deleted => "DELETED",
            Status::DeleteFailed => "DELETE_FAILED",
            Status::Paused => "PAUSED",
            Status::OperationInProgress => "OPERATION_IN_PROGRESS",
        }
    }
}

/// The status on the wire: an open operation hides the state.
pub fn status(service: &Service) -> Status {
    status_of(service.state, service.operation.is_some())
}

/// As `status`, of a service that is not known whole.
pub fn status_of(state: State, operation_open: bool) -> Status {
    if operation_open { Status::OperationInProgress } else { settled(state) }
}

/// The status of a service without an open operation.
pub fn settled(state: State) -> Status {
    match state {
        // The states of passage are left by the operation that entered them, so they show as in progress even
        // if nothing is open.
        State::Creating | State::Deleting => Status::OperationInProgress,
        State::Running => Status::Running,
        State::Paused => Status::Paused,
        State::CreateFailed => Status::CreateFailed,
        State::DeleteFailed => Status::DeleteFailed,
        State::Deleted => Status::Deleted,
    }
}

/// A call that would change a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Update,
    StartDeployment,
    /// Back to a revision that has served.
    Rollback,
    Pause,
    Resume,
    Delete,
}

/// What an admitted call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Opens an operation of this kind.
    Open(OperationKind),
    /// The service is as asked already: success without an operation.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an operation is in progress")]
    InProgress,
    #[error("not possible in state {}", settled(*.0).as_str())]
    State(State),
    /// Gone; only DescribeService still finds it.
    #[error("the service is deleted")]
    Deleted,
}

impl Refusal {
    /// A sentence for whoever asked for `action`, in the words that tools look for.
    pub fn sentence(self, action: Action) -> String {
        let shown = match self {
            Refusal::Deleted => Status::Deleted,
            Refusal::InProgress => Status::OperationInProgress,
            Refusal::State(state) => settled(state),
        };
        let done = match action {
            Action::StartDeployment => {
                return "Can't start a deployment on the specified service, because it isn't in RUNNING state"
                    .to_owned();
            }
            Action::Update => "updated",
            Action::Rollback => "rolled back",
            Action::Pause => "paused",
            Action::Resume => "resumed",
            Action::Delete => "deleted",
        };
        format!("Service cannot be {done} in the current state: {}.", shown.as_str())
    }
}

/// May this call happen now? The matrix of App Runner, with additions: a paused service takes an update or a
/// rollback, which the next resume deploys, and a service whose deletion failed may be deleted again. What of this
/// an open operation changes, `operation::call` says.
pub fn admit(service: &Service, action: Action) -> Result<Admission, Refusal> {
    use Admission::{Nothing, Open};
    if service.operation.is_some() {
        return Err(Refusal::InProgress);
    }
    let state = service.state;
    match (state, action) {
        (State::Deleted, _) => Err(Refusal::Deleted),
        (State::Creating | State::Deleting, _) => Err(Refusal::InProgress),

        (State::Running, Action::Update | Action::Rollback) => Ok(Open(OperationKind::UpdateService)),
        (State::Running, Action::StartDeployment) => Ok(Open(OperationKind::StartDeployment)),
        (State::Running, Action::Pause) => Ok(Open(OperationKind::PauseService)),
        (State::Running, Action::Resume) => Ok(Nothing),

        (State::Paused, Action::Update | Action::Rollback) => Ok(Open(OperationKind::UpdateService)),
        (State::Paused, Action::Resume) => Ok(Open(OperationKind::ResumeService)),
        (State::Paused, Action::Pause) => Ok(Nothing),
        (State::Paused, Action::StartDeployment) => Err(Refusal::State(state)),

        (State::CreateFailed, Action::Update) => Ok(Open(OperationKind::UpdateService)),
        (
            State::CreateFailed,
            Action::StartDeployment | Action::Rollback | Action::Pause | Action::Resume,
        ) => Err(Refusal::State(state)),

        (
            State::DeleteFailed,
            Action::Update | Action::StartDeployment | Action::Rollback | Action::Pause | Action::Resume,
        ) => Err(Refusal::State(state)),

        (State::Running | State::Paused | State::CreateFailed | State::DeleteFailed, Action::Delete) => {
            Ok(Open(OperationKind::DeleteService))
        }
    }
}

/// Everything that CreateService and UpdateService set, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConfig {
    pub source: Source,
    pub auto_deployments: bool,
    pub access_role_arn: Option<String>,
    pub connection_arn: Option<String>,
    pub size: InstanceSize,
    pub instance_role_arn: Option<String>,
    pub health: HealthCheck,
    /// Kept for HTTP's path when the protocol is TCP, because DescribeService shows it.
    pub health_path: String,
    pub scaling: Scaling,
    pub public: bool,
    pub ip_address_type: IpAddressType,
    pub kms_key: Option<String>,
    /// As somebody wrote it. Where nobody did, DescribeService shows nothing: Terraform would plan to take away what
    /// its configuration does not have.
    #[serde(default)]
    pub observability_enabled: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Code(CodeSource),
    Image(ImageSource),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSource {
    /// `https://`, `http://` or `file://` git URL, or `apron:source/sha256:<hex>` for an uploaded directory.
    pub repository_url: String,
    pub branch: String,
    /// "/" is the repository's root.
    pub source_directory: String,
    /// From `apprunner.yaml` (REPOSITORY) or from the values (API).
    pub from_file: bool,
    pub values: Option<CodeValues>,
}

/// `CodeConfigurationValues`. With `from_file` AWS ignores them; the tag `apron:config-merge=api` lays their
/// variables and port over the file's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeValues {
    /// As AWS names it, e.g. PYTHON_311.
    pub runtime: String,
    pub build_command: Option<String>,
    pub start_command: Option<String>,
    pub port: Option<u16>,
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// As given: `registry/name:tag`, `@digest`, or the name of an imported archive.
    pub identifier: String,
    pub repository_type: RepositoryType,
    pub port: u16,
    pub start_command: Option<String>,
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryType {
    Ecr,
    EcrPublic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpAddressType {
    Ipv4,
    DualStack,
}

/// The revision of an auto scaling configuration that the service uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    pub arn: String,
    pub name: String,
    pub revision: u32,
    pub max_concurrency: u32,
    pub min_size: u32,
    pub max_size: u32,
}

impl Scaling {
    /// As `Service::instances`, where a tag says `max_size` instead of MaxSize.
    pub fn instances(&self, max_size: Option<u32>, wanted: u32, quota: Option<u32>) -> u32 {
        let most = max_size.unwrap_or(self.max_size).max(self.min_size);
        wanted.max(self.min_size).min(most).min(quota.unwrap_or(u32::MAX)).max(1)
    }
}

/// One deployed configuration and image, numbered per service; immutable but for how many instances of it there may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub number: RevisionNumber,
    pub service: ServiceId,
    pub created_at: WallTime,
    /// The configuration that was asked for; a rollback restores it.
    pub config: ServiceConfig,
    /// The build that makes its image, for code sources.
    pub build: Option<BuildId>,
    /// Known once the tag was resolved or the build ended.
    pub image: Option<Digest>,
    pub commit: Option<String>,
    /// What an instance of it runs; known with the image.
    pub run: Option<RunConfig>,
    /// A deployment of it has succeeded. Only such a revision is ever gone back to.
    pub served: bool,
}

/// What a revision's instances are told, after file and API values were put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    pub start_command: Option<String>,
    pub port: u16,
    pub port_env: Option<String>,
    pub env: BTreeMap<String, String>,
    /// What the service's tags said of its instances when the revision was made.
    #[serde(default)]
    pub tags: InstanceTags,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn check(state: State, action: Action, expect: Result<Admission, Refusal>) {
        let mut service = fixture::service("web", fixture::image_config("registry.test/web:1"));
        service.state = state;
        assert_eq!(admit(&service, action), expect, "{state:?} {action:?}");
        service.operation = Some(OperationId::new("0".repeat(32)));
        let open = if state == State::Deleted { State::Running } else { state };
        service.state = open;
        assert_eq!(admit(&service, action), Err(Refusal::InProgress));
        assert_eq!(status(&service), Status::OperationInProgress);
    }

    #[test]
    fn what_may_be_done_in_which_state() {
        use Action::*;
        let open = |kind| Ok(Admission::Open(kind));
        check(State::Running, Update, open(OperationKind::UpdateService));
        check(State::Running, StartDeployment, open(OperationKind::StartDeployment));
        check(State::Running, Pause, open(OperationKind::PauseService));
        check(State::Running, Resume, Ok(Admission::Nothing));
        check(State::Paused, Pause, Ok(Admission::Nothing));
        check(State::Paused, Resume, open(OperationKind::ResumeService));
        check(State::Paused, Update, open(OperationKind::UpdateService));
        check(State::Paused, StartDeployment, Err(Refusal::State(State::Paused)));
        check(State::CreateFailed, Update, open(OperationKind::UpdateService));
        check(State::Running, Rollback, open(OperationKind::UpdateService));
        check(State::Paused, Rollback, open(OperationKind::UpdateService));
        check(State::CreateFailed, Rollback, Err(Refusal::State(State::CreateFailed)));
        check(State::DeleteFailed, Rollback, Err(Refusal::State(State::DeleteFailed)));
        check(State::CreateFailed, Pause, Err(Refusal::State(State::CreateFailed)));
        check(State::DeleteFailed, Delete, open(OperationKind::DeleteService));
        check(State::DeleteFailed, Update, Err(Refusal::State(State::DeleteFailed)));
        for state in [State::Running, State::Paused, State::CreateFailed] {
            check(state, Delete, open(OperationKind::DeleteService));
        }
        for action in [Update, StartDeployment, Rollback, Pause, Resume, Delete] {
            check(State::Deleted, action, Err(Refusal::Deleted));
            check(State::Deleting, action, Err(Refusal::InProgress));
        }
    }

    #[test]
    fn a_minimum_of_none_is_one_that_sleeps_without_a_process() {
        let mut service = fixture::service("web", fixture::image_config("registry.test/web:1"));
        assert_eq!(service.idle(), IdlePolicy::default());
        service.config.scaling.min_size = 0;
        assert_eq!(
            (service.idle().lowest, service.instances(&service.config.scaling, 0, None)),
            (Rung::Zero, 1)
        );
        service.tags.insert(IDLE.tag.to_owned(), "freeze".to_owned());
        assert_eq!(service.idle().lowest, Rung::Frozen, "what is said wins");
        service.cap = Cap::Throttled;
        assert!(service.idle().is_capped);
    }

    #[test]
    fn what_runs_is_scaled_by_what_serves() {
        let mut service = fixture::service("web", fixture::image_config("registry.test/web:1"));
        let active = service.config.scaling.clone();
        (service.config.scaling.max_concurrency, service.config.scaling.min_size) = (5, 0);
        let asked = service.config.scaling.clone();
        service.rescale(None);
        assert_eq!((service.scaling(), service.idle().lowest), (&asked, Rung::Zero), "nothing serves");
        service.rescale(Some(&active));
        assert_eq!((service.scaling(), service.idle()), (&active, IdlePolicy::default()));
        for state in [State::Paused, State::Creating, State::CreateFailed, State::Deleting] {
            let mut service = Service { state, ..service.clone() };
            service.rescale(Some(&active));
            assert_eq!(service.scaling(), &asked, "{state:?}");
        }
        service.rescale(Some(&asked));
        assert_eq!((service.scaling(), &service.scaling), (&asked, &None), "it serves");
    }

    #[test]
    fn nothing_asks_for_more_instances_than_the_operator_allows() {
        let mut service = fixture::service("web", fixture::image_config("registry.test/web:1"));
        (service.config.scaling.min_size, service.config.scaling.max_size) = (6, 8);
        let count =
            |service: &Service, wanted, quota| service.instances(&service.config.scaling, wanted, quota);
        assert_eq!([None, Some(7), Some(4)].map(|quota| count(&service, 20, quota)), [8, 7, 4]);
        service.tags.insert("apron:max-size".to_owned(), "100".to_owned());
        assert_eq!([None, Some(7), Some(4)].map(|quota| count(&service, 20, quota)), [20, 7, 4]);
        assert_eq!([None, Some(7), Some(4)].map(|quota| count(&service, 0, quota)), [6, 6, 4]);
    }
}
