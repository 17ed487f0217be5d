//! One client's connection: one request after the other, in order, until one of both sides closes.

use crate::admission::{self, Look, Unconnected};
use crate::client::{Active, Client, Order};
use crate::forward::REQUESTS_MAX;
use crate::headers;
use crate::http1::Handover;
use crate::http1::body::{Framing, Way};
use crate::http1::buffer::Buffer;
use crate::http1::connect::connect;
use crate::http1::parse::{self, EMPTY_LINES_MAX, Kind, RequestHead};
use crate::http1::relay::{End, Ends, Outcome, Relay, Request};
use crate::http1::{Reset, head};
use crate::http2::PREFACE;
use crate::observe::Exchange;
use crate::pool::Ticket;
use crate::queue;
use crate::reply::{self, Cause, How};
use crate::route::{Host, Service};
use crate::strangers;
use apron_model::routes::{AppProtocol, RoutePolicy};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// After a last answer, how long the client may go on sending what nobody reads: closing at once would reset the
/// connection, and the answer with it.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// Serves requests until the connection ends, or until the next one is for somebody else.
pub(super) async fn serve<S>(client: Rc<Client>, stream: S) -> Option<Handover<S>>
where
    S: AsyncRead + AsyncWrite + Reset + Unpin + 'static,
{
    let mut connection = Connection {
        client,
        stream,
        input: Buffer::default(),
        forwarded: Vec::new(),
        seen: 0,
        empty_lines: 0,
        first: true,
        head_began: false,
    };
    loop {
        let next = poll_fn(|context| connection.poll_next(context)).await;
        // The time of a head is no longer that of what follows.
        connection.client.wake_by(None);
        let after = match next {
            Next::Request(taken) => connection.answer(taken).await,
            Next::Refuse(refusal) => connection.refuse(refusal).await,
            Next::End => After::Closes,
            Next::Handover => {
                let bytes = connection.input.filled().to_vec();
                connection.give_back_memory();
                return Some(Handover { bytes, stream: connection.stream });
            }
        };
        connection.client.wake_by(None);
        match after {
            After::Stays => {}
            After::Breaks => {
                connection.give_back_memory();
                return None;
            }
            After::Closes | After::Lingers => {
                connection.close(after).await;
                return None;
            }
        }
    }
}

struct Connection<S> {
    client: Rc<Client>,
    stream: S,
    /// Holds memory only while there is something in it, or a request under way.
    input: Buffer,
    /// The lines about this client that every request gets; made with the first one.
    forwarded: Vec<u8>,
    /// Bytes of the buffer that were looked at and hold no whole head.
    seen: usize,
    empty_lines: u32,
    /// No request came yet.
    first: bool,
    /// A part of a head came, and its time runs.
    head_began: bool,
}

/// What comes next on a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once; a box would be an allocation for each request"
)]
enum Next {
    Request(Taken),
    Refuse(Refusal),
    Handover,
    End,
}

/// A request whose head was taken off the buffer.
struct Taken {
    request: Request,
    exchange: Exchange,
    /// Begins with the head that the instance gets.
    up: Way,
}

/// An answer of our own.
struct Refusal {
    /// Recorded when the answer was sent.
    exchange: Exchange,
    cause: Cause,
    how: How,
    head_only: bool,
    /// Whether the next request is found behind this one.
    client_stays: bool,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Stays,
    /// It closes, and the client has nothing more to say.
    Closes,
    /// It closes, and the client may still be sending.
    Lingers,
    /// It closes at once: nobody listens, or the part of an answer that was sent is all there will be.
    Breaks,
}

impl<S: AsyncRead + AsyncWrite + Reset + Unpin + 'static> Connection<S> {
    /// Reads until there is a whole head, or a reason to do something else.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            self.client.event_loop.buffers.wake(&mut self.input);
            if self.input.filled().len() > self.seen
                && let Some(next) = self.look()
            {
                (self.seen, self.empty_lines, self.first, self.head_began) = (0, 0, false, false);
                return Poll::Ready(next);
            }
            if !self.input.is_empty() && self.client.is_late() {
                return Poll::Ready(Next::End);
            }
            match self.input.poll_read(&mut self.stream, context) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Next::End),
                // Only now: a request that has arrived would be lost, and is the last one instead.
                Poll::Pending if self.input.is_empty() && self.client.order() != Order::Serve => {
                    return Poll::Ready(Next::End);
                }
                Poll::Pending => {
                    self.sleep();
                    return Poll::Pending;
                }
            }
        }
    }

    /// The connection gives the memory back that it does not need; with a part of a head, its time runs.
    fn sleep(&mut self) {
        self.client.event_loop.buffers.rest(&mut self.input);
        if !self.input.is_empty() && !self.head_began {
            self.head_began = true;
            let time = self.client.event_loop.settings.request_head_timeout;
            self.client.wake_by(Some(Instant::now() + time));
        }
    }

    fn give_back_memory(&mut self) {
        self.client.event_loop.buffers.give(std::mem::take(&mut self.input));
    }

    /// What the buffer holds. `None`: it takes more bytes to say.
    fn look(&mut self) -> Option<Next> {
        while self.input.filled().starts_with(b"\r\n") {
            if self.empty_lines == EMPTY_LINES_MAX {
                return Some(Next::Refuse(Refusal::of(&self.client, Cause::BadRequest)));
            }
            self.empty_lines += 1;
            self.input.consume(2);
            self.seen = 0;
        }
        let filled = self.input.filled();
        if filled.is_empty() || filled == b"\r" {
            return None;
        }
        if self.first && self.empty_lines == 0 {
            if filled.starts_with(PREFACE) {
                return Some(Next::Handover);
            }
            if PREFACE.starts_with(filled) {
                return None;
            }
        }
        // Bytes that end no line end no head either: one that comes byte by byte is not read anew for each.
        let (before, now) = (self.seen, filled.len());
        let ends_a_line = before == 0 || filled[before..].contains(&b'\n');
        let reaches_limit = before < parse::REQUEST_LINE_BYTES_MAX && now >= parse::REQUEST_LINE_BYTES_MAX;
        self.seen = now;
        if !ends_a_line && !reaches_limit && self.input.has_room() {
            return None;
        }
        match self.take_request() {
            Ok(next) => next,
            Err(cause) => Some(Next::Refuse(Refusal::of(&self.client, cause))),
        }
    }

    /// `Ok(None)`: the head has not come whole.
    fn take_request(&mut self) -> Result<Option<Next>, Cause> {
        let mut room = parse::room();
        let Some(head) = parse::request(self.input.filled(), &mut room)? else {
            return if self.input.has_room() { Ok(None) } else { Err(Cause::HeadTooLarge) };
        };
        let client = &self.client;
        let begin = || Exchange::begin(&client.event_loop, client, head.method, head.path());
        let next = match find(client, &head) {
            // Whose way it is reads it again.
            Ok((host, service)) if is_unusual(client, &head, &host, &service) => {
                return Ok(Some(Next::Handover));
            }
            Ok((host, service)) => {
                let mut exchange = begin();
                exchange.service(&service);
                match gate(client, &head, &service, &mut exchange) {
                    Err(cause) => Next::Refuse(Refusal::to(&head, exchange, cause)),
                    Ok(()) => {
                        if self.forwarded.is_empty() {
                            self.forwarded = head::Peer::of(client).lines();
                        }
                        let up = write_head(client, &head, &self.forwarded, &service.policy, &mut exchange);
                        Next::Request(Taken { request: request(client, &head, host, service), exchange, up })
                    }
                }
            }
            Err(cause) => Next::Refuse(Refusal::to(&head, begin(), cause)),
        };
        let length = head.head.len();
        self.input.consume(length);
        Ok(Some(next))
    }

    /// Carries one request to an instance, and what came of it to the client.
    async fn answer(&mut self, taken: Taken) -> After {
        let Taken { request, mut exchange, up } = taken;
        let _active = Active::new(&self.client);
        let mut tries = Tries { upload_open: !up.is_read(), repeated: false };
        let admitted = match admission::admit_now(&self.client.event_loop, &request.service, &mut exchange) {
            Look::Go(ticket) => Ok(ticket),
            Look::No(cause) => Err(cause),
            Look::Wait => self.wait_for_place(&request, queue::End::Back, &mut exchange).await,
        };
        let (mut admitted, mut up) = (admitted, up);
        loop {
            let ticket = match admitted {
                Ok(ticket) => ticket,
                Err(cause) => {
                    self.client.event_loop.buffers.give_text(up.staged);
                    return self.fail(&request, exchange, cause, tries.upload_open).await;
                }
            };
            match self.exchange(&request, &mut exchange, ticket, up, &mut tries).await {
                Ok(after) => return after,
                Err(Failed::Final(cause)) => {
                    return self.fail(&request, exchange, cause, tries.upload_open).await;
                }
                Err(Failed::Line(again)) => {
                    up = again;
                    admitted = self.wait_for_place(&request, queue::End::Front, &mut exchange).await;
                }
            }
        }
    }

    async fn exchange(
        &mut self,
        request: &Request,
        exchange: &mut Exchange,
        ticket: Ticket,
        up: Way,
        tries: &mut Tries,
    ) -> Result<After, Failed> {
        let event_loop = self.client.event_loop.clone();
        // One that turned out to be at its end is enough.
        let pooled = if tries.repeated { None } else { ticket.upstream.raw.take(request.replayable) };
        let mut reused = pooled.is_some();
        let (ticket, link) = match pooled {
            Some(link) => (ticket, link),
            None => {
                match connect(&self.client, &request.host, request.end_by, exchange, &ticket, false).await {
                    Ok((other, link)) => (other.unwrap_or(ticket), link),
                    Err(Unconnected::Line) => return Err(Failed::Line(up)),
                    Err(Unconnected::Final(cause)) => {
                        event_loop.buffers.give_text(up.staged);
                        return Err(Failed::Final(cause));
                    }
                }
            }
        };
        exchange.instance(&ticket.upstream.instance);
        let ends = Ends { client: &self.client, stream: &mut self.stream, input: &mut self.input };
        exchange.relayed(true);
        let mut relay = Relay::new(ends, request, exchange, (ticket, link), up);
        let mut later = None;
        let outcome = loop {
            let outcome = poll_fn(|context| relay.poll(context)).await;
            if outcome != Outcome::Unanswered {
                break outcome;
            }
            // Once, and only where the connection may have closed before the request reached it.
            let first = std::mem::take(&mut reused) && !std::mem::replace(&mut tries.repeated, true);
            if !first || !relay.may_repeat() {
                break Outcome::Failed(Cause::ClosedBeforeResponse);
            }
            match relay.connect_again().await {
                Ok((other, link)) => relay.repeat(other, link),
                Err(Unconnected::Final(cause)) => break Outcome::Failed(cause),
                Err(Unconnected::Line) => {
                    later = Some(relay.take_up());
                    break Outcome::Unanswered;
                }
            }
        };
        let outcome = relay.told(outcome);
        let End { ticket, client_stays, upload_open, unbounded, output, texts } = relay.end();
        exchange.relayed(false);
        texts.into_iter().for_each(|text| event_loop.buffers.give_text(text));
        event_loop.buffers.give(output);
        tries.upload_open = upload_open;
        if let Some(up) = later {
            return Err(Failed::Line(up));
        }
        match outcome {
            Outcome::Answered => Ok(match client_stays {
                true => After::Stays,
                // Who wished to go on may be saying more at this moment.
                false if upload_open || request.keep_alive || !self.input.is_empty() => After::Lingers,
                false => After::Closes,
            }),
            Outcome::Failed(cause) => {
                let at_fault =
                    matches!(cause, Cause::ClosedBeforeResponse | Cause::BadResponse | Cause::TimedOut);
                if let Some(ticket) = ticket.filter(|_| at_fault) {
                    ticket.failed();
                }
                Err(Failed::Final(cause))
            }
            Outcome::Cut(cause) => {
                exchange.cause(cause);
                if unbounded {
                    self.stream.reset();
                }
                Ok(After::Breaks)
            }
            Outcome::Unanswered => Err(Failed::Final(Cause::ClosedBeforeResponse)),
        }
    }

    /// A place in the service's queue, which an abandoned request gives up at once.
    async fn wait_for_place(
        &mut self,
        request: &Request,
        end: queue::End,
        exchange: &mut Exchange,
    ) -> Result<Ticket, Cause> {
        let began = Instant::now();
        let deadline = request.end_by.unwrap_or(exchange.begun() + request.patience);
        let client = self.client.clone();
        let (event_loop, service) = (&client.event_loop, request.service.clone());
        // Boxed, because it is rare: every connection would have its room otherwise.
        let mut wait = Box::pin(admission::wait(event_loop, &request.host, service, end, deadline, exchange));
        let admitted = poll_fn(|context| {
            if let Poll::Ready(admitted) = wait.as_mut().poll(context) {
                return Poll::Ready(admitted);
            }
            client.event_loop.buffers.wake(&mut self.input);
            while self.input.has_room() {
                match self.input.poll_read(&mut self.stream, context) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(Err(Cause::ClientGone)),
                    Poll::Pending => break,
                }
            }
            client.event_loop.buffers.rest(&mut self.input);
            Poll::Pending
        })
        .await;
        drop(wait);
        exchange.queued(began.elapsed());
        admitted
    }

    async fn fail(
        &mut self,
        request: &Request,
        exchange: Exchange,
        cause: Cause,
        upload_open: bool,
    ) -> After {
        let refusal = Refusal {
            exchange,
            cause,
            how: request.how,
            head_only: request.head_only,
            client_stays: request.keep_alive && request.http11 && !upload_open,
        };
        self.refuse(refusal).await
    }

    async fn refuse(&mut self, mut refusal: Refusal) -> After {
        refusal.exchange.cause(refusal.cause);
        // A client that is slow to hear of it is no work for an instance.
        refusal.exchange.leaves();
        if refusal.cause == Cause::ClientGone {
            return After::Breaks;
        }
        let client = self.client.clone();
        let stays = refusal.client_stays && !is_ending(&client);
        let mut text = client.event_loop.buffers.take_text();
        let told = reply::write_http1(refusal.cause, refusal.how, !stays, refusal.head_only, &mut text);
        refusal.exchange.status(told.status);
        refusal.exchange.sent(told.body_bytes);
        let mut way = Way::new(text);
        client.wake_by(Some(Instant::now() + client.event_loop.settings.head_timeout));
        let written: io::Result<()> = poll_fn(|context| {
            if client.is_late() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            ready!(way.poll_write(&mut self.stream, &mut self.input, context))?;
            Pin::new(&mut self.stream).poll_flush(context)
        })
        .await;
        client.event_loop.buffers.give_text(way.staged);
        match written {
            Err(_) => After::Breaks,
            Ok(()) if stays => After::Stays,
            Ok(()) => After::Lingers,
        }
    }

    /// Says that nothing more comes; while the client may still be sending, what it says is read and forgotten.
    async fn close(&mut self, after: After) {
        self.client.wake_by(Some(Instant::now() + LINGER_TIME_MAX));
        let mut said = false;
        poll_fn(|context| {
            if self.client.is_late() {
                return Poll::Ready(());
            }
            if !said {
                match ready!(Pin::new(&mut self.stream).poll_shutdown(context)) {
                    Ok(()) if after == After::Lingers => said = true,
                    _ => return Poll::Ready(()),
                }
            }
            loop {
                self.input.consume(usize::MAX);
                self.client.event_loop.buffers.wake(&mut self.input);
                match ready!(self.input.poll_read(&mut self.stream, context)) {
                    Ok(count) if count > 0 => {}
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
        self.give_back_memory();
    }
}

/// A request that got no answer.
enum Failed {
    Final(Cause),
    /// It goes into its service's line, and from there to another instance.
    Line(Way),
}

/// What is known of a request over its attempts.
struct Tries {
    /// Its client may still be sending it, or what it sent has not been taken out of the buffer.
    upload_open: bool,
    /// It was handed to an application that gave no answer: that happens once.
    repeated: bool,
}

impl Refusal {
    /// To what is no request.
    fn of(client: &Rc<Client>, cause: Cause) -> Refusal {
        let exchange = Exchange::begin(&client.event_loop, client, "", "");
        Refusal { exchange, cause, how: How::Json, head_only: false, client_stays: false }
    }

    fn to(head: &RequestHead<'_, '_>, exchange: Exchange, cause: Cause) -> Refusal {
        Refusal {
            exchange,
            cause,
            how: How::choose(head.content_type, head.accept),
            head_only: head.method == "HEAD",
            // Behind what cannot be understood nothing is taken for a request.
            client_stays: cause != Cause::BadRequest && head.keep_alive && head.http11 && !head.has_body(),
        }
    }
}

/// Whose request it is.
fn find(client: &Client, head: &RequestHead<'_, '_>) -> Result<(Host, Arc<Service>), Cause> {
    let known = client.event_loop.snapshot.borrow().known;
    // HTTP/1.0 may leave its Host out; then nobody can say whom it means.
    let host = head.host.ok_or(if known { Cause::NoRoute } else { Cause::NoTable })?;
    let host = Host::parse(host).map_err(|_| Cause::BadRequest)?;
    let service = admission::find(&client.event_loop, &host)?;
    Ok((host, service))
}

/// What is not worth a path of its own: hyper's way does it, for this request and those behind it.
fn is_unusual(client: &Client, head: &RequestHead<'_, '_>, host: &Host, service: &Service) -> bool {
    let policy = &service.policy;
    let secure = headers::is_secure(client, || head.first(Kind::ForwardedProto));
    head.websocket
        || head.traced
        || policy.app_protocol != AppProtocol::Http1
        || policy.affinity
        || (policy.hsts && secure)
        || client.event_loop.settings.edge.via.is_some()
        || !client.event_loop.https.serves(secure, policy.https, host)
}

/// Why the request goes no further, by what is known before it asks for a place.
fn gate(
    client: &Client,
    head: &RequestHead<'_, '_>,
    service: &Service,
    exchange: &mut Exchange,
) -> Result<(), Cause> {
    if client.event_loop.requests.get() >= REQUESTS_MAX {
        return Err(Cause::Overloaded);
    }
    let address = match client.trusted {
        false => client.peer,
        true => {
            let forwarded = head.headers.iter().zip(&head.kinds);
            let forwarded = forwarded.filter(|(_, kind)| **kind == Kind::ForwardedFor);
            let trusted = &client.event_loop.settings.edge.trusted;
            headers::stranger(client.peer, trusted, forwarded.map(|(header, _)| header.value))
        }
    };
    exchange.stranger(address);
    strangers::gate(&client.event_loop, service, address)?;
    match (head.framing, service.policy.body_bytes_max) {
        (Framing::Length(length), Some(max)) if length > max => Err(Cause::BodyTooLarge),
        _ => Ok(()),
    }
}

fn write_head(
    client: &Client,
    head: &RequestHead<'_, '_>,
    forwarded: &[u8],
    policy: &RoutePolicy,
    exchange: &mut Exchange,
) -> Way {
    let mut text = client.event_loop.buffers.take_text();
    let (host, peer) = (head.host.unwrap_or_default(), head::Peer::of(client));
    match head::write_request(head, host, &peer, forwarded, &mut text) {
        Some(made) => exchange.request_id(&made),
        None => exchange.request_id(head.first(Kind::RequestId).unwrap_or_default()),
    }
    let mut up = Way::new(text);
    up.body(head.framing, head.framing == Framing::Chunked, policy.body_bytes_max.unwrap_or(u64::MAX));
    up
}

fn request(client: &Client, head: &RequestHead<'_, '_>, host: Host, service: Arc<Service>) -> Request {
    let patience = client.event_loop.settings.request_timeout(&service.policy);
    Request {
        host,
        how: How::choose(head.content_type, head.accept),
        http11: head.http11,
        keep_alive: head.keep_alive,
        head_only: head.method == "HEAD",
        replayable: head.is_idempotent() && !head.has_body(),
        expects: head.expects,
        patience,
        end_by: service.policy.request_timeout_total.then(|| Instant::now() + patience),
        service,
    }
}

/// Whether the connection takes no further request.
pub(super) fn is_ending(client: &Client) -> bool {
    client.event_loop.draining.get() || client.order() != Order::Serve
}
