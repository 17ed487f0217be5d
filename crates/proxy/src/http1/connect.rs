//! Fresh connections to instances, when the pool has none that will do.

use crate::admission;
use crate::client::Client;
use crate::http1::pool;
use crate::observe::Exchange;
use crate::pool::Ticket;
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
) -> Result<(Option<Ticket>, TcpStream), Cause> {
    let connect = connect_any(client, host, exchange, ticket, again);
    match end_by {
        None => connect.await,
        // Boxed as below.
        Some(end_by) => Box::pin(timeout_at(end_by, connect)).await.unwrap_or(Err(Cause::TotalTimedOut)),
    }
}

async fn connect_any(
    client: &Client,
    host: &Host,
    exchange: &mut Exchange,
    ticket: &Ticket,
    again: bool,
) -> Result<(Option<Ticket>, TcpStream), Cause> {
    let began = Instant::now();
    // Boxed, because they are rare: every connection would have their room otherwise.
    let own = || Box::pin(async { Some((None, open(ticket).await?)) });
    let other = || {
        Box::pin(async {
            let avoid = ticket.upstream.instance.key;
            let other = admission::admit_elsewhere(&client.event_loop, host, avoid)?;
            let link = open(&other).await?;
            Some((Some(other), link))
        })
    };
    let opened = if again {
        match other().await {
            None => own().await,
            opened => opened,
        }
    } else {
        match own().await {
            None => other().await,
            opened => opened,
        }
    };
    if opened.is_some() {
        exchange.connected(began.elapsed());
    }
    opened.ok_or(Cause::ConnectFailed)
}

async fn open(ticket: &Ticket) -> Option<TcpStream> {
    let instance = &ticket.upstream.instance;
    match pool::connect(instance).await {
        Ok(link) => Some(link),
        Err(error) => {
            ticket.connect_failed();
            tracing::debug!(id = %instance.id, address = %instance.address, %error, "no connection to instance");
            None
        }
    }
}
