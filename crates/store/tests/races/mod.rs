//! Many at once: writers follow one another on both databases, whatever becomes of their connections.

use super::{Database, SERVICES_MAX, created, draw, service};
use apron_model::draw::Draw;
use apron_model::ids::ServiceId;
use apron_model::operation::{Operation, OperationKind, Write};
use apron_model::service::Service;
use apron_model::time::{Timestamp, WallTime};
use apron_store::*;
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// One more in a tag that counts, read and written in one transaction.
async fn count(store: &Store, id: &ServiceId) -> Result<(), StoreError> {
    let counted = store
        .service_act(id, |service| {
            let before: u32 = service.tags.get("count").map_or(0, |count| count.parse().unwrap());
            service.tags.insert("count".to_owned(), (before + 1).to_string());
            Ok::<_, ()>(())
        })
        .await?;
    assert_eq!(counted, Some(Ok(())));
    Ok(())
}

async fn counted(store: &Store, id: &ServiceId) -> u32 {
    let service = store.service_get(id).await.unwrap().unwrap();
    service.tags.get("count").map_or(0, |count| count.parse().unwrap())
}

pub(super) async fn no_update_is_lost_and_none_is_seen_half(database: Database) {
    let store = database.open().await;
    let (row, _) = created(&store, &mut draw(), "web", 10).await;
    let mut writers = JoinSet::new();
    for _ in 0..30 {
        let (store, id) = (store.clone(), row.id.clone());
        writers.spawn(async move { count(&store, &id).await });
    }
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (store, id) = (store.clone(), row.id.clone());
        readers.spawn(async move {
            let mut last = 0;
            for _ in 0..20 {
                let now = counted(&store, &id).await;
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    while let Some(done) = readers.join_next().await {
        done.unwrap();
    }
    assert_eq!(counted(&store, &row.id).await, 30);
}

pub(super) async fn a_name_is_given_once_and_an_operation_is_open_alone(database: Database) {
    let store = database.open().await;
    let mut creating = JoinSet::new();
    for n in 0..24_u64 {
        let store = store.clone();
        creating.spawn(async move {
            let mut draw = Draw::new(Timestamp(1), WallTime(1), 1, n.into());
            let row = service(&mut draw, &format!("name{}", n % 4), n);
            let kind = OperationKind::CreateService;
            let operation = Operation::pending(draw.operation_id(), row.id.clone(), kind, WallTime(n));
            store.service_create(&row, &operation, SERVICES_MAX).await
        });
    }
    let mut made = 0;
    while let Some(done) = creating.join_next().await {
        match done.unwrap() {
            Ok(()) => made += 1,
            Err(StoreError::Conflict(Conflict::NameTaken)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    let all = store.service_list("us-east-1", None, 100).await.unwrap();
    assert_eq!((made, all.len()), (4, 4));

    // Its first operation is open: nobody opens another, and what was to change with it did not.
    let id = &all[0].id;
    let mut opening = JoinSet::new();
    for n in 100..110_u64 {
        let (store, id) = (store.clone(), id.clone());
        opening.spawn(async move {
            let operation = Draw::new(Timestamp(1), WallTime(1), 1, n.into()).operation_id();
            let open = Operation::pending(operation, id.clone(), OperationKind::UpdateService, WallTime(n));
            let called = store.service_call(&id, WallTime(n), |standing| {
                let changed = Service { tags: BTreeMap::new(), ..standing.service.clone() };
                let writes = vec![Write::Service(Box::new(changed)), Write::OperationNew(Box::new(open))];
                Ok::<_, ()>(((), writes))
            });
            called.await
        });
    }
    while let Some(done) = opening.join_next().await {
        let refused = done.unwrap();
        assert!(matches!(refused, Err(StoreError::Conflict(Conflict::OperationOpen))), "{refused:?}");
    }
    assert_eq!(store.operation_list(id, None, 10).await.unwrap().operations.len(), 1);
    assert!(!store.service_get(id).await.unwrap().unwrap().tags.is_empty());
}

fn kill(database: &Database) {
    let Database::Server(database) = database else { unreachable!("it is a server's") };
    tokio::task::block_in_place(|| database.kill_sessions());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_fails_its_call_and_no_other() {
    let database = Database::postgres();
    let store = database.open().await;
    let (row, _) = created(&store, &mut draw(), "web", 10).await;
    // Between two calls nobody notices.
    kill(&database);
    count(&store, &row.id).await.unwrap();
    kill(&database);
    assert_eq!(counted(&store, &row.id).await, 1);
    // In the middle of one, that one fails and leaves nothing.
    let failed = store
        .service_act(&row.id, |service| {
            kill(&database);
            service.tags.clear();
            Ok::<_, ()>(())
        })
        .await;
    assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
    assert_eq!(counted(&store, &row.id).await, 1);
    count(&store, &row.id).await.unwrap();

    // At any moment of many: each that said it was done was, and no call hangs.
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (store, id) = (store.clone(), row.id.clone());
        writers.spawn(async move {
            let mut done = 0;
            for _ in 0..40 {
                done += u32::from(count(&store, &id).await.is_ok());
            }
            done
        });
    }
    for _ in 0..5 {
        kill(&database);
    }
    let mut done = 2;
    while let Some(one) = writers.join_next().await {
        done += one.unwrap();
    }
    let kept = counted(&store, &row.id).await;
    // A session may end between its commit and the answer.
    assert!((done..=done + 5).contains(&kept), "{kept} of {done}");
    count(&store, &row.id).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_with_the_reason() {
    for (url, reason) in [
        ("postgres://x:geheim@127.0.0.1:1/none", "refused"),
        ("postgres://x:geheim@/none?host=/nowhere", "No such file"),
    ] {
        let error = Store::connect(&PostgresDatabase::parse(url).unwrap()).await.unwrap_err();
        let said = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(
            said.contains("cannot be reached") && said.contains(reason) && !said.contains("geheim"),
            "{said}"
        );
    }
}

/// Two controls of one database would undo each other's work: only who holds its lock writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_control_is_refused() {
    let database = Database::postgres();
    let first = database.open().await;
    let (row, _) = created(&first, &mut draw(), "web", 10).await;
    let refused = database.try_open().await;
    assert!(matches!(refused, Err(StoreError::Held(_))), "{refused:?}");
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("is held by another control") && !said.contains("only for tests"), "{said}");
    count(&first, &row.id).await.unwrap();
    // Who has lost its session and finds another there does not write beside it.
    kill(&database);
    let second = database.open().await;
    let fenced = count(&first, &row.id).await;
    assert!(matches!(fenced, Err(StoreError::Held(_))), "{fenced:?}");
    count(&second, &row.id).await.unwrap();
    second.close().await;
    count(&first, &row.id).await.unwrap();
    assert_eq!(counted(&first, &row.id).await, 3);
}
