//! A wish that changes while an instance starts or while it cannot follow.

use super::*;
use futures_util::future::join_all;

/// The kernel takes no limit below what is in use and cannot be reclaimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_size_waits_for_the_memory_that_is_in_use() {
    let world = World::new();
    let mut spec = world.spec("k1", &["serve"]);
    spec.size.memory_mib = 128;
    world.client.ensure(&spec).await.unwrap();
    let address = world.healthy("k1").await.address.unwrap();
    assert_eq!(get(address, "/hold/80").unwrap(), "held");
    spec.generation.counter = 2;
    spec.size.memory_mib = 64;
    world.client.ensure(&spec).await.unwrap();
    // With room for swap the kernel may make do.
    let swaps = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    assert!(swaps || world.memory_mib("k1") == Some(128), "it was refused, and nothing is ended for it");
    assert_eq!(get(address, "/hold/0").unwrap(), "held");
    let began = Instant::now();
    while world.memory_mib("k1") != Some(64) {
        assert!(began.elapsed() < PATIENCE, "{:?}", world.memory_mib("k1"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let observed = world.observed("k1").await.unwrap();
    assert_eq!((observed.restarts, observed.health), (0, Health::Healthy));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_at_any_time_of_a_start_leaves_nothing() {
    let world = World::new();
    let removed = (0..8).map(async |number: u64| {
        let id = format!("l{number}");
        world.client.ensure(&world.spec(&id, &["serve"])).await.unwrap();
        // From its first moment to one at which it may serve already.
        tokio::time::sleep(Duration::from_millis(number * number * 4)).await;
        world.client.remove(&InstanceId::new(&id), Duration::ZERO).await.unwrap();
        let phase = world.observed(&id).await.map(|observed| observed.phase);
        assert!(matches!(phase, None | Some(Phase::Stopping)), "{id}: {phase:?}");
        world.gone(&id).await;
        id
    });
    for id in join_all(removed).await {
        assert!(!world.dir.join("node/instances").join(&id).exists(), "{id}");
        assert!(!world.dir.join("node/wanted").join(format!("{id}.json")).exists(), "{id}");
        assert_eq!(world.memory_mib(&id), None, "{id} has a cgroup");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&format!("instances/{id}/")), "{id} has a mount");
    }
    // What it used can be used again.
    world.client.ensure(&world.spec("l9", &["serve"])).await.unwrap();
    world.healthy("l9").await;
}

/// The ids of its namespaces are the next that are given out.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_tried_again_takes_nothing_from_others() {
    // None are made ahead.
    let world = World::with(|config| config.pairs_ready = 0);
    world.client.ensure(&world.spec("m1", &["serve"])).await.unwrap();
    world.healthy("m1").await;
    let pairs = || {
        let entries = fs::read_dir(world.dir.join("node/pairs")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let first = pairs();
    assert_eq!(first.len(), 1);
    world.client.remove(&InstanceId::new("m1"), Duration::from_millis(100)).await.unwrap();
    // A directory cannot be removed as a file is.
    let wish = world.dir.join("node/wanted/m1.json");
    fs::remove_file(&wish).unwrap();
    fs::create_dir(&wish).unwrap();
    let began = Instant::now();
    while !pairs().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it keeps its namespaces");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.client.ensure(&world.spec("m2", &["serve"])).await.unwrap();
    let address = world.healthy("m2").await.address.unwrap();
    assert_eq!(pairs(), first);
    // It is tried again after one second, and two.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.observed("m1").await.map(|observed| observed.phase), Some(Phase::Stopping));
    assert_eq!(pairs(), first);
    assert!(get(address, "/").unwrap().starts_with("pid"));
}
