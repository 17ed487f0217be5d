//! Its place on the ladder; and how it comes to sleep without a process, and wakes from that.

use super::birth::{self, Unended};
use super::state::{Adopted, Event, State};
use super::{BACKOFF_MS_MIN, Instance, STABLE, send};
use crate::local::container::cgroup::Limits;
use crate::local::ladder::{Enrolment, Place};
use apron_model::idle::Rung;
use apron_model::instance::{Fault, Health, Observed, Phase};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// For an application that is being stopped when it is asked for again.
const LATE_GRACE: Duration = Duration::from_secs(1);
/// Before what a container left is taken away again, where that failed. Short: somebody may ask for the instance.
const REST_PAUSE: Duration = Duration::from_secs(1);
/// One that was started for a request is hidden no longer than this: it may never be healthy. Slow starters are, within a
/// minute.
const RISE_MAX: Duration = Duration::from_secs(60);
/// What is not healthy by then, beyond its grace, may never be.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

impl Instance {
    pub(super) fn enrol(&mut self, healthy: bool, is_new: bool) {
        self.place = Some(self.machine.ladder.enrol(self.enrolment(is_new), healthy));
    }

    fn enrolment(&self, is_new: bool) -> Enrolment {
        let spec = &self.wanted.spec;
        Enrolment {
            id: spec.id.clone(),
            address: SocketAddr::from((self.wanted.address, spec.port)),
            cgroup: self.machine.instance_cgroup(spec.id.as_str()),
            // Of one that was found running it is not known; it is given its size next.
            limits: Limits::of(self.size.unwrap_or(spec.size)),
            policy: spec.idle,
            service: spec.service.clone(),
            is_new,
            boost: spec.startup_boost,
            orders: self.orders_to.clone(),
        }
    }

    pub(super) fn off_the_ladder(&mut self) {
        if let Some(place) = self.place.take() {
            place.leave();
        }
    }

    /// A start from zero has failed, if it was one: whoever waits for it is told. It sleeps again after a while.
    pub(super) fn does_not_rise(&mut self) -> bool {
        let Some(place) = self.place.as_ref().filter(|place| self.rises || place.is_at_zero()) else {
            return false;
        };
        place.failed();
        self.rises = false;
        self.wanted.asleep = false;
        self.show_stages();
        true
    }

    /// The ladder has thawed it, and lets nobody ask it any more.
    pub(super) async fn sleep(&mut self) {
        let State::Running { alive, since } = &self.state else { return };
        let (alive, is_stable) = (alive.clone(), since.elapsed() >= STABLE);
        // Since that was said it may have come up again.
        if self.wanted.removing.is_some() || !self.place.as_ref().is_some_and(Place::is_at_zero) {
            return;
        }
        tracing::info!(instance = %self.wanted.spec.id, "has nothing to do, and sleeps without a process");
        if is_stable {
            self.backoff_ms = BACKOFF_MS_MIN;
        }
        self.rises = false;
        let starting = Health::Starting { hint: None };
        let next = self.wanted.with_health(&starting, &self.waterfall);
        let mut next = next.unwrap_or_else(|| self.wanted.clone());
        next.asleep = true;
        self.keep_if_possible(next).await;
        self.terminate(alive, self.wanted.spec.stop_grace_ms);
    }

    pub(super) async fn wake(&mut self) {
        match self.state {
            State::Asleep => {
                self.rises = true;
                self.start(Instant::now());
                // While it starts. A node that finds this undone takes it for one that was being stopped.
                self.keep_asleep(false).await;
            }
            // It cannot be called back any more: it is started as soon as it has ended, which it is not given long for. It
            // had nothing to do.
            State::Stopping { .. } if self.wanted.removing.is_none() && !self.rises => {
                self.rises = true;
                self.work(async move |events| {
                    sleep(LATE_GRACE).await;
                    send(&events, Event::Due).await;
                });
            }
            State::Clearing => self.rises = self.wanted.removing.is_none(),
            State::Starting { .. }
            | State::Running { .. }
            | State::Waiting
            | State::Failed
            | State::Stopping { .. }
            | State::Gone => {}
        }
    }

    /// What a node finds of one that was to sleep, or slept, when the node before it ended.
    pub(super) fn sleeps(&mut self, found: Adopted) {
        self.place = Some(self.machine.ladder.enrol_asleep(self.enrolment(false)));
        let waterfall = self.waterfall;
        self.show(|shown| shown.waterfall = waterfall);
        self.is_as_good_as_running();
        match found {
            Adopted::Alive(alive) => {
                // It heard its signal, most likely; the time that it has begins anew.
                let cgroup = self.machine.instance_cgroup(self.wanted.spec.id.as_str());
                if let Err(error) = self.machine.cgroups.thaw(&cgroup) {
                    tracing::warn!(instance = %self.wanted.spec.id, %error, "cannot be thawed to be stopped");
                }
                self.terminate(Arc::new(*alive), self.wanted.spec.stop_grace_ms);
            }
            Adopted::Exited(_) | Adopted::Nothing => self.rest(Duration::ZERO),
        }
    }

    /// Whether the wait after a start in vain ends with sleep: it was started for a request, and is not worth a process for
    /// anything else.
    pub(super) fn falls_asleep(&self) -> bool {
        let rests = self.wanted.spec.idle.lowest == Rung::Zero;
        rests && self.place.as_ref().is_some_and(Place::is_at_zero)
    }

    pub(super) async fn fall_asleep(&mut self) {
        self.keep_asleep(true).await;
        self.rest(Duration::ZERO);
    }

    /// How long it may take until it is healthy, of one that was started for a request: until others learn that it is not, and
    /// until it is given up.
    pub(super) fn patience(&self) -> [Duration; 2] {
        let grace = Duration::from_millis(self.wanted.spec.health_grace_ms);
        [RISE_MAX.max(grace), GIVE_UP_AFTER + grace]
    }

    /// For others: the next request finds it.
    fn is_as_good_as_running(&self) {
        let seen = |shown: &Observed| (shown.phase == Phase::Running, shown.health == Health::Healthy);
        if seen(&self.shown.lock().unwrap_or_else(PoisonError::into_inner)) == (true, true) {
            return;
        }
        self.show(|shown| {
            if let Phase::Exited(exit) = std::mem::replace(&mut shown.phase, Phase::Running) {
                shown.last_exit = Some(exit);
            }
            shown.health = Health::Healthy;
        });
    }

    /// It was started for a request, and has no verdict so far. Who waits goes on with that for as long as it may.
    pub(super) async fn is_late(&mut self) {
        let State::Running { alive, since } = &self.state else { return };
        let (alive, [_, given_up]) = (alive.clone(), self.patience());
        if since.elapsed() >= given_up && self.falls_asleep() {
            tracing::warn!(instance = %self.wanted.spec.id, "was started for a request, is not healthy and is given up");
            self.does_not_rise();
            self.keep_asleep(true).await;
            self.terminate(alive, self.wanted.spec.stop_grace_ms);
        } else if self.rises {
            self.rises = false;
            self.show_stages();
            let hint = Some("it was started for a request, and is not healthy yet".to_owned());
            self.show(|shown| shown.health = Health::Starting { hint });
        }
    }

    /// Its first answer since its start has begun. That is kept before it is shown: what is seen stays so with the next
    /// node. Of one that goes down to zero it is kept when it does: many may be started at once.
    pub(super) async fn answered(&mut self, at: Instant) {
        if self.waterfall.healthy_ms.is_none() || self.waterfall.first_byte_ms.is_some() {
            return;
        }
        let elapsed = u32::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u32::MAX);
        self.waterfall.first_byte_ms = Some(elapsed);
        let mut next = self.wanted.clone();
        next.waterfall = Some(self.waterfall);
        if next.spec.idle.lowest == Rung::Zero {
            self.wanted = next;
        } else {
            self.keep_if_possible(next).await;
        }
        self.show_stages();
    }

    async fn keep_asleep(&mut self, asleep: bool) {
        let mut next = self.wanted.clone();
        next.asleep = asleep;
        self.keep_if_possible(next).await;
    }

    /// Takes away what the container leaves, but for its output, its id and its address.
    pub(super) fn rest(&mut self, after: Duration) {
        self.enter(State::Clearing);
        let (machine, id) = (self.machine.clone(), self.wanted.spec.id.to_string());
        let pair = self.pair.take();
        self.work(async move |events| {
            sleep(after).await;
            send(&events, Event::Rested(birth::rest(&machine, &id, pair).await)).await;
        });
    }

    pub(super) async fn rested(&mut self) {
        self.size = None;
        if self.wanted.removing.is_some() {
            return self.clear(Duration::ZERO);
        }
        if !self.wanted.asleep {
            // Somebody has waited for it in vain.
            return self.start(Instant::now());
        }
        self.enter(State::Asleep);
        self.is_as_good_as_running();
        self.place.iter().for_each(Place::rests);
        if self.rises {
            self.wake().await;
        }
    }

    pub(super) fn not_rested(&mut self, Unended { pair, reason }: Unended) {
        self.pair = pair;
        tracing::warn!(instance = %self.wanted.spec.id, reason, "cannot be cleared yet");
        if self.wanted.removing.is_some() {
            return self.clear(REST_PAUSE);
        }
        if self.rises {
            self.does_not_rise();
            let fault = Fault::transient(reason).bounded();
            self.show(|shown| shown.phase = Phase::Failed(fault));
        }
        self.rest(REST_PAUSE);
    }
}
