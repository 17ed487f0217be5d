//! A real platform for one test: `apron serve` in a data directory of its own, on free ports, with everything
//! that it makes on the machine removed at the end, also when the test panics. Needs root.
#![allow(unreachable_pub, reason = "a module of a test program has no other public")]

pub mod api;
pub mod aws;
pub mod bases;
pub mod browser;
pub mod dns;
pub mod git;
pub mod git_server;
pub mod http;
pub mod image;
pub mod load;
pub mod mounted;
pub mod neighbourhood;
pub mod observed;
pub mod platform;
pub mod processes;
pub mod registry;
pub mod streams;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use platform::{Options, Platform};

/// The binary under test.
pub const APRON: &str = env!("CARGO_BIN_EXE_apron");

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository's root")
}

/// Tries until it gives a value; panics with the last reason after the time.
pub fn eventually<T>(within: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= deadline => panic!("{what}: not within {within:?}: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
