//! Starting control: opens what it owns, runs its tasks, ends them on a signal.

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Names};
use crate::engine::{Engine, Epoch, Hints, Paused};
use crate::publish::{self, Proxies, PublishError, Publisher};
use crate::reconcile::builds::{Builds, Work};
use crate::reconcile::housekeeping::{self, Housekeeping};
use crate::reconcile::instances::{self, Instances};
use crate::reconcile::meter::Meter;
use crate::reconcile::output::{self, Collector};
use crate::reconcile::routes::{Known, Routes};
use crate::reconcile::scale::Scale;
use crate::reconcile::uses::Reader;
use crate::{Platform, api};
use apron_compute::driver::Driver;
use apron_compute::local::client::Client;
use apron_images::content::{Content, ContentError};
use apron_images::registry::{Registry, RegistryConfig};
use apron_model::access::{ROOT_KEY_NAME, Rights};
use apron_store::{AccessKey, Store, StoreError};
use apron_telemetry::{Limits, LogError, Logs};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Control decides and waits; two threads keep a slow request from holding up the engine.
const WORKERS: usize = 2;
/// An earlier control of this data directory is given this long to end.
const LOCK_WAIT: Duration = Duration::from_secs(15);
/// Tasks have this long to end once they were told.
const END_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the logs cannot be opened")]
    Logs(#[from] LogError),
    #[error("the content store cannot be opened")]
    Content(#[from] ContentError),
    #[error("proxies cannot be served")]
    Publish(#[from] PublishError),
    #[error("{0} is held by another control process")]
    Held(PathBuf),
    #[error("{what}")]
    System {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("a task of control ended unexpectedly: {0}")]
    Task(String),
}

/// Runs control until SIGTERM or SIGINT. `ready` is called once requests are served.
pub fn run(config: Config, api: TcpListener, ready: impl FnOnce()) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(system("the runtime cannot be made"))?;
    runtime.block_on(async {
        let driver = Arc::new(Client::new(config.node_socket.clone()));
        let (stop, shutdown) = watch::channel(false);
        let mut control = start(config, api, driver, shutdown).await?;
        let mut terminate = signal(SignalKind::terminate()).map_err(system("signals cannot be received"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("signals cannot be received"))?;
        ready();
        let ended = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            ended = control.tasks.join_next() => Err(ControlError::Task(match ended {
                Some(Err(error)) => error.to_string(),
                Some(Ok(name)) => name.to_owned(),
                None => "all".to_owned(),
            })),
        };
        let _ = stop.send(true);
        let all = async { while control.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WAIT, all).await.is_err() {
            tracing::warn!("tasks did not end in time and are dropped");
            control.tasks.shutdown().await;
        }
        control.store.close().await;
        ended
    })
}

/// Control as it runs. Dropping it ends all of it at once.
pub(crate) struct Control {
    store: Store,
    tasks: JoinSet<&'static str>,
    /// One control per data directory.
    _lock: Flock<File>,
}

pub(crate) async fn start<D: Driver>(
    config: Config,
    api: TcpListener,
    driver: Arc<D>,
    shutdown: watch::Receiver<bool>,
) -> Result<Control, ControlError> {
    let lock = lock(&config.data_dir.join("control")).await?;
    let store = match &config.database {
        None => Store::open(&config.data_dir.join("control/apron.db")).await?,
        Some(database) => Store::connect(database).await?,
    };
    let clock = Arc::new(SystemClock::open(&store).await?);
    let shared_clock: Arc<dyn Clock> = Arc::<SystemClock>::clone(&clock);
    let logs = Logs::open(&config.data_dir.join("logs"), Limits::STANDARD)?;
    let content = Content::open(config.data_dir.join("content"))?;
    let hints = Hints::default();
    let epoch = Epoch::new(store.epoch_raise(0).await?);
    let proxies = Proxies::new(Arc::clone(&shared_clock), epoch.get(), store.proxy_list().await?);
    store
        .access_key_put(&AccessKey {
            id: config.root_key.id.clone(),
            secret: config.root_key.secret.clone(),
            name: ROOT_KEY_NAME.to_owned(),
            rights: Rights::Admin,
            created_at: shared_clock.wall(),
        })
        .await?;
    let meter = Meter::new(store.clone(), Arc::clone(&driver), Arc::clone(&shared_clock), hints.clone());
    let meter = Arc::new(meter);
    let platform = Arc::new(Platform {
        node: Arc::<Meter<D>>::clone(&meter),
        store: store.clone(),
        logs: logs.clone(),
        content: content.clone(),
        hints: hints.clone(),
        clock: Arc::clone(&shared_clock),
        names: Names::new(&config),
        quotas: config.quotas,
        runtimes: config.runtimes.clone(),
        uploads: Default::default(),
    });
    let listener = publish::listen(&config.control_socket)?;
    api.set_nonblocking(true).map_err(system("the API's listener cannot be used"))?;
    let api = tokio::net::TcpListener::from_std(api).map_err(system("the API's listener cannot be used"))?;
    let registry = Registry::new(RegistryConfig {
        plain_http: config.registry.plain_http.clone(),
        mirrors: config.registry.mirrors.clone(),
        credentials: config.registry.credentials.clone(),
    });

    let engine = Engine {
        store: store.clone(),
        clock: Arc::clone(&shared_clock),
        logs: logs.clone(),
        hints: hints.clone(),
        epoch: epoch.clone(),
        instances_max: config.quotas.instances_per_service,
        paused: Paused::default(),
    };
    let builds = Builds::new(Work {
        store: store.clone(),
        driver: Arc::clone(&driver),
        content: content.clone(),
        registry,
        logs: logs.clone(),
        clock: Arc::clone(&shared_clock),
        hints: hints.clone(),
    });
    let instances = Instances::new(
        store.clone(),
        Arc::clone(&driver),
        Arc::clone(&shared_clock),
        hints.clone(),
        epoch.clone(),
    );
    let (reader, handle) = Reader::new(Arc::clone(&driver));
    let routes = Routes {
        store: store.clone(),
        clock: Arc::clone(&shared_clock),
        proxies: proxies.clone(),
        hints: hints.clone(),
        epoch: epoch.clone(),
        apps_domain: config.apps_domain.clone(),
        is_alive: Arc::new(publish::is_alive),
        known: Known::default(),
        scale: Scale::new(config.quotas.instances_per_service),
        due: Default::default(),
        reader: handle,
    };
    let publisher =
        Publisher { proxies, store: store.clone(), hints: hints.clone(), epoch, proxy_uid: config.proxy_uid };
    let collector = Collector::new(store.clone(), Arc::clone(&driver), logs.clone());
    let housekeeping = Housekeeping {
        store: store.clone(),
        driver: Arc::clone(&driver),
        logs,
        content: content.clone(),
        clock: shared_clock,
    };
    let (output_sender, output_receiver) = mpsc::channel(output::HINTS_MAX);

    let mut tasks = JoinSet::new();
    spawn(&mut tasks, "clock", clock.run(store.clone(), shutdown.clone()));
    spawn(&mut tasks, "engine", engine.run(shutdown.clone()));
    spawn(&mut tasks, "builds", builds.run(shutdown.clone()));
    spawn(&mut tasks, "instances", instances.run(shutdown.clone()));
    spawn(&mut tasks, "output", collector.run(hints.clone(), output_receiver, shutdown.clone()));
    spawn(&mut tasks, "driver hints", instances::listen(driver, hints, output_sender, shutdown.clone()));
    spawn(&mut tasks, "routes", routes.run(shutdown.clone()));
    spawn(&mut tasks, "publisher", publisher.run(listener, shutdown.clone()));
    spawn(&mut tasks, "uses", reader.run(shutdown.clone()));
    spawn(&mut tasks, "meter", meter.run(shutdown.clone()));
    spawn(&mut tasks, "housekeeping", housekeeping.run(shutdown.clone()));
    spawn(&mut tasks, "checkpoints", housekeeping::checkpoint(store.clone(), shutdown.clone()));
    spawn(&mut tasks, "API", async move {
        if let Err(error) = api::serve(api, platform, config.throttling, shutdown).await {
            tracing::error!(%error, "the API cannot be served");
        }
    });
    Ok(Control { store, tasks, _lock: lock })
}

fn spawn(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

/// Two controls of one database would fight over the world.
async fn lock(directory: &Path) -> Result<Flock<File>, ControlError> {
    let path = directory.join("lock");
    let mut file = File::create(&path).map_err(system("the lock cannot be made"))?;
    let give_up = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err(_) if tokio::time::Instant::now() >= give_up => return Err(ControlError::Held(path)),
            Err((unlocked, _)) => file = unlocked,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> ControlError {
    move |source| ControlError::System { what, source }
}
