//! A kill at any instant: every operation is cut at each of its await points, which lie between every two
//! transactions and driver calls; control starts again over the same database, world and proxy, and must come
//! to the same end.

use super::rig::*;
use apron_compute::sim::Behaviour;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::OperationStatus;
use apron_model::service::*;
use std::future::Future;
use std::task::Poll;

/// Cuts per operation; with more await points than that they are spread evenly.
const CUTS_MAX: usize = 60;

/// Polls a future so often, then drops it: all that is in memory is gone, as after a kill. Returns the output,
/// if it came to that, and the number of polls.
pub(super) async fn cut<T>(future: impl Future<Output = T>, polls_max: usize) -> (Option<T>, usize) {
    let mut future = Box::pin(future);
    let mut polls = 0;
    let output = std::future::poll_fn(|context| {
        if polls == polls_max {
            return Poll::Ready(None);
        }
        polls += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await;
    (output, polls)
}

/// What must be the same, cut or not.
#[derive(Debug, PartialEq, Eq)]
struct End {
    operation: OperationStatus,
    reason: Option<String>,
    state: State,
    active: Option<u32>,
    candidate: Option<u32>,
    config: ServiceConfig,
    images: Vec<String>,
    routed: Vec<(u32, usize)>,
    tells_its_end: bool,
}

async fn end(bench: &Bench, rig: &mut Rig, id: &ServiceId, operation: &OperationId) -> End {
    let row = rig.settle(operation).await;
    let service = rig.service(id).await;
    let mut images: Vec<String> =
        bench.world.specs().into_iter().map(|spec| spec.image.as_str().to_owned()).collect();
    images.sort();
    let served = bench.proxy.lock().unwrap().clone();
    let routed = served.iter().flat_map(|table| &table.services);
    let said = format!("Service status is set to {}.", settled(service.state).as_str());
    End {
        operation: row.status,
        reason: row.fault.map(|fault| fault.reason),
        state: service.state,
        active: service.active,
        candidate: service.candidate,
        config: service.config,
        images,
        routed: routed.map(|service| (service.revision, service.instances.len())).collect(),
        tells_its_end: rig.events(id).contains(&said),
    }
}

/// Brings a bench to the start of an operation, then runs it uncut and with each cut.
async fn check(prepare: impl AsyncFn(&mut Rig) -> (ServiceId, OperationId), behaviour: Option<Behaviour>) {
    let template = Bench::new();
    if let Some(behaviour) = behaviour {
        template.world.behave(&image("c"), behaviour);
    }
    let mut rig = template.start().await;
    let (id, operation) = prepare(&mut rig).await;
    rig.store.close().await;
    drop(rig);

    let whole = template.fork();
    let mut rig = whole.start().await;
    let (expect, polls) = cut(end(&whole, &mut rig, &id, &operation), usize::MAX).await;
    let expect = expect.expect("uncut");
    drop(rig);

    let stride = polls.div_ceil(CUTS_MAX);
    for polls_max in (1..polls).step_by(stride) {
        let bench = template.fork();
        let mut rig = bench.start().await;
        let (early, _) = cut(end(&bench, &mut rig, &id, &operation), polls_max).await;
        drop(rig);
        let got = match early {
            Some(end) => end,
            None => {
                let mut rig = bench.start().await;
                end(&bench, &mut rig, &id, &operation).await
            }
        };
        assert_eq!(got, expect, "cut after {polls_max} of {polls} polls");
    }
}

async fn running(rig: &mut Rig) -> ServiceId {
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    id
}

#[tokio::test]
async fn create() {
    check(async |rig| rig.create("web", config(GOOD)).await, None).await;
}

#[tokio::test]
async fn update() {
    let prepare = async |rig: &mut Rig| {
        let id = running(rig).await;
        let operation = rig.act(&id, Action::Update, Some(config(BETTER))).await.unwrap();
        (id, operation)
    };
    check(prepare, None).await;
}

#[tokio::test]
async fn broken_update() {
    let prepare = async |rig: &mut Rig| {
        let id = running(rig).await;
        let operation = rig.act(&id, Action::Update, Some(config(BAD))).await.unwrap();
        (id, operation)
    };
    check(prepare, Some(Behaviour::Exits { code: 1, last_lines: vec!["boom".to_owned()] })).await;
}

#[tokio::test]
async fn failed_create() {
    let prepare = async |rig: &mut Rig| rig.create("web", config(BAD)).await;
    check(prepare, Some(Behaviour::Exits { code: 1, last_lines: Vec::new() })).await;
}

#[tokio::test]
async fn pause() {
    let prepare = async |rig: &mut Rig| {
        let id = running(rig).await;
        let operation = rig.act(&id, Action::Pause, None).await.unwrap();
        (id, operation)
    };
    check(prepare, None).await;
}

#[tokio::test]
async fn resume() {
    let prepare = async |rig: &mut Rig| {
        let id = running(rig).await;
        let pause = rig.act(&id, Action::Pause, None).await.unwrap();
        rig.settle(&pause).await;
        let operation = rig.act(&id, Action::Resume, None).await.unwrap();
        (id, operation)
    };
    check(prepare, None).await;
}

#[tokio::test]
async fn delete() {
    let prepare = async |rig: &mut Rig| {
        let id = running(rig).await;
        let operation = rig.act(&id, Action::Delete, None).await.unwrap();
        (id, operation)
    };
    check(prepare, None).await;
}
