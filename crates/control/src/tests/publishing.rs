//! The socket that proxies pull tables from, with real connections.

use super::rig::*;
use crate::clock::ManualClock;
use crate::publish::{Proxies, Publisher, listen};
use apron_model::ids::{Generation, ServiceId};
use apron_model::limits::EPOCH_STEP_MAX;
use apron_model::operation::OperationStatus;
use apron_model::routes::{FromProxy, Load, PROTOCOL_VERSION, ToProxy};
use apron_model::time::Timestamp;
use apron_store::{ProxyProcess, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

struct Link {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Link {
    async fn open(path: &Path, version: u32, generation: Generation) -> Link {
        Link::open_for(path, version, generation, false).await
    }

    async fn open_for(path: &Path, version: u32, generation: Generation, changes: bool) -> Link {
        let (read, write) = UnixStream::connect(path).await.unwrap().into_split();
        let mut link = Link { lines: BufReader::new(read).lines(), write };
        link.say(&FromProxy::Hello { version, pid: std::process::id(), generation, changes }).await;
        link
    }

    async fn say(&mut self, message: &FromProxy) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        self.write.write_all(&line).await.unwrap();
    }

    async fn hear(&mut self) -> ToProxy {
        let line = tokio::time::timeout(Duration::from_secs(5), self.lines.next_line()).await.unwrap();
        serde_json::from_str(&line.unwrap().expect("a message")).unwrap()
    }
}

/// A proxy that serves every table it is given at once, never has a request, and ends with control.
pub(crate) async fn obedient_proxy(socket: std::path::PathBuf) {
    let mut link = Link::open(&socket, PROTOCOL_VERSION, Generation::default()).await;
    let mut generation = Generation::default();
    let mut lease = tokio::time::interval(Duration::from_millis(apron_model::limits::PROXY_STATUS_MS));
    loop {
        tokio::select! {
            line = link.lines.next_line() => {
                let Ok(Some(line)) = line else { return };
                let ToProxy::Table(table) = serde_json::from_str(&line).unwrap() else { panic!("a table") };
                generation = table.generation;
                link.say(&FromProxy::Serving { generation }).await;
            }
            _ = lease.tick() => {}
        }
        link.say(&FromProxy::Status { generation, in_flight: Default::default() }).await;
    }
}

#[tokio::test]
async fn proxies_get_tables_and_are_heard() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let path = std::env::temp_dir().join(format!("apron-publish-{}.sock", std::process::id()));
    let (stop, shutdown) = watch::channel(false);
    let publisher = Publisher {
        proxies: rig.proxies.clone(),
        store: rig.store.clone(),
        hints: rig.engine.hints.clone(),
        epoch: rig.engine.epoch.clone(),
        proxy_uid: 1,
    };
    let task = tokio::spawn(publisher.run(listen(&path).unwrap(), shutdown));

    let (_, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let newest = rig.proxies.table().unwrap();
    let mut link = Link::open(&path, PROTOCOL_VERSION, Generation::default()).await;
    assert_eq!(link.hear().await, ToProxy::Table((*newest).clone()));
    let generation = newest.generation;
    link.say(&FromProxy::Serving { generation }).await;

    // One that has seen a later epoch than ours, as after a restore: the next table is above it.
    let ahead = Generation { epoch: newest.generation.epoch + 7, counter: 3 };
    let mut restored = Link::open(&path, PROTOCOL_VERSION, ahead).await;
    let ToProxy::Table(first) = restored.hear().await else { panic!("a table") };
    assert!(first.generation < ahead);
    rig.routes.pass().await.unwrap();
    let ToProxy::Table(second) = restored.hear().await else { panic!("a table") };
    assert!(second.generation > ahead, "{:?}", second.generation);
    assert_eq!(second.services, first.services);
    assert_eq!(rig.store.epoch_get().await.unwrap(), second.generation.epoch);

    // What a proxy has it is not told again, if it takes changes and has what they begin at. One that says that it has this
    // very table may have that of another control, whose rows were restored since.
    let now = || rig.proxies.table().unwrap().generation;
    let later = Generation { counter: 1 << 40, ..second.generation };
    for (known, whole) in
        [(Some(second.generation), true), (Some(second.generation), false), (None, true), (Some(later), true)]
    {
        let known = known.unwrap_or_else(now);
        let mut taking = Link::open_for(&path, PROTOCOL_VERSION, known, true).await;
        let ToProxy::Table(mut table) = taking.hear().await else { panic!("a table") };
        let mut newer = table.clone();
        newer.generation.counter += 1;
        rig.proxies.publish(newer);
        match taking.hear().await {
            ToProxy::Change(change) if !whole => {
                assert_eq!((change.base, change.services.len(), change.gone.len()), (table.generation, 0, 0));
                table.change(&change);
                assert_eq!(table, *rig.proxies.table().unwrap().as_ref());
            }
            ToProxy::Table(_) if whole => {}
            other => panic!("{other:?}"),
        }
    }

    let mut stranger = Link::open(&path, PROTOCOL_VERSION + 1, Generation::default()).await;
    let ToProxy::Refused { reason } = stranger.hear().await else { panic!("a refusal") };
    assert!(reason.contains(&PROTOCOL_VERSION.to_string()), "{reason}");
    assert_eq!(stranger.lines.next_line().await.unwrap(), None);

    // A taken proxy reports what no history explains. It is refused, and nothing of it is kept.
    let before = rig.store.epoch_get().await.unwrap();
    for epoch in [u64::MAX, u64::MAX - 1, i64::MAX as u64, before + EPOCH_STEP_MAX + 1] {
        let lie = Generation { epoch, counter: u64::MAX };
        let mut liar = Link::open(&path, PROTOCOL_VERSION, lie).await;
        let ToProxy::Refused { reason } = liar.hear().await else { panic!("a refusal") };
        assert!(reason.contains(&epoch.to_string()), "{reason}");
        assert_eq!(liar.lines.next_line().await.unwrap(), None);
    }
    assert_eq!(rig.store.epoch_get().await.unwrap(), before);

    let mut garbage = UnixStream::connect(&path).await.unwrap();
    garbage.write_all(b"not a message\n").await.unwrap();
    let mut rest = String::new();
    BufReader::new(&mut garbage).read_line(&mut rest).await.unwrap();
    assert_eq!(rest, "");

    stop.send(true).unwrap();
    task.await.unwrap();
    let _ = std::fs::remove_file(&path);

    // Control starts again after all of that, and goes on.
    drop(rig);
    let mut rig = bench.start().await;
    assert_eq!(rig.store.epoch_get().await.unwrap(), before + 1);
    let (_, create) = rig.create("next", config(BETTER)).await;
    assert_eq!(rig.settle(&create).await.status, OperationStatus::Succeeded);
}

/// What a proxy has taken is not what its loops serve: only an acknowledgement counts, and it outlives a connection.
#[test]
fn hello_acknowledges_nothing() {
    let process = ProxyProcess { pid: 1, start_time: 2, boot: "b".to_owned() };
    let proxies = Proxies::new(Arc::new(ManualClock::new(Timestamp(1000))), 3, Vec::new());
    let generation = Generation { epoch: 3, counter: 1 };
    let hello = || FromProxy::Hello { version: PROTOCOL_VERSION, pid: 1, generation, changes: false };
    assert!(proxies.connected(&process));
    proxies.heard(&process, hello());
    assert!(!proxies.all_serve(generation));
    proxies.heard(&process, FromProxy::Serving { generation });
    assert!(proxies.all_serve(generation));
    proxies.disconnect(&process);
    assert!(!proxies.all_serve(generation), "nobody is there");
    assert!(proxies.connected(&process));
    assert!(proxies.all_serve(generation));
}

/// What a proxy counted before it was heard came at no moment that is known: it is no burst.
#[test]
fn counts_of_a_proxy_begin_with_the_first_that_it_tells() {
    let process = |pid| ProxyProcess { pid, start_time: 2, boot: "b".to_owned() };
    let proxies = Proxies::new(Arc::new(ManualClock::new(Timestamp(1000))), 3, Vec::new());
    let service = ServiceId::new("web");
    let tells = |pid, load: Load| {
        proxies.heard(&process(pid), FromProxy::Load(BTreeMap::from([(service.clone(), load)])));
        proxies.load(&service)
    };
    let load = |arrived, answered, in_flight| Load { arrived, answered, in_flight, ..Load::default() };
    assert!(proxies.connected(&process(1)) && proxies.connected(&process(2)));
    assert_eq!(tells(1, load(3, 1, 2)), load(0, 0, 2));
    assert_eq!(tells(1, load(8, 7, 1)), load(5, 6, 1));
    // The other one drains, and has served for days.
    let days = Load { waiting: 4, ..load(1_000_000, 999_990, 6) };
    assert_eq!(tells(2, days), Load { waiting: 4, ..load(5, 6, 7) }, "who is there counts at once");
    assert_eq!(tells(2, load(1_000_010, 1_000_005, 5)), load(15, 21, 6));
    // Its connection broke, and it went on without for a while.
    proxies.disconnect(&process(2));
    assert!(proxies.connected(&process(2)));
    assert_eq!(tells(2, load(2_000_000, 1_999_999, 1)), load(15, 21, 2));
    assert_eq!(tells(2, load(2_000_001, 2_000_001, 0)), load(16, 23, 1));
    proxies.forget(&process(2));
    assert_eq!(proxies.load(&service), load(5, 6, 1));
}

/// All tasks of control by their own hints and timers, as the binary starts them; only the driver is simulated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_control_deploys_by_itself_and_goes_on_after_a_restart() {
    let bench = Bench::new();
    let data = bench.data_dir();
    let config = crate::Config {
        control_socket: data.join("control.sock"),
        node_socket: data.join("node.sock"),
        proxy_uid: 1,
        region: "us-east-1".to_owned(),
        account: "123456789012".to_owned(),
        apps_domain: DOMAIN.to_owned(),
        apps_suffix: String::new(),
        api_endpoint: "http://127.0.0.1:1".to_owned(),
        apps_endpoint: "http://127.0.0.1:2".to_owned(),
        registry: crate::RegistryOptions {
            plain_http: Vec::new(),
            mirrors: Default::default(),
            credentials: None,
        },
        root_key: crate::RootKey { id: "AKID".to_owned(), secret: "s".to_owned() },
        data_dir: data.clone(),
        database: None,
        quotas: Default::default(),
        runtimes: Vec::new(),
        throttling: Default::default(),
    };
    let listener = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let driver = Arc::new(bench.world.clone());
    let control =
        crate::start::start(config.clone(), listener(), Arc::clone(&driver), shutdown.clone()).await.unwrap();
    let mut proxy = Link::open(&config.control_socket, PROTOCOL_VERSION, Generation::default()).await;
    let store = Store::open(&data.join("control/apron.db")).await.unwrap();
    let row = new_service("web", super::rig::config(GOOD));
    let began = tokio::time::Instant::now();
    store.service_create(&row.0, &row.1, SERVICES_MAX).await.unwrap();
    // The handler would hint; without it the scan finds the operation. The proxy follows every table.
    let ended = tokio::time::timeout(Duration::from_secs(15), async {
        loop {
            tokio::select! {
                message = proxy.hear() => {
                    let ToProxy::Table(table) = message else { panic!("a table") };
                    proxy.say(&FromProxy::Serving { generation: table.generation }).await;
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            let operation = store.operation_get(&row.1.id).await.unwrap().unwrap();
            if operation.status.is_ended() {
                return operation;
            }
        }
    });
    let ended = ended.await.expect("it ends by itself");
    assert_eq!(ended.status, OperationStatus::Succeeded);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());

    // Killed: dropped with all its tasks. The next one takes the lock, and finds nothing to do.
    drop(control);
    drop(proxy);
    let counts = bench.world.counts();
    let _control = crate::start::start(config.clone(), listener(), driver, shutdown).await.unwrap();
    let mut proxy = Link::open(&config.control_socket, PROTOCOL_VERSION, Generation::default()).await;
    let ToProxy::Table(table) = proxy.hear().await else { panic!("a table") };
    assert_eq!(table.services[0].instances.len(), 2);
    assert_eq!(bench.world.counts(), counts);
}
