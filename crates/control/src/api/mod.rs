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
mod connections;
#[cfg(test)]
mod crowds;
mod failure;
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
use connections::{Connections, Room};
use poll::Poll;
use shares::Shares;
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
    /// For a place for a large body, or for a change's line in the audit log.
    place: Duration,
    /// For the next bytes of a body.
    body_idle: Duration,
    /// For all of a body.
    body: Duration,
    /// For an answer to be taken.
    answer: Duration,
    /// For a client to end, and to see its answer, after we have.
    linger: Duration,
    /// By this much a caller is held up who calls too often, or an address that goes on without a good signature.
    held_up: Duration,
}

/// What callers may take of us.
#[derive(Clone, Copy)]
struct Bounds {
    waits: Waits,
    rates: Rates,
    room: Room,
    /// Long polls of a key.
    key_polls: usize,
}

impl Bounds {
    fn standard(rates: Rates) -> Bounds {
        let waits = Waits {
            head: Duration::from_millis(limits::API_HEAD_MS_MAX),
            place: Duration::from_millis(limits::API_PLACE_MS_MAX),
            body_idle: Duration::from_millis(limits::API_BODY_IDLE_MS_MAX),
            body: Duration::from_millis(limits::API_BODY_MS_MAX),
            answer: Duration::from_millis(limits::API_ANSWER_MS_MAX),
            linger: Duration::from_millis(limits::API_LINGER_MS_MAX),
            held_up: Duration::from_millis(limits::API_HELD_UP_MS),
        };
        let room = Room {
            all: limits::API_CONNECTIONS_MAX,
            kept_for_loopback: limits::API_KEPT_FOR_LOOPBACK,
            loopback: limits::API_LOOPBACK_CONNECTIONS_MAX,
            address: limits::API_ADDRESS_CONNECTIONS_MAX,
            key: limits::API_KEY_CONNECTIONS_MAX,
        };
        Bounds { waits, rates, room, key_polls: limits::API_KEY_POLLS_MAX }
    }
}

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

impl Api {
    fn new(
        platform: Arc<Platform>,
        bounds: Bounds,
        audit: audit::Audit,
        shutdown: watch::Receiver<bool>,
    ) -> Api {
        Api {
            platform,
            bounds,
            throttling: Mutex::new(Throttling::new(bounds.rates)),
            bodies: call::Bodies::new(),
            polls: Shares::new(limits::API_POLLS_MAX, bounds.key_polls),
            audit,
            shutdown,
        }
    }
}

/// One call of a caller with all rights, without a connection and a signature: for benches.
pub(crate) async fn direct(
    platform: &Platform,
    region: &str,
    operation: &str,
    input: &serde_json::Value,
) -> Result<serde_json::Value, CallError> {
    let context = call::Context { platform, region, connections: None };
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
/// When a task that writes the audit log ends: no call goes on without it. A failed accept is logged and tried again.
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
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let (audit, writers) = audit::audit(&platform.logs, Arc::clone(&platform.clock));
    let writers = writers.into_iter().map(audit::Writer::run).collect();
    serve_audited(listener, platform, bounds, shutdown, audit, writers).await
}

/// `writers` end once nothing of `audit` is left.
async fn serve_audited(
    listener: TcpListener,
    platform: Arc<Platform>,
    bounds: Bounds,
    mut shutdown: watch::Receiver<bool>,
    audit: audit::Audit,
    mut writers: JoinSet<()>,
) -> io::Result<()> {
    let api = Arc::new(Api::new(platform, bounds, audit, shutdown.clone()));
    let refusals = Arc::new(Semaphore::new(limits::API_REFUSALS_MAX));
    let connections = Connections::new(bounds.room);
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = ending(&mut shutdown) => break,
            Some(ended) = writers.join_next() => {
                let how = ended.err().map(|error| format!(": {error}")).unwrap_or_default();
                return Err(io::Error::other(format!("a task that writes the audit log has ended{how}")));
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(limits::API_ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let api = api.clone();
        if let Some((connection, evicted)) = connections.enter(Source::of(peer.ip())).await {
            tasks.spawn(peer::serve(stream, peer.ip(), api, connection, evicted));
            continue;
        }
        tracing::debug!(%peer, "there are too many connections to the API");
        // Beyond these, who is one too many is not told so.
        if let Ok(refusal) = refusals.clone().try_acquire_owned() {
            tasks.spawn(async move {
                peer::refuse(stream, &api).await;
                drop(refusal);
            });
        }
    }
    drop(listener);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(limits::API_DRAIN_MS_MAX), drained).await.is_err() {
        tracing::warn!("calls that did not end in time are cut off");
        tasks.shutdown().await;
    }
    // With the last of them the writers end, once they have written.
    drop(api);
    let written = async {
        while let Some(ended) = writers.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    };
    match tokio::time::timeout(Duration::from_millis(limits::API_LAST_LINES_MS_MAX), written).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::error!(
                "the audit log lacks the last calls: it cannot be written, or its disk takes too long"
            );
            Ok(())
        }
    }
}

/// Returns once the process is to end.
async fn ending(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone can say nothing else any more. The guard must not be held over a wait.
    drop(shutdown.wait_for(|ending| *ending).await);
}
