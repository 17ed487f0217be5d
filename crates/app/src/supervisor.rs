//! `apron serve`: binds the listeners, starts control, node and proxy, restarts what dies, stops in order.
//!
//! The supervisor owns the listening sockets, the data directory's lock and the records of its children, and
//! does no other work: what it does not do cannot kill it. Its children serve on when it is gone; the next one
//! finds them by their records and takes over. Control and node each have one owner of what they keep (the
//! database, the wanted list), so the old ones end before the new ones start; nothing that serves notices. The
//! old proxy goes when the new one accepts from the same sockets. A new program takes the supervisor's own place in
//! the same way, without an end in between (`replace`).

mod apps;
mod configs;
pub(crate) mod database;
pub(crate) mod directory;
mod keep;
mod preflight;
mod process;
mod record;
mod replace;
#[cfg(test)]
pub(crate) mod scratch;
mod spawn;

use crate::config::Settings;
use crate::credentials::{self, AccessKey};
use crate::listeners::{self, Listeners};
use crate::log::say;
use anyhow::{Context, Result, bail};
use apron_compute::local::{protect, purge};
use apron_control::backup::{self, Place};
use directory::Directory;
use keep::{Plan, Report, Stop};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use record::{Former, Survivor};
use replace::Program;
pub(crate) use replace::hold_signals;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// All children answer within a second or two; a node that adopts hundreds of instances on a busy disk may need
/// a while.
const START_MAX: Duration = Duration::from_secs(60);
/// A child that ended this often before the platform was ready will do so again.
const FAILED_STARTS_MAX: u32 = 3;
/// Control and node of an earlier run get this long before they are killed; nothing of theirs is lost by it.
const OLD_CHILD_GRACE: Duration = Duration::from_secs(10);
/// Open files of a child: connections of clients and to instances, twice 100,000 and some.
const OPEN_FILES: u64 = 262_144;
/// A signal that was taken has been told to whoever waits for it after this time.
const HEARD: Duration = Duration::from_millis(2);
/// Reports that wait for the supervisor; each child makes one at a time.
const REPORTS_MAX: usize = 16;

/// One of the three processes that the supervisor keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Control,
    Node,
    Proxy,
}

impl Role {
    pub(crate) const ALL: [Role; 3] = [Role::Control, Role::Node, Role::Proxy];

    /// Its subcommand, and the name of its record.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Control => "control",
            Role::Node => "node",
            Role::Proxy => "proxy",
        }
    }
}

/// Everything bound, as it is announced and told to the children.
pub(crate) struct Addresses {
    pub(crate) api: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) https: Option<SocketAddr>,
}

/// Runs the platform until SIGTERM or SIGINT.
pub(crate) async fn run(settings: Settings) -> Result<()> {
    let kept = replace::kept();
    // Before another file can have its name.
    let program = Program::of_this_process()?;
    preflight::machine()?;
    let directory = directory::prepare(&settings.data_dir, settings.control_uid, settings.proxy_uid)?;
    preflight::overlay(&directory.path.join("node"))?;
    database::check(&directory.path, settings.database.as_ref())?;
    backup::check_restored(&Place { data_dir: directory.path.clone(), database: settings.database.clone() })?;
    let key = credentials::read_or_make(&directory.path)?;
    raise_open_files();
    // Signals are taken from here on, so that an early one still stops in order.
    let (stop, stopped) = watch::channel(Stop::No);
    let signals = tokio::spawn(forward_signals(stop.clone())?);
    let requests = replace::requests(program.clone())?;
    replace::let_signals_in();
    protect::protect_self(&directory.id)
        .unwrap_or_else(|error| say(&format!("the platform's own processes are not protected: {error}")));
    let successor = Successor { program, requests };
    let ended = supervise(&settings, &directory, &key, kept, successor, stop, stopped).await;
    signals.abort();
    let id = directory.id.clone();
    // An error means that processes of ours serve on: the cgroup is theirs.
    let _ = tokio::task::spawn_blocking(move || protect::unprotect_self(&id)).await?;
    ended
}

/// What may take the place of this program.
struct Successor {
    program: Program,
    /// Gives the version of a program that is to do so and runs.
    requests: mpsc::Receiver<String>,
}

/// From the listeners to the end of the children.
async fn supervise(
    settings: &Settings,
    directory: &Directory,
    key: &AccessKey,
    kept: BTreeMap<String, Listeners>,
    mut successor: Successor,
    stop: watch::Sender<Stop>,
    stopped: watch::Receiver<Stop>,
) -> Result<()> {
    let run = directory.path.join("run");
    let [old_control, old_node, old_proxy] =
        [Role::Control, Role::Node, Role::Proxy].map(|r| record::survivor(&run, r));
    let draining = record::former(&run);
    replace::reap();
    let bound = bind(settings, &kept, old_control.as_ref(), old_proxy.as_ref())?;
    // Others than those of these addresses are nobody's any more.
    drop(kept);
    let addresses = bound.addresses();
    let counts = counts(old_proxy.as_ref());
    let handovers = configs::handovers(settings, &directory.path, key, &addresses)?;
    let mut leaving = stopped.clone();
    for old in [old_control, old_node].into_iter().flatten() {
        say(&format!("taking over from pid {}", old.process.pid));
        keep::end(&old.process, OLD_CHILD_GRACE, &mut leaving).await;
    }

    let (reports, mut inbox) = mpsc::channel(REPORTS_MAX);
    let mut keepers = JoinSet::new();
    let grace = |role| keep::grace(role, Duration::from_secs(settings.drain_s.into()));
    let former: Vec<Former> =
        draining.iter().chain(old_proxy.as_ref().map(|old| &old.process)).map(Former::of).collect();
    let (stop_others, others_stopped) = watch::channel(Stop::No);
    for (role, handover) in Role::ALL.into_iter().zip(handovers) {
        let plan = Plan {
            role,
            handover,
            listeners: bound.of(role),
            counts: counts.clone().filter(|_| role != Role::Control),
            former: if role == Role::Proxy { former.clone() } else { Vec::new() },
            run: run.clone(),
            grace: grace(role),
        };
        // Control and node stay while the proxy drains: a request may still need an instance woken.
        let asked = if role == Role::Proxy { stopped.clone() } else { others_stopped.clone() };
        keepers.spawn(keep::keep(plan, asked, reports.clone()));
    }
    let started = tokio::select! {
        started = all_ready(&mut inbox) => started.map(|()| true),
        _ = leaving.wait_for(|s| *s > Stop::No) => Ok(false),
    };
    // After a failed start the old proxy serves on; whoever asked to stop means it too.
    let serves_on = match &started {
        Ok(_) => {
            for proxy in draining.into_iter().chain(old_proxy.map(|old| old.process)) {
                let (grace, mut stopped) = (grace(Role::Proxy), stopped.clone());
                keepers.spawn(async move { keep::end(&proxy, grace, &mut stopped).await });
            }
            None
        }
        Err(_) => old_proxy,
    };
    if let Ok(true) = started {
        // Only a database with which the platform has worked is held on to.
        if let Err(error) = database::remember(&directory.path, settings.database.as_ref()) {
            say(&error.to_string());
        }
        write_supervisor_record(&run, &bound);
        announce(&addresses, &settings.data_dir);
        // Reports after the start are only logged, where they arise; the channel must not fill up.
        while leaving.has_changed().is_ok() && *leaving.borrow_and_update() == Stop::No {
            tokio::select! {
                biased;
                _ = leaving.changed() => {}
                _ = inbox.recv() => {}
                Some(version) = successor.requests.recv() => {
                    // What comes from here on is for the next program; what came before is heard first.
                    hold_signals();
                    sleep(HEARD).await;
                    if *leaving.borrow() == Stop::No {
                        say(&format!("{version} takes this program's place"));
                        let error = successor.program.become_it(bound.all());
                        tracing::error!("this program stays: {error:#}");
                    }
                    replace::let_signals_in();
                }
            }
        }
    }
    stop.send_if_modified(|s| (*s == Stop::No).then(|| *s = Stop::Orderly).is_some());
    shut_down(keepers, &stop_others, leaving, inbox).await;
    if let Some(old) = serves_on
        && let Err(error) = record::write(&run, Role::Proxy, &old.record)
    {
        let pid = old.process.pid;
        say(&format!(
            "the proxy of before serves on (pid {pid}), and the next start will not find it: {error}"
        ));
    }
    if settings.ephemeral {
        let data = directory.path.clone();
        let purged = tokio::task::spawn_blocking(move || purge::purge(&data)).await?;
        purged.context("cannot remove everything that this run made on the machine")?;
    }
    started.map(|_| ())
}

/// Waits until each child has said that it can work.
async fn all_ready(inbox: &mut mpsc::Receiver<Report>) -> Result<()> {
    let deadline = Instant::now() + START_MAX;
    let mut ready = BTreeSet::new();
    let mut ends = 0;
    while ready.len() < Role::ALL.len() {
        match timeout_at(deadline, inbox.recv()).await {
            Ok(Some(Report::Ready(role))) => {
                ready.insert(role);
            }
            Ok(Some(Report::Ended { role, how, last_lines })) => {
                ready.remove(&role);
                ends += 1;
                if ends >= FAILED_STARTS_MAX {
                    let said: String = last_lines.iter().map(|l| format!("\n  {l}")).collect();
                    bail!("{} {how} before the platform was ready; its last lines:{said}", role.name());
                }
            }
            Ok(None) => bail!("the children are not kept any more"),
            Err(_) => {
                let missing: Vec<_> =
                    Role::ALL.iter().filter(|r| !ready.contains(r)).map(|r| r.name()).collect();
                bail!("not ready after {} s: {}", START_MAX.as_secs(), missing.join(", "));
            }
        }
    }
    Ok(())
}

/// The proxy has been told to drain; when it has ended, control and node end too.
async fn shut_down(
    mut keepers: JoinSet<()>,
    stop_others: &watch::Sender<Stop>,
    mut asked: watch::Receiver<Stop>,
    mut inbox: mpsc::Receiver<Report>,
) {
    // Two keepers stay: those of control and node.
    while keepers.len() > Role::ALL.len() - 1 {
        tokio::select! {
            _ = keepers.join_next() => {}
            Some(_) = inbox.recv() => {}
        }
    }
    let level = (*asked.borrow_and_update()).max(Stop::Orderly);
    stop_others.send_replace(level);
    while !keepers.is_empty() {
        tokio::select! {
            _ = keepers.join_next() => {}
            Some(_) = inbox.recv() => {}
            Ok(()) = asked.changed() => { stop_others.send_replace(*asked.borrow_and_update()); }
        }
    }
}

/// SIGTERM or SIGINT stops in order, the second one at once.
fn forward_signals(stop: watch::Sender<Stop>) -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    // A closed terminal is no reason to stop serving.
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => continue,
            }
            let again = *stop.borrow() > Stop::No;
            say(if again { "stopping at once" } else { "stopping; once more to stop at once" });
            stop.send_replace(if again { Stop::Now } else { Stop::Orderly });
        }
    })
}

/// The sockets that the children get.
struct Bound {
    api: Arc<Listeners>,
    http: Option<Arc<Listeners>>,
    https: Option<Arc<Listeners>>,
}

impl Bound {
    fn addresses(&self) -> Addresses {
        let address = |listeners: &Option<Arc<Listeners>>| listeners.as_ref().map(|l| l.address);
        Addresses { api: self.api.address, http: address(&self.http), https: address(&self.https) }
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Listeners)> {
        let apps = [("http", &self.http), ("https", &self.https)];
        let apps = apps.into_iter().filter_map(|(name, listeners)| Some((name, &**listeners.as_ref()?)));
        std::iter::once(("api", &*self.api)).chain(apps)
    }

    fn of(&self, role: Role) -> Vec<(&'static str, Arc<Listeners>)> {
        let apps = [("http", &self.http), ("https", &self.https)];
        match role {
            Role::Control => vec![("api", self.api.clone())],
            Role::Node => Vec::new(),
            Role::Proxy => apps.into_iter().filter_map(|(n, l)| Some((n, l.clone()?))).collect(),
        }
    }
}

/// Binds every address, or takes what the program before this one kept of it, or what the living process of an earlier
/// run has.
fn bind(
    settings: &Settings,
    kept: &BTreeMap<String, Listeners>,
    control: Option<&Survivor>,
    proxy: Option<&Survivor>,
) -> Result<Bound> {
    let inherited = |survivor: Option<&Survivor>, name: &str| {
        let listeners = kept.get(name).or_else(|| survivor?.listeners.get(name))?;
        let sockets = listeners.sockets.iter().map(|s| s.try_clone().ok()).collect::<Option<Vec<_>>>()?;
        Some(Listeners { address: listeners.address, sockets })
    };
    let api = match inherited(control, "api").filter(|l| apps::same(settings.api, l.address)) {
        Some(listeners) => listeners,
        None => listeners::bind_one(settings.api).context("the API cannot be served (--api)")?,
    };
    let http = apps::listeners(settings.http, inherited(proxy, "http"), settings.loops)
        .context("applications cannot be served (--http)")?;
    let https = apps::listeners(settings.https, inherited(proxy, "https"), settings.loops)
        .context("applications cannot be served (--https)")?;
    Ok(Bound { api: Arc::new(api), http: http.map(Arc::new), https: https.map(Arc::new) })
}

/// The memory in which proxies count the requests in flight, for as long as one of ours runs: that of an earlier run's
/// proxy, which sends requests to the same instances until it has drained, or a new one. Without any, each counts alone.
fn counts(proxy: Option<&Survivor>) -> Option<Arc<OwnedFd>> {
    let inherited = proxy.and_then(|proxy| proxy.counts.as_ref()?.try_clone().ok());
    let counts = match inherited {
        Some(counts) => Ok(counts),
        None => apron_proxy::counts_memory(),
    };
    let failed = |error: &std::io::Error| {
        say(&format!(
            "no memory for counts of requests in flight, so limits of instances hold per proxy: {error}"
        ));
    };
    counts.inspect_err(failed).ok().map(Arc::new)
}

/// The one line of standard output, for people and for programs that wait for it.
fn announce(addresses: &Addresses, data_dir: &Path) {
    let apps = apps_endpoint(addresses);
    let mut stdout = std::io::stdout().lock();
    let (api, data) = (reachable(addresses.api), data_dir.display());
    let written = writeln!(stdout, "ready api=http://{api} apps={apps} data={data}");
    if let Err(error) = written.and_then(|()| stdout.flush()) {
        // Whoever reads it may have left after starting us; the platform goes on.
        say(&format!("cannot write the ready line to standard output: {error}"));
    }
}

/// Where a client on this machine reaches applications, whose Host it then names.
pub(crate) fn apps_endpoint(addresses: &Addresses) -> String {
    match (addresses.http, addresses.https) {
        (Some(http), _) => format!("http://{}", reachable(http)),
        (None, Some(https)) => format!("https://{}", reachable(https)),
        (None, None) => String::new(),
    }
}

/// An address that a client on this machine can use for a listener on it.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        // A listener of ours on all addresses takes both families.
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What `apron` commands on this machine read to find the running platform.
fn write_supervisor_record(run: &Path, bound: &Bound) {
    let record = record::Record::of_this_process(bound.all());
    let bytes = serde_json::to_vec(&record).expect("numbers and strings always have a JSON form");
    if let Err(error) = crate::file::replace(&run.join("supervisor.json"), &bytes, record::RECORD_MODE) {
        // What it serves does not depend on it.
        say(&format!(
            "apron commands will not find this platform: cannot write run/supervisor.json: {error}"
        ));
    }
}

/// Children inherit the limit; without it a distribution's 1,024 would end connections early.
fn raise_open_files() {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.max(OPEN_FILES);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_err() {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
