//! The world around a proxy under test: instances, clients and control's end of the link, all with real sockets.

use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::routes::{
    FromProxy, Load, RouteChange, RouteInstance, RoutePolicy, RouteService, RouteState, RouteTable, ToProxy,
};
use apron_proxy::{Config, Listeners, Proxy};
use socket2::{Domain, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A directory of its own, removed at the end, also of a failed test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("apron-proxy-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One HTTP message head and what was read behind it already.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// `None`: there is no line.
    pub(crate) fn of(lines: Vec<String>) -> Option<Head> {
        let mut lines = lines.into_iter();
        let first = lines.next()?;
        let header = |line: String| line.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
        Some(Head { first, headers: lines.filter_map(header).collect() })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect(&self.first)
    }

    pub(crate) fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or("")
    }

    pub(crate) fn length(&self) -> Option<usize> {
        self.get("content-length").map(|length| length.parse().unwrap())
    }
}

/// A connection on which HTTP is spoken by hand.
pub(crate) struct Wire {
    pub(crate) read: BufReader<TcpStream>,
    pub(crate) write: TcpStream,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        Wire::waiting(stream, PATIENCE)
    }

    fn waiting(stream: TcpStream, time: Duration) -> Wire {
        stream.set_read_timeout(Some(time)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { read: BufReader::new(stream.try_clone().unwrap()), write: stream }
    }

    pub(crate) fn connect(address: SocketAddr) -> Wire {
        Wire::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.write.write_all(text.as_bytes()).unwrap();
    }

    /// `None` when the peer closed instead; silence is neither, and fails the test.
    pub(crate) fn head(&mut self) -> Option<Head> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.read.read_line(&mut line) {
                Err(error) if is_silence(&error) => panic!("neither a head nor the end, after {lines:?}"),
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        Head::of(lines)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// One chunk of a chunked body; empty at its end.
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let mut line = String::new();
        self.read.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let bytes = self.bytes(length);
        self.bytes(2);
        bytes
    }

    pub(crate) fn body(&mut self, head: &Head) -> Vec<u8> {
        if let Some(length) = head.length() {
            return self.bytes(length);
        }
        let mut body = Vec::new();
        if head.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                match self.chunk() {
                    chunk if chunk.is_empty() => return body,
                    chunk => body.extend(chunk),
                }
            }
        }
        body
    }

    /// Whether the peer has closed, waiting for it. False: it said something, or kept silent for too long.
    pub(crate) fn closed(&mut self) -> bool {
        match self.read.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => !is_silence(&error),
        }
    }

    /// A GET and its whole answer.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> (Head, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let head = self.head().expect("an answer");
        let body = self.body(&head);
        (head, String::from_utf8(body).unwrap())
    }

    pub(crate) fn ok(&mut self, body: &str) {
        self.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }
}

/// Whether the peer just said nothing in time.
fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// An application: a thread per connection, and a function that speaks on it until it returns.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Origin {
    pub(crate) fn start(speak: impl Fn(Wire) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (speak, connections, ended) = (Arc::new(speak), Arc::default(), Arc::new(AtomicBool::new(false)));
        let origin = Origin { address, connections, ended };
        let (connections, ended) = (origin.connections.clone(), origin.ended.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (speak, stream) = (speak.clone(), stream.unwrap());
                connections.fetch_add(1, Ordering::SeqCst);
                // Longer than any test waits: what an application hears is what the proxy did, not its own patience.
                std::thread::spawn(move || speak(Wire::waiting(stream, PATIENCE * 6)));
            }
        });
        origin
    }

    /// Answers every request with its own name.
    pub(crate) fn named(name: &'static str) -> Origin {
        Origin::answering(move |_, wire| wire.ok(name))
    }

    /// Answers every request by the function; reads heads and bodies with a length itself.
    pub(crate) fn answering(answer: impl Fn(&Head, &mut Wire) + Send + Sync + 'static) -> Origin {
        Origin::start(move |mut wire| {
            while let Some(head) = wire.head() {
                answer(&head, &mut wire);
            }
        })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Listening sockets for one free port of this address, one per loop, among which the kernel spreads connections; and
/// where they listen.
pub(crate) fn listeners(address: &str, loops: usize) -> (Vec<OwnedFd>, SocketAddr) {
    let mut address = SocketAddr::new(address.parse().unwrap(), 0);
    let mut listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(4_096).unwrap();
        address = socket.local_addr().unwrap().as_socket().unwrap();
        socket.into()
    };
    let sockets = (0..loops).map(|_| listen()).collect();
    (sockets, address)
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn start(config: Config, loops: usize) -> (Option<Proxy>, SocketAddr) {
    start_counting(config, loops, None)
}

/// A proxy that counts requests in flight together with others that have this memory file.
pub(crate) fn start_counting(
    config: Config,
    loops: usize,
    counts: Option<OwnedFd>,
) -> (Option<Proxy>, SocketAddr) {
    let (http, address) = listeners("127.0.0.1", loops);
    let proxy = Proxy::start(config, Listeners { http, https: Vec::new(), counts }).unwrap();
    (Some(proxy), address)
}

/// A proxy with fixed routes, `HOST=ADDR[,ADDR]` each.
pub(crate) struct Running {
    pub(crate) proxy: Option<Proxy>,
    pub(crate) address: SocketAddr,
}

impl Running {
    pub(crate) fn fixed(routes: &[(&str, &[SocketAddr])]) -> Running {
        Running::with(routes, |_| {})
    }

    pub(crate) fn with(routes: &[(&str, &[SocketAddr])], change: impl FnOnce(&mut Config)) -> Running {
        let route = |(host, addresses): &(&str, &[SocketAddr])| apron_proxy::StaticRoute {
            host: (*host).to_owned(),
            addresses: addresses.to_vec(),
        };
        let mut config = Config::fixed(routes.iter().map(route).collect());
        config.drain_ms = 1_000;
        change(&mut config);
        let (proxy, address) = start(config, 2);
        Running { proxy, address }
    }

    pub(crate) fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.proxy.as_ref().unwrap().in_flight().values().sum()
    }

    /// Of each service that has any, by their ids.
    pub(crate) fn load(&self) -> Vec<Load> {
        self.proxy.as_ref().unwrap().load().into_values().collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
    }
}

/// A proxy with one service as control would have it: with a policy.
pub(crate) struct Ruled {
    pub(crate) proxy: Running,
    _link: Link,
    _control: Control,
    _directory: Directory,
}

impl Ruled {
    /// On one loop, so that what each loop counts for itself is counted in one place.
    pub(crate) fn new(
        host: &str,
        addresses: &[SocketAddr],
        policy: RoutePolicy,
        change: impl FnOnce(&mut Config),
    ) -> Ruled {
        let directory = Directory::new();
        let socket = directory.file("control.sock");
        let control = Control::listen(&socket);
        let mut config = Config::control(socket, directory.file("routes.json"), None, 1_000);
        change(&mut config);
        let (proxy, address) = start(config, 1);
        let mut link = control.accept();
        let mut table = table(1, &[(host, RouteState::Serving, addresses)]);
        table.services[0].policy = policy;
        link.publish(table);
        Ruled { proxy: Running { proxy, address }, _link: link, _control: control, _directory: directory }
    }
}

pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A table with one service per entry: host, state, instances.
pub(crate) fn table(counter: u64, services: &[(&str, RouteState, &[SocketAddr])]) -> RouteTable {
    let service =
        |(number, (host, state, addresses)): (usize, &(&str, RouteState, &[SocketAddr]))| RouteService {
            id: ServiceId::new(format!("service-{number}")),
            name: (*host).to_owned(),
            hosts: vec![(*host).to_owned(), format!("alias-{host}")],
            state: *state,
            revision: 1,
            max_concurrency: 100,
            coming: false,
            instances: addresses
                .iter()
                .map(|address| RouteInstance { id: instance_id(*address), address: *address })
                .collect(),
            policy: RoutePolicy::default(),
        };
    RouteTable {
        generation: Generation { epoch: 1, counter },
        services: services.iter().enumerate().map(service).collect(),
    }
}

pub(crate) fn instance_id(address: SocketAddr) -> InstanceId {
    InstanceId::new(format!("instance-{}", address.port()))
}

/// Control's end of the link.
pub(crate) struct Control {
    listener: UnixListener,
}

impl Control {
    pub(crate) fn listen(socket: &Path) -> Control {
        let _ = std::fs::remove_file(socket);
        Control { listener: UnixListener::bind(socket).unwrap() }
    }

    pub(crate) fn accept(&self) -> Link {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Link { read: BufReader::new(stream.try_clone().unwrap()), write: stream }
    }
}

pub(crate) struct Link {
    read: BufReader<UnixStream>,
    pub(crate) write: UnixStream,
}

impl Link {
    pub(crate) fn next(&mut self) -> FromProxy {
        let mut line = String::new();
        self.read.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn send(&mut self, table: RouteTable) {
        let mut line = serde_json::to_vec(&ToProxy::Table(table)).unwrap();
        line.push(b'\n');
        self.write.write_all(&line).unwrap();
    }

    /// Sends a table and waits until every loop serves it.
    pub(crate) fn publish(&mut self, table: RouteTable) {
        let wanted = table.generation;
        self.send(table);
        self.served(wanted);
    }

    /// The same of what changes.
    pub(crate) fn change(&mut self, change: RouteChange) {
        let wanted = change.generation;
        let mut line = serde_json::to_vec(&ToProxy::Change(change)).unwrap();
        line.push(b'\n');
        self.write.write_all(&line).unwrap();
        self.served(wanted);
    }

    fn served(&mut self, wanted: Generation) {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE);
            if matches!(self.next(), FromProxy::Serving { generation } if generation == wanted) {
                return;
            }
        }
    }
}
