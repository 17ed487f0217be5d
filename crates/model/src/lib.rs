//! What exists and what may happen: pure data and pure decisions.
//!
//! Nothing here reads a clock, draws a random number, opens a file or waits. Types that derive serde are
//! formats: they cross a process boundary or lie in a database, and their change needs thought.

pub mod build;
pub mod ids;
pub mod instance;
pub mod limits;
pub mod routes;
pub mod service;
pub mod time;
