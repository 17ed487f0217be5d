//! Lays what was written over what was there.

use super::{
    CodeConfigurationInput, CodeInput, HealthInput, ImageInput, InputError, NetworkInput, ServiceInput,
    SourceInput, environment, invalid, size, unsupported,
};
use crate::instance::{HealthCheck, HealthProtocol};
use crate::service::{
    CodeSource, CodeValues, ImageSource, IpAddressType, RepositoryType, Scaling, Service, ServiceConfig,
    Source,
};

/// What applications listen on unless told otherwise, on every AWS runtime.
const PORT: u16 = 8080;

/// `account` is that of a new service; what depends on it is settled for one that is there.
pub(super) fn configure(
    service: Option<&Service>,
    input: &ServiceInput,
    scaling: &Scaling,
    account: Option<&str>,
) -> Result<ServiceConfig, InputError> {
    refuse_unsupported(input)?;
    let current = service.map(|service| &service.config);
    let source = match (service, &input.source) {
        (None, None) => return invalid("SourceConfiguration is required."),
        (Some(service), None) => service.config.source.clone(),
        (service, Some(written)) => source(service, written)?,
    };
    let instance = input.instance.clone().unwrap_or_default();
    let written_source = input.source.clone().unwrap_or_default();
    if written_source.connection_arn.is_some() && matches!(source, Source::Image(_)) {
        return invalid(
            "AuthenticationConfiguration.ConnectionArn is for a CodeRepository; images are pulled with the registry \
             credentials of the platform's configuration. Leave it out.",
        );
    }
    let (health, health_path) = health(current, &input.health.clone().unwrap_or_default())?;
    Ok(ServiceConfig {
        auto_deployments: written_source
            .auto_deployments
            .or(current.map(|config| config.auto_deployments))
            .unwrap_or_else(|| auto_deployments_default(&source, account)),
        access_role_arn: written_source
            .access_role_arn
            .or_else(|| current.and_then(|config| config.access_role_arn.clone())),
        connection_arn: written_source
            .connection_arn
            .or_else(|| current.and_then(|config| config.connection_arn.clone())),
        source,
        size: size::size(
            current.map_or_else(size::default_size, |config| config.size),
            instance.cpu.as_deref(),
            instance.memory.as_deref(),
        )?,
        instance_role_arn: instance
            .role_arn
            .or_else(|| current.and_then(|config| config.instance_role_arn.clone())),
        health,
        health_path,
        scaling: input.scaling.as_ref().unwrap_or(scaling).clone(),
        public: true,
        ip_address_type: IpAddressType::Ipv4,
        kms_key: current.and_then(|config| config.kms_key.clone()),
        observability_enabled: input
            .observability_enabled
            .or_else(|| current.and_then(|config| config.observability_enabled)),
    })
}

/// What AWS has and this does not, by the member that asks for it.
fn refuse_unsupported(input: &ServiceInput) -> Result<(), InputError> {
    let network = input.network.clone().unwrap_or_default();
    match network {
        NetworkInput { public: Some(false), .. } => unsupported(
            "IngressConfiguration.IsPubliclyAccessible=false is not supported yet: there are no private \
             services, with a VPC ingress connection or without. Leave it out or set it to true.",
        ),
        NetworkInput { vpc_egress: Some(true), .. } => unsupported(
            "EgressConfiguration.EgressType=VPC is not supported yet: VPC connectors are recorded, and nothing goes \
             through them. Use DEFAULT.",
        ),
        NetworkInput { dual_stack: Some(true), .. } => unsupported(
            "IpAddressType=DUAL_STACK is not supported yet: services are reached over IPv4. Use IPV4.",
        ),
        _ if input.kms_key.is_some() => unsupported(
            "EncryptionConfiguration.KmsKey is not supported yet: there is no key service. Leave it out.",
        ),
        _ if input.observability_enabled == Some(true) => unsupported(
            "ObservabilityConfiguration.ObservabilityEnabled=true is not supported yet: traces are not collected. \
             Leave it out or set it to false.",
        ),
        _ => Ok(()),
    }
}

fn source(service: Option<&Service>, written: &SourceInput) -> Result<Source, InputError> {
    match (&written.code, &written.image, service.map(|service| &service.config.source)) {
        (Some(_), Some(_), _) => invalid(
            "SourceConfiguration names both CodeRepository and ImageRepository; exactly one of them is wanted.",
        ),
        (None, None, None) => invalid(
            "SourceConfiguration names neither CodeRepository nor ImageRepository; one of them is wanted.",
        ),
        (None, None, Some(source)) => Ok(source.clone()),
        (Some(_), None, Some(Source::Image(_))) | (None, Some(_), Some(Source::Code(_)))
            if let Some(service) = service.filter(|service| !service.never_served()) =>
        {
            invalid(format!(
                "The kind of source of a service cannot be changed between CodeRepository and ImageRepository. \
                 Create another service, or delete this one first: apron rm {}",
                service.name
            ))
        }
        (Some(code), None, Some(Source::Code(base))) => code_source(Some(base), code).map(Source::Code),
        (Some(code), None, _) => code_source(None, code).map(Source::Code),
        (None, Some(image), Some(Source::Image(base))) => image_source(Some(base), image).map(Source::Image),
        (None, Some(image), _) => image_source(None, image).map(Source::Image),
    }
}

fn code_source(base: Option<&CodeSource>, written: &CodeInput) -> Result<CodeSource, InputError> {
    check_repository_url(&written.repository_url)?;
    if written.branch.is_empty() || written.branch.starts_with('-') || has_blank(&written.branch) {
        return invalid(format!(
            "SourceCodeVersion.Value '{}' is not the name of a branch.",
            written.branch.escape_debug()
        ));
    }
    let source_directory = match (&written.source_directory, base) {
        (Some(directory), _) => directory.clone(),
        (None, Some(base)) => base.source_directory.clone(),
        (None, None) => "/".to_owned(),
    };
    if source_directory.contains('\0') || source_directory.split('/').any(|part| part == "..") {
        return invalid(format!(
            "SourceDirectory '{}' is not valid: give a path from the root of the repository, without '..'.",
            source_directory.escape_debug()
        ));
    }
    let (from_file, values) = match (&written.configuration, base) {
        (None, None) => return invalid("CodeRepository.CodeConfiguration is required to create a service."),
        (None, Some(base)) => (base.from_file, base.values.clone()),
        (Some(written), base) => {
            (written.from_file, code_values(base.and_then(|base| base.values.as_ref()), written)?)
        }
    };
    Ok(CodeSource {
        repository_url: written.repository_url.clone(),
        branch: written.branch.clone(),
        source_directory,
        from_file,
        values,
    })
}

/// With `apprunner.yaml` the values are kept all the same: DescribeService shows them, and the tag
/// `apron:config-merge` may use them. They are an exception to the file then, which each update that says where the
/// configuration is states anew or ends.
fn code_values(
    base: Option<&CodeValues>,
    written: &CodeConfigurationInput,
) -> Result<Option<CodeValues>, InputError> {
    environment::refuse_secrets(&written.run)?;
    environment::check_command("StartCommand", written.run.start_command.as_deref())?;
    environment::check_command("BuildCommand", written.build_command.as_deref())?;
    let base = base.filter(|_| !written.from_file);
    let Some(runtime) = written.runtime.clone().or_else(|| base.map(|base| base.runtime.clone())) else {
        if written.from_file {
            return Ok(None);
        }
        return invalid(
            "CodeConfigurationValues with a Runtime is required when ConfigurationSource is API. To use the \
             apprunner.yaml of the repository set ConfigurationSource to REPOSITORY.",
        );
    };
    let port = match &written.run.port {
        Some(text) => Some(environment::port(text)?),
        None => base.and_then(|base| base.port),
    };
    let port = if written.from_file { port } else { Some(port.unwrap_or(PORT)) };
    let env = match (&written.run.env, base) {
        (Some(env), _) => env.clone(),
        (None, Some(base)) => base.env.clone(),
        (None, None) => Default::default(),
    };
    environment::check(&env, port)?;
    Ok(Some(CodeValues {
        runtime,
        build_command: written
            .build_command
            .clone()
            .or_else(|| base.and_then(|base| base.build_command.clone())),
        start_command: written
            .run
            .start_command
            .clone()
            .or_else(|| base.and_then(|base| base.start_command.clone())),
        port,
        env,
    }))
}

fn image_source(base: Option<&ImageSource>, written: &ImageInput) -> Result<ImageSource, InputError> {
    environment::refuse_secrets(&written.run)?;
    environment::check_command("StartCommand", written.run.start_command.as_deref())?;
    if written.identifier.is_empty() || has_blank(&written.identifier) {
        return invalid(format!(
            "ImageIdentifier '{}' is not a reference: give registry/name:tag or registry/name@sha256:….",
            written.identifier.escape_debug()
        ));
    }
    let port = match (&written.run.port, base) {
        (Some(text), _) => environment::port(text)?,
        (None, Some(base)) => base.port,
        (None, None) => PORT,
    };
    let env = match (&written.run.env, base) {
        (Some(env), _) => env.clone(),
        (None, Some(base)) => base.env.clone(),
        (None, None) => Default::default(),
    };
    environment::check(&env, Some(port))?;
    Ok(ImageSource {
        identifier: written.identifier.clone(),
        repository_type: written.repository_type,
        port,
        start_command: written
            .run
            .start_command
            .clone()
            .or_else(|| base.and_then(|base| base.start_command.clone())),
        env,
    })
}

/// A check that may take longer than until the next one would overtake itself.
fn check_interval(interval_s: u32, timeout_s: u32) -> Result<(), InputError> {
    if interval_s >= timeout_s {
        return Ok(());
    }
    invalid(format!(
        "HealthCheckConfiguration.Interval {interval_s} is less than Timeout {timeout_s}: give an Interval of at \
         least {timeout_s} seconds."
    ))
}

/// The URLs that a build can fetch from, or the archive that a client has uploaded.
fn check_repository_url(url: &str) -> Result<(), InputError> {
    if let Some(digest) = url.strip_prefix(super::UPLOAD_PREFIX) {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(());
        }
        return invalid(format!("RepositoryUrl '{}' does not name an uploaded source.", url.escape_debug()));
    }
    let known = ["https://", "http://", "file://"];
    if !has_blank(url) && known.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
        return Ok(());
    }
    invalid(format!(
        "RepositoryUrl '{}' is not a git URL that can be fetched: it begins with https://, http:// or file://.",
        url.escape_debug()
    ))
}

fn has_blank(text: &str) -> bool {
    text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// AWS deploys a pushed image by itself from a private registry of the same account only, and pushed code always.
fn auto_deployments_default(source: &Source, account: Option<&str>) -> bool {
    match source {
        Source::Code(_) => true,
        Source::Image(image) => {
            let registry = ecr_account(&image.identifier);
            image.repository_type == RepositoryType::Ecr
                && registry.is_none_or(|registry| Some(registry) == account)
        }
    }
}

/// Whose private registry on AWS an image is in, as in `123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1`; none for
/// another registry, whose accounts nobody knows.
fn ecr_account(identifier: &str) -> Option<&str> {
    let (host, _) = identifier.split_once('/')?;
    let (account, rest) = host.split_once(".dkr.ecr.")?;
    (rest.contains(".amazonaws.com") && account.bytes().all(|b| b.is_ascii_digit())).then_some(account)
}

fn health(
    current: Option<&ServiceConfig>,
    written: &HealthInput,
) -> Result<(HealthCheck, String), InputError> {
    let default = HealthCheck {
        protocol: HealthProtocol::Tcp,
        interval_s: 5,
        timeout_s: 2,
        healthy_threshold: 1,
        unhealthy_threshold: 5,
    };
    let base = current.map_or(&default, |config| &config.health);
    let path = match (&written.path, current) {
        (Some(path), _) => path.clone(),
        (None, Some(config)) => config.health_path.clone(),
        (None, None) => "/".to_owned(),
    };
    if !path.starts_with('/') || has_blank(&path) || !path.is_ascii() {
        return invalid(format!(
            "HealthCheckConfiguration.Path '{}' is not valid: it begins with '/' and has no blanks.",
            path.escape_debug()
        ));
    }
    let http = written.http.unwrap_or(matches!(base.protocol, HealthProtocol::Http { .. }));
    let protocol = if http { HealthProtocol::Http { path: path.clone() } } else { HealthProtocol::Tcp };
    let check = HealthCheck {
        protocol,
        interval_s: written.interval_s.unwrap_or(base.interval_s),
        timeout_s: written.timeout_s.unwrap_or(base.timeout_s),
        healthy_threshold: written.healthy_threshold.unwrap_or(base.healthy_threshold),
        unhealthy_threshold: written.unhealthy_threshold.unwrap_or(base.unhealthy_threshold),
    };
    check_interval(check.interval_s, check.timeout_s)?;
    for (name, value) in [
        ("Interval", check.interval_s),
        ("Timeout", check.timeout_s),
        ("HealthyThreshold", check.healthy_threshold),
        ("UnhealthyThreshold", check.unhealthy_threshold),
    ] {
        if !(1..=20).contains(&value) {
            return invalid(format!(
                "HealthCheckConfiguration.{name} {value} is not valid: give a number from 1 to 20."
            ));
        }
    }
    Ok((check, path))
}
