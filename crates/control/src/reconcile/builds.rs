//! Builds: a wished image becomes a digest in the content store, or a reason.
//!
//! Sources are built by the driver, images pulled from their registry. A build that is no longer wanted is
//! cancelled by dropping it. One that was cut short, by our end or the node's, starts anew under the same id
//! and does not count as a failure; the operation's deadline bounds how often that can be. While the node is away
//! nobody loses a place: what has one keeps it, and what waits has one when the node has taken the build.

#[cfg(test)]
mod tests;

use super::backoff;
use crate::clock::Clock;
use crate::engine::{Hints, SOURCE};
use apron_compute::driver::{Driver, DriverError};
use apron_images::content::Content;
use apron_images::registry::Registry;
use apron_model::build::{BuildEvent, BuildOutcome, BuildSpec, BuildTime, SourceLocation, signed_address};
use apron_model::ids::{BuildId, ResourceId, id_of_arn};
use apron_model::instance::Fault;
use apron_model::operation::{Build, BuildFact, BuildWish};
use apron_model::resource::{Body, Kind};
use apron_model::time::Timestamp;
use apron_store::{Store, StoreError};
use apron_telemetry::{Logs, Stream};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};

/// Builds use whole cores; more at once would only make each slower.
const BUILDS_MAX: usize = 2;
/// Pulls mostly wait for the network.
const PULLS_MAX: usize = 16;
/// Of those places, tries that come again may have so many, so that registries that say nothing leave some to others.
const PULLS_AGAIN_MAX: usize = PULLS_MAX / 2;
/// Of those places, one registry may have so many: while it says nothing the others are to be asked.
const PULLS_OF_ONE_MAX: usize = PULLS_MAX / 4;
/// Of those places, registries of which it is not known that they give images may have so many in all, more than three
/// of them have together.
const PULLS_UNPROVEN_MAX: usize = PULLS_MAX - PULLS_OF_ONE_MAX + 1;
/// Registries that are remembered because they gave an image.
const PROVEN_MAX: usize = 64;
/// To find out what the name of an imported image means takes milliseconds and asks nobody.
const IMPORTS_MAX: usize = 16;
const SCAN_EVERY: Duration = Duration::from_secs(10);
/// Who speaks in the deployment log while commands run.
const BUILD_SOURCE: &str = "Build";

pub(crate) struct Builds<D> {
    work: Arc<Work<D>>,
    tasks: JoinSet<Ended>,
    /// Those that have a place.
    running: BTreeMap<BuildId, Running>,
    /// Tries that ended without an image, and when the next one is due.
    paused: BTreeMap<BuildId, (u32, Timestamp)>,
    /// What each that is due needs a place for. That of an image is found in a list which may be long, once for each
    /// try.
    queues: BTreeMap<BuildId, Queue>,
    /// Registries that gave what was last asked for, the latest first.
    proven: VecDeque<String>,
    /// Tries that one pass begins.
    begun_max: usize,
}

struct Running {
    /// None while an interrupted try is paused.
    task: Option<tokio::task::AbortHandle>,
    queue: Queue,
    built: Built,
}

/// How long a build takes. Who records it takes it out, so that nobody else does.
#[derive(Clone, Default)]
struct Built(Arc<Mutex<BuildTime>>);

impl Built {
    fn get(&self) -> MutexGuard<'_, BuildTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> BuildTime {
        std::mem::take(&mut *self.get())
    }
}

/// What a try needs a place for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Queue {
    Source,
    Import,
    /// A pull from this registry.
    Pull(String),
}

/// Which tries share places, and how many those are.
type Places<'a> = (Box<dyn Fn(&Queue) -> bool + 'a>, usize);

/// How a try ended.
enum Ended {
    Recorded(Gave),
    /// The node was away, or went: again, and it keeps its place.
    Interrupted,
    /// What it needs could not be read, or what came of it not be recorded: again.
    Again,
}

/// Whether the registry that was asked gave the image.
enum Gave {
    Yes,
    No,
    /// None was asked, or what was asked for is not to be had.
    Unknown,
}

pub(crate) struct Work<D> {
    pub(crate) store: Store,
    pub(crate) driver: Arc<D>,
    pub(crate) content: Content,
    pub(crate) registry: Registry,
    pub(crate) logs: Logs,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hints: Hints,
}

impl<D: Driver> Builds<D> {
    pub(crate) fn new(work: Work<D>) -> Builds<D> {
        Builds {
            work: Arc::new(work),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            paused: BTreeMap::new(),
            queues: BTreeMap::new(),
            proven: VecDeque::new(),
            begun_max: usize::MAX,
        }
    }

    /// Begins one try in each pass, for benches: what several do at once comes in an order of chance.
    pub(crate) fn one_by_one(self) -> Builds<D> {
        Builds { begun_max: 1, ..self }
    }

    pub(crate) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let hints = self.work.hints.clone();
        loop {
            let pause = match self.pass().await {
                Ok(wake) => wake.map_or(SCAN_EVERY, |at| (at - self.work.clock.now()).min(SCAN_EVERY)),
                Err(error) => {
                    tracing::error!(error = %crate::chain(&error), "builds cannot be looked at");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = hints.for_builds() => {}
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.reap(ended),
                () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
                _ = shutdown.changed() => return,
            }
        }
    }

    /// Starts what is due and cancels what is not. Returns when a paused try is due.
    pub(crate) async fn pass(&mut self) -> Result<Option<Timestamp>, StoreError> {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.reap(ended);
        }
        // First come first served, but what was not tried yet before what is tried again.
        let mut due = self.work.store.build_list_wanted().await?;
        due.retain(Build::is_due);
        due.sort_by_key(|build| build.failures);
        let ids: BTreeSet<&BuildId> = due.iter().map(|build| &build.id).collect();
        let mut called_off: Vec<(BuildId, BuildTime)> = Vec::new();
        self.running.retain(|id, running| {
            let keep = ids.contains(id);
            if !keep {
                if let Some(task) = &running.task {
                    task.abort();
                }
                called_off.push((id.clone(), running.built.take()));
            }
            keep
        });
        self.paused.retain(|id, _| ids.contains(id));
        self.queues.retain(|id, _| ids.contains(id));
        self.find_queues(&due);
        let now = self.work.clock.now();
        for (id, built) in called_off {
            self.work.called_off(&id, built.ms(now)).await;
        }
        let mut wake: Option<Timestamp> = None;
        let mut begun = 0;
        let mut waiting: BTreeMap<Queue, usize> = BTreeMap::new();
        for build in due {
            let running = self.running.get(&build.id);
            if running.is_some_and(|running| running.task.is_some()) {
                continue;
            }
            if let Some((_, at)) = self.paused.get(&build.id).filter(|(_, at)| *at > now) {
                wake = Some(wake.map_or(*at, |wake| wake.min(*at)));
                continue;
            }
            let Some(queue) = self.queues.get(&build.id).cloned() else { continue };
            let has_place = running.is_some();
            if !has_place && let Some(before) = self.before(&queue, build.failures > 0, &waiting) {
                self.work.waits(&build, before).await?;
                *waiting.entry(queue).or_default() += 1;
            } else if begun < self.begun_max {
                begun += 1;
                let id = build.id.clone();
                let built = running.map_or_else(Built::default, |running| running.built.clone());
                let task = Some(self.tasks.spawn(Arc::clone(&self.work).attempt(build, built.clone())));
                self.running.insert(id, Running { task, queue, built });
            }
        }
        Ok(wake)
    }

    /// Waits until no more tries than these are open, of which there are others after each change.
    pub(crate) async fn settle(&mut self, left: impl Fn() -> usize, changed: &Notify) {
        while self.tasks.len() > left() {
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.reap(ended),
                () = changed.notified() => {}
            }
        }
    }

    /// Builds of one image at once are found out together.
    fn find_queues(&mut self, due: &[Build]) {
        let mut found: BTreeMap<&str, Queue> = BTreeMap::new();
        for build in due {
            if self.queues.contains_key(&build.id) {
                continue;
            }
            let queue = match &build.wish {
                BuildWish::Source(_) => Queue::Source,
                BuildWish::Image { reference } => {
                    found.entry(reference).or_insert_with(|| self.work.queue_of_image(reference)).clone()
                }
            };
            self.queues.insert(build.id.clone(), queue);
        }
    }

    /// How many have a place or come before it, where all places that it could have are taken.
    fn before(&self, queue: &Queue, again: bool, waiting: &BTreeMap<Queue, usize>) -> Option<usize> {
        self.places(queue, again).iter().find_map(|(shares, places)| {
            let busy = self.running.values().filter(|one| shares(&one.queue)).count();
            let waiting = waiting.iter().filter(|(one, _)| shares(one)).map(|(_, count)| count);
            (busy >= *places).then(|| busy + waiting.sum::<usize>())
        })
    }

    /// The first of these that are all taken is what it waits for.
    fn places<'a>(&'a self, queue: &'a Queue, again: bool) -> Vec<Places<'a>> {
        let same = |max| -> Places<'a> { (Box::new(move |other| other == queue), max) };
        let registry = match queue {
            Queue::Source => return vec![same(BUILDS_MAX)],
            Queue::Import => return vec![same(IMPORTS_MAX)],
            Queue::Pull(registry) => registry,
        };
        let pulls = if again { PULLS_AGAIN_MAX } else { PULLS_MAX };
        let mut places =
            vec![same(PULLS_OF_ONE_MAX), (Box::new(|other| matches!(other, Queue::Pull(_))), pulls)];
        if !self.proven.contains(registry) {
            let unproven = |other: &Queue| matches!(other, Queue::Pull(one) if !self.proven.contains(one));
            places.push((Box::new(unproven), PULLS_UNPROVEN_MAX));
        }
        places
    }

    fn reap(&mut self, ended: Result<(Id, Ended), tokio::task::JoinError>) {
        let (task, ended) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => (error.id(), Ended::Again),
            Err(error) => (error.id(), Ended::Recorded(Gave::Unknown)),
        };
        let mut running = self.running.iter_mut();
        let ran = |running: &Running| running.task.as_ref().is_some_and(|one| one.id() == task);
        let Some((id, running)) = running.find(|(_, running)| ran(running)) else { return };
        let (id, queue) = (id.clone(), running.queue.clone());
        let failures = self.paused.get(&id).map_or(0, |(failures, _)| failures + 1);
        // A node that restarts is back in seconds; a registry that fails wants to be left alone for longer.
        let pause = match ended {
            Ended::Interrupted => {
                running.task = None;
                backoff(failures.min(4))
            }
            Ended::Again => backoff(failures.min(4)),
            Ended::Recorded(_) => backoff(failures + 2),
        };
        if !matches!(ended, Ended::Interrupted) {
            self.running.remove(&id);
            self.queues.remove(&id);
        }
        if let (Queue::Pull(registry), Ended::Recorded(gave @ (Gave::Yes | Gave::No))) = (queue, ended) {
            self.proven.retain(|one| *one != registry);
            if matches!(gave, Gave::Yes) {
                self.proven.truncate(PROVEN_MAX - 1);
                self.proven.push_front(registry);
            }
        }
        self.paused.insert(id, (failures, self.work.clock.now() + pause));
    }
}

impl<D: Driver> Work<D> {
    fn queue_of_image(&self, reference: &str) -> Queue {
        crate::blocking(|| self.registry.asked_for(reference, &self.content))
            .map_or(Queue::Import, Queue::Pull)
    }

    /// Records that all places are taken, and so many others come before: when the wait begins and whenever half of
    /// them are through, because every build that ends changes the number of all that wait.
    async fn waits(&self, build: &Build, before: usize) -> Result<(), StoreError> {
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let is_news = match build.fact {
            BuildFact::Unknown => true,
            BuildFact::Waits { before: said } => before <= said / 2,
            // Of one that is tried again it is known how its last try ended.
            BuildFact::Done(_) | BuildFact::Failed(_) => false,
        };
        if is_news {
            self.store.build_fact_put(&build.id, &BuildFact::Waits { before }).await?;
            self.hints.operation();
        }
        Ok(())
    }

    async fn attempt(self: Arc<Self>, build: Build, built: Built) -> Ended {
        let made = match &build.wish {
            BuildWish::Source(spec) => {
                self.source(&build, spec, &built).await.map(|fact| (fact, Gave::Unknown))
            }
            BuildWish::Image { reference } => self.image(&build, reference).await,
        };
        let (fact, gave) = match made {
            Ok(made) => made,
            Err(ended) => return ended,
        };
        if let BuildFact::Failed(fault) = &fact {
            tracing::warn!(build = %build.id, reason = fault.reason, "a build failed");
        }
        let built_ms = built.take().ms(self.clock.now());
        match self.store.build_end(&build.id, &fact, built_ms, self.clock.wall()).await {
            Ok(()) => {
                self.hints.operation();
                Ended::Recorded(gave)
            }
            Err(error) => {
                tracing::error!(error = %crate::chain(&error), "the end of a build cannot be recorded");
                Ended::Again
            }
        }
    }

    /// What the node says of a build that was called off nobody hears: its time is what was heard before.
    async fn called_off(&self, id: &BuildId, built_ms: u64) {
        if built_ms == 0 {
            return;
        }
        if let Err(error) = self.store.build_called_off(id, built_ms, self.clock.wall()).await {
            tracing::error!(error = %crate::chain(&error), "the time of a build cannot be recorded");
        }
    }

    /// One that waited has its place: its own time begins.
    async fn begins(&self, build: &Build) -> Result<(), Ended> {
        if matches!(build.fact, BuildFact::Waits { .. }) {
            self.store.build_fact_put(&build.id, &BuildFact::Unknown).await.map_err(|error| {
                tracing::error!(error = %crate::chain(&error), "the beginning of a build cannot be recorded");
                Ended::Again
            })?;
            self.hints.operation();
        }
        Ok(())
    }

    /// Fails where it was cut short.
    async fn source(&self, build: &Build, spec: &BuildSpec, built: &Built) -> Result<BuildFact, Ended> {
        let spec = self.signed_in(spec).await.map_err(|error| {
            tracing::error!(error = %crate::chain(&error), "the connection of a service cannot be read");
            Ended::Again
        })?;
        let events = match self.driver.build(&spec).await {
            Ok(events) => events,
            Err(DriverError::Refused(reason)) => return Ok(BuildFact::Failed(Fault::permanent(reason))),
            Err(DriverError::Unreachable(_)) => return Err(Ended::Interrupted),
        };
        self.begins(build).await?;
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            built.get().hear(&event, self.clock.now());
            match event {
                BuildEvent::Line(line) => self.say(build, BUILD_SOURCE, &format!("[Build] {line}")),
                BuildEvent::Stage { name, ms } => {
                    let seconds = ms as f64 / 1000.0;
                    self.say(build, SOURCE, &format!("[AppRunner] Stage {name}: {seconds:.1} s"));
                }
                BuildEvent::Done { outcome, .. } => return Ok(BuildFact::Done(outcome)),
                BuildEvent::Failed { fault, .. } => return Ok(BuildFact::Failed(fault)),
            }
        }
        built.get().interrupt();
        self.say(build, SOURCE, "[AppRunner] The build was interrupted and starts anew.");
        Err(Ended::Interrupted)
    }

    /// The build with what the service's connection signs in with, which is in no row of the build and in no log.
    async fn signed_in(&self, spec: &BuildSpec) -> Result<BuildSpec, StoreError> {
        let mut spec = spec.clone();
        let SourceLocation::Git { url, .. } = &mut spec.source else { return Ok(spec) };
        let Some(service) = self.store.service_get(&spec.service).await? else { return Ok(spec) };
        let Some(arn) = &service.config.connection_arn else { return Ok(spec) };
        let id = ResourceId::new(id_of_arn(arn));
        let known = self.store.resource_get(Kind::Connection, &service.region, &id).await?;
        let Some(Body::Connection(connection)) = known.map(|known| known.resource.body) else {
            return Ok(spec);
        };
        if let Some(token) = self.store.connection_secret_get(&id).await?.access_token {
            *url = signed_address(url, &connection.provider, &token);
        }
        Ok(spec)
    }

    async fn image(&self, build: &Build, reference: &str) -> Result<(BuildFact, Gave), Ended> {
        self.begins(build).await?;
        let obtained = match self.registry.obtain(reference, &self.content).await {
            Ok(obtained) => obtained,
            Err(error) => {
                let gave = if error.permanent() { Gave::Unknown } else { Gave::No };
                return Ok((BuildFact::Failed(error.fault()), gave));
            }
        };
        if let Some(line) = obtained.line() {
            self.say(build, SOURCE, &format!("[AppRunner] {line}"));
        }
        let gave = if obtained.import.is_none() { Gave::Yes } else { Gave::Unknown };
        let outcome = BuildOutcome {
            image: obtained.image,
            commit: None,
            start_command: None,
            port: None,
            port_env: None,
            env: BTreeMap::new(),
            warnings: Vec::new(),
        };
        Ok((BuildFact::Done(outcome), gave))
    }

    /// A log that takes no line must not end a build.
    fn say(&self, build: &Build, source: &str, text: &str) {
        let stream = Stream::Deployment(build.service.clone(), build.operation.clone());
        let at = self.clock.wall();
        if let Err(error) = crate::blocking(|| self.logs.append(&stream, at, source, [text])) {
            tracing::warn!(error = %crate::chain(&error), "the deployment log takes no line");
        }
    }
}
