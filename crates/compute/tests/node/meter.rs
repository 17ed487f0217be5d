//! What instances use, with real containers and a node that is killed.

use super::idle::{Asker, started};
use super::*;
use apron_model::idle::Awake;
use apron_model::meter::Taken;
use apron_model::price::Usage;

/// In seconds: active, provisioned, asleep, what a short start adds.
fn seconds(usage: Usage, spec: &InstanceSpec) -> [f64; 4] {
    let (units, mib) = (f64::from(spec.size.cpu_units), f64::from(spec.size.memory_mib));
    let of = |amount: u64, size: f64| amount as f64 / size / 1e3;
    [
        of(usage.active_unit_ms, units),
        of(usage.provisioned_mib_ms, mib),
        of(usage.asleep_mib_ms, mib),
        of(usage.short_unit_ms, units),
    ]
}

fn is_near(figure: f64, expect: Duration) -> bool {
    // A started second is one, at each end.
    (figure - expect.as_secs_f64()).abs() <= 2.5
}

impl World {
    /// All that the node hands on and did not hand on before.
    async fn used(&self, taken: &mut Option<Taken>) -> Usage {
        let mut sum = Usage::default();
        let handed = self.client.usage(taken.as_ref()).await.unwrap();
        let next = Taken { meter: handed.meter, number: handed.batch.number };
        if taken.as_ref() != Some(&next) {
            handed.batch.rows.iter().for_each(|row| sum += row.usage);
            *taken = Some(next);
        }
        sum
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_uses_is_known_to_the_second_also_by_the_next_node() {
    let mut world = World::new();
    let began = Instant::now();
    let idle = IdlePolicy { lowest: Rung::Zero, after_ms: [300, 600, 1_500], is_capped: false };
    let observed = started(&world, "m1", idle).await;
    let spec = world.spec("m1", &["serve"]);
    let mut asker = Asker::of(&world, &observed);
    let mut taken = None;

    assert!(asker.slots.take(asker.slots.read()));
    asker.slots.touch();
    std::thread::sleep(Duration::from_secs(3));
    let standing = world.client.standing(&ServiceId::new("service")).await.unwrap();
    assert_eq!((standing.len(), standing[0].awake, standing[0].requests), (1, Some(Awake::Requests), 1));
    let [active, there, ..] = seconds(world.used(&mut taken).await, &spec);
    let so_far = began.elapsed();
    assert!(is_near(active, so_far) && is_near(there, so_far), "{active} and {there} s in {so_far:?}");

    world.kill();
    world.start();
    asker.again(&world);
    std::thread::sleep(Duration::from_secs(2));
    asker.slots.release();
    let busy = began.elapsed();
    while world.client.standing(&ServiceId::new("service")).await.unwrap()[0].rung != Rung::Zero {
        assert!(began.elapsed() < 2 * PATIENCE);
        // A freeze waits until no proxy has a connection.
        let _ = asker.next();
        std::thread::sleep(Duration::from_millis(20));
    }
    let provisioned = began.elapsed();
    std::thread::sleep(Duration::from_secs(4));
    world.kill();
    world.start();
    std::thread::sleep(Duration::from_secs(2));
    let asleep = began.elapsed() - provisioned;
    let [rest, there_too, slept, short] = seconds(world.used(&mut taken).await, &spec);
    assert!(is_near(active + rest, busy), "{active} and {rest} s in {busy:?}");
    assert!(is_near(there + there_too, provisioned), "{there} and {there_too} s in {provisioned:?}");
    assert!(is_near(slept, asleep), "{slept} s in {asleep:?}");
    let whole = active + rest + short;
    assert!(is_near(whole, Duration::from_secs(60)), "{whole} s of a start that was that short");
    world.client.remove(&InstanceId::new("m1"), Duration::from_secs(1)).await.unwrap();
    world.gone("m1").await;
    std::thread::sleep(Duration::from_millis(1_500));
    let last = world.used(&mut taken).await;
    assert_eq!((last.active_unit_ms, last.provisioned_mib_ms), (0, 0), "{last:?}");
    assert_eq!(world.used(&mut taken).await, Usage::default(), "handed on once");
}
