//! Apron 2026-01-01: shapes, operations and errors.
//!
//! Written by `cargo xtask codegen` from `specs/apron.json`; do not edit.
//! Members have the names and the meaning of that API's reference.

use crate::shape::{Integer, Length, Member, Pattern, Shape, Text};
use crate::value::{Blob, Hidden};
use crate::{Call, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// Ends an operation before its time. One that brings a new version up ends as its failure does, with the
    /// reason "Cancelled by a caller.": what was before it goes on. One that waits for its turn just ends.
    /// Once every proxy serves the new version, and for a pause or a deletion, it is too late.
    CancelOperation,
    /// Gives a connection what it signs in with, which makes it AVAILABLE. What is given again replaces what
    /// was given before.
    CompleteConnection,
    /// Ends an upload, stores what was sent, and says by which name it can be deployed. Where that is refused
    /// or fails, the upload stays open as it was.
    CompleteUpload,
    /// Makes an access key. Its secret is in this answer alone. Only keys with the rights ADMIN may call
    /// this.
    CreateAccessKey,
    /// Begins the upload of a source directory (a gzip-compressed tar) or of an image archive (OCI or docker,
    /// a tar).
    CreateUpload,
    /// Deletes an access key: the next request that is signed with it is refused. The key of the platform's
    /// owner, which is made again at each start, cannot be deleted. Only keys with the rights ADMIN may call
    /// this.
    DeleteAccessKey,
    /// Forgets the name of an image. Its content goes when no revision needs it any more.
    DeleteImage,
    /// Says how the instances of a service stand on the idle ladder, and what keeps each of them awake.
    DescribeIdle,
    /// Says how an operation on a service stands or ended, and why it failed.
    DescribeOperation,
    /// Says what this platform is and where it is reached.
    DescribePlatform,
    /// Shows one revision of a service: what it was made of, and the configuration that a rollback to it
    /// restores.
    DescribeRevision,
    /// Says what a service does now: its revisions, their instances, and the operation that is open.
    DescribeStatus,
    /// Reads the log of calls from a cursor on: who called what, from where, with which parameters, and what
    /// came of it. With WaitSeconds it waits for new lines. Only keys with the rights ADMIN may call this.
    GetAuditLog,
    /// Reads a log from a cursor on. With WaitSeconds it waits for new lines, so that a client can follow a
    /// log.
    GetLogs,
    /// Says what services used, what App Runner would have charged for it, and what one instance that is
    /// always active would have cost.
    GetUsage,
    /// Lists all access keys, without their secrets, oldest first. Only keys with the rights ADMIN may call
    /// this.
    ListAccessKeys,
    /// Lists the images that this platform has by a name: imported ones, and the bases of builds.
    ListImages,
    /// Lists the revisions of a service that are kept, newest first: those that served last, the active one,
    /// and the newest even if it failed.
    ListRevisions,
    /// Adds the next part to an upload: each begins where the one before it ended.
    PutUploadPart,
    /// Repeats a creation, update, deployment, resume or rollback that failed, was rolled back or was
    /// cancelled, with the configuration that it was for.
    RetryOperation,
    /// Goes back to a revision that has served: its instances start from the image that it has, and its
    /// configuration is the service's again. Tags stay as they are. ListOperations shows it as
    /// UPDATE_SERVICE. For a paused service it is stored, and the next resume brings that revision up.
    RollbackService,
}

impl Operation {
    /// All of them, by name.
    pub const ALL: &'static [Operation] = &[
        Operation::AbortUpload,
        Operation::CancelOperation,
        Operation::CompleteConnection,
        Operation::CompleteUpload,
        Operation::CreateAccessKey,
        Operation::CreateUpload,
        Operation::DeleteAccessKey,
        Operation::DeleteImage,
        Operation::DescribeIdle,
        Operation::DescribeOperation,
        Operation::DescribePlatform,
        Operation::DescribeRevision,
        Operation::DescribeStatus,
        Operation::GetAuditLog,
        Operation::GetLogs,
        Operation::GetUsage,
        Operation::ListAccessKeys,
        Operation::ListImages,
        Operation::ListRevisions,
        Operation::PutUploadPart,
        Operation::RetryOperation,
        Operation::RollbackService,
    ];

    /// As it stands in `X-Amz-Target` after the dot.
    pub fn name(self) -> &'static str {
        match self {
            Operation::AbortUpload => "AbortUpload",
            Operation::CancelOperation => "CancelOperation",
            Operation::CompleteConnection => "CompleteConnection",
            Operation::CompleteUpload => "CompleteUpload",
            Operation::CreateAccessKey => "CreateAccessKey",
            Operation::CreateUpload => "CreateUpload",
            Operation::DeleteAccessKey => "DeleteAccessKey",
            Operation::DeleteImage => "DeleteImage",
            Operation::DescribeIdle => "DescribeIdle",
            Operation::DescribeOperation => "DescribeOperation",
            Operation::DescribePlatform => "DescribePlatform",
            Operation::DescribeRevision => "DescribeRevision",
            Operation::DescribeStatus => "DescribeStatus",
            Operation::GetAuditLog => "GetAuditLog",
            Operation::GetLogs => "GetLogs",
            Operation::GetUsage => "GetUsage",
            Operation::ListAccessKeys => "ListAccessKeys",
            Operation::ListImages => "ListImages",
            Operation::ListRevisions => "ListRevisions",
            Operation::PutUploadPart => "PutUploadPart",
            Operation::RetryOperation => "RetryOperation",
            Operation::RollbackService => "RollbackService",
        }
    }

    /// The operation of exactly this name.
    pub fn parse(name: &str) -> Option<Operation> {
        match name {
            "AbortUpload" => Some(Operation::AbortUpload),
            "CancelOperation" => Some(Operation::CancelOperation),
            "CompleteConnection" => Some(Operation::CompleteConnection),
            "CompleteUpload" => Some(Operation::CompleteUpload),
            "CreateAccessKey" => Some(Operation::CreateAccessKey),
            "CreateUpload" => Some(Operation::CreateUpload),
            "DeleteAccessKey" => Some(Operation::DeleteAccessKey),
            "DeleteImage" => Some(Operation::DeleteImage),
            "DescribeIdle" => Some(Operation::DescribeIdle),
            "DescribeOperation" => Some(Operation::DescribeOperation),
            "DescribePlatform" => Some(Operation::DescribePlatform),
            "DescribeRevision" => Some(Operation::DescribeRevision),
            "DescribeStatus" => Some(Operation::DescribeStatus),
            "GetAuditLog" => Some(Operation::GetAuditLog),
            "GetLogs" => Some(Operation::GetLogs),
            "GetUsage" => Some(Operation::GetUsage),
            "ListAccessKeys" => Some(Operation::ListAccessKeys),
            "ListImages" => Some(Operation::ListImages),
            "ListRevisions" => Some(Operation::ListRevisions),
            "PutUploadPart" => Some(Operation::PutUploadPart),
            "RetryOperation" => Some(Operation::RetryOperation),
            "RollbackService" => Some(Operation::RollbackService),
            _ => None,
        }
    }

    /// The errors that the model lets this operation answer.
    pub fn errors(self) -> &'static [ErrorType] {
        match self {
            Operation::AbortUpload => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::CancelOperation => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
            ],
            Operation::CompleteConnection => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::CompleteUpload => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
            ],
            Operation::CreateAccessKey => {
                &[ErrorType::InvalidRequest, ErrorType::ServiceQuotaExceeded, ErrorType::InternalServiceError]
            }
            Operation::CreateUpload => {
                &[ErrorType::InvalidRequest, ErrorType::ServiceQuotaExceeded, ErrorType::InternalServiceError]
            }
            Operation::DeleteAccessKey => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DeleteImage => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DescribeIdle => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DescribeOperation => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DescribePlatform => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::DescribeRevision => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DescribeStatus => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::GetAuditLog => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::GetLogs => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::GetUsage => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::ListAccessKeys => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::ListImages => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::ListRevisions => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::PutUploadPart => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
            ],
            Operation::RetryOperation => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
            ],
            Operation::RollbackService => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
            ],
        }
    }

    /// What its input must look like.
    pub fn input_shape(self) -> &'static Shape {
        match self {
            Operation::AbortUpload => <AbortUploadRequest as Call>::shape(),
            Operation::CancelOperation => <CancelOperationRequest as Call>::shape(),
            Operation::CompleteConnection => <CompleteConnectionRequest as Call>::shape(),
            Operation::CompleteUpload => <CompleteUploadRequest as Call>::shape(),
            Operation::CreateAccessKey => <CreateAccessKeyRequest as Call>::shape(),
            Operation::CreateUpload => <CreateUploadRequest as Call>::shape(),
            Operation::DeleteAccessKey => <DeleteAccessKeyRequest as Call>::shape(),
            Operation::DeleteImage => <DeleteImageRequest as Call>::shape(),
            Operation::DescribeIdle => <DescribeIdleRequest as Call>::shape(),
            Operation::DescribeOperation => <DescribeOperationRequest as Call>::shape(),
            Operation::DescribePlatform => <DescribePlatformRequest as Call>::shape(),
            Operation::DescribeRevision => <DescribeRevisionRequest as Call>::shape(),
            Operation::DescribeStatus => <DescribeStatusRequest as Call>::shape(),
            Operation::GetAuditLog => <GetAuditLogRequest as Call>::shape(),
            Operation::GetLogs => <GetLogsRequest as Call>::shape(),
            Operation::GetUsage => <GetUsageRequest as Call>::shape(),
            Operation::ListAccessKeys => <ListAccessKeysRequest as Call>::shape(),
            Operation::ListImages => <ListImagesRequest as Call>::shape(),
            Operation::ListRevisions => <ListRevisionsRequest as Call>::shape(),
            Operation::PutUploadPart => <PutUploadPartRequest as Call>::shape(),
            Operation::RetryOperation => <RetryOperationRequest as Call>::shape(),
            Operation::RollbackService => <RollbackServiceRequest as Call>::shape(),
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

    /// The error of exactly this name.
    pub fn parse(name: &str) -> Option<ErrorType> {
        match name {
            "InternalServiceErrorException" => Some(ErrorType::InternalServiceError),
            "InvalidRequestException" => Some(ErrorType::InvalidRequest),
            "InvalidStateException" => Some(ErrorType::InvalidState),
            "ResourceNotFoundException" => Some(ErrorType::ResourceNotFound),
            "ServiceQuotaExceededException" => Some(ErrorType::ServiceQuotaExceeded),
            _ => None,
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

/// What the holder of a key may do: everything, or see services and all that belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AccessKeyRights {
    #[serde(rename = "ADMIN")]
    Admin,
    #[serde(rename = "READ_ONLY")]
    ReadOnly,
}

impl AccessKeyRights {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            AccessKeyRights::Admin => "ADMIN",
            AccessKeyRights::ReadOnly => "READ_ONLY",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<AccessKeyRights> {
        match text {
            "ADMIN" => Some(AccessKeyRights::Admin),
            "READ_ONLY" => Some(AccessKeyRights::ReadOnly),
            _ => None,
        }
    }
}

impl fmt::Display for AccessKeyRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessKeySummary {
    /// What signatures carry.
    pub access_key_id: String,
    /// Who or what uses it.
    pub name: String,
    /// What its holder may do.
    pub rights: AccessKeyRights,
    /// When it was made.
    pub created_at: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CancelOperationRequest {
    /// The ARN of the service.
    pub service_arn: String,
    /// The operation; the open one by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

impl CancelOperationRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>) -> Self {
        CancelOperationRequest { service_arn: service_arn.into(), operation_id: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CancelOperationResponse {
    /// The operation that ends.
    pub operation_id: String,
    /// Where it stood when that was asked for; of one that waited for its turn, how it has ended.
    pub status: OperationStatus,
}

/// BELOW: nothing is done. HELD: no further instances are started. THROTTLED: instances have a sixtieth
/// of their CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CapState {
    #[serde(rename = "BELOW")]
    Below,
    #[serde(rename = "HELD")]
    Held,
    #[serde(rename = "THROTTLED")]
    Throttled,
}

impl CapState {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CapState::Below => "BELOW",
            CapState::Held => "HELD",
            CapState::Throttled => "THROTTLED",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<CapState> {
        match text {
            "BELOW" => Some(CapState::Below),
            "HELD" => Some(CapState::Held),
            "THROTTLED" => Some(CapState::Throttled),
            _ => None,
        }
    }
}

impl fmt::Display for CapState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompleteConnectionRequest {
    /// The ARN of the connection, as CreateConnection named it.
    pub connection_arn: String,
    /// The token, or user:token, with which repositories are fetched over HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// A private key in OpenSSH's or PEM's form. Repositories are not fetched over SSH yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// What webhooks of the provider are signed with. Webhooks are not taken yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
}

impl fmt::Debug for CompleteConnectionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompleteConnectionRequest")
            .field("connection_arn", &self.connection_arn)
            .field("access_token", &self.access_token.as_ref().map(|_| Hidden))
            .field("ssh_key", &self.ssh_key.as_ref().map(|_| Hidden))
            .field("webhook_secret", &self.webhook_secret.as_ref().map(|_| Hidden))
            .finish()
    }
}

impl CompleteConnectionRequest {
    /// With the required members; every other one is absent.
    pub fn new(connection_arn: impl Into<String>) -> Self {
        CompleteConnectionRequest {
            connection_arn: connection_arn.into(),
            access_token: None,
            ssh_key: None,
            webhook_secret: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompleteConnectionResponse {
    /// The connection that was asked for.
    pub connection_arn: String,
    /// As ListConnections says it.
    pub status: ConnectionStatus,
}

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigurationSource {
    #[serde(rename = "REPOSITORY")]
    Repository,
    #[serde(rename = "API")]
    Api,
}

impl ConfigurationSource {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ConfigurationSource::Repository => "REPOSITORY",
            ConfigurationSource::Api => "API",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<ConfigurationSource> {
        match text {
            "REPOSITORY" => Some(ConfigurationSource::Repository),
            "API" => Some(ConfigurationSource::Api),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigurationSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConnectionStatus {
    #[serde(rename = "PENDING_HANDSHAKE")]
    PendingHandshake,
    #[serde(rename = "AVAILABLE")]
    Available,
    #[serde(rename = "ERROR")]
    Error,
    #[serde(rename = "DELETED")]
    Deleted,
}

impl ConnectionStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionStatus::PendingHandshake => "PENDING_HANDSHAKE",
            ConnectionStatus::Available => "AVAILABLE",
            ConnectionStatus::Error => "ERROR",
            ConnectionStatus::Deleted => "DELETED",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<ConnectionStatus> {
        match text {
            "PENDING_HANDSHAKE" => Some(ConnectionStatus::PendingHandshake),
            "AVAILABLE" => Some(ConnectionStatus::Available),
            "ERROR" => Some(ConnectionStatus::Error),
            "DELETED" => Some(ConnectionStatus::Deleted),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAccessKeyRequest {
    /// Who or what will use it; no other key may have this name.
    pub name: String,
    /// What its holder may do.
    pub rights: AccessKeyRights,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAccessKeyResponse {
    /// What signatures carry.
    pub access_key_id: String,
    /// What signatures are made with.
    pub secret_access_key: String,
    /// Who or what uses it.
    pub name: String,
    /// What its holder may do.
    pub rights: AccessKeyRights,
    /// When it was made.
    pub created_at: f64,
}

impl fmt::Debug for CreateAccessKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAccessKeyResponse")
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &Hidden)
            .field("name", &self.name)
            .field("rights", &self.rights)
            .field("created_at", &self.created_at)
            .finish()
    }
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
pub struct DayUsage {
    /// Such as 2026-11-23, in UTC.
    pub day: String,
    pub usage: Usage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteAccessKeyRequest {
    /// Which key.
    pub access_key_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteAccessKeyResponse {
    /// What it was.
    pub access_key: AccessKeySummary,
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
pub struct DescribeIdleRequest {
    pub service_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeIdleResponse {
    /// How far down instances go, as the tag apron:idle says.
    pub lowest_rung: IdleRung,
    /// Those that the node has.
    pub instances: Vec<IdleInstance>,
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
pub struct DescribeRevisionRequest {
    /// The ARN of the service.
    pub service_arn: String,
    /// Its number.
    pub revision: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeRevisionResponse {
    /// Counted from 1 for each service.
    pub number: i32,
    /// What the revision is for.
    pub state: RevisionState,
    /// When it was made.
    pub created_at: f64,
    /// The digest of its image, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The commit that it was built from, for git sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A deployment of it has succeeded, so that the service can be rolled back to it.
    pub served: bool,
    /// What it was made from and what its instances get.
    pub configuration: RevisionConfiguration,
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
    /// Instances that have a process, at work or idle, as App Runner's MinSize counts them; absent while the
    /// node does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned_instances: Option<i32>,
    /// Those of them that process requests, as App Runner's metric of this name; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_instances: Option<i32>,
    /// The operation that is open; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OpenOperation>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetAuditLogRequest {
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetAuditLogResponse {
    /// Oldest first. The source of a line is the id of the access key; its text is a JSON object with the
    /// members requestId, keyId, keyName, sourceAddress, region, service, operation, status, error and
    /// parameters, of which those are absent that are not known; a line of the source apron has the member
    /// message alone. A call of this operation that reads on from a cursor has a line only where its key has
    /// none of this operation in that minute. Parameters that the API calls sensitive read
    /// HIDDEN_DUE_TO_SECURITY_REASONS; longer ones than 4096 bytes are cut and stand there as a text.
    pub lines: Vec<LogLine>,
    /// Where to read on.
    pub next: String,
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetUsageRequest {
    /// Without it, of all services of the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_arn: Option<String>,
    /// The first day is that of this time, in UTC; by default the first of the month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<f64>,
    /// The last day; by default today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetUsageResponse {
    pub start_time: f64,
    /// When the usage was looked up, or the end of the last day.
    pub end_time: f64,
    /// Whose prices these are.
    pub tariff: String,
    /// By their ids.
    pub services: Vec<ServiceUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HealthCheckProtocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "HTTP")]
    Http,
}

impl HealthCheckProtocol {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthCheckProtocol::Tcp => "TCP",
            HealthCheckProtocol::Http => "HTTP",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<HealthCheckProtocol> {
        match text {
            "TCP" => Some(HealthCheckProtocol::Tcp),
            "HTTP" => Some(HealthCheckProtocol::Http),
            _ => None,
        }
    }
}

impl fmt::Display for HealthCheckProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IdleInstance {
    pub instance_id: String,
    pub rung: IdleRung,
    /// Requests that are at work in it.
    pub requests: i32,
    /// Why it stands there, and what comes next: a sentence for people.
    pub reason: String,
}

/// ACTIVE has its whole CPU, THROTTLED a sixtieth of it, FROZEN none, ZERO has no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IdleRung {
    #[serde(rename = "ACTIVE")]
    Active,
    #[serde(rename = "THROTTLED")]
    Throttled,
    #[serde(rename = "FROZEN")]
    Frozen,
    #[serde(rename = "ZERO")]
    Zero,
}

impl IdleRung {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            IdleRung::Active => "ACTIVE",
            IdleRung::Throttled => "THROTTLED",
            IdleRung::Frozen => "FROZEN",
            IdleRung::Zero => "ZERO",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<IdleRung> {
        match text {
            "ACTIVE" => Some(IdleRung::Active),
            "THROTTLED" => Some(IdleRung::Throttled),
            "FROZEN" => Some(IdleRung::Frozen),
            "ZERO" => Some(IdleRung::Zero),
            _ => None,
        }
    }
}

impl fmt::Display for IdleRung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ImageRepositoryType {
    #[serde(rename = "ECR")]
    Ecr,
    #[serde(rename = "ECR_PUBLIC")]
    EcrPublic,
}

impl ImageRepositoryType {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageRepositoryType::Ecr => "ECR",
            ImageRepositoryType::EcrPublic => "ECR_PUBLIC",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<ImageRepositoryType> {
        match text {
            "ECR" => Some(ImageRepositoryType::Ecr),
            "ECR_PUBLIC" => Some(ImageRepositoryType::EcrPublic),
            _ => None,
        }
    }
}

impl fmt::Display for ImageRepositoryType {
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
    /// How far it sleeps; absent while it is started anew, and while the node does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rung: Option<IdleRung>,
    /// How long its latest start took.
    pub waterfall: Waterfall,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceUsage {
    pub instance_id: String,
    pub usage: Usage,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAccessKeysRequest {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAccessKeysResponse {
    /// Oldest first.
    pub access_keys: Vec<AccessKeySummary>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListRevisionsRequest {
    /// The ARN of the service.
    pub service_arn: String,
    /// The most revisions of one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    /// Where to read on, as the answer before said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl ListRevisionsRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>) -> Self {
        ListRevisionsRequest { service_arn: service_arn.into(), max_results: None, next_token: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListRevisionsResponse {
    /// Newest first.
    pub revisions: Vec<RevisionSummary>,
    /// Where to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
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

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutUploadPartRequest {
    /// The upload, as CreateUpload named it.
    pub upload_id: String,
    /// Where the part begins: how many bytes the upload has so far.
    pub offset: i64,
    /// The bytes of the part.
    pub data: Blob,
}

impl fmt::Debug for PutUploadPartRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutUploadPartRequest")
            .field("upload_id", &self.upload_id)
            .field("offset", &self.offset)
            .field("data", &Hidden)
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutUploadPartResponse {
    /// How many bytes the upload has now: the offset of the next part.
    pub size: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RetryOperationRequest {
    /// The ARN of the service.
    pub service_arn: String,
    /// The operation to repeat; the last one by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

impl RetryOperationRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>) -> Self {
        RetryOperationRequest { service_arn: service_arn.into(), operation_id: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RetryOperationResponse {
    /// The new operation; absent when the service is as that asked already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

/// The scaling of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevisionAutoScaling {
    /// Where the numbers come from.
    pub auto_scaling_configuration_arn: String,
    /// Requests at once for which one instance is meant.
    pub max_concurrency: i32,
    /// The fewest instances.
    pub min_size: i32,
    /// The most instances.
    pub max_size: i32,
}

/// A repository of sources.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevisionCodeRepository {
    /// Where it is fetched from.
    pub repository_url: String,
    /// The branch.
    pub branch: String,
    /// The directory in it; / is its root.
    pub source_directory: String,
    /// Who says how it is built and run.
    pub configuration_source: ConfigurationSource,
    /// The runtime that the API named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The build command that the API named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_command: Option<String>,
}

impl fmt::Debug for RevisionCodeRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevisionCodeRepository")
            .field("repository_url", &self.repository_url)
            .field("branch", &self.branch)
            .field("source_directory", &self.source_directory)
            .field("configuration_source", &self.configuration_source)
            .field("runtime", &self.runtime)
            .field("build_command", &self.build_command.as_ref().map(|_| Hidden))
            .finish()
    }
}

/// The configuration of a revision, after file, API and tags were put together.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevisionConfiguration {
    /// Its source, if that is a repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_repository: Option<RevisionCodeRepository>,
    /// Its source, if that is an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_repository: Option<RevisionImageRepository>,
    /// A push to the source deploys it.
    pub auto_deployments_enabled: bool,
    /// What its instances run; the image's own command by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_command: Option<String>,
    /// Where its instances listen; absent while its image is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// What its instances are told, of apprunner.yaml and of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_environment_variables: Option<BTreeMap<String, String>>,
    /// CPU units of an instance, 1024 to a core.
    pub cpu: i32,
    /// MiB of memory of an instance.
    pub memory: i32,
    /// How the health of its instances is checked.
    pub health_check: RevisionHealthCheck,
    /// How many instances it has.
    pub auto_scaling: RevisionAutoScaling,
    /// The role of its instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_role_arn: Option<String>,
    /// The role by which its image is pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_role_arn: Option<String>,
    /// The connection by which its repository is fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_arn: Option<String>,
}

impl fmt::Debug for RevisionConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevisionConfiguration")
            .field("code_repository", &self.code_repository)
            .field("image_repository", &self.image_repository)
            .field("auto_deployments_enabled", &self.auto_deployments_enabled)
            .field("start_command", &self.start_command.as_ref().map(|_| Hidden))
            .field("port", &self.port)
            .field(
                "runtime_environment_variables",
                &self.runtime_environment_variables.as_ref().map(|_| Hidden),
            )
            .field("cpu", &self.cpu)
            .field("memory", &self.memory)
            .field("health_check", &self.health_check)
            .field("auto_scaling", &self.auto_scaling)
            .field("instance_role_arn", &self.instance_role_arn)
            .field("access_role_arn", &self.access_role_arn)
            .field("connection_arn", &self.connection_arn)
            .finish()
    }
}

/// The health check of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevisionHealthCheck {
    /// How an instance is asked.
    pub protocol: HealthCheckProtocol,
    /// What is asked for over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Seconds between two checks.
    pub interval: i32,
    /// Seconds after which a check has failed.
    pub timeout: i32,
    /// Good answers in a row that make an instance healthy.
    pub healthy_threshold: i32,
    /// Failures in a row that make a healthy instance unhealthy.
    pub unhealthy_threshold: i32,
    /// Seconds in which failing checks of a new instance do not count.
    pub grace_seconds: i32,
}

/// An image of a registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevisionImageRepository {
    /// The reference of the image, as it was given.
    pub image_identifier: String,
    /// The kind of its registry.
    pub image_repository_type: ImageRepositoryType,
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

/// One deployed configuration and its image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RevisionSummary {
    /// Counted from 1 for each service.
    pub number: i32,
    /// What the revision is for.
    pub state: RevisionState,
    /// When it was made.
    pub created_at: f64,
    /// The digest of its image, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The commit that it was built from, for git sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A deployment of it has succeeded, so that the service can be rolled back to it.
    pub served: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RollbackServiceRequest {
    /// The ARN of the service.
    pub service_arn: String,
    /// The revision to go back to. By default it is the one that served before the active one when the
    /// operation's turn comes; for a paused service with values that were not deployed yet it is the active
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
}

impl RollbackServiceRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>) -> Self {
        RollbackServiceRequest { service_arn: service_arn.into(), revision: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RollbackServiceResponse {
    /// The operation that does it.
    pub operation_id: String,
    /// The revision that it goes back to; absent where the operation waits for its turn and none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceUsage {
    /// Absent: services that are forgotten, together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    pub usage: Usage,
    /// What App Runner would have charged for this usage, in US dollars.
    pub charge: UsageCharge,
    /// What one instance of the service's size would have cost that was always active, in US dollars.
    pub always_on_total: String,
    /// The tag apron:cap-usd-month; absent: no cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_usd_month: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_state: Option<CapState>,
    /// When one service is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<DayUsage>>,
    /// When one service is asked for; of the last weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<InstanceUsage>>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Usage {
    /// vCPUs times the seconds in which instances had a request or were starting.
    pub active_vcpu_seconds: String,
    /// What the minimum of a minute for each start adds to that.
    pub minimum_vcpu_seconds: String,
    /// GB of memory times the seconds in which instances were there.
    pub provisioned_gb_seconds: String,
    /// The same of instances that had no process, because nobody asked for them. App Runner has them
    /// provisioned.
    pub asleep_gb_seconds: String,
    /// Time in which images were built from source.
    pub build_seconds: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UsageCharge {
    pub cpu: String,
    pub memory: String,
    pub builds: String,
    pub automatic_deployments: String,
    pub total: String,
}

/// Milliseconds from the moment the platform took the wish; a step that was not reached is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Waterfall {
    /// Its image was unpacked, and it was its turn among those that start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<i32>,
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
    /// Milliseconds until its first answer began, which is as late as it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<i32>,
}

impl Call for AbortUploadRequest {
    type Output = AbortUploadResponse;
    const TARGET: &'static str = "Apron.AbortUpload";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::ABORT_UPLOAD_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::ABORT_UPLOAD_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::AbortUpload.errors().contains(&error))
    }
}

impl Call for CancelOperationRequest {
    type Output = CancelOperationResponse;
    const TARGET: &'static str = "Apron.CancelOperation";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CANCEL_OPERATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CANCEL_OPERATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CancelOperation.errors().contains(&error))
    }
}

impl Call for CompleteConnectionRequest {
    type Output = CompleteConnectionResponse;
    const TARGET: &'static str = "Apron.CompleteConnection";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::COMPLETE_CONNECTION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::COMPLETE_CONNECTION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CompleteConnection.errors().contains(&error))
    }
}

impl Call for CompleteUploadRequest {
    type Output = CompleteUploadResponse;
    const TARGET: &'static str = "Apron.CompleteUpload";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::COMPLETE_UPLOAD_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::COMPLETE_UPLOAD_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CompleteUpload.errors().contains(&error))
    }
}

impl Call for CreateAccessKeyRequest {
    type Output = CreateAccessKeyResponse;
    const TARGET: &'static str = "Apron.CreateAccessKey";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_ACCESS_KEY_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_ACCESS_KEY_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CreateAccessKey.errors().contains(&error))
    }
}

impl Call for CreateUploadRequest {
    type Output = CreateUploadResponse;
    const TARGET: &'static str = "Apron.CreateUpload";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_UPLOAD_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_UPLOAD_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CreateUpload.errors().contains(&error))
    }
}

impl Call for DeleteAccessKeyRequest {
    type Output = DeleteAccessKeyResponse;
    const TARGET: &'static str = "Apron.DeleteAccessKey";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_ACCESS_KEY_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_ACCESS_KEY_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DeleteAccessKey.errors().contains(&error))
    }
}

impl Call for DeleteImageRequest {
    type Output = DeleteImageResponse;
    const TARGET: &'static str = "Apron.DeleteImage";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_IMAGE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_IMAGE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DeleteImage.errors().contains(&error))
    }
}

impl Call for DescribeIdleRequest {
    type Output = DescribeIdleResponse;
    const TARGET: &'static str = "Apron.DescribeIdle";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_IDLE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_IDLE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribeIdle.errors().contains(&error))
    }
}

impl Call for DescribeOperationRequest {
    type Output = DescribeOperationResponse;
    const TARGET: &'static str = "Apron.DescribeOperation";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_OPERATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_OPERATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribeOperation.errors().contains(&error))
    }
}

impl Call for DescribePlatformRequest {
    type Output = DescribePlatformResponse;
    const TARGET: &'static str = "Apron.DescribePlatform";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_PLATFORM_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_PLATFORM_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribePlatform.errors().contains(&error))
    }
}

impl Call for DescribeRevisionRequest {
    type Output = DescribeRevisionResponse;
    const TARGET: &'static str = "Apron.DescribeRevision";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_REVISION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_REVISION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribeRevision.errors().contains(&error))
    }
}

impl Call for DescribeStatusRequest {
    type Output = DescribeStatusResponse;
    const TARGET: &'static str = "Apron.DescribeStatus";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_STATUS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_STATUS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribeStatus.errors().contains(&error))
    }
}

impl Call for GetAuditLogRequest {
    type Output = GetAuditLogResponse;
    const TARGET: &'static str = "Apron.GetAuditLog";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::GET_AUDIT_LOG_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::GET_AUDIT_LOG_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::GetAuditLog.errors().contains(&error))
    }
}

impl Call for GetLogsRequest {
    type Output = GetLogsResponse;
    const TARGET: &'static str = "Apron.GetLogs";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::GET_LOGS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::GET_LOGS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::GetLogs.errors().contains(&error))
    }
}

impl Call for GetUsageRequest {
    type Output = GetUsageResponse;
    const TARGET: &'static str = "Apron.GetUsage";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::GET_USAGE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::GET_USAGE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::GetUsage.errors().contains(&error))
    }
}

impl Call for ListAccessKeysRequest {
    type Output = ListAccessKeysResponse;
    const TARGET: &'static str = "Apron.ListAccessKeys";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_ACCESS_KEYS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_ACCESS_KEYS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListAccessKeys.errors().contains(&error))
    }
}

impl Call for ListImagesRequest {
    type Output = ListImagesResponse;
    const TARGET: &'static str = "Apron.ListImages";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_IMAGES_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_IMAGES_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListImages.errors().contains(&error))
    }
}

impl Call for ListRevisionsRequest {
    type Output = ListRevisionsResponse;
    const TARGET: &'static str = "Apron.ListRevisions";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_REVISIONS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_REVISIONS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListRevisions.errors().contains(&error))
    }
}

impl Call for PutUploadPartRequest {
    type Output = PutUploadPartResponse;
    const TARGET: &'static str = "Apron.PutUploadPart";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::PUT_UPLOAD_PART_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::PUT_UPLOAD_PART_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::PutUploadPart.errors().contains(&error))
    }
}

impl Call for RetryOperationRequest {
    type Output = RetryOperationResponse;
    const TARGET: &'static str = "Apron.RetryOperation";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::RETRY_OPERATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::RETRY_OPERATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::RetryOperation.errors().contains(&error))
    }
}

impl Call for RollbackServiceRequest {
    type Output = RollbackServiceResponse;
    const TARGET: &'static str = "Apron.RollbackService";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::ROLLBACK_SERVICE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::ROLLBACK_SERVICE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::RollbackService.errors().contains(&error))
    }
}

#[cfg(test)]
impl Operation {
    /// What its output must look like.
    pub(crate) fn output_shape(self) -> &'static Shape {
        match self {
            Operation::AbortUpload => <AbortUploadRequest as Call>::output_shape(),
            Operation::CancelOperation => <CancelOperationRequest as Call>::output_shape(),
            Operation::CompleteConnection => <CompleteConnectionRequest as Call>::output_shape(),
            Operation::CompleteUpload => <CompleteUploadRequest as Call>::output_shape(),
            Operation::CreateAccessKey => <CreateAccessKeyRequest as Call>::output_shape(),
            Operation::CreateUpload => <CreateUploadRequest as Call>::output_shape(),
            Operation::DeleteAccessKey => <DeleteAccessKeyRequest as Call>::output_shape(),
            Operation::DeleteImage => <DeleteImageRequest as Call>::output_shape(),
            Operation::DescribeIdle => <DescribeIdleRequest as Call>::output_shape(),
            Operation::DescribeOperation => <DescribeOperationRequest as Call>::output_shape(),
            Operation::DescribePlatform => <DescribePlatformRequest as Call>::output_shape(),
            Operation::DescribeRevision => <DescribeRevisionRequest as Call>::output_shape(),
            Operation::DescribeStatus => <DescribeStatusRequest as Call>::output_shape(),
            Operation::GetAuditLog => <GetAuditLogRequest as Call>::output_shape(),
            Operation::GetLogs => <GetLogsRequest as Call>::output_shape(),
            Operation::GetUsage => <GetUsageRequest as Call>::output_shape(),
            Operation::ListAccessKeys => <ListAccessKeysRequest as Call>::output_shape(),
            Operation::ListImages => <ListImagesRequest as Call>::output_shape(),
            Operation::ListRevisions => <ListRevisionsRequest as Call>::output_shape(),
            Operation::PutUploadPart => <PutUploadPartRequest as Call>::output_shape(),
            Operation::RetryOperation => <RetryOperationRequest as Call>::output_shape(),
            Operation::RollbackService => <RollbackServiceRequest as Call>::output_shape(),
        }
    }

    /// Reads a body as its input and writes that again.
    pub(crate) fn reread(self, body: &[u8]) -> Result<serde_json::Value, Error> {
        fn reread<C: Call>(body: &[u8]) -> Result<serde_json::Value, Error> {
            crate::json::decode::<C>(body).map(|input| serde_json::to_value(input).unwrap())
        }
        match self {
            Operation::AbortUpload => reread::<AbortUploadRequest>(body),
            Operation::CancelOperation => reread::<CancelOperationRequest>(body),
            Operation::CompleteConnection => reread::<CompleteConnectionRequest>(body),
            Operation::CompleteUpload => reread::<CompleteUploadRequest>(body),
            Operation::CreateAccessKey => reread::<CreateAccessKeyRequest>(body),
            Operation::CreateUpload => reread::<CreateUploadRequest>(body),
            Operation::DeleteAccessKey => reread::<DeleteAccessKeyRequest>(body),
            Operation::DeleteImage => reread::<DeleteImageRequest>(body),
            Operation::DescribeIdle => reread::<DescribeIdleRequest>(body),
            Operation::DescribeOperation => reread::<DescribeOperationRequest>(body),
            Operation::DescribePlatform => reread::<DescribePlatformRequest>(body),
            Operation::DescribeRevision => reread::<DescribeRevisionRequest>(body),
            Operation::DescribeStatus => reread::<DescribeStatusRequest>(body),
            Operation::GetAuditLog => reread::<GetAuditLogRequest>(body),
            Operation::GetLogs => reread::<GetLogsRequest>(body),
            Operation::GetUsage => reread::<GetUsageRequest>(body),
            Operation::ListAccessKeys => reread::<ListAccessKeysRequest>(body),
            Operation::ListImages => reread::<ListImagesRequest>(body),
            Operation::ListRevisions => reread::<ListRevisionsRequest>(body),
            Operation::PutUploadPart => reread::<PutUploadPartRequest>(body),
            Operation::RetryOperation => reread::<RetryOperationRequest>(body),
            Operation::RollbackService => reread::<RollbackServiceRequest>(body),
        }
    }

    /// Reads a body as its output and writes that again.
    pub(crate) fn reread_output(self, body: serde_json::Value) -> serde_json::Value {
        fn reread<C: Call>(body: serde_json::Value) -> serde_json::Value {
            let output: C::Output = serde_json::from_value(body).unwrap();
            serde_json::to_value(output).unwrap()
        }
        match self {
            Operation::AbortUpload => reread::<AbortUploadRequest>(body),
            Operation::CancelOperation => reread::<CancelOperationRequest>(body),
            Operation::CompleteConnection => reread::<CompleteConnectionRequest>(body),
            Operation::CompleteUpload => reread::<CompleteUploadRequest>(body),
            Operation::CreateAccessKey => reread::<CreateAccessKeyRequest>(body),
            Operation::CreateUpload => reread::<CreateUploadRequest>(body),
            Operation::DeleteAccessKey => reread::<DeleteAccessKeyRequest>(body),
            Operation::DeleteImage => reread::<DeleteImageRequest>(body),
            Operation::DescribeIdle => reread::<DescribeIdleRequest>(body),
            Operation::DescribeOperation => reread::<DescribeOperationRequest>(body),
            Operation::DescribePlatform => reread::<DescribePlatformRequest>(body),
            Operation::DescribeRevision => reread::<DescribeRevisionRequest>(body),
            Operation::DescribeStatus => reread::<DescribeStatusRequest>(body),
            Operation::GetAuditLog => reread::<GetAuditLogRequest>(body),
            Operation::GetLogs => reread::<GetLogsRequest>(body),
            Operation::GetUsage => reread::<GetUsageRequest>(body),
            Operation::ListAccessKeys => reread::<ListAccessKeysRequest>(body),
            Operation::ListImages => reread::<ListImagesRequest>(body),
            Operation::ListRevisions => reread::<ListRevisionsRequest>(body),
            Operation::PutUploadPart => reread::<PutUploadPartRequest>(body),
            Operation::RetryOperation => reread::<RetryOperationRequest>(body),
            Operation::RollbackService => reread::<RollbackServiceRequest>(body),
        }
    }
}

/// What inputs and outputs must look like; `crate::shape` checks it.
mod shapes {
    use super::*;

    pub(super) static ABORT_UPLOAD_REQUEST: Shape =
        Shape::Structure(&[Member { name: "UploadId", required: true, shape: &UPLOAD_ID_SHAPE }]);
    pub(super) static ABORT_UPLOAD_RESPONSE: Shape = Shape::Structure(&[]);
    pub(super) static ACCESS_KEY_ID: Text =
        Text { length: Length { min: 1, max: Some(128) }, pattern: None, values: &[], sensitive: false };
    static ACCESS_KEY_ID_SHAPE: Shape = Shape::Text(&ACCESS_KEY_ID);
    pub(super) static ACCESS_KEY_NAME: Text = Text {
        length: Length { min: 1, max: Some(64) },
        pattern: Some(Pattern::new("[A-Za-z0-9_.-]+", None, "[A-Za-z0-9_.-]+")),
        values: &[],
        sensitive: false,
    };
    static ACCESS_KEY_NAME_SHAPE: Shape = Shape::Text(&ACCESS_KEY_NAME);
    pub(super) static ACCESS_KEY_RIGHTS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["ADMIN", "READ_ONLY"],
        sensitive: false,
    };
    static ACCESS_KEY_RIGHTS_SHAPE: Shape = Shape::Text(&ACCESS_KEY_RIGHTS);
    pub(super) static ACCESS_KEY_SUMMARY: Shape = Shape::Structure(&[
        Member { name: "AccessKeyId", required: true, shape: &ACCESS_KEY_ID_SHAPE },
        Member { name: "Name", required: true, shape: &ACCESS_KEY_NAME_SHAPE },
        Member { name: "Rights", required: true, shape: &ACCESS_KEY_RIGHTS_SHAPE },
        Member { name: "CreatedAt", required: true, shape: &TIMESTAMP },
    ]);
    pub(super) static ACCESS_KEY_SUMMARY_LIST: Shape =
        Shape::List { member: &ACCESS_KEY_SUMMARY, length: Length { min: 0, max: None } };
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
    pub(super) static APPLICATION_ADDRESS: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &[], sensitive: false };
    static APPLICATION_ADDRESS_SHAPE: Shape = Shape::Text(&APPLICATION_ADDRESS);
    pub(super) static BOOLEAN: Shape = Shape::Boolean;
    pub(super) static BUILD_COMMAND: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &[], sensitive: true };
    static BUILD_COMMAND_SHAPE: Shape = Shape::Text(&BUILD_COMMAND);
    pub(super) static CANCEL_OPERATION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "OperationId", required: false, shape: &OPERATION_ID_SHAPE },
    ]);
    pub(super) static CANCEL_OPERATION_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "OperationId", required: true, shape: &OPERATION_ID_SHAPE },
        Member { name: "Status", required: true, shape: &OPERATION_STATUS_SHAPE },
    ]);
    pub(super) static CAP_STATE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["BELOW", "HELD", "THROTTLED"],
        sensitive: false,
    };
    static CAP_STATE_SHAPE: Shape = Shape::Text(&CAP_STATE);
    pub(super) static COMPLETE_CONNECTION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ConnectionArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "AccessToken", required: false, shape: &CONNECTION_SECRET_SHAPE },
        Member { name: "SshKey", required: false, shape: &CONNECTION_SECRET_SHAPE },
        Member { name: "WebhookSecret", required: false, shape: &CONNECTION_SECRET_SHAPE },
    ]);
    pub(super) static COMPLETE_CONNECTION_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "ConnectionArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "Status", required: true, shape: &CONNECTION_STATUS_SHAPE },
    ]);
    pub(super) static COMPLETE_UPLOAD_REQUEST: Shape =
        Shape::Structure(&[Member { name: "UploadId", required: true, shape: &UPLOAD_ID_SHAPE }]);
    pub(super) static COMPLETE_UPLOAD_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "RepositoryUrl", required: false, shape: &STRING_SHAPE },
        Member { name: "Images", required: false, shape: &IMPORTED_IMAGE_LIST },
    ]);
    pub(super) static CONFIGURATION_SOURCE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["REPOSITORY", "API"],
        sensitive: false,
    };
    static CONFIGURATION_SOURCE_SHAPE: Shape = Shape::Text(&CONFIGURATION_SOURCE);
    pub(super) static CONNECTION_SECRET: Text =
        Text { length: Length { min: 1, max: Some(16384) }, pattern: None, values: &[], sensitive: true };
    static CONNECTION_SECRET_SHAPE: Shape = Shape::Text(&CONNECTION_SECRET);
    pub(super) static CONNECTION_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["PENDING_HANDSHAKE", "AVAILABLE", "ERROR", "DELETED"],
        sensitive: false,
    };
    static CONNECTION_STATUS_SHAPE: Shape = Shape::Text(&CONNECTION_STATUS);
    pub(super) static CREATE_ACCESS_KEY_REQUEST: Shape = Shape::Structure(&[
        Member { name: "Name", required: true, shape: &ACCESS_KEY_NAME_SHAPE },
        Member { name: "Rights", required: true, shape: &ACCESS_KEY_RIGHTS_SHAPE },
    ]);
    pub(super) static CREATE_ACCESS_KEY_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "AccessKeyId", required: true, shape: &ACCESS_KEY_ID_SHAPE },
        Member { name: "SecretAccessKey", required: true, shape: &SECRET_ACCESS_KEY_SHAPE },
        Member { name: "Name", required: true, shape: &ACCESS_KEY_NAME_SHAPE },
        Member { name: "Rights", required: true, shape: &ACCESS_KEY_RIGHTS_SHAPE },
        Member { name: "CreatedAt", required: true, shape: &TIMESTAMP },
    ]);
    pub(super) static CREATE_UPLOAD_REQUEST: Shape =
        Shape::Structure(&[Member { name: "Kind", required: true, shape: &UPLOAD_KIND_SHAPE }]);
    pub(super) static CREATE_UPLOAD_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "UploadId", required: true, shape: &UPLOAD_ID_SHAPE },
        Member { name: "PartSizeMax", required: true, shape: &INTEGER },
    ]);
    pub(super) static DAY_USAGE: Shape = Shape::Structure(&[
        Member { name: "Day", required: true, shape: &STRING_SHAPE },
        Member { name: "Usage", required: true, shape: &USAGE },
    ]);
    pub(super) static DAY_USAGE_LIST: Shape =
        Shape::List { member: &DAY_USAGE, length: Length { min: 0, max: None } };
    pub(super) static DECIMAL_NUMBER: Text = Text {
        length: Length { min: 0, max: None },
        pattern: Some(Pattern::new("[0-9]+\\.[0-9]+", None, "[0-9]+\\.[0-9]+")),
        values: &[],
        sensitive: false,
    };
    static DECIMAL_NUMBER_SHAPE: Shape = Shape::Text(&DECIMAL_NUMBER);
    pub(super) static DELETE_ACCESS_KEY_REQUEST: Shape =
        Shape::Structure(&[Member { name: "AccessKeyId", required: true, shape: &ACCESS_KEY_ID_SHAPE }]);
    pub(super) static DELETE_ACCESS_KEY_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "AccessKey", required: true, shape: &ACCESS_KEY_SUMMARY }]);
    pub(super) static DELETE_IMAGE_REQUEST: Shape =
        Shape::Structure(&[Member { name: "Name", required: true, shape: &IMAGE_NAME_SHAPE }]);
    pub(super) static DELETE_IMAGE_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "Digest", required: true, shape: &STRING_SHAPE }]);
    pub(super) static DESCRIBE_IDLE_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DESCRIBE_IDLE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "LowestRung", required: true, shape: &IDLE_RUNG_SHAPE },
        Member { name: "Instances", required: true, shape: &IDLE_INSTANCE_LIST },
    ]);
    pub(super) static DESCRIBE_OPERATION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "OperationId", required: true, shape: &OPERATION_ID_SHAPE },
    ]);
    pub(super) static DESCRIBE_OPERATION_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "OperationId", required: true, shape: &OPERATION_ID_SHAPE },
        Member { name: "Type", required: true, shape: &OPERATION_TYPE_SHAPE },
        Member { name: "Status", required: true, shape: &OPERATION_STATUS_SHAPE },
        Member { name: "Step", required: true, shape: &STRING_SHAPE },
        Member { name: "StartedAt", required: true, shape: &TIMESTAMP },
        Member { name: "UpdatedAt", required: true, shape: &TIMESTAMP },
        Member { name: "EndedAt", required: false, shape: &TIMESTAMP },
        Member { name: "Reason", required: false, shape: &STRING_SHAPE },
        Member { name: "LastLines", required: true, shape: &OUTPUT_LINE_LIST },
    ]);
    pub(super) static DESCRIBE_PLATFORM_REQUEST: Shape = Shape::Structure(&[]);
    pub(super) static DESCRIBE_PLATFORM_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Version", required: true, shape: &STRING_SHAPE },
        Member { name: "ApiEndpoint", required: true, shape: &STRING_SHAPE },
        Member { name: "AppsEndpoint", required: true, shape: &STRING_SHAPE },
        Member { name: "AppsDomain", required: true, shape: &STRING_SHAPE },
        Member { name: "Region", required: true, shape: &STRING_SHAPE },
        Member { name: "AccountId", required: true, shape: &STRING_SHAPE },
    ]);
    pub(super) static DESCRIBE_REVISION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "Revision", required: true, shape: &REVISION_NUMBER },
    ]);
    pub(super) static DESCRIBE_REVISION_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Number", required: true, shape: &INTEGER },
        Member { name: "State", required: true, shape: &REVISION_STATE_SHAPE },
        Member { name: "CreatedAt", required: true, shape: &TIMESTAMP },
        Member { name: "Image", required: false, shape: &STRING_SHAPE },
        Member { name: "Commit", required: false, shape: &STRING_SHAPE },
        Member { name: "Served", required: true, shape: &BOOLEAN },
        Member { name: "Configuration", required: true, shape: &REVISION_CONFIGURATION },
    ]);
    pub(super) static DESCRIBE_STATUS_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DESCRIBE_STATUS_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Status", required: true, shape: &SERVICE_STATUS_SHAPE },
        Member { name: "Reason", required: false, shape: &STRING_SHAPE },
        Member { name: "Url", required: false, shape: &STRING_SHAPE },
        Member { name: "Revisions", required: true, shape: &REVISION_STATUS_LIST },
        Member { name: "ProvisionedInstances", required: false, shape: &INTEGER },
        Member { name: "ActiveInstances", required: false, shape: &INTEGER },
        Member { name: "Operation", required: false, shape: &OPEN_OPERATION },
    ]);
    pub(super) static GET_AUDIT_LOG_REQUEST: Shape = Shape::Structure(&[
        Member { name: "From", required: false, shape: &LOG_CURSOR_SHAPE },
        Member { name: "WaitSeconds", required: false, shape: &LOG_WAIT_SECONDS },
        Member { name: "MaxLines", required: false, shape: &LOG_MAX_LINES },
    ]);
    pub(super) static GET_AUDIT_LOG_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Lines", required: true, shape: &LOG_LINE_LIST },
        Member { name: "Next", required: true, shape: &LOG_CURSOR_SHAPE },
    ]);
    pub(super) static GET_LOGS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "Stream", required: true, shape: &LOG_STREAM_SHAPE },
        Member { name: "OperationId", required: false, shape: &OPERATION_ID_SHAPE },
        Member { name: "From", required: false, shape: &LOG_CURSOR_SHAPE },
        Member { name: "WaitSeconds", required: false, shape: &LOG_WAIT_SECONDS },
        Member { name: "MaxLines", required: false, shape: &LOG_MAX_LINES },
    ]);
    pub(super) static GET_LOGS_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Lines", required: true, shape: &LOG_LINE_LIST },
        Member { name: "Next", required: true, shape: &LOG_CURSOR_SHAPE },
        Member { name: "End", required: true, shape: &BOOLEAN },
    ]);
    pub(super) static GET_USAGE_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "StartTime", required: false, shape: &TIMESTAMP },
        Member { name: "EndTime", required: false, shape: &TIMESTAMP },
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static GET_USAGE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "StartTime", required: true, shape: &TIMESTAMP },
        Member { name: "EndTime", required: true, shape: &TIMESTAMP },
        Member { name: "Tariff", required: true, shape: &STRING_SHAPE },
        Member { name: "Services", required: true, shape: &SERVICE_USAGE_LIST },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static HEALTH_CHECK_PROTOCOL: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["TCP", "HTTP"],
        sensitive: false,
    };
    static HEALTH_CHECK_PROTOCOL_SHAPE: Shape = Shape::Text(&HEALTH_CHECK_PROTOCOL);
    pub(super) static IDLE_INSTANCE: Shape = Shape::Structure(&[
        Member { name: "InstanceId", required: true, shape: &STRING_SHAPE },
        Member { name: "Rung", required: true, shape: &IDLE_RUNG_SHAPE },
        Member { name: "Requests", required: true, shape: &INTEGER },
        Member { name: "Reason", required: true, shape: &STRING_SHAPE },
    ]);
    pub(super) static IDLE_INSTANCE_LIST: Shape =
        Shape::List { member: &IDLE_INSTANCE, length: Length { min: 0, max: None } };
    pub(super) static IDLE_RUNG: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["ACTIVE", "THROTTLED", "FROZEN", "ZERO"],
        sensitive: false,
    };
    static IDLE_RUNG_SHAPE: Shape = Shape::Text(&IDLE_RUNG);
    pub(super) static IMAGE_BYTES: Shape = Shape::Integer(Integer { long: true, min: Some(0), max: None });
    pub(super) static IMAGE_NAME: Text =
        Text { length: Length { min: 1, max: Some(512) }, pattern: None, values: &[], sensitive: false };
    static IMAGE_NAME_SHAPE: Shape = Shape::Text(&IMAGE_NAME);
    pub(super) static IMAGE_ORIGIN: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["IMPORTED", "BASE"],
        sensitive: false,
    };
    static IMAGE_ORIGIN_SHAPE: Shape = Shape::Text(&IMAGE_ORIGIN);
    pub(super) static IMAGE_REPOSITORY_TYPE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["ECR", "ECR_PUBLIC"],
        sensitive: false,
    };
    static IMAGE_REPOSITORY_TYPE_SHAPE: Shape = Shape::Text(&IMAGE_REPOSITORY_TYPE);
    pub(super) static IMAGE_SUMMARY: Shape = Shape::Structure(&[
        Member { name: "Name", required: true, shape: &IMAGE_NAME_SHAPE },
        Member { name: "Digest", required: true, shape: &STRING_SHAPE },
        Member { name: "Origin", required: true, shape: &IMAGE_ORIGIN_SHAPE },
        Member { name: "Bytes", required: true, shape: &IMAGE_BYTES },
        Member { name: "UpdatedAt", required: true, shape: &TIMESTAMP },
    ]);
    pub(super) static IMAGE_SUMMARY_LIST: Shape =
        Shape::List { member: &IMAGE_SUMMARY, length: Length { min: 0, max: None } };
    pub(super) static IMPORTED_IMAGE: Shape = Shape::Structure(&[
        Member { name: "Name", required: true, shape: &STRING_SHAPE },
        Member { name: "Digest", required: true, shape: &STRING_SHAPE },
    ]);
    pub(super) static IMPORTED_IMAGE_LIST: Shape =
        Shape::List { member: &IMPORTED_IMAGE, length: Length { min: 0, max: None } };
    pub(super) static INSTANCE_HEALTH: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["STARTING", "HEALTHY", "UNHEALTHY"],
        sensitive: false,
    };
    static INSTANCE_HEALTH_SHAPE: Shape = Shape::Text(&INSTANCE_HEALTH);
    pub(super) static INSTANCE_PHASE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["CREATING", "RUNNING", "EXITED", "FAILED", "STOPPING"],
        sensitive: false,
    };
    static INSTANCE_PHASE_SHAPE: Shape = Shape::Text(&INSTANCE_PHASE);
    pub(super) static INSTANCE_STATUS: Shape = Shape::Structure(&[
        Member { name: "InstanceId", required: true, shape: &STRING_SHAPE },
        Member { name: "Phase", required: true, shape: &INSTANCE_PHASE_SHAPE },
        Member { name: "Health", required: true, shape: &INSTANCE_HEALTH_SHAPE },
        Member { name: "Reason", required: false, shape: &STRING_SHAPE },
        Member { name: "Address", required: false, shape: &APPLICATION_ADDRESS_SHAPE },
        Member { name: "Restarts", required: true, shape: &INTEGER },
        Member { name: "Rung", required: false, shape: &IDLE_RUNG_SHAPE },
        Member { name: "Waterfall", required: true, shape: &WATERFALL },
    ]);
    pub(super) static INSTANCE_STATUS_LIST: Shape =
        Shape::List { member: &INSTANCE_STATUS, length: Length { min: 0, max: None } };
    pub(super) static INSTANCE_USAGE: Shape = Shape::Structure(&[
        Member { name: "InstanceId", required: true, shape: &STRING_SHAPE },
        Member { name: "Usage", required: true, shape: &USAGE },
    ]);
    pub(super) static INSTANCE_USAGE_LIST: Shape =
        Shape::List { member: &INSTANCE_USAGE, length: Length { min: 0, max: None } };
    pub(super) static INTEGER: Shape = Shape::Integer(Integer { long: false, min: None, max: None });
    pub(super) static LIST_ACCESS_KEYS_REQUEST: Shape = Shape::Structure(&[]);
    pub(super) static LIST_ACCESS_KEYS_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "AccessKeys", required: true, shape: &ACCESS_KEY_SUMMARY_LIST }]);
    pub(super) static LIST_IMAGES_REQUEST: Shape = Shape::Structure(&[]);
    pub(super) static LIST_IMAGES_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "Images", required: true, shape: &IMAGE_SUMMARY_LIST }]);
    pub(super) static LIST_REVISIONS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_REVISIONS_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Revisions", required: true, shape: &REVISION_SUMMARY_LIST },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LOG_CURSOR: Text =
        Text { length: Length { min: 1, max: Some(1024) }, pattern: None, values: &[], sensitive: false };
    static LOG_CURSOR_SHAPE: Shape = Shape::Text(&LOG_CURSOR);
    pub(super) static LOG_LINE: Shape = Shape::Structure(&[
        Member { name: "Timestamp", required: true, shape: &TIMESTAMP },
        Member { name: "Source", required: true, shape: &STRING_SHAPE },
        Member { name: "Text", required: true, shape: &LOG_TEXT_SHAPE },
    ]);
    pub(super) static LOG_LINE_LIST: Shape =
        Shape::List { member: &LOG_LINE, length: Length { min: 0, max: None } };
    pub(super) static LOG_MAX_LINES: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(1000) });
    pub(super) static LOG_STREAM: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["EVENTS", "DEPLOYMENT", "APPLICATION"],
        sensitive: false,
    };
    static LOG_STREAM_SHAPE: Shape = Shape::Text(&LOG_STREAM);
    pub(super) static LOG_TEXT: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &[], sensitive: true };
    static LOG_TEXT_SHAPE: Shape = Shape::Text(&LOG_TEXT);
    pub(super) static LOG_WAIT_SECONDS: Shape =
        Shape::Integer(Integer { long: false, min: Some(0), max: Some(20) });
    pub(super) static MAX_RESULTS: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(100) });
    pub(super) static NEXT_TOKEN: Text =
        Text { length: Length { min: 1, max: Some(1024) }, pattern: None, values: &[], sensitive: false };
    static NEXT_TOKEN_SHAPE: Shape = Shape::Text(&NEXT_TOKEN);
    pub(super) static OPEN_OPERATION: Shape = Shape::Structure(&[
        Member { name: "Id", required: true, shape: &STRING_SHAPE },
        Member { name: "Type", required: true, shape: &OPERATION_TYPE_SHAPE },
        Member { name: "Status", required: true, shape: &OPERATION_STATUS_SHAPE },
        Member { name: "Step", required: true, shape: &STRING_SHAPE },
        Member { name: "Reason", required: false, shape: &STRING_SHAPE },
    ]);
    pub(super) static OPERATION_ID: Text = Text {
        length: Length { min: 32, max: Some(36) },
        pattern: Some(Pattern::new("[0-9a-f-]+", None, "[0-9a-f-]+")),
        values: &[],
        sensitive: false,
    };
    static OPERATION_ID_SHAPE: Shape = Shape::Text(&OPERATION_ID);
    pub(super) static OPERATION_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &[
            "PENDING",
            "IN_PROGRESS",
            "FAILED",
            "SUCCEEDED",
            "ROLLBACK_IN_PROGRESS",
            "ROLLBACK_FAILED",
            "ROLLBACK_SUCCEEDED",
        ],
        sensitive: false,
    };
    static OPERATION_STATUS_SHAPE: Shape = Shape::Text(&OPERATION_STATUS);
    pub(super) static OPERATION_TYPE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &[
            "START_DEPLOYMENT",
            "CREATE_SERVICE",
            "PAUSE_SERVICE",
            "RESUME_SERVICE",
            "DELETE_SERVICE",
            "UPDATE_SERVICE",
        ],
        sensitive: false,
    };
    static OPERATION_TYPE_SHAPE: Shape = Shape::Text(&OPERATION_TYPE);
    pub(super) static OUTPUT_LINE_LIST: Shape =
        Shape::List { member: &LOG_TEXT_SHAPE, length: Length { min: 0, max: None } };
    pub(super) static PUT_UPLOAD_PART_REQUEST: Shape = Shape::Structure(&[
        Member { name: "UploadId", required: true, shape: &UPLOAD_ID_SHAPE },
        Member { name: "Offset", required: true, shape: &UPLOAD_OFFSET },
        Member { name: "Data", required: true, shape: &UPLOAD_DATA },
    ]);
    pub(super) static PUT_UPLOAD_PART_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "Size", required: true, shape: &UPLOAD_OFFSET }]);
    pub(super) static RETRY_OPERATION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "OperationId", required: false, shape: &OPERATION_ID_SHAPE },
    ]);
    pub(super) static RETRY_OPERATION_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "OperationId", required: false, shape: &OPERATION_ID_SHAPE }]);
    pub(super) static REVISION_AUTO_SCALING: Shape = Shape::Structure(&[
        Member { name: "AutoScalingConfigurationArn", required: true, shape: &STRING_SHAPE },
        Member { name: "MaxConcurrency", required: true, shape: &INTEGER },
        Member { name: "MinSize", required: true, shape: &INTEGER },
        Member { name: "MaxSize", required: true, shape: &INTEGER },
    ]);
    pub(super) static REVISION_CODE_REPOSITORY: Shape = Shape::Structure(&[
        Member { name: "RepositoryUrl", required: true, shape: &STRING_SHAPE },
        Member { name: "Branch", required: true, shape: &STRING_SHAPE },
        Member { name: "SourceDirectory", required: true, shape: &STRING_SHAPE },
        Member { name: "ConfigurationSource", required: true, shape: &CONFIGURATION_SOURCE_SHAPE },
        Member { name: "Runtime", required: false, shape: &STRING_SHAPE },
        Member { name: "BuildCommand", required: false, shape: &BUILD_COMMAND_SHAPE },
    ]);
    pub(super) static REVISION_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "CodeRepository", required: false, shape: &REVISION_CODE_REPOSITORY },
        Member { name: "ImageRepository", required: false, shape: &REVISION_IMAGE_REPOSITORY },
        Member { name: "AutoDeploymentsEnabled", required: true, shape: &BOOLEAN },
        Member { name: "StartCommand", required: false, shape: &START_COMMAND_SHAPE },
        Member { name: "Port", required: false, shape: &INTEGER },
        Member {
            name: "RuntimeEnvironmentVariables",
            required: false,
            shape: &RUNTIME_ENVIRONMENT_VARIABLES,
        },
        Member { name: "Cpu", required: true, shape: &INTEGER },
        Member { name: "Memory", required: true, shape: &INTEGER },
        Member { name: "HealthCheck", required: true, shape: &REVISION_HEALTH_CHECK },
        Member { name: "AutoScaling", required: true, shape: &REVISION_AUTO_SCALING },
        Member { name: "InstanceRoleArn", required: false, shape: &STRING_SHAPE },
        Member { name: "AccessRoleArn", required: false, shape: &STRING_SHAPE },
        Member { name: "ConnectionArn", required: false, shape: &STRING_SHAPE },
    ]);
    pub(super) static REVISION_HEALTH_CHECK: Shape = Shape::Structure(&[
        Member { name: "Protocol", required: true, shape: &HEALTH_CHECK_PROTOCOL_SHAPE },
        Member { name: "Path", required: false, shape: &STRING_SHAPE },
        Member { name: "Interval", required: true, shape: &INTEGER },
        Member { name: "Timeout", required: true, shape: &INTEGER },
        Member { name: "HealthyThreshold", required: true, shape: &INTEGER },
        Member { name: "UnhealthyThreshold", required: true, shape: &INTEGER },
        Member { name: "GraceSeconds", required: true, shape: &INTEGER },
    ]);
    pub(super) static REVISION_IMAGE_REPOSITORY: Shape = Shape::Structure(&[
        Member { name: "ImageIdentifier", required: true, shape: &STRING_SHAPE },
        Member { name: "ImageRepositoryType", required: true, shape: &IMAGE_REPOSITORY_TYPE_SHAPE },
    ]);
    pub(super) static REVISION_NUMBER: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: None });
    pub(super) static REVISION_STATE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["ACTIVE", "CANDIDATE", "DRAINING", "PREVIOUS", "FAILED"],
        sensitive: false,
    };
    static REVISION_STATE_SHAPE: Shape = Shape::Text(&REVISION_STATE);
    pub(super) static REVISION_STATUS: Shape = Shape::Structure(&[
        Member { name: "Number", required: true, shape: &INTEGER },
        Member { name: "State", required: true, shape: &REVISION_STATE_SHAPE },
        Member { name: "Image", required: false, shape: &STRING_SHAPE },
        Member { name: "Commit", required: false, shape: &STRING_SHAPE },
        Member { name: "Instances", required: true, shape: &INSTANCE_STATUS_LIST },
    ]);
    pub(super) static REVISION_STATUS_LIST: Shape =
        Shape::List { member: &REVISION_STATUS, length: Length { min: 0, max: None } };
    pub(super) static REVISION_SUMMARY: Shape = Shape::Structure(&[
        Member { name: "Number", required: true, shape: &INTEGER },
        Member { name: "State", required: true, shape: &REVISION_STATE_SHAPE },
        Member { name: "CreatedAt", required: true, shape: &TIMESTAMP },
        Member { name: "Image", required: false, shape: &STRING_SHAPE },
        Member { name: "Commit", required: false, shape: &STRING_SHAPE },
        Member { name: "Served", required: true, shape: &BOOLEAN },
    ]);
    pub(super) static REVISION_SUMMARY_LIST: Shape =
        Shape::List { member: &REVISION_SUMMARY, length: Length { min: 0, max: None } };
    pub(super) static ROLLBACK_SERVICE_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "Revision", required: false, shape: &REVISION_NUMBER },
    ]);
    pub(super) static ROLLBACK_SERVICE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "OperationId", required: true, shape: &OPERATION_ID_SHAPE },
        Member { name: "Revision", required: false, shape: &INTEGER },
    ]);
    pub(super) static RUNTIME_ENVIRONMENT_VARIABLES: Shape = Shape::Map {
        key: &RUNTIME_ENVIRONMENT_VARIABLES_KEY,
        value: &RUNTIME_ENVIRONMENT_VARIABLES_VALUE,
        length: Length { min: 0, max: None },
    };
    pub(super) static RUNTIME_ENVIRONMENT_VARIABLES_KEY: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &[], sensitive: true };
    pub(super) static RUNTIME_ENVIRONMENT_VARIABLES_VALUE: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &[], sensitive: true };
    pub(super) static SECRET_ACCESS_KEY: Text =
        Text { length: Length { min: 1, max: Some(128) }, pattern: None, values: &[], sensitive: true };
    static SECRET_ACCESS_KEY_SHAPE: Shape = Shape::Text(&SECRET_ACCESS_KEY);
    pub(super) static SERVICE_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["CREATE_FAILED", "RUNNING", "DELETED", "DELETE_FAILED", "PAUSED", "OPERATION_IN_PROGRESS"],
        sensitive: false,
    };
    static SERVICE_STATUS_SHAPE: Shape = Shape::Text(&SERVICE_STATUS);
    pub(super) static SERVICE_USAGE: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "ServiceName", required: false, shape: &STRING_SHAPE },
        Member { name: "Usage", required: true, shape: &USAGE },
        Member { name: "Charge", required: true, shape: &USAGE_CHARGE },
        Member { name: "AlwaysOnTotal", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "CapUsdMonth", required: false, shape: &INTEGER },
        Member { name: "CapState", required: false, shape: &CAP_STATE_SHAPE },
        Member { name: "Days", required: false, shape: &DAY_USAGE_LIST },
        Member { name: "Instances", required: false, shape: &INSTANCE_USAGE_LIST },
    ]);
    pub(super) static SERVICE_USAGE_LIST: Shape =
        Shape::List { member: &SERVICE_USAGE, length: Length { min: 0, max: None } };
    pub(super) static START_COMMAND: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &[], sensitive: true };
    static START_COMMAND_SHAPE: Shape = Shape::Text(&START_COMMAND);
    pub(super) static STRING: Text =
        Text { length: Length { min: 0, max: Some(51200) }, pattern: None, values: &[], sensitive: false };
    static STRING_SHAPE: Shape = Shape::Text(&STRING);
    pub(super) static TIMESTAMP: Shape = Shape::Timestamp;
    pub(super) static UPLOAD_DATA: Shape =
        Shape::Blob { bytes: Length { min: 1, max: Some(4194304) }, sensitive: true };
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
    pub(super) static USAGE: Shape = Shape::Structure(&[
        Member { name: "ActiveVcpuSeconds", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "MinimumVcpuSeconds", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "ProvisionedGbSeconds", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "AsleepGbSeconds", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "BuildSeconds", required: true, shape: &DECIMAL_NUMBER_SHAPE },
    ]);
    pub(super) static USAGE_CHARGE: Shape = Shape::Structure(&[
        Member { name: "Cpu", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "Memory", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "Builds", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "AutomaticDeployments", required: true, shape: &DECIMAL_NUMBER_SHAPE },
        Member { name: "Total", required: true, shape: &DECIMAL_NUMBER_SHAPE },
    ]);
    pub(super) static WATERFALL: Shape = Shape::Structure(&[
        Member { name: "QueuedMs", required: false, shape: &INTEGER },
        Member { name: "NamespaceMs", required: false, shape: &INTEGER },
        Member { name: "MountMs", required: false, shape: &INTEGER },
        Member { name: "ExecMs", required: false, shape: &INTEGER },
        Member { name: "ListeningMs", required: false, shape: &INTEGER },
        Member { name: "HealthyMs", required: false, shape: &INTEGER },
        Member { name: "FirstByteMs", required: false, shape: &INTEGER },
    ]);
}
