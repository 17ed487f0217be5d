//! Listeners and client connections: accept, TLS, HTTP/1 or HTTP/2, until the client or a drain ends it.

use crate::client::{Client, Order};
use crate::event_loop::{EventLoop, Open};
use crate::forward;
use http::HeaderValue;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Open client connections of one loop; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// From here on, idle connections are closed sooner.
pub(crate) const CROWDED_CONNECTIONS: usize = CONNECTIONS_MAX / 10 * 9;
/// Connections that the kernel holds for a listener until they are accepted.
const BACKLOG: i32 = 4096;
/// A TLS handshake takes two round trips; slower than this is not a client.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that has not acknowledged sent bytes for this long is gone, or holds its answer hostage.
const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(120);
/// After a failed accept, such as too many open files: a pause instead of a hot loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Buffer of one direction of one connection; a request head must fit.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Header lines of one request; what most servers take.
const HEADERS_MAX: usize = 100;
/// Streams of one HTTP/2 connection at a time; what RFC 9113 recommends at least.
const STREAMS_MAX: u32 = 128;
/// What an HTTP/2 client may send beyond what was read, on one stream and on its whole connection.
const WINDOW_BYTES: u32 = 1024 * 1024;
/// What of an answer waits for an HTTP/2 client's window, for each stream.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Header list of one HTTP/2 request.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

/// What a TLS listener needs beside its socket.
pub(crate) type Secure = TlsAcceptor;

/// Listening sockets for the same address, one per loop, among which the kernel spreads connections.
pub fn bind(address: SocketAddr, loops: usize) -> io::Result<Vec<OwnedFd>> {
    let mut address = address;
    let mut sockets = Vec::with_capacity(loops);
    for _ in 0..loops.max(1) {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        // With port 0, the first socket decides for all.
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        sockets.push(OwnedFd::from(socket));
    }
    Ok(sockets)
}

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
        let port = listener.local_addr()?.port();
        let listener = Listener {
            event_loop: event_loop.clone(),
            socket: TcpListener::from_std(listener)?,
            secure,
            port: HeaderValue::from(port),
            _open: Open::new(event_loop),
        };
        tokio::task::spawn_local(listener.run(stop.clone()));
    }
    Ok(())
}

struct Listener {
    event_loop: Rc<EventLoop>,
    socket: TcpListener,
    secure: Option<Secure>,
    port: HeaderValue,
    _open: Open,
}

impl Listener {
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let accept = async {
            loop {
                self.event_loop.connections.below(CONNECTIONS_MAX).await;
                match self.socket.accept().await {
                    Ok((stream, peer)) => self.serve(stream, peer),
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
        let Listener { event_loop, socket, secure, port, _open } = self;
        let Ok(socket) = socket.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((stream, peer)) = socket.accept() else { return };
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                spawn_connection(&event_loop, stream, peer, secure.clone(), port.clone());
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        spawn_connection(&self.event_loop, stream, peer, self.secure.clone(), self.port.clone());
    }
}

fn spawn_connection(
    event_loop: &Rc<EventLoop>,
    stream: TcpStream,
    peer: SocketAddr,
    secure: Option<Secure>,
    port: HeaderValue,
) {
    let open = Open::new(event_loop);
    // Neither can fail on a connected TCP socket; if they did, the connection would only be slower.
    let socket = SockRef::from(&stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIME_MAX));
    let scheme = HeaderValue::from_static(if secure.is_some() { "https" } else { "http" });
    let client = Client::new(event_loop.clone(), peer, scheme, port);
    tokio::task::spawn_local(async move {
        let _open = open;
        match secure {
            None => serve(client, stream).await,
            Some(acceptor) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve(client, stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            },
        }
    });
}

/// Speaks HTTP/2 when the client starts with its preface, else HTTP/1.
async fn serve(client: Rc<Client>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut builder = auto::Builder::new(LocalExecutor);
    builder.http1().max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX);
    builder
        .http2()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX);
    let service = service_fn({
        let client = client.clone();
        move |request| forward::answer(client.clone(), request)
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut told = Order::Serve;
    let end = poll_fn(|context| {
        let order = client.order();
        if order == Order::Cut {
            return std::task::Poll::Ready(Ok(()));
        }
        if order > told {
            told = order;
            connection.as_mut().graceful_shutdown();
        }
        client.register(context.waker());
        connection.as_mut().poll(context)
    });
    if let Err(error) = end.await {
        tracing::debug!(%error, "connection of a client ended");
    }
}

/// Runs HTTP/2's streams on the loop of their connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
