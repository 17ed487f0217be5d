//! Slots, the wishes for instances, and the difference between them and what a driver reports.
//!
//! A slot's row is written first and the world follows; the container carries the row's id. A row that says
//! gone stays for a while as the proof that a container of that id may be deleted; a container without any row
//! is only reported, because a wrong or restored database must not stop customers.

use crate::ids::{Generation, InstanceId, RevisionNumber, ServiceId};
use crate::instance::{Fault, Health, Observed, Phase, Waterfall};
use crate::time::Timestamp;
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
    /// Gets no new requests; stops when its last request has ended, and at this time at the latest.
    Drain {
        until: Timestamp,
    },
    Stop,
    /// Was removed, or never came to be.
    Gone,
}

impl Slot {
    /// A request sent to it now would probably be answered.
    pub fn serves(&self) -> bool {
        self.fact.as_ref().is_some_and(|fact| {
            fact.address.is_some() && fact.phase == Phase::Running && fact.health == Health::Healthy
        })
    }
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

/// One thing to do so that the world follows the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hand the slot's spec to the driver.
    Ensure(InstanceId),
    /// Ask the driver to stop and forget the instance.
    Remove(InstanceId),
    /// Record that nothing is left of it.
    Gone(InstanceId),
    /// The driver knows a newer generation than the row, which was restored from an older copy: record one
    /// above it, so that wishes are heard again.
    Raise(InstanceId, Generation),
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
            (SlotWish::Run, None) => steps.push(Step::Ensure(id)),
            (SlotWish::Run, Some(one)) if one.generation < slot.generation => steps.push(Step::Ensure(id)),
            (SlotWish::Run | SlotWish::Drain { .. } | SlotWish::Stop, Some(one))
                if one.generation > slot.generation =>
            {
                let counter = one.generation.counter + 1;
                steps.push(Step::Raise(id, Generation { epoch: one.generation.epoch, counter }));
            }
            (SlotWish::Run | SlotWish::Drain { .. }, Some(_)) => {}
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

    const UNTIL: SlotWish = SlotWish::Drain { until: Timestamp(9) };

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

    #[test]
    fn each_wish_against_each_sight() {
        let service = fixture::service("web", fixture::image_config("r/web"));
        let id = fixture::slot(&service, 1, 1).id;
        let raise = Step::Raise(id.clone(), Generation { epoch: 6, counter: 2 });
        check(SlotWish::Run, None, &[Step::Ensure(id.clone())]);
        check(SlotWish::Run, Some((4, Phase::Running)), &[Step::Ensure(id.clone())]);
        check(SlotWish::Run, Some((5, Phase::Running)), &[]);
        check(SlotWish::Run, Some((6, Phase::Running)), std::slice::from_ref(&raise));
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
        let wishes = [SlotWish::Run, UNTIL, SlotWish::Stop, SlotWish::Gone];
        for first in 0..4 {
            for world in 0..8_u32 {
                let mut slots: Vec<Slot> = (0..3).map(|n| fixture::slot(&service, 1, n)).collect();
                for (n, slot) in slots.iter_mut().enumerate() {
                    slot.wish = wishes[(first + n) % 4];
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
