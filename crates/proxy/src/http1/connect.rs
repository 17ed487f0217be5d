//! Fresh connections to instances, when the pool has none that will do.

use crate::admission::{self, Unconnected};
use crate::client::Client;
use crate::http1::pool;
use crate::observe::Exchange;
use crate::pool::Ticket;
use crate::pool::is_nobody;
use crate::reply::Cause;
use crate::route::Host;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

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
    let connect = admission::offer(&client.event_loop, host, ticket, again, open);
    let opened = match end_by {
        None => connect.await,
        // Boxed, because it is rare: every connection would have its room otherwise.
        Some(end_by) => Box::pin(timeout_at(end_by, connect))
            .await
            .unwrap_or(Err(Unconnected::Final(Cause::TotalTimedOut))),
    };
    if opened.is_ok() {
        exchange.connected(began.elapsed());
    }
    opened
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
