//! What one stranger may take: connections, and requests to services that bound them by address; and who may ask a
//! service at all.
//!
//! A stranger is an address of IPv4, or a network of 64 bits of IPv6: that is what one household or machine is given.
//! Connections are counted by each loop for itself, which has its share of the bound. Requests are counted in one place:
//! one connection stays on one loop, and would get a share of its rate only. Nothing here grows without end: connections
//! are bounded by those of the loop, and the addresses whose requests are counted by `BUCKETS_MAX`.

use crate::event_loop::EventLoop;
use crate::reply::Cause;
use crate::route::Service;
use apron_model::routes::{Network, RoutePolicy};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Strangers whose requests are counted at a time. Those who come when it is full share one bucket per service.
const BUCKETS_MAX: usize = 20_000;
/// Who asks for nothing may save up this many seconds of requests.
const BURST_S: f64 = 1.0;

#[derive(Default)]
pub(crate) struct Strangers {
    connections: RefCell<HashMap<IpAddr, u32>>,
    /// Connections that were refused since the last sweep.
    refused: Cell<u64>,
}

impl Strangers {
    /// Called about once a second.
    pub(crate) fn sweep(&self) {
        let refused = self.refused.take();
        if refused > 0 {
            tracing::warn!(refused, "an address has as many connections as it may");
        }
    }
}

/// Requests of strangers to services that bound them, of all loops. Only those services' requests look here.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<Buckets>);

impl Rates {
    /// Called about once a second.
    pub(crate) fn sweep(&self) {
        self.lock().forget_full(Instant::now());
    }

    /// Whole after every statement, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection of a stranger, counted until it is dropped. Whom the proxy trusts is not counted: behind such an
/// address are many others.
pub(crate) struct Seat(Option<(Rc<EventLoop>, IpAddr)>);

impl Seat {
    pub(crate) fn uncounted() -> Seat {
        Seat(None)
    }

    /// `None`: the stranger has as many as it may.
    pub(crate) fn take(event_loop: &Rc<EventLoop>, address: IpAddr) -> Option<Seat> {
        let edge = &event_loop.settings.edge;
        if edge.trusts(address) {
            return Some(Seat::uncounted());
        }
        let stranger = stranger(address);
        let mut connections = event_loop.strangers.connections.borrow_mut();
        let count = connections.entry(stranger).or_insert(0);
        if *count >= edge.connections_per_address_max {
            // Refusing the first means that none may come: then it leaves no entry behind.
            if *count == 0 {
                connections.remove(&stranger);
            }
            event_loop.strangers.refused.set(event_loop.strangers.refused.get() + 1);
            return None;
        }
        *count += 1;
        Some(Seat(Some((event_loop.clone(), stranger))))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((event_loop, stranger)) = &self.0 else { return };
        let mut connections = event_loop.strangers.connections.borrow_mut();
        if let Some(count) = connections.get_mut(stranger) {
            *count -= 1;
            if *count == 0 {
                connections.remove(stranger);
            }
        }
    }
}

/// Whether this address may ask the service now.
pub(crate) fn gate(event_loop: &EventLoop, service: &Service, address: IpAddr) -> Result<(), Cause> {
    if !admits(&service.policy, address) {
        return Err(Cause::AddressRefused);
    }
    let Some(rate) = service.policy.requests_per_second_max else { return Ok(()) };
    let who = (Arc::as_ptr(&service.counts) as usize, stranger(address));
    match event_loop.settings.edge.rates.lock().take(who, f64::from(rate), Instant::now()) {
        true => Ok(()),
        false => Err(Cause::RateLimited),
    }
}

/// What is denied stays out, also when it is allowed as part of something larger.
fn admits(policy: &RoutePolicy, address: IpAddr) -> bool {
    let lists = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
    !lists(&policy.deny) && (policy.allow.is_empty() || lists(&policy.allow))
}

fn stranger(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Which service, by its counters' place in memory, and who.
type Who = (usize, IpAddr);

#[derive(Debug, Default)]
struct Buckets {
    all: HashMap<Who, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// Tokens per second, as of the last request.
    rate: f64,
    at: Instant,
}

impl Bucket {
    fn depth(rate: f64) -> f64 {
        // One at least, or a slow rate would let nothing pass.
        (rate * BURST_S).max(1.0)
    }

    fn fill(&self, now: Instant) -> f64 {
        let gained = now.duration_since(self.at).as_secs_f64() * self.rate;
        (self.tokens + gained).min(Bucket::depth(self.rate))
    }
}

impl Buckets {
    /// Whether there is a token for this request, which is then gone.
    fn take(&mut self, who: Who, rate: f64, now: Instant) -> bool {
        let known = self.all.len() < BUCKETS_MAX || self.all.contains_key(&who);
        let who = if known { who } else { (who.0, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) };
        let full = || Bucket { tokens: Bucket::depth(rate), rate, at: now };
        let bucket = self.all.entry(who).or_insert_with(full);
        bucket.rate = rate;
        bucket.tokens = bucket.fill(now);
        bucket.at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }

    /// A bucket that is full again says nothing.
    fn forget_full(&mut self, now: Instant) {
        self.all.retain(|_, bucket| bucket.fill(now) < Bucket::depth(bucket.rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_is_denied_stays_out_and_a_list_of_the_allowed_is_whole() {
        let check = |allow: &[&str], deny: &[&str], who: &str, expect: bool| {
            let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            let policy = RoutePolicy { allow: list(allow), deny: list(deny), ..RoutePolicy::default() };
            assert_eq!(admits(&policy, address(who)), expect, "{allow:?} {deny:?} {who}");
        };
        check(&[], &[], "1.1.1.1", true);
        check(&["10.0.0.0/8"], &[], "10.1.1.1", true);
        check(&["10.0.0.0/8"], &[], "::ffff:10.1.1.1", true);
        check(&["10.0.0.0/8"], &[], "11.1.1.1", false);
        check(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.1.1", false);
        check(&[], &["10.1.0.0/16"], "10.2.1.1", true);
        check(&["10.0.0.0/8"], &[], "::1", false);
    }

    #[test]
    fn a_network_of_ipv6_is_one_stranger() {
        assert_eq!(stranger(address("2001:db8::1")), stranger(address("2001:db8::ffff:1")));
        assert_ne!(stranger(address("2001:db8::1")), stranger(address("2001:db8:0:1::1")));
        assert_eq!(stranger(address("::ffff:1.2.3.4")), address("1.2.3.4"));
    }

    #[test]
    fn a_second_gives_as_many_requests_as_the_rate() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let who = (1, address("1.1.1.1"));
        let mut passed = |after_ms: u64, asked: usize| {
            let now = start + Duration::from_millis(after_ms);
            (0..asked).filter(|_| buckets.take(who, 10.0, now)).count()
        };
        assert_eq!(passed(0, 25), 10);
        assert_eq!(passed(50, 5), 0);
        assert_eq!(passed(100, 5), 1);
        assert_eq!(passed(600, 25), 5);
        // No more is saved up than one second gives.
        assert_eq!(passed(60_000, 25), 10);
    }

    #[test]
    fn a_rate_below_one_lets_one_pass_now_and_then() {
        let (mut buckets, start) = (Buckets::default(), Instant::now());
        let who = (1, address("1.1.1.1"));
        assert!(buckets.take(who, 0.5, start) && !buckets.take(who, 0.5, start + Duration::from_secs(1)));
        assert!(buckets.take(who, 0.5, start + Duration::from_millis(2_001)));
    }

    #[test]
    fn services_and_strangers_are_counted_apart_and_forgotten_when_they_rest() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        for who in [(1, address("1.1.1.1")), (2, address("1.1.1.1")), (1, address("1.1.1.2"))] {
            assert!(buckets.take(who, 1.0, now) && !buckets.take(who, 1.0, now));
        }
        buckets.forget_full(now + Duration::from_millis(500));
        assert_eq!(buckets.all.len(), 3);
        buckets.forget_full(now + Duration::from_secs(2));
        assert_eq!(buckets.all.len(), 0);
    }

    #[test]
    fn more_strangers_than_are_counted_share_a_bucket() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        let one = |number: usize| (1, IpAddr::V4((number as u32).into()));
        for number in 0..BUCKETS_MAX {
            assert!(buckets.take(one(number), 1.0, now));
        }
        assert!(buckets.take(one(BUCKETS_MAX), 1.0, now) && !buckets.take(one(BUCKETS_MAX + 1), 1.0, now));
        assert_eq!(buckets.all.len(), BUCKETS_MAX + 1);
    }
}
