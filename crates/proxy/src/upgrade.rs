//! Connections that leave HTTP: WebSockets, bytes in both directions until both sides have ended.
//!
//! A side that ends its own direction only still hears the other one: the end is passed on, nothing more. Over HTTP/2
//! a WebSocket is a stream (RFC 8441); the instance sees one of HTTP/1 either way. When the proxy ends, both
//! sides are given a close frame, if they are not in the middle of another; so is a client whose instance ended without.

use crate::balance::Instance;
use crate::body::ResponseBody;
use crate::client::Active;
use crate::event_loop::{EventLoop, Open};
use crate::headers;
use crate::http2;
use crate::observe::Exchange;
use crate::pool::Ticket;
use crate::reply::Cause;
use crate::websocket::{CLOSE_AS_CLIENT, CLOSE_GOING_AWAY, Frames, Key};
use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderValue, Method, Response, StatusCode, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// After the instance has ended its direction, how long the client may take to end its own: nobody reads it any more,
/// and the instance's place is held meanwhile.
const CLIENT_END_TIME_MAX: Duration = Duration::from_secs(5);
/// A close frame that is not taken within this long is not waited for.
const LAST_WORD_TIME_MAX: Duration = Duration::from_millis(300);

/// How what a client has asked on leaves HTTP once it is answered so.
pub(crate) enum Upgrade {
    Hyper(OnUpgrade),
    Http2(oneshot::Receiver<http2::Tunnel>),
}

/// What a client asked to become.
pub(crate) enum Asked {
    /// An ordinary request, also where it asked for what RFC 9110 §7.8 lets a server pass over.
    Nothing,
    Websocket(Websocket),
    /// A tunnel to anywhere, or one with a body.
    Connect,
    /// CONNECT with a protocol that is not spoken here.
    Other,
}

/// A WebSocket that waits for the instance's answer.
pub(crate) struct Websocket {
    client: Upgrade,
    /// Present over HTTP/2, where the proxy asks the instance in its own name.
    pub(crate) key: Option<Key>,
}

/// Reads what a request asks for; `nonce` makes a key where one is needed.
pub(crate) fn asked(
    parts: &mut request::Parts,
    client: Option<Upgrade>,
    has_body: bool,
    nonce: impl FnOnce() -> [u8; 16],
) -> Asked {
    let protocol = parts.extensions.remove::<Protocol>();
    if parts.method == Method::CONNECT {
        // It has no body (RFC 9110 §9.3.6). The instance gets a GET, which would wait for one of this length, and take
        // for it what another client asks next.
        if parts.headers.contains_key(CONTENT_LENGTH) {
            return Asked::Connect;
        }
        return match (client, protocol) {
            (Some(client), Some(protocol)) if protocol.as_str() == "websocket" => {
                Asked::Websocket(Websocket { client, key: Some(Key::new(nonce())) })
            }
            (_, Some(_)) => Asked::Other,
            (_, None) => Asked::Connect,
        };
    }
    match client {
        Some(client) if !has_body && headers::wants_websocket(parts) => {
            Asked::Websocket(Websocket { client, key: None })
        }
        _ => Asked::Nothing,
    }
}

impl Websocket {
    /// Whether the instance has agreed, to this and to nothing else.
    pub(crate) fn is_agreed<B>(&self, response: &Response<B>) -> bool {
        let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        response.status() == StatusCode::SWITCHING_PROTOCOLS
            && headers::is_websocket(response.headers())
            // Over HTTP/1 the client has the key, and looks for itself.
            && self.key.as_ref().is_none_or(|key| accept == Some(&key.accept()[..]))
    }

    /// Whether this answer, which does not agree, may reach the client. Over HTTP/2 any success would say that the
    /// stream is a WebSocket now.
    pub(crate) fn may_pass(&self, status: StatusCode) -> bool {
        status != StatusCode::SWITCHING_PROTOCOLS && (self.key.is_none() || !status.is_success())
    }
}

/// What a tunnel holds while it is open.
pub(crate) struct Tunnel {
    pub(crate) ticket: Ticket,
    pub(crate) exchange: Exchange,
    pub(crate) active: Active,
    /// Nobody may be silent for longer.
    pub(crate) idle: Duration,
}

impl Tunnel {
    fn not_made(&self, error: &dyn std::error::Error) {
        let id = &self.ticket.upstream.instance.id;
        tracing::debug!(%id, %error, "tunnel was not made");
    }
}

/// Answers that the protocol is switched and, once that is sent, joins both connections. The place on the instance
/// stays taken until the tunnel ends.
pub(crate) fn tunnel(
    websocket: Websocket,
    response: Response<Incoming>,
    tunnel: Tunnel,
) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    headers::strip_connection_headers(&mut parts.headers);
    let instance =
        parts.extensions.remove::<OnUpgrade>().unwrap_or_else(|| hyper::upgrade::on(Response::new(body)));
    if websocket.key.is_some() {
        parts.status = StatusCode::OK;
        parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
        // RFC 9110 §9.3.6; what follows is no body.
        parts.headers.remove(CONTENT_LENGTH);
    } else {
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let open = Open::new(tunnel.active.event_loop());
    tokio::task::spawn_local(async move {
        let (mut tunnel, _open) = (tunnel, open);
        match websocket.client {
            Upgrade::Hyper(client) => match tokio::try_join!(client, instance) {
                Ok((client, instance)) => {
                    join(TokioIo::new(client), TokioIo::new(instance), &mut tunnel).await;
                }
                Err(error) => tunnel.not_made(&error),
            },
            Upgrade::Http2(client) => match tokio::join!(client, instance) {
                (Ok(client), Ok(instance)) => join(client, TokioIo::new(instance), &mut tunnel).await,
                (_, Err(error)) => tunnel.not_made(&error),
                (Err(error), Ok(_)) => tunnel.not_made(&error),
            },
        }
    });
    Response::from_parts(parts, ResponseBody::empty())
}

async fn join(
    client: impl AsyncRead + AsyncWrite + Unpin,
    instance: impl AsyncRead + AsyncWrite + Unpin,
    tunnel: &mut Tunnel,
) {
    let (last, instance_ended) = (Rc::new(Cell::new(Instant::now())), Rc::new(Notify::new()));
    let quiet = Quiet::begin(&tunnel.ticket.upstream.instance);
    let moves = || quiet.moves(tunnel.active.event_loop());
    let mut client = Watched::new(client, &last, &moves);
    client.parting = &CLOSE_GOING_AWAY;
    let mut instance = Watched::new(instance, &last, &moves);
    instance.ended = Some(instance_ended.clone());
    let idle = async {
        while last.get().elapsed() < tunnel.idle {
            sleep_until(last.get() + tunnel.idle).await;
        }
    };
    let ended = async {
        instance_ended.notified().await;
        sleep(CLIENT_END_TIME_MAX).await;
    };
    let silent = tokio::select! {
        // Either end is a regular end of a tunnel.
        _ = copy_bidirectional(&mut client, &mut instance) => None,
        () = ended => None,
        () = idle => Some(Cause::StreamIdle),
        () = tunnel.active.event_loop().farewell() => Some(Cause::Drained),
    };
    if let Some(cause) = silent {
        tunnel.exchange.cause(cause);
        let last_words = async {
            tokio::join!(client.take_leave(&CLOSE_GOING_AWAY), instance.take_leave(&CLOSE_AS_CLIENT))
        };
        // They may hang like the connections that they are sent on; then the tunnel ends without.
        let _ = timeout(LAST_WORD_TIME_MAX, last_words).await;
    }
    tunnel.exchange.sent(client.written);
    tunnel.exchange.received(instance.written);
}

/// A tunnel holds its place at the instance, and is nothing to do for it unless something moves.
struct Quiet(Arc<Instance>);

impl Quiet {
    fn begin(instance: &Arc<Instance>) -> Quiet {
        instance.slots.tunnel(true);
        Quiet(instance.clone())
    }

    fn moves(&self, event_loop: &EventLoop) {
        event_loop.waker.busy(&self.0);
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.0.slots.tunnel(false);
    }
}

/// A stream that notes when something was read from it, and what was written to it.
struct Watched<'a, S> {
    stream: S,
    last: Rc<Cell<Instant>>,
    /// Called when something was read.
    moves: &'a dyn Fn(),
    /// To be told when there is nothing more to read.
    ended: Option<Rc<Notify>>,
    written: u64,
    frames: Frames,
    /// What is said before the end, unless the other side has said it or is in the midst of something else.
    parting: &'static [u8],
}

impl<'a, S: AsyncWrite + Unpin> Watched<'a, S> {
    fn new(stream: S, last: &Rc<Cell<Instant>>, moves: &'a dyn Fn()) -> Watched<'a, S> {
        let (last, frames) = (last.clone(), Frames::default());
        Watched { stream, last, moves, ended: None, written: 0, frames, parting: &[] }
    }

    /// Ends a WebSocket as its protocol wants it, with this close frame.
    async fn take_leave(&mut self, close: &[u8]) -> io::Result<()> {
        if self.frames.may_close() {
            self.stream.write_all(close).await?;
            self.stream.flush().await?;
        }
        self.stream.shutdown().await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.last.set(Instant::now());
            (self.moves)();
            if buffer.filled().len() == before
                && let Some(ended) = self.ended.take()
            {
                ended.notify_one();
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.written += length as u64;
        self.frames.pass(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.frames.may_close() && !self.parting.is_empty() {
            let parting = self.parting;
            let length = ready!(Pin::new(&mut self.stream).poll_write(context, parting))?;
            self.parting = &parting[length..];
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
