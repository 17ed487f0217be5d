//! X-Request-Id, X-Amzn-Trace-Id and traceparent for requests that bring none: unique, not secret, and cheap.

use http::HeaderValue;
use std::cell::Cell;
use std::io::Read;
use std::time::Duration;
use tokio::time::Instant;

/// 32 hex digits: a random prefix per event loop and a mixed counter.
pub(crate) struct RequestIds {
    prefix: u64,
    counter: Cell<u64>,
    /// When the loop began, and what the clock on the wall said.
    began: Instant,
    began_1970: Duration,
    /// What it said at the last tick.
    seconds: Cell<u64>,
}

impl RequestIds {
    /// Reads 16 random bytes of the kernel, once per loop. `since_1970` is the wall clock's, which traces carry; it is
    /// not asked again.
    pub(crate) fn new(since_1970: Duration) -> std::io::Result<RequestIds> {
        let mut seed = [0u8; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let (prefix, counter) = seed.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(RequestIds {
            prefix: number(prefix),
            counter: Cell::new(number(counter)),
            began: Instant::now(),
            began_1970: since_1970,
            seconds: Cell::new(since_1970.as_secs()),
        })
    }

    /// The prefix, and a number that comes once only.
    fn draw(&self) -> (u64, u64) {
        let count = self.counter.get().wrapping_add(1);
        self.counter.set(count);
        (self.prefix, mix(count))
    }

    pub(crate) fn next(&self) -> HeaderValue {
        value(&self.next_text())
    }

    pub(crate) fn next_text(&self) -> [u8; 32] {
        let (prefix, number) = self.draw();
        let mut text = [0u8; 32];
        write_hex(&mut text[..16], prefix);
        write_hex(&mut text[16..], number);
        text
    }

    /// 16 bytes that come once only.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        let (prefix, number) = self.draw();
        (u128::from(prefix) << 64 | u128::from(number)).to_be_bytes()
    }

    /// Reads the clock for the traces to come; called about once a second.
    pub(crate) fn tick(&self) {
        self.seconds.set((self.began_1970 + self.began.elapsed()).as_secs());
    }

    pub(crate) fn trace(&self) -> Trace {
        let (prefix, number) = self.draw();
        Trace { seconds: self.seconds.get(), prefix, number, span: self.draw().1 }
    }
}

/// One trace, as AWS and as the W3C write it: the digits are the same, so that either is found by the other.
pub(crate) struct Trace {
    seconds: u64,
    prefix: u64,
    number: u64,
    span: u64,
}

impl Trace {
    /// The 24 digits after the time.
    fn digits(&self) -> [u8; 24] {
        let mut text = [0u8; 24];
        write_hex(&mut text[..8], self.prefix);
        write_hex(&mut text[8..], self.number);
        text
    }

    /// `Root=1-<8 digits of the time>-<24 digits>`.
    pub(crate) fn root_text(&self) -> [u8; 40] {
        let mut text = *b"Root=1-........-........................";
        write_hex(&mut text[7..15], self.seconds);
        text[16..].copy_from_slice(&self.digits());
        text
    }

    pub(crate) fn root(&self) -> HeaderValue {
        value(&self.root_text())
    }

    /// `00-<32 digits>-<16 digits>-01`. It says that the trace is recorded: an application's library decides for itself
    /// only where nobody has, and by default it records.
    pub(crate) fn parent_text(&self) -> [u8; 55] {
        let mut text = *b"00-................................-................-01";
        write_hex(&mut text[3..11], self.seconds);
        text[11..35].copy_from_slice(&self.digits());
        // All zeros would be no span.
        write_hex(&mut text[36..52], self.span.max(1));
        text
    }

    pub(crate) fn parent(&self) -> HeaderValue {
        value(&self.parent_text())
    }
}

/// Of characters that are always valid in a header.
fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static("0"))
}

/// A bijection (multiplication by an odd number and xor-shifts), so distinct counts stay distinct while
/// neighbouring ones do not look alike.
fn mix(count: u64) -> u64 {
    let mixed = (count ^ count >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// The last 8 or 16 digits of a number, as many as there is room for.
fn write_hex(text: &mut [u8], number: u64) {
    match text.len() {
        8 => text.copy_from_slice(&hex(number as u32)),
        _ => {
            text[..8].copy_from_slice(&hex((number >> 32) as u32));
            text[8..].copy_from_slice(&hex(number as u32));
        }
    }
}

/// All digits at once: each gets a byte of its own, and those above 9 the distance to the letters.
fn hex(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + ONES * 6) >> 4 & ONES;
    (digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 9, 10, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            let mut text = [0; 16];
            write_hex(&mut text, number);
            assert_eq!(text.as_slice(), format!("{number:016x}").as_bytes());
            write_hex(&mut text[..8], number);
            assert_eq!(text[..8], format!("{number:016x}").as_bytes()[8..]);
        }
    }

    #[test]
    fn ids_are_hex_and_distinct() {
        let ids = RequestIds::new(Duration::ZERO).unwrap();
        let seen: HashSet<String> = (0..10_000).map(|_| ids.next().to_str().unwrap().to_owned()).collect();
        assert_eq!(seen.len(), 10_000);
        assert!(seen.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn a_trace_has_the_forms_of_aws_and_of_the_w3c() {
        let ids = RequestIds::new(Duration::from_secs(0x6543_2100)).unwrap();
        let trace = ids.trace();
        let (root, parent) = (trace.root(), trace.parent());
        let root: Vec<&str> = root.to_str().unwrap().split('-').collect();
        let parent: Vec<&str> = parent.to_str().unwrap().split('-').collect();
        assert_eq!(root.iter().map(|part| part.len()).collect::<Vec<_>>(), [6, 8, 24]);
        assert_eq!((root[0], root[1]), ("Root=1", "65432100"));
        assert_eq!(parent.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert_eq!((parent[0], parent[1], parent[3]), ("00", [root[1], root[2]].concat().as_str(), "01"));
        assert_ne!(ids.trace().parent(), trace.parent());
        assert_ne!(ids.nonce(), ids.nonce());
    }
}
