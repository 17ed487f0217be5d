//! Logs of services and of calls: taken in, kept within bounds, read back by cursor.
//!
//! This crate owns the files below `<data>/logs`. One process opens them, control; everything else reads
//! through its API. A stream is a row of numbered lines in append-only segments; the oldest segment goes when
//! there are too many, so that disk use has a bound that is known before. Numbers never change, so a cursor
//! stays right over rotation and restarts, and a reader who comes too late is told how much he missed.
//!
//! Lines are with the kernel when `append` returns, so that a killed process loses none; a power cut may lose
//! the last second. That is enough here and never enough for what `store` keeps.

mod line;
mod logs;
mod segments;

pub use line::Line;
pub use logs::{Cursor, Limits, LogError, Logs, Page, Share, Stream};
