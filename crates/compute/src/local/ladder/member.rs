//! One instance on the ladder: what is known of it, and each step up and down.

mod cpu;
mod told;

use super::clients::Clients;
use super::{AGAIN_AFTER, Enrolment, LOOK, LOOK_ASLEEP, LOOK_USED};
use crate::local::container::cgroup::{CgroupError, Cgroups, Limits};
use crate::local::instance::state::Order;
use crate::local::meter::boot_ms;
use apron_activity::channel::{FromNode, NOT_REACHED, Stages};
use apron_activity::{Wakefulness, Watched, Watcher, key};
use apron_model::idle::{self, Awake, Idleness, Rung};
use apron_model::instance::{Health, Waterfall};
use apron_model::meter::Use;
use apron_model::time::Timestamp;
use cpu::Cpu;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Loops close their connections within a turn. One that takes longer is too busy for anybody to be put to sleep.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);

pub(super) struct Member {
    pub(super) key: u64,
    pub(super) enrolment: Enrolment,
    pub(super) look_at: Instant,
    pub(super) is_awake: watch::Sender<bool>,
    rung: Rung,
    /// Since when it is healthy, by the machine's clock.
    healthy_at_ms: Option<u64>,
    /// Until its memory has been given back.
    frozen_at: Option<Instant>,
    /// Nothing has kept it awake since then, or a little later.
    since: Instant,
    looked_at: Instant,
    /// None: there was no room for it, or somebody had the lock. Who counts there cannot be seen.
    cell: Option<Watched>,
    closing: Option<Closing>,
    /// Loops that wait for it to be started.
    waiting: BTreeSet<u64>,
    /// Its start was in vain, and is not asked for again: its task tries it by itself.
    failed: bool,
    /// At zero: there is a process again, which is not healthy yet.
    started: bool,
    /// What CPU it has. None: not known, of one that was found running.
    cpu: Option<Cpu>,
    /// Until then it may be starting.
    boosted_until: Instant,
    /// Its CPU could not be set, and is tried again then.
    cpu_again_at: Instant,
    /// Nothing has been said of its health since its start.
    starts: bool,
    /// What keeps it awake, by the last look.
    awake: Option<Awake>,
    /// It had something to do since its use was last noted.
    used: bool,
    /// This node has started it, and it has not been healthy since.
    is_new: bool,
    /// How its start went, for those who wait for it.
    stages: Option<Stages>,
    /// Since its start nobody has said that it answers.
    awaits_answer: bool,
    /// How its use was noted last, at which size. None: not by this node.
    noted: Option<(Use, Limits)>,
}

/// What came of a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    Now,
    /// It is being started.
    Later,
    Not,
}

/// Whether it has anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Busy {
    No,
    /// It had, and that is over.
    Touched,
    Now,
}

/// Loops that were asked to close their connections, before it is frozen.
struct Closing {
    left: BTreeSet<u64>,
    until: Instant,
}

impl Member {
    /// On which rung a running instance is, by what the kernel says.
    pub(super) fn found(enrolment: &Enrolment, cgroups: &Cgroups) -> Rung {
        if cgroups.is_freezing(&enrolment.cgroup) {
            Rung::Frozen
        } else if cgroups.is_throttled(&enrolment.cgroup, &enrolment.limits) {
            Rung::Throttled
        } else {
            Rung::Active
        }
    }

    pub(super) fn new(enrolment: Enrolment, healthy: bool, rung: Rung) -> Member {
        let now = Instant::now();
        Member {
            key: key(&enrolment.id, enrolment.address),
            is_new: enrolment.is_new,
            enrolment,
            starts: !healthy,
            look_at: now,
            is_awake: watch::Sender::new(rung == Rung::Active),
            rung,
            healthy_at_ms: healthy.then(boot_ms),
            frozen_at: (rung == Rung::Frozen).then_some(now),
            since: now,
            looked_at: now,
            cell: None,
            closing: None,
            waiting: BTreeSet::new(),
            failed: false,
            started: false,
            cpu: match rung {
                Rung::Throttled => Some(Cpu::Cut),
                Rung::Frozen => Some(Cpu::Whole),
                Rung::Active | Rung::Zero => None,
            },
            boosted_until: now,
            cpu_again_at: now,
            awake: None,
            used: false,
            stages: None,
            awaits_answer: false,
            noted: None,
        }
    }

    /// Whether its memory is to be given back: once, when it has been frozen for a while.
    pub(super) fn gives_memory_back(&mut self, now: Instant) -> bool {
        let gives = idle::gives_memory_back(self.frozen_at.map(|at| now.saturating_duration_since(at)));
        if gives {
            self.frozen_at = None;
        }
        gives
    }

    /// Looks for its cell in the memory in which proxies count.
    pub(super) fn follow(&mut self, memory: &Watcher) {
        self.cell = memory.watch(self.key);
        self.say(wakefulness(self.rung));
        if self.awaits_answer {
            self.cell.iter().for_each(Watched::await_answer);
        }
    }

    /// Sees whether it has anything to do, and takes a step where it is time for one.
    pub(super) fn look(
        &mut self,
        cgroups: &Cgroups,
        memory: Option<&Watcher>,
        clients: &mut Clients,
        now: Instant,
    ) {
        self.answer(clients);
        if let (None, Some(memory)) = (&self.cell, memory) {
            self.follow(memory);
        }
        self.heed_cpu(cgroups, now);
        let before = std::mem::replace(&mut self.looked_at, now);
        let busy = self.is_busy();
        let is_used = busy != Busy::No || self.starts;
        self.used |= is_used;
        self.awake = self.why_awake(busy, self.is_unseen() || clients.any_elsewhere());
        self.look_at = now + pause(self.rung, self.awake, is_used);
        if let Some(awake) = self.awake {
            let looks_often = now - before < 2 * LOOK;
            let is_over = awake == Awake::Requests && busy == Busy::Touched && looks_often;
            let since = self.since;
            self.wake(cgroups, now);
            // A request that has come and gone since the last look did so after that, and after it woke the instance.
            self.since = if is_over { before.max(since) } else { now };
            return;
        }
        if clients.none_yet(now) {
            // It stays where it is: who needs it will say so.
            self.since = now;
            return;
        }
        // Its quiet time is what `model::idle` counts in: it began at zero.
        let began = self.since;
        let quiet = now.saturating_duration_since(began).as_millis() as u64;
        let seen =
            Idleness { rung: self.rung, awake: None, since: Timestamp(0), has_tunnels: self.tunnels() > 0 };
        let decision = idle::decide(&self.enrolment.policy, &seen, Timestamp(quiet));
        if let Some(at) = decision.look_at {
            self.look_at = self.look_at.min(began + Duration::from_millis(at.0));
        }
        // What is below is reached by the rungs above it.
        match (self.rung, decision.rung) {
            (Rung::Active, Rung::Throttled | Rung::Frozen | Rung::Zero) => self.throttle(cgroups, now),
            (Rung::Throttled, Rung::Frozen | Rung::Zero) => self.close_then_freeze(cgroups, clients, now),
            (Rung::Frozen, Rung::Zero) => self.stop(cgroups, now),
            (from, to) if to < from => {
                self.wake(cgroups, now);
            }
            (Rung::Active | Rung::Throttled | Rung::Frozen | Rung::Zero, _) => {}
        }
    }

    fn why_awake(&self, busy: Busy, unknown: bool) -> Option<Awake> {
        if self.enrolment.policy.lowest == Rung::Active {
            Some(Awake::Wanted)
        } else if !self.is_healthy() {
            Some(Awake::Starting)
        } else if busy != Busy::No {
            Some(Awake::Requests)
        } else {
            unknown.then_some(Awake::UnknownProxy)
        }
    }

    /// Its counts are not seen, for now. Nobody starts a process for that: who needs it says so.
    fn is_unseen(&self) -> bool {
        self.cell.is_none() && self.rung != Rung::Zero
    }

    fn is_busy(&self) -> Busy {
        let Some(cell) = &self.cell else { return Busy::No };
        // Its touch is taken also from one that is busy, or that would be found a second time.
        // Who waits in line touches those that it needs of those that sleep.
        let busy = cell.is_busy() || self.rung < Rung::Frozen && cell.is_waited_for();
        match (cell.take_touched(), busy) {
            (_, true) => Busy::Now,
            (true, false) => Busy::Touched,
            (false, false) => Busy::No,
        }
    }

    fn tunnels(&self) -> u32 {
        self.cell.as_ref().map_or(0, Watched::tunnels)
    }

    fn say(&self, wakefulness: Wakefulness) {
        self.cell.iter().for_each(|cell| cell.say(wakefulness));
    }

    fn throttle(&mut self, cgroups: &Cgroups, now: Instant) {
        self.say(Wakefulness::Throttled);
        if self.is_busy() != Busy::No {
            return self.stays(now);
        }
        if let Err(error) = self.give(Cpu::Cut, cgroups) {
            return self.not_done("throttled", &error, now);
        }
        self.cpu = Some(Cpu::Cut);
        self.rung = Rung::Throttled;
        // A further rung may be due already.
        self.look_at = now;
        self.is_awake.send_replace(false);
    }

    fn close_then_freeze(&mut self, cgroups: &Cgroups, clients: &mut Clients, now: Instant) {
        let closing = self.closing.get_or_insert_with(|| {
            let left: BTreeSet<u64> = clients.known().collect();
            left.iter().for_each(|client| clients.say(*client, FromNode::Close(self.key)));
            Closing { left, until: now + CLOSE_WAIT_MAX }
        });
        closing.left.retain(|client| clients.is_there(*client));
        let (all, late) = (closing.left.is_empty(), closing.until <= now);
        self.look_at = closing.until;
        if all {
            self.closing = None;
            self.freeze(cgroups, now);
        } else if late {
            self.closing = None;
            self.look_at = now + AGAIN_AFTER;
        }
    }

    /// A loop keeps no connection to it any more.
    pub(super) fn closed(&mut self, client: u64, now: Instant) {
        if let Some(closing) = &mut self.closing {
            closing.left.remove(&client);
            if closing.left.is_empty() {
                self.look_at = now;
            }
        }
    }

    fn freeze(&mut self, cgroups: &Cgroups, now: Instant) {
        self.say(Wakefulness::Asleep);
        if self.is_busy() != Busy::No {
            self.wake(cgroups, now);
            return;
        }
        // From here on it has to be thawed, whatever came of it.
        self.rung = Rung::Frozen;
        self.look_at = now + LOOK_ASLEEP;
        // With its whole CPU: what waits for the next period of a quota cannot go to sleep before that. Nor does the wake
        // have to lift it then.
        let frozen = cgroups.freeze(&self.enrolment.cgroup);
        if let Err(error) = frozen.and_then(|()| self.give(Cpu::Whole, cgroups)) {
            self.wake(cgroups, now);
            self.not_done("frozen", &error, now);
            return;
        }
        self.cpu = Some(Cpu::Whole);
        self.frozen_at = Some(now);
    }

    /// It is asleep for proxies already; now its process ends.
    fn stop(&mut self, cgroups: &Cgroups, now: Instant) {
        if self.is_busy() != Busy::No {
            self.wake(cgroups, now);
            return;
        }
        // Who is frozen hears no signal.
        if let Err(error) = self.lift_to_end(cgroups) {
            return self.not_done("stopped", &error, now);
        }
        match self.enrolment.orders.try_send(Order::Sleep) {
            Ok(()) => {
                (self.rung, self.started) = (Rung::Zero, false);
                self.frozen_at = None;
            }
            // Its task has much to do: some other time.
            Err(_) => self.is_up(now),
        }
    }

    /// There was something to do while it was being put to sleep.
    fn stays(&mut self, now: Instant) {
        self.say(wakefulness(self.rung));
        self.since = now;
        self.look_at = now + LOOK;
    }

    fn not_done(&mut self, what: &str, error: &CgroupError, now: Instant) {
        tracing::warn!(instance = %self.enrolment.id, %error, "cannot be {what}");
        self.stays(now);
        self.look_at = now + AGAIN_AFTER;
    }

    /// Brings it to the top, or has its task start it.
    pub(super) fn wake(&mut self, cgroups: &Cgroups, now: Instant) -> Woken {
        self.closing = None;
        match self.rung {
            Rung::Active => return Woken::Now,
            Rung::Zero if self.failed => return Woken::Not,
            Rung::Zero => {
                // One order is enough; a task that does not take it is asked again with the next look.
                let _ = self.enrolment.orders.try_send(Order::Wake);
                return Woken::Later;
            }
            Rung::Throttled | Rung::Frozen => {}
        }
        if let Err(error) = self.lift(cgroups) {
            tracing::error!(instance = %self.enrolment.id, %error, "cannot be woken");
            return Woken::Not;
        }
        self.is_up(now);
        Woken::Now
    }

    fn is_up(&mut self, now: Instant) {
        self.rung = Rung::Active;
        self.failed = false;
        self.frozen_at = None;
        self.since = now;
        self.look_at = now + LOOK;
        self.say(Wakefulness::Awake);
        self.is_awake.send_replace(true);
    }

    /// This loop hears of it when it is started.
    pub(super) fn waits(&mut self, client: u64) {
        self.waiting.insert(client);
    }

    pub(super) fn take_waiting(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn hears(&mut self, health: &Health, waterfall: &Waterfall) {
        let has_verdict = !matches!(health, Health::Starting { .. });
        self.starts &= !has_verdict;
        if self.rung != Rung::Zero {
            self.set_healthy(*health == Health::Healthy);
        } else if self.started && has_verdict {
            // Well or not, it is as any other that has just been started: others decide who gets requests.
            self.healthy_at_ms = None;
            self.set_healthy(*health == Health::Healthy);
            self.started = false;
            self.stages = Some(stages(waterfall));
            let now = Instant::now();
            self.is_up(now);
            // For those who wait.
            self.look_at = now;
        } else {
            // What was said of a process that is being stopped says nothing of the next one.
            return;
        }
        if self.is_healthy() && std::mem::take(&mut self.is_new) {
            self.stages = Some(stages(waterfall));
            self.awaits_answer = true;
            self.cell.iter().for_each(Watched::await_answer);
            // It may be asked as soon as others know that it is healthy, and they are to know this before.
            self.look_at = Instant::now();
        }
    }

    fn is_healthy(&self) -> bool {
        self.healthy_at_ms.is_some()
    }

    fn set_healthy(&mut self, healthy: bool) {
        self.healthy_at_ms = if healthy { Some(self.healthy_at_ms.unwrap_or_else(boot_ms)) } else { None };
    }

    /// A proxy has the beginning of an answer. Whoever says so again says nothing new.
    pub(super) fn answered(&mut self, now: Instant) {
        if std::mem::take(&mut self.awaits_answer) {
            // For its waterfall: where its task has much to do, that goes without.
            let _ = self.enrolment.orders.try_send(Order::Answered(now));
        }
    }

    pub(super) fn is_awake_for_proxies(&self) -> bool {
        self.rung == Rung::Active
    }

    pub(super) fn ended(&mut self) {
        (self.started, self.starts) = (false, false);
    }

    pub(super) fn is_at_zero(&self) -> bool {
        self.rung == Rung::Zero
    }

    /// Its checks may run, before it is awake for others.
    pub(super) fn started(&mut self, limits: Limits) {
        self.enrolment.limits = limits;
        self.started = self.rung == Rung::Zero;
        (self.starts, self.is_new) = (true, true);
        self.is_boosted();
        self.used = true;
        self.is_awake.send_replace(true);
    }

    pub(super) fn start_failed(&mut self) {
        self.failed = true;
        self.look_at = Instant::now();
    }

    /// It sleeps again, and may be asked for.
    pub(super) fn rests(&mut self) {
        self.failed = false;
        self.ended();
    }

    /// Tells those who wait what came of it.
    fn answer(&mut self, clients: &mut Clients) {
        let what = match (self.rung, self.failed) {
            (Rung::Zero, false) => return,
            (Rung::Zero, true) => FromNode::NotWoken(self.key),
            (Rung::Active | Rung::Throttled | Rung::Frozen, _) => FromNode::Awake(self.key),
        };
        let waiting = self.take_waiting();
        if let Some(stages) = self.stages.take() {
            // For one that is new nobody waits by its name: any loop may have requests in the line of its service.
            let all: Vec<u64> = if waiting.is_empty() {
                clients.known().collect()
            } else {
                waiting.iter().copied().collect()
            };
            all.into_iter().for_each(|client| clients.say(client, FromNode::Started(self.key, stages)));
        }
        waiting.into_iter().for_each(|client| clients.say(client, what));
    }

    /// It is not the ladder's any more, and awake.
    pub(super) fn leave(&mut self, cgroups: &Cgroups) {
        // Of a container that has ended there may be nothing left to be woken.
        if let Err(error) = self.lift_to_end(cgroups) {
            tracing::debug!(instance = %self.enrolment.id, %error, "was not woken at its end");
        }
        self.rung = Rung::Active;
        self.say(Wakefulness::Awake);
    }
}

/// Between two looks.
fn pause(rung: Rung, awake: Option<Awake>, is_used: bool) -> Duration {
    let may_sleep = rung == Rung::Active && awake != Some(Awake::Wanted);
    match (may_sleep, is_used) {
        (true, _) => LOOK,
        (false, true) => LOOK_USED,
        (false, false) => LOOK_ASLEEP,
    }
}

fn stages(waterfall: &Waterfall) -> Stages {
    let Waterfall { queued_ms, namespace_ms, mount_ms, exec_ms, listening_ms, healthy_ms, first_byte_ms: _ } =
        *waterfall;
    [queued_ms, namespace_ms, mount_ms, exec_ms, listening_ms, healthy_ms]
        .map(|ms| ms.map_or(NOT_REACHED, |ms| u16::try_from(ms).unwrap_or(NOT_REACHED).min(NOT_REACHED - 1)))
}

fn wakefulness(rung: Rung) -> Wakefulness {
    match rung {
        Rung::Active => Wakefulness::Awake,
        Rung::Throttled => Wakefulness::Throttled,
        Rung::Frozen | Rung::Zero => Wakefulness::Asleep,
    }
}

#[cfg(test)]
mod tests;
