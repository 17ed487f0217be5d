//! Load brings instances, and its end takes them away, whatever else goes on.

use super::rig::*;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::OperationStatus;
use apron_model::routes::Load;
use apron_model::service::*;
use apron_model::time::{DAY_MS, WallTime};

/// Ten requests for each instance, and three instances at most.
fn small(url: &str) -> ServiceConfig {
    let mut config = config(url);
    config.scaling.max_concurrency = 10;
    (config.scaling.min_size, config.scaling.max_size) = (1, 3);
    config
}

/// A burst of 40: as many as one instance takes, and a line.
const BURST: Load = Load { arrived: 40, answered: 0, in_flight: 10, waiting: 30, asleep: 0 };
const OVER: Load = Load { arrived: 40, answered: 40, in_flight: 0, waiting: 0, asleep: 0 };

async fn serving(rig: &mut Rig) -> (ServiceId, OperationId) {
    let (service, created) = rig.create("web", small(GOOD)).await;
    assert_eq!(rig.settle(&created).await.status, OperationStatus::Succeeded);
    assert_eq!(rig.instances(&service).await, (1, 1));
    (service, created)
}

/// Rounds until so many serve and no other is left.
async fn until(rig: &mut Rig, service: &ServiceId, count: usize) -> usize {
    for round in 0..600 {
        let rows = rig.store.slot_list(service).await.unwrap().len();
        if rig.instances(service).await == (count, count) && rows == count {
            return round;
        }
        rig.round().await;
    }
    panic!("{:?} and not {count}", rig.store.slot_list(service).await.unwrap());
}

#[tokio::test]
async fn load_brings_instances_and_quiet_takes_them_away() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    rig.load(&service, BURST).await;
    assert_eq!(rig.instances(&service).await, (3, 1), "wished in one look");
    until(&mut rig, &service, 3).await;
    rig.load(&service, OVER).await;
    assert!(until(&mut rig, &service, 1).await > 100, "not before the load has been away for a while");
    let events = rig.events(&service);
    let told = |words: &str| events.iter().filter(|line| line.contains(words)).count();
    assert_eq!((told("Starting 2 instances of revision 1"), told("more than its load needs")), (1, 2));
}

/// What is needed is in the rows: another control goes on with it, and takes it away when that is due.
#[tokio::test]
async fn another_control_keeps_what_is_needed() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    rig.load(&service, BURST).await;
    drop(rig);
    let mut rig = bench.start().await;
    until(&mut rig, &service, 3).await;
    // No proxy says anything of the service any more.
    assert!(until(&mut rig, &service, 1).await > 100);
}

#[tokio::test]
async fn a_deployment_brings_as_many_as_are_needed() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    rig.load(&service, BURST).await;
    until(&mut rig, &service, 3).await;
    rig.wished_max = Some(6);
    let updated = rig.act(&service, Action::Update, Some(small(BETTER))).await.unwrap();
    let mut seen = 0;
    while !rig.store.operation_get(&updated).await.unwrap().unwrap().status.is_ended() {
        rig.round().await;
        seen = seen.max(rig.instances(&service).await.0);
    }
    assert_eq!(seen, 6, "the new ones come beside the old ones");
    until(&mut rig, &service, 3).await;
    assert_eq!(rig.service(&service).await.active, Some(2));
}

/// Also what the rows of an earlier control ask for.
#[tokio::test]
async fn nobody_gets_more_instances_than_the_operator_allows() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    rig.load(&service, BURST).await;
    until(&mut rig, &service, 3).await;
    drop(rig);
    let mut rig = bench.start().await;
    rig.allow(2);
    until(&mut rig, &service, 2).await;
    rig.load(&service, Load { arrived: 80, waiting: 60, ..BURST }).await;
    for _ in 0..20 {
        rig.round().await;
    }
    assert_eq!(rig.instances(&service).await, (2, 2));
    // Of a second set no more either.
    let mut more = small(GOOD);
    more.scaling.min_size = 3;
    let (other, created) = rig.create("other", more).await;
    assert_eq!(rig.settle(&created).await.status, OperationStatus::Succeeded);
    assert_eq!(rig.instances(&other).await, (2, 2));
}

#[tokio::test]
async fn a_schedule_acts_when_its_time_comes() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    let at = |hour: u64| WallTime(20_000 * DAY_MS + hour * 3_600_000);
    rig.clock.set_wall(at(8));
    let tagged = rig.store.service_act(&service, |row| {
        let schedule = "0 7 * * * = 3; 0 19 * * * = 1";
        row.tags.insert("apron:min-size-schedule".to_owned(), schedule.to_owned());
        Ok::<(), ()>(())
    });
    tagged.await.unwrap().unwrap().unwrap();
    until(&mut rig, &service, 3).await;
    for (hour, count) in [(20, 1), (24 + 9, 3), (18, 3), (6, 1)] {
        rig.clock.set_wall(at(hour));
        until(&mut rig, &service, count).await;
    }
}

/// While a deployment builds, what serves goes on as if there were none.
#[tokio::test]
async fn load_brings_instances_while_a_deployment_builds() {
    let bench = Bench::new();
    bench.world.script(BETTER, apron_compute::sim::BuildScript::Hangs);
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    rig.act(&service, Action::Update, Some(small(BETTER))).await.unwrap();
    for _ in 0..3 {
        rig.round().await;
    }
    rig.load(&service, BURST).await;
    until(&mut rig, &service, 3).await;
}

/// So many requests proxies give an instance of the only service at a time.
fn told(rig: &Rig) -> u32 {
    rig.proxies.table().expect("a table").services[0].max_concurrency
}

#[tokio::test]
async fn another_configuration_counts_once_it_serves() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    let mut asked = small(BETTER);
    asked.scaling.max_concurrency = 5;
    let updated = rig.act(&service, Action::Update, Some(asked)).await.unwrap();
    let mut seen = Vec::new();
    while !rig.store.operation_get(&updated).await.unwrap().unwrap().status.is_ended() {
        rig.round().await;
        seen.push((rig.service(&service).await.active, told(&rig)));
    }
    seen.dedup();
    assert_eq!(seen, [(Some(1), 10), (Some(2), 5)]);
}

#[tokio::test]
async fn what_serves_is_scaled_as_before_while_another_configuration_is_built() {
    let bench = Bench::new();
    bench.world.script(BETTER, apron_compute::sim::BuildScript::Hangs);
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    let mut asked = small(BETTER);
    (asked.scaling.max_concurrency, asked.scaling.max_size) = (5, 6);
    rig.act(&service, Action::Update, Some(asked.clone())).await.unwrap();
    for _ in 0..3 {
        rig.round().await;
    }
    rig.load(&service, BURST).await;
    until(&mut rig, &service, 3).await;
    let row = rig.service(&service).await;
    assert_eq!((told(&rig), row.wanted, &row.config.scaling), (10, 3, &asked.scaling));
}

#[tokio::test]
async fn a_pause_forgets_what_was_needed() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, _) = serving(&mut rig).await;
    rig.load(&service, BURST).await;
    until(&mut rig, &service, 3).await;
    rig.load(&service, OVER).await;
    let paused = rig.act(&service, Action::Pause, None).await.unwrap();
    assert_eq!(rig.settle(&paused).await.status, OperationStatus::Succeeded);
    let resumed = rig.act(&service, Action::Resume, None).await.unwrap();
    assert_eq!(rig.settle(&resumed).await.status, OperationStatus::Succeeded);
    until(&mut rig, &service, 1).await;
}
