//! Bringing a revision up: CreateService, UpdateService, StartDeployment, and ResumeService and rollbacks, which are
//! the same with a revision that exists.
//!
//! ```text
//! Admitted → Building → Starting → Routing → (pivot) ended
//!                 │     or Rolling    │
//!                 └────────┴──────────┴→ failed: the old wishes again
//! ```
//! Before every live proxy serves the candidate, any failure wishes the old state back; after it there is no
//! way but forward. A proxy that lags is never a reason to roll back: the old instances wait for it. The wish that
//! an operation ends before its time is one more failure before the pivot, and comes too late after it.

use super::failure::{self, Verdict};
use super::rolling;
use super::undo;
use super::{
    Advance, Build, BuildFact, BuildWish, Changes, OperationKind, OperationStatus, Place, Step, View, Write,
    after, instances, seconds, waited,
};
use crate::build::{BuildConfiguration, BuildOutcome, BuildSpec, SourceLocation};
use crate::draw::Draw;
use crate::extension;
use crate::ids::{BuildId, Digest, Generation, RevisionNumber, ServiceId};
use crate::instance::Fault;
use crate::limits;
use crate::reconcile::{Slot, SlotWish};
use crate::run;
use crate::service::{Revision, RunConfig, Service, ServiceConfig, Source, State};
use crate::source;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn advance(view: &View, draw: &mut Draw) -> Advance {
    if let Some(reason) = &view.operation.cancelled
        && view.operation.step.is_before_the_pivot()
    {
        return undo::fail(view, Fault::permanent(reason), draw);
    }
    match view.operation.step.clone() {
        Step::Admitted => begin(view, draw),
        Step::Building { deadline, place, .. } => building(view, deadline, place, draw),
        Step::Starting { deadline, hindered } => starting(view, deadline, hindered, draw),
        Step::Rolling { deadline, hindered } => rolling::forward(view, deadline, hindered, draw),
        Step::Routing { old, deadline } => routing(view, old, deadline, draw),
        Step::Returning { deadline } => rolling::back(view, deadline, draw),
        Step::RollingBack { deadline } => undo::rolling_back(view, deadline, draw),
        Step::Queued | Step::Removing { .. } | Step::Ended => {
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
        match view.operation.rollback() {
            None => {
                changes.both("The service is paused: the new configuration is deployed when it is resumed.")
            }
            Some(number) => {
                // There is a revision that serves again if this one is to be taken back.
                if let Some(before) = service.active.filter(|before| *before != number) {
                    changes.service.previous = Some((before, draw.now));
                }
                changes.service.active = Some(number);
                changes.both(&format!("The service is paused: revision {number} serves when it is resumed."));
            }
        }
        return changes.end(OperationStatus::Succeeded, draw);
    }
    changes.deployment(format!("Deployment with ID : {} started.", view.operation.id));
    if service.state == State::CreateFailed {
        changes.service.state = State::Creating;
    }
    if let Some(number) = view.operation.rollback() {
        changes.both(&format!("Going back to revision {number}, with its image and its configuration."));
        return start(changes, number, draw);
    }
    match made_already(view) {
        Made::Nothing => {}
        Made::Scaling(last) => {
            let scaling = &service.config.scaling;
            changes.both(&format!(
                "Auto scaling configuration {} revision {} applies to the instances that run: from {} to {} of them, {} \
                 concurrent requests each.",
                scaling.name, scaling.revision, scaling.min_size, scaling.max_size, scaling.max_concurrency
            ));
            changes.writes.push(Write::RevisionConfig(last.number, Box::new(service.config.clone())));
            changes.reroute();
            return changes.end(OperationStatus::Succeeded, draw);
        }
        Made::Revision(last) => return start(changes, last.number, draw),
        Made::Image(last, run) => {
            changes.both(&format!(
                "The source is unchanged: the image of revision {} is used again.",
                last.number
            ));
            let number = next_number(view);
            changes.writes.push(Write::Revision(Box::new(Revision {
                number,
                created_at: draw.wall,
                config: service.config.clone(),
                run: Some(run),
                served: false,
                ..last.clone()
            })));
            return start(changes, number, draw);
        }
    }
    let id = draw.build_id();
    let wish = build_wish(&service.config, &id, &service.id);
    let deadline = after(draw, limit_ms(&wish));
    changes.both(&match &wish {
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
    changes.step(Step::Building { build: id, deadline, place: Place::AtOnce }, deadline)
}

/// What of the active revision an operation can use again.
enum Made<'a> {
    Nothing,
    /// All of it: only how many there may be is another.
    Scaling(&'a Revision),
    /// Its image, and what instances are told of it by now.
    Image(&'a Revision, RunConfig),
    Revision(&'a Revision),
}

/// A resume brings back what was deployed, and an update that leaves the source as it is changes no code under
/// it. An update that changes nothing at all is asked for by whoever wants the source deployed again.
fn made_already(view: &View) -> Made<'_> {
    let config = &view.service.config;
    // A build would say what is wrong with the tags.
    let Ok(extensions) = extension::read(&view.service.tags) else { return Made::Nothing };
    let active = view.revision(view.service.active);
    let Some((last, run)) = active
        .filter(|last| last.image.is_some() && last.config.source == config.source && !view.operation.fresh)
        .and_then(|last| Some((last, last.run.clone()?)))
    else {
        return Made::Nothing;
    };
    let tags = extensions.instance.upon(run.tags);
    let unchanged = last.config == *config && run.tags == tags;
    let rescaled = ServiceConfig { scaling: config.scaling.clone(), ..last.config.clone() };
    if view.operation.kind == OperationKind::UpdateService
        && view.service.state == State::Running
        && !unchanged
        && rescaled == *config
        && run.tags == tags
    {
        return Made::Scaling(last);
    }
    match (view.operation.kind, unchanged) {
        (OperationKind::ResumeService, true) => Made::Revision(last),
        (OperationKind::ResumeService, false) | (OperationKind::UpdateService, false) => {
            Made::Image(last, RunConfig { tags, ..run })
        }
        (OperationKind::UpdateService, true)
        | (OperationKind::CreateService | OperationKind::StartDeployment, _)
        | (OperationKind::PauseService | OperationKind::DeleteService, _) => Made::Nothing,
    }
}

fn building(view: &View, deadline: Timestamp, place: Place, draw: &mut Draw) -> Advance {
    let Some(build) = &view.build else {
        return undo::fail(view, Fault::permanent("The row of the build is missing."), draw);
    };
    match (&build.fact, place) {
        (BuildFact::Waits { before }, Place::AtOnce) => {
            let deadline = after(draw, limits::BUILD_WAIT_MS_MAX);
            waits(view, build, deadline, Place::Waits { since: draw.now, before: *before }, draw)
        }
        (BuildFact::Waits { before }, Place::Waits { since, before: said })
            if *before != said && draw.now < deadline =>
        {
            waits(view, build, deadline, Place::Waits { since, before: *before }, draw)
        }
        (BuildFact::Waits { before }, Place::Waits { .. }) if draw.now >= deadline => {
            let (what, others) = (work(&build.wish), others(&build.wish, *before));
            undo::fail(
                view,
                Fault::transient(format!("The {what} found no place in time: {others} before it.")),
                draw,
            )
        }
        (BuildFact::Unknown | BuildFact::Done(_) | BuildFact::Failed(_), Place::Waits { since, .. }) => {
            let mut changes = Changes::new(view, draw);
            let waited = seconds((draw.now - since).as_millis() as u64);
            changes.both(&format!("The {} has its place after {waited} and begins.", work(&build.wish)));
            let deadline = after(draw, limit_ms(&build.wish));
            let (build, place) = (build.id.clone(), Place::AfterWait);
            changes.step(Step::Building { build, deadline, place }, deadline)
        }
        (BuildFact::Done(outcome), Place::AtOnce | Place::AfterWait) => {
            built(view, build, outcome, deadline, draw)
        }
        (BuildFact::Failed(fault), _) if !build.is_due() || draw.now >= deadline => {
            undo::fail(view, fault.clone(), draw)
        }
        (BuildFact::Unknown | BuildFact::Waits { .. }, _) if draw.now >= deadline => {
            let what = match &build.wish {
                BuildWish::Source(_) => "The build",
                BuildWish::Image { .. } => "The pull of the image",
            };
            undo::fail(view, Fault::permanent(format!("{what} was not finished in time.")), draw)
        }
        (BuildFact::Failed(_) | BuildFact::Unknown | BuildFact::Waits { .. }, _) => Advance::wait(deadline),
    }
}

/// Says how many builds come before this one, which has until then for its place.
fn waits(view: &View, build: &Build, deadline: Timestamp, place: Place, draw: &Draw) -> Advance {
    let mut changes = Changes::new(view, draw);
    if let Place::Waits { before, .. } = place {
        let (what, others) = (work(&build.wish), others(&build.wish, before));
        changes.both(&format!("The {what} waits for its place: {others} before it."));
    }
    changes.step(Step::Building { build: build.id.clone(), deadline, place }, deadline)
}

fn built(
    view: &View,
    build: &Build,
    outcome: &BuildOutcome,
    deadline: Timestamp,
    draw: &mut Draw,
) -> Advance {
    let service = &view.service;
    let run = extension::read(&service.tags)
        .map_err(|error| error.to_string())
        .and_then(|extensions| run::run_config(&service.config, extensions.instance, outcome));
    let run = match run {
        Ok(run) => run,
        Err(reason) => return undo::fail(view, Fault::permanent(reason), draw),
    };
    let mut changes = Changes::new(view, draw);
    let done = match &build.wish {
        BuildWish::Source(_) => "Successfully built your application source code",
        BuildWish::Image { .. } => "Successfully pulled your application image",
    };
    changes.both(&format!("{done} in {}.", waited(draw, deadline, limit_ms(&build.wish))));
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

/// Wishes the instances of a revision whose image is known: as many as the service has at least, or the first where
/// they replace others one by one. What runs of it already, having stayed behind an earlier operation, counts.
fn start(mut changes: Changes<'_>, number: RevisionNumber, draw: &mut Draw) -> Advance {
    changes.service.candidate = Some(number);
    let revision = changes
        .writes
        .iter()
        .find_map(|write| match write {
            Write::Revision(revision) if revision.number == number => Some((**revision).clone()),
            _ => None,
        })
        .or_else(|| changes.view.revision(Some(number)).cloned());
    let rolls = rolling::is_asked(changes.view, number);
    let taken_over = rolling::taken_over(&changes.service, &changes.view.slots);
    if rolls {
        changes.service.wanted = taken_over;
    }
    let wanted =
        if rolls { 1 } else { rolling::within(&changes.service, taken_over, revision.as_ref(), draw) };
    let count = wanted.saturating_sub(changes.view.running(Some(number)).count());
    for _ in 0..count {
        changes.writes.push(new_slot(changes.view, number, draw));
    }
    if count > 0 {
        changes.event(format!("Starting {} of revision {number}.", instances(count)));
    }
    changes.deployment("Provisioning instances and deploying image for publicly accessible service.");
    let deadline = healthy_by(revision.as_ref(), draw);
    if let Some(words) = revision.as_ref().map(failure::check_words) {
        changes.deployment(format!("Performing health check on {words}."));
    }
    let hindered = None;
    let step =
        if rolls { Step::Rolling { deadline, hindered } } else { Step::Starting { deadline, hindered } };
    changes.step(step, deadline)
}

/// One more wished instance.
pub(super) fn slot(service: &Service, revision: RevisionNumber, draw: &mut Draw) -> Slot {
    Slot {
        id: draw.instance_id(),
        service: service.id.clone(),
        revision,
        generation: Generation { epoch: draw.epoch, counter: 1 },
        wish: SlotWish::Run,
        fact: None,
        fact_at: draw.now,
        ever_healthy: false,
        created_at: draw.now,
    }
}

pub(super) fn new_slot(view: &View, revision: RevisionNumber, draw: &mut Draw) -> Write {
    Write::Slot(Box::new(slot(&view.service, revision, draw)))
}

/// Until when an instance that is wished now has to be healthy.
pub(super) fn healthy_by(revision: Option<&Revision>, draw: &Draw) -> Timestamp {
    after(draw, limits::BECOME_HEALTHY_MS) + revision.map(failure::grace).unwrap_or_default()
}

fn starting(view: &View, deadline: Timestamp, hindered: Option<Timestamp>, draw: &mut Draw) -> Advance {
    match failure::judge(view, view.service.candidate, draw) {
        Verdict::Healthy => {
            let revision = view.revision(view.service.candidate);
            let taken_over = rolling::taken_over(&view.service, &view.slots);
            let due = rolling::within(&view.service, taken_over, revision, draw);
            let there = view.running(view.service.candidate).count();
            match (view.service.candidate, due.saturating_sub(there)) {
                (Some(number), lacking @ 1..) => {
                    // The load has grown since, and what serves with it.
                    let mut changes = Changes::new(view, draw);
                    changes.both(&format!("Starting {} more of revision {number}.", instances(lacking)));
                    for _ in 0..lacking {
                        changes.writes.push(new_slot(view, number, draw));
                    }
                    let deadline = healthy_by(revision, draw);
                    changes.step(Step::Starting { deadline, hindered: None }, deadline)
                }
                _ => route(view, draw),
            }
        }
        Verdict::Hindered { fault, .. } if fault.lacks_memory() && rolling::may_help(view, draw) => {
            rolling::instead(view, &fault, draw)
        }
        verdict => {
            not_yet(view, verdict, deadline, hindered, |hindered| Step::Starting { deadline, hindered }, draw)
        }
    }
}

/// Wishes that proxies send requests to the candidate, and to nothing else.
pub(super) fn route(view: &View, draw: &Draw) -> Advance {
    let mut changes = Changes::new(view, draw);
    changes.deployment("Health check is successful. Routing traffic to application.");
    let come: Vec<&Slot> = view.running(view.service.candidate).collect();
    if let (Some(number), Some(first)) =
        (view.service.candidate, come.iter().map(|slot| slot.created_at).min())
    {
        let took = seconds((draw.now - first).as_millis() as u64);
        let come = instances(come.len());
        changes.event(format!("Healthy: {come} of revision {number}, after {took}."));
    }
    let beside = view.running(view.service.candidate).filter(|slot| slot.wish == SlotWish::Beside);
    changes.writes.extend(beside.map(|slot| Write::SlotWish(slot.id.clone(), SlotWish::Run)));
    changes.service.state = State::Running;
    changes.service.active = view.service.candidate;
    changes.reroute();
    let deadline = after(draw, limits::ROUTE_MS_MAX);
    changes.step(Step::Routing { old: view.service.active, deadline }, deadline)
}

/// Waits for instances that are not healthy yet, or gives up. `step` is the present one, since a hindrance is known.
pub(super) fn not_yet(
    view: &View,
    verdict: Verdict,
    deadline: Timestamp,
    hindered: Option<Timestamp>,
    step: impl FnOnce(Option<Timestamp>) -> Step,
    draw: &mut Draw,
) -> Advance {
    match verdict {
        Verdict::Failed(fault) => undo::fail(view, fault, draw),
        Verdict::Hindered { fault, .. } if draw.now >= deadline => {
            undo::fail(view, failure::without_room(view, fault, draw), draw)
        }
        Verdict::Hindered { tries, fault } => match hindered {
            None => {
                let mut changes = Changes::new(view, draw);
                let reason = fault.reason.trim_end_matches('.');
                changes.both(&format!("An instance cannot be started: {reason}. It is tried again."));
                changes.step(step(Some(draw.now)), deadline)
            }
            Some(since) => {
                let until = since + Duration::from_millis(limits::START_HINDERED_MS);
                match (tries >= limits::START_TRIES_MAX, draw.now >= until) {
                    (true, true) => undo::fail(view, failure::without_room(view, fault, draw), draw),
                    (true, false) => Advance::wait(until.min(deadline)),
                    (false, _) => Advance::wait(deadline),
                }
            }
        },
        Verdict::Healthy | Verdict::Wait { .. } if draw.now >= deadline => {
            undo::fail(view, failure::too_late(view, view.service.candidate), draw)
        }
        Verdict::Healthy | Verdict::Wait { .. } => look_again(&verdict, deadline, draw),
    }
}

/// Waits for the next fact, or until it is known what those that there are mean.
pub(super) fn look_again(verdict: &Verdict, deadline: Timestamp, draw: &Draw) -> Advance {
    match verdict {
        Verdict::Wait { ms: Some(ms) } => Advance::wait(after(draw, *ms).min(deadline)),
        Verdict::Wait { ms: None } | Verdict::Healthy | Verdict::Hindered { .. } | Verdict::Failed(_) => {
            Advance::wait(deadline)
        }
    }
}

fn routing(view: &View, old: Option<RevisionNumber>, deadline: Timestamp, draw: &mut Draw) -> Advance {
    if !view.is_routed() && draw.now < deadline {
        return match failure::broken(view) {
            Some(fault) => undo::fail(view, fault, draw),
            None => Advance::wait(deadline),
        };
    }
    let mut changes = Changes::new(view, draw);
    let until = after(draw, limits::DRAIN_MS);
    let old_slots =
        view.slots.iter().filter(|slot| slot.wish.runs() && Some(slot.revision) != view.service.active);
    let old_slots: Vec<&Slot> = old_slots.collect();
    changes.drain(old_slots.iter().map(|slot| slot.id.clone()), until, draw);
    if let Some(old) = old.filter(|old| Some(*old) != view.service.active) {
        changes.service.previous = Some((old, until));
    }
    changes.writes.extend(view.service.active.map(Write::RevisionServed));
    changes.writes.extend(
        forgotten_revisions(view, view.service.active, changes.service.previous).map(Write::RevisionForget),
    );
    if view.is_routed() {
        changes.deployment("Successfully routed incoming traffic to application.");
        let took = waited(draw, deadline, limits::ROUTE_MS_MAX);
        changes.event(format!("Routed: every proxy uses the new instances after {took}."));
        if !old_slots.is_empty() {
            changes.event(format!("Draining: {} that served before.", instances(old_slots.len())));
        }
    } else {
        changes.both(
            "Warning: not every proxy has confirmed the new route yet. Until then requests may still be answered as \
             before.",
        );
    }
    changes.end(OperationStatus::Succeeded, draw)
}

fn next_number(view: &View) -> RevisionNumber {
    view.revisions.iter().map(|revision| revision.number).max().unwrap_or(0) + 1
}

/// Revisions that are of no more use. Kept are the newest that have served, the active one and the one before it, those
/// of which instances are left, and the newest of all, whose number must not come again and whose failure is shown.
pub(super) fn forgotten_revisions(
    view: &View,
    active: Option<RevisionNumber>,
    previous: Option<(RevisionNumber, Timestamp)>,
) -> impl Iterator<Item = RevisionNumber> {
    let previous = previous.map(|(number, _)| number);
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
    let kept: BTreeSet<RevisionNumber> =
        served.into_iter().chain(active).chain(previous).chain(newest).chain(left).collect();
    view.revisions.iter().map(|one| one.number).filter(move |number| !kept.contains(number))
}

/// How long an image may take, in milliseconds.
fn limit_ms(wish: &BuildWish) -> u64 {
    match wish {
        BuildWish::Source(_) => limits::BUILD_MS_MAX,
        BuildWish::Image { .. } => limits::IMAGE_PULL_MS_MAX,
    }
}

fn work(wish: &BuildWish) -> &'static str {
    match wish {
        BuildWish::Source(_) => "build",
        BuildWish::Image { .. } => "pull",
    }
}

/// "1 build is", "2 pulls are".
fn others(wish: &BuildWish, count: u32) -> String {
    let what = work(wish);
    if count == 1 { format!("1 {what} is") } else { format!("{count} {what}s are") }
}

/// The wish for the image of a configuration.
fn build_wish(config: &ServiceConfig, id: &BuildId, service: &ServiceId) -> BuildWish {
    match &config.source {
        Source::Image(image) => BuildWish::Image { reference: image.identifier.clone() },
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
            BuildWish::Source(spec)
        }
    }
}
