//! Has a candidate failed, and how is that said? Facts in, one sentence and the last lines out.

use super::View;
use crate::draw::Draw;
use crate::instance::{Exit, Fault, Health, HealthProtocol, Phase};
use crate::limits;
use crate::reconcile::Slot;
use crate::service::Revision;
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

/// Judges the candidate before the pivot.
pub(super) fn judge(view: &View, draw: &Draw) -> Verdict {
    let mut all_serve = true;
    let mut wait = None;
    let mut hindered: Option<(u32, &Fault)> = None;
    let revision = view.revision(view.service.candidate);
    let grace = revision.map(grace).unwrap_or_default();
    for slot in view.running(view.service.candidate) {
        all_serve &= slot.serves();
        if let Some(fault) = hopeless(slot) {
            return Verdict::Failed(fault);
        }
        if let Some((tries, fault)) = not_started(slot)
            && hindered.is_none_or(|(most, _)| tries > most)
        {
            hindered = Some((tries, fault));
        }
        // Its answers were counted, and those within its grace were not, before it was called so.
        if let (Some(reason), Some(revision)) = (refused(slot), revision) {
            return Verdict::Failed(answers_wrongly(revision, reason));
        }
        if let Some(hint) = wrong_port(slot) {
            let counts = slot.created_at + grace;
            let until = slot.fact_at.max(counts) + Duration::from_millis(limits::WRONG_PORT_MS);
            if draw.now >= until {
                return Verdict::Failed(unhealthy(view, Some(hint)));
            }
            let left = (until - draw.now).as_millis() as u64;
            wait = Some(wait.map_or(left, |ms: u64| ms.min(left)));
        }
    }
    match hindered {
        Some((tries, fault)) => Verdict::Hindered { tries, fault: fault.clone() },
        None if all_serve => Verdict::Healthy,
        None => Verdict::Wait { ms: wait },
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

/// Why a candidate is not healthy when its time is over: the most telling of its facts.
pub(super) fn too_late(view: &View) -> Fault {
    let hint = view.running(view.service.candidate).find_map(|slot| {
        let fact = slot.fact.as_ref()?;
        match (&fact.phase, &fact.health) {
            (Phase::Failed(fault), _) => Some(fault.reason.clone()),
            (_, Health::Unhealthy { reason }) => Some(reason.clone()),
            (_, Health::Starting { hint }) => hint.clone(),
            (_, Health::Healthy) => None,
        }
    });
    let silent = view.running(view.service.candidate).any(|slot| slot.fact.is_none());
    match hint {
        None if silent => {
            Fault::transient("An instance could not be started in time: the node does not answer.")
        }
        hint => unhealthy(view, hint.as_deref()),
    }
}

/// It ended before it was ever healthy, or could not be started and never will be. That it was started anew
/// meanwhile changes nothing: the first exit of a candidate is its failure.
pub(super) fn hopeless(slot: &Slot) -> Option<Fault> {
    let fact = slot.fact.as_ref()?;
    match &fact.phase {
        Phase::Failed(fault) if fault.permanent => Some(fault.clone()),
        Phase::Exited(exit) if !slot.ever_healthy => Some(exited(exit)),
        Phase::Creating | Phase::Running | Phase::Stopping | Phase::Exited(_) | Phase::Failed(_) => {
            fact.last_exit.as_ref().filter(|_| !slot.ever_healthy).map(exited)
        }
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

/// The fault of a machine that has too little memory for a deployment, with what helps where nothing gives way.
pub(super) fn without_room(view: &View, fault: Fault) -> Fault {
    let old = view.running(view.service.active).count();
    if !fault.lacks_memory() || view.service.active == view.service.candidate || old != 1 {
        return fault;
    }
    let reason = format!(
        "{}. The only instance that serves would have to stop first: free memory, give instances less of it, or \
         pause the service, update it and resume it.",
        fault.reason.trim_end_matches('.')
    );
    Fault { reason, ..fault }
}

/// The process runs and listens somewhere else.
fn wrong_port(slot: &Slot) -> Option<&str> {
    let fact = slot.fact.as_ref()?;
    if fact.phase == Phase::Running { fact.health.listens_elsewhere() } else { None }
}

/// The process runs, has never been healthy, and answers its check wrongly: the last answer.
fn refused(slot: &Slot) -> Option<&str> {
    let fact = slot.fact.as_ref()?;
    match (&fact.phase, &fact.health) {
        (Phase::Running, Health::Unhealthy { reason }) if !slot.ever_healthy => Some(reason),
        _ => None,
    }
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

fn unhealthy(view: &View, hint: Option<&str>) -> Fault {
    let mut reason = match view.revision(view.service.candidate) {
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
