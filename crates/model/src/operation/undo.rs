//! The end of a deployment that failed before its pivot: the wishes from before it again, and what is said of that.

use super::rolling::{self, Exchange};
use super::{Advance, Build, Changes, OperationKind, OperationStatus, Step, View, Write, after, deploy};
use crate::draw::Draw;
use crate::ids::RevisionNumber;
use crate::instance::Fault;
use crate::limits;
use crate::reconcile::{Slot, SlotWish};
use crate::service::State;
use crate::time::Timestamp;

/// What an operation that failed before its pivot leaves: the wishes from before it.
pub(super) fn fail(view: &View, fault: Fault, draw: &mut Draw) -> Advance {
    let fault = fault.bounded();
    let old = match view.operation.step {
        Step::Routing { old, .. } => old,
        _ => view.service.active,
    };
    let mut changes = Changes::new(view, draw);
    if let Some(build) = view.build.as_ref().filter(|build| build.wanted) {
        changes.writes.push(Write::Build(Box::new(Build { wanted: false, ..build.clone() })));
    }
    changes.deployment("Failed to deploy your application.");
    changes.both(&format!(
        "Deployment with ID : {} failed. Failure reason : {}",
        view.operation.id, fault.reason
    ));
    for line in &fault.last_lines {
        changes.both(&format!("  {line}"));
    }
    changes.service.last_failure = Some(fault.reason.clone());
    changes.operation.fault = Some(fault);
    changes.service.active = old;
    changes.service.state = state_before(view, old);
    let goes_on = failed_status(changes.service.state) == OperationStatus::RollbackSucceeded;
    if restores_configuration(view)
        && let Some(revision) = view.revision(old)
    {
        changes.service.config = revision.config.clone();
    }
    changes.service.candidate = None;
    changes
        .writes
        .extend(deploy::forgotten_revisions(view, old, view.service.previous).map(Write::RevisionForget));
    if let Some(old) = old.filter(|old| goes_on && rolling::has_begun(view, *old, draw)) {
        return rolling::turn_back(changes, old, draw);
    }
    let is_routing = matches!(view.operation.step, Step::Routing { .. });
    // Proxies may have sent requests there.
    let (mut routed, unknown): (Vec<&Slot>, Vec<&Slot>) =
        view.running(view.service.candidate).partition(|slot| is_routing || slot.wish == SlotWish::Beside);
    changes.writes.extend(unknown.iter().map(|slot| Write::SlotWish(slot.id.clone(), SlotWish::Stop)));
    if let Some(old) = old.filter(|_| goes_on && !is_routing) {
        // Others serve beside old ones that do not, until `mend` lets them go.
        routed.sort_by_key(|slot| slot.serves());
        routed.truncate(routed.len().saturating_sub(Exchange::of(view, old, draw).lacking()));
    }
    if routed.is_empty() && !is_routing {
        return taken_back(changes, draw);
    }
    changes.drain(routed.iter().map(|slot| slot.id.clone()), after(draw, limits::DRAIN_MS), draw);
    changes.reroute();
    restore_routes(changes, draw)
}

/// Waits until proxies serve what was before.
pub(super) fn restore_routes(mut changes: Changes<'_>, draw: &Draw) -> Advance {
    if failed_status(changes.service.state) == OperationStatus::RollbackSucceeded {
        changes.operation.status = OperationStatus::RollbackInProgress;
    }
    let deadline = after(draw, limits::ROUTE_MS_MAX);
    changes.step(Step::RollingBack { deadline }, deadline)
}

pub(super) fn rolling_back(view: &View, deadline: Timestamp, draw: &mut Draw) -> Advance {
    if !view.is_routed() && draw.now < deadline {
        return Advance::wait(deadline);
    }
    taken_back(Changes::new(view, draw), draw)
}

/// The end of an operation that failed, with the old wishes in place again.
pub(super) fn taken_back(mut changes: Changes<'_>, draw: &Draw) -> Advance {
    let status = failed_status(changes.service.state);
    if let (OperationStatus::RollbackSucceeded, Some(active)) = (status, changes.service.active) {
        let serves = changes.view.running(Some(active)).any(Slot::serves);
        let what = if serves { "goes on serving" } else { "is active again, but does not serve yet" };
        changes.both(&format!("Rolled back: revision {active} {what}."));
    }
    changes.end(status, draw)
}

/// The end of an operation that failed, when the next one stops what the way back would have brought.
pub(super) fn overtaken(
    mut changes: Changes<'_>,
    old: RevisionNumber,
    next: OperationKind,
    draw: &Draw,
) -> Advance {
    let line =
        format!("{} ends the way back before all instances of revision {old} serve again.", next.words());
    if let Some(fault) = changes.operation.fault.take() {
        // In front, where a long reason does not push it out.
        let reason = format!("{line} Failure reason : {}", fault.reason);
        changes.service.last_failure = Some(reason.clone());
        changes.operation.fault = Some(Fault { reason, ..fault }.bounded());
    }
    changes.both(&line);
    let status = failed_status(changes.service.state);
    changes.end(status, draw)
}

/// With an old revision serving again it was a rollback; otherwise it just failed.
fn failed_status(state: State) -> OperationStatus {
    if state == State::Running { OperationStatus::RollbackSucceeded } else { OperationStatus::Failed }
}

fn state_before(view: &View, old: Option<RevisionNumber>) -> State {
    match view.operation.kind {
        OperationKind::CreateService => State::CreateFailed,
        OperationKind::ResumeService => State::Paused,
        OperationKind::UpdateService | OperationKind::StartDeployment => {
            if old.is_some() {
                State::Running
            } else {
                State::CreateFailed
            }
        }
        OperationKind::PauseService | OperationKind::DeleteService => {
            unreachable!("not a deployment: {:?}", view.operation.kind)
        }
    }
}

/// A failed update shows the old values again. A paused service keeps the values stored for its next resume,
/// so that they can be put right.
fn restores_configuration(view: &View) -> bool {
    view.operation.kind != OperationKind::ResumeService
}
