//! Inputs of the wire as inputs of the model: names change, nothing is decided.

use apron_model::service::RepositoryType;
use apron_model::source::{
    CodeConfigurationInput, CodeInput, HealthInput, ImageInput, InstanceInput, NetworkInput, RunInput,
    ServiceInput, SourceInput,
};
use apron_wire::apprunner as wire;

pub(super) fn create(request: wire::CreateServiceRequest) -> ServiceInput {
    ServiceInput {
        source: Some(source(request.source_configuration)),
        instance: request.instance_configuration.map(instance),
        health: request.health_check_configuration.map(health),
        scaling: None,
        network: request.network_configuration.map(network),
        observability_enabled: request.observability_configuration.map(observes),
        kms_key: request.encryption_configuration.map(|written| written.kms_key),
    }
}

pub(super) fn update(request: wire::UpdateServiceRequest) -> ServiceInput {
    ServiceInput {
        source: request.source_configuration.map(source),
        instance: request.instance_configuration.map(instance),
        health: request.health_check_configuration.map(health),
        scaling: None,
        network: request.network_configuration.map(network),
        observability_enabled: request.observability_configuration.map(observes),
        kms_key: None,
    }
}

fn observes(written: wire::ServiceObservabilityConfiguration) -> bool {
    written.observability_enabled || written.observability_configuration_arn.is_some()
}

/// Tags as pairs. The members are optional in the model; a tag without a value has an empty one.
pub(super) fn tags(written: Vec<wire::Tag>) -> impl Iterator<Item = (String, String)> {
    written.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()))
}

fn source(written: wire::SourceConfiguration) -> SourceInput {
    let authentication = written.authentication_configuration.unwrap_or_default();
    SourceInput {
        code: written.code_repository.map(code),
        image: written.image_repository.map(image),
        auto_deployments: written.auto_deployments_enabled,
        access_role_arn: authentication.access_role_arn,
        connection_arn: authentication.connection_arn,
    }
}

fn code(written: wire::CodeRepository) -> CodeInput {
    let wire::SourceCodeVersion { r#type: wire::SourceCodeVersionType::Branch, value } =
        written.source_code_version;
    CodeInput {
        repository_url: written.repository_url,
        branch: value,
        source_directory: written.source_directory,
        configuration: written.code_configuration.map(code_configuration),
    }
}

fn code_configuration(written: wire::CodeConfiguration) -> CodeConfigurationInput {
    let from_file = match written.configuration_source {
        wire::ConfigurationSource::Repository => true,
        wire::ConfigurationSource::Api => false,
    };
    match written.code_configuration_values {
        None => {
            CodeConfigurationInput { from_file, runtime: None, build_command: None, run: RunInput::default() }
        }
        Some(values) => CodeConfigurationInput {
            from_file,
            runtime: Some(values.runtime),
            build_command: values.build_command,
            run: RunInput {
                start_command: values.start_command,
                port: values.port,
                env: values.runtime_environment_variables,
                secrets: values.runtime_environment_secrets,
            },
        },
    }
}

fn image(written: wire::ImageRepository) -> ImageInput {
    let run = written.image_configuration.unwrap_or_default();
    ImageInput {
        identifier: written.image_identifier,
        repository_type: match written.image_repository_type {
            wire::ImageRepositoryType::Ecr => RepositoryType::Ecr,
            wire::ImageRepositoryType::EcrPublic => RepositoryType::EcrPublic,
        },
        run: RunInput {
            start_command: run.start_command,
            port: run.port,
            env: run.runtime_environment_variables,
            secrets: run.runtime_environment_secrets,
        },
    }
}

fn instance(written: wire::InstanceConfiguration) -> InstanceInput {
    InstanceInput { cpu: written.cpu, memory: written.memory, role_arn: written.instance_role_arn }
}

fn health(written: wire::HealthCheckConfiguration) -> HealthInput {
    // The decoder has checked the range, so nothing is lost.
    let number = |number: Option<i32>| number.map(|number| u32::try_from(number).unwrap_or(0));
    HealthInput {
        http: written.protocol.map(|protocol| match protocol {
            wire::HealthCheckProtocol::Tcp => false,
            wire::HealthCheckProtocol::Http => true,
        }),
        path: written.path,
        interval_s: number(written.interval),
        timeout_s: number(written.timeout),
        healthy_threshold: number(written.healthy_threshold),
        unhealthy_threshold: number(written.unhealthy_threshold),
    }
}

fn network(written: wire::NetworkConfiguration) -> NetworkInput {
    let egress = written.egress_configuration.unwrap_or_default();
    let vpc = egress.egress_type.map(|egress| match egress {
        wire::EgressType::Default => false,
        wire::EgressType::Vpc => true,
    });
    NetworkInput {
        public: written.ingress_configuration.and_then(|ingress| ingress.is_publicly_accessible),
        // A connector without the type that uses it is a wish for it all the same.
        vpc_egress: if egress.vpc_connector_arn.is_some() { Some(true) } else { vpc },
        dual_stack: written.ip_address_type.map(|address| match address {
            wire::IpAddressType::Ipv4 => false,
            wire::IpAddressType::DualStack => true,
        }),
    }
}
