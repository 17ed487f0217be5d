//! Slots, the wishes for instances, and the difference between them and what a driver reports.
//!
//! A slot's row is written first and the world follows; the container carries the row's id. A row that says
//! gone stays for a while as the proof that a container of that id may be deleted; a container without any row
//! is only reported, because a wrong or restored database must not stop customers.

use crate::ids::{Generation, InstanceId, RevisionNumber, ServiceId};
use crate::instance::{Fault, Health, Observed, Phase, Waterfall};
use crate::time::{Timestamp, seconds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One wished instance of a revision, and the last that was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub id: InstanceId,
    pub service: ServiceId,
    pub revision: RevisionNumber,
    pub generation: Generation,
    pub wish: SlotWish,
    pub fact: Option<Observed>,
    /// When `fact` last changed.
    pub fact_at: Timestamp,
    /// Was healthy at some time: an exit later is a crash to repair, not a failed deployment.
    pub ever_healthy: bool,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotWish {
    Run,
    /// Runs, and gets requests beside the instances of the active revision, with which it changes places one by one.
    Beside,
    /// Gets no new requests; stops when its last request has ended, and at this time at the latest.
    Drain {
        /// When that was wished.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        until: Timestamp,
    },
    Stop,
    /// Was removed, or never came to be.
    Gone,
}

impl SlotWish {
    /// The instance is to be there, in the table of proxies or not yet.
    pub fn runs(self) -> bool {
        match self {
            SlotWish::Run | SlotWish::Beside => true,
            SlotWish::Drain { .. } | SlotWish::Stop | SlotWish::Gone => false,
        }
    }
}

impl Slot {
    /// A request sent to it now would probably be answered.
    pub fn serves(&self) -> bool {
        self.fact.as_ref().is_some_and(|fact| {
            fact.address.is_some() && fact.phase == Phase::Running && fact.health == Health::Healthy
        })
    }

    /// Has been healthy since its present start. Of an instance that was found running, whose start was not seen, that
    /// is taken for true if it ever was.
    pub fn was_healthy(&self, fact: &Observed) -> bool {
        let seen = &fact.waterfall;
        self.ever_healthy && (seen.exec_ms.is_none() || seen.healthy_ms.is_some())
    }
}

/// What a driver's report changes in the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactChange {
    pub id: InstanceId,
    pub service: ServiceId,
    /// None: the driver does not know the instance.
    pub fact: Option<Observed>,
    /// A line for the service's event log.
    pub event: Option<String>,
}

/// The slot's new fact. Its owner is told where an instance that serves stops serving, and where it serves again;
/// before that the operation that waits for the instance speaks, and of one that is to stop nobody needs to.
pub fn change(slot: &Slot, fact: Option<Observed>) -> FactChange {
    let event = match (&slot.fact, &fact) {
        (Some(before), Some(now)) if slot.wish.runs() && slot.ever_healthy => event(slot, before, now),
        _ => None,
    };
    FactChange { id: slot.id.clone(), service: slot.service.clone(), fact, event }
}

fn event(slot: &Slot, before: &Observed, now: &Observed) -> Option<String> {
    // An exit may be over before anybody looks: the instance is then at a later start, and keeps how it ended.
    let exit = match (&before.phase, &now.phase) {
        (Phase::Exited(_), Phase::Exited(_)) if before.restarts == now.restarts => None,
        (_, Phase::Exited(exit)) => Some(exit),
        (Phase::Exited(_), _) if now.restarts <= before.restarts.saturating_add(1) => None,
        _ if now.restarts > before.restarts => now.last_exit.as_ref(),
        _ => None,
    };
    let id = &now.id;
    if let Some(exit) = exit {
        let output = exit.last_line().map(|line| format!(". Last output: {line}")).unwrap_or_default();
        return Some(format!("Instance {id} stopped and is to be started anew. {}{output}", exit.how()));
    }
    match (&before.phase, &before.health, &now.phase, &now.health) {
        (Phase::Failed(then), _, Phase::Failed(fault), _) if then.reason == fault.reason => None,
        (_, _, Phase::Failed(fault), _) => {
            Some(format!("Instance {id} could not be started: {}", fault.reason))
        }
        (_, Health::Healthy | Health::Starting { .. }, Phase::Running, Health::Unhealthy { reason }) => {
            let (since, than) = match slot.was_healthy(now) {
                true => ("", "is healthy"),
                false => (" since its start", "has been healthy since its own"),
            };
            Some(format!(
                "Instance {id} fails its health check{since}, and gets requests only while no other one of the \
                 service {than}: {reason}"
            ))
        }
        // A node that starts anew looks at health from the beginning; that is no news.
        (_, Health::Starting { .. }, Phase::Running, Health::Healthy) if before.last_exit.is_none() => None,
        (_, Health::Starting { .. } | Health::Unhealthy { .. }, Phase::Running, Health::Healthy) => {
            Some(format!("Instance {id} is healthy again."))
        }
        _ => None,
    }
}

/// A slot that is on its way out and has come one step further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub id: InstanceId,
    /// A line for the service's event log.
    pub event: Option<String>,
}

/// A draining slot that may stop, because no proxy uses it any more or because its time is over.
pub fn drained(slot: &Slot, now: Timestamp) -> Leaving {
    let Slot { id, revision, .. } = slot;
    let event = match slot.wish {
        SlotWish::Drain { since, until } => {
            let took = since.map(|since| format!(" after {}", lasted(since, now))).unwrap_or_default();
            let why = if now < until { "its last request has ended" } else { "its time to drain is over" };
            Some(format!("Instance {id} of revision {revision} stops{took}: {why}."))
        }
        SlotWish::Run | SlotWish::Beside | SlotWish::Stop | SlotWish::Gone => None,
    };
    Leaving { id: id.clone(), event }
}

/// A slot of which nothing is left. Of one that the driver refused there never was anything.
pub fn gone(slot: &Slot, now: Timestamp) -> Leaving {
    let Slot { id, revision, .. } = slot;
    let event = slot.fact.as_ref().filter(|fact| !is_refusal(fact)).map(|fact| {
        let took = match fact.phase {
            Phase::Stopping => format!(" in {}", lasted(slot.fact_at, now)),
            Phase::Creating | Phase::Running | Phase::Exited(_) | Phase::Failed(_) => String::new(),
        };
        format!("Instance {id} of revision {revision} has stopped{took}.")
    });
    Leaving { id: id.clone(), event }
}

fn lasted(since: Timestamp, now: Timestamp) -> String {
    seconds((now - since).as_millis() as u64)
}

/// What a driver's refusal of a slot looks like as a fact, so that an operation can see it.
pub fn refused(slot: &Slot, reason: String) -> Observed {
    Observed {
        id: slot.id.clone(),
        generation: slot.generation,
        address: None,
        phase: Phase::Failed(Fault::permanent(reason)),
        health: Health::Starting { hint: None },
        restarts: 0,
        last_exit: None,
        waterfall: Waterfall::default(),
    }
}

/// A fact that `refused` made: what a driver has has an address.
fn is_refusal(fact: &Observed) -> bool {
    match &fact.phase {
        Phase::Failed(fault) => fault.permanent && fact.address.is_none(),
        Phase::Creating | Phase::Running | Phase::Exited(_) | Phase::Stopping => false,
    }
}

/// One thing to do so that the world follows the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hand the slot's spec to the driver.
    Ensure(InstanceId),
    /// Ask the driver to stop and forget the instance.
    Remove(InstanceId),
    /// Record that nothing is left of it.
    Gone(InstanceId),
    /// The driver knows a newer generation, of this epoch, than the row, which was restored from an older copy:
    /// record one of an epoch above it, so that wishes are heard again.
    Raise(InstanceId, u64),
    /// A container without a row: say so, touch nothing.
    Report(InstanceId),
}

/// What to do, in a fixed order. Finds nothing when the world follows the rows.
pub fn diff(slots: &[Slot], observed: &[Observed]) -> Vec<Step> {
    let seen: BTreeMap<&InstanceId, &Observed> = observed.iter().map(|one| (&one.id, one)).collect();
    let rows: BTreeMap<&InstanceId, &Slot> = slots.iter().map(|slot| (&slot.id, slot)).collect();
    let mut steps = Vec::new();
    for (id, slot) in &rows {
        let id = (*id).clone();
        match (slot.wish, seen.get(&id)) {
            (SlotWish::Run | SlotWish::Beside, None) => steps.push(Step::Ensure(id)),
            (SlotWish::Run | SlotWish::Beside, Some(one)) if one.generation < slot.generation => {
                steps.push(Step::Ensure(id))
            }
            (SlotWish::Run | SlotWish::Beside | SlotWish::Drain { .. } | SlotWish::Stop, Some(one))
                if one.generation > slot.generation =>
            {
                steps.push(Step::Raise(id, one.generation.epoch));
            }
            (SlotWish::Run | SlotWish::Beside | SlotWish::Drain { .. }, Some(_)) => {}
            (SlotWish::Drain { .. } | SlotWish::Stop, None) => steps.push(Step::Gone(id)),
            (SlotWish::Stop | SlotWish::Gone, Some(one)) => {
                if one.phase != Phase::Stopping {
                    steps.push(Step::Remove(id));
                }
            }
            (SlotWish::Gone, None) => {}
        }
    }
    steps.extend(seen.keys().filter(|id| !rows.contains_key(*id)).map(|id| Step::Report((*id).clone())));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::instance::Exit;

    const UNTIL: SlotWish = SlotWish::Drain { since: None, until: Timestamp(9) };

    fn check(wish: SlotWish, seen: Option<(u64, Phase)>, expect: &[Step]) {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let mut slot = fixture::slot(&service, 1, 1);
        slot.wish = wish;
        slot.generation = Generation { epoch: 5, counter: 1 };
        let observed: Vec<Observed> = seen
            .into_iter()
            .map(|(epoch, phase)| {
                let mut one = fixture::healthy(&slot);
                one.generation.epoch = epoch;
                one.phase = phase;
                one
            })
            .collect();
        assert_eq!(diff(&[slot], &observed), expect, "{wish:?} {observed:?}");
    }

    /// Goes through what is seen one after the other; returns the lines that are told.
    fn told(slot: &mut Slot, seen: &[Observed]) -> Vec<String> {
        let mut lines = Vec::new();
        for one in seen {
            let change = change(slot, Some(one.clone()));
            slot.ever_healthy |= one.health == Health::Healthy;
            slot.fact = change.fact;
            lines.extend(change.event);
        }
        lines
    }

    #[test]
    fn what_happens_to_a_serving_instance_is_told_once() {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let mut slot = fixture::slot(&service, 1, 1);
        slot.ever_healthy = false;
        slot.fact = None;
        let exit = Exit {
            code: Some(3),
            signal: None,
            out_of_memory: false,
            reason: None,
            last_lines: vec!["bad luck".to_owned(), String::new()],
        };
        let healthy = fixture::healthy(&slot);
        let starting =
            Observed { health: Health::Starting { hint: None }, phase: Phase::Creating, ..healthy.clone() };
        let exited = Observed { phase: Phase::Exited(exit.clone()), ..healthy.clone() };
        let again = |restarts| Observed { restarts, last_exit: Some(exit.clone()), ..starting.clone() };
        let back = |restarts| Observed { restarts, ..healthy.clone() };
        // An operation tells of a first start and of its failure.
        assert_eq!(told(&mut slot, &[starting.clone(), exited.clone(), healthy.clone()]), [""; 0]);
        let stopped = format!(
            "Instance {} stopped and is to be started anew. Container exit code: 3. Last output: bad luck",
            slot.id
        );
        let well = format!("Instance {} is healthy again.", slot.id);
        let seen = [exited.clone(), exited.clone(), again(1), again(1), back(1)];
        assert_eq!(told(&mut slot, &seen), [stopped.clone(), well.clone()]);
        // Looked at late: only that it was started anew is seen.
        assert_eq!(told(&mut slot, &[again(2), back(2)]), [stopped.clone(), well.clone()]);
        // A node that starts anew looks at health from the beginning.
        assert_eq!(told(&mut slot, &[Observed { restarts: 2, ..starting.clone() }, back(2)]), [""; 0]);
        let ill = Observed { health: Health::Unhealthy { reason: "status 500".to_owned() }, ..back(2) };
        let says = |since: &str, than: &str| {
            let what =
                format!("fails its health check{since}, and gets requests only while no other one of the");
            format!("Instance {} {what} service {than}: status 500", slot.id)
        };
        let unwell = says("", "is healthy");
        let warms_up = says(" since its start", "has been healthy since its own");
        assert_eq!(told(&mut slot, &[ill.clone(), ill.clone(), back(2)]), [unwell, well.clone()]);
        // One that was started anew has not been healthy yet, whatever it was before.
        let seen_from_birth = Waterfall { exec_ms: Some(1), ..Waterfall::default() };
        let begins = Observed { waterfall: seen_from_birth, phase: Phase::Running, ..again(3) };
        let cold = Observed { health: ill.health.clone(), ..begins.clone() };
        assert_eq!(told(&mut slot, &[begins, cold, back(3)]), [stopped.clone(), warms_up, well.clone()]);
        slot.fact = Some(back(2));
        let failed = Observed { phase: Phase::Failed(Fault::transient("no memory")), ..back(2) };
        let could_not = format!("Instance {} could not be started: no memory", slot.id);
        assert_eq!(told(&mut slot, &[failed.clone(), failed]), [could_not]);
        slot.wish = SlotWish::Stop;
        slot.fact = Some(back(2));
        assert_eq!(told(&mut slot, &[exited]), [""; 0]);
    }

    #[test]
    fn what_goes_is_told_with_its_cause_and_how_long_it_took() {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let mut slot = fixture::slot(&service, 1, 1);
        slot.fact = Some(fixture::healthy(&slot));
        let id = slot.id.clone();
        let says = |leaving: Leaving| leaving.event.unwrap();
        slot.wish = SlotWish::Drain { since: Some(Timestamp(1_000)), until: Timestamp(9_000) };
        let ended = format!("Instance {id} of revision 1 stops after 7.9 s: its last request has ended.");
        assert_eq!(says(drained(&slot, Timestamp(8_999))), ended);
        let over = format!("Instance {id} of revision 1 stops after 8.0 s: its time to drain is over.");
        assert_eq!(says(drained(&slot, Timestamp(9_000))), over);
        slot.wish = SlotWish::Drain { since: None, until: Timestamp(9_000) };
        assert!(says(drained(&slot, Timestamp(1))).ends_with("stops: its last request has ended."));
        slot.wish = SlotWish::Stop;
        assert_eq!(says(gone(&slot, Timestamp(9))), format!("Instance {id} of revision 1 has stopped."));
        slot.fact.as_mut().unwrap().phase = Phase::Stopping;
        slot.fact_at = Timestamp(500);
        let stopped = format!("Instance {id} of revision 1 has stopped in 0.4 s.");
        assert_eq!(says(gone(&slot, Timestamp(950))), stopped);
        // Of what never came to be nothing is to tell.
        for fact in [None, Some(refused(&slot, "no image".to_owned()))] {
            slot.fact = fact;
            assert_eq!(gone(&slot, Timestamp(950)), Leaving { id: id.clone(), event: None });
        }
    }

    #[test]
    fn each_wish_against_each_sight() {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let id = fixture::slot(&service, 1, 1).id;
        let raise = Step::Raise(id.clone(), 6);
        check(SlotWish::Run, None, &[Step::Ensure(id.clone())]);
        check(SlotWish::Run, Some((4, Phase::Running)), &[Step::Ensure(id.clone())]);
        check(SlotWish::Run, Some((5, Phase::Running)), &[]);
        check(SlotWish::Run, Some((6, Phase::Running)), std::slice::from_ref(&raise));
        check(SlotWish::Beside, None, &[Step::Ensure(id.clone())]);
        check(SlotWish::Beside, Some((4, Phase::Running)), &[Step::Ensure(id.clone())]);
        check(SlotWish::Beside, Some((5, Phase::Running)), &[]);
        check(UNTIL, None, &[Step::Gone(id.clone())]);
        check(UNTIL, Some((5, Phase::Running)), &[]);
        check(UNTIL, Some((4, Phase::Running)), &[]);
        check(SlotWish::Stop, Some((5, Phase::Running)), &[Step::Remove(id.clone())]);
        check(SlotWish::Stop, Some((5, Phase::Stopping)), &[]);
        check(SlotWish::Stop, None, &[Step::Gone(id.clone())]);
        check(SlotWish::Gone, None, &[]);
        check(SlotWish::Gone, Some((5, Phase::Running)), &[Step::Remove(id)]);
    }

    #[test]
    fn a_container_without_a_row_is_reported_and_left() {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let stranger = fixture::healthy(&fixture::slot(&service, 1, 1));
        assert_eq!(diff(&[], std::slice::from_ref(&stranger)), [Step::Report(stranger.id.clone())]);
    }

    /// Doing what `diff` says, in a world that obeys, ends in a `diff` that says nothing.
    #[test]
    fn it_converges() {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let wishes = [SlotWish::Run, SlotWish::Beside, UNTIL, SlotWish::Stop, SlotWish::Gone];
        for first in 0..wishes.len() {
            for world in 0..8_u32 {
                let mut slots: Vec<Slot> = (0..3).map(|n| fixture::slot(&service, 1, n)).collect();
                for (n, slot) in slots.iter_mut().enumerate() {
                    slot.wish = wishes[(first + n) % wishes.len()];
                }
                let mut seen: Vec<Observed> = slots
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| world & (1 << n) != 0)
                    .map(|(_, slot)| fixture::healthy(slot))
                    .collect();
                for _round in 0..4 {
                    for step in diff(&slots, &seen) {
                        match step {
                            Step::Ensure(id) => {
                                let slot = slots.iter().find(|slot| slot.id == id).unwrap();
                                seen.retain(|one| one.id != id);
                                seen.push(fixture::healthy(slot));
                            }
                            Step::Remove(id) => seen.retain(|one| one.id != id),
                            Step::Gone(id) => {
                                slots.iter_mut().find(|slot| slot.id == id).unwrap().wish = SlotWish::Gone;
                            }
                            Step::Raise(..) | Step::Report(_) => panic!("no such world"),
                        }
                    }
                }
                assert_eq!(diff(&slots, &seen), []);
            }
        }
    }
}
