//! Several operations of one service that wait for, supersede, join or repeat one another, and builds of several
//! services that wait for their place; cut like the single operations. What is done next follows from rows alone, so
//! that whoever comes after a cut goes on where the one before it stopped.

use super::sweep::{Stand, operations, say, sweep};
use super::{Wait, arn, has_begun, wait};
use crate::tests::rig::*;
use apron_compute::sim::{Behaviour, BuildScript};
use apron_model::ids::ServiceId;
use apron_model::instance::Fault;
use apron_model::operation::{self, BuildFact, Operation, OperationStatus, Step};
use apron_model::reconcile::SlotWish;
use apron_model::service::*;
use serde_json::{Value, json};

/// Cuts of a story in CI, spread evenly; the long list takes every one.
const CUTS: u64 = 4;
/// Rounds in which every story ends.
const ROUNDS_MAX: usize = 600;

/// Why a build fails.
const BROKEN: &str = "line 3: 'run' is missing";

/// What is done to a service beside its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// Seven operations one behind the other, of which one is impossible when its turn comes and one is cancelled
    /// before it.
    Queued,
    /// A deletion takes the place of what waits.
    DeletedBehind,
    /// A person's update ends the deployment of a push that is at this wait.
    Superseded(Wait),
    /// A person's deployment is the one of a push.
    Joined,
    /// An update whose build fails, put right and repeated.
    Retried,
    /// A creation whose build fails, put right and repeated.
    CreatedAgain,
}

/// What is to be done now.
enum Deed {
    Call(&'static str, Value),
    Push,
    Wait,
}

fn call(name: &'static str) -> Deed {
    Deed::Call(name, json!({}))
}

fn smaller() -> Value {
    json!({ "InstanceConfiguration": { "Cpu": "256", "Memory": "512" } })
}

fn update(url: &str) -> Deed {
    let version = json!({ "Type": "BRANCH", "Value": "main" });
    let code = json!({ "RepositoryUrl": url, "SourceCodeVersion": version });
    Deed::Call("UpdateService", json!({ "SourceConfiguration": { "CodeRepository": code } }))
}

impl Story {
    /// Brings a bench to where the story begins.
    async fn prepare(self, bench: &Bench, rig: &mut Rig) -> ServiceId {
        bench.world.script(BAD, BuildScript::Fails(Fault::permanent(BROKEN)));
        let of = if self == Story::CreatedAgain { BAD } else { GOOD };
        let (id, create) = rig.create("web", config(of)).await;
        rig.settle(&create).await;
        if matches!(self, Story::Queued | Story::DeletedBehind) {
            let tags = json!([{ "Key": "apron:queue-operations", "Value": "true" }]);
            rig.call("TagResource", json!({ "ResourceArn": arn(&id), "Tags": tags })).await.unwrap();
        }
        match self {
            Story::Superseded(Wait::Building) => bench.world.script(GOOD, BuildScript::Hangs),
            Story::Superseded(_) => {
                bench.world.script(GOOD, BuildScript::Makes(outcome(image("c"))));
                bench.world.behave(&image("c"), Behaviour::Silent { hint: None });
            }
            Story::Joined => bench.world.script(GOOD, BuildScript::Makes(outcome(image("b")))),
            Story::Queued | Story::DeletedBehind | Story::Retried | Story::CreatedAgain => {}
        }
        id
    }

    /// What is due, by the operations that there are; None: nothing more.
    fn next(self, rows: &[Operation]) -> Option<Deed> {
        let last = &rows[rows.len() - 1];
        Some(match (self, rows.len()) {
            (Story::Queued, 1) | (Story::DeletedBehind, 1) => update(BETTER),
            (Story::Queued, 2) => call("PauseService"),
            (Story::Queued, 3) => call("StartDeployment"),
            (Story::Queued, 4) => call("ResumeService"),
            (Story::Queued, 5) => Deed::Call("UpdateService", smaller()),
            (Story::Queued, 6) => call("RollbackService"),
            (Story::Queued, 7) => call("StartDeployment"),
            (Story::Queued, 8) if last.step == Step::Queued => {
                Deed::Call("CancelOperation", json!({ "OperationId": last.id.as_str() }))
            }
            (Story::DeletedBehind, 2) => call("StartDeployment"),
            (Story::DeletedBehind, 3) => call("DeleteService"),
            (Story::Superseded(_) | Story::Joined, 1) => Deed::Push,
            (Story::Superseded(at), 2) if wait(&last.step) != Some(at) => Deed::Wait,
            (Story::Superseded(_), 2) => Deed::Call("UpdateService", smaller()),
            (Story::Joined, 2) if last.automatic => call("StartDeployment"),
            (Story::Retried, 1) => update(BAD),
            (Story::Retried, 2) | (Story::CreatedAgain, 1) if !last.status.is_ended() => Deed::Wait,
            (Story::Retried, 2) | (Story::CreatedAgain, 1) => call("RetryOperation"),
            _ => return None,
        })
    }

    /// The source that makes the second image from now on, so that the last operation succeeds.
    fn mended(self, rows: &[Operation]) -> Option<&'static str> {
        match (self, rows.len()) {
            (Story::Superseded(_), 3) => Some(GOOD),
            (Story::Retried, 3) | (Story::CreatedAgain, 2) => Some(BAD),
            _ => None,
        }
    }

    /// Rounds until all is done and has ended.
    async fn run(self, bench: &Bench, rig: &mut Rig, id: &ServiceId) -> Stand {
        for _ in 0..ROUNDS_MAX {
            let mut rows = operations(rig, id).await;
            while let Some(deed) = self.next(&rows)
                && self.act(bench, rig, id, deed).await
            {
                rows = operations(rig, id).await;
            }
            if let Some(url) = self.mended(&rows) {
                bench.world.script(url, BuildScript::Makes(outcome(image("b"))));
            }
            let all_ended = self.next(&rows).is_none() && rows.iter().all(|row| row.status.is_ended());
            if all_ended && is_settled(rig, id).await {
                rig.round().await;
                return Stand::of(bench, rig, id).await;
            }
            rig.round().await;
        }
        panic!("{self:?} does not end: {:?}", operations(rig, id).await);
    }

    /// False: it is not time yet.
    async fn act(self, bench: &Bench, rig: &Rig, id: &ServiceId, deed: Deed) -> bool {
        if let (Story::Superseded(at), Deed::Call(..)) = (self, &deed)
            && !has_begun(bench, rig, id, at).await
        {
            return false;
        }
        let (name, mut input) = match deed {
            Deed::Wait => return false,
            Deed::Push => {
                let mut draw = rig.control.platform.draw();
                let (now, push) = (draw.wall, operation::Call::StartDeployment { automatic: true });
                let pushed =
                    rig.store.service_call(id, now, |standing| operation::call(standing, &push, &mut draw));
                pushed.await.unwrap().unwrap().unwrap();
                return true;
            }
            Deed::Call(name, input) => (name, input),
        };
        input["ServiceArn"] = json!(arn(id));
        rig.call(name, input).await.unwrap_or_else(|error| panic!("{self:?}: {name}: {error}"));
        true
    }

    fn check(self, end: &Stand) {
        use OperationStatus::{Failed, RollbackSucceeded, Succeeded};
        let (statuses, reason): (&[OperationStatus], _) = match self {
            Story::Queued => (
                &[Succeeded, Succeeded, Succeeded, Failed, Succeeded, Succeeded, Succeeded, Failed],
                "Cancelled by a caller.",
            ),
            Story::DeletedBehind => {
                (&[Succeeded, Succeeded, Failed, Succeeded], "Superseded by DeleteService.")
            }
            Story::Superseded(_) => {
                (&[Succeeded, RollbackSucceeded, Succeeded], "Superseded by UpdateService.")
            }
            Story::Joined => (&[Succeeded, Succeeded], ""),
            Story::Retried => (&[Succeeded, RollbackSucceeded, Succeeded], BROKEN),
            Story::CreatedAgain => (&[Failed, Succeeded], BROKEN),
        };
        let got: Vec<OperationStatus> = end.operations.iter().map(|(_, status, _)| *status).collect();
        assert_eq!(got, statuses, "{self:?} {end:?}");
        let last = end.operations.iter().rev().find_map(|(_, _, reason)| reason.as_deref());
        assert_eq!(last.unwrap_or_default(), reason, "{self:?} {end:?}");
        let (state, images) = match self {
            Story::DeletedBehind => (State::Deleted, Vec::new()),
            _ => (State::Running, vec![image("b").as_str().to_owned(); 2]),
        };
        assert_eq!((end.state, &end.images, end.candidate), (state, &images, None), "{self:?} {end:?}");
        if self == Story::Queued {
            assert_eq!(end.config, config(BETTER), "back to what served before the last update");
        }
    }

    /// How many cuts there were.
    async fn sweep(self, cuts_max: Option<u64>) -> usize {
        let template = Bench::new();
        let mut rig = template.start().await;
        let id = self.prepare(&template, &mut rig).await;
        drop(rig);
        let run = async |bench: &Bench, rig: &mut Rig| (self.run(bench, rig, &id).await, ());
        let check = |end: &Stand, ()| self.check(end);
        sweep(&format!("{self:?}"), &template, std::slice::from_ref(&id), cuts_max, run, check).await
    }
}

/// Nothing drains or starts any more.
async fn is_settled(rig: &Rig, id: &ServiceId) -> bool {
    let slots = rig.store.slot_list(id).await.unwrap();
    slots.iter().all(|slot| slot.wish == SlotWish::Run && slot.serves())
}

async fn check_stories(what: &str, stories: &[Story], cuts_max: Option<u64>) {
    let mut cuts = 0;
    for story in stories {
        cuts += story.sweep(cuts_max).await;
    }
    say(what, stories.len(), cuts, cuts_max);
}

/// Four builds for two places: the first two never end by themselves, and are cancelled, one while the others wait and
/// one when those have ended.
async fn check_places(cuts_max: Option<u64>) {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let template = Bench::new();
    template.world.script(GOOD, BuildScript::Hangs);
    let rig = template.start().await;
    let mut ids = Vec::new();
    for (name, url) in NAMES.into_iter().zip([GOOD, GOOD, BETTER, BETTER]) {
        ids.push(rig.create(name, config(url)).await.0);
    }
    drop(rig);
    let run = async |bench: &Bench, rig: &mut Rig| {
        for _ in 0..ROUNDS_MAX {
            let (mut ended, mut waits, mut settled) = ([false; 4], [false; 4], true);
            for (place, id) in ids.iter().enumerate() {
                let row = operations(rig, id).await.remove(0);
                let view = rig.store.operation_view(&row.id).await.unwrap().unwrap();
                ended[place] = row.status.is_ended();
                waits[place] = view.build.is_some_and(|one| matches!(one.fact, BuildFact::Waits { .. }));
                settled &= ended[place] && is_settled(rig, id).await;
            }
            if settled {
                rig.round().await;
                let mut stands = Vec::new();
                for id in &ids {
                    stands.push(Stand::of(bench, rig, id).await);
                }
                return (stands, ());
            }
            let due = [!ended[0] && waits[2] && waits[3], !ended[1] && ended[2] && ended[3]];
            for (place, id) in ids.iter().enumerate().take(2).filter(|(place, _)| due[*place]) {
                let named = arn(id).replace("/web/", &format!("/{}/", NAMES[place]));
                rig.call("CancelOperation", json!({ "ServiceArn": named })).await.unwrap();
            }
            rig.round().await;
        }
        panic!("the builds do not end");
    };
    let check = |ends: &Vec<Stand>, ()| {
        let states: Vec<State> = ends.iter().map(|end| end.state).collect();
        assert_eq!(states, [State::CreateFailed, State::CreateFailed, State::Running, State::Running]);
    };
    let cuts = sweep("builds that wait", &template, &ids, cuts_max, run, check).await;
    say("builds that wait for their place", 1, cuts, cuts_max);
}

const WAITING: [Story; 2] = [Story::Queued, Story::DeletedBehind];
const PUSHED: [Story; 3] =
    [Story::Superseded(Wait::Building), Story::Superseded(Wait::Starting), Story::Joined];
const REPEATED: [Story; 2] = [Story::Retried, Story::CreatedAgain];

#[tokio::test]
async fn queued() {
    check_stories("operations that wait", &WAITING, Some(CUTS)).await;
}

#[tokio::test]
async fn superseded() {
    check_stories("pushes and people", &PUSHED, Some(CUTS)).await;
}

#[tokio::test]
async fn retried() {
    check_stories("operations repeated", &REPEATED, Some(CUTS)).await;
}

#[tokio::test]
async fn builds_that_wait() {
    check_places(Some(CUTS)).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn queued_cut_at_every_step() {
    check_stories("operations that wait", &WAITING, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn superseded_cut_at_every_step() {
    check_stories("pushes and people", &PUSHED, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn retried_cut_at_every_step() {
    check_stories("operations repeated", &REPEATED, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn builds_that_wait_cut_at_every_step() {
    check_places(None).await;
}
