//! Fresh connections to instances, when the pool has none that will do.

use crate::admission::{Offer, Unconnected};
use crate::client::Client;
use crate::observe::Exchange;
use crate::pool::{self, Ticket};
use crate::route::Host;
use tokio::net::TcpStream;
use tokio::time::Instant;

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
    let offer = Offer { event_loop: &client.event_loop, host, ticket, again, end_by };
    let opened = offer.to(open).await;
    if opened.is_ok() {
        exchange.connected(began.elapsed());
    }
    opened
}

async fn open(ticket: &Ticket) -> Option<TcpStream> {
    let opened = pool::connect(&ticket.upstream.instance).await;
    opened.inspect_err(|error| ticket.connect_failed(error)).ok()
}
