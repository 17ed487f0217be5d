//! DNS for instances: a forwarder on the gateway address that relays to the host's own resolvers.
//!
//! Queries and answers pass through as they are; nothing is cached or read beyond the identifier. The host's
//! resolvers come from /etc/resolv.conf and are read anew when it changes; a resolver on a loopback address,
//! such as systemd-resolved, works because the forwarder runs on the host. When no resolver answers, the
//! client is told so (SERVFAIL) and need not wait for its own time-out. Load is bounded: what comes above the
//! limits is dropped, as the network would drop it.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Queries that wait for an answer at once.
const UDP_IN_FLIGHT_MAX: usize = 1024;
const TCP_CONNECTIONS_MAX: usize = 128;
/// One try with one resolver; a client's own time-out is usually 5 s.
const TRY_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Resolvers that are tried for one query, in order.
const TRIES_MAX: usize = 3;
/// One TCP query with its answer, and how long a client may keep a connection that asks nothing.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
/// Queries on one TCP connection.
const TCP_QUERIES_MAX: usize = 100;
/// A datagram cannot be longer.
const MESSAGE_BYTES_MAX: usize = 65_535;
/// The header of a message: identifier, flags, four counts.
const HEADER_BYTES: usize = 12;
/// More name servers than this are not read from resolv.conf.
const RESOLVERS_MAX: usize = 8;
/// After a failed accept or receive, so that a lasting error does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
const PORT: u16 = 53;

/// Where queries go.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// The name servers of a file in resolv.conf format, read anew when it changes.
    File(PathBuf),
    Fixed(Vec<SocketAddr>),
}

/// Runs until it is dropped.
pub struct Forwarder {
    _tasks: JoinSet<()>,
}

impl Forwarder {
    /// Listens on port 53 of `address` by UDP and TCP. The address need not exist yet: it appears with the
    /// first instance's interface.
    pub fn start(address: Ipv4Addr, upstream: Upstream) -> io::Result<Forwarder> {
        Forwarder::start_on(SocketAddr::from((address, PORT)), upstream)
    }

    /// As `start`, on any port.
    pub fn start_on(listen: SocketAddr, upstream: Upstream) -> io::Result<Forwarder> {
        let datagrams = socket(Type::DGRAM, Protocol::UDP, listen)?;
        let streams = socket(Type::STREAM, Protocol::TCP, listen)?;
        streams.listen(128)?;
        let datagrams = UdpSocket::from_std(datagrams.into())?;
        let streams = TcpListener::from_std(streams.into())?;
        let resolvers = Arc::new(Resolvers::new(upstream, listen.ip()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_datagrams(Arc::new(datagrams), resolvers.clone()));
        tasks.spawn(serve_streams(streams, resolvers));
        Ok(Forwarder { _tasks: tasks })
    }
}

fn socket(kind: Type, protocol: Protocol, listen: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(listen), kind.nonblocking().cloexec(), Some(protocol))?;
    if kind == Type::STREAM {
        SockRef::from(&socket).set_reuse_address(true)?;
    }
    socket.set_freebind_v4(true)?;
    socket.bind(&listen.into())?;
    Ok(socket)
}

async fn serve_datagrams(socket: Arc<UdpSocket>, resolvers: Arc<Resolvers>) {
    let room = Arc::new(Semaphore::new(UDP_IN_FLIGHT_MAX));
    let mut queries = JoinSet::new();
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        while queries.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "DNS receive");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let query = buffer[..length].to_vec();
        let (socket, resolvers) = (socket.clone(), resolvers.clone());
        queries.spawn(async move {
            if let Some(answer) = answer_datagram(&query, &resolvers).await {
                // The client may be gone by now.
                let _ = socket.send_to(&answer, client).await;
            }
            drop(permit);
        });
    }
}

/// The answer to a query; `None` for what is no query.
async fn answer_datagram(query: &[u8], resolvers: &Resolvers) -> Option<Vec<u8>> {
    if query.len() < HEADER_BYTES || is_answer(query) {
        return None;
    }
    for resolver in resolvers.now().into_iter().take(TRIES_MAX) {
        match timeout(TRY_TIMEOUT, ask_datagram(query, resolver)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "DNS resolver failed"),
            Err(_) => tracing::debug!(%resolver, "DNS resolver did not answer"),
        }
    }
    Some(failure(query))
}

/// Each query leaves through its own connected socket: a random port, and only the resolver's datagrams come in.
async fn ask_datagram(query: &[u8], resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut answer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= HEADER_BYTES && answer[..2] == query[..2] && is_answer(&answer) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn serve_streams(listener: TcpListener, resolvers: Arc<Resolvers>) {
    let room = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                let resolvers = resolvers.clone();
                connections.spawn(async move {
                    // A client that breaks off is its own concern.
                    let _ = serve_stream(client, &resolvers).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS accept");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn serve_stream(mut client: TcpStream, resolvers: &Resolvers) -> io::Result<()> {
    for _ in 0..TCP_QUERIES_MAX {
        let query = timeout(TCP_TIMEOUT, read_message(&mut client)).await??;
        if query.len() < HEADER_BYTES || is_answer(&query) {
            return Ok(());
        }
        let mut answer = None;
        for resolver in resolvers.now().into_iter().take(TRIES_MAX) {
            if let Ok(Ok(found)) = timeout(TRY_TIMEOUT, ask_stream(&query, resolver)).await {
                answer = Some(found);
                break;
            }
        }
        let answer = answer.unwrap_or_else(|| failure(&query));
        timeout(TCP_TIMEOUT, write_message(&mut client, &answer)).await??;
    }
    Ok(())
}

async fn ask_stream(query: &[u8], resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_message(&mut stream, query).await?;
    read_message(&mut stream).await
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}

fn is_answer(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// The query's header turned into "server failure", without any record; every resolver library takes it.
fn failure(query: &[u8]) -> Vec<u8> {
    let mut answer = query[..HEADER_BYTES].to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x82;
    answer[4..].fill(0);
    answer
}

/// The resolvers of this moment.
struct Resolvers {
    upstream: Upstream,
    /// The forwarder's own address, which must never be asked.
    own: IpAddr,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    modified: Option<SystemTime>,
    resolvers: Vec<SocketAddr>,
}

impl Resolvers {
    fn new(upstream: Upstream, own: IpAddr) -> Resolvers {
        Resolvers { upstream, own, read: Mutex::new(Read::default()) }
    }

    fn now(&self) -> Vec<SocketAddr> {
        match &self.upstream {
            Upstream::Fixed(resolvers) => resolvers.clone(),
            Upstream::File(path) => self.read_file(path),
        }
    }

    fn read_file(&self, path: &Path) -> Vec<SocketAddr> {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let mut read = self.read.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if read.modified != modified || modified.is_none() {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            *read = Read { modified, resolvers: name_servers(&text, self.own) };
        }
        read.resolvers.clone()
    }
}

/// The name servers of a resolv.conf. One that names none means the one on this machine, as resolv.conf(5) says.
fn name_servers(text: &str, own: IpAddr) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok())
        .filter(|address| *address != own)
        .map(|address| SocketAddr::new(address, PORT))
        .take(RESOLVERS_MAX)
        .collect();
    if found.is_empty() {
        found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU16, Ordering};

    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));

    #[test]
    fn reads_name_servers() {
        let text = "# x\nsearch a b\nnameserver 10.0.0.2\n nameserver\t127.0.0.53 # y\nnameserver fe80::1%2\n\
                    nameserver 169.254.1.1\nnameserver fd00::1\nnameservers 1.1.1.1\n";
        let expected: Vec<SocketAddr> =
            ["10.0.0.2:53", "127.0.0.53:53", "[fd00::1]:53"].map(|a| a.parse().unwrap()).to_vec();
        assert_eq!(name_servers(text, OWN), expected);
        assert_eq!(name_servers("", OWN), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn the_file_is_read_anew_when_it_changes() {
        let path = std::env::temp_dir().join(format!("apron-resolv-{}", std::process::id()));
        let resolvers = Resolvers::new(Upstream::File(path.clone()), OWN);
        std::fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(resolvers.now()[0].ip().to_string(), "10.0.0.1");
        std::fs::write(&path, "nameserver 10.0.0.2\n").unwrap();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(5_000_000_000);
        std::fs::File::open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(resolvers.now()[0].ip().to_string(), "10.0.0.2");
        std::fs::remove_file(&path).unwrap();
    }

    fn loopback() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    fn query(id: u16) -> Vec<u8> {
        let mut message = vec![0; HEADER_BYTES];
        message[..2].copy_from_slice(&id.to_be_bytes());
        message[5] = 1;
        message.extend(b"\x07example\x04test\x00\x00\x01\x00\x01");
        message
    }

    /// A resolver that answers each query with itself, marked as an answer, by UDP and TCP.
    async fn resolver() -> (SocketAddr, JoinSet<()>) {
        let streams = TcpListener::bind(loopback()).await.unwrap();
        let address = streams.local_addr().unwrap();
        let datagrams = UdpSocket::bind(address).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = datagrams.recv_from(&mut buffer).await {
                buffer[2] |= 0x80;
                datagrams.send_to(&buffer[..length], client).await.unwrap();
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = streams.accept().await {
                let mut message = read_message(&mut stream).await.unwrap();
                message[2] |= 0x80;
                write_message(&mut stream, &message).await.unwrap();
            }
        });
        (address, tasks)
    }

    /// A forwarder on a free port of the loopback address.
    fn forwarder(upstream: Vec<SocketAddr>) -> (SocketAddr, Forwarder) {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        for _ in 0..100 {
            let port = 20_053 + (std::process::id() as u16 % 20_000) + NEXT.fetch_add(1, Ordering::Relaxed);
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if let Ok(forwarder) = Forwarder::start_on(listen, Upstream::Fixed(upstream.clone())) {
                return (listen, forwarder);
            }
        }
        panic!("no free port");
    }

    #[tokio::test]
    async fn relays_by_udp_and_tcp() {
        let (upstream, _resolver) = resolver().await;
        // The first resolver is dead: nothing listens there.
        let dead = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
        let (address, _forwarder) = forwarder(vec![dead, upstream]);
        let mut expected = query(77);
        expected[2] |= 0x80;

        let client = UdpSocket::bind(loopback()).await.unwrap();
        client.send_to(&query(77), address).await.unwrap();
        let mut buffer = [0; 4096];
        let length = timeout(Duration::from_secs(4), client.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(buffer[..length], expected);

        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            write_message(&mut stream, &query(77)).await.unwrap();
            assert_eq!(read_message(&mut stream).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn says_so_when_no_resolver_answers() {
        let dead = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
        let (address, _forwarder) = forwarder(vec![dead]);
        let client = UdpSocket::bind(loopback()).await.unwrap();
        client.send_to(b"x", address).await.unwrap();
        client.send_to(&query(7), address).await.unwrap();
        let mut buffer = [0; 4096];
        let length = timeout(Duration::from_secs(4), client.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(buffer[..length], failure(&query(7)));
        assert_eq!(buffer[3] & 0x0f, 2, "server failure");
    }
}
