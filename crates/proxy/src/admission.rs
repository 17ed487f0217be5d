//! Whether a request goes on, waits or is refused.
//!
//! The first form: a service that serves but has no instance holds its requests in a bounded queue until a table
//! names one; there is no ceiling per instance yet. The queue's places are counted per service over all loops,
//! and each waiting request looks again when its loop gets a new table.

use crate::balance;
use crate::event_loop::EventLoop;
use crate::observe::ServiceCounts;
use crate::pool::Ticket;
use crate::reply::Cause;
use crate::route::Host;
use apron_model::routes::RouteState;
use std::sync::Arc;
use tokio::time::timeout_at;

/// Requests of one service that wait for its first instance; the next one is refused at once.
const WAITING_PER_SERVICE_MAX: u32 = 1_000;

/// A look at the current table.
enum Verdict {
    Go(Ticket),
    /// Serving, but no instance yet.
    Wait(Arc<ServiceCounts>),
    No(Cause),
}

/// Gives the request its place on an instance, after waiting for one if need be. `Err` is the final answer.
pub(crate) async fn admit(event_loop: &EventLoop, host: &Host) -> Result<Ticket, Cause> {
    match look(event_loop, host) {
        Verdict::Go(ticket) => Ok(ticket),
        Verdict::No(cause) => Err(cause),
        Verdict::Wait(counts) => wait(event_loop, host, counts).await,
    }
}

/// A place on another instance than the one of this key, for a second attempt; `None` when there is no other.
pub(crate) fn admit_elsewhere(event_loop: &EventLoop, host: &Host, avoid: u64) -> Option<Ticket> {
    let snapshot = event_loop.snapshot.borrow();
    let service = snapshot.find(host)?;
    let instance = balance::pick(&service.instances, event_loop.next_rotation(), Some(avoid))?;
    Some(Ticket::new(event_loop.upstreams.get(instance, &service.counts)))
}

fn look(event_loop: &EventLoop, host: &Host) -> Verdict {
    let snapshot = event_loop.snapshot.borrow();
    let Some(service) = snapshot.find(host) else {
        return Verdict::No(if snapshot.known { Cause::NoRoute } else { Cause::NoTable });
    };
    let refused = match service.state {
        RouteState::Serving => match balance::pick(&service.instances, event_loop.next_rotation(), None) {
            Some(instance) => {
                return Verdict::Go(Ticket::new(event_loop.upstreams.get(instance, &service.counts)));
            }
            None => return Verdict::Wait(service.counts.clone()),
        },
        RouteState::Paused => Cause::Paused,
        RouteState::NotDeployed => Cause::NotDeployed,
    };
    service.counts.answered();
    Verdict::No(refused)
}

/// A place in the queue, given up when the request is admitted, refused or abandoned by its client.
struct Place(Arc<ServiceCounts>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave_queue();
    }
}

async fn wait(event_loop: &EventLoop, host: &Host, counts: Arc<ServiceCounts>) -> Result<Ticket, Cause> {
    if !counts.enter_queue(WAITING_PER_SERVICE_MAX) {
        counts.answered();
        return Err(Cause::NoInstance);
    }
    let place = Place(counts);
    let deadline = tokio::time::Instant::now() + event_loop.settings.instance_wait;
    loop {
        // Asked for before looking, so that a table that comes in between is not missed.
        let changed = event_loop.table_changed.notified();
        match look(event_loop, host) {
            Verdict::Go(ticket) => return Ok(ticket),
            Verdict::No(cause) => return Err(cause),
            Verdict::Wait(_) => {}
        }
        if timeout_at(deadline, changed).await.is_err() {
            place.0.answered();
            return Err(Cause::NoInstance);
        }
    }
}
