//! Builds of this machine: each gets namespaces and a network like an instance's, and gives them back.

use crate::local::build::{self, BuildContext, Caches};
use crate::local::container::cgroup::Limits;
use crate::local::container::pair::Pair;
use crate::local::instance::birth::{self, blocking};
use crate::local::instance::wanted::is_plain_id;
use crate::local::machine::Machine;
use apron_images::runtimes::Catalogue;
use apron_model::build::{BuildEvent, BuildSpec};
use apron_model::ids::ServiceId;
use apron_model::instance::Fault;
use apron_model::limits;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use std::collections::BTreeMap;
use std::path::PathBuf;
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
/// How often a build that waits for memory looks again.
const MEMORY_POLL: Duration = Duration::from_secs(1);

/// What the operator says of builds.
pub(crate) struct BuildSettings {
    pub catalogue: Catalogue,
    /// See `BuildContext`.
    pub source_roots: Vec<PathBuf>,
    pub environment: BTreeMap<String, String>,
}

/// Runs builds; dropping it ends them.
pub(crate) struct Builds {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// What all builds share.
struct Shared {
    machine: Arc<Machine>,
    catalogue: Arc<Catalogue>,
    source_roots: Vec<PathBuf>,
    environment: BTreeMap<String, String>,
    caches: Arc<Caches>,
    room: Semaphore,
}

impl Builds {
    pub(crate) fn new(machine: Arc<Machine>, settings: BuildSettings) -> Builds {
        let shared = Shared {
            catalogue: Arc::new(settings.catalogue),
            source_roots: settings.source_roots,
            environment: settings.environment,
            caches: Caches::new(&machine.dir),
            room: Semaphore::new(BUILDS_MAX),
            machine,
        };
        Builds { shared: Arc::new(shared), tasks: Mutex::default() }
    }

    /// Removes what is kept between the builds of a service.
    pub(crate) async fn forget_service(&self, id: ServiceId) -> Result<(), String> {
        if !is_plain_id(id.as_str()) {
            return Err(format!("{:?} is not the id of a service", id.as_str()));
        }
        let caches = self.shared.caches.clone();
        let forgotten = blocking(move || {
            caches.forget(&id).map_err(|e| Fault::transient(format!("its caches cannot be removed: {e}")))
        });
        forgotten.await.map_err(|fault| fault.reason)
    }

    /// Runs a build to its end; the last event is `Done` or `Failed`. Dropping the stream cancels it.
    pub(crate) fn run(&self, spec: BuildSpec) -> impl Stream<Item = BuildEvent> + Send + use<> {
        let (events_to, events) = mpsc::channel(EVENTS_MAX);
        let shared = self.shared.clone();
        let mut tasks = self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let last = match run(&shared, spec, &events_to).await {
                Ok(last) => last,
                Err(fault) => Some(BuildEvent::Failed { fault, built_ms: None }),
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
    shared: &Shared,
    spec: BuildSpec,
    events_to: &mpsc::Sender<BuildEvent>,
) -> Result<Option<BuildEvent>, Fault> {
    let (machine, room) = (&shared.machine, &shared.room);
    // It names a directory that root makes and removes.
    if !is_plain_id(spec.service.as_str()) {
        return Err(Fault::permanent(format!("{:?} is not the id of a service", spec.service.as_str())));
    }
    if room.available_permits() == 0 {
        let _ = events_to.send(BuildEvent::Line("waiting for another build to end".into())).await;
    }
    let _permit = tokio::select! {
        permit = room.acquire() => permit.map_err(|_| Fault::transient("the node is stopping"))?,
        () = events_to.closed() => return Ok(None),
    };
    tokio::select! {
        enough = wait_for_memory(machine.free_memory_min_mib, events_to) => enough?,
        () = events_to.closed() => return Ok(None),
    }
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let lease = format!("build-{}-{}", spec.id, COUNTER.fetch_add(1, Ordering::Relaxed));
    let pair = {
        let pairs = machine.pairs.clone();
        let take =
            move || pairs.take().map_err(|e| Fault::transient(format!("cannot make a namespace: {e}")));
        blocking(take).await?
    };
    let last = match attach(machine, &lease, &pair).await {
        Ok(()) => Ok(follow(shared, spec, pair.clone(), events_to).await),
        Err(fault) => Err(fault),
    };
    if let Err(fault) = give_back(machine, lease, pair).await {
        tracing::warn!(reason = fault.reason, "the network of a build was not given back");
    }
    last
}

/// Returns when this machine has the memory that a build is expected to need; after a while that it has not is
/// the reason why there is no build.
async fn wait_for_memory(free_min_mib: u64, events_to: &mpsc::Sender<BuildEvent>) -> Result<(), Fault> {
    let began = tokio::time::Instant::now();
    let mut said = false;
    loop {
        let Some(reason) = memory_missing(birth::memory_available_mib(), free_min_mib) else { return Ok(()) };
        if began.elapsed() > Duration::from_millis(limits::BUILD_MEMORY_WAIT_MS_MAX) {
            return Err(Fault::transient(reason));
        }
        if !std::mem::replace(&mut said, true) {
            let _ = events_to.send(BuildEvent::Line(format!("waiting: {reason}"))).await;
        }
        tokio::time::sleep(MEMORY_POLL).await;
    }
}

fn memory_missing(available_mib: Option<u64>, free_min_mib: u64) -> Option<String> {
    let needed = limits::BUILD_MEMORY_MIB;
    let available = available_mib.filter(|available| *available < free_min_mib + needed)?;
    Some(format!(
        "not enough memory for a build: {available} MiB are available, a build needs about {needed} MiB and \
         {free_min_mib} MiB must stay free"
    ))
}

async fn follow(
    shared: &Shared,
    spec: BuildSpec,
    pair: Pair,
    events_to: &mpsc::Sender<BuildEvent>,
) -> Option<BuildEvent> {
    let machine = &shared.machine;
    let context = BuildContext {
        content: machine.content.clone(),
        node_dir: machine.dir.clone(),
        helper: machine.helper.clone(),
        launcher: machine.launcher.clone(),
        catalogue: shared.catalogue.clone(),
        caches: shared.caches.clone(),
        source_roots: shared.source_roots.clone(),
        environment: shared.environment.clone(),
        pair,
        resolv_conf: format!("nameserver {}\n", machine.network.gateway()),
        limits: BUILD_LIMITS,
        bytes_max: limits::BUILD_WRITTEN_BYTES_MAX,
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
            Some(last @ (BuildEvent::Done { .. } | BuildEvent::Failed { .. })) => break Some(last),
            Some(event) => {
                // A reader that has gone is seen in the next round.
                let _ = events_to.send(event).await;
            }
            None => {
                let fault = Fault::transient("the build was interrupted");
                break Some(BuildEvent::Failed { fault, built_ms: None });
            }
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
        machine.pairs.release(pair).map_err(|unreleased| fault(unreleased.error.to_string()))?;
        machine.network.release(&lease).map_err(|e| fault(e.to_string()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_leaves_memory_free() {
        let needed = limits::BUILD_MEMORY_MIB;
        assert_eq!(memory_missing(Some(128 + needed), 128), None);
        assert_eq!(memory_missing(None, 128), None);
        let reason = memory_missing(Some(200), 128).unwrap();
        assert!(
            reason.contains("200 MiB are available, a build needs about 256 MiB and 128 MiB"),
            "{reason}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_waits_for_memory_and_then_says_why() {
        let (events_to, mut events) = mpsc::channel(4);
        // More than there is.
        let fault = wait_for_memory(u64::MAX / 2, &events_to).await.unwrap_err();
        assert!(!fault.permanent && fault.reason.starts_with("not enough memory for a build: "), "{fault:?}");
        let Some(BuildEvent::Line(line)) = events.recv().await else { panic!("a line") };
        assert!(line.starts_with("waiting: not enough memory"), "{line}");
        assert!(events.try_recv().is_err(), "said once");
    }
}
