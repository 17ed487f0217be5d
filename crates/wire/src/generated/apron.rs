//! Apron 2026-01-01: shapes, operations and errors.
//!
//! Written by `cargo xtask codegen` from `specs/apron.json`; do not edit.
//! Members have the names and the meaning of that API's reference.

use crate::shape::{Integer, Length, Member, Pattern, Shape, Text};
use crate::value::{Blob, Hidden};
use crate::{Call, Error};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What stands before the dot in `X-Amz-Target`.
pub const TARGET_PREFIX: &str = "Apron";
/// The service name that signatures carry.
pub const SIGNING_NAME: &str = "apron";

/// Every operation of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Ends an upload and drops what was sent.
    AbortUpload,
    /// Ends an upload, stores what was sent, and says by which name it can be deployed.
    CompleteUpload,
    /// Begins the upload of a source directory (a gzip-compressed tar) or of an image archive (OCI or docker,
    /// a tar).
    CreateUpload,
    /// Forgets the name of an image. Its content goes when no revision needs it any more.
    DeleteImage,
    /// Says how an operation on a service stands or ended, and why it failed.
    DescribeOperation,
    /// Says what this platform is and where it is reached.
    DescribePlatform,
    /// Says what a service does now: its revisions, their instances, and the operation that is open.
    DescribeStatus,
    /// Reads a log from a cursor on. With WaitSeconds it waits for new lines, so that a client can follow a
    /// log.
    GetLogs,
    /// Lists the images that this platform has by a name: imported ones, and the bases of builds.
    ListImages,
    /// Adds the next part to an upload: each begins where the one before it ended.
    PutUploadPart,
}

impl Operation {
    /// All of them, by name.
    pub const ALL: &'static [Operation] = &[
        Operation::AbortUpload,
        Operation::CompleteUpload,
        Operation::CreateUpload,
        Operation::DeleteImage,
        Operation::DescribeOperation,
        Operation::DescribePlatform,
        Operation::DescribeStatus,
        Operation::GetLogs,
        Operation::ListImages,
        Operation::PutUploadPart,
    ];

    /// As it stands in `X-Amz-Target` after the dot.
    pub fn name(self) -> &'static str {
        match self {
            Operation::AbortUpload => "AbortUpload",
            Operation::CompleteUpload => "CompleteUpload",
            Operation::CreateUpload => "CreateUpload",
            Operation::DeleteImage => "DeleteImage",
            Operation::DescribeOperation => "DescribeOperation",
            Operation::DescribePlatform => "DescribePlatform",
            Operation::DescribeStatus => "DescribeStatus",
            Operation::GetLogs => "GetLogs",
            Operation::ListImages => "ListImages",
            Operation::PutUploadPart => "PutUploadPart",
        }
    }

    /// The operation of exactly this name.
    pub fn parse(name: &str) -> Option<Operation> {
        match name {
            "AbortUpload" => Some(Operation::AbortUpload),
            "CompleteUpload" => Some(Operation::CompleteUpload),
            "CreateUpload" => Some(Operation::CreateUpload),
            "DeleteImage" => Some(Operation::DeleteImage),
            "DescribeOperation" => Some(Operation::DescribeOperation),
            "DescribePlatform" => Some(Operation::DescribePlatform),
            "DescribeStatus" => Some(Operation::DescribeStatus),
            "GetLogs" => Some(Operation::GetLogs),
            "ListImages" => Some(Operation::ListImages),
            "PutUploadPart" => Some(Operation::PutUploadPart),
            _ => None,
        }
    }

    /// The errors that the model lets this operation answer.
    pub fn errors(self) -> &'static [ErrorType] {
        match self {
            Operation::AbortUpload => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::CompleteUpload => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
            ],
            Operation::CreateUpload => {
                &[ErrorType::InvalidRequest, ErrorType::ServiceQuotaExceeded, ErrorType::InternalServiceError]
            }
            Operation::DeleteImage => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DescribeOperation => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DescribePlatform => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::DescribeStatus => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::GetLogs => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::ListImages => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::PutUploadPart => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
            ],
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The errors of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorType {
    InternalServiceError,
    InvalidRequest,
    InvalidState,
    ResourceNotFound,
    ServiceQuotaExceeded,
}

impl ErrorType {
    /// `__type` on the wire.
    pub fn name(self) -> &'static str {
        match self {
            ErrorType::InternalServiceError => "InternalServiceErrorException",
            ErrorType::InvalidRequest => "InvalidRequestException",
            ErrorType::InvalidState => "InvalidStateException",
            ErrorType::ResourceNotFound => "ResourceNotFoundException",
            ErrorType::ServiceQuotaExceeded => "ServiceQuotaExceededException",
        }
    }

    /// HTTP status: 500 where the fault is the server's.
    pub fn status(self) -> u16 {
        match self {
            ErrorType::InternalServiceError => 500,
            ErrorType::InvalidRequest => 400,
            ErrorType::InvalidState => 400,
            ErrorType::ResourceNotFound => 400,
            ErrorType::ServiceQuotaExceeded => 400,
        }
    }

    /// The error of this type with a message for the caller.
    pub fn with(self, message: impl Into<String>) -> Error {
        Error::new(self.name(), self.status(), message)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AbortUploadRequest {
    /// The upload, as CreateUpload named it.
    pub upload_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AbortUploadResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompleteUploadRequest {
    /// The upload, as CreateUpload named it.
    pub upload_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompleteUploadResponse {
    /// For a source: what CodeRepository.RepositoryUrl must be to deploy it, apron:source/sha256: and 64 hex
    /// digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_url: Option<String>,
    /// For an image archive: the images that it held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<ImportedImage>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateUploadRequest {
    /// What will be sent.
    pub kind: UploadKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateUploadResponse {
    /// Names the upload in the calls that follow.
    pub upload_id: String,
    /// The most bytes that one part may have.
    pub part_size_max: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteImageRequest {
    /// The name, as ListImages shows it.
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteImageResponse {
    /// What the name stood for.
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeOperationRequest {
    /// The ARN of the service.
    pub service_arn: String,
    /// The operation, as the call that began it or ListOperations named it.
    pub operation_id: String,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeOperationResponse {
    /// The operation that was asked for.
    pub operation_id: String,
    /// As ListOperations says it.
    pub r#type: OperationType,
    /// As ListOperations says it.
    pub status: OperationStatus,
    /// What it does or waits for now; ended after its end.
    pub step: String,
    /// When it began, or was asked for if it has not begun.
    pub started_at: f64,
    /// When it last went on.
    pub updated_at: f64,
    /// When it ended; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<f64>,
    /// Why it failed or was rolled back; absent when it did not fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The end of the output of the build or application that failed, oldest first.
    pub last_lines: Vec<String>,
}

impl fmt::Debug for DescribeOperationResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DescribeOperationResponse")
            .field("operation_id", &self.operation_id)
            .field("type", &self.r#type)
            .field("status", &self.status)
            .field("step", &self.step)
            .field("started_at", &self.started_at)
            .field("updated_at", &self.updated_at)
            .field("ended_at", &self.ended_at)
            .field("reason", &self.reason)
            .field("last_lines", &Hidden)
            .finish()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribePlatformRequest {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribePlatformResponse {
    /// The version of Apron.
    pub version: String,
    /// Where the API is reached, a URL.
    pub api_endpoint: String,
    /// Where services are reached, a URL without the host name of a service.
    pub apps_endpoint: String,
    /// The domain below which services have their host names.
    pub apps_domain: String,
    /// The default region.
    pub region: String,
    /// The account that ARNs carry.
    pub account_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStatusRequest {
    /// The ARN of the service.
    pub service_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStatusResponse {
    /// As DescribeService says it.
    pub status: ServiceStatus,
    /// Why the last operation failed; absent after a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the service is reached, a URL; absent when it is not public.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The revisions that are kept.
    pub revisions: Vec<RevisionStatus>,
    /// The operation that is open; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OpenOperation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetLogsRequest {
    /// The ARN of the service.
    pub service_arn: String,
    /// Which log.
    pub stream: LogStream,
    /// Which operation; needed for the stream DEPLOYMENT, and for no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// A cursor that an earlier answer gave; the beginning by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How long to wait when there is nothing new; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<i32>,
    /// The most lines to answer; 1000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lines: Option<i32>,
}

impl GetLogsRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>, stream: LogStream) -> Self {
        GetLogsRequest {
            service_arn: service_arn.into(),
            stream,
            operation_id: None,
            from: None,
            wait_seconds: None,
            max_lines: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetLogsResponse {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// Where to read on.
    pub next: String,
    /// No more lines will come: the operation is over and all of its lines were answered.
    pub end: bool,
}

/// IMPORTED came from an archive; BASE was assembled for builds, and is again when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ImageOrigin {
    #[serde(rename = "IMPORTED")]
    Imported,
    #[serde(rename = "BASE")]
    Base,
}

impl ImageOrigin {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageOrigin::Imported => "IMPORTED",
            ImageOrigin::Base => "BASE",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<ImageOrigin> {
        match text {
            "IMPORTED" => Some(ImageOrigin::Imported),
            "BASE" => Some(ImageOrigin::Base),
            _ => None,
        }
    }
}

impl fmt::Display for ImageOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One name and the image it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// What ImageIdentifier must be to deploy it.
    pub name: String,
    /// The digest of its manifest.
    pub digest: String,
    /// Who gave the name.
    pub origin: ImageOrigin,
    /// Manifest, configuration and layers; images may share layers.
    pub bytes: i64,
    /// When the name was last given.
    pub updated_at: f64,
}

/// One image of an uploaded archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImportedImage {
    /// What ImageIdentifier must be to deploy it.
    pub name: String,
    /// The digest of its manifest.
    pub digest: String,
}

/// What the health check of an instance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InstanceHealth {
    #[serde(rename = "STARTING")]
    Starting,
    #[serde(rename = "HEALTHY")]
    Healthy,
    #[serde(rename = "UNHEALTHY")]
    Unhealthy,
}

impl InstanceHealth {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            InstanceHealth::Starting => "STARTING",
            InstanceHealth::Healthy => "HEALTHY",
            InstanceHealth::Unhealthy => "UNHEALTHY",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<InstanceHealth> {
        match text {
            "STARTING" => Some(InstanceHealth::Starting),
            "HEALTHY" => Some(InstanceHealth::Healthy),
            "UNHEALTHY" => Some(InstanceHealth::Unhealthy),
            _ => None,
        }
    }
}

impl fmt::Display for InstanceHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the process of an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InstancePhase {
    #[serde(rename = "CREATING")]
    Creating,
    #[serde(rename = "RUNNING")]
    Running,
    #[serde(rename = "EXITED")]
    Exited,
    #[serde(rename = "FAILED")]
    Failed,
    #[serde(rename = "STOPPING")]
    Stopping,
}

impl InstancePhase {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            InstancePhase::Creating => "CREATING",
            InstancePhase::Running => "RUNNING",
            InstancePhase::Exited => "EXITED",
            InstancePhase::Failed => "FAILED",
            InstancePhase::Stopping => "STOPPING",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<InstancePhase> {
        match text {
            "CREATING" => Some(InstancePhase::Creating),
            "RUNNING" => Some(InstancePhase::Running),
            "EXITED" => Some(InstancePhase::Exited),
            "FAILED" => Some(InstancePhase::Failed),
            "STOPPING" => Some(InstancePhase::Stopping),
            _ => None,
        }
    }
}

impl fmt::Display for InstancePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One instance of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceStatus {
    /// 32 hex digits.
    pub instance_id: String,
    /// What its process does.
    pub phase: InstancePhase,
    /// What its health check says.
    pub health: InstanceHealth,
    /// Why it is not healthy, or why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it listens, inside this platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How often it was started anew after it had ended.
    pub restarts: i32,
    /// How long its latest start took.
    pub waterfall: Waterfall,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListImagesRequest {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListImagesResponse {
    /// All of them, by name.
    pub images: Vec<ImageSummary>,
}

/// One line of a log.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogLine {
    /// When it was written.
    pub timestamp: f64,
    /// Who wrote it: an instance, a stage of the build, or the platform.
    pub source: String,
    /// The line, without its end.
    pub text: String,
}

impl fmt::Debug for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLine")
            .field("timestamp", &self.timestamp)
            .field("source", &self.source)
            .field("text", &Hidden)
            .finish()
    }
}

/// EVENTS tells what the platform did with the service, DEPLOYMENT what one operation did, APPLICATION
/// what the instances print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LogStream {
    #[serde(rename = "EVENTS")]
    Events,
    #[serde(rename = "DEPLOYMENT")]
    Deployment,
    #[serde(rename = "APPLICATION")]
    Application,
}

impl LogStream {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            LogStream::Events => "EVENTS",
            LogStream::Deployment => "DEPLOYMENT",
            LogStream::Application => "APPLICATION",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<LogStream> {
        match text {
            "EVENTS" => Some(LogStream::Events),
            "DEPLOYMENT" => Some(LogStream::Deployment),
            "APPLICATION" => Some(LogStream::Application),
            _ => None,
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A durable operation on the service and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OpenOperation {
    /// As ListOperations says it.
    pub id: String,
    /// As ListOperations says it.
    pub r#type: OperationType,
    /// As ListOperations says it.
    pub status: OperationStatus,
    /// What it does or waits for now.
    pub step: String,
    /// Why it failed or rolls back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationStatus {
    #[serde(rename = "PENDING")]
    Pending,
    #[serde(rename = "IN_PROGRESS")]
    InProgress,
    #[serde(rename = "FAILED")]
    Failed,
    #[serde(rename = "SUCCEEDED")]
    Succeeded,
    #[serde(rename = "ROLLBACK_IN_PROGRESS")]
    RollbackInProgress,
    #[serde(rename = "ROLLBACK_FAILED")]
    RollbackFailed,
    #[serde(rename = "ROLLBACK_SUCCEEDED")]
    RollbackSucceeded,
}

impl OperationStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationStatus::Pending => "PENDING",
            OperationStatus::InProgress => "IN_PROGRESS",
            OperationStatus::Failed => "FAILED",
            OperationStatus::Succeeded => "SUCCEEDED",
            OperationStatus::RollbackInProgress => "ROLLBACK_IN_PROGRESS",
            OperationStatus::RollbackFailed => "ROLLBACK_FAILED",
            OperationStatus::RollbackSucceeded => "ROLLBACK_SUCCEEDED",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<OperationStatus> {
        match text {
            "PENDING" => Some(OperationStatus::Pending),
            "IN_PROGRESS" => Some(OperationStatus::InProgress),
            "FAILED" => Some(OperationStatus::Failed),
            "SUCCEEDED" => Some(OperationStatus::Succeeded),
            "ROLLBACK_IN_PROGRESS" => Some(OperationStatus::RollbackInProgress),
            "ROLLBACK_FAILED" => Some(OperationStatus::RollbackFailed),
            "ROLLBACK_SUCCEEDED" => Some(OperationStatus::RollbackSucceeded),
            _ => None,
        }
    }
}

impl fmt::Display for OperationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationType {
    #[serde(rename = "START_DEPLOYMENT")]
    StartDeployment,
    #[serde(rename = "CREATE_SERVICE")]
    CreateService,
    #[serde(rename = "PAUSE_SERVICE")]
    PauseService,
    #[serde(rename = "RESUME_SERVICE")]
    ResumeService,
    #[serde(rename = "DELETE_SERVICE")]
    DeleteService,
    #[serde(rename = "UPDATE_SERVICE")]
    UpdateService,
}

impl OperationType {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationType::StartDeployment => "START_DEPLOYMENT",
            OperationType::CreateService => "CREATE_SERVICE",
            OperationType::PauseService => "PAUSE_SERVICE",
            OperationType::ResumeService => "RESUME_SERVICE",
            OperationType::DeleteService => "DELETE_SERVICE",
            OperationType::UpdateService => "UPDATE_SERVICE",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<OperationType> {
        match text {
            "START_DEPLOYMENT" => Some(OperationType::StartDeployment),
            "CREATE_SERVICE" => Some(OperationType::CreateService),
            "PAUSE_SERVICE" => Some(OperationType::PauseService),
            "RESUME_SERVICE" => Some(OperationType::ResumeService),
            "DELETE_SERVICE" => Some(OperationType::DeleteService),
            "UPDATE_SERVICE" => Some(OperationType::UpdateService),
            _ => None,
        }
    }
}

impl fmt::Display for OperationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutUploadPartRequest {
    /// The upload, as CreateUpload named it.
    pub upload_id: String,
    /// Where the part begins: how many bytes the upload has so far.
    pub offset: i64,
    /// The bytes of the part.
    pub data: Blob,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutUploadPartResponse {
    /// How many bytes the upload has now: the offset of the next part.
    pub size: i64,
}

/// ACTIVE serves; CANDIDATE is being brought up; DRAINING ends its last requests; PREVIOUS has served and
/// is kept for a rollback; FAILED never served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RevisionState {
    #[serde(rename = "ACTIVE")]
    Active,
    #[serde(rename = "CANDIDATE")]
    Candidate,
    #[serde(rename = "DRAINING")]
    Draining,
    #[serde(rename = "PREVIOUS")]
    Previous,
    #[serde(rename = "FAILED")]
    Failed,
}

impl RevisionState {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RevisionState::Active => "ACTIVE",
            RevisionState::Candidate => "CANDIDATE",
            RevisionState::Draining => "DRAINING",
            RevisionState::Previous => "PREVIOUS",
            RevisionState::Failed => "FAILED",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<RevisionState> {
        match text {
            "ACTIVE" => Some(RevisionState::Active),
            "CANDIDATE" => Some(RevisionState::Candidate),
            "DRAINING" => Some(RevisionState::Draining),
            "PREVIOUS" => Some(RevisionState::Previous),
            "FAILED" => Some(RevisionState::Failed),
            _ => None,
        }
    }
}

impl fmt::Display for RevisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One deployed configuration and its instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevisionStatus {
    /// Counted from 1 for each service.
    pub number: i32,
    /// What the revision is for.
    pub state: RevisionState,
    /// The digest of its image, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The commit that it was built from, for git sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ServiceStatus {
    #[serde(rename = "CREATE_FAILED")]
    CreateFailed,
    #[serde(rename = "RUNNING")]
    Running,
    #[serde(rename = "DELETED")]
    Deleted,
    #[serde(rename = "DELETE_FAILED")]
    DeleteFailed,
    #[serde(rename = "PAUSED")]
    Paused,
    #[serde(rename = "OPERATION_IN_PROGRESS")]
    OperationInProgress,
}

impl ServiceStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceStatus::CreateFailed => "CREATE_FAILED",
            ServiceStatus::Running => "RUNNING",
            ServiceStatus::Deleted => "DELETED",
            ServiceStatus::DeleteFailed => "DELETE_FAILED",
            ServiceStatus::Paused => "PAUSED",
            ServiceStatus::OperationInProgress => "OPERATION_IN_PROGRESS",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<ServiceStatus> {
        match text {
            "CREATE_FAILED" => Some(ServiceStatus::CreateFailed),
            "RUNNING" => Some(ServiceStatus::Running),
            "DELETED" => Some(ServiceStatus::Deleted),
            "DELETE_FAILED" => Some(ServiceStatus::DeleteFailed),
            "PAUSED" => Some(ServiceStatus::Paused),
            "OPERATION_IN_PROGRESS" => Some(ServiceStatus::OperationInProgress),
            _ => None,
        }
    }
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an upload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UploadKind {
    #[serde(rename = "SOURCE")]
    Source,
    #[serde(rename = "IMAGE")]
    Image,
}

impl UploadKind {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            UploadKind::Source => "SOURCE",
            UploadKind::Image => "IMAGE",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<UploadKind> {
        match text {
            "SOURCE" => Some(UploadKind::Source),
            "IMAGE" => Some(UploadKind::Image),
            _ => None,
        }
    }
}

impl fmt::Display for UploadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Milliseconds from the moment the platform took the wish; a step that was not reached is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Waterfall {
    /// Milliseconds until its namespaces stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_ms: Option<i32>,
    /// Milliseconds until its file system was mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_ms: Option<i32>,
    /// Milliseconds until its process was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_ms: Option<i32>,
    /// Milliseconds until its port was open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listening_ms: Option<i32>,
    /// Milliseconds until its first good health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_ms: Option<i32>,
}

impl Call for AbortUploadRequest {
    type Output = AbortUploadResponse;
    const TARGET: &'static str = "Apron.AbortUpload";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::ABORT_UPLOAD_REQUEST
    }
}

impl Call for CompleteUploadRequest {
    type Output = CompleteUploadResponse;
    const TARGET: &'static str = "Apron.CompleteUpload";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::COMPLETE_UPLOAD_REQUEST
    }
}

impl Call for CreateUploadRequest {
    type Output = CreateUploadResponse;
    const TARGET: &'static str = "Apron.CreateUpload";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_UPLOAD_REQUEST
    }
}

impl Call for DeleteImageRequest {
    type Output = DeleteImageResponse;
    const TARGET: &'static str = "Apron.DeleteImage";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_IMAGE_REQUEST
    }
}

impl Call for DescribeOperationRequest {
    type Output = DescribeOperationResponse;
    const TARGET: &'static str = "Apron.DescribeOperation";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_OPERATION_REQUEST
    }
}

impl Call for DescribePlatformRequest {
    type Output = DescribePlatformResponse;
    const TARGET: &'static str = "Apron.DescribePlatform";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_PLATFORM_REQUEST
    }
}

impl Call for DescribeStatusRequest {
    type Output = DescribeStatusResponse;
    const TARGET: &'static str = "Apron.DescribeStatus";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_STATUS_REQUEST
    }
}

impl Call for GetLogsRequest {
    type Output = GetLogsResponse;
    const TARGET: &'static str = "Apron.GetLogs";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::GET_LOGS_REQUEST
    }
}

impl Call for ListImagesRequest {
    type Output = ListImagesResponse;
    const TARGET: &'static str = "Apron.ListImages";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_IMAGES_REQUEST
    }
}

impl Call for PutUploadPartRequest {
    type Output = PutUploadPartResponse;
    const TARGET: &'static str = "Apron.PutUploadPart";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::PUT_UPLOAD_PART_REQUEST
    }
}

#[cfg(test)]
impl Operation {
    /// What its input must look like.
    pub(crate) fn input_shape(self) -> &'static Shape {
        match self {
            Operation::AbortUpload => <AbortUploadRequest as Call>::shape(),
            Operation::CompleteUpload => <CompleteUploadRequest as Call>::shape(),
            Operation::CreateUpload => <CreateUploadRequest as Call>::shape(),
            Operation::DeleteImage => <DeleteImageRequest as Call>::shape(),
            Operation::DescribeOperation => <DescribeOperationRequest as Call>::shape(),
            Operation::DescribePlatform => <DescribePlatformRequest as Call>::shape(),
            Operation::DescribeStatus => <DescribeStatusRequest as Call>::shape(),
            Operation::GetLogs => <GetLogsRequest as Call>::shape(),
            Operation::ListImages => <ListImagesRequest as Call>::shape(),
            Operation::PutUploadPart => <PutUploadPartRequest as Call>::shape(),
        }
    }

    /// Reads a body as its input and writes that again.
    pub(crate) fn reread(self, body: &[u8]) -> Result<serde_json::Value, Error> {
        fn reread<C: Call>(body: &[u8]) -> Result<serde_json::Value, Error> {
            crate::json::decode::<C>(body).map(|input| serde_json::to_value(input).unwrap())
        }
        match self {
            Operation::AbortUpload => reread::<AbortUploadRequest>(body),
            Operation::CompleteUpload => reread::<CompleteUploadRequest>(body),
            Operation::CreateUpload => reread::<CreateUploadRequest>(body),
            Operation::DeleteImage => reread::<DeleteImageRequest>(body),
            Operation::DescribeOperation => reread::<DescribeOperationRequest>(body),
            Operation::DescribePlatform => reread::<DescribePlatformRequest>(body),
            Operation::DescribeStatus => reread::<DescribeStatusRequest>(body),
            Operation::GetLogs => reread::<GetLogsRequest>(body),
            Operation::ListImages => reread::<ListImagesRequest>(body),
            Operation::PutUploadPart => reread::<PutUploadPartRequest>(body),
        }
    }
}

/// What inputs must look like; `crate::shape` checks it.
mod shapes {
    use super::*;

    pub(super) static ABORT_UPLOAD_REQUEST: Shape =
        Shape::Structure(&[Member { name: "UploadId", required: true, shape: &UPLOAD_ID_SHAPE }]);
    pub(super) static APP_RUNNER_RESOURCE_ARN: Text = Text {
        length: Length { min: 1, max: Some(1011) },
        pattern: Some(Pattern::new(
            "arn:aws(-[\\w]+)*:[a-z0-9-\\\\.]{0,63}:[a-z0-9-\\\\.]{0,63}:[0-9]{12}:(\\w|\\/|-){1,1011}",
            None,
            "arn:aws(-[\\w]+)*:[a-z0-9-\\\\.]{0,63}:[a-z0-9-\\\\.]{0,63}:[0-9]{12}:(\\w|\\/|-){1,1011}",
        )),
        values: &[],
        sensitive: false,
    };
    static APP_RUNNER_RESOURCE_ARN_SHAPE: Shape = Shape::Text(&APP_RUNNER_RESOURCE_ARN);
    pub(super) static COMPLETE_UPLOAD_REQUEST: Shape =
        Shape::Structure(&[Member { name: "UploadId", required: true, shape: &UPLOAD_ID_SHAPE }]);
    pub(super) static CREATE_UPLOAD_REQUEST: Shape =
        Shape::Structure(&[Member { name: "Kind", required: true, shape: &UPLOAD_KIND_SHAPE }]);
    pub(super) static DELETE_IMAGE_REQUEST: Shape =
        Shape::Structure(&[Member { name: "Name", required: true, shape: &IMAGE_NAME_SHAPE }]);
    pub(super) static DESCRIBE_OPERATION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "OperationId", required: true, shape: &OPERATION_ID_SHAPE },
    ]);
    pub(super) static DESCRIBE_PLATFORM_REQUEST: Shape = Shape::Structure(&[]);
    pub(super) static DESCRIBE_STATUS_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static GET_LOGS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "Stream", required: true, shape: &LOG_STREAM_SHAPE },
        Member { name: "OperationId", required: false, shape: &OPERATION_ID_SHAPE },
        Member { name: "From", required: false, shape: &LOG_CURSOR_SHAPE },
        Member { name: "WaitSeconds", required: false, shape: &LOG_WAIT_SECONDS },
        Member { name: "MaxLines", required: false, shape: &LOG_MAX_LINES },
    ]);
    pub(super) static IMAGE_NAME: Text =
        Text { length: Length { min: 1, max: Some(512) }, pattern: None, values: &[], sensitive: false };
    static IMAGE_NAME_SHAPE: Shape = Shape::Text(&IMAGE_NAME);
    pub(super) static LIST_IMAGES_REQUEST: Shape = Shape::Structure(&[]);
    pub(super) static LOG_CURSOR: Text =
        Text { length: Length { min: 1, max: Some(1024) }, pattern: None, values: &[], sensitive: false };
    static LOG_CURSOR_SHAPE: Shape = Shape::Text(&LOG_CURSOR);
    pub(super) static LOG_MAX_LINES: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(1000) });
    pub(super) static LOG_STREAM: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["EVENTS", "DEPLOYMENT", "APPLICATION"],
        sensitive: false,
    };
    static LOG_STREAM_SHAPE: Shape = Shape::Text(&LOG_STREAM);
    pub(super) static LOG_WAIT_SECONDS: Shape =
        Shape::Integer(Integer { long: false, min: Some(0), max: Some(20) });
    pub(super) static OPERATION_ID: Text = Text {
        length: Length { min: 32, max: Some(36) },
        pattern: Some(Pattern::new("[0-9a-f-]+", None, "[0-9a-f-]+")),
        values: &[],
        sensitive: false,
    };
    static OPERATION_ID_SHAPE: Shape = Shape::Text(&OPERATION_ID);
    pub(super) static PUT_UPLOAD_PART_REQUEST: Shape = Shape::Structure(&[
        Member { name: "UploadId", required: true, shape: &UPLOAD_ID_SHAPE },
        Member { name: "Offset", required: true, shape: &UPLOAD_OFFSET },
        Member { name: "Data", required: true, shape: &UPLOAD_DATA },
    ]);
    pub(super) static UPLOAD_DATA: Shape = Shape::Blob { bytes: Length { min: 1, max: Some(4194304) } };
    pub(super) static UPLOAD_ID: Text = Text {
        length: Length { min: 32, max: Some(32) },
        pattern: Some(Pattern::new("[0-9a-f]{32}", None, "[0-9a-f]{32}")),
        values: &[],
        sensitive: false,
    };
    static UPLOAD_ID_SHAPE: Shape = Shape::Text(&UPLOAD_ID);
    pub(super) static UPLOAD_KIND: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["SOURCE", "IMAGE"],
        sensitive: false,
    };
    static UPLOAD_KIND_SHAPE: Shape = Shape::Text(&UPLOAD_KIND);
    pub(super) static UPLOAD_OFFSET: Shape = Shape::Integer(Integer { long: true, min: Some(0), max: None });
}
