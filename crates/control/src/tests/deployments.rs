//! What becomes of a service under good and bad facts.

use super::rig::*;
use apron_compute::sim::{Behaviour, BuildScript};
use apron_model::ids::{Generation, OperationId};
use apron_model::instance::{Command, Fault, InstanceSpec};
use apron_model::operation::OperationStatus;
use apron_model::routes::RouteState;
use apron_model::service::*;
use apron_store::{Conflict, StoreError};
use apron_telemetry::Stream;

#[tokio::test]
async fn create_update_pause_resume_delete() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    assert_eq!(rig.act(&id, Action::Pause, None).await, Err(Refusal::InProgress));
    assert_eq!(rig.settle(&create).await.status, OperationStatus::Succeeded);
    let service = rig.service(&id).await;
    assert_eq!((status(&service), service.active), (Status::Running, Some(1)));
    let specs = bench.world.specs();
    assert_eq!(specs.len(), 2);
    assert_eq!(specs[0].command, Command::Argv(vec!["python".to_owned(), "app.py".to_owned()]));
    assert_eq!(specs[0].env["PORT"], "8000");
    assert_eq!(specs[0].env["APRON_COMMIT"], "c0ffee");

    let update = rig.act(&id, Action::Update, Some(config(BETTER))).await.unwrap();
    assert_eq!(rig.service(&id).await.config, config(BETTER), "shown while it is applied");
    assert_eq!(rig.settle(&update).await.status, OperationStatus::Succeeded);
    let images = |specs: Vec<InstanceSpec>| specs.into_iter().map(|spec| spec.image).collect::<Vec<_>>();
    assert_eq!(images(bench.world.specs()), [image("b"), image("b")]);

    let pause = rig.act(&id, Action::Pause, None).await.unwrap();
    assert_eq!(rig.settle(&pause).await.status, OperationStatus::Succeeded);
    assert_eq!(bench.world.specs(), []);
    assert_eq!(bench.proxy.lock().unwrap().as_ref().unwrap().services[0].state, RouteState::Paused);
    let builds = bench.world.counts().2;
    let resume = rig.act(&id, Action::Resume, None).await.unwrap();
    assert_eq!(rig.settle(&resume).await.status, OperationStatus::Succeeded);
    assert_eq!((rig.service(&id).await.active, bench.world.counts().2), (Some(2), builds));

    let delete = rig.act(&id, Action::Delete, None).await.unwrap();
    assert_eq!(rig.settle(&delete).await.status, OperationStatus::Succeeded);
    assert_eq!(status(&rig.service(&id).await), Status::Deleted);
    assert_eq!(rig.act(&id, Action::Delete, None).await, Err(Refusal::Deleted));
    assert_eq!(bench.world.specs(), []);
    assert_eq!(bench.proxy.lock().unwrap().as_ref().unwrap().services, []);
    assert_eq!(rig.store.service_list("us-east-1", None, 10).await.unwrap(), []);
    let (_, again) = rig.create("web", config(GOOD)).await;
    assert_eq!(rig.settle(&again).await.status, OperationStatus::Succeeded);
    let page = rig.store.operation_list(&id, None, 2).await.unwrap();
    let newest: Vec<&OperationId> = page.operations.iter().map(|one| &one.id).collect();
    assert_eq!(newest, [&delete, &resume]);
    let rest = rig.store.operation_list(&id, page.next, 10).await.unwrap();
    assert_eq!((rest.operations.len(), rest.next), (3, None));
}

#[tokio::test]
async fn a_broken_update_leaves_the_old_revision_serving_and_says_why() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let before = bench.world.specs();
    let last_lines = vec!["ModuleNotFoundError".to_owned()];
    let bad: &[(Behaviour, &str)] = &[
        (Behaviour::Exits { code: 1, last_lines }, "Container exit code: 1"),
        (Behaviour::Fails { fault: Fault::permanent("start command 'x' not found") }, "'x' not found"),
        (Behaviour::Refused { reason: "no memory is left".to_owned() }, "no memory is left"),
        (
            Behaviour::Silent { hint: Some("listening on 5000, expected 8000".to_owned()) },
            "listening on 5000",
        ),
    ];
    for (behaviour, says) in bad {
        bench.world.behave(&image("c"), behaviour.clone());
        let update = rig.act(&id, Action::Update, Some(config(BAD))).await.unwrap();
        let ended = rig.settle(&update).await;
        assert_eq!(ended.status, OperationStatus::RollbackSucceeded, "{says}");
        let reason = ended.fault.unwrap().reason;
        assert!(reason.contains(says), "{reason}");
        let service = rig.service(&id).await;
        assert_eq!((status(&service), &service.config), (Status::Running, &config(GOOD)));
        assert_eq!(service.last_failure.as_ref(), Some(&reason));
        assert_eq!(bench.world.specs(), before, "the old instances were not touched");
        assert!(rig.events(&id).iter().any(|line| line.contains(&reason)));
        let stream = Stream::Deployment(id.clone(), update);
        if matches!(behaviour, Behaviour::Exits { .. }) {
            assert!(rig.lines(&stream).iter().any(|line| line.contains("ModuleNotFoundError")));
        }
        assert!(rig.logs.read(&stream, apron_telemetry::Cursor::START, 1000).unwrap().end);
    }
}

#[tokio::test]
async fn a_failed_create_can_be_put_right_or_deleted() {
    let bench = Bench::new();
    bench.world.script(BAD, BuildScript::Fails(Fault::permanent("line 3: 'run' is missing")));
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(BAD)).await;
    let ended = rig.settle(&create).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    let service = rig.service(&id).await;
    assert_eq!(status(&service), Status::CreateFailed);
    assert_eq!(service.last_failure.as_deref(), Some("line 3: 'run' is missing"));
    let update = rig.act(&id, Action::Update, Some(config(GOOD))).await.unwrap();
    assert_eq!(rig.settle(&update).await.status, OperationStatus::Succeeded);
    assert_eq!(status(&rig.service(&id).await), Status::Running);
}

#[tokio::test]
async fn a_node_that_is_away_costs_time_only() {
    let bench = Bench::new();
    bench.world.script(GOOD, BuildScript::Interrupted { times: 4, then: outcome(image("a")) });
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    bench.world.set_unreachable(true);
    for _ in 0..20 {
        rig.round().await;
    }
    bench.world.set_unreachable(false);
    assert_eq!(rig.settle(&create).await.status, OperationStatus::Succeeded);
    // A node that lost everything gets its instances again, and proxies learn their new addresses.
    bench.world.wipe();
    for _ in 0..8 {
        rig.round().await;
    }
    assert_eq!(bench.world.specs().len(), 2);
    let served = bench.proxy.lock().unwrap().clone().unwrap();
    assert_eq!(served.services[0].instances.len(), 2);
    assert_eq!(rig.service(&id).await.state, State::Running);
}

/// A node that refuses to remove one instance, its disk being full, does everything else.
#[tokio::test]
async fn a_refused_removal_holds_up_nothing_else() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("old", config(GOOD)).await;
    rig.settle(&create).await;
    bench.world.refuse_removals(Some("no space is left"));
    let delete = rig.act(&id, Action::Delete, None).await.unwrap();
    for _ in 0..10 {
        rig.round().await;
    }
    assert!(!rig.instances.pass().await.unwrap(), "it is not asked for without a pause");
    let (_, create) = rig.create("new", config(BETTER)).await;
    for _ in 0..20 {
        rig.round().await;
    }
    let row = rig.store.operation_get(&create).await.unwrap().unwrap();
    assert_eq!(row.status, OperationStatus::Succeeded);
    assert_eq!(bench.world.specs().len(), 4);
    bench.world.refuse_removals(None);
    assert_eq!(rig.settle(&delete).await.status, OperationStatus::Succeeded);
    assert_eq!(bench.world.specs().len(), 2);
}

/// A node may know a later generation than a restored database; what no history explains is left alone.
#[tokio::test]
async fn a_later_generation_of_the_node_is_raised_above_when_it_can_be() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let epoch = rig.store.epoch_get().await.unwrap();
    let [restored, absurd] = <[InstanceSpec; 2]>::try_from(bench.world.specs()).unwrap();
    let seen = |spec: &InstanceSpec, epoch| {
        let generation = Generation { epoch, counter: u64::MAX };
        bench.world.put_stranger(InstanceSpec { generation, ..spec.clone() });
    };
    seen(&restored, epoch + 7);
    seen(&absurd, u64::MAX);
    for _ in 0..8 {
        rig.round().await;
    }
    assert_eq!(rig.store.epoch_get().await.unwrap(), epoch + 8);
    let generation = |spec: &InstanceSpec| {
        let specs = bench.world.specs();
        specs.into_iter().find(|one| one.id == spec.id).unwrap().generation
    };
    assert_eq!(generation(&restored), Generation { epoch: epoch + 8, counter: 1 });
    assert_eq!(generation(&absurd).epoch, u64::MAX, "it is left as it is");
    assert!(!rig.instances.pass().await.unwrap(), "nothing more is done about it");
    assert_eq!(rig.service(&id).await.state, State::Running);
}

/// Output of which nobody told is read as soon as it is known that something was missed.
#[tokio::test]
async fn output_is_looked_for_when_hints_were_missed() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let Rig { control, logs, .. } = rig;
    let crate::bench::Control { collector, engine, .. } = control;
    let (_told, output) = tokio::sync::mpsc::channel(1);
    let (_stop, shutdown) = tokio::sync::watch::channel(false);
    let collecting = tokio::spawn(collector.run(engine.hints.clone(), output, shutdown));
    let stream = Stream::Application(id);
    for line in ["first", "second"] {
        bench.world.write(&bench.world.specs()[0].id, 5, line);
        // The first is found by the scan at the start.
        engine.hints.output();
        let read = || logs.read(&stream, apron_telemetry::Cursor::START, 10).unwrap().lines;
        let seen = async {
            while !read().iter().any(|one| one.text == line) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), seen).await.expect(line);
    }
    collecting.abort();
}

#[tokio::test]
async fn a_crash_leaves_the_table_until_it_is_healthy_again() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (_, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let served = || bench.proxy.lock().unwrap().as_ref().unwrap().services[0].instances.len();
    bench.world.crash(&bench.world.specs()[0].id, 1);
    rig.round().await;
    assert_eq!(served(), 1);
    for _ in 0..8 {
        rig.round().await;
    }
    assert_eq!(served(), 2);
}

#[tokio::test]
async fn an_old_instance_waits_for_its_requests_and_for_every_proxy() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let old = bench.world.specs();
    rig.busy.insert(old[0].id.clone(), 3);
    let update = rig.act(&id, Action::Update, Some(config(BETTER))).await.unwrap();
    for _ in 0..40 {
        rig.round().await;
    }
    let row = rig.store.operation_get(&update).await.unwrap().unwrap();
    assert_eq!(row.status, OperationStatus::Succeeded, "draining does not hold the operation open");
    let left = || bench.world.specs().into_iter().filter(|spec| spec.revision == 1).count();
    assert_eq!(left(), 1, "the one with requests is left");
    rig.busy.clear();
    rig.settle(&update).await;
    assert_eq!(left(), 0);

    // A proxy that takes no tables: the deployment goes on, the instances it knows stay.
    rig.deaf = true;
    let update = rig.act(&id, Action::Update, Some(config(GOOD))).await.unwrap();
    for _ in 0..150 {
        rig.round().await;
    }
    let row = rig.store.operation_get(&update).await.unwrap().unwrap();
    assert_eq!(row.status, OperationStatus::Succeeded);
    assert_eq!(bench.world.specs().len(), 4);
    rig.deaf = false;
    rig.settle(&update).await;
    assert_eq!(bench.world.specs().len(), 2);
}

#[tokio::test]
async fn an_operation_ends_though_nothing_ever_answers() {
    let bench = Bench::new();
    bench.world.script(BAD, BuildScript::Hangs);
    let mut rig = bench.start().await;
    let (_, create) = rig.create("web", config(BAD)).await;
    rig.round().await;
    rig.round().await;
    bench.clock.forward(apron_model::limits::BUILD_MS_MAX);
    assert_eq!(rig.settle(&create).await.status, OperationStatus::Failed);
    let (_, create) = rig.create("slow", config(GOOD)).await;
    rig.round().await;
    bench.world.behave(&image("a"), Behaviour::Silent { hint: None });
    for _ in 0..10 {
        rig.round().await;
    }
    bench.clock.forward(apron_model::limits::BECOME_HEALTHY_MS);
    assert_eq!(rig.settle(&create).await.status, OperationStatus::Failed);
}

#[tokio::test]
async fn names_and_operations_are_unique() {
    let bench = Bench::new();
    let rig = bench.start().await;
    let (id, _) = rig.create("web", config(GOOD)).await;
    let mut twin = rig.service(&id).await;
    twin.id = apron_model::ids::ServiceId::new("9".repeat(32));
    twin.url_label = "zzzzzzzzzz".to_owned();
    let kind = apron_model::operation::OperationKind::CreateService;
    let operation = apron_model::operation::Operation::pending(
        OperationId::new("8".repeat(32)),
        twin.id.clone(),
        kind,
        twin.created_at,
    );
    let refused = rig.store.service_create(&twin, &operation, SERVICES_MAX).await;
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::NameTaken))), "{refused:?}");
    assert_eq!(rig.store.service_get(&twin.id).await.unwrap(), None, "nothing of it was written");
    // The index, not only the admission, keeps a second operation out.
    let second = apron_model::operation::Operation::pending(
        OperationId::new("7".repeat(32)),
        id.clone(),
        kind,
        twin.created_at,
    );
    let writes = vec![apron_model::operation::Write::OperationNew(Box::new(second))];
    let opened = rig.store.service_call(&id, twin.created_at, |_| Ok::<_, Refusal>(((), writes)));
    let refused = opened.await;
    assert!(matches!(refused, Err(StoreError::Conflict(Conflict::OperationOpen))), "{refused:?}");
}

#[tokio::test]
async fn strangers_are_left_and_the_output_of_ours_outlives_them() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let mut stranger = bench.world.specs()[0].clone();
    stranger.id = apron_model::ids::InstanceId::new("e".repeat(32));
    bench.world.put_stranger(stranger.clone());
    let own = bench.world.specs()[0].id.clone();
    bench.world.write(&own, 5, "hello");
    bench.world.write(&own, 6, "world");
    rig.collector.scan().await;
    rig.collector.save().await;
    let delete = rig.act(&id, Action::Delete, None).await.unwrap();
    rig.settle(&delete).await;
    assert_eq!(bench.world.specs(), [stranger]);
    assert_eq!(rig.lines(&Stream::Application(id.clone())), ["hello", "world"]);
    drop(rig);
    let mut rig = bench.start().await;
    rig.collector.scan().await;
    assert_eq!(rig.lines(&Stream::Application(id.clone())), ["hello", "world"], "nothing twice");
    // After a day the service is forgotten.
    bench.clock.forward(apron_model::limits::DELETED_KEPT_MS + 1000);
    rig.round().await;
    let now = apron_model::time::Timestamp(crate::clock::Clock::now(bench.clock.as_ref()).0);
    let purged = rig.store.purge(now, &[]).await.unwrap();
    assert_eq!(purged.services, std::slice::from_ref(&id));
    assert_eq!(rig.store.service_get(&id).await.unwrap(), None);
    assert_eq!(rig.store.slot_list_all(&[]).await.unwrap().slots, []);
}

#[tokio::test]
async fn a_scan_finds_nothing_to_do() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let (_, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    let before = bench.world.counts();
    let table = rig.proxies.table();
    for _ in 0..5 {
        assert_eq!(rig.engine.pass().await.unwrap(), None);
        assert!(!rig.instances.pass().await.unwrap());
        assert!(!rig.routes.pass().await.unwrap());
    }
    assert_eq!(bench.world.counts(), before);
    assert_eq!(rig.proxies.table(), table);
}

/// A deployment for whose second set of instances there is no memory replaces them one by one, and says so.
#[tokio::test]
async fn without_memory_for_a_second_set_instances_are_replaced_one_by_one() {
    for room in [2, 3] {
        let bench = Bench::new();
        let mut rig = bench.start().await;
        let (id, create) = rig.create("web", config(GOOD)).await;
        rig.settle(&create).await;
        bench.world.set_room(Some(room));
        let update = rig.act(&id, Action::Update, Some(config(BETTER))).await.unwrap();
        assert_eq!(rig.settle(&update).await.status, OperationStatus::Succeeded, "{room}");
        let images: Vec<_> = bench.world.specs().into_iter().map(|spec| spec.image).collect();
        assert_eq!(images, [image("b"), image("b")]);
        let events = rig.events(&id);
        assert!(events.iter().any(|line| line.contains("now replaced one by one")), "{events:#?}");
    }
}

#[tokio::test]
async fn the_only_instance_is_not_stopped_for_want_of_memory() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let one = |source| {
        let mut config = config(source);
        config.scaling.min_size = 1;
        config
    };
    let (id, create) = rig.create("web", one(GOOD)).await;
    rig.settle(&create).await;
    let before = bench.world.specs();
    bench.world.set_room(Some(1));
    let update = rig.act(&id, Action::Update, Some(one(BETTER))).await.unwrap();
    let ended = rig.settle(&update).await;
    assert_eq!(ended.status, OperationStatus::RollbackSucceeded);
    let reason = ended.fault.unwrap().reason;
    assert!(reason.contains("not enough memory") && reason.contains("pause the service"), "{reason}");
    assert_eq!(bench.world.specs(), before);
}
