//! Carries one request to an instance and its answer back, streamed.
//!
//! A second attempt is made only where the first cannot have had an effect: the instance refused the connection,
//! the connection was found closed before the request was handed to it, an HTTP/2 application said that it has not
//! touched the request, or the connection was one from the pool that closed without an answer to a request that is
//! idempotent and has no body.

use crate::admission::{self, InTime, Look, Offer, Unconnected};
use crate::affinity;
use crate::body::{Held, RequestBody, ResponseBody, Waits};
use crate::client::{Active, Client, Order, Waiting};
use crate::client_body::ClientBody;
use crate::headers::{self, Shape, X_APRON_TRACE, X_REQUEST_ID};
use crate::http1::Call;
use crate::https;
use crate::instance_body::InstanceBody;
use crate::observe::Exchange;
use crate::pool::{Connection, Ticket};
use crate::queue::End;
use crate::reply::{self, Cause, How};
use crate::route::Host;
use crate::strangers;
use crate::upgrade::{self, Asked, Tunnel, Upgrade, Websocket};
use crate::upload::Upload;
use crate::wall::{self, HttpDate};
use apron_model::routes::{AppProtocol, RoutePolicy};
use http::header::{CONNECTION, DATE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use std::cell::Cell;
use std::error::Error;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Requests under way on one loop, waiting ones and tunnels included; a further one is refused. Twice the
/// connections: HTTP/2 could otherwise multiply them by its streams, each with its own buffers.
pub(crate) const REQUESTS_MAX: u32 = 20_000;

/// The whole way of a request. It always gives an answer. `upgrade` is how its connection, or its stream, can leave HTTP.
pub(crate) async fn answer(
    client: Rc<Client>,
    request: Request<ClientBody>,
    upgrade: Option<Upgrade>,
) -> Response<ResponseBody> {
    let waiting = Waiting::new(&client);
    let how = How::of(request.headers());
    let http1 = request.version() != Version::HTTP_2;
    let (method, path) = (request.method().as_str(), request.uri().path());
    let mut exchange = Exchange::begin(&client.event_loop, &client, method, path);
    let secure = headers::came_securely(&client, request.headers());
    let traced = request.headers().get(X_APRON_TRACE).is_some_and(|asked| asked != "0");
    let mut told = Told { secure, hsts: false, traced };
    let mut response = match carry(&client, request, upgrade, &mut exchange, &mut told).await {
        Ok(Outcome::Carried(carried)) => carried.finish(&client, exchange),
        Ok(Outcome::Elsewhere(location)) => own(https::redirect(location), exchange),
        Err(cause) => {
            exchange.cause(cause);
            let mut refused = reply::response(cause, how);
            if traced {
                refused.headers_mut().insert(X_APRON_TRACE, exchange.trace(None));
            }
            own(refused, exchange)
        }
    };
    https::add_hsts(response.headers_mut(), told.secure, told.hsts);
    waiting.answered();
    if client.event_loop.draining.get() {
        if !http1 {
            // GOAWAY goes out with this answer; streams that are under way end in peace.
            client.tell(Order::Finish);
        } else if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // The client hears that the connection closes before it does, and sends its next request elsewhere.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// The answer to what is no request.
pub(crate) fn refuse(client: &Rc<Client>, cause: Cause) -> Response<ResponseBody> {
    let mut exchange = Exchange::begin(&client.event_loop, client, "", "");
    exchange.cause(cause);
    own(reply::response(cause, How::Json), exchange)
}

/// An answer that no instance gave.
fn own(mut response: Response<ResponseBody>, mut exchange: Exchange) -> Response<ResponseBody> {
    // RFC 9110 §6.6.1; hyper would say it over HTTP/1 only.
    if let Ok(date) = HeaderValue::try_from(HttpDate(wall::since_1970()).to_string()) {
        response.headers_mut().insert(DATE, date);
    }
    exchange.status(response.status().as_u16());
    exchange.sent(response.body().size_hint().exact().unwrap_or(0));
    response
}

enum Outcome {
    Carried(Box<Carried>),
    /// The client is to come by HTTPS, to this address.
    Elsewhere(HeaderValue),
}

/// A request that an instance has answered.
struct Carried {
    sent: Sent,
    /// Present when the instance agreed to it.
    websocket: Option<Websocket>,
    upload: Option<Rc<Upload>>,
    waits: Waits,
    /// How long a tunnel may be silent.
    idle: Duration,
    /// Brings the client back to this instance.
    cookie: Option<HeaderValue>,
    /// Where its time went, if that was asked.
    trace: Option<HeaderValue>,
    active: Active,
}

/// What an answer says about TLS.
struct Told {
    /// The request came by it.
    secure: bool,
    /// The service wants browsers to come by TLS only.
    hsts: bool,
    /// Where the time of the request went.
    traced: bool,
}

async fn carry(
    client: &Rc<Client>,
    request: Request<ClientBody>,
    upgrade: Option<Upgrade>,
    exchange: &mut Exchange,
    told: &mut Told,
) -> Result<Outcome, Cause> {
    let (event_loop, begun) = (&client.event_loop, Instant::now());
    let overloaded = event_loop.requests.get() >= REQUESTS_MAX;
    let active = Active::new(client);
    let (mut parts, incoming) = request.into_parts();
    let nonce = || event_loop.request_ids.nonce();
    let asked = upgrade::asked(&mut parts, upgrade, !incoming.is_end_stream(), nonce);
    let host_header = headers::host(&parts).ok_or(Cause::BadRequest)?;
    let host = Host::parse(host_header).map_err(|_| Cause::BadRequest)?;
    // Before anything else is looked at: what is wrong with a request is said in its service's log.
    let found = admission::find(event_loop, &host).inspect(|service| exchange.service(service));
    if overloaded {
        return Err(Cause::Overloaded);
    }
    let length = headers::check(&parts)?;
    let asked = match asked {
        Asked::Nothing => None,
        Asked::Websocket(websocket) => Some(websocket),
        Asked::Connect => return Err(Cause::BadRequest),
        Asked::Other => return Err(Cause::NotSupported),
    };
    let service = found?;
    let policy = &service.policy;
    told.hsts = policy.hsts;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    if let Some(location) = https::elsewhere(client, told.secure, &service, &host, target)? {
        return Ok(Outcome::Elsewhere(location));
    }
    let stranger = headers::stranger_of(client, &parts.headers);
    exchange.stranger(stranger);
    strangers::gate(event_loop, &service, stranger)?;
    if policy.body_bytes_max.is_some_and(|max| length.is_some_and(|length| length > max)) {
        return Err(Cause::BodyTooLarge);
    }
    let asked = match (asked, policy.app_protocol) {
        (Some(Websocket { key: Some(_), .. }), AppProtocol::H2c) => return Err(Cause::NotSupported),
        // Over HTTP/1 the wish may be passed over.
        (_, AppProtocol::H2c) => None,
        (asked, AppProtocol::Http1 | AppProtocol::Https) => asked,
    };
    let limit = event_loop.settings.request_timeout(policy);
    let waits = waits(policy, limit, begun, &parts.headers);
    let line = InTime { event_loop, host: &host, service: &service, deadline: begun + limit };
    let wanted = if policy.affinity { affinity::wanted(&parts.headers) } else { None };
    let ticket = match wanted.and_then(|tag| admission::admit_again(event_loop, &service, tag, exchange)) {
        Some(ticket) => ticket,
        None => place(&line, exchange).await?,
    };

    let protocol = policy.app_protocol;
    let keep = protocol == AppProtocol::H2c;
    let (body, upload) = RequestBody::new(incoming, &waits, policy.body_bytes_max, keep);
    let upgrade = asked.is_some();
    let common = parts.version == Version::HTTP_2 && protocol == AppProtocol::Http1 && !upgrade;
    let sent = if common && upload.is_none() {
        let idempotent = headers::is_idempotent(&parts.method);
        let (line, parts, waits) = (&line, &parts, &waits);
        let call = Call { client, line, host_header, parts, idempotent, waits };
        let sent = call.send(ticket, exchange).await;
        sent.map(|(response, ticket)| Sent { response: response.map(InstanceBody::Call), ticket })
    } else {
        let shape = Shape {
            protocol,
            body_follows: upload.is_some(),
            websocket: asked.is_some(),
            websocket_key: asked.as_ref().and_then(|asked| Some(asked.key.as_ref()?.header())),
        };
        let host_header = HeaderValue::from_bytes(host_header).map_err(|_| Cause::BadRequest)?;
        headers::prepare_request(&mut parts, client, host_header, shape).ok_or(Cause::BadRequest)?;
        exchange.request_id(parts.headers.get(X_REQUEST_ID).map_or(b"".as_slice(), HeaderValue::as_bytes));
        let sender = Sender { line: &line, protocol, upload: &upload, upgrade, waits: &waits };
        // Boxed, as below: the room of a request is allocated, and moved twice, for each.
        Box::pin(sender.send(Request::from_parts(parts, body), ticket, exchange)).await
    };
    if let Some(upload) = &upload {
        upload.answered();
    }
    // Of an answer, its end says how much of the request came.
    let sent =
        sent.inspect_err(|_| exchange.received(upload.as_ref().map_or(0, |upload| upload.received())))?;
    sent.ticket.answered();
    let status = sent.response.status();
    let websocket = match asked {
        Some(asked) if asked.is_agreed(&sent.response) => Some(asked),
        Some(asked) if !asked.may_pass(status) => return Err(Cause::BadResponse),
        // An instance that switches unasked breaks HTTP; nobody could read what follows.
        None if status == StatusCode::SWITCHING_PROTOCOLS => return Err(Cause::BadResponse),
        Some(_) | None => None,
    };
    exchange.first_byte();
    exchange.status(status.as_u16());
    let idle = Duration::from_secs(policy.idle_timeout_s.into());
    event_loop.waker.answered(&sent.ticket.upstream.instance);
    let tag = sent.ticket.upstream.instance.tag;
    let trace = told.traced.then(|| exchange.trace(event_loop.waker.stages(tag, begun)));
    let cookie = (policy.affinity && wanted != Some(tag)).then(|| affinity::cookie(tag, told.secure));
    Ok(Outcome::Carried(Box::new(Carried { sent, websocket, upload, waits, idle, cookie, trace, active })))
}

impl Carried {
    fn finish(self, client: &Client, exchange: Exchange) -> Response<ResponseBody> {
        let Carried { sent, websocket, upload, waits, idle, cookie, trace, active } = self;
        let Sent { response, ticket } = sent;
        let (mut parts, body) = response.into_parts();
        let body = match (websocket, body) {
            (Some(websocket), InstanceBody::Hyper { incoming, .. }) => {
                let response = Response::from_parts(parts, incoming);
                return upgrade::tunnel(websocket, response, Tunnel { ticket, exchange, active, idle });
            }
            (_, InstanceBody::Call(body)) => InstanceBody::Call(body),
            (None, body) => {
                headers::prepare_response(&mut parts, client);
                body
            }
        };
        if let Some(cookie) = cookie {
            parts.headers.append(SET_COOKIE, cookie);
        }
        if let Some(trace) = trace {
            parts.headers.insert(X_APRON_TRACE, trace);
        }
        let held = Held { ticket, upload, exchange, active };
        Response::from_parts(parts, ResponseBody::stream(body, waits, held))
    }
}

/// A call of gRPC to an application that speaks it may last for as long as somebody says something in it, which either
/// side may; anything else has the service's time-out.
fn waits(policy: &RoutePolicy, limit: Duration, begun: Instant, headers: &HeaderMap) -> Waits {
    if policy.app_protocol == AppProtocol::H2c && headers::is_grpc(headers) {
        let idle = Duration::from_secs(policy.idle_timeout_s.into());
        return Waits { idle, end: None, pulse: Some(Rc::new(Cell::new(begun))) };
    }
    Waits { idle: limit, end: policy.request_timeout_total.then(|| begun + limit), pulse: None }
}

/// The request's place on an instance.
async fn place(line: &InTime<'_>, exchange: &mut Exchange) -> Result<Ticket, Cause> {
    match admission::admit_now(line.event_loop, line.service, exchange) {
        Look::Go(ticket) => Ok(ticket),
        Look::No(cause) => Err(cause),
        Look::Wait => line.wait(End::Back, exchange).await,
    }
}

struct Sender<'a> {
    line: &'a InTime<'a>,
    protocol: AppProtocol,
    /// Present when there is a body.
    upload: &'a Option<Rc<Upload>>,
    upgrade: bool,
    waits: &'a Waits,
}

struct Sent {
    response: Response<InstanceBody>,
    ticket: Ticket,
}

/// Why one attempt gave no answer.
enum Failure {
    Final(Cause),
    /// Nothing of it reached the application, or it may be sent again.
    Again(Box<Request<RequestBody>>),
    /// The application takes no more at this moment; the request, if it can be sent again. None of its faults.
    Refused(Option<Box<Request<RequestBody>>>),
}

impl Sender<'_> {
    async fn send(
        &self,
        mut request: Request<RequestBody>,
        mut ticket: Ticket,
        exchange: &mut Exchange,
    ) -> Result<Sent, Cause> {
        let replayable = self.upload.is_none() && headers::is_idempotent(request.method());
        exchange.instance(&ticket.upstream.instance);
        let mut pooled = if self.upgrade { None } else { ticket.upstream.take(self.protocol, replayable) };
        let mut first = true;
        loop {
            let from_pool = pooled.is_some();
            let mut connection = match pooled.take() {
                Some(connection) => connection,
                None => {
                    let opened = self.connect(ticket, !first, exchange).await?;
                    ticket = opened.1;
                    opened.0
                }
            };
            // Only on a connection from the pool can an end that was under way have crossed the request.
            match self.attempt(&mut connection, request, replayable && from_pool).await {
                Ok(response)
                    if self.protocol != AppProtocol::H2c && !headers::length_is_clear(response.headers()) =>
                {
                    ticket.failed();
                    return Err(Cause::BadResponse);
                }
                Ok(response) => {
                    let response = response.map(|incoming| InstanceBody::Hyper { incoming, connection });
                    return Ok(Sent { response, ticket });
                }
                Err(Failure::Again(again) | Failure::Refused(Some(again))) if first => request = *again,
                Err(Failure::Refused(_)) => return Err(Cause::ClosedBeforeResponse),
                Err(Failure::Again(_)) => {
                    ticket.failed();
                    return Err(Cause::ClosedBeforeResponse);
                }
                Err(Failure::Final(cause)) => {
                    if matches!(cause, Cause::ClosedBeforeResponse | Cause::BadResponse | Cause::TimedOut) {
                        ticket.failed();
                    }
                    return Err(cause);
                }
            }
            first = false;
        }
    }

    /// A fresh connection to the chosen instance, or to another one when that refuses; the other way round for what is
    /// sent `again`.
    async fn connect(
        &self,
        ticket: Ticket,
        again: bool,
        exchange: &mut Exchange,
    ) -> Result<(Connection, Ticket), Cause> {
        let InTime { event_loop, host, .. } = *self.line;
        let (mut ticket, mut again) = (ticket, again);
        loop {
            let since = Instant::now();
            let open = async |ticket: &Ticket| self.open(ticket).await;
            let offer = Offer { event_loop, host, ticket: &ticket, again, end_by: self.waits.end };
            match offer.to(open).await {
                Ok((other, connection)) => {
                    let ticket = other.unwrap_or(ticket);
                    exchange.connected(since.elapsed());
                    exchange.instance(&ticket.upstream.instance);
                    return Ok((connection, ticket));
                }
                Err(Unconnected::Final(cause)) => return Err(cause),
                Err(Unconnected::Line) => {
                    // The place at what refused is nobody's while this one waits.
                    drop(ticket);
                    (ticket, again) = (self.line.wait(End::Front, exchange).await?, false);
                }
            }
        }
    }

    async fn open(&self, ticket: &Ticket) -> Option<Connection> {
        let opened = match self.upgrade {
            true => ticket.upstream.connect_for_upgrade(self.protocol).await,
            false => ticket.upstream.connect(self.protocol).await,
        };
        opened.inspect_err(|error| ticket.connect_failed(error)).ok()
    }

    /// Sends the request and waits for the head of the answer. `replayable`: it may be sent again although it was
    /// handed to the connection.
    async fn attempt(
        &self,
        connection: &mut Connection,
        request: Request<RequestBody>,
        replayable: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let copy = (replayable || self.protocol == AppProtocol::H2c).then(|| Copy::of(&request));
        let since = Instant::now();
        // An upload that still moves is not a late answer.
        let due = || self.waits.due(self.upload.as_ref().map_or(since, |upload| upload.last().max(since)));
        let mut error = {
            let mut answer = pin!(connection.try_send_request(request));
            loop {
                match timeout_at(due(), &mut answer).await {
                    Ok(Ok(response)) => return Ok(response),
                    Ok(Err(error)) => break error,
                    Err(_) if self.waits.is_time_up() => return Err(Failure::Final(Cause::TotalTimedOut)),
                    Err(_) if due() <= Instant::now() => return Err(Failure::Final(Cause::TimedOut)),
                    Err(_) => {}
                }
            }
        };
        if let Some(request) = error.take_message() {
            connection.leave();
            return Err(Failure::Again(Box::new(request)));
        }
        let error = error.into_error();
        tracing::debug!(%error, "no answer from instance");
        if let Some(cause) = self.upload.as_ref().and_then(|upload| upload.failure()) {
            return Err(Failure::Final(cause));
        }
        match (copy, http2_error(&error)) {
            (Some(copy), Some(Http2::Refused { leaving })) => {
                let again = self.again(copy).await;
                if !leaving {
                    return Err(Failure::Refused(again));
                }
                connection.leave();
                Err(again.map_or(Failure::Final(Cause::ClosedBeforeResponse), Failure::Again))
            }
            (_, Some(Http2::Nonsense)) => Err(Failure::Final(Cause::BadResponse)),
            _ if error.is_parse() => Err(Failure::Final(Cause::BadResponse)),
            (Some(copy), _) if replayable => Err(Failure::Again(Box::new(copy.request(RequestBody::Empty)))),
            _ => Err(Failure::Final(Cause::ClosedBeforeResponse)),
        }
    }

    /// The request anew, of which the application has touched nothing; if its body is still whole.
    async fn again(&self, copy: Copy) -> Option<Box<Request<RequestBody>>> {
        let body = match self.upload {
            None => Some(RequestBody::Empty),
            Some(upload) => upload.again().await.map(|again| RequestBody::again(again, upload, self.waits)),
        };
        body.map(|body| Box::new(copy.request(body)))
    }
}

/// What an error of HTTP/2 says about the application.
enum Http2 {
    /// It has not touched the request: it said so of this one, or leaves and takes none after an earlier one.
    Refused { leaving: bool },
    /// It speaks something else.
    Nonsense,
}

fn http2_error(error: &hyper::Error) -> Option<Http2> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    let leaving = error.is_go_away();
    let refused = leaving || error.reason() == Some(h2::Reason::REFUSED_STREAM);
    match (error.is_remote(), error.is_library()) {
        (true, _) if refused => Some(Http2::Refused { leaving }),
        (_, true) => Some(Http2::Nonsense),
        _ => None,
    }
}

/// What a request consists of beside its body.
struct Copy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Copy {
    fn of(request: &Request<RequestBody>) -> Copy {
        Copy {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        }
    }

    fn request(self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        request
    }
}
