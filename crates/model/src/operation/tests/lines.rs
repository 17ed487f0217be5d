//! What people read of an operation: the lines of its two logs.

use super::*;

#[test]
fn every_step_is_told_with_its_cause_and_how_long_it_took() {
    let id = "0".repeat(32);
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.drive_to(|step| matches!(step, Step::Building { .. }));
    rows.now.0 += 12_340;
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.now.0 += 2_560;
    rows.drive_to(|step| matches!(step, Step::Routing { .. }));
    rows.now.0 += 100;
    rows.drive();
    assert_eq!(
        events(&rows),
        [
            "Service status is set to OPERATION_IN_PROGRESS.",
            &format!("Service creation with ID : {id} started. Cause : CreateService."),
            "Starting source code build.",
            "Successfully built your application source code in 12.3 s.",
            "Starting 1 instance of revision 1.",
            "Healthy: 1 instance of revision 1, after 2.5 s.",
            "Routed: every proxy uses the new instances after 0.1 s.",
            &format!("Service creation with ID : {id} completed successfully in 15.0 s."),
            "Service status is set to RUNNING.",
        ]
    );
    let all_prefixed = rows.lines.iter().all(|line| match line {
        Line::Deployment(text) => text.starts_with("[AppRunner] "),
        Line::Event(_) | Line::DeploymentEnd => true,
    });
    assert!(all_prefixed);
    // What serves is replaced, and a push is named as what it is.
    let mut rows = Rows::admitted(State::Running, OperationKind::StartDeployment, asked());
    rows.view.operation.automatic = true;
    rows.drive();
    let said = events(&rows);
    assert!(said.iter().any(|text| text.ends_with("Cause : its source has changed.")), "{said:?}");
    assert!(said.contains(&"Draining: 1 instance that served before."), "{said:?}");
    let mut rows = Rows::admitted(State::Running, OperationKind::PauseService, asked());
    rows.advance();
    rows.now.0 += 1_500;
    rows.drive();
    let said = events(&rows);
    assert!(said.contains(&"Draining 1 instance."), "{said:?}");
    assert!(said.contains(&"Every instance has stopped after 1.5 s."), "{said:?}");
}

fn events(rows: &Rows) -> Vec<&str> {
    rows.lines
        .iter()
        .filter_map(|line| match line {
            Line::Event(text) => Some(text.as_str()),
            Line::Deployment(_) | Line::DeploymentEnd => None,
        })
        .collect()
}

/// Success is not claimed of what no proxy has said.
#[test]
fn a_route_that_no_proxy_confirmed_is_not_called_routed() {
    let told = |rows: &Rows, words: &str| {
        rows.lines
            .iter()
            .filter(|line| match line {
                Line::Event(text) | Line::Deployment(text) => text.contains(words),
                Line::DeploymentEnd => false,
            })
            .count()
    };
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.drive_to(|step| matches!(step, Step::Routing { .. }));
    rows.now = Timestamp(rows.now.0 + limits::ROUTE_MS_MAX);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(told(&rows, "Successfully routed"), 0);
    assert_eq!(
        told(&rows, "Warning: not every proxy has confirmed the new route yet"),
        2,
        "{:?}",
        rows.lines
    );
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.drive();
    assert_eq!((told(&rows, "Successfully routed"), told(&rows, "Warning")), (1, 0));
}

#[test]
fn the_last_output_of_a_failure_is_told_in_both_logs_and_bounded() {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    let last_lines: Vec<String> = (0..1000).map(|n| format!("line {n} {}", "x".repeat(n))).collect();
    rows.seen(|slot| Observed {
        phase: Phase::Exited(Exit { last_lines: last_lines.clone(), ..exit() }),
        ..exited(slot)
    });
    rows.advance();
    assert_eq!(rows.ended().0, OperationStatus::RollbackSucceeded);
    let kept = crate::instance::last_lines(&last_lines);
    assert_eq!(rows.view.operation.fault.as_ref().unwrap().last_lines, kept);
    let shown: Vec<String> = kept.iter().map(|line| format!("  {line}")).collect();
    let told: Vec<&str> = events(&rows).into_iter().filter(|text| text.starts_with("  line ")).collect();
    assert_eq!(told, shown);
    assert!(kept.last().unwrap().starts_with("line 999 ") && kept.len() < limits::LAST_LINES);
}
