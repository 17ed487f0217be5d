//! How many instances operations bring, and what changes that number alone.

use super::*;

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
