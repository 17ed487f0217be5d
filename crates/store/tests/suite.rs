//! The store from outside, as its callers use it, on both databases: pages, cursors, conflicts, durability, and what
//! happens when a column does not hold what it should.

use apron_model::access::Rights;
use apron_model::draw::Draw;
use apron_model::fixture;
use apron_model::ids::{Generation, InstanceId, OperationId, ServiceId};
use apron_model::instance::*;
use apron_model::limits::EPOCH_STEP_MAX;
use apron_model::operation::{BuildFact, Line, Operation, OperationKind, OperationStatus, Step, Wake, Write};
use apron_model::reconcile::{self, Leaving, Slot, SlotWish};
use apron_model::service::*;
use apron_model::time::{Timestamp, WallTime};
use apron_store::*;
use sqlx::Connection;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

mod races;
mod shared;
mod support;

mod usage;

use races::{a_name_is_given_once_and_an_operation_is_open_alone, no_update_is_lost_and_none_is_seen_half};
use shared::{domains_go_with_their_service, resources_come_and_go};
use usage::{
    usage_is_added_once_and_folded, what_was_built_is_recorded_with_its_end,
    who_reaches_a_cap_is_told_at_once,
};

/// No test makes so many.
const SERVICES_MAX: u64 = 1_000_000;

/// An empty database of one of the two kinds; it goes when this is dropped.
enum Database {
    File(PathBuf),
    Server(support::Database),
}

impl Database {
    fn sqlite() -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("apron-store-suite-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Database::File(path)
    }

    fn postgres() -> Database {
        Database::Server(support::Database::new())
    }

    async fn try_open(&self) -> Result<Store, StoreError> {
        match self {
            Database::File(directory) => Store::open(&directory.join("apron.db")).await,
            Database::Server(database) => {
                let address = PostgresDatabase::parse(&database.url()).unwrap();
                Store::connect(&address.or_password(Some(support::PASSWORD.to_owned()))).await
            }
        }
    }

    async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// Says something to the database that the store would not.
    async fn say(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Database::File(directory) => {
                let url = format!("sqlite://{}", directory.join("apron.db").display());
                let mut connection = sqlx::SqliteConnection::connect(&url).await?;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
            }
            Database::Server(database) => {
                let options: sqlx::postgres::PgConnectOptions = database.url().parse()?;
                let options = options.password(support::PASSWORD);
                let mut connection = sqlx::PgConnection::connect_with(&options).await?;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
            }
        }
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Database::File(directory) = self {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// Runs each of these tests on both databases.
macro_rules! on_both {
    ($($test:ident)*) => {
        mod sqlite {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Database::sqlite()).await;
            }
        )*}
        mod postgres {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Database::postgres()).await;
            }
        )*}
    };
}

on_both! {
    usage_is_added_once_and_folded
    what_was_built_is_recorded_with_its_end
    who_reaches_a_cap_is_told_at_once
    a_service_comes_back_as_it_was_also_after_closing
    pages_neither_skip_nor_repeat_while_things_change
    a_refused_act_leaves_nothing_and_an_unknown_service_is_none
    an_operation_advances_row_by_row
    wishes_of_slots_change_only_as_they_may
    what_is_mended_is_decided_by_the_rows_as_they_are
    a_build_that_cannot_be_read_holds_up_no_other
    a_slot_or_a_line_that_cannot_be_read_hides_no_other
    epochs_only_grow_and_single_rows_are_kept
    what_is_not_json_is_refused_and_what_is_not_ours_is_named
    a_damaged_row_ends_its_own_operation_and_hides_its_own_routes
    no_update_is_lost_and_none_is_seen_half
    a_name_is_given_once_and_an_operation_is_open_alone
    resources_come_and_go
    domains_go_with_their_service
}

fn service(draw: &mut Draw, name: &str, created_at: u64) -> Service {
    let mut config = fixture::image_config("registry.test/web:1");
    config.health.protocol = HealthProtocol::Http { path: "/".to_owned() };
    let Source::Image(image) = &mut config.source else { unreachable!("it is an image") };
    image.env.insert("A".to_owned(), "'quoted' \"text\" ÿ".to_owned());
    Service {
        id: draw.service_id(),
        url_label: draw.url_label(),
        created_at: WallTime(created_at),
        updated_at: WallTime(created_at),
        state: State::Creating,
        tags: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        ..fixture::service(name, config)
    }
}

async fn created(store: &Store, draw: &mut Draw, name: &str, at: u64) -> (Service, OperationId) {
    let row = service(draw, name, at);
    let operation =
        Operation::pending(draw.operation_id(), row.id.clone(), OperationKind::CreateService, WallTime(at));
    store.service_create(&row, &operation, SERVICES_MAX).await.unwrap();
    (Service { operation: Some(operation.id.clone()), ..row }, operation.id)
}

fn draw() -> Draw {
    Draw::new(Timestamp(1), WallTime(1), 1, 42)
}

async fn a_service_comes_back_as_it_was_also_after_closing(database: Database) {
    let store = database.open().await;
    let (row, _) = created(&store, &mut draw(), "web", 10).await;
    assert_eq!(store.service_get(&row.id).await.unwrap().as_ref(), Some(&row));
    assert_eq!(store.service_find("us-east-1", "web").await.unwrap().as_ref(), Some(&row));
    assert_eq!(store.service_find("eu-west-1", "web").await.unwrap(), None);
    let scaling = Some(Scaling { max_concurrency: 7, ..row.config.scaling.clone() });
    let later = Service { scaling, ..row };
    let act = |service: &mut Service| {
        service.clone_from(&later);
        Ok::<_, ()>(())
    };
    store.service_act(&later.id, act).await.unwrap();
    assert_eq!(store.service_get(&later.id).await.unwrap().as_ref(), Some(&later));
    store.close().await;
    let store = database.open().await;
    assert_eq!(store.service_get(&later.id).await.unwrap(), Some(later));
}

async fn pages_neither_skip_nor_repeat_while_things_change(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let mut names = Vec::new();
    for n in 0..7 {
        // Some at the same time: the id decides then.
        let (row, _) = created(&store, &mut draw, &format!("s{n}"), 10 + n / 3).await;
        names.push((row.created_at, row.id, row.name));
    }
    names.sort();
    let first = store.service_list("us-east-1", None, 3).await.unwrap();
    let last = first.last().unwrap();
    let cursor = ServiceCursor { created_at: last.created_at, id: last.id.clone() };
    let mut early = service(&mut draw, "early", 1);
    early.url_label = "early00000".to_owned();
    let operation =
        Operation::pending(draw.operation_id(), early.id.clone(), OperationKind::CreateService, WallTime(1));
    store.service_create(&early, &operation, SERVICES_MAX).await.unwrap();
    let rest = store.service_list("us-east-1", Some(&cursor), 100).await.unwrap();
    let got: Vec<String> = first.into_iter().chain(rest).map(|row| row.name).collect();
    let expect: Vec<String> = names.into_iter().map(|(_, _, name)| name).collect();
    assert_eq!(got, expect);
}

async fn a_refused_act_leaves_nothing_and_an_unknown_service_is_none(database: Database) {
    let store = database.open().await;
    let (row, _) = created(&store, &mut draw(), "web", 10).await;
    let refused = store
        .service_act(&row.id, |service| {
            service.tags.clear();
            Err::<(), &str>("no")
        })
        .await
        .unwrap();
    assert_eq!(refused, Some(Err("no")));
    assert_eq!(store.service_get(&row.id).await.unwrap().unwrap().tags, row.tags);
    let unknown = store.service_act(&ServiceId::new("0"), |_| Ok::<_, &str>(())).await.unwrap();
    assert_eq!(unknown, None);
}

/// An image deployment to its end by hand: every kind of row is written and read back.
async fn an_operation_advances_row_by_row(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let (row, id) = created(&store, &mut draw, "web", 10).await;
    let begun = store.operation_advance(&id, &mut draw).await.unwrap().unwrap();
    assert!(begun.wrote);
    let again = store.operation_advance(&id, &mut draw).await.unwrap().unwrap();
    assert_eq!(again, Advanced { wrote: false, wake: begun.wake });
    let builds = store.build_list_wanted().await.unwrap();
    assert_eq!(builds.len(), 1);
    let transient = BuildFact::Failed(Fault::transient("busy"));
    store.build_fact_put(&builds[0].id, &transient).await.unwrap();
    assert_eq!(store.build_get(&builds[0].id).await.unwrap().unwrap().failures, 1);
    let outcome = fixture::outcome();
    store.build_fact_put(&builds[0].id, &BuildFact::Done(outcome)).await.unwrap();
    store.operation_advance(&id, &mut draw).await.unwrap();
    let slots = store.slot_list(&row.id).await.unwrap();
    assert_eq!(slots.len(), 1);
    assert_eq!(store.revision_get(&row.id, 1).await.unwrap().unwrap().run.unwrap().port, 8080);
    let mut fact = fixture::healthy(&slots[0]);
    fact.waterfall.healthy_ms = Some(25);
    let change = reconcile::change(&slots[0], Some(fact.clone()));
    store.slot_facts_put(&[change], Timestamp(7), WallTime(1)).await.unwrap();
    let seen = store.slot_list(&row.id).await.unwrap().remove(0);
    assert_eq!((seen.fact, seen.fact_at, seen.ever_healthy), (Some(fact), Timestamp(7), true));
    store.operation_advance(&id, &mut draw).await.unwrap();
    let routes = store.service_routes().await.unwrap();
    assert_eq!((routes[0].routed_version, routes[0].service.route_version), (0, 1));
    store.service_routed_put(&[(row.id.clone(), 1)]).await.unwrap();
    store.service_routed_put(&[(row.id.clone(), 0)]).await.unwrap();
    let ended = store.operation_advance(&id, &mut draw).await.unwrap().unwrap();
    assert_eq!(ended.wake, Wake::Done);
    let operation = store.operation_get(&id).await.unwrap().unwrap();
    assert_eq!((operation.status, operation.step), (OperationStatus::Succeeded, Step::Ended));
    assert_eq!(store.operation_list_open().await.unwrap(), []);
    assert!(store.revision_get(&row.id, 1).await.unwrap().unwrap().served);
    let named: Vec<_> = store.content_list().await.unwrap().into_iter().collect();
    assert_eq!(named, [fixture::outcome().image]);
    let lines = store.line_list(100).await.unwrap();
    assert!(lines.len() > 5 && lines.is_sorted_by_key(|line| line.seq));
    store.line_forget(lines[2].seq).await.unwrap();
    assert_eq!(store.line_list(1).await.unwrap()[0], lines[3]);
    // Between operations too, something happens.
    let slot = store.slot_list(&row.id).await.unwrap().remove(0);
    let mut ill = fixture::healthy(&slot);
    ill.health = Health::Unhealthy { reason: "status 500".to_owned() };
    store.slot_facts_put(&[reconcile::change(&slot, Some(ill))], Timestamp(9), WallTime(5)).await.unwrap();
    let line = store.line_list(100).await.unwrap().pop().unwrap();
    assert_eq!((line.service, line.operation, line.at), (row.id, None, WallTime(5)));
}

async fn wishes_of_slots_change_only_as_they_may(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let (row, id) = created(&store, &mut draw, "web", 10).await;
    store.operation_advance(&id, &mut draw).await.unwrap();
    let build = store.build_list_wanted().await.unwrap().remove(0);
    let outcome = fixture::outcome();
    store.build_fact_put(&build.id, &BuildFact::Done(outcome)).await.unwrap();
    store.operation_advance(&id, &mut draw).await.unwrap();
    let slot = store.slot_list(&row.id).await.unwrap().remove(0).id;
    // A slot that is wished to run neither stops nor goes.
    let leaving = [Leaving { id: slot.clone(), event: Some("It stops.".to_owned()) }];
    store.slot_stop(&leaving, WallTime(1)).await.unwrap();
    store.slot_gone(&leaving, Timestamp(3), WallTime(1)).await.unwrap();
    let told = async |store: &Store| {
        let lines = store.line_list(100).await.unwrap();
        lines.iter().filter(|one| one.line == Line::Event("It stops.".to_owned())).count()
    };
    assert_eq!(told(&store).await, 0, "of what stays nothing is told");
    assert_eq!(store.slot_list(&row.id).await.unwrap()[0].wish, SlotWish::Run);
    let generation = Generation { epoch: 9, counter: 4 };
    store.slot_generation_put(&slot, generation).await.unwrap();
    assert_eq!(store.slot_list(&row.id).await.unwrap()[0].generation, generation);
    assert_eq!(store.slot_output_get(&slot).await.unwrap(), Some((row.id.clone(), 0)));
    store.slot_output_put(&[(slot.clone(), 77)]).await.unwrap();
    assert_eq!(store.slot_output_get(&slot).await.unwrap(), Some((row.id.clone(), 77)));
    assert_eq!(store.slot_output_get(&InstanceId::new("none")).await.unwrap(), None);
    // Once gone it is listed only to a driver that still has its container.
    let delete =
        Operation::pending(draw.operation_id(), row.id.clone(), OperationKind::DeleteService, WallTime(1));
    end(&store, &id, &mut draw).await;
    let writes = vec![Write::OperationNew(Box::new(delete.clone()))];
    store.service_call(&row.id, WallTime(1), |_| Ok::<_, ()>(((), writes))).await.unwrap().unwrap().unwrap();
    store.operation_advance(&delete.id, &mut draw).await.unwrap();
    store.slot_stop(&leaving, WallTime(1)).await.unwrap();
    store.slot_gone(&leaving, Timestamp(3), WallTime(1)).await.unwrap();
    store.slot_gone(&leaving, Timestamp(3), WallTime(1)).await.unwrap();
    assert_eq!(told(&store).await, 2, "each step once");
    assert_eq!(store.slot_list_all(&[]).await.unwrap().slots, []);
    let all = store.slot_list_all(std::slice::from_ref(&slot)).await.unwrap();
    assert_eq!(all.slots[0].wish, SlotWish::Gone);
}

async fn what_is_mended_is_decided_by_the_rows_as_they_are(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let (row, id) = created(&store, &mut draw, "web", 10).await;
    store.operation_advance(&id, &mut draw).await.unwrap();
    let build = store.build_list_wanted().await.unwrap().remove(0);
    store.build_fact_put(&build.id, &BuildFact::Done(fixture::outcome())).await.unwrap();
    store.operation_advance(&id, &mut draw).await.unwrap();
    end(&store, &id, &mut draw).await;
    assert!(!store.slot_mend(&row.id, None, &mut draw).await.unwrap());
    let first = store.slot_list(&row.id).await.unwrap().remove(0);
    let beside = Slot { id: draw.instance_id(), wish: SlotWish::Beside, revision: 2, ..first.clone() };
    let begun =
        Operation::pending(draw.operation_id(), row.id.clone(), OperationKind::StartDeployment, WallTime(1));
    let wish_of = async |id: &InstanceId| {
        let slots = store.slot_list(&row.id).await.unwrap();
        slots.into_iter().find(|slot| slot.id == *id).map(|slot| slot.wish)
    };
    let write = async |writes: Vec<Write>| {
        let written = store.service_call(&row.id, WallTime(1), |_| Ok::<_, ()>(((), writes))).await;
        written.unwrap().unwrap().unwrap();
    };
    // All serve, and none is open any more.
    write(vec![Write::Slot(Box::new(beside.clone()))]).await;
    assert!(store.slot_mend(&row.id, None, &mut draw).await.unwrap());
    assert!(matches!(wish_of(&beside.id).await, Some(SlotWish::Drain { .. })));
    assert!(!store.slot_mend(&row.id, None, &mut draw).await.unwrap(), "once");
    // What is lacking comes at once, beside what leaves.
    write(vec![Write::SlotWish(first.id.clone(), SlotWish::Stop)]).await;
    assert!(store.slot_mend(&row.id, None, &mut draw).await.unwrap());
    let leaving = [&first.id, &beside.id].map(|id| Leaving { id: id.clone(), event: None });
    store.slot_stop(&leaving, WallTime(1)).await.unwrap();
    store.slot_gone(&leaving, Timestamp(3), WallTime(1)).await.unwrap();
    assert!(!store.slot_mend(&row.id, None, &mut draw).await.unwrap(), "once");
    let slots = store.slot_list(&row.id).await.unwrap();
    assert_eq!(slots.iter().map(|one| (one.revision, one.wish)).collect::<Vec<_>>(), [(1, SlotWish::Run)]);
    // One has begun since that was read: it sees to the instances itself.
    write(vec![Write::SlotWish(slots[0].id.clone(), SlotWish::Stop), Write::OperationNew(Box::new(begun))])
        .await;
    assert!(!store.slot_mend(&row.id, None, &mut draw).await.unwrap());
    assert!(!store.slot_mend(&ServiceId::new("none"), None, &mut draw).await.unwrap());
}

/// Good facts until an operation that waits for its instances has ended.
async fn end(store: &Store, id: &OperationId, draw: &mut Draw) {
    let view = store.operation_view(id).await.unwrap().unwrap();
    let facts: Vec<_> =
        view.slots.iter().map(|slot| reconcile::change(slot, Some(fixture::healthy(slot)))).collect();
    store.slot_facts_put(&facts, Timestamp(2), WallTime(1)).await.unwrap();
    store.operation_advance(id, draw).await.unwrap();
    store.service_routed_put(&[(view.service.id, u64::MAX >> 1)]).await.unwrap();
    assert_eq!(store.operation_advance(id, draw).await.unwrap().unwrap().wake, Wake::Done);
}

/// What one row of a build says wrongly is that build's own matter.
async fn a_build_that_cannot_be_read_holds_up_no_other(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let (_, first) = created(&store, &mut draw, "web", 10).await;
    let (_, second) = created(&store, &mut draw, "shop", 10).await;
    store.operation_advance(&first, &mut draw).await.unwrap();
    store.operation_advance(&second, &mut draw).await.unwrap();
    database
        .say("UPDATE build SET wish = '{}' WHERE service = (SELECT id FROM service WHERE name = 'web')")
        .await
        .unwrap();
    let wanted = store.build_list_wanted().await.unwrap();
    assert_eq!(wanted.iter().map(|build| &build.operation).collect::<Vec<_>>(), [&second]);
}

/// Of the slot it is said that nothing is known, so that nobody takes its container for one without a row.
async fn a_slot_or_a_line_that_cannot_be_read_hides_no_other(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let mut slots = Vec::new();
    for name in ["web", "shop"] {
        let (row, id) = created(&store, &mut draw, name, 10).await;
        store.operation_advance(&id, &mut draw).await.unwrap();
        let build =
            store.build_list_wanted().await.unwrap().into_iter().find(|one| one.operation == id).unwrap();
        store.build_fact_put(&build.id, &BuildFact::Done(fixture::outcome())).await.unwrap();
        store.operation_advance(&id, &mut draw).await.unwrap();
        slots.push(store.slot_list(&row.id).await.unwrap().remove(0));
    }
    for damage in ["UPDATE slot SET fact = '{}'", "UPDATE slot SET fact = NULL, wish = '{}'"] {
        database.say(damage).await.unwrap();
        // The second one is mended.
        let mended = "UPDATE slot SET fact = NULL, wish = '\"run\"'
            WHERE service = (SELECT id FROM service WHERE name = 'shop')";
        database.say(mended).await.unwrap();
        let read = store.slot_list_all(std::slice::from_ref(&slots[0].id)).await.unwrap();
        assert_eq!(read.slots, [slots[1].clone()]);
        let unreadable: Vec<_> = read.unreadable.iter().map(|(id, _)| id).collect();
        assert_eq!(unreadable, [&slots[0].id], "named once");
        assert!(matches!(read.unreadable[0].1, StoreError::Corrupt { table: "slot", .. }));
    }

    let whole = store.line_list(100).await.unwrap();
    assert_eq!(whole[0].service, slots[0].service);
    let damage = "UPDATE line SET line = '{}' WHERE service = (SELECT id FROM service WHERE name = 'web')";
    database.say(damage).await.unwrap();
    let rest: Vec<_> = whole.into_iter().filter(|one| one.service == slots[1].service).collect();
    // Those that cannot be read are more than what is asked for.
    assert_eq!(store.line_list(1).await.unwrap(), rest[..1]);
    assert_eq!(store.line_list(100).await.unwrap(), rest);
}

async fn epochs_only_grow_and_single_rows_are_kept(database: Database) {
    let store = database.open().await;
    assert_eq!(store.epoch_raise(0).await.unwrap(), 1);
    assert_eq!(store.epoch_raise(40).await.unwrap(), 41);
    assert_eq!(store.epoch_raise(3).await.unwrap(), 42);
    // What no history explains is refused, and changes nothing.
    for seen in [42 + EPOCH_STEP_MAX + 1, i64::MAX as u64, u64::MAX - 1, u64::MAX] {
        let refused = store.epoch_raise(seen).await;
        assert!(matches!(refused, Err(StoreError::EpochTooFar { stored: 42, .. })), "{refused:?}");
    }
    assert_eq!(store.epoch_get().await.unwrap(), 42);
    assert_eq!(store.epoch_raise(42 + EPOCH_STEP_MAX).await.unwrap(), 42 + EPOCH_STEP_MAX + 1);
    assert_eq!(store.engine_clock_get().await.unwrap(), None);
    let clock = EngineClockRow { boot: "b".to_owned(), offset_ms: 5, reserved_until: Timestamp(9) };
    store.engine_clock_put(&clock).await.unwrap();
    assert_eq!(store.engine_clock_get().await.unwrap(), Some(clock));
    let proxy = ProxyProcess { pid: 7, start_time: 8, boot: "b".to_owned() };
    store.proxy_put(&proxy).await.unwrap();
    store.proxy_put(&proxy).await.unwrap();
    assert_eq!(store.proxy_list().await.unwrap(), std::slice::from_ref(&proxy));
    store.proxy_forget(&proxy).await.unwrap();
    assert_eq!(store.proxy_list().await.unwrap(), []);
    let key = AccessKey {
        id: "AKID".to_owned(),
        secret: "very secret".to_owned(),
        name: "root".to_owned(),
        rights: Rights::Admin,
        created_at: WallTime(1),
    };
    store.access_key_put(&key).await.unwrap();
    assert_eq!(store.access_key_get("AKID").await.unwrap().as_ref(), Some(&key));
    assert_eq!(store.access_key_get("other").await.unwrap(), None);
    assert!(!format!("{key:?}").contains("very secret"));
}

async fn what_is_not_json_is_refused_and_what_is_not_ours_is_named(database: Database) {
    let store = database.open().await;
    let (row, _) = created(&store, &mut draw(), "web", 10).await;
    let refused = database.say("UPDATE service SET config = '{'").await.unwrap_err().to_string();
    // SQLite's check is false, that of PostgreSQL fails.
    assert!(refused.contains("CHECK") || refused.contains("type json"), "{refused}");
    database.say("UPDATE service SET config = '{}'").await.unwrap();
    let corrupt = store.service_get(&row.id).await;
    assert!(
        matches!(corrupt, Err(StoreError::Corrupt { table: "service", column: "config", .. })),
        "{corrupt:?}"
    );
}

async fn a_damaged_row_ends_its_own_operation_and_hides_its_own_routes(database: Database) {
    let store = database.open().await;
    let mut draw = draw();
    let (good, _) = created(&store, &mut draw, "good", 10).await;
    let (damaged, id) = created(&store, &mut draw, "damaged", 11).await;
    database.say("UPDATE operation SET asked = '{\"no\": 1}' WHERE kind = 'create_service'").await.unwrap();
    let Err(error @ StoreError::Corrupt { .. }) = store.operation_advance(&id, &mut draw).await else {
        panic!("it was read");
    };
    assert!(!error.concerns_all());
    let ended = store.operation_abandon(&id, &error.to_string(), &draw).await.unwrap().unwrap();
    assert_eq!((ended.wrote, ended.wake), (true, Wake::Done));
    let row = store.operation_get(&id).await.unwrap().unwrap();
    assert_eq!((row.status, row.step), (OperationStatus::Failed, Step::Ended));
    assert!(row.fault.unwrap().reason.contains("operation.asked"));
    let service = store.service_get(&damaged.id).await.unwrap().unwrap();
    assert_eq!((service.operation, service.state), (None, State::CreateFailed));
    assert!(store.line_list(10).await.unwrap().iter().any(|one| one.service == damaged.id));

    database.say("UPDATE service SET config = '{}' WHERE name = 'damaged'").await.unwrap();
    let routes = store.service_routes().await.unwrap();
    assert_eq!(routes.iter().map(|one| &one.service.id).collect::<Vec<_>>(), [&good.id]);
}
