//! X-Request-Id for requests that bring none: unique, not secret, and cheap.

use http::HeaderValue;
use std::cell::Cell;
use std::io::Read;

/// 32 hex digits: a random prefix per event loop and a mixed counter.
pub(crate) struct RequestIds {
    prefix: u64,
    counter: Cell<u64>,
}

impl RequestIds {
    /// Reads 16 random bytes of the kernel, once per loop.
    pub(crate) fn new() -> std::io::Result<RequestIds> {
        let mut seed = [0u8; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let (prefix, counter) = seed.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(RequestIds { prefix: number(prefix), counter: Cell::new(number(counter)) })
    }

    pub(crate) fn next(&self) -> HeaderValue {
        let count = self.counter.get().wrapping_add(1);
        self.counter.set(count);
        let mut text = [0u8; 32];
        write_hex(&mut text[..16], self.prefix);
        write_hex(&mut text[16..], mix(count));
        // Hex digits are always a valid header value.
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// A bijection (multiplication by an odd number and xor-shifts), so distinct counts stay distinct while
/// neighbouring ones do not look alike.
fn mix(count: u64) -> u64 {
    let mixed = (count ^ count >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

fn write_hex(text: &mut [u8], number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (place, digit) in text.iter_mut().rev().enumerate() {
        *digit = DIGITS[(number >> (place * 4) & 15) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_hex_and_distinct() {
        let ids = RequestIds::new().unwrap();
        let seen: HashSet<String> = (0..10_000).map(|_| ids.next().to_str().unwrap().to_owned()).collect();
        assert_eq!(seen.len(), 10_000);
        assert!(seen.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }
}
