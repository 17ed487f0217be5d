//! Old instances that do not serve, and have the memory that new ones need.

use super::*;

fn hanging(size: u32, dice: u64, tag: &str, health: &Health) -> World {
    let mut world = World::new(size, size, dice);
    world.rows.tag("apron:deploy", tag);
    for slot in &mut world.rows.view.slots {
        slot.fact = Some(Observed { health: health.clone(), ..fixture::healthy(slot) });
        slot.ever_healthy = true;
    }
    (world.room, world.most, world.least) = (size as usize, 2 * size as usize, world.listed().min(1));
    world
}

/// As long as one of them is left, proxies have an instance that fails its check, and then one that does not.
#[test]
fn what_does_not_serve_gives_way_to_what_may() {
    let starting = Health::Starting { hint: None };
    let unhealthy = Health::Unhealthy { reason: "no answer".to_owned() };
    for (size, health) in [(2, &starting), (3, &starting), (2, &unhealthy), (3, &unhealthy)] {
        for (dice, tag) in (0..8).flat_map(|dice| [(dice, "all"), (dice, "rolling")]) {
            let mut world = hanging(size, dice, tag, health);
            assert_eq!(world.ends(), NEW_SERVES, "{size} {tag} {health:?}");
            assert_eq!((world.count(OLD), world.count(NEW)), (0, size as usize));
        }
    }
    // The only one stays: it may serve again in a moment.
    for (tag, health) in
        [("all", &unhealthy), ("rolling", &unhealthy), ("all", &starting), ("rolling", &starting)]
    {
        let mut world = hanging(1, 1, tag, health);
        assert_eq!(world.ends(), OLD_SERVES, "{tag} {health:?}");
        assert_eq!((world.count(OLD), world.count(NEW)), (1, 0));
    }
}

/// What lacks memory has none to give, and is not the other one beside which an instance may go.
#[test]
fn what_has_no_memory_gives_none() {
    for (dice, tag) in (0..8).flat_map(|dice| [(dice, "all"), (dice, "rolling")]) {
        let mut world = World::new(2, 2, dice);
        world.rows.tag("apron:deploy", tag);
        let slot = &mut world.rows.view.slots[0];
        slot.fact = Some(Observed {
            phase: Phase::Failed(Fault::transient(NO_MEMORY)),
            health: Health::Starting { hint: None },
            address: None,
            ..fixture::healthy(slot)
        });
        (world.room, world.most, world.least) = (1, 4, 1);
        let begun = world.rows.now;
        assert_eq!(world.ends(), OLD_SERVES, "{tag}");
        assert_eq!((world.count(OLD), world.count(NEW)), (2, 0));
        assert_eq!(world.told("stops first"), 0);
        let reason = world.rows.view.service.last_failure.clone().unwrap();
        assert!(reason.contains("The only instance that has memory would have to stop first"), "{reason}");
        assert!(world.rows.now.0 - begun.0 < 60_000, "it waits for what cannot come");
    }
}
