//! What people read of an operation: the lines of its two logs.

use super::*;

#[test]
fn a_deployment_is_told_as_app_runner_tells_it() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.drive();
    let events: Vec<&str> = rows
        .lines
        .iter()
        .filter_map(|line| match line {
            Line::Event(text) => Some(text.as_str()),
            Line::Deployment(_) | Line::DeploymentEnd => None,
        })
        .collect();
    assert_eq!(
        events,
        [
            "Service status is set to OPERATION_IN_PROGRESS.",
            "Service creation started.",
            "Service creation completed successfully.",
            "Service status is set to RUNNING.",
        ]
    );
    let all_prefixed = rows.lines.iter().all(|line| match line {
        Line::Deployment(text) => text.starts_with("[AppRunner] "),
        Line::Event(_) | Line::DeploymentEnd => true,
    });
    assert!(all_prefixed);
}
