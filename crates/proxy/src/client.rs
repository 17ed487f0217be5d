//! One connection of a client: what every request on it is told about it, and how it ends.
//!
//! A connection ends by an order that its task reads at its next turn. Orders come from the loop's sweep, which
//! looks at every connection about once a second, instead of from a timer per request.

use crate::event_loop::EventLoop;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    Serve,
    /// Answer what is under way, then close.
    Finish,
    Cut,
}

pub(crate) struct Client {
    pub(crate) event_loop: Rc<EventLoop>,
    /// The peer's address as text: what is appended to X-Forwarded-For.
    pub(crate) address: HeaderValue,
    pub(crate) scheme: HeaderValue,
    pub(crate) port: HeaderValue,
    /// Requests whose answer has not ended.
    active: Cell<u32>,
    last_active: Cell<Instant>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

impl Client {
    pub(crate) fn new(
        event_loop: Rc<EventLoop>,
        peer: SocketAddr,
        scheme: HeaderValue,
        port: HeaderValue,
    ) -> Rc<Client> {
        // A dual-stack listener sees IPv4 peers as mapped addresses, which no application expects.
        let address = match peer.ip() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| v6.to_string(), |v4| v4.to_string()),
        };
        let client = Rc::new(Client {
            event_loop,
            address: HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("unknown")),
            scheme,
            port,
            active: Cell::new(0),
            last_active: Cell::new(Instant::now()),
            order: Cell::new(Order::Serve),
            waker: RefCell::new(None),
        });
        client.event_loop.clients.enter(&client);
        client
    }

    pub(crate) fn order(&self) -> Order {
        self.order.get()
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
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    fn sweep(&self, now: Instant, idle_time_max: Duration) {
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
        self.0.last_active.set(Instant::now());
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
