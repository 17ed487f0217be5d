//! Has a candidate failed, and how is that said? Facts in, one sentence and the last lines out.

use super::View;
use super::rolling::{self, Exchange};
use crate::draw::Draw;
use crate::ids::RevisionNumber;
use crate::instance::{Exit, Fault, Health, HealthProtocol, Phase};
use crate::limits;
use crate::reconcile::Slot;
use crate::service::Revision;
use crate::time::Timestamp;
use std::time::Duration;

/// What the facts say of the instances that are to become healthy.
pub(super) enum Verdict {
    Healthy,
    /// Look again with the next fact, or after this many milliseconds.
    Wait {
        ms: Option<u64>,
    },
    /// The machine could not start an instance for a reason that may pass; it was tried so often.
    Hindered {
        tries: u32,
        fault: Fault,
    },
    /// Waiting longer would change nothing.
    Failed(Fault),
}

/// Judges the instances of the revision that is to serve: of a candidate, or of the old one on the way back.
pub(super) fn judge(view: &View, number: Option<RevisionNumber>, draw: &Draw) -> Verdict {
    let revision = view.revision(number);
    let mut all_serve = true;
    let mut wait = None;
    let mut hindered: Option<(u32, &Fault)> = None;
    for slot in view.running(number) {
        all_serve &= slot.serves();
        match in_vain(slot, revision) {
            Some((fault, since)) => {
                let until = since.unwrap_or(draw.now);
                if draw.now >= until {
                    return Verdict::Failed(fault);
                }
                let left = (until - draw.now).as_millis() as u64;
                wait = Some(wait.map_or(left, |ms: u64| ms.min(left)));
            }
            None => {
                if let Some((tries, fault)) = not_started(slot)
                    && hindered.is_none_or(|(most, _)| tries > most)
                {
                    hindered = Some((tries, fault));
                }
            }
        }
    }
    match hindered {
        Some((tries, fault)) => Verdict::Hindered { tries, fault: fault.clone() },
        None if all_serve => Verdict::Healthy,
        None => Verdict::Wait { ms: wait },
    }
}

/// Why waiting for an instance is in vain, and from when on that is sure if it is not yet. It ended before it was ever
/// healthy, never can be started, answers wrongly, or listens somewhere else.
fn in_vain(slot: &Slot, revision: Option<&Revision>) -> Option<(Fault, Option<Timestamp>)> {
    let fact = slot.fact.as_ref()?;
    match &fact.phase {
        Phase::Failed(fault) if fault.permanent => return Some((fault.clone(), None)),
        Phase::Exited(exit) if !slot.ever_healthy => return Some((exited(exit), None)),
        Phase::Creating | Phase::Running | Phase::Stopping | Phase::Exited(_) | Phase::Failed(_) => {}
    }
    // That it was started anew meanwhile changes nothing: its first exit is its failure.
    if let Some(exit) = fact.last_exit.as_ref().filter(|_| !slot.ever_healthy) {
        return Some((exited(exit), None));
    }
    if fact.phase != Phase::Running {
        return None;
    }
    match &fact.health {
        // Its answers were counted, and those within its grace were not, before it was called so.
        Health::Unhealthy { reason } if !slot.ever_healthy => {
            Some((answers_wrongly(revision?, reason), None))
        }
        Health::Starting { .. } => {
            let hint = fact.health.listens_elsewhere()?;
            let counts = slot.created_at + revision.map(grace).unwrap_or_default();
            let since = slot.fact_at.max(counts) + Duration::from_millis(limits::WRONG_PORT_MS);
            Some((unhealthy(revision, Some(hint)), Some(since)))
        }
        Health::Unhealthy { .. } | Health::Healthy => None,
    }
}

/// Judges an active candidate that proxies are being told of: broken only when no instance serves any more and
/// one of them has failed.
pub(super) fn broken(view: &View) -> Option<Fault> {
    if view.running(view.service.candidate).any(Slot::serves) {
        return None;
    }
    view.running(view.service.candidate).find_map(|slot| match &slot.fact.as_ref()?.phase {
        Phase::Exited(exit) => Some(exited(exit)),
        Phase::Failed(fault) => Some(fault.clone()),
        Phase::Creating | Phase::Running | Phase::Stopping => None,
    })
}

/// Why instances of a revision are not healthy when their time is over: the most telling of their facts.
pub(super) fn too_late(view: &View, number: Option<RevisionNumber>) -> Fault {
    let hint = view.running(number).filter(|slot| !slot.serves()).find_map(|slot| {
        let fact = slot.fact.as_ref()?;
        match (&fact.phase, &fact.health) {
            (Phase::Failed(fault), _) => Some(fault.reason.clone()),
            (_, Health::Unhealthy { reason }) => Some(reason.clone()),
            (_, Health::Starting { hint }) => hint.clone(),
            (_, Health::Healthy) => None,
        }
    });
    let silent = view.running(number).any(|slot| slot.fact.is_none());
    match hint {
        None if silent => {
            Fault::transient("An instance could not be started in time: the node does not answer.")
        }
        hint => unhealthy(view.revision(number), hint.as_deref()),
    }
}

/// The latest try to start it failed for a reason that may pass: how many tries there were, and why.
fn not_started(slot: &Slot) -> Option<(u32, &Fault)> {
    let fact = slot.fact.as_ref()?;
    match &fact.phase {
        Phase::Failed(fault) if !fault.permanent => Some((fact.restarts.saturating_add(1), fault)),
        Phase::Creating | Phase::Running | Phase::Stopping | Phase::Exited(_) | Phase::Failed(_) => None,
    }
}

/// The latest try to start it found too little memory.
pub(super) fn lacks_memory(slot: &Slot) -> bool {
    not_started(slot).is_some_and(|(_, fault)| fault.lacks_memory())
}

/// Whether there is memory to gain when it goes: not from what ended or could not be started.
pub(super) fn has_memory(slot: &Slot) -> bool {
    slot.fact.as_ref().is_none_or(|fact| match fact.phase {
        Phase::Creating | Phase::Running | Phase::Stopping => true,
        Phase::Exited(_) | Phase::Failed(_) => false,
    })
}

/// The fault of a machine that has too little memory for a deployment, with what helps where nothing gives way.
pub(super) fn without_room(view: &View, fault: Fault, draw: &Draw) -> Fault {
    let candidate = view.service.candidate.filter(|number| view.service.active != Some(*number));
    let Some(candidate) = candidate.filter(|_| fault.lacks_memory()) else { return fault };
    let target = rolling::wanted(&view.service, view.revision(Some(candidate)), draw);
    let found = view.running(Some(candidate)).filter(|slot| has_memory(slot)).count();
    let what = match (Exchange::of(view, candidate, draw).have_memory(), found) {
        // With fewer new ones it would be the same.
        (1, 0) => "The only instance that has memory would have to stop first: free memory, give instances less of it, \
                   or pause the service, update it and resume it."
            .to_owned(),
        (0, 0) => return fault,
        _ if target == 1 => return fault,
        _ => {
            let least = rolling::within(&view.service, 0, view.revision(Some(candidate)), draw);
            let (whose, or) = match target > least {
                true => ("that take the place of as many others", "or wait for less load"),
                false => ("that MinSize asks for", "or lower MinSize"),
            };
            format!(
                "There is room for {found} of the {target} new instances {whose}: free memory, give instances less of \
                 it, {or}."
            )
        }
    };
    Fault { reason: format!("{}. {what}", fault.reason.trim_end_matches('.')), ..fault }
}

fn answers_wrongly(revision: &Revision, reason: &str) -> Fault {
    Fault::permanent(format!(
        "Health check failed on {}. Your application answers, but not as the health check expects. The last answer: \
         {reason}.",
        check_words(revision)
    ))
}

fn exited(exit: &Exit) -> Fault {
    let mut reason =
        format!("Your application stopped or failed to start. See logs for more information. {}", exit.how());
    if let Some(line) = exit.last_line() {
        reason.push_str(&format!(". Last output: {line}"));
    }
    Fault { permanent: true, reason, last_lines: exit.last_lines.clone() }
}

fn unhealthy(revision: Option<&Revision>, hint: Option<&str>) -> Fault {
    let mut reason = match revision {
        Some(revision) => {
            format!("Health check failed on {}. Check your configured port number.", check_words(revision))
        }
        None => "Health check failed.".to_owned(),
    };
    if let Some(hint) = hint {
        reason.push_str(&format!(" The last answer: {hint}."));
    }
    Fault::permanent(reason)
}

/// In this time from its wish failing checks of an instance do not count.
pub(super) fn grace(revision: &Revision) -> Duration {
    revision.run.as_ref().map(|run| run.tags.health_check_grace()).unwrap_or_default()
}

/// "protocol `HTTP` [Path: '/'], [Port: '8080']", as App Runner's lines have it.
pub(super) fn check_words(revision: &Revision) -> String {
    let port = revision.run.as_ref().map_or(limits::PORT_DEFAULT, |run| run.port);
    match &revision.config.health.protocol {
        HealthProtocol::Tcp => format!("protocol `TCP` [Port: '{port}']"),
        HealthProtocol::Http { path } => format!("protocol `HTTP` [Path: '{path}'], [Port: '{port}']"),
    }
}
