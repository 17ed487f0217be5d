//! A request without a body that came by HTTP/2, on the connections of HTTP/1's own path.
//!
//! Who asks drives the connection: it takes the head of the answer first and then its body, frame by frame. Nothing is
//! sent meanwhile, so there is nothing else to drive, and no task, channel or copy of the request between both.

use crate::admission::{InTime, Unconnected};
use crate::body::Waits;
use crate::client::Client;
use crate::event_loop::EventLoop;
use crate::http1::body::{Framing, Malformed, Part, Place, each_trailer};
use crate::http1::buffer::Buffer;
use crate::http1::connect::connect;
use crate::http1::head::{self, Peer};
use crate::http1::parse::{self, Kind, ResponseHead};
use crate::http1::relay::INTERIM_MAX;
use crate::observe::Exchange;
use crate::pool::{Ticket, Upstream};
use crate::queue::End;
use crate::reply::Cause;
use bytes::Bytes;
use http::header::{HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request, response};
use http_body::{Frame, SizeHint};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// What is asked, and of whom.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) line: &'a InTime<'a>,
    pub(crate) host_header: &'a [u8],
    pub(crate) parts: &'a request::Parts,
    /// Does the same when it is sent twice.
    pub(crate) idempotent: bool,
    pub(crate) waits: &'a Waits,
}

/// How one attempt failed.
enum Failed {
    /// The instance closed the connection without a byte. `sent`: a part of the request had been.
    Unanswered {
        sent: bool,
    },
    Final(Cause),
}

impl Call<'_> {
    /// The head of the answer, and its body to come. As everywhere, a second attempt is made only where the first
    /// cannot have had an effect.
    pub(crate) async fn send(
        &self,
        mut ticket: Ticket,
        exchange: &mut Exchange,
    ) -> Result<(Response<CallBody>, Ticket), Cause> {
        let buffers = &self.client.event_loop.buffers;
        let mut text = buffers.take_text();
        self.write_head(exchange, &mut text);
        exchange.instance(&ticket.upstream.instance);
        let (mut pooled, mut again) = (ticket.upstream.raw.take(self.idempotent), false);
        // It was handed to an application that gave no answer: that happens once.
        let mut repeated = false;
        let answered = loop {
            let from_pool = pooled.is_some();
            let link = match pooled.take() {
                Some(link) => link,
                None => match self.connect(exchange, &ticket, again).await {
                    Ok((other, link)) => {
                        if let Some(other) = other {
                            exchange.instance(&other.upstream.instance);
                            ticket = other;
                        }
                        link
                    }
                    Err(Unconnected::Final(cause)) => break Err(cause),
                    Err(Unconnected::Line) => {
                        // The place at what refused is nobody's while this one waits.
                        drop(ticket);
                        ticket = match self.line.wait(End::Front, exchange).await {
                            Ok(ticket) => ticket,
                            Err(cause) => {
                                buffers.give_text(text);
                                return Err(cause);
                            }
                        };
                        exchange.instance(&ticket.upstream.instance);
                        again = false;
                        // One that turned out to be at its end is enough.
                        if !repeated {
                            pooled = ticket.upstream.raw.take(self.idempotent);
                        }
                        continue;
                    }
                },
            };
            match self.attempt(link, &text).await {
                Ok(answer) => break Ok(answer),
                // Once, and only where the connection may have closed before the request reached it.
                Err(Failed::Unanswered { sent }) if from_pool && !repeated && (self.idempotent || !sent) => {
                    (again, repeated) = (true, true);
                }
                Err(failed) => {
                    let cause = match failed {
                        Failed::Unanswered { .. } => Cause::ClosedBeforeResponse,
                        Failed::Final(cause) => cause,
                    };
                    if cause != Cause::TotalTimedOut {
                        ticket.failed();
                    }
                    break Err(cause);
                }
            }
        };
        buffers.give_text(text);
        Ok((answered?, ticket))
    }

    async fn connect(
        &self,
        exchange: &mut Exchange,
        ticket: &Ticket,
        again: bool,
    ) -> Result<(Option<Ticket>, TcpStream), Unconnected> {
        // Boxed, because it is rare: every request would have its room otherwise.
        Box::pin(connect(self.client, self.line.host, self.waits.end, exchange, ticket, again)).await
    }

    async fn attempt(&self, mut link: TcpStream, text: &[u8]) -> Result<Response<CallBody>, Failed> {
        let mut attempt = Attempt::new(self);
        let head = poll_fn(|context| attempt.poll(&mut link, text, context));
        match timeout_at(self.waits.due(Instant::now()), head).await {
            Ok(head) => Ok(attempt.answer(head?, link)),
            Err(_) if self.waits.is_time_up() => Err(Failed::Final(Cause::TotalTimedOut)),
            Err(_) => Err(Failed::Final(Cause::TimedOut)),
        }
    }

    fn write_head(&self, exchange: &mut Exchange, text: &mut Vec<u8>) {
        let (host, peer) = (self.host_header, Peer::of(self.client));
        let via = self.client.event_loop.settings.edge.via.as_ref().map(|via| via.of(self.parts.version));
        match head::write_request_of_http2(self.parts, host, &peer, via, text) {
            Some(made) => exchange.request_id(&made),
            None => {
                let brought = self.parts.headers.get(crate::headers::X_REQUEST_ID);
                exchange.request_id(brought.map_or(b"", HeaderValue::as_bytes));
            }
        }
    }
}

struct Attempt<'a> {
    call: &'a Call<'a>,
    input: Buffer,
    written: usize,
    /// Bytes of the buffer that hold no whole head.
    looked_at: usize,
    interim: u32,
    read: bool,
    /// The instance takes nothing more. Its answer may still come.
    refused: bool,
}

impl<'a> Attempt<'a> {
    fn new(call: &'a Call<'a>) -> Attempt<'a> {
        Attempt {
            call,
            input: Buffer::default(),
            written: 0,
            looked_at: 0,
            interim: 0,
            read: false,
            refused: false,
        }
    }

    /// Writes the request and reads until the head of the answer is there.
    fn poll(
        &mut self,
        link: &mut TcpStream,
        text: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<Result<Head, Failed>> {
        while self.written < text.len() && !self.refused {
            match ready!(Pin::new(&mut *link).poll_write(context, &text[self.written..])) {
                Ok(count) if count > 0 => self.written += count,
                // What it said before it closed tells more than this error.
                _ => self.refused = true,
            }
        }
        let buffers = &self.call.client.event_loop.buffers;
        loop {
            buffers.wake(&mut self.input);
            match self.input.poll_read(link, context) {
                Poll::Pending => {
                    buffers.rest(&mut self.input);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(count)) if count > 0 => self.read = true,
                Poll::Ready(_) if !self.read => {
                    return Poll::Ready(Err(Failed::Unanswered { sent: self.written > 0 }));
                }
                Poll::Ready(_) => return Poll::Ready(Err(Failed::Final(Cause::ClosedBeforeResponse))),
            }
            match self.look() {
                Ok(None) if self.input.has_room() => {}
                Ok(None) => return Poll::Ready(Err(Failed::Final(Cause::BadResponse))),
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(cause) => return Poll::Ready(Err(Failed::Final(cause))),
            }
        }
    }

    /// The head of the answer if it has come whole, past those before it.
    fn look(&mut self) -> Result<Option<Head>, Cause> {
        loop {
            let is_news = self.input.ends_line(self.looked_at);
            self.looked_at = self.input.filled().len();
            if !is_news {
                return Ok(None);
            }
            let mut room = parse::room();
            let Some(response) = parse::response(self.input.filled(), &mut room)? else { return Ok(None) };
            let (length, code) = (response.head.len(), response.code);
            if code >= 200 {
                let head = Head::of(&response, self.call.parts.method == Method::HEAD)?;
                self.input.consume(length);
                return Ok(Some(head));
            }
            self.interim += 1;
            // An instance that switches unasked breaks HTTP.
            if code == 101 || self.interim > INTERIM_MAX {
                return Err(Cause::BadResponse);
            }
            self.input.consume(length);
            self.looked_at = 0;
        }
    }

    fn answer(&mut self, head: Head, link: TcpStream) -> Response<CallBody> {
        let Head { mut parts, framing, keep_alive } = head;
        let event_loop = self.call.client.event_loop.clone();
        if let Some(via) = &event_loop.settings.edge.via {
            parts.headers.append(VIA, via.of(parts.version).clone());
        }
        let link_stays = keep_alive && framing != Framing::Close && !self.refused;
        let mut body = CallBody {
            event_loop,
            link,
            link_stays,
            input: std::mem::take(&mut self.input),
            place: Place::new(framing),
            trailers: None,
        };
        body.event_loop.buffers.rest(&mut body.input);
        Response::from_parts(parts, body)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.call.client.event_loop.buffers.give(std::mem::take(&mut self.input));
    }
}

/// The head of an answer, on its own feet.
struct Head {
    parts: response::Parts,
    framing: Framing,
    keep_alive: bool,
}

impl Head {
    /// `head_only`: it has no body, whatever it says.
    fn of(response: &ResponseHead<'_, '_>, head_only: bool) -> Result<Head, Cause> {
        const WRONG: Cause = Cause::BadResponse;
        let status = StatusCode::from_u16(response.code).map_err(|_| WRONG)?;
        // Values share one copy of the head.
        let bytes = Bytes::copy_from_slice(response.head);
        let mut headers = HeaderMap::with_capacity(response.headers.len());
        for (header, kind) in response.headers.iter().zip(&response.kinds) {
            let passes = match kind {
                Kind::Drop => false,
                Kind::Length => status != StatusCode::NO_CONTENT,
                _ => true,
            };
            if passes {
                let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| WRONG)?;
                let at = parse::offset(response.head, header.value);
                let value = HeaderValue::from_maybe_shared(bytes.slice(at..at + header.value.len()));
                headers.append(name, value.map_err(|_| WRONG)?);
            }
        }
        let framing = response.body(head_only);
        let (mut parts, ()) = Response::new(()).into_parts();
        (parts.status, parts.headers) = (status, headers);
        Ok(Head { parts, framing, keep_alive: response.keep_alive })
    }
}

/// The body of an answer, read when it is asked for.
pub(crate) struct CallBody {
    event_loop: Rc<EventLoop>,
    link: TcpStream,
    /// The connection can be used again at the end.
    link_stays: bool,
    input: Buffer,
    place: Place,
    /// They came with the last of the data.
    trailers: Option<HeaderMap>,
}

impl CallBody {
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.step() {
                Ok(Some(frame)) => {
                    // Whoever takes it may be slow.
                    self.event_loop.buffers.rest(&mut self.input);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) if self.place == Place::End => return Poll::Ready(None),
                Ok(None) => {}
                Err(Malformed) => return Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into()))),
            }
            let event_loop = self.event_loop.clone();
            event_loop.buffers.wake(&mut self.input);
            if !self.input.has_room() {
                return Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into())));
            }
            match self.input.poll_read(&mut self.link, context) {
                Poll::Pending => {
                    event_loop.buffers.rest(&mut self.input);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) if self.place == Place::UntilClose => self.place = Place::End,
                Poll::Ready(Ok(0)) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// What the buffer holds of the body.
    fn step(&mut self) -> Result<Option<Frame<Bytes>>, Malformed> {
        if let Some(trailers) = self.trailers.take() {
            return Ok(Some(Frame::trailers(trailers)));
        }
        let mut data = None;
        loop {
            // Behind data only what frames it, so that the last of it says that it is the last.
            if data.is_some() && matches!(self.place, Place::Length(_) | Place::Chunk(_) | Place::UntilClose)
            {
                break;
            }
            let part = match self.place.step(self.input.filled()) {
                // Said when what came before it was passed on.
                Err(Malformed) if data.is_some() => break,
                part => part?,
            };
            match part {
                Part::More => break,
                Part::Frame(count) => self.input.consume(count),
                Part::Data(count) => {
                    data = Some(Frame::data(Bytes::copy_from_slice(&self.input.filled()[..count])));
                    self.input.consume(count);
                }
                Part::Trailers(count) => {
                    let trailers = trailers(&self.input.filled()[..count])?;
                    self.input.consume(count);
                    match data {
                        None => return Ok(trailers.map(Frame::trailers)),
                        Some(_) => self.trailers = trailers,
                    }
                }
            }
        }
        Ok(data)
    }

    /// Whether there is nothing more to ask for.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.place == Place::End && self.trailers.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.place {
            Place::Length(left) => SizeHint::with_exact(left),
            Place::End => SizeHint::with_exact(0),
            _ => SizeHint::new(),
        }
    }

    /// At the end of the answer: keeps the connection for the next request, if it can carry one.
    pub(crate) fn give_back(self, upstream: &Upstream) {
        // A connection on which anything is left to read carries no other request.
        if self.link_stays && self.is_end_stream() && self.input.is_empty() {
            upstream.raw.give_back(self.link);
        }
        self.event_loop.buffers.give(self.input);
    }
}

fn trailers(bytes: &[u8]) -> Result<Option<HeaderMap>, Malformed> {
    let mut trailers = HeaderMap::new();
    let mut wrong = false;
    each_trailer(bytes, |name, value| {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => drop(trailers.append(name, value)),
            _ => wrong = true,
        }
    });
    if wrong { Err(Malformed) } else { Ok(Some(trailers).filter(|trailers| !trailers.is_empty())) }
}
