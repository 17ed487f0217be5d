//! Random walks: calls, faults and kills by dice, on several services at once. Whatever happens on the way, once
//! the faults are over every operation ends, and the world is what the rows wish.
//!
//! One number decides a walk. A failure prints it, and `APRON_WALK_SEED=<number>` takes that walk alone;
//! `APRON_WALKS` says how many are taken.

use super::cuts::cut;
use super::rig::*;
use apron_compute::sim::{Behaviour, BuildScript};
use apron_model::ids::{OperationId, ServiceId};
use apron_model::instance::Fault;
use apron_model::limits::PROXY_SILENT_MS_MAX;
use apron_model::reconcile::SlotWish;
use apron_model::routes::RouteState;
use apron_model::service::*;
use std::panic::AssertUnwindSafe;

/// In CI: a look. The long list takes `WALKS_LONG`.
const WALKS: u64 = 4;
const WALKS_LONG: u64 = 300;
/// Calls, faults and kills of one walk; between two of them lie up to `ROUNDS_BETWEEN_MAX` rounds.
const STEPS: usize = 40;
const ROUNDS_BETWEEN_MAX: u64 = 6;
const SERVICES_MAX: usize = 3;
/// Polls after which a round is cut, at most: more than a round with three services takes.
const POLLS_MAX: u64 = 120;
/// Rounds in which all must have come to rest once nothing is wrong any more, and what they take of the clock: longer
/// than every deadline.
const CALM_ROUNDS_MAX: usize = 3_000;
const CALM_ROUND_MS: u64 = 2_000;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % end
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}

fn behaviours() -> Vec<Behaviour> {
    vec![
        Behaviour::Healthy,
        Behaviour::Healthy,
        Behaviour::Slow { looks: 20 },
        Behaviour::Exits { code: 1, last_lines: vec!["boom".to_owned()] },
        Behaviour::Silent { hint: None },
        Behaviour::Unhealthy { reason: "404".to_owned() },
        Behaviour::Fails { fault: Fault::permanent("start command 'x' not found") },
        Behaviour::Refused { reason: "no memory is left".to_owned() },
    ]
}

struct Walk {
    dice: Dice,
    bench: Bench,
    services: Vec<ServiceId>,
    operations: Vec<OperationId>,
}

impl Walk {
    async fn step(&mut self, mut rig: Rig) -> Rig {
        match self.dice.below(12) {
            0 | 1 => self.create(&rig).await,
            2..=5 => self.call(&rig).await,
            6 => {
                let (image, behaviour) = (image(self.dice.of(&["a", "b", "c"])), self.dice.of(&behaviours()));
                self.bench.world.behave(&image, behaviour);
            }
            7 => {
                let script = match self.dice.below(3) {
                    0 => BuildScript::Hangs,
                    1 => BuildScript::Interrupted { times: 2, then: outcome(image("b")) },
                    _ => BuildScript::Makes(outcome(image("b"))),
                };
                self.bench.world.script(BETTER, script);
            }
            8 => {
                let unreachable = self.dice.below(2) == 0;
                self.bench.world.set_unreachable(unreachable);
            }
            9 => {
                let specs = self.bench.world.specs();
                if !specs.is_empty() {
                    let id = self.dice.of(&specs).id;
                    match self.dice.below(3) {
                        0 => drop(rig.busy.insert(id, 1)),
                        1 => rig.busy.clear(),
                        _ => self.bench.world.crash(&id, 137),
                    }
                }
            }
            10 => rig.deaf = self.dice.below(2) == 0,
            // A kill in the middle of whatever goes on.
            _ => {
                let polls = self.dice.below(POLLS_MAX) as usize;
                cut(rig.round(), polls).await;
                drop(rig);
                rig = self.bench.start().await;
            }
        }
        for _ in 0..self.dice.below(ROUNDS_BETWEEN_MAX) {
            rig.round().await;
        }
        // Deadlines pass, too. Less than a proxy may be silent: one that was longer holds no instance up.
        if self.dice.below(8) == 0 {
            self.bench.clock.forward(self.dice.below(PROXY_SILENT_MS_MAX - 10_000));
        }
        rig
    }

    async fn create(&mut self, rig: &Rig) {
        if self.services.len() == SERVICES_MAX {
            return;
        }
        let name = format!("web-{}", self.services.len());
        let (service, operation) = rig.create(&name, config(self.dice.of(&[GOOD, BETTER, BAD]))).await;
        self.services.push(service);
        self.operations.push(operation);
    }

    /// Any call on any service; one that is refused changes nothing.
    async fn call(&mut self, rig: &Rig) {
        if self.services.is_empty() {
            return;
        }
        let id = self.dice.of(&self.services);
        let action = self.dice.of(&[
            Action::Update,
            Action::Update,
            Action::StartDeployment,
            Action::Pause,
            Action::Resume,
            Action::Delete,
        ]);
        let url = self.dice.of(&[GOOD, BETTER, BAD]);
        let config = (action == Action::Update).then(|| config(url));
        if let Ok(Admission::Open(_)) = admit(&rig.service(&id).await, action)
            && let Ok(operation) = rig.act(&id, action, config).await
        {
            self.operations.push(operation);
        }
    }

    /// Nothing is wrong any more: all operations end and nothing drains.
    async fn calm(&self, rig: &mut Rig) {
        self.bench.world.set_unreachable(false);
        for name in ["a", "b", "c"] {
            self.bench.world.behave(&image(name), Behaviour::Healthy);
        }
        self.bench.world.script(BETTER, BuildScript::Makes(outcome(image("b"))));
        rig.busy.clear();
        rig.deaf = false;
        let mut quiet = 0;
        for _ in 0..CALM_ROUNDS_MAX {
            rig.round().await;
            self.bench.clock.forward(CALM_ROUND_MS);
            quiet = if self.at_rest(rig).await { quiet + 1 } else { 0 };
            // A few more rounds: what is at rest must stay so.
            if quiet == 5 {
                return;
            }
        }
        for operation in &self.operations {
            println!("{:?}", rig.store.operation_view(operation).await);
        }
        panic!("it does not come to rest");
    }

    async fn at_rest(&self, rig: &Rig) -> bool {
        for operation in &self.operations {
            if !rig.store.operation_get(operation).await.unwrap().unwrap().status.is_ended() {
                return false;
            }
        }
        for service in &self.services {
            let slots = rig.store.slot_list(service).await.unwrap();
            if slots.iter().any(|slot| slot.wish != SlotWish::Run) {
                return false;
            }
        }
        true
    }

    /// World, routes and rows say the same.
    async fn check(&self, rig: &Rig) {
        let specs = self.bench.world.specs();
        let table = self.bench.proxy.lock().unwrap().clone();
        let mut wished = 0;
        for id in &self.services {
            let service = rig.service(id).await;
            let slots = rig.store.slot_list(id).await.unwrap();
            wished += slots.len();
            let route = table.iter().flat_map(|table| &table.services).find(|route| route.id == *id);
            let serves = service.state == State::Running;
            assert_eq!(slots.len(), if serves { 2 } else { 0 }, "{service:?}\n{slots:?}");
            assert_eq!(service.candidate, None, "{service:?}");
            for slot in &slots {
                assert!(specs.iter().any(|spec| spec.id == slot.id), "{} does not run", slot.id);
            }
            match service.state {
                State::Running => {
                    let route = route.expect("a running service is routed");
                    assert_eq!(route.state, RouteState::Serving);
                    let mut routed: Vec<_> = route.instances.iter().map(|instance| &instance.id).collect();
                    let mut running: Vec<_> = slots.iter().map(|slot| &slot.id).collect();
                    routed.sort();
                    running.sort();
                    assert_eq!(routed, running);
                }
                State::Paused => {
                    assert_eq!(route.expect("a paused service is known").state, RouteState::Paused)
                }
                State::CreateFailed => assert!(route.is_some_and(|route| route.instances.is_empty())),
                // A deletion whose time was up while the node did not answer; it may be asked for again.
                State::Deleted | State::DeleteFailed => assert!(route.is_none()),
                other => panic!("{other:?} is no state to rest in"),
            }
        }
        assert_eq!(specs.len(), wished, "nothing runs that no row wishes");
    }
}

async fn walk(seed: u64) {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let mut walk = Walk { dice: Dice(seed), bench, services: Vec::new(), operations: Vec::new() };
    for _ in 0..STEPS {
        rig = walk.step(rig).await;
    }
    walk.calm(&mut rig).await;
    walk.check(&rig).await;
}

fn walks(count: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let take = |seed: u64| {
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(walk(seed))));
        assert!(ended.is_ok(), "APRON_WALK_SEED={seed} repeats this walk");
    };
    if let Some(seed) = number("APRON_WALK_SEED") {
        return take(seed);
    }
    // Other walks in every run; a look at the clock is random enough.
    let first = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let count = number("APRON_WALKS").unwrap_or(count);
    println!("{count} walks from {first}");
    (0..count).for_each(|number| take(first.wrapping_add(number)));
}

#[test]
fn a_few_random_walks_end_where_the_rows_say() {
    walks(WALKS);
}

#[test]
#[ignore = "long: the long list runs it"]
fn many_random_walks_end_where_the_rows_say() {
    walks(WALKS_LONG);
}
