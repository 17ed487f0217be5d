//! The AWS APIs: `AppRunner`, which AWS's tools speak, and `Apron`, which has what AWS lacks.
//!
//! A call goes detect → signature → decode → handler → answer, in `call`. A handler parses its input into values
//! of the model, lets the model admit it inside one transaction, and shows the row that came of it; it never
//! waits for the world and never repeats anything. Handlers of one resource lie in one file. What an operation
//! of AWS's list is not handled yet stands in `specs/unsupported.txt` and is refused by name.

mod apprunner;
mod apron;
mod audit;
mod call;
#[cfg(test)]
mod crowds;
mod failure;
mod guests;
#[cfg(test)]
mod keys;
mod page;
mod peer;
mod poll;
mod shares;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod tests;

pub(crate) use apron::uploads;

use crate::Platform;
use crate::bench::CallError;
use apron_model::limits;
use apron_model::throttle::{Rates, Source, Throttling};
use guests::Guests;
use poll::Poll;
use shares::{Holder, Shares};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long clients are waited for.
#[derive(Clone, Copy)]
struct Waits {
    /// For the rest of a request head, and for the next request of a connection.
    head: Duration,
    /// For a place for a large body. SDKs try again when there is none.
    place: Duration,
    /// For the next bytes of a body.
    body_idle: Duration,
    /// For all of a body: a part of an upload at 100 KB per second.
    body: Duration,
    /// For an answer to be taken: as long as the command line stays for one.
    answer: Duration,
    /// For a client to end, and to see its answer, after we have: a large body at a few MB per second.
    linger: Duration,
    /// By this much a caller is held up who calls too often, or an address that goes on without a good signature.
    held_up: Duration,
}

/// What callers may take of us.
#[derive(Clone, Copy)]
struct Bounds {
    waits: Waits,
    rates: Rates,
    /// Connections of an address.
    address_connections: usize,
    loopback_connections: usize,
    /// Long polls of a key.
    key_polls: usize,
}

impl Bounds {
    fn standard(rates: Rates) -> Bounds {
        let waits = Waits {
            head: Duration::from_secs(10),
            place: Duration::from_secs(10),
            body_idle: Duration::from_secs(10),
            body: Duration::from_secs(60),
            answer: Duration::from_secs(60),
            linger: Duration::from_secs(5),
            held_up: Duration::from_secs(1),
        };
        Bounds {
            waits,
            rates,
            address_connections: limits::API_ADDRESS_CONNECTIONS_MAX,
            loopback_connections: limits::API_LOOPBACK_CONNECTIONS_MAX,
            key_polls: limits::API_KEY_POLLS_MAX,
        }
    }
}

/// Open calls get this long to end when the process is to end.
const DRAIN_MS_MAX: u64 = 5_000;
/// The lines of the last calls get this long to be written.
const WRITE_MS_MAX: u64 = 2_000;
/// A connection that gives way is gone within this time.
const EVICT_MS_MAX: u64 = 1_000;
/// After a failed accept (no descriptors left, most likely) wait a moment, or the loop would spin.
const ACCEPT_PAUSE_MS: u64 = 50;

/// What is shared by all calls.
struct Api {
    platform: Arc<Platform>,
    bounds: Bounds,
    throttling: Mutex<Throttling>,
    bodies: call::Bodies,
    polls: Arc<Shares>,
    audit: audit::Audit,
    /// True once the process is to end: long polls answer at once.
    shutdown: watch::Receiver<bool>,
}

/// One call of a caller with all rights, without a connection and a signature: for benches.
pub(crate) async fn direct(
    platform: &Platform,
    region: &str,
    operation: &str,
    input: &serde_json::Value,
) -> Result<serde_json::Value, CallError> {
    let context = call::Context { platform, region };
    let (_ending, shutdown) = watch::channel(false);
    let poll = Poll { places: Shares::new(1, 1), key_id: String::new(), shutdown };
    let (body, id) = (input.to_string(), "0");
    let answer = match apron_wire::apprunner::Operation::parse(operation) {
        Some(operation) => apprunner::dispatch(context, operation, body.as_bytes(), id).await,
        None => match apron_wire::apron::Operation::parse(operation) {
            Some(operation) => apron::dispatch(context, operation, body.as_bytes(), id, poll).await,
            None => Err(apron_wire::Error::unknown_operation(operation)),
        },
    };
    let error = |code: &str, message: String| CallError { code: code.to_owned(), message };
    let answer = answer.map_err(|refused| error(&refused.code, refused.message))?;
    serde_json::from_slice(answer.body()).map_err(|broken| error("NotJson", broken.to_string()))
}

/// Serves both APIs until `shutdown` is true, then lets open calls end, within bounds.
///
/// # Errors
/// Never once it serves; a failed accept is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    platform: Arc<Platform>,
    rates: Rates,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    serve_within(listener, platform, Bounds::standard(rates), shutdown).await
}

async fn serve_within(
    listener: TcpListener,
    platform: Arc<Platform>,
    bounds: Bounds,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let (audit, writer) = audit::audit(platform.logs.clone(), Arc::clone(&platform.clock));
    let mut writer = tokio::spawn(writer.run());
    let api = Arc::new(Api {
        platform,
        bounds,
        throttling: Mutex::new(Throttling::new(bounds.rates)),
        bodies: call::Bodies::new(),
        polls: Shares::new(limits::API_POLLS_MAX, bounds.key_polls),
        audit,
        shutdown: shutdown.clone(),
    });
    let places = Arc::new(Semaphore::new(limits::API_CONNECTIONS_MAX));
    let refusals = Arc::new(Semaphore::new(limits::API_REFUSALS_MAX));
    let of_an_address = Shares::new(limits::API_CONNECTIONS_MAX, bounds.address_connections);
    let of_loopback = Shares::new(limits::API_CONNECTIONS_MAX, bounds.loopback_connections);
    let guests = Arc::<Guests>::default();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = ending(&mut shutdown) => break,
            // A place first, a connection then: without one, callers wait in the listener's backlog.
            accepted = async {
                if places.available_permits() == 0 {
                    guests.evict(None);
                }
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((stream, peer)), Ok(place)) => {
                let source = Source::of(peer.ip());
                let shares = if source == Source::Loopback { &of_loopback } else { &of_an_address };
                let share = match shares.take(Holder::Address(source)) {
                    None if guests.evict(Some(source)) => {
                        let soon = Duration::from_millis(EVICT_MS_MAX);
                        shares.wait(Holder::Address(source), soon).await
                    }
                    share => share,
                };
                let api = api.clone();
                let Some(share) = share else {
                    tracing::debug!(%peer, "an address has too many connections to the API");
                    // Beyond these, who is one too many is not told so.
                    if let Ok(refusal) = refusals.clone().try_acquire_owned() {
                        connections.spawn(async move {
                            peer::refuse(stream, &api).await;
                            drop(refusal);
                        });
                    }
                    continue;
                };
                let (guest, evicted) = guests.enter(source);
                connections.spawn(async move {
                    peer::serve(stream, peer.ip(), api, guest, evicted).await;
                    drop((place, share));
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
            // The semaphore is never closed.
            (_, Err(_)) => break,
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), drained).await.is_err() {
        tracing::warn!("calls that did not end in time are cut off");
        connections.shutdown().await;
    }
    // With the last of them the writer ends, once it has written.
    drop(api);
    if tokio::time::timeout(Duration::from_millis(WRITE_MS_MAX), &mut writer).await.is_err() {
        writer.abort();
        tracing::error!("the audit log lacks the last calls: its disk takes too long");
    }
    Ok(())
}

/// Returns once the process is to end.
async fn ending(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone can say nothing else any more. The guard must not be held over a wait.
    drop(shutdown.wait_for(|ending| *ending).await);
}
