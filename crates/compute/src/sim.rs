//! A driver whose world is in memory, for tests of the engine: it obeys wishes like the node does and behaves
//! as it is told to.
//!
//! Time does not pass here. Each `list` is one look, and every instance moves one step on its way at each look,
//! so a test sees every phase and needs no clock. Around each effect the driver yields, so that a caller that is
//! dropped at any of its await points is cut before or behind the effect.

use crate::driver::{Can, Driver, DriverError, Hint, Output, OutputLine};
use apron_model::build::{BuildEvent, BuildOutcome, BuildSpec, SourceLocation};
use apron_model::ids::{Digest, InstanceId, ServiceId};
use apron_model::instance::{Exit, Fault, Health, InstanceSpec, Observed, Phase, Waterfall};
use futures_util::{Stream, stream};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

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
}

/// The world, shared by all handles; it outlives every control that drives it.
#[derive(Clone, Debug, Default)]
pub struct World(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    behaviours: BTreeMap<Digest, Behaviour>,
    builds: BTreeMap<String, BuildScript>,
    instances: BTreeMap<InstanceId, Instance>,
    listeners: Vec<mpsc::Sender<Hint>>,
    unreachable: bool,
    /// Why nothing can be removed.
    removes_nothing: Option<String>,
    next_address: u16,
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
    pub fn new() -> World {
        World::default()
    }

    /// A copy that goes its own way from here, with nobody listening.
    pub fn fork(&self) -> World {
        let mut state = self.state().clone();
        state.listeners.clear();
        World(Arc::new(Mutex::new(state)))
    }

    /// Instances of this image behave so from their next look on. Others are healthy.
    pub fn behave(&self, image: &Digest, behaviour: Behaviour) {
        self.state().behaviours.insert(image.clone(), behaviour);
    }

    /// Builds of this source (the git URL, or the digest of an upload) do this.
    pub fn script(&self, source: &str, script: BuildScript) {
        self.state().builds.insert(source.to_owned(), script);
    }

    /// Every call fails while this is set.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.state().unreachable = unreachable;
        self.hint(&Hint::Instances);
    }

    /// Every removal is refused with this reason, as by a node that cannot write the wish down.
    pub fn refuse_removals(&self, reason: Option<&str>) {
        self.state().removes_nothing = reason.map(ToOwned::to_owned);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reachable(&self) -> Result<MutexGuard<'_, State>, DriverError> {
        let state = self.state();
        if state.unreachable {
            Err(DriverError::Unreachable("the simulated node".to_owned()))
        } else {
            Ok(state)
        }
    }
}

impl State {
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

impl Driver for World {
    fn can(&self) -> Can {
        Can { resize_in_place: true, stable_addresses: true }
    }

    async fn ensure(&self, want: &InstanceSpec) -> Result<(), DriverError> {
        tokio::task::yield_now().await;
        {
            let mut state = self.reachable()?;
            if let Some(Behaviour::Refused { reason }) = state.behaviours.get(&want.image) {
                return Err(DriverError::Refused(reason.clone()));
            }
            state.ensured += 1;
            match state.instances.get_mut(&want.id) {
                Some(known) if known.observed.generation >= want.generation => {}
                Some(known) => {
                    known.spec = want.clone();
                    known.observed.generation = want.generation;
                }
                None => {
                    let instance = state.make(want);
                    state.instances.insert(want.id.clone(), instance);
                }
            }
        }
        self.hint(&Hint::Instances);
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn remove(&self, id: &InstanceId, _grace: Duration) -> Result<(), DriverError> {
        tokio::task::yield_now().await;
        {
            let mut state = self.reachable()?;
            if let Some(reason) = &state.removes_nothing {
                return Err(DriverError::Refused(reason.clone()));
            }
            state.removed += 1;
            if let Some(instance) = state.instances.get_mut(id) {
                instance.observed.phase = Phase::Stopping;
                instance.looks = 0;
            }
        }
        self.hint(&Hint::Instances);
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        tokio::task::yield_now().await;
        let (list, moving) = {
            let mut state = self.reachable()?;
            let State { instances, behaviours, .. } = &mut *state;
            let before = instances.len();
            instances.retain(|_, instance| instance.observed.phase != Phase::Stopping || instance.looks == 0);
            let mut moving = instances.len() != before;
            for instance in instances.values_mut() {
                let behaviour = behaviours.get(&instance.spec.image).unwrap_or(&Behaviour::Healthy);
                moving |= instance.step(behaviour);
            }
            let list = instances.values().map(|instance| instance.observed.clone()).collect();
            (list, moving)
        };
        if moving {
            self.hint(&Hint::Instances);
        }
        Ok(list)
    }

    async fn changes(&self) -> Result<impl Stream<Item = Hint> + Send, DriverError> {
        let (sender, receiver) = mpsc::channel(HINTS_MAX);
        self.reachable()?.listeners.push(sender);
        Ok(stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }))
    }

    async fn output(&self, id: &InstanceId, from: u64) -> Result<Output, DriverError> {
        let state = self.reachable()?;
        let Some(instance) = state.instances.get(id) else {
            return Err(DriverError::Refused(format!("no instance {id}")));
        };
        let lines: Vec<OutputLine> = instance.output.iter().skip(from as usize).cloned().collect();
        Ok(Output { next: from + lines.len() as u64, lines })
    }

    /// Builds of this world keep nothing.
    async fn forget_service(&self, _id: &ServiceId) -> Result<(), DriverError> {
        self.reachable().map(drop)
    }

    async fn build(&self, spec: &BuildSpec) -> Result<impl Stream<Item = BuildEvent> + Send, DriverError> {
        tokio::task::yield_now().await;
        let source = match &spec.source {
            SourceLocation::Git { url, .. } => url.clone(),
            SourceLocation::Upload { digest } => digest.as_str().to_owned(),
        };
        let mut state = self.reachable()?;
        state.built += 1;
        let missing = Fault::permanent(format!("the repository {source} does not exist"));
        let end = match state.builds.get_mut(&source) {
            None => Some(BuildEvent::Failed(missing)),
            Some(BuildScript::Makes(outcome)) => Some(BuildEvent::Done(outcome.clone())),
            Some(BuildScript::Fails(fault)) => Some(BuildEvent::Failed(fault.clone())),
            Some(BuildScript::Interrupted { times: 0, then }) => Some(BuildEvent::Done(then.clone())),
            Some(BuildScript::Interrupted { times, .. }) => {
                *times -= 1;
                None
            }
            Some(BuildScript::Hangs) => {
                let line = BuildEvent::Line("waiting".to_owned());
                return Ok(futures_util::future::Either::Left(futures_util::StreamExt::chain(
                    stream::iter([line]),
                    stream::pending(),
                )));
            }
        };
        let lines = [
            BuildEvent::Line(format!("building {source}")),
            BuildEvent::Stage { name: "build".to_owned(), ms: 1 },
        ];
        Ok(futures_util::future::Either::Right(stream::iter(lines.into_iter().chain(end))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::ids::Generation;
    use apron_model::instance::{Command, HealthCheck, HealthProtocol, InstanceSize};

    fn spec(n: u32) -> InstanceSpec {
        InstanceSpec {
            id: InstanceId::new(format!("{n:032x}")),
            generation: Generation { epoch: 1, counter: 1 },
            service: ServiceId::new("5".repeat(32)),
            service_name: "web".to_owned(),
            revision: 1,
            image: Digest::new("sha256:a"),
            command: Command::Image,
            env: BTreeMap::new(),
            port: 8080,
            size: InstanceSize { cpu_units: 256, memory_mib: 512 },
            health: HealthCheck {
                protocol: HealthProtocol::Tcp,
                interval_s: 5,
                timeout_s: 2,
                healthy_threshold: 1,
                unhealthy_threshold: 5,
            },
            stop_grace_ms: 30_000,
        }
    }

    /// What every driver must do: `ensure` twice, `remove` twice, an unknown id, an older generation.
    #[tokio::test]
    async fn it_obeys_like_any_driver() {
        let world = World::new();
        let newer = InstanceSpec { generation: Generation { epoch: 2, counter: 1 }, ..spec(1) };
        world.ensure(&newer).await.unwrap();
        world.ensure(&newer).await.unwrap();
        world.ensure(&spec(1)).await.unwrap();
        let first = world.list().await.unwrap();
        assert_eq!((first.len(), first[0].generation.epoch), (1, 2));
        assert_eq!(world.list().await.unwrap()[0].health, Health::Healthy);
        for _ in 0..2 {
            world.remove(&spec(1).id, Duration::ZERO).await.unwrap();
            world.remove(&spec(9).id, Duration::ZERO).await.unwrap();
        }
        assert_eq!(world.list().await.unwrap()[0].phase, Phase::Stopping);
        assert_eq!(world.list().await.unwrap(), []);
    }

    #[tokio::test]
    async fn it_behaves_as_told_and_comes_to_rest() {
        let world = World::new();
        world.behave(&spec(1).image, Behaviour::Exits { code: 3, last_lines: vec!["no".to_owned()] });
        world.ensure(&spec(1)).await.unwrap();
        world.list().await.unwrap();
        let seen = world.list().await.unwrap();
        assert!(matches!(&seen[0].phase, Phase::Exited(exit) if exit.code == Some(3)), "{seen:?}");
        world.behave(&spec(1).image, Behaviour::Healthy);
        for _ in 0..5 {
            world.list().await.unwrap();
        }
        let rest = world.list().await.unwrap();
        assert_eq!((rest[0].health.clone(), rest[0].restarts), (Health::Healthy, 1));
        assert_eq!(world.list().await.unwrap(), rest);
    }
}
