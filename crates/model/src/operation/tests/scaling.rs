//! How many instances operations bring, and what changes that number alone.

use super::calls::{DEPLOY, cpu, running};
use super::*;
use crate::service::Scaling;
use crate::source::{InstanceInput, ServiceInput};

/// Not what the load would like to have and the machine has no memory for; and with what has come since, also at the end.
#[test]
fn a_deployment_takes_over_the_instances_that_the_load_has() {
    for tag in ["all", "rolling"] {
        let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
        rows.tag("apron:deploy", tag);
        rows.view.service.wanted = 3;
        for number in 1..3 {
            let mut slot = fixture::slot(&rows.view.service, 1, number);
            slot.fact = Some(fixture::healthy(&slot));
            rows.view.slots.push(slot);
        }
        let refused = Observed {
            phase: Phase::Failed(Fault::transient(Fault::NO_MEMORY)),
            ..fixture::healthy(&rows.view.slots[2])
        };
        rows.view.slots[2].fact = Some(refused);
        if tag == "all" {
            rows.drive_to(|step| matches!(step, Step::Starting { .. }));
            assert_eq!(rows.running(), [1, 1, 1, 2, 2]);
            rows.view.slots[2].fact = Some(fixture::healthy(&rows.view.slots[2]));
            rows.healthy();
            assert!(matches!(rows.advance(), Wake::ByFactOr(_)));
            assert_eq!(rows.running(), [1, 1, 1, 2, 2, 2], "what came since has its successor");
        }
        rows.drive();
        assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
        assert_eq!(rows.running().len(), if tag == "all" { 3 } else { 2 }, "{tag}");
        assert!(rows.running().iter().all(|number| *number == 2));
    }
}

/// Whatever the configuration and tags say, the row remembers, and the load needs; and what is there already goes.
#[test]
fn nobody_gets_more_instances_than_the_operator_allows() {
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, asked());
    rows.tag("apron:max-size", "100");
    let service = Service { operation: None, wanted: 50, ..rows.view.service.clone() };
    let mut active = rows.view.revision(Some(1)).unwrap().clone();
    active.config.scaling.min_size = 5;
    let mut slots = rows.view.slots.clone();
    for (quota, scale, missing) in [
        (None, None, 49),
        (Some(60), None, 49),
        (Some(4), None, 3),
        (Some(4), Some(90), 3),
        (Some(4), Some(0), 3),
    ] {
        let mut draw = rows.draw();
        draw.instances_max = quota;
        let mending = mend(&service, &active, &slots, None, scale, &mut draw);
        assert_eq!(mending.slots.len(), missing, "{quota:?} {scale:?}");
    }
    for number in 1..7 {
        let mut slot = fixture::slot(&service, 1, number);
        slot.fact = Some(fixture::healthy(&slot));
        slots.push(slot);
    }
    let mut draw = rows.draw();
    draw.instances_max = Some(4);
    let mending = mend(&service, &active, &slots, None, None, &mut draw);
    assert_eq!((mending.slots.len(), mending.wishes.len()), (0, 3));
    assert!(mending.events[0].ends_with("the operator's quota instances_per_service allows no more."));
    let calm = Service { wanted: 0, ..service };
    active.config.scaling.min_size = 1;
    let mending = mend(&calm, &active, &slots, None, None, &mut draw);
    assert!(mending.events[0].ends_with("there are more than its load needs."), "{:?}", mending.events);
}

/// How many there may be is nothing that an instance knows of.
#[test]
fn another_auto_scaling_configuration_starts_nothing_anew() {
    let mut config = fixture::code_config(true);
    config.scaling.revision = 2;
    (config.scaling.min_size, config.scaling.max_concurrency) = (3, 7);
    let mut rows = Rows::admitted(State::Running, OperationKind::UpdateService, config.clone());
    let before: Vec<_> = rows.view.slots.iter().map(|slot| slot.id.clone()).collect();
    let routed = rows.view.service.route_version;
    assert_eq!(rows.advance(), Wake::Done);
    assert_eq!(rows.ended(), (OperationStatus::Succeeded, State::Running));
    assert_eq!(rows.view.slots.iter().map(|slot| slot.id.clone()).collect::<Vec<_>>(), before);
    assert_eq!((rows.view.service.active, rows.view.revisions.len()), (Some(1), 1));
    assert_eq!(rows.view.revision(Some(1)).unwrap().config, config);
    assert!(rows.view.service.route_version > routed, "proxies have another target");
    // Between operations the others come.
    let active = rows.view.revision(Some(1)).unwrap().clone();
    let service = Service { operation: None, ..rows.view.service.clone() };
    let slots = rows.view.slots.clone();
    let mending = mend(&service, &active, &slots, None, None, &mut rows.draw());
    assert_eq!(mending.slots.len(), 3 - before.len());
}

/// It serves with a size that AWS sells.
fn serving() -> Rows {
    let mut rows = running();
    rows.call(cpu("1024")).unwrap();
    rows.drive();
    rows.removed();
    rows
}

/// An update to another MaxConcurrency, and to another size of instances where `memory` says one.
fn update(max_concurrency: u32, memory: Option<&str>) -> Call {
    let scaling = Scaling { revision: 2, max_concurrency, ..fixture::code_config(true).scaling };
    let instance = memory.map(|mib| InstanceInput { memory: Some(mib.to_owned()), ..Default::default() });
    Call::Update(Box::new(ServiceInput { instance, scaling: Some(scaling), ..Default::default() }))
}

/// The MaxConcurrency of what runs, and the one that was asked for.
fn concurrency(rows: &Rows) -> (u32, u32) {
    let service = &rows.view.service;
    (service.scaling().max_concurrency, service.config.scaling.max_concurrency)
}

const STARTS: fn(&Step) -> bool = |step| matches!(step, Step::Starting { .. } | Step::Rolling { .. });
const ROUTES: fn(&Step) -> bool = |step| matches!(step, Step::Routing { .. });

#[test]
fn what_serves_is_scaled_as_before_until_another_configuration_serves() {
    for deploy in ["all", "rolling"] {
        let mut rows = serving();
        rows.tag("apron:deploy", deploy);
        let called = rows.call(update(5, Some("3072"))).unwrap();
        assert_eq!((concurrency(&rows), &called.service), ((100, 5), &rows.view.service), "{deploy}");
        rows.drive_to(STARTS);
        assert_eq!(concurrency(&rows), (100, 5), "{deploy}");
        rows.drive_to(ROUTES);
        assert_eq!(concurrency(&rows), (5, 5), "{deploy}");
        rows.drive();
        assert_eq!((rows.ended().0, concurrency(&rows)), (OperationStatus::Succeeded, (5, 5)));
        rows.removed();
        rows.call(Call::Rollback(None)).unwrap();
        rows.drive_to(STARTS);
        assert_eq!(concurrency(&rows), (5, 100), "{deploy}");
        rows.drive();
        assert_eq!((rows.ended().0, concurrency(&rows)), (OperationStatus::Succeeded, (100, 100)));
    }
}

#[test]
fn a_configuration_that_fails_is_none_that_counted() {
    let mut rows = serving();
    rows.call(update(5, Some("3072"))).unwrap();
    rows.drive_to(STARTS);
    rows.seen(exited);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::RollbackSucceeded, State::Running));
    assert_eq!(concurrency(&rows), (100, 100));
    rows.removed();
    // Where proxies may have been told of it, it counts until they are told otherwise.
    rows.call(update(5, Some("3072"))).unwrap();
    rows.drive_to(ROUTES);
    let routed = rows.view.service.route_version;
    rows.seen(exited);
    rows.advance();
    assert!(matches!(rows.view.operation.step, Step::RollingBack { .. }));
    assert_eq!((concurrency(&rows), rows.view.service.route_version), ((100, 100), routed + 1));
}

/// Also for what is opened in the same transaction.
#[test]
fn an_auto_scaling_configuration_that_applies_at_once_counts_at_once() {
    let mut rows = serving();
    rows.tag("apron:queue-operations", "true");
    rows.call(update(5, None)).unwrap();
    rows.call(update(7, Some("3072"))).unwrap();
    assert_eq!(concurrency(&rows), (100, 5));
    assert_eq!(rows.advance(), Wake::Done);
    assert_eq!((rows.ended().0, concurrency(&rows)), (OperationStatus::Succeeded, (5, 7)));
    rows.turn();
    rows.drive();
    assert_eq!((rows.ended().0, concurrency(&rows)), (OperationStatus::Succeeded, (7, 7)));
}

#[test]
fn where_nothing_serves_what_is_asked_for_counts() {
    let mut rows = serving();
    rows.call(Call::Pause).unwrap();
    rows.drive();
    rows.call(update(5, None)).unwrap();
    assert_eq!(concurrency(&rows), (5, 5));
    rows.drive();
    rows.call(Call::Resume).unwrap();
    rows.drive_to(STARTS);
    assert_eq!(concurrency(&rows), (5, 5));
    let mut rows = Rows::admitted(State::Creating, OperationKind::CreateService, fixture::code_config(true));
    rows.drive_to(STARTS);
    rows.seen(exited);
    rows.advance();
    assert_eq!(rows.ended(), (OperationStatus::Failed, State::CreateFailed));
    rows.removed();
    rows.call(update(5, None)).unwrap();
    assert_eq!(concurrency(&rows), (5, 5));
    rows.drive();
    assert_eq!((rows.ended().0, concurrency(&rows)), (OperationStatus::Succeeded, (5, 5)));
}

#[test]
fn an_update_that_cannot_be_followed_leaves_what_serves_as_it_was() {
    let mut rows = serving();
    rows.call(update(5, Some("3072"))).unwrap();
    rows.drive_to(STARTS);
    let draw = rows.draw();
    let (service, _) = abandoned(&rows.view.service, &rows.view.operation.id, "it is lost", &draw);
    rows.view.service = service;
    rows.view.operation.status = OperationStatus::Failed;
    assert_eq!(concurrency(&rows), (100, 5));
    rows.call(DEPLOY).unwrap();
    assert_eq!(concurrency(&rows), (100, 5), "the next deployment brings it");
}
