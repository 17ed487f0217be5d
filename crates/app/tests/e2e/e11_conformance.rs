//! Every operation of App Runner's API and every error of its model, as the tools that people have see them: boto3 and
//! the AWS CLI here, in the long list Terraform and the SDKs for JavaScript and Rust. The programs are in `tests/aws`.
//! Needs root.

use crate::support::platform::new_directory;
use crate::support::registry::Registry;
use crate::support::{Options, Platform, aws, image, repository};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names as the AWS provider of Terraform wants them; the platform's mirror leads them to the registry.
const ECR: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
const CONNECTIONS_MAX: &str = "10";
/// AWS's own, but for those that cost a deployment each; `tests/aws` knows these numbers.
const QUOTAS: &str = "
    services = 8
    auto_scaling_configurations = 10
    auto_scaling_revisions = 5
    observability_configurations = 10
    observability_revisions = 10
    connections = 10
    vpc_connectors = 10
    vpc_ingress_connections = 2
    custom_domains_per_service = 5
";

/// Dropped in this order.
struct Tested {
    platform: Platform,
    _registry: Registry,
}

impl Tested {
    /// A platform and a registry with images by what they do.
    fn start() -> Tested {
        let data = new_directory();
        let dir = data.join("test/registry");
        std::fs::create_dir_all(&dir).unwrap();
        let registry = Registry::start(&dir);
        for (name, env) in [
            ("good", ("TEXT", "good")),
            ("other", ("TEXT", "other")),
            ("exits", ("MODE", "exit")),
            ("waits", ("MODE", "waiting")),
        ] {
            registry.push(&format!("apron/{name}"), "1", &image::oci(&dir, &[env], "amd64"));
        }
        let config = data.join("test/apron.toml");
        let mirrors = format!("[registries.mirrors]\n\"{ECR}\" = \"{}\"\n", registry.host);
        std::fs::write(&config, format!("[quotas]{QUOTAS}{mirrors}")).unwrap();
        let mut options = Options::standard();
        options.flags.extend(["--config".to_owned(), path(&config)]);
        Tested { platform: Platform::in_directory(data, options), _registry: registry }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.platform.api)
    }

    fn credentials(&self) -> PathBuf {
        self.platform.data.join("credentials")
    }

    fn database(&self) -> PathBuf {
        self.platform.data.join("control/apron.db")
    }

    /// Key id and secret of the root key.
    fn key(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.credentials()).unwrap();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
        };
        (value("aws_access_key_id"), value("aws_secret_access_key"))
    }

    /// Runs a program to its end, which must be a good one; what it says is the test's.
    fn run(&self, seconds: u32, program: impl AsRef<OsStr>, arguments: &[String]) -> String {
        let (key, secret) = self.key();
        let output = Command::new("timeout")
            .args(["--kill-after=10", &seconds.to_string()])
            .arg(program)
            .args(arguments)
            .current_dir(repository())
            .env("AWS_ENDPOINT_URL_APPRUNNER", self.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("APRON_CONNECTIONS_MAX", CONNECTIONS_MAX)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("timeout of coreutils");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n--- serve says:\n{}", output.status, self.platform.log());
        said
    }
}

fn path(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn program(name: &str) -> String {
    path(&repository().join("tests/aws").join(name))
}

fn named(image: &str) -> String {
    format!("{ECR}/apron/{image}:1")
}

/// A line that libtest does not keep to itself.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[test]
fn every_operation_and_every_error_by_boto3_and_the_aws_cli() {
    let tested = Tested::start();
    let mut arguments = vec![program("run.py")];
    for (flag, value) in [
        ("--endpoint", tested.endpoint()),
        ("--credentials", path(&tested.credentials())),
        ("--database", path(&tested.database())),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    for image in ["good", "other", "exits", "waits"] {
        arguments.extend([format!("--{image}"), named(image)]);
    }
    let said = tested.run(300, aws::python(), &arguments);
    assert!(said.contains(" 0 failed, 0 not covered"), "{said}");
}

#[test]
#[ignore = "long: Terraform waits half a minute between two looks"]
fn terraform_applies_updates_imports_and_destroys_every_resource() {
    let tested = Tested::start();
    let arguments = [
        program("terraform/run.py"),
        "--endpoint".to_owned(),
        tested.endpoint(),
        "--credentials".to_owned(),
        path(&tested.credentials()),
        "--image".to_owned(),
        named("good"),
    ];
    let said = tested.run(1200, aws::python(), &arguments);
    match said.lines().find(|line| line.starts_with("SKIPPED: ")) {
        Some(line) => say(line),
        None => assert!(said.contains("all resources applied"), "{said}"),
    }
}

#[test]
#[ignore = "long: needs the SDK of npm"]
fn every_operation_by_the_sdk_for_javascript() {
    let tested = Tested::start();
    let sdk = repository().join("target/awsjs");
    assert!(sdk.join("node_modules").exists(), "run scripts/test --all, which installs it");
    let node = |more: &[String]| [vec![program("javascript/run.mjs"), path(&sdk)], more.to_vec()].concat();
    let said = tested.run(300, "node", &node(&[named("good"), named("waits")]));
    assert!(said.contains("37 operations, 4 errors"), "{said}");
    let fault = node(&["--fault".to_owned()]);
    tested.fault("node", &fault);
}

#[test]
#[ignore = "long: compiles the SDK"]
fn every_operation_by_the_sdk_for_rust() {
    let root = repository();
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(root.join("tests/aws/rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target/awsrust"))
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo");
    assert!(built.success(), "{built}");
    let tested = Tested::start();
    let binary = root.join("target/awsrust/debug/apron-aws-sdk-test");
    let (key, secret) = tested.key();
    let with =
        |more: &[String]| [vec![tested.endpoint(), key.clone(), secret.clone()], more.to_vec()].concat();
    let arguments = with(&[named("good"), named("waits"), CONNECTIONS_MAX.to_owned()]);
    let said = tested.run(300, &binary, &arguments);
    assert!(said.contains("37 operations, 4 errors"), "{said}");
    tested.fault(&binary, &with(&["--fault".to_owned()]));
}

impl Tested {
    /// Runs a program while the tables of the database are away; it must see what that does.
    fn fault(&self, program_of_it: impl AsRef<OsStr>, arguments: &[String]) {
        let mut all = vec![program("faults.py"), path(&self.database())];
        all.push(program_of_it.as_ref().to_str().expect("a path in UTF-8").to_owned());
        all.extend_from_slice(arguments);
        let said = self.run(60, aws::python(), &all);
        assert!(said.contains("the database's fault is seen"), "{said}");
    }
}
