use super::*;
use crate::balance::Instances;
use crate::route::Snapshot;
use apron_activity::Region;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::routes::{RouteInstance, RoutePolicy, RouteService, RouteState, RouteTable};
use std::net::SocketAddr;
use std::time::Duration;

/// Instances by their ports, and how many requests each may have.
fn table(state: RouteState, ports: &[u16], ceiling: u32) -> RouteTable {
    let instance = |port: &u16| RouteInstance {
        id: InstanceId::new(format!("{port}")),
        address: SocketAddr::from(([127, 0, 0, 1], *port)),
    };
    let service = RouteService {
        id: ServiceId::new("s"),
        name: "s".to_owned(),
        hosts: Vec::new(),
        state,
        revision: 1,
        max_concurrency: 1,
        coming: false,
        policy: RoutePolicy { concurrency_hard: Some(ceiling), ..RoutePolicy::default() },
        instances: ports.iter().map(instance).collect(),
    };
    RouteTable { generation: Generation::default(), services: vec![service] }
}

struct World {
    instances: Instances,
    snapshot: Snapshot,
}

impl World {
    fn new(ports: &[u16], ceiling: u32) -> World {
        World::of(Instances::default(), ports, ceiling)
    }

    fn of(mut instances: Instances, ports: &[u16], ceiling: u32) -> World {
        let snapshot = Snapshot::build(&table(RouteState::Serving, ports, ceiling), &mut instances);
        instances.follow(&snapshot);
        World { instances, snapshot }
    }

    /// As `Tables::apply` does it.
    fn change(&mut self, table: &RouteTable) {
        let snapshot = Snapshot::build(table, &mut self.instances);
        self.instances.follow(&snapshot);
        self.snapshot = snapshot;
        self.snapshot.services().for_each(|service| service.queue.pump());
    }

    fn service(&self) -> Arc<Service> {
        self.snapshot.services().next().unwrap().clone()
    }

    fn queue(&self) -> Arc<Queue> {
        self.service().queue.clone()
    }

    fn in_flight(&self) -> u32 {
        self.instances.in_flight().values().sum()
    }

    /// As `admission` does it for a newcomer.
    fn now(&self) -> Option<Slot> {
        now(&self.service())
    }
}

fn now(service: &Service) -> Option<Slot> {
    if service.queue.waiting() > 0 {
        return None;
    }
    let claim = balance::claim(service, 0, &[])?;
    Some(Slot::new(claim.instance.clone(), claim.trial, service.queue.clone()))
}

fn slot(place: &mut Place) -> Option<Slot> {
    place.answer.try_recv().ok()?.ok()
}

fn refusal(place: &mut Place) -> Option<Refusal> {
    place.answer.try_recv().ok()?.err()
}

#[test]
fn a_place_goes_to_the_head_of_the_line_and_to_no_newcomer() {
    let world = World::new(&[1], 1);
    let first = world.now().unwrap();
    assert!(world.now().is_none());
    let line: Vec<Place> = (0..3).map(|_| world.queue().enter(End::Back, || {}).unwrap()).collect();
    let mut held = first;
    for mut place in line {
        assert!(slot(&mut place).is_none());
        drop(held);
        assert_eq!(world.in_flight(), 1, "it was counted all the time");
        assert!(world.now().is_none());
        held = slot(&mut place).unwrap();
    }
    assert_eq!(world.queue().waiting(), 0);
    drop(held);
    assert_eq!(world.in_flight(), 0);
    assert!(world.now().is_some());
}

#[test]
fn who_enters_a_line_takes_what_is_free() {
    let world = World::new(&[1, 2], 2);
    let mut line: Vec<Place> = (0..5).map(|_| world.queue().enter(End::Back, || {}).unwrap()).collect();
    let slots: Vec<Slot> = line.iter_mut().filter_map(slot).collect();
    assert_eq!((slots.len(), world.queue().waiting(), world.in_flight()), (4, 1, 4));
    drop(slots);
    assert!(slot(&mut line[4]).is_some());
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn who_had_a_place_goes_to_the_front_and_leaves_as_himself() {
    let world = World::new(&[1], 1);
    let held = world.now().unwrap();
    let mut back = world.queue().enter(End::Back, || {}).unwrap();
    let [mut first, second] = [(); 2].map(|()| world.queue().enter(End::Front, || {}).unwrap());
    assert_eq!(world.queue().waiting(), 3);
    drop(second);
    assert_eq!(world.queue().waiting(), 2);
    drop(held);
    assert!(slot(&mut first).is_some() && slot(&mut back).is_some(), "one after the other");
    assert_eq!((world.queue().waiting(), world.in_flight()), (0, 0));
}

#[test]
fn who_goes_away_leaves_the_line_and_hands_on_what_came_too_late() {
    let world = World::new(&[1], 1);
    let held = world.now().unwrap();
    let mut line: Vec<Place> = (0..4).map(|_| world.queue().enter(End::Back, || {}).unwrap()).collect();
    drop(line.remove(1));
    assert_eq!(world.queue().waiting(), 3);
    drop(held);
    // It has the place, and goes away without having looked.
    drop(line.remove(0));
    assert!(slot(&mut line[0]).is_some());
    assert!(slot(&mut line[1]).is_some(), "the one before it ended at once");
    assert_eq!((world.queue().waiting(), world.in_flight()), (0, 0));
}

#[test]
fn the_line_is_bounded() {
    let world = World::new(&[1], 1);
    let _held = world.now().unwrap();
    let max = world.service().waiting_max();
    let mut line: Vec<Place> = (0..max).map(|_| world.queue().enter(End::Back, || {}).unwrap()).collect();
    assert_eq!(world.queue().enter(End::Back, || {}).err(), Some(Refusal::Final(Cause::QueueFull)));
    let first = world.queue().enter(End::Front, || {});
    assert!(first.is_ok(), "it had a place");
    drop(first);
    line.pop();
    assert!(world.queue().enter(End::Back, || {}).is_ok());
}

#[test]
fn a_new_table_gives_places_or_ends_the_wait() {
    let mut world = World::new(&[], 1);
    let mut line: Vec<Place> = (0..2).map(|_| world.queue().enter(End::Back, || {}).unwrap()).collect();
    world.change(&table(RouteState::Serving, &[1], 1));
    let held = slot(&mut line[0]).unwrap();
    assert!(slot(&mut line[1]).is_none());
    world.change(&table(RouteState::Serving, &[1, 2], 1));
    assert_eq!(slot(&mut line[1]).unwrap().instance.address.port(), 2);

    let mut waits = world.queue().enter(End::Back, || {}).unwrap();
    let second = slot(&mut waits).unwrap();
    let mut waits = world.queue().enter(End::Back, || {}).unwrap();
    world.change(&table(RouteState::Paused, &[], 1));
    assert_eq!(refusal(&mut waits), Some(Refusal::Final(Cause::Paused)));
    assert_eq!(world.queue().enter(End::Back, || {}).err(), Some(Refusal::Final(Cause::Paused)));
    drop((held, second));

    world.change(&table(RouteState::Serving, &[], 1));
    let (queue, mut waits) = (world.queue(), world.queue().enter(End::Back, || {}).unwrap());
    world.instances.follow(&Snapshot::unknown());
    assert_eq!(refusal(&mut waits), Some(Refusal::Gone));
    assert_eq!(queue.enter(End::Back, || {}).err(), Some(Refusal::Gone));
    assert_eq!((queue.waiting(), world.in_flight()), (0, 0));
}

#[test]
fn an_instance_that_left_the_table_or_has_too_many_gets_no_more() {
    let mut world = World::new(&[1], 2);
    let held = [world.now().unwrap(), world.now().unwrap()];
    let mut waits = world.queue().enter(End::Back, || {}).unwrap();
    // One place less: the first that ends makes no room.
    world.change(&table(RouteState::Serving, &[1], 1));
    let [first, second] = held;
    drop(first);
    assert!(slot(&mut waits).is_none());
    assert_eq!(world.in_flight(), 1);
    world.change(&table(RouteState::Serving, &[2], 1));
    let moved = slot(&mut waits).unwrap();
    assert_eq!(moved.instance.address.port(), 2);
    let mut waits = world.queue().enter(End::Back, || {}).unwrap();
    drop(second);
    assert!(slot(&mut waits).is_none(), "what left is not handed on");
    drop(moved);
    assert!(slot(&mut waits).is_some());
}

#[test]
fn an_instance_that_fails_is_not_handed_on_while_there_is_another() {
    let world = World::new(&[1, 2], 1);
    let (one, two) = (world.now().unwrap(), world.now().unwrap());
    let mut waits = world.queue().enter(End::Back, || {}).unwrap();
    let bad = one.instance.clone();
    let trial = bad.ejection.begin(Standing::In, now_ms).unwrap();
    while !bad.ejection.failed(trial, now_ms()) {}
    drop(one);
    assert!(slot(&mut waits).is_none());
    drop(two);
    assert_eq!(slot(&mut waits).unwrap().instance.address.port(), 2);
}

#[test]
fn in_a_takeover_those_that_came_first_go_first() {
    let file = apron_activity::counts_memory().unwrap();
    let world = || World::of(Instances::new(Arc::new(Region::from_fd(&file).unwrap())), &[1], 1);
    let (old, new) = (world(), world());
    let held = new.now().unwrap();
    let mut waits_old = old.queue().enter(End::Back, || {}).unwrap();
    let mut waits_new = new.queue().enter(End::Back, || {}).unwrap();
    old.queue().mark(true);
    // Its own line is not asked, because an older one waits.
    drop(held);
    assert!(slot(&mut waits_new).is_none() && new.in_flight() == 0);
    new.queue().pump();
    assert!(slot(&mut waits_new).is_none());
    old.queue().pump();
    let held = slot(&mut waits_old).unwrap();
    old.queue().mark(true);
    new.queue().pump();
    assert!(slot(&mut waits_new).is_none(), "one at a time");
    drop(held);
    new.queue().pump();
    assert!(slot(&mut waits_new).is_some());
}

#[test]
fn a_mark_goes_with_the_table_that_named_its_instance() {
    let file = apron_activity::counts_memory().unwrap();
    let world = || World::of(Instances::new(Arc::new(Region::from_fd(&file).unwrap())), &[1], 1);
    let (mut old, new) = (world(), world());
    // The instance has a request of the old process to its end, which keeps its count.
    let _held = old.now().unwrap();
    let free = |new: &World| {
        let service = new.service();
        let slots = &service.instances[0].slots;
        !slots.yields(slots.read())
    };
    for ports in [&[2][..], &[]] {
        let waits = old.queue().enter(End::Back, || {}).unwrap();
        old.queue().mark(true);
        assert!(!free(&new));
        old.change(&table(RouteState::Serving, ports, 1));
        drop(waits);
        assert!(free(&new), "nobody will ever take it back: {ports:?}");
        old.change(&table(RouteState::Serving, &[1], 1));
    }
    let _waits = old.queue().enter(End::Back, || {}).unwrap();
    old.queue().mark(true);
    old.instances.follow(&Snapshot::unknown());
    assert!(free(&new) && !old.queue().is_marked());
}

#[test]
fn what_is_out_in_an_older_process_is_left_to_others() {
    let file = apron_activity::counts_memory().unwrap();
    let world = || World::of(Instances::new(Arc::new(Region::from_fd(&file).unwrap())), &[1, 2], 1);
    let (old, new) = (world(), world());
    let bad = old.service().instances[0].clone();
    let trial = bad.ejection.begin(Standing::In, now_ms).unwrap();
    while !bad.ejection.failed(trial, now_ms()) {}
    let _held = old.now().unwrap();
    let _waits = old.queue().enter(End::Back, || {}).unwrap();
    old.queue().mark(true);
    assert_eq!(new.now().unwrap().instance.address.port(), 1);
}

/// As the watch of a process does it, and as often as it likes.
fn look(world: &World, ending: bool, ended: &AtomicU32) {
    while ended.load(SeqCst) > 0 {
        world.queue().mark(ending);
        world.queue().pump();
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Two processes of which one ends, with two threads each.
#[test]
fn nobody_is_forgotten_in_a_takeover() {
    let seed = seed();
    let file = apron_activity::counts_memory().unwrap();
    let world = || World::of(Instances::new(Arc::new(Region::from_fd(&file).unwrap())), &[1, 2], 1);
    let worlds = [world(), world()];
    let (inside, running) = ([0; 3].map(AtomicU32::new), AtomicU32::new(4));
    std::thread::scope(|scope| {
        for (number, world) in worlds.iter().enumerate() {
            let (inside, running) = (&inside, &running);
            scope.spawn(move || look(world, number == 0, running));
            for thread in 0..2 {
                let mut dice = Dice(seed ^ (number as u64) << 8 ^ thread);
                scope.spawn(move || {
                    let _ended = Ended(running);
                    for _ in 0..1_000 {
                        let Some(slot) = ask(&world.service(), &mut dice, seed) else { continue };
                        let count = &inside[usize::from(slot.instance.address.port())];
                        assert_eq!(count.fetch_add(1, SeqCst), 0, "seed {seed}");
                        for _ in 0..dice.below(3) {
                            std::thread::yield_now();
                        }
                        count.fetch_sub(1, SeqCst);
                    }
                });
            }
        }
    });
    assert!(worlds.iter().all(|world| world.queue().waiting() == 0 && world.in_flight() == 0), "seed {seed}");
}

#[test]
fn a_place_is_handed_to_another_thread() {
    let world = World::new(&[1], 1);
    let held = world.now().unwrap();
    let mut place = world.queue().enter(End::Back, || {}).unwrap();
    let waiter = std::thread::spawn(move || block_on(place.answer(), Duration::from_secs(10)).is_some());
    std::thread::sleep(Duration::from_millis(20));
    drop(held);
    assert!(waiter.join().unwrap());
    assert_eq!(world.in_flight(), 0);
}

fn block_on(answer: impl Future<Output = Answer>, limit: Duration) -> Option<Slot> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(limit, answer).await }).ok()?.ok()
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % end
    }
}

/// Threads that ask, wait, give up and give back by dice, with nobody who looks from time to time: whoever waits is
/// served by those who leave, or waits in vain and fails the test.
#[test]
fn nobody_is_forgotten_and_no_ceiling_is_passed() {
    let seed = seed();
    for round in 0..6u64 {
        let ceiling = 1 + (round % 2) as u32;
        let world = World::new(&[1, 2][..1 + (round as usize / 2) % 2], ceiling);
        let inside: Vec<AtomicU32> = (0..3).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (service, inside) = (world.service(), &inside);
                let mut dice = Dice(seed ^ round << 8 ^ thread);
                scope.spawn(move || {
                    for step in 0..1_500 {
                        let Some(slot) = ask(&service, &mut dice, seed) else { continue };
                        let count = &inside[usize::from(slot.instance.address.port())];
                        let before = count.fetch_add(1, SeqCst);
                        assert!(before < ceiling, "{before} of {ceiling} at step {step}, seed {seed}");
                        for _ in 0..dice.below(3) {
                            std::thread::yield_now();
                        }
                        count.fetch_sub(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!((world.queue().waiting(), world.in_flight()), (0, 0), "seed {seed}");
    }
}

/// The same while instances come and go, and the service is paused, removed, and there again: whoever waits is given a
/// place or told why there is none.
#[test]
fn nobody_is_forgotten_while_tables_change() {
    let seed = seed();
    let mut world = World::new(&[1], 1);
    let newest = Mutex::new(world.service());
    let (inside, running) = ([0; 4].map(AtomicU32::new), AtomicU32::new(4));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (newest, inside, running) = (&newest, &inside, &running);
            let mut dice = Dice(seed ^ thread);
            scope.spawn(move || {
                let _ended = Ended(running);
                for _ in 0..1_500 {
                    // A loop goes by its own table for some requests more.
                    let service = newest.lock().unwrap().clone();
                    for _ in 0..=dice.below(3) {
                        let Some(slot) = ask_in_vain_or_not(&service, &mut dice, seed) else { continue };
                        let count = &inside[usize::from(slot.instance.address.port())];
                        assert_eq!(count.fetch_add(1, SeqCst), 0, "seed {seed}");
                        for _ in 0..dice.below(3) {
                            std::thread::yield_now();
                        }
                        count.fetch_sub(1, SeqCst);
                    }
                }
            });
        }
        let mut dice = Dice(seed ^ 4);
        while running.load(SeqCst) > 0 {
            match dice.below(8) {
                0 => world.instances.follow(&Snapshot::unknown()),
                1 => world.change(&table(RouteState::Paused, &[], 1)),
                2 => world.change(&table(RouteState::Serving, &[], 1)),
                3 => world.change(&table(RouteState::Serving, &[2, 3], 1)),
                ports => world.change(&table(RouteState::Serving, &[1, 2, 3][..ports as usize % 3 + 1], 1)),
            }
            *newest.lock().unwrap() = world.service();
            world.instances.forget_unused();
            std::thread::sleep(Duration::from_micros(dice.below(500)));
        }
    });
    assert_eq!((world.queue().waiting(), world.in_flight()), (0, 0), "seed {seed}");
}

/// Says also of a thread that panics that it has ended.
struct Ended<'a>(&'a AtomicU32);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn ask_in_vain_or_not(service: &Service, dice: &mut Dice, seed: u64) -> Option<Slot> {
    if service.refuses().is_some() {
        return None;
    }
    if let Some(slot) = now(service) {
        return Some(slot);
    }
    let mut place = service.queue.enter(End::Back, || {}).ok()?;
    match dice.below(8) {
        0 => None,
        1 => block_on(place.answer(), Duration::from_millis(1)),
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let limit = Duration::from_secs(20);
            let answer = runtime.block_on(async { tokio::time::timeout(limit, place.answer()).await });
            answer.unwrap_or_else(|_| panic!("waited in vain, seed {seed}")).ok()
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("APRON_QUEUE_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ now_ms() << 32);
    println!("APRON_QUEUE_SEED={seed}");
    seed
}

fn ask(service: &Service, dice: &mut Dice, seed: u64) -> Option<Slot> {
    if let Some(slot) = now(service) {
        return Some(slot);
    }
    let mut place = service.queue.enter(End::Back, || {}).expect("the line is not full");
    match dice.below(8) {
        // Its client goes away, at once or in a moment.
        0 => None,
        1 => block_on(place.answer(), Duration::from_millis(1)),
        _ => {
            let slot = block_on(place.answer(), Duration::from_secs(20));
            assert!(slot.is_some(), "waited in vain, seed {seed}");
            slot
        }
    }
}
