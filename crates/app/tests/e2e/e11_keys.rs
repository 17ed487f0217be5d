//! Access for others: what `apron key` prints is a profile of the AWS CLI, and `apron audit` says what was done with
//! it. Needs root.

use crate::support::{Platform, eventually};
use std::time::Duration;

const ARN: &str = "arn:aws:apprunner:us-east-1:123456789012:service/web/0123456789abcdef0123456789abcdef";

#[test]
fn access_is_given_watched_and_taken_back() {
    let platform = Platform::start();
    let said = platform.run(&["key", "create", "viewer", "--read-only"]);
    let profile = platform.scratch("keys").join("credentials");
    std::fs::write(&profile, said.replace("[viewer]", "[default]")).unwrap();
    let refused = platform.aws_refused_as(&profile, &["pause-service", "--service-arn", ARN]);
    assert!(refused.contains("AccessDeniedException"), "{refused}");
    assert!(
        refused.contains("user/viewer is not authorized to perform: apprunner:PauseService"),
        "{refused}"
    );
    let refused = platform.aws_refused_as(&profile, &["describe-service", "--service-arn", ARN]);
    assert!(refused.contains("ResourceNotFoundException"), "{refused}");

    let rights = |name: &str| {
        let list = platform.run(&["key", "ls"]);
        list.lines().find(|line| line.starts_with(name)).map(|line| line.contains("read-only"))
    };
    assert_eq!((rights("root"), rights("viewer")), (Some(false), Some(true)));
    assert!(platform.refused(&["key", "create", "viewer"]).contains("already exists"));
    assert!(platform.refused(&["key", "rm", "root"]).contains("cannot be deleted"));
    assert!(platform.refused(&["key", "rm", "nobody"]).contains("there are: root, viewer"));
    platform.run(&["key", "rm", "viewer"]);
    assert_eq!(rights("viewer"), None);
    let refused = platform.aws_refused_as(&profile, &["list-services"]);
    assert!(refused.contains("UnrecognizedClientException"), "{refused}");

    // Lines are written beside the calls.
    eventually(Duration::from_secs(10), "the audit log", || {
        let audit = platform.run(&["audit"]);
        let has = |part: &str| audit.lines().any(|line| line.contains(part));
        let whole = has("viewer 127.0.0.1 us-east-1 apprunner:PauseService 400 AccessDeniedException")
            && has("root 127.0.0.1 us-east-1 apron:CreateAccessKey 200 {\"Name\":\"viewer\"")
            && has("apprunner:ListServices 400 UnrecognizedClientException");
        if whole { Ok(()) } else { Err(audit) }
    });
}
