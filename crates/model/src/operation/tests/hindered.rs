//! Instances that cannot be started for a reason of the machine, which may pass.

use super::*;

/// An instance that could not be started for a reason of the machine, after so many tries.
fn hindered(slot: &Slot, restarts: u32) -> Observed {
    Observed {
        phase: Phase::Failed(Fault::transient("the disk of /data is full: 12 MiB free")),
        health: Health::Starting { hint: None },
        address: None,
        restarts,
        ..fixture::healthy(slot)
    }
}

#[test]
fn a_full_disk_is_told_at_once_and_is_the_reason_soon() {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    let began = rows.now;
    rows.seen(|slot| hindered(slot, 0));
    assert!(matches!(rows.advance(), Wake::ByFactOr(_)));
    let said = |rows: &Rows| {
        let full = |line: &&Line| matches!(line, Line::Event(text) if text.contains("12 MiB free"));
        rows.lines.iter().filter(full).count()
    };
    assert_eq!(said(&rows), 1, "{:?}", rows.lines);
    // Further tries within the time say nothing more.
    for restarts in 1..4 {
        rows.now = Timestamp(rows.now.0 + 1000);
        rows.seen(|slot| hindered(slot, restarts));
        assert!(matches!(rows.advance(), Wake::ByFactOr(at) if at > rows.now));
    }
    assert_eq!(said(&rows), 1);
    let last = Timestamp(began.0 + limits::START_HINDERED_MS);
    assert_eq!(rows.advance(), Wake::ByFactOr(last));
    rows.now = last;
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    assert_eq!(rows.view.operation.fault, Some(Fault::transient("the disk of /data is full: 12 MiB free")));
}

#[test]
fn a_hindrance_that_passes_fails_nothing_and_slow_tries_are_waited_for() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.seen(|slot| hindered(slot, 0));
    rows.advance();
    rows.now = Timestamp(rows.now.0 + limits::START_HINDERED_MS + 1);
    rows.seen(|slot| hindered(slot, limits::START_TRIES_MAX - 2));
    assert!(matches!(rows.advance(), Wake::ByFactOr(_)), "two tries are not three");
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    // With too few tries the deadline of the step still ends it, with the same reason.
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.drive_to(|step| matches!(step, Step::Starting { .. }));
    rows.seen(|slot| hindered(slot, 0));
    rows.advance();
    rows.now = Timestamp(rows.now.0 + limits::BECOME_HEALTHY_MS);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::CreateFailed));
    assert!(rows.view.operation.fault.as_ref().unwrap().reason.contains("12 MiB free"));
}
