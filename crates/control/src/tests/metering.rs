//! What instances used: added once whatever is lost on the way, and compared with caps.

use super::rig::{BAD, BETTER, Bench, GOOD, Rig, config, image, outcome};
use crate::reconcile::meter::Meter;
use crate::{Clock, ManualClock};
use apron_compute::driver::Driver;
use apron_compute::sim::{BUILT_MS, BuildScript, STAGE_MS, World};
use apron_model::build::{BASE_STAGE, BuildEvent};
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::instance::Fault;
use apron_model::limits;
use apron_model::meter::Row;
use apron_model::operation::OperationStatus;
use apron_model::price::{Cap, Usage};
use apron_model::service::Service;
use apron_model::time::DAY_MS;
use std::sync::Arc;

impl Rig {
    fn meter(&self) -> Meter<World> {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        Meter::new(self.store.clone(), Arc::new(self.world.clone()), clock, crate::Hints::default())
    }

    /// One instance of 1 vCPU is active for so long.
    fn uses(&self, service: &ServiceId, hours: u64) {
        let usage = Usage::always(1_024, 2_048, hours * 3_600_000);
        let day = self.today();
        let (service, instance) = (service.clone(), InstanceId::new("a"));
        self.world.uses(Row { service, instance, day, usage });
    }

    fn today(&self) -> u32 {
        self.clock.wall().day()
    }

    async fn hours(&self, service: &ServiceId) -> u64 {
        let rows = self.store.usage_of(service, 0..=self.today()).await.unwrap();
        rows.iter().map(|row| row.usage.active_unit_ms).sum::<u64>() / 1_024 / 3_600_000
    }

    async fn built_ms(&self, service: &ServiceId) -> u64 {
        let rows = self.store.usage_of(service, 0..=self.today()).await.unwrap();
        rows.iter().map(|row| row.build_ms).sum()
    }
}

async fn rounds(rig: &mut Rig) {
    for _ in 0..20 {
        rig.round().await;
    }
}

#[tokio::test]
async fn usage_is_added_once_whatever_is_lost() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, operation) = rig.create("web", config(GOOD)).await;
    assert_eq!(rig.settle(&operation).await.status, OperationStatus::Succeeded);
    let mut sum = 0;
    for (calls, answers) in [(0, 0), (1, 0), (0, 1), (2, 2), (0, 0)] {
        rig.uses(&service, 3);
        sum += 3;
        rig.world.lose(calls, answers);
        for _ in 0..5 {
            rig.meter().pass().await;
        }
        assert_eq!(rig.hours(&service).await, sum, "{calls} calls and {answers} answers are lost");
    }
    // As by a control that ends between what it was handed and what it has written.
    rig.uses(&service, 3);
    let taken = rig.store.usage_taken().await.unwrap();
    rig.world.usage(taken.as_ref()).await.unwrap();
    drop(rig);
    let rig = bench.start().await;
    rig.meter().pass().await;
    assert_eq!(rig.hours(&service).await, sum + 3);
}

#[tokio::test]
async fn a_service_that_costs_enough_is_held_and_then_throttled_until_the_month_ends() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (service, operation) = rig.create("web", config(GOOD)).await;
    rig.settle(&operation).await;
    let tag = |row: &mut Service| {
        row.tags.insert("apron:cap-usd-month".to_owned(), "2".to_owned());
        row.config.auto_deployments = false;
        Ok::<_, ()>(())
    };
    rig.store.service_act(&service, tag).await.unwrap();
    let mut caps = Vec::new();
    // At $0.078 an hour it is full after 26 of them.
    for _ in 0..9 {
        rig.uses(&service, 3);
        rig.meter().pass().await;
        caps.push(rig.store.service_get(&service).await.unwrap().unwrap().cap);
    }
    assert_eq!(caps[..7], [Cap::Below; 7]);
    assert_eq!(caps[7..], [Cap::Held, Cap::Throttled]);
    rounds(&mut rig).await;
    assert!(rig.world.specs().iter().all(|spec| spec.idle.is_capped), "each instance is told");
    let events = rig.events(&service);
    assert!(events.iter().any(|line| line.contains("has reached its cap of $2 a month")), "{events:?}");
    rig.clock.forward(32 * DAY_MS);
    rig.meter().pass().await;
    rounds(&mut rig).await;
    assert!(!rig.world.specs().iter().any(|spec| spec.idle.is_capped));
}

/// The end of a build says how long it took; of tries without an end the stages do.
#[tokio::test]
async fn what_was_built_is_counted_once_whether_it_succeeds_or_fails() {
    let bench = Bench::new();
    bench.world.script(BETTER, BuildScript::Interrupted { times: 2, then: outcome(image("b")) });
    bench.world.script(BAD, BuildScript::Fails(Fault::permanent("line 3: 'run' is missing")));
    let mut rig = bench.start().await;
    for (name, url, status, built_ms) in [
        ("a", GOOD, OperationStatus::Succeeded, BUILT_MS),
        ("b", BETTER, OperationStatus::Succeeded, BUILT_MS + 2 * STAGE_MS),
        ("c", BAD, OperationStatus::Failed, BUILT_MS),
    ] {
        let (service, operation) = rig.create(name, config(url)).await;
        assert_eq!(rig.settle(&operation).await.status, status);
        rounds(&mut rig).await;
        assert_eq!(rig.built_ms(&service).await, built_ms, "{url}");
    }
}

#[tokio::test]
async fn a_build_that_is_called_off_is_counted_up_to_then() {
    const FETCH_MS: u64 = 40_000;
    let bench = Bench::new();
    let stage = |name: &str| BuildEvent::Stage { name: name.to_owned(), ms: FETCH_MS };
    bench.world.script(GOOD, BuildScript::HangsAfter(vec![stage("fetch"), stage(BASE_STAGE)]));
    bench.world.script(BETTER, BuildScript::HangsAfter(vec![stage("fetch")]));
    let mut rig = bench.start().await;
    let mut created = Vec::new();
    for (name, url) in [("builds", GOOD), ("assembles", BETTER)] {
        created.push(rig.create(name, config(url)).await);
    }
    rounds(&mut rig).await;
    assert_eq!(bench.world.hanging(), 2);
    // The time of their operations is over.
    bench.clock.forward(limits::BUILD_MS_MAX);
    for (_, operation) in &created {
        assert_eq!(rig.settle(operation).await.status, OperationStatus::Failed);
    }
    rounds(&mut rig).await;
    assert_eq!(bench.world.hanging(), 0);
    let built = [rig.built_ms(&created[0].0).await, rig.built_ms(&created[1].0).await];
    let least = FETCH_MS + limits::BUILD_MS_MAX;
    assert!((least..least + 30_000).contains(&built[0]), "{built:?}");
    assert_eq!(built[1], FETCH_MS, "a base image was being made");
}
