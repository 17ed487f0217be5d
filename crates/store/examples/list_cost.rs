//! What a page of each list costs among few services and among many, on both databases. Prints JSON.
//!
//! usage: list_cost DIRECTORY REPETITIONS SERVICES...
//!
//! Every number of services has a database of its own, and their pages are read in turn, so that whatever else the
//! machine does falls on all of them alike. DIRECTORY takes the files of SQLite and goes with its caller; PostgreSQL
//! is a server of our own (`tests/support`).

use apron_model::draw::Draw;
use apron_model::fixture;
use apron_model::ids::{ResourceId, ServiceId};
use apron_model::limits::OPERATIONS_KEPT;
use apron_model::operation::{Operation, OperationKind, OperationStatus, Step, Write};
use apron_model::resource::*;
use apron_model::service::Service;
use apron_model::time::{Timestamp, WallTime};
use apron_store::*;
use serde::Serialize;
use sqlx::Connection as _;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

type Outcome<T> = Result<T, Box<dyn Error>>;

const REGION: &str = "us-east-1";
/// Rows of a page: the fewest services that are measured fill one.
const PAGE: usize = 10;
/// Of every service but the one whose operations are listed, which has as many as are kept.
const OPERATIONS: usize = 5;
/// Of every auto scaling configuration.
const REVISIONS: u32 = 2;

/// A page of a list, in milliseconds by the number of services.
#[derive(Serialize)]
struct Cost {
    database: &'static str,
    list: &'static str,
    page: &'static str,
    medians: Vec<(usize, f64)>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, repetitions, numbers @ ..] = &arguments[..] else {
        return Err("usage: list_cost DIRECTORY REPETITIONS SERVICES...".into());
    };
    let repetitions = repetitions.parse()?;
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse()).collect::<Result<_, _>>()?;
    let (mut files, mut servers) = (Vec::new(), Vec::new());
    let mut databases = Vec::new();
    for number in numbers {
        files.push(Filled::sqlite(Path::new(directory), number).await?);
        let database = support::Database::new();
        servers.push(Filled::postgres(&database, number).await?);
        databases.push(database);
    }
    let mut costs = measure("SQLite", &files, repetitions).await?;
    costs.extend(measure("PostgreSQL", &servers, repetitions).await?);
    println!("{}", serde_json::to_string(&costs)?);
    Ok(())
}

/// The lists whose pages are measured.
#[derive(Clone, Copy)]
enum List {
    Services,
    ServicesOfScaling(fn() -> ResourceId),
    Operations,
    Resources(Kind, fn(&Filled) -> ResourceFilter),
}

const LISTS: [(&str, List); 11] = [
    ("services", List::Services),
    ("services of the default auto scaling configuration", List::ServicesOfScaling(default_scaling)),
    ("services of one that a single service uses", List::ServicesOfScaling(lonely_scaling)),
    ("operations of a service", List::Operations),
    ("auto scaling configurations", List::Resources(Kind::AutoScalingConfiguration, all)),
    (
        "auto scaling configurations, latest revisions",
        List::Resources(Kind::AutoScalingConfiguration, latest),
    ),
    ("auto scaling configurations of one name", List::Resources(Kind::AutoScalingConfiguration, of_name)),
    ("connections", List::Resources(Kind::Connection, all)),
    ("VPC ingress connections", List::Resources(Kind::VpcIngressConnection, all)),
    ("VPC ingress connections of a service", List::Resources(Kind::VpcIngressConnection, of_service)),
    ("VPC ingress connections of an endpoint", List::Resources(Kind::VpcIngressConnection, of_endpoint)),
];

fn default_scaling() -> ResourceId {
    ResourceId::new(BUILT_IN_ID)
}

fn lonely_scaling() -> ResourceId {
    ResourceId::new("f".repeat(32))
}

fn all(_: &Filled) -> ResourceFilter {
    ResourceFilter::default()
}

fn latest(_: &Filled) -> ResourceFilter {
    ResourceFilter { latest_only: true, ..ResourceFilter::default() }
}

fn of_name(filled: &Filled) -> ResourceFilter {
    ResourceFilter { name: Some(scaling_name(filled.middle())), ..ResourceFilter::default() }
}

fn of_service(filled: &Filled) -> ResourceFilter {
    ResourceFilter { service: Some(filled.service.clone()), ..ResourceFilter::default() }
}

fn of_endpoint(filled: &Filled) -> ResourceFilter {
    ResourceFilter { vpc_endpoint: Some(endpoint(filled.middle())), ..ResourceFilter::default() }
}

/// Behind what a page begins.
#[derive(Clone)]
enum Cursor {
    Start,
    Service(ServiceCursor),
    Operation(u64),
    Resource(ResourceCursor),
}

impl List {
    /// How many rows a page has, and behind what the next one begins.
    async fn page(self, filled: &Filled, cursor: &Cursor) -> Outcome<(usize, Cursor)> {
        let (store, max) = (&filled.store, PAGE as u32);
        match self {
            List::Services | List::ServicesOfScaling(_) => {
                let after = if let Cursor::Service(after) = cursor { Some(after) } else { None };
                let rows = match self {
                    List::ServicesOfScaling(scaling) => {
                        store.service_list_for_scaling(REGION, &scaling(), after, max).await?
                    }
                    _ => store.service_list(REGION, after, max).await?,
                };
                let next = rows
                    .last()
                    .map(|last| ServiceCursor { created_at: last.created_at, id: last.id.clone() });
                Ok((rows.len(), next.map_or(Cursor::Start, Cursor::Service)))
            }
            List::Operations => {
                let before = if let Cursor::Operation(before) = cursor { Some(*before) } else { None };
                let page = store.operation_list(&filled.service, before, max).await?;
                Ok((page.operations.len(), page.next.map_or(Cursor::Start, Cursor::Operation)))
            }
            List::Resources(kind, filter) => {
                let after = if let Cursor::Resource(after) = cursor { Some(after) } else { None };
                let rows = store.resource_list(kind, REGION, &filter(filled), after, max).await?;
                let next = rows.last().map(|last| ResourceCursor {
                    name: last.resource.name.clone(),
                    revision: last.resource.revision,
                });
                Ok((rows.len(), next.map_or(Cursor::Start, Cursor::Resource)))
            }
        }
    }

    /// The pages to measure, each with the rows that it has: the full one in the middle and the last full one, or the
    /// one there is.
    async fn pages(self, filled: &Filled) -> Outcome<Vec<(&'static str, Cursor, usize)>> {
        let (mut begins, mut cursor) = (Vec::new(), Cursor::Start);
        loop {
            let (rows, next) = self.page(filled, &cursor).await?;
            if rows < PAGE {
                break match begins.len() {
                    0 if rows == 0 => Err("a list is empty".into()),
                    0 => Ok(vec![("whole", Cursor::Start, rows)]),
                    full => {
                        let middle: &Cursor = &begins[full / 2];
                        let last = &begins[full - 1];
                        Ok(vec![("middle", middle.clone(), PAGE), ("last", last.clone(), PAGE)])
                    }
                };
            }
            begins.push(cursor);
            if matches!(next, Cursor::Start) {
                // Its list says that no more comes.
                cursor = Cursor::Operation(0);
            } else {
                cursor = next;
            }
        }
    }
}

/// One page of one list in each of the stores, and how long it took there each time.
struct Measured {
    name: &'static str,
    list: List,
    page: &'static str,
    /// Behind what it begins and how many rows it has, by store.
    begins: Vec<(Cursor, usize)>,
    took: Vec<Vec<f64>>,
}

async fn measure(database: &'static str, filled: &[Filled], repetitions: usize) -> Outcome<Vec<Cost>> {
    let mut all = Vec::new();
    for (name, list) in LISTS {
        let mut pages = Vec::new();
        for one in filled {
            pages.push(list.pages(one).await?);
        }
        for (place, (page, _, _)) in pages[0].iter().enumerate() {
            let begins = pages.iter().map(|pages| (pages[place].1.clone(), pages[place].2)).collect();
            all.push(Measured { name, list, page, begins, took: vec![Vec::new(); filled.len()] });
        }
    }
    for repetition in 0..repetitions {
        for measured in &mut all {
            // None of the stores is always the first.
            for number in (0..filled.len()).map(|number| (number + repetition) % filled.len()) {
                let (cursor, rows) = &measured.begins[number];
                let began = Instant::now();
                let (seen, _) = measured.list.page(&filled[number], cursor).await?;
                measured.took[number].push(began.elapsed().as_secs_f64() * 1000.0);
                if seen != *rows {
                    return Err(format!("{}: a page of {rows} has {seen} rows", measured.name).into());
                }
            }
        }
    }
    let cost = |Measured { name, page, mut took, .. }| {
        let medians = filled.iter().zip(&mut took).map(|(one, took)| (one.services, median(took)));
        Cost { database, list: name, page, medians: medians.collect() }
    };
    Ok(all.into_iter().map(cost).collect())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A store with so many services, and with as many shared resources of the kinds that are listed.
struct Filled {
    store: Store,
    services: usize,
    /// The one in the middle, whose operations are listed.
    service: ServiceId,
}

impl Filled {
    async fn sqlite(directory: &Path, services: usize) -> Outcome<Filled> {
        let path = directory.join(format!("{services}.db"));
        // Filled without waiting for the disk, and measured as a platform has it.
        let fast = Store::open_for_bench(&path, Arc::new(|| Box::pin(async {}))).await?;
        let service = fill(&fast, services).await?;
        fast.close().await;
        Ok(Filled { store: Store::open(&path).await?, services, service })
    }

    async fn postgres(database: &support::Database, services: usize) -> Outcome<Filled> {
        let address = PostgresDatabase::parse(&database.url())?;
        let store = Store::connect(&address.or_password(Some(support::PASSWORD.to_owned()))).await?;
        let service = fill(&store, services).await?;
        // What the server does by itself some time after so many writes would fall into the measurement.
        let options: sqlx::postgres::PgConnectOptions = database.url().parse()?;
        let mut connection = sqlx::PgConnection::connect_with(&options.password(support::PASSWORD)).await?;
        sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
        connection.close().await?;
        Ok(Filled { store, services, service })
    }

    fn middle(&self) -> usize {
        self.services / 2
    }
}

fn scaling_name(number: usize) -> String {
    format!("scaling-{number}")
}

fn endpoint(number: usize) -> String {
    format!("vpce-{number:08x}")
}

/// Gives the id of the service in the middle.
async fn fill(store: &Store, services: usize) -> Outcome<ServiceId> {
    let mut draw = Draw::new(Timestamp(1), WallTime(1), 1, 42);
    let mut ids = Vec::new();
    let mut connections = Vec::new();
    // One more, with a configuration of its own.
    for number in 0..=services {
        let connection = resource(
            &mut draw,
            format!("connection-{number}"),
            1,
            Body::Connection(Connection { provider: "GITHUB".to_owned(), completed: true }),
        );
        let mut config = fixture::image_config("registry.test/web:1");
        config.connection_arn =
            Some(format!("arn:aws:apprunner:{REGION}:123456789012:connection/c/{}", connection.id));
        if number == services {
            config.scaling.arn = format!("arn/{}", lonely_scaling());
        }
        let service = Service {
            id: draw.service_id(),
            url_label: draw.url_label(),
            created_at: WallTime(number as u64),
            ..fixture::service(&format!("service-{number}"), config)
        };
        let created = ended(&mut draw, &service.id, OperationKind::CreateService);
        store.service_create(&service, &created, services as u64 + 1).await?;
        ids.push(service.id);
        connections.push(connection);
    }
    put(store, Kind::Connection, connections).await?;
    let mut scalings = Vec::new();
    let mut ingresses = Vec::new();
    for (number, service) in ids.iter().enumerate() {
        for revision in 1..=REVISIONS {
            let body = Body::AutoScalingConfiguration(AutoScaling::default());
            scalings.push(resource(&mut draw, scaling_name(number), revision, body));
        }
        let ingress = VpcIngressConnection {
            service: service.clone(),
            vpc_id: format!("vpc-{number:08x}"),
            vpc_endpoint_id: endpoint(number),
            domain_name: format!("{number}.vpc.us-east-1.test"),
        };
        let body = Body::VpcIngressConnection(ingress);
        ingresses.push(resource(&mut draw, format!("ingress-{number}"), 1, body));
    }
    put(store, Kind::AutoScalingConfiguration, scalings).await?;
    put(store, Kind::VpcIngressConnection, ingresses).await?;
    // The operations of one service lie among those of all others, as they come about.
    let middle = ids[services / 2].clone();
    let turns = OPERATIONS_KEPT - 1;
    for turn in 0..turns {
        operations(store, &mut draw, &middle, 1).await?;
        for id in &ids[turn * services / turns..(turn + 1) * services / turns] {
            if *id != middle {
                operations(store, &mut draw, id, OPERATIONS - 1).await?;
            }
        }
    }
    Ok(middle)
}

fn resource(draw: &mut Draw, name: String, revision: u32, body: Body) -> Resource {
    Resource {
        id: draw.resource_id(),
        region: REGION.to_owned(),
        name,
        revision,
        created_at: WallTime(1),
        deleted_at: None,
        purge_at: None,
        tags: BTreeMap::new(),
        body,
    }
}

async fn put(store: &Store, kind: Kind, resources: Vec<Resource>) -> Outcome<()> {
    let writes = ResourceWrites { resources, ..ResourceWrites::default() };
    let put = store.resource_act(kind, REGION, "none", |_| Ok::<_, String>((writes, ()))).await?;
    Ok(put?)
}

async fn operations(store: &Store, draw: &mut Draw, service: &ServiceId, many: usize) -> Outcome<()> {
    let new = || Write::OperationNew(Box::new(ended(draw, service, OperationKind::UpdateService)));
    let writes: Vec<Write> = std::iter::repeat_with(new).take(many).collect();
    let called = store.service_call(service, WallTime(2), |_| Ok::<_, String>(((), writes))).await?;
    Ok(called.ok_or("a service is gone")??)
}

fn ended(draw: &mut Draw, service: &ServiceId, kind: OperationKind) -> Operation {
    Operation {
        status: OperationStatus::Succeeded,
        step: Step::Ended,
        started_at: Some(WallTime(1)),
        ended_at: Some(WallTime(2)),
        ..Operation::pending(draw.operation_id(), service.clone(), kind, WallTime(1))
    }
}
