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
/// The model's 116, less those of which `tests/aws/errors.json` says why they cannot be provoked.
const ERRORS: &str = "110 errors of 37 operations";
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

    /// Key id and secret of the root key.
    fn key(&self) -> (String, String) {
        let text = std::fs::read_to_string(self.credentials()).unwrap();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
        };
        (value("aws_access_key_id"), value("aws_secret_access_key"))
    }

    /// One of `tests/aws` that is told all of the platform.
    fn program(&self, name: &str) -> Vec<String> {
        let mut arguments = vec![program(name)];
        for (flag, value) in [
            ("--endpoint", self.endpoint()),
            ("--credentials", path(&self.credentials())),
            ("--database", path(&self.platform.data.join("control/apron.db"))),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        for image in ["good", "other", "exits", "waits"] {
            arguments.extend([format!("--{image}"), named(image)]);
        }
        arguments
    }

    /// Every error of the model, by a command that reads the rows of `errors.py`.
    fn errors(&self, command: &[String]) {
        let mut arguments = self.program("errors.py");
        arguments.push("--".to_owned());
        arguments.extend_from_slice(command);
        arguments.push("--errors".to_owned());
        let said = self.run(300, aws::python(), &arguments);
        assert!(said.contains(ERRORS), "{said}");
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
    let arguments = tested.program("run.py");
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
        // By its name, so that the page of the long list does not call it passed.
        Some(line) => say(&line.replacen(
            "SKIPPED: ",
            "SKIPPED: e11_conformance::terraform_applies_updates_imports_and_destroys_every_resource: ",
            1,
        )),
        None => assert!(said.contains("all resources applied"), "{said}"),
    }
}

#[test]
#[ignore = "long: needs the SDK of npm"]
fn every_operation_by_the_sdk_for_javascript() {
    let tested = Tested::start();
    let sdk = repository().join("target/awsjs");
    assert!(sdk.join("node_modules").exists(), "run scripts/test --all, which installs it");
    let arguments = [program("javascript/run.mjs"), path(&sdk)];
    let said = tested.run(300, "node", &[&arguments[..], &[named("good")]].concat());
    assert!(said.contains("37 operations"), "{said}");
    tested.errors(&[&["node".to_owned()], &arguments[..]].concat());
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
    let arguments = [tested.endpoint(), key, secret];
    let said = tested.run(300, &binary, &[&arguments[..], &[named("good")]].concat());
    assert!(said.contains("37 operations"), "{said}");
    tested.errors(&[&[path(&binary)], &arguments[..]].concat());
}
