//! What is known of one request, and what is counted of all of them.
//!
//! An `Exchange` goes with its request, is told things on the way and is recorded once, when it ends. Counts are kept
//! per service and per loop: each loop writes to numbers of its own, so that no core waits for another's, and whoever
//! reads adds them up. They live outside the route table, so a new table never resets them.

mod load;
mod trace;

use crate::access_log::{AccessLog, Line, PATH_BYTES_MAX};
use crate::balance::Instance;
use crate::client::Client;
use crate::event_loop::EventLoop;
use crate::reply::Cause;
use crate::route::Service;
use crate::wall::{self, Iso8601};
use apron_model::routes::AccessLog as Wanted;
use load::Place;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Of the requests of a service whose log is sampled and that do not fail, one in so many leaves a line.
const SAMPLED_ONE_IN: u64 = 100;
/// Texts that a loop keeps for its next requests; of more requests at a time the others' are given back to memory.
const TEXTS_KEPT_MAX: usize = 1_024;
/// Methods are names of a few letters; a client may write any.
const METHOD_BYTES_MAX: usize = 32;
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Upper bounds of a histogram's buckets, in microseconds: from what a proxy takes by itself to App Runner's time-out.
pub(crate) const BOUNDS_US: [u64; 17] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];
/// Of a status: 1xx to 5xx.
pub(crate) const CLASSES: usize = 5;
const BUCKETS: usize = BOUNDS_US.len() + 1;
const CAUSES: usize = Cause::ALL.len();

/// What one request was and became. Setters may be called in any order; what is not said stays unknown.
pub(crate) struct Exchange {
    client: Rc<Client>,
    seen: Seen,
}

struct Seen {
    begun: Instant,
    service: Option<Arc<Service>>,
    instance: Option<Arc<Instance>>,
    /// 0: no head was sent.
    status: u16,
    cause: Option<Cause>,
    received: u64,
    sent: u64,
    queued: Option<Duration>,
    connected: Option<Duration>,
    first_byte: Option<Duration>,
    /// Whom it comes from, where that is another one than the peer.
    stranger: Option<IpAddr>,
    /// The answer is on its way, and has not ended.
    relayed: bool,
    /// As it was counted last.
    place: Place,
    /// There while it may become a line.
    text: Option<Text>,
}

/// Method, path and request id, one behind the other.
#[derive(Default)]
struct Text {
    text: String,
    method_end: usize,
    path_end: usize,
}

impl Exchange {
    /// `target` is the path; of a query nothing is kept, since secrets stand there.
    pub(crate) fn begin(
        event_loop: &Rc<EventLoop>,
        client: &Rc<Client>,
        method: &str,
        target: &str,
    ) -> Exchange {
        let seen = Seen::begin(event_loop.observer.text(method, target));
        Exchange { client: client.clone(), seen }
    }

    /// Whose request it is. Without it, it counts as one that found no service.
    pub(crate) fn service(&mut self, service: &Arc<Service>) {
        self.client.event_loop.observer.service(&mut self.seen, service);
    }

    /// Whom it comes from: the peer, or whom a balancer names that is believed.
    pub(crate) fn stranger(&mut self, address: IpAddr) {
        self.seen.stranger = Some(address).filter(|address| *address != self.client.peer);
    }

    /// The one that got it; of two, the last.
    pub(crate) fn instance(&mut self, instance: &Arc<Instance>) {
        // Only a line names it, and all loops count who holds an instance in one place.
        if self.seen.text.is_some() {
            self.seen.instance = Some(instance.clone());
        }
    }

    pub(crate) fn begun(&self) -> Instant {
        self.seen.begun
    }

    /// It waited for its place on an instance; what it waited before is added.
    pub(crate) fn queued(&mut self, time: Duration) {
        self.seen.queued = Some(self.seen.queued.unwrap_or_default() + time);
    }

    /// A connection was opened for it.
    pub(crate) fn connected(&mut self, time: Duration) {
        self.seen.connected = Some(time);
    }

    /// The head of the answer came.
    pub(crate) fn first_byte(&mut self) {
        // The clock is read for those only that somebody will read of.
        if self.seen.text.is_some() {
            self.seen.first_byte = Some(self.seen.begun.elapsed());
        }
    }

    /// Whether it is being carried: dropped meanwhile, it was broken off.
    pub(crate) fn relayed(&mut self, relayed: bool) {
        self.seen.relayed = relayed;
    }

    /// What the client is told.
    pub(crate) fn status(&mut self, status: u16) {
        self.seen.status(status);
    }

    /// Why it failed, and with what status if no head was sent. The first cause counts: others follow from it.
    pub(crate) fn cause(&mut self, cause: Cause) {
        self.seen.cause.get_or_insert(cause);
    }

    /// So many further bytes of the request's body came.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.seen.received += bytes;
    }

    /// So many further bytes of the answer's body went.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.seen.sent += bytes;
    }

    /// The value of X-Request-Id.
    pub(crate) fn request_id(&mut self, id: &[u8]) {
        if let Some(text) = &mut self.seen.text {
            text.request_id(id);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let event_loop = &self.client.event_loop;
        if self.seen.relayed || self.seen.status == 0 {
            self.seen.cause.get_or_insert(event_loop.why_broken_off());
        }
        let peer = self.client.address.to_str().unwrap_or_default();
        event_loop.observer.record(&mut self.seen, peer);
    }
}

impl Seen {
    fn begin(text: Option<Text>) -> Seen {
        Seen {
            begun: Instant::now(),
            service: None,
            instance: None,
            status: 0,
            cause: None,
            received: 0,
            sent: 0,
            queued: None,
            connected: None,
            first_byte: None,
            stranger: None,
            relayed: false,
            place: Place::Nowhere,
            text,
        }
    }

    fn status(&mut self, status: u16) {
        self.status = status;
        if status == 101 {
            // How long the tunnel lives says nothing about how fast the application answers.
            self.first_byte.get_or_insert_with(|| self.begun.elapsed());
        }
    }
}

impl Text {
    fn set(&mut self, method: &str, target: &str) {
        let path = target.split('?').next().unwrap_or_default();
        self.text.clear();
        self.text.push_str(beginning(method, METHOD_BYTES_MAX));
        self.method_end = self.text.len();
        self.text.push_str(beginning(path, PATH_BYTES_MAX));
        self.path_end = self.text.len();
    }

    fn request_id(&mut self, id: &[u8]) {
        self.text.truncate(self.path_end);
        self.text.push_str(beginning(std::str::from_utf8(id).unwrap_or_default(), REQUEST_ID_BYTES_MAX));
    }
}

fn beginning(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// What is counted beside what services count, by all loops of a process.
pub(crate) struct Common {
    /// Requests that found no service.
    pub(crate) unrouted: ServiceCounts,
    /// Open connections of clients, tunnels and listeners, per loop, as they were about a second ago.
    pub(crate) connections: Vec<AtomicU64>,
    /// Requests that were let in, and their ends, per loop.
    steps: Vec<Steps>,
    /// Lines that the access log lost.
    pub(crate) lines_dropped: Arc<AtomicU64>,
}

impl Common {
    pub(crate) fn new(loops: usize) -> Common {
        Common {
            unrouted: ServiceCounts::default(),
            connections: (0..loops).map(|_| AtomicU64::new(0)).collect(),
            steps: (0..loops).map(|_| Steps::default()).collect(),
            lines_dropped: Arc::default(),
        }
    }

    /// Grows with every request that is let in, and with the end of each of those: while it stays, and nobody is on
    /// the way, nothing happens.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.iter().map(|steps| steps.0.load(Ordering::Acquire)).sum()
    }
}

/// On a cache line of its own, like `LoopCounts`.
#[derive(Default)]
#[repr(align(128))]
struct Steps(AtomicU64);

/// One loop's means to count and to log.
pub(crate) struct Observer {
    number: usize,
    common: Arc<Common>,
    log: Option<Arc<AccessLog>>,
    /// For the next requests: one that is not logged takes no memory.
    texts: RefCell<Vec<Text>>,
    dice: Cell<u64>,
}

impl Observer {
    /// `number` is the loop's.
    pub(crate) fn new(number: usize, common: Arc<Common>, log: Option<Arc<AccessLog>>) -> Observer {
        // Any number but 0 will do; each loop has another.
        let dice = Cell::new(0x9e37_79b9_7f4a_7c15 ^ number as u64);
        Observer { number, common, log, texts: RefCell::default(), dice }
    }

    /// Called about once a second.
    pub(crate) fn connections(&self, open: usize) {
        if let Some(connections) = self.common.connections.get(self.number) {
            connections.store(open as u64, Ordering::Relaxed);
        }
    }

    /// None where no line can come of it.
    fn text(&self, method: &str, target: &str) -> Option<Text> {
        self.log.as_ref()?;
        let mut text = self.texts.borrow_mut().pop().unwrap_or_default();
        text.set(method, target);
        Some(text)
    }

    fn put_back(&self, text: Option<Text>) {
        let mut texts = self.texts.borrow_mut();
        if let Some(text) = text
            && texts.len() < TEXTS_KEPT_MAX
        {
            texts.push(text);
        }
    }

    fn service(&self, seen: &mut Seen, service: &Arc<Service>) {
        if seen.service.is_some() {
            return;
        }
        add(&service.counts.of(self.number).begun, 1);
        if service.policy.access_log == Wanted::Off {
            self.put_back(seen.text.take());
        }
        seen.service = Some(service.clone());
    }

    fn record(&self, seen: &mut Seen, peer: &str) {
        let total = seen.begun.elapsed();
        if seen.status == 0 {
            // Nobody answered, and nobody said why: whoever waited is gone.
            let cause = *seen.cause.get_or_insert(Cause::ClientGone);
            seen.status = cause.status();
        }
        let counts = match &seen.service {
            Some(service) => &service.counts,
            None => &self.common.unrouted,
        };
        counts.of(self.number).end(seen, total);
        self.moves(seen, Place::Nowhere);
        let Some(text) = seen.text.take() else { return };
        if let (Some(log), Some(service)) = (&self.log, &seen.service)
            && self.wants_line(service.policy.access_log, seen)
        {
            let stranger = seen.stranger.map(|address| address.to_string());
            log.write(&line(seen, service, &text, total, stranger.as_deref().unwrap_or(peer)));
        }
        self.put_back(Some(text));
    }

    fn step(&self) {
        if let Some(steps) = self.common.steps.get(self.number) {
            // Behind what it stands for, also for whoever reads it first.
            steps.0.store(read(&steps.0).wrapping_add(1), Ordering::Release);
        }
    }

    fn wants_line(&self, wanted: Wanted, seen: &Seen) -> bool {
        match wanted {
            Wanted::Off => false,
            Wanted::On => true,
            Wanted::Sampled => {
                seen.cause.is_some() || seen.status >= 500 || self.throw().is_multiple_of(SAMPLED_ONE_IN)
            }
        }
    }

    /// A request of this service as if it had taken so long.
    #[cfg(test)]
    pub(crate) fn count(&self, service: &Arc<Service>, status: u16, time: Duration) {
        let mut seen = Seen::begin(None);
        self.service(&mut seen, service);
        seen.status(status);
        service.counts.of(self.number).end(&seen, time);
    }

    /// Xorshift: requests come in patterns that a plain count would fall in step with.
    fn throw(&self) -> u64 {
        let mut number = self.dice.get();
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        self.dice.set(number);
        number
    }
}

fn line<'a>(
    seen: &'a Seen,
    service: &'a Service,
    text: &'a Text,
    total: Duration,
    address: &'a str,
) -> Line<'a> {
    let request_id = &text.text[text.path_end..];
    Line {
        time: Iso8601(wall::since_1970().saturating_sub(total)).to_string(),
        service: &service.name,
        service_id: service.id.as_str(),
        revision: service.revision,
        instance: seen.instance.as_ref().map(|instance| instance.id.as_str()),
        method: &text.text[..text.method_end],
        path: &text.text[text.method_end..text.path_end],
        status: seen.status,
        cause: seen.cause.map(Cause::code),
        received: seen.received,
        sent: seen.sent,
        queued_ms: seen.queued.map(ms),
        connect_ms: seen.connected.map(ms),
        first_byte_ms: seen.first_byte.map(ms),
        total_ms: ms(total),
        client: address,
        request_id: (!request_id.is_empty()).then_some(request_id),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// Counts of one service. A loop that had no request of it takes no room here.
#[derive(Default)]
pub(crate) struct ServiceCounts {
    first: Segment,
}

/// Loops whose counts lie in one piece; most machines have no more.
const SEGMENT_LOOPS: usize = 8;

#[derive(Default)]
struct Segment {
    loops: [OnceLock<Box<LoopCounts>>; SEGMENT_LOOPS],
    next: OnceLock<Box<Segment>>,
}

/// What one loop counted. Only that loop writes; two cache lines are one to the prefetcher of most processors.
#[derive(Default)]
#[repr(align(128))]
struct LoopCounts {
    begun: AtomicU64,
    /// For scaling; see `load`.
    arrived: AtomicU64,
    answered: AtomicU64,
    gave_up: AtomicU64,
    classes: [AtomicU64; CLASSES],
    causes: [AtomicU64; CAUSES],
    time: Histogram,
    queue: Histogram,
    received: AtomicU64,
    sent: AtomicU64,
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// What all loops counted of one service. A scrape that meets a request at its end may see parts of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) begun: u64,
    /// Requests that ended, by their status.
    pub(crate) classes: [u64; CLASSES],
    /// In the order of `Cause::ALL`.
    pub(crate) causes: [u64; CAUSES],
    /// Of each request from its begin to its end, or to the answer that began a tunnel.
    pub(crate) time: Times,
    /// Of those that waited for a place.
    pub(crate) queue: Times,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Each for itself; the last is for what exceeds every bound.
    pub(crate) buckets: [u64; BUCKETS],
    pub(crate) sum_us: u64,
}

/// For the one loop that writes to it: cheaper than a step that others could take part in.
fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl ServiceCounts {
    fn of(&self, number: usize) -> &LoopCounts {
        let (mut segment, mut number) = (&self.first, number);
        while number >= SEGMENT_LOOPS {
            segment = segment.next.get_or_init(Box::default);
            number -= SEGMENT_LOOPS;
        }
        segment.loops[number].get_or_init(Box::default)
    }

    fn loops(&self) -> impl Iterator<Item = &LoopCounts> {
        std::iter::successors(Some(&self.first), |segment| segment.next.get().map(|next| &**next))
            .flat_map(|segment| &segment.loops)
            .filter_map(|counts| counts.get().map(|counts| &**counts))
    }

    /// None: no loop had a request.
    pub(crate) fn totals(&self) -> Option<Totals> {
        let mut loops = self.loops().peekable();
        loops.peek()?;
        let mut totals = Totals::default();
        loops.for_each(|counts| totals.add(counts));
        Some(totals)
    }
}

impl LoopCounts {
    fn end(&self, seen: &Seen, total: Duration) {
        // What is no status of HTTP counts as the class next to it.
        let class = usize::from(seen.status / 100).clamp(1, CLASSES) - 1;
        add(&self.classes[class], 1);
        if let Some(cause) = seen.cause {
            add(&self.causes[cause as usize], 1);
        }
        let until_tunnel = if seen.status == 101 { seen.first_byte } else { None };
        self.time.add(until_tunnel.unwrap_or(total));
        if let Some(queued) = seen.queued {
            self.queue.add(queued);
        }
        add(&self.received, seen.received);
        add(&self.sent, seen.sent);
    }
}

impl Histogram {
    fn add(&self, time: Duration) {
        // More microseconds than this number holds are half a million years.
        let us = time.as_micros() as u64;
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        add(&self.buckets[bucket], 1);
        add(&self.sum_us, us);
    }
}

impl Totals {
    /// Requests that have not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.begun.saturating_sub(self.classes.iter().sum())
    }

    fn add(&mut self, counts: &LoopCounts) {
        self.begun += read(&counts.begun);
        sum(&mut self.classes, &counts.classes);
        sum(&mut self.causes, &counts.causes);
        self.time.add(&counts.time);
        self.queue.add(&counts.queue);
        self.received += read(&counts.received);
        self.sent += read(&counts.sent);
    }
}

impl Times {
    fn add(&mut self, histogram: &Histogram) {
        sum(&mut self.buckets, &histogram.buckets);
        self.sum_us += read(&histogram.sum_us);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

fn sum(totals: &mut [u64], counts: &[AtomicU64]) {
    for (total, count) in totals.iter_mut().zip(counts) {
        *total += read(count);
    }
}

#[cfg(test)]
mod tests;
