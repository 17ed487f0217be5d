//! The common request, HTTP/1 on both sides, without a detour.
//!
//! One task per client reads a head into one buffer, writes it anew for the instance, and moves bytes in both
//! directions until the answer has ended; connections to instances are driven by the task whose request they carry.
//! In the steady state a request is one read and one write on each side, and allocates nothing.
//!
//! `serve` is the connection, `parse` says what a head is and refuses what could be read in two ways, `head` writes
//! heads anew, `relay` carries one exchange, `body` knows where a body ends, `pool` keeps connections to instances, and
//! `connect` makes them.
//! `call` lends both ends of it, heads and connections, to requests without a body that came by HTTP/2.
//! What speaks something else goes on as it came: HTTP/2 to `http2`, and to hyper's way what is seldom and requests to a
//! service whose application does not speak HTTP/1. `gate` sees to it that hyper is not less strict with it.

mod body;
mod buffer;
mod call;
mod connect;
mod gate;
mod head;
mod parse;
mod pool;
mod relay;
mod reset;
mod serve;

pub(crate) use buffer::Buffers;
pub(crate) use call::{Call, CallBody};
pub(crate) use gate::{Gate, Ruling};
pub(crate) use parse::{HEADERS_MAX, REQUEST_LINE_BYTES_MAX};
pub(crate) use pool::RawPool;
pub(crate) use reset::Reset;

use crate::client::{Client, Order};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection on which the next request is not for this path, and what was read of it.
pub(crate) struct Handover<S> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) stream: S,
}

/// Speaks HTTP/1 with a client until one of both ends it, or until somebody else must go on.
pub(crate) async fn serve<S>(client: Rc<Client>, stream: S) -> Option<Handover<S>>
where
    S: AsyncRead + AsyncWrite + Reset + Unpin + 'static,
{
    let mut requests = pin!(serve::serve(client.clone(), stream));
    poll_fn(|context| {
        if client.order() == Order::Cut {
            return Poll::Ready(None);
        }
        client.register(context.waker());
        requests.as_mut().poll(context)
    })
    .await
}
