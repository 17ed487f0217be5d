//! The data plane: takes requests from users and carries them to instances.
//!
//! A request passes `listen` → `route` → `admission` → `balance` → `forward` → `observe`; whatever fails on the
//! way becomes an answer in `reply`. There is one current-thread event loop per core (`event_loop`), each with its
//! own listening sockets, its own copy of the route table's handle and its own pools of connections to instances
//! (`pool`), so that a request never leaves its core and never takes a lock. Only numbers are shared: how many
//! requests each instance has in flight.
//!
//! `link` keeps the route table in step with control and `saved` keeps it on disk; with control gone, or at a start
//! without it, the last table serves on. Nothing here knows the control plane, its store or the AWS protocols.

mod admission;
mod balance;
mod body;
mod client;
mod config;
mod event_loop;
mod forward;
mod headers;
mod link;
mod listen;
mod observe;
mod pool;
mod process;
mod reply;
mod request_id;
mod route;
mod saved;
mod tables;
mod tls;
mod upgrade;

pub use config::{Config, HEAD_TIMEOUT_MS, INSTANCE_WAIT_MS, Source, StaticRoute, Tls};
pub use listen::bind;
pub use process::{Listeners, Proxy, ProxyError, run};
