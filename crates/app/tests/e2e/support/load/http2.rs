//! Clients of HTTP/2 over TLS that do what RFC 9113 asks of them and no more: on GOAWAY new requests go over a new
//! connection, and only those above its last stream are asked again. All others are to be answered. A connection is
//! given up after some requests and opened anew.
//!
//! Not h2load: a connection that was told to go has no successor there, and its client asks nothing more.

mod wire;

use super::{ANSWER_TIME_MAX, FAILURES_MAX, Pace, REQUESTS_PER_CONNECTION, Run, Seen, Shared};
use crate::support::Platform;
use apron_wire::apprunner::DescribeServiceRequest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use wire::{ACK, DATA, Frame, GOAWAY, HEAD, HEADERS, LAST, PING, RST_STREAM, SETTINGS, Wire, frame};

/// Each with one connection for new requests, and those before it as long as answers come on them.
pub(super) const CLIENTS: u32 = 4;
/// Requests of one client that wait for their answers.
const WAITING_MAX: usize = 100;
/// How often one request is sent at most.
const TIMES_MAX: u32 = 3;
/// Frames that wait to be looked at.
const FRAMES_MAX: usize = 256;
/// Of an answer's body. Together those of a connection stay below its window, so that we need not enlarge it.
const BODY_BYTES_MAX: usize = 1_024;
/// How long a client that has nothing to do does not look whether it is to end.
const LOOK_PERIOD: Duration = Duration::from_millis(20);
/// The largest number of a stream.
const STREAM_MAX: u32 = (1 << 31) - 1;
const UPLOADED: &str = "carried";

/// Whom to ask, and whose word about it is believed.
#[derive(Clone)]
pub struct Target {
    address: String,
    host: String,
    authority: PathBuf,
}

impl Target {
    /// The service of this name, by the URL that the API gives it.
    pub fn of(platform: &Platform, service: &str) -> Target {
        let described =
            platform.call(&DescribeServiceRequest { service_arn: platform.arn(service) }).expect("a service");
        let url = described.service.service_url.expect("a URL");
        let (host, port) = url.split_once(':').expect("a port that is not 443");
        Target {
            address: format!("127.0.0.1:{port}"),
            host: host.to_owned(),
            authority: platform.data.join("proxy/tls/ca.pem"),
        }
    }
}

/// What the test server is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Most of these are under way when something happens.
    Slow,
    /// Its body comes in a frame of its own.
    Upload,
}

impl Kind {
    /// One in ten is slow, and one is an upload.
    fn of(number: u64) -> Kind {
        match number % 10 {
            3 => Kind::Slow,
            7 => Kind::Upload,
            _ => Kind::Plain,
        }
    }

    fn frames(self, target: &Target, stream: u32) -> Vec<u8> {
        let path = match self {
            Kind::Plain => "/",
            Kind::Slow => "/slow?300",
            Kind::Upload => "/echo",
        };
        let upload = self == Kind::Upload;
        let flags = if upload { HEAD } else { HEAD | LAST };
        let mut bytes = frame(HEADERS, flags, stream, &wire::head(upload, &target.host, path));
        if upload {
            bytes.extend(frame(DATA, LAST, stream, UPLOADED.as_bytes()));
        }
        bytes
    }

    /// The answer to it, where that is known.
    fn body(self) -> Option<&'static str> {
        match self {
            Kind::Plain => None,
            Kind::Slow => Some("slow"),
            Kind::Upload => Some(UPLOADED),
        }
    }
}

/// A request, and what has come of its answer.
struct Asked {
    kind: Kind,
    sent: Instant,
    times: u32,
    status: Option<u16>,
    body: Vec<u8>,
}

struct Connection {
    wire: Wire,
    streams: BTreeMap<u32, Asked>,
    next: u32,
    /// Requests that it may still have.
    more: u32,
    /// The server has said that it is to have none.
    going: bool,
}

/// From which connection, and what; last of all why there is no more.
type Heard = (u64, Result<Frame, String>);

pub(super) struct Client {
    target: Target,
    pace: Pace,
    asked: u64,
    /// By their numbers, which begin with 1.
    connections: BTreeMap<u64, Connection>,
    tell: SyncSender<Heard>,
    heard: Receiver<Heard>,
    seen: Seen,
}

impl Run for Client {
    fn run(mut self, shared: &Shared) -> Seen {
        let mut told = 0;
        while self.seen.failures.len() < FAILURES_MAX && !(shared.over() && self.waiting() == 0) {
            let asks = !shared.over() && self.waiting() < WAITING_MAX;
            let wait = self.pace.due.saturating_duration_since(Instant::now());
            if asks && wait.is_zero() {
                self.pace.due += self.pace.period;
                self.ask_next();
            } else if let Ok(heard) = self.heard.recv_timeout(if asks { wait } else { LOOK_PERIOD }) {
                self.hear(heard);
            }
            self.give_up();
            shared.answered.fetch_add(self.seen.answered - told, Ordering::Relaxed);
            told = self.seen.answered;
        }
        self.seen
    }
}

impl Client {
    pub(super) fn new(target: Target, pace: Pace) -> Client {
        let (tell, heard) = sync_channel(FRAMES_MAX);
        let (connections, seen) = (BTreeMap::new(), Seen::default());
        Client { target, pace, asked: 0, connections, tell, heard, seen }
    }

    fn waiting(&self) -> usize {
        self.connections.values().map(|connection| connection.streams.len()).sum()
    }

    fn ask_next(&mut self) {
        let kind = Kind::of(self.asked);
        self.asked += 1;
        self.ask(Asked { kind, sent: Instant::now(), times: 0, status: None, body: Vec::new() });
    }

    fn ask(&mut self, mut asked: Asked) {
        let newest = self.connections.last_entry();
        if !newest.is_some_and(|newest| newest.get().more > 0 && !newest.get().going) {
            self.open();
        }
        let mut newest = self.connections.last_entry().expect("it was opened");
        let connection = newest.get_mut();
        let stream = connection.next;
        connection.next += 2;
        connection.more -= 1;
        asked.times += 1;
        connection.wire.send(&asked.kind.frames(&self.target, stream));
        connection.streams.insert(stream, asked);
    }

    fn open(&mut self) {
        self.seen.connections += 1;
        let (number, tell) = (self.seen.connections, self.tell.clone());
        let wire = Wire::open(&self.target, move |heard| tell.send((number, heard)).is_ok());
        let (streams, more) = (BTreeMap::new(), REQUESTS_PER_CONNECTION);
        self.connections.insert(number, Connection { wire, streams, next: 1, more, going: false });
    }

    fn hear(&mut self, (number, heard): Heard) {
        // One that was given up goes on talking until it is cut.
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match heard {
            Ok(frame) if frame.stream > 0 => self.hear_answer(number, frame),
            Ok(Frame { kind: SETTINGS, flags: 0, .. }) => connection.wire.send(&frame(SETTINGS, ACK, 0, &[])),
            Ok(Frame { kind: PING, flags: 0, payload, .. }) => {
                connection.wire.send(&frame(PING, ACK, 0, &payload));
            }
            Ok(Frame { kind: GOAWAY, payload, .. }) => self.hear_goaway(number, &payload),
            Ok(_) => {}
            Err(why) => self.lost(number, &why),
        }
        let done = |connection: &Connection| {
            connection.streams.is_empty() && (connection.going || connection.more == 0)
        };
        if self.connections.get(&number).is_some_and(done) {
            self.connections.remove(&number);
        }
    }

    fn hear_answer(&mut self, number: u64, frame: Frame) {
        let connection = self.connections.get_mut(&number).expect("it is there");
        // A stream that is not there has been answered, or it is asked again.
        let Some(asked) = connection.streams.get_mut(&frame.stream) else { return };
        match frame.kind {
            HEADERS if asked.status.is_none() => {
                asked.status = Some(wire::status(&frame.payload).unwrap_or_default());
            }
            DATA => {
                let room = BODY_BYTES_MAX.saturating_sub(asked.body.len());
                asked.body.extend(frame.payload.iter().take(room));
            }
            _ => {}
        }
        let reset = frame.kind == RST_STREAM;
        if reset || ([HEADERS, DATA].contains(&frame.kind) && frame.flags & LAST != 0) {
            let asked = connection.streams.remove(&frame.stream).expect("it is there");
            match reset {
                true => self.failed(&asked, &format!("reset with code {}", wire::number(&frame.payload))),
                false => self.answered(&asked),
            }
        }
    }

    fn answered(&mut self, asked: &Asked) {
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        let expect = asked.kind.body();
        match asked.status {
            Some(200) if expect.is_none_or(|expect| expect == body) => {
                self.seen.answered += 1;
                if expect.is_none() {
                    *self.seen.bodies.entry(body).or_default() += 1;
                    self.seen.longest = self.seen.longest.max(asked.sent.elapsed());
                }
            }
            // 0 is a status that is not in HPACK's static table.
            status => self.failed(asked, &format!("{status:?}: {body}")),
        }
    }

    fn hear_goaway(&mut self, number: u64, payload: &[u8]) {
        let (last, code) = (wire::number(payload) & STREAM_MAX, wire::number(&payload[4..]));
        let connection = self.connections.get_mut(&number).expect("it is there");
        if !connection.going {
            self.seen.left += 1;
        }
        connection.going = true;
        let untouched = connection.streams.split_off(&(last + 1));
        if code != 0 {
            let said = String::from_utf8_lossy(&payload[8..]).into_owned();
            self.seen.failed(self.pace.begun, Instant::now(), &format!("GOAWAY with code {code}: {said}"));
        }
        for asked in untouched.into_values() {
            if asked.times == TIMES_MAX {
                self.failed(&asked, "not taken by any connection");
            } else {
                self.seen.again += 1;
                self.ask(asked);
            }
        }
    }

    /// The connection has ended: one that was not to be left may have had a request just then.
    fn lost(&mut self, number: u64, why: &str) {
        let connection = self.connections.remove(&number).expect("it is there");
        if connection.streams.is_empty() && !connection.going {
            self.seen.failed(self.pace.begun, Instant::now(), &format!("without GOAWAY, {why}"));
        }
        for asked in connection.streams.values() {
            self.failed(asked, why);
        }
    }

    /// Gives connections up that owe an answer for too long.
    fn give_up(&mut self) {
        let late = |connection: &Connection| {
            connection.streams.values().any(|asked| asked.sent.elapsed() > ANSWER_TIME_MAX)
        };
        let late = self.connections.iter().find(|(_, connection)| late(connection));
        if let Some(number) = late.map(|(number, _)| *number) {
            self.lost(number, "an answer did not come");
        }
    }

    fn failed(&mut self, asked: &Asked, why: &str) {
        self.seen.failed(self.pace.begun, asked.sent, why);
    }
}
