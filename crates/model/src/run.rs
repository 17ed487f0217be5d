//! What an instance of a revision is told: API values, `apprunner.yaml` and the platform's own variables, put
//! together in one place.

use crate::build::BuildOutcome;
use crate::command;
use crate::extension::{InstanceTags, STARTUP_BOOST};
use crate::instance::InstanceSpec;
use crate::limits;
use crate::reconcile::Slot;
use crate::service::{Revision, RunConfig, Service, ServiceConfig, Source};
use std::collections::BTreeMap;

/// The run configuration of a new revision, once its image is known. The error is one sentence for the user.
///
/// Where `apprunner.yaml` and the API both have variables the file's alone count, as on AWS. The tags change that:
/// `apron:env-merge` uses both, and `apron:config-merge` says whose wins where both have one; an API that wins uses
/// both in any case.
pub fn run_config(
    config: &ServiceConfig,
    tags: InstanceTags,
    outcome: &BuildOutcome,
) -> Result<RunConfig, String> {
    match &config.source {
        Source::Image(image) => Ok(RunConfig {
            start_command: image.start_command.clone(),
            port: image.port,
            port_env: None,
            env: image.env.clone(),
            tags,
        }),
        Source::Code(code) if code.from_file => {
            let mut run = RunConfig {
                start_command: outcome.start_command.clone(),
                port: outcome.port.unwrap_or(limits::PORT_DEFAULT),
                port_env: outcome.port_env.clone(),
                env: outcome.env.clone(),
                tags,
            };
            if let Some(values) = &code.values {
                if tags.api_over_file {
                    run.env.extend(values.env.clone());
                    run.port = values.port.unwrap_or(run.port);
                } else if tags.env_merge {
                    let file = std::mem::replace(&mut run.env, values.env.clone());
                    run.env.extend(file);
                }
            }
            Ok(run)
        }
        Source::Code(code) => {
            let Some(values) = &code.values else {
                return Err(
                    "the configuration source is API, but no CodeConfigurationValues are set".to_owned()
                );
            };
            Ok(RunConfig {
                start_command: values.start_command.clone(),
                port: values.port.unwrap_or(limits::PORT_DEFAULT),
                port_env: None,
                env: values.env.clone(),
                tags,
            })
        }
    }
}

/// What the container of a slot is. None while the image of the revision is not known.
pub fn instance_spec(service: &Service, revision: &Revision, slot: &Slot) -> Option<InstanceSpec> {
    let run = revision.run.as_ref()?;
    Some(InstanceSpec {
        id: slot.id.clone(),
        generation: slot.generation,
        service: service.id.clone(),
        service_name: service.name.clone(),
        revision: revision.number,
        image: revision.image.clone()?,
        command: command::decide(run.start_command.as_deref()),
        env: environment(service, revision, run),
        port: run.port,
        size: run.tags.size(revision.config.size),
        health: revision.config.health.clone(),
        health_grace_ms: run.tags.health_check_grace().as_millis() as u64,
        startup_boost: run.tags.startup_boost.unwrap_or(STARTUP_BOOST),
        stop_grace_ms: limits::STOP_GRACE_MS,
        idle: service.idle(),
    })
}

/// The user's variables and ours. `PORT` and what names the service are always ours; a region that the user
/// sets is theirs, since an application that speaks to AWS elsewhere must be able to say so.
fn environment(service: &Service, revision: &Revision, run: &RunConfig) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("AWS_REGION".to_owned(), service.region.clone()),
        ("AWS_DEFAULT_REGION".to_owned(), service.region.clone()),
    ]);
    env.extend(run.env.clone());
    env.insert("AWS_EXECUTION_ENV".to_owned(), "AWS_ECS_FARGATE".to_owned());
    env.insert("PORT".to_owned(), run.port.to_string());
    if let Some(name) = &run.port_env {
        env.insert(name.clone(), run.port.to_string());
    }
    env.insert("APRON_SERVICE".to_owned(), service.name.clone());
    env.insert("APRON_REVISION".to_owned(), revision.number.to_string());
    if let Some(commit) = &revision.commit {
        env.insert("APRON_COMMIT".to_owned(), commit.clone());
    } else {
        env.remove("APRON_COMMIT");
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::instance::Command;
    use crate::service::CodeValues;

    fn outcome() -> BuildOutcome {
        BuildOutcome {
            start_command: Some("python app.py".to_owned()),
            port: Some(8000),
            port_env: Some("APP_PORT".to_owned()),
            env: BTreeMap::from([("A".to_owned(), "file".to_owned()), ("B".to_owned(), "file".to_owned())]),
            commit: Some("abc123".to_owned()),
            ..fixture::outcome()
        }
    }

    #[test]
    fn the_file_wins_unless_the_tags_say_otherwise() {
        let mut config = fixture::code_config(true);
        let Source::Code(code) = &mut config.source else { panic!("code") };
        code.values = Some(CodeValues {
            runtime: "PYTHON_311".to_owned(),
            build_command: None,
            start_command: Some("ignored".to_owned()),
            port: Some(9000),
            env: BTreeMap::from([("A".to_owned(), "api".to_owned()), ("C".to_owned(), "api".to_owned())]),
        });
        let file = run_config(&config, InstanceTags::default(), &outcome()).unwrap();
        assert_eq!((file.port, file.env["A"].as_str()), (8000, "file"));
        assert!(!file.env.contains_key("C"));
        let both = InstanceTags { env_merge: true, ..Default::default() };
        let merged = run_config(&config, both, &outcome()).unwrap();
        assert_eq!((merged.port, merged.env["A"].as_str(), merged.env["C"].as_str()), (8000, "file", "api"));
        assert_eq!(merged.tags, both, "the revision records it");
        let tags = InstanceTags { api_over_file: true, ..Default::default() };
        let api = run_config(&config, tags, &outcome()).unwrap();
        assert_eq!(
            run_config(&config, InstanceTags { env_merge: true, ..tags }, &outcome()).unwrap().env,
            api.env
        );
        assert_eq!((api.port, api.env["A"].as_str(), api.env["B"].as_str()), (9000, "api", "file"));
        assert_eq!(api.start_command.as_deref(), Some("python app.py"));
    }

    #[test]
    fn values_without_a_file_and_their_absence() {
        let mut config = fixture::code_config(false);
        let run = run_config(&config, InstanceTags::default(), &outcome()).unwrap();
        assert_eq!((run.port, run.port_env), (8080, None));
        let Source::Code(code) = &mut config.source else { panic!("code") };
        code.values = None;
        assert!(run_config(&config, InstanceTags::default(), &outcome()).is_err());
    }

    #[test]
    fn our_variables_are_always_there() {
        let service = fixture::service("web", fixture::code_config(true));
        let mut revision = fixture::revision(&service, 3);
        let mut run = run_config(&service.config, InstanceTags::default(), &outcome()).unwrap();
        run.env.insert("PORT".to_owned(), "1".to_owned());
        run.env.insert("AWS_REGION".to_owned(), "eu-west-1".to_owned());
        revision.run = Some(run);
        revision.commit = Some("abc123".to_owned());
        let spec = instance_spec(&service, &revision, &fixture::slot(&service, 3, 1)).unwrap();
        let env = |name: &str| spec.env.get(name).map(String::as_str);
        assert_eq!(env("PORT"), Some("8000"));
        assert_eq!(env("APP_PORT"), Some("8000"));
        assert_eq!(env("AWS_REGION"), Some("eu-west-1"));
        assert_eq!(env("AWS_DEFAULT_REGION"), Some("us-east-1"));
        assert_eq!(env("AWS_EXECUTION_ENV"), Some("AWS_ECS_FARGATE"));
        assert_eq!(env("APRON_SERVICE"), Some("web"));
        assert_eq!(env("APRON_REVISION"), Some("3"));
        assert_eq!(env("APRON_COMMIT"), Some("abc123"));
        assert_eq!(spec.size, service.config.size);
        let tags = InstanceTags { memory_mib: Some(100), ..Default::default() };
        let run = revision.run.clone().map(|run| RunConfig { tags, ..run });
        let small = Revision { run, ..revision.clone() };
        let spec_of_small = instance_spec(&service, &small, &fixture::slot(&service, 3, 1)).unwrap();
        assert_eq!((spec_of_small.size.cpu_units, spec_of_small.size.memory_mib), (1024, 100));
        assert_eq!(spec.command, Command::Argv(vec!["python".to_owned(), "app.py".to_owned()]));
        revision.image = None;
        assert!(instance_spec(&service, &revision, &fixture::slot(&service, 3, 1)).is_none());
    }
}
