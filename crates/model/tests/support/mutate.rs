//! Fuzzing without a fuzzer: well-formed inputs, changed by dice, given to a reader of untrusted bytes. The long
//! list's fuzz tests of several crates include this file.
//!
//! One number decides a case. A failure prints it, and `APRON_FUZZ_SEED=<number>` runs that case alone;
//! `APRON_FUZZ_SECONDS` says for how long to go on otherwise. Not coverage-guided: it finds what a reader forgets,
//! not what needs a proof.

// The model has no clock; the test of it needs one to know when to stop.
#![allow(clippy::disallowed_methods)]

use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const SECONDS: u64 = 30;
/// A reader that takes longer for one small input can be held up at will.
const CASE_TIME_MAX: Duration = Duration::from_secs(5);
const CHANGES_MAX: u64 = 8;
const INPUT_BYTES_MAX: usize = 256 * 1024;

/// splitmix64: small, and good enough to choose by.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Below `end`; 0 when there is nothing below it.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        // Mostly short ones.
        let most = (length - start).min(1 << self.below(12));
        start..start + self.below(most + 1)
    }
}

/// Gives changed inputs to `check`, which panics when one is not read as it should be. `words` are what the format
/// is made of.
///
/// # Panics
/// At the first input that `check` panicked at or took too long for, with the number to repeat it by.
pub(crate) fn fuzz(corpus: &[&[u8]], words: &[&str], mut check: impl FnMut(&[u8])) {
    let (first, cases) = for_seconds(SECONDS, |seed| {
        let input = input(&mut Random::new(seed), corpus, words);
        let start = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| check(&input)));
        let shown = String::from_utf8_lossy(&input[..input.len().min(2_000)]).into_owned();
        assert!(ended.is_ok(), "APRON_FUZZ_SEED={seed} repeats this; the input begins:\n{shown}");
        let took = start.elapsed();
        assert!(took < CASE_TIME_MAX, "APRON_FUZZ_SEED={seed} took {took:?}; the input begins:\n{shown}");
    });
    println!("{cases} cases from {first}");
}

/// Runs cases, each by a number of its own, for so long, or as the environment has it. Gives the first number and how
/// many cases there were.
pub(crate) fn for_seconds(seconds: u64, mut case: impl FnMut(u64)) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    if let Some(seed) = number("APRON_FUZZ_SEED") {
        case(seed);
        return (seed, 1);
    }
    // Other cases in every run.
    let first = std::hash::RandomState::new().build_hasher().finish();
    let (start, limit) =
        (Instant::now(), Duration::from_secs(number("APRON_FUZZ_SECONDS").unwrap_or(seconds)));
    let mut cases = 0;
    while start.elapsed() < limit {
        case(first.wrapping_add(cases));
        cases += 1;
    }
    (first, cases)
}

/// One of the corpus, changed.
pub(crate) fn input(random: &mut Random, corpus: &[&[u8]], words: &[&str]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].to_vec();
    for _ in 0..1 + random.next() % CHANGES_MAX {
        let range = random.range(bytes.len());
        let place = range.start;
        match random.below(8) {
            0 if place < bytes.len() => bytes[place] ^= 1 << random.below(8),
            1 if place < bytes.len() => bytes[place] = random.next() as u8,
            2 => drop(bytes.drain(range)),
            3 => {
                let copy = bytes[range].to_vec();
                let to = random.below(bytes.len() + 1);
                let times = 1 << random.below(6);
                bytes.splice(to..to, copy.repeat(times));
            }
            4 => {
                let word = words[random.below(words.len())].as_bytes();
                bytes.splice(range, word.iter().copied());
            }
            5 => {
                let other = corpus[random.below(corpus.len())];
                let part = other[random.range(other.len())].to_vec();
                bytes.splice(range, part);
            }
            6 => bytes.truncate(place),
            _ => {
                let word = words[random.below(words.len())].as_bytes();
                bytes.splice(place..place, word.repeat(1 << random.below(8)));
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}
