//! Carries one request to an instance and its answer back, streamed.
//!
//! A second attempt is made only where the first cannot have had an effect: the instance refused the connection,
//! the connection was found closed before the request was handed to it, or it was one from the pool that closed
//! without an answer to a request that is idempotent and has no body.

use crate::admission;
use crate::body::{RequestBody, ResponseBody, Upload};
use crate::client::{Active, Client};
use crate::headers;
use crate::pool::{Connection, Ticket};
use crate::reply::{self, Cause};
use crate::route::Host;
use crate::upgrade;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use tokio::time::{Instant, timeout_at};

/// Requests under way on one loop, waiting ones and tunnels included; a further one is refused. Twice the
/// connections: HTTP/2 could otherwise multiply them by its streams, each with its own buffers.
const REQUESTS_MAX: u32 = 20_000;

/// The whole way of a request. It always gives an answer.
pub(crate) async fn answer(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let html = reply::wants_html(request.headers());
    let http1 = request.version() != Version::HTTP_2;
    let mut response = match exchange(&client, request).await {
        Ok(response) => response,
        Err(cause) => reply::response(cause, html),
    };
    if http1 && client.event_loop.draining.get() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // The client hears that the connection closes before it does, and sends its next request elsewhere.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn exchange(
    client: &Rc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Cause> {
    if client.event_loop.requests.get() >= REQUESTS_MAX {
        return Err(Cause::Overloaded);
    }
    let active = Active::new(client);
    // Taken before the head is changed: it is how the connection is handed over later.
    let client_upgrade = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    let (mut parts, incoming) = request.into_parts();
    if parts.method == Method::CONNECT || !headers::transfer_coding_is_ours(&parts.headers) {
        return Err(Cause::BadRequest);
    }
    let host_header = headers::host(&parts).ok_or(Cause::BadRequest)?;
    let host = Host::parse(host_header.as_bytes()).map_err(|_| Cause::BadRequest)?;
    let ticket = admission::admit(&client.event_loop, &host).await?;

    let (body, upload) = RequestBody::new(incoming, client.event_loop.settings.head_timeout);
    let upgrade = client_upgrade.filter(|_| upload.is_none() && headers::wants_websocket(&parts));
    headers::prepare_request(&mut parts, client, host_header, upload.is_some(), upgrade.is_some());
    let sender = Sender { client, host: &host, upload, upgrade: upgrade.is_some() };
    let counts = ticket.upstream.counts.clone();
    let sent = sender.send(Request::from_parts(parts, body), ticket).await;
    counts.answered();
    let Sent { mut response, connection, ticket } = sent?;

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // An instance that switches unasked, or to something else, breaks HTTP; nobody could read what follows.
        let upgrade =
            upgrade.filter(|_| headers::is_websocket(response.headers())).ok_or(Cause::BadResponse)?;
        return Ok(upgrade::tunnel(upgrade, response, ticket, active));
    }
    headers::strip_connection_headers(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    let limit = client.event_loop.settings.head_timeout;
    Ok(response.map(|incoming| ResponseBody::stream(incoming, limit, connection, ticket, active)))
}

struct Sender<'a> {
    client: &'a Client,
    host: &'a Host,
    /// Present when there is a body.
    upload: Option<Rc<Upload>>,
    upgrade: bool,
}

struct Sent {
    response: Response<Incoming>,
    connection: Connection,
    ticket: Ticket,
}

/// Why one attempt gave no answer.
enum Failure {
    Final(Cause),
    /// Nothing of it reached the application, or it may be sent again.
    Again(Box<Request<RequestBody>>),
}

impl Sender<'_> {
    async fn send(&self, request: Request<RequestBody>, ticket: Ticket) -> Result<Sent, Cause> {
        let replayable = self.upload.is_none() && headers::is_idempotent(request.method());
        let pooled = if self.upgrade { None } else { ticket.upstream.take(replayable) };
        let request = match pooled {
            None => request,
            Some(mut connection) => {
                let copy = replayable.then(|| Copy::of(&request));
                match self.attempt(&mut connection, request, copy).await {
                    Ok(response) => return Ok(Sent { response, connection, ticket }),
                    Err(Failure::Final(cause)) => return Err(cause),
                    Err(Failure::Again(request)) => *request,
                }
            }
        };
        let (mut connection, ticket) = self.connect(ticket).await?;
        match self.attempt(&mut connection, request, None).await {
            Ok(response) => Ok(Sent { response, connection, ticket }),
            Err(Failure::Final(cause)) => Err(cause),
            Err(Failure::Again(_)) => Err(Cause::ClosedBeforeResponse),
        }
    }

    /// A fresh connection to the chosen instance, or to another one when that refuses.
    async fn connect(&self, ticket: Ticket) -> Result<(Connection, Ticket), Cause> {
        let refused = match self.open(&ticket).await {
            Ok(connection) => return Ok((connection, ticket)),
            Err(cause) => cause,
        };
        let avoid = ticket.upstream.instance.key;
        drop(ticket);
        let other = admission::admit_elsewhere(&self.client.event_loop, self.host, avoid).ok_or(refused)?;
        Ok((self.open(&other).await?, other))
    }

    async fn open(&self, ticket: &Ticket) -> Result<Connection, Cause> {
        let opened = match self.upgrade {
            true => ticket.upstream.connect_for_upgrade().await,
            false => ticket.upstream.connect().await,
        };
        opened.map_err(|error| {
            let instance = &ticket.upstream.instance;
            tracing::debug!(id = %instance.id, address = %instance.address, %error, "no connection to instance");
            Cause::ConnectFailed
        })
    }

    /// Sends the request and waits for the head of the answer. `copy` is there when the request may be sent
    /// again although it was handed to the connection.
    async fn attempt(
        &self,
        connection: &mut Connection,
        request: Request<RequestBody>,
        copy: Option<Copy>,
    ) -> Result<Response<Incoming>, Failure> {
        let limit = self.client.event_loop.settings.head_timeout;
        let mut answer = pin!(connection.try_send_request(request));
        let mut deadline = Instant::now() + limit;
        let mut error = loop {
            match timeout_at(deadline, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => break error,
                Err(_) => {
                    // An upload that still moves is not a late answer.
                    let moved = self.upload.as_ref().map(|upload| upload.last.get() + limit);
                    match moved.filter(|later| *later > Instant::now()) {
                        Some(later) => deadline = later,
                        None => return Err(Failure::Final(Cause::TimedOut)),
                    }
                }
            }
        };
        if let Some(request) = error.take_message() {
            return Err(Failure::Again(Box::new(request)));
        }
        let error = error.into_error();
        tracing::debug!(%error, "no answer from instance");
        if self.upload.as_ref().is_some_and(|upload| upload.stalled.get()) {
            return Err(Failure::Final(Cause::BodyTimedOut));
        }
        if error.is_parse() {
            return Err(Failure::Final(Cause::BadResponse));
        }
        match copy {
            Some(copy) => Err(Failure::Again(Box::new(copy.request()))),
            None => Err(Failure::Final(Cause::ClosedBeforeResponse)),
        }
    }
}

/// What a request without a body consists of.
struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Copy {
    fn of(request: &Request<RequestBody>) -> Copy {
        Copy {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}
