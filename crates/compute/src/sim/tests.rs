//! What every driver must do, and what this one does beside it.

use super::*;
use apron_model::ids::Generation;
use apron_model::instance::{Command, HealthCheck, HealthProtocol, InstanceSize};

fn spec(n: u32) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::new(format!("{n:032x}")),
        generation: Generation { epoch: 1, counter: 1 },
        service: ServiceId::new("5".repeat(32)),
        service_name: "web".to_owned(),
        revision: 1,
        image: Digest::new("sha256:a"),
        command: Command::Image,
        env: BTreeMap::new(),
        port: 8080,
        size: InstanceSize { cpu_units: 256, memory_mib: 512 },
        health: HealthCheck {
            protocol: HealthProtocol::Tcp,
            interval_s: 5,
            timeout_s: 2,
            healthy_threshold: 1,
            unhealthy_threshold: 5,
        },
        health_grace_ms: 0,
        startup_boost: 1,
        stop_grace_ms: 30_000,
        idle: Default::default(),
    }
}

/// What every driver must do: `ensure` twice, `remove` twice, an unknown id, an older generation.
#[tokio::test]
async fn it_obeys_like_any_driver() {
    let world = World::new();
    let newer = InstanceSpec { generation: Generation { epoch: 2, counter: 1 }, ..spec(1) };
    world.ensure(&newer).await.unwrap();
    world.ensure(&newer).await.unwrap();
    world.ensure(&spec(1)).await.unwrap();
    let first = world.list().await.unwrap();
    assert_eq!((first.len(), first[0].generation.epoch), (1, 2));
    assert_eq!(world.list().await.unwrap()[0].health, Health::Healthy);
    for _ in 0..2 {
        world.remove(&spec(1).id, Duration::ZERO).await.unwrap();
        world.remove(&spec(9).id, Duration::ZERO).await.unwrap();
    }
    assert_eq!(world.list().await.unwrap()[0].phase, Phase::Stopping);
    assert_eq!(world.list().await.unwrap(), []);
}

#[tokio::test]
async fn it_behaves_as_told_and_comes_to_rest() {
    let world = World::new();
    world.behave(&spec(1).image, Behaviour::Exits { code: 3, last_lines: vec!["no".to_owned()] });
    world.ensure(&spec(1)).await.unwrap();
    world.list().await.unwrap();
    let seen = world.list().await.unwrap();
    assert!(matches!(&seen[0].phase, Phase::Exited(exit) if exit.code == Some(3)), "{seen:?}");
    world.behave(&spec(1).image, Behaviour::Healthy);
    for _ in 0..5 {
        world.list().await.unwrap();
    }
    let rest = world.list().await.unwrap();
    assert_eq!((rest[0].health.clone(), rest[0].restarts), (Health::Healthy, 1));
    assert_eq!(world.list().await.unwrap(), rest);
}

/// What has no memory is tried anew, so often that its reason counts, and starts when there is room.
#[tokio::test]
async fn it_starts_what_it_has_memory_for() {
    let world = World::new();
    world.set_room(Some(1));
    world.ensure(&spec(1)).await.unwrap();
    world.ensure(&spec(2)).await.unwrap();
    for _ in 0..5 {
        world.list().await.unwrap();
    }
    let seen = world.list().await.unwrap();
    assert_eq!((&seen[0].health, seen[1].restarts + 1), (&Health::Healthy, limits::START_TRIES_MAX));
    assert!(matches!(&seen[1].phase, Phase::Failed(fault) if fault.lacks_memory()), "{seen:?}");
    assert_eq!(world.list().await.unwrap(), seen);
    world.remove(&spec(1).id, Duration::ZERO).await.unwrap();
    for _ in 0..5 {
        world.list().await.unwrap();
    }
    let left = world.list().await.unwrap();
    assert_eq!((left.len(), &left[0].id, &left[0].health), (1, &spec(2).id, &Health::Healthy));
}
