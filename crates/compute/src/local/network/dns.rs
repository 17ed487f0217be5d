//! DNS for instances: a relay on the gateway address to the host's own resolvers.
//!
//! Queries and answers pass through as they are; nothing is cached. `message` says what is a query: one plain
//! question. An answer counts only if it comes from the resolver that was asked and repeats identifier and
//! question. A question for all types of a name is answered by TCP only, and an answer that does not fit into a
//! datagram says so, upon which clients ask again by TCP.
//!
//! The host's resolvers come from /etc/resolv.conf and are read anew when it changes; a resolver on a loopback
//! address, such as systemd-resolved, works because the relay runs on the host. One that refuses or is silent is
//! followed by the next. When none answers, the client is told so (SERVFAIL) and need not wait for its own time-out.
//!
//! Load is bounded per instance and in all (`shares`); what comes above is dropped, as the network would drop it.
//! The packet rules see to it that only instances and this host can ask, under their own addresses, and bound
//! their packets each second.

mod message;
mod shares;

use message::{Query, Unfit};
use nix::sys::socket::{setsockopt, sockopt};
use shares::{Limits, Share, Shares};
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

/// Queries by UDP: a program that looks up hundreds of names at once is served 64 at a time.
const DATAGRAMS: Limits = Limits { total_max: 4096, own_max: 512, own_when_crowded_max: 64, at_once_max: 64 };
/// Sockets to resolvers at once, for all instances together, each of which has its turn.
const RESOLVER_SOCKETS_MAX: usize = 512;
/// Connections by TCP; each has one query under way.
const CONNECTIONS: Limits = Limits { total_max: 128, own_max: 8, own_when_crowded_max: 2, at_once_max: 8 };
/// Connections that were made and wait to be taken: taking or closing one takes microseconds.
const BACKLOG: i32 = 128;
/// One try with one resolver. All tries together end before a client's own time-out of usually 5 s.
const TRY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Tries for one query: the resolvers in order, from the beginning again if there are fewer.
const TRIES_MAX: usize = 3;
/// A query that waited its turn this long is dropped: its client has asked again.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// One TCP query with its answer, and how long a client may keep a connection that asks nothing.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
/// Queries on one TCP connection.
const TCP_QUERIES_MAX: usize = 100;
/// A longer answer by UDP is fetched by TCP; clients allow 4096 bytes at most, most of them 1232.
const DATAGRAM_BYTES_MAX: usize = 4096;
/// Several instances' bursts of packets, as the packet rules let them pass, before the relay reads them.
const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;
/// A longer resolv.conf is cut.
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;
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
        // Without the right to more, the system's own maximum has to do.
        let _ = setsockopt(&datagrams, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES);
        let streams = socket(Type::STREAM, Protocol::TCP, listen)?;
        streams.listen(BACKLOG)?;
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
    let shares = Shares::new(DATAGRAMS);
    let sockets = Arc::new(Semaphore::new(RESOLVER_SOCKETS_MAX));
    let mut queries = JoinSet::new();
    // One byte more, by which a message that is too long shows.
    let mut buffer = vec![0; message::QUERY_BYTES_MAX + 1];
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
        let Some(share) = shares.take(client.ip()) else { continue };
        let query = match Query::parse(buffer[..length].to_vec()) {
            Ok(query) if query.asks_for_any() => Err(query.too_long()),
            Ok(query) => Ok(query),
            Err(Unfit::Refused(answer)) => Err(answer),
            Err(Unfit::Noise) => continue,
        };
        let query = match query {
            Ok(query) => query,
            Err(answer) => {
                // A full send buffer loses it, as the network might.
                let _ = socket.try_send_to(&answer, client);
                continue;
            }
        };
        let (socket, resolvers, sockets) = (socket.clone(), resolvers.clone(), sockets.clone());
        queries.spawn(async move {
            if let Some(answer) = answer_in_turn(&query, &resolvers, &share, &sockets).await {
                // The client may be gone by now.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

/// The answer to a query, when it is its source's turn and then everyone's; none if that takes too long.
async fn answer_in_turn(
    query: &Query,
    resolvers: &Resolvers,
    share: &Share,
    sockets: &Semaphore,
) -> Option<Vec<u8>> {
    let turn = timeout(TURN_TIMEOUT, async {
        Ok::<_, tokio::sync::AcquireError>((share.at_once.acquire().await?, sockets.acquire().await?))
    });
    let _turn = turn.await.ok()?.ok()?;
    Some(relay(query, resolvers, Transport::Datagram).await)
}

#[derive(Clone, Copy)]
enum Transport {
    Datagram,
    Stream,
}

/// The first resolver's answer that is no refusal, else the last refusal, else a failure of our own.
async fn relay(query: &Query, resolvers: &Resolvers, transport: Transport) -> Vec<u8> {
    let resolvers = resolvers.now();
    let mut refusal = None;
    for (number, resolver) in resolvers.iter().cycle().take(TRIES_MAX).enumerate() {
        if number >= resolvers.len() && refusal.is_some() {
            break;
        }
        let asked = async {
            match transport {
                Transport::Datagram => ask_datagram(query, *resolver).await,
                Transport::Stream => ask_stream(query, *resolver).await,
            }
        };
        match timeout(TRY_TIMEOUT, asked).await {
            Ok(Ok(answer)) if message::is_refusal(&answer) => refusal = Some(answer),
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "DNS resolver failed"),
            Err(_) => tracing::debug!(%resolver, "DNS resolver did not answer"),
        }
    }
    refusal.unwrap_or_else(|| query.failure())
}

/// Each query leaves through its own connected socket: a random port, and only the resolver's datagrams come in.
async fn ask_datagram(query: &Query, resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(query.bytes()).await?;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX + 1];
    loop {
        let length = socket.recv(&mut answer).await?;
        if !query.is_answered_by(&answer[..length]) {
            continue;
        }
        if length > DATAGRAM_BYTES_MAX {
            return Ok(query.too_long());
        }
        answer.truncate(length);
        return Ok(answer);
    }
}

async fn serve_streams(listener: TcpListener, resolvers: Arc<Resolvers>) {
    let shares = Shares::new(CONNECTIONS);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, address)) => {
                // Closed at once when there is no room: waiting for it would make everybody else wait.
                let Some(share) = shares.take(address.ip()) else { continue };
                let resolvers = resolvers.clone();
                connections.spawn(async move {
                    // A client that breaks off is its own concern.
                    let _ = serve_stream(client, &resolvers).await;
                    drop(share);
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
        let received = timeout(TCP_TIMEOUT, read_message(&mut client, message::QUERY_BYTES_MAX)).await??;
        let answer = match Query::parse(received) {
            Ok(query) => relay(&query, resolvers, Transport::Stream).await,
            Err(Unfit::Refused(answer)) => answer,
            Err(Unfit::Noise) => return Ok(()),
        };
        timeout(TCP_TIMEOUT, write_message(&mut client, &answer)).await??;
    }
    Ok(())
}

async fn ask_stream(query: &Query, resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_message(&mut stream, query.bytes()).await?;
    let answer = read_message(&mut stream, usize::from(u16::MAX)).await?;
    match query.is_answered_by(&answer) {
        true => Ok(answer),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it answered another question")),
    }
}

async fn read_message(stream: &mut TcpStream, bytes_max: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}

/// The resolvers of this moment.
struct Resolvers {
    upstream: Upstream,
    /// The relay's own address, which must never be asked.
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
            let text = read_start(path).unwrap_or_default();
            *read = Read { modified, resolvers: name_servers(&text, self.own) };
        }
        read.resolvers.clone()
    }
}

fn read_start(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, RESOLV_CONF_BYTES_MAX), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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
        named(id, "example")
    }

    /// A query for the addresses of `<label>.test`.
    fn named(id: u16, label: &str) -> Vec<u8> {
        let mut message = vec![0; message::HEADER_BYTES];
        message[..2].copy_from_slice(&id.to_be_bytes());
        message[5] = 1;
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
        message.extend(b"\x04test\x00\x00\x01\x00\x01");
        message
    }

    /// A resolver that answers with what `answer` makes of each query, by UDP and TCP.
    async fn resolver(answer: fn(&[u8]) -> Vec<Vec<u8>>) -> (SocketAddr, JoinSet<()>) {
        let streams = TcpListener::bind(loopback()).await.unwrap();
        let address = streams.local_addr().unwrap();
        let datagrams = UdpSocket::bind(address).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = datagrams.recv_from(&mut buffer).await {
                for one in answer(&buffer[..length]) {
                    // The relay is gone after the first answer that it takes.
                    let _ = datagrams.send_to(&one, client).await;
                }
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = streams.accept().await {
                let message = read_message(&mut stream, 4096).await.unwrap();
                for one in answer(&message) {
                    let _ = write_message(&mut stream, &one).await;
                }
            }
        });
        (address, tasks)
    }

    /// The query itself, marked as an answer.
    fn echo(query: &[u8]) -> Vec<u8> {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer
    }

    /// A relay on a free port of the loopback address.
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

    /// A resolver at which nothing listens.
    async fn dead() -> SocketAddr {
        TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap()
    }

    async fn client_of(relay: SocketAddr) -> UdpSocket {
        let client = UdpSocket::bind(loopback()).await.unwrap();
        client.connect(relay).await.unwrap();
        client
    }

    async fn answer(client: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 8192];
        let length = timeout(Duration::from_secs(6), client.recv(&mut buffer)).await.unwrap().unwrap();
        buffer[..length].to_vec()
    }

    async fn ask(client: &UdpSocket, query: &[u8]) -> Vec<u8> {
        client.send(query).await.unwrap();
        answer(client).await
    }

    #[tokio::test]
    async fn relays_by_udp_and_tcp() {
        let (upstream, _resolver) = resolver(|query| vec![echo(query)]).await;
        let (address, _forwarder) = forwarder(vec![dead().await, upstream]);
        let client = client_of(address).await;
        assert_eq!(ask(&client, &query(77)).await, echo(&query(77)));

        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            write_message(&mut stream, &query(77)).await.unwrap();
            assert_eq!(read_message(&mut stream, 4096).await.unwrap(), echo(&query(77)));
        }
    }

    #[tokio::test]
    async fn says_so_when_no_resolver_answers() {
        let (address, _forwarder) = forwarder(vec![dead().await]);
        let client = client_of(address).await;
        client.send(b"x").await.unwrap();
        let answer = ask(&client, &query(7)).await;
        assert_eq!((answer[3] & 0x0f, answer[5]), (2, 1), "server failure, to this question");
        assert_eq!(answer[message::HEADER_BYTES..], query(7)[message::HEADER_BYTES..]);
    }

    #[tokio::test]
    async fn what_is_no_plain_query_never_reaches_a_resolver() {
        let (upstream, mut resolver) = resolver(|_| panic!("it was asked")).await;
        let (address, _forwarder) = forwarder(vec![upstream]);
        let client = client_of(address).await;
        let kind = query(1).len() - 3;
        let changed = |at: usize, value: u8| {
            let mut message = query(1);
            message[at] = value;
            message
        };
        let (update, two_questions) = (changed(2, 5 << 3), changed(5, 2));
        let (transfer, all) = (changed(kind, 252), changed(kind, 255));
        for (message, code, flags) in
            [(&update, 4, 0xa8), (&two_questions, 1, 0x80), (&transfer, 5, 0x80), (&all, 0, 0x82)]
        {
            let answer = ask(&client, message).await;
            assert_eq!((answer[3] & 0x0f, answer[2]), (code, flags), "{message:?}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        write_message(&mut stream, &transfer).await.unwrap();
        assert_eq!(read_message(&mut stream, 4096).await.unwrap()[3] & 0x0f, 5);
        // A long message by TCP ends the connection.
        write_message(&mut stream, &vec![0; message::QUERY_BYTES_MAX + 1]).await.unwrap();
        assert!(read_message(&mut stream, 4096).await.is_err());
        assert!(resolver.try_join_next().is_none(), "the resolver was asked");
    }

    #[tokio::test]
    async fn only_the_answer_to_the_question_counts() {
        let (upstream, _resolver) = resolver(|query| {
            let (mut other_name, mut other_id, mut right) = (echo(query), echo(query), echo(query));
            other_name[14] = b'y';
            other_id[0] ^= 1;
            right.push(42);
            vec![other_name, other_id, query.to_vec(), right]
        })
        .await;
        let (address, _forwarder) = forwarder(vec![upstream]);
        let client = client_of(address).await;
        assert_eq!(ask(&client, &query(8)).await.last(), Some(&42));
        // By TCP the resolver's first message counts, and it is wrong.
        let mut stream = TcpStream::connect(address).await.unwrap();
        write_message(&mut stream, &query(8)).await.unwrap();
        assert_eq!(read_message(&mut stream, 4096).await.unwrap()[3] & 0x0f, 2);
    }

    #[tokio::test]
    async fn a_refusal_is_passed_on_only_if_nobody_knows_better() {
        let refuse = |query: &[u8]| {
            let mut answer = echo(query);
            answer[3] = 5;
            vec![answer]
        };
        let (refusing, _one) = resolver(refuse).await;
        let (knowing, _two) = resolver(|query| vec![echo(query)]).await;
        let (address, _forwarder) = forwarder(vec![refusing, knowing]);
        assert_eq!(ask(&client_of(address).await, &query(1)).await, echo(&query(1)));
        let (address, _forwarder) = forwarder(vec![refusing]);
        assert_eq!(ask(&client_of(address).await, &query(1)).await[3] & 0x0f, 5);
    }

    #[tokio::test]
    async fn truncation_is_passed_on_and_made() {
        let (upstream, _resolver) = resolver(|query| {
            let mut answer = echo(query);
            match query[13] {
                b'c' => answer[2] |= 0x02,
                _ => answer.resize(DATAGRAM_BYTES_MAX + 1, 0),
            }
            vec![answer]
        })
        .await;
        let (address, _forwarder) = forwarder(vec![upstream]);
        let client = client_of(address).await;
        for label in ["cut", "long"] {
            let answer = ask(&client, &named(1, label)).await;
            assert_eq!((answer[2] & 0x02, answer.len()), (0x02, named(1, label).len()), "{label}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        write_message(&mut stream, &named(1, "long")).await.unwrap();
        assert_eq!(read_message(&mut stream, 65_535).await.unwrap().len(), DATAGRAM_BYTES_MAX + 1);
    }

    #[tokio::test]
    async fn a_source_has_so_many_connections_and_no_more() {
        let (upstream, _resolver) = resolver(|query| vec![echo(query)]).await;
        let (address, _forwarder) = forwarder(vec![upstream]);
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS.own_max {
            let mut stream = TcpStream::connect(address).await.unwrap();
            write_message(&mut stream, &query(1)).await.unwrap();
            read_message(&mut stream, 4096).await.unwrap();
            open.push(stream);
        }
        let mut more = TcpStream::connect(address).await.unwrap();
        let closed = timeout(Duration::from_secs(2), more.read_u16()).await.expect("it is closed at once");
        assert!(closed.is_err());
        drop(open);
        let again = async {
            loop {
                let mut stream = TcpStream::connect(address).await.unwrap();
                if write_message(&mut stream, &query(2)).await.is_ok()
                    && read_message(&mut stream, 4096).await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), again).await.expect("there is room again");
    }
}
