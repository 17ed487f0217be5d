//! Where memory is lacking for a second set: who gives way, and who never does.

use super::*;

/// Whatever ends by itself, and wherever memory is lacking, no step takes the last one that serves from proxies.
#[test]
fn what_ends_by_itself_leaves_no_step_without_an_instance() {
    for (size, room, crashes) in
        (2..5).flat_map(|size| (1..=size + 1).map(move |room| (size, room, 1 + room % 3)))
    {
        for (dice, tag) in (0..64).flat_map(|dice| [(dice, "all"), (dice, "rolling")]) {
            let mut world = World::new(size, size, dice);
            world.rows.tag("apron:deploy", tag);
            (world.room, world.crashes) = (room as usize, crashes as usize);
            (world.most, world.least) = (2 * size as usize + 1, 0);
            world.until(|_| false);
            let (status, state) = world.rows.ended();
            assert!(status.is_ended() && state == State::Running);
        }
    }
}

/// What stayed of a revision that was taken back has memory to give as well.
#[test]
fn a_deployment_takes_the_memory_of_what_stayed() {
    for (tag, dice) in ["all", "rolling"].into_iter().flat_map(|tag| (0..8).map(move |dice| (tag, dice))) {
        let mut world = stayed(3);
        for slot in world.rows.view.slots.iter_mut().filter(|slot| slot.revision == OLD) {
            let no_memory = Phase::Failed(Fault::transient(NO_MEMORY));
            slot.fact = Some(Observed { phase: no_memory, address: None, ..fixture::healthy(slot) });
        }
        assert_eq!((world.count(OLD), world.count(NEW), world.listed()), (3, 2, 2));
        (world.room, world.least, world.most, world.dice) = (2, 1, 9, dice);
        world.rows.tag("apron:deploy", tag);
        world.rows.view.service.config.scaling.min_size = 2;
        world.rows.call(calls::DEPLOY).unwrap();
        assert_eq!(world.ends(), NEW_SERVES, "{tag} {dice}");
        assert_eq!((world.rows.running(), world.listed()), (vec![NEW + 1; 2], 2));
    }
}

/// The revision that was taken back gets all requests only where nothing of the active one is left to have them.
#[test]
fn what_stayed_gives_way_before_what_is_active() {
    for swapped in [false, true] {
        let mut world = stayed(2);
        let [first, rest @ ..] = world.rows.view.slots.as_mut_slice() else { panic!("two stayed") };
        let mut serves = vec![first];
        serves.extend(rest.iter_mut().find(|slot| slot.revision == NEW));
        let ids = ["1", "2"].map(InstanceId::new);
        for (slot, id) in
            serves.into_iter().zip(if swapped { [&ids[1], &ids[0]] } else { [&ids[0], &ids[1]] })
        {
            slot.id = id.clone();
            slot.fact = Some(fixture::healthy(slot));
        }
        for slot in world.rows.view.slots.iter_mut().filter(|slot| !ids.contains(&slot.id)) {
            let no_memory = Phase::Failed(Fault::transient(NO_MEMORY));
            slot.fact = Some(Observed { phase: no_memory, address: None, ..fixture::healthy(slot) });
        }
        (world.room, world.most, world.least) = (2, 6, 1);
        world.rows.call(calls::DEPLOY).unwrap();
        let kept = |world: &World| {
            let mut slots = world.rows.view.slots.iter();
            assert!(slots.any(|slot| slot.revision != NEW && slot.wish.runs() && slot.serves()), "{swapped}");
            false
        };
        world.until(kept);
        assert_eq!(world.rows.ended(), NEW_SERVES);
    }
}

/// What proxies may be using is not stopped at once when instances are to be replaced one by one from now on.
#[test]
fn what_is_routed_is_not_stopped_for_the_exchange() {
    let mut world = World::new(2, 2, 1);
    world.most = 4;
    world.until(|world| matches!(world.rows.view.operation.step, Step::Starting { .. }));
    let slots = &mut world.rows.view.slots;
    let new: Vec<usize> = (0..slots.len()).filter(|place| slots[*place].revision == NEW).collect();
    let (no_memory, ill) = (Fault::transient(NO_MEMORY), Health::Unhealthy { reason: "500".to_owned() });
    slots[new[0]].fact =
        Some(Observed { phase: Phase::Failed(no_memory), ..fixture::healthy(&slots[new[0]]) });
    slots[new[1]].fact = Some(Observed { health: ill, ..fixture::healthy(&slots[new[1]]) });
    (slots[new[1]].wish, slots[new[1]].ever_healthy) = (SlotWish::Beside, true);
    let used = slots[new[1]].id.clone();
    world.rows.advance_checked(|rows| {
        let slot = rows.view.slots.iter().find(|slot| slot.id == used).expect("it is there");
        assert!(!matches!(slot.wish, SlotWish::Stop), "{slot:#?}");
    });
    assert!(world.told("Instances are now replaced one by one") > 0);
}

/// A new one that serves takes the place of an old one that goes for memory, before that is taken from proxies.
#[test]
fn what_goes_for_memory_leaves_another_routed() {
    let mut world = World::rolling(2, 2, 1);
    world.until(|world| (world.count(OLD), world.count(NEW)) == (1, 2));
    let mut old = None;
    for slot in &mut world.rows.view.slots {
        let no_memory = Phase::Failed(Fault::transient(NO_MEMORY));
        let lost = Observed { phase: no_memory, address: None, ..fixture::healthy(slot) };
        let routed = slot.wish == SlotWish::Beside;
        if slot.revision == OLD {
            old = Some(slot.id.clone());
        }
        slot.fact = Some(if routed { lost } else { fixture::healthy(slot) });
    }
    assert_eq!(world.listed(), 1);
    world.rows.advance_checked(|rows| assert_eq!(listed(rows), 1, "{:#?}", rows.view.slots));
    let slots = &world.rows.view.slots;
    assert!(slots.iter().any(|slot| Some(&slot.id) == old.as_ref() && !slot.wish.runs()), "{slots:#?}");
}

#[test]
fn the_only_instance_that_serves_is_never_stopped_for_another() {
    for (new, tag) in [(1, "all"), (1, "rolling"), (3, "all"), (3, "rolling")] {
        let mut world = World::new(1, new, 1);
        world.rows.tag("apron:deploy", tag);
        (world.room, world.most) = (1, 4);
        assert_eq!(world.ends(), OLD_SERVES, "{new} {tag}");
        assert_eq!((world.count(OLD), world.count(NEW), world.listed()), (1, 0, 1));
        let reason = world.rows.view.service.last_failure.clone().unwrap();
        let says = "The only instance that has memory would have to stop first: ";
        assert!(reason.starts_with(NO_MEMORY) && reason.contains(says), "{reason}");
    }
    // Another hindrance is not for want of memory.
    let mut world = World::new(3, 3, 1);
    world.most = 6;
    world.until(|world| matches!(world.rows.view.operation.step, Step::Starting { .. }));
    let full = Fault::transient("the disk of /data is full");
    world.rows.seen(|slot| Observed { phase: Phase::Failed(full.clone()), ..fixture::healthy(slot) });
    world.rows.advance();
    assert!(matches!(world.rows.view.operation.step, Step::Starting { .. }));
}

#[test]
fn a_second_set_for_which_memory_is_lacking_comes_one_by_one() {
    for (old, new, room) in [(2, 2, 2), (3, 3, 3), (3, 3, 4), (3, 3, 5), (4, 2, 4), (2, 3, 3), (1, 3, 3)] {
        for (dice, tag) in (0..16).flat_map(|dice| [(dice, "all"), (dice, "rolling")]) {
            let mut world = World::new(old, new, dice);
            world.rows.tag("apron:deploy", tag);
            world.room = room;
            world.most = (old + new) as usize;
            world.least = (old.min(new) as usize - 1).max(1);
            assert_eq!(world.ends(), NEW_SERVES, "{old} {new} {room} {tag}");
            assert_eq!((world.count(OLD), world.count(NEW)), (0, new as usize));
            let by_itself = usize::from(tag == "all");
            assert_eq!(
                world.told("Instances are now replaced one by one"),
                by_itself,
                "{:?}",
                world.rows.lines
            );
            // And back again where it fails half-way.
            let mut world = World::new(old, new, dice);
            world.rows.tag("apron:deploy", tag);
            world.room = room;
            world.most = (old + new) as usize;
            world.least = 1;
            world.until(|world| world.count(OLD) < old as usize);
            world.broken = Some(NEW);
            assert_eq!(world.ends(), OLD_SERVES, "{old} {new} {room} {tag}");
            assert_eq!((world.count(OLD), world.count(NEW)), (old as usize, 0));
        }
    }
}
