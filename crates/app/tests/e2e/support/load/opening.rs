//! Requests each on a connection of its own: whether it was begun before a kill tells what the kill may have cut from
//! what must not be lost.

use super::{ask, connect};
use crate::support::processes::Seen;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two requests of one client: less than a proxy is away, so that each client asks meanwhile. Without a pause
/// the connections of these tests fill the kernel's table of connections, which keeps each for two minutes.
const PAUSE: Duration = Duration::from_millis(4);

/// Of one client; more say nothing new.
const FAILURES_MAX: usize = 100;

/// Clients that ask until they are stopped.
pub struct Opening {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Failure>>>,
}

/// A request that was not answered with 200.
#[derive(Debug)]
pub struct Failure {
    begun: Instant,
    /// When the client knew it.
    known: Instant,
    /// No connection was opened.
    refused: bool,
    why: String,
}

/// A kill -9: it took place between two times.
#[derive(Debug)]
pub struct Kill {
    pub before: Instant,
    after: Instant,
}

impl Kill {
    pub fn of(process: Seen) -> Kill {
        let before = Instant::now();
        process.signal(libc::SIGKILL);
        Kill { before, after: Instant::now() }
    }
}

impl Failure {
    /// The connection may have been open when the process was killed, and failed no earlier.
    pub fn is_of(&self, kill: &Kill) -> bool {
        !self.refused && self.begun <= kill.after && kill.before <= self.known
    }

    /// When it was, from the kill before it, for people.
    pub fn told(&self, kills: &[Kill]) -> String {
        let ms = |since: Duration| since.as_secs_f64() * 1_000.0;
        let took = ms(self.known - self.begun);
        match kills.iter().rfind(|kill| kill.before <= self.known) {
            Some(kill) => format!(
                "known {:.2} ms after a kill, {took:.2} ms long: {}",
                ms(self.known - kill.before),
                self.why
            ),
            None => format!("before any kill, {took:.2} ms long: {}", self.why),
        }
    }
}

impl Opening {
    /// GETs of `/` of this host.
    pub fn start(address: &str, host: &str, clients: usize) -> Opening {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let clients = (0..clients).map(|_| {
            let (address, request) = (address.to_owned(), request.clone());
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) && failures.len() < FAILURES_MAX {
                    match get(&address, &request) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(failure) => failures.push(failure),
                    }
                    std::thread::sleep(PAUSE);
                }
                failures
            })
        });
        let clients = clients.collect();
        Opening { stop, answered, clients }
    }

    /// How many requests were answered, and those that were not.
    pub fn stop(self) -> (u64, Vec<Failure>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter().flat_map(|client| client.join().expect("a client ends"));
        let failures = failures.collect();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

fn get(address: &str, request: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    let failure = |refused: bool, why: String| Failure { begun, known: Instant::now(), refused, why };
    let mut stream = connect(address).map_err(|error| failure(true, error.to_string()))?;
    match ask(&mut stream, request) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(failure(false, format!("{}: {}", answer.status, answer.body))),
        Err(error) => Err(failure(false, error.to_string())),
    }
}
