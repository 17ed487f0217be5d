//! The data plane: takes requests from users and carries them to instances.
//!
//! A request passes `listen` → `route` → `https` → `strangers` → `admission` → `balance` → `observe`, carried by `http1`
//! where both sides speak HTTP/1 and by `forward` over hyper where not; whatever fails on the way becomes an answer in
//! `reply`. There is one current-thread event loop per core (`event_loop`), each with its own listening sockets, its own
//! copy of the route table's handle and its own pools of connections to instances (`pool`), so that a request never
//! leaves its core and never takes a lock. Numbers are shared: how many requests each instance has in flight
//! (`apron-activity`, also with a proxy that takes over) and how often in a row it failed (`ejection`). Only a request that
//! finds all instances full meets others under a lock, in its service's `queue`.
//!
//! `link` keeps the route table in step with control and `saved` keeps it on disk; with control gone, or at a start
//! without it, the last table serves on. Nothing here knows the control plane, its store or the AWS protocols.
//!
//! # Bounds
//!
//! | what | bound | where |
//! |---|---|---|
//! | client connections | 10,000 per loop, further ones wait in the kernel's queue of 4,096; of one address, or network of 64 bits of IPv6, `Config::connections_per_address_max` over all loops, but of those in `Config::trusted`, behind which are many | `listen`, `strangers` |
//! | addresses whose requests are counted for a service's limit | 20,000, further ones share one count per service | `strangers` |
//! | header of the PROXY protocol | 107 bytes, 2,280 with version 2, 5 s | `proxy_protocol`, `listen` |
//! | requests under way | 20,000 per loop, then `overloaded`; 128 streams per HTTP/2 connection, of which 200 a second may be taken back before they are answered, then the connection ends | `forward`, `http2`, `client` |
//! | requests in flight per instance | `Service::ceiling`, over all loops and proxies, and 32,767 per proxy | `balance` |
//! | requests that wait for a place | 10,000 per service, or 4 per place if that is more, then `queue_full`; the request's own time-out, then `queue_timed_out`; 5 s where there is no instance and none on its way, then `no_capacity` | `queue`, `admission` |
//! | instances that the node was asked to wake | each once per loop; a connection to the node that breaks is made anew after 10 ms to 0.5 s | `waker` |
//! | an instance that fails | out after 5 failures in a row, or when nobody listens there, for 1 s to 30 s, never the last one | `ejection` |
//! | proxies that count together | 4, and 65,536 instances; what is more counts alone | `apron-activity` |
//! | TLS handshake | 10 s | `listen` |
//! | certificates of the local authority held | 64, one a region | `tls::apps` |
//! | pairs of certificate and key from files | 20,000, of 64 KiB each file at most | `tls::files` |
//! | TLS sessions kept for clients without tickets | 4,096 | `tls` |
//! | connection without a request: idle, or a head that does not end | 60 s, 5 s from 9,000 connections on, and 5 s more to end politely | `client` |
//! | request head | 64 KiB and 100 lines, then `head_too_large`; its first line 16 KiB, then `uri_too_long`; 30 s from its first byte; the same with HTTP/2, whose cookies count once | `http1`, `headers`, `http2` |
//! | request's body | the service's own limit, then `body_too_large` | `http1`, `upload` |
//! | line before a chunk, and trailers | 4 KiB, and 16 KiB of 32 lines, then `bad_request` or the end of the connection | `http1` |
//! | wait for a further byte of a request's body | 120 s, and over as long of waiting 240 bytes a second on average; then `body_timed_out` | `http1`, `body` |
//! | connect to an instance | 5 s, then up to three other instances, or the line while those are full; then `connect_failed` | `http1`, `pool`, `forward` |
//! | wait for an answer's head, then for each further byte | 120 s or the service's own limit, which may count in all; then `timed_out`, or the end of the stream; in a gRPC stream 1 h in which neither side speaks | `http1`, `forward`, `body` |
//! | answer's head | 64 KiB, through hyper up to 128 KiB, 100 lines, and 8 heads of 1xx before it, then `bad_response` | `http1`, `pool` |
//! | client that has ended its direction and was sent nothing since | 2 s, then its place goes to others; in the line at once | `http1` |
//! | client that still sends after its last answer | 2 s | `http1` |
//! | client that takes nothing of what was sent | 120 s | `listen`, and for a stream of HTTP/2 `body` |
//! | WebSocket that its instance has ended | 5 s for its client | `upgrade` |
//! | tunnel in which nobody says anything | 1 h or the service's own limit | `upgrade` |
//! | idle connections to one instance | 128 per loop and 30 s, of `http1` and of hyper each | `http1`, `pool` |
//! | connections to one instance that speaks HTTP/2 | 16 per loop, 64 streams each, 128 KiB received per stream | `multiplex` |
//! | body kept for a second attempt | 64 KiB, until an answer begins; HTTP/2 applications only | `upload` |
//! | memory per connection | 64 KiB per direction, none while it sleeps; with HTTP/2 1 MiB received, 256 KiB of it per stream, and 64 KiB to send and 64 KiB of headers per stream; a body is never collected | `http1`, `http2`, `pool` |
//! | lines of the access log that wait | 4,096, then lines are dropped and counted; two files of 16 MiB | `access_log` |
//! | readers of the metrics | 8 at a time, 5 s each | `metrics` |
//! | messages of control | 16 MiB each, two waiting | `link` |
//! | table that cannot be saved | acknowledged after 5 s all the same | `tables` |
//! | drain | `Config::drain_ms`, of which 0.5 s for the close frames of WebSockets, then what is open is cut | `event_loop` |

mod access_log;
mod admission;
mod affinity;
mod balance;
mod body;
mod client;
mod client_body;
mod config;
mod ejection;
mod event_loop;
mod forward;
mod headers;
mod http1;
mod http2;
mod https;
mod instance_body;
mod instance_tls;
mod link;
mod listen;
mod metrics;
mod multiplex;
#[cfg(test)]
#[path = "../../model/tests/support/mutate.rs"]
mod mutate;
mod observe;
mod pool;
mod process;
mod proxy_protocol;
mod queue;
mod reply;
mod request_id;
mod rewound;
mod route;
mod saved;
mod shards;
mod strangers;
mod tables;
mod tls;
mod upgrade;
mod upload;
mod waker;
mod wall;
mod websocket;

pub use apron_activity::{counts_memory, is_counts_memory};
pub use config::{
    CONNECTIONS_PER_ADDRESS_MAX, CertificateFiles, Config, HEAD_TIMEOUT_MS, IDLE_TIMEOUT_MS,
    INSTANCE_WAIT_MS, OpeningTimeouts, PairFiles, Source, StaticRoute, Tls,
};
pub use headers::is_via_name;
pub use process::{Listeners, Proxy, ProxyError, run};
pub use tls::{AuthorityError, check_authority};
