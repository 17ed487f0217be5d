//! Fresh connections to instances, when the pool has none that will do.

use crate::admission::{self, Elsewhere, OTHERS_MAX};
use crate::client::Client;
use crate::event_loop::EventLoop;
use crate::http1::pool;
use crate::observe::Exchange;
use crate::pool::Ticket;
use crate::pool::is_nobody;
use crate::reply::Cause;
use crate::route::Host;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Why there is no connection.
pub(crate) enum Unconnected {
    Final(Cause),
    /// The instance refused, and the others that are well are full: the request's place is in their line, without the
    /// one that it has.
    Line,
}

/// A fresh connection to the instance, or to another one when it refuses; the other way round for what is sent `again`.
/// The other's place is taken too. In the time that the request may take in all, if there is one.
pub(super) async fn connect(
    client: &Client,
    host: &Host,
    end_by: Option<Instant>,
    exchange: &mut Exchange,
    ticket: &Ticket,
    again: bool,
) -> Result<(Option<Ticket>, TcpStream), Unconnected> {
    let began = Instant::now();
    let connect = connect_any(&client.event_loop, host, ticket, again);
    let opened = match end_by {
        None => connect.await,
        // Boxed as below.
        Some(end_by) => Box::pin(timeout_at(end_by, connect))
            .await
            .unwrap_or(Err(Unconnected::Final(Cause::TotalTimedOut))),
    };
    if opened.is_ok() {
        exchange.connected(began.elapsed());
    }
    opened
}

async fn connect_any(
    event_loop: &EventLoop,
    host: &Host,
    ticket: &Ticket,
    again: bool,
) -> Result<(Option<Ticket>, TcpStream), Unconnected> {
    let mut avoid = ticket.upstream.instance.key;
    // Boxed, because they are rare: every connection would have their room otherwise.
    if again
        && let Elsewhere::Place(other) = admission::elsewhere(event_loop, host, avoid)
        && let Some(link) = Box::pin(open(&other)).await
    {
        return Ok((Some(other), link));
    }
    if let Some(link) = Box::pin(open(ticket)).await {
        return Ok((None, link));
    }
    for _ in 0..OTHERS_MAX {
        match admission::elsewhere(event_loop, host, avoid) {
            Elsewhere::Place(other) => match Box::pin(open(&other)).await {
                Some(link) => return Ok((Some(other), link)),
                None => avoid = other.upstream.instance.key,
            },
            Elsewhere::Line => return Err(Unconnected::Line),
            Elsewhere::Nowhere => break,
        }
    }
    Err(Unconnected::Final(Cause::ConnectFailed))
}

async fn open(ticket: &Ticket) -> Option<TcpStream> {
    let instance = &ticket.upstream.instance;
    match pool::connect(instance).await {
        Ok(link) => Some(link),
        Err(error) => {
            ticket.connect_failed(is_nobody(&error));
            tracing::debug!(id = %instance.id, address = %instance.address, %error, "no connection to instance");
            None
        }
    }
}
