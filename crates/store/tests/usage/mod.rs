//! Usage: added once, by day, and folded when it is old.

use super::*;
use apron_model::ids::BuildId;
use apron_model::limits;
use apron_model::meter::{Batch, Handed, Row, Taken};
use apron_model::price::{Cap, Usage};
use apron_model::time::DAY_MS;

const TODAY: u32 = 20_000;

fn row(service: &str, instance: &str, day: u32, active: u64) -> Row {
    let usage = Usage { active_unit_ms: active, provisioned_mib_ms: 2 * active, ..Usage::default() };
    Row { service: ServiceId::new(service), instance: InstanceId::new(instance), day, usage }
}

fn handed(meter: &str, number: u64, rows: Vec<Row>) -> Handed {
    Handed { meter: meter.to_owned(), batch: Batch { number, rows } }
}

/// Of each service, what was active.
async fn sums(store: &Store) -> Vec<(String, u64)> {
    let listed = store.usage_list("us-east-1", 0..=TODAY, None, 100).await.unwrap();
    listed.into_iter().map(|row| (row.service.to_string(), row.usage.active_unit_ms)).collect()
}

pub(super) async fn usage_is_added_once_and_folded(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let mut services = Vec::new();
    for name in ["one", "other"] {
        services.push(created(&store, &mut draw, name, 10).await.0.id);
    }
    services.sort();
    let [a, b] = [0, 1].map(|at| services[at].as_str());
    assert_eq!(store.usage_taken().await.unwrap(), None);
    let old = TODAY - limits::USAGE_INSTANCE_DAYS_KEPT - 1;
    let gone = TODAY - limits::USAGE_DAYS_KEPT - 1;
    let rows = vec![
        row(a, "1", TODAY, 10),
        row(a, "2", TODAY, 20),
        row(a, "1", old, 100),
        row(a, "2", old, 200),
        row(b, "3", TODAY, 1_000),
        row(b, "3", gone, 7),
    ];
    let first = handed("m", 1, rows);
    store.usage_add(&first).await.unwrap();
    store.usage_add(&first).await.unwrap();
    let mut all = vec![(a.to_owned(), 330), (b.to_owned(), 1_007)];
    assert_eq!(sums(&store).await, all, "once");
    assert_eq!(store.usage_taken().await.unwrap(), Some(Taken { meter: "m".to_owned(), number: 1 }));
    store.usage_add(&handed("m", 2, vec![row(a, "1", TODAY, 3)])).await.unwrap();
    store.usage_add(&handed("other", 1, vec![row(a, "1", TODAY, 4)])).await.unwrap();
    all[0].1 += 7;
    assert_eq!(sums(&store).await, all, "another meter has numbers of its own");

    let page = store.usage_list("us-east-1", 0..=TODAY, Some(&services[0]), 1).await.unwrap();
    assert_eq!((page.len(), page[0].service.as_str(), page[0].usage.active_unit_ms), (1, b, 1_007));
    let days = async || {
        let rows = store.usage_of(&services[0], old..=TODAY).await.unwrap();
        let row = |row: &UsageRow| (row.day, row.instance.to_string(), row.usage.active_unit_ms);
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let today = [(TODAY, "1".to_owned(), 17), (TODAY, "2".to_owned(), 20)];
    assert_eq!(days().await.len(), 4);
    store.usage_fold(WallTime(u64::from(TODAY) * DAY_MS)).await.unwrap();
    assert_eq!(days().await, [&[(old, String::new(), 300)], &today[..]].concat());
    all[1].1 -= 7;
    assert_eq!(sums(&store).await, all, "and what is older still is forgotten");

    // A service that is forgotten stays in the sums of its region.
    let delete = |row: &mut Service| {
        (row.state, row.deleted_at, row.purge_at) = (State::Deleted, Some(WallTime(3)), Some(Timestamp(4)));
        Ok::<_, ()>(())
    };
    store.service_act(&services[1], delete).await.unwrap();
    assert_eq!(store.purge(Timestamp(4), &[]).await.unwrap().services, [services[1].clone()]);
    all[1].0 = format!("{FORGOTTEN}us-east-1");
    all.sort();
    assert_eq!(sums(&store).await, all);
    assert_eq!(store.usage_list("eu-west-1", 0..=TODAY, None, 100).await.unwrap(), []);
    store.close().await;
    assert_eq!(database.open().await.usage_taken().await.unwrap().unwrap().meter, "other");
}

pub(super) async fn what_was_built_is_recorded_with_its_end(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let (service, id) = created(&store, &mut draw, "web", 10).await;
    store.operation_advance(&id, &mut draw).await.unwrap();
    let build = store.build_list_wanted().await.unwrap().remove(0);
    let now = WallTime(u64::from(TODAY) * DAY_MS + 5);
    let failed = BuildFact::Failed(Fault::transient("busy"));
    store.build_end(&build.id, &failed, 4_000, now).await.unwrap();
    store.build_end(&build.id, &BuildFact::Done(fixture::outcome()), 5_000, now).await.unwrap();
    let rows = store.usage_of(&service.id, 0..=TODAY).await.unwrap();
    assert_eq!((rows.len(), rows[0].day, rows[0].build_ms), (1, TODAY, 9_000));
    assert_eq!(store.build_get(&build.id).await.unwrap().unwrap().failures, 1);
    // Of one that nobody knows nothing is recorded.
    store.build_end(&BuildId::new("none"), &failed, 1, now).await.unwrap();
    store.build_called_off(&BuildId::new("none"), 1, now).await.unwrap();
    assert_eq!(store.usage_of(&service.id, 0..=TODAY).await.unwrap(), rows);
    assert_eq!(store.usage_list("us-east-1", 0..=TODAY, None, 100).await.unwrap().len(), 1);
    store.build_called_off(&build.id, 500, now).await.unwrap();
    assert_eq!(store.usage_of(&service.id, 0..=TODAY).await.unwrap()[0].build_ms, 9_500);
    assert_eq!(store.build_get(&build.id).await.unwrap().unwrap().failures, 1);
}

pub(super) async fn who_reaches_a_cap_is_told_at_once(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let (service, id) = created(&store, &mut draw, "web", 10).await;
    store.operation_advance(&id, &mut draw).await.unwrap();
    let build = store.build_list_wanted().await.unwrap().remove(0);
    store.build_fact_put(&build.id, &BuildFact::Done(fixture::outcome())).await.unwrap();
    store.operation_advance(&id, &mut draw).await.unwrap();
    assert_eq!(store.service_list_capped().await.unwrap(), []);
    let counter = async || store.slot_list(&service.id).await.unwrap()[0].generation.counter;
    let first = counter().await;
    let tag = async |key: &'static str, value: &'static str| {
        let act = |service: &mut Service| {
            service.tags.insert(key.to_owned(), value.to_owned());
            Ok::<_, ()>(())
        };
        store.service_act(&service.id, act).await.unwrap();
    };
    tag("apron:cap-usd-month", "10").await;
    assert_eq!((store.service_list_capped().await.unwrap().len(), counter().await), (1, first), "not yet");
    for cap in [Cap::Held, Cap::Throttled, Cap::Throttled] {
        store.service_cap_put(&service.id, cap, "enough", WallTime(5)).await.unwrap();
    }
    let capped = store.service_get(&service.id).await.unwrap().unwrap();
    assert!(capped.idle().is_capped && capped.cap == Cap::Throttled);
    assert_eq!(counter().await, first + 1, "instances are told of what concerns them");
    let said = store.line_list(100).await.unwrap();
    assert_eq!(said.iter().filter(|line| line.line == Line::Event("enough".to_owned())).count(), 2);
    tag("apron:idle", "freeze").await;
    assert_eq!(counter().await, first + 2);
    tag("team", "red").await;
    let none_at_rest = |service: &mut Service| {
        service.tags.remove("apron:idle");
        service.config.scaling.min_size = 0;
        Ok::<_, ()>(())
    };
    assert_eq!(counter().await, first + 2);
    store.service_act(&service.id, none_at_rest).await.unwrap();
    assert_eq!(counter().await, first + 3);
    // A MinSize that waits to be deployed does not concern them.
    let waits = |service: &mut Service| {
        service.scaling = Some(service.config.scaling.clone());
        service.config.scaling.min_size = 1;
        Ok::<_, ()>(())
    };
    store.service_act(&service.id, waits).await.unwrap();
    assert_eq!(counter().await, first + 3);
    let serves = |service: &mut Service| {
        service.scaling = None;
        Ok::<_, ()>(())
    };
    store.service_act(&service.id, serves).await.unwrap();
    assert_eq!(counter().await, first + 4);
}
