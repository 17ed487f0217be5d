//! A service: its configuration, which revisions it has, and the status that it shows.

use crate::ids::{BuildId, Digest, OperationId, RevisionNumber, ServiceId};
use crate::instance::{HealthCheck, InstanceSize};
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
    pub tags: BTreeMap<String, String>,
    /// Serves now.
    pub active: Option<RevisionNumber>,
    /// Being brought up by the open operation.
    pub candidate: Option<RevisionNumber>,
    /// Drains until this time.
    pub previous: Option<(RevisionNumber, Timestamp)>,
    /// The one open operation, if any.
    pub operation: Option<OperationId>,
    /// Why the last operation failed, for `status`; cleared by the next success.
    pub last_failure: Option<String>,
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
    DeleteFailed,
    Deleted,
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

/// One immutable deployed configuration and image, numbered per service.
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
}

/// What a revision's instances are told, after file and API values were put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunConfig {
    pub start_command: Option<String>,
    pub port: u16,
    pub port_env: Option<String>,
    pub env: BTreeMap<String, String>,
}
