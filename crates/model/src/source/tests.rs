use super::*;
use crate::fixture;
use crate::instance::{HealthProtocol, InstanceSize};
use crate::service::{Source, State};

/// Whose the services are.
const ACCOUNT: &str = "123456789012";

/// What a region's new services use.
fn scaling() -> Scaling {
    fixture::image_config("r/a:1").scaling
}

fn image(identifier: &str) -> ServiceInput {
    ServiceInput {
        source: Some(SourceInput {
            image: Some(ImageInput {
                identifier: identifier.into(),
                repository_type: RepositoryType::Ecr,
                run: RunInput::default(),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn code(from_file: bool, runtime: Option<&str>, run: RunInput) -> ServiceInput {
    ServiceInput {
        source: Some(SourceInput {
            code: Some(CodeInput {
                repository_url: "https://git.test/app".into(),
                branch: "main".into(),
                source_directory: None,
                configuration: Some(CodeConfigurationInput {
                    from_file,
                    runtime: runtime.map(Into::into),
                    build_command: None,
                    run,
                }),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn run_of(input: &mut ServiceInput) -> &mut RunInput {
    let source = input.source.as_mut().unwrap();
    match (&mut source.code, &mut source.image) {
        (Some(code), _) => &mut code.configuration.as_mut().unwrap().run,
        (_, Some(image)) => &mut image.run,
        _ => unreachable!("a test gives a source"),
    }
}

fn env(pairs: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
}

/// What creating or changing gives: the configuration, or a part of the error's text.
fn check(current: Option<&ServiceConfig>, input: &ServiceInput, expect: Result<(), &str>) -> ServiceConfig {
    let result = match current {
        None => new_service("web", [], input, &scaling(), ACCOUNT).map(|new| new.config),
        Some(current) => changed(&fixture::service("web", current.clone()), input),
    };
    match (result, expect) {
        (Ok(config), Ok(())) => config,
        (Err(error), Err(part)) => {
            assert!(error.to_string().contains(part), "{error} does not say {part:?}");
            new_service("web", [], &image("r/a:1"), &scaling(), ACCOUNT).unwrap().config
        }
        (result, expect) => panic!("{result:?}, expected {expect:?}"),
    }
}

#[test]
fn defaults_are_those_of_aws() {
    let config = check(None, &image("registry.test/app:1"), Ok(()));
    assert_eq!(config.size, InstanceSize { cpu_units: 1024, memory_mib: 2048 });
    assert_eq!(config.health.protocol, HealthProtocol::Tcp);
    assert_eq!((config.health.interval_s, config.health.timeout_s), (5, 2));
    assert_eq!((config.health.healthy_threshold, config.health.unhealthy_threshold), (1, 5));
    assert_eq!(config.health_path, "/");
    assert_eq!(config.scaling, scaling());
    assert!(config.auto_deployments && config.public && config.kms_key.is_none());
    let Source::Image(source) = config.source else { panic!("an image") };
    assert_eq!(source.port, 8080);
}

#[test]
fn sizes_are_normalised_and_paired() {
    let sized = |cpu: Option<&str>, memory: Option<&str>| {
        let mut input = image("r/a:1");
        input.instance =
            Some(InstanceInput { cpu: cpu.map(Into::into), memory: memory.map(Into::into), role_arn: None });
        input
    };
    for (cpu, memory, units, mib) in [
        (Some("1 vCPU"), Some("2 GB"), 1024, 2048),
        (Some("0.25 vCPU"), Some("0.5 GB"), 256, 512),
        (Some("4096"), Some("12288"), 4096, 12288),
        (None, Some("4 GB"), 1024, 4096),
    ] {
        let config = check(None, &sized(cpu, memory), Ok(()));
        assert_eq!(config.size, InstanceSize { cpu_units: units, memory_mib: mib });
    }
    check(None, &sized(Some("256"), None), Err("256: 512, 1024; 512: 1024; 1024: 2048, 3072, 4096"));
    for bad in ["3 vCPU", "0.3 vCPU", "1vCPU", "NaN vCPU", "inf vCPU", "-1 vCPU", "", "1025", "99999999999"] {
        check(None, &sized(Some(bad), None), Err("Cpu"));
    }
    check(None, &sized(None, Some("2 TB")), Err("Memory '2 TB'"));
}

#[test]
fn an_update_keeps_what_it_leaves_out() {
    let mut first = image("r/a:1");
    *run_of(&mut first) = RunInput {
        start_command: Some("serve".into()),
        port: Some("9000".into()),
        env: env(&[("A", "1"), ("PORT", "9000")]),
        secrets: None,
    };
    let before = check(None, &first, Ok(()));
    let after = check(Some(&before), &image("r/a:2"), Ok(()));
    let (Source::Image(before_source), Source::Image(source)) = (&before.source, &after.source) else {
        panic!("images")
    };
    assert_eq!(source.identifier, "r/a:2");
    assert_eq!((source.port, &source.start_command), (9000, &Some("serve".into())));
    assert_eq!(source.env, before_source.env);

    let health = ServiceInput {
        health: Some(HealthInput { http: Some(true), path: Some("/up".into()), ..Default::default() }),
        ..Default::default()
    };
    let http = check(Some(&after), &health, Ok(()));
    assert_eq!(http.health.protocol, HealthProtocol::Http { path: "/up".into() });
    let tcp = check(
        Some(&http),
        &ServiceInput {
            health: Some(HealthInput { http: Some(false), ..Default::default() }),
            ..Default::default()
        },
        Ok(()),
    );
    assert_eq!((tcp.health.protocol, tcp.health_path.as_str()), (HealthProtocol::Tcp, "/up"));

    let mut replaced = image("r/a:3");
    run_of(&mut replaced).env = env(&[("B", "2")]);
    let Source::Image(source) = check(Some(&after), &replaced, Ok(())).source else { panic!("an image") };
    assert_eq!(Some(source.env), env(&[("B", "2")]), "a given map replaces the old one");
}

#[test]
fn code_needs_a_runtime_or_the_file() {
    check(None, &code(false, None, RunInput::default()), Err("with a Runtime is required"));
    let config = check(None, &code(true, None, RunInput::default()), Ok(()));
    let Source::Code(source) = &config.source else { panic!("code") };
    assert_eq!((source.from_file, &source.values, source.source_directory.as_str()), (true, &None, "/"));
    let config = check(Some(&config), &code(false, Some("PYTHON_311"), RunInput::default()), Ok(()));
    let Source::Code(source) = &config.source else { panic!("code") };
    assert_eq!(source.values.as_ref().unwrap().port, Some(8080));

    let mut input = code(true, None, RunInput::default());
    input.source.as_mut().unwrap().code.as_mut().unwrap().configuration = None;
    check(None, &input, Err("CodeConfiguration is required"));
    check(Some(&config), &input, Ok(()));
}

#[test]
fn reserved_variables_are_refused() {
    for (pairs, port, expect) in [
        (&[("PORT", "3000")][..], Some("3000"), Ok(())),
        (&[("PORT", "3000")], None, Err("PORT is reserved")),
        (&[("AWSAPPRUNNER_X", "")], None, Err("AWSAPPRUNNER")),
        (&[("A=B", "")], None, Err("no '='")),
        (&[("A", "x\0y")], None, Err("zero byte")),
        (&[("", "x")], None, Err("not empty")),
    ] {
        let mut input = image("r/a:1");
        *run_of(&mut input) = RunInput { env: env(pairs), port: port.map(Into::into), ..Default::default() };
        check(None, &input, expect);
    }
    let mut input = image("r/a:1");
    run_of(&mut input).env = env(&[("A", &"x".repeat(limits_of_environment()))]);
    check(None, &input, Err("at most"));
}

fn limits_of_environment() -> usize {
    crate::limits::ENVIRONMENT_BYTES_MAX
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let with = |change: &dyn Fn(&mut ServiceInput)| {
        let mut input = image("r/a:1");
        change(&mut input);
        input
    };
    let network = |public, vpc_egress, dual_stack| Some(NetworkInput { public, vpc_egress, dual_stack });
    let mut private = image("r/a:1");
    private.network = network(Some(false), None, None);
    check(None, &private, Err("IsPubliclyAccessible=false is not supported yet"));
    private.network = network(None, Some(true), None);
    check(None, &private, Err("EgressType=VPC is not supported yet"));
    private.network = network(None, None, Some(true));
    check(None, &private, Err("DUAL_STACK is not supported yet"));
    private.network = network(Some(true), Some(false), Some(false));
    check(None, &private, Ok(()));
    check(
        None,
        &with(&|input| input.kms_key = Some("arn:aws:kms:…".into())),
        Err("KmsKey is not supported yet"),
    );
    check(None, &with(&|input| input.observability_enabled = Some(true)), Err("ObservabilityEnabled=true"));
    let mut other = scaling();
    other.min_size = 3;
    let set = check(None, &with(&|input| input.scaling = Some(other.clone())), Ok(()));
    assert_eq!((set.scaling.min_size, check(Some(&set), &image("r/a:1"), Ok(())).scaling), (3, other));
    let connected = with(&|input| input.source.as_mut().unwrap().connection_arn = Some("arn".into()));
    check(None, &connected, Err("is for a CodeRepository"));
    let hasty = HealthInput { timeout_s: Some(6), ..Default::default() };
    check(None, &with(&|input| input.health = Some(hasty.clone())), Err("Interval 5 is less than Timeout 6"));
    check(None, &with(&|input| run_of(input).secrets = env(&[("S", "arn")])), Err("'S'"));
}

#[test]
fn sources_are_checked() {
    let current = check(None, &image("r/a:1"), Ok(()));
    check(Some(&current), &code(true, None, RunInput::default()), Err("cannot be changed between"));
    check(None, &ServiceInput::default(), Err("SourceConfiguration is required"));
    let mut both = image("r/a:1");
    both.source.as_mut().unwrap().code = code(true, None, RunInput::default()).source.unwrap().code;
    check(None, &both, Err("exactly one"));
    check(None, &image("not a reference"), Err("ImageIdentifier"));
    for (url, valid) in [
        ("https://git.test/a.git", true),
        ("file:///srv/a", true),
        (&format!("apron:source/sha256:{}", "a".repeat(64)) as &str, true),
        ("apron:source/sha256:ab", false),
        ("git@github.com:a/b.git", false),
        ("https://", false),
        ("--upload-pack=x", false),
        ("https://a b", false),
    ] {
        let mut input = code(true, None, RunInput::default());
        input.source.as_mut().unwrap().code.as_mut().unwrap().repository_url = url.into();
        check(None, &input, if valid { Ok(()) } else { Err("RepositoryUrl") });
    }
    let mut input = code(true, None, RunInput::default());
    input.source.as_mut().unwrap().code.as_mut().unwrap().source_directory = Some("/a/../..".into());
    check(None, &input, Err("without '..'"));
    input.source.as_mut().unwrap().code.as_mut().unwrap().source_directory = None;
    input.source.as_mut().unwrap().code.as_mut().unwrap().branch = "--help".into();
    check(None, &input, Err("not the name of a branch"));
}

#[test]
fn the_kind_of_source_changes_only_before_anything_served() {
    let mut service = fixture::service("web", check(None, &image("r/a:1"), Ok(())));
    let written = code(true, None, RunInput::default());
    let refused = changed(&service, &written).unwrap_err().to_string();
    assert!(refused.contains("cannot be changed between") && refused.ends_with("apron rm web"), "{refused}");
    service.state = State::CreateFailed;
    service.active = None;
    service.config = changed(&service, &written).unwrap();
    assert!(matches!(service.config.source, Source::Code(_)));
    let config = changed(&service, &image("r/a:1")).unwrap();
    let Source::Image(source) = &config.source else { panic!("an image") };
    assert_eq!((source.identifier.as_str(), source.port), ("r/a:1", 8080));
}

/// A value that was laid over the file is gone with the update that does not state it again.
#[test]
fn values_beside_the_file_are_those_of_the_last_update() {
    let values = |config: &ServiceConfig| {
        let Source::Code(source) = &config.source else { panic!("code") };
        source.values.as_ref().map(|values| (values.port, values.env.clone()))
    };
    let run = RunInput { port: Some("9090".into()), env: env(&[("A", "1")]), ..Default::default() };
    let first = check(None, &code(true, Some("REPOSITORY"), run), Ok(()));
    assert_eq!(values(&first), Some((Some(9090), env(&[("A", "1")]).unwrap())));
    let run = RunInput { env: env(&[("B", "2")]), ..Default::default() };
    let second = check(Some(&first), &code(true, Some("REPOSITORY"), run), Ok(()));
    assert_eq!(values(&second), Some((None, env(&[("B", "2")]).unwrap())));
    assert_eq!(values(&check(Some(&first), &code(true, None, RunInput::default()), Ok(()))), None);
    // An update of something else keeps them.
    assert_eq!(values(&check(Some(&first), &ServiceInput::default(), Ok(()))), values(&first));
}

#[test]
fn names_and_tags() {
    for (name, valid) in [
        ("a", true),
        ("my-app_2", true),
        ("-a", false),
        ("", false),
        ("a.b", false),
        (&"x".repeat(41), false),
    ] {
        assert_eq!(new_service(name, [], &image("r/a:1"), &scaling(), ACCOUNT).is_ok(), valid, "{name}");
    }
    let tag = |k: &str, v: &str| (k.to_string(), v.to_string());
    assert!(laid_over("service", &BTreeMap::new(), [tag("aws:x", "")]).is_err());
    assert!(laid_over("service", &BTreeMap::new(), [tag("a", "1"), tag("a", "2")]).is_err());
    let fifty = laid_over("service", &BTreeMap::new(), (0..50).map(|i| tag(&i.to_string(), ""))).unwrap();
    assert!(laid_over("service", &fifty, [tag("0", "again")]).is_ok());
    let refusal = |given| laid_over("connection", &fifty, [given]).unwrap_err().to_string();
    assert_eq!(refusal(tag("x", "")), "The connection would have 51 tags; at most 50 are allowed.");
    assert_eq!(refusal(tag("", "x")), "Tags.1.Key is missing: a tag has a key of 1 to 128 characters.");
    assert!(refusal(tag(&"x".repeat(129), "")).contains("too long"));
}

#[test]
fn images_of_another_account_are_not_deployed_by_themselves() {
    let deploys = |input: &ServiceInput| {
        new_service("web", [], input, &scaling(), ACCOUNT).unwrap().config.auto_deployments
    };
    for (identifier, expect) in [
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1", true),
        ("210987654321.dkr.ecr.us-east-1.amazonaws.com/web:1", false),
        ("210987654321.dkr.ecr.cn-north-1.amazonaws.com.cn/web:1", false),
        ("registry.test/210987654321.dkr.ecr.us-east-1.amazonaws.com/web:1", true),
        ("web:1", true),
    ] {
        let mut input = image(identifier);
        assert_eq!(deploys(&input), expect, "{identifier}");
        for said in [true, false] {
            input.source.as_mut().unwrap().auto_deployments = Some(said);
            assert_eq!(deploys(&input), said, "{identifier}");
        }
    }
    let mut public = image("public.ecr.aws/a/b:1");
    public.source.as_mut().unwrap().image.as_mut().unwrap().repository_type = RepositoryType::EcrPublic;
    assert!(!deploys(&public));
}
