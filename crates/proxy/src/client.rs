//! One connection of a client: what every request on it is told about it, and how it ends.
//!
//! A connection ends by an order that its task reads at its next turn. Orders come from the loop's sweep, which
//! looks at every connection about once a second, instead of from a timer per request.

use crate::event_loop::EventLoop;
use crate::strangers::Seat;
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// The idle time-out while a loop is nearly full: what sleeps makes room for what asks.
const CROWDED_IDLE_TIME_MAX: Duration = Duration::from_secs(5);
/// An idle connection that did not end politely within this long after being told to is cut.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// Requests that a client may take back between two sweeps, which is in about a second; with more its connection is cut.
/// Each costs an instance a request that nobody waits for (CVE-2023-44487). It is more than the streams of one
/// connection: all of them may be taken back at once.
const ABANDONED_MAX: u32 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    Serve,
    /// Answer what is under way, then close.
    Finish,
    Cut,
}

pub(crate) struct Client {
    pub(crate) event_loop: Rc<EventLoop>,
    /// Whom the connection comes from; never a mapped IPv4 address.
    pub(crate) peer: IpAddr,
    /// Whether its X-Forwarded headers are to be believed.
    pub(crate) trusted: bool,
    /// The peer's address as text: what X-Forwarded-For says.
    pub(crate) address: HeaderValue,
    pub(crate) scheme: HeaderValue,
    pub(crate) port: HeaderValue,
    /// Requests whose answer has not ended.
    active: Cell<u32>,
    /// Requests that were taken back since the last sweep.
    abandoned: Cell<u32>,
    /// A request ended since the last sweep. The clock is read there, and not for each.
    touched: Cell<bool>,
    last_active: Cell<Instant>,
    order: Cell<Order>,
    /// When the sweep wakes the task if nothing happened before.
    deadline: Cell<Option<Instant>>,
    /// It did.
    late: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Taken for as long as anything of the connection is there, such as the tunnel that it became.
    _seat: Seat,
}

impl Client {
    pub(crate) fn new(
        event_loop: Rc<EventLoop>,
        peer: SocketAddr,
        scheme: HeaderValue,
        port: HeaderValue,
        seat: Seat,
    ) -> Rc<Client> {
        // A dual-stack listener sees IPv4 peers as mapped addresses, which no application expects.
        let peer = peer.ip().to_canonical();
        let trusted = event_loop.settings.edge.trusts(peer);
        let client = Rc::new(Client {
            event_loop,
            peer,
            trusted,
            address: HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static("unknown")),
            scheme,
            port,
            active: Cell::new(0),
            abandoned: Cell::new(0),
            touched: Cell::new(false),
            last_active: Cell::new(Instant::now()),
            order: Cell::new(Order::Serve),
            deadline: Cell::new(None),
            late: Cell::new(false),
            waker: RefCell::new(None),
            _seat: seat,
        });
        client.event_loop.clients.enter(&client);
        client
    }

    /// Whether it came by TLS.
    pub(crate) fn secure(&self) -> bool {
        self.scheme == "https"
    }

    pub(crate) fn order(&self) -> Order {
        self.order.get()
    }

    /// Whether it takes back too many requests.
    pub(crate) fn floods(&self) -> bool {
        self.abandoned.get() > ABANDONED_MAX
    }

    /// Remembers whom to wake when an order comes.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        match &*slot {
            Some(known) if known.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    /// Orders only grow stricter.
    pub(crate) fn tell(&self, order: Order) {
        if order > self.order.get() {
            self.order.set(order);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Puts the time by which something must have happened on, or off with `None`. It is looked at by the sweep, so it
    /// may come a second late, and costs no timer.
    pub(crate) fn wake_by(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        self.late.set(false);
    }

    /// Whether that time has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.late.get()
    }

    fn sweep(&self, now: Instant, idle_time_max: Duration) {
        self.abandoned.set(0);
        if self.deadline.get().is_some_and(|deadline| deadline <= now) {
            self.deadline.set(None);
            self.late.set(true);
            self.wake();
        }
        if self.touched.take() {
            self.last_active.set(now);
        }
        if self.active.get() == 0 {
            let idle = now.duration_since(self.last_active.get());
            if idle > idle_time_max + CLOSE_TIME_MAX {
                self.tell(Order::Cut);
            } else if idle > idle_time_max {
                self.tell(Order::Finish);
            }
        }
    }
}

/// A request that waits for the head of its answer. Dropped before that, it was taken back.
pub(crate) struct Waiting<'a> {
    client: &'a Client,
    answered: bool,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(client: &'a Client) -> Waiting<'a> {
        Waiting { client, answered: false }
    }

    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Who is believed stands for many, of whom each may change its mind.
        if self.answered || self.client.trusted {
            return;
        }
        self.client.abandoned.set(self.client.abandoned.get() + 1);
        if self.client.floods() {
            self.client.tell(Order::Cut);
        }
    }
}

/// A request that a client waits for; counted until the last byte of its answer was handed over.
pub(crate) struct Active(Rc<Client>);

impl Active {
    pub(crate) fn new(client: &Rc<Client>) -> Active {
        client.active.set(client.active.get() + 1);
        client.event_loop.requests.set(client.event_loop.requests.get() + 1);
        Active(client.clone())
    }

    pub(crate) fn event_loop(&self) -> &Rc<EventLoop> {
        &self.0.event_loop
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.event_loop.requests.set(self.0.event_loop.requests.get() - 1);
        self.0.touched.set(true);
    }
}

/// The connections of one loop.
#[derive(Default)]
pub(crate) struct Clients {
    all: RefCell<Vec<Weak<Client>>>,
}

impl Clients {
    fn enter(&self, client: &Rc<Client>) {
        self.all.borrow_mut().push(Rc::downgrade(client));
    }

    /// Forgets connections that have ended and ends those that are idle for too long.
    pub(crate) fn sweep(&self, idle_timeout: Duration, crowded: bool) {
        let now = Instant::now();
        let idle_time_max = if crowded { idle_timeout.min(CROWDED_IDLE_TIME_MAX) } else { idle_timeout };
        self.all.borrow_mut().retain(|client| match client.upgrade() {
            Some(client) => {
                client.sweep(now, idle_time_max);
                true
            }
            None => false,
        });
    }

    pub(crate) fn tell_all(&self, order: Order) {
        for client in self.all.borrow().iter().filter_map(Weak::upgrade) {
            client.tell(order);
        }
    }
}
