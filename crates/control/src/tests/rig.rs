//! A bench that outlives control, and control in pieces that a test moves by hand.
//!
//! The bench has what survives a kill: the database, the driver's world, the proxy, the clock. The modelled proxy
//! serves the table it took last, also while control is dead; after every round a checker looks whether an
//! instance that it may send requests to has been stopped.

use crate::clock::{Clock, ManualClock, boot_id};
use crate::engine::{Engine, Epoch, Hints};
use crate::publish::Proxies;
use crate::reconcile::builds::{Builds, Work};
use crate::reconcile::instances::Instances;
use crate::reconcile::output::Collector;
use crate::reconcile::routes::Routes;
use apron_compute::driver::Driver;
use apron_compute::sim::{BuildScript, World};
use apron_images::content::Content;
use apron_images::registry::{Registry, RegistryConfig};
use apron_model::build::BuildOutcome;
use apron_model::draw::Draw;
use apron_model::fixture;
use apron_model::ids::{Digest, Generation, OperationId, ServiceId};
use apron_model::instance::Phase;
use apron_model::operation::{Operation, OperationKind};
use apron_model::reconcile::SlotWish;
use apron_model::routes::{FromProxy, RouteTable};
use apron_model::service::*;
use apron_model::time::Timestamp;
use apron_store::{ProxyProcess, Store};
use apron_telemetry::{Cursor, Limits, Logs, Stream};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub(super) const GOOD: &str = "https://git.test/good.git";
pub(super) const BETTER: &str = "https://git.test/better.git";
pub(super) const BAD: &str = "https://git.test/bad.git";
pub(super) const DOMAIN: &str = "apron.test";
/// Rounds after which nothing more is expected to happen by itself.
const ROUNDS_MAX: usize = 400;

/// What survives control.
pub(super) struct Bench {
    directory: PathBuf,
    pub(super) world: World,
    pub(super) clock: Arc<ManualClock>,
    /// The table that the proxy serves.
    pub(super) proxy: Arc<Mutex<Option<Arc<RouteTable>>>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let path = base.join(format!("apron-control-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub(super) fn image(name: &str) -> Digest {
    Digest::new(format!("sha256:{name:0>64}"))
}

pub(super) fn outcome(image: Digest) -> BuildOutcome {
    BuildOutcome {
        image,
        commit: Some("c0ffee".to_owned()),
        start_command: Some("python app.py".to_owned()),
        port: Some(8000),
        ..fixture::outcome()
    }
}

pub(super) fn config(url: &str) -> ServiceConfig {
    let mut config = fixture::code_config(true);
    let Source::Code(code) = &mut config.source else { unreachable!("it is code") };
    code.repository_url = url.to_owned();
    config.scaling.min_size = 2;
    config
}

impl Bench {
    pub(super) fn new() -> Bench {
        let world = World::new();
        world.script(GOOD, BuildScript::Makes(outcome(image("a"))));
        world.script(BETTER, BuildScript::Makes(outcome(image("b"))));
        world.script(BAD, BuildScript::Makes(outcome(image("c"))));
        Bench {
            directory: directory(),
            world,
            clock: Arc::new(ManualClock::new(Timestamp(1_000_000))),
            proxy: Arc::new(Mutex::new(None)),
        }
    }

    /// A data directory as the supervisor makes it.
    pub(super) fn data_dir(&self) -> PathBuf {
        for name in ["control", "logs", "content"] {
            std::fs::create_dir_all(self.directory.join(name)).unwrap();
        }
        self.directory.clone()
    }

    /// The same bench again, as it is now. No control may run on it.
    pub(super) fn fork(&self) -> Bench {
        let directory = directory();
        let database = "apron.db";
        std::fs::copy(self.directory.join(database), directory.join(database)).unwrap();
        Bench {
            directory,
            world: self.world.fork(),
            clock: Arc::new(ManualClock::new(self.clock.now())),
            proxy: Arc::new(Mutex::new(self.proxy.lock().unwrap().clone())),
        }
    }

    /// The test's own process stands for the proxy's: it lives.
    fn process() -> ProxyProcess {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let start_time = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap();
        ProxyProcess { pid: std::process::id(), start_time: start_time.parse().unwrap(), boot: boot_id() }
    }

    /// Starts control, as after a kill.
    pub(super) async fn start(&self) -> Rig {
        let store = Store::open(&self.directory.join("apron.db")).await.unwrap();
        let logs = Logs::open(&self.directory.join("logs"), Limits::STANDARD).unwrap();
        let content = Content::open(self.directory.join("content")).unwrap();
        let registry = Registry::new(RegistryConfig {
            plain_http: Vec::new(),
            mirrors: BTreeMap::new(),
            credentials: None,
        });
        let hints = Hints::default();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let driver = Arc::new(self.world.clone());
        let epoch = Epoch::new(store.epoch_raise(0).await.unwrap());
        let proxies = Proxies::new(Arc::clone(&clock), epoch.get(), store.proxy_list().await.unwrap());
        let process = Self::process();
        store.proxy_put(&process).await.unwrap();
        assert!(proxies.connected(&process));
        Rig {
            engine: Engine {
                store: store.clone(),
                clock: Arc::clone(&clock),
                logs: logs.clone(),
                hints: hints.clone(),
                epoch: epoch.clone(),
            },
            builds: Builds::new(Work {
                store: store.clone(),
                driver: Arc::clone(&driver),
                content,
                registry,
                logs: logs.clone(),
                clock: Arc::clone(&clock),
                hints: hints.clone(),
            }),
            instances: Instances::new(
                store.clone(),
                Arc::clone(&driver),
                Arc::clone(&clock),
                hints.clone(),
                epoch.clone(),
            ),
            routes: Routes {
                store: store.clone(),
                clock,
                proxies: proxies.clone(),
                hints,
                epoch,
                apps_domain: DOMAIN.to_owned(),
            },
            collector: Collector::new(store.clone(), driver, logs.clone()),
            proxies,
            process,
            proxy: Arc::clone(&self.proxy),
            busy: BTreeMap::new(),
            deaf: false,
            world: self.world.clone(),
            clock: Arc::clone(&self.clock),
            store,
            logs,
        }
    }
}

/// A running control.
pub(super) struct Rig {
    pub(super) store: Store,
    pub(super) logs: Logs,
    pub(super) engine: Engine,
    builds: Builds<World>,
    pub(super) instances: Instances<World>,
    pub(super) routes: Routes,
    pub(super) collector: Collector<World>,
    pub(super) proxies: Proxies,
    process: ProxyProcess,
    proxy: Arc<Mutex<Option<Arc<RouteTable>>>>,
    /// Requests that the proxy has in flight.
    pub(super) busy: BTreeMap<apron_model::ids::InstanceId, u32>,
    /// The proxy takes no tables.
    pub(super) deaf: bool,
    world: World,
    clock: Arc<ManualClock>,
}

impl Rig {
    /// Every part has one turn, and the proxy after them.
    pub(super) async fn round(&mut self) {
        self.engine.pass().await.unwrap();
        self.builds.pass().await.unwrap();
        // The world may be told not to answer.
        let _ = self.instances.pass().await;
        self.routes.pass().await.unwrap();
        self.proxy_turn();
        self.check_served().await;
        tokio::task::yield_now().await;
        self.clock.forward(100);
    }

    fn proxy_turn(&self) {
        let mut served = self.proxy.lock().unwrap();
        if let Some(table) = self.proxies.table().filter(|_| !self.deaf) {
            let newer = served.as_ref().is_none_or(|old| old.generation < table.generation);
            assert!(
                newer || served.as_ref().unwrap().generation == table.generation,
                "tables only get newer"
            );
            *served = Some(table);
        }
        let generation = served.as_ref().map_or(Generation::default(), |table| table.generation);
        self.proxies.heard(&self.process, FromProxy::Serving { generation });
        let status =
            FromProxy::Status { generation, in_flight: self.busy.clone(), requests: BTreeMap::new() };
        self.proxies.heard(&self.process, status);
    }

    /// No request is lost: what the proxy's table names exists and is not being stopped.
    async fn check_served(&self) {
        let served = self.proxy.lock().unwrap().clone();
        let Some(table) = served else { return };
        let observed = self.world.fork().list().await.unwrap_or_default();
        if observed.is_empty() {
            return;
        }
        for instance in table.services.iter().flat_map(|service| &service.instances) {
            let seen = observed.iter().find(|one| one.id == instance.id);
            let lost = seen.is_none_or(|one| one.phase == Phase::Stopping);
            assert!(!lost, "the proxy sends requests to {}, which is gone: {seen:?}", instance.id);
        }
    }

    /// Rounds until the operation has ended and nothing drains any more.
    pub(super) async fn settle(&mut self, operation: &OperationId) -> Operation {
        for _ in 0..ROUNDS_MAX {
            self.round().await;
            let row = self.store.operation_get(operation).await.unwrap().unwrap();
            let slots = self.store.slot_list(&row.service).await.unwrap();
            if row.status.is_ended() && slots.iter().all(|slot| slot.wish == SlotWish::Run) {
                self.round().await;
                return row;
            }
        }
        panic!("the operation does not end: {:?}", self.store.operation_view(operation).await);
    }

    /// As the handler of CreateService does it.
    pub(super) async fn create(&self, name: &str, config: ServiceConfig) -> (ServiceId, OperationId) {
        let (service, operation) = service_of(self.draw(), name, config);
        self.store.service_create(&service, &operation).await.unwrap();
        (service.id, operation.id)
    }

    /// As the handlers of the other calls do it.
    pub(super) async fn act(
        &self,
        service: &ServiceId,
        action: Action,
        config: Option<ServiceConfig>,
    ) -> Result<OperationId, Refusal> {
        let mut draw = self.draw();
        let acted = self.store.service_act(service, |service, open| {
            let Admission::Open(kind) = admit(service, action)? else { panic!("nothing to do") };
            if let Some(config) = config {
                service.config = config;
            }
            let operation = Operation::pending(draw.operation_id(), service.id.clone(), kind, draw.wall);
            *open = Some(operation.clone());
            Ok(operation.id)
        });
        acted.await.unwrap().expect("the service exists")
    }

    pub(super) async fn service(&self, id: &ServiceId) -> Service {
        self.store.service_get(id).await.unwrap().unwrap()
    }

    pub(super) fn events(&self, service: &ServiceId) -> Vec<String> {
        self.lines(&Stream::Events(service.clone()))
    }

    pub(super) fn lines(&self, stream: &Stream) -> Vec<String> {
        self.logs.read(stream, Cursor::START, 1000).unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    fn draw(&self) -> Draw {
        crate::engine::draw(self.clock.as_ref(), 0)
    }
}

/// A new service and its first operation, of this moment.
pub(super) fn new_service(name: &str, config: ServiceConfig) -> (Service, Operation) {
    let clock = ManualClock::new(Timestamp(1));
    service_of(crate::engine::draw(&clock, 0), name, config)
}

fn service_of(mut draw: Draw, name: &str, config: ServiceConfig) -> (Service, Operation) {
    let service = Service {
        id: draw.service_id(),
        url_label: draw.url_label(),
        created_at: draw.wall,
        updated_at: draw.wall,
        state: State::Creating,
        ..fixture::service(name, config)
    };
    let operation =
        Operation::pending(draw.operation_id(), service.id.clone(), OperationKind::CreateService, draw.wall);
    (service, operation)
}
