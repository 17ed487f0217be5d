//! Whole connections changed by dice, against a proxy that is a process of its own and stands before an application that
//! reads as strictly as anybody: whatever comes, the proxy runs and complains of nothing, each connection ends in time,
//! others are served, and nothing of it stays. What goes on to the application is well-formed.
//!
//! One number decides a connection, also which protocol it speaks. A run prints its numbers; `APRON_FUZZ_SEED` repeats one
//! of them and writes down what it sends, which `corpus/README.md` says where to put.

mod application;
mod frames;
mod process;
mod strict;

use crate::mutate::{self, Random};
use crate::nginx::WORDS;
use crate::support::{Origin, PATIENCE, Wire, eventually};
use crate::talk::{End, Manner, PAUSE, talk};
use process::{LOOPS, Process};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";
const SECONDS: u64 = 600;
/// Connections at a time.
const CLIENTS: usize = 8;
/// After so many cases the proxy is looked at.
const PERIOD: u64 = 1_000;
/// Of so many connections one keeps silent at its end, and has to be ended by the proxy's own clock.
const SILENT_ONE_IN: usize = 512;
/// For a connection that its client ends.
const TIME_MAX: Duration = Duration::from_secs(10);
/// For one that the proxy's own clock has to end. With HTTP/2 a client that keeps silent may leave no window for what it
/// has asked for, which takes longest: two minutes, and the idle time-out and its politeness behind them.
const SILENT_TIME_MAX: Duration = Duration::from_secs(140);
/// What the proxy may hold: a multiple of what is seen, and far below what some bytes per case would come to.
const RESIDENT_KIB_MAX: u64 = 96 * 1024;
/// Those of each client's streams, and sleeping ones to the application, which are 128 per loop.
const DESCRIPTORS_MAX: usize = 64 + CLIENTS * 129 + LOOPS * 128;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Inputs that cases are made of.
struct Corpus {
    http1: Vec<Vec<u8>>,
    /// Without the preface.
    http2: Vec<Vec<u8>>,
}

impl Corpus {
    fn read() -> Corpus {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        let all = |name: &str| {
            let files = std::fs::read_dir(root.join(name)).unwrap().map(|file| file.unwrap().path());
            // In the same order everywhere: a number chooses among them.
            let files: BTreeSet<_> = files.collect();
            files.iter().map(|file| std::fs::read(file).unwrap()).collect()
        };
        Corpus { http1: all("http1"), http2: all("http2") }
    }

    /// What a client says, and how.
    fn case(&self, seed: u64) -> (Vec<u8>, Manner) {
        let mut random = Random::new(seed);
        let is_http2 = seed % 2 == 1;
        let bytes = match is_http2 {
            true => [PREFACE, &frames::changed(&mut random, &slices(&self.http2))].concat(),
            false => mutate::input(&mut random, &slices(&self.http1), &WORDS),
        };
        let manner = match random.below(SILENT_ONE_IN) {
            0 => Manner::Waits,
            1..64 => Manner::Leaves,
            // Nobody is told the end of a stream whose connection has ended at once.
            64..128 => Manner::Hesitates,
            _ if is_http2 && random.below(2) == 0 => Manner::Hesitates,
            _ => Manner::Ends,
        };
        (bytes, manner)
    }
}

#[test]
fn the_corpus_is_survived_as_it_is() {
    let world = World::start();
    for bytes in &world.corpus.http1 {
        world.send(bytes, Manner::Ends).unwrap();
    }
    for bytes in &world.corpus.http2 {
        world.send(&[PREFACE, bytes].concat(), Manner::Hesitates).unwrap();
    }
    world.look().unwrap();
    world.rest();
}

#[test]
#[ignore = "long: the long list runs it"]
fn connections_changed_by_dice() {
    let world = &World::start();
    let repeated = std::env::var("APRON_FUZZ_SEED").is_ok();
    let (sender, receiver) = sync_channel(0);
    // Held by the clients alone: when the last of them has failed, the sender hears of it.
    let receiver = Arc::new(Mutex::new(receiver));
    // The sender goes with it, also when it fails: then the clients end.
    let (first, cases) = std::thread::scope(move |scope| {
        let mut sent = 0;
        for _ in 0..CLIENTS {
            let receiver = receiver.clone();
            scope.spawn(move || while world.serve_case(&receiver) {});
        }
        drop(receiver);
        mutate::for_seconds(SECONDS, |seed| {
            if repeated {
                let (bytes, manner) = world.corpus.case(seed);
                let path = std::env::temp_dir().join(format!("apron-fuzz-{seed}"));
                std::fs::write(&path, bytes).unwrap();
                println!("{manner:?}: {}", path.display());
            }
            std::thread::sleep(PAUSE);
            sender.send(seed).expect("a client is left");
            sent += 1;
            let seen = if sent % PERIOD == 0 { world.look() } else { world.is_well() };
            if let Err(why) = seen {
                let others = world.under_way.lock().unwrap().clone();
                panic!(
                    "{why}\nAPRON_FUZZ_SEED={seed} repeats this, or one shortly before it, or of {others:?}"
                );
            }
        })
    });
    world.rest();
    println!("{cases} connections from {first}");
}

fn slices(all: &[Vec<u8>]) -> Vec<&[u8]> {
    all.iter().map(Vec::as_slice).collect()
}

/// A proxy, and an application behind it.
struct World {
    proxy: Process,
    corpus: Corpus,
    /// What the application got and should not have, and connections that did not end.
    wrong: application::Wrong,
    under_way: Mutex<BTreeSet<u64>>,
    _application: Origin,
}

impl World {
    fn start() -> World {
        let wrong = application::Wrong::default();
        let application = application::start(&wrong);
        let proxy = Process::start(HOST, application.address);
        let (corpus, under_way) = (Corpus::read(), Mutex::default());
        World { proxy, corpus, wrong, under_way, _application: application }
    }

    /// Takes a case and serves it. False: there are no more.
    fn serve_case(&self, cases: &Mutex<Receiver<u64>>) -> bool {
        let Ok(seed) = cases.lock().unwrap().recv() else { return false };
        self.under_way.lock().unwrap().insert(seed);
        let (bytes, manner) = self.corpus.case(seed);
        if let Err(why) = self.send(&bytes, manner) {
            self.wrong.lock().unwrap().push(format!("{seed}: {why}"));
        }
        self.under_way.lock().unwrap().remove(&seed);
        true
    }

    fn send(&self, bytes: &[u8], manner: Manner) -> Result<(), String> {
        let start = Instant::now();
        let end = talk(self.proxy.address, bytes, manner).end;
        let took = start.elapsed();
        // A proxy that closes while something is still being said resets the connection.
        let time_max = if manner == Manner::Waits { SILENT_TIME_MAX } else { TIME_MAX };
        match end {
            End::Closed | End::Reset if took < time_max => Ok(()),
            _ => Err(format!("a connection has not ended after {took:?}")),
        }
    }

    /// Nothing is wrong that is seen at once.
    fn is_well(&self) -> Result<(), String> {
        self.proxy.is_well()?;
        match self.wrong.lock().unwrap().first() {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(()),
        }
    }

    /// Nor else: the proxy serves others, and holds no more than it may.
    fn look(&self) -> Result<(), String> {
        self.is_well()?;
        let (head, body) = Wire::connect(self.proxy.address).get(HOST, "/");
        if (head.status(), body.as_str()) != (200, "ok") {
            return Err(format!("an ordinary request is answered with {head:?} {body:?}"));
        }
        if !self.serves_http2() {
            return Err("an ordinary request of HTTP/2 is not answered".to_owned());
        }
        let (resident, descriptors) = (self.proxy.resident_kib(), self.proxy.descriptors());
        if resident > RESIDENT_KIB_MAX || descriptors > DESCRIPTORS_MAX {
            return Err(format!("the proxy holds {resident} KiB and {descriptors} descriptors"));
        }
        Ok(())
    }

    fn serves_http2(&self) -> bool {
        /// The index of a status of 200.
        const OK: u8 = 0x88;
        let mut stream = TcpStream::connect(self.proxy.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[PREFACE, include_bytes!("../corpus/http2/get")].concat()).unwrap();
        let is_answer =
            |frame: &frames::Frame| frame.kind == frames::HEADERS && frame.payload.first() == Some(&OK);
        let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
        while !frames::read(&heard).iter().any(is_answer) {
            match stream.read(&mut bytes) {
                Ok(0) | Err(_) => return false,
                Ok(length) => heard.extend(&bytes[..length]),
            }
        }
        true
    }

    /// Once everybody has left, nothing is left of anybody.
    fn rest(&self) {
        let is = |name: &str, count: usize| self.proxy.metric(name) == Some(count as u64);
        eventually("no request is in flight", || is("apron_proxy_requests_in_flight", 0));
        // Each loop has its listener.
        eventually("no client is connected", || is("apron_proxy_connections", LOOPS));
        self.look().unwrap();
        println!("{} KiB, {} descriptors", self.proxy.resident_kib(), self.proxy.descriptors());
    }
}
