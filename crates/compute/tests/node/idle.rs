//! The idle ladder with real containers, and a proxy's part played by what proxies are made of.

use super::*;
use apron_activity::channel::{Channel, FromNode, NOT_REACHED};
use apron_activity::{Region, Slots, Wakefulness, key};
use std::sync::Arc;

/// A loop of a proxy that knows one instance.
pub(super) struct Asker {
    channel: Channel,
    region: Arc<Region>,
    pub(super) slots: Slots,
    key: u64,
}

impl Asker {
    pub(super) fn of(world: &World, observed: &Observed) -> Asker {
        let region = Arc::new(Region::from_fd(&world.counts).unwrap());
        let address = observed.address.unwrap();
        let slots = region.slots(&observed.id, address);
        Asker { channel: connect(world, &region), region, slots, key: key(&observed.id, address) }
    }

    pub(super) fn again(&mut self, world: &World) {
        self.channel = connect(world, &self.region);
    }

    /// What the node says next, while it is also told what it asks for.
    pub(super) fn next(&self) -> Option<FromNode> {
        match self.channel.from_node() {
            Ok(FromNode::Close(key)) => {
                self.channel.closed(key).unwrap();
                None
            }
            Ok(heard) => Some(heard),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the node says so in the memory.
    fn until(&self, wakefulness: Wakefulness) -> Duration {
        let began = Instant::now();
        while self.slots.wakefulness() != wakefulness {
            assert!(began.elapsed() < PATIENCE, "it is {:?}", self.slots.wakefulness());
            let _ = self.next();
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }

    /// Asks for the instance, and waits until it is awake.
    fn wake(&self) -> Duration {
        let began = Instant::now();
        self.channel.wake(self.key).unwrap();
        while self.next() != Some(FromNode::Awake(self.key)) {
            assert!(began.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        began.elapsed()
    }

    /// One request, as a proxy counts it.
    fn request<T>(&self, ask: impl FnOnce() -> T) -> T {
        assert!(self.slots.take(self.slots.read()));
        if self.slots.touch() != Wakefulness::Awake {
            self.wake();
        }
        let answer = ask();
        self.slots.release();
        answer
    }
}

fn connect(world: &World, region: &Arc<Region>) -> Channel {
    let channel = Channel::connect(&world.dir.join("run/activity.sock")).unwrap();
    channel.hello(region.identity()).unwrap();
    channel
}

fn policy(lowest: Rung, throttle_ms: u64, freeze_ms: u64) -> IdlePolicy {
    IdlePolicy { lowest, after_ms: [throttle_ms, freeze_ms, 900_000], is_capped: false }
}

pub(super) async fn started(world: &World, id: &str, idle: IdlePolicy) -> Observed {
    world.client.ensure(&InstanceSpec { idle, ..world.spec(id, &["serve"]) }).await.unwrap();
    world.healthy(id).await
}

impl World {
    /// The CPU time that an instance has used.
    fn cpu(&self, id: &str) -> Duration {
        let cgroup = format!("/sys/fs/cgroup/cpuacct/apron-{}/{id}/cpuacct.usage", self.platform());
        match fs::read_to_string(cgroup) {
            Ok(ns) => Duration::from_nanos(ns.trim().parse().unwrap()),
            Err(_) => {
                let stat = format!("/sys/fs/cgroup/apron-{}/{id}/cpu.stat", self.platform());
                let stat = fs::read_to_string(stat).unwrap();
                let us = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
                Duration::from_micros(us.parse().unwrap())
            }
        }
    }

    /// Waits until what is being frozen is: each of its threads is woken for it. What it has used then.
    fn still(&self, id: &str) -> Duration {
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(100));
        loop {
            let used = self.cpu(id);
            std::thread::sleep(Duration::from_millis(30));
            if self.cpu(id) == used {
                return used;
            }
            assert!(began.elapsed() < Duration::from_secs(1), "it still runs");
        }
    }

    /// Of a core, measured over this time.
    fn share(&self, id: &str, over: Duration) -> f64 {
        let (before, began) = (self.cpu(id), Instant::now());
        std::thread::sleep(over);
        (self.cpu(id) - before).as_secs_f64() / began.elapsed().as_secs_f64()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_instance_has_a_sixtieth_of_its_cpu_until_it_is_asked() {
    let world = World::new();
    let observed = started(&world, "t1", policy(Rung::Throttled, 1_000, 30_000)).await;
    let asker = Asker::of(&world, &observed);
    let address = observed.address.unwrap();
    assert_eq!(asker.request(|| get(address, "/burn").unwrap()), "burning");
    let throttled_after = asker.until(Wakefulness::Throttled);
    assert!(throttled_after <= Duration::from_millis(1_050), "{throttled_after:?}");
    // Half a core, of which a sixtieth is left: the kernel lends a few milliseconds, so it is looked at for a while.
    std::thread::sleep(Duration::from_secs(1));
    let share = world.share("t1", Duration::from_secs(6)) / (0.5 / 60.0);
    assert!((0.7..=1.3).contains(&share), "{share} of what it is to have");
    let woken = asker.request(|| get(address, "/").unwrap());
    assert!(woken.starts_with("pid"), "{woken}");
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Awake);
    // A request that goes on keeps it awake.
    assert!(asker.slots.take(asker.slots.read()));
    let share = world.share("t1", Duration::from_secs(3)) / 0.5;
    assert!(share > 0.5, "{share} of what it is to have");
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Awake);
    // A tunnel does not, unless something moves.
    asker.slots.tunnel(true);
    asker.until(Wakefulness::Throttled);
    asker.slots.tunnel(false);
    asker.slots.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_throttled_stays_so_with_the_next_node() {
    let mut world = World::new();
    let observed = started(&world, "n1", policy(Rung::Throttled, 200, 30_000)).await;
    let mut asker = Asker::of(&world, &observed);
    assert_eq!(asker.request(|| get(observed.address.unwrap(), "/burn").unwrap()), "burning");
    asker.until(Wakefulness::Throttled);
    world.kill();
    world.start();
    asker.again(&world);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let share = world.share("n1", Duration::from_secs(3)) / 0.5;
    assert!(share < 0.1, "{share} of what it would have");
    assert!(asker.slots.take(asker.slots.read()));
    asker.slots.touch();
    asker.wake();
    let share = world.share("n1", Duration::from_secs(2)) / 0.5;
    assert!(share > 0.5, "{share} of what it is to have");
    asker.slots.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_starts_has_more_cpu_until_it_is_healthy() {
    let world = World::new();
    let mut spec = world.spec("b1", &["serve"]);
    (spec.size.cpu_units, spec.startup_boost) = (128, 4);
    spec.health.healthy_threshold = 1_000;
    world.client.ensure(&spec).await.unwrap();
    let began = Instant::now();
    let address = loop {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let seen = world.observed("b1").await;
        let Some(seen) = seen.filter(|seen| seen.waterfall.listening_ms.is_some()) else { continue };
        assert!(seen.waterfall.queued_ms <= seen.waterfall.namespace_ms, "{:?}", seen.waterfall);
        break seen.address.unwrap();
    };
    assert_eq!(get(address, "/burn").unwrap(), "burning");
    let share = world.share("b1", Duration::from_secs(2)) / 0.125;
    assert!(share > 2.0, "{share} of its CPU");
    (spec.generation.counter, spec.health.healthy_threshold) = (2, 1);
    world.client.ensure(&spec).await.unwrap();
    world.healthy("b1").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let share = world.share("b1", Duration::from_secs(2)) / 0.125;
    assert!((0.7..=1.3).contains(&share), "{share} of its CPU");
}

/// Its requests are answered, slowly: a cap takes nothing away but CPU.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_reached_its_cap_has_a_sixtieth_of_its_cpu_also_while_it_is_asked() {
    let world = World::new();
    let mut idle = policy(Rung::Frozen, 200, 400);
    let observed = started(&world, "c1", idle).await;
    let asker = Asker::of(&world, &observed);
    let address = observed.address.unwrap();
    assert_eq!(asker.request(|| get(address, "/burn").unwrap()), "burning");
    assert!(asker.slots.take(asker.slots.read()));
    asker.slots.touch();
    asker.wake();
    let share = world.share("c1", Duration::from_secs(2)) / 0.5;
    assert!(share > 0.5, "{share} of what it is to have");
    let mut change = async |counter: u64, is_capped: bool| {
        idle.is_capped = is_capped;
        let mut spec = InstanceSpec { idle, ..world.spec("c1", &["serve"]) };
        spec.generation.counter = counter;
        world.client.ensure(&spec).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    change(2, true).await;
    let share = world.share("c1", Duration::from_secs(6)) / (0.5 / 60.0);
    assert!((0.5..=1.5).contains(&share), "{share} of what it is to have");
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Awake);
    // It sleeps and wakes as any other, and is cut still.
    asker.slots.release();
    asker.until(Wakefulness::Asleep);
    asker.wake();
    assert!(asker.slots.take(asker.slots.read()));
    let share = world.share("c1", Duration::from_secs(3)) / 0.5;
    assert!(share < 0.1, "{share} of what it would have");
    change(3, false).await;
    let share = world.share("c1", Duration::from_secs(2)) / 0.5;
    assert!(share > 0.5, "{share} of what it is to have");
    asker.slots.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_instance_does_nothing_and_is_woken_with_its_memory() {
    let world = World::new();
    let observed = started(&world, "z1", policy(Rung::Frozen, 200, 400)).await;
    let asker = Asker::of(&world, &observed);
    let address = observed.address.unwrap();
    let before = asker.request(|| get(address, "/").unwrap());
    assert_eq!(asker.request(|| get(address, "/burn").unwrap()), "burning");
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        asker.until(Wakefulness::Asleep);
        assert!(!asker.slots.take(asker.slots.read()), "nobody is asked who sleeps");
        world.still("z1");
        assert_eq!(world.share("z1", Duration::from_millis(300)), 0.0);
        slowest = slowest.max(asker.wake());
        assert_eq!(asker.request(|| get(address, "/").unwrap()), before, "the same process");
    }
    eprintln!("the slowest of five wakes: {slowest:?}");
    let seen = world.observed("z1").await.unwrap();
    assert_eq!((seen.restarts, seen.health), (0, Health::Healthy), "no check was asked of it while it slept");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_can_be_stopped_resized_and_changed() {
    let world = World::new();
    let idle = policy(Rung::Frozen, 200, 400);
    let observed = started(&world, "z2", idle).await;
    let asker = Asker::of(&world, &observed);
    asker.until(Wakefulness::Asleep);
    let mut spec = InstanceSpec { idle, ..world.spec("z2", &["serve"]) };
    spec.generation.counter = 2;
    spec.size.memory_mib = 80;
    world.client.ensure(&spec).await.unwrap();
    let began = Instant::now();
    while world.memory_mib("z2") != Some(80) {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Asleep, "that is no reason to wake it");
    spec.generation.counter = 3;
    spec.idle = policy(Rung::Active, 200, 400);
    world.client.ensure(&spec).await.unwrap();
    asker.until(Wakefulness::Awake);
    spec.generation.counter = 4;
    spec.idle = idle;
    world.client.ensure(&spec).await.unwrap();
    asker.until(Wakefulness::Asleep);
    let began = Instant::now();
    world.client.remove(&InstanceId::new("z2"), Duration::from_secs(5)).await.unwrap();
    world.gone("z2").await;
    assert!(began.elapsed() < Duration::from_secs(3), "it heard its signal: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_leaves_it_asleep_and_the_next_one_wakes_it() {
    let mut world = World::new();
    let idle = policy(Rung::Frozen, 200, 400);
    let observed = started(&world, "z3", idle).await;
    let mut asker = Asker::of(&world, &observed);
    let before = asker.request(|| get(observed.address.unwrap(), "/").unwrap());
    for round in 0..2 {
        asker.until(Wakefulness::Asleep);
        let used = world.still("z3");
        if round == 0 {
            world.kill()
        } else {
            world.terminate()
        }
        assert_eq!(asker.slots.wakefulness(), Wakefulness::Asleep);
        world.start();
        asker.again(&world);
        world.healthy("z3").await;
        assert_eq!(world.cpu("z3"), used, "a node that starts wakes nobody");
        assert_eq!(asker.slots.wakefulness(), Wakefulness::Asleep);
        asker.wake();
        assert_eq!(asker.request(|| get(observed.address.unwrap(), "/").unwrap()), before);
    }
    // So for another proxy, which takes over from the one before.
    let new = Asker::of(&world, &observed);
    drop(asker);
    new.until(Wakefulness::Asleep);
    new.wake();
    assert_eq!(new.slots.wakefulness(), Wakefulness::Awake);
    new.until(Wakefulness::Asleep);
    // One that is to go when the node is killed hears its signal from the next node.
    world.client.remove(&InstanceId::new("z3"), Duration::from_secs(60)).await.unwrap();
    world.kill();
    let began = Instant::now();
    world.start();
    world.gone("z3").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

impl World {
    /// Waits until nothing of the instance runs or holds memory.
    fn nothing_runs(&self, id: &str, asker: &Asker) {
        asker.until(Wakefulness::Asleep);
        let began = Instant::now();
        loop {
            let cgroup = self.memory_mib(id);
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            if cgroup.is_none() && !mounts.contains(&format!("instances/{id}/")) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{id} has {cgroup:?} and perhaps a mount");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Throttled, frozen and stopped as soon as may be.
const ZERO: IdlePolicy = IdlePolicy { lowest: Rung::Zero, after_ms: [100, 200, 300], is_capped: false };

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_a_process_is_started_by_who_asks() {
    let mut world = World::new();
    let observed = started(&world, "n1", ZERO).await;
    let mut asker = Asker::of(&world, &observed);
    let address = observed.address.unwrap();
    let boot = |asker: &Asker| asker.request(|| get(address, "/").unwrap());
    let mut before = boot(&asker);
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        world.nothing_runs("n1", &asker);
        let seen = world.observed("n1").await.unwrap();
        assert_eq!(
            (seen.phase, seen.health, seen.restarts),
            (Phase::Running, Health::Healthy, 0),
            "as if it ran"
        );
        assert_eq!(asker.slots.wakefulness(), Wakefulness::Asleep);
        slowest = slowest.max(asker.wake());
        let now = boot(&asker);
        assert_ne!(now, before, "another process");
        before = now;
    }
    eprintln!("the slowest of five starts: {slowest:?}");
    // The next node knows that it sleeps, and wakes it likewise.
    for round in 0..2 {
        world.nothing_runs("n1", &asker);
        let start = world.observed("n1").await.unwrap().waterfall;
        assert!(start.healthy_ms.is_some(), "{start:?}");
        if round == 0 {
            world.kill()
        } else {
            world.terminate()
        }
        world.start();
        asker.again(&world);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(asker.slots.wakefulness(), Wakefulness::Asleep);
        assert_eq!(world.memory_mib("n1"), None, "a node that starts wakes nobody");
        assert_eq!(world.observed("n1").await.unwrap().waterfall, start);
        asker.wake();
        boot(&asker);
    }
    // Killed at any moment on the way down or up, it is there again when it is asked for.
    for pause_ms in [0, 20, 60, 120, 250, 350, 450, 700] {
        std::thread::sleep(Duration::from_millis(pause_ms));
        world.kill();
        world.start();
        asker.again(&world);
        world.wait("n1", "known", |_| true).await;
        if asker.slots.wakefulness() != Wakefulness::Awake {
            asker.wake();
        }
        world.healthy("n1").await;
        boot(&asker);
    }
    world.nothing_runs("n1", &asker);
    world.client.remove(&InstanceId::new("n1"), Duration::from_secs(5)).await.unwrap();
    world.gone("n1").await;
}

/// Loops that never asked for it hear how it was started; when it first answered is seen, and outlives the node.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_of_a_new_instance_is_awaited() {
    let mut world = World::new();
    let mut spec = world.spec("f1", &["serve"]);
    // It is to be healthy after the proxy has come.
    spec.health.healthy_threshold = 1_000;
    world.client.ensure(&spec).await.unwrap();
    let observed = world.wait("f1", "known", |seen| seen.address.is_some()).await;
    let mut asker = Asker::of(&world, &observed);
    world.wait("f1", "listening", |seen| seen.waterfall.listening_ms.is_some()).await;
    assert!(!asker.slots.answered(), "it is not healthy");
    (spec.generation.counter, spec.health.healthy_threshold) = (2, 1);
    world.client.ensure(&spec).await.unwrap();
    world.healthy("f1").await;
    let began = Instant::now();
    let stages = loop {
        if let Some(FromNode::Started(key, stages)) = asker.next() {
            assert_eq!(key, asker.key);
            break stages;
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert!(stages.iter().all(|ms| *ms != NOT_REACHED), "{stages:?}");
    assert!(asker.slots.answered() && !asker.slots.answered());
    asker.channel.answered(asker.key).unwrap();
    let seen = world.wait("f1", "answering", |seen| seen.waterfall.first_byte_ms.is_some()).await;
    assert!(seen.waterfall.first_byte_ms >= seen.waterfall.healthy_ms, "{:?}", seen.waterfall);
    world.kill();
    world.start();
    let adopted = world.healthy("f1").await;
    assert_eq!((adopted.waterfall, adopted.restarts), (seen.waterfall, 0));
    asker.again(&world);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((asker.next(), asker.slots.answered()), (None, false), "its start is long over");
    // One that is started anew answers anew.
    let _ = get(observed.address.unwrap(), "/exit/3");
    let anew = world.wait("f1", "anew", |seen| seen.restarts == 1 && seen.health == Health::Healthy).await;
    assert_eq!((anew.waterfall.first_byte_ms, asker.slots.answered()), (None, true));
    asker.channel.answered(asker.key).unwrap();
    world.wait("f1", "answering", |seen| seen.waterfall.first_byte_ms.is_some()).await;
}

/// Who asks for it is told that it does not come, and everybody sees why.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_is_told_to_who_waits() {
    let world = World::new();
    let observed = started(&world, "n2", ZERO).await;
    let asker = Asker::of(&world, &observed);
    world.nothing_runs("n2", &asker);
    // What was unpacked of its image is damaged.
    let layers = fs::read_dir(world.dir.join("node/layers")).unwrap();
    let program = layers.map(|layer| layer.unwrap().path().join("bin/program")).find(|path| path.exists());
    let (program, away) = (program.clone().unwrap(), program.unwrap().with_extension("away"));
    fs::rename(&program, &away).unwrap();
    let began = Instant::now();
    asker.channel.wake(asker.key).unwrap();
    let heard = loop {
        if let Some(heard) = asker.next() {
            break heard;
        }
        assert!(began.elapsed() < PATIENCE);
    };
    assert_eq!(heard, FromNode::NotWoken(asker.key));
    world.wait("n2", "failed", |seen| matches!(seen.phase, Phase::Failed(_))).await;
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Asleep);
    fs::rename(&away, &program).unwrap();
    let mut spec = InstanceSpec { idle: ZERO, ..world.spec("n2", &["serve"]) };
    spec.generation.counter = 2;
    spec.size.memory_mib = 80;
    world.client.ensure(&spec).await.unwrap();
    asker.until(Wakefulness::Awake);
    world.healthy("n2").await;
}

/// Nobody asks for it after that, and it is not tried for nobody; the next one who asks finds it well again.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_when_it_is_started_for_a_request_sleeps_again() {
    let world = World::new();
    let spec = InstanceSpec { idle: ZERO, ..world.spec("n3", &["serve-unless", "/bin/broken"]) };
    world.client.ensure(&spec).await.unwrap();
    let observed = world.healthy("n3").await;
    let asker = Asker::of(&world, &observed);
    world.nothing_runs("n3", &asker);
    let layers = fs::read_dir(world.dir.join("node/layers")).unwrap();
    let mut bins = layers.map(|layer| layer.unwrap().path().join("bin"));
    let broken = bins.find(|bin| bin.join("program").exists()).unwrap().join("broken");
    fs::write(&broken, "").unwrap();
    asker.channel.wake(asker.key).unwrap();
    let began = Instant::now();
    let heard = loop {
        if let Some(heard) = asker.next() {
            break heard;
        }
        assert!(began.elapsed() < PATIENCE);
    };
    assert_eq!(heard, FromNode::NotWoken(asker.key));
    let failed = world.wait("n3", "exited", |seen| matches!(seen.phase, Phase::Exited(_))).await;
    let Phase::Exited(exit) = failed.phase else { unreachable!() };
    assert_eq!(exit.code, Some(3));
    let rests = world.wait("n3", "asleep", |seen| seen.phase == Phase::Running).await;
    assert_eq!((rests.health, rests.restarts), (Health::Healthy, 0));
    world.nothing_runs("n3", &asker);
    fs::remove_file(&broken).unwrap();
    asker.wake();
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Awake);
}

/// Whoever is no proxy is not heard.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_wake_nobody() {
    let world = World::new();
    let observed = started(&world, "z4", policy(Rung::Frozen, 200, 400)).await;
    let asker = Asker::of(&world, &observed);
    asker.until(Wakefulness::Asleep);
    let wake = |uid: u32| {
        let done = std::process::Command::new(PROGRAM)
            .args(["wake", world.dir.join("run/activity.sock").to_str().unwrap(), &asker.key.to_string()])
            .uid(uid)
            .output()
            .unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(wake(61_902), "refused\n");
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Asleep);
    // A proxy is heard, and one that counts elsewhere keeps everybody awake for as long as it is there.
    assert_eq!(wake(61_901), format!("Ok(Awake({}))\n", asker.key));
    asker.until(Wakefulness::Asleep);
    let apart = Channel::connect(&world.dir.join("run/activity.sock")).unwrap();
    apart.hello(Region::create().unwrap().identity()).unwrap();
    asker.until(Wakefulness::Awake);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(asker.slots.wakefulness(), Wakefulness::Awake);
    drop(apart);
    asker.until(Wakefulness::Asleep);
}
