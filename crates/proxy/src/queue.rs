//! The line of requests of one service that wait for a place at an instance: one for all loops, first in, first out.
//!
//! Who is in line is answered once: with a place that is counted already, or with why there will be none. A place
//! that a request leaves is handed to the head of the line as it is, counted, so nobody else can take it in
//! between; and while somebody is in line, newcomers go to its end instead of looking for a place.
//!
//! # Nobody is forgotten
//!
//! A waiter first enters the line, which makes `waiting` more than 0, and then looks for a free place for the head
//! (`enter`). Who frees a place first frees it and then looks at `waiting` (`give_back`). Both numbers are read and
//! written in one order that all threads agree on (`SeqCst`). So either the waiter sees the place, or the other one
//! sees the waiter, and whoever sees both joins them under the lock. The same holds for a new table: it is put under
//! the lock first, and then its places are given out. What frees a place by the mere passing of time, or in another
//! process, is found by `admission::watch`.

use crate::balance::{self, Instance};
use crate::ejection::{Standing, Trial, now_ms};
use crate::reply::Cause;
use crate::route::Service;
use apron_model::ids::ServiceId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Notify, oneshot};

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Final(Cause),
    /// The newest table does not have the service.
    Gone,
}

type Answer = Result<Slot, Refusal>;

pub(crate) struct Queue {
    /// As many as there are in `line`; changed under its lock only.
    waiting: AtomicU32,
    line: Mutex<Line>,
    /// Other processes were told that somebody waits here.
    marked: AtomicBool,
    service: ServiceId,
    bell: Arc<Bell>,
}

/// Rings when somebody is the first in a line of any service.
#[derive(Default)]
pub(crate) struct Bell {
    /// In whose lines, until somebody hears of it.
    services: Mutex<BTreeSet<ServiceId>>,
    rings: Notify,
}

impl Bell {
    fn ring(&self, service: &ServiceId) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.insert(service.clone()) {
            self.rings.notify_one();
        }
    }

    /// Waits until a line forms; has one listener.
    pub(crate) async fn heard(&self) {
        self.rings.notified().await;
    }

    pub(crate) fn services(&self) -> BTreeSet<ServiceId> {
        std::mem::take(&mut self.services.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    /// Of those who come to the back, from 0 upwards, and of those who come to the front, from there downwards.
    number_next: i64,
    number_front: i64,
    /// As the newest table has it, which loops may not have yet.
    service: Weak<Service>,
}

struct Waiter {
    /// Grows along the line, and is nobody else's.
    number: i64,
    answer: oneshot::Sender<Answer>,
}

/// Where a request comes into the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It had a place, at an instance that turned out not to be there: it was before all others, and is not turned away.
    Front,
    Back,
}

impl Queue {
    pub(crate) fn new(service: ServiceId, bell: Arc<Bell>) -> Queue {
        let (waiting, line, marked) = Default::default();
        Queue { waiting, line, marked, service, bell }
    }

    /// One load, in the way of every request.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// `entered` is called in time for whoever sees that somebody waits, and not where there is a refusal.
    pub(crate) fn enter(self: &Arc<Queue>, end: End, entered: impl FnOnce()) -> Result<Place, Refusal> {
        let (sender, answer) = oneshot::channel();
        let mut line = self.lock();
        let service = line.service.upgrade().ok_or(Refusal::Gone)?;
        if let Some(cause) = service.refuses() {
            return Err(Refusal::Final(cause));
        }
        if end == End::Back && line.waiters.len() >= service.waiting_max() {
            drop(line);
            tracing::debug!(service = %service.name, revision = service.revision, "too many requests wait");
            return Err(Refusal::Final(Cause::QueueFull));
        }
        let number = match end {
            End::Front => {
                line.number_front -= 1;
                let number = line.number_front;
                line.waiters.push_front(Waiter { number, answer: sender });
                number
            }
            End::Back => {
                let number = line.number_next;
                line.number_next += 1;
                line.waiters.push_back(Waiter { number, answer: sender });
                number
            }
        };
        entered();
        self.count(&line);
        let is_first = line.waiters.len() == 1;
        drop(line);
        self.pump();
        // Who has a place by now was not in a line.
        if is_first && self.waiting() > 0 {
            self.bell.ring(&self.service);
        }
        Ok(Place { queue: self.clone(), number, answer })
    }

    /// Gives free places to the head of the line, as long as there are both.
    pub(crate) fn pump(self: &Arc<Queue>) {
        let mut given = Vec::new();
        let mut line = self.lock();
        if let Some(service) = line.service.upgrade().filter(|service| service.refuses().is_none()) {
            while !line.waiters.is_empty() {
                let Some(claim) = balance::claim(&service, line.number_next as usize, &[]) else { break };
                let slot = Slot::new(claim.instance.clone(), claim.trial, self.clone());
                given.extend(line.waiters.pop_front().map(|waiter| (waiter, slot)));
            }
        }
        self.count(&line);
        drop(line);
        // Outside of the lock: who does not want its place any more drops it, which comes back here.
        for (waiter, slot) in given {
            drop(waiter.answer.send(Ok(slot)));
        }
    }

    /// Takes a place back that was counted, and hands it to the head of the line if there is one.
    pub(crate) fn give_back(self: &Arc<Queue>, instance: &Arc<Instance>, trial: Trial) {
        instance.ejection.abandoned(trial, now_ms);
        while self.waiting() > 0 {
            let Some((waiter, trial)) = self.heir(instance) else { break };
            let slot = Slot::new(instance.clone(), trial, self.clone());
            match waiter.answer.send(Ok(slot)) {
                Ok(()) => return,
                // It went away at this moment: the place is the next one's.
                Err(Ok(slot)) => {
                    slot.passed_on();
                }
                Err(Err(_)) => {}
            }
        }
        instance.slots.release();
        if self.waiting() > 0 {
            self.pump();
        }
    }

    /// The head of the line, if this instance may have one more request for one that just ended.
    fn heir(&self, instance: &Arc<Instance>) -> Option<(Waiter, Trial)> {
        let mut line = self.lock();
        let service = line.service.upgrade()?;
        let seen = instance.slots.read();
        let fit = service.refuses().is_none()
            && service.instances.iter().any(|listed| Arc::ptr_eq(listed, instance))
            && seen.in_flight() <= service.ceiling
            && !instance.slots.yields(seen)
            && !instance.is_asleep()
            && instance.ejection.standing(now_ms) == Standing::In;
        if !fit {
            return None;
        }
        let trial = instance.ejection.begin(Standing::In, now_ms)?;
        let waiter = line.waiters.pop_front()?;
        self.count(&line);
        Some((waiter, trial))
    }

    /// From now on the service is what a new table says. Places of new instances are given out by `pump`.
    pub(crate) fn follow(&self, service: &Arc<Service>) {
        let mut line = self.lock();
        self.replace(&mut line, Arc::downgrade(service));
        match service.refuses() {
            None => {}
            Some(cause) => self.turn_away(line, Refusal::Final(cause)),
        }
    }

    /// A new table does not have the service.
    pub(crate) fn close(&self) {
        let mut line = self.lock();
        self.replace(&mut line, Weak::new());
        self.turn_away(line, Refusal::Gone);
    }

    fn replace(&self, line: &mut Line, service: Weak<Service>) {
        let before = std::mem::replace(&mut line.service, service).upgrade();
        // On an instance that the new table does not name nobody would take the mark away. Those that it names are
        // marked again in a moment.
        if self.marked.swap(false, SeqCst)
            && let Some(before) = before
        {
            before.instances.iter().for_each(|instance| instance.slots.mark(false));
        }
    }

    /// For whoever waits at this moment there is no place.
    pub(crate) fn turn_all_away(&self, cause: Cause) {
        self.turn_away(self.lock(), Refusal::Final(cause));
    }

    fn turn_away(&self, mut line: MutexGuard<'_, Line>, refusal: Refusal) {
        let waiters = std::mem::take(&mut line.waiters);
        self.count(&line);
        drop(line);
        for waiter in waiters {
            // Who went away needs no answer.
            let _ = waiter.answer.send(Err(refusal));
        }
    }

    /// The service as the newest table has it.
    pub(crate) fn service(&self) -> Option<Arc<Service>> {
        self.lock().service.upgrade()
    }

    /// Whether other processes were told that somebody waits here.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(SeqCst)
    }

    /// Says to processes that started later whether requests wait here that came before theirs, as they do in a
    /// process that is `ending`. To be repeated while somebody waits: instances come and go.
    pub(crate) fn mark(&self, ending: bool) {
        let line = self.lock();
        let waits = ending && !line.waiters.is_empty();
        let marked = self.marked.swap(waits, SeqCst);
        if let Some(service) = line.service.upgrade().filter(|_| waits || marked) {
            for instance in &service.instances {
                // What is out in this process may well serve another one.
                instance.slots.mark(waits && instance.ejection.standing(now_ms) != Standing::Out);
            }
        }
    }

    fn count(&self, line: &Line) {
        // The line is far shorter than that.
        self.waiting.store(u32::try_from(line.waiters.len()).unwrap_or(u32::MAX), SeqCst);
    }

    /// The line is whole after every statement, so a panic elsewhere does not spoil it. No `Slot` may be dropped
    /// while it is locked.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line. Dropping it leaves the line at once, and hands on what came too late.
pub(crate) struct Place {
    queue: Arc<Queue>,
    number: i64,
    answer: oneshot::Receiver<Answer>,
}

impl Place {
    pub(crate) async fn answer(&mut self) -> Answer {
        // Everyone in line is answered before its sender goes.
        (&mut self.answer).await.unwrap_or(Err(Refusal::Gone))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        let Ok(place) = line.waiters.binary_search_by_key(&self.number, |waiter| waiter.number) else {
            return;
        };
        let left = line.waiters.remove(place);
        self.queue.count(&line);
        drop(line);
        drop(left);
    }
}

/// A counted place at an instance, on its way from one loop to another.
pub(crate) struct Slot {
    pub(crate) instance: Arc<Instance>,
    trial: Trial,
    queue: Arc<Queue>,
    /// False: the place is somebody else's now.
    held: bool,
}

impl Slot {
    fn new(instance: Arc<Instance>, trial: Trial, queue: Arc<Queue>) -> Slot {
        Slot { instance, trial, queue, held: true }
    }

    /// Who calls this gives the place back.
    pub(crate) fn passed_on(mut self) -> Trial {
        self.held = false;
        self.trial
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.held {
            self.queue.give_back(&self.instance, self.trial);
        }
    }
}

#[cfg(test)]
mod tests;
