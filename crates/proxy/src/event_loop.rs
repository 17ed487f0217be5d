//! One event loop: a thread with its own listeners, its own connections and its own view of the route table.
//!
//! Nothing here is shared with another loop except what the snapshot points to. A new table is taken between two
//! turns of the loop, so a request that was routed by the old one already holds its counted place when the loop
//! acknowledges the new one.

use crate::admission::{self, Lines};
use crate::body::Answers;
use crate::client::{Clients, Order};
use crate::headers::Via;
use crate::http1::Buffers;
use crate::https;
use crate::listen::{self, Secure};
use crate::observe::Observer;
use crate::pool::Upstreams;
use crate::reply::Cause;
use crate::request_id::RequestIds;
use crate::route::Snapshot;
use crate::strangers::{Rates, Strangers};
use crate::tables::Tables;
use crate::tls::Shared;
use crate::waker::{self, Waker};
use apron_activity::Region;
use apron_model::routes::{Network, REQUEST_TIMEOUT_S, RoutePolicy};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

/// How often idle connections are looked for.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);
/// When the loop ends, each open connection is told with its next answer that it closes. One that asks for
/// nothing within this time is closed without; any longer, and a restart would wait for sleeping browsers.
const POLITE_TIME: Duration = Duration::from_secs(2);
/// Of the time to drain, what is left for last words: the close frames of WebSockets.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) head_timeout: Duration,
    pub(crate) instance_wait: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) drain: Duration,
    /// See `OpeningTimeouts`; so for the next two.
    pub(crate) introduction_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) request_head_timeout: Duration,
    pub(crate) edge: Arc<Edge>,
}

/// Who is at the other end of connections, and what is said to them.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) trusted: Vec<Network>,
    pub(crate) proxy_protocol: Vec<Network>,
    /// Connections of one stranger on one loop.
    pub(crate) connections_per_address_max: u32,
    pub(crate) via: Option<Via>,
    pub(crate) rates: Rates,
}

impl Edge {
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    pub(crate) fn may_introduce(&self, address: IpAddr) -> bool {
        self.proxy_protocol.iter().any(|network| network.contains(address))
    }
}

impl Settings {
    /// How long a request of this service may be silent. The proxy's own setting stands for the default of tags.
    pub(crate) fn request_timeout(&self, policy: &RoutePolicy) -> Duration {
        match policy.request_timeout_s {
            REQUEST_TIMEOUT_S => self.head_timeout,
            seconds => Duration::from_secs(seconds.into()),
        }
    }
}

/// What every request of a loop may use.
pub(crate) struct EventLoop {
    pub(crate) settings: Settings,
    pub(crate) snapshot: RefCell<Arc<Snapshot>>,
    /// Rings when `snapshot` was replaced.
    pub(crate) table_changed: Notify,
    pub(crate) upstreams: Upstreams,
    pub(crate) https: https::Known,
    /// Where its requests wait.
    pub(crate) lines: Lines,
    pub(crate) region: Arc<Region>,
    pub(crate) waker: Waker,
    /// Memory of connections that have something to say.
    pub(crate) buffers: Buffers,
    pub(crate) clients: Clients,
    pub(crate) strangers: Strangers,
    pub(crate) answers: Answers,
    pub(crate) request_ids: RequestIds,
    pub(crate) observer: Observer,
    pub(crate) draining: Cell<bool>,
    /// The time to drain is up.
    over: Cell<bool>,
    /// Rings when `over` turns true.
    farewell: Notify,
    /// Open client connections, tunnels and listeners included.
    pub(crate) connections: Connections,
    /// Requests whose answer has not ended, tunnels included.
    pub(crate) requests: Cell<u32>,
    rotation: Cell<usize>,
}

impl EventLoop {
    pub(crate) fn next_rotation(&self) -> usize {
        let rotation = self.rotation.get();
        self.rotation.set(rotation.wrapping_add(1));
        rotation
    }

    fn take_table(&self, snapshot: Arc<Snapshot>) {
        let before = self.snapshot.replace(snapshot);
        self.upstreams.keep_only(&before, &self.snapshot.borrow());
        self.table_changed.notify_waiters();
    }

    /// Why something ends that neither side has ended.
    pub(crate) fn why_broken_off(&self) -> Cause {
        if self.over.get() { Cause::Drained } else { Cause::ClientGone }
    }

    /// Waits until what is still open must close.
    pub(crate) async fn farewell(&self) {
        while !self.over.get() {
            self.farewell.notified().await;
        }
    }
}

/// Counts what is open and rings when one closes.
#[derive(Default)]
pub(crate) struct Connections {
    open: Cell<usize>,
    closed: Notify,
}

impl Connections {
    /// Waits until fewer than `max` are open.
    pub(crate) async fn below(&self, max: usize) {
        while self.open.get() >= max {
            self.closed.notified().await;
        }
    }
}

/// One open connection, tunnel or listener; ends with it.
pub(crate) struct Open(Rc<EventLoop>);

impl Open {
    pub(crate) fn new(event_loop: &Rc<EventLoop>) -> Open {
        event_loop.connections.open.set(event_loop.connections.open.get() + 1);
        Open(event_loop.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.open.set(self.0.connections.open.get() - 1);
        self.0.connections.closed.notify_waiters();
    }
}

/// Which loops have turned since somebody looked.
pub(crate) struct Turns(Vec<AtomicBool>);

impl Turns {
    pub(crate) fn new(loops: usize) -> Turns {
        Turns((0..loops).map(|_| AtomicBool::new(false)).collect())
    }

    fn turned(&self, number: usize) {
        self.0[number].store(true, Ordering::Relaxed);
    }

    /// True when every loop has turned since the last time that this was true. Has one caller.
    pub(crate) fn all(&self) -> bool {
        let all = self.0.iter().all(|turned| turned.load(Ordering::Relaxed));
        if all {
            self.0.iter().for_each(|turned| turned.store(false, Ordering::Relaxed));
        }
        all
    }
}

/// What a loop's thread is given.
pub(crate) struct Task {
    pub(crate) number: usize,
    pub(crate) http: Vec<TcpListener>,
    pub(crate) https: Vec<(TcpListener, Secure)>,
    pub(crate) settings: Settings,
    pub(crate) observer: Observer,
    pub(crate) tls: Shared,
    /// What the clock on the wall says.
    pub(crate) since_1970: Duration,
    pub(crate) tables: Arc<Tables>,
    pub(crate) turns: Arc<Turns>,
    /// Where the node listens.
    pub(crate) node: Option<PathBuf>,
    /// Turns true once: drain, then end.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Runs one loop on the calling thread until it has drained. `accepting` is told once that the loop takes
/// connections by the table of that moment, or why it cannot.
pub(crate) fn run(task: Task, accepting: impl FnOnce(io::Result<()>)) {
    let made = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let made = made.and_then(|runtime| Ok((runtime, RequestIds::new(task.since_1970)?)));
    let (runtime, request_ids) = match made {
        Ok(made) => made,
        Err(error) => return accepting(Err(error)),
    };
    runtime.block_on(async move {
        let mut snapshots = task.tables.subscribe();
        let first = snapshots.borrow_and_update().clone();
        let mut certificates = task.tls.held;
        let held = certificates.borrow_and_update().clone();
        let event_loop = Rc::new(EventLoop {
            settings: task.settings,
            snapshot: RefCell::new(first),
            table_changed: Notify::new(),
            upstreams: Upstreams::default(),
            https: https::Known::new(task.tls.port, held),
            lines: Lines::default(),
            region: task.tables.region().clone(),
            waker: Waker::new(task.node),
            buffers: Buffers::default(),
            clients: Clients::default(),
            strangers: Strangers::default(),
            answers: Answers::default(),
            request_ids,
            observer: task.observer,
            draining: Cell::new(false),
            over: Cell::new(false),
            farewell: Notify::new(),
            connections: Connections::default(),
            requests: Cell::new(0),
            rotation: Cell::new(task.number),
        });
        let started = listen::start(&event_loop, task.http, task.https, &task.stop);
        let failed = started.is_err();
        task.tables.acknowledge(task.number, event_loop.snapshot.borrow().generation);
        accepting(started);
        if failed {
            return;
        }
        let follow = follow_tables(&event_loop, snapshots, &task.tables, task.number);
        tokio::select! {
            () = follow => {}
            () = event_loop.https.follow(certificates) => {}
            () = sweep(&event_loop, &task.turns, task.number) => {}
            () = admission::watch(&event_loop) => {}
            () = waker::run(&event_loop) => {}
            () = drain(&event_loop, task.stop) => {}
        }
    });
}

async fn follow_tables(
    event_loop: &EventLoop,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    tables: &Tables,
    number: usize,
) {
    while snapshots.changed().await.is_ok() {
        let snapshot = snapshots.borrow_and_update().clone();
        let generation = snapshot.generation;
        event_loop.take_table(snapshot);
        tables.acknowledge(number, generation);
    }
}

async fn sweep(event_loop: &EventLoop, turns: &Turns, number: usize) {
    let mut tick = interval(SWEEP_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        turns.turned(number);
        let open = event_loop.connections.open.get();
        event_loop.observer.connections(open);
        let crowded = open > listen::CROWDED_CONNECTIONS;
        event_loop.clients.sweep(event_loop.settings.idle_timeout, crowded);
        event_loop.upstreams.close_idle();
        if number == 0 {
            event_loop.region.clear_dead();
            event_loop.settings.edge.rates.sweep();
        }
        event_loop.answers.sweep();
        event_loop.strangers.sweep();
        event_loop.request_ids.tick();
    }
}

/// Waits for the order to stop; then no connection is accepted, every answer closes its connection, and the loop
/// ends when none is left or the time is up.
async fn drain(event_loop: &EventLoop, mut stop: watch::Receiver<bool>) {
    // A sender that is gone means that the process ends.
    let _ = stop.wait_for(|stop| *stop).await;
    event_loop.draining.set(true);
    let deadline = Instant::now() + event_loop.settings.drain.saturating_sub(FAREWELL_TIME);
    let polite = async {
        sleep(POLITE_TIME).await;
        // A loop that is late has not heard yet what has arrived: after a look at its sockets a request is answered.
        yield_now().await;
        event_loop.clients.tell_all(Order::Finish);
        std::future::pending::<()>().await;
    };
    let end = async {
        tokio::select! {
            () = polite => {}
            () = event_loop.connections.below(1) => {}
        }
    };
    if timeout_at(deadline, end).await.is_ok() {
        return;
    }
    event_loop.over.set(true);
    event_loop.farewell.notify_waiters();
    if timeout(FAREWELL_TIME, event_loop.connections.below(1)).await.is_err() {
        tracing::warn!(open = event_loop.connections.open.get(), "drain time is up, cutting connections");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_have_turned_when_the_last_one_has() {
        let turns = Turns::new(2);
        assert!(!turns.all());
        turns.turned(0);
        assert!(!turns.all());
        turns.turned(1);
        assert!(turns.all() && !turns.all());
    }

    #[tokio::test]
    async fn a_full_loop_accepts_again_when_a_connection_closes() {
        let connections = Connections::default();
        connections.open.set(2);
        let close = async {
            tokio::task::yield_now().await;
            connections.open.set(1);
            connections.closed.notify_waiters();
        };
        tokio::select! {
            biased;
            () = connections.below(2) => panic!("two are open"),
            () = close => {}
        }
        connections.below(2).await;
    }
}
