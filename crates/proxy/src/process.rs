//! The proxy as a process: its threads, its signals, its end.

use crate::config::{self, Config, Source};
use crate::event_loop::{self, Settings, Task, Turns};
use crate::listen::Secure;
use crate::tables::Tables;
use crate::tls::{self, TlsError};
use crate::{link, saved};
use apron_model::ids::{Generation, InstanceId, ServiceId};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
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
}

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("there is no listener")]
    NoListener,
    #[error("HTTPS listeners need the TLS directory in the configuration")]
    NoTls,
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
        let tables = Arc::new(Tables::new(loops));
        let secure = match (&config.tls, listeners.https.is_empty()) {
            (_, true) => None,
            (Some(tls), false) => Some(tls::acceptor(tls, tables.clone(), Box::new(since_1970))?),
            (None, false) => return Err(ProxyError::NoTls),
        };
        let turns = Arc::new(Turns::new(loops));
        let (stop, stopped) = watch::channel(false);
        let keeper_stop = Arc::new(tokio::sync::Notify::new());
        let keeper = match config.source {
            Source::Static { ref routes } => {
                // The first table is always newer than none.
                let _ = tables.apply(config::static_table(routes));
                None
            }
            Source::Control { ref socket, ref saved } => {
                start_from_saved(saved, &tables);
                Some(keep_in_step(socket.clone(), saved.clone(), &tables, &stopped, &keeper_stop)?)
            }
        };
        let settings = Settings {
            head_timeout: Duration::from_millis(config.head_timeout_ms),
            instance_wait: Duration::from_millis(config.instance_wait_ms),
            idle_timeout: Duration::from_millis(config.idle_timeout_ms),
            drain: Duration::from_millis(config.drain_ms),
        };
        let (threads, ended) = start_loops(listeners, loops, secure, settings, &tables, &turns, &stopped)?;
        Ok(Proxy { tables, turns, stop, loops: threads, ended, keeper, keeper_stop })
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
    }

    /// The generation that every loop serves.
    pub fn serving(&self) -> Generation {
        self.tables.serving()
    }

    /// Requests in flight per instance, and requests answered per service.
    pub fn counts(&self) -> (BTreeMap<InstanceId, u32>, BTreeMap<ServiceId, u64>) {
        self.tables.counts()
    }
}

fn start_loops(
    listeners: Listeners,
    loops: usize,
    secure: Option<Secure>,
    settings: Settings,
    tables: &Arc<Tables>,
    turns: &Arc<Turns>,
    stop: &watch::Receiver<bool>,
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
            https: https.next().into_iter().zip(secure.clone()).collect(),
            settings,
            tables: tables.clone(),
            turns: turns.clone(),
            stop: stop.clone(),
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

/// A damaged file is said and passed over: control sends the table anyway.
fn start_from_saved(saved: &std::path::Path, tables: &Tables) {
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
    stop: &watch::Receiver<bool>,
    end: &Arc<tokio::sync::Notify>,
) -> io::Result<JoinHandle<()>> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    let (tables, stop, end) = (tables.clone(), stop.clone(), end.clone());
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
                () = link::run(&socket, &tables) => {}
                () = saving => {}
                () = end.notified() => {}
            }
        });
        // A save that hangs with its disk must not keep the process from ending.
        runtime.shutdown_background();
    })
}

#[expect(clippy::disallowed_methods, reason = "certificates carry wall time")]
fn since_1970() -> Duration {
    // A clock before 1970 gives a certificate from then, which is made anew when the clock is right.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
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
