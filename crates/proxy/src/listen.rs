//! Listeners and client connections: accept, the PROXY protocol, TLS, HTTP/1 or HTTP/2, until the client or a drain ends
//! it.

use crate::body::ResponseBody;
use crate::client::{Client, Order};
use crate::client_body::ClientBody;
use crate::event_loop::{EventLoop, Open};
use crate::forward;
use crate::http1::{self, Reset, Ruling};
use crate::http2;
use crate::proxy_protocol;
use crate::rewound::Rewound;
use crate::strangers::Seat;
use crate::upgrade::Upgrade;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

/// Open client connections of one loop; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// From here on, idle connections are closed sooner.
pub(crate) const CROWDED_CONNECTIONS: usize = CONNECTIONS_MAX / 10 * 9;
/// Connections that are accepted of a listener that ends: as many as the kernel may hold for it.
const LAST_CONNECTIONS_MAX: usize = 4096;
/// A client that has not acknowledged sent bytes for this long is gone, or holds its answer hostage.
const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(120);
/// After a failed accept, such as too many open files: a pause instead of a hot loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Buffer of one direction of one connection; a request head must fit.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What a TLS listener needs beside its socket.
pub(crate) type Secure = TlsAcceptor;

/// Starts to accept on every listener of this loop.
pub(crate) fn start(
    event_loop: &Rc<EventLoop>,
    http: Vec<std::net::TcpListener>,
    https: Vec<(std::net::TcpListener, Secure)>,
    stop: &watch::Receiver<bool>,
) -> io::Result<()> {
    let plain = http.into_iter().map(|listener| (listener, None));
    let secure = https.into_iter().map(|(listener, secure)| (listener, Some(secure)));
    for (listener, secure) in plain.chain(secure) {
        listener.set_nonblocking(true)?;
        let port = HeaderValue::from(listener.local_addr()?.port());
        let listener = Listener {
            socket: TcpListener::from_std(listener)?,
            door: Door { event_loop: event_loop.clone(), secure, port },
            _open: Open::new(event_loop),
        };
        tokio::task::spawn_local(listener.run(stop.clone()));
    }
    Ok(())
}

struct Listener {
    socket: TcpListener,
    door: Door,
    _open: Open,
}

impl Listener {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let accept = async {
            loop {
                self.door.event_loop.connections.below(CONNECTIONS_MAX).await;
                match self.socket.accept().await {
                    Ok((stream, peer)) => self.door.open(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.take_accepted();
    }

    /// Serves what the kernel has already accepted: without another process on the same socket it would be reset.
    fn take_accepted(self) {
        let Listener { socket, door, _open } = self;
        let Ok(socket) = socket.into_std() else { return };
        for _ in 0..LAST_CONNECTIONS_MAX {
            let Ok((stream, peer)) = socket.accept() else { return };
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                door.open(stream, peer);
            }
        }
    }
}

/// What all connections of one listener come through.
#[derive(Clone)]
struct Door {
    event_loop: Rc<EventLoop>,
    secure: Option<Secure>,
    port: HeaderValue,
}

impl Door {
    /// Serves the connection, unless its stranger has too many: then it is closed before anything is spent on it.
    fn open(&self, stream: TcpStream, peer: SocketAddr) {
        // Who speaks for others is not counted; those are.
        let seat = match self.event_loop.settings.edge.may_introduce(peer.ip()) {
            true => None,
            false => match Seat::take(&self.event_loop, peer.ip()) {
                None => return,
                seat => seat,
            },
        };
        let open = Open::new(&self.event_loop);
        // Neither can fail on a connected TCP socket; if they did, the connection would only be slower.
        let socket = SockRef::from(&stream);
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIME_MAX));
        let door = self.clone();
        tokio::task::spawn_local(async move {
            let _open = open;
            match seat {
                Some(seat) => door.welcome(stream, peer, seat).await,
                None => Box::pin(door.introduce(stream, peer)).await,
            }
        });
    }

    /// As `welcome`, of whom the PROXY protocol names.
    async fn introduce(self, mut stream: TcpStream, peer: SocketAddr) {
        let time = self.event_loop.settings.introduction_timeout;
        let (source, before) = match timeout(time, proxy_protocol::read(&mut stream)).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "no introduction");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "introduction took too long");
                return;
            }
        };
        let seat = match source {
            Some(source) => Seat::take(&self.event_loop, source.ip()),
            // A balancer that speaks for itself, as for its health checks, is trusted with its connections.
            None => Some(Seat::uncounted()),
        };
        let Some(seat) = seat else { return };
        self.welcome(Rewound::new(before, stream), source.unwrap_or(peer), seat).await;
    }

    async fn welcome(
        self,
        stream: impl AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
        peer: SocketAddr,
        seat: Seat,
    ) {
        let scheme = HeaderValue::from_static(if self.secure.is_some() { "https" } else { "http" });
        let time = self.event_loop.settings.handshake_timeout;
        let client = Client::new(self.event_loop, peer, scheme, self.port, seat);
        match self.secure {
            None => serve(client, stream).await,
            Some(acceptor) => match timeout(time, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve(client, stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            },
        }
    }
}

/// HTTP/1 has its own path; what that does not carry goes on by another, with the bytes that were read already.
async fn serve(client: Rc<Client>, stream: impl AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static) {
    match http1::serve(client.clone(), stream).await {
        Some(http1::Handover { bytes, stream }) if bytes.starts_with(http2::PREFACE) => {
            // Boxed, as below: every connection would have its room otherwise.
            Box::pin(http2::serve(client, Rewound::new(Bytes::from(bytes), stream))).await;
        }
        Some(http1::Handover { bytes, stream }) => {
            Box::pin(serve_hyper(client, http1::Gate::new(bytes, stream))).await;
        }
        None => {}
    }
}

/// Speaks HTTP/1 by hyper.
async fn serve_hyper(
    client: Rc<Client>,
    stream: http1::Gate<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
) {
    let mut builder = Builder::new();
    builder.max_buf_size(BUFFER_BYTES_MAX).max_headers(http1::HEADERS_MAX);
    let seen = stream.seen();
    let service = service_fn({
        let (client, seen, requests) = (client.clone(), seen.clone(), Cell::new(0));
        move |request| {
            requests.set(requests.get() + 1);
            answer(client.clone(), request, seen.ruling(requests.get()))
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let (mut told, mut head_began) = (Order::Serve, false);
    let end = poll_fn(|context| {
        let order = client.order();
        if order == Order::Cut || head_began && client.is_late() {
            return std::task::Poll::Ready(Ok(()));
        }
        if order > told {
            told = order;
            connection.as_mut().graceful_shutdown();
        }
        client.register(context.waker());
        let polled = connection.as_mut().poll(context);
        if head_began != seen.head_began() {
            head_began = !head_began;
            let time = client.event_loop.settings.request_head_timeout;
            client.wake_by(head_began.then(|| Instant::now() + time));
        }
        polled
    });
    if let Err(error) = end.await {
        tracing::debug!(%error, "connection of a client ended");
    }
}

/// What hyper's way does with a request, or what was found of it before.
async fn answer(
    client: Rc<Client>,
    request: Request<Incoming>,
    ruling: Option<Ruling>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut request = request.map(ClientBody::Hyper);
    // Taken before the head is changed: it is how the connection is handed over later.
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().map(Upgrade::Hyper);
    let mut response = match ruling {
        None => return Ok(forward::answer(client, request, upgrade).await),
        Some(Ruling::Refused(cause)) => forward::refuse(&client, cause),
        Some(Ruling::Last) => forward::answer(client, request, upgrade).await,
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Runs HTTP/2's streams on the loop of their connection.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        // Boxed: a task's future is moved each time that the task changes its state.
        tokio::task::spawn_local(Box::pin(future));
    }
}
