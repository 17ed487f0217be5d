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
//!
//! # Bounds
//!
//! | what | bound | where |
//! |---|---|---|
//! | client connections | 10,000 per loop, further ones wait in the kernel's queue of 4,096; none per address, because one address may be a whole company or a load balancer | `listen` |
//! | requests under way | 20,000 per loop, then `overloaded`; 128 streams per HTTP/2 connection | `forward`, `listen` |
//! | requests that wait for an instance | 1,000 per service and 30 s, then `no_instance` | `admission` |
//! | TLS handshake | 10 s | `listen` |
//! | certificates held | 64, one a region | `tls` |
//! | connection without a request: idle, or a head that does not end | 60 s, 5 s from 9,000 connections on, and 5 s more to end politely | `client` |
//! | request head | 64 KiB, twice that when it comes in few large pieces, and 100 lines, then 431; 64 KiB with HTTP/2 | `listen` |
//! | wait for a further byte of a request's body | 120 s, then `body_timed_out` | `body` |
//! | connect to an instance | 5 s, then one other instance, then `connect_failed` | `pool`, `forward` |
//! | wait for an answer's head, then for each further byte | 120 s, then `timed_out`, or the end of the connection | `forward`, `body` |
//! | answer's head | as a request's: 64 to 128 KiB and 100 lines, then `bad_response` | `pool` |
//! | client that takes nothing of what was sent | 120 s | `listen` |
//! | tunnel in which nobody says anything | 1 h | `upgrade` |
//! | idle connections to one instance | 128 per loop, 30 s | `pool` |
//! | memory per connection | 64 KiB per direction; with HTTP/2 1 MiB received, and 64 KiB to send and 64 KiB of headers per stream; a body is never collected | `listen`, `pool` |
//! | messages of control | 16 MiB each, two waiting | `link` |
//! | table that cannot be saved | acknowledged after 5 s all the same | `tables` |
//! | drain | `Config::drain_ms`, then what is open is cut | `event_loop` |

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
#[cfg(test)]
#[path = "../../model/tests/support/mutate.rs"]
mod mutate;
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

pub use config::{Config, HEAD_TIMEOUT_MS, IDLE_TIMEOUT_MS, INSTANCE_WAIT_MS, Source, StaticRoute, Tls};
pub use listen::bind;
pub use process::{Listeners, Proxy, ProxyError, run};
