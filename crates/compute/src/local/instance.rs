//! One instance: a task that owns its state, takes orders and events one at a time, and acts.
//!
//! ```text
//!             ┌──────────── due ────────────┐
//!             ▼                             │
//! wish ─► Starting ──started──► Running ──ended──► Waiting      any ──remove──► Stopping ──ended, grace
//!             │                                       ▲                             over──► Clearing ─► Gone
//!             ├──transient fault──────────────────────┘
//!             └──permanent fault──► Failed (until a newer wish)
//! ```
//! A removal during `Starting` ends what the start waits for, such as an unpacking; from then on it waits for the
//! start's outcome, because half a container cannot be taken back.
//! One that has had nothing to do for long may sleep without a process: it is stopped and cleared like one that is removed,
//! and is then `Asleep`, with its id and address, until the ladder wakes it. Nobody outside sees that: it is wished, and
//! serves when it is asked. Only a start that fails then is shown.
//! A container that exits keeps its id, address and namespaces, and is started anew with backoff.

mod asleep;
pub(crate) mod birth;
pub(crate) mod disk;
mod end;
pub mod health;
pub mod listening;
pub(crate) mod registry;
pub mod shim;
mod size;
pub(in crate::local) mod state;
pub mod wanted;

use crate::driver::Hint;
use crate::local::container::alive::Alive;
use crate::local::container::cgroup::Limits;
use crate::local::container::pair::Pair;
use crate::local::ladder::Place;
use crate::local::machine::Machine;
use apron_model::instance::{Fault, Health, InstanceSize, InstanceSpec, Observed, Phase, Waterfall, reason};
use birth::{Born, Stillborn, Unended, blocking, elapsed_ms};
use shim::WatchId;
use state::{Adopted, Event, Order, State};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use wanted::{Change, Removing, Wanted, judge};

/// Orders that wait for the task; each is answered within a file write.
pub(super) const ORDERS_MAX: usize = 16;
/// Events of one state; health news are the most frequent, and their sender waits when it is full.
const EVENTS_MAX: usize = 16;
/// Before a start that follows an exit or a transient fault: the first wait, doubled up to the longest.
const BACKOFF_MS_MIN: u64 = 1_000;
const BACKOFF_MS_MAX: u64 = 60_000;
/// A container that ran this long begins the backoff anew when it exits.
const STABLE: Duration = Duration::from_secs(60);
/// Between the end of a removed container and the removal of its output: the last lines can be fetched.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The task's own side. Others see `shown`.
pub(super) struct Instance {
    machine: Arc<Machine>,
    wanted: Wanted,
    /// A start or an end has it meanwhile, and gives it back unless it was released.
    pair: Option<Pair>,
    state: State,
    shown: Arc<Mutex<Observed>>,
    /// For others: which of its starts runs, counted from 1; 0: it has no process.
    run: Arc<AtomicU32>,
    starts: u32,
    orders: mpsc::Receiver<Order>,
    /// For the ladder.
    orders_to: mpsc::Sender<Order>,
    events: mpsc::Receiver<Event>,
    events_to: mpsc::Sender<Event>,
    /// Work of the present state; dropped, and so ended, with it.
    work: JoinSet<()>,
    began: Instant,
    /// How far its present start has come. Others see it as it goes on, or, of one that rises, when it has.
    waterfall: Waterfall,
    backoff_ms: u64,
    watch: Option<WatchId>,
    /// While its container runs, or sleeps.
    place: Option<Place>,
    /// It has been woken, or is to be as soon as it is asleep, and is not healthy yet.
    rises: bool,
    /// What the running container has, if that is known; the wished one may differ for a while.
    size: Option<InstanceSize>,
    /// A change of it failed and is tried again after this pause.
    resizing: Option<Duration>,
    /// Why the running container is being killed by us.
    end_reason: Option<String>,
}

impl Instance {
    pub(super) fn new(
        machine: Arc<Machine>,
        wanted: Wanted,
        pair: Option<Pair>,
        (shown, run): (Arc<Mutex<Observed>>, Arc<AtomicU32>),
        (orders_to, orders): (mpsc::Sender<Order>, mpsc::Receiver<Order>),
        began: Instant,
    ) -> Instance {
        let (events_to, events) = mpsc::channel(EVENTS_MAX);
        let waterfall = wanted.waterfall.unwrap_or_default();
        Instance {
            machine,
            wanted,
            pair,
            state: State::Waiting,
            shown,
            run,
            starts: 0,
            orders,
            orders_to,
            events,
            events_to,
            work: JoinSet::new(),
            began,
            waterfall,
            backoff_ms: BACKOFF_MS_MIN,
            watch: None,
            place: None,
            rises: false,
            size: None,
            resizing: None,
            end_reason: None,
        }
    }

    /// Goes on from what was found, and runs until the instance is gone or the task is dropped.
    pub(super) async fn run(mut self, found: Adopted) {
        self.begin(found).await;
        self.resize(false).await;
        while !matches!(self.state, State::Gone) {
            tokio::select! {
                Some(order) = self.orders.recv() => self.order(order).await,
                Some(event) = self.events.recv() => self.event(event).await,
                else => return,
            }
        }
    }

    async fn begin(&mut self, found: Adopted) {
        if !matches!(found, Adopted::Alive(_)) && self.wanted.removing.is_none() {
            self.forget_verdict().await;
        }
        match (found, self.wanted.removing) {
            (found, None) if self.wanted.asleep => self.sleeps(found),
            (Adopted::Alive(alive), Some(removing)) => {
                // It may be asleep, and is woken by this.
                self.enrol(false, false);
                self.stop(Arc::new(*alive), removing);
            }
            // The node before this one may have ended while its lines were being fetched.
            (Adopted::Exited(_), Some(_)) => self.clear(LAST_OUTPUT),
            (Adopted::Nothing, Some(_)) => self.clear(Duration::ZERO),
            (Adopted::Alive(alive), None) => {
                tracing::info!(instance = %self.wanted.spec.id, pid = alive.pid(), "adopted");
                self.running(*alive, self.wanted.health());
            }
            (Adopted::Exited(exit), None) => self.exited(exit),
            (Adopted::Nothing, None) => self.start(self.began),
        }
    }

    async fn order(&mut self, order: Order) {
        match order {
            Order::Ensure(spec, reply) => {
                let answer = self.ensure(*spec).await;
                // The asker may have given up; the wish holds all the same.
                let _ = reply.send(answer);
            }
            Order::Remove(removing, reply) => {
                self.remove(removing).await;
                let _ = reply.send(());
            }
            Order::End { run, reason } => self.end(run, reason),
            Order::Sleep => self.sleep().await,
            Order::Wake => self.wake().await,
            Order::Answered(at) => self.answered(at).await,
        }
    }

    async fn ensure(&mut self, spec: InstanceSpec) -> Result<(), String> {
        if self.wanted.removing.is_some() {
            return Err(format!("instance {} is being removed", spec.id));
        }
        let change = judge(&self.wanted.spec, &spec)?;
        let Some(Change { recheck }) = change else { return Ok(()) };
        let mut next = self.wanted.clone();
        next.spec = spec;
        self.keep(next).await.map_err(|e| format!("the wish cannot be kept: {e}"))?;
        let generation = self.wanted.spec.generation;
        self.show(|shown| shown.generation = generation);
        if let Some(place) = &self.place {
            place.policy(self.wanted.spec.idle);
        }
        match &self.state {
            State::Running { alive, .. } => {
                let alive = alive.clone();
                if recheck {
                    self.watch(alive, self.wanted.health());
                }
                self.resize(false).await;
            }
            State::Waiting | State::Failed => self.start(Instant::now()),
            State::Starting { .. }
            | State::Stopping { .. }
            | State::Clearing
            | State::Asleep
            | State::Gone => {}
        }
        Ok(())
    }

    /// On a disk that is too full to keep it the removal goes on all the same: it makes room. Should the node end
    /// meanwhile, control asks the next one again.
    async fn remove(&mut self, removing: Removing) {
        if self.wanted.removing.is_some() {
            return;
        }
        let mut next = self.wanted.clone();
        next.removing = Some(removing);
        self.keep_if_possible(next).await;
        match &self.state {
            State::Running { alive, .. } => {
                let alive = alive.clone();
                self.stop(alive, removing);
            }
            State::Asleep => self.clear(Duration::ZERO),
            // One that ended a moment ago and is given up for it has lines that nobody has fetched yet.
            State::Waiting | State::Failed if self.has_run() => self.clear(LAST_OUTPUT),
            State::Waiting | State::Failed => self.clear(Duration::ZERO),
            State::Starting { unwanted } => {
                unwanted.notify_one();
                self.show(|shown| shown.phase = Phase::Stopping);
            }
            State::Stopping { .. } | State::Clearing | State::Gone => {}
        }
    }

    async fn event(&mut self, event: Event) {
        match (&self.state, event) {
            (State::Starting { .. }, Event::Started(Ok(born))) => self.born(*born).await,
            (State::Starting { .. }, Event::Started(Err(stillborn))) => self.stillborn(*stillborn),
            (State::Running { alive, .. }, Event::Health(news)) => {
                let alive = alive.clone();
                self.news(alive, news).await;
            }
            (State::Running { .. }, Event::Resize) => self.resize(true).await,
            (State::Running { .. }, Event::Due) => self.is_late().await,
            (State::Running { since, .. }, Event::Ended(found)) => {
                if since.elapsed() >= STABLE {
                    self.backoff_ms = BACKOFF_MS_MIN;
                }
                self.ended(found).await;
            }
            (State::Waiting, Event::Due) if self.falls_asleep() => self.fall_asleep().await,
            (State::Waiting, Event::Due) => self.restart().await,
            (State::Stopping { .. }, Event::Ended(_) | Event::Due) if self.wanted.removing.is_none() => {
                self.rest(Duration::ZERO);
            }
            (State::Stopping { .. }, Event::Ended(_)) => self.clear(LAST_OUTPUT),
            (State::Stopping { .. }, Event::Due) => self.clear(Duration::ZERO),
            (State::Clearing, Event::Rested(Ok(()))) => self.rested().await,
            (State::Clearing, Event::Rested(Err(unended))) => self.not_rested(unended),
            (State::Clearing, Event::Cleared(Ok(()))) => self.gone().await,
            (State::Clearing, Event::Cleared(Err(Unended { pair, reason }))) => {
                self.pair = pair;
                tracing::warn!(instance = %self.wanted.spec.id, reason, "cannot be removed yet");
                let pause = self.next_backoff();
                self.clear(pause);
            }
            // News of an earlier state that was still in the queue.
            (
                State::Starting { .. }
                | State::Running { .. }
                | State::Waiting
                | State::Failed
                | State::Stopping { .. }
                | State::Clearing
                | State::Asleep
                | State::Gone,
                Event::Started(_)
                | Event::Health(_)
                | Event::Ended(_)
                | Event::Due
                | Event::Resize
                | Event::Rested(_)
                | Event::Cleared(_),
            ) => {}
        }
    }

    /// `began` is when the wish for this start was taken; its waterfall counts from there. A fault that may pass is
    /// shown until this start has an outcome: whoever looks now and then learns of it.
    fn start(&mut self, began: Instant) {
        let unwanted = Arc::new(Notify::new());
        self.enter(State::Starting { unwanted: unwanted.clone() });
        self.began = began;
        self.size = Some(self.wanted.spec.size);
        self.end_reason = None;
        self.waterfall = Waterfall::default();
        // Whatever is written next is written of this start.
        self.wanted.waterfall = None;
        // Who sleeps is as good as running.
        if !self.rises {
            self.show(|shown| {
                shown.waterfall = Waterfall::default();
                match std::mem::replace(&mut shown.phase, Phase::Creating) {
                    Phase::Exited(exit) => shown.last_exit = Some(exit),
                    Phase::Failed(fault) if !fault.permanent => shown.phase = Phase::Failed(fault),
                    Phase::Failed(_) | Phase::Creating | Phase::Running | Phase::Stopping => {}
                }
                shown.health = Health::Starting { hint: None };
            });
        }
        let (machine, spec, address) = (self.machine.clone(), self.wanted.spec.clone(), self.wanted.address);
        let pair = self.pair.take();
        self.work(async move |events| {
            let started = birth::start(&machine, &spec, address, pair, began, &unwanted).await;
            send(&events, Event::Started(started.map(Box::new).map_err(Box::new))).await;
        });
    }

    async fn born(&mut self, born: Born) {
        self.pair = Some(born.pair);
        if let Some(removing) = self.wanted.removing {
            return self.stop(Arc::new(born.alive), removing);
        }
        self.waterfall = Waterfall {
            queued_ms: Some(born.queued_ms),
            namespace_ms: Some(born.namespace_ms),
            mount_ms: Some(born.mount_ms),
            exec_ms: Some(born.exec_ms),
            ..Waterfall::default()
        };
        self.running(born.alive, Health::Starting { hint: None });
        if self.wanted.layers != born.layers {
            let mut next = self.wanted.clone();
            next.layers = born.layers;
            self.keep_if_possible(next).await;
        }
        self.resize(false).await;
    }

    fn stillborn(&mut self, stillborn: Stillborn) {
        self.pair = stillborn.pair;
        if self.wanted.removing.is_some() {
            return self.clear(Duration::ZERO);
        }
        self.does_not_rise();
        let fault = stillborn.fault;
        tracing::warn!(
            instance = %self.wanted.spec.id,
            service = self.wanted.spec.service_name,
            permanent = fault.permanent,
            reason = fault.reason,
            "cannot be started"
        );
        if fault.permanent {
            self.enter(State::Failed);
        } else {
            self.enter(State::Waiting);
            self.due_after_backoff();
        }
        self.show(|shown| shown.phase = Phase::Failed(fault.bounded()));
    }

    fn running(&mut self, alive: Alive, health: Health) {
        let alive = Arc::new(alive);
        if !self.rises {
            let waterfall = self.waterfall;
            self.show(|shown| {
                shown.phase = Phase::Running;
                shown.waterfall = waterfall;
                shown.health = health.clone();
            });
        }
        match &self.place {
            Some(place) => place.started(Limits::of(self.size.unwrap_or(self.wanted.spec.size))),
            None => self.enrol(health == Health::Healthy, self.is_new()),
        }
        let id = &self.wanted.spec.id;
        if self.watch.is_none() {
            match self.machine.news.watch_output(id, &self.machine.instance_dir(id.as_str())) {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => tracing::warn!(instance = %id, %error, "its output is not watched"),
            }
        }
        // What it wrote before the watch began.
        self.machine.news.tell(Hint::Output(id.clone()));
        self.starts = self.starts.saturating_add(1);
        self.watch(alive, health);
    }

    /// Waits for the container's end and checks its health; anew when the check has changed.
    fn watch(&mut self, alive: Arc<Alive>, known: Health) {
        let since = match &self.state {
            State::Running { since, .. } => *since,
            State::Starting { .. }
            | State::Waiting
            | State::Failed
            | State::Stopping { .. }
            | State::Clearing
            | State::Asleep
            | State::Gone => {
                // One that an earlier node started has used up some of its grace.
                let now = Instant::now();
                alive.age().and_then(|age| now.checked_sub(age)).unwrap_or(now)
            }
        };
        self.enter(State::Running { alive: alive.clone(), since });
        let check = self.wanted.spec.health.clone();
        let counts_from = (since + Duration::from_millis(self.wanted.spec.health_grace_ms)).into();
        let address = SocketAddr::from((self.wanted.address, self.wanted.spec.port));
        let pid = alive.pid();
        let awake = self.place.as_ref().and_then(Place::awake);
        if self.rises || self.falls_asleep() {
            let patience = self.patience();
            self.work(async move |events| {
                for time in patience {
                    sleep_until((since + time).into()).await;
                    send(&events, Event::Due).await;
                }
            });
        }
        self.work(async move |events| send(&events, Event::Ended(alive.ended().await)).await);
        self.work(async move |events| {
            let (news_to, mut news) = mpsc::channel(EVENTS_MAX);
            let forward = async {
                while let Some(one) = news.recv().await {
                    send(&events, Event::Health(one)).await;
                }
            };
            tokio::join!(health::watch(check, counts_from, address, pid, known, awake, news_to), forward);
        });
    }

    async fn news(&mut self, alive: Arc<Alive>, news: health::News) {
        let elapsed = elapsed_ms(self.began);
        let health = match news {
            health::News::Listening => {
                self.waterfall.listening_ms = Some(elapsed);
                return self.show_stages();
            }
            health::News::Health(health) => bounded(health),
        };
        if health == Health::Healthy && self.is_new() {
            self.waterfall.healthy_ms = Some(elapsed);
        }
        let next = self.wanted.with_health(&health, &self.waterfall);
        // Before anything else: somebody may be waiting for it.
        if let Some(place) = &self.place {
            place.hears(&health, &self.waterfall);
        }
        self.rises &= matches!(health, Health::Starting { .. });
        if !self.rises {
            let waterfall = self.waterfall;
            self.show(|shown| {
                shown.phase = Phase::Running;
                (shown.health, shown.waterfall) = (health, waterfall);
            });
        }
        if let Some(next) = next {
            self.keep_if_possible(next).await;
        }
        drop(alive);
    }

    /// It has not been healthy since this node started it. The birth of one that was found running was not seen.
    fn is_new(&self) -> bool {
        self.waterfall.exec_ms.is_some() && self.waterfall.healthy_ms.is_none()
    }

    /// Shows the stages of a start that is shown.
    fn show_stages(&self) {
        if !self.rises {
            let waterfall = self.waterfall;
            self.show(|shown| shown.waterfall = waterfall);
        }
    }

    async fn restart(&mut self) {
        let mut next = self.wanted.clone();
        next.restarts = next.restarts.saturating_add(1);
        let restarts = next.restarts;
        self.keep_if_possible(next).await;
        self.show(|shown| shown.restarts = restarts);
        self.start(Instant::now());
    }

    /// What the checks said of a container that has ended says nothing of the next one.
    async fn forget_verdict(&mut self) {
        let starting = Health::Starting { hint: None };
        if let Some(next) = self.wanted.with_health(&starting, &Waterfall::default()) {
            self.keep_if_possible(next).await;
        }
    }

    /// Leaves the present state: its work ends, its events are forgotten.
    fn enter(&mut self, state: State) {
        let runs = matches!(state, State::Running { .. });
        self.run.store(if runs { self.starts } else { 0 }, Ordering::Relaxed);
        self.state = state;
        self.resizing = None;
        self.work = JoinSet::new();
        (self.events_to, self.events) = mpsc::channel(EVENTS_MAX);
    }

    fn work<F>(&mut self, work: impl FnOnce(mpsc::Sender<Event>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.work.spawn(work(self.events_to.clone()));
    }

    fn due_after_backoff(&mut self) {
        let pause = self.next_backoff();
        self.work(async move |events| {
            sleep(pause).await;
            send(&events, Event::Due).await;
        });
    }

    fn next_backoff(&mut self) -> Duration {
        let pause = self.backoff_ms;
        self.backoff_ms = (pause * 2).min(BACKOFF_MS_MAX);
        Duration::from_millis(pause)
    }

    /// A container of it has ended, and left its output.
    fn has_run(&self) -> bool {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.last_exit.is_some() || matches!(shown.phase, Phase::Exited(_))
    }

    fn show(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
        self.machine.news.tell(Hint::Instances);
    }

    /// Makes `next` the wish, on disk first.
    async fn keep(&mut self, next: Wanted) -> Result<(), String> {
        let (machine, written) = (self.machine.clone(), next.clone());
        let kept =
            blocking(move || machine.wanted.put(&written).map_err(|e| Fault::transient(e.to_string())));
        kept.await.map_err(|fault| fault.reason)?;
        self.wanted = next;
        Ok(())
    }

    /// For what is only remembered, not promised: a full disk does not stop an instance.
    async fn keep_if_possible(&mut self, next: Wanted) {
        if let Err(reason) = self.keep(next.clone()).await {
            tracing::warn!(instance = %self.wanted.spec.id, reason, "its state cannot be kept on disk");
            self.wanted = next;
        }
    }
}

async fn send(events: &mpsc::Sender<Event>, event: Event) {
    // The state that wanted it may be over.
    let _ = events.send(event).await;
}

/// A check's answer may quote a long path or what an application said.
fn bounded(health: Health) -> Health {
    match health {
        Health::Starting { hint } => Health::Starting { hint: hint.map(|hint| reason(&hint)) },
        Health::Unhealthy { reason: why } => Health::Unhealthy { reason: reason(&why) },
        Health::Healthy => Health::Healthy,
    }
}
