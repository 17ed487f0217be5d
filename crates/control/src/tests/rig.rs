//! Control over a bench, moved round by round.
//!
//! One modelled proxy serves the table it took last, also while control is dead; after every round checkers look
//! whether an instance that it may send requests to has been stopped, and whether a service that could serve is in the
//! newest table.

use crate::bench;
use crate::clock::{ManualClock, boot_id};
use crate::publish::Proxies;
use apron_compute::sim::{BuildScript, World};
use apron_model::build::BuildOutcome;
use apron_model::draw::Draw;
use apron_model::fixture;
use apron_model::ids::{Digest, Generation, InstanceId, OperationId, ServiceId};
use apron_model::instance::Phase;
use apron_model::operation::{Operation, OperationKind, Write};
use apron_model::reconcile::{Slot, SlotWish};
use apron_model::routes::{FromProxy, Load, RouteTable};
use apron_model::service::*;
use apron_model::time::Timestamp;
use apron_store::{ProxyProcess, ServiceRoutes, Store};
use apron_telemetry::{Cursor, Logs, Stream};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub(super) use crate::bench::DOMAIN;

pub(super) const GOOD: &str = "https://git.test/good.git";
pub(super) const BETTER: &str = "https://git.test/better.git";
pub(super) const BAD: &str = "https://git.test/bad.git";
/// More than any test makes.
pub(super) const SERVICES_MAX: u64 = 100;
/// Rounds after which nothing more is expected to happen by itself.
const ROUNDS_MAX: usize = 400;
/// Rounds in which a service with a healthy instance may be without one in the newest table: where the instances of a
/// new revision end just behind the pivot, the engine goes back in its next turn.
const UNSERVED_ROUNDS_MAX: u32 = 1;
/// The seed of what is drawn by chance: the same in every run, so that a failure comes again.
const SEED: u128 = 1;

/// What survives control.
pub(super) struct Bench {
    bench: bench::Bench,
    /// The table that the proxy serves.
    pub(super) proxy: Arc<Mutex<Option<Arc<RouteTable>>>>,
}

impl Deref for Bench {
    type Target = bench::Bench;
    fn deref(&self) -> &bench::Bench {
        &self.bench
    }
}

pub(super) fn image(name: &str) -> Digest {
    Digest::new(format!("sha256:{name:0>64}"))
}

pub(super) fn outcome(image: Digest) -> BuildOutcome {
    BuildOutcome {
        image,
        commit: Some("c0ffee".to_owned()),
        start_command: Some("python app.py".to_owned()),
        port: Some(8000),
        ..fixture::outcome()
    }
}

pub(super) fn config(url: &str) -> ServiceConfig {
    let mut config = fixture::code_config(true);
    let Source::Code(code) = &mut config.source else { unreachable!("it is code") };
    code.repository_url = url.to_owned();
    config.scaling.min_size = 2;
    config
}

impl Bench {
    pub(super) fn new() -> Bench {
        let world = World::new();
        world.script(GOOD, BuildScript::Makes(outcome(image("a"))));
        world.script(BETTER, BuildScript::Makes(outcome(image("b"))));
        world.script(BAD, BuildScript::Makes(outcome(image("c"))));
        Bench { bench: bench::Bench::new(world, SEED), proxy: Arc::new(Mutex::new(None)) }
    }

    /// A data directory as the supervisor makes it.
    pub(super) fn data_dir(&self) -> PathBuf {
        for name in ["control", "logs", "content"] {
            std::fs::create_dir_all(self.directory().join(name)).unwrap();
        }
        self.directory().to_owned()
    }

    /// The same bench again, as it is now. No control may run on this one any more.
    pub(super) async fn fork(&self) -> Bench {
        let proxy = self.proxy.lock().unwrap().clone();
        Bench { bench: self.bench.fork().await, proxy: Arc::new(Mutex::new(proxy)) }
    }

    /// The test's own process stands for the proxy's.
    fn process() -> ProxyProcess {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let start_time = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap();
        ProxyProcess { pid: std::process::id(), start_time: start_time.parse().unwrap(), boot: boot_id() }
    }

    /// Starts control, as after a kill.
    pub(super) async fn start(&self) -> Rig {
        let control = self.bench.start().await.unwrap();
        let process = Self::process();
        // As a proxy's connection does it. What an earlier control was told of its table is told again.
        control.engine.store.proxy_put(&process).await.unwrap();
        assert!(control.publisher.proxies.connected(&process));
        Rig {
            store: control.engine.store.clone(),
            logs: control.engine.logs.clone(),
            proxies: control.publisher.proxies.clone(),
            control,
            process,
            proxy: Arc::clone(&self.proxy),
            busy: BTreeMap::new(),
            deaf: false,
            wished_max: None,
            unserved: BTreeMap::new(),
            world: self.world.clone(),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// A running control.
pub(super) struct Rig {
    pub(super) store: Store,
    pub(super) logs: Logs,
    pub(super) control: bench::Control,
    pub(super) proxies: Proxies,
    process: ProxyProcess,
    proxy: Arc<Mutex<Option<Arc<RouteTable>>>>,
    /// Requests that the proxy has in flight.
    pub(super) busy: BTreeMap<InstanceId, u32>,
    /// The proxy takes no tables.
    pub(super) deaf: bool,
    /// More instances than this of one service are never wished at once.
    pub(super) wished_max: Option<usize>,
    /// For how many rounds services have been without an instance in the newest table though one is healthy.
    unserved: BTreeMap<ServiceId, u32>,
    pub(super) world: World,
    pub(super) clock: Arc<ManualClock>,
}

impl Deref for Rig {
    type Target = bench::Control;
    fn deref(&self) -> &bench::Control {
        &self.control
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut bench::Control {
        &mut self.control
    }
}

impl Rig {
    /// Every part has one turn, and the proxy after them.
    pub(super) async fn round(&mut self) {
        self.engine.pass().await.unwrap();
        self.check_repeated().await;
        self.pass_builds().await.unwrap();
        // The world may be told not to answer.
        let _ = self.instances.pass().await;
        self.routes.pass().await.unwrap();
        self.routes.look_at_load(true).await.unwrap();
        self.proxy_turn();
        self.check_served();
        self.check_rows().await;
        tokio::task::yield_now().await;
        self.clock.forward(100);
    }

    /// A step that is taken again without a new fact writes nothing.
    async fn check_repeated(&self) {
        for (id, _) in self.store.operation_list_open().await.unwrap() {
            let view = self.store.operation_view(&id).await.unwrap().unwrap();
            let again = apron_model::operation::advance(&view, &mut self.draw());
            assert_eq!(again.writes, [], "{:?}", view.operation);
        }
    }

    fn proxy_turn(&self) {
        let mut served = self.proxy.lock().unwrap();
        if let Some(table) = self.proxies.table().filter(|_| !self.deaf) {
            let newer = served.as_ref().is_none_or(|old| old.generation < table.generation);
            assert!(
                newer || served.as_ref().unwrap().generation == table.generation,
                "tables only get newer"
            );
            *served = Some(table);
        }
        let generation = served.as_ref().map_or(Generation::default(), |table| table.generation);
        self.proxies.heard(&self.process, FromProxy::Serving { generation });
        let status = FromProxy::Status { generation, in_flight: self.busy.clone() };
        self.proxies.heard(&self.process, status);
    }

    /// The proxy sees this of the service, and control looks at it.
    pub(super) async fn load(&mut self, service: &ServiceId, load: Load) {
        self.proxies.heard(&self.process, FromProxy::Load(BTreeMap::from([(service.clone(), load)])));
        self.routes.look_at_load(false).await.unwrap();
    }

    /// The operator allows so many instances of each service whose row is read after this.
    pub(super) fn allow(&mut self, instances_max: u32) {
        let quota = Some(instances_max);
        self.control.platform.quotas.instances_per_service = quota;
        (self.control.engine.instances_max, self.control.routes.scale.instances_max) = (quota, quota);
        self.wished_max = Some(instances_max as usize);
    }

    /// Instances of a service that are to run, and those that do.
    pub(super) async fn instances(&self, service: &ServiceId) -> (usize, usize) {
        let slots = self.store.slot_list(service).await.unwrap();
        let wished = slots.iter().filter(|slot| slot.wish.runs());
        (wished.clone().count(), wished.filter(|slot| slot.serves()).count())
    }

    /// No request is lost: what the proxy's table names exists and is not being stopped.
    fn check_served(&self) {
        let served = self.proxy.lock().unwrap().clone();
        let Some(table) = served else { return };
        let observed = self.world.observed();
        if observed.is_empty() {
            return;
        }
        for instance in table.services.iter().flat_map(|service| &service.instances) {
            let seen = observed.iter().find(|one| one.id == instance.id);
            let lost = seen.is_none_or(|one| one.phase == Phase::Stopping);
            assert!(!lost, "the proxy sends requests to {}, which is gone: {seen:?}", instance.id);
        }
    }

    /// By the rows: who could serve does, and no more instances are wished than may be.
    async fn check_rows(&mut self) {
        let newest = self.proxies.table();
        for ServiceRoutes { service, slots, .. } in self.store.service_routes().await.unwrap() {
            let wished = slots.iter().filter(|slot| slot.wish.runs()).count();
            assert!(self.wished_max.is_none_or(|max| wished <= max), "{wished} are wished: {slots:?}");

            let open = match &service.operation {
                Some(id) => self.store.operation_get(id).await.unwrap().map(|row| row.kind),
                None => None,
            };
            let leaves = matches!(open, Some(OperationKind::PauseService | OperationKind::DeleteService));
            // Before the pivot a candidate that is started beside the old set does not serve yet.
            let is_due = |slot: &Slot| {
                let revision = Some(slot.revision);
                slot.wish == SlotWish::Beside || revision == service.active || revision != service.candidate
            };
            let due: Vec<&InstanceId> = slots
                .iter()
                .filter(|slot| slot.wish.runs() && slot.serves() && is_due(slot))
                .map(|slot| &slot.id)
                .collect();
            let services = newest.iter().flat_map(|table| &table.services);
            let mut named = services.filter(|one| one.id == service.id).flat_map(|one| &one.instances);
            let unserved = service.state == State::Running
                && !leaves
                && !due.is_empty()
                && !named.any(|instance| due.contains(&&instance.id));
            let rounds = self.unserved.entry(service.id.clone()).or_default();
            *rounds = if unserved { *rounds + 1 } else { 0 };
            assert!(
                *rounds <= UNSERVED_ROUNDS_MAX,
                "{} is without an instance in the table of proxies, though there are {due:?}: {newest:?}",
                service.name
            );
        }
    }

    /// Rounds until the operation has ended and nothing drains any more.
    pub(super) async fn settle(&mut self, operation: &OperationId) -> Operation {
        for _ in 0..ROUNDS_MAX {
            self.round().await;
            let row = self.store.operation_get(operation).await.unwrap().unwrap();
            let slots = self.store.slot_list(&row.service).await.unwrap();
            if row.status.is_ended() && slots.iter().all(|slot| slot.wish == SlotWish::Run) {
                self.round().await;
                return row;
            }
        }
        panic!("the operation does not end: {:?}", self.store.operation_view(operation).await);
    }

    /// As the handler of CreateService does it.
    pub(super) async fn create(&self, name: &str, config: ServiceConfig) -> (ServiceId, OperationId) {
        let (service, operation) = service_of(self.draw(), name, config);
        self.store.service_create(&service, &operation, SERVICES_MAX).await.unwrap();
        (service.id, operation.id)
    }

    /// As the handlers of the other calls do it.
    pub(super) async fn act(
        &self,
        service: &ServiceId,
        action: Action,
        config: Option<ServiceConfig>,
    ) -> Result<OperationId, Refusal> {
        let mut draw = self.draw();
        let now = draw.wall;
        let acted = self.store.service_call(service, now, |standing| {
            let service = &standing.service;
            let Admission::Open(kind) = admit(service, action)? else { panic!("nothing to do") };
            let operation = Operation::pending(draw.operation_id(), service.id.clone(), kind, now);
            let id = operation.id.clone();
            let mut writes = vec![Write::OperationNew(Box::new(operation))];
            if let Some(config) = config {
                let mut after = Service { config, ..service.clone() };
                let active = standing.revisions.iter().find(|one| Some(one.number) == service.active);
                after.rescale(active.map(|one| &one.config.scaling));
                writes.push(Write::Service(Box::new(after)));
            }
            Ok((id, writes))
        });
        acted.await.unwrap().expect("the service exists")
    }

    /// As a caller of either API.
    pub(super) async fn call(
        &self,
        operation: &str,
        input: serde_json::Value,
    ) -> Result<serde_json::Value, bench::CallError> {
        crate::api::direct(&self.control.platform, bench::REGION, operation, &input).await
    }

    pub(super) async fn service(&self, id: &ServiceId) -> Service {
        self.store.service_get(id).await.unwrap().unwrap()
    }

    pub(super) fn events(&self, service: &ServiceId) -> Vec<String> {
        self.lines(&Stream::Events(service.clone()))
    }

    pub(super) fn lines(&self, stream: &Stream) -> Vec<String> {
        self.logs.read(stream, Cursor::START, 1000).unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    fn draw(&self) -> Draw {
        crate::engine::draw(self.clock.as_ref(), 0, self.engine.instances_max)
    }
}

/// A new service and its first operation, of this moment.
pub(super) fn new_service(name: &str, config: ServiceConfig) -> (Service, Operation) {
    let clock = ManualClock::new(Timestamp(1));
    service_of(crate::engine::draw(&clock, 0, None), name, config)
}

fn service_of(mut draw: Draw, name: &str, config: ServiceConfig) -> (Service, Operation) {
    let service = Service {
        id: draw.service_id(),
        url_label: draw.url_label(),
        created_at: draw.wall,
        updated_at: draw.wall,
        state: State::Creating,
        ..fixture::service(name, config)
    };
    let operation =
        Operation::pending(draw.operation_id(), service.id.clone(), OperationKind::CreateService, draw.wall);
    (service, operation)
}
