//! The proxy between real clients and real instances, over sockets of loopback. One test binary: each further one
//! would link the whole proxy again.

mod failures;
mod hostile;
mod limits;
mod process;
mod requests;
mod support;
mod tables;
