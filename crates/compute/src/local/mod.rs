//! The driver of this machine: what it takes to run containers here.
//!
//! Control speaks to it through `client`. In the node `server` hears it, `instance` looks after each wanted instance
//! and `build` after builds; both run what they run in a `container`, joined to the `network`.

pub mod build;
pub mod client;
pub mod container;
pub mod durable;
pub mod instance;
mod kernel;
mod ladder;
mod machine;
mod meter;
pub mod network;
pub mod node;
pub mod protect;
pub mod protocol;
pub mod purge;
mod server;
