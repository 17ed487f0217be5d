//! The two proxies, each before an application that remembers what it was asked.

use super::HOST;
use super::answers::{self, Answer};
use crate::support::{Directory, Head, Origin, Running, Wire, eventually};
use crate::talk::{End, Heard, Manner, PAUSE, talk};
use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What of a request decides whose it is and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) body: Vec<u8>,
}

/// What became of the bytes of one connection.
#[derive(Debug)]
pub(super) struct Done {
    /// What the application was asked.
    pub(super) seen: Vec<Seen>,
    pub(super) answers: Vec<Answer>,
    /// What follows them and is no answer.
    pub(super) unread: Option<String>,
    /// The proxy ended the connection, in order and in time.
    pub(super) ended: bool,
    pub(super) took: Duration,
}

impl Done {
    /// Status of the last answer.
    pub(super) fn status(&self) -> Option<u16> {
        self.answers.last().map(|answer| answer.status)
    }

    /// Each request that was passed on was answered, and nothing was refused behind the last one.
    pub(super) fn is_served(&self) -> bool {
        let count = self.answers.iter().filter(|answer| answer.status == 200).count();
        self.ended && count == self.seen.len() && self.status() == Some(200)
    }

    /// The last answer says that the bytes are no request, and that the connection ends; and it did.
    pub(super) fn is_refused(&self) -> bool {
        self.ended && self.answers.last().is_some_and(|last| last.closes && says_no(last.status))
    }

    /// It ended the connection without a word.
    pub(super) fn is_silent(&self) -> bool {
        self.ended && self.answers.is_empty() && self.unread.is_none()
    }
}

/// Whether this status says that what came is no request, or none that this proxy can pass on.
pub(super) fn says_no(status: u16) -> bool {
    matches!(status, 400 | 413 | 414 | 431 | 501 | 505)
}

type Memory = Arc<Mutex<Vec<Seen>>>;

/// An application that remembers the requests that came whole.
fn remembering() -> (Origin, Memory) {
    let memory = Memory::default();
    let remember = memory.clone();
    let origin = Origin::start(move |mut wire| {
        while let Some(head) = head(&mut wire) {
            let Some(body) = body(&mut wire, &head) else { return };
            let mut words = head.first.split(' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (method, target) = (word(), word());
            // One of both writes it as it came, the other as it was understood.
            let host = head.get("host").unwrap_or_default().to_lowercase();
            let host = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_owned();
            let answer = match method.as_str() {
                "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            };
            remember.lock().unwrap().push(Seen { method, target, host, body });
            if wire.write.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (origin, memory)
}

/// Whatever bytes its values are of. `None` when it did not come whole.
fn head(wire: &mut Wire) -> Option<Head> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        wire.read.read_until(b'\n', &mut line).ok()?;
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r\n")?).into_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    Head::of(lines)
}

/// `None` when it did not come whole.
fn body(wire: &mut Wire, head: &Head) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let exactly = |wire: &mut Wire, length: usize| {
        // Room comes with the bytes: a length may be any number.
        let mut bytes = Vec::new();
        wire.read.by_ref().take(length as u64).read_to_end(&mut bytes).ok()?;
        (bytes.len() == length).then_some(bytes)
    };
    if let Some(length) = head.get("content-length") {
        return exactly(wire, length.parse().ok()?);
    }
    if head.get("transfer-encoding") != Some("chunked") {
        return Some(body);
    }
    let mut line = String::new();
    loop {
        line.clear();
        wire.read.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
        if length == 0 {
            break;
        }
        body.extend(exactly(wire, length)?);
        exactly(wire, 2)?;
    }
    // Trailers, up to the empty line.
    loop {
        let mut line = Vec::new();
        wire.read.read_until(b'\n', &mut line).ok()?;
        if line.strip_suffix(b"\r\n")?.is_empty() {
            break;
        }
    }
    Some(body)
}

/// Both proxies, each before an application of its own.
pub(super) struct World {
    ours: Running,
    our_memory: Memory,
    theirs: SocketAddr,
    their_memory: Memory,
    nginx: Child,
    _origins: [Origin; 2],
    _directory: Directory,
}

impl World {
    pub(super) fn new() -> World {
        let ((origin, our_memory), (their_origin, their_memory)) = (remembering(), remembering());
        let ours = Running::fixed(&[(HOST, &[origin.address])]);
        let directory = Directory::new();
        // Free a moment ago; who takes it meanwhile makes the start fail, which is said.
        let theirs = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let root = directory.0.display();
        let settings = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
             events {{ worker_connections 512; }}
             http {{
               access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
               client_header_buffer_size 64k; large_client_header_buffers 4 64k; client_max_body_size 0;
               keepalive_requests 1000000;
               upstream application {{ server {}; keepalive 8; }}
               server {{ listen {theirs} default_server; return 404; }}
               server {{
                 listen {theirs}; server_name {HOST};
                 location / {{
                   proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Host $host;
                   proxy_set_header Connection '';
                   # A client that has said all still waits for its answers.
                   proxy_ignore_client_abort on;
                 }}
               }}
             }}\n",
            their_origin.address
        );
        std::fs::write(directory.file("nginx.conf"), settings).unwrap();
        let nginx = Command::new("nginx")
            .arg("-e")
            .arg(directory.file("error.log"))
            .arg("-c")
            .arg(directory.file("nginx.conf"))
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx, of the Debian package nginx-light");
        let mut world = World {
            ours,
            our_memory,
            theirs,
            their_memory,
            nginx,
            _origins: [origin, their_origin],
            _directory: directory,
        };
        eventually("nginx accepts", || {
            assert_eq!(world.nginx.try_wait().unwrap(), None, "nginx ended");
            TcpStream::connect(theirs).is_ok()
        });
        world
    }

    /// What this proxy makes of the bytes, and nginx. Where `waits`, the client does not say to us that it has ended.
    pub(super) fn send(&self, bytes: &[u8], waits: bool) -> [Done; 2] {
        std::thread::sleep(PAUSE);
        let manner = if waits { Manner::Waits } else { Manner::Ends };
        let ours = (self.ours.address, manner, &self.our_memory);
        [ours, (self.theirs, Manner::Ends, &self.their_memory)].map(|(address, manner, memory)| {
            memory.lock().unwrap().clear();
            let start = Instant::now();
            let Heard { bytes, end } = talk(address, bytes, manner);
            let (answers, unread) = answers::read(&bytes);
            let ended = end == End::Closed;
            Done { seen: memory.lock().unwrap().clone(), answers, unread, ended, took: start.elapsed() }
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}
