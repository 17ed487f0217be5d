//! Instances that change places one by one: one comes up, gets requests beside the others, and one of those goes.
//!
//! ```text
//! forward  one more of the candidate is wished → it serves → it is routed, one of the active revision drains
//!          → that is gone → … → all of the candidate serve: Routing, where the last old one goes
//! back     the same with the roles exchanged, behind a failure, as far as old ones have gone already
//! ```
//! So there is never more than one instance above the larger of both sets. Where memory is lacking even for that one,
//! an old one goes first, provided that another gets requests meanwhile, or, beside others or back from a failure,
//! that it gets none itself. Nothing of this is behind the pivot: the old revision is the active one until the candidate
//! has all its instances. Where those that come back are late, as many as are lacking stay beside them; `mend` lets them
//! go between operations, once others serve or for their memory.

use super::failure::{self, Verdict};
use super::{
    Advance, Changes, OperationKind, OperationStatus, Step, View, Write, after, deploy, instances, undo,
};
use crate::draw::Draw;
use crate::extension;
use crate::ids::{InstanceId, RevisionNumber};
use crate::instance::{Fault, Phase};
use crate::limits;
use crate::reconcile::{Slot, SlotWish};
use crate::routes;
use crate::service::{Revision, Service, State};
use crate::time::Timestamp;
use std::cmp::Reverse;

/// Who comes and who goes.
pub(super) struct Exchange<'a> {
    /// The revision whose instances come.
    to: RevisionNumber,
    /// As many of it there are to be.
    target: usize,
    /// Its instances. Of both those that are the worst for requests stand first, and would go first.
    coming: Vec<&'a Slot>,
    /// Those of other revisions.
    going: Vec<&'a Slot>,
    /// Some that were told to go are still there.
    leaving: bool,
    /// Those of them that would serve still, of the revision whose instances come.
    back: Vec<&'a Slot>,
}

impl<'a> Exchange<'a> {
    /// The instances of the revision `to`, of which so many are to serve, and all others.
    fn new(
        slots: &'a [Slot],
        active: Option<RevisionNumber>,
        to: RevisionNumber,
        target: usize,
    ) -> Exchange<'a> {
        let (mut coming, mut going): (Vec<&Slot>, Vec<&Slot>) =
            slots.iter().filter(|slot| slot.wish.runs()).partition(|slot| slot.revision == to);
        for slots in [&mut coming, &mut going] {
            // What stayed of a revision that was taken back is worth less than what is active.
            slots.sort_by_key(|slot| {
                let rank = routes::rank(slot).unwrap_or(u8::MAX);
                // Proxies fill those at the beginning first.
                (Reverse(rank), Some(slot.revision) == active, Reverse(slot.id.clone()))
            });
        }
        let leaving = slots.iter().any(|slot| !slot.wish.runs());
        let drains = |slot: &&Slot| matches!(slot.wish, SlotWish::Drain { .. });
        let back = slots.iter().filter(drains).filter(|slot| slot.revision == to && slot.serves()).collect();
        Exchange { to, target, coming, going, leaving, back }
    }

    pub(super) fn of(view: &'a View, to: RevisionNumber, draw: &Draw) -> Exchange<'a> {
        let target = wanted(&view.service, view.revision(Some(to)), draw);
        Exchange::new(&view.slots, view.service.active, to, target)
    }

    /// So many of those that go are one too many, once all that come serve.
    fn surplus(&self) -> usize {
        let all = self.coming.len() + self.going.len();
        if self.coming.is_empty() { 0 } else { all.saturating_sub(self.target).min(self.going.len()) }
    }

    /// So many of those that come do not serve yet.
    pub(super) fn lacking(&self) -> usize {
        self.target.saturating_sub(self.coming.iter().filter(|slot| slot.serves()).count())
    }

    /// So many of those that go serve in place of some that do not serve yet.
    fn still_needed(&self) -> usize {
        self.going.iter().filter(|slot| slot.serves()).count().min(self.lacking())
    }

    /// One can go before another comes: others are no worse for requests, and either it gets none itself or there is then
    /// one less than needed at most.
    fn can_give_way(&self) -> bool {
        let Some(first) = self.giver() else { return false };
        let serve = self.coming.iter().filter(|slot| slot.serves()).count();
        let have_memory = self.have_memory();
        let others = have_memory > 1 || serve > 0;
        // What has memory and does not serve yet may never do so.
        others && (routes::rank(first).is_none() || serve + have_memory >= self.target)
    }

    /// The one that would go for its memory. Nobody does while others leave.
    fn giver(&self) -> Option<&'a Slot> {
        self.going.iter().copied().filter(|_| !self.leaving).find(|slot| failure::has_memory(slot))
    }

    /// Those that have no memory and would ask for that which others lack. One that served, and is started again, is worth
    /// more than that where nothing serves.
    fn asking(&self) -> impl Iterator<Item = &'a Slot> {
        let any_serves = self.coming.iter().chain(&self.going).any(|slot| slot.serves());
        let in_vain = move |slot: &&Slot| {
            !failure::has_memory(slot) && (failure::lacks_memory(slot) || any_serves || !slot.ever_healthy)
        };
        self.going.iter().copied().filter(in_vain)
    }

    /// Those of a revision that was taken back that go for memory. What gets no requests goes for free, unless it served
    /// and is being started again.
    fn given_up(&self) -> Vec<&'a Slot> {
        if self.leaving {
            return Vec::new();
        }
        let returns = |slot: &Slot| {
            slot.ever_healthy && slot.fact.as_ref().is_none_or(|fact| fact.phase == Phase::Creating)
        };
        let is_free = |slot: &&Slot| routes::rank(slot).is_none() && !returns(slot);
        let giver = self.giver().filter(|slot| self.can_give_way() || is_free(slot));
        self.asking().chain(giver).collect()
    }

    /// So many of those that go have memory to give.
    pub(super) fn have_memory(&self) -> usize {
        self.going.iter().filter(|slot| failure::has_memory(slot)).count()
    }

    /// What could not be started for want of memory, to be wished anew when there is room.
    fn refused(&self) -> impl Iterator<Item = &'a Slot> {
        self.coming.iter().copied().filter(|slot| failure::lacks_memory(slot))
    }

    /// Whether some may still turn out to have their memory.
    fn begins(&self) -> bool {
        let begins = |slot: &Slot| slot.fact.as_ref().is_none_or(|fact| fact.phase == Phase::Creating);
        self.coming.iter().any(|slot| begins(slot))
    }

    /// What could not be started is taken back, and these go in advance.
    fn give_way(&self, changes: &mut Changes<'_>, goes: impl Iterator<Item = &'a Slot>, draw: &Draw) {
        // One that served once, and was to be started anew, may still have requests at some proxy.
        let ends = self.refused().chain(goes).map(|slot| slot.id.clone());
        changes.drain(ends, after(draw, limits::DRAIN_MS), draw);
        changes.both("There is not enough memory for one more instance: an old one stops first.");
        changes.reroute();
    }

    /// The next so many go.
    fn leave(&self, changes: &mut Changes<'_>, count: usize, draw: &Draw) {
        let until = after(draw, limits::DRAIN_MS);
        changes.drain(self.going.iter().take(count).map(|slot| slot.id.clone()), until, draw);
        changes.reroute();
    }

    /// Those that serve and are not routed yet.
    fn unrouted(&self) -> impl Iterator<Item = &'a Slot> {
        self.coming.iter().copied().filter(|slot| slot.wish == SlotWish::Run && slot.serves())
    }

    /// They are from now on.
    fn route(&self, changes: &mut Changes<'_>) {
        let unrouted = self.unrouted();
        changes.writes.extend(unrouted.map(|slot| Write::SlotWish(slot.id.clone(), SlotWish::Beside)));
    }
}

/// What is to become of the instances of a service between operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mending {
    /// What the service's row is to say of its load.
    pub wanted: Option<u32>,
    pub wishes: Vec<(InstanceId, SlotWish)>,
    /// Slots that are new.
    pub slots: Vec<Slot>,
    /// Lines for the service's event log.
    pub events: Vec<String>,
}

impl Mending {
    pub fn is_empty(&self) -> bool {
        self.wanted.is_none() && self.wishes.is_empty() && self.slots.is_empty()
    }

    /// Wishes those that are lacking. What drains and serves still is the first to be asked.
    fn start(
        &mut self,
        exchange: &Exchange<'_>,
        (service, active): (&Service, &Revision),
        need: u32,
        draw: &mut Draw,
    ) {
        let lacking = exchange.target.saturating_sub(exchange.coming.len());
        for slot in exchange.back.iter().take(lacking) {
            self.wishes.push((slot.id.clone(), SlotWish::Run));
            self.events.push(format!("Instance {} stays: it is needed again.", slot.id));
        }
        let count = lacking.saturating_sub(exchange.back.len());
        self.slots.extend((0..count).map(|_| deploy::slot(service, exchange.to, draw)));
        if count > 0 {
            let why = why(exchange.target, (service, active), need, draw);
            self.events.push(format!("Starting {} of revision {}: {why}.", instances(count), exchange.to));
        }
    }

    fn drain<'a>(&mut self, slots: impl IntoIterator<Item = &'a Slot>, draw: &Draw) {
        let wish = SlotWish::Drain { since: Some(draw.now), until: after(draw, limits::DRAIN_MS) };
        self.wishes.extend(slots.into_iter().map(|slot| (slot.id.clone(), wish)));
    }
}

/// Brings a service to the instances of its active revision, as many as its load needs: `scale` where that was just seen,
/// otherwise what the row remembers. With an operation open, which `step` tells, only further ones are wished, and only
/// while that has not begun to change instances itself.
///
/// What stayed of a revision that was taken back goes once enough others serve, or before that where they lack its memory,
/// unless nothing else would serve then. Writes nothing once all is as it is to be: only a change of the rows, or of the
/// load, brings more.
pub fn mend(
    service: &Service,
    active: &Revision,
    slots: &[Slot],
    step: Option<&Step>,
    scale: Option<u32>,
    draw: &mut Draw,
) -> Mending {
    let mut mending = Mending::default();
    if service.state != State::Running || service.active != Some(active.number) {
        return mending;
    }
    let need = scale.unwrap_or(service.wanted);
    let target = within(service, need, Some(active), draw);
    let grows = target > wanted(service, Some(active), draw);
    if step.is_some_and(|step| !step.leaves_instances_alone() || !grows) {
        return mending;
    }
    mending.wanted = scale.filter(|scale| *scale != service.wanted);
    let exchange = Exchange::new(slots, service.active, active.number, target);
    if step.is_some() {
        mending.start(&exchange, (service, active), need, draw);
        return mending;
    }
    let Exchange { to, target, coming, going, leaving, .. } = &exchange;
    let relieved = &going[..going.len().saturating_sub(exchange.lacking())];
    let surplus = &coming[..coming.len().saturating_sub(*target)];
    if !relieved.is_empty() || !surplus.is_empty() {
        let is_bounded = service.instances(&active.config.scaling, need, None)
            > service.instances(&active.config.scaling, need, draw.instances_max);
        let too_many = match is_bounded {
            true => "the operator's quota instances_per_service allows no more",
            false => "there are more than its load needs",
        };
        let why = ["others serve again in its place", too_many];
        for (slots, why) in [relieved, surplus].into_iter().zip(why) {
            let told =
                |slot: &&Slot| format!("Draining instance {} of revision {}: {why}.", slot.id, slot.revision);
            mending.events.extend(slots.iter().map(told));
            mending.drain(slots.iter().copied(), draw);
        }
    } else if exchange.refused().next().is_some()
        && !exchange.begins()
        && let goes = exchange.given_up()
        && !goes.is_empty()
    {
        let stay = coming.iter().chain(going).filter(|slot| !goes.iter().any(|goes| goes.id == slot.id));
        let serve = stay.filter(|slot| slot.serves()).count();
        mending.events.extend(goes.iter().map(|slot| {
            let (id, revision) = (&slot.id, slot.revision);
            match failure::has_memory(slot) {
                true => format!(
                    "There is not enough memory for another instance of revision {to}: instance {id} of revision \
                     {revision} stops first, and {serve} of {target} serve until the other one does."
                ),
                false => format!(
                    "Draining instance {id} of revision {revision}: it needs the memory that revision {to} lacks."
                ),
            }
        }));
        // The node tries those again that lack memory.
        mending.drain(goes, draw);
    } else if !leaving || exchange.refused().next().is_none() {
        // Where memory is lacking those that leave may have it.
        mending.start(&exchange, (service, active), need, draw);
    }
    mending
}

/// Why a service is to have so many instances, whose load needs `need`.
fn why(target: usize, (service, active): (&Service, &Revision), need: u32, draw: &Draw) -> String {
    let of = |need| within(service, need, Some(active), draw);
    if target <= of(0) {
        return format!("its minimum is {target}");
    }
    let by_clock = extension::scale(&service.tags).least;
    match by_clock.and_then(|schedule| schedule.answer(draw.wall).least) {
        Some(least) if target <= of(least) => format!("apron:min-size-schedule asks for {least}"),
        Some(_) | None => format!("its load needs {need}"),
    }
}

/// So many instances a revision is to have between operations, and when instances changed places one by one: what the load
/// of its service needs, as far as its configuration and the operator allow.
pub(super) fn wanted(service: &Service, revision: Option<&Revision>, draw: &Draw) -> usize {
    within(service, service.wanted, revision, draw)
}

/// The same where the load needs so many.
pub(super) fn within(service: &Service, need: u32, revision: Option<&Revision>, draw: &Draw) -> usize {
    let quota = draw.instances_max;
    let count = revision.map_or(1, |revision| service.instances(&revision.config.scaling, need, quota));
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// What of its load a deployment has to take over: beyond MinSize no more than instances that there is memory for. What
/// the load would like to have beside them is no condition, and comes when there is room.
pub(super) fn taken_over(service: &Service, slots: &[Slot]) -> u32 {
    let runs = |slot: &&Slot| slot.wish.runs() && Some(slot.revision) == service.active;
    let there = slots.iter().filter(runs).filter(|slot| failure::has_memory(slot)).count();
    service.wanted.min(u32::try_from(there).unwrap_or(u32::MAX))
}

/// Whether a deployment of this revision is to replace instances one by one: there are some, and the tag says so.
pub(super) fn is_asked(view: &View, number: RevisionNumber) -> bool {
    // Tags are checked when they are set.
    let asked = extension::read(&view.service.tags).is_ok_and(|tags| tags.rolling);
    asked && view.service.active != Some(number) && view.running(view.service.active).next().is_some()
}

/// Whether some instances of the old revision have gone for the sake of new ones.
pub(super) fn has_begun(view: &View, old: RevisionNumber, draw: &Draw) -> bool {
    view.running(Some(old)).count() < wanted(&view.service, view.revision(Some(old)), draw)
}

/// Whether one by one there may be room where for a whole second set there is none.
pub(super) fn may_help(view: &View, draw: &Draw) -> bool {
    let Some(number) = view.service.candidate.filter(|number| view.service.active != Some(*number)) else {
        return false;
    };
    match Exchange::of(view, number, draw).have_memory() {
        0 => false,
        1 => wanted(&view.service, view.revision(Some(number)), draw) > 1,
        2.. => true,
    }
}

/// Goes on one by one, with those of the candidate that serve already.
pub(super) fn instead(view: &View, fault: &Fault, draw: &Draw) -> Advance {
    let mut changes = Changes::new(view, draw);
    let reason = fault.reason.trim_end_matches('.');
    changes.both(&format!("An instance cannot be started: {reason}. Instances are now replaced one by one."));
    changes.service.wanted = taken_over(&view.service, &view.slots);
    // Proxies may know the others.
    let idle =
        view.running(view.service.candidate).filter(|slot| slot.wish == SlotWish::Run && !slot.serves());
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
        return undo::fail(view, Fault::permanent("The row of the service names no new revision."), draw);
    };
    let exchange = Exchange::of(view, to, draw);
    let verdict = failure::judge(view, Some(to), draw);
    match &verdict {
        Verdict::Healthy => return next(view, &exchange, deadline, draw),
        Verdict::Hindered { fault, .. } if fault.lacks_memory() && exchange.can_give_way() => {
            let mut changes = Changes::new(view, draw);
            // Whoever stands in for the one that goes must be known to proxies by then.
            exchange.route(&mut changes);
            exchange.give_way(&mut changes, exchange.asking().chain(exchange.giver()), draw);
            let deadline = after(draw, limits::REMOVE_MS_MAX);
            return changes.step(Step::Rolling { deadline, hindered: None }, deadline);
        }
        // It stands in for others that do not serve yet, or no more.
        Verdict::Wait { .. } | Verdict::Hindered { .. } if exchange.unrouted().next().is_some() => {
            let mut changes = Changes::new(view, draw);
            exchange.route(&mut changes);
            changes.reroute();
            return changes.step(Step::Rolling { deadline, hindered }, deadline);
        }
        // What goes makes room.
        Verdict::Hindered { fault, .. }
            if fault.lacks_memory() && exchange.leaving && draw.now < deadline =>
        {
            return Advance::wait(deadline);
        }
        Verdict::Wait { .. } => {
            if let Some(fault) = failure::broken(view) {
                return undo::fail(view, fault, draw);
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
    let unrouted = exchange.unrouted().next().is_some();
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
            SlotWish::Run if was_routed || slot.serves() => SlotWish::Beside,
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
    let Some(to) = view.service.active else { return undo::restore_routes(Changes::new(view, draw), draw) };
    let exchange = Exchange::of(view, to, draw);
    let missing = exchange.target.saturating_sub(exchange.coming.len());
    let verdict = failure::judge(view, Some(to), draw);
    let come = matches!(verdict, Verdict::Healthy);
    let mut changes = Changes::new(view, draw);
    if let Some(next) = view.queued.first().filter(|next| removes(next.kind)) {
        // What comes back would be stopped at once.
        return undo::overtaken(changes, to, next.kind, draw);
    }
    let given_up = match &verdict {
        Verdict::Failed(fault) => Some(fault.reason.clone()),
        Verdict::Hindered { fault, .. } if draw.now >= deadline => Some(fault.reason.clone()),
        Verdict::Wait { .. } if draw.now >= deadline => Some(failure::too_late(view, Some(to)).reason),
        Verdict::Healthy if draw.now >= deadline => Some(String::new()),
        Verdict::Healthy | Verdict::Wait { .. } | Verdict::Hindered { .. } => None,
    };
    if given_up.is_some() || (come && missing == 0) {
        let stay = exchange.still_needed();
        if let Some(why) = given_up {
            let beside =
                if stay == 0 { String::new() } else { format!(" {} stay beside them.", instances(stay)) };
            let warning =
                format!("Warning: not every instance of revision {to} serves again yet.{beside} {why}");
            changes.both(warning.trim_end());
        }
        for _ in 0..missing {
            changes.writes.push(deploy::new_slot(view, to, draw));
        }
        exchange.leave(&mut changes, exchange.going.len() - stay, draw);
        return undo::restore_routes(changes, draw);
    }
    if come && exchange.surplus() > 0 {
        exchange.leave(&mut changes, exchange.surplus(), draw);
    } else if come && !exchange.leaving {
        changes.writes.push(deploy::new_slot(view, to, draw));
    } else if exchange.refused().next().is_some()
        && let goes = exchange.given_up()
        && !goes.is_empty()
    {
        exchange.give_way(&mut changes, goes.into_iter(), draw);
    } else {
        return deploy::look_again(&verdict, deadline, draw);
    }
    changes.step(Step::Returning { deadline }, deadline)
}

fn removes(kind: OperationKind) -> bool {
    matches!(kind, OperationKind::PauseService | OperationKind::DeleteService)
}
