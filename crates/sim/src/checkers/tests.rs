//! A world in which all is well passes; each thing that is wrong is found, by the checker whose matter it is.

use super::*;
use apron_model::fixture;
use apron_model::ids::OperationId;
use apron_model::instance::Phase;
use apron_model::limits::DRAIN_MS;
use apron_model::operation::{OperationKind, OperationStatus, Step};
use apron_model::reconcile::SlotWish;
use apron_model::routes::{self, RouteState};
use apron_model::service::State;
use apron_model::time::WallTime;

const TABLE: Generation = Generation { epoch: 1, counter: 5 };

fn well() -> Seen {
    let mut service = fixture::service("web", fixture::image_config("r/web"));
    service.active = Some(1);
    let revision = fixture::revision(&service, 1);
    let mut slot = fixture::slot(&service, 1, 0);
    slot.fact = Some(fixture::healthy(&slot));
    slot.ever_healthy = true;
    let observed = vec![fixture::healthy(&slot)];
    let containers = BTreeMap::from([(slot.id.clone(), (service.id.clone(), 1))]);
    let rows = vec![(service.clone(), vec![slot.clone()])];
    let table = Arc::new(routes::table(TABLE, &rows, "apron.test"));
    let process = ProxyProcess { pid: 1, start_time: 1, boot: "b".to_owned() };
    let operation = OperationId::new("0".repeat(32));
    let mut operation =
        Operation::pending(operation, service.id.clone(), OperationKind::UpdateService, WallTime(1));
    operation.status = OperationStatus::Succeeded;
    operation.step = Step::Ended;
    operation.ended_at = Some(WallTime(2));
    Seen {
        now: Timestamp(1),
        revisions: BTreeMap::from([((service.id.clone(), 1), revision)]),
        services: vec![ServiceRoutes { service: service.clone(), slots: vec![slot], routed_version: 0 }],
        operations: vec![operation],
        observed,
        effects: Vec::new(),
        strangers: BTreeSet::new(),
        taken: vec![Taken {
            process: process.clone(),
            before: Some(Arc::clone(&table)),
            after: Arc::clone(&table),
        }],
        proxies: vec![ProxySeen { process, generation: TABLE, connected: true }],
        table: Some(table),
        ill: BTreeSet::new(),
        containers,
        stopped: BTreeSet::new(),
        ran: BTreeSet::from([service.id.clone()]),
    }
}

/// Which checkers find something, at a look or at rest.
fn found(seen: &Seen) -> Vec<usize> {
    let wrong = |checker: &mut Box<dyn Checker>| checker.look(seen).is_err() || checker.rest(seen).is_err();
    all().iter_mut().enumerate().filter_map(|(index, checker)| wrong(checker).then_some(index)).collect()
}

const ORPHANS: usize = 0;
const OPERATIONS: usize = 1;
const SCALING: usize = 2;
const SERVING: usize = 3;
const GENERATIONS: usize = 4;
const CONFIGURATION: usize = 5;

fn check(what: &str, finder: usize, change: impl FnOnce(&mut Seen)) {
    let mut seen = well();
    change(&mut seen);
    assert!(found(&seen).contains(&finder), "{what} is not found: {:?}", found(&seen));
}

#[test]
fn all_is_well() {
    assert_eq!(found(&well()), [0; 0]);
}

#[test]
fn orphans_are_found() {
    check("a row that wishes and nothing that runs", ORPHANS, |seen| seen.observed.clear());
    check("something that runs unwished", ORPHANS, |seen| seen.services[0].slots.clear());
    check("a kill of what is wished", ORPHANS, |seen| {
        seen.effects.push(Effect::Removed(seen.observed[0].id.clone()));
    });
    check("a kill of a stranger", ORPHANS, |seen| {
        let id = InstanceId::new("f".repeat(32));
        seen.strangers.insert(id.clone());
        seen.effects.push(Effect::Removed(id));
    });
    check("one that is wished and only there", ORPHANS, |seen| seen.observed[0].phase = Phase::Creating);
}

#[test]
fn operations_that_do_not_end_are_found() {
    check("an open one at rest", OPERATIONS, |seen| {
        let operation = &mut seen.operations[0];
        (operation.status, operation.step, operation.ended_at) =
            (OperationStatus::Pending, Step::Admitted, None);
    });
    check("one that is half ended", OPERATIONS, |seen| seen.operations[0].ended_at = None);
    check("two at once", OPERATIONS, |seen| {
        let mut operation = seen.operations[0].clone();
        (operation.status, operation.step, operation.ended_at) =
            (OperationStatus::Pending, Step::Admitted, None);
        let other = Operation { id: OperationId::new("1".repeat(32)), ..operation.clone() };
        seen.operations = vec![operation, other];
    });
    check("a state of passage", OPERATIONS, |seen| seen.services[0].service.state = State::Creating);
    let mut checker = operations::Operations::default();
    let mut seen = well();
    let operation = &mut seen.operations[0];
    (operation.status, operation.step, operation.ended_at) = (OperationStatus::Pending, Step::Admitted, None);
    assert_eq!(checker.look(&seen), Ok(()));
    seen.now = Timestamp(24 * 60 * 60 * 1000);
    assert!(checker.look(&seen).is_err(), "it is open for a day");
}

#[test]
fn too_many_and_too_few_instances_are_found() {
    check("more than MaxSize", SCALING, |seen| {
        let slot = seen.services[0].slots[0].clone();
        let more = (1..30).map(|n| fixture::slot(&seen.services[0].service, 1, n));
        seen.services[0].slots = std::iter::once(slot).chain(more).collect();
    });
    check("fewer than MinSize", SCALING, |seen| seen.services[0].slots.clear());
    check("those of a revision that is none", SCALING, |seen| seen.revisions.clear());
    check("more than MaxSize at the driver, of which no row knows", SCALING, |seen| {
        let (service, slot) = (seen.services[0].service.clone(), seen.services[0].slots[0].clone());
        let more = (1..30).map(|n| fixture::slot(&service, 1, n));
        for slot in more {
            seen.containers.insert(slot.id.clone(), (service.id.clone(), 1));
            seen.observed.push(fixture::healthy(&slot));
        }
        assert_eq!(
            scaling::Scaling::default().look(&Seen { observed: vec![fixture::healthy(&slot)], ..well() }),
            Ok(())
        );
    });
    check("three revisions at once", SCALING, |seen| {
        for number in 2..4 {
            let service = &seen.services[0].service;
            let (key, slot) = ((service.id.clone(), number), fixture::slot(service, number, 0));
            seen.revisions.insert(key, fixture::revision(service, number));
            seen.services[0].slots.push(slot);
        }
    });
    check("those of a paused service", SCALING, |seen| seen.services[0].service.state = State::Paused);
}

#[test]
fn what_drains_is_not_counted_and_does_not_drain_longer_than_it_may() {
    let drains = |until: u64| {
        let mut seen = well();
        let service = seen.services[0].service.clone();
        for n in 1..30 {
            let mut slot = fixture::slot(&service, 1, n);
            slot.wish = SlotWish::Drain { since: None, until: Timestamp(until) };
            seen.containers.insert(slot.id.clone(), (service.id.clone(), 1));
            seen.observed.push(fixture::healthy(&slot));
            seen.services[0].slots.push(slot);
        }
        seen
    };
    let mut checker = scaling::Scaling::default();
    assert_eq!(checker.look(&drains(1 + DRAIN_MS)), Ok(()));
    assert_eq!(checker.look(&drains(DRAIN_MS)), Ok(()));
    assert!(checker.look(&drains(1 + DRAIN_MS)).is_err(), "it is made longer");
    assert!(scaling::Scaling::default().look(&drains(2 + DRAIN_MS)).is_err(), "it is too long");
}

/// Two instances serve, then proxies are given a table without the first.
fn without_one(change: impl FnOnce(&mut Seen)) -> Result<(), String> {
    let mut seen = well();
    let service = seen.services[0].service.clone();
    let mut slot = fixture::slot(&service, 1, 1);
    slot.fact = Some(fixture::healthy(&slot));
    slot.ever_healthy = true;
    seen.observed.push(fixture::healthy(&slot));
    seen.services[0].slots.push(slot);
    let rows = vec![(service, seen.services[0].slots.clone())];
    let table = Arc::new(routes::table(TABLE, &rows, "apron.test"));
    seen.table = Some(Arc::clone(&table));
    let mut less = (*table).clone();
    less.services[0].instances.remove(0);
    (seen.taken[0].before, seen.taken[0].after) = (Some(Arc::clone(&table)), table);
    let mut checker = serving::Serving::default();
    assert_eq!(checker.look(&seen), Ok(()));
    seen.taken[0].after = Arc::new(less);
    change(&mut seen);
    checker.look(&seen)
}

#[test]
fn only_what_a_fault_struck_may_be_missing() {
    let first = |seen: &Seen| seen.services[0].slots[0].id.clone();
    let second = |seen: &Seen| seen.services[0].slots[1].id.clone();
    assert!(without_one(|_| ()).is_err(), "nothing was wrong with it");
    assert_eq!(without_one(|seen| seen.ill = BTreeSet::from([first(seen)])), Ok(()));
    assert!(without_one(|seen| seen.ill = BTreeSet::from([second(seen)])).is_err(), "another one was struck");
    let drain = |seen: &mut Seen| {
        seen.services[0].slots[0].wish = SlotWish::Drain { since: None, until: Timestamp(2) }
    };
    assert_eq!(without_one(drain), Ok(()));
    // Well again by all that control knows, it is missed again.
    let mut checker = serving::Serving::default();
    let empty = || {
        let mut seen = well();
        let mut table = (*seen.taken[0].after).clone();
        table.services[0].instances.clear();
        seen.taken[0].after = Arc::new(table);
        seen
    };
    let struck = |mut seen: Seen| {
        seen.ill.insert(first(&seen));
        seen
    };
    assert_eq!(checker.look(&well()), Ok(()));
    assert_eq!(checker.look(&struck(empty())), Ok(()));
    assert_eq!(checker.look(&empty()), Ok(()), "it was not known to be well before");
    assert!(checker.look(&empty()).is_err());
}

#[test]
fn requests_that_go_to_what_was_never_well_are_found() {
    check("one that was never well", SERVING, |seen| seen.services[0].slots[0].ever_healthy = false);
    check("fewer than are wanted", SERVING, |seen| {
        seen.services[0].service.candidate = Some(1);
        seen.revisions.values_mut().for_each(|revision| revision.config.scaling.min_size = 2);
    });
}

#[test]
fn services_that_are_not_served_are_found() {
    let served = |seen: &mut Seen, change: fn(&mut RouteTable)| {
        let mut table = (*seen.taken[0].after).clone();
        change(&mut table);
        seen.taken[0].after = Arc::new(table);
    };
    check("a service that is gone", SERVING, |seen| served(seen, |table| table.services.clear()));
    check("one without instances", SERVING, |seen| {
        served(seen, |table| table.services[0].instances.clear());
    });
    check("one that nobody paused", SERVING, |seen| {
        served(seen, |table| table.services[0].state = RouteState::Paused);
    });
    check("a newest table without it", SERVING, |seen| seen.table = Some(Arc::default()));
    check("an instance that is routed and not wished", SERVING, |seen| seen.services[0].slots.clear());
    let told = |seen: &mut Seen| {
        let mut table = (*seen.taken[0].after).clone();
        table.services[0].max_concurrency = 5;
        seen.table = Some(Arc::new(table));
    };
    check("requests as another revision has them", SERVING, told);
    let mut seen = well();
    told(&mut seen);
    seen.services[0].service.route_version = 1;
    assert_eq!(serving::Serving::default().look(&seen), Ok(()), "the next table is on its way");
}

#[test]
fn generations_that_go_back_are_found() {
    let mut checker = generations::Generations::default();
    let mut seen = well();
    assert_eq!(checker.look(&seen), Ok(()));
    seen.proxies[0].generation.counter -= 1;
    assert!(checker.look(&seen).is_err(), "a proxy");
    let mut seen = well();
    let id = seen.observed[0].id.clone();
    let ensured = |counter| Effect::Ensured { id: id.clone(), generation: Generation { epoch: 1, counter } };
    seen.effects = vec![ensured(2), ensured(1)];
    assert!(generations::Generations::default().look(&seen).is_err(), "a wish");
    let mut seen = well();
    seen.taken.push(Taken {
        process: seen.taken[0].process.clone(),
        before: None,
        after: Arc::new(RouteTable { generation: TABLE, services: Vec::new() }),
    });
    assert!(generations::Generations::default().look(&seen).is_err(), "two tables of one generation");
    check("a proxy that lags at rest", GENERATIONS, |seen| seen.proxies[0].generation.counter = 1);
}

#[test]
fn a_configuration_that_does_not_serve_is_found() {
    check("another one is shown", CONFIGURATION, |seen| {
        seen.services[0].service.config = fixture::image_config("r/other");
    });
    let updated = |keeps: bool| {
        let mut seen = well();
        let service = &mut seen.services[0].service;
        service.operation = Some(OperationId::new("0".repeat(32)));
        service.scaling = keeps.then(|| service.config.scaling.clone());
        service.config.scaling.max_size += 1;
        configuration::Configuration.look(&seen)
    };
    assert_eq!(updated(true), Ok(()));
    assert!(updated(false).is_err(), "instances are scaled by what is not deployed yet");
    check("nothing is active", CONFIGURATION, |seen| seen.services[0].service.active = None);
    check("one that never served", CONFIGURATION, |seen| {
        seen.revisions.values_mut().for_each(|revision| revision.served = false);
    });
}
