//! All instances of this machine: who is wished, which task owns it, and what a starting node finds.

use super::wanted;
use crate::driver::{Hint, Output};
use crate::local::container::alive::{self, Found};
use crate::local::container::launch::Launch;
use crate::local::container::pair::{Pair, Unreleased};
use crate::local::durable;
use crate::local::instance::birth::blocking;
use crate::local::instance::disk::Run;
use crate::local::instance::end::exit_of;
use crate::local::instance::shim;
use crate::local::instance::state::{Adopted, Order};
use crate::local::instance::wanted::{Removing, Wanted, is_plain_id};
use crate::local::instance::{Instance, ORDERS_MAX};
use crate::local::machine::Machine;
use apron_model::ids::{Generation, InstanceId};
use apron_model::instance::{Fault, Health, InstanceSpec, Observed, Phase, Waterfall};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// More instances than this on one machine are refused.
pub(crate) const INSTANCES_MAX: usize = 2_000;

/// Fact of a wish: what may be asked and what is seen.
struct Entry {
    orders: mpsc::Sender<Order>,
    shown: Arc<Mutex<Observed>>,
    /// Which of its starts runs; 0: none.
    run: Arc<AtomicU32>,
}

/// A container that no wish names. It is listed, so that whoever knows better may remove it, and left alone.
struct Stray {
    pair: Option<Pair>,
    observed: Observed,
}

/// The registry. Dropping it ends the tasks and leaves the containers running.
pub(crate) struct Instances {
    machine: Arc<Machine>,
    entries: Mutex<BTreeMap<InstanceId, Entry>>,
    strays: Arc<Mutex<BTreeMap<InstanceId, Stray>>>,
    /// One new instance at a time, so that the same wish twice makes one. Held for a file write, never longer.
    creating: tokio::sync::Mutex<()>,
    /// One stray's removal at a time.
    removing_stray: tokio::sync::Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
    highest: Mutex<Generation>,
}

impl Instances {
    /// Reads the wanted list, finds what lives, and gives each instance its task. Blocking.
    pub(crate) fn adopt(machine: Arc<Machine>) -> Result<Arc<Instances>, Fault> {
        let trouble = |what: &str, error: std::io::Error| Fault::transient(format!("cannot {what}: {error}"));
        let instances_dir = machine.instances_dir();
        std::fs::create_dir_all(&instances_dir).map_err(|e| trouble("make the instances' directory", e))?;
        let (wishes, problems) = machine.wanted.read_all().map_err(|e| trouble("read the wanted list", e))?;
        for problem in &problems {
            tracing::error!(problem, "a wish cannot be read; its instance is left alone");
        }
        let instances = Arc::new(Instances {
            machine,
            entries: Mutex::default(),
            strays: Arc::default(),
            creating: tokio::sync::Mutex::default(),
            removing_stray: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
            highest: Mutex::default(),
        });
        let mut known = BTreeSet::new();
        // Every pair is claimed before the first task may take one from the pool.
        let mut found = Vec::new();
        for wish in wishes {
            known.insert(wish.spec.id.to_string());
            found.push(instances.find(wish));
        }
        for entry in std::fs::read_dir(&instances_dir).map_err(|e| trouble("list the instances", e))? {
            let name = entry.map_err(|e| trouble("list the instances", e))?.file_name();
            if let Some(name) = name.to_str().filter(|name| !known.contains(*name)) {
                instances.find_stray(name, problems.is_empty());
            }
        }
        instances.release_unknown_leases(&known, problems.is_empty());
        let alive: Vec<Ipv4Addr> = found
            .iter()
            .filter(|(_, _, adopted)| matches!(adopted, Adopted::Alive(_)))
            .map(|(wish, _, _)| wish.address)
            .chain(
                instances
                    .strays()
                    .keys()
                    .filter_map(|id| instances.machine.network.leased_address(id.as_str())),
            )
            .collect();
        if problems.is_empty() {
            let swept = instances.machine.network.sweep(&alive);
            swept.map_err(|e| Fault::transient(format!("old interfaces are in the way: {e}")))?;
        }
        // A pair of an instance whose wish cannot be read may be in use.
        if problems.is_empty() {
            match instances.machine.pairs.release_unclaimed() {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "gave back namespaces that nobody uses"),
                Err(error) => tracing::warn!(%error, "namespaces that nobody uses cannot be given back"),
            }
        }
        for (wish, pair, adopted) in found {
            instances.add(wish, pair, adopted, Instant::now());
        }
        Ok(instances)
    }

    /// Makes the instance exist as wished. Returns when the wish is on disk; the error is the reason for no.
    pub(crate) async fn ensure(&self, spec: InstanceSpec) -> Result<(), String> {
        if !is_plain_id(spec.id.as_str()) {
            return Err(format!("'{}' cannot name an instance", spec.id.as_str().escape_default()));
        }
        let began = Instant::now();
        let creating = self.creating.lock().await;
        let known = self.orders_of(&spec.id);
        match known {
            Some(orders) => {
                drop(creating);
                let generation = spec.generation;
                let asked = ask(&orders, |reply| Order::Ensure(Box::new(spec), reply)).await;
                asked.unwrap_or_else(|Gone| Err("the instance was just removed; wish it again".into()))?;
                self.note(generation);
                Ok(())
            }
            None => self.create(spec, began).await,
        }
    }

    /// Ends the instance. Returns when that is on disk, if the disk has room for it. An unknown one is a success.
    pub(crate) async fn remove(&self, id: &InstanceId, removing: Removing) -> Result<(), String> {
        // After a wish that is just being taken.
        let creating = self.creating.lock().await;
        let orders = self.orders_of(id);
        drop(creating);
        match orders {
            Some(orders) => {
                // A task that has ended has nothing left to remove.
                let _ = ask(&orders, |reply| Order::Remove(removing, reply)).await;
                Ok(())
            }
            None => self.remove_stray(id).await,
        }
    }

    /// Until the removal has worked the stray is listed, and its id is taken.
    async fn remove_stray(&self, id: &InstanceId) -> Result<(), String> {
        let _one = self.removing_stray.lock().await;
        if !self.strays().contains_key(id) {
            return Ok(());
        }
        let (machine, strays, removed_id) = (self.machine.clone(), self.strays.clone(), id.clone());
        // Without a wish there is nothing that would finish the removal after a crash: it is finished now.
        let removed = blocking(move || {
            let name = removed_id.as_str();
            let (dir, cgroup) = (machine.instance_dir(name), machine.instance_cgroup(name));
            alive::destroy(&dir, &cgroup).map_err(|e| e.fault())?;
            // A removal that is tried again must not release what is another's by then.
            let pair = lock(&strays).get_mut(&removed_id).and_then(|stray| stray.pair.take());
            if let Some(pair) = pair
                && let Err(Unreleased { pair, error }) = machine.pairs.release(pair)
            {
                if let Some(stray) = lock(&strays).get_mut(&removed_id) {
                    stray.pair = Some(pair);
                }
                return Err(Fault::transient(error.to_string()));
            }
            machine.network.release(name).map_err(|e| Fault::transient(e.to_string()))
        });
        removed.await.map_err(|fault| fault.reason)?;
        self.strays().remove(id);
        self.machine.news.tell(Hint::Instances);
        Ok(())
    }

    /// Everything that is wished, and the strays.
    pub(crate) fn list(&self) -> Vec<Observed> {
        let living = |entry: &&Entry| !entry.orders.is_closed();
        let mut observed: Vec<Observed> =
            self.entries().values().filter(living).map(|entry| lock(&entry.shown).clone()).collect();
        observed.extend(self.strays().values().map(|stray| stray.observed.clone()));
        observed
    }

    /// The start of every instance whose container runs.
    pub(crate) fn running(&self) -> Vec<Run> {
        let entries = self.entries();
        let runs = entries.iter().map(|(id, entry)| (id.clone(), entry.run.load(Ordering::Relaxed)));
        runs.filter(|(_, run)| *run > 0).collect()
    }

    /// Kills the container of this start, for a reason that its exit then tells; the instance is started anew.
    pub(crate) async fn end(&self, id: &InstanceId, run: u32, reason: String) {
        if let Some(orders) = self.orders_of(id) {
            // A task that ends meanwhile needs no order.
            let _ = orders.send(Order::End { run, reason }).await;
        }
    }

    /// Output of an instance from an offset on; of an unknown one there is none.
    pub(crate) async fn output(&self, id: &InstanceId, from: u64) -> Result<Output, String> {
        let known = self.entries().contains_key(id) || self.strays().contains_key(id);
        if !known {
            return Ok(Output { lines: Vec::new(), next: from });
        }
        let dir = self.machine.instance_dir(id.as_str());
        let read =
            blocking(move || shim::read_output(&dir, from).map_err(|e| Fault::transient(e.to_string())));
        read.await.map_err(|fault| fault.reason)
    }

    /// The highest generation among all wishes since the node's start and on its disk.
    pub(crate) fn generation(&self) -> Generation {
        *lock(&self.highest)
    }

    async fn create(&self, spec: InstanceSpec, began: Instant) -> Result<(), String> {
        if self.entries().len() >= INSTANCES_MAX {
            return Err(format!("this machine has {INSTANCES_MAX} instances, which is its limit"));
        }
        if self.strays().contains_key(&spec.id) {
            return Err(format!(
                "a container that no wish of this node names has the id {}; remove it first",
                spec.id
            ));
        }
        let machine = self.machine.clone();
        let kept = blocking(move || {
            let address = machine.network.lease(spec.id.as_str());
            let address = address.map_err(|e| Fault::transient(e.to_string()))?;
            let wish = Wanted::new(spec, address);
            machine
                .wanted
                .put(&wish)
                .map_err(|e| Fault::transient(format!("the wish cannot be kept: {e}")))?;
            Ok(wish)
        });
        let wish = kept.await.map_err(|fault| fault.reason)?;
        self.add(wish, None, Adopted::Nothing, began);
        Ok(())
    }

    fn add(&self, wish: Wanted, pair: Option<Pair>, adopted: Adopted, began: Instant) {
        let id = wish.spec.id.clone();
        self.note(wish.spec.generation);
        let observed = observed(&id, wish.spec.generation, wish.address, wish.spec.port, wish.restarts);
        let shown = Arc::new(Mutex::new(observed));
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let run = Arc::new(AtomicU32::new(0));
        let entry = Entry { orders: orders.clone(), shown: shown.clone(), run: run.clone() };
        self.entries().insert(id, entry);
        let orders = (orders, inbox);
        let instance = Instance::new(self.machine.clone(), wish, pair, (shown, run), orders, began);
        let machine = self.machine.clone();
        lock(&self.tasks).spawn(async move {
            instance.run(adopted).await;
            // Now that its end can be seen.
            machine.news.tell(Hint::Instances);
        });
        self.machine.news.tell(Hint::Instances);
    }

    /// The way to a living task. One that has ended is as good as unknown.
    fn orders_of(&self, id: &InstanceId) -> Option<mpsc::Sender<Order>> {
        self.entries().get(id).map(|entry| entry.orders.clone()).filter(|orders| !orders.is_closed())
    }

    fn note(&self, generation: Generation) {
        let mut highest = lock(&self.highest);
        *highest = (*highest).max(generation);
    }

    fn find(&self, wish: Wanted) -> (Wanted, Option<Pair>, Adopted) {
        let dir = self.machine.instance_dir(wish.spec.id.as_str());
        let found = alive::adopt(&dir);
        let pid = match &found {
            Found::Alive(alive) => Some(alive.pid()),
            Found::Exited(_) | Found::Orphaned(_) | Found::Absent => None,
        };
        let pair = self.claim(&dir, pid);
        let adopted = match found {
            Found::Alive(alive) if pair.is_some() => Adopted::Alive(Box::new(alive)),
            // Its namespaces are lost to us: it is started anew with others.
            Found::Alive(_) | Found::Absent => Adopted::Nothing,
            Found::Exited(state) => Adopted::Exited(exit_of(&dir, Found::Exited(state))),
            Found::Orphaned(state) => {
                tracing::warn!(instance = %wish.spec.id, "its shim is dead; it is started anew");
                Adopted::Exited(exit_of(&dir, Found::Orphaned(state)))
            }
        };
        (wish, pair, adopted)
    }

    /// The namespaces that a launch of this directory used, if they still exist.
    fn claim(&self, dir: &Path, pid: Option<i32>) -> Option<Pair> {
        let launch: Launch = durable::read_json(&dir.join("launch.json")).ok()??;
        match self.machine.pairs.claim(launch.pair.first_id, pid) {
            Ok(pair) => pair,
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "its namespaces cannot be used again");
                None
            }
        }
    }

    /// A directory without a wish: a living container is kept and listed, the remains of a dead one go, unless
    /// some wish could not be read and they may belong to it.
    fn find_stray(&self, name: &str, wishes_complete: bool) {
        let id = InstanceId::new(name);
        if !wanted::is_plain_id(id.as_str()) {
            return;
        }
        let dir = self.machine.instance_dir(name);
        match alive::adopt(&dir) {
            Found::Alive(alive) => {
                tracing::warn!(instance = name, pid = alive.pid(), "a container runs that no wish names");
                let pair = self.claim(&dir, Some(alive.pid()));
                let mut observed = observed(&id, Generation::default(), Ipv4Addr::UNSPECIFIED, 0, 0);
                observed.address = None;
                observed.phase = Phase::Running;
                observed.health = Health::Starting { hint: Some("no wish of this node names it".into()) };
                self.strays().insert(id, Stray { pair, observed });
            }
            Found::Exited(_) | Found::Orphaned(_) | Found::Absent if wishes_complete => {
                if let Err(error) = alive::destroy(&dir, &self.machine.instance_cgroup(name)) {
                    tracing::warn!(instance = name, %error, "the remains of an instance cannot be removed");
                }
            }
            Found::Exited(_) | Found::Orphaned(_) | Found::Absent => {}
        }
    }

    fn release_unknown_leases(&self, known: &BTreeSet<String>, wishes_complete: bool) {
        if !wishes_complete {
            return;
        }
        for id in self.machine.network.leased() {
            let stray = self.strays().contains_key(&InstanceId::new(id.clone()));
            if !known.contains(&id)
                && !stray
                && let Err(error) = self.machine.network.release(&id)
            {
                tracing::warn!(id, %error, "an address without an instance cannot be given back");
            }
        }
    }

    /// Forgets instances that are gone, and waits for the next one. Never ends.
    pub(crate) async fn run(&self) {
        let mut hints = self.machine.news.listen();
        loop {
            // Lagging behind is as good as a hint.
            let _ = hints.recv().await;
            while lock(&self.tasks).try_join_next().is_some() {}
            self.entries().retain(|_, entry| !entry.orders.is_closed());
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, Entry>> {
        lock(&self.entries)
    }

    fn strays(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, Stray>> {
        lock(&self.strays)
    }
}

fn observed(
    id: &InstanceId,
    generation: Generation,
    address: Ipv4Addr,
    port: u16,
    restarts: u32,
) -> Observed {
    Observed {
        id: id.clone(),
        generation,
        address: Some(SocketAddr::from((address, port))),
        phase: Phase::Creating,
        health: Health::Starting { hint: None },
        restarts,
        last_exit: None,
        waterfall: Waterfall::default(),
    }
}

/// The task has ended: the instance's removal is complete.
struct Gone;

/// One order and its answer.
async fn ask<T>(
    orders: &mpsc::Sender<Order>,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> Result<T, Gone> {
    let (reply, answer) = oneshot::channel();
    orders.send(order(reply)).await.map_err(|_| Gone)?;
    answer.await.map_err(|_| Gone)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
