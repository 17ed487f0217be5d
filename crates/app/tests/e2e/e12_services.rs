//! What a service's configuration promises, seen from outside: health checks by their times. Needs root.

use crate::support::{Platform, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn update(platform: &Platform, arn: &str, health: &Value) {
    let health = health.to_string();
    platform.aws(&["update-service", "--service-arn", arn, "--health-check-configuration", &health]);
}

/// A handler that takes two seconds is healthy for a check that waits three and not for one that waits one; a check
/// that may last longer than until the next one is refused.
#[test]
fn a_check_waits_as_long_as_it_is_told() {
    let platform = Platform::start();
    platform.import("slow:1", &[]);
    platform.run(&["deploy", "slow:1", "--name", "slow"]);
    let list = platform.aws(&["list-services"]);
    let arn = list["ServiceSummaryList"][0]["ServiceArn"].as_str().unwrap();
    let check = |timeout: u32, interval: u32| {
        json!({ "Protocol": "HTTP", "Path": "/slow?2000", "Timeout": timeout, "Interval": interval,
                "HealthyThreshold": 1, "UnhealthyThreshold": 1 })
    };
    update(&platform, arn, &check(3, 3));
    assert_eq!(platform.aws_operation(arn, MINUTE)["Status"], "SUCCEEDED");
    update(&platform, arn, &check(1, 1));
    eventually(MINUTE, "a check that fails", || {
        let status = platform.run(&["status", "slow"]);
        if status.contains("no answer to GET /slow?2000 in 1 s") { Ok(()) } else { Err(status) }
    });
    // It would be waited for until a new version must be healthy.
    platform.run(&["cancel", "slow"]);
    assert_eq!(platform.aws_operation(arn, MINUTE)["Status"], "ROLLBACK_SUCCEEDED");
    let shown = platform.aws(&["describe-service", "--service-arn", arn]);
    assert_eq!(shown["Service"]["HealthCheckConfiguration"]["Timeout"], 3, "the old configuration is back");

    let hasty = check(3, 2).to_string();
    let said = platform.aws_refused(&[
        "update-service",
        "--service-arn",
        arn,
        "--health-check-configuration",
        &hasty,
    ]);
    assert!(said.contains("Interval 2 is less than Timeout 3"), "{said}");
}
