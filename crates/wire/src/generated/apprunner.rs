//! AWS App Runner 2020-05-15: shapes, operations and errors.
//!
//! Written by `cargo xtask codegen` from `specs/apprunner.json`; do not edit.
//! Members have the names and the meaning of that API's reference.

use crate::shape::{Integer, Length, Member, Pattern, Shape, Text};
use crate::value::Hidden;
use crate::{Call, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What stands before the dot in `X-Amz-Target`.
pub const TARGET_PREFIX: &str = "AppRunner";
/// The service name that signatures carry.
pub const SIGNING_NAME: &str = "apprunner";

/// Every operation of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    AssociateCustomDomain,
    CreateAutoScalingConfiguration,
    CreateConnection,
    CreateObservabilityConfiguration,
    CreateService,
    CreateVpcConnector,
    CreateVpcIngressConnection,
    DeleteAutoScalingConfiguration,
    DeleteConnection,
    DeleteObservabilityConfiguration,
    DeleteService,
    DeleteVpcConnector,
    DeleteVpcIngressConnection,
    DescribeAutoScalingConfiguration,
    DescribeCustomDomains,
    DescribeObservabilityConfiguration,
    DescribeService,
    DescribeVpcConnector,
    DescribeVpcIngressConnection,
    DisassociateCustomDomain,
    ListAutoScalingConfigurations,
    ListConnections,
    ListObservabilityConfigurations,
    ListOperations,
    ListServices,
    ListServicesForAutoScalingConfiguration,
    ListTagsForResource,
    ListVpcConnectors,
    ListVpcIngressConnections,
    PauseService,
    ResumeService,
    StartDeployment,
    TagResource,
    UntagResource,
    UpdateDefaultAutoScalingConfiguration,
    UpdateService,
    UpdateVpcIngressConnection,
}

impl Operation {
    /// All of them, by name.
    pub const ALL: &'static [Operation] = &[
        Operation::AssociateCustomDomain,
        Operation::CreateAutoScalingConfiguration,
        Operation::CreateConnection,
        Operation::CreateObservabilityConfiguration,
        Operation::CreateService,
        Operation::CreateVpcConnector,
        Operation::CreateVpcIngressConnection,
        Operation::DeleteAutoScalingConfiguration,
        Operation::DeleteConnection,
        Operation::DeleteObservabilityConfiguration,
        Operation::DeleteService,
        Operation::DeleteVpcConnector,
        Operation::DeleteVpcIngressConnection,
        Operation::DescribeAutoScalingConfiguration,
        Operation::DescribeCustomDomains,
        Operation::DescribeObservabilityConfiguration,
        Operation::DescribeService,
        Operation::DescribeVpcConnector,
        Operation::DescribeVpcIngressConnection,
        Operation::DisassociateCustomDomain,
        Operation::ListAutoScalingConfigurations,
        Operation::ListConnections,
        Operation::ListObservabilityConfigurations,
        Operation::ListOperations,
        Operation::ListServices,
        Operation::ListServicesForAutoScalingConfiguration,
        Operation::ListTagsForResource,
        Operation::ListVpcConnectors,
        Operation::ListVpcIngressConnections,
        Operation::PauseService,
        Operation::ResumeService,
        Operation::StartDeployment,
        Operation::TagResource,
        Operation::UntagResource,
        Operation::UpdateDefaultAutoScalingConfiguration,
        Operation::UpdateService,
        Operation::UpdateVpcIngressConnection,
    ];

    /// As it stands in `X-Amz-Target` after the dot.
    pub fn name(self) -> &'static str {
        match self {
            Operation::AssociateCustomDomain => "AssociateCustomDomain",
            Operation::CreateAutoScalingConfiguration => "CreateAutoScalingConfiguration",
            Operation::CreateConnection => "CreateConnection",
            Operation::CreateObservabilityConfiguration => "CreateObservabilityConfiguration",
            Operation::CreateService => "CreateService",
            Operation::CreateVpcConnector => "CreateVpcConnector",
            Operation::CreateVpcIngressConnection => "CreateVpcIngressConnection",
            Operation::DeleteAutoScalingConfiguration => "DeleteAutoScalingConfiguration",
            Operation::DeleteConnection => "DeleteConnection",
            Operation::DeleteObservabilityConfiguration => "DeleteObservabilityConfiguration",
            Operation::DeleteService => "DeleteService",
            Operation::DeleteVpcConnector => "DeleteVpcConnector",
            Operation::DeleteVpcIngressConnection => "DeleteVpcIngressConnection",
            Operation::DescribeAutoScalingConfiguration => "DescribeAutoScalingConfiguration",
            Operation::DescribeCustomDomains => "DescribeCustomDomains",
            Operation::DescribeObservabilityConfiguration => "DescribeObservabilityConfiguration",
            Operation::DescribeService => "DescribeService",
            Operation::DescribeVpcConnector => "DescribeVpcConnector",
            Operation::DescribeVpcIngressConnection => "DescribeVpcIngressConnection",
            Operation::DisassociateCustomDomain => "DisassociateCustomDomain",
            Operation::ListAutoScalingConfigurations => "ListAutoScalingConfigurations",
            Operation::ListConnections => "ListConnections",
            Operation::ListObservabilityConfigurations => "ListObservabilityConfigurations",
            Operation::ListOperations => "ListOperations",
            Operation::ListServices => "ListServices",
            Operation::ListServicesForAutoScalingConfiguration => "ListServicesForAutoScalingConfiguration",
            Operation::ListTagsForResource => "ListTagsForResource",
            Operation::ListVpcConnectors => "ListVpcConnectors",
            Operation::ListVpcIngressConnections => "ListVpcIngressConnections",
            Operation::PauseService => "PauseService",
            Operation::ResumeService => "ResumeService",
            Operation::StartDeployment => "StartDeployment",
            Operation::TagResource => "TagResource",
            Operation::UntagResource => "UntagResource",
            Operation::UpdateDefaultAutoScalingConfiguration => "UpdateDefaultAutoScalingConfiguration",
            Operation::UpdateService => "UpdateService",
            Operation::UpdateVpcIngressConnection => "UpdateVpcIngressConnection",
        }
    }

    /// The operation of exactly this name.
    pub fn parse(name: &str) -> Option<Operation> {
        match name {
            "AssociateCustomDomain" => Some(Operation::AssociateCustomDomain),
            "CreateAutoScalingConfiguration" => Some(Operation::CreateAutoScalingConfiguration),
            "CreateConnection" => Some(Operation::CreateConnection),
            "CreateObservabilityConfiguration" => Some(Operation::CreateObservabilityConfiguration),
            "CreateService" => Some(Operation::CreateService),
            "CreateVpcConnector" => Some(Operation::CreateVpcConnector),
            "CreateVpcIngressConnection" => Some(Operation::CreateVpcIngressConnection),
            "DeleteAutoScalingConfiguration" => Some(Operation::DeleteAutoScalingConfiguration),
            "DeleteConnection" => Some(Operation::DeleteConnection),
            "DeleteObservabilityConfiguration" => Some(Operation::DeleteObservabilityConfiguration),
            "DeleteService" => Some(Operation::DeleteService),
            "DeleteVpcConnector" => Some(Operation::DeleteVpcConnector),
            "DeleteVpcIngressConnection" => Some(Operation::DeleteVpcIngressConnection),
            "DescribeAutoScalingConfiguration" => Some(Operation::DescribeAutoScalingConfiguration),
            "DescribeCustomDomains" => Some(Operation::DescribeCustomDomains),
            "DescribeObservabilityConfiguration" => Some(Operation::DescribeObservabilityConfiguration),
            "DescribeService" => Some(Operation::DescribeService),
            "DescribeVpcConnector" => Some(Operation::DescribeVpcConnector),
            "DescribeVpcIngressConnection" => Some(Operation::DescribeVpcIngressConnection),
            "DisassociateCustomDomain" => Some(Operation::DisassociateCustomDomain),
            "ListAutoScalingConfigurations" => Some(Operation::ListAutoScalingConfigurations),
            "ListConnections" => Some(Operation::ListConnections),
            "ListObservabilityConfigurations" => Some(Operation::ListObservabilityConfigurations),
            "ListOperations" => Some(Operation::ListOperations),
            "ListServices" => Some(Operation::ListServices),
            "ListServicesForAutoScalingConfiguration" => {
                Some(Operation::ListServicesForAutoScalingConfiguration)
            }
            "ListTagsForResource" => Some(Operation::ListTagsForResource),
            "ListVpcConnectors" => Some(Operation::ListVpcConnectors),
            "ListVpcIngressConnections" => Some(Operation::ListVpcIngressConnections),
            "PauseService" => Some(Operation::PauseService),
            "ResumeService" => Some(Operation::ResumeService),
            "StartDeployment" => Some(Operation::StartDeployment),
            "TagResource" => Some(Operation::TagResource),
            "UntagResource" => Some(Operation::UntagResource),
            "UpdateDefaultAutoScalingConfiguration" => Some(Operation::UpdateDefaultAutoScalingConfiguration),
            "UpdateService" => Some(Operation::UpdateService),
            "UpdateVpcIngressConnection" => Some(Operation::UpdateVpcIngressConnection),
            _ => None,
        }
    }

    /// The errors that the model lets this operation answer.
    pub fn errors(self) -> &'static [ErrorType] {
        match self {
            Operation::AssociateCustomDomain => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::InvalidState]
            }
            Operation::CreateAutoScalingConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ServiceQuotaExceeded]
            }
            Operation::CreateConnection => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ServiceQuotaExceeded]
            }
            Operation::CreateObservabilityConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ServiceQuotaExceeded]
            }
            Operation::CreateService => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ServiceQuotaExceeded]
            }
            Operation::CreateVpcConnector => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ServiceQuotaExceeded]
            }
            Operation::CreateVpcIngressConnection => &[
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
                ErrorType::InternalServiceError,
                ErrorType::ServiceQuotaExceeded,
            ],
            Operation::DeleteAutoScalingConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DeleteConnection => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DeleteObservabilityConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DeleteService => &[
                ErrorType::InvalidRequest,
                ErrorType::ResourceNotFound,
                ErrorType::InvalidState,
                ErrorType::InternalServiceError,
            ],
            Operation::DeleteVpcConnector => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DeleteVpcIngressConnection => &[
                ErrorType::InvalidRequest,
                ErrorType::InternalServiceError,
                ErrorType::ResourceNotFound,
                ErrorType::InvalidState,
            ],
            Operation::DescribeAutoScalingConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DescribeCustomDomains => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DescribeObservabilityConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DescribeService => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::DescribeVpcConnector => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DescribeVpcIngressConnection => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::DisassociateCustomDomain => &[
                ErrorType::InvalidRequest,
                ErrorType::InternalServiceError,
                ErrorType::ResourceNotFound,
                ErrorType::InvalidState,
            ],
            Operation::ListAutoScalingConfigurations => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError]
            }
            Operation::ListConnections => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::ListObservabilityConfigurations => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError]
            }
            Operation::ListOperations => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::ListServices => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::ListServicesForAutoScalingConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::ListTagsForResource => &[
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
            ],
            Operation::ListVpcConnectors => &[ErrorType::InvalidRequest, ErrorType::InternalServiceError],
            Operation::ListVpcIngressConnections => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError]
            }
            Operation::PauseService => &[
                ErrorType::InvalidRequest,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
                ErrorType::InvalidState,
            ],
            Operation::ResumeService => &[
                ErrorType::InvalidRequest,
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
                ErrorType::InvalidState,
            ],
            Operation::StartDeployment => {
                &[ErrorType::InvalidRequest, ErrorType::ResourceNotFound, ErrorType::InternalServiceError]
            }
            Operation::TagResource => &[
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
            ],
            Operation::UntagResource => &[
                ErrorType::ResourceNotFound,
                ErrorType::InternalServiceError,
                ErrorType::InvalidRequest,
                ErrorType::InvalidState,
            ],
            Operation::UpdateDefaultAutoScalingConfiguration => {
                &[ErrorType::InvalidRequest, ErrorType::InternalServiceError, ErrorType::ResourceNotFound]
            }
            Operation::UpdateService => &[
                ErrorType::InvalidRequest,
                ErrorType::ResourceNotFound,
                ErrorType::InvalidState,
                ErrorType::InternalServiceError,
            ],
            Operation::UpdateVpcIngressConnection => &[
                ErrorType::InvalidRequest,
                ErrorType::ResourceNotFound,
                ErrorType::InvalidState,
                ErrorType::InternalServiceError,
            ],
        }
    }

    /// What its input must look like.
    pub fn input_shape(self) -> &'static Shape {
        match self {
            Operation::AssociateCustomDomain => <AssociateCustomDomainRequest as Call>::shape(),
            Operation::CreateAutoScalingConfiguration => {
                <CreateAutoScalingConfigurationRequest as Call>::shape()
            }
            Operation::CreateConnection => <CreateConnectionRequest as Call>::shape(),
            Operation::CreateObservabilityConfiguration => {
                <CreateObservabilityConfigurationRequest as Call>::shape()
            }
            Operation::CreateService => <CreateServiceRequest as Call>::shape(),
            Operation::CreateVpcConnector => <CreateVpcConnectorRequest as Call>::shape(),
            Operation::CreateVpcIngressConnection => <CreateVpcIngressConnectionRequest as Call>::shape(),
            Operation::DeleteAutoScalingConfiguration => {
                <DeleteAutoScalingConfigurationRequest as Call>::shape()
            }
            Operation::DeleteConnection => <DeleteConnectionRequest as Call>::shape(),
            Operation::DeleteObservabilityConfiguration => {
                <DeleteObservabilityConfigurationRequest as Call>::shape()
            }
            Operation::DeleteService => <DeleteServiceRequest as Call>::shape(),
            Operation::DeleteVpcConnector => <DeleteVpcConnectorRequest as Call>::shape(),
            Operation::DeleteVpcIngressConnection => <DeleteVpcIngressConnectionRequest as Call>::shape(),
            Operation::DescribeAutoScalingConfiguration => {
                <DescribeAutoScalingConfigurationRequest as Call>::shape()
            }
            Operation::DescribeCustomDomains => <DescribeCustomDomainsRequest as Call>::shape(),
            Operation::DescribeObservabilityConfiguration => {
                <DescribeObservabilityConfigurationRequest as Call>::shape()
            }
            Operation::DescribeService => <DescribeServiceRequest as Call>::shape(),
            Operation::DescribeVpcConnector => <DescribeVpcConnectorRequest as Call>::shape(),
            Operation::DescribeVpcIngressConnection => <DescribeVpcIngressConnectionRequest as Call>::shape(),
            Operation::DisassociateCustomDomain => <DisassociateCustomDomainRequest as Call>::shape(),
            Operation::ListAutoScalingConfigurations => {
                <ListAutoScalingConfigurationsRequest as Call>::shape()
            }
            Operation::ListConnections => <ListConnectionsRequest as Call>::shape(),
            Operation::ListObservabilityConfigurations => {
                <ListObservabilityConfigurationsRequest as Call>::shape()
            }
            Operation::ListOperations => <ListOperationsRequest as Call>::shape(),
            Operation::ListServices => <ListServicesRequest as Call>::shape(),
            Operation::ListServicesForAutoScalingConfiguration => {
                <ListServicesForAutoScalingConfigurationRequest as Call>::shape()
            }
            Operation::ListTagsForResource => <ListTagsForResourceRequest as Call>::shape(),
            Operation::ListVpcConnectors => <ListVpcConnectorsRequest as Call>::shape(),
            Operation::ListVpcIngressConnections => <ListVpcIngressConnectionsRequest as Call>::shape(),
            Operation::PauseService => <PauseServiceRequest as Call>::shape(),
            Operation::ResumeService => <ResumeServiceRequest as Call>::shape(),
            Operation::StartDeployment => <StartDeploymentRequest as Call>::shape(),
            Operation::TagResource => <TagResourceRequest as Call>::shape(),
            Operation::UntagResource => <UntagResourceRequest as Call>::shape(),
            Operation::UpdateDefaultAutoScalingConfiguration => {
                <UpdateDefaultAutoScalingConfigurationRequest as Call>::shape()
            }
            Operation::UpdateService => <UpdateServiceRequest as Call>::shape(),
            Operation::UpdateVpcIngressConnection => <UpdateVpcIngressConnectionRequest as Call>::shape(),
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
pub struct AssociateCustomDomainRequest {
    pub service_arn: String,
    pub domain_name: String,
    #[serde(rename = "EnableWWWSubdomain", skip_serializing_if = "Option::is_none")]
    pub enable_www_subdomain: Option<bool>,
}

impl AssociateCustomDomainRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>, domain_name: impl Into<String>) -> Self {
        AssociateCustomDomainRequest {
            service_arn: service_arn.into(),
            domain_name: domain_name.into(),
            enable_www_subdomain: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssociateCustomDomainResponse {
    #[serde(rename = "DNSTarget")]
    pub dns_target: String,
    pub service_arn: String,
    pub custom_domain: CustomDomain,
    #[serde(rename = "VpcDNSTargets")]
    pub vpc_dns_targets: Vec<VpcDNSTarget>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuthenticationConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_role_arn: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AutoScalingConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_revision: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AutoScalingConfigurationStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_associated_service: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AutoScalingConfigurationStatus {
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "inactive")]
    Inactive,
}

impl AutoScalingConfigurationStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            AutoScalingConfigurationStatus::Active => "active",
            AutoScalingConfigurationStatus::Inactive => "inactive",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<AutoScalingConfigurationStatus> {
        match text {
            "active" => Some(AutoScalingConfigurationStatus::Active),
            "inactive" => Some(AutoScalingConfigurationStatus::Inactive),
            _ => None,
        }
    }
}

impl fmt::Display for AutoScalingConfigurationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AutoScalingConfigurationSummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_revision: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AutoScalingConfigurationStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_associated_service: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateValidationRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<CertificateValidationRecordStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CertificateValidationRecordStatus {
    #[serde(rename = "PENDING_VALIDATION")]
    PendingValidation,
    #[serde(rename = "SUCCESS")]
    Success,
    #[serde(rename = "FAILED")]
    Failed,
}

impl CertificateValidationRecordStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CertificateValidationRecordStatus::PendingValidation => "PENDING_VALIDATION",
            CertificateValidationRecordStatus::Success => "SUCCESS",
            CertificateValidationRecordStatus::Failed => "FAILED",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<CertificateValidationRecordStatus> {
        match text {
            "PENDING_VALIDATION" => Some(CertificateValidationRecordStatus::PendingValidation),
            "SUCCESS" => Some(CertificateValidationRecordStatus::Success),
            "FAILED" => Some(CertificateValidationRecordStatus::Failed),
            _ => None,
        }
    }
}

impl fmt::Display for CertificateValidationRecordStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeConfiguration {
    pub configuration_source: ConfigurationSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_configuration_values: Option<CodeConfigurationValues>,
}

impl CodeConfiguration {
    /// With the required members; every other one is absent.
    pub fn new(configuration_source: ConfigurationSource) -> Self {
        CodeConfiguration { configuration_source, code_configuration_values: None }
    }
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeConfigurationValues {
    pub runtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_environment_variables: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_environment_secrets: Option<BTreeMap<String, String>>,
}

impl fmt::Debug for CodeConfigurationValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeConfigurationValues")
            .field("runtime", &self.runtime)
            .field("build_command", &self.build_command.as_ref().map(|_| Hidden))
            .field("start_command", &self.start_command.as_ref().map(|_| Hidden))
            .field("port", &self.port)
            .field(
                "runtime_environment_variables",
                &self.runtime_environment_variables.as_ref().map(|_| Hidden),
            )
            .field("runtime_environment_secrets", &self.runtime_environment_secrets.as_ref().map(|_| Hidden))
            .finish()
    }
}

impl CodeConfigurationValues {
    /// With the required members; every other one is absent.
    pub fn new(runtime: impl Into<String>) -> Self {
        CodeConfigurationValues {
            runtime: runtime.into(),
            build_command: None,
            start_command: None,
            port: None,
            runtime_environment_variables: None,
            runtime_environment_secrets: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CodeRepository {
    pub repository_url: String,
    pub source_code_version: SourceCodeVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_configuration: Option<CodeConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_directory: Option<String>,
}

impl CodeRepository {
    /// With the required members; every other one is absent.
    pub fn new(repository_url: impl Into<String>, source_code_version: SourceCodeVersion) -> Self {
        CodeRepository {
            repository_url: repository_url.into(),
            source_code_version,
            code_configuration: None,
            source_directory: None,
        }
    }
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Connection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_type: Option<ProviderType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ConnectionStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectionSummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_type: Option<ProviderType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ConnectionStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAutoScalingConfigurationRequest {
    pub auto_scaling_configuration_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

impl CreateAutoScalingConfigurationRequest {
    /// With the required members; every other one is absent.
    pub fn new(auto_scaling_configuration_name: impl Into<String>) -> Self {
        CreateAutoScalingConfigurationRequest {
            auto_scaling_configuration_name: auto_scaling_configuration_name.into(),
            max_concurrency: None,
            min_size: None,
            max_size: None,
            tags: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateAutoScalingConfigurationResponse {
    pub auto_scaling_configuration: AutoScalingConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateConnectionRequest {
    pub connection_name: String,
    pub provider_type: ProviderType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

impl CreateConnectionRequest {
    /// With the required members; every other one is absent.
    pub fn new(connection_name: impl Into<String>, provider_type: ProviderType) -> Self {
        CreateConnectionRequest { connection_name: connection_name.into(), provider_type, tags: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateConnectionResponse {
    pub connection: Connection,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateObservabilityConfigurationRequest {
    pub observability_configuration_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_configuration: Option<TraceConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

impl CreateObservabilityConfigurationRequest {
    /// With the required members; every other one is absent.
    pub fn new(observability_configuration_name: impl Into<String>) -> Self {
        CreateObservabilityConfigurationRequest {
            observability_configuration_name: observability_configuration_name.into(),
            trace_configuration: None,
            tags: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateObservabilityConfigurationResponse {
    pub observability_configuration: ObservabilityConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateServiceRequest {
    pub service_name: String,
    pub source_configuration: SourceConfiguration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_configuration: Option<InstanceConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_configuration: Option<EncryptionConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_configuration: Option<HealthCheckConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<NetworkConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration: Option<ServiceObservabilityConfiguration>,
}

impl CreateServiceRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_name: impl Into<String>, source_configuration: SourceConfiguration) -> Self {
        CreateServiceRequest {
            service_name: service_name.into(),
            source_configuration,
            instance_configuration: None,
            tags: None,
            encryption_configuration: None,
            health_check_configuration: None,
            auto_scaling_configuration_arn: None,
            network_configuration: None,
            observability_configuration: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateServiceResponse {
    pub service: Service,
    pub operation_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateVpcConnectorRequest {
    pub vpc_connector_name: String,
    pub subnets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

impl CreateVpcConnectorRequest {
    /// With the required members; every other one is absent.
    pub fn new(vpc_connector_name: impl Into<String>, subnets: Vec<String>) -> Self {
        CreateVpcConnectorRequest {
            vpc_connector_name: vpc_connector_name.into(),
            subnets,
            security_groups: None,
            tags: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateVpcConnectorResponse {
    pub vpc_connector: VpcConnector,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateVpcIngressConnectionRequest {
    pub service_arn: String,
    pub vpc_ingress_connection_name: String,
    pub ingress_vpc_configuration: IngressVpcConfiguration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

impl CreateVpcIngressConnectionRequest {
    /// With the required members; every other one is absent.
    pub fn new(
        service_arn: impl Into<String>,
        vpc_ingress_connection_name: impl Into<String>,
        ingress_vpc_configuration: IngressVpcConfiguration,
    ) -> Self {
        CreateVpcIngressConnectionRequest {
            service_arn: service_arn.into(),
            vpc_ingress_connection_name: vpc_ingress_connection_name.into(),
            ingress_vpc_configuration,
            tags: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateVpcIngressConnectionResponse {
    pub vpc_ingress_connection: VpcIngressConnection,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomDomain {
    pub domain_name: String,
    #[serde(rename = "EnableWWWSubdomain")]
    pub enable_www_subdomain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_validation_records: Option<Vec<CertificateValidationRecord>>,
    pub status: CustomDomainAssociationStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CustomDomainAssociationStatus {
    #[serde(rename = "creating")]
    Creating,
    #[serde(rename = "create_failed")]
    CreateFailed,
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "deleting")]
    Deleting,
    #[serde(rename = "delete_failed")]
    DeleteFailed,
    #[serde(rename = "pending_certificate_dns_validation")]
    PendingCertificateDnsValidation,
    #[serde(rename = "binding_certificate")]
    BindingCertificate,
}

impl CustomDomainAssociationStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CustomDomainAssociationStatus::Creating => "creating",
            CustomDomainAssociationStatus::CreateFailed => "create_failed",
            CustomDomainAssociationStatus::Active => "active",
            CustomDomainAssociationStatus::Deleting => "deleting",
            CustomDomainAssociationStatus::DeleteFailed => "delete_failed",
            CustomDomainAssociationStatus::PendingCertificateDnsValidation => {
                "pending_certificate_dns_validation"
            }
            CustomDomainAssociationStatus::BindingCertificate => "binding_certificate",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<CustomDomainAssociationStatus> {
        match text {
            "creating" => Some(CustomDomainAssociationStatus::Creating),
            "create_failed" => Some(CustomDomainAssociationStatus::CreateFailed),
            "active" => Some(CustomDomainAssociationStatus::Active),
            "deleting" => Some(CustomDomainAssociationStatus::Deleting),
            "delete_failed" => Some(CustomDomainAssociationStatus::DeleteFailed),
            "pending_certificate_dns_validation" => {
                Some(CustomDomainAssociationStatus::PendingCertificateDnsValidation)
            }
            "binding_certificate" => Some(CustomDomainAssociationStatus::BindingCertificate),
            _ => None,
        }
    }
}

impl fmt::Display for CustomDomainAssociationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteAutoScalingConfigurationRequest {
    pub auto_scaling_configuration_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_all_revisions: Option<bool>,
}

impl DeleteAutoScalingConfigurationRequest {
    /// With the required members; every other one is absent.
    pub fn new(auto_scaling_configuration_arn: impl Into<String>) -> Self {
        DeleteAutoScalingConfigurationRequest {
            auto_scaling_configuration_arn: auto_scaling_configuration_arn.into(),
            delete_all_revisions: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteAutoScalingConfigurationResponse {
    pub auto_scaling_configuration: AutoScalingConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteConnectionRequest {
    pub connection_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteConnectionResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteObservabilityConfigurationRequest {
    pub observability_configuration_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteObservabilityConfigurationResponse {
    pub observability_configuration: ObservabilityConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteServiceRequest {
    pub service_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteServiceResponse {
    pub service: Service,
    pub operation_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteVpcConnectorRequest {
    pub vpc_connector_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteVpcConnectorResponse {
    pub vpc_connector: VpcConnector,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteVpcIngressConnectionRequest {
    pub vpc_ingress_connection_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteVpcIngressConnectionResponse {
    pub vpc_ingress_connection: VpcIngressConnection,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAutoScalingConfigurationRequest {
    pub auto_scaling_configuration_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAutoScalingConfigurationResponse {
    pub auto_scaling_configuration: AutoScalingConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeCustomDomainsRequest {
    pub service_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
}

impl DescribeCustomDomainsRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>) -> Self {
        DescribeCustomDomainsRequest { service_arn: service_arn.into(), next_token: None, max_results: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeCustomDomainsResponse {
    #[serde(rename = "DNSTarget")]
    pub dns_target: String,
    pub service_arn: String,
    pub custom_domains: Vec<CustomDomain>,
    #[serde(rename = "VpcDNSTargets")]
    pub vpc_dns_targets: Vec<VpcDNSTarget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeObservabilityConfigurationRequest {
    pub observability_configuration_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeObservabilityConfigurationResponse {
    pub observability_configuration: ObservabilityConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeServiceRequest {
    pub service_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeServiceResponse {
    pub service: Service,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeVpcConnectorRequest {
    pub vpc_connector_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeVpcConnectorResponse {
    pub vpc_connector: VpcConnector,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeVpcIngressConnectionRequest {
    pub vpc_ingress_connection_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeVpcIngressConnectionResponse {
    pub vpc_ingress_connection: VpcIngressConnection,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DisassociateCustomDomainRequest {
    pub service_arn: String,
    pub domain_name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DisassociateCustomDomainResponse {
    #[serde(rename = "DNSTarget")]
    pub dns_target: String,
    pub service_arn: String,
    pub custom_domain: CustomDomain,
    #[serde(rename = "VpcDNSTargets")]
    pub vpc_dns_targets: Vec<VpcDNSTarget>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EgressConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_type: Option<EgressType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_connector_arn: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EgressType {
    #[serde(rename = "DEFAULT")]
    Default,
    #[serde(rename = "VPC")]
    Vpc,
}

impl EgressType {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EgressType::Default => "DEFAULT",
            EgressType::Vpc => "VPC",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<EgressType> {
        match text {
            "DEFAULT" => Some(EgressType::Default),
            "VPC" => Some(EgressType::Vpc),
            _ => None,
        }
    }
}

impl fmt::Display for EgressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EncryptionConfiguration {
    pub kms_key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthCheckConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<HealthCheckProtocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_threshold: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold: Option<i32>,
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

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_environment_variables: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_environment_secrets: Option<BTreeMap<String, String>>,
}

impl fmt::Debug for ImageConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageConfiguration")
            .field(
                "runtime_environment_variables",
                &self.runtime_environment_variables.as_ref().map(|_| Hidden),
            )
            .field("start_command", &self.start_command.as_ref().map(|_| Hidden))
            .field("port", &self.port)
            .field("runtime_environment_secrets", &self.runtime_environment_secrets.as_ref().map(|_| Hidden))
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageRepository {
    pub image_identifier: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_configuration: Option<ImageConfiguration>,
    pub image_repository_type: ImageRepositoryType,
}

impl ImageRepository {
    /// With the required members; every other one is absent.
    pub fn new(image_identifier: impl Into<String>, image_repository_type: ImageRepositoryType) -> Self {
        ImageRepository {
            image_identifier: image_identifier.into(),
            image_configuration: None,
            image_repository_type,
        }
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IngressConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_publicly_accessible: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IngressVpcConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint_id: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_role_arn: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IpAddressType {
    #[serde(rename = "IPV4")]
    Ipv4,
    #[serde(rename = "DUAL_STACK")]
    DualStack,
}

impl IpAddressType {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            IpAddressType::Ipv4 => "IPV4",
            IpAddressType::DualStack => "DUAL_STACK",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<IpAddressType> {
        match text {
            "IPV4" => Some(IpAddressType::Ipv4),
            "DUAL_STACK" => Some(IpAddressType::DualStack),
            _ => None,
        }
    }
}

impl fmt::Display for IpAddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAutoScalingConfigurationsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListAutoScalingConfigurationsResponse {
    pub auto_scaling_configuration_summary_list: Vec<AutoScalingConfigurationSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListConnectionsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListConnectionsResponse {
    pub connection_summary_list: Vec<ConnectionSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListObservabilityConfigurationsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListObservabilityConfigurationsResponse {
    pub observability_configuration_summary_list: Vec<ObservabilityConfigurationSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOperationsRequest {
    pub service_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
}

impl ListOperationsRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>) -> Self {
        ListOperationsRequest { service_arn: service_arn.into(), next_token: None, max_results: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListOperationsResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_summary_list: Option<Vec<OperationSummary>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListServicesForAutoScalingConfigurationRequest {
    pub auto_scaling_configuration_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl ListServicesForAutoScalingConfigurationRequest {
    /// With the required members; every other one is absent.
    pub fn new(auto_scaling_configuration_arn: impl Into<String>) -> Self {
        ListServicesForAutoScalingConfigurationRequest {
            auto_scaling_configuration_arn: auto_scaling_configuration_arn.into(),
            max_results: None,
            next_token: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListServicesForAutoScalingConfigurationResponse {
    pub service_arn_list: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListServicesRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListServicesResponse {
    pub service_summary_list: Vec<ServiceSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceRequest {
    pub resource_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListVpcConnectorsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListVpcConnectorsResponse {
    pub vpc_connectors: Vec<VpcConnector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListVpcIngressConnectionsFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint_id: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListVpcIngressConnectionsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<ListVpcIngressConnectionsFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListVpcIngressConnectionsResponse {
    pub vpc_ingress_connection_summary_list: Vec<VpcIngressConnectionSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_configuration: Option<EgressConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_configuration: Option<IngressConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<IpAddressType>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObservabilityConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_configuration: Option<TraceConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_revision: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ObservabilityConfigurationStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObservabilityConfigurationStatus {
    #[serde(rename = "ACTIVE")]
    Active,
    #[serde(rename = "INACTIVE")]
    Inactive,
}

impl ObservabilityConfigurationStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ObservabilityConfigurationStatus::Active => "ACTIVE",
            ObservabilityConfigurationStatus::Inactive => "INACTIVE",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<ObservabilityConfigurationStatus> {
        match text {
            "ACTIVE" => Some(ObservabilityConfigurationStatus::Active),
            "INACTIVE" => Some(ObservabilityConfigurationStatus::Inactive),
            _ => None,
        }
    }
}

impl fmt::Display for ObservabilityConfigurationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObservabilityConfigurationSummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_revision: Option<i32>,
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OperationSummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<OperationType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<OperationStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<f64>,
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
pub struct PauseServiceRequest {
    pub service_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PauseServiceResponse {
    pub service: Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProviderType {
    #[serde(rename = "GITHUB")]
    Github,
    #[serde(rename = "BITBUCKET")]
    Bitbucket,
    #[serde(rename = "GITLAB")]
    Gitlab,
    #[serde(rename = "GIT")]
    Git,
}

impl ProviderType {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderType::Github => "GITHUB",
            ProviderType::Bitbucket => "BITBUCKET",
            ProviderType::Gitlab => "GITLAB",
            ProviderType::Git => "GIT",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<ProviderType> {
        match text {
            "GITHUB" => Some(ProviderType::Github),
            "BITBUCKET" => Some(ProviderType::Bitbucket),
            "GITLAB" => Some(ProviderType::Gitlab),
            "GIT" => Some(ProviderType::Git),
            _ => None,
        }
    }
}

impl fmt::Display for ProviderType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResumeServiceRequest {
    pub service_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResumeServiceResponse {
    pub service: Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    pub service_name: String,
    pub service_id: String,
    pub service_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_url: Option<String>,
    pub created_at: f64,
    pub updated_at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<f64>,
    pub status: ServiceStatus,
    pub source_configuration: SourceConfiguration,
    pub instance_configuration: InstanceConfiguration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_configuration: Option<EncryptionConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_configuration: Option<HealthCheckConfiguration>,
    pub auto_scaling_configuration_summary: AutoScalingConfigurationSummary,
    pub network_configuration: NetworkConfiguration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration: Option<ServiceObservabilityConfiguration>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceObservabilityConfiguration {
    pub observability_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration_arn: Option<String>,
}

impl ServiceObservabilityConfiguration {
    /// With the required members; every other one is absent.
    pub fn new(observability_enabled: bool) -> Self {
        ServiceObservabilityConfiguration { observability_enabled, observability_configuration_arn: None }
    }
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceSummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ServiceStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SourceCodeVersion {
    pub r#type: SourceCodeVersionType,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SourceCodeVersionType {
    #[serde(rename = "BRANCH")]
    Branch,
}

impl SourceCodeVersionType {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            SourceCodeVersionType::Branch => "BRANCH",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<SourceCodeVersionType> {
        match text {
            "BRANCH" => Some(SourceCodeVersionType::Branch),
            _ => None,
        }
    }
}

impl fmt::Display for SourceCodeVersionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SourceConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_repository: Option<CodeRepository>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_repository: Option<ImageRepository>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_deployments_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_configuration: Option<AuthenticationConfiguration>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartDeploymentRequest {
    pub service_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartDeploymentResponse {
    pub operation_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagResourceRequest {
    pub resource_arn: String,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagResourceResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TraceConfiguration {
    pub vendor: TracingVendor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TracingVendor {
    #[serde(rename = "AWSXRAY")]
    Awsxray,
}

impl TracingVendor {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TracingVendor::Awsxray => "AWSXRAY",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<TracingVendor> {
        match text {
            "AWSXRAY" => Some(TracingVendor::Awsxray),
            _ => None,
        }
    }
}

impl fmt::Display for TracingVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UntagResourceRequest {
    pub resource_arn: String,
    pub tag_keys: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UntagResourceResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateDefaultAutoScalingConfigurationRequest {
    pub auto_scaling_configuration_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateDefaultAutoScalingConfigurationResponse {
    pub auto_scaling_configuration: AutoScalingConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateServiceRequest {
    pub service_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_configuration: Option<SourceConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_configuration: Option<InstanceConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_scaling_configuration_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_configuration: Option<HealthCheckConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<NetworkConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_configuration: Option<ServiceObservabilityConfiguration>,
}

impl UpdateServiceRequest {
    /// With the required members; every other one is absent.
    pub fn new(service_arn: impl Into<String>) -> Self {
        UpdateServiceRequest {
            service_arn: service_arn.into(),
            source_configuration: None,
            instance_configuration: None,
            auto_scaling_configuration_arn: None,
            health_check_configuration: None,
            network_configuration: None,
            observability_configuration: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateServiceResponse {
    pub service: Service,
    pub operation_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateVpcIngressConnectionRequest {
    pub vpc_ingress_connection_arn: String,
    pub ingress_vpc_configuration: IngressVpcConfiguration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateVpcIngressConnectionResponse {
    pub vpc_ingress_connection: VpcIngressConnection,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VpcConnector {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_connector_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_connector_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_connector_revision: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_groups: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<VpcConnectorStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VpcConnectorStatus {
    #[serde(rename = "ACTIVE")]
    Active,
    #[serde(rename = "INACTIVE")]
    Inactive,
}

impl VpcConnectorStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            VpcConnectorStatus::Active => "ACTIVE",
            VpcConnectorStatus::Inactive => "INACTIVE",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<VpcConnectorStatus> {
        match text {
            "ACTIVE" => Some(VpcConnectorStatus::Active),
            "INACTIVE" => Some(VpcConnectorStatus::Inactive),
            _ => None,
        }
    }
}

impl fmt::Display for VpcConnectorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VpcDNSTarget {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_ingress_connection_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VpcIngressConnection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_ingress_connection_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_ingress_connection_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<VpcIngressConnectionStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_vpc_configuration: Option<IngressVpcConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VpcIngressConnectionStatus {
    #[serde(rename = "AVAILABLE")]
    Available,
    #[serde(rename = "PENDING_CREATION")]
    PendingCreation,
    #[serde(rename = "PENDING_UPDATE")]
    PendingUpdate,
    #[serde(rename = "PENDING_DELETION")]
    PendingDeletion,
    #[serde(rename = "FAILED_CREATION")]
    FailedCreation,
    #[serde(rename = "FAILED_UPDATE")]
    FailedUpdate,
    #[serde(rename = "FAILED_DELETION")]
    FailedDeletion,
    #[serde(rename = "DELETED")]
    Deleted,
}

impl VpcIngressConnectionStatus {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            VpcIngressConnectionStatus::Available => "AVAILABLE",
            VpcIngressConnectionStatus::PendingCreation => "PENDING_CREATION",
            VpcIngressConnectionStatus::PendingUpdate => "PENDING_UPDATE",
            VpcIngressConnectionStatus::PendingDeletion => "PENDING_DELETION",
            VpcIngressConnectionStatus::FailedCreation => "FAILED_CREATION",
            VpcIngressConnectionStatus::FailedUpdate => "FAILED_UPDATE",
            VpcIngressConnectionStatus::FailedDeletion => "FAILED_DELETION",
            VpcIngressConnectionStatus::Deleted => "DELETED",
        }
    }

    /// The value of exactly this text.
    pub fn parse(text: &str) -> Option<VpcIngressConnectionStatus> {
        match text {
            "AVAILABLE" => Some(VpcIngressConnectionStatus::Available),
            "PENDING_CREATION" => Some(VpcIngressConnectionStatus::PendingCreation),
            "PENDING_UPDATE" => Some(VpcIngressConnectionStatus::PendingUpdate),
            "PENDING_DELETION" => Some(VpcIngressConnectionStatus::PendingDeletion),
            "FAILED_CREATION" => Some(VpcIngressConnectionStatus::FailedCreation),
            "FAILED_UPDATE" => Some(VpcIngressConnectionStatus::FailedUpdate),
            "FAILED_DELETION" => Some(VpcIngressConnectionStatus::FailedDeletion),
            "DELETED" => Some(VpcIngressConnectionStatus::Deleted),
            _ => None,
        }
    }
}

impl fmt::Display for VpcIngressConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VpcIngressConnectionSummary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_ingress_connection_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_arn: Option<String>,
}

impl Call for AssociateCustomDomainRequest {
    type Output = AssociateCustomDomainResponse;
    const TARGET: &'static str = "AppRunner.AssociateCustomDomain";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::ASSOCIATE_CUSTOM_DOMAIN_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::ASSOCIATE_CUSTOM_DOMAIN_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::AssociateCustomDomain.errors().contains(&error))
    }
}

impl Call for CreateAutoScalingConfigurationRequest {
    type Output = CreateAutoScalingConfigurationResponse;
    const TARGET: &'static str = "AppRunner.CreateAutoScalingConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_AUTO_SCALING_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_AUTO_SCALING_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::CreateAutoScalingConfiguration.errors().contains(&error))
    }
}

impl Call for CreateConnectionRequest {
    type Output = CreateConnectionResponse;
    const TARGET: &'static str = "AppRunner.CreateConnection";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_CONNECTION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_CONNECTION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CreateConnection.errors().contains(&error))
    }
}

impl Call for CreateObservabilityConfigurationRequest {
    type Output = CreateObservabilityConfigurationResponse;
    const TARGET: &'static str = "AppRunner.CreateObservabilityConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_OBSERVABILITY_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_OBSERVABILITY_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::CreateObservabilityConfiguration.errors().contains(&error))
    }
}

impl Call for CreateServiceRequest {
    type Output = CreateServiceResponse;
    const TARGET: &'static str = "AppRunner.CreateService";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_SERVICE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_SERVICE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CreateService.errors().contains(&error))
    }
}

impl Call for CreateVpcConnectorRequest {
    type Output = CreateVpcConnectorResponse;
    const TARGET: &'static str = "AppRunner.CreateVpcConnector";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_VPC_CONNECTOR_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_VPC_CONNECTOR_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::CreateVpcConnector.errors().contains(&error))
    }
}

impl Call for CreateVpcIngressConnectionRequest {
    type Output = CreateVpcIngressConnectionResponse;
    const TARGET: &'static str = "AppRunner.CreateVpcIngressConnection";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::CREATE_VPC_INGRESS_CONNECTION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::CREATE_VPC_INGRESS_CONNECTION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::CreateVpcIngressConnection.errors().contains(&error))
    }
}

impl Call for DeleteAutoScalingConfigurationRequest {
    type Output = DeleteAutoScalingConfigurationResponse;
    const TARGET: &'static str = "AppRunner.DeleteAutoScalingConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_AUTO_SCALING_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_AUTO_SCALING_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::DeleteAutoScalingConfiguration.errors().contains(&error))
    }
}

impl Call for DeleteConnectionRequest {
    type Output = DeleteConnectionResponse;
    const TARGET: &'static str = "AppRunner.DeleteConnection";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_CONNECTION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_CONNECTION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DeleteConnection.errors().contains(&error))
    }
}

impl Call for DeleteObservabilityConfigurationRequest {
    type Output = DeleteObservabilityConfigurationResponse;
    const TARGET: &'static str = "AppRunner.DeleteObservabilityConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_OBSERVABILITY_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_OBSERVABILITY_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::DeleteObservabilityConfiguration.errors().contains(&error))
    }
}

impl Call for DeleteServiceRequest {
    type Output = DeleteServiceResponse;
    const TARGET: &'static str = "AppRunner.DeleteService";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_SERVICE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_SERVICE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DeleteService.errors().contains(&error))
    }
}

impl Call for DeleteVpcConnectorRequest {
    type Output = DeleteVpcConnectorResponse;
    const TARGET: &'static str = "AppRunner.DeleteVpcConnector";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_VPC_CONNECTOR_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_VPC_CONNECTOR_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DeleteVpcConnector.errors().contains(&error))
    }
}

impl Call for DeleteVpcIngressConnectionRequest {
    type Output = DeleteVpcIngressConnectionResponse;
    const TARGET: &'static str = "AppRunner.DeleteVpcIngressConnection";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DELETE_VPC_INGRESS_CONNECTION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DELETE_VPC_INGRESS_CONNECTION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::DeleteVpcIngressConnection.errors().contains(&error))
    }
}

impl Call for DescribeAutoScalingConfigurationRequest {
    type Output = DescribeAutoScalingConfigurationResponse;
    const TARGET: &'static str = "AppRunner.DescribeAutoScalingConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_AUTO_SCALING_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_AUTO_SCALING_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::DescribeAutoScalingConfiguration.errors().contains(&error))
    }
}

impl Call for DescribeCustomDomainsRequest {
    type Output = DescribeCustomDomainsResponse;
    const TARGET: &'static str = "AppRunner.DescribeCustomDomains";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_CUSTOM_DOMAINS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_CUSTOM_DOMAINS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribeCustomDomains.errors().contains(&error))
    }
}

impl Call for DescribeObservabilityConfigurationRequest {
    type Output = DescribeObservabilityConfigurationResponse;
    const TARGET: &'static str = "AppRunner.DescribeObservabilityConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_OBSERVABILITY_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_OBSERVABILITY_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::DescribeObservabilityConfiguration.errors().contains(&error))
    }
}

impl Call for DescribeServiceRequest {
    type Output = DescribeServiceResponse;
    const TARGET: &'static str = "AppRunner.DescribeService";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_SERVICE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_SERVICE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribeService.errors().contains(&error))
    }
}

impl Call for DescribeVpcConnectorRequest {
    type Output = DescribeVpcConnectorResponse;
    const TARGET: &'static str = "AppRunner.DescribeVpcConnector";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_VPC_CONNECTOR_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_VPC_CONNECTOR_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::DescribeVpcConnector.errors().contains(&error))
    }
}

impl Call for DescribeVpcIngressConnectionRequest {
    type Output = DescribeVpcIngressConnectionResponse;
    const TARGET: &'static str = "AppRunner.DescribeVpcIngressConnection";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DESCRIBE_VPC_INGRESS_CONNECTION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DESCRIBE_VPC_INGRESS_CONNECTION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::DescribeVpcIngressConnection.errors().contains(&error))
    }
}

impl Call for DisassociateCustomDomainRequest {
    type Output = DisassociateCustomDomainResponse;
    const TARGET: &'static str = "AppRunner.DisassociateCustomDomain";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::DISASSOCIATE_CUSTOM_DOMAIN_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::DISASSOCIATE_CUSTOM_DOMAIN_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::DisassociateCustomDomain.errors().contains(&error))
    }
}

impl Call for ListAutoScalingConfigurationsRequest {
    type Output = ListAutoScalingConfigurationsResponse;
    const TARGET: &'static str = "AppRunner.ListAutoScalingConfigurations";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_AUTO_SCALING_CONFIGURATIONS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_AUTO_SCALING_CONFIGURATIONS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::ListAutoScalingConfigurations.errors().contains(&error))
    }
}

impl Call for ListConnectionsRequest {
    type Output = ListConnectionsResponse;
    const TARGET: &'static str = "AppRunner.ListConnections";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_CONNECTIONS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_CONNECTIONS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListConnections.errors().contains(&error))
    }
}

impl Call for ListObservabilityConfigurationsRequest {
    type Output = ListObservabilityConfigurationsResponse;
    const TARGET: &'static str = "AppRunner.ListObservabilityConfigurations";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_OBSERVABILITY_CONFIGURATIONS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_OBSERVABILITY_CONFIGURATIONS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::ListObservabilityConfigurations.errors().contains(&error))
    }
}

impl Call for ListOperationsRequest {
    type Output = ListOperationsResponse;
    const TARGET: &'static str = "AppRunner.ListOperations";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_OPERATIONS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_OPERATIONS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListOperations.errors().contains(&error))
    }
}

impl Call for ListServicesRequest {
    type Output = ListServicesResponse;
    const TARGET: &'static str = "AppRunner.ListServices";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_SERVICES_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_SERVICES_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListServices.errors().contains(&error))
    }
}

impl Call for ListServicesForAutoScalingConfigurationRequest {
    type Output = ListServicesForAutoScalingConfigurationResponse;
    const TARGET: &'static str = "AppRunner.ListServicesForAutoScalingConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_SERVICES_FOR_AUTO_SCALING_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_SERVICES_FOR_AUTO_SCALING_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::ListServicesForAutoScalingConfiguration.errors().contains(&error))
    }
}

impl Call for ListTagsForResourceRequest {
    type Output = ListTagsForResourceResponse;
    const TARGET: &'static str = "AppRunner.ListTagsForResource";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_TAGS_FOR_RESOURCE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_TAGS_FOR_RESOURCE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListTagsForResource.errors().contains(&error))
    }
}

impl Call for ListVpcConnectorsRequest {
    type Output = ListVpcConnectorsResponse;
    const TARGET: &'static str = "AppRunner.ListVpcConnectors";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_VPC_CONNECTORS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_VPC_CONNECTORS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ListVpcConnectors.errors().contains(&error))
    }
}

impl Call for ListVpcIngressConnectionsRequest {
    type Output = ListVpcIngressConnectionsResponse;
    const TARGET: &'static str = "AppRunner.ListVpcIngressConnections";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::LIST_VPC_INGRESS_CONNECTIONS_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::LIST_VPC_INGRESS_CONNECTIONS_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::ListVpcIngressConnections.errors().contains(&error))
    }
}

impl Call for PauseServiceRequest {
    type Output = PauseServiceResponse;
    const TARGET: &'static str = "AppRunner.PauseService";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::PAUSE_SERVICE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::PAUSE_SERVICE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::PauseService.errors().contains(&error))
    }
}

impl Call for ResumeServiceRequest {
    type Output = ResumeServiceResponse;
    const TARGET: &'static str = "AppRunner.ResumeService";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::RESUME_SERVICE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::RESUME_SERVICE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::ResumeService.errors().contains(&error))
    }
}

impl Call for StartDeploymentRequest {
    type Output = StartDeploymentResponse;
    const TARGET: &'static str = "AppRunner.StartDeployment";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::START_DEPLOYMENT_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::START_DEPLOYMENT_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::StartDeployment.errors().contains(&error))
    }
}

impl Call for TagResourceRequest {
    type Output = TagResourceResponse;
    const TARGET: &'static str = "AppRunner.TagResource";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::TAG_RESOURCE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::TAG_RESOURCE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::TagResource.errors().contains(&error))
    }
}

impl Call for UntagResourceRequest {
    type Output = UntagResourceResponse;
    const TARGET: &'static str = "AppRunner.UntagResource";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::UNTAG_RESOURCE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::UNTAG_RESOURCE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::UntagResource.errors().contains(&error))
    }
}

impl Call for UpdateDefaultAutoScalingConfigurationRequest {
    type Output = UpdateDefaultAutoScalingConfigurationResponse;
    const TARGET: &'static str = "AppRunner.UpdateDefaultAutoScalingConfiguration";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::UPDATE_DEFAULT_AUTO_SCALING_CONFIGURATION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::UPDATE_DEFAULT_AUTO_SCALING_CONFIGURATION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::UpdateDefaultAutoScalingConfiguration.errors().contains(&error))
    }
}

impl Call for UpdateServiceRequest {
    type Output = UpdateServiceResponse;
    const TARGET: &'static str = "AppRunner.UpdateService";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::UPDATE_SERVICE_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::UPDATE_SERVICE_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error).is_none_or(|error| Operation::UpdateService.errors().contains(&error))
    }
}

impl Call for UpdateVpcIngressConnectionRequest {
    type Output = UpdateVpcIngressConnectionResponse;
    const TARGET: &'static str = "AppRunner.UpdateVpcIngressConnection";
    const SIGNING_NAME: &'static str = SIGNING_NAME;
    fn shape() -> &'static Shape {
        &shapes::UPDATE_VPC_INGRESS_CONNECTION_REQUEST
    }
    fn output_shape() -> &'static Shape {
        &shapes::UPDATE_VPC_INGRESS_CONNECTION_RESPONSE
    }
    fn models(error: &str) -> bool {
        ErrorType::parse(error)
            .is_none_or(|error| Operation::UpdateVpcIngressConnection.errors().contains(&error))
    }
}

#[cfg(test)]
impl Operation {
    /// What its output must look like.
    pub(crate) fn output_shape(self) -> &'static Shape {
        match self {
            Operation::AssociateCustomDomain => <AssociateCustomDomainRequest as Call>::output_shape(),
            Operation::CreateAutoScalingConfiguration => {
                <CreateAutoScalingConfigurationRequest as Call>::output_shape()
            }
            Operation::CreateConnection => <CreateConnectionRequest as Call>::output_shape(),
            Operation::CreateObservabilityConfiguration => {
                <CreateObservabilityConfigurationRequest as Call>::output_shape()
            }
            Operation::CreateService => <CreateServiceRequest as Call>::output_shape(),
            Operation::CreateVpcConnector => <CreateVpcConnectorRequest as Call>::output_shape(),
            Operation::CreateVpcIngressConnection => {
                <CreateVpcIngressConnectionRequest as Call>::output_shape()
            }
            Operation::DeleteAutoScalingConfiguration => {
                <DeleteAutoScalingConfigurationRequest as Call>::output_shape()
            }
            Operation::DeleteConnection => <DeleteConnectionRequest as Call>::output_shape(),
            Operation::DeleteObservabilityConfiguration => {
                <DeleteObservabilityConfigurationRequest as Call>::output_shape()
            }
            Operation::DeleteService => <DeleteServiceRequest as Call>::output_shape(),
            Operation::DeleteVpcConnector => <DeleteVpcConnectorRequest as Call>::output_shape(),
            Operation::DeleteVpcIngressConnection => {
                <DeleteVpcIngressConnectionRequest as Call>::output_shape()
            }
            Operation::DescribeAutoScalingConfiguration => {
                <DescribeAutoScalingConfigurationRequest as Call>::output_shape()
            }
            Operation::DescribeCustomDomains => <DescribeCustomDomainsRequest as Call>::output_shape(),
            Operation::DescribeObservabilityConfiguration => {
                <DescribeObservabilityConfigurationRequest as Call>::output_shape()
            }
            Operation::DescribeService => <DescribeServiceRequest as Call>::output_shape(),
            Operation::DescribeVpcConnector => <DescribeVpcConnectorRequest as Call>::output_shape(),
            Operation::DescribeVpcIngressConnection => {
                <DescribeVpcIngressConnectionRequest as Call>::output_shape()
            }
            Operation::DisassociateCustomDomain => <DisassociateCustomDomainRequest as Call>::output_shape(),
            Operation::ListAutoScalingConfigurations => {
                <ListAutoScalingConfigurationsRequest as Call>::output_shape()
            }
            Operation::ListConnections => <ListConnectionsRequest as Call>::output_shape(),
            Operation::ListObservabilityConfigurations => {
                <ListObservabilityConfigurationsRequest as Call>::output_shape()
            }
            Operation::ListOperations => <ListOperationsRequest as Call>::output_shape(),
            Operation::ListServices => <ListServicesRequest as Call>::output_shape(),
            Operation::ListServicesForAutoScalingConfiguration => {
                <ListServicesForAutoScalingConfigurationRequest as Call>::output_shape()
            }
            Operation::ListTagsForResource => <ListTagsForResourceRequest as Call>::output_shape(),
            Operation::ListVpcConnectors => <ListVpcConnectorsRequest as Call>::output_shape(),
            Operation::ListVpcIngressConnections => {
                <ListVpcIngressConnectionsRequest as Call>::output_shape()
            }
            Operation::PauseService => <PauseServiceRequest as Call>::output_shape(),
            Operation::ResumeService => <ResumeServiceRequest as Call>::output_shape(),
            Operation::StartDeployment => <StartDeploymentRequest as Call>::output_shape(),
            Operation::TagResource => <TagResourceRequest as Call>::output_shape(),
            Operation::UntagResource => <UntagResourceRequest as Call>::output_shape(),
            Operation::UpdateDefaultAutoScalingConfiguration => {
                <UpdateDefaultAutoScalingConfigurationRequest as Call>::output_shape()
            }
            Operation::UpdateService => <UpdateServiceRequest as Call>::output_shape(),
            Operation::UpdateVpcIngressConnection => {
                <UpdateVpcIngressConnectionRequest as Call>::output_shape()
            }
        }
    }

    /// Reads a body as its input and writes that again.
    pub(crate) fn reread(self, body: &[u8]) -> Result<serde_json::Value, Error> {
        fn reread<C: Call>(body: &[u8]) -> Result<serde_json::Value, Error> {
            crate::json::decode::<C>(body).map(|input| serde_json::to_value(input).unwrap())
        }
        match self {
            Operation::AssociateCustomDomain => reread::<AssociateCustomDomainRequest>(body),
            Operation::CreateAutoScalingConfiguration => {
                reread::<CreateAutoScalingConfigurationRequest>(body)
            }
            Operation::CreateConnection => reread::<CreateConnectionRequest>(body),
            Operation::CreateObservabilityConfiguration => {
                reread::<CreateObservabilityConfigurationRequest>(body)
            }
            Operation::CreateService => reread::<CreateServiceRequest>(body),
            Operation::CreateVpcConnector => reread::<CreateVpcConnectorRequest>(body),
            Operation::CreateVpcIngressConnection => reread::<CreateVpcIngressConnectionRequest>(body),
            Operation::DeleteAutoScalingConfiguration => {
                reread::<DeleteAutoScalingConfigurationRequest>(body)
            }
            Operation::DeleteConnection => reread::<DeleteConnectionRequest>(body),
            Operation::DeleteObservabilityConfiguration => {
                reread::<DeleteObservabilityConfigurationRequest>(body)
            }
            Operation::DeleteService => reread::<DeleteServiceRequest>(body),
            Operation::DeleteVpcConnector => reread::<DeleteVpcConnectorRequest>(body),
            Operation::DeleteVpcIngressConnection => reread::<DeleteVpcIngressConnectionRequest>(body),
            Operation::DescribeAutoScalingConfiguration => {
                reread::<DescribeAutoScalingConfigurationRequest>(body)
            }
            Operation::DescribeCustomDomains => reread::<DescribeCustomDomainsRequest>(body),
            Operation::DescribeObservabilityConfiguration => {
                reread::<DescribeObservabilityConfigurationRequest>(body)
            }
            Operation::DescribeService => reread::<DescribeServiceRequest>(body),
            Operation::DescribeVpcConnector => reread::<DescribeVpcConnectorRequest>(body),
            Operation::DescribeVpcIngressConnection => reread::<DescribeVpcIngressConnectionRequest>(body),
            Operation::DisassociateCustomDomain => reread::<DisassociateCustomDomainRequest>(body),
            Operation::ListAutoScalingConfigurations => reread::<ListAutoScalingConfigurationsRequest>(body),
            Operation::ListConnections => reread::<ListConnectionsRequest>(body),
            Operation::ListObservabilityConfigurations => {
                reread::<ListObservabilityConfigurationsRequest>(body)
            }
            Operation::ListOperations => reread::<ListOperationsRequest>(body),
            Operation::ListServices => reread::<ListServicesRequest>(body),
            Operation::ListServicesForAutoScalingConfiguration => {
                reread::<ListServicesForAutoScalingConfigurationRequest>(body)
            }
            Operation::ListTagsForResource => reread::<ListTagsForResourceRequest>(body),
            Operation::ListVpcConnectors => reread::<ListVpcConnectorsRequest>(body),
            Operation::ListVpcIngressConnections => reread::<ListVpcIngressConnectionsRequest>(body),
            Operation::PauseService => reread::<PauseServiceRequest>(body),
            Operation::ResumeService => reread::<ResumeServiceRequest>(body),
            Operation::StartDeployment => reread::<StartDeploymentRequest>(body),
            Operation::TagResource => reread::<TagResourceRequest>(body),
            Operation::UntagResource => reread::<UntagResourceRequest>(body),
            Operation::UpdateDefaultAutoScalingConfiguration => {
                reread::<UpdateDefaultAutoScalingConfigurationRequest>(body)
            }
            Operation::UpdateService => reread::<UpdateServiceRequest>(body),
            Operation::UpdateVpcIngressConnection => reread::<UpdateVpcIngressConnectionRequest>(body),
        }
    }

    /// Reads a body as its output and writes that again.
    pub(crate) fn reread_output(self, body: serde_json::Value) -> serde_json::Value {
        fn reread<C: Call>(body: serde_json::Value) -> serde_json::Value {
            let output: C::Output = serde_json::from_value(body).unwrap();
            serde_json::to_value(output).unwrap()
        }
        match self {
            Operation::AssociateCustomDomain => reread::<AssociateCustomDomainRequest>(body),
            Operation::CreateAutoScalingConfiguration => {
                reread::<CreateAutoScalingConfigurationRequest>(body)
            }
            Operation::CreateConnection => reread::<CreateConnectionRequest>(body),
            Operation::CreateObservabilityConfiguration => {
                reread::<CreateObservabilityConfigurationRequest>(body)
            }
            Operation::CreateService => reread::<CreateServiceRequest>(body),
            Operation::CreateVpcConnector => reread::<CreateVpcConnectorRequest>(body),
            Operation::CreateVpcIngressConnection => reread::<CreateVpcIngressConnectionRequest>(body),
            Operation::DeleteAutoScalingConfiguration => {
                reread::<DeleteAutoScalingConfigurationRequest>(body)
            }
            Operation::DeleteConnection => reread::<DeleteConnectionRequest>(body),
            Operation::DeleteObservabilityConfiguration => {
                reread::<DeleteObservabilityConfigurationRequest>(body)
            }
            Operation::DeleteService => reread::<DeleteServiceRequest>(body),
            Operation::DeleteVpcConnector => reread::<DeleteVpcConnectorRequest>(body),
            Operation::DeleteVpcIngressConnection => reread::<DeleteVpcIngressConnectionRequest>(body),
            Operation::DescribeAutoScalingConfiguration => {
                reread::<DescribeAutoScalingConfigurationRequest>(body)
            }
            Operation::DescribeCustomDomains => reread::<DescribeCustomDomainsRequest>(body),
            Operation::DescribeObservabilityConfiguration => {
                reread::<DescribeObservabilityConfigurationRequest>(body)
            }
            Operation::DescribeService => reread::<DescribeServiceRequest>(body),
            Operation::DescribeVpcConnector => reread::<DescribeVpcConnectorRequest>(body),
            Operation::DescribeVpcIngressConnection => reread::<DescribeVpcIngressConnectionRequest>(body),
            Operation::DisassociateCustomDomain => reread::<DisassociateCustomDomainRequest>(body),
            Operation::ListAutoScalingConfigurations => reread::<ListAutoScalingConfigurationsRequest>(body),
            Operation::ListConnections => reread::<ListConnectionsRequest>(body),
            Operation::ListObservabilityConfigurations => {
                reread::<ListObservabilityConfigurationsRequest>(body)
            }
            Operation::ListOperations => reread::<ListOperationsRequest>(body),
            Operation::ListServices => reread::<ListServicesRequest>(body),
            Operation::ListServicesForAutoScalingConfiguration => {
                reread::<ListServicesForAutoScalingConfigurationRequest>(body)
            }
            Operation::ListTagsForResource => reread::<ListTagsForResourceRequest>(body),
            Operation::ListVpcConnectors => reread::<ListVpcConnectorsRequest>(body),
            Operation::ListVpcIngressConnections => reread::<ListVpcIngressConnectionsRequest>(body),
            Operation::PauseService => reread::<PauseServiceRequest>(body),
            Operation::ResumeService => reread::<ResumeServiceRequest>(body),
            Operation::StartDeployment => reread::<StartDeploymentRequest>(body),
            Operation::TagResource => reread::<TagResourceRequest>(body),
            Operation::UntagResource => reread::<UntagResourceRequest>(body),
            Operation::UpdateDefaultAutoScalingConfiguration => {
                reread::<UpdateDefaultAutoScalingConfigurationRequest>(body)
            }
            Operation::UpdateService => reread::<UpdateServiceRequest>(body),
            Operation::UpdateVpcIngressConnection => reread::<UpdateVpcIngressConnectionRequest>(body),
        }
    }
}

/// What inputs and outputs must look like; `crate::shape` checks it.
mod shapes {
    use super::*;

    pub(super) static AS_CONFIG_MAX_CONCURRENCY: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(200) });
    pub(super) static AS_CONFIG_MAX_SIZE: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: None });
    pub(super) static AS_CONFIG_MIN_SIZE: Shape =
        Shape::Integer(Integer { long: false, min: Some(0), max: Some(25) });
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
    pub(super) static ASSOCIATE_CUSTOM_DOMAIN_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "DomainName", required: true, shape: &DOMAIN_NAME_SHAPE },
        Member { name: "EnableWWWSubdomain", required: false, shape: &NULLABLE_BOOLEAN },
    ]);
    pub(super) static ASSOCIATE_CUSTOM_DOMAIN_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "DNSTarget", required: true, shape: &STRING_SHAPE },
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "CustomDomain", required: true, shape: &CUSTOM_DOMAIN },
        Member { name: "VpcDNSTargets", required: true, shape: &VPC_DNS_TARGET_LIST },
    ]);
    pub(super) static AUTHENTICATION_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "ConnectionArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "AccessRoleArn", required: false, shape: &ROLE_ARN_SHAPE },
    ]);
    pub(super) static AUTO_SCALING_CONFIGURATION: Shape = Shape::Structure(&[
        Member {
            name: "AutoScalingConfigurationArn",
            required: false,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        },
        Member {
            name: "AutoScalingConfigurationName",
            required: false,
            shape: &AUTO_SCALING_CONFIGURATION_NAME_SHAPE,
        },
        Member {
            name: "AutoScalingConfigurationRevision",
            required: false,
            shape: &AUTO_SCALING_CONFIGURATION_REVISION,
        },
        Member { name: "Latest", required: false, shape: &LATEST },
        Member { name: "Status", required: false, shape: &AUTO_SCALING_CONFIGURATION_STATUS_SHAPE },
        Member { name: "MaxConcurrency", required: false, shape: &MAX_CONCURRENCY },
        Member { name: "MinSize", required: false, shape: &MIN_SIZE },
        Member { name: "MaxSize", required: false, shape: &MAX_SIZE },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
        Member { name: "DeletedAt", required: false, shape: &TIMESTAMP },
        Member { name: "HasAssociatedService", required: false, shape: &HAS_ASSOCIATED_SERVICE },
        Member { name: "IsDefault", required: false, shape: &IS_DEFAULT },
    ]);
    pub(super) static AUTO_SCALING_CONFIGURATION_NAME: Text = Text {
        length: Length { min: 4, max: Some(32) },
        pattern: Some(Pattern::new(
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,31}",
            None,
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,31}",
        )),
        values: &[],
        sensitive: false,
    };
    static AUTO_SCALING_CONFIGURATION_NAME_SHAPE: Shape = Shape::Text(&AUTO_SCALING_CONFIGURATION_NAME);
    pub(super) static AUTO_SCALING_CONFIGURATION_REVISION: Shape =
        Shape::Integer(Integer { long: false, min: None, max: None });
    pub(super) static AUTO_SCALING_CONFIGURATION_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["active", "inactive"],
        sensitive: false,
    };
    static AUTO_SCALING_CONFIGURATION_STATUS_SHAPE: Shape = Shape::Text(&AUTO_SCALING_CONFIGURATION_STATUS);
    pub(super) static AUTO_SCALING_CONFIGURATION_SUMMARY: Shape = Shape::Structure(&[
        Member {
            name: "AutoScalingConfigurationArn",
            required: false,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        },
        Member {
            name: "AutoScalingConfigurationName",
            required: false,
            shape: &AUTO_SCALING_CONFIGURATION_NAME_SHAPE,
        },
        Member { name: "AutoScalingConfigurationRevision", required: false, shape: &INTEGER },
        Member { name: "Status", required: false, shape: &AUTO_SCALING_CONFIGURATION_STATUS_SHAPE },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
        Member { name: "HasAssociatedService", required: false, shape: &HAS_ASSOCIATED_SERVICE },
        Member { name: "IsDefault", required: false, shape: &IS_DEFAULT },
    ]);
    pub(super) static AUTO_SCALING_CONFIGURATION_SUMMARY_LIST: Shape =
        Shape::List { member: &AUTO_SCALING_CONFIGURATION_SUMMARY, length: Length { min: 0, max: None } };
    pub(super) static BOOLEAN: Shape = Shape::Boolean;
    pub(super) static BUILD_COMMAND: Text = Text {
        length: Length { min: 0, max: None },
        pattern: Some(Pattern::new("[^\\x0a\\x0d]+", None, "[^\\x0a\\x0d]+")),
        values: &[],
        sensitive: true,
    };
    static BUILD_COMMAND_SHAPE: Shape = Shape::Text(&BUILD_COMMAND);
    pub(super) static CERTIFICATE_VALIDATION_RECORD: Shape = Shape::Structure(&[
        Member { name: "Name", required: false, shape: &STRING_SHAPE },
        Member { name: "Type", required: false, shape: &STRING_SHAPE },
        Member { name: "Value", required: false, shape: &STRING_SHAPE },
        Member { name: "Status", required: false, shape: &CERTIFICATE_VALIDATION_RECORD_STATUS_SHAPE },
    ]);
    pub(super) static CERTIFICATE_VALIDATION_RECORD_LIST: Shape =
        Shape::List { member: &CERTIFICATE_VALIDATION_RECORD, length: Length { min: 0, max: None } };
    pub(super) static CERTIFICATE_VALIDATION_RECORD_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["PENDING_VALIDATION", "SUCCESS", "FAILED"],
        sensitive: false,
    };
    static CERTIFICATE_VALIDATION_RECORD_STATUS_SHAPE: Shape =
        Shape::Text(&CERTIFICATE_VALIDATION_RECORD_STATUS);
    pub(super) static CODE_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "ConfigurationSource", required: true, shape: &CONFIGURATION_SOURCE_SHAPE },
        Member { name: "CodeConfigurationValues", required: false, shape: &CODE_CONFIGURATION_VALUES },
    ]);
    pub(super) static CODE_CONFIGURATION_VALUES: Shape = Shape::Structure(&[
        Member { name: "Runtime", required: true, shape: &RUNTIME_SHAPE },
        Member { name: "BuildCommand", required: false, shape: &BUILD_COMMAND_SHAPE },
        Member { name: "StartCommand", required: false, shape: &START_COMMAND_SHAPE },
        Member { name: "Port", required: false, shape: &STRING_SHAPE },
        Member {
            name: "RuntimeEnvironmentVariables",
            required: false,
            shape: &RUNTIME_ENVIRONMENT_VARIABLES,
        },
        Member { name: "RuntimeEnvironmentSecrets", required: false, shape: &RUNTIME_ENVIRONMENT_SECRETS },
    ]);
    pub(super) static CODE_REPOSITORY: Shape = Shape::Structure(&[
        Member { name: "RepositoryUrl", required: true, shape: &STRING_SHAPE },
        Member { name: "SourceCodeVersion", required: true, shape: &SOURCE_CODE_VERSION },
        Member { name: "CodeConfiguration", required: false, shape: &CODE_CONFIGURATION },
        Member { name: "SourceDirectory", required: false, shape: &SOURCE_DIRECTORY_SHAPE },
    ]);
    pub(super) static CONFIGURATION_SOURCE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["REPOSITORY", "API"],
        sensitive: false,
    };
    static CONFIGURATION_SOURCE_SHAPE: Shape = Shape::Text(&CONFIGURATION_SOURCE);
    pub(super) static CONNECTION: Shape = Shape::Structure(&[
        Member { name: "ConnectionName", required: false, shape: &CONNECTION_NAME_SHAPE },
        Member { name: "ConnectionArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "ProviderType", required: false, shape: &PROVIDER_TYPE_SHAPE },
        Member { name: "Status", required: false, shape: &CONNECTION_STATUS_SHAPE },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
    ]);
    pub(super) static CONNECTION_NAME: Text = Text {
        length: Length { min: 4, max: Some(32) },
        pattern: Some(Pattern::new(
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,31}",
            None,
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,31}",
        )),
        values: &[],
        sensitive: false,
    };
    static CONNECTION_NAME_SHAPE: Shape = Shape::Text(&CONNECTION_NAME);
    pub(super) static CONNECTION_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["PENDING_HANDSHAKE", "AVAILABLE", "ERROR", "DELETED"],
        sensitive: false,
    };
    static CONNECTION_STATUS_SHAPE: Shape = Shape::Text(&CONNECTION_STATUS);
    pub(super) static CONNECTION_SUMMARY: Shape = Shape::Structure(&[
        Member { name: "ConnectionName", required: false, shape: &CONNECTION_NAME_SHAPE },
        Member { name: "ConnectionArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "ProviderType", required: false, shape: &PROVIDER_TYPE_SHAPE },
        Member { name: "Status", required: false, shape: &CONNECTION_STATUS_SHAPE },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
    ]);
    pub(super) static CONNECTION_SUMMARY_LIST: Shape =
        Shape::List { member: &CONNECTION_SUMMARY, length: Length { min: 0, max: None } };
    pub(super) static CPU: Text = Text {
        length: Length { min: 3, max: Some(9) },
        pattern: Some(Pattern::new(
            "256|512|1024|2048|4096|(0.25|0.5|1|2|4) vCPU",
            None,
            "256|512|1024|2048|4096|(0.25|0.5|1|2|4) vCPU",
        )),
        values: &[],
        sensitive: false,
    };
    static CPU_SHAPE: Shape = Shape::Text(&CPU);
    pub(super) static CREATE_AUTO_SCALING_CONFIGURATION_REQUEST: Shape = Shape::Structure(&[
        Member {
            name: "AutoScalingConfigurationName",
            required: true,
            shape: &AUTO_SCALING_CONFIGURATION_NAME_SHAPE,
        },
        Member { name: "MaxConcurrency", required: false, shape: &AS_CONFIG_MAX_CONCURRENCY },
        Member { name: "MinSize", required: false, shape: &AS_CONFIG_MIN_SIZE },
        Member { name: "MaxSize", required: false, shape: &AS_CONFIG_MAX_SIZE },
        Member { name: "Tags", required: false, shape: &TAG_LIST },
    ]);
    pub(super) static CREATE_AUTO_SCALING_CONFIGURATION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "AutoScalingConfiguration",
        required: true,
        shape: &AUTO_SCALING_CONFIGURATION,
    }]);
    pub(super) static CREATE_CONNECTION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ConnectionName", required: true, shape: &CONNECTION_NAME_SHAPE },
        Member { name: "ProviderType", required: true, shape: &PROVIDER_TYPE_SHAPE },
        Member { name: "Tags", required: false, shape: &TAG_LIST },
    ]);
    pub(super) static CREATE_CONNECTION_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "Connection", required: true, shape: &CONNECTION }]);
    pub(super) static CREATE_OBSERVABILITY_CONFIGURATION_REQUEST: Shape = Shape::Structure(&[
        Member {
            name: "ObservabilityConfigurationName",
            required: true,
            shape: &OBSERVABILITY_CONFIGURATION_NAME_SHAPE,
        },
        Member { name: "TraceConfiguration", required: false, shape: &TRACE_CONFIGURATION },
        Member { name: "Tags", required: false, shape: &TAG_LIST },
    ]);
    pub(super) static CREATE_OBSERVABILITY_CONFIGURATION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "ObservabilityConfiguration",
        required: true,
        shape: &OBSERVABILITY_CONFIGURATION,
    }]);
    pub(super) static CREATE_SERVICE_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceName", required: true, shape: &SERVICE_NAME_SHAPE },
        Member { name: "SourceConfiguration", required: true, shape: &SOURCE_CONFIGURATION },
        Member { name: "InstanceConfiguration", required: false, shape: &INSTANCE_CONFIGURATION },
        Member { name: "Tags", required: false, shape: &TAG_LIST },
        Member { name: "EncryptionConfiguration", required: false, shape: &ENCRYPTION_CONFIGURATION },
        Member { name: "HealthCheckConfiguration", required: false, shape: &HEALTH_CHECK_CONFIGURATION },
        Member {
            name: "AutoScalingConfigurationArn",
            required: false,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        },
        Member { name: "NetworkConfiguration", required: false, shape: &NETWORK_CONFIGURATION },
        Member {
            name: "ObservabilityConfiguration",
            required: false,
            shape: &SERVICE_OBSERVABILITY_CONFIGURATION,
        },
    ]);
    pub(super) static CREATE_SERVICE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Service", required: true, shape: &SERVICE },
        Member { name: "OperationId", required: true, shape: &UUID_SHAPE },
    ]);
    pub(super) static CREATE_VPC_CONNECTOR_REQUEST: Shape = Shape::Structure(&[
        Member { name: "VpcConnectorName", required: true, shape: &VPC_CONNECTOR_NAME_SHAPE },
        Member { name: "Subnets", required: true, shape: &STRING_LIST },
        Member { name: "SecurityGroups", required: false, shape: &STRING_LIST },
        Member { name: "Tags", required: false, shape: &TAG_LIST },
    ]);
    pub(super) static CREATE_VPC_CONNECTOR_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "VpcConnector", required: true, shape: &VPC_CONNECTOR }]);
    pub(super) static CREATE_VPC_INGRESS_CONNECTION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member {
            name: "VpcIngressConnectionName",
            required: true,
            shape: &VPC_INGRESS_CONNECTION_NAME_SHAPE,
        },
        Member { name: "IngressVpcConfiguration", required: true, shape: &INGRESS_VPC_CONFIGURATION },
        Member { name: "Tags", required: false, shape: &TAG_LIST },
    ]);
    pub(super) static CREATE_VPC_INGRESS_CONNECTION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "VpcIngressConnection",
        required: true,
        shape: &VPC_INGRESS_CONNECTION,
    }]);
    pub(super) static CUSTOM_DOMAIN: Shape = Shape::Structure(&[
        Member { name: "DomainName", required: true, shape: &DOMAIN_NAME_SHAPE },
        Member { name: "EnableWWWSubdomain", required: true, shape: &NULLABLE_BOOLEAN },
        Member {
            name: "CertificateValidationRecords",
            required: false,
            shape: &CERTIFICATE_VALIDATION_RECORD_LIST,
        },
        Member { name: "Status", required: true, shape: &CUSTOM_DOMAIN_ASSOCIATION_STATUS_SHAPE },
    ]);
    pub(super) static CUSTOM_DOMAIN_ASSOCIATION_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &[
            "creating",
            "create_failed",
            "active",
            "deleting",
            "delete_failed",
            "pending_certificate_dns_validation",
            "binding_certificate",
        ],
        sensitive: false,
    };
    static CUSTOM_DOMAIN_ASSOCIATION_STATUS_SHAPE: Shape = Shape::Text(&CUSTOM_DOMAIN_ASSOCIATION_STATUS);
    pub(super) static CUSTOM_DOMAIN_LIST: Shape =
        Shape::List { member: &CUSTOM_DOMAIN, length: Length { min: 0, max: None } };
    pub(super) static CUSTOMER_ACCOUNT_ID: Text = Text {
        length: Length { min: 12, max: Some(12) },
        pattern: Some(Pattern::new("[0-9]{12}", None, "[0-9]{12}")),
        values: &[],
        sensitive: false,
    };
    static CUSTOMER_ACCOUNT_ID_SHAPE: Shape = Shape::Text(&CUSTOMER_ACCOUNT_ID);
    pub(super) static DELETE_AUTO_SCALING_CONFIGURATION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "AutoScalingConfigurationArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "DeleteAllRevisions", required: false, shape: &BOOLEAN },
    ]);
    pub(super) static DELETE_AUTO_SCALING_CONFIGURATION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "AutoScalingConfiguration",
        required: true,
        shape: &AUTO_SCALING_CONFIGURATION,
    }]);
    pub(super) static DELETE_CONNECTION_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ConnectionArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DELETE_CONNECTION_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "Connection", required: false, shape: &CONNECTION }]);
    pub(super) static DELETE_OBSERVABILITY_CONFIGURATION_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ObservabilityConfigurationArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DELETE_OBSERVABILITY_CONFIGURATION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "ObservabilityConfiguration",
        required: true,
        shape: &OBSERVABILITY_CONFIGURATION,
    }]);
    pub(super) static DELETE_SERVICE_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DELETE_SERVICE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Service", required: true, shape: &SERVICE },
        Member { name: "OperationId", required: true, shape: &UUID_SHAPE },
    ]);
    pub(super) static DELETE_VPC_CONNECTOR_REQUEST: Shape = Shape::Structure(&[Member {
        name: "VpcConnectorArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DELETE_VPC_CONNECTOR_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "VpcConnector", required: true, shape: &VPC_CONNECTOR }]);
    pub(super) static DELETE_VPC_INGRESS_CONNECTION_REQUEST: Shape = Shape::Structure(&[Member {
        name: "VpcIngressConnectionArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DELETE_VPC_INGRESS_CONNECTION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "VpcIngressConnection",
        required: true,
        shape: &VPC_INGRESS_CONNECTION,
    }]);
    pub(super) static DESCRIBE_AUTO_SCALING_CONFIGURATION_REQUEST: Shape = Shape::Structure(&[Member {
        name: "AutoScalingConfigurationArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DESCRIBE_AUTO_SCALING_CONFIGURATION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "AutoScalingConfiguration",
        required: true,
        shape: &AUTO_SCALING_CONFIGURATION,
    }]);
    pub(super) static DESCRIBE_CUSTOM_DOMAINS_MAX_RESULTS: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(5) });
    pub(super) static DESCRIBE_CUSTOM_DOMAINS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "NextToken", required: false, shape: &STRING_SHAPE },
        Member { name: "MaxResults", required: false, shape: &DESCRIBE_CUSTOM_DOMAINS_MAX_RESULTS },
    ]);
    pub(super) static DESCRIBE_CUSTOM_DOMAINS_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "DNSTarget", required: true, shape: &STRING_SHAPE },
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "CustomDomains", required: true, shape: &CUSTOM_DOMAIN_LIST },
        Member { name: "VpcDNSTargets", required: true, shape: &VPC_DNS_TARGET_LIST },
        Member { name: "NextToken", required: false, shape: &STRING_SHAPE },
    ]);
    pub(super) static DESCRIBE_OBSERVABILITY_CONFIGURATION_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ObservabilityConfigurationArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DESCRIBE_OBSERVABILITY_CONFIGURATION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "ObservabilityConfiguration",
        required: true,
        shape: &OBSERVABILITY_CONFIGURATION,
    }]);
    pub(super) static DESCRIBE_SERVICE_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DESCRIBE_SERVICE_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "Service", required: true, shape: &SERVICE }]);
    pub(super) static DESCRIBE_VPC_CONNECTOR_REQUEST: Shape = Shape::Structure(&[Member {
        name: "VpcConnectorArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DESCRIBE_VPC_CONNECTOR_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "VpcConnector", required: true, shape: &VPC_CONNECTOR }]);
    pub(super) static DESCRIBE_VPC_INGRESS_CONNECTION_REQUEST: Shape = Shape::Structure(&[Member {
        name: "VpcIngressConnectionArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static DESCRIBE_VPC_INGRESS_CONNECTION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "VpcIngressConnection",
        required: true,
        shape: &VPC_INGRESS_CONNECTION,
    }]);
    pub(super) static DISASSOCIATE_CUSTOM_DOMAIN_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "DomainName", required: true, shape: &DOMAIN_NAME_SHAPE },
    ]);
    pub(super) static DISASSOCIATE_CUSTOM_DOMAIN_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "DNSTarget", required: true, shape: &STRING_SHAPE },
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "CustomDomain", required: true, shape: &CUSTOM_DOMAIN },
        Member { name: "VpcDNSTargets", required: true, shape: &VPC_DNS_TARGET_LIST },
    ]);
    pub(super) static DOMAIN_NAME: Text = Text {
        length: Length { min: 1, max: Some(255) },
        pattern: Some(Pattern::new("[A-Za-z0-9*.-]{1,255}", None, "[A-Za-z0-9*.-]{1,255}")),
        values: &[],
        sensitive: false,
    };
    static DOMAIN_NAME_SHAPE: Shape = Shape::Text(&DOMAIN_NAME);
    pub(super) static EGRESS_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "EgressType", required: false, shape: &EGRESS_TYPE_SHAPE },
        Member { name: "VpcConnectorArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
    ]);
    pub(super) static EGRESS_TYPE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["DEFAULT", "VPC"],
        sensitive: false,
    };
    static EGRESS_TYPE_SHAPE: Shape = Shape::Text(&EGRESS_TYPE);
    pub(super) static ENCRYPTION_CONFIGURATION: Shape =
        Shape::Structure(&[Member { name: "KmsKey", required: true, shape: &KMS_KEY_ARN_SHAPE }]);
    pub(super) static HAS_ASSOCIATED_SERVICE: Shape = Shape::Boolean;
    pub(super) static HEALTH_CHECK_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "Protocol", required: false, shape: &HEALTH_CHECK_PROTOCOL_SHAPE },
        Member { name: "Path", required: false, shape: &HEALTH_CHECK_PATH_SHAPE },
        Member { name: "Interval", required: false, shape: &HEALTH_CHECK_INTERVAL },
        Member { name: "Timeout", required: false, shape: &HEALTH_CHECK_TIMEOUT },
        Member { name: "HealthyThreshold", required: false, shape: &HEALTH_CHECK_HEALTHY_THRESHOLD },
        Member { name: "UnhealthyThreshold", required: false, shape: &HEALTH_CHECK_UNHEALTHY_THRESHOLD },
    ]);
    pub(super) static HEALTH_CHECK_HEALTHY_THRESHOLD: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(20) });
    pub(super) static HEALTH_CHECK_INTERVAL: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(20) });
    pub(super) static HEALTH_CHECK_PATH: Text =
        Text { length: Length { min: 1, max: None }, pattern: None, values: &[], sensitive: false };
    static HEALTH_CHECK_PATH_SHAPE: Shape = Shape::Text(&HEALTH_CHECK_PATH);
    pub(super) static HEALTH_CHECK_PROTOCOL: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["TCP", "HTTP"],
        sensitive: false,
    };
    static HEALTH_CHECK_PROTOCOL_SHAPE: Shape = Shape::Text(&HEALTH_CHECK_PROTOCOL);
    pub(super) static HEALTH_CHECK_TIMEOUT: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(20) });
    pub(super) static HEALTH_CHECK_UNHEALTHY_THRESHOLD: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(20) });
    pub(super) static IMAGE_CONFIGURATION: Shape = Shape::Structure(&[
        Member {
            name: "RuntimeEnvironmentVariables",
            required: false,
            shape: &RUNTIME_ENVIRONMENT_VARIABLES,
        },
        Member { name: "StartCommand", required: false, shape: &START_COMMAND_SHAPE },
        Member { name: "Port", required: false, shape: &STRING_SHAPE },
        Member { name: "RuntimeEnvironmentSecrets", required: false, shape: &RUNTIME_ENVIRONMENT_SECRETS },
    ]);
    pub(super) static IMAGE_IDENTIFIER: Text = Text {
        length: Length { min: 1, max: Some(1024) },
        pattern: Some(Pattern::new("[!-~]+", None, "[!-~]+")),
        values: &[],
        sensitive: false,
    };
    static IMAGE_IDENTIFIER_SHAPE: Shape = Shape::Text(&IMAGE_IDENTIFIER);
    pub(super) static IMAGE_REPOSITORY: Shape = Shape::Structure(&[
        Member { name: "ImageIdentifier", required: true, shape: &IMAGE_IDENTIFIER_SHAPE },
        Member { name: "ImageConfiguration", required: false, shape: &IMAGE_CONFIGURATION },
        Member { name: "ImageRepositoryType", required: true, shape: &IMAGE_REPOSITORY_TYPE_SHAPE },
    ]);
    pub(super) static IMAGE_REPOSITORY_TYPE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["ECR", "ECR_PUBLIC"],
        sensitive: false,
    };
    static IMAGE_REPOSITORY_TYPE_SHAPE: Shape = Shape::Text(&IMAGE_REPOSITORY_TYPE);
    pub(super) static INGRESS_CONFIGURATION: Shape =
        Shape::Structure(&[Member { name: "IsPubliclyAccessible", required: false, shape: &BOOLEAN }]);
    pub(super) static INGRESS_VPC_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "VpcId", required: false, shape: &STRING_SHAPE },
        Member { name: "VpcEndpointId", required: false, shape: &STRING_SHAPE },
    ]);
    pub(super) static INSTANCE_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "Cpu", required: false, shape: &CPU_SHAPE },
        Member { name: "Memory", required: false, shape: &MEMORY_SHAPE },
        Member { name: "InstanceRoleArn", required: false, shape: &ROLE_ARN_SHAPE },
    ]);
    pub(super) static INTEGER: Shape = Shape::Integer(Integer { long: false, min: None, max: None });
    pub(super) static IP_ADDRESS_TYPE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["IPV4", "DUAL_STACK"],
        sensitive: false,
    };
    static IP_ADDRESS_TYPE_SHAPE: Shape = Shape::Text(&IP_ADDRESS_TYPE);
    pub(super) static IS_DEFAULT: Shape = Shape::Boolean;
    pub(super) static KMS_KEY_ARN: Text = Text {
        length: Length { min: 0, max: Some(256) },
        pattern: Some(Pattern::new(
            "arn:aws(-[\\w]+)*:kms:[a-z\\-]+-[0-9]{1}:[0-9]{12}:key\\/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            None,
            "arn:aws(-[\\w]+)*:kms:[a-z\\-]+-[0-9]{1}:[0-9]{12}:key\\/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        )),
        values: &[],
        sensitive: false,
    };
    static KMS_KEY_ARN_SHAPE: Shape = Shape::Text(&KMS_KEY_ARN);
    pub(super) static LATEST: Shape = Shape::Boolean;
    pub(super) static LIST_AUTO_SCALING_CONFIGURATIONS_REQUEST: Shape = Shape::Structure(&[
        Member {
            name: "AutoScalingConfigurationName",
            required: false,
            shape: &AUTO_SCALING_CONFIGURATION_NAME_SHAPE,
        },
        Member { name: "LatestOnly", required: false, shape: &BOOLEAN },
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_AUTO_SCALING_CONFIGURATIONS_RESPONSE: Shape = Shape::Structure(&[
        Member {
            name: "AutoScalingConfigurationSummaryList",
            required: true,
            shape: &AUTO_SCALING_CONFIGURATION_SUMMARY_LIST,
        },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_CONNECTIONS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ConnectionName", required: false, shape: &CONNECTION_NAME_SHAPE },
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_CONNECTIONS_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "ConnectionSummaryList", required: true, shape: &CONNECTION_SUMMARY_LIST },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_OBSERVABILITY_CONFIGURATIONS_REQUEST: Shape = Shape::Structure(&[
        Member {
            name: "ObservabilityConfigurationName",
            required: false,
            shape: &OBSERVABILITY_CONFIGURATION_NAME_SHAPE,
        },
        Member { name: "LatestOnly", required: false, shape: &BOOLEAN },
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_OBSERVABILITY_CONFIGURATIONS_RESPONSE: Shape = Shape::Structure(&[
        Member {
            name: "ObservabilityConfigurationSummaryList",
            required: true,
            shape: &OBSERVABILITY_CONFIGURATION_SUMMARY_LIST,
        },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_OPERATIONS_MAX_RESULTS: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(20) });
    pub(super) static LIST_OPERATIONS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "NextToken", required: false, shape: &STRING_SHAPE },
        Member { name: "MaxResults", required: false, shape: &LIST_OPERATIONS_MAX_RESULTS },
    ]);
    pub(super) static LIST_OPERATIONS_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "OperationSummaryList", required: false, shape: &OPERATION_SUMMARY_LIST },
        Member { name: "NextToken", required: false, shape: &STRING_SHAPE },
    ]);
    pub(super) static LIST_SERVICES_FOR_AUTO_SCALING_CONFIGURATION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "AutoScalingConfigurationArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_SERVICES_FOR_AUTO_SCALING_CONFIGURATION_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "ServiceArnList", required: true, shape: &SERVICE_ARN_LIST },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_SERVICES_REQUEST: Shape = Shape::Structure(&[
        Member { name: "NextToken", required: false, shape: &STRING_SHAPE },
        Member { name: "MaxResults", required: false, shape: &SERVICE_MAX_RESULTS },
    ]);
    pub(super) static LIST_SERVICES_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "ServiceSummaryList", required: true, shape: &SERVICE_SUMMARY_LIST },
        Member { name: "NextToken", required: false, shape: &STRING_SHAPE },
    ]);
    pub(super) static LIST_TAGS_FOR_RESOURCE_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ResourceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static LIST_TAGS_FOR_RESOURCE_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "Tags", required: false, shape: &TAG_LIST }]);
    pub(super) static LIST_VPC_CONNECTORS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_VPC_CONNECTORS_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "VpcConnectors", required: true, shape: &VPC_CONNECTORS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_VPC_INGRESS_CONNECTIONS_FILTER: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "VpcEndpointId", required: false, shape: &STRING_SHAPE },
    ]);
    pub(super) static LIST_VPC_INGRESS_CONNECTIONS_REQUEST: Shape = Shape::Structure(&[
        Member { name: "Filter", required: false, shape: &LIST_VPC_INGRESS_CONNECTIONS_FILTER },
        Member { name: "MaxResults", required: false, shape: &MAX_RESULTS },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static LIST_VPC_INGRESS_CONNECTIONS_RESPONSE: Shape = Shape::Structure(&[
        Member {
            name: "VpcIngressConnectionSummaryList",
            required: true,
            shape: &VPC_INGRESS_CONNECTION_SUMMARY_LIST,
        },
        Member { name: "NextToken", required: false, shape: &NEXT_TOKEN_SHAPE },
    ]);
    pub(super) static MAX_CONCURRENCY: Shape = Shape::Integer(Integer { long: false, min: None, max: None });
    pub(super) static MAX_RESULTS: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(100) });
    pub(super) static MAX_SIZE: Shape = Shape::Integer(Integer { long: false, min: None, max: None });
    pub(super) static MEMORY: Text = Text {
        length: Length { min: 3, max: Some(6) },
        pattern: Some(Pattern::new(
            "512|1024|2048|3072|4096|6144|8192|10240|12288|(0.5|1|2|3|4|6|8|10|12) GB",
            None,
            "512|1024|2048|3072|4096|6144|8192|10240|12288|(0.5|1|2|3|4|6|8|10|12) GB",
        )),
        values: &[],
        sensitive: false,
    };
    static MEMORY_SHAPE: Shape = Shape::Text(&MEMORY);
    pub(super) static MIN_SIZE: Shape = Shape::Integer(Integer { long: false, min: None, max: None });
    pub(super) static NETWORK_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "EgressConfiguration", required: false, shape: &EGRESS_CONFIGURATION },
        Member { name: "IngressConfiguration", required: false, shape: &INGRESS_CONFIGURATION },
        Member { name: "IpAddressType", required: false, shape: &IP_ADDRESS_TYPE_SHAPE },
    ]);
    pub(super) static NEXT_TOKEN: Text =
        Text { length: Length { min: 1, max: Some(1024) }, pattern: None, values: &[], sensitive: false };
    static NEXT_TOKEN_SHAPE: Shape = Shape::Text(&NEXT_TOKEN);
    pub(super) static NULLABLE_BOOLEAN: Shape = Shape::Boolean;
    pub(super) static OBSERVABILITY_CONFIGURATION: Shape = Shape::Structure(&[
        Member {
            name: "ObservabilityConfigurationArn",
            required: false,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        },
        Member {
            name: "ObservabilityConfigurationName",
            required: false,
            shape: &OBSERVABILITY_CONFIGURATION_NAME_SHAPE,
        },
        Member { name: "TraceConfiguration", required: false, shape: &TRACE_CONFIGURATION },
        Member { name: "ObservabilityConfigurationRevision", required: false, shape: &INTEGER },
        Member { name: "Latest", required: false, shape: &BOOLEAN },
        Member { name: "Status", required: false, shape: &OBSERVABILITY_CONFIGURATION_STATUS_SHAPE },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
        Member { name: "DeletedAt", required: false, shape: &TIMESTAMP },
    ]);
    pub(super) static OBSERVABILITY_CONFIGURATION_NAME: Text = Text {
        length: Length { min: 4, max: Some(32) },
        pattern: Some(Pattern::new(
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,31}",
            None,
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,31}",
        )),
        values: &[],
        sensitive: false,
    };
    static OBSERVABILITY_CONFIGURATION_NAME_SHAPE: Shape = Shape::Text(&OBSERVABILITY_CONFIGURATION_NAME);
    pub(super) static OBSERVABILITY_CONFIGURATION_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["ACTIVE", "INACTIVE"],
        sensitive: false,
    };
    static OBSERVABILITY_CONFIGURATION_STATUS_SHAPE: Shape = Shape::Text(&OBSERVABILITY_CONFIGURATION_STATUS);
    pub(super) static OBSERVABILITY_CONFIGURATION_SUMMARY: Shape = Shape::Structure(&[
        Member {
            name: "ObservabilityConfigurationArn",
            required: false,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        },
        Member {
            name: "ObservabilityConfigurationName",
            required: false,
            shape: &OBSERVABILITY_CONFIGURATION_NAME_SHAPE,
        },
        Member { name: "ObservabilityConfigurationRevision", required: false, shape: &INTEGER },
    ]);
    pub(super) static OBSERVABILITY_CONFIGURATION_SUMMARY_LIST: Shape =
        Shape::List { member: &OBSERVABILITY_CONFIGURATION_SUMMARY, length: Length { min: 0, max: None } };
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
    pub(super) static OPERATION_SUMMARY: Shape = Shape::Structure(&[
        Member { name: "Id", required: false, shape: &UUID_SHAPE },
        Member { name: "Type", required: false, shape: &OPERATION_TYPE_SHAPE },
        Member { name: "Status", required: false, shape: &OPERATION_STATUS_SHAPE },
        Member { name: "TargetArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "StartedAt", required: false, shape: &TIMESTAMP },
        Member { name: "EndedAt", required: false, shape: &TIMESTAMP },
        Member { name: "UpdatedAt", required: false, shape: &TIMESTAMP },
    ]);
    pub(super) static OPERATION_SUMMARY_LIST: Shape =
        Shape::List { member: &OPERATION_SUMMARY, length: Length { min: 0, max: None } };
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
    pub(super) static PAUSE_SERVICE_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static PAUSE_SERVICE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Service", required: true, shape: &SERVICE },
        Member { name: "OperationId", required: false, shape: &UUID_SHAPE },
    ]);
    pub(super) static PROVIDER_TYPE: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["GITHUB", "BITBUCKET", "GITLAB", "GIT"],
        sensitive: false,
    };
    static PROVIDER_TYPE_SHAPE: Shape = Shape::Text(&PROVIDER_TYPE);
    pub(super) static RESUME_SERVICE_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static RESUME_SERVICE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Service", required: true, shape: &SERVICE },
        Member { name: "OperationId", required: false, shape: &UUID_SHAPE },
    ]);
    pub(super) static ROLE_ARN: Text = Text {
        length: Length { min: 29, max: Some(1024) },
        pattern: Some(Pattern::new(
            "arn:(aws|aws-us-gov|aws-cn|aws-iso|aws-iso-b):iam::[0-9]{12}:(role|role\\/service-role)\\/[\\w+=,.@\\-/]{1,1000}",
            None,
            "arn:(aws|aws-us-gov|aws-cn|aws-iso|aws-iso-b):iam::[0-9]{12}:(role|role\\/service-role)\\/[\\w+=,.@\\-/]{1,1000}",
        )),
        values: &[],
        sensitive: false,
    };
    static ROLE_ARN_SHAPE: Shape = Shape::Text(&ROLE_ARN);
    pub(super) static RUNTIME: Text = Text {
        length: Length { min: 0, max: Some(64) },
        pattern: Some(Pattern::new("[A-Z][A-Z0-9_]*", None, "[A-Z][A-Z0-9_]*")),
        values: &[],
        sensitive: false,
    };
    static RUNTIME_SHAPE: Shape = Shape::Text(&RUNTIME);
    pub(super) static RUNTIME_ENVIRONMENT_SECRETS: Shape = Shape::Map {
        key: &RUNTIME_ENVIRONMENT_SECRETS_NAME,
        value: &RUNTIME_ENVIRONMENT_SECRETS_VALUE,
        length: Length { min: 0, max: None },
    };
    pub(super) static RUNTIME_ENVIRONMENT_SECRETS_NAME: Text =
        Text { length: Length { min: 1, max: Some(2048) }, pattern: None, values: &[], sensitive: true };
    pub(super) static RUNTIME_ENVIRONMENT_SECRETS_VALUE: Text =
        Text { length: Length { min: 1, max: Some(2048) }, pattern: None, values: &[], sensitive: true };
    pub(super) static RUNTIME_ENVIRONMENT_VARIABLES: Shape = Shape::Map {
        key: &RUNTIME_ENVIRONMENT_VARIABLES_KEY,
        value: &RUNTIME_ENVIRONMENT_VARIABLES_VALUE,
        length: Length { min: 0, max: None },
    };
    pub(super) static RUNTIME_ENVIRONMENT_VARIABLES_KEY: Text =
        Text { length: Length { min: 1, max: Some(51200) }, pattern: None, values: &[], sensitive: true };
    pub(super) static RUNTIME_ENVIRONMENT_VARIABLES_VALUE: Text =
        Text { length: Length { min: 0, max: Some(51200) }, pattern: None, values: &[], sensitive: true };
    pub(super) static SERVICE: Shape = Shape::Structure(&[
        Member { name: "ServiceName", required: true, shape: &SERVICE_NAME_SHAPE },
        Member { name: "ServiceId", required: true, shape: &SERVICE_ID_SHAPE },
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "ServiceUrl", required: false, shape: &STRING_SHAPE },
        Member { name: "CreatedAt", required: true, shape: &TIMESTAMP },
        Member { name: "UpdatedAt", required: true, shape: &TIMESTAMP },
        Member { name: "DeletedAt", required: false, shape: &TIMESTAMP },
        Member { name: "Status", required: true, shape: &SERVICE_STATUS_SHAPE },
        Member { name: "SourceConfiguration", required: true, shape: &SOURCE_CONFIGURATION },
        Member { name: "InstanceConfiguration", required: true, shape: &INSTANCE_CONFIGURATION },
        Member { name: "EncryptionConfiguration", required: false, shape: &ENCRYPTION_CONFIGURATION },
        Member { name: "HealthCheckConfiguration", required: false, shape: &HEALTH_CHECK_CONFIGURATION },
        Member {
            name: "AutoScalingConfigurationSummary",
            required: true,
            shape: &AUTO_SCALING_CONFIGURATION_SUMMARY,
        },
        Member { name: "NetworkConfiguration", required: true, shape: &NETWORK_CONFIGURATION },
        Member {
            name: "ObservabilityConfiguration",
            required: false,
            shape: &SERVICE_OBSERVABILITY_CONFIGURATION,
        },
    ]);
    pub(super) static SERVICE_ARN_LIST: Shape =
        Shape::List { member: &APP_RUNNER_RESOURCE_ARN_SHAPE, length: Length { min: 0, max: None } };
    pub(super) static SERVICE_ID: Text = Text {
        length: Length { min: 32, max: Some(32) },
        pattern: Some(Pattern::new("[0-9a-f]{32}", None, "[0-9a-f]{32}")),
        values: &[],
        sensitive: false,
    };
    static SERVICE_ID_SHAPE: Shape = Shape::Text(&SERVICE_ID);
    pub(super) static SERVICE_MAX_RESULTS: Shape =
        Shape::Integer(Integer { long: false, min: Some(1), max: Some(20) });
    pub(super) static SERVICE_NAME: Text = Text {
        length: Length { min: 1, max: Some(40) },
        pattern: Some(Pattern::new("[A-Za-z0-9][A-Za-z0-9-_]{0,39}", None, "[A-Za-z0-9][A-Za-z0-9-_]{0,39}")),
        values: &[],
        sensitive: false,
    };
    static SERVICE_NAME_SHAPE: Shape = Shape::Text(&SERVICE_NAME);
    pub(super) static SERVICE_OBSERVABILITY_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "ObservabilityEnabled", required: true, shape: &BOOLEAN },
        Member {
            name: "ObservabilityConfigurationArn",
            required: false,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        },
    ]);
    pub(super) static SERVICE_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["CREATE_FAILED", "RUNNING", "DELETED", "DELETE_FAILED", "PAUSED", "OPERATION_IN_PROGRESS"],
        sensitive: false,
    };
    static SERVICE_STATUS_SHAPE: Shape = Shape::Text(&SERVICE_STATUS);
    pub(super) static SERVICE_SUMMARY: Shape = Shape::Structure(&[
        Member { name: "ServiceName", required: false, shape: &SERVICE_NAME_SHAPE },
        Member { name: "ServiceId", required: false, shape: &SERVICE_ID_SHAPE },
        Member { name: "ServiceArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "ServiceUrl", required: false, shape: &STRING_SHAPE },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
        Member { name: "UpdatedAt", required: false, shape: &TIMESTAMP },
        Member { name: "Status", required: false, shape: &SERVICE_STATUS_SHAPE },
    ]);
    pub(super) static SERVICE_SUMMARY_LIST: Shape =
        Shape::List { member: &SERVICE_SUMMARY, length: Length { min: 0, max: None } };
    pub(super) static SOURCE_CODE_VERSION: Shape = Shape::Structure(&[
        Member { name: "Type", required: true, shape: &SOURCE_CODE_VERSION_TYPE_SHAPE },
        Member { name: "Value", required: true, shape: &STRING_SHAPE },
    ]);
    pub(super) static SOURCE_CODE_VERSION_TYPE: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &["BRANCH"], sensitive: false };
    static SOURCE_CODE_VERSION_TYPE_SHAPE: Shape = Shape::Text(&SOURCE_CODE_VERSION_TYPE);
    pub(super) static SOURCE_CONFIGURATION: Shape = Shape::Structure(&[
        Member { name: "CodeRepository", required: false, shape: &CODE_REPOSITORY },
        Member { name: "ImageRepository", required: false, shape: &IMAGE_REPOSITORY },
        Member { name: "AutoDeploymentsEnabled", required: false, shape: &NULLABLE_BOOLEAN },
        Member { name: "AuthenticationConfiguration", required: false, shape: &AUTHENTICATION_CONFIGURATION },
    ]);
    pub(super) static SOURCE_DIRECTORY: Text = Text {
        length: Length { min: 1, max: Some(4096) },
        pattern: Some(Pattern::new("[^\\x00]+", None, "[^\\x00]+")),
        values: &[],
        sensitive: false,
    };
    static SOURCE_DIRECTORY_SHAPE: Shape = Shape::Text(&SOURCE_DIRECTORY);
    pub(super) static START_COMMAND: Text = Text {
        length: Length { min: 0, max: None },
        pattern: Some(Pattern::new("[^\\x0a\\x0d]+", None, "[^\\x0a\\x0d]+")),
        values: &[],
        sensitive: true,
    };
    static START_COMMAND_SHAPE: Shape = Shape::Text(&START_COMMAND);
    pub(super) static START_DEPLOYMENT_REQUEST: Shape = Shape::Structure(&[Member {
        name: "ServiceArn",
        required: true,
        shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
    }]);
    pub(super) static START_DEPLOYMENT_RESPONSE: Shape =
        Shape::Structure(&[Member { name: "OperationId", required: true, shape: &UUID_SHAPE }]);
    pub(super) static STRING: Text =
        Text { length: Length { min: 0, max: Some(51200) }, pattern: None, values: &[], sensitive: false };
    static STRING_SHAPE: Shape = Shape::Text(&STRING);
    pub(super) static STRING_LIST: Shape =
        Shape::List { member: &STRING_SHAPE, length: Length { min: 0, max: None } };
    pub(super) static TAG: Shape = Shape::Structure(&[
        Member { name: "Key", required: false, shape: &TAG_KEY_SHAPE },
        Member { name: "Value", required: false, shape: &TAG_VALUE_SHAPE },
    ]);
    pub(super) static TAG_KEY: Text = Text {
        length: Length { min: 1, max: Some(128) },
        pattern: Some(Pattern::new("^(?!aws:).+", Some("aws:"), ".+")),
        values: &[],
        sensitive: false,
    };
    static TAG_KEY_SHAPE: Shape = Shape::Text(&TAG_KEY);
    pub(super) static TAG_KEY_LIST: Shape =
        Shape::List { member: &TAG_KEY_SHAPE, length: Length { min: 0, max: None } };
    pub(super) static TAG_LIST: Shape = Shape::List { member: &TAG, length: Length { min: 0, max: None } };
    pub(super) static TAG_RESOURCE_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ResourceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "Tags", required: true, shape: &TAG_LIST },
    ]);
    pub(super) static TAG_RESOURCE_RESPONSE: Shape = Shape::Structure(&[]);
    pub(super) static TAG_VALUE: Text =
        Text { length: Length { min: 0, max: Some(256) }, pattern: None, values: &[], sensitive: false };
    static TAG_VALUE_SHAPE: Shape = Shape::Text(&TAG_VALUE);
    pub(super) static TIMESTAMP: Shape = Shape::Timestamp;
    pub(super) static TRACE_CONFIGURATION: Shape =
        Shape::Structure(&[Member { name: "Vendor", required: true, shape: &TRACING_VENDOR_SHAPE }]);
    pub(super) static TRACING_VENDOR: Text =
        Text { length: Length { min: 0, max: None }, pattern: None, values: &["AWSXRAY"], sensitive: false };
    static TRACING_VENDOR_SHAPE: Shape = Shape::Text(&TRACING_VENDOR);
    pub(super) static UUID: Text = Text {
        length: Length { min: 32, max: Some(32) },
        pattern: Some(Pattern::new("[0-9a-f]{32}", None, "[0-9a-f]{32}")),
        values: &[],
        sensitive: false,
    };
    static UUID_SHAPE: Shape = Shape::Text(&UUID);
    pub(super) static UNTAG_RESOURCE_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ResourceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "TagKeys", required: true, shape: &TAG_KEY_LIST },
    ]);
    pub(super) static UNTAG_RESOURCE_RESPONSE: Shape = Shape::Structure(&[]);
    pub(super) static UPDATE_DEFAULT_AUTO_SCALING_CONFIGURATION_REQUEST: Shape =
        Shape::Structure(&[Member {
            name: "AutoScalingConfigurationArn",
            required: true,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        }]);
    pub(super) static UPDATE_DEFAULT_AUTO_SCALING_CONFIGURATION_RESPONSE: Shape =
        Shape::Structure(&[Member {
            name: "AutoScalingConfiguration",
            required: true,
            shape: &AUTO_SCALING_CONFIGURATION,
        }]);
    pub(super) static UPDATE_SERVICE_REQUEST: Shape = Shape::Structure(&[
        Member { name: "ServiceArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "SourceConfiguration", required: false, shape: &SOURCE_CONFIGURATION },
        Member { name: "InstanceConfiguration", required: false, shape: &INSTANCE_CONFIGURATION },
        Member {
            name: "AutoScalingConfigurationArn",
            required: false,
            shape: &APP_RUNNER_RESOURCE_ARN_SHAPE,
        },
        Member { name: "HealthCheckConfiguration", required: false, shape: &HEALTH_CHECK_CONFIGURATION },
        Member { name: "NetworkConfiguration", required: false, shape: &NETWORK_CONFIGURATION },
        Member {
            name: "ObservabilityConfiguration",
            required: false,
            shape: &SERVICE_OBSERVABILITY_CONFIGURATION,
        },
    ]);
    pub(super) static UPDATE_SERVICE_RESPONSE: Shape = Shape::Structure(&[
        Member { name: "Service", required: true, shape: &SERVICE },
        Member { name: "OperationId", required: true, shape: &UUID_SHAPE },
    ]);
    pub(super) static UPDATE_VPC_INGRESS_CONNECTION_REQUEST: Shape = Shape::Structure(&[
        Member { name: "VpcIngressConnectionArn", required: true, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "IngressVpcConfiguration", required: true, shape: &INGRESS_VPC_CONFIGURATION },
    ]);
    pub(super) static UPDATE_VPC_INGRESS_CONNECTION_RESPONSE: Shape = Shape::Structure(&[Member {
        name: "VpcIngressConnection",
        required: true,
        shape: &VPC_INGRESS_CONNECTION,
    }]);
    pub(super) static VPC_CONNECTOR: Shape = Shape::Structure(&[
        Member { name: "VpcConnectorName", required: false, shape: &VPC_CONNECTOR_NAME_SHAPE },
        Member { name: "VpcConnectorArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "VpcConnectorRevision", required: false, shape: &INTEGER },
        Member { name: "Subnets", required: false, shape: &STRING_LIST },
        Member { name: "SecurityGroups", required: false, shape: &STRING_LIST },
        Member { name: "Status", required: false, shape: &VPC_CONNECTOR_STATUS_SHAPE },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
        Member { name: "DeletedAt", required: false, shape: &TIMESTAMP },
    ]);
    pub(super) static VPC_CONNECTOR_NAME: Text = Text {
        length: Length { min: 4, max: Some(40) },
        pattern: Some(Pattern::new(
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,39}",
            None,
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,39}",
        )),
        values: &[],
        sensitive: false,
    };
    static VPC_CONNECTOR_NAME_SHAPE: Shape = Shape::Text(&VPC_CONNECTOR_NAME);
    pub(super) static VPC_CONNECTOR_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &["ACTIVE", "INACTIVE"],
        sensitive: false,
    };
    static VPC_CONNECTOR_STATUS_SHAPE: Shape = Shape::Text(&VPC_CONNECTOR_STATUS);
    pub(super) static VPC_CONNECTORS: Shape =
        Shape::List { member: &VPC_CONNECTOR, length: Length { min: 0, max: None } };
    pub(super) static VPC_DNS_TARGET: Shape = Shape::Structure(&[
        Member { name: "VpcIngressConnectionArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "VpcId", required: false, shape: &STRING_SHAPE },
        Member { name: "DomainName", required: false, shape: &DOMAIN_NAME_SHAPE },
    ]);
    pub(super) static VPC_DNS_TARGET_LIST: Shape =
        Shape::List { member: &VPC_DNS_TARGET, length: Length { min: 0, max: None } };
    pub(super) static VPC_INGRESS_CONNECTION: Shape = Shape::Structure(&[
        Member { name: "VpcIngressConnectionArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member {
            name: "VpcIngressConnectionName",
            required: false,
            shape: &VPC_INGRESS_CONNECTION_NAME_SHAPE,
        },
        Member { name: "ServiceArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "Status", required: false, shape: &VPC_INGRESS_CONNECTION_STATUS_SHAPE },
        Member { name: "AccountId", required: false, shape: &CUSTOMER_ACCOUNT_ID_SHAPE },
        Member { name: "DomainName", required: false, shape: &DOMAIN_NAME_SHAPE },
        Member { name: "IngressVpcConfiguration", required: false, shape: &INGRESS_VPC_CONFIGURATION },
        Member { name: "CreatedAt", required: false, shape: &TIMESTAMP },
        Member { name: "DeletedAt", required: false, shape: &TIMESTAMP },
    ]);
    pub(super) static VPC_INGRESS_CONNECTION_NAME: Text = Text {
        length: Length { min: 4, max: Some(40) },
        pattern: Some(Pattern::new(
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,39}",
            None,
            "[A-Za-z0-9][A-Za-z0-9\\-_]{3,39}",
        )),
        values: &[],
        sensitive: false,
    };
    static VPC_INGRESS_CONNECTION_NAME_SHAPE: Shape = Shape::Text(&VPC_INGRESS_CONNECTION_NAME);
    pub(super) static VPC_INGRESS_CONNECTION_STATUS: Text = Text {
        length: Length { min: 0, max: None },
        pattern: None,
        values: &[
            "AVAILABLE",
            "PENDING_CREATION",
            "PENDING_UPDATE",
            "PENDING_DELETION",
            "FAILED_CREATION",
            "FAILED_UPDATE",
            "FAILED_DELETION",
            "DELETED",
        ],
        sensitive: false,
    };
    static VPC_INGRESS_CONNECTION_STATUS_SHAPE: Shape = Shape::Text(&VPC_INGRESS_CONNECTION_STATUS);
    pub(super) static VPC_INGRESS_CONNECTION_SUMMARY: Shape = Shape::Structure(&[
        Member { name: "VpcIngressConnectionArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
        Member { name: "ServiceArn", required: false, shape: &APP_RUNNER_RESOURCE_ARN_SHAPE },
    ]);
    pub(super) static VPC_INGRESS_CONNECTION_SUMMARY_LIST: Shape =
        Shape::List { member: &VPC_INGRESS_CONNECTION_SUMMARY, length: Length { min: 0, max: None } };
}
