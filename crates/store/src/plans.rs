//! How the databases carry the lists out: along an index, so that a page costs the same among ten and ten thousand.

use crate::sql::{Connection, Value, heard, query};
use crate::{
    PostgresDatabase, ResourceCursor, ResourceFilter, ResourceWrites, ServiceCursor, Store, support,
};
use apron_model::custom_domain::CustomDomain;
use apron_model::draw::Draw;
use apron_model::fixture;
use apron_model::ids::{ResourceId, ServiceId};
use apron_model::operation::{Operation, OperationKind};
use apron_model::resource::{BUILT_IN_ID, Body, Kind, Resource, VpcIngressConnection, built_in};
use apron_model::service::Service;
use apron_model::time::{Timestamp, WallTime};
use sqlx::{AssertSqlSafe, SqlSafeStr};

const REGION: &str = "us-east-1";

async fn fill(store: &Store, many: u64) -> ServiceId {
    let mut draw = Draw::new(Timestamp(1), WallTime(1), 1, 42);
    let mut services = Vec::new();
    for n in 0..many {
        let row = Service {
            id: draw.service_id(),
            url_label: draw.url_label(),
            created_at: WallTime(n / 3),
            ..fixture::service(&format!("service{n}"), fixture::image_config("registry.test/web:1"))
        };
        let kind = OperationKind::CreateService;
        let operation = Operation::pending(draw.operation_id(), row.id.clone(), kind, WallTime(n));
        store.service_create(&row, &operation, many).await.unwrap();
        services.push(row.id);
    }
    let [scaling, _] = built_in(REGION);
    let resources = (0..many).map(|n| {
        let (id, name) = (ResourceId::new(format!("{n:032x}")), format!("scaling{n}"));
        Resource { id, name, ..scaling.clone() }
    });
    let writes = ResourceWrites { resources: resources.skip(2).collect(), ..ResourceWrites::default() };
    store
        .resource_act(Kind::AutoScalingConfiguration, REGION, "x", |_| Ok::<_, ()>((writes, ())))
        .await
        .unwrap()
        .unwrap();
    let service = services.last().expect("a service").clone();
    let ingresses = services.into_iter().zip(0..many).map(|(service, n)| {
        let ingress = VpcIngressConnection {
            service,
            vpc_id: "vpc-1".to_owned(),
            vpc_endpoint_id: format!("vpce-{n}"),
            domain_name: format!("{n}.vpc.test"),
        };
        let (id, name) = (ResourceId::new(format!("{n:032x}")), format!("ingress{n}"));
        Resource { id, name, body: Body::VpcIngressConnection(ingress), ..scaling.clone() }
    });
    let writes = ResourceWrites { resources: ingresses.collect(), ..ResourceWrites::default() };
    store
        .resource_act(Kind::VpcIngressConnection, REGION, "x", |_| Ok::<_, ()>((writes, ())))
        .await
        .unwrap()
        .unwrap();
    for n in 0..many.min(200) {
        let domain = CustomDomain {
            service: service.clone(),
            domain: format!("a{n}.example.com"),
            www: false,
            token: String::new(),
            created_at: WallTime(n),
        };
        store.custom_domain_add(&service, |_, _| Ok::<_, ()>(domain)).await.unwrap().unwrap().unwrap();
    }
    service
}

/// Every list that is given out in pages, somewhere in its middle.
async fn pages(store: &Store, service: &ServiceId) {
    let after = ServiceCursor { created_at: WallTime(7), id: ServiceId::new("7") };
    store.service_list(REGION, Some(&after), 20).await.unwrap();
    store.service_list_for_scaling(REGION, &ResourceId::new(BUILT_IN_ID), Some(&after), 20).await.unwrap();
    store.operation_list(service, Some(1_000_000), 20).await.unwrap();
    store.custom_domain_list(service, Some("a"), 5).await.unwrap();
    let after = ResourceCursor { name: "scaling17".to_owned(), revision: 1 };
    for latest_only in [false, true] {
        let filter = ResourceFilter { latest_only, ..ResourceFilter::default() };
        let kind = Kind::AutoScalingConfiguration;
        store.resource_list(kind, REGION, &filter, Some(&after), 20).await.unwrap();
    }
    let named = ResourceFilter { name: Some("scaling18".to_owned()), ..ResourceFilter::default() };
    let of_service = ResourceFilter { service: Some(service.clone()), ..ResourceFilter::default() };
    let of_endpoint = ResourceFilter { vpc_endpoint: Some("vpce-1".to_owned()), ..ResourceFilter::default() };
    for (kind, filter) in [
        (Kind::AutoScalingConfiguration, named),
        (Kind::VpcIngressConnection, of_service),
        (Kind::VpcIngressConnection, of_endpoint),
    ] {
        store.resource_list(kind, REGION, &filter, Some(&after), 20).await.unwrap();
    }
}

/// What a plan has to say when a list is narrowed, in the words of either database.
const NARROWED: [(&str, &[&str]); 3] = [
    ("AND resource.name = $5", &["region=? AND name=?", "(name = "]),
    ("AND resource.service = $6", &["resource_service"]),
    ("AND resource.vpc_endpoint = $7", &["resource_endpoint"]),
];

/// Asks how the statements of the pages are carried out, and shows them to `sound` with the answer.
///
/// `informed`: the database knows enough of its tables to tell the best of several indexes.
async fn check(store: &Store, service: &ServiceId, informed: bool, sound: impl Fn(&str) -> bool) {
    heard::take();
    pages(store, service).await;
    let said = heard::take();
    assert!(said.len() >= 9);
    for (sql, values) in said {
        let mut tx = store.read().await.unwrap();
        let (explain, column) = match *tx {
            Connection::Sqlite(_) => ("EXPLAIN QUERY PLAN ", "detail"),
            Connection::Postgres(_) => ("EXPLAIN ", "QUERY PLAN"),
        };
        let asked = query(AssertSqlSafe(format!("{explain}{sql}")).into_sql_str());
        let asked = values.into_iter().fold(asked, |asked, value: Value<'static>| asked.bind(value));
        let rows = asked.fetch_all(&mut tx).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(column).unwrap()).collect();
        let plan = plan.join("\n");
        assert!(sound(&plan), "{sql}\n{plan}");
        for (narrowed, words) in NARROWED.iter().filter(|(said, _)| informed && sql.contains(said)) {
            assert!(words.iter().any(|word| plan.contains(word)), "{narrowed}: {sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn sqlite_goes_along_an_index() {
    let directory = crate::rows::test_directory("plans");
    let store = Store::open(&directory.path().join("a.db")).await.unwrap();
    let service = fill(&store, 3).await;
    check(&store, &service, true, |plan| !plan.contains("SCAN") && !plan.contains("TEMP B-TREE")).await;
}

#[tokio::test]
async fn postgresql_goes_along_an_index() {
    let database = support::Database::new();
    let address = PostgresDatabase::parse(&database.url()).unwrap();
    let store = Store::connect(&address.or_password(Some(support::PASSWORD.to_owned()))).await.unwrap();
    let service = fill(&store, 1_000).await;
    let sound = |plan: &str| {
        // A handful of rows is read faster than an index.
        let read_whole = ["service", "operation", "resource"].iter().any(|table| {
            plan.contains(&format!("Seq Scan on {table} "))
                || plan.contains(&format!("Bitmap Heap Scan on {table} "))
        });
        // Of a service there is one at most.
        let sorted = plan.contains("Sort") && !plan.contains("Index Scan using resource_service");
        // Whether a service uses a configuration is not to be found by looking at all services.
        !read_whole && !sorted && !plan.contains("Filter: (scaling_id")
    };
    // Before and after the server has taken stock of the tables.
    check(&store, &service, false, sound).await;
    let mut tx = store.write().await.unwrap();
    query("ANALYZE").execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    check(&store, &service, true, sound).await;
}
