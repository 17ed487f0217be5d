//! Clients that speak HTTP/2: streams of one connection, each of which carries one request by `forward`.
//!
//! The h2 crate keeps the protocol; this is what is left of a server around it, without layers between: a connection
//! accepts, a task per stream asks and passes the answer on (`stream`), and WebSockets become tunnels (`tunnel`).
//!
//! What a client may do beside requests is bounded by h2: it reads on only when an answer to a ping or to settings could
//! be written, so a flood of them waits in the client's own buffers; a head is refused after few CONTINUATION frames;
//! and a connection without a request ends when it is idle, however many frames it sends.

mod stream;
mod tunnel;

pub(crate) use stream::Received;
pub(crate) use tunnel::Tunnel;

use crate::client::{Client, Order};
use bytes::Bytes;
use h2::server::{Builder, Connection};
use h2::{Ping, PingPong, Reason};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

/// What HTTP/2 with prior knowledge begins with (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of one connection at a time; what RFC 9113 recommends at least.
const STREAMS_MAX: u32 = 128;
/// What a client may send beyond what was read, on its whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for one stream. A part of the whole, so that an upload that an instance does not read leaves room for
/// others.
const STREAM_WINDOW_BYTES: u32 = CONNECTION_WINDOW_BYTES / 4;
/// What of an answer waits for a client's window, for each stream.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Header list of one request.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// Streams that a client opened and reset before they were looked at: more than that is an attack (CVE-2023-44487),
/// and its connection ends.
const RESET_STREAMS_MAX: usize = 20;
/// Streams that had to be reset because a client broke the protocol on them, over the connection's life; likewise
/// (CVE-2025-8671). It also counts what comes late for streams that were answered early, so it leaves room for those.
const BROKEN_STREAMS_MAX: usize = 1_024;
/// A client is asked for a sign of life this often, because a stream may be silent for an hour.
const PING_PERIOD: Duration = Duration::from_secs(60);
/// What has not answered a ping for this long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves requests until the connection ends. The stream begins with the preface.
pub(crate) async fn serve(client: Rc<Client>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(Some(BROKEN_STREAMS_MAX))
        // WebSockets as streams, RFC 8441.
        .enable_connect_protocol();
    let mut handshake = pin!(builder.handshake::<_, Bytes>(stream));
    let made = poll_fn(|context| {
        // Short of that, a request may have come with the preface, and is answered before the connection ends.
        if client.order() == Order::Cut {
            return Poll::Ready(None);
        }
        client.register(context.waker());
        handshake.as_mut().poll(context).map(Some)
    });
    let connection = match made.await {
        Some(Ok(connection)) => connection,
        Some(Err(error)) => return tracing::debug!(%error, "no HTTP/2"),
        None => return,
    };
    let mut serving = Serving::new(client, connection);
    if let Err(error) = poll_fn(|context| serving.poll(context)).await {
        tracing::debug!(%error, "connection of a client ended");
    }
}

struct Serving<S> {
    client: Rc<Client>,
    connection: Connection<S, Bytes>,
    told: Order,
    life: Option<Life>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    fn new(client: Rc<Client>, mut connection: Connection<S, Bytes>) -> Serving<S> {
        let life = connection.ping_pong().map(Life::new);
        Serving { client, connection, told: Order::Serve, life }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let order = self.client.order();
        if order == Order::Cut {
            let reason = if self.client.floods() { Reason::ENHANCE_YOUR_CALM } else { Reason::NO_ERROR };
            self.connection.abrupt_shutdown(reason);
            // The last word goes out as far as the client takes it now. What else came is dropped.
            let _ = self.connection.poll_accept(context);
            return Poll::Ready(Ok(()));
        }
        if order > self.told {
            self.told = order;
            self.connection.graceful_shutdown();
        }
        self.client.register(context.waker());
        if self.life.as_mut().is_some_and(|life| life.poll(context).is_ready()) {
            tracing::debug!("a client gives no sign of life");
            self.life = None;
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
        }
        while let Some(accepted) = ready!(self.connection.poll_accept(context)) {
            let (request, respond) = accepted?;
            // Boxed: a task's future is moved each time that the task changes its state.
            tokio::task::spawn_local(Box::pin(stream::serve(self.client.clone(), request, respond)));
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether the client is still there.
struct Life {
    pings: PingPong,
    /// A ping was sent and not answered.
    asked: bool,
    timer: Pin<Box<Sleep>>,
}

impl Life {
    fn new(pings: PingPong) -> Life {
        Life { pings, asked: false, timer: Box::pin(sleep(PING_PERIOD)) }
    }

    /// Takes an answer that has come, or waits for it.
    fn hear(&mut self, context: &mut Context<'_>) {
        if self.asked && self.pings.poll_pong(context).is_ready() {
            self.asked = false;
            self.timer.as_mut().reset(Instant::now() + PING_PERIOD);
        }
    }

    /// Ready when it gave no sign of life.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.hear(context);
        while self.timer.as_mut().poll(context).is_ready() {
            // One that cannot be asked has its connection end by itself.
            if self.asked || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.asked = true;
            self.timer.as_mut().reset(Instant::now() + PING_TIMEOUT);
            self.hear(context);
        }
        Poll::Pending
    }
}
