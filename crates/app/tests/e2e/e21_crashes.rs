//! kill -9 of our processes while a deployment runs: the operation ends, and traffic never stops. Needs root.

use crate::support::{Platform, eventually, http, image};
use std::time::Duration;

/// Deploys while a process is killed at this moment of the deployment; the old or the new version answers each
/// request, and in the end the new one does or the old one does and the operation says so.
fn killed_during_a_deployment(role: &str, after: Duration) {
    let platform = Platform::start();
    let dir = platform.scratch("image");
    for text in ["old", "new"] {
        let archive = image::archive(&dir, &format!("{text}:1"), &[("TEXT", text)]);
        platform.run(&["image", "import", archive.to_str().unwrap()]);
    }
    platform.run(&["deploy", "old:1", "--name", "site"]);
    let list = platform.aws(&["list-services"]);
    let arn = list["ServiceSummaryList"][0]["ServiceArn"].as_str().unwrap().to_owned();
    let load = http::Load::start(&platform.apps, &platform.alias("site"), 1);
    let source = r#"{"ImageRepository": {"ImageIdentifier": "new:1", "ImageRepositoryType": "ECR_PUBLIC"}}"#;
    platform.aws(&["update-service", "--service-arn", &arn, "--source-configuration", source]);
    std::thread::sleep(after);
    platform.process(role).kill();
    let operation = eventually(Duration::from_secs(90), "the end of the operation", || {
        // While control is away the CLI has nobody to ask.
        let output = platform.apron(&["status", "site"]);
        match output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("IN_PROGRESS") {
            true => Ok(platform.aws_operation(&arn, Duration::from_secs(60))),
            false => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
        }
    });
    let body = http::get(&platform.apps, &platform.alias("site"), "/").unwrap().body;
    match operation["Status"].as_str() {
        Some("SUCCEEDED") => assert_eq!(body, "new"),
        Some("ROLLBACK_SUCCEEDED") => assert_eq!(body, "old"),
        other => panic!("{other:?}"),
    }
    let (count, failures) = load.stop();
    // A proxy that is killed takes the connections along that it had accepted; no other is lost.
    let allowed = if role == "proxy" { 1 } else { 0 };
    assert!(failures.len() <= allowed, "{} of {count} requests failed: {failures:#?}", failures.len());
    assert!(count > 20, "only {count} requests");
}

#[test]
fn control_at_once() {
    killed_during_a_deployment("control", Duration::ZERO);
}

#[test]
fn control_in_the_middle() {
    killed_during_a_deployment("control", Duration::from_millis(300));
}

#[test]
fn node_in_the_middle() {
    killed_during_a_deployment("node", Duration::from_millis(100));
}

#[test]
fn proxy_in_the_middle() {
    killed_during_a_deployment("proxy", Duration::from_millis(200));
}
