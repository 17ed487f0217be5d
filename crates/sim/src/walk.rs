//! One walk: steps by dice, each followed by a look of every checker; then calm, in which all must come to rest.

mod endurance;

use crate::checkers::{self, Checker, ProxySeen, Seen, Taken};
use crate::clients::Clients;
use crate::counts::{ACCEPTED, IN_ALL, Tally};
use crate::dice::Dice;
use crate::faults::{self, Effect, Images};
use crate::history::History;
use crate::outcome::{Failure, Outcome};
use crate::proxies::Proxies;
use apron_control::bench::{Bench, Control, Done, Links, Part, PartError, Turn};
use apron_control::{Clock, ManualClock};
use apron_model::ids::{Generation, InstanceId, OperationId, RevisionNumber, ServiceId};
use apron_model::limits::{PROXY_SILENT_MS_MAX, PROXY_STATUS_MS};
use apron_model::reconcile::SlotWish;
use apron_model::routes::{RouteState, RouteTable};
use apron_model::service::{Revision, State};
use apron_model::time::{Timestamp, WallTime};
use apron_store::{ServiceRoutes, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// A kill comes after this many passes of the gate, at most: more than a step takes.
const PASSES_MAX: u64 = 60;
const PROXIES_MAX: usize = 3;
/// Steps in which all must have come to rest once nothing is wrong any more. Each takes up to a minute of the clock,
/// so together they are longer than all deadlines.
const CALM_STEPS_MAX: u64 = 600;
const CALM_MS: u64 = 5_000;
/// What is at rest must stay so for this many steps.
const QUIET_STEPS: u64 = 4;
/// A walk takes a fraction of a second of the real clock, which is looked at for nothing else.
const STANDS_STILL: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Makes the walk of this seed.
///
/// # Errors
/// The first thing that a checker, or the walk itself, finds wrong.
pub fn walk(seed: u64, steps: u64) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of one thread can be made");
    let mut walk = Walk::new(seed);
    let lasts_from = endurance::is_due(seed).then(|| steps.saturating_sub(endurance::LAST_STEPS));
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            match tokio::time::timeout(STANDS_STILL, walk.run(steps, lasts_from)).await {
                Ok(ended) => ended,
                Err(_) => Err(Wrong(format!("it stands still while {}: {:?}", walk.doing, walk.bench.gate))),
            }
        })
    }));
    let reason = match ended {
        Ok(Ok(())) => {
            let (history, events) = (walk.history.hash(), walk.history.count());
            return Ok(Outcome { history, events, counts: walk.tally.end() });
        }
        Ok(Err(Wrong(reason))) => reason,
        Err(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => format!("a panic: {text}"),
            (None, Some(text)) => format!("a panic: {text}"),
            (None, None) => "a panic".to_owned(),
        },
    };
    Err(Failure { seed, step: walk.step, reason, history: walk.history.tail() })
}

/// What is wrong.
struct Wrong(String);

impl From<String> for Wrong {
    fn from(reason: String) -> Wrong {
        Wrong(reason)
    }
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Wrong {
        Wrong(format!("the store failed: {error:?}"))
    }
}

struct Walk {
    dice: Dice,
    bench: Bench,
    proxies: Proxies,
    clients: Clients,
    history: History,
    checkers: Vec<Box<dyn Checker>>,
    images: Images,
    strangers: BTreeSet<InstanceId>,
    /// What faults have struck in this step.
    struck: BTreeSet<InstanceId>,
    /// Until when instances that drain, or drained before they were told to stop, may be used.
    drains: BTreeMap<InstanceId, Timestamp>,
    /// Operations that were open when last looked at.
    open: BTreeSet<OperationId>,
    services: BTreeSet<ServiceId>,
    ran: BTreeSet<ServiceId>,
    /// As they were seen last.
    revisions: BTreeMap<(ServiceId, RevisionNumber), Revision>,
    /// Apart from the walk's own, so that how often is looked changes nothing else.
    dice_for_looks: Dice,
    step: u64,
    wall_days: u64,
    tally: Tally,
    /// Faults neither come nor go any more.
    endures: bool,
    doing: &'static str,
}

/// What a step left to look at.
#[derive(Default)]
struct Happened {
    effects: Vec<apron_compute::sim::Effect>,
    taken: Vec<Taken>,
    wrong: Option<String>,
}

impl Walk {
    fn new(seed: u64) -> Walk {
        Walk {
            dice: Dice::new(seed),
            bench: Bench::new(faults::world(), u128::from(seed) << 64 | 1),
            proxies: Proxies::default(),
            clients: Clients::default(),
            history: History::default(),
            checkers: checkers::all(),
            images: Images::new(),
            strangers: BTreeSet::new(),
            struck: BTreeSet::new(),
            drains: BTreeMap::new(),
            open: BTreeSet::new(),
            services: BTreeSet::new(),
            ran: BTreeSet::new(),
            revisions: BTreeMap::new(),
            dice_for_looks: Dice::new(!seed),
            step: 0,
            wall_days: 0,
            tally: Tally::default(),
            endures: false,
            doing: "it begins",
        }
    }

    /// So many steps; after `lasts_from` of them comes a fault that lasts, if so.
    async fn run(&mut self, steps: u64, lasts_from: Option<u64>) -> Result<(), Wrong> {
        let store = self.bench.store().await?;
        self.images.import(&self.bench).await?;
        let mut control = Some(self.bench.start().await?);
        self.proxies.start(self.now());
        while self.step < steps {
            if lasts_from == Some(self.step) {
                self.begin_endurance();
            }
            self.step += 1;
            let changed = if self.endures { false } else { self.fault().await? };
            let mut running = match control.take() {
                Some(control) => control,
                None => self.bench.start().await?,
            };
            let turns = self.turns(changed);
            let calls: Vec<Turn> =
                turns.iter().filter(|turn| matches!(turn, Turn::Call(_))).cloned().collect();
            let passes_max = self.dice.once_in(20).then(|| self.dice.below(PASSES_MAX));
            let (killed, happened, wake) = self.go(&mut running, turns, passes_max).await?;
            self.look(&store, &running, happened).await?;
            if killed {
                self.tally.add(IN_ALL, "kills");
                self.clients.unanswered(&calls);
                self.history.note("control is killed");
                self.proxies.disconnect_all();
            } else {
                self.pass_time(&running.links(), wake);
                control = Some(running);
            }
        }
        let mut running = match control {
            Some(control) => control,
            None => self.bench.start().await?,
        };
        if self.endures {
            self.endure(&store, &mut running).await?;
        }
        self.calm(&store, running).await
    }

    fn now(&self) -> Timestamp {
        self.bench.clock.now()
    }

    /// What goes wrong in this step. Whether the source of some service is not what it was.
    async fn fault(&mut self) -> Result<bool, Wrong> {
        let mut changed = false;
        if self.dice.once_in(4) {
            let line = match faults::strike(&self.bench, &mut self.images, &mut self.dice).await? {
                Effect::Struck(ids, line) => {
                    self.struck.extend(ids);
                    line
                }
                Effect::Stranger(id, line) => {
                    self.strangers.insert(id);
                    line
                }
                Effect::Changed(line) => {
                    changed = true;
                    line
                }
                Effect::Other(line) => line,
            };
            self.history.note(line);
        }
        self.fault_of_proxies();
        Ok(changed)
    }

    fn fault_of_proxies(&mut self) {
        if !self.dice.once_in(6) || self.proxies.all.is_empty() {
            return;
        }
        let (now, index) = (self.now(), self.dice.index(self.proxies.all.len()));
        match self.dice.below(6) {
            0 if self.proxies.all.len() < PROXIES_MAX => {
                self.proxies.start(now);
                self.history.note("a proxy starts");
            }
            1 => {
                let proxy = self.proxies.all.remove(index);
                self.bench.proxy_died(&proxy.process);
                self.history.note(format!("proxy {} dies", proxy.process.pid));
                if self.proxies.all.is_empty() {
                    self.proxies.start(now);
                }
            }
            2 | 3 => {
                let proxy = &mut self.proxies.all[index];
                proxy.deaf = !proxy.deaf;
                self.history.note(format!("proxy {} deaf: {}", proxy.process.pid, proxy.deaf));
            }
            _ => {
                let proxy = &mut self.proxies.all[index];
                proxy.mute = !proxy.mute;
                self.history.note(format!("proxy {} mute: {}", proxy.process.pid, proxy.mute));
            }
        }
    }

    /// What control does in this step: a part that is missing had its hint lost.
    fn turns(&mut self, changed: bool) -> Vec<Turn> {
        let mut turns = Vec::new();
        for part in [Part::Engine, Part::Builds, Part::Instances, Part::Routes] {
            if !self.dice.once_in(8) {
                turns.push(Turn::Part(part));
            }
        }
        if self.dice.once_in(16) {
            turns.push(Turn::Part(Part::Output));
        }
        if self.dice.once_in(24) {
            turns.push(Turn::Part(Part::Housekeeping));
        }
        let calls = if self.dice.once_in(3) { 1 + self.dice.below(2) } else { 0 };
        for _ in 0..calls {
            self.tally.add(IN_ALL, "calls");
            turns.push(Turn::Call(self.clients.call(&mut self.dice)));
        }
        if !self.services.is_empty() && self.dice.once_in(if changed { 2 } else { 16 }) {
            let index = self.dice.index(self.services.len());
            turns.extend(self.services.iter().nth(index).cloned().map(Turn::Push));
        }
        self.greet(&mut turns, 2);
        turns
    }

    /// Proxies without a connection make one, each one time in so many.
    fn greet(&mut self, turns: &mut Vec<Turn>, times: u64) {
        for index in 0..self.proxies.all.len() {
            let proxy = &self.proxies.all[index];
            if !proxy.connected && self.dice.once_in(times) {
                let generation = proxy.generation();
                let greeted = Generation { epoch: generation.epoch, counter: 0 }.max(generation);
                turns.push(Turn::Greet(proxy.process.clone(), greeted));
            }
        }
    }

    /// Does the turns, in any order and between each other's steps. Whether control was killed, what happened, and
    /// when the engine wants to look again.
    async fn go(
        &mut self,
        control: &mut Control,
        turns: Vec<Turn>,
        passes_max: Option<u64>,
    ) -> Result<(bool, Happened, Option<Timestamp>), Wrong> {
        let links = control.links();
        let gate = self.bench.gate.clone();
        let mut happened = Happened::default();
        self.doing = "control has its turns";
        let ended = {
            let Walk { dice, proxies, bench, drains, .. } = self;
            let between = |left: usize| {
                let now = bench.clock.now();
                let effects = bench.world.take_effects();
                for effect in &effects {
                    if let apron_compute::sim::Effect::Removed(id) = effect
                        && let Some(wrong) = proxies.lose_by_stop(drains, id, now)
                    {
                        happened.wrong.get_or_insert(wrong);
                    }
                }
                happened.effects.extend(effects);
                if dice.once_in(6) && !proxies.all.is_empty() {
                    let index = dice.index(proxies.all.len());
                    move_proxy(proxies, index, &links, dice, now, &mut happened.taken);
                }
                dice.index(left)
            };
            gate.together(control.turns(turns), passes_max, between).await
        };
        let now = self.now();
        let effects = self.bench.world.take_effects();
        for effect in &effects {
            if let apron_compute::sim::Effect::Removed(id) = effect
                && let Some(wrong) = self.proxies.lose_by_stop(&self.drains, id, now)
            {
                happened.wrong.get_or_insert(wrong);
            }
        }
        happened.effects.extend(effects);
        let Some(ended) = ended else { return Ok((true, happened, None)) };
        let mut wake = None;
        for done in ended {
            match done {
                Done::Part(part, Ok(at)) => {
                    if part == Part::Engine {
                        wake = at;
                    }
                }
                Done::Part(_, Err(PartError::Driver)) => {}
                Done::Part(part, Err(PartError::Store(error))) => {
                    return Err(Wrong(format!("{part:?} failed: {error:?}")));
                }
                Done::Call(call, answer) => {
                    let said = match &answer {
                        Ok(_) => "ok".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    self.history.note(format!("{} {} {}: {said}", call.region, call.operation, call.input));
                    if answer.is_ok() {
                        self.tally.add(ACCEPTED, &call.operation);
                    }
                    if let Some(operation) = self.clients.answered(&call, &answer)? {
                        self.history.note(format!("operation {operation}"));
                        let id = OperationId::new(operation);
                        if call.operation == "StartDeployment" && self.tally.knows(&id) {
                            self.tally.met(&id, "is joined");
                        }
                        self.open.insert(id);
                    }
                }
                Done::Push(service, Ok(pushed)) => {
                    self.history.note(format!("a push to {service}: {pushed:?}"));
                    self.open.extend(pushed);
                }
                Done::Push(service, Err(error)) => {
                    return Err(Wrong(format!("a push to {service} failed: {error:?}")));
                }
                Done::Greet(process, greeted) => {
                    let connected = match greeted {
                        Ok(connected) => connected,
                        Err(error) => return Err(Wrong(format!("a proxy is not greeted: {error:?}"))),
                    };
                    if let Some(proxy) = self.proxies.find(&process) {
                        proxy.heard(now);
                        proxy.connected = connected;
                        proxy.known |= connected;
                        self.history.note(format!("proxy {} is connected: {connected}", process.pid));
                    }
                }
            }
        }
        for index in 0..self.proxies.all.len() {
            if !self.dice.once_in(4) {
                move_proxy(&mut self.proxies, index, &links, &mut self.dice, now, &mut happened.taken);
            }
        }
        Ok((false, happened, wake))
    }

    /// Every checker looks.
    async fn look(&mut self, store: &Store, control: &Control, happened: Happened) -> Result<(), Wrong> {
        if let Some(wrong) = &happened.wrong {
            return Err(Wrong(wrong.clone()));
        }
        let seen = self.see(store, control, happened).await?;
        for checker in &mut self.checkers {
            checker.look(&seen)?;
        }
        self.doing = "nothing";
        Ok(())
    }

    async fn see(&mut self, store: &Store, control: &Control, happened: Happened) -> Result<Seen, Wrong> {
        self.doing = "rows are looked at";
        let ran = self.ran.clone();
        let services = store.service_routes().await?;
        let mut revisions = BTreeMap::new();
        for row in &services {
            let id = &row.service.id;
            let slots = row.slots.iter().map(|slot| slot.revision);
            for number in slots.chain(row.service.active).collect::<BTreeSet<_>>() {
                // One that has served may be forgotten, and how it scales may change as the service's own row says.
                let known = self.revisions.get(&(id.clone(), number)).filter(|known| {
                    let is_as_shown = row.service.operation.is_none() && known.config == row.service.config;
                    known.served && (is_as_shown || row.service.active != Some(number))
                });
                let revision = match known {
                    Some(known) if !self.dice_for_looks.once_in(16) => Some(known.clone()),
                    Some(_) | None => store.revision_get(id, number).await?,
                };
                if let Some(revision) = revision {
                    revisions.insert((id.clone(), number), revision);
                }
            }
            self.open.extend(row.service.operation.clone());
            if row.service.operation.is_none() && row.service.state == State::Running {
                self.ran.insert(id.clone());
            }
            for slot in &row.slots {
                if let SlotWish::Drain { until, .. } = slot.wish {
                    self.drains.insert(slot.id.clone(), until);
                }
            }
        }
        self.proxies.excuse(&services);
        self.revisions.clone_from(&revisions);
        let present: BTreeSet<ServiceId> = services.iter().map(|row| row.service.id.clone()).collect();
        for id in self.services.difference(&present) {
            self.clients.gone(id.as_str());
        }
        self.services = present;
        let mut operations = Vec::new();
        for id in &self.open {
            operations.extend(store.operation_get(id).await?);
        }
        for operation in &operations {
            self.tally.look(operation);
            if operation.status.is_ended() {
                self.history.note(format!(
                    "{} {}: {:?}",
                    operation.id,
                    operation.status.as_str(),
                    operation.fault
                ));
            }
        }
        self.open =
            operations.iter().filter(|one| !one.status.is_ended()).map(|one| one.id.clone()).collect();
        for row in &services {
            let service = &row.service;
            let slots: Vec<_> = row.slots.iter().map(|slot| (&slot.id, slot.revision, slot.wish)).collect();
            let line = format!("{} {:?} {:?} {slots:?}", service.id, service.state, service.active);
            self.history.hash_only(&line);
        }
        let proxy = |proxy: &crate::proxies::Proxy| ProxySeen {
            process: proxy.process.clone(),
            generation: proxy.generation(),
            connected: proxy.connected,
        };
        let table = control.links().table();
        let stopped = self.clients.stopped.clone();
        self.forget_stopped(&services, table.as_deref());
        let mut ill = std::mem::take(&mut self.struck);
        let mut containers = BTreeMap::new();
        for spec in self.bench.world.specs() {
            if self.images.are_ill(&spec.image) {
                ill.insert(spec.id.clone());
            }
            containers.insert(spec.id, (spec.service, spec.revision));
        }
        Ok(Seen {
            now: self.now(),
            services,
            operations,
            revisions,
            observed: self.bench.world.observed(),
            effects: happened.effects,
            strangers: self.strangers.clone(),
            taken: happened.taken,
            proxies: self.proxies.all.iter().map(proxy).collect(),
            table,
            ill,
            containers,
            ran,
            stopped,
        })
    }

    /// What somebody asked to stop, and what serves all the same with nothing open any more, was resumed, or never
    /// stopped: from now on it may not stop by itself.
    fn forget_stopped(&mut self, services: &[ServiceRoutes], table: Option<&RouteTable>) {
        for ServiceRoutes { service, .. } in services {
            let mut routes = table.iter().flat_map(|table| &table.services);
            let served = routes.any(|one| one.id == service.id && one.state == RouteState::Serving);
            if served && service.operation.is_none() && service.state == State::Running {
                self.clients.stopped.remove(service.id.as_str());
            }
        }
    }

    /// Time passes: mostly little, sometimes up to the next deadline, sometimes on the wall only.
    fn pass_time(&mut self, links: &Links, wake: Option<Timestamp>) {
        let now = self.now();
        match self.dice.below(24) {
            0 => {
                let left = wake.map_or(0, |at| (at - now).as_millis() as u64);
                self.bench.clock.forward(left);
                self.history.note(format!("{left} ms to the next deadline pass"));
                self.proxies.renew(links, self.now());
            }
            1 => {
                self.bench.clock.forward(self.dice.below(PROXY_SILENT_MS_MAX * 3));
                self.proxies.renew(links, self.now());
            }
            // A machine that slept: nobody renewed anything.
            2 if self.dice.once_in(4) => self.bench.clock.forward(self.dice.below(10 * 60 * 1000)),
            3 => {
                self.wall_days = self.dice.below(40);
                set_wall(&self.bench.clock, self.wall_days);
                self.history.note(format!("the wall clock shows day {}", self.wall_days));
            }
            _ => {
                self.bench.clock.forward(self.dice.below(3 * PROXY_STATUS_MS));
                self.proxies.renew(links, self.now());
            }
        }
    }

    /// Nothing is wrong any more: every operation ends, nothing drains, and world, routes and rows say the same.
    async fn calm(&mut self, store: &Store, mut control: Control) -> Result<(), Wrong> {
        self.history.note("nothing is wrong any more");
        faults::heal(&self.bench.world, &mut self.images);
        for proxy in &mut self.proxies.all {
            (proxy.deaf, proxy.mute) = (false, false);
            proxy.busy.clear();
        }
        let (mut quiet, mut unrest) = (0, None);
        for _ in 0..CALM_STEPS_MAX {
            self.step += 1;
            let mut turns: Vec<Turn> =
                [Part::Engine, Part::Builds, Part::Instances, Part::Routes].map(Turn::Part).into();
            self.greet(&mut turns, 1);
            let (_, happened, wake) = self.go(&mut control, turns, None).await?;
            for proxy in &mut self.proxies.all {
                proxy.busy.clear();
            }
            if let Some(wrong) = &happened.wrong {
                return Err(Wrong(wrong.clone()));
            }
            let seen = self.see(store, &control, happened).await?;
            for checker in &mut self.checkers {
                checker.look(&seen)?;
            }
            unrest = self.checkers.iter_mut().find_map(|checker| checker.rest(&seen).err());
            quiet = if unrest.is_none() { quiet + 1 } else { 0 };
            if quiet == QUIET_STEPS {
                return Ok(());
            }
            let left =
                wake.map_or(CALM_MS, |at| ((at - self.now()).as_millis() as u64).clamp(CALM_MS, 60_000));
            self.bench.clock.forward(left);
            self.proxies.renew(&control.links(), self.now());
        }
        Err(Wrong(format!("it does not come to rest: {}", unrest.unwrap_or_default())))
    }
}

/// The proxy says what it has; it may have taken a table first.
fn move_proxy(
    proxies: &mut Proxies,
    index: usize,
    links: &Links,
    dice: &mut Dice,
    now: Timestamp,
    taken: &mut Vec<Taken>,
) {
    if let Some(before) = proxies.act(index, links, dice, now) {
        let proxy = &proxies.all[index];
        if let Some(after) = proxy.table.clone() {
            taken.push(Taken { process: proxy.process.clone(), before, after });
        }
    }
}

fn set_wall(clock: &ManualClock, days: u64) {
    clock.set_wall(WallTime(days * DAY_MS));
}
