//! Which instance has which address: leases, and the quarantine after them.
//!
//! An address belongs to an id until it is released, over crash and restart. It is released when its instance is
//! removed, which control asks for only after every proxy has acknowledged a table without it or is known dead;
//! from then on it is not given out again for `limits::ADDRESS_QUARANTINE_MS`. So both hold: no proxy that lives
//! knows the address, and packets and caches of whoever else knew it have had their time. The search goes round the range, so that an address comes back as late as possible. Pure: time is an argument,
//! in milliseconds since the machine's start, and the book is kept with the id of that start.

use crate::local::network::cidr::Cidr;
use apron_model::limits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The first address of a range that is leased; the network's own and the next one stay free.
const FIRST_OFFSET: u64 = 2;

/// All leases of one platform, as they lie in `network.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    pub range: Cidr,
    /// Identifies the machine's start that `quarantine` counts from.
    boot_id: String,
    /// Where the search for a free address begins, as a place after the first that is leased.
    next: u64,
    leases: BTreeMap<String, Ipv4Addr>,
    /// Until when, in milliseconds since the machine's start, a released address rests.
    quarantine: BTreeMap<Ipv4Addr, u64>,
    /// Interfaces of the host that did not forward before we came, since the machine's start.
    #[serde(default)]
    pub forwarding: BTreeSet<String>,
}

impl Book {
    pub fn new(range: Cidr, boot_id: String) -> Book {
        Book {
            range,
            boot_id,
            next: 0,
            leases: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            forwarding: BTreeSet::new(),
        }
    }

    /// After a restart of the machine the old deadlines mean nothing: every resting address rests anew.
    pub fn restart(&mut self, boot_id: &str, now_ms: u64) {
        if self.boot_id != boot_id {
            self.boot_id = boot_id.to_owned();
            self.forwarding.clear();
            for until in self.quarantine.values_mut() {
                *until = now_ms + limits::ADDRESS_QUARANTINE_MS;
            }
        }
    }

    /// Whether it was kept since this start of the machine.
    pub fn is_of(&self, boot_id: &str) -> bool {
        self.boot_id == boot_id
    }

    pub fn get(&self, id: &str) -> Option<Ipv4Addr> {
        self.leases.get(id).copied()
    }

    /// The ids that hold an address.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.leases.keys().map(String::as_str)
    }

    /// The address of this id, a new one if it has none; `None` when every address is in use or rests.
    pub fn lease(&mut self, id: &str, now_ms: u64) -> Option<Ipv4Addr> {
        if let Some(address) = self.leases.get(id) {
            return Some(*address);
        }
        self.quarantine.retain(|_, until| *until > now_ms);
        let places = self.range.size().saturating_sub(FIRST_OFFSET + 1);
        // As many tries as there are addresses taken, and one more, must find a free one if there is any.
        let tries = places.min((self.leases.len() + self.quarantine.len() + 1) as u64);
        for _ in 0..tries {
            let place = self.next % places;
            self.next = place + 1;
            let address = self.range.address(FIRST_OFFSET + place)?;
            let taken = self.leases.values().any(|leased| *leased == address);
            if !taken && !self.quarantine.contains_key(&address) {
                self.leases.insert(id.to_owned(), address);
                return Some(address);
            }
        }
        None
    }

    /// Gives an address back into quarantine; an unknown id changes nothing. True when something changed.
    pub fn release(&mut self, id: &str, now_ms: u64) -> bool {
        match self.leases.remove(id) {
            Some(address) => {
                self.quarantine.insert(address, now_ms + limits::ADDRESS_QUARANTINE_MS);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(range: &str) -> Book {
        Book::new(range.parse().unwrap(), "boot-1".into())
    }

    #[test]
    fn an_id_keeps_its_address_and_others_get_others() {
        let mut book = book("10.213.0.0/24");
        let first = book.lease("a", 0).unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 213, 0, 2));
        assert_eq!(book.lease("a", 5), Some(first));
        assert_ne!(book.lease("b", 5), Some(first));
    }

    #[test]
    fn a_released_address_rests() {
        // Five of the eight addresses are leased: the network's, the next and the last one are not.
        let mut book = book("10.213.0.0/29");
        for id in ["a", "b", "c", "d", "e"] {
            assert!(book.lease(id, 0).is_some(), "{id}");
        }
        assert_eq!(book.lease("f", 0), None);
        let rested = book.get("c").unwrap();
        assert!(book.release("c", 1_000));
        assert!(!book.release("c", 1_000));
        assert_eq!(book.lease("f", 1_000 + limits::ADDRESS_QUARANTINE_MS - 1), None);
        assert_eq!(book.lease("f", 1_000 + limits::ADDRESS_QUARANTINE_MS), Some(rested));
    }

    #[test]
    fn every_address_comes_round_before_one_comes_back() {
        let mut book = book("10.213.0.0/24");
        let mut now = 0;
        let mut last_used = BTreeMap::new();
        for turn in 0..2_000 {
            // Every lease ends at once; 25 of them fall into one quarantine.
            now += limits::ADDRESS_QUARANTINE_MS / 25;
            let id = format!("i{turn}");
            let address = book.lease(&id, now).unwrap();
            book.release(&id, now);
            if let Some(before) = last_used.insert(address, (turn, now)) {
                assert_eq!(turn - before.0, 253, "in turn");
                assert!(now - before.1 >= limits::ADDRESS_QUARANTINE_MS);
            }
        }
        assert_eq!(last_used.len(), 253);
    }

    #[test]
    fn a_book_with_a_strange_place_is_still_a_book() {
        for (range, next, possible) in
            [("10.213.0.0/29", u64::MAX, true), ("10.213.0.0/29", 0, true), ("10.213.0.0/31", 0, false)]
        {
            let mut book = Book { next, ..book(range) };
            assert_eq!(book.lease("a", 0).is_some(), possible, "{range} {next}");
        }
    }

    #[test]
    fn a_restart_of_the_machine_begins_the_quarantine_anew() {
        let mut book = book("10.213.0.0/29");
        for id in ["a", "b", "c", "d", "e"] {
            book.lease(id, 0);
        }
        book.release("a", 5_000_000);
        book.restart("boot-1", 10);
        book.restart("boot-2", 10);
        assert_eq!(book.lease("f", 5_000), None);
        assert!(book.lease("f", 10 + limits::ADDRESS_QUARANTINE_MS).is_some());
    }
}
