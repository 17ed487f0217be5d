//! Builds that are tried again, and those that wait for their place.

use super::*;

#[test]
fn a_transient_build_failure_is_waited_out() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.advance();
    rows.built(BuildFact::Failed(Fault::transient("busy")), 1);
    assert!(matches!(rows.advance(), Wake::ByFactOr(_)));
    assert!(rows.view.build.as_ref().unwrap().is_due());
    rows.drive();
    assert_eq!(rows.ended().0, OperationStatus::Succeeded);
}

/// Its own time begins with the build; what it waits for before is bounded too, and told.
#[test]
fn a_build_that_waits_for_its_place_uses_up_none_of_its_time() {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.advance();
    let began = rows.now;
    rows.now.0 += 1_000;
    rows.built(BuildFact::Waits { before: 3 }, 0);
    let found_by = Timestamp(rows.now.0 + limits::BUILD_WAIT_MS_MAX);
    assert_eq!(rows.advance(), Wake::ByFactOr(found_by));
    assert_eq!(rows.view.operation.step.as_str(), "waiting to build");
    assert_eq!(rows.advance(), Wake::ByFactOr(found_by), "it is said once");
    rows.now.0 += limits::BUILD_MS_MAX;
    rows.built(BuildFact::Waits { before: 1 }, 0);
    assert_eq!(rows.advance(), Wake::ByFactOr(found_by), "others being done changes nothing");
    rows.now.0 += limits::BUILD_MS_MAX;
    rows.built(BuildFact::Unknown, 0);
    let built_by = Timestamp(rows.now.0 + limits::BUILD_MS_MAX);
    assert_eq!(rows.advance(), Wake::ByFactOr(built_by));
    assert_eq!(rows.view.operation.step.as_str(), "building");
    // One that is interrupted and finds its place taken gets no more time for that.
    rows.now.0 += 1;
    rows.built(BuildFact::Waits { before: 2 }, 0);
    assert_eq!(rows.advance(), Wake::ByFactOr(built_by));
    rows.built(BuildFact::Unknown, 0);
    assert_eq!(rows.advance(), Wake::ByFactOr(built_by));
    rows.now.0 += 9_999;
    rows.drive();
    assert_eq!(rows.ended().0, OperationStatus::Succeeded);
    let said: Vec<&str> = rows
        .lines
        .iter()
        .filter_map(|line| match line {
            Line::Deployment(text) if text.contains("build") => text.strip_prefix("[AppRunner] "),
            Line::Deployment(_) | Line::Event(_) | Line::DeploymentEnd => None,
        })
        .collect();
    let took = (rows.now.0 - began.0 - 1_000 - 10_000) / 1000;
    let expect = [
        "Starting source code build.",
        "The build waits for its place: 3 builds are before it.",
        "The build waits for its place: 1 build is before it.",
        &format!("The build has its place after {took}.0 s and begins."),
    ];
    assert_eq!(said, expect);
    assert!(
        rows.lines
            .contains(&Line::Event("Successfully built your application source code in 10.0 s.".into()))
    );
}

#[test]
fn a_wait_for_a_place_ends_too() {
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, asked());
    rows.advance();
    rows.built(BuildFact::Waits { before: 2 }, 0);
    rows.advance();
    rows.now.0 += limits::BUILD_WAIT_MS_MAX;
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::CreateFailed));
    let reason = &rows.view.operation.fault.as_ref().unwrap().reason;
    assert_eq!(reason, "The build found no place in time: 2 builds are before it.");
    // An image is pulled, not built; and a place may be found and lost sight of at once.
    let mut rows =
        Rows::admitted(State::Creating, OperationKind::CreateService, fixture::image_config("r/web"));
    rows.advance();
    rows.built(BuildFact::Waits { before: 16 }, 0);
    rows.advance();
    rows.now.0 += limits::IMAGE_PULL_MS_MAX + 1;
    rows.built(BuildFact::Done(fixture::outcome()), 0);
    rows.drive();
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    let waited = "The pull waits for its place: 16 pulls are before it.";
    assert!(rows.lines.contains(&Line::Event(waited.into())), "{:?}", rows.lines);
}
