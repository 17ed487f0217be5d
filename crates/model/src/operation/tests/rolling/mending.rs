//! What is seen to between operations: who goes, who comes, and who gives way for memory.

use super::*;

impl World {
    /// What one look between operations finds to do.
    fn mending(&mut self) -> Mending {
        let step = self.rows.view.service.operation.is_some().then_some(Step::Admitted);
        self.scaling(step.as_ref(), None)
    }

    /// What a look at the load finds, with an operation open in this step.
    fn scaling(&mut self, step: Option<&Step>, scale: Option<u32>) -> Mending {
        let mut draw = self.rows.draw();
        let view = &self.rows.view;
        let active = view.revision(view.service.active).expect("an active revision");
        mend(&view.service, active, &view.slots, step, scale, &mut draw)
    }

    /// Does it.
    fn mend(&mut self) -> Mending {
        let mending = self.mending();
        self.write(mending.clone());
        mending
    }

    /// Does what a look at the load finds.
    fn scale(&mut self, wanted: u32) -> Mending {
        let mending = self.scaling(None, Some(wanted));
        self.write(mending.clone());
        mending
    }

    fn write(&mut self, mending: Mending) {
        let Mending { wanted, wishes, slots, events } = mending;
        if let Some(wanted) = wanted {
            self.rows.view.service.wanted = wanted;
        }
        let wishes = wishes.into_iter().map(|(id, wish)| Write::SlotWish(id, wish));
        let writes = wishes.chain(slots.into_iter().map(|slot| Write::Slot(Box::new(slot)))).collect();
        self.rows.apply(writes);
        self.rows.lines.extend(events.into_iter().map(Line::Event));
    }

    /// Goes on between operations until nothing is to be done and nothing comes of what there is.
    pub(super) fn rests(&mut self) {
        let mut quiet = 0;
        for _ in 0..500 {
            quiet = if self.mend() == Mending::default() { quiet + 1 } else { 0 };
            self.check();
            if quiet == 20 {
                return;
            }
            self.step();
        }
        panic!("it does not come to rest: {:?}", self.rows.view.slots);
    }

    /// The revisions of the instances that go.
    pub(super) fn relieved(&mut self) -> Vec<RevisionNumber> {
        let Mending { wishes, slots, .. } = self.mending();
        assert_eq!(slots, []);
        let of = |id| self.rows.view.slots.iter().find(|slot| slot.id == id).map(|slot| slot.revision);
        wishes.into_iter().filter_map(|(id, _)| of(id)).collect()
    }
}

#[test]
fn what_the_active_revision_has_beyond_its_number_goes() {
    let mut world = World::rolling(2, 2, 1);
    assert_eq!(world.ends(), NEW_SERVES);
    assert_eq!(world.relieved(), [OLD; 0]);
    let mut third = fixture::slot(&world.rows.view.service, NEW, 9);
    third.id = InstanceId::new("0");
    world.rows.view.slots.push(third);
    // The one that does not serve goes first.
    let mending = world.mend();
    assert_eq!(mending.wishes.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["0"]);
}

/// What stayed has the memory that old ones lack: it goes for them, one by one, and the service never goes with it.
#[test]
fn what_stayed_gives_way_for_memory() {
    for (size, dice) in [2, 3, 4].into_iter().flat_map(|size| (0..8).map(move |dice| (size, dice))) {
        let mut world = stayed(size);
        let there = world.listed();
        assert!(there > 1 && world.mending().is_empty());
        // There is room for what serves, and for no more.
        (world.room, world.most, world.dice) = (there, 2 * size as usize, dice);
        world.least = there - 1;
        world.rests();
        assert_eq!((world.count(NEW), world.listed()), (0, there), "{size} {dice}");
        assert_eq!(world.count(OLD), size as usize, "those for which there is no room are still wished");
        let gave_way = world.told("There is not enough memory for another instance of revision 1: ");
        assert!(gave_way > 0 && world.told(&format!("and {} of {size} serve", there - 1)) == gave_way);
        // And all are there once there is.
        world.room = usize::MAX;
        world.rests();
        assert_eq!((world.count(OLD), world.listed()), (size as usize, size as usize));
    }
}

/// What was freed for one may be taken by others: each refusal costs no further one.
#[test]
fn memory_that_does_not_come_costs_one_instance_at_most() {
    for size in [2, 3, 4] {
        let mut world = stayed(size);
        let there = world.listed();
        assert_eq!(there, size as usize);
        (world.room, world.most, world.least) = (0, 2 * size as usize, there - 1);
        world.rests();
        assert_eq!((world.count(OLD), world.listed()), (size as usize, there - 1), "{size}");
        assert_eq!(world.told("There is not enough memory for another instance of revision 1: "), 1);
    }
}

/// What ended has no memory to give: it goes with the next that has and gets no requests, and that one is spoken of.
#[test]
fn what_ended_makes_no_room() {
    let mut world = stayed(3);
    let no_memory = || Phase::Failed(Fault::transient(NO_MEMORY));
    for slot in world.rows.view.slots.iter_mut().filter(|slot| !slot.serves()) {
        let health = Health::Starting { hint: None };
        slot.fact = Some(Observed { phase: no_memory(), health, address: None, ..fixture::healthy(slot) });
    }
    let mut stayed = world.rows.view.slots.iter_mut().filter(|slot| slot.revision == NEW);
    let (Some(ended), Some(hangs)) = (stayed.next(), stayed.next()) else { panic!("three stayed") };
    ended.fact = Some(exited(ended));
    let (ended, health) = (ended.id.clone(), Health::Starting { hint: None });
    hangs.fact = Some(Observed { health, ..fixture::healthy(hangs) });
    let Mending { wishes, events, .. } = world.mending();
    let [(first, _), (second, _)] = wishes.as_slice() else { panic!("{wishes:?}") };
    assert_eq!(*first, ended);
    let told = format!("instance {second} of revision {NEW} stops first, and 1 of 3 serve");
    assert!(events.len() == 2 && events[1].contains(&told), "{events:?}");
}

/// The last one that served stays where it is started again in a moment, and memory would be for others only later.
#[test]
fn what_served_last_and_is_started_again_stays() {
    let phases =
        [Phase::Exited(exit()), Phase::Creating, Phase::Failed(Fault::transient("the disk is full"))];
    for phase in phases {
        let mut world = stayed(2);
        let mut stay = true;
        world.rows.view.slots.retain(|slot| slot.revision == OLD || std::mem::take(&mut stay));
        for slot in &mut world.rows.view.slots {
            let no_memory = Phase::Failed(Fault::transient(NO_MEMORY));
            let phase = if slot.revision == OLD { no_memory } else { phase.clone() };
            let health = Health::Starting { hint: None };
            slot.fact = Some(Observed { phase, health, address: None, ..fixture::healthy(slot) });
        }
        assert_eq!((world.count(OLD), world.count(NEW)), (2, 1));
        assert_eq!(world.mending(), Mending::default(), "{phase:?}");
    }
}

/// What only asks for the memory that the active revision lacks goes at once.
#[test]
fn what_stayed_and_lacks_memory_itself_goes() {
    let mut world = stayed(2);
    let no_memory = |slot: &Slot| Observed {
        phase: Phase::Failed(Fault::transient(NO_MEMORY)),
        health: Health::Starting { hint: None },
        address: None,
        ..fixture::healthy(slot)
    };
    let mut old_serves = true;
    world.rows.view.slots.retain(|slot| slot.revision == OLD || slot.wish == SlotWish::Beside);
    let mut stays = true;
    world.rows.view.slots.retain(|slot| slot.revision == OLD || std::mem::take(&mut stays));
    for slot in &mut world.rows.view.slots {
        let serves = slot.revision == OLD && std::mem::take(&mut old_serves);
        slot.fact = Some(if serves { fixture::healthy(slot) } else { no_memory(slot) });
    }
    assert_eq!((world.count(OLD), world.count(NEW), world.listed()), (2, 1, 1));
    assert_eq!(world.relieved(), [NEW]);
}

/// What hangs and gets no requests has memory that others need.
#[test]
fn what_stayed_and_hangs_gives_way() {
    for (health, stays) in [
        (Health::Starting { hint: None }, 0),
        // The last one that gets requests, because nothing is healthy.
        (Health::Unhealthy { reason: "no answer".to_owned() }, 1),
    ] {
        let mut world = stayed(2);
        world.rows.view.slots.retain(|slot| slot.revision == NEW || !slot.serves());
        let left = world.rows.view.slots.iter_mut().filter(|slot| slot.revision == NEW);
        for (n, slot) in left.enumerate() {
            slot.fact = Some(Observed { health: health.clone(), ..fixture::healthy(slot) });
            slot.wish = if n == 0 { SlotWish::Beside } else { SlotWish::Stop };
        }
        world.rows.removed();
        (world.room, world.most, world.least) = (1, 4, stays);
        world.rests();
        assert_eq!((world.count(OLD), world.count(NEW), world.listed()), (2, stays, 1), "{health:?}");
    }
}

/// The only one that serves stays, whatever lacks its memory, until another one serves.
#[test]
fn what_serves_alone_gives_way_to_nothing() {
    let mut world = stayed(2);
    world.rows.view.slots.retain(|slot| slot.revision == NEW || !slot.serves());
    let only = world.rows.view.slots.iter().position(|slot| slot.revision == NEW).expect("one that stayed");
    let only = world.rows.view.slots[only].id.clone();
    world.rows.view.slots.retain(|slot| slot.revision == OLD || slot.id == only);
    (world.room, world.least, world.most) = (1, 1, 4);
    world.rests();
    assert_eq!((world.count(OLD), world.count(NEW), world.listed()), (2, 1, 1));
    world.room = 2;
    world.rests();
    assert_eq!((world.count(NEW), world.listed()), (0, 2));
}

/// What an update asked for whose operation could not be followed any more does not say how many serve.
#[test]
fn the_active_revision_says_how_many_there_are_to_be() {
    for asked in [1, 9] {
        let mut world = World::rolling(3, 3, 1);
        assert_eq!(world.ends(), NEW_SERVES);
        world.rows.exchanged();
        world.rows.view.service.config.scaling.min_size = asked;
        assert_eq!(world.mend(), Mending::default(), "{asked}");
        // One that is lacking comes, also while another leaves.
        let slot = &mut world.rows.view.slots[0];
        slot.wish = SlotWish::Stop;
        assert_eq!(world.mend().slots.len(), 1);
        let told = world.told("Starting 1 instance of revision 2: its minimum is 3.");
        assert_eq!((world.count(NEW), told), (3, 1));
        assert_eq!(world.mend(), Mending::default());
    }
    let mut world = World::rolling(3, 3, 1);
    assert_eq!(world.ends(), NEW_SERVES);
    world.rows.view.slots.clear();
    for state in [State::Paused, State::DeleteFailed, State::CreateFailed] {
        world.rows.view.service.state = state;
        assert_eq!(world.mend(), Mending::default(), "{state:?}");
    }
}

/// A service of the new revision alone, with so many instances that serve.
fn alone(size: u32) -> World {
    let mut world = World::rolling(size, size, 1);
    assert_eq!(world.ends(), NEW_SERVES);
    world.rows.exchanged();
    assert!(world.mending().is_empty());
    world
}

#[test]
fn load_brings_instances_and_its_end_takes_them_away() {
    let mut world = alone(1);
    let mending = world.scale(3);
    assert_eq!((mending.wanted, mending.slots.len(), mending.wishes), (Some(3), 2, Vec::new()));
    let told = world.told("Starting 2 instances of revision 2: its load needs 3.");
    assert_eq!((world.count(NEW), told), (3, 1));
    assert_eq!(world.scale(3), Mending::default(), "once");
    assert!(world.mending().is_empty(), "the row remembers it");
    // MaxSize and MinSize hold, and the row says what is needed all the same.
    let most = world.rows.view.service.config.scaling.max_size as usize;
    world.scale(1_000);
    assert_eq!((world.count(NEW), world.rows.view.service.wanted), (most, 1_000));
    let mending = world.scale(0);
    assert_eq!((mending.wishes.len(), mending.slots.len()), (most - 1, 0));
    assert!(mending.wishes.iter().all(|(_, wish)| matches!(wish, SlotWish::Drain { .. })));
    assert_eq!(world.count(NEW), 1);
}

#[test]
fn what_the_clock_asks_for_is_no_load() {
    let mut world = alone(1);
    world.rows.tag("apron:min-size-schedule", "* * * * * = 2");
    let told = world.scale(2).events;
    assert_eq!(told, ["Starting 1 instance of revision 2: apron:min-size-schedule asks for 2."]);
    assert_eq!(world.scale(4).events, ["Starting 2 instances of revision 2: its load needs 4."]);
}

#[test]
fn who_drains_stays_when_it_is_needed_again() {
    let mut world = alone(3);
    for revision in &mut world.rows.view.revisions {
        revision.config.scaling.min_size = 1;
    }
    let first = world.rows.view.slots.iter().map(|slot| slot.id.clone()).min();
    assert_eq!(world.scale(1).wishes.len(), 2);
    let left = world.rows.view.slots.iter().find(|slot| slot.wish == SlotWish::Run);
    assert_eq!(left.map(|slot| slot.id.clone()), first, "proxies fill that one first");
    let mending = world.scale(4);
    assert_eq!((mending.wishes.len(), mending.slots.len()), (2, 1));
    assert!(mending.wishes.iter().all(|(_, wish)| *wish == SlotWish::Run));
    assert_eq!((world.count(NEW), world.told("it is needed again")), (4, 2));
}

#[test]
fn a_deployment_takes_over_as_many_as_are_needed_and_leaves_room_for_more() {
    let deadline = Timestamp(9);
    let steps = [
        (Step::Admitted, true),
        (Step::Starting { deadline, hindered: None }, true),
        (Step::Rolling { deadline, hindered: None }, false),
        (Step::Routing { old: None, deadline }, false),
        (Step::RollingBack { deadline }, false),
        (Step::Removing { deadline }, false),
    ];
    for (step, grows) in steps {
        let mut world = alone(1);
        let mending = world.scaling(Some(&step), Some(3));
        assert_eq!(mending.slots.len(), if grows { 2 } else { 0 }, "{step:?}");
        assert_eq!(mending.wanted, grows.then_some(3));
        world.scale(3);
        assert!(world.scaling(Some(&step), Some(1)).is_empty(), "nothing is taken away meanwhile: {step:?}");
    }
}
