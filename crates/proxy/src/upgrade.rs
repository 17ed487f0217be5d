//! Connections that leave HTTP: WebSockets, bytes in both directions until both sides have ended.
//!
//! A side that ends its own direction only still hears the other one: the end is passed on, nothing more.

use crate::body::ResponseBody;
use crate::client::Active;
use crate::event_loop::Open;
use crate::pool::Ticket;
use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header::{CONNECTION, UPGRADE};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::{Instant, sleep_until};

/// A tunnel in which neither side says anything for this long is closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(3600);

/// Answers 101 and, once that is sent, joins both connections. The place on the instance stays taken until the
/// tunnel ends.
pub(crate) fn tunnel(
    client_upgrade: OnUpgrade,
    response: Response<Incoming>,
    ticket: Ticket,
    active: Active,
) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    crate::headers::strip_connection_headers(&mut parts.headers);
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let instance_upgrade =
        parts.extensions.remove::<OnUpgrade>().unwrap_or_else(|| hyper::upgrade::on(Response::new(body)));
    let open = Open::new(active.event_loop());
    tokio::task::spawn_local(async move {
        let (ticket, _active, _open) = (ticket, active, open);
        let joined = async {
            let (mut client, mut instance) = tokio::try_join!(client_upgrade, instance_upgrade)?;
            join(TokioIo::new(&mut client), TokioIo::new(&mut instance)).await;
            Ok::<(), hyper::Error>(())
        };
        if let Err(error) = joined.await {
            tracing::debug!(id = %ticket.upstream.instance.id, %error, "tunnel was not made");
        }
    });
    Response::from_parts(parts, ResponseBody::whole(Bytes::new()))
}

async fn join(client: impl AsyncRead + AsyncWrite + Unpin, instance: impl AsyncRead + AsyncWrite + Unpin) {
    let last = Rc::new(Cell::new(Instant::now()));
    let mut client = Watched { stream: client, last: last.clone() };
    let mut instance = Watched { stream: instance, last: last.clone() };
    let idle = async {
        while last.get().elapsed() < IDLE_TIME_MAX {
            sleep_until(last.get() + IDLE_TIME_MAX).await;
        }
    };
    tokio::select! {
        // Either end is a regular end of a tunnel.
        _ = copy_bidirectional(&mut client, &mut instance) => {}
        () = idle => {}
    }
}

/// A stream that notes when something was read from it.
struct Watched<S> {
    stream: S,
    last: Rc<Cell<Instant>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.last.set(Instant::now());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
