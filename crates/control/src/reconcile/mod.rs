//! Reconcilers: one per kind of thing, the only code that touches the world.
//!
//! Each takes no input. It reads wishes, looks at facts, does what is missing, and records what it sees; a hint
//! or a timer only wakes it. What fails is tried again with a growing pause, for as long as it is wished. A pass
//! that is cut short at any point is made good by the next one.

pub(crate) mod builds;
pub(crate) mod housekeeping;
pub(crate) mod instances;
pub(crate) mod meter;
pub(crate) mod output;
pub(crate) mod routes;
pub(crate) mod scale;
pub(crate) mod uses;

use std::time::Duration;

/// The pause after so many failures in a row: 200 ms, doubling, to half a minute.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_millis(200 << failures.min(8)).min(Duration::from_secs(30))
}
