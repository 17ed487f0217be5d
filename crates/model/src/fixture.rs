//! Ready-made values for the tests of this crate and of those that keep or show what it defines. Nothing outside
//! of tests uses them; they are always compiled, so that tests do not need a second build of this crate.

use crate::build::BuildOutcome;
use crate::extension::InstanceTags;
use crate::ids::{Digest, Generation, InstanceId, RevisionNumber, ServiceId};
use crate::instance::{Health, HealthCheck, HealthProtocol, InstanceSize, Observed, Phase, Waterfall};
use crate::reconcile::{Slot, SlotWish};
use crate::service::*;
use crate::time::{Timestamp, WallTime};
use std::collections::BTreeMap;

/// A running service that has no revision yet.
pub fn service(name: &str, config: ServiceConfig) -> Service {
    Service {
        id: ServiceId::new("5".repeat(32)),
        region: "us-east-1".to_owned(),
        name: name.to_owned(),
        url_label: "abcdefghij".to_owned(),
        created_at: WallTime(1),
        updated_at: WallTime(1),
        deleted_at: None,
        state: State::Running,
        config,
        scaling: None,
        tags: BTreeMap::new(),
        active: None,
        candidate: None,
        previous: None,
        operation: None,
        last_failure: None,
        wanted: 0,
        cap: Default::default(),
        route_version: 0,
        purge_at: None,
    }
}

/// Defaults around a source, without automatic deployments.
fn config(source: Source) -> ServiceConfig {
    ServiceConfig {
        source,
        auto_deployments: false,
        access_role_arn: None,
        connection_arn: None,
        size: InstanceSize { cpu_units: 1024, memory_mib: 2048 },
        instance_role_arn: None,
        health: HealthCheck {
            protocol: HealthProtocol::Tcp,
            interval_s: 5,
            timeout_s: 2,
            healthy_threshold: 1,
            unhealthy_threshold: 5,
        },
        health_path: "/".to_owned(),
        scaling: Scaling {
            arn: "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration/1/\
                  00000000000000000000000000000001"
                .to_owned(),
            name: "DefaultConfiguration".to_owned(),
            revision: 1,
            max_concurrency: 100,
            min_size: 1,
            max_size: 25,
        },
        public: true,
        ip_address_type: IpAddressType::Ipv4,
        kms_key: None,
        observability_enabled: None,
    }
}

/// An image by this reference.
pub fn image_config(identifier: &str) -> ServiceConfig {
    config(Source::Image(ImageSource {
        identifier: identifier.to_owned(),
        repository_type: RepositoryType::EcrPublic,
        port: 8080,
        start_command: None,
        env: BTreeMap::new(),
    }))
}

/// A git repository, with `apprunner.yaml` or with values of the API.
pub fn code_config(from_file: bool) -> ServiceConfig {
    let values = CodeValues {
        runtime: "PYTHON_311".to_owned(),
        build_command: None,
        start_command: Some("python app.py".to_owned()),
        port: None,
        env: BTreeMap::new(),
    };
    config(Source::Code(CodeSource {
        repository_url: "https://git.test/web.git".to_owned(),
        branch: "main".to_owned(),
        source_directory: "/".to_owned(),
        from_file,
        values: (!from_file).then_some(values),
    }))
}

/// What a build gives that says nothing about the run.
pub fn outcome() -> BuildOutcome {
    BuildOutcome {
        image: Digest::new(format!("sha256:{}", "a".repeat(64))),
        commit: None,
        start_command: None,
        port: None,
        port_env: None,
        env: BTreeMap::new(),
        warnings: Vec::new(),
    }
}

/// A revision that has served.
pub fn revision(service: &Service, number: RevisionNumber) -> Revision {
    Revision {
        number,
        service: service.id.clone(),
        created_at: WallTime(1),
        config: service.config.clone(),
        build: None,
        image: Some(outcome().image),
        commit: None,
        run: Some(RunConfig {
            start_command: None,
            port: 8080,
            port_env: None,
            env: BTreeMap::new(),
            tags: InstanceTags::default(),
        }),
        served: true,
    }
}

/// The `n`th slot of a revision, wished to run and not seen yet.
pub fn slot(service: &Service, revision: RevisionNumber, n: u32) -> Slot {
    Slot {
        id: InstanceId::new(format!("{revision:016x}{n:016x}")),
        service: service.id.clone(),
        revision,
        generation: Generation { epoch: 1, counter: 1 },
        wish: SlotWish::Run,
        fact: None,
        fact_at: Timestamp(0),
        ever_healthy: false,
        created_at: Timestamp(0),
    }
}

/// What a driver reports of a slot that serves.
pub fn healthy(slot: &Slot) -> Observed {
    Observed {
        id: slot.id.clone(),
        generation: slot.generation,
        address: Some(([10, 0, 0, 1], 8080).into()),
        phase: Phase::Running,
        health: Health::Healthy,
        restarts: 0,
        last_exit: None,
        waterfall: Waterfall::default(),
    }
}
