//! Control in pieces that are moved by hand, over a simulated driver, with clocks and chance of its own: what the
//! tests of control as a whole and the simulation stand on. Nothing of the product uses it; it is always compiled, so
//! that they do not need a second build of this crate.
//!
//! A bench has what survives a kill: the database, the logs, the driver's world, the clock. A control is started over
//! it and dropped at any of its steps.

mod gate;

pub use gate::Gate;

use crate::Platform;
use crate::api;
use crate::clock::{Clock, ManualClock};
use crate::config::Names;
use crate::engine::{Engine, Epoch, Hints, Paused};
use crate::publish::{Proxies, Publisher};
use crate::reconcile::builds::{Builds, Work};
use crate::reconcile::housekeeping::Housekeeping;
use crate::reconcile::instances::{Instances, PassError};
use crate::reconcile::meter::Meter;
use crate::reconcile::output::Collector;
use crate::reconcile::routes::{Known, Routes};
use crate::reconcile::scale::Scale;
use crate::reconcile::uses::Reader;
use apron_compute::sim::World;
use apron_images::content::Content;
use apron_images::manifest::{CONFIG_TYPE, Descriptor, host_architecture};
use apron_images::registry::{Registry, RegistryConfig};
use apron_model::ids::{Digest, Generation, OperationId, ServiceId};
use apron_model::operation;
use apron_model::resource::Quotas;
use apron_model::routes::{FromProxy, RouteTable};
use apron_model::time::Timestamp;
use apron_store::{Conflict, ProxyProcess, Store, StoreError};
use apron_telemetry::{Limits, Logs};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Names under which the simulated platform answers.
pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = "123456789012";
pub const DOMAIN: &str = "apron.test";
/// Engine time when a bench begins.
const BEGIN: Timestamp = Timestamp(1_000_000);
/// Turns that the runtime's own tasks are given, so that builds that were called off are gone.
const YIELDS: usize = 8;

/// What survives control.
pub struct Bench {
    directory: PathBuf,
    pub world: World,
    pub clock: Arc<ManualClock>,
    pub gate: Gate,
    parts: OnceCell<(Store, Logs, Content)>,
    dead: Arc<Mutex<BTreeSet<ProxyProcess>>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// In memory where there is such a place.
fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let path = base.join(format!("apron-bench-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a directory for temporary files can be made");
    path
}

const DATABASE: &str = "apron.db";

/// A database without a row. Making its tables takes longer than most that a bench does with it.
static EMPTY: OnceCell<Vec<u8>> = OnceCell::const_new();

async fn empty(directory: &Path) -> Result<Vec<u8>, StoreError> {
    let path = directory.join("empty.db");
    let store = Store::open_for_bench(&path, Gate::default().passage()).await?;
    store.close().await;
    Ok(std::fs::read(&path).expect("a database can be read"))
}

impl Bench {
    /// Everything that is drawn by chance follows from the seed.
    pub fn new(world: World, seed: u128) -> Bench {
        Bench::of(world, Arc::new(ManualClock::seeded(BEGIN, seed)))
    }

    fn of(world: World, clock: Arc<ManualClock>) -> Bench {
        Bench {
            directory: directory(),
            world,
            clock,
            gate: Gate::default(),
            parts: OnceCell::new(),
            dead: Arc::default(),
        }
    }

    /// Removed with the bench.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The same bench again, as it is now. No control may be started on this one any more.
    pub async fn fork(&self) -> Bench {
        if let Some((store, ..)) = self.parts.get() {
            store.close().await;
        }
        let bench = Bench::of(self.world.fork(), Arc::new(self.clock.fork()));
        let database = self.directory.join(DATABASE);
        if database.exists() {
            std::fs::copy(database, bench.directory.join(DATABASE)).expect("a database can be copied");
        }
        bench
    }

    /// Processes live until they are said to be dead.
    pub fn proxy_died(&self, process: &ProxyProcess) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(process.clone());
    }

    async fn parts(&self) -> Result<(Store, Logs, Content), StoreError> {
        let open = async || {
            let database = self.directory.join(DATABASE);
            if !database.exists() {
                let empty = EMPTY.get_or_try_init(|| empty(&self.directory)).await?;
                std::fs::write(&database, empty).expect("a database can be copied");
            }
            let store = Store::open_for_bench(&database, self.gate.passage()).await?;
            let logs =
                Logs::open(&self.directory.join("logs"), Limits::STANDARD).expect("logs can be opened");
            let content = Content::open(self.directory.join("content")).expect("content can be opened");
            Ok((store, logs, content))
        };
        self.parts.get_or_try_init(open).await.cloned()
    }

    /// The database, to look at from outside.
    pub async fn store(&self) -> Result<Store, StoreError> {
        Ok(self.parts().await?.0)
    }

    pub async fn logs(&self) -> Result<Logs, StoreError> {
        Ok(self.parts().await?.1)
    }

    /// An image without layers, imported under this name as by a user: the same text is the same image.
    pub async fn import(&self, name: &str, text: &str) -> Result<Digest, StoreError> {
        let content = self.parts().await?.2;
        let put = |value: serde_json::Value| {
            let bytes = value.to_string();
            let digest = content.put(bytes.as_bytes()).expect("a blob can be written");
            (digest, bytes.len() as u64)
        };
        let (config, size) = put(serde_json::json!({
            "os": "linux",
            "architecture": host_architecture(),
            "config": { "Cmd": [text] },
            "rootfs": { "type": "layers", "diff_ids": [] },
        }));
        let config = Descriptor::new(CONFIG_TYPE, config, size);
        let (image, _) = put(serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [] }));
        content.name_set(name, &image).expect("an image can be named");
        Ok(image)
    }

    /// Starts control, as after a kill. An earlier one must be gone.
    pub async fn start(&self) -> Result<Control, StoreError> {
        let (store, logs, content) = self.parts().await?;
        // A build puts its image there. What it holds is of no consequence here, only that it is there.
        for image in self.world.images() {
            let path = content.blob_path(&image).expect("a digest");
            std::fs::write(path, b"").expect("a file can be written");
        }
        let hints = Hints::default();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let driver = Arc::new(self.world.gated(self.gate.passage()));
        let node = Meter::new(store.clone(), Arc::clone(&driver), Arc::clone(&clock), hints.clone());
        let epoch = Epoch::new(store.epoch_raise(0).await?);
        let proxies = Proxies::new(Arc::clone(&clock), epoch.get(), store.proxy_list().await?);
        let registry = RegistryConfig { plain_http: Vec::new(), mirrors: BTreeMap::new(), credentials: None };
        let dead = Arc::clone(&self.dead);
        let is_alive = move |process: &ProxyProcess| {
            !dead.lock().unwrap_or_else(PoisonError::into_inner).contains(process)
        };
        Ok(Control {
            engine: Engine {
                store: store.clone(),
                clock: Arc::clone(&clock),
                logs: logs.clone(),
                hints: hints.clone(),
                epoch: epoch.clone(),
                instances_max: None,
                paused: Paused::default(),
            },
            builds: Builds::new(Work {
                store: store.clone(),
                driver: Arc::clone(&driver),
                content: content.clone(),
                registry: Registry::new(registry),
                logs: logs.clone(),
                clock: Arc::clone(&clock),
                hints: hints.clone(),
            })
            .one_by_one(),
            instances: Instances::new(
                store.clone(),
                Arc::clone(&driver),
                Arc::clone(&clock),
                hints.clone(),
                epoch.clone(),
            ),
            routes: Routes {
                store: store.clone(),
                clock: Arc::clone(&clock),
                proxies: proxies.clone(),
                hints: hints.clone(),
                epoch: epoch.clone(),
                apps_domain: DOMAIN.to_owned(),
                is_alive: Arc::new(is_alive),
                known: Known::default(),
                scale: Scale::new(None),
                due: Default::default(),
                reader: Reader::new(Arc::clone(&driver)).1,
            },
            collector: Collector::new(store.clone(), Arc::clone(&driver), logs.clone()),
            housekeeping: Housekeeping {
                store: store.clone(),
                driver,
                logs: logs.clone(),
                content: content.clone(),
                clock: Arc::clone(&clock),
            },
            publisher: Publisher { proxies, store: store.clone(), hints: hints.clone(), epoch, proxy_uid: 1 },
            platform: Platform {
                node: Arc::new(node),
                store,
                logs,
                content,
                hints,
                clock,
                names: Names {
                    region: REGION.to_owned(),
                    account: ACCOUNT.to_owned(),
                    apps_domain: DOMAIN.to_owned(),
                    apps_suffix: String::new(),
                    api_endpoint: "http://127.0.0.1:1".to_owned(),
                    apps_endpoint: "http://127.0.0.1:2".to_owned(),
                    version: env!("CARGO_PKG_VERSION"),
                },
                quotas: Quotas::default(),
                runtimes: vec!["PYTHON_311".to_owned()],
                uploads: Default::default(),
            },
            world: self.world.clone(),
            gate: self.gate.clone(),
        })
    }
}

/// A running control. Dropping it is a kill.
pub struct Control {
    pub(crate) engine: Engine,
    pub(crate) builds: Builds<World>,
    pub(crate) instances: Instances<World>,
    pub(crate) routes: Routes,
    pub(crate) collector: Collector<World>,
    housekeeping: Housekeeping<World>,
    pub(crate) publisher: Publisher,
    pub(crate) platform: Platform,
    world: World,
    gate: Gate,
}

/// What of control runs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Engine,
    Builds,
    Instances,
    Routes,
    Output,
    Housekeeping,
}

/// One thing that control does in one go.
#[derive(Clone, Debug)]
pub enum Turn {
    /// One pass of a part; each part has one pass at a time.
    Part(Part),
    Call(Call),
    /// The source of this service has something new, which nobody's call is to deploy.
    Push(ServiceId),
    /// A proxy process connects and says which generation it has taken.
    Greet(ProxyProcess, Generation),
}

/// A call of either API, as a caller with all rights makes it.
#[derive(Clone, Debug)]
pub struct Call {
    pub region: String,
    /// By AWS's names, or by ours of the `Apron` API.
    pub operation: String,
    pub input: serde_json::Value,
}

/// The error that a caller is answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    pub code: String,
    pub message: String,
}

/// What came of a turn.
#[derive(Debug)]
pub enum Done {
    /// When the part wants to look again at the latest, if it knows.
    Part(Part, Result<Option<Timestamp>, PartError>),
    Call(Call, Result<serde_json::Value, CallError>),
    /// The deployment that it began, if the service let it.
    Push(ServiceId, Result<Option<OperationId>, StoreError>),
    /// Whether the proxy is connected now.
    Greet(ProxyProcess, Result<bool, PartError>),
}

#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The part comes again.
    #[error("the driver does not answer")]
    Driver,
}

impl Control {
    /// A future for each turn. Only the first of several passes of one part is made.
    pub fn turns(&mut self, turns: Vec<Turn>) -> Vec<BoxFuture<'_, Done>> {
        let Control { engine, builds, instances, routes, collector, housekeeping, .. } = self;
        let (publisher, platform, world, gate) = (&self.publisher, &self.platform, &self.world, &self.gate);
        let (engine, housekeeping) = (&*engine, &*housekeeping);
        let (mut builds, mut instances, mut collector) = (Some(builds), Some(instances), Some(collector));
        let mut routes = Some(routes);
        let mut futures: Vec<BoxFuture<'_, Done>> = Vec::new();
        for turn in turns {
            match turn {
                Turn::Part(part @ Part::Engine) => futures.push(Box::pin(async move {
                    Done::Part(part, engine.pass().await.map_err(PartError::from))
                })),
                Turn::Part(part @ Part::Builds) => {
                    let Some(builds) = builds.take() else { continue };
                    futures.push(Box::pin(async move {
                        Done::Part(part, pass_builds(builds, world, gate).await.map_err(PartError::from))
                    }));
                }
                Turn::Part(part @ Part::Instances) => {
                    let Some(instances) = instances.take() else { continue };
                    futures.push(Box::pin(async move {
                        let ended = match instances.pass().await {
                            Ok(_) => Ok(None),
                            Err(PassError::Store(error)) => Err(PartError::Store(error)),
                            Err(PassError::Driver(_)) => Err(PartError::Driver),
                        };
                        Done::Part(part, ended)
                    }));
                }
                Turn::Part(part @ Part::Routes) => {
                    let Some(routes) = routes.take() else { continue };
                    futures.push(Box::pin(async move {
                        Done::Part(part, routes.pass().await.map(|_| None).map_err(PartError::from))
                    }));
                }
                Turn::Part(part @ Part::Output) => {
                    let Some(collector) = collector.take() else { continue };
                    futures.push(Box::pin(async move {
                        collector.scan().await;
                        collector.save().await;
                        Done::Part(part, Ok(None))
                    }));
                }
                Turn::Part(part @ Part::Housekeeping) => futures.push(Box::pin(async move {
                    housekeeping.purge().await;
                    Done::Part(part, Ok(None))
                })),
                Turn::Call(call) => futures.push(Box::pin(async move {
                    let answer = api::direct(platform, &call.region, &call.operation, &call.input).await;
                    Done::Call(call, answer)
                })),
                Turn::Push(service) => futures.push(Box::pin(async move {
                    let pushed = push(platform, &service).await;
                    Done::Push(service, pushed)
                })),
                Turn::Greet(process, generation) => futures.push(Box::pin(async move {
                    let greeted = publisher.greet(&process, generation).await;
                    Done::Greet(process, greeted.map(|refusal| refusal.is_none()).map_err(PartError::from))
                })),
            }
        }
        futures
    }

    /// Proxies' ends of their connections.
    pub fn links(&self) -> Links {
        Links(self.publisher.proxies.clone())
    }

    /// One pass of the builds, and the tries that it began as far as they go by themselves.
    #[cfg(test)]
    pub(crate) async fn pass_builds(&mut self) -> Result<Option<Timestamp>, StoreError> {
        pass_builds(&mut self.builds, &self.world, &self.gate).await
    }
}

/// None: the service does not take it as it stands, or does not exist.
async fn push(platform: &Platform, service: &ServiceId) -> Result<Option<OperationId>, StoreError> {
    const PUSH: operation::Call = operation::Call::StartDeployment { automatic: true };
    let mut draw = platform.draw();
    let now = draw.wall;
    let called =
        platform.store.service_call(service, now, |standing| operation::call(standing, &PUSH, &mut draw));
    match called.await {
        Ok(called) => Ok(called.and_then(Result::ok).and_then(|called| called.operation)),
        Err(StoreError::Conflict(Conflict::OperationOpen)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tries are tasks of their own. The one that a pass begins is waited for here, so that nothing else goes on
/// meanwhile.
async fn pass_builds(
    builds: &mut Builds<World>,
    world: &World,
    gate: &Gate,
) -> Result<Option<Timestamp>, StoreError> {
    // Those that were called off are gone before others are counted.
    for _ in 0..YIELDS {
        tokio::task::yield_now().await;
    }
    let wake = builds.pass().await?;
    gate.set_tried(true);
    builds.settle(|| world.hanging(), world.hung()).await;
    gate.set_tried(false);
    Ok(wake)
}

/// How proxies and control speak, without a socket between them.
#[derive(Clone)]
pub struct Links(pub(crate) Proxies);

impl Links {
    /// The newest table, which a proxy that is connected is given.
    pub fn table(&self) -> Option<Arc<RouteTable>> {
        self.0.table()
    }

    pub fn heard(&self, process: &ProxyProcess, message: FromProxy) {
        self.0.heard(process, message);
    }

    pub fn disconnect(&self, process: &ProxyProcess) {
        self.0.disconnect(process);
    }
}
