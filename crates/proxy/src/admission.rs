//! Whether a request goes on, waits or is refused.
//!
//! The usual case is `admit_now`: a look at the service, a choice and one compare-and-swap. A request that finds no
//! place goes into the service's line (`queue`) and stays there until it is given one, its time is up, its client
//! goes away, or a new table says that there is nothing to wait for.

use crate::balance::{self, Instance};
use crate::ejection::{Standing, now_ms};
use crate::event_loop::EventLoop;
use crate::observe::Exchange;
use crate::pool::{Ticket, Upstream};
use crate::queue::{End, Queue, Refusal, Slot};
use crate::reply::Cause;
use crate::route::{Host, Service};
use crate::waker::Waker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

/// How soon a line sees places that come free by time alone: an ejection that ends, a slow start that goes on.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// How soon a line sees places that another process leaves. Only while there is another one, and a line.
const SHARED_LOOK_PERIOD: Duration = Duration::from_millis(5);

/// A look at a service.
pub(crate) enum Look {
    Go(Ticket),
    /// All instances have as many requests as they may, or there is none.
    Wait,
    No(Cause),
}

/// A place without waiting. The service must have been found in this turn of the loop: an older table's may name an
/// instance that control takes away, because this loop has acknowledged a newer one.
pub(crate) fn admit_now(event_loop: &EventLoop, service: &Arc<Service>, exchange: &mut Exchange) -> Look {
    if let Some(cause) = service.refuses() {
        return Look::No(cause);
    }
    // Who is in line came before.
    if service.queue.waiting() > 0 {
        return Look::Wait;
    }
    let Some(ticket) = take(event_loop, service, &[]) else { return Look::Wait };
    exchange.gets_place();
    Look::Go(ticket)
}

/// A place without waiting at the instance that the client's cookie names, if that has one. As for `admit_now`, the
/// service is this turn's.
pub(crate) fn admit_again(
    event_loop: &EventLoop,
    service: &Arc<Service>,
    tag: u64,
    exchange: &mut Exchange,
) -> Option<Ticket> {
    if service.refuses().is_some() || service.queue.waiting() > 0 {
        return None;
    }
    let claim = balance::claim_at(service, tag)?;
    exchange.gets_place();
    event_loop.waker.busy(claim.instance);
    Some(Ticket::new(event_loop.upstreams.get(claim.instance, service), claim.trial))
}

/// The service of a host, or why there is none.
pub(crate) fn find(event_loop: &EventLoop, host: &Host) -> Result<Arc<Service>, Cause> {
    let snapshot = event_loop.snapshot.borrow();
    let unknown = if snapshot.known { Cause::NoRoute } else { Cause::NoTable };
    snapshot.find(host).cloned().ok_or(unknown)
}

/// Where else a request can go that one instance did not take.
enum Elsewhere {
    Place(Ticket),
    /// Others are well and full: into the line.
    Line,
    Nowhere,
}

/// Instances that a request is offered to, one after the other, beside its own.
const OTHERS_MAX: usize = 3;

/// Another instance than those of these keys, for a further attempt. It does not go to the end of the line while another
/// one has room: the request had a place.
fn elsewhere(event_loop: &EventLoop, host: &Host, avoid: &[u64]) -> Elsewhere {
    let snapshot = event_loop.snapshot.borrow();
    let service = snapshot.find(host).filter(|service| service.refuses().is_none());
    let Some(service) = service else { return Elsewhere::Nowhere };
    if let Some(ticket) = take(event_loop, service, avoid) {
        return Elsewhere::Place(ticket);
    }
    // It may lead back to one that failed, when that is to be probed or is not out yet, but not for ever: nobody is in the
    // line for longer than its own time.
    let is_well = |instance: &Arc<Instance>| {
        !avoid.contains(&instance.key) && instance.ejection.standing(now_ms) == Standing::In
    };
    if service.instances.iter().any(is_well) { Elsewhere::Line } else { Elsewhere::Nowhere }
}

/// Why there is no connection.
pub(crate) enum Unconnected {
    Final(Cause),
    /// The instance refused, and the others that are well are full: the request's place is in their line, without the
    /// one that it has.
    Line,
}

/// A request that has a place and needs a connection.
pub(crate) struct Offer<'a> {
    pub(crate) event_loop: &'a EventLoop,
    pub(crate) host: &'a Host,
    pub(crate) ticket: &'a Ticket,
    /// It was sent before, and others are tried first.
    pub(crate) again: bool,
    /// Of the time that the request may take in all, if there is one.
    pub(crate) end_by: Option<Instant>,
}

impl Offer<'_> {
    /// Has `open` connect to the instance of the place, or to others where that gives nothing. Another's place is taken
    /// too.
    pub(crate) async fn to<T>(
        self,
        open: impl AsyncFn(&Ticket) -> Option<T>,
    ) -> Result<(Option<Ticket>, T), Unconnected> {
        match self.end_by {
            None => self.to_each(open).await,
            // Boxed, because it is rare: every connection would have its room otherwise.
            Some(end_by) => Box::pin(timeout_at(end_by, self.to_each(open)))
                .await
                .unwrap_or(Err(Unconnected::Final(Cause::TotalTimedOut))),
        }
    }

    async fn to_each<T>(
        &self,
        open: impl AsyncFn(&Ticket) -> Option<T>,
    ) -> Result<(Option<Ticket>, T), Unconnected> {
        let Offer { event_loop, host, ticket, again, .. } = *self;
        let own = ticket.upstream.instance.key;
        let mut tried = Vec::new();
        // Boxed, because they are rare: every request would have their room otherwise.
        if again && let Elsewhere::Place(other) = elsewhere(event_loop, host, &[own]) {
            match Box::pin(open(&other)).await {
                Some(opened) => return Ok((Some(other), opened)),
                None => tried.push(other.upstream.instance.key),
            }
        }
        if let Some(opened) = Box::pin(open(ticket)).await {
            return Ok((None, opened));
        }
        tried.push(own);
        for _ in 0..OTHERS_MAX {
            match elsewhere(event_loop, host, &tried) {
                Elsewhere::Place(other) => match Box::pin(open(&other)).await {
                    Some(opened) => return Ok((Some(other), opened)),
                    None => tried.push(other.upstream.instance.key),
                },
                Elsewhere::Line => return Err(Unconnected::Line),
                Elsewhere::Nowhere => break,
            }
        }
        Err(Unconnected::Final(Cause::ConnectFailed))
    }
}

/// The line that a request may have to wait in, and for how long.
pub(crate) struct InTime<'a> {
    pub(crate) event_loop: &'a EventLoop,
    pub(crate) host: &'a Host,
    pub(crate) service: &'a Arc<Service>,
    pub(crate) deadline: Instant,
}

impl InTime<'_> {
    /// As the function; says how long it took.
    pub(crate) async fn wait(&self, end: End, exchange: &mut Exchange) -> Result<Ticket, Cause> {
        let since = Instant::now();
        let InTime { event_loop, host, service, deadline } = *self;
        // Boxed, because it is rare: every request would have its room otherwise.
        let waited = Box::pin(wait(event_loop, host, service.clone(), end, deadline, exchange)).await;
        exchange.queued(since.elapsed());
        waited
    }
}

/// Waits for a place until `deadline`, or until it is clear that none will come.
pub(crate) async fn wait(
    event_loop: &EventLoop,
    host: &Host,
    service: Arc<Service>,
    end: End,
    deadline: Instant,
    exchange: &mut Exchange,
) -> Result<Ticket, Cause> {
    let patience = event_loop.settings.instance_wait.max(LOOK_PERIOD);
    let mut service = service;
    loop {
        let _in_line = InLine::new(event_loop, &service.queue);
        match stand(event_loop, &service, end, patience, deadline, exchange).await {
            Ok(slot) => {
                exchange.gets_place();
                return Ok(ticket(event_loop, host, &service, slot));
            }
            Err(Refusal::Final(cause)) => return Err(cause),
            Err(Refusal::Gone) => service = successor(event_loop, host, &service, deadline).await?,
        }
    }
}

/// Stands in the service's line. A service that has no instance, and none on its way, is given up after `patience`.
async fn stand(
    event_loop: &EventLoop,
    service: &Service,
    end: End,
    patience: Duration,
    deadline: Instant,
    exchange: &mut Exchange,
) -> Result<Slot, Refusal> {
    // A place may be there at once, and a request that was refused elsewhere may come with its time gone.
    if deadline <= Instant::now() {
        return Err(Refusal::Final(Cause::QueueTimedOut));
    }
    let mut place = service.queue.enter(end, || exchange.enters_line())?;
    event_loop.waker.wake_for_line(service);
    if event_loop.waker.is_hopeless(service) {
        return Err(Refusal::Final(Cause::NotWoken));
    }
    loop {
        let end = deadline.min(Instant::now() + patience);
        if let Ok(answer) = timeout_at(end, place.answer()).await {
            return answer;
        }
        let newest = service.queue.service();
        let serves = newest.as_ref().is_some_and(|service| !service.instances.is_empty());
        let comes = newest.as_ref().is_some_and(|service| service.coming);
        let is_late = end == deadline;
        match (serves, comes) {
            (true, _) if is_late => return Err(Refusal::Final(timed_out(newest.as_deref()))),
            (false, comes) if is_late || !comes => return Err(Refusal::Final(Cause::NoCapacity)),
            _ => {}
        }
    }
}

/// Why a request found no place in time at instances that there are.
fn timed_out(service: Option<&Service>) -> Cause {
    match service {
        Some(service) if service.instances.iter().all(|instance| instance.is_asleep()) => Cause::WakeTimedOut,
        _ => Cause::QueueTimedOut,
    }
}

/// The service that has the host in the table in which this one is gone.
async fn successor(
    event_loop: &EventLoop,
    host: &Host,
    gone: &Arc<Service>,
    deadline: Instant,
) -> Result<Arc<Service>, Cause> {
    loop {
        // Asked for before looking, so that a table that comes in between is not missed.
        let changed = event_loop.table_changed.notified();
        let found = event_loop.snapshot.borrow().find(host).cloned();
        match found {
            None => return Err(Cause::NoRoute),
            Some(other) if !Arc::ptr_eq(&other, gone) => return Ok(other),
            // This loop does not have that table yet.
            Some(_) => {}
        }
        timeout_at(deadline, changed).await.map_err(|_| Cause::QueueTimedOut)?;
    }
}

fn take(event_loop: &EventLoop, service: &Service, avoid: &[u64]) -> Option<Ticket> {
    let claim = balance::claim(service, event_loop.next_rotation(), avoid)?;
    event_loop.waker.busy(claim.instance);
    if claim.lacking > 0 {
        event_loop.waker.rouse(service, claim.lacking);
    }
    Some(Ticket::new(event_loop.upstreams.get(claim.instance, service), claim.trial))
}

/// Makes a place that was handed over this loop's own. Its instance is the newest table's, which may be another one
/// than this loop's.
fn ticket(event_loop: &EventLoop, host: &Host, service: &Service, slot: Slot) -> Ticket {
    event_loop.waker.busy(&slot.instance);
    let snapshot = event_loop.snapshot.borrow();
    let listed =
        snapshot.find(host).filter(|now| now.instances.iter().any(|i| Arc::ptr_eq(i, &slot.instance)));
    let upstream = match listed {
        Some(now) => event_loop.upstreams.get(&slot.instance, now),
        None => Upstream::unlisted(&slot.instance, service),
    };
    Ticket::new(upstream, slot.passed_on())
}

/// The lines in which requests of one loop stand, and how many of them.
#[derive(Default)]
pub(crate) struct Lines {
    by_address: RefCell<HashMap<usize, (Arc<Queue>, u32)>>,
    /// Rings when there is one.
    began: Notify,
}

impl Lines {
    /// Gives them places that have come free.
    pub(crate) fn pump(&self) {
        self.all().iter().for_each(Queue::pump);
    }

    /// The instance with this tag cannot be woken: others are asked for, and where there are none nobody waits.
    pub(crate) fn not_woken(&self, waker: &Waker, tag: u64) {
        for queue in self.all() {
            let Some(service) = queue.service() else { continue };
            if !service.instances.iter().any(|instance| instance.tag == tag) {
                continue;
            }
            if waker.is_hopeless(&service) {
                queue.turn_all_away(Cause::NotWoken);
            } else {
                waker.wake_for_line(&service);
            }
        }
    }

    fn all(&self) -> Vec<Arc<Queue>> {
        self.by_address.borrow().values().map(|(queue, _)| queue.clone()).collect()
    }
}

/// A request of this loop is in this line.
struct InLine<'a> {
    event_loop: &'a EventLoop,
    address: usize,
}

impl InLine<'_> {
    fn new<'a>(event_loop: &'a EventLoop, queue: &Arc<Queue>) -> InLine<'a> {
        let address = Arc::as_ptr(queue).addr();
        let mut lines = event_loop.lines.by_address.borrow_mut();
        lines.entry(address).or_insert_with(|| (queue.clone(), 0)).1 += 1;
        event_loop.lines.began.notify_one();
        InLine { event_loop, address }
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut lines = self.event_loop.lines.by_address.borrow_mut();
        let Some((_, count)) = lines.get_mut(&self.address) else { return };
        *count -= 1;
        if *count == 0
            && let Some((queue, _)) = lines.remove(&self.address)
            && queue.is_marked()
        {
            queue.mark(self.event_loop.draining.get());
        }
    }
}

/// Gives places to lines that nobody in this process left. Costs nothing while no request of this loop waits.
pub(crate) async fn watch(event_loop: &EventLoop) {
    loop {
        event_loop.lines.began.notified().await;
        loop {
            let lines = event_loop.lines.all();
            if lines.is_empty() {
                break;
            }
            let shared = event_loop.region.shared();
            if shared {
                event_loop.region.clear_dead();
            }
            for queue in lines {
                queue.mark(event_loop.draining.get());
                queue.pump();
                if let Some(service) = queue.service() {
                    event_loop.waker.wake_for_line(&service);
                }
            }
            sleep(if shared { SHARED_LOOK_PERIOD } else { LOOK_PERIOD }).await;
        }
    }
}
