//! The proxy between real clients and real instances, over sockets of loopback. One test binary: each further one
//! would link the whole proxy again.

mod admission;
mod asleep;
mod clients;
mod elsewhere;
mod failures;
mod fuzz;
mod h2_cases;
mod handed_over;
mod hostile;
mod http1;
mod http2;
mod limits;
mod load;
#[path = "../../../model/tests/support/mutate.rs"]
mod mutate;
mod nginx;
mod observed;
mod process;
mod requests;
mod slow_peers;
mod strangers;
mod support;
mod tables;
mod talk;
mod tls;
mod websockets;
