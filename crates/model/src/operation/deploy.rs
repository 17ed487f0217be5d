//! Bringing a revision up: CreateService, UpdateService, StartDeployment, and ResumeService, which is the same
//! with a revision that exists.
//!
//! ```text
//! Admitted → Building → Starting → Routing → (pivot) ended
//!                 └────────┴──────────┴→ failed: the old wishes again
//! ```
//! Before every live proxy serves the candidate, any failure wishes the old state back; after it there is no
//! way but forward. A proxy that lags is never a reason to roll back: the old instances wait for it.

use super::failure::{self, Verdict};
use super::{
    Advance, Build, BuildFact, BuildWish, Changes, OperationKind, OperationStatus, Step, View, Wake, Write,
    after,
};
use crate::build::{BuildConfiguration, BuildOutcome, BuildSpec, SourceLocation};
use crate::draw::Draw;
use crate::extension;
use crate::ids::{BuildId, Digest, Generation, RevisionNumber, ServiceId};
use crate::instance::Fault;
use crate::limits;
use crate::reconcile::{Slot, SlotWish};
use crate::run;
use crate::service::{Revision, ServiceConfig, Source, State};
use crate::source;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn advance(view: &View, draw: &mut Draw) -> Advance {
    match view.operation.step.clone() {
        Step::Admitted => begin(view, draw),
        Step::Building { deadline, .. } => building(view, deadline, draw),
        Step::Starting { deadline, hindered } => starting(view, deadline, hindered, draw),
        Step::Routing { old, deadline } => routing(view, old, deadline, draw),
        Step::RollingBack { deadline } => rolling_back(view, deadline, draw),
        Step::Removing { .. } | Step::Ended => {
            unreachable!("a deployment has no such step: {:?}", view.operation.step)
        }
    }
}

fn begin(view: &View, draw: &mut Draw) -> Advance {
    let mut changes = Changes::new(view, draw);
    let service = &view.service;
    changes.begin();
    if matches!(view.operation.kind, OperationKind::CreateService | OperationKind::UpdateService) {
        let before = view.revision(service.active).map(|revision| &revision.config);
        for warning in source::unheeded(&service.config, before) {
            changes.both(&format!("Warning: {warning}"));
        }
    }
    if view.operation.kind == OperationKind::UpdateService && service.state == State::Paused {
        // The new values are in the row already; the next resume deploys them.
        changes.both("The service is paused: the new configuration is deployed when it is resumed.");
        return changes.end(OperationStatus::Succeeded, draw);
    }
    changes.deployment(format!("Deployment with ID : {} started.", view.operation.id));
    if service.state == State::CreateFailed {
        changes.service.state = State::Creating;
    }
    match made_already(view) {
        Made::Nothing => {}
        Made::Revision(last) => return start(changes, last.number, draw),
        Made::Image(last) => {
            changes.deployment(format!(
                "The source is unchanged: the image of revision {} is used again.",
                last.number
            ));
            let number = next_number(view);
            changes.writes.push(Write::Revision(Box::new(Revision {
                number,
                created_at: draw.wall,
                config: service.config.clone(),
                served: false,
                ..last.clone()
            })));
            return start(changes, number, draw);
        }
    }
    let id = draw.build_id();
    let (wish, limit_ms) = build_wish(&service.config, &id, &service.id);
    changes.deployment(match &wish {
        BuildWish::Source(_) => "Starting source code build.".to_owned(),
        BuildWish::Image { reference } => format!("Starting to deploy your application image {reference}"),
    });
    changes.writes.push(Write::Build(Box::new(Build {
        id: id.clone(),
        service: service.id.clone(),
        operation: view.operation.id.clone(),
        wish,
        wanted: true,
        failures: 0,
        fact: BuildFact::Unknown,
    })));
    let deadline = after(draw, limit_ms);
    changes.step(Step::Building { build: id, deadline }, deadline)
}

/// What of the active revision an operation can use again.
enum Made<'a> {
    Nothing,
    Image(&'a Revision),
    Revision(&'a Revision),
}

/// A resume brings back what was deployed, and an update that leaves the source as it is changes no code under
/// it. An update that changes nothing at all is asked for by whoever wants the source deployed again.
fn made_already(view: &View) -> Made<'_> {
    let config = &view.service.config;
    let Some(last) = view
        .revision(view.service.active)
        .filter(|last| last.image.is_some() && last.run.is_some() && last.config.source == config.source)
    else {
        return Made::Nothing;
    };
    match (view.operation.kind, last.config == *config) {
        (OperationKind::ResumeService, true) => Made::Revision(last),
        (OperationKind::ResumeService, false) | (OperationKind::UpdateService, false) => Made::Image(last),
        (OperationKind::UpdateService, true)
        | (OperationKind::CreateService | OperationKind::StartDeployment, _)
        | (OperationKind::PauseService | OperationKind::DeleteService, _) => Made::Nothing,
    }
}

fn building(view: &View, deadline: Timestamp, draw: &mut Draw) -> Advance {
    let Some(build) = &view.build else {
        return fail(view, Fault::permanent("The row of the build is missing."), draw);
    };
    match &build.fact {
        BuildFact::Done(outcome) => built(view, build, outcome, draw),
        BuildFact::Failed(fault) if !build.is_due() => fail(view, fault.clone(), draw),
        BuildFact::Failed(fault) if draw.now >= deadline => fail(view, fault.clone(), draw),
        BuildFact::Unknown if draw.now >= deadline => {
            let what = match &build.wish {
                BuildWish::Source(_) => "The build",
                BuildWish::Image { .. } => "The pull of the image",
            };
            fail(view, Fault::permanent(format!("{what} was not finished in time.")), draw)
        }
        BuildFact::Failed(_) | BuildFact::Unknown => Advance::wait(deadline),
    }
}

fn built(view: &View, build: &Build, outcome: &BuildOutcome, draw: &mut Draw) -> Advance {
    let service = &view.service;
    let run = extension::read(&service.tags)
        .map_err(|error| error.to_string())
        .and_then(|extensions| run::run_config(&service.config, extensions, outcome));
    let run = match run {
        Ok(run) => run,
        Err(reason) => return fail(view, Fault::permanent(reason), draw),
    };
    let mut changes = Changes::new(view, draw);
    changes.deployment(match &build.wish {
        BuildWish::Source(_) => "Successfully built your application source code.",
        BuildWish::Image { .. } => "Successfully pulled your application image.",
    });
    for warning in &outcome.warnings {
        changes.deployment(format!("Warning: {warning}"));
    }
    let number = next_number(view);
    changes.writes.push(Write::Revision(Box::new(Revision {
        number,
        service: service.id.clone(),
        created_at: draw.wall,
        config: service.config.clone(),
        build: Some(build.id.clone()),
        image: Some(outcome.image.clone()),
        commit: outcome.commit.clone(),
        run: Some(run),
        served: false,
    })));
    start(changes, number, draw)
}

/// Wishes the instances of a revision whose image is known: as many as the service has at least.
fn start(mut changes: Changes<'_>, number: RevisionNumber, draw: &mut Draw) -> Advance {
    changes.service.candidate = Some(number);
    let count = changes.service.config.scaling.min_size.max(1);
    for _ in 0..count {
        let slot = Slot {
            id: draw.instance_id(),
            service: changes.service.id.clone(),
            revision: number,
            generation: Generation { epoch: draw.epoch, counter: 1 },
            wish: SlotWish::Run,
            fact: None,
            fact_at: draw.now,
            ever_healthy: false,
            created_at: draw.now,
        };
        changes.writes.push(Write::Slot(Box::new(slot)));
    }
    changes.deployment("Provisioning instances and deploying image for publicly accessible service.");
    let revision = changes
        .writes
        .iter()
        .find_map(|write| match write {
            Write::Revision(revision) if revision.number == number => Some(revision.as_ref()),
            _ => None,
        })
        .or(changes.view.revision(Some(number)));
    if let Some(words) = revision.map(failure::check_words) {
        changes.deployment(format!("Performing health check on {words}."));
    }
    let deadline = after(draw, limits::BECOME_HEALTHY_MS);
    changes.step(Step::Starting { deadline, hindered: None }, deadline)
}

fn starting(view: &View, deadline: Timestamp, hindered: Option<Timestamp>, draw: &mut Draw) -> Advance {
    match failure::judge(view, draw) {
        Verdict::Failed(fault) => fail(view, fault, draw),
        Verdict::Healthy => {
            let mut changes = Changes::new(view, draw);
            changes.deployment("Health check is successful. Routing traffic to application.");
            changes.service.state = State::Running;
            changes.service.active = view.service.candidate;
            changes.reroute();
            let deadline = after(draw, limits::ROUTE_MS_MAX);
            changes.step(Step::Routing { old: view.service.active, deadline }, deadline)
        }
        Verdict::Hindered { fault, .. } if draw.now >= deadline => fail(view, fault, draw),
        Verdict::Hindered { tries, fault } => match hindered {
            None => {
                let mut changes = Changes::new(view, draw);
                let reason = fault.reason.trim_end_matches('.');
                changes.both(&format!("An instance cannot be started: {reason}. It is tried again."));
                changes.step(Step::Starting { deadline, hindered: Some(draw.now) }, deadline)
            }
            Some(since) => {
                let until = since + Duration::from_millis(limits::START_HINDERED_MS);
                match (tries >= limits::START_TRIES_MAX, draw.now >= until) {
                    (true, true) => fail(view, fault, draw),
                    (true, false) => Advance::wait(until.min(deadline)),
                    (false, _) => Advance::wait(deadline),
                }
            }
        },
        Verdict::Wait { .. } if draw.now >= deadline => fail(view, failure::too_late(view), draw),
        Verdict::Wait { ms } => {
            let sooner = ms.map_or(deadline, |ms| after(draw, ms));
            Advance { writes: Vec::new(), wake: Wake::ByFactOr(sooner.min(deadline)) }
        }
    }
}

fn routing(view: &View, old: Option<RevisionNumber>, deadline: Timestamp, draw: &mut Draw) -> Advance {
    if !view.is_routed() && draw.now < deadline {
        return match failure::broken(view) {
            Some(fault) => fail(view, fault, draw),
            None => Advance::wait(deadline),
        };
    }
    let mut changes = Changes::new(view, draw);
    let until = after(draw, limits::DRAIN_MS);
    let old_slots = view
        .slots
        .iter()
        .filter(|slot| slot.wish == SlotWish::Run && Some(slot.revision) != view.service.active);
    changes.drain(old_slots.map(|slot| slot.id.clone()), until);
    changes.service.previous = old.filter(|old| Some(*old) != view.service.active).map(|old| (old, until));
    changes.writes.extend(view.service.active.map(Write::RevisionServed));
    changes.writes.extend(forgotten_revisions(view, view.service.active).map(Write::RevisionForget));
    if view.is_routed() {
        changes.deployment("Successfully routed incoming traffic to application.");
    } else {
        changes.both(
            "Warning: not every proxy has confirmed the new route yet. Until then requests may still be answered as \
             before.",
        );
    }
    changes.end(OperationStatus::Succeeded, draw)
}

/// What an operation that failed before its pivot leaves: the wishes from before it.
fn fail(view: &View, fault: Fault, draw: &mut Draw) -> Advance {
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
    let candidates = view.running(view.service.candidate).map(|slot| slot.id.clone());
    let routed = matches!(view.operation.step, Step::Routing { .. });
    if routed {
        // Proxies may have sent requests there.
        changes.drain(candidates, after(draw, limits::DRAIN_MS));
        changes.reroute();
    } else {
        changes.writes.extend(candidates.map(|id| Write::SlotWish(id, SlotWish::Stop)));
    }
    changes.service.state = state_before(view, old);
    if restores_configuration(view)
        && let Some(revision) = view.revision(old)
    {
        changes.service.config = revision.config.clone();
    }
    changes.service.candidate = None;
    changes.writes.extend(forgotten_revisions(view, old).map(Write::RevisionForget));
    if routed {
        changes.operation.status = OperationStatus::RollbackInProgress;
        let deadline = after(draw, limits::ROUTE_MS_MAX);
        return changes.step(Step::RollingBack { deadline }, deadline);
    }
    let status = failed_status(changes.service.state);
    changes.end(status, draw)
}

fn rolling_back(view: &View, deadline: Timestamp, draw: &mut Draw) -> Advance {
    if !view.is_routed() && draw.now < deadline {
        return Advance::wait(deadline);
    }
    let status = failed_status(view.service.state);
    Changes::new(view, draw).end(status, draw)
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

fn next_number(view: &View) -> RevisionNumber {
    view.revisions.iter().map(|revision| revision.number).max().unwrap_or(0) + 1
}

/// Revisions that are of no more use. Kept are the newest that have served, the active one, those of which
/// instances are left, and the newest of all, whose number must not come again and whose failure is shown.
fn forgotten_revisions(view: &View, active: Option<RevisionNumber>) -> impl Iterator<Item = RevisionNumber> {
    let mut served: Vec<RevisionNumber> = view
        .revisions
        .iter()
        .filter(|one| one.served || Some(one.number) == active)
        .map(|one| one.number)
        .collect();
    served.sort_unstable_by(|a, b| b.cmp(a));
    served.truncate(limits::REVISIONS_KEPT);
    let newest = view.revisions.iter().map(|one| one.number).max();
    let left = view.slots.iter().map(|slot| slot.revision);
    let kept: BTreeSet<RevisionNumber> = served.into_iter().chain(active).chain(newest).chain(left).collect();
    view.revisions.iter().map(|one| one.number).filter(move |number| !kept.contains(number))
}

/// The wish for the image of a configuration, and how long it may take.
fn build_wish(config: &ServiceConfig, id: &BuildId, service: &ServiceId) -> (BuildWish, u64) {
    match &config.source {
        Source::Image(image) => {
            (BuildWish::Image { reference: image.identifier.clone() }, limits::IMAGE_PULL_MS_MAX)
        }
        Source::Code(code) => {
            let source = match code.repository_url.strip_prefix(source::UPLOAD_PREFIX) {
                Some(digest) => SourceLocation::Upload { digest: Digest::new(digest) },
                None => SourceLocation::Git { url: code.repository_url.clone(), branch: code.branch.clone() },
            };
            let configuration = match &code.values {
                Some(values) if !code.from_file => BuildConfiguration::Api {
                    runtime: values.runtime.clone(),
                    build_command: values.build_command.clone(),
                    start_command: values.start_command.clone(),
                },
                _ => BuildConfiguration::Repository,
            };
            let spec = BuildSpec {
                id: id.clone(),
                source,
                source_directory: code.source_directory.clone(),
                configuration,
                service: service.clone(),
            };
            (BuildWish::Source(spec), limits::BUILD_MS_MAX)
        }
    }
}
