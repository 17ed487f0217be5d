//! Connections to one instance that speaks HTTP/2 without TLS: few of them, each for many requests.

use crate::body::RequestBody;
use crate::listen::LocalExecutor;
use crate::pool::{BUFFER_BYTES_MAX, ConnectError, IDLE_TIME_MAX, IDLE_TIME_UNREPLAYABLE_MAX};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Connections of one loop to one instance. They are opened one by one, as the streams of those before run out.
const CONNECTIONS_MAX: usize = 16;
/// Requests on one connection, fewer where the application says so.
const STREAMS_MAX: usize = 64;
/// What the application may send on one stream beyond what a client took. Small, because it is near; and the window of
/// the connection holds that of every stream, so that a client that takes nothing holds up no other.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX as u32;

/// The connections of one loop to one instance.
#[derive(Default)]
pub(crate) struct Shared {
    all: RefCell<Vec<Rc<Multiplexed>>>,
    /// One is being opened; the requests that find none wait for it.
    opening: Cell<bool>,
    opened: Notify,
    /// How many could not be opened.
    failures: Cell<u64>,
}

struct Multiplexed {
    sender: SendRequest<RequestBody>,
    /// Requests on it.
    streams: Cell<usize>,
    /// As many as the application takes at a time, as far as that is known.
    streams_max: Rc<Cell<usize>>,
    /// When a request ended on it.
    since: Cell<Instant>,
    /// It has sent a stream back because it ends.
    leaving: Cell<bool>,
}

/// A request's place on a connection, counted until it is dropped.
pub(crate) struct Stream {
    connection: Rc<Multiplexed>,
    sender: SendRequest<RequestBody>,
}

impl Stream {
    fn new(connection: &Rc<Multiplexed>) -> Stream {
        connection.streams.set(connection.streams.get() + 1);
        Stream { connection: connection.clone(), sender: connection.sender.clone() }
    }

    pub(crate) async fn try_send_request(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.sender.try_send_request(request).await
    }

    /// The connection ends: no request is begun on it any more.
    pub(crate) fn leave(&self) {
        self.connection.leaving.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
        self.connection.since.set(Instant::now());
    }
}

impl Multiplexed {
    async fn speak(stream: TcpStream) -> Result<Rc<Multiplexed>, ConnectError> {
        let mut builder = http2::Builder::new(LocalExecutor);
        builder
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(BUFFER_BYTES_MAX as u32)
            .max_send_buf_size(BUFFER_BYTES_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let streams_max = Rc::new(Cell::new(STREAMS_MAX));
        let known = streams_max.clone();
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            let ended = poll_fn(|context| {
                let polled = connection.as_mut().poll(context);
                known.set(connection.current_max_send_streams());
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "HTTP/2 connection to an instance ended");
            }
        });
        Ok(Rc::new(Multiplexed {
            sender,
            streams: Cell::new(0),
            streams_max,
            since: Cell::new(Instant::now()),
            leaving: Cell::new(false),
        }))
    }

    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.leaving.get()
    }

    /// Whether the application may be closing it at this moment.
    fn was_idle(&self) -> bool {
        self.streams.get() == 0 && self.since.get().elapsed() > IDLE_TIME_UNREPLAYABLE_MAX
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.streams_max.get().min(STREAMS_MAX)
    }
}

impl Shared {
    /// A stream on a connection that is open and has room; the first such one, so that a surplus of them ages.
    /// `replayable`: the request may be sent again, should the connection turn out to be at its end.
    pub(crate) fn take(&self, replayable: bool) -> Option<Stream> {
        let mut all = self.all.borrow_mut();
        // After GOAWAY a connection takes no new stream; those on it hold it themselves. One that was idle is closed
        // here, or requests that come now and then would leave one behind each.
        all.retain(|connection| connection.is_usable() && (replayable || !connection.was_idle()));
        all.iter().find(|connection| connection.has_room()).map(Stream::new)
    }

    /// A stream, on a new connection if need be; `keep` is asked whether others may use that too. Of many requests at
    /// once only one opens: the others wait for its connection, and hear of its failure.
    pub(crate) async fn open(
        &self,
        connect: impl AsyncFnOnce() -> Result<TcpStream, ConnectError>,
        keep: impl Fn() -> bool,
    ) -> Result<Stream, ConnectError> {
        while self.opening.get() {
            let failures = self.failures.get();
            self.opened.notified().await;
            if let Some(stream) = self.take(true) {
                return Ok(stream);
            }
            if self.failures.get() != failures {
                return Err(ConnectError::Shared);
            }
        }
        // None that was idle for too long: who comes here has turned away from one, or from another instance, and is not
        // to meet the end of this one.
        if let Some(stream) = self.take(false).or_else(|| self.crowded()) {
            return Ok(stream);
        }
        let opening = Opening::new(self);
        let made = async { Multiplexed::speak(connect().await?).await };
        let connection = made.await.inspect_err(|_| self.failures.set(self.failures.get() + 1))?;
        let stream = Stream::new(&connection);
        if keep() {
            self.all.borrow_mut().push(connection);
        }
        drop(opening);
        Ok(stream)
    }

    /// When there are as many connections as there may be: the one with the fewest streams, on which the request waits
    /// for others to end.
    fn crowded(&self) -> Option<Stream> {
        let all = self.all.borrow();
        let full = all.len() >= CONNECTIONS_MAX;
        all.iter().filter(|_| full).min_by_key(|connection| connection.streams.get()).map(Stream::new)
    }

    pub(crate) fn close_idle(&self, now: Instant) {
        self.all.borrow_mut().retain(|connection| {
            let idle = now.duration_since(connection.since.get());
            connection.is_usable() && (connection.streams.get() > 0 || idle < IDLE_TIME_MAX)
        });
    }

    /// Closes each connection with its last request.
    pub(crate) fn forget(&self) {
        self.all.borrow_mut().clear();
    }
}

/// While it lives others wait; its end, however it comes, lets them go on.
struct Opening<'a>(&'a Shared);

impl Opening<'_> {
    fn new(shared: &Shared) -> Opening<'_> {
        shared.opening.set(true);
        Opening(shared)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}
