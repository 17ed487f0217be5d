//! How many calls the API takes from one caller: token buckets in engine time.
//!
//! A bucket is one number, the time at which it is full again. A full one says nothing and may be forgotten.

use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// A bucket's size, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls per second that may go on for ever; one at least.
    pub per_second: u32,
    /// Calls at once after a quiet time; one at least.
    pub burst: u32,
}

/// What one caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Calls of an access key that change nothing.
    pub reads: Rate,
    /// All others of it.
    pub writes: Rate,
    /// Requests from an address whose signature is missing or wrong, or which need none; as often a key is refused at
    /// once that calls too often.
    pub strangers: Rate,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { reads: limits::API_READS, writes: limits::API_WRITES, strangers: limits::API_STRANGERS }
    }
}

/// Where a request comes from, as far as whoever sits there shares what he may do with his neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// This machine, which is also where a reverse proxy may stand.
    Loopback,
    V4(Ipv4Addr),
    /// The first 64 bits: a network of one customer's, who may have every address of it.
    V6(u64),
}

impl Source {
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            address if address.is_loopback() => Source::Loopback,
            IpAddr::V4(address) => Source::V4(address),
            IpAddr::V6(address) => Source::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Every caller's buckets.
#[derive(Debug)]
pub struct Throttling {
    reads: Buckets<String>,
    writes: Buckets<String>,
    /// Answers to calls beyond the others.
    refusals: Buckets<String>,
    strangers: Buckets<Source>,
}

impl Throttling {
    pub fn new(rates: Rates) -> Throttling {
        Throttling {
            reads: Buckets::new(rates.reads),
            writes: Buckets::new(rates.writes),
            refusals: Buckets::new(rates.strangers),
            strangers: Buckets::new(rates.strangers),
        }
    }

    /// Whether the key of this id may make one more call now, which counts if so.
    pub fn admit_key(&mut self, id: &str, only_reads: bool, now: Timestamp) -> bool {
        let buckets = if only_reads { &mut self.reads } else { &mut self.writes };
        buckets.admit(id.to_owned(), now)
    }

    /// Whether the key of this id, which may not call now, is told so at once. Otherwise it is held up.
    pub fn admit_refusal(&mut self, id: &str, now: Timestamp) -> bool {
        self.refusals.admit(id.to_owned(), now)
    }

    /// Whether one more request without a good signature is answered at once. Otherwise it is held up.
    pub fn admit_stranger(&mut self, source: Source, now: Timestamp) -> bool {
        self.strangers.admit(source, now)
    }
}

#[derive(Debug)]
struct Buckets<K> {
    /// What one call takes.
    call_us: u64,
    /// What a full bucket holds.
    whole_us: u64,
    /// Engine time in microseconds by caller.
    full_at_us: BTreeMap<K, u64>,
}

impl<K: Ord + Clone> Buckets<K> {
    fn new(rate: Rate) -> Buckets<K> {
        let call_us = 1_000_000 / u64::from(rate.per_second.clamp(1, 1_000_000));
        Buckets { call_us, whole_us: call_us * u64::from(rate.burst.max(1)), full_at_us: BTreeMap::new() }
    }

    fn admit(&mut self, caller: K, now: Timestamp) -> bool {
        let now_us = now.0.saturating_mul(1_000);
        let known = self.full_at_us.get(&caller);
        let full_at_us = known.map_or(now_us, |at| now_us.max(*at)) + self.call_us;
        if full_at_us - now_us > self.whole_us {
            return false;
        }
        if known.is_none() {
            self.make_room(now_us);
        }
        self.full_at_us.insert(caller, full_at_us);
        true
    }

    /// Forgets full buckets when there are too many and, where none is, the one that is nearest to it.
    fn make_room(&mut self, now_us: u64) {
        if self.full_at_us.len() < limits::API_CALLERS_MAX {
            return;
        }
        self.full_at_us.retain(|_, at| *at > now_us);
        if self.full_at_us.len() >= limits::API_CALLERS_MAX {
            let fullest = self.full_at_us.iter().min_by_key(|(_, at)| **at).map(|(caller, _)| caller.clone());
            fullest.map(|caller| self.full_at_us.remove(&caller));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    /// How many of many calls at this time are admitted.
    fn admitted(buckets: &mut Buckets<u32>, caller: u32, at_ms: u64) -> usize {
        (0..20).filter(|_| buckets.admit(caller, Timestamp(at_ms))).count()
    }

    #[test]
    fn a_burst_is_taken_and_the_bucket_fills_again() {
        let mut buckets = Buckets::new(RATE);
        assert_eq!(admitted(&mut buckets, 1, 5_000), 3);
        assert_eq!(admitted(&mut buckets, 1, 5_099), 0);
        assert_eq!(admitted(&mut buckets, 1, 5_100), 1);
        assert_eq!(admitted(&mut buckets, 1, 5_350), 2);
        // The half of a call that was left is not lost, and a long quiet time is worth no more than a burst.
        assert_eq!(admitted(&mut buckets, 1, 5_400), 1);
        assert_eq!(admitted(&mut buckets, 1, 900_000), 3);
    }

    #[test]
    fn callers_have_buckets_of_their_own_and_reads_and_writes_apart() {
        let mut throttling = Throttling::new(Rates { reads: RATE, writes: RATE, strangers: RATE });
        let now = Timestamp(7);
        let mut calls = |id: &str, reads| (0..9).filter(|_| throttling.admit_key(id, reads, now)).count();
        assert_eq!([calls("a", true), calls("a", false), calls("b", true), calls("a", true)], [3, 3, 3, 0]);
        assert_eq!((0..9).filter(|_| throttling.admit_refusal("a", now)).count(), 3);
        assert!(throttling.admit_refusal("b", now));
        let far = Source::V6(1);
        assert_eq!((0..9).filter(|_| throttling.admit_stranger(far, now)).count(), 3);
        assert!(throttling.admit_stranger(Source::Loopback, now));
    }

    #[test]
    fn callers_are_bounded_and_the_greediest_are_remembered() {
        let mut buckets = Buckets::new(RATE);
        assert_eq!(admitted(&mut buckets, 0, 0), 3);
        for caller in 1..=limits::API_CALLERS_MAX as u32 + 100 {
            assert!(buckets.admit(caller, Timestamp(0)));
            assert!(buckets.full_at_us.len() <= limits::API_CALLERS_MAX);
        }
        assert_eq!(admitted(&mut buckets, 0, 0), 0);
        // Full ones go all at once.
        assert!(buckets.admit(u32::MAX, Timestamp(1_000)));
        assert_eq!(buckets.full_at_us.len(), 1);
    }

    #[test]
    fn neighbours_share() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        for (one, other, same) in [
            ("127.0.0.1", "127.9.9.9", true),
            ("127.0.0.1", "::1", true),
            ("::ffff:127.0.0.1", "::1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(of(one) == of(other), same, "{one} and {other}");
        }
    }
}
