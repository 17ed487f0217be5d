//! The real AWS CLI, pointed at a platform.

use super::platform::Platform;
use super::{eventually, repository};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The CLI that `scripts/test` installs, else the one on PATH.
pub fn program() -> PathBuf {
    let installed = repository().join("target/awscli/bin/aws");
    if installed.exists() { installed } else { PathBuf::from("aws") }
}

/// The Python beside it, which has boto3.
pub fn python() -> PathBuf {
    let installed = repository().join("target/awscli/bin/python3");
    if installed.exists() { installed } else { PathBuf::from("python3") }
}

impl Platform {
    fn aws_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("AWS_SHARED_CREDENTIALS_FILE", self.data.join("credentials"))
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL_APPRUNNER", format!("http://{}", self.api))
            .env("AWS_PAGER", "")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env_remove("AWS_SESSION_TOKEN")
            .stdin(Stdio::null());
        command
    }

    /// `aws apprunner …`: the answer of a call that must succeed.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["apprunner", "--output", "json"];
        all.extend(arguments);
        let output =
            self.aws_command(&all).output().expect("the AWS CLI: run scripts/test, which installs it");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "aws {all:?}: {err}\n--- serve says:\n{}", self.log());
        match out.trim().is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&out).unwrap_or_else(|e| panic!("aws {all:?}: {e}: {out}")),
        }
    }

    /// What the AWS CLI says of a call that must fail.
    pub fn aws_refused(&self, arguments: &[&str]) -> String {
        self.aws_refused_as(&self.data.join("credentials"), arguments)
    }

    /// The same with other credentials.
    pub fn aws_refused_as(&self, credentials: &Path, arguments: &[&str]) -> String {
        let mut all = vec!["apprunner"];
        all.extend(arguments);
        let mut command = self.aws_command(&all);
        command.env("AWS_SHARED_CREDENTIALS_FILE", credentials);
        let output = command.output().expect("the AWS CLI: run scripts/test, which installs it");
        assert!(!output.status.success(), "aws {all:?} succeeded");
        String::from_utf8_lossy(&output.stderr).trim().to_owned()
    }

    /// Waits until DescribeService shows this status, and gives the service.
    pub fn aws_service(&self, arn: &str, status: &str, within: Duration) -> Value {
        eventually(within, &format!("status {status}"), || {
            let service = self.aws(&["describe-service", "--service-arn", arn])["Service"].clone();
            match service["Status"].as_str() {
                Some(found) if found == status => Ok(service),
                found => {
                    std::thread::sleep(Duration::from_millis(300));
                    Err(format!("it is {found:?}"))
                }
            }
        })
    }

    /// The newest operation of a service, once it has ended.
    pub fn aws_operation(&self, arn: &str, within: Duration) -> Value {
        eventually(within, "the end of the operation", || {
            let list = self.aws(&["list-operations", "--service-arn", arn]);
            let newest = list["OperationSummaryList"][0].clone();
            match newest["Status"].as_str() {
                Some("PENDING" | "IN_PROGRESS" | "ROLLBACK_IN_PROGRESS") | None => {
                    std::thread::sleep(Duration::from_millis(300));
                    Err(newest.to_string())
                }
                Some(_) => Ok(newest),
            }
        })
    }
}
