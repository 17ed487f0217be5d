//! Every case of h2spec (github.com/summerwind/h2spec at af83a65, with those that it calls strict) against the proxy, by
//! h2spec's own numbers, which are those of RFC 7540 and RFC 7541. The program itself is not used: the bytes are made here.
//!
//! h2spec takes it as good when a connection is closed where it should say why. Here the code counts: what h2spec would
//! let pass without it is listed as a difference, with what is seen instead.

mod connection;
mod frames;
mod generic;
mod hpack;
mod messages;
mod wire;

use crate::support::Running;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use wire::{Client, Event};

const HOST: &str = "app.localhost";
/// Cases of each part of h2spec.
const PARTS: [(&str, usize); 3] = [("generic/", 44), ("hpack/", 8), ("http2/", 95)];
/// Cases at a time.
const THREADS: usize = 8;
/// A payload of PING.
const MARK: [u8; 8] = *b"a mark..";

/// h2 has one code for all that it cannot read.
const ONE_CODE: &str = "h2 says PROTOCOL_ERROR of whatever cannot be decoded; the connection ends as it must";
/// And for frames on a stream of which the request has ended and the answer has not.
const NOT_BY_STREAM: &str = "h2 ends the connection for a frame that only its stream need be reset for";

/// What h2spec waits for.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// The server's SETTINGS, before anything else.
    Settings,
    SettingsAck,
    /// This is answered, and nothing was wrong.
    Pong([u8; 8]),
    /// The same, or the connection ends.
    PongOrEnd([u8; 8]),
    /// A head with status 200 on this stream.
    Answer(u32),
    /// The end of the answer on this stream.
    AnswerEnds(u32),
    /// The first DATA has this length.
    Data(usize),
    /// GOAWAY with one of these codes, and the end.
    ConnectionError(&'static [u32]),
    /// RST_STREAM of this stream with one of these codes; or the connection ends with one of them.
    StreamError(u32, &'static [u32]),
    /// RST_STREAM and nothing else.
    Reset(u32, u32),
    /// The connection ends, however.
    End,
    /// An answer in HTTP/1, and the end.
    Http1(u16),
}

impl Wanted {
    fn is_met(self, events: &[Event]) -> bool {
        let last = events.last().copied();
        let ended = last == Some(Event::Closed);
        let well = !events.iter().any(|event| matches!(event, Event::Reset { .. } | Event::Goaway { .. }));
        match self {
            Wanted::Settings => events.first() == Some(&Event::Settings),
            Wanted::SettingsAck => well && last == Some(Event::SettingsAck),
            Wanted::Pong(mark) => well && last == Some(Event::Pong(mark)),
            Wanted::PongOrEnd(mark) => ended || last == Some(Event::Pong(mark)),
            Wanted::Answer(wanted) => {
                let answer =
                    |event| matches!(event, Event::Headers { stream, status: 200, .. } if stream == wanted);
                well && last.is_some_and(answer)
            }
            Wanted::AnswerEnds(wanted) => {
                well && match last {
                    Some(Event::Headers { stream, last, .. } | Event::Data { stream, last, .. }) => {
                        last && stream == wanted
                    }
                    _ => false,
                }
            }
            Wanted::Data(wanted) => {
                let mut lengths = events.iter().filter_map(|event| match event {
                    Event::Data { length, .. } => Some(*length),
                    _ => None,
                });
                well && lengths.next() == Some(wanted)
            }
            Wanted::ConnectionError(codes) => {
                let said = |event: &Event| matches!(event, Event::Goaway { code } if codes.contains(code));
                ended && events.iter().any(said)
            }
            Wanted::StreamError(stream, codes) => {
                codes.iter().any(|code| Wanted::Reset(stream, *code).is_met(events))
                    || Wanted::ConnectionError(codes).is_met(events)
            }
            Wanted::Reset(stream, code) => events.contains(&Event::Reset { stream, code }),
            Wanted::End => ended,
            Wanted::Http1(status) => ended && events.contains(&Event::Http1 { status }),
        }
    }
}

/// What the proxy does.
#[derive(Clone, Copy)]
enum Verdict {
    Meets,
    /// Why it does something else, and what.
    Differs(&'static str, Wanted),
}

enum Step {
    Send(Vec<u8>),
    Until(Wanted),
}

fn send<const N: usize>(frames: [Vec<u8>; N]) -> Vec<Step> {
    vec![Step::Send(frames.concat())]
}

struct Case {
    /// Part, section, and number in it.
    name: &'static str,
    what: &'static str,
    /// What the client does once it has greeted.
    steps: fn(&Ask) -> Vec<Step>,
    wanted: Wanted,
    verdict: Verdict,
    /// Nothing of it may come to the application.
    refused: bool,
    /// False: the case is about how a connection begins.
    greets: bool,
}

fn case(name: &'static str, what: &'static str, steps: fn(&Ask) -> Vec<Step>, wanted: Wanted) -> Case {
    Case { name, what, steps, wanted, verdict: Verdict::Meets, refused: false, greets: true }
}

impl Case {
    fn differs(self, why: &'static str, does: Wanted) -> Case {
        Case { verdict: Verdict::Differs(why, does), ..self }
    }

    fn refused(self) -> Case {
        Case { refused: true, ..self }
    }

    fn ungreeted(self) -> Case {
        Case { greets: false, ..self }
    }

    /// The path of its requests, by which the application tells them apart.
    fn path(&self) -> String {
        format!("/{}", self.name)
    }

    fn run(&self, address: SocketAddr) -> Result<(), String> {
        let mut client = Client::connect(address);
        if self.greets && !client.greet() {
            return Err(format!("no SETTINGS, but {:?}", client.events));
        }
        client.events.clear();
        let ask = Ask { path: self.path(), streams_max: client.streams_max };
        for step in (self.steps)(&ask) {
            match step {
                Step::Send(bytes) => client.send(&bytes),
                Step::Until(wanted) if client.until(|events| wanted.is_met(events)) => client.events.clear(),
                Step::Until(wanted) => {
                    return Err(format!("on the way {wanted:?} is missing: {:?}", client.events));
                }
            }
        }
        let does = match self.verdict {
            Verdict::Meets => self.wanted,
            Verdict::Differs(_, does) => does,
        };
        if !client.until(|events| does.is_met(events)) {
            return Err(match self.verdict {
                Verdict::Meets => format!("{does:?} is missing: {:?}", client.events),
                Verdict::Differs(why, _) => {
                    format!("{:?} is wanted and {does:?} known ({why}): {:?}", self.wanted, client.events)
                }
            });
        }
        if matches!(self.verdict, Verdict::Differs(..)) && self.wanted.is_met(&client.events) {
            return Err(format!("{:?} is met by now", self.wanted));
        }
        // What is wrong with a stream leaves the others alone.
        let reset = client.events.iter().any(|event| matches!(event, Event::Reset { .. }));
        if reset && !client.events.contains(&Event::Closed) {
            client.events.clear();
            client.send(&wire::ping(MARK));
            if !client.until(|events| Wanted::Pong(MARK).is_met(events)) {
                return Err(format!("the connection does not go on: {:?}", client.events));
            }
        }
        Ok(())
    }
}

/// What a case makes its requests of.
struct Ask {
    path: String,
    /// Streams at a time, as the server says.
    streams_max: u32,
}

impl Ask {
    fn get(&self) -> Vec<u8> {
        self.with("GET", &[])
    }

    fn post(&self) -> Vec<u8> {
        self.with("POST", &[])
    }

    /// With further lines behind the usual ones.
    fn with(&self, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
        wire::block(&[&self.lines(method)[..], more].concat())
    }

    fn without(&self, name: &str) -> Vec<u8> {
        let mut lines = self.lines("GET").to_vec();
        lines.retain(|(n, _)| *n != name);
        wire::block(&lines)
    }

    fn lines<'a>(&'a self, method: &'a str) -> [(&'a str, &'a str); 4] {
        [(":method", method), (":scheme", "http"), (":path", &self.path), (":authority", HOST)]
    }

    /// A GET with a part of a block behind it that is written by hand.
    fn and(&self, bytes: &[u8]) -> Vec<u8> {
        [&self.get(), bytes].concat()
    }
}

/// A line of 4,000 bytes, as large as h2spec's.
fn large_line(name: &str) -> Vec<u8> {
    wire::block(&[(name, &"x".repeat(4_000))])
}

/// Answers everything, and remembers the paths that it was asked for.
async fn application() -> (SocketAddr, Arc<Mutex<BTreeSet<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, paths) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(BTreeSet::new())));
    let remember = paths.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let remember = remember.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                remember.lock().unwrap().insert(request.uri().path().to_owned());
                async {
                    // An upload that is broken off is answered too; nobody hears it.
                    let _ = request.into_body().collect().await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"served"))))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
            );
        }
    });
    (address, paths)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_of_h2spec() {
    let cases: Vec<Case> =
        [generic::cases(), connection::cases(), frames::cases(), messages::cases(), hpack::cases()]
            .into_iter()
            .flatten()
            .collect();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "a number stands twice");
    for (part, count) in PARTS {
        assert_eq!(names.iter().filter(|name| name.starts_with(part)).count(), count, "{part}");
    }

    let (instance, asked) = application().await;
    let proxy = Running::fixed(&[(HOST, &[instance])]);
    let address = proxy.address;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = case.run(address) {
                        failed.lock().unwrap().push(format!("{} ({}): {why}", case.name, case.what));
                    }
                }
            });
        }
    });
    // Whatever was on its way to the application is there.
    drop(proxy);
    let mut failed = failed.into_inner().unwrap();
    let asked = asked.lock().unwrap();
    let may_ask: BTreeSet<String> = cases.iter().filter(|case| !case.refused).map(Case::path).collect();
    failed.extend(asked.difference(&may_ask).map(|path| format!("{path}: the application was asked for it")));
    failed.sort();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
