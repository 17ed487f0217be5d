//! Builds of this machine: each gets namespaces and a network like an instance's, and gives them back.

use super::birth::blocking;
use super::build::{self, BuildContext};
use super::cgroup::Limits;
use super::machine::Machine;
use super::pair::Pair;
use apron_images::runtimes::Catalogue;
use apron_model::build::{BuildEvent, BuildSpec};
use apron_model::instance::Fault;
use apron_model::limits;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// Builds at once; a build uses whole cores, and instances serve beside it.
const BUILDS_MAX: usize = 2;
/// What one build may use: App Runner builds with 2 vCPU and 4 GB.
const BUILD_LIMITS: Limits = Limits { cpu_units: 2048, memory_bytes: 4 << 30, pids: 4096 };
/// Events that wait for a slow reader.
const EVENTS_MAX: usize = 64;
/// A cancelled build ends its containers itself; its namespaces are given back when it has, or after this.
const END_PATIENCE: Duration = Duration::from_secs(30);
const END_POLL: Duration = Duration::from_millis(20);

/// Runs builds; dropping it ends them.
pub(super) struct Builds {
    machine: Arc<Machine>,
    catalogue: Arc<Catalogue>,
    room: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
}

impl Builds {
    pub(super) fn new(machine: Arc<Machine>, catalogue: Catalogue) -> Builds {
        let room = Arc::new(Semaphore::new(BUILDS_MAX));
        Builds { machine, catalogue: Arc::new(catalogue), room, tasks: Mutex::default() }
    }

    /// Runs a build to its end; the last event is `Done` or `Failed`. Dropping the stream cancels it.
    pub(super) fn run(&self, spec: BuildSpec) -> impl Stream<Item = BuildEvent> + Send + use<> {
        let (events_to, events) = mpsc::channel(EVENTS_MAX);
        let (machine, catalogue, room) = (self.machine.clone(), self.catalogue.clone(), self.room.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let last = match run(&machine, &catalogue, &room, spec, &events_to).await {
                Ok(last) => last,
                Err(fault) => Some(BuildEvent::Failed(fault)),
            };
            if let Some(last) = last {
                // Whoever followed it may have gone.
                let _ = events_to.send(last).await;
            }
        });
        unfold(events, async |mut events| Some((events.recv().await?, events)))
    }
}

/// The last event, or none when nobody follows any more.
async fn run(
    machine: &Arc<Machine>,
    catalogue: &Arc<Catalogue>,
    room: &Semaphore,
    spec: BuildSpec,
    events_to: &mpsc::Sender<BuildEvent>,
) -> Result<Option<BuildEvent>, Fault> {
    if room.available_permits() == 0 {
        let _ = events_to.send(BuildEvent::Line("waiting for another build to end".into())).await;
    }
    let _permit = tokio::select! {
        permit = room.acquire() => permit.map_err(|_| Fault::transient("the node is stopping"))?,
        () = events_to.closed() => return Ok(None),
    };
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let lease = format!("build-{}-{}", spec.id, COUNTER.fetch_add(1, Ordering::Relaxed));
    let pair = {
        let pairs = machine.pairs.clone();
        let take =
            move || pairs.take().map_err(|e| Fault::transient(format!("cannot make a namespace: {e}")));
        blocking(take).await?
    };
    let last = match attach(machine, &lease, &pair).await {
        Ok(()) => Ok(follow(machine, catalogue, spec, pair.clone(), events_to).await),
        Err(fault) => Err(fault),
    };
    if let Err(fault) = give_back(machine, lease, pair).await {
        tracing::warn!(reason = fault.reason, "the network of a build was not given back");
    }
    last
}

async fn follow(
    machine: &Arc<Machine>,
    catalogue: &Arc<Catalogue>,
    spec: BuildSpec,
    pair: Pair,
    events_to: &mpsc::Sender<BuildEvent>,
) -> Option<BuildEvent> {
    let context = BuildContext {
        content: machine.content.clone(),
        node_dir: machine.dir.clone(),
        helper: machine.helper.clone(),
        launcher: machine.launcher.clone(),
        catalogue: catalogue.clone(),
        pair,
        resolv_conf: format!("nameserver {}\n", machine.network.gateway()),
        limits: BUILD_LIMITS,
        time_max: Duration::from_millis(limits::BUILD_MS_MAX),
        cgroup_parent: machine.cgroup_parent(),
        shim_cgroup: machine.shim_cgroup(),
    };
    let prefix = format!("{}-", spec.id);
    let mut events = build::run(spec, context);
    let last = loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = events_to.closed() => break None,
        };
        match event {
            Some(last @ (BuildEvent::Done(_) | BuildEvent::Failed(_))) => break Some(last),
            Some(event) => {
                // A reader that has gone is seen in the next round.
                let _ = events_to.send(event).await;
            }
            None => break Some(BuildEvent::Failed(Fault::transient("the build was interrupted"))),
        }
    };
    drop(events);
    let began = Instant::now();
    while last.is_none() && has_directory(machine, &prefix) && began.elapsed() < END_PATIENCE {
        tokio::time::sleep(END_POLL).await;
    }
    last
}

/// Whether a build of this id still cleans up.
fn has_directory(machine: &Machine, prefix: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(machine.dir.join("builds")) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
}

async fn attach(machine: &Arc<Machine>, lease: &str, pair: &Pair) -> Result<(), Fault> {
    let fault = |error| Fault::transient(format!("the build has no network: {error}"));
    let address = {
        let (machine, lease) = (machine.clone(), lease.to_owned());
        blocking(move || machine.network.lease(&lease).map_err(fault)).await?
    };
    machine.network.attach(address, &pair.net()).await.map_err(fault)
}

async fn give_back(machine: &Arc<Machine>, lease: String, pair: Pair) -> Result<(), Fault> {
    let fault = |error: String| Fault::transient(error);
    let address = machine.network.leased_address(&lease);
    if let Some(address) = address {
        machine.network.detach(address).await.map_err(|e| fault(e.to_string()))?;
    }
    let machine = machine.clone();
    blocking(move || {
        machine.pairs.release(&pair).map_err(|e| fault(e.to_string()))?;
        machine.network.release(&lease).map_err(|e| fault(e.to_string()))
    })
    .await
}
