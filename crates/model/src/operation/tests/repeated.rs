//! A step repeated writes nothing, whatever the kind of the operation and the step.

use super::calls::running;
use super::*;

/// What a wait says to a second look, a moment later and with another draw.
fn check(rows: &mut Rows, seen: &mut Vec<&'static str>) {
    seen.push(rows.view.operation.step.as_str());
    for later in 0..2 {
        let mut draw = Draw::new(Timestamp(rows.now.0 + later), WallTime(7), 2, 99);
        let again = advance(&rows.view, &mut draw);
        assert_eq!(again.writes, [], "{:?}", rows.view.operation);
        let ended = rows.view.operation.status.is_ended();
        assert_eq!(again.wake == Wake::Done, ended, "{:?}", rows.view.operation);
    }
}

/// To the end with good facts, or with a broken instance where one is waited for.
fn walk(mut rows: Rows, broken_at: Option<&str>) -> Vec<&'static str> {
    let mut seen = Vec::new();
    for _ in 0..10 {
        rows.advance();
        check(&mut rows, &mut seen);
        let step = rows.view.operation.step.clone();
        let broken = broken_at == Some(step.as_str());
        match step {
            Step::Building { .. } if broken => {
                rows.built(BuildFact::Failed(Fault::permanent("no file")), 1);
            }
            Step::Building { .. } => rows.built(BuildFact::Done(fixture::outcome()), 0),
            Step::Starting { .. } | Step::Rolling { .. } | Step::Routing { .. } if broken => {
                rows.seen(exited)
            }
            Step::Starting { .. } => rows.healthy(),
            Step::Rolling { .. } | Step::Returning { .. } => rows.exchanged(),
            Step::Routing { .. } | Step::RollingBack { .. } => rows.routed(),
            Step::Removing { .. } if broken => {
                rows.now = Timestamp(rows.now.0 + limits::REMOVE_MS_MAX);
            }
            Step::Removing { .. } => {
                rows.routed();
                rows.removed();
            }
            Step::Ended => return seen,
            Step::Queued | Step::Admitted => panic!("it waits in no step"),
        }
    }
    panic!("it does not end: {:?}", rows.view.operation);
}

#[test]
fn a_step_repeated_writes_nothing() {
    for kind in OperationKind::ALL {
        let (state, steps): (State, &[&str]) = match kind {
            OperationKind::CreateService => (State::Creating, &["building", "starting", "routing"]),
            OperationKind::UpdateService | OperationKind::StartDeployment => {
                (State::Running, &["building", "starting", "routing"])
            }
            OperationKind::ResumeService => (State::Paused, &["building", "starting", "routing"]),
            OperationKind::PauseService | OperationKind::DeleteService => (State::Running, &["removing"]),
        };
        let seen = walk(Rows::admitted(state, kind, asked()), None);
        let expect: Vec<&str> = steps.iter().copied().chain(["ended"]).collect();
        assert_eq!(seen, expect, "{kind:?}");
        for step in steps {
            let seen = walk(Rows::admitted(state, kind, asked()), Some(step));
            assert_eq!(seen.last(), Some(&"ended"), "{kind:?} broken while {step}");
            assert_eq!(seen.contains(&"restoring routes"), *step == "routing", "{kind:?}: {seen:?}");
        }
    }
    let mut rows = running();
    rows.call(Call::Rollback(None)).unwrap();
    assert_eq!(walk(rows, None), ["starting", "routing", "ended"]);
    let rolling = || {
        let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
        rows.tag("apron:deploy", "rolling");
        rows
    };
    assert_eq!(walk(rolling(), None), ["building", "replacing instances", "routing", "ended"]);
    let broken = walk(rolling(), Some("replacing instances"));
    assert_eq!(broken, ["building", "replacing instances", "ended"]);
    // With the wish to end written, too.
    for kind in OperationKind::ALL.into_iter().filter(|kind| kind.deploys()) {
        let state = match kind {
            OperationKind::CreateService => State::Creating,
            OperationKind::ResumeService => State::Paused,
            _ => State::Running,
        };
        let mut rows = Rows::admitted(state, kind, asked());
        rows.drive_to(|step| matches!(step, Step::Routing { .. }));
        rows.cancel(None).unwrap();
        assert_eq!(walk(rows, None), ["restoring routes", "ended"], "{kind:?}");
    }
}
