//! Instances, a node and the disk that they share, and what else a machine may lack.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_too_much_is_ended_and_starts_anew() {
    let world = World::with(|config| config.instance_disk_mib_max = 16);
    for id in ["g1", "g2"] {
        world.client.ensure(&world.spec(id, &["serve"])).await.unwrap();
    }
    let (greedy, modest) = (world.healthy("g1").await, world.healthy("g2").await);
    assert_eq!(get(greedy.address.unwrap(), "/fill/40").unwrap(), "there before: false");
    assert_eq!(get(modest.address.unwrap(), "/fill/4").unwrap(), "there before: false");
    let began = Instant::now();
    let ended = loop {
        let observed = world.observed("g1").await.unwrap();
        if let Phase::Exited(exit) = observed.phase {
            break exit;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{observed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ended.reason.as_deref(), Some("wrote 40 MiB, the limit is 16 MiB"), "{ended:?}");
    let again = world.wait("g1", "served again", |o| o.restarts == 1 && o.health == Health::Healthy).await;
    assert_eq!(again.last_exit, Some(ended));
    assert_eq!(get(again.address.unwrap(), "/fill/1").unwrap(), "there before: false");
    assert_eq!(world.observed("g2").await.unwrap().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fills_the_disk_can_be_removed() {
    const FILES: u64 = 20_000;
    let world = World::on_disk(&format!("size=300m,nr_inodes={FILES}"));
    for id in ["j1", "j2", "j3"] {
        world.client.ensure(&world.spec(id, &["serve"])).await.unwrap();
    }
    let greedy = world.healthy("j1").await.address.unwrap();
    let _ = (world.healthy("j2").await, world.healthy("j3").await);
    let filler = world.dir.join("node/filler");
    fs::write(&filler, "").unwrap();

    // Without a byte: nothing can be written down any more, and a removal goes on all the same.
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    world.client.remove(&InstanceId::new("j2"), Duration::ZERO).await.unwrap();
    world.gone("j2").await;
    drop(file);
    fs::write(&filler, "").unwrap();

    // Without a file that could be made.
    let made: u64 = get(greedy, "/files").unwrap().parse().unwrap();
    assert!(made > FILES / 2, "{made}");
    world.client.ensure(&world.spec("j4", &["serve"])).await.unwrap_err();
    world.client.remove(&InstanceId::new("j3"), Duration::ZERO).await.unwrap();
    world.gone("j3").await;
    let began = Instant::now();
    let reason = loop {
        let observed = world.observed("j1").await.unwrap();
        if let Some(Exit { reason: Some(reason), .. }) = match observed.phase {
            Phase::Exited(exit) => Some(exit),
            _ => observed.last_exit,
        } {
            break reason;
        }
        assert!(began.elapsed() < Duration::from_secs(25), "it is not ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let figures = "files, the most of all instances, and the disk has room for only ";
    assert!(reason.starts_with("made ") && reason.contains(figures), "{reason}");
    world.wait("j1", "served again", |o| o.restarts == 1 && o.health == Health::Healthy).await;
    world.client.ensure(&world.spec("j4", &["serve"])).await.unwrap();
    world.healthy("j4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_machine_lacks_is_said() {
    // A disk that is full is a reason with figures at once, and no reason any more when it has room.
    let mut world = World::on_disk("size=300m");
    let filler = world.dir.join("node/filler");
    fs::File::create(&filler).unwrap();
    let free = || nix::sys::statvfs::statvfs(&filler).unwrap();
    let mut file = fs::File::create(&filler).unwrap();
    while free().blocks_free() * free().fragment_size() > 12 << 20 {
        file.write_all(&[1; 1 << 20]).unwrap();
    }
    world.client.ensure(&world.spec("h1", &["serve"])).await.unwrap();
    let failed = world.wait("h1", "failed", |o| matches!(o.phase, Phase::Failed(_))).await;
    let Phase::Failed(fault) = failed.phase else { unreachable!() };
    let begin = format!("the disk of {} is full: ", world.dir.display());
    assert!(!fault.permanent && fault.reason.starts_with(&begin), "{fault:?}");
    assert!(fault.reason.ends_with(" MiB free; a start needs 16 MiB"), "{fault:?}");
    let tried = world.wait("h1", "tried again", |o| o.restarts >= 1).await;
    assert_eq!(tried.phase, Phase::Failed(fault), "the reason is shown all the time");
    drop(file);
    fs::remove_file(&filler).unwrap();
    world.healthy("h1").await;

    // Without control groups a node does not begin, and says so.
    world.kill();
    let script = r#"umount -R /sys/fs/cgroup && exec "$0" node "$1""#;
    let blind = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, PROGRAM])
        .arg(world.dir.join("config.json"))
        .output()
        .unwrap();
    let said = String::from_utf8(blind.stdout).unwrap();
    let reason = "failed: control groups are not usable: neither version 1 nor version 2 is mounted";
    assert!(said.starts_with(reason), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_tree_is_no_trap() {
    let mut world = World::new();
    // Deeper than a path can be long. The kernel's memory for so many directories counts.
    let deep = |id: &str| InstanceSpec {
        size: InstanceSize { cpu_units: 1024, memory_mib: 256 },
        ..world.spec(id, &["serve"])
    };
    let (spec, second) = (deep("f1"), deep("f2"));
    world.client.ensure(&spec).await.unwrap();
    let address = world.healthy("f1").await.address.unwrap();
    let upper = world.dir.join("node/instances/f1/upper");
    assert_eq!(get(address, "/dig/5000").unwrap(), "dug");
    assert!(upper.join("d/d/d").is_dir());
    // Removed by its next start.
    let _ = get(address, "/exit/0");
    world.wait("f1", "restarted", |o| o.restarts == 1 && o.health == Health::Healthy).await;
    assert!(!upper.join("d").exists());
    // Removed by a node that finds it without a wish, and by the one that was told.
    assert_eq!(get(address, "/dig/5000").unwrap(), "dug");
    let _ = get(address, "/exit/0");
    world.wait("f1", "exited", |o| matches!(o.phase, Phase::Exited(_))).await;
    world.kill();
    fs::remove_file(world.dir.join("node/wanted/f1.json")).unwrap();
    world.start();
    assert!(!world.dir.join("node/instances/f1").exists());
    world.client.ensure(&second).await.unwrap();
    let address = world.healthy("f2").await.address.unwrap();
    assert_eq!(get(address, "/dig/5000").unwrap(), "dug");
    world.client.remove(&second.id, Duration::ZERO).await.unwrap();
    world.gone("f2").await;
    assert!(!world.dir.join("node/instances/f2").exists());
}
