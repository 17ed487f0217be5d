//! What the proxies and the node of one machine know together of each instance: how many requests each proxy has there,
//! and how much of the instance there is (`model::idle`).
//!
//! Both lie in a memory file that all of them have mapped (`memory`). Proxies count in it (`counts`), the node looks
//! (`watch`): a request that finds its instance awake costs no message. Only what has to happen soon is said over a socket
//! (`channel`): that a request needs an instance that sleeps, and that it is awake; and how a start went.
//!
//! # Nobody is asked who sleeps
//!
//! A proxy first counts its request and then reads the state; the node first writes the state and then reads the counts.
//! Both do so in one order that all agree on (`SeqCst`). So either the node sees the request and leaves the instance
//! awake, or the proxy sees that it is going to sleep, takes its count back, and asks for it to be woken.

pub mod channel;
mod counts;
mod memory;
mod watch;

pub use counts::{Region, Seen, Slots};
pub use memory::{counts_memory, is_counts_memory, key};
pub use watch::{Watched, Watcher};

/// How far an instance is to be had, as the node says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wakefulness {
    #[default]
    Awake,
    /// It serves, slowly: the node wants to be told of a request.
    Throttled,
    /// It serves nothing until it was woken: it is frozen or stopped, or is about to be.
    Asleep,
}
