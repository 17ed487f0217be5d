//! Every operation, in every way that it can end: what fails before the pivot ends in the old state, what fails
//! behind it in the new one. And a kill at any instant: the same is done again, cut between every two transactions
//! and driver calls; control starts over the same database, world and proxy, and must come to the same end.
//!
//! A kind of operation that has no row in `cases` does not compile.

mod plain;
mod stories;
mod sweep;

use super::rig::*;
use crate::bench::ACCOUNT;
use apron_compute::sim::{Behaviour, BuildScript};
use apron_model::ids::{OperationId, ServiceId};
use apron_model::instance::Fault;
use apron_model::operation::{OperationKind, OperationStatus, Step};
use apron_model::reconcile::SlotWish;
use apron_model::service::*;
use serde_json::json;
use std::collections::BTreeSet;
use sweep::{Stand, say, sweep};

/// Cuts of a case in CI, spread evenly; the long list takes every one.
const CUTS: u64 = 6;
/// Rounds in which every case ends. A deadline of half an hour takes a hundred.
const ROUNDS_MAX: usize = 400;
/// What a round takes of the clock while a deadline is waited for.
const WAIT_MS: u64 = 50_000;

/// Instances of each revision.
const SET: usize = 2;

/// Where an operation waits for facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Building,
    Starting,
    Rolling,
    Routing,
    Returning,
    RollingBack,
    Removing,
}

/// The wait of a step. One that is new does not compile until it is decided what its cases are.
fn wait(step: &Step) -> Option<Wait> {
    match step {
        Step::Queued | Step::Admitted | Step::Ended => None,
        Step::Building { .. } => Some(Wait::Building),
        Step::Starting { .. } => Some(Wait::Starting),
        Step::Rolling { .. } => Some(Wait::Rolling),
        Step::Routing { .. } => Some(Wait::Routing),
        Step::Returning { .. } => Some(Wait::Returning),
        Step::RollingBack { .. } => Some(Wait::RollingBack),
        Step::Removing { .. } => Some(Wait::Removing),
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Nothing,
    /// A fact says at this wait that it cannot be.
    Fault(Wait),
    /// No fact comes at this wait until its time is over.
    Deadline(Wait),
    /// Somebody ends it while it is at this wait.
    Cancelled(Wait),
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// What was there before is there again.
    Old,
    /// What was asked for is there.
    New,
    /// It is not gone, and says so.
    Undeleted,
}

/// Which waits an operation of this kind has, what can go wrong there, and how that ends.
fn cases(kind: OperationKind) -> Vec<(Cause, Outcome)> {
    use Cause::{Cancelled, Deadline, Fault, Nothing};
    use Outcome::{New, Old, Undeleted};
    match kind {
        OperationKind::CreateService
        | OperationKind::UpdateService
        | OperationKind::StartDeployment
        | OperationKind::ResumeService => vec![
            (Nothing, New),
            (Fault(Wait::Building), Old),
            (Deadline(Wait::Building), Old),
            (Fault(Wait::Starting), Old),
            (Deadline(Wait::Starting), Old),
            (Fault(Wait::Routing), Old),
            // A proxy that lags is never a reason to go back.
            (Deadline(Wait::Routing), New),
            (Deadline(Wait::RollingBack), Old),
            (Cancelled(Wait::Building), Old),
            (Cancelled(Wait::Starting), Old),
            (Cancelled(Wait::Routing), Old),
        ],
        OperationKind::PauseService => vec![(Nothing, New), (Deadline(Wait::Removing), New)],
        OperationKind::DeleteService => vec![(Nothing, New), (Deadline(Wait::Removing), Undeleted)],
    }
}

/// A rollback is an update that builds nothing.
fn rollbacks() -> Vec<(Cause, Outcome)> {
    let builds = |cause: &Cause| {
        let at =
            [Cause::Fault(Wait::Building), Cause::Deadline(Wait::Building), Cause::Cancelled(Wait::Building)];
        at.contains(cause)
    };
    cases(OperationKind::UpdateService).into_iter().filter(|(cause, _)| !builds(cause)).collect()
}

/// What goes wrong while instances are replaced one by one does so when one has been.
fn rolling() -> Vec<(Cause, Outcome)> {
    use Cause::{Cancelled, Deadline, Fault, Nothing};
    use Outcome::{New, Old};
    vec![
        (Nothing, New),
        (Fault(Wait::Rolling), Old),
        (Deadline(Wait::Rolling), Old),
        (Cancelled(Wait::Rolling), Old),
        (Fault(Wait::Routing), Old),
        (Deadline(Wait::Routing), New),
        (Cancelled(Wait::Routing), Old),
        (Deadline(Wait::Returning), Old),
    ]
}

/// How instances of the new revision come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    /// By RollbackService.
    Back,
    /// One by one, by the tag.
    Rolling,
    /// One by one, because there is memory for one more only.
    Narrow,
}

/// One operation under one cause.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: OperationKind,
    way: Way,
    cause: Cause,
}

/// Whether what is waited for has begun, cut or not: of a build or an instance that never was nothing would be told.
async fn has_begun(bench: &Bench, rig: &Rig, id: &ServiceId, at: Wait) -> bool {
    match at {
        Wait::Building => bench.world.hanging() > 0,
        Wait::Starting => rig.store.slot_list(id).await.unwrap().iter().all(|slot| slot.fact.is_some()),
        Wait::Rolling | Wait::Routing | Wait::Returning | Wait::RollingBack | Wait::Removing => true,
    }
}

/// The ARN that a service of the tests has.
fn arn(id: &ServiceId) -> String {
    format!("arn:aws:apprunner:us-east-1:{ACCOUNT}:service/web/{id}")
}

impl Case {
    /// Brings a bench to where the operation has just been opened.
    async fn prepare(self, rig: &mut Rig) -> (ServiceId, OperationId) {
        if self.kind == OperationKind::CreateService {
            return rig.create("web", config(BETTER)).await;
        }
        let (id, create) = rig.create("web", config(GOOD)).await;
        rig.settle(&create).await;
        if self.way == Way::Rolling {
            let tags = json!([{ "Key": "apron:deploy", "Value": "rolling" }]);
            rig.call("TagResource", json!({ "ResourceArn": arn(&id), "Tags": tags })).await.unwrap();
        }
        if self.way == Way::Back {
            let update = rig.act(&id, Action::Update, Some(config(BETTER))).await.unwrap();
            rig.settle(&update).await;
            let answer = rig.call("RollbackService", json!({ "ServiceArn": arn(&id) })).await.unwrap();
            return (id, OperationId::new(answer["OperationId"].as_str().unwrap()));
        }
        let action = match self.kind {
            OperationKind::CreateService => unreachable!("it returned above"),
            OperationKind::UpdateService => (Action::Update, Some(config(BETTER))),
            OperationKind::StartDeployment => (Action::StartDeployment, None),
            OperationKind::PauseService => (Action::Pause, None),
            OperationKind::DeleteService => (Action::Delete, None),
            OperationKind::ResumeService => {
                let pause = rig.act(&id, Action::Pause, None).await.unwrap();
                rig.settle(&pause).await;
                // Another source, so that the resume builds.
                let update = rig.act(&id, Action::Update, Some(config(BETTER))).await.unwrap();
                rig.settle(&update).await;
                (Action::Resume, None)
            }
        };
        let operation = rig.act(&id, action.0, action.1).await.unwrap();
        (id, operation)
    }

    /// The source that the operation brings, and its image.
    fn candidate(self) -> (&'static str, &'static str) {
        match self.kind {
            OperationKind::StartDeployment => (GOOD, "d"),
            _ if self.way == Way::Back => (GOOD, "a"),
            _ => (BETTER, "b"),
        }
    }

    /// What served before.
    fn old(self) -> (&'static str, &'static str) {
        if self.way == Way::Back { (BETTER, "b") } else { (GOOD, "a") }
    }

    /// What is wrong from the beginning.
    fn arrange(self, bench: &Bench) {
        let (source, name) = self.candidate();
        bench.world.script(source, BuildScript::Makes(outcome(image(name))));
        if self.way == Way::Narrow {
            bench.world.set_room(Some(3));
        }
        match self.cause {
            Cause::Nothing => {}
            Cause::Fault(Wait::Building) => {
                bench.world.script(source, BuildScript::Fails(Fault::permanent("line 3: 'run' is missing")));
            }
            Cause::Deadline(Wait::Building) => bench.world.script(source, BuildScript::Hangs),
            Cause::Fault(Wait::Starting) => {
                let exits = Behaviour::Exits { code: 1, last_lines: vec!["boom".to_owned()] };
                bench.world.behave(&image(name), exits);
            }
            Cause::Deadline(Wait::Starting) => {
                bench.world.behave(&image(name), Behaviour::Silent { hint: None });
            }
            Cause::Deadline(Wait::Removing) => bench.world.refuse_removals(Some("no space is left")),
            // What happens at a later wait is done when it is reached.
            Cause::Fault(Wait::Rolling | Wait::Routing)
            | Cause::Deadline(Wait::Rolling | Wait::Routing | Wait::Returning)
            | Cause::Deadline(Wait::RollingBack)
            | Cause::Cancelled(Wait::Rolling | Wait::Routing) => {}
            // So that it stays there.
            Cause::Cancelled(Wait::Building) => bench.world.script(source, BuildScript::Hangs),
            Cause::Cancelled(Wait::Starting) => {
                bench.world.behave(&image(name), Behaviour::Silent { hint: None });
            }
            Cause::Cancelled(wait @ (Wait::Returning | Wait::RollingBack | Wait::Removing)) => {
                unreachable!("behind the pivot nothing is ended: {wait:?}")
            }
            Cause::Fault(wait @ (Wait::Returning | Wait::RollingBack | Wait::Removing)) => {
                unreachable!("no fact says at {wait:?} that it cannot be")
            }
        }
    }

    /// What is wrong at the wait that the operation is at. The same again when it is looked at again.
    async fn hurt(self, bench: &Bench, rig: &mut Rig, id: &ServiceId, at: Option<Wait>) {
        let halfway = at == Some(Wait::Rolling)
            && rig.store.slot_list(id).await.unwrap().iter().any(|slot| slot.wish == SlotWish::Beside);
        let late = match self.cause {
            Cause::Deadline(Wait::Rolling) => halfway,
            Cause::Deadline(wait) => at == Some(wait),
            Cause::Nothing | Cause::Fault(_) | Cause::Cancelled(_) => false,
        };
        // Nobody takes the table that names the candidate.
        rig.deaf = match self.cause {
            Cause::Fault(Wait::Routing) => at == Some(Wait::Routing),
            Cause::Deadline(Wait::Routing) | Cause::Cancelled(Wait::Routing) => at == Some(Wait::Routing),
            Cause::Deadline(Wait::RollingBack) => {
                matches!(at, Some(Wait::Routing | Wait::RollingBack))
            }
            Cause::Nothing | Cause::Fault(_) | Cause::Deadline(_) | Cause::Cancelled(_) => false,
        };
        let ends_there =
            matches!(self.cause, Cause::Fault(Wait::Routing) | Cause::Deadline(Wait::RollingBack));
        if ends_there && at == Some(Wait::Routing) {
            let failing = image(self.candidate().1);
            bench.world.behave(&failing, Behaviour::Exits { code: 1, last_lines: vec!["late".to_owned()] });
        }
        let silent = Behaviour::Silent { hint: None };
        match self.cause {
            Cause::Fault(Wait::Rolling) if halfway => {
                let late = Behaviour::Exits { code: 1, last_lines: vec!["late".to_owned()] };
                bench.world.behave(&image(self.candidate().1), late);
            }
            Cause::Deadline(Wait::Rolling) if halfway => {
                bench.world.behave(&image(self.candidate().1), silent)
            }
            Cause::Deadline(Wait::Returning) if halfway => bench.world.behave(&image(self.old().1), silent),
            _ => {}
        }
        if late {
            bench.clock.forward(WAIT_MS);
        }
        let ends = match self.cause {
            Cause::Cancelled(Wait::Rolling) | Cause::Deadline(Wait::Returning) => halfway,
            Cause::Cancelled(wait) => at == Some(wait) && has_begun(bench, rig, id, wait).await,
            Cause::Nothing | Cause::Fault(_) | Cause::Deadline(_) => false,
        };
        if ends {
            rig.call("CancelOperation", json!({ "ServiceArn": arn(id) })).await.unwrap();
        }
    }

    /// Rounds until the operation has ended and nothing drains any more. How the service stands then, and where the
    /// operation was seen to wait.
    async fn run(
        self,
        bench: &Bench,
        rig: &mut Rig,
        id: &ServiceId,
        operation: &OperationId,
    ) -> (Stand, BTreeSet<Wait>) {
        // Where memory is lacking a whole set is wished before that is known, and the world has no room for more.
        rig.wished_max = (self.way == Way::Rolling).then_some(SET + 1);
        let mut waits = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let row = rig.store.operation_get(operation).await.unwrap().unwrap();
            let at = wait(&row.step);
            waits.extend(at);
            self.hurt(bench, rig, id, at).await;
            if row.status.is_ended() {
                bench.world.refuse_removals(None);
                bench.world.behave(&image(self.old().1), Behaviour::Healthy);
                bench.clock.forward(WAIT_MS);
                let slots = rig.store.slot_list(id).await.unwrap();
                if slots.iter().all(|slot| slot.wish == SlotWish::Run && slot.serves()) {
                    rig.round().await;
                    return (Stand::of(bench, rig, id).await, waits);
                }
            }
            rig.round().await;
        }
        panic!("{self:?} does not end: {:?}", rig.store.operation_view(operation).await);
    }

    /// The end that this outcome is.
    fn check(self, outcome: Outcome, end: &Stand, waits: &BTreeSet<Wait>) {
        use OperationStatus::{Failed, RollbackSucceeded, Succeeded};
        let (status, state) = match (self.kind, outcome) {
            (OperationKind::CreateService, Outcome::Old) => (Failed, State::CreateFailed),
            (OperationKind::UpdateService | OperationKind::StartDeployment, Outcome::Old) => {
                (RollbackSucceeded, State::Running)
            }
            (OperationKind::ResumeService, Outcome::Old) => (Failed, State::Paused),
            (OperationKind::PauseService, Outcome::New) => (Succeeded, State::Paused),
            (OperationKind::DeleteService, Outcome::New) => (Succeeded, State::Deleted),
            (_, Outcome::New) => (Succeeded, State::Running),
            (_, Outcome::Undeleted) => (Failed, State::DeleteFailed),
            (kind @ (OperationKind::PauseService | OperationKind::DeleteService), Outcome::Old) => {
                unreachable!("{kind:?} only goes forward")
            }
        };
        let (_, ended, reason) = end.operations.last().unwrap();
        assert_eq!((*ended, end.state), (status, state), "{self:?} {end:?}");
        assert_eq!(reason.is_some(), status != Succeeded, "{self:?} {end:?}");
        assert_eq!(end.candidate, None, "{self:?} {end:?}");
        if let Cause::Fault(wait) | Cause::Deadline(wait) | Cause::Cancelled(wait) = self.cause {
            assert!(waits.contains(&wait), "{self:?} never waits there: {waits:?}");
        }
        let expect = match (state, outcome) {
            (State::Running, Outcome::New) => Some(self.candidate()),
            (State::Running, Outcome::Old) => Some(self.old()),
            _ => None,
        };
        let Some((source, name)) = expect else {
            assert_eq!(end.images, Vec::<String>::new(), "{self:?}: nothing is left");
            return;
        };
        assert_eq!(end.images, [image(name).as_str(); SET], "{self:?}");
        assert_eq!(end.config, config(source), "{self:?}");
        assert_eq!(end.routed, [(end.active.unwrap(), SET)], "{self:?}");
    }
}

/// Uncut, then with so many cuts, or with each. How many there were.
async fn check(case: Case, outcome: Outcome, cuts_max: Option<u64>) -> usize {
    let template = Bench::new();
    let mut rig = template.start().await;
    let (id, operation) = case.prepare(&mut rig).await;
    case.arrange(&template);
    drop(rig);

    let what = format!("{case:?}");
    let run = async |bench: &Bench, rig: &mut Rig| case.run(bench, rig, &id, &operation).await;
    let check = |end: &Stand, waits| case.check(outcome, end, &waits);
    sweep(&what, &template, std::slice::from_ref(&id), cuts_max, run, check).await
}

async fn check_kind(kind: OperationKind, cuts_max: Option<u64>) {
    check_all(kind.as_str(), kind, Way::Plain, cases(kind), cuts_max).await;
    if kind == OperationKind::UpdateService {
        check_all("rollbacks", kind, Way::Back, rollbacks(), cuts_max).await;
    }
}

async fn check_rolling(cuts_max: Option<u64>) {
    check_all("rolling updates", OperationKind::UpdateService, Way::Rolling, rolling(), cuts_max).await;
}

async fn check_narrow(cuts_max: Option<u64>) {
    let what = "rolling by lack of memory";
    check_all(what, OperationKind::UpdateService, Way::Narrow, rolling(), cuts_max).await;
}

async fn check_all(
    what: &str,
    kind: OperationKind,
    way: Way,
    cases: Vec<(Cause, Outcome)>,
    cuts_max: Option<u64>,
) {
    let (mut cuts, count) = (0, cases.len());
    for (cause, outcome) in cases {
        cuts += check(Case { kind, way, cause }, outcome, cuts_max).await;
    }
    say(what, count, cuts, cuts_max);
}

#[tokio::test]
async fn create() {
    check_kind(OperationKind::CreateService, Some(CUTS)).await;
}

#[tokio::test]
async fn update() {
    check_kind(OperationKind::UpdateService, Some(CUTS)).await;
}

#[tokio::test]
async fn rolling_update() {
    check_rolling(Some(CUTS)).await;
}

#[tokio::test]
async fn rolling_by_lack_of_memory() {
    check_narrow(Some(CUTS)).await;
}

#[tokio::test]
async fn deployment() {
    check_kind(OperationKind::StartDeployment, Some(CUTS)).await;
}

#[tokio::test]
async fn pause() {
    check_kind(OperationKind::PauseService, Some(CUTS)).await;
}

#[tokio::test]
async fn resume() {
    check_kind(OperationKind::ResumeService, Some(CUTS)).await;
}

#[tokio::test]
async fn delete() {
    check_kind(OperationKind::DeleteService, Some(CUTS)).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn create_cut_at_every_step() {
    check_kind(OperationKind::CreateService, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn update_cut_at_every_step() {
    check_kind(OperationKind::UpdateService, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn rolling_update_cut_at_every_step() {
    check_rolling(None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn rolling_by_lack_of_memory_cut_at_every_step() {
    check_narrow(None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn deployment_cut_at_every_step() {
    check_kind(OperationKind::StartDeployment, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn pause_cut_at_every_step() {
    check_kind(OperationKind::PauseService, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn resume_cut_at_every_step() {
    check_kind(OperationKind::ResumeService, None).await;
}

#[tokio::test]
#[ignore = "long: the long list runs it"]
async fn delete_cut_at_every_step() {
    check_kind(OperationKind::DeleteService, None).await;
}
