//! Rows as AWS shows them. Defaults are always written out: tools read them without looking whether they are
//! there.

use super::arn;
use crate::api::call::Context;
use apron_model::instance::HealthProtocol;
use apron_model::operation::{Operation, OperationKind, OperationStatus};
use apron_model::service::{
    self, CodeSource, ImageSource, IpAddressType, RepositoryType, ServiceConfig, Source,
};
use apron_model::time::WallTime;
use apron_store::ServiceSummary;
use apron_wire::apprunner as wire;
use apron_wire::time::epoch_seconds;
use std::collections::BTreeMap;

pub(super) fn service(context: Context<'_>, service: &service::Service) -> wire::Service {
    let config = &service.config;
    wire::Service {
        service_name: service.name.clone(),
        service_id: service.id.to_string(),
        service_arn: arn::service(context, service),
        // A private service has no URL of its own, and tools take a missing one as that.
        service_url: config
            .public
            .then(|| context.platform.names.service_url(&service.url_label, &service.region)),
        created_at: seconds(service.created_at),
        updated_at: seconds(service.updated_at),
        deleted_at: service.deleted_at.map(seconds),
        status: status(service::status(service)),
        source_configuration: source(config),
        instance_configuration: wire::InstanceConfiguration {
            cpu: Some(config.size.cpu_units.to_string()),
            memory: Some(config.size.memory_mib.to_string()),
            instance_role_arn: config.instance_role_arn.clone(),
        },
        encryption_configuration: config
            .kms_key
            .clone()
            .map(|kms_key| wire::EncryptionConfiguration { kms_key }),
        health_check_configuration: Some(health(config)),
        auto_scaling_configuration_summary: wire::AutoScalingConfigurationSummary {
            auto_scaling_configuration_arn: Some(config.scaling.arn.clone()),
            auto_scaling_configuration_name: Some(config.scaling.name.clone()),
            auto_scaling_configuration_revision: Some(int(config.scaling.revision)),
            ..Default::default()
        },
        network_configuration: wire::NetworkConfiguration {
            egress_configuration: Some(wire::EgressConfiguration {
                egress_type: Some(wire::EgressType::Default),
                vpc_connector_arn: None,
            }),
            ingress_configuration: Some(wire::IngressConfiguration {
                is_publicly_accessible: Some(config.public),
            }),
            ip_address_type: Some(match config.ip_address_type {
                IpAddressType::Ipv4 => wire::IpAddressType::Ipv4,
                IpAddressType::DualStack => wire::IpAddressType::DualStack,
            }),
        },
        observability_configuration: config.observability_enabled.map(|observability_enabled| {
            wire::ServiceObservabilityConfiguration {
                observability_enabled,
                observability_configuration_arn: None,
            }
        }),
    }
}

pub(super) fn summary(context: Context<'_>, row: &ServiceSummary) -> wire::ServiceSummary {
    wire::ServiceSummary {
        service_name: Some(row.name.clone()),
        service_id: Some(row.id.to_string()),
        service_arn: Some(arn::summary(context, row)),
        // Every service is public: another is refused when it is written.
        service_url: Some(context.platform.names.service_url(&row.url_label, &row.region)),
        created_at: Some(seconds(row.created_at)),
        updated_at: Some(seconds(row.updated_at)),
        status: Some(status(row.status)),
    }
}

pub(super) fn operation(target_arn: &str, row: &Operation) -> wire::OperationSummary {
    wire::OperationSummary {
        id: Some(row.id.to_string()),
        r#type: Some(match row.kind {
            OperationKind::CreateService => wire::OperationType::CreateService,
            OperationKind::UpdateService => wire::OperationType::UpdateService,
            OperationKind::StartDeployment => wire::OperationType::StartDeployment,
            OperationKind::PauseService => wire::OperationType::PauseService,
            OperationKind::ResumeService => wire::OperationType::ResumeService,
            OperationKind::DeleteService => wire::OperationType::DeleteService,
        }),
        status: Some(match row.status {
            OperationStatus::Pending => wire::OperationStatus::Pending,
            OperationStatus::InProgress => wire::OperationStatus::InProgress,
            OperationStatus::Succeeded => wire::OperationStatus::Succeeded,
            OperationStatus::Failed => wire::OperationStatus::Failed,
            OperationStatus::RollbackInProgress => wire::OperationStatus::RollbackInProgress,
            OperationStatus::RollbackSucceeded => wire::OperationStatus::RollbackSucceeded,
        }),
        target_arn: Some(target_arn.to_owned()),
        started_at: Some(seconds(row.started_at.unwrap_or(row.created_at))),
        ended_at: row.ended_at.map(seconds),
        updated_at: Some(seconds(row.updated_at)),
    }
}

fn status(status: service::Status) -> wire::ServiceStatus {
    match status {
        service::Status::CreateFailed => wire::ServiceStatus::CreateFailed,
        service::Status::Running => wire::ServiceStatus::Running,
        service::Status::Deleted => wire::ServiceStatus::Deleted,
        service::Status::DeleteFailed => wire::ServiceStatus::DeleteFailed,
        service::Status::Paused => wire::ServiceStatus::Paused,
        service::Status::OperationInProgress => wire::ServiceStatus::OperationInProgress,
    }
}

fn source(config: &ServiceConfig) -> wire::SourceConfiguration {
    let (code, image) = match &config.source {
        Source::Code(source) => (Some(code(source)), None),
        Source::Image(source) => (None, Some(image_repository(source))),
    };
    let authenticated = config.access_role_arn.is_some() || config.connection_arn.is_some();
    wire::SourceConfiguration {
        code_repository: code,
        image_repository: image,
        auto_deployments_enabled: Some(config.auto_deployments),
        authentication_configuration: authenticated.then(|| wire::AuthenticationConfiguration {
            connection_arn: config.connection_arn.clone(),
            access_role_arn: config.access_role_arn.clone(),
        }),
    }
}

fn code(source: &CodeSource) -> wire::CodeRepository {
    let configuration_source = match source.from_file {
        true => wire::ConfigurationSource::Repository,
        false => wire::ConfigurationSource::Api,
    };
    let values = source.values.as_ref().map(|values| wire::CodeConfigurationValues {
        runtime: values.runtime.clone(),
        build_command: values.build_command.clone(),
        start_command: values.start_command.clone(),
        port: values.port.map(|port| port.to_string()),
        runtime_environment_variables: some_env(&values.env),
        runtime_environment_secrets: None,
    });
    wire::CodeRepository {
        repository_url: source.repository_url.clone(),
        source_code_version: wire::SourceCodeVersion {
            r#type: wire::SourceCodeVersionType::Branch,
            value: source.branch.clone(),
        },
        code_configuration: Some(wire::CodeConfiguration {
            configuration_source,
            code_configuration_values: values,
        }),
        source_directory: Some(source.source_directory.clone()),
    }
}

fn image_repository(source: &ImageSource) -> wire::ImageRepository {
    wire::ImageRepository {
        image_identifier: source.identifier.clone(),
        image_configuration: Some(wire::ImageConfiguration {
            runtime_environment_variables: some_env(&source.env),
            start_command: source.start_command.clone(),
            port: Some(source.port.to_string()),
            runtime_environment_secrets: None,
        }),
        image_repository_type: match source.repository_type {
            RepositoryType::Ecr => wire::ImageRepositoryType::Ecr,
            RepositoryType::EcrPublic => wire::ImageRepositoryType::EcrPublic,
        },
    }
}

/// No variables are shown as none rather than as an empty map: tools that compare see no difference then.
fn some_env(env: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!env.is_empty()).then(|| env.clone())
}

fn health(config: &ServiceConfig) -> wire::HealthCheckConfiguration {
    wire::HealthCheckConfiguration {
        protocol: Some(match config.health.protocol {
            HealthProtocol::Tcp => wire::HealthCheckProtocol::Tcp,
            HealthProtocol::Http { .. } => wire::HealthCheckProtocol::Http,
        }),
        path: Some(config.health_path.clone()),
        interval: Some(int(config.health.interval_s)),
        timeout: Some(int(config.health.timeout_s)),
        healthy_threshold: Some(int(config.health.healthy_threshold)),
        unhealthy_threshold: Some(int(config.health.unhealthy_threshold)),
    }
}

pub(in crate::api) fn seconds(time: WallTime) -> f64 {
    epoch_seconds(time.0)
}

/// Numbers of the wire have a sign; ours are small.
pub(in crate::api) fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
