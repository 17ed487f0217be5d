use super::*;
use apron_activity::channel::{Channel, Listener};
use apron_activity::{Region, Slots, counts_memory};
use apron_model::idle::IdlePolicy;
use apron_model::ids::{InstanceId, ServiceId};
use apron_model::instance::InstanceSize;
use apron_model::meter::Change;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

const SIZE: InstanceSize = InstanceSize { cpu_units: 256, memory_mib: 64 };
const STARTING: Health = Health::Starting { hint: None };
const BEGUN: Waterfall = Waterfall {
    queued_ms: Some(1),
    namespace_ms: None,
    mount_ms: None,
    exec_ms: Some(20),
    listening_ms: Some(100_000),
    healthy_ms: None,
    first_byte_ms: None,
};
const OVER: Waterfall = Waterfall { healthy_ms: Some(40), ..BEGUN };
const STAGES: Stages = [1, NOT_REACHED, NOT_REACHED, 20, NOT_REACHED - 1, 40];
const NOTHING: [Vec<FromNode>; 2] = [Vec::new(), Vec::new()];

/// One instance, and a proxy of two loops that knows it.
struct World {
    path: PathBuf,
    member: Member,
    orders: mpsc::Receiver<Order>,
    clients: Clients,
    loops: [Channel; 2],
    slots: Slots,
}

impl World {
    fn new(name: &str, rung: Rung, is_new: bool) -> World {
        let path = std::env::temp_dir().join(format!("apron-member-{}-{name}", std::process::id()));
        let user = nix::unistd::geteuid().as_raw();
        let listener = Listener::bind(&path, user).unwrap();
        let file = counts_memory().unwrap();
        let memory = Watcher::open(&file).unwrap();
        let region = Arc::new(Region::from_fd(&file).unwrap());
        let (orders_to, orders) = mpsc::channel(4);
        let enrolment = Enrolment {
            id: InstanceId::new("a"),
            address: "10.0.0.1:8080".parse().unwrap(),
            cgroup: String::new(),
            limits: Limits::of(SIZE),
            policy: IdlePolicy::default(),
            service: ServiceId::new("service"),
            is_new,
            boost: 1,
            orders: orders_to,
        };
        let slots = region.slots(&enrolment.id, enrolment.address);
        let mut member = Member::new(enrolment, rung == Rung::Zero, rung);
        member.follow(&memory);
        let mut clients = Clients::new(listener, vec![user], Some(memory.identity()));
        let loops = [(); 2].map(|()| Channel::connect(&path).unwrap());
        loops.iter().for_each(|one| one.hello(memory.identity()).unwrap());
        clients.accept(Instant::now());
        assert!(clients.hear(1).is_empty() && clients.hear(2).is_empty());
        World { path, member, orders, clients, loops, slots }
    }

    fn hears(&mut self, health: Health, waterfall: Waterfall) {
        self.member.hears(&health, &waterfall);
        self.member.answer(&mut self.clients);
    }

    /// What the node has said to each loop.
    fn heard(&self) -> [Vec<FromNode>; 2] {
        self.loops.each_ref().map(|one| {
            let mut heard = Vec::new();
            loop {
                match one.from_node() {
                    Ok(what) => heard.push(what),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    }

    /// How often its task is told of an answer.
    fn told(&mut self) -> usize {
        let mut told = 0;
        while let Ok(order) = self.orders.try_recv() {
            told += usize::from(matches!(order, Order::Answered(_)));
        }
        told
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn fails() -> Health {
    Health::Unhealthy { reason: "status 500".to_owned() }
}

#[test]
fn of_a_new_instance_every_loop_hears_and_one_answer_counts() {
    let mut world = World::new("new", Rung::Active, true);
    let started = FromNode::Started(world.member.key, STAGES);
    for health in [STARTING, fails()] {
        world.hears(health, BEGUN);
    }
    assert_eq!(world.heard(), NOTHING);
    assert!(!world.slots.answered(), "it is not healthy yet");
    world.member.look_at = Instant::now() + LOOK_ASLEEP;
    world.hears(Health::Healthy, OVER);
    assert!(world.member.look_at <= Instant::now());
    assert_eq!(world.heard(), [vec![started], vec![started]]);
    assert!(world.slots.answered() && !world.slots.answered());
    for _ in 0..2 {
        world.member.answered(Instant::now());
    }
    assert_eq!(world.told(), 1);
    // One that was ill for a while has not been started.
    world.hears(fails(), OVER);
    world.hears(Health::Healthy, OVER);
    assert_eq!(world.heard(), NOTHING);
    assert!(!world.slots.answered());
}

/// Nothing of it is at work any more, and nobody pays for that.
#[test]
fn a_start_that_was_given_up_is_none() {
    let mut world = World::new("given-up", Rung::Zero, false);
    world.member.started(Limits::of(SIZE));
    let standing = world.member.standing(Instant::now());
    assert!(standing.is_starting && !standing.has_failed);
    world.member.start_failed();
    world.member.rests();
    let standing = world.member.standing(Instant::now());
    assert!(!standing.is_starting && !standing.has_failed);
    let mut changes = Vec::new();
    world.member.note(&mut changes);
    assert!(changes.contains(&Change::Uses(InstanceId::new("a"), Use::Asleep)), "{changes:?}");
}

/// It was healthy when it went to sleep, which says nothing of its start.
#[test]
fn a_start_for_a_request_has_more_cpu_also_where_the_cap_is_reached() {
    let cgroups = Cgroups::detect().unwrap();
    for is_capped in [false, true] {
        let mut world = World::new(&format!("starts-{is_capped}"), Rung::Zero, false);
        world.member.enrolment.policy.is_capped = is_capped;
        world.member.started(Limits::of(SIZE));
        let now = Instant::now();
        world.member.heed_cpu(&cgroups, now);
        assert!(world.member.cpu == Some(cpu::Cpu::More) && world.member.cpu_again_at <= now);
    }
}

#[test]
fn nothing_is_awaited_of_one_that_was_found_running() {
    let mut world = World::new("found", Rung::Active, false);
    world.hears(Health::Healthy, Waterfall::default());
    assert_eq!(world.heard(), NOTHING);
    assert!(!world.slots.answered());
    world.member.answered(Instant::now());
    assert_eq!(world.told(), 0);
}

#[test]
fn of_one_that_was_woken_those_hear_who_wait() {
    let mut world = World::new("woken", Rung::Zero, false);
    let key = world.member.key;
    for _ in 0..2 {
        world.member.waits(2);
        world.member.started(Limits::of(SIZE));
        world.hears(STARTING, BEGUN);
        assert_eq!(world.heard(), NOTHING);
        world.hears(Health::Healthy, OVER);
        assert_eq!(world.heard(), [vec![], vec![FromNode::Started(key, STAGES), FromNode::Awake(key)]]);
        assert!(world.slots.answered() && !world.slots.answered());
        world.member.answered(Instant::now());
        assert_eq!(world.told(), 1);
        (world.member.rung, world.member.started) = (Rung::Zero, false);
    }
}

/// Of ten seconds that are noted, those with a look that found requests. Each look is late.
fn noted(requests: Range<u64>) -> Vec<u64> {
    const LATE_MS: u64 = 130;
    let (mut at_ms, mut seconds) = (50, Vec::new());
    while at_ms < 10_000 {
        let is_used = requests.contains(&at_ms);
        if is_used {
            seconds.push(at_ms / 1_000);
        }
        let pause = pause(Rung::Active, Some(Awake::Wanted), is_used);
        at_ms += pause.as_millis() as u64 + LATE_MS;
    }
    seconds.dedup();
    seconds
}

/// Of one that is not to sleep, which is looked at more rarely.
#[test]
fn who_is_busy_is_so_in_each_second_and_in_no_further_one() {
    assert_eq!(noted(0..10_000), (0..10).collect::<Vec<u64>>());
    assert_eq!(noted(0..100), [0]);
    assert_eq!(noted(3_000..7_100), (3..7).collect::<Vec<u64>>());
}

#[test]
fn who_may_sleep_is_looked_at_most_often() {
    for is_used in [false, true] {
        assert_eq!(pause(Rung::Active, Some(Awake::Requests), is_used), LOOK);
        assert_eq!(pause(Rung::Active, None, is_used), LOOK);
    }
    assert_eq!(pause(Rung::Frozen, None, false), LOOK_ASLEEP);
    assert_eq!(pause(Rung::Zero, Some(Awake::Starting), true), LOOK_USED);
}
