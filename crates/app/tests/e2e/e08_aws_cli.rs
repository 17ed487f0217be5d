//! Points 4, 7 and 8 and the first of *Must show*: from a git repository to a URL with the AWS CLI, a second
//! deployment under load, a broken third one. Needs root.

use crate::support::git::{commit, python_application};
use crate::support::{APRON, Platform, aws, eventually, http, image};
use std::process::Command;
use std::time::Duration;

const BUILD_MAX: Duration = Duration::from_secs(240);

#[test]
fn git_to_url_then_under_load_then_broken() {
    let platform = Platform::with_bases(&["python311"]);
    let repository = platform.scratch("repository");
    let application = |text: &str| {
        let files = python_application(text);
        let files: Vec<(&str, &str)> = files.iter().map(|(n, c)| (*n, c.as_str())).collect();
        commit(&repository, &files)
    };
    let url = application("one");
    let source = format!(
        r#"{{"AutoDeploymentsEnabled": false, "CodeRepository": {{"RepositoryUrl": "{url}",
            "SourceCodeVersion": {{"Type": "BRANCH", "Value": "main"}},
            "CodeConfiguration": {{"ConfigurationSource": "REPOSITORY"}}}}}}"#
    );
    let created =
        platform.aws(&["create-service", "--service-name", "shop", "--source-configuration", &source]);
    let service = &created["Service"];
    assert_eq!(service["Status"], "OPERATION_IN_PROGRESS");
    let arn = service["ServiceArn"].as_str().unwrap().to_owned();
    assert!(arn.starts_with("arn:aws:apprunner:us-east-1:123456789012:service/shop/"), "{arn}");
    let service = platform.aws_service(&arn, "RUNNING", BUILD_MAX);
    let host = service["ServiceUrl"].as_str().unwrap().split(':').next().unwrap().to_owned();
    let get = || http::get(&platform.apps, &host, "/").unwrap();
    assert_eq!(get().body, "one");
    assert_eq!(http::get(&platform.apps, &platform.alias("shop"), "/").unwrap().body, "one");

    // The second deployment, with wrk across it and a client of new connections beside.
    application("two");
    http::under_load(&platform.apps, &host, || {
        platform.aws(&["start-deployment", "--service-arn", &arn]);
        let operation = platform.aws_operation(&arn, BUILD_MAX);
        assert_eq!(
            (operation["Type"].as_str(), operation["Status"].as_str()),
            (Some("START_DEPLOYMENT"), Some("SUCCEEDED"))
        );
    });
    assert_eq!(get().body, "two");

    // A third that ends at its start rolls back, and the second serves on.
    commit(&repository, &[("app.py", "import sys\nprint('no database here')\nsys.exit(4)\n")]);
    let load = http::Load::start(&platform.apps, &host, 1);
    platform.aws(&["start-deployment", "--service-arn", &arn]);
    let operation = platform.aws_operation(&arn, BUILD_MAX);
    assert_eq!(
        (operation["Type"].as_str(), operation["Status"].as_str(), operation["TargetArn"].as_str()),
        (Some("START_DEPLOYMENT"), Some("ROLLBACK_SUCCEEDED"), Some(arn.as_str()))
    );
    let (count, failures) = load.stop();
    assert!(failures.is_empty(), "{} of {count} requests failed: {failures:#?}", failures.len());
    assert_eq!(get().body, "two");
    assert_eq!(platform.aws_service(&arn, "RUNNING", Duration::from_secs(10))["ServiceName"], "shop");
    // The reason stands in the status, in the operation's log and in the events.
    let reason = "Container exit code: 4. Last output: no database here";
    let status = platform.run(&["status", "shop"]);
    let failure = status.lines().find_map(|line| line.strip_prefix("failure")).map(str::trim);
    assert!(failure.is_some_and(|failure| failure.ends_with(reason)), "{status}");
    let states: Vec<&str> = status.lines().filter_map(|line| line.strip_prefix("revision ")).collect();
    let state = |number: &str| {
        let row = states.iter().find_map(|row| row.strip_prefix(number)?.split_whitespace().next());
        row.unwrap_or_else(|| panic!("no revision {number} in {status}"))
    };
    assert_eq!((state("3 "), state("2 "), state("1 ")), ("FAILED", "ACTIVE", "PREVIOUS"));
    for stream in ["--deployment", "--events"] {
        let log = platform.run(&["logs", "shop", stream]);
        let line = log.lines().find(|line| line.contains("Failure reason : "));
        assert!(line.is_some_and(|line| line.ends_with(reason)), "{stream}: {log}");
    }

    platform.aws(&["delete-service", "--service-arn", &arn]);
    eventually(Duration::from_secs(60), "an empty list", || {
        let list = platform.aws(&["list-services"])["ServiceSummaryList"].clone();
        if list.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(list.to_string()) }
    });
}

#[test]
fn an_image_through_its_whole_life() {
    let platform = Platform::start();
    let archive = image::archive(&platform.scratch("image"), "life:1", &[]);
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    let source = r#"{"ImageRepository": {"ImageIdentifier": "life:1", "ImageRepositoryType": "ECR_PUBLIC",
        "ImageConfiguration": {"Port": "8080", "RuntimeEnvironmentVariables": {"TEXT": "alive"}}}}"#;
    let created =
        platform.aws(&["create-service", "--service-name", "life", "--source-configuration", source]);
    let arn = created["Service"]["ServiceArn"].as_str().unwrap().to_owned();
    let minute = Duration::from_secs(60);
    let service = platform.aws_service(&arn, "RUNNING", minute);
    assert_eq!(
        (&service["InstanceConfiguration"]["Cpu"], &service["InstanceConfiguration"]["Memory"]),
        (&"1024".into(), &"2048".into())
    );
    let get = || http::get(&platform.apps, &platform.alias("life"), "/").unwrap();
    assert_eq!(get().body, "alive");

    platform.aws(&["pause-service", "--service-arn", &arn]);
    platform.aws_service(&arn, "PAUSED", minute);
    assert_eq!(get().status, 503);
    platform.aws(&["resume-service", "--service-arn", &arn]);
    platform.aws_service(&arn, "RUNNING", minute);
    assert_eq!(get().body, "alive");

    let changed = source.replace("alive", "changed");
    platform.aws(&["update-service", "--service-arn", &arn, "--source-configuration", &changed]);
    platform.aws_service(&arn, "RUNNING", minute);
    assert_eq!(get().body, "changed");
    let operations =
        platform.aws(&["list-operations", "--service-arn", &arn])["OperationSummaryList"].clone();
    let rows: Vec<(&str, &str)> = operations
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["Type"].as_str().unwrap(), row["Status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        rows,
        ["UPDATE_SERVICE", "RESUME_SERVICE", "PAUSE_SERVICE", "CREATE_SERVICE"]
            .map(|kind| (kind, "SUCCEEDED"))
    );
    for row in operations.as_array().unwrap() {
        assert!(!row["EndedAt"].is_null() && !row["StartedAt"].is_null(), "{row}");
    }

    let missing = arn.replace("/life/", "/liff/");
    assert_eq!(
        platform.aws_refused(&["describe-service", "--service-arn", &missing]),
        refusal(
            "ResourceNotFoundException",
            "DescribeService",
            &format!("Service with the provided ARN is not found: {missing}")
        )
    );
    assert_eq!(
        platform.aws_refused(&["create-service", "--service-name", "life", "--source-configuration", source]),
        refusal(
            "InvalidRequestException",
            "CreateService",
            "Service with the provided name already exists: life"
        )
    );
    let deleted = platform.aws(&["delete-service", "--service-arn", &arn]);
    assert_eq!(deleted["Service"]["Status"], "OPERATION_IN_PROGRESS");
    let service = platform.aws_service(&arn, "DELETED", minute);
    assert!(!service["DeletedAt"].is_null(), "{service}");
    assert_eq!(platform.aws(&["list-services"])["ServiceSummaryList"], serde_json::json!([]));
}

/// What the AWS CLI prints of an error.
fn refusal(code: &str, operation: &str, message: &str) -> String {
    format!("An error occurred ({code}) when calling the {operation} operation: {message}")
}

/// Which the shell has of `apron env`, and nothing else of this platform.
#[test]
fn the_lines_of_env_are_all_that_the_cli_needs_and_a_wrong_signature_is_refused() {
    let platform = Platform::start();
    let line =
        "eval \"$(\"$0\" env --data-dir \"$1\")\" && exec \"$2\" apprunner list-services --output json";
    let listed = Command::new("env")
        .args([
            "-i",
            &format!("PATH={}", std::env::var("PATH").unwrap()),
            "HOME=/nonexistent",
            "sh",
            "-c",
            line,
        ])
        .arg(APRON)
        .arg(&platform.data)
        .arg(aws::program())
        .output()
        .unwrap();
    let (said, why) = (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
    assert!(listed.status.success(), "{said}{why}");
    let listed: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(listed["ServiceSummaryList"], serde_json::json!([]));

    let forged = platform.scratch("keys").join("credentials");
    let id = std::fs::read_to_string(platform.data.join("credentials")).unwrap();
    let id = id.lines().find_map(|l| l.strip_prefix("aws_access_key_id = ")).unwrap().to_owned();
    std::fs::write(&forged, format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = wrong\n"))
        .unwrap();
    let said = platform.aws_refused_as(&forged, &["list-services"]);
    assert!(said.contains("InvalidSignatureException"), "{said}");
    std::fs::write(&forged, "[default]\naws_access_key_id = AKIAUNKNOWN\naws_secret_access_key = wrong\n")
        .unwrap();
    let said = platform.aws_refused_as(&forged, &["list-services"]);
    assert!(said.contains("UnrecognizedClientException"), "{said}");
}
