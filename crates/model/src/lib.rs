//! What exists and what may happen: pure data and pure decisions.
//!
//! Nothing here reads a clock, draws a random number, opens a file or waits. Types that derive serde are
//! formats: they cross a process boundary or lie in a database, and their change needs thought.

pub mod access;
pub mod build;
pub mod command;
pub mod custom_domain;
pub mod draw;
pub mod extension;
pub mod fixture;
pub mod idle;
pub mod ids;
pub mod instance;
pub mod limits;
pub mod manifest;
pub mod meter;
pub mod operation;
pub mod price;
pub mod reconcile;
pub mod resource;
pub mod routes;
pub mod run;
pub mod scaling;
pub mod schedule;
pub mod service;
pub mod source;
pub mod throttle;
pub mod time;
