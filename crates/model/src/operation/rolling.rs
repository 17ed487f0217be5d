//! Instances that change places one by one: one comes up, gets requests beside the others, and one of those goes.
//!
//! ```text
//! forward  one more of the candidate is wished → it serves → it is routed, one of the active revision drains
//!          → that is gone → … → all of the candidate serve: Routing, where the last old one goes
//! back     the same with the roles exchanged, behind a failure, as far as old ones have gone already
//! ```
//! So there is never more than one instance above the larger of both sets. Where memory is lacking even for that one,
//! an old one goes first, provided that another serves meanwhile. Nothing of this is behind the pivot: the old
//! revision is the active one until the candidate has all its instances. Where those that come back are late, as many
//! as are lacking stay beside them, until they serve or the next operation takes their place.

use super::failure::{self, Verdict};
use super::{Advance, Changes, OperationKind, OperationStatus, Step, View, Write, after, deploy, instances};
use crate::draw::Draw;
use crate::extension;
use crate::ids::RevisionNumber;
use crate::instance::Fault;
use crate::limits;
use crate::reconcile::{Leaving, Slot, SlotWish};
use crate::service::Service;
use crate::time::Timestamp;

/// Who comes and who goes.
struct Exchange<'a> {
    /// The revision whose instances come.
    to: RevisionNumber,
    /// As many of it there are to be.
    target: usize,
    /// Its instances.
    coming: Vec<&'a Slot>,
    /// The others, in the order in which they go: first those that do not serve.
    going: Vec<&'a Slot>,
    /// Some that were told to go are still there.
    leaving: bool,
}

impl<'a> Exchange<'a> {
    fn new(view: &'a View, to: RevisionNumber) -> Exchange<'a> {
        let (coming, mut going): (Vec<&Slot>, Vec<&Slot>) =
            view.slots.iter().filter(|slot| slot.wish.runs()).partition(|slot| slot.revision == to);
        going.sort_by_key(|slot| (slot.serves(), slot.id.clone()));
        let leaving = view.slots.iter().any(|slot| !slot.wish.runs());
        Exchange { to, target: target(view, to), coming, going, leaving }
    }

    /// So many of those that go are one too many, once all that come serve.
    fn surplus(&self) -> usize {
        let all = self.coming.len() + self.going.len();
        if self.coming.is_empty() { 0 } else { all.saturating_sub(self.target).min(self.going.len()) }
    }

    /// So many of those that go serve in place of some that do not serve yet.
    fn still_needed(&self) -> usize {
        let serve = |slots: &[&Slot]| slots.iter().filter(|slot| slot.serves()).count();
        serve(&self.going).min(self.target.saturating_sub(serve(&self.coming)))
    }

    /// One can go before another comes: there are more than needed, and another one serves.
    fn can_give_way(&self) -> bool {
        let others = self.coming.iter().chain(self.going.iter().skip(1));
        !self.leaving
            && !self.going.is_empty()
            && self.coming.len() + self.going.len() > self.target
            && others.into_iter().any(|slot| slot.serves())
    }

    /// What could not be started is taken back, and the next one goes in advance.
    fn give_way(&self, changes: &mut Changes<'_>, draw: &Draw) {
        let refused = self.coming.iter().filter(|slot| failure::lacks_memory(slot));
        // One that served once, and was to be started anew, may still have requests at some proxy.
        changes.drain(refused.map(|slot| slot.id.clone()), after(draw, limits::DRAIN_MS), draw);
        changes.both("There is not enough memory for one more instance: an old one stops first.");
        self.leave(changes, 1, draw);
    }

    /// The next so many go.
    fn leave(&self, changes: &mut Changes<'_>, count: usize, draw: &Draw) {
        let until = after(draw, limits::DRAIN_MS);
        changes.drain(self.going.iter().take(count).map(|slot| slot.id.clone()), until, draw);
        changes.reroute();
    }

    /// Those that are not routed yet are from now on.
    fn route(&self, changes: &mut Changes<'_>) {
        let unrouted = self.coming.iter().filter(|slot| slot.wish == SlotWish::Run);
        changes.writes.extend(unrouted.map(|slot| Write::SlotWish(slot.id.clone(), SlotWish::Beside)));
    }
}

/// Instances of a revision that was taken back go once enough of the active one serve without them, and so does what
/// the active one has beyond its number. While an operation is open it sees to them itself.
pub fn relieved(service: &Service, slots: &[Slot]) -> Vec<Leaving> {
    if service.operation.is_some() {
        return Vec::new();
    }
    let (mut active, mut beside): (Vec<&Slot>, Vec<&Slot>) =
        slots.iter().filter(|slot| slot.wish.runs()).partition(|slot| Some(slot.revision) == service.active);
    let target = usize::try_from(service.config.scaling.min_size.max(1)).unwrap_or(usize::MAX);
    let needed = target.saturating_sub(active.iter().filter(|slot| slot.serves()).count());
    let surplus = active.len().saturating_sub(target);
    let count = beside.len().saturating_sub(needed);
    for slots in [&mut active, &mut beside] {
        slots.sort_by_key(|slot| (slot.serves(), slot.id.clone()));
    }
    let told = |why: &'static str| {
        move |slot: &Slot| {
            let Slot { id, revision, .. } = slot;
            let event = format!("Draining instance {id} of revision {revision}: {why}.");
            Leaving { id: id.clone(), event: Some(event) }
        }
    };
    let beside = beside.into_iter().take(count).map(told("others serve again in its place"));
    beside.chain(active.into_iter().take(surplus).map(told("there are more than MinSize asks for"))).collect()
}

/// Instances that a revision has: as many as its configuration says at least.
fn target(view: &View, number: RevisionNumber) -> usize {
    let least = view.revision(Some(number)).map_or(1, |revision| revision.config.scaling.min_size);
    usize::try_from(least.max(1)).unwrap_or(usize::MAX)
}

/// Whether a deployment of this revision is to replace instances one by one: there are some, and the tag says so.
pub(super) fn is_asked(view: &View, number: RevisionNumber) -> bool {
    // Tags are checked when they are set.
    let asked = extension::read(&view.service.tags).is_ok_and(|tags| tags.rolling);
    asked && view.service.active != Some(number) && view.running(view.service.active).next().is_some()
}

/// Whether some instances of the old revision have gone for the sake of new ones.
pub(super) fn has_begun(view: &View, old: RevisionNumber) -> bool {
    view.running(Some(old)).count() < target(view, old)
}

/// Whether one by one there may be room where for a whole second set there is none.
pub(super) fn may_help(view: &View) -> bool {
    let Some(number) = view.service.candidate.filter(|number| view.service.active != Some(*number)) else {
        return false;
    };
    match view.running(view.service.active).count() {
        0 => false,
        1 => target(view, number) > 1,
        _ => true,
    }
}

/// Goes on one by one, with those of the candidate that serve already.
pub(super) fn instead(view: &View, fault: &Fault, draw: &Draw) -> Advance {
    let mut changes = Changes::new(view, draw);
    let reason = fault.reason.trim_end_matches('.');
    changes.both(&format!("An instance cannot be started: {reason}. Instances are now replaced one by one."));
    let idle = view.running(view.service.candidate).filter(|slot| !slot.serves());
    changes.writes.extend(idle.map(|slot| Write::SlotWish(slot.id.clone(), SlotWish::Stop)));
    let deadline = deploy::healthy_by(view.revision(view.service.candidate), draw);
    changes.step(Step::Rolling { deadline, hindered: None }, deadline)
}

pub(super) fn forward(
    view: &View,
    deadline: Timestamp,
    hindered: Option<Timestamp>,
    draw: &mut Draw,
) -> Advance {
    let Some(to) = view.service.candidate else {
        return deploy::fail(view, Fault::permanent("The row of the service names no new revision."), draw);
    };
    let exchange = Exchange::new(view, to);
    let verdict = failure::judge(view, draw);
    match &verdict {
        Verdict::Healthy => return next(view, &exchange, deadline, draw),
        Verdict::Hindered { fault, .. } if fault.lacks_memory() && exchange.can_give_way() => {
            let mut changes = Changes::new(view, draw);
            exchange.give_way(&mut changes, draw);
            let deadline = after(draw, limits::REMOVE_MS_MAX);
            return changes.step(Step::Rolling { deadline, hindered: None }, deadline);
        }
        // What goes makes room.
        Verdict::Hindered { fault, .. }
            if fault.lacks_memory() && exchange.leaving && draw.now < deadline =>
        {
            return Advance::wait(deadline);
        }
        Verdict::Wait { .. } => {
            if let Some(fault) = failure::broken(view) {
                return deploy::fail(view, fault, draw);
            }
        }
        Verdict::Hindered { .. } | Verdict::Failed(_) => {}
    }
    let step = |hindered| Step::Rolling { deadline, hindered };
    deploy::not_yet(view, verdict, deadline, hindered, step, draw)
}

/// All that have come serve: what is next.
fn next(view: &View, exchange: &Exchange<'_>, deadline: Timestamp, draw: &mut Draw) -> Advance {
    let (come, target) = (exchange.coming.len(), exchange.target);
    if come >= target {
        return deploy::route(view, draw);
    }
    let surplus = exchange.surplus();
    let unrouted = exchange.coming.iter().any(|slot| slot.wish == SlotWish::Run);
    if surplus == 0 && !unrouted && exchange.leaving && draw.now < deadline {
        return Advance::wait(deadline);
    }
    let mut changes = Changes::new(view, draw);
    if surplus == 0 && !unrouted {
        changes.writes.push(deploy::new_slot(view, exchange.to, draw));
        let deadline = deploy::healthy_by(view.revision(Some(exchange.to)), draw);
        return changes.step(Step::Rolling { deadline, hindered: None }, deadline);
    }
    changes.both(&format!("New instances that serve: {come} of {target}."));
    exchange.route(&mut changes);
    exchange.leave(&mut changes, surplus, draw);
    let deadline = after(draw, limits::REMOVE_MS_MAX);
    changes.step(Step::Rolling { deadline, hindered: None }, deadline)
}

/// Begins the way back, which `back` goes on with: what proxies know serves until the old ones are there again.
pub(super) fn turn_back(mut changes: Changes<'_>, old: RevisionNumber, draw: &Draw) -> Advance {
    let view = changes.view;
    let was_routed = matches!(view.operation.step, Step::Routing { .. });
    for slot in view.running(view.service.candidate) {
        let wish = match slot.wish {
            SlotWish::Run if was_routed => SlotWish::Beside,
            SlotWish::Run => SlotWish::Stop,
            SlotWish::Beside | SlotWish::Drain { .. } | SlotWish::Stop | SlotWish::Gone => continue,
        };
        changes.writes.push(Write::SlotWish(slot.id.clone(), wish));
    }
    changes.both(&format!("Instances of revision {old} are started again."));
    changes.reroute();
    changes.operation.status = OperationStatus::RollbackInProgress;
    let deadline = deploy::healthy_by(view.revision(Some(old)), draw);
    changes.step(Step::Returning { deadline }, deadline)
}

pub(super) fn back(view: &View, deadline: Timestamp, draw: &mut Draw) -> Advance {
    let Some(to) = view.service.active else { return deploy::restore_routes(Changes::new(view, draw), draw) };
    let exchange = Exchange::new(view, to);
    let missing = exchange.target.saturating_sub(exchange.coming.len());
    let fault = exchange.coming.iter().find_map(|slot| failure::hopeless(slot));
    let given_up = draw.now >= deadline || fault.is_some();
    let come = exchange.coming.iter().all(|slot| slot.serves());
    let mut changes = Changes::new(view, draw);
    if is_pointless(view) {
        return deploy::taken_back(changes, draw);
    }
    if given_up || (come && missing == 0) {
        let stay = exchange.still_needed();
        if given_up {
            let why = fault.map(|fault| format!(" {}", fault.reason)).unwrap_or_default();
            let beside =
                if stay == 0 { String::new() } else { format!(" {} stay beside them.", instances(stay)) };
            changes.both(&format!(
                "Warning: not every instance of revision {to} serves again yet.{beside}{why}"
            ));
        }
        for _ in 0..missing {
            changes.writes.push(deploy::new_slot(view, to, draw));
        }
        exchange.leave(&mut changes, exchange.going.len() - stay, draw);
        return deploy::restore_routes(changes, draw);
    }
    if come && exchange.surplus() > 0 {
        exchange.leave(&mut changes, exchange.surplus(), draw);
    } else if come && !exchange.leaving {
        changes.writes.push(deploy::new_slot(view, to, draw));
    } else if exchange.coming.iter().any(|slot| failure::lacks_memory(slot)) && exchange.can_give_way() {
        exchange.give_way(&mut changes, draw);
    } else {
        return Advance::wait(deadline);
    }
    changes.step(Step::Returning { deadline }, deadline)
}

/// What comes back would be stopped at once.
fn is_pointless(view: &View) -> bool {
    let removes = |kind| matches!(kind, OperationKind::PauseService | OperationKind::DeleteService);
    view.queued.first().is_some_and(|next| removes(next.kind))
}
