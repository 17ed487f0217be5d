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
mod failure;
#[cfg(test)]
mod keys;
mod page;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod tests;

pub(crate) use apron::uploads;

use crate::Platform;
use crate::bench::CallError;
use apron_model::limits;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long clients are waited for.
struct Waits {
    /// For the rest of a request head, and for the next request of a connection.
    head: Duration,
    /// For a place for a large body. SDKs try again when there is none.
    place: Duration,
    /// For the next bytes of a body.
    body_idle: Duration,
    /// For all of a body: a part of an upload at 100 KB per second.
    body: Duration,
}

impl Waits {
    const STANDARD: Waits = Waits {
        head: Duration::from_secs(10),
        place: Duration::from_secs(10),
        body_idle: Duration::from_secs(10),
        body: Duration::from_secs(60),
    };
}

/// Heads carry a signature and a target; SDKs send about one kilobyte.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Open calls get this long to end when the process is to end.
const DRAIN_MS_MAX: u64 = 5_000;
/// The lines of the last calls get this long to be written.
const WRITE_MS_MAX: u64 = 2_000;
/// After a failed accept (no descriptors left, most likely) wait a moment, or the loop would spin.
const ACCEPT_PAUSE_MS: u64 = 50;

/// What is shared by all calls.
struct Api {
    platform: Arc<Platform>,
    /// Bodies of more than a few kilobytes that are held in memory at once.
    large_bodies: Semaphore,
    waits: Waits,
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
    let (body, id) = (input.to_string(), "0");
    let answer = match apron_wire::apprunner::Operation::parse(operation) {
        Some(operation) => apprunner::dispatch(context, operation, body.as_bytes(), id).await,
        None => match apron_wire::apron::Operation::parse(operation) {
            Some(operation) => apron::dispatch(context, operation, body.as_bytes(), id, &shutdown).await,
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
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    serve_within(listener, platform, Waits::STANDARD, shutdown).await
}

async fn serve_within(
    listener: TcpListener,
    platform: Arc<Platform>,
    waits: Waits,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let (audit, writer) = audit::audit(platform.logs.clone(), Arc::clone(&platform.clock));
    let mut writer = tokio::spawn(writer.run());
    let api = Arc::new(Api {
        platform,
        audit,
        large_bodies: Semaphore::new(call::LARGE_BODIES_MAX),
        waits,
        shutdown: shutdown.clone(),
    });
    let places = Arc::new(Semaphore::new(limits::API_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = ending(&mut shutdown) => break,
            // A place first, a connection then: without one, callers wait in the listener's backlog.
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((stream, peer)), Ok(place)) => {
                let api = api.clone();
                connections.spawn(async move {
                    connection(stream, peer.ip(), api).await;
                    drop(place);
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

async fn connection(stream: TcpStream, source: IpAddr, api: Arc<Api>) {
    // Answers are one write; waiting for more to send with it would cost 40 ms.
    let _ = stream.set_nodelay(true);
    let mut shutdown = api.shutdown.clone();
    let head = api.waits.head;
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(call::answer(&api, request, source).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The client's doing: a broken connection, a request that is no HTTP.
        tracing::debug!(%error, "a connection to the API ended early");
    }
}
