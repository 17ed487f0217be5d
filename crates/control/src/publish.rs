//! Route tables on their way to proxies, and what proxies say of them.
//!
//! Proxies connect to `run/control/control.sock`. Each is known by its process, which the kernel names, and stays known
//! until that process is dead, over restarts of control: an old instance waits for it. `Proxies` is the one place
//! that knows who was given what and who has acknowledged it; reconcilers only ask it.

use crate::clock::{Clock, boot_id};
use crate::engine::{Epoch, Hints};
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::limits;
use apron_model::routes::{FromProxy, Load, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, RouteTable, ToProxy};
use apron_model::time::Timestamp;
use apron_store::{ProxyProcess, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Proxies of one platform: two during a takeover, and a few more while some die.
const PROXIES_MAX: usize = 16;
/// A peer on this machine that does not say hello or take a table for this long hangs.
const PEER_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("{path} cannot be listened on")]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What is known of proxies and tables.
#[derive(Clone)]
pub(crate) struct Proxies {
    state: Arc<Mutex<State>>,
    /// The newest table; None until the first one was made.
    tables: Arc<watch::Sender<Option<Arc<RouteTable>>>>,
    clock: Arc<dyn Clock>,
    /// Somebody waits for counts, so a status is worth a look.
    draining: Arc<AtomicBool>,
}

struct State {
    first: Generation,
    known: BTreeMap<ProxyProcess, Proxy>,
    /// The last table that named an instance which the newest one does not name.
    last_named: BTreeMap<InstanceId, Generation>,
    /// Services of which proxies have told something that nobody has looked at.
    load_news: BTreeSet<ServiceId>,
}

#[derive(Clone, Debug, Default)]
struct Proxy {
    /// Connections that it has open: one, or none.
    connections: u32,
    heard_at: Timestamp,
    /// The latest that it has acknowledged; none yet is the oldest there is.
    serving: Generation,
    /// Counts of the latest status, and the generation it was made under.
    counted: Generation,
    in_flight: BTreeMap<InstanceId, u32>,
    load: BTreeMap<ServiceId, Told>,
}

/// What a proxy has told of the load of a service.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// The latest.
    load: Load,
    /// That was on the connection which it has now.
    is_of_now: bool,
    /// What its counts have grown by while it was connected. Nobody knows when other requests came: taken for those of one
    /// moment, what a proxy served in all its life would be a burst.
    arrived: u64,
    answered: u64,
}

/// May an instance that gets no new requests stop?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    Yes,
    /// Some proxy may still send a request there.
    NotAcknowledged,
    /// Requests are being answered.
    Busy,
}

impl Proxies {
    /// `known` are the processes that an earlier control gave tables to.
    pub(crate) fn new(clock: Arc<dyn Clock>, epoch: u64, known: Vec<ProxyProcess>) -> Proxies {
        let now = clock.now();
        let proxy = Proxy { heard_at: now, ..Proxy::default() };
        let state = State {
            first: Generation { epoch, counter: 0 },
            known: known.into_iter().map(|process| (process, proxy.clone())).collect(),
            last_named: BTreeMap::new(),
            load_news: BTreeSet::new(),
        };
        let (tables, _) = watch::channel(None);
        let draining = Arc::new(AtomicBool::new(false));
        Proxies { state: Arc::new(Mutex::new(state)), tables: Arc::new(tables), clock, draining }
    }

    pub(crate) fn table(&self) -> Option<Arc<RouteTable>> {
        self.tables.borrow().clone()
    }

    /// Makes `table` the newest one.
    pub(crate) fn publish(&self, table: RouteTable) {
        let mut state = self.state();
        let names = |table: &RouteTable| -> Vec<InstanceId> {
            table.services.iter().flat_map(|one| one.instances.iter().map(|one| one.id.clone())).collect()
        };
        if let Some(old) = self.table() {
            state.last_named.extend(names(&old).into_iter().map(|id| (id, old.generation)));
        }
        for id in names(&table) {
            state.last_named.remove(&id);
        }
        // While the lock is held: whoever asks about the new table finds its names.
        self.tables.send_replace(Some(Arc::new(table)));
    }

    /// Does every live proxy serve this generation? A proxy lives while it renews its lease. Without any, nobody
    /// answers: the next one may begin with the table that the last one saved.
    pub(crate) fn all_serve(&self, generation: Generation) -> bool {
        let now = self.clock.now();
        let state = self.state();
        let mut live = state.known.values().filter(|proxy| proxy.lives(now)).peekable();
        live.peek().is_some() && live.all(|proxy| proxy.serving >= generation)
    }

    /// May this instance, which is to drain, stop now? `over`: its time to drain is over, so requests in flight
    /// no longer count.
    pub(crate) fn drained(&self, id: &InstanceId, over: bool) -> Drained {
        let Some(table) = self.table() else { return Drained::NotAcknowledged };
        if table.services.iter().any(|one| one.instances.iter().any(|one| one.id == *id)) {
            return Drained::NotAcknowledged;
        }
        let now = self.clock.now();
        let state = self.state();
        let named = state.last_named.get(id).copied().unwrap_or(state.first);
        let mut busy = false;
        for proxy in state.known.values() {
            if proxy.is_silent(now) {
                continue;
            }
            if proxy.serving <= named {
                return Drained::NotAcknowledged;
            }
            busy |= proxy.counted <= named || proxy.in_flight.get(id).is_some_and(|count| *count > 0);
        }
        if busy && !over {
            return Drained::Busy;
        }
        let replaced = state.known.values().any(|proxy| proxy.lives(now) && proxy.serving > named);
        // Without a living proxy the next one may begin with a saved table that still names this instance.
        if replaced || over { Drained::Yes } else { Drained::NotAcknowledged }
    }

    /// Whether instances wait to be drained, for which every status is looked at.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Release);
    }

    /// Forgets what was known of instances that are gone.
    pub(crate) fn retain_instances(&self, present: impl Fn(&InstanceId) -> bool) {
        self.state().last_named.retain(|id, _| present(id));
    }

    /// Processes that are not connected, to be looked at whether they live.
    pub(crate) fn disconnected(&self) -> Vec<ProxyProcess> {
        let state = self.state();
        state
            .known
            .iter()
            .filter(|(_, proxy)| proxy.connections == 0)
            .map(|(process, _)| process.clone())
            .collect()
    }

    pub(crate) fn forget(&self, process: &ProxyProcess) {
        self.state().known.remove(process);
    }

    /// A proxy said hello. False: there are too many.
    pub(crate) fn connected(&self, process: &ProxyProcess) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        if !state.known.contains_key(process) && state.known.len() >= PROXIES_MAX {
            return false;
        }
        let proxy = state.known.entry(process.clone()).or_default();
        proxy.connections += 1;
        proxy.heard_at = now;
        proxy.load.values_mut().for_each(|told| told.is_of_now = false);
        true
    }

    pub(crate) fn disconnect(&self, process: &ProxyProcess) {
        if let Some(proxy) = self.state().known.get_mut(process) {
            proxy.connections = proxy.connections.saturating_sub(1);
        }
    }

    pub(crate) fn heard(&self, process: &ProxyProcess, message: FromProxy) {
        let now = self.clock.now();
        let mut state = self.state();
        let State { known, load_news, .. } = &mut *state;
        let Some(proxy) = known.get_mut(process) else { return };
        proxy.heard_at = now;
        match message {
            // What it has taken is not yet what its loops serve.
            FromProxy::Hello { .. } => {}
            FromProxy::Serving { generation } => proxy.serving = generation,
            FromProxy::Status { generation, in_flight } => {
                proxy.counted = generation;
                proxy.in_flight = in_flight;
            }
            FromProxy::Load(news) => {
                load_news.extend(news.keys().cloned());
                news.into_iter().for_each(|(id, load)| proxy.load.entry(id).or_default().hear(load));
            }
        }
    }

    /// The services of which something was told since this was asked last.
    pub(crate) fn load_news(&self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.state().load_news)
    }

    /// Whether there is a proxy that renews its lease.
    pub(crate) fn any_lives(&self) -> bool {
        let now = self.clock.now();
        self.state().known.values().any(|proxy| proxy.lives(now))
    }

    /// What all proxies together see of a service, and what they counted while they told of it. Of one that has been silent
    /// for long only that is known. Less than before where one of them has gone.
    pub(crate) fn load(&self, service: &ServiceId) -> Load {
        let now = self.clock.now();
        let state = self.state();
        let mut sum = Load::default();
        for proxy in state.known.values() {
            let Some(Told { load, arrived, answered, .. }) = proxy.load.get(service) else { continue };
            sum.arrived = sum.arrived.saturating_add(*arrived);
            sum.answered = sum.answered.saturating_add(*answered);
            if !proxy.is_silent(now) {
                sum.in_flight = sum.in_flight.saturating_add(load.in_flight);
                sum.waiting = sum.waiting.saturating_add(load.waiting);
                // They all see the same instances.
                sum.asleep = sum.asleep.max(load.asleep);
            }
        }
        sum
    }

    /// Forgets the load of services that are gone.
    pub(crate) fn retain_services(&self, present: impl Fn(&ServiceId) -> bool) {
        let mut state = self.state();
        state.load_news.retain(|id| present(id));
        state.known.values_mut().for_each(|proxy| proxy.load.retain(|id, _| present(id)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    fn lives(&self, now: Timestamp) -> bool {
        self.connections > 0 && (now - self.heard_at) < lease()
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        (now - self.heard_at).as_millis() as u64 > limits::PROXY_SILENT_MS_MAX
    }
}

impl Told {
    fn hear(&mut self, load: Load) {
        if self.is_of_now {
            let Load { arrived, answered, .. } = self.load;
            self.arrived = self.arrived.saturating_add(load.arrived.saturating_sub(arrived));
            self.answered = self.answered.saturating_add(load.answered.saturating_sub(answered));
        }
        (self.load, self.is_of_now) = (load, true);
    }
}

fn lease() -> Duration {
    Duration::from_millis(limits::PROXY_LEASE_MS)
}

/// Is this process of this boot still there? Its pid alone may be another's by now.
pub(crate) fn is_alive(process: &ProxyProcess) -> bool {
    process.boot == boot_id() && start_time(process.pid) == Some(process.start_time)
}

/// The 22nd field of /proc/PID/stat; the second, a name in parentheses, may hold anything. A zombie is dead.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The end of `run/control/control.sock` that proxies connect to.
pub(crate) struct Publisher {
    pub(crate) proxies: Proxies,
    pub(crate) store: Store,
    pub(crate) hints: Hints,
    pub(crate) epoch: Epoch,
    pub(crate) proxy_uid: u32,
}

/// Listens beside the path and renames into place, so that a proxy finds a socket at any instant.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, PublishError> {
    let failed = |source| PublishError::Listen { path: path.to_owned(), source };
    let new = path.with_extension(format!("{}.new", std::process::id()));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    // Anyone may connect; the kernel's word on who it is decides.
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&new, everyone).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    Ok(listener)
}

impl Publisher {
    pub(crate) async fn run(self, listener: UnixListener, mut shutdown: watch::Receiver<bool>) {
        let publisher = Arc::new(self);
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if sessions.len() < PROXIES_MAX => match accepted {
                    Ok((stream, _)) => {
                        sessions.spawn(Arc::clone(&publisher).session(stream));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a proxy's connection cannot be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = sessions.join_next() => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// One connection, until it breaks.
    async fn session(self: Arc<Self>, stream: UnixStream) {
        let process = match self.peer(&stream) {
            Ok(process) => process,
            Err(reason) => {
                tracing::warn!(reason, "a connection for route tables is refused");
                return;
            }
        };
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read);
        let mut line = Vec::new();
        let hello = match tokio::time::timeout(PEER_WAIT, read_line(&mut lines, &mut line)).await {
            Ok(Ok(Some(message))) => message,
            _ => return,
        };
        line.clear();
        let takes_changes_from = match hello {
            FromProxy::Hello { changes: true, generation, .. } => Some(generation),
            _ => None,
        };
        let refusal = match hello {
            FromProxy::Hello { version, .. }
                if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION).contains(&version) =>
            {
                Some(format!("the proxy speaks version {version} and control version {PROTOCOL_VERSION}"))
            }
            FromProxy::Hello { generation, .. } => match self.greet(&process, generation).await {
                Ok(refusal) => refusal,
                Err(error) => {
                    tracing::error!(error = %crate::chain(&error), "a proxy cannot be recorded");
                    return;
                }
            },
            FromProxy::Serving { .. } | FromProxy::Status { .. } | FromProxy::Load(_) => {
                Some("a proxy says hello first".to_owned())
            }
        };
        if let Some(reason) = refusal {
            tracing::warn!(pid = process.pid, reason, "a proxy is refused");
            // It goes away in any case; whether it heard why is of no consequence.
            let _ = send(&mut write, &ToProxy::Refused { reason }).await;
            return;
        }
        let _connection = Connection { publisher: &self, process: &process };
        self.hints.routes();
        self.speak(&process, takes_changes_from, &mut lines, &mut line, &mut write).await;
    }

    /// A proxy that has taken tables up to this generation said hello. Why it is refused, if it is; otherwise it is
    /// connected from here on.
    pub(crate) async fn greet(
        &self,
        process: &ProxyProcess,
        generation: Generation,
    ) -> Result<Option<String>, StoreError> {
        // The row comes before the first table, so that no control forgets whom it gave one.
        let known = async {
            self.epoch.raise_above(generation.epoch, &self.store).await?;
            self.store.proxy_put(process).await
        };
        match known.await {
            Ok(()) if self.proxies.connected(process) => Ok(None),
            Ok(()) => Ok(Some("too many proxies are connected".to_owned())),
            Err(error @ StoreError::EpochTooFar { .. }) => {
                Ok(Some(format!("the proxy's table cannot be from this platform: {error}")))
            }
            Err(error) => Err(error),
        }
    }

    /// `takes_changes_from`: of a proxy that takes them, what it has. It takes newer tables only, and has no base before.
    async fn speak(
        &self,
        process: &ProxyProcess,
        takes_changes_from: Option<Generation>,
        lines: &mut (impl AsyncBufReadExt + Unpin),
        line: &mut Vec<u8>,
        write: &mut (impl AsyncWriteExt + Unpin),
    ) {
        let mut tables = self.proxies.tables.subscribe();
        tables.mark_changed();
        // The last one that went to this proxy, where a change can begin at it.
        let mut given: Option<Arc<RouteTable>> = None;
        loop {
            tokio::select! {
                // Reading goes on in `line` when a table interrupts it.
                heard = read_line(lines, line) => match heard {
                    Ok(Some(message)) => {
                        line.clear();
                        let is_load = matches!(message, FromProxy::Load(_));
                        let news = matches!(message, FromProxy::Hello { .. } | FromProxy::Serving { .. });
                        self.proxies.heard(process, message);
                        if is_load {
                            self.hints.load();
                        } else if news || self.proxies.draining.load(Ordering::Acquire) {
                            self.hints.routes();
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(pid = process.pid, %error, "a proxy's connection broke");
                        return;
                    }
                },
                changed = tables.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let Some(table) = tables.borrow_and_update().clone() else { continue };
                    let message = message(&table, given.as_deref());
                    // One of the generation that the proxy has may be another than it has: that of a control whose rows were
                    // restored. It does not take it, and gets the next one whole.
                    let is_base = takes_changes_from.is_some_and(|known| table.generation > known);
                    given = is_base.then_some(table);
                    if let Err(error) = send(write, &message).await {
                        tracing::warn!(pid = process.pid, %error, "a proxy took no table");
                        return;
                    }
                }
            }
        }
    }

    /// Who is it? The kernel says, not the peer.
    fn peer(&self, stream: &UnixStream) -> Result<ProxyProcess, String> {
        let credentials = stream.peer_cred().map_err(|error| error.to_string())?;
        let own = nix::unistd::getuid().as_raw();
        if ![0, own, self.proxy_uid].contains(&credentials.uid()) {
            return Err(format!("user {} is not the proxy's", credentials.uid()));
        }
        let pid =
            credentials.pid().and_then(|pid| u32::try_from(pid).ok()).ok_or("the peer has no process")?;
        let start_time = start_time(pid).ok_or("the peer has ended")?;
        Ok(ProxyProcess { pid, start_time, boot: boot_id() })
    }
}

/// A table for a proxy that has `before`, if that is known: whole where most of it is new.
fn message(table: &Arc<RouteTable>, before: Option<&RouteTable>) -> ToProxy {
    let change = before.map(|before| table.since(before));
    match change.filter(|change| change.services.len() + change.gone.len() <= table.services.len() / 2) {
        Some(change) => ToProxy::Change(change),
        None => ToProxy::Table((**table).clone()),
    }
}

/// Counts the connection out, whatever ends it.
struct Connection<'a> {
    publisher: &'a Publisher,
    process: &'a ProxyProcess,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.publisher.proxies.disconnect(self.process);
        self.publisher.hints.routes();
    }
}

/// The next message; None when the peer has closed. Cancelling it loses nothing: what was read is in `line`.
async fn read_line(
    lines: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<Option<FromProxy>> {
    let room = (limits::MESSAGE_BYTES_MAX + 1).saturating_sub(line.len()) as u64;
    lines.take(room).read_until(b'\n', line).await?;
    match line.last() {
        Some(b'\n') => serde_json::from_slice(line).map(Some).map_err(io::Error::from),
        _ if line.len() > limits::MESSAGE_BYTES_MAX => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"))
        }
        _ => Ok(None),
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), message: &ToProxy) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    match tokio::time::timeout(PEER_WAIT, write.write_all(&line)).await {
        Ok(written) => written,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
