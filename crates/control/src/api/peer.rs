//! One connection of the API's: its requests, and what it may keep us waiting with.
//!
//! A head, a pause between requests and a body are waited for within bounds. So is a peer that does not take its
//! answers. And a peer that is still sending when it has been refused gets the time to see its answer: closing with bytes
//! of it unread would make the kernel break the connection, and the answer would be lost with it.

use super::connections::Connection;
use super::{Api, call, ending};
use apron_model::limits;
use apron_wire::{Error, json};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::Sleep;

/// Answers the requests of a connection until it ends, or must give way to another.
pub(super) async fn serve(
    stream: TcpStream,
    source: IpAddr,
    api: Arc<Api>,
    connection: Connection,
    evicted: oneshot::Receiver<()>,
) {
    let mut shutdown = api.shutdown.clone();
    let head = api.bounds.waits.head;
    let connection = Arc::new(connection);
    let mut stream = Patient::new(stream, &api);
    stream.connection = Some(connection.clone());
    let service = service_fn(move |request| {
        let (api, connection) = (api.clone(), connection.clone());
        async move { Ok::<_, Infallible>(call::answer(&api, request, source, &connection).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(limits::API_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        Ok(()) = evicted => return,
    };
    if let Err(error) = ended {
        // The client's doing: a broken connection, a request that is no HTTP.
        tracing::debug!(%error, "a connection to the API ended early");
    }
}

/// Closes a connection that is one too many, with the reason.
pub(super) async fn refuse(stream: TcpStream, api: &Api) {
    let error = Error::service_unavailable("There are too many connections to the API. Try again.");
    let id = call::request_id(&api.platform.draw().hex());
    let (head, body) = json::error(&error, &id).into_parts();
    let mut bytes =
        format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n", head.status, body.len())
            .into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(&[b"\r\n", body.as_ref()].concat());
    let mut stream = Patient::new(stream, api);
    // Whoever is gone needs no answer.
    if stream.write_all(&bytes).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// A stream that gives up writing when its peer does not read, and that ends in two steps.
struct Patient {
    stream: TcpStream,
    /// Is told when an answer is out; none where there is one answer only.
    connection: Option<Arc<Connection>>,
    /// For all of an answer to be taken.
    answer: Duration,
    /// For a peer to end after us.
    linger: Duration,
    shutdown: watch::Receiver<bool>,
    /// Of the answer that is being written, or of the end.
    give_up: Option<Pin<Box<Sleep>>>,
    /// Bytes that are still to be dropped at most, once the peer knows that nothing more comes.
    dropping: Option<usize>,
}

impl Patient {
    fn new(stream: TcpStream, api: &Api) -> Patient {
        // Answers are one write; waiting for more to send with it would cost 40 ms.
        let _ = stream.set_nodelay(true);
        let waits = &api.bounds.waits;
        Patient {
            stream,
            connection: None,
            answer: waits.answer,
            linger: waits.linger,
            shutdown: api.shutdown.clone(),
            give_up: None,
            dropping: None,
        }
    }

    /// Whether the time has come, which begins with the first question.
    fn is_over(&mut self, cx: &mut Context<'_>, within: Duration) -> bool {
        let give_up = self.give_up.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        give_up.as_mut().poll(cx).is_ready()
    }

    /// What a write gave, unless it has waited for too long.
    fn bounded(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let answer = self.answer;
        match written.is_pending() && self.is_over(cx, answer) {
            true => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken in time")))
            }
            false => written,
        }
    }

    /// Reads and drops until the peer has ended too.
    fn poll_dropped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 16 * 1024];
        let linger = self.linger;
        while self.dropping > Some(0) && !*self.shutdown.borrow() && !self.is_over(cx, linger) {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 {
                break;
            }
            self.dropping = self.dropping.map(|left| left.saturating_sub(count));
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }

    /// Comes after all that was to be written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.give_up = None;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if let Some(connection) = &self.connection {
            connection.written();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dropping.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.dropping = Some(limits::API_DROPPED_BYTES_MAX);
            self.give_up = None;
        }
        self.poll_dropped(cx).map(Ok)
    }
}
