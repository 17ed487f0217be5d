//! The proxy as a process: its threads, its signals, its end.

use crate::access_log::{self, AccessLog, Writer};
use crate::config::{self, Config, Source};
use crate::event_loop::{self, Edge, Settings, Task, Turns};
use crate::headers::Via;
use crate::metrics::{self, Admin};
use crate::observe::{Common, Observer};
use crate::strangers::Rates;
use crate::tables::Tables;
use crate::tls::files::Files;
use crate::tls::{self, TlsError};
use crate::{link, saved, wall};
use apron_activity::Region;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::routes::Load;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::interval;

/// How often the loops are looked at for having turned.
const ALIVE_PERIOD: Duration = Duration::from_secs(1);

/// Listening sockets, one per loop and name. They stay open elsewhere: whoever holds a copy can hand it to the
/// next proxy, which then takes over without a refused connection.
pub struct Listeners {
    pub http: Vec<OwnedFd>,
    pub https: Vec<OwnedFd>,
    /// A file of `counts_memory`, in which proxies that have it count the requests in flight together, so that no
    /// instance gets more than it may have while one proxy takes over from another. None: this one counts alone.
    pub counts: Option<OwnedFd>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("there is no listener")]
    NoListener,
    #[error("HTTPS listeners need certificates, and the configuration names none")]
    NoTls,
    #[error("'{0}' cannot stand in Via: expected a word")]
    BadVia(String),
    #[error("the admin socket {} cannot be made: {source}", path.display())]
    Admin { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot start")]
    Start(#[from] io::Error),
    #[error("an event loop ended unasked")]
    LoopEnded,
}

/// A running proxy. Dropping it without `stop` leaves its threads running until the process ends.
pub struct Proxy {
    tables: Arc<Tables>,
    turns: Arc<Turns>,
    stop: watch::Sender<bool>,
    loops: Vec<JoinHandle<()>>,
    /// Closes when the last loop has ended, and gets a message when one ends.
    ended: mpsc::Receiver<()>,
    keeper: Option<JoinHandle<()>>,
    keeper_stop: Arc<tokio::sync::Notify>,
    admin: Option<Admin>,
    /// Of the access log.
    writer: Option<Writer>,
    /// With it ends the thread that looks after certificates and keys.
    _files_stop: Option<std::sync::mpsc::Sender<()>>,
}

/// Serves until SIGTERM or SIGINT, then drains. Blocks the calling thread, which must not be inside a runtime;
/// `ready` is called once, when every loop accepts, and `alive` about once a second from then on, as long as every
/// loop turns. `alive` is dropped when the drain begins.
pub fn run(
    config: Config,
    listeners: Listeners,
    ready: impl FnOnce(),
    mut alive: impl FnMut(),
) -> Result<(), ProxyError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    // Before the listeners open, so that no signal in between kills a proxy that already has connections.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    raise_open_files_limit();
    let mut proxy = Proxy::start(config, listeners)?;
    ready();
    let asked = runtime.block_on(async {
        let mut look = interval(ALIVE_PERIOD);
        loop {
            tokio::select! {
                _ = terminate.recv() => break true,
                _ = interrupt.recv() => break true,
                _ = proxy.ended.recv() => break false,
                _ = look.tick() => if proxy.turns.all() { alive() },
            }
        }
    });
    drop(alive);
    if !asked {
        return Err(ProxyError::LoopEnded);
    }
    tracing::info!("draining");
    proxy.stop();
    Ok(())
}

impl Proxy {
    /// Starts one loop per listening socket of the longer list and, where the table comes from control, the link.
    pub fn start(config: Config, listeners: Listeners) -> Result<Proxy, ProxyError> {
        let loops = listeners.http.len().max(listeners.https.len());
        if loops == 0 {
            return Err(ProxyError::NoListener);
        }
        let edge = Arc::new(edge(&config, loops)?);
        let tables = Arc::new(Tables::sharing(loops, Arc::new(join_counts(listeners.counts.as_ref())?)));
        let (tls, files) = tls::start(&config, &tables, Box::new(wall::since_1970))?;
        if tls.acceptor.is_none() && !listeners.https.is_empty() {
            return Err(ProxyError::NoTls);
        }
        let files_stop = files.map(look_after).transpose()?;
        let turns = Arc::new(Turns::new(loops));
        let (stop, stopped) = watch::channel(false);
        let keeper_stop = Arc::new(tokio::sync::Notify::new());
        let common = Arc::new(Common::new(loops));
        let keeper = match config.source {
            Source::Static { ref routes } => {
                // The first table is always newer than none.
                let _ = tables.apply(config::static_table(routes));
                None
            }
            Source::Control { ref socket, ref saved } => {
                start_from_saved(saved, &tables);
                Some(keep_in_step(socket.clone(), saved.clone(), &tables, &common, &stopped, &keeper_stop)?)
            }
        };
        let settings = Settings {
            head_timeout: Duration::from_millis(config.head_timeout_ms),
            instance_wait: Duration::from_millis(config.instance_wait_ms),
            idle_timeout: Duration::from_millis(config.idle_timeout_ms),
            drain: Duration::from_millis(config.drain_ms),
            introduction_timeout: Duration::from_millis(config.opening.introduction_ms),
            handshake_timeout: Duration::from_millis(config.opening.handshake_ms),
            request_head_timeout: Duration::from_millis(config.opening.request_head_ms),
            edge,
        };
        let (log, writer) = match &config.access_log {
            Some(path) => {
                let (log, writer) = access_log::start(path, common.lines_dropped.clone())?;
                (Some(log), Some(writer))
            }
            None => (None, None),
        };
        let shared = Shared {
            tls,
            settings,
            tables: tables.clone(),
            turns: turns.clone(),
            node: config.node.clone(),
            common: common.clone(),
            log,
            stop: stopped,
        };
        let admin = match &config.admin {
            Some(path) => {
                start_admin(path, matches!(config.source, Source::Static { .. }), &tables, &common)?
            }
            None => None,
        };
        let (threads, ended) = start_loops(listeners, loops, shared)?;
        Ok(Proxy {
            tables,
            turns,
            stop,
            loops: threads,
            ended,
            keeper,
            keeper_stop,
            admin,
            writer,
            _files_stop: files_stop,
        })
    }

    /// Accepts nothing more, lets requests end, and returns when all did or the drain time is up.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for event_loop in self.loops {
            // A loop that panicked has said so on stderr and has nothing left to drain.
            let _ = event_loop.join();
        }
        self.keeper_stop.notify_one();
        if let Some(keeper) = self.keeper {
            let _ = keeper.join();
        }
        if let Some(admin) = self.admin {
            admin.stop();
        }
        if let Some(writer) = self.writer {
            writer.finish();
        }
    }

    /// The generation that every loop serves.
    pub fn serving(&self) -> Generation {
        self.tables.serving()
    }

    /// Requests in flight per instance.
    pub fn in_flight(&self) -> BTreeMap<InstanceId, u32> {
        self.tables.in_flight()
    }

    /// What services were asked for that were asked for anything.
    pub fn load(&self) -> BTreeMap<ServiceId, Load> {
        self.tables.load(&mut HashMap::new(), None)
    }
}

/// What strangers meet; the connections of one address are shared out among the loops, over which the kernel spreads
/// them.
fn edge(config: &Config, loops: usize) -> Result<Edge, ProxyError> {
    let loops = loops as u32;
    let via = match &config.via {
        Some(name) => Some(Via::new(name).ok_or_else(|| ProxyError::BadVia(name.clone()))?),
        None => None,
    };
    Ok(Edge {
        trusted: config.trusted.clone(),
        proxy_protocol: config.proxy_protocol.clone(),
        connections_per_address_max: config.connections_per_address_max.div_ceil(loops),
        via,
        rates: Rates::default(),
    })
}

/// What every loop has a share of.
struct Shared {
    tls: tls::Shared,
    settings: Settings,
    tables: Arc<Tables>,
    turns: Arc<Turns>,
    node: Option<PathBuf>,
    common: Arc<Common>,
    log: Option<Arc<AccessLog>>,
    stop: watch::Receiver<bool>,
}

fn start_loops(
    listeners: Listeners,
    loops: usize,
    shared: Shared,
) -> Result<(Vec<JoinHandle<()>>, mpsc::Receiver<()>), ProxyError> {
    let mut http = listeners.http.into_iter().map(TcpListener::from);
    let mut https = listeners.https.into_iter().map(TcpListener::from);
    let (ended_sender, ended) = mpsc::channel(loops);
    let (accepting_sender, accepting) = std::sync::mpsc::sync_channel(loops);
    let mut threads = Vec::with_capacity(loops);
    for number in 0..loops {
        let task = Task {
            number,
            http: http.next().into_iter().collect(),
            https: https.next().into_iter().zip(shared.tls.acceptor.clone()).collect(),
            settings: shared.settings.clone(),
            since_1970: wall::since_1970(),
            tls: shared.tls.clone(),
            observer: Observer::new(number, shared.common.clone(), shared.log.clone()),
            tables: shared.tables.clone(),
            turns: shared.turns.clone(),
            node: shared.node.clone(),
            stop: shared.stop.clone(),
        };
        let (ended, accepting) = (ended_sender.clone(), accepting_sender.clone());
        let body = move || {
            // Dropped also when the loop panics, which the receiver takes as an end.
            let _ended = EndSignal(ended);
            event_loop::run(task, |started| drop(accepting.send(started)));
        };
        threads.push(thread::Builder::new().name(format!("loop-{number}")).spawn(body)?);
    }
    drop(accepting_sender);
    for _ in 0..loops {
        // A loop that ended without a word is the same failure.
        accepting.recv().map_err(|_| ProxyError::LoopEnded)??;
    }
    Ok((threads, ended))
}

struct EndSignal(mpsc::Sender<()>);

impl Drop for EndSignal {
    fn drop(&mut self) {
        // There is room for one message of each loop.
        let _ = self.0.try_send(());
    }
}

/// Nothing that serves depends on it, so that a platform goes on without; a person at a command line is told.
fn start_admin(
    path: &Path,
    by_hand: bool,
    tables: &Arc<Tables>,
    common: &Arc<Common>,
) -> Result<Option<Admin>, ProxyError> {
    match metrics::start(path, tables, common) {
        Ok(admin) => Ok(Some(admin)),
        Err(source) if by_hand => Err(ProxyError::Admin { path: path.to_owned(), source }),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "starting without the admin socket");
            Ok(None)
        }
    }
}

/// Counts of one's own are better than no proxy: limits then hold within each.
fn join_counts(shared: Option<&OwnedFd>) -> io::Result<Region> {
    match shared.map(Region::from_fd) {
        Some(Ok(region)) => return Ok(region),
        Some(Err(error)) => tracing::error!(%error, "counting requests in flight alone"),
        None => {}
    }
    Region::create()
}

/// A damaged file is said and passed over: control sends the table anyway.
fn start_from_saved(saved: &Path, tables: &Tables) {
    match saved::load(saved) {
        Ok(Some(table)) => {
            tracing::info!(generation = ?table.generation, "starting from the saved route table");
            let generation = table.generation;
            let _ = tables.apply(table);
            tables.saved(generation);
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "starting without the saved route table"),
    }
}

/// The thread that follows control and keeps the file, away from the loops.
fn keep_in_step(
    socket: PathBuf,
    saved: PathBuf,
    tables: &Arc<Tables>,
    common: &Arc<Common>,
    stop: &watch::Receiver<bool>,
    end: &Arc<tokio::sync::Notify>,
) -> io::Result<JoinHandle<()>> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    let (tables, common, stop, end) = (tables.clone(), common.clone(), stop.clone(), end.clone());
    // Before the first table can come, so that none is missed; the one just loaded is not written again.
    let mut news = tables.subscribe_table();
    news.mark_unchanged();
    thread::Builder::new().name("link".into()).spawn(move || {
        runtime.block_on(async {
            let saving = async {
                saved::keep(&saved, &tables, news, stop).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = link::run(&socket, &tables, &common) => {}
                () = saving => {}
                () = end.notified() => {}
            }
        });
        // A save that hangs with its disk must not keep the process from ending.
        runtime.shutdown_background();
    })
}

/// Starts the thread that reads certificates and keys again when they change. Nobody waits for its end: a look may
/// hang with its disk.
fn look_after(files: Files) -> io::Result<std::sync::mpsc::Sender<()>> {
    let (stop, stopped) = std::sync::mpsc::channel();
    thread::Builder::new().name("certificates".into()).spawn(move || files.keep(&stopped))?;
    Ok(stop)
}

/// Two descriptors per request: the soft limit of 1,024 is for programs that use select.
fn raise_open_files_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
