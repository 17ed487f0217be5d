//! What takes its time: builds that wait for their place, and instances that go when their operation has ended.

use super::rig::*;
use apron_compute::sim::BuildScript;
use apron_model::fixture;
use apron_model::instance::Phase;
use apron_model::limits;
use apron_model::operation::{BuildFact, BuildWish, OperationStatus};
use apron_model::service::*;
use apron_telemetry::Stream;
use std::net::TcpListener;
use std::time::Duration;

/// Looks at what takes a moment, 10 ms apart, before a test gives it up.
const TRIES_MAX: usize = 3_000;

#[tokio::test]
async fn builds_have_their_turns_in_order_and_waiting_costs_them_nothing() {
    let bench = Bench::new();
    bench.world.script(GOOD, BuildScript::Hangs);
    let mut rig = bench.start().await;
    let mut created = Vec::new();
    for (name, url) in [("a", GOOD), ("b", GOOD), ("c", BETTER), ("d", BETTER)] {
        created.push(rig.create(name, config(url)).await);
        rig.round().await;
    }
    for _ in 0..5 {
        rig.round().await;
    }
    let said = |rig: &Rig, index: usize, words: &str| {
        let (service, operation): &(_, _) = &created[index];
        let log = rig.lines(&Stream::Deployment(service.clone(), operation.clone()));
        log.iter().filter(|line| line.contains(words)).count()
    };
    let waits = "waits for its place: ";
    assert_eq!([0, 1, 2, 3].map(|index| said(&rig, index, waits)), [0, 0, 1, 1]);
    assert_eq!(said(&rig, 2, "2 builds are before it"), 1);
    assert_eq!(said(&rig, 3, "3 builds are before it"), 1);
    // Those before them take all of their time and fail.
    bench.clock.forward(limits::BUILD_MS_MAX);
    for (index, status) in [
        (0, OperationStatus::Failed),
        (1, OperationStatus::Failed),
        (2, OperationStatus::Succeeded),
        (3, OperationStatus::Succeeded),
    ] {
        let ended = rig.settle(&created[index].1).await;
        assert_eq!(ended.status, status, "{index}: {:?}", ended.fault);
    }
    assert_eq!(said(&rig, 2, "has its place after 180"), 1);
}

#[tokio::test]
async fn a_build_that_is_interrupted_keeps_its_place() {
    let bench = Bench::new();
    bench.world.script(GOOD, BuildScript::Hangs);
    bench.world.script(BETTER, BuildScript::Interrupted { times: 2, then: outcome(image("b")) });
    bench.world.script(BAD, BuildScript::Hangs);
    let mut rig = bench.start().await;
    rig.create("a", config(GOOD)).await;
    let (_, interrupted) = rig.create("b", config(BETTER)).await;
    let (service, waiting) = rig.create("c", config(BAD)).await;
    assert_eq!(rig.settle(&interrupted).await.status, OperationStatus::Succeeded);
    rig.round().await;
    assert_eq!(bench.world.hanging(), 2);
    let log = rig.lines(&Stream::Deployment(service, waiting));
    let said = ["waits for its place: 2 builds are before it", "has its place after "];
    assert_eq!(said.map(|words| log.iter().filter(|line| line.contains(words)).count()), [1, 1], "{log:?}");
}

#[tokio::test]
async fn a_build_has_its_place_when_the_node_has_taken_it() {
    let bench = Bench::new();
    bench.world.script(GOOD, BuildScript::Hangs);
    let mut rig = bench.start().await;
    for name in ["a", "b"] {
        rig.create(name, config(GOOD)).await;
        rig.round().await;
    }
    let (service, waits) = rig.create("c", config(BETTER)).await;
    rig.round().await;
    bench.world.set_unreachable(true);
    // The time of those before it is over, and then more than it would have itself.
    for _ in 0..3 {
        bench.clock.forward(limits::BUILD_MS_MAX / 2 + 1);
        for _ in 0..5 {
            rig.round().await;
        }
    }
    let log = Stream::Deployment(service, waits.clone());
    let has_place = |rig: &Rig| rig.lines(&log).iter().any(|line| line.contains("has its place after "));
    assert!(!has_place(&rig), "{:?}", rig.lines(&log));
    bench.world.set_unreachable(false);
    let ended = rig.settle(&waits).await;
    assert_eq!(ended.status, OperationStatus::Succeeded, "{:?}", ended.fault);
    assert!(has_place(&rig));
}

/// It has its share of the places. Other registries have theirs, and what is imported is to be had from nobody.
#[tokio::test]
async fn a_registry_that_says_nothing_holds_up_no_other_image() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let [silent, other] =
        [&silent, &other].map(|listener| format!("{}/team/web", listener.local_addr().unwrap()));
    let bench = Bench::new();
    let imported = bench.import("web", "imported").await.unwrap();
    let mut rig = bench.start().await;
    for number in 0..20 {
        rig.create(&format!("silent{number}"), fixture::image_config(&silent)).await;
    }
    for (name, reference) in [("other", other.as_str()), ("imported", "web")] {
        rig.create(name, fixture::image_config(reference)).await;
    }
    let facts = async |rig: &Rig, of: &str| -> Vec<BuildFact> {
        let wanted = rig.store.build_list_wanted().await.unwrap().into_iter();
        wanted.filter(|one| one.wish == image_wish(of)).map(|one| one.fact).collect()
    };
    rig.engine.pass().await.unwrap();
    // Each begins one try at most.
    for _ in 0..30 {
        rig.builds.pass().await.unwrap();
    }
    let waits = |fact: &BuildFact| matches!(fact, BuildFact::Waits { .. });
    let of_silent = facts(&rig, &silent).await;
    assert_eq!(of_silent.iter().filter(|fact| waits(fact)).count(), 16, "{of_silent:?}");
    assert_eq!(of_silent.last(), Some(&BuildFact::Waits { before: 19 }));
    assert_eq!(facts(&rig, &other).await, [BuildFact::Unknown], "it has begun");
    for _ in 0..TRIES_MAX {
        match &facts(&rig, "web").await[..] {
            [BuildFact::Done(outcome)] => return assert_eq!(outcome.image, imported),
            facts => assert_eq!(facts, [BuildFact::Unknown], "it has begun"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the imported image is not found");
}

fn image_wish(reference: &str) -> BuildWish {
    BuildWish::Image { reference: reference.to_owned() }
}

#[tokio::test]
async fn what_goes_behind_an_operation_is_told() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let mut old: Vec<_> = bench.world.specs().into_iter().map(|spec| spec.id).collect();
    old.sort();
    // One has a request that does not end.
    rig.busy.insert(old[0].clone(), 1);
    let update = rig.act(&id, Action::Update, Some(config(BETTER))).await.unwrap();
    for _ in 0..40 {
        rig.round().await;
    }
    assert!(rig.store.operation_get(&update).await.unwrap().unwrap().status.is_ended());
    let told = |rig: &Rig, what: String| rig.events(&id).iter().filter(|line| line.contains(&what)).count();
    let (busy, idle) = (&old[0], &old[1]);
    let ended = |id: &_| format!("Instance {id} of revision 1 stops after ");
    let gone = |id: &_| format!("Instance {id} of revision 1 has stopped");
    assert_eq!([ended(busy), gone(busy)].map(|what| told(&rig, what)), [0, 0]);
    assert_eq!([ended(idle), gone(idle)].map(|what| told(&rig, what)), [1, 1], "{:?}", rig.events(&id));
    bench.clock.forward(limits::DRAIN_MS);
    rig.settle(&update).await;
    assert_eq!([ended(busy), gone(busy)].map(|what| told(&rig, what)), [1, 1], "{:?}", rig.events(&id));
    let seconds = Duration::from_millis(limits::DRAIN_MS).as_secs();
    let over = rig.events(&id).into_iter().find(|line| line.starts_with(&ended(busy))).unwrap();
    let took = over.trim_start_matches(&ended(busy)).split('.').next().unwrap().parse::<u64>().unwrap();
    assert!(
        (seconds..seconds + 10).contains(&took) && over.ends_with("its time to drain is over."),
        "{over}"
    );
}

#[tokio::test]
async fn that_an_instance_has_stopped_is_told_also_after_a_kill() {
    let template = Bench::new();
    let mut rig = template.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    rig.act(&id, Action::Pause, None).await.unwrap();
    while template.world.observed().iter().any(|one| one.phase != Phase::Stopping) {
        rig.round().await;
    }
    drop(rig);
    for cut in 1.. {
        let bench = template.fork().await;
        let mut rig = bench.start().await;
        let passes = async {
            // The instances go between these.
            rig.instances.pass().await.unwrap();
            rig.instances.pass().await.unwrap();
        };
        let (whole, _) = bench.gate.alone(passes, Some(cut)).await;
        drop(rig);
        let mut rig = bench.start().await;
        for _ in 0..4 {
            rig.round().await;
        }
        assert!(bench.world.observed().is_empty());
        let told = rig.events(&id).iter().filter(|line| line.contains("of revision 1 has stopped")).count();
        assert_eq!(told, 2, "cut after {cut} steps: {:?}", rig.events(&id));
        if whole.is_some() {
            return;
        }
    }
}
