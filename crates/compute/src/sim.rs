//! A driver whose world is in memory, for tests of the engine: it obeys wishes like the node does and behaves
//! as it is told to.
//!
//! Time does not pass here. Each `list` is one look, and every instance moves one step on its way at each look,
//! so a test sees every phase and needs no clock. Around each effect the driver passes a gate, so that a caller that
//! is dropped at any of its await points is cut before or behind the effect.

mod driver;
#[cfg(test)]
mod tests;

use crate::driver::{Can, Driver, DriverError, Hint, Output, OutputLine};
use apron_model::build::{BuildEvent, BuildOutcome, BuildSpec, SourceLocation};
use apron_model::idle::{Rung, Standing};
use apron_model::ids::{Digest, Generation, InstanceId, ServiceId};
use apron_model::instance::{Exit, Fault, Health, InstanceSpec, Observed, Phase, Waterfall};
use apron_model::limits;
use apron_model::meter::{Batch, Handed, Row, Taken};
use apron_model::scaling::Readings;
use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Hints that wait for a slow listener; more are dropped, as from any driver.
const HINTS_MAX: usize = 256;

/// What instances of an image do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    /// Stays in `Starting` for this many looks first.
    Slow {
        looks: u32,
    },
    /// Ends before it is healthy, every time.
    Exits {
        code: i32,
        last_lines: Vec<String>,
    },
    /// Listens somewhere else, or nowhere.
    Silent {
        hint: Option<String>,
    },
    /// Answers the health check wrongly.
    Unhealthy {
        reason: String,
    },
    /// Cannot be started.
    Fails {
        fault: Fault,
    },
    /// The driver refuses the wish.
    Refused {
        reason: String,
    },
}

/// What a build of a source does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildScript {
    Makes(BuildOutcome),
    Fails(Fault),
    /// The stream ends without a result, as if the node had died, this many times; then it makes the image.
    Interrupted {
        times: u32,
        then: BuildOutcome,
    },
    /// Never ends.
    Hangs,
    /// Says this and never ends.
    HangsAfter(Vec<BuildEvent>),
}

/// How long the only stage of a build takes here, and how long a build that comes to its end took in all.
pub const STAGE_MS: u64 = 1;
pub const BUILT_MS: u64 = 5;

/// Awaited before and behind each effect. What it waits for decides which of several callers goes on.
pub type Gate = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What the driver did because it was told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The wish for an instance was taken, also one that changed nothing.
    Ensured { id: InstanceId, generation: Generation },
    /// The instance was told to stop.
    Removed(InstanceId),
}

/// Effects that are kept for whoever watches; of more only the latest.
const EFFECTS_MAX: usize = 4096;

/// The world, shared by all handles; it outlives every control that drives it.
#[derive(Clone, Default)]
pub struct World {
    shared: Arc<Mutex<State>>,
    /// Another build hangs.
    hung: Arc<Notify>,
    gate: Option<Gate>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("World").field(&self.state()).finish()
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    behaviours: BTreeMap<Digest, Behaviour>,
    builds: BTreeMap<String, BuildScript>,
    instances: BTreeMap<InstanceId, Instance>,
    listeners: Vec<mpsc::Sender<Hint>>,
    unreachable: bool,
    /// So many of the next calls do not arrive; of so many others the answer is lost.
    lost_calls: u32,
    lost_answers: u32,
    /// Builds that never end by themselves.
    hanging: usize,
    effects: VecDeque<Effect>,
    /// So many instances have the memory that they need; more cannot be started for now.
    room: Option<usize>,
    /// Why nothing can be removed.
    removes_nothing: Option<String>,
    next_address: u16,
    /// What instances used, and what of it is handed on.
    used: Vec<Row>,
    batch: Batch,
    readings: Readings,
    ensured: u64,
    removed: u64,
    built: u64,
}

#[derive(Clone, Debug)]
struct Instance {
    spec: InstanceSpec,
    observed: Observed,
    looks: u32,
    output: Vec<OutputLine>,
}

impl World {
    /// From now on instances use that much.
    pub fn reads(&self, readings: Readings) {
        self.state().readings = readings;
    }

    pub fn new() -> World {
        World::default()
    }

    /// The same world, whose callers pass this gate. Without one they only yield.
    pub fn gated(&self, gate: Gate) -> World {
        World { gate: Some(gate), ..self.clone() }
    }

    /// A copy that goes its own way from here, with nobody listening and no gate.
    pub fn fork(&self) -> World {
        let mut state = self.state().clone();
        state.listeners.clear();
        state.hanging = 0;
        World { shared: Arc::new(Mutex::new(state)), ..World::default() }
    }

    /// Instances of this image behave so from their next look on. Others are healthy.
    pub fn behave(&self, image: &Digest, behaviour: Behaviour) {
        self.state().behaviours.insert(image.clone(), behaviour);
    }

    /// Builds of this source (the git URL, or the digest of an upload) do this.
    pub fn script(&self, source: &str, script: BuildScript) {
        self.state().builds.insert(source.to_owned(), script);
    }

    /// The images that its builds make, as they are scripted now.
    pub fn images(&self) -> Vec<Digest> {
        let image = |script: &BuildScript| match script {
            BuildScript::Makes(outcome) | BuildScript::Interrupted { then: outcome, .. } => {
                Some(outcome.image.clone())
            }
            BuildScript::Fails(_) | BuildScript::Hangs | BuildScript::HangsAfter(_) => None,
        };
        self.state().builds.values().filter_map(image).collect()
    }

    /// Every call fails while this is set.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.state().unreachable = unreachable;
        self.hint(&Hint::Instances);
    }

    /// So many of the next calls do not arrive, and of so many after them the answer is lost: what was asked for is
    /// done, and the caller does not know.
    pub fn lose(&self, calls: u32, answers: u32) {
        let mut state = self.state();
        (state.lost_calls, state.lost_answers) = (calls, answers);
    }

    /// Every removal is refused with this reason, as by a node that cannot write the wish down.
    pub fn refuse_removals(&self, reason: Option<&str>) {
        self.state().removes_nothing = reason.map(ToOwned::to_owned);
    }

    /// Memory for so many instances, those that stop included; None: for all.
    pub fn set_room(&self, room: Option<usize>) {
        self.state().room = room;
        self.hint(&Hint::Instances);
    }

    /// A running instance ends by itself; at the next look but one it runs again.
    pub fn crash(&self, id: &InstanceId, code: i32) {
        if let Some(instance) = self.state().instances.get_mut(id) {
            instance.observed.last_exit = None;
            instance.observed.phase = Phase::Exited(exit(code, Vec::new()));
            instance.looks = 0;
        }
        self.hint(&Hint::Instances);
    }

    /// The driver loses everything it had, as a wiped node would.
    pub fn wipe(&self) {
        self.state().instances.clear();
        self.hint(&Hint::Instances);
    }

    /// A container that no row knows.
    pub fn put_stranger(&self, spec: InstanceSpec) {
        let mut state = self.state();
        let instance = state.make(&spec);
        state.instances.insert(spec.id.clone(), instance);
    }

    /// The instance writes a line.
    pub fn write(&self, id: &InstanceId, at_ms: u64, text: &str) {
        if let Some(instance) = self.state().instances.get_mut(id) {
            instance.output.push(OutputLine { at_ms, text: text.to_owned() });
        }
        self.hint(&Hint::Output(id.clone()));
    }

    /// Instances used this.
    pub fn uses(&self, row: Row) {
        self.state().used.push(row);
    }

    /// What there is, without that it moves on as by a look of the driver's caller.
    pub fn observed(&self) -> Vec<Observed> {
        self.state().instances.values().map(|instance| instance.observed.clone()).collect()
    }

    /// What was done since this was last asked for, oldest first.
    pub fn take_effects(&self) -> Vec<Effect> {
        self.state().effects.drain(..).collect()
    }

    /// Builds that run and never end by themselves.
    pub fn hanging(&self) -> usize {
        self.state().hanging
    }

    /// Told when another build hangs.
    pub fn hung(&self) -> &Notify {
        &self.hung
    }

    /// Specs of everything that exists.
    pub fn specs(&self) -> Vec<InstanceSpec> {
        self.state().instances.values().map(|instance| instance.spec.clone()).collect()
    }

    /// How many wishes to make and to remove instances, and builds, were taken.
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.ensured, state.removed, state.built)
    }

    fn hint(&self, hint: &Hint) {
        self.state().listeners.retain(|listener| match listener.try_send(hint.clone()) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self) {
        match &self.gate {
            Some(gate) => gate().await,
            None => tokio::task::yield_now().await,
        }
    }

    fn reachable(&self) -> Result<MutexGuard<'_, State>, DriverError> {
        let mut state = self.state();
        if state.unreachable {
            return Err(unreachable());
        }
        if state.lost_calls > 0 {
            state.lost_calls -= 1;
            return Err(unreachable());
        }
        Ok(state)
    }

    /// The way back of an answer.
    fn answered(&self) -> Result<(), DriverError> {
        let mut state = self.state();
        if state.lost_calls == 0 && state.lost_answers > 0 {
            state.lost_answers -= 1;
            return Err(unreachable());
        }
        Ok(())
    }
}

fn unreachable() -> DriverError {
    DriverError::Unreachable("the simulated node".to_owned())
}

/// A build that never ends by itself, until its stream is dropped.
struct Hanging(World);

impl Hanging {
    fn new(world: &World) -> Hanging {
        world.state().hanging += 1;
        world.hung.notify_one();
        Hanging(world.clone())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.hanging = state.hanging.saturating_sub(1);
    }
}

impl State {
    fn note(&mut self, effect: Effect) {
        if self.effects.len() == EFFECTS_MAX {
            self.effects.pop_front();
        }
        self.effects.push_back(effect);
    }

    fn make(&mut self, spec: &InstanceSpec) -> Instance {
        self.next_address += 1;
        let [high, low] = self.next_address.to_be_bytes();
        Instance {
            spec: spec.clone(),
            observed: Observed {
                id: spec.id.clone(),
                generation: spec.generation,
                address: Some(SocketAddr::from(([127, 1, high, low], spec.port))),
                phase: Phase::Creating,
                health: Health::Starting { hint: None },
                restarts: 0,
                last_exit: None,
                waterfall: Waterfall::default(),
            },
            looks: 0,
            output: Vec::new(),
        }
    }
}

impl Instance {
    /// It has its memory.
    fn is_started(&self) -> bool {
        match self.observed.phase {
            Phase::Running | Phase::Exited(_) | Phase::Stopping => true,
            Phase::Creating | Phase::Failed(_) => false,
        }
    }

    /// One look later, without memory. False: it was tried so often that nobody expects more.
    fn lacks_memory(&mut self) -> bool {
        let tries = if self.looks == 0 { 0 } else { self.observed.restarts + 1 };
        let moving = self.looks == 0 || tries < limits::START_TRIES_MAX;
        self.looks = self.looks.saturating_add(1);
        self.observed.restarts = if moving { tries } else { self.observed.restarts };
        let reason = format!("{}: none is available", Fault::NO_MEMORY);
        self.observed.phase = Phase::Failed(Fault::transient(reason));
        self.observed.health = Health::Starting { hint: None };
        moving
    }

    /// One look later. False: nothing moves any more.
    fn step(&mut self, behaviour: &Behaviour) -> bool {
        let before = self.observed.clone();
        self.looks = self.looks.saturating_add(1);
        let starting = Health::Starting { hint: None };
        let (phase, health) = match (&self.observed.phase, behaviour) {
            (Phase::Stopping, _) => (Phase::Stopping, self.observed.health.clone()),
            (_, Behaviour::Fails { fault }) => (Phase::Failed(fault.clone()), starting),
            (Phase::Exited(exit), _) if self.looks < 2 => (Phase::Exited(exit.clone()), starting),
            (Phase::Exited(exit), _) => {
                self.observed.last_exit = Some(exit.clone());
                self.observed.restarts += 1;
                self.looks = 0;
                (Phase::Running, starting)
            }
            (_, Behaviour::Exits { code, last_lines }) if self.looks >= 2 => {
                self.looks = 0;
                (Phase::Exited(exit(*code, last_lines.clone())), starting)
            }
            (_, Behaviour::Healthy) if self.looks >= 2 => (Phase::Running, Health::Healthy),
            (_, Behaviour::Slow { looks }) if self.looks > *looks => (Phase::Running, Health::Healthy),
            (_, Behaviour::Silent { hint }) if self.looks >= 2 => {
                (Phase::Running, Health::Starting { hint: hint.clone() })
            }
            (_, Behaviour::Unhealthy { reason }) if self.looks >= 2 => {
                (Phase::Running, Health::Unhealthy { reason: reason.clone() })
            }
            _ => (Phase::Running, starting),
        };
        if matches!(phase, Phase::Exited(_)) {
            // As the node does: the phase says it.
            self.observed.last_exit = None;
        }
        self.observed.phase = phase;
        self.observed.health = health;
        let slow = matches!(behaviour, Behaviour::Slow { looks } if self.looks <= *looks);
        slow || self.observed != before || self.looks < 2
    }
}

fn exit(code: i32, last_lines: Vec<String>) -> Exit {
    Exit { code: Some(code), signal: None, out_of_memory: false, reason: None, last_lines }
}
