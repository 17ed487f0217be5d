//! One request on its way to an instance and the answer back, both at once, driven by the client's own task.
//!
//! Upload and answer do not wait for each other: an instance may answer before it has read the body, and a client may
//! be slow to read while it still sends. Nothing is decided by a timer of its own: each turn that moved bytes puts
//! off the one moment by which the loop's sweep wakes the task.

use crate::admission::Unconnected;
use crate::client::Client;
use crate::http1::body::{Framing, Way};
use crate::http1::buffer::Buffer;
use crate::http1::connect::connect;
use crate::http1::head::{self, Connection};
use crate::http1::parse::{self, ResponseHead};
use crate::http1::serve::is_ending;
use crate::observe::Exchange;
use crate::pool::Ticket;
use crate::reply::{Cause, How};
use crate::route::{Host, Service};
use crate::upload::UPLOAD_BYTES_PER_S_MIN;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A client that has ended its direction may have left altogether, which nobody can tell before something is sent to
/// it. So long it gets its answer; then its place goes to others.
const HALF_CLOSED_TIME_MAX: Duration = Duration::from_secs(2);
/// Answers before the answer. Few applications send one.
pub(super) const INTERIM_MAX: u32 = 8;

/// What is known of a request once its head is written anew.
pub(crate) struct Request {
    pub(crate) host: Host,
    pub(crate) service: Arc<Service>,
    pub(crate) how: How,
    pub(crate) http11: bool,
    /// As the client wishes it.
    pub(crate) keep_alive: bool,
    /// HEAD: the answer has no body, whatever it says.
    pub(crate) head_only: bool,
    /// Has no body and does the same when it is sent twice.
    pub(crate) replayable: bool,
    pub(crate) expects: bool,
    /// For the answer's head, then for each further byte.
    pub(crate) patience: Duration,
    /// When all of it must have ended, where the service wants that.
    pub(crate) end_by: Option<Instant>,
}

/// How one attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// The instance closed the connection without a byte.
    Unanswered,
    /// The client has read nothing yet: it can be told.
    Failed(Cause),
    /// The client has read a part: only the end of its connection tells it.
    Cut(Cause),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    Going,
    Done,
    /// The instance reads no more of it. Its answer may still come.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Awaited,
    /// Its head was read. `link_stays`: the connection can be used again at its end.
    Passing {
        link_stays: bool,
    },
}

/// What decides whether a turn has moved anything. Before the head of the answer has come, only the upload moves
/// anything: neither hints nor parts of a head put its time off.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    sent: u64,
    /// Read from the instance and written to the client, from the head of the answer on.
    answered: Option<(u64, u64)>,
    client_ended: bool,
}

/// Since when the client is waited for, and what of its request had been sent then.
#[derive(Clone, Copy)]
struct Pace {
    since: Instant,
    sent: u64,
}

/// The instance's side of an exchange. The connection is closed before the place is free.
struct Side {
    link: TcpStream,
    ticket: Ticket,
}

pub(crate) struct Relay<'a, S> {
    client: &'a Client,
    request: &'a Request,
    exchange: &'a mut Exchange,
    stream: &'a mut S,
    input: &'a mut Buffer,
    up: Way,
    upload: Upload,
    /// None: the whole answer was read, and the client takes the rest of it.
    side: Option<Side>,
    /// What was read from the instance and not passed on.
    output: Buffer,
    down: Way,
    answer: Answer,
    interim: u32,
    /// Whether 100 is still owed to the client.
    expects: bool,
    keep_alive: bool,
    /// The client knows the end of the answer by the end of its connection.
    unbounded: bool,
    /// What the client had been sent when it ended its direction.
    ended_at: Option<u64>,
    /// Bytes that the instance has sent.
    read: u64,
    /// Bytes of them that hold no whole head.
    looked_at: usize,
    progress: Option<Progress>,
    /// By when something must move.
    move_by: Option<Instant>,
    pace: Option<Pace>,
}

/// What an exchange leaves behind.
pub(crate) struct End {
    /// The place at the instance that did not answer, or not to the end.
    pub(crate) ticket: Option<Ticket>,
    /// The client may send its next request on its connection.
    pub(crate) client_stays: bool,
    /// The client may still be sending what belongs to this request.
    pub(crate) upload_open: bool,
    /// The client cannot tell that its answer is not whole, unless its connection is reset.
    pub(crate) unbounded: bool,
    pub(crate) output: Buffer,
    pub(crate) texts: [Vec<u8>; 2],
}

/// What an exchange works on that belongs to its connection.
pub(crate) struct Ends<'a, S> {
    pub(crate) client: &'a Client,
    pub(crate) stream: &'a mut S,
    pub(crate) input: &'a mut Buffer,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Relay<'a, S> {
    /// `up` has the request's head staged.
    pub(crate) fn new(
        ends: Ends<'a, S>,
        request: &'a Request,
        exchange: &'a mut Exchange,
        (ticket, link): (Ticket, TcpStream),
        up: Way,
    ) -> Relay<'a, S> {
        Relay {
            client: ends.client,
            request,
            exchange,
            stream: ends.stream,
            input: ends.input,
            up,
            upload: Upload::Going,
            side: Some(Side { link, ticket }),
            output: Buffer::default(),
            down: Way::new(Vec::new()),
            answer: Answer::Awaited,
            interim: 0,
            expects: request.expects,
            keep_alive: false,
            unbounded: false,
            ended_at: None,
            read: 0,
            looked_at: 0,
            progress: None,
            move_by: None,
            pace: None,
        }
    }

    /// Whether the request may be sent once more: nothing of it was, or that does no harm.
    pub(crate) fn may_repeat(&self) -> bool {
        // What it has said in part cannot be said by another attempt.
        !self.down.is_torn() && (self.request.replayable || self.up.moved() == 0)
    }

    /// A fresh connection, perhaps to another instance.
    pub(crate) async fn connect_again(&mut self) -> Result<(Option<Ticket>, TcpStream), Unconnected> {
        self.up.rewind();
        let Some(side) = &self.side else { return Err(Unconnected::Final(Cause::ClosedBeforeResponse)) };
        let Request { host, end_by, .. } = self.request;
        connect(self.client, host, *end_by, self.exchange, &side.ticket, true).await
    }

    /// Begins anew on that connection.
    pub(crate) fn repeat(&mut self, ticket: Option<Ticket>, link: TcpStream) {
        if let Some(ticket) = &ticket {
            self.exchange.instance(&ticket.upstream.instance);
        }
        let before = self.side.take().map(|side| side.ticket);
        self.side = ticket.or(before).map(|ticket| Side { link, ticket });
        (self.upload, self.progress, self.pace) = (Upload::Going, None, None);
    }

    /// The request, for a later exchange. This one has come to its end.
    pub(crate) fn take_up(&mut self) -> Way {
        std::mem::replace(&mut self.up, Way::new(Vec::new()))
    }

    pub(crate) fn end(mut self) -> End {
        End {
            ticket: self.side.take().map(|side| side.ticket),
            client_stays: self.keep_alive,
            upload_open: self.upload != Upload::Done,
            unbounded: self.unbounded,
            output: std::mem::take(&mut self.output),
            texts: [std::mem::take(&mut self.up.staged), std::mem::take(&mut self.down.staged)],
        }
    }

    /// Reads and writes whatever can be, in both directions.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let buffers = &self.client.event_loop.buffers;
        buffers.wake(self.input);
        buffers.wake(&mut self.output);
        let polled = self.poll_both(context);
        if polled.is_pending() {
            buffers.rest(self.input);
            buffers.rest(&mut self.output);
        }
        polled
    }

    fn poll_both(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(outcome) = self.turn(context) {
            return Poll::Ready(outcome);
        }
        let passing = matches!(self.answer, Answer::Passing { .. });
        let progress = Some(Progress {
            sent: self.up.moved(),
            answered: passing.then(|| (self.read, self.down.moved())),
            client_ended: self.ended_at.is_some(),
        });
        let (moved, late) = (self.progress != progress, self.client.is_late());
        if !moved && !late {
            return Poll::Pending;
        }
        let now = Instant::now();
        if moved {
            self.progress = progress;
            let limit = if self.perhaps_gone() { HALF_CLOSED_TIME_MAX } else { self.request.patience };
            self.move_by = Some(now + limit);
        }
        if let Some(outcome) = self.late(now) {
            return Poll::Ready(self.told(outcome));
        }
        let pace_by = self.keep_pace(now);
        self.client.wake_by([self.move_by, pace_by, self.request.end_by].into_iter().flatten().min());
        Poll::Pending
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Option<Outcome> {
        let turned = match self.turn_upload(context) {
            Ok(Upload::Going) if !self.up.is_pending() => Ok(()),
            Ok(_) => self.watch_client(context),
            Err(outcome) => Err(outcome),
        };
        if let Err(outcome) = turned {
            return Some(self.told(outcome));
        }
        self.turn_answer(context).map(|outcome| self.told(outcome))
    }

    /// A client that has read a part of something else cannot be told.
    pub(crate) fn told(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Failed(cause) if self.down.is_torn() => Outcome::Cut(cause),
            outcome => outcome,
        }
    }

    /// Until when the client's pace is looked at, while its body is waited for.
    fn keep_pace(&mut self, now: Instant) -> Option<Instant> {
        let (patience, sent) = (self.request.patience, self.up.moved());
        self.pace = match self.pace {
            _ if !self.waits_for_body() => None,
            Some(pace) if now < pace.since + patience => Some(pace),
            _ => Some(Pace { since: now, sent }),
        };
        self.pace.map(|pace| pace.since + patience)
    }

    /// Whether a time-out went by in which the client sent too little of the body.
    fn is_slow(&self, now: Instant) -> bool {
        let patience = self.request.patience;
        let enough = patience.as_secs_f64() * UPLOAD_BYTES_PER_S_MIN as f64;
        self.pace.is_some_and(|Pace { since, sent }| {
            since + patience <= now && (self.up.moved().saturating_sub(sent) as f64) < enough
        })
    }

    /// Everything that came was passed on, and the answer waits for more of it.
    fn waits_for_body(&self) -> bool {
        self.answer == Answer::Awaited && self.upload == Upload::Going && !self.up.is_pending()
    }

    /// Whether the client ended its direction, everything was read of it, and nothing was sent to it since.
    fn perhaps_gone(&self) -> bool {
        self.upload != Upload::Going && self.ended_at == Some(self.down.moved())
    }

    /// What has lasted for too long, if anything has.
    fn late(&self, now: Instant) -> Option<Outcome> {
        let past = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if past(self.request.end_by) {
            return Some(self.refused(Cause::TotalTimedOut));
        }
        if self.waits_for_body() && self.is_slow(now) {
            return Some(Outcome::Failed(Cause::BodyTimedOut));
        }
        if !past(self.move_by) {
            return None;
        }
        if self.perhaps_gone() {
            return Some(Outcome::Cut(Cause::ClientGone));
        }
        Some(match self.answer {
            Answer::Passing { .. } if self.down.is_pending() => Outcome::Cut(Cause::ClientGone),
            Answer::Awaited if self.waits_for_body() => Outcome::Failed(Cause::BodyTimedOut),
            Answer::Passing { .. } | Answer::Awaited => self.refused(Cause::TimedOut),
        })
    }

    /// Going and nothing pending: it waits for the client.
    fn turn_upload(&mut self, context: &mut Context<'_>) -> Result<Upload, Outcome> {
        while self.upload == Upload::Going {
            let Some(side) = &mut self.side else { break };
            if self.up.moved() == 0 {
                // Parts of the body that came with the head go in one write with it.
                self.up.stage(self.input).map_err(Outcome::Failed)?;
            }
            match self.up.poll_write(&mut side.link, self.input, context) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // Its answer may have been sent before, and tells more than this error.
                    self.upload = Upload::Refused;
                    break;
                }
            }
            if self.up.is_done() {
                self.upload = Upload::Done;
                break;
            }
            if self.up.stage(self.input).map_err(|cause| self.refused(cause))? || self.up.is_done() {
                continue;
            }
            if self.ended_at.is_some() {
                return Err(Outcome::Cut(Cause::ClientGone));
            }
            if std::mem::take(&mut self.expects) && self.answer == Answer::Awaited && self.input.is_empty() {
                self.down.staged.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            match self.input.poll_read(self.stream, context) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Err(Outcome::Cut(Cause::ClientGone)),
            }
        }
        Ok(self.upload)
    }

    /// What cannot go on: the client is told when it has read nothing yet.
    fn refused(&self, cause: Cause) -> Outcome {
        match self.answer {
            Answer::Awaited => Outcome::Failed(cause),
            Answer::Passing { .. } => Outcome::Cut(cause),
        }
    }

    /// Reads ahead, to hear that the client goes away. What it sends already is its next request.
    fn watch_client(&mut self, context: &mut Context<'_>) -> Result<(), Outcome> {
        while self.ended_at.is_none() && self.input.has_room() {
            match self.input.poll_read(self.stream, context) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.ended_at = Some(self.down.moved()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(Outcome::Cut(Cause::ClientGone)),
            }
        }
        Ok(())
    }

    fn turn_answer(&mut self, context: &mut Context<'_>) -> Option<Outcome> {
        loop {
            match self.down.poll_write(self.stream, &mut self.output, context) {
                Poll::Pending => {
                    if self.down.is_read() && self.answer != Answer::Awaited {
                        self.let_go();
                    }
                    return None;
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Some(Outcome::Cut(Cause::ClientGone)),
            }
            let step = match self.answer {
                Answer::Awaited => self.poll_head(context),
                Answer::Passing { .. } => self.poll_body(context),
            };
            match step {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(outcome)) => return Some(outcome),
                Poll::Pending => {
                    // What a layer of TLS still holds must not wait for what comes next.
                    let flushed = Pin::new(&mut *self.stream).poll_flush(context);
                    return matches!(flushed, Poll::Ready(Err(_))).then_some(Outcome::Cut(Cause::ClientGone));
                }
            }
        }
    }

    /// The instance has said everything: it is free, however long the client takes to read that.
    fn let_go(&mut self) {
        let Some(Side { link, ticket }) = self.side.take() else { return };
        // A connection on which anything is left to say or to read carries no other request.
        if matches!(self.answer, Answer::Passing { link_stays: true })
            && self.upload == Upload::Done
            && self.output.filled().len() == self.down.left_in_buffer()
        {
            ticket.upstream.raw.give_back(link);
        } else {
            // Before the place is free: whoever gets it must not be one more at the instance.
            drop(link);
        }
        if self.upload == Upload::Going {
            self.upload = Upload::Refused;
        }
    }

    /// Everything is written; when it has also left, this attempt is over.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        self.let_go();
        match ready!(Pin::new(&mut *self.stream).poll_flush(context)) {
            Ok(()) => Poll::Ready(Err(Outcome::Answered)),
            Err(_) => Poll::Ready(Err(Outcome::Cut(Cause::ClientGone))),
        }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        let is_news = self.output.ends_line(self.looked_at);
        self.looked_at = self.output.filled().len();
        if is_news && self.take_head().map_err(Outcome::Failed)? {
            self.looked_at = 0;
            return Poll::Ready(Ok(()));
        }
        if !self.output.has_room() {
            return Poll::Ready(Err(Outcome::Failed(Cause::BadResponse)));
        }
        match ready!(read(&mut self.side, &mut self.output, context)) {
            Ok(count) if count > 0 => {
                self.read += count as u64;
                Poll::Ready(Ok(()))
            }
            _ if self.read == 0 => Poll::Ready(Err(Outcome::Unanswered)),
            _ => Poll::Ready(Err(Outcome::Failed(Cause::ClosedBeforeResponse))),
        }
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        if self.down.is_done() {
            return self.poll_flush(context);
        }
        let cut = |_| Outcome::Cut(Cause::ResponseCut);
        if self.down.stage(&mut self.output).map_err(cut)? || self.down.is_done() {
            return Poll::Ready(Ok(()));
        }
        match ready!(read(&mut self.side, &mut self.output, context)) {
            Ok(count) if count > 0 => self.read += count as u64,
            Ok(_) if self.down.ends_here() => {}
            _ => return Poll::Ready(Err(Outcome::Cut(Cause::ResponseCut))),
        }
        Poll::Ready(Ok(()))
    }

    /// Takes one head from what was read. False: it has not come whole.
    fn take_head(&mut self) -> Result<bool, Cause> {
        let mut room = parse::room();
        let Some(response) = parse::response(self.output.filled(), &mut room)? else { return Ok(false) };
        let (length, code) = (response.head.len(), response.code);
        if self.down.staged.capacity() == 0 {
            self.down.staged = self.client.event_loop.buffers.take_text();
        }
        let mut written = 0;
        match code {
            // An instance that switches unasked breaks HTTP.
            101 => return Err(Cause::BadResponse),
            100..=199 => {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(Cause::BadResponse);
                }
                // 100 was for the proxy to say; others than hints mean nothing to a client that did not ask.
                if code == 103 && self.request.http11 {
                    head::write_interim(&response, &mut self.down.staged);
                }
            }
            _ => {
                let (framing, chunks) = framing(self.request, &response);
                // Where the answer comes first, nobody knows whether the instance reads the rest of the body as such.
                let link_stays =
                    response.keep_alive && framing != Framing::Close && self.upload == Upload::Done;
                // HTTP/1.0 knows the end of such a body by the end of the connection.
                self.unbounded = !self.request.http11 && matches!(framing, Framing::Chunked | Framing::Close);
                let closes = self.unbounded || self.upload != Upload::Done;
                let connection = connection(self.client, self.request, closes);
                self.keep_alive = connection != Connection::Close;
                let length = code != 204;
                written = self.down.staged.len();
                head::write_response(&response, chunks, length, connection, &mut self.down.staged);
                self.down.body(framing, chunks, u64::MAX);
                self.answer = Answer::Passing { link_stays };
            }
        }
        self.output.consume(length);
        if matches!(self.answer, Answer::Passing { .. }) {
            // What came with the head leaves with it.
            if self.down.stage(&mut self.output).is_err() {
                self.down.staged.truncate(written);
                return Err(Cause::BadResponse);
            }
            if let Some(side) = &self.side {
                side.ticket.answered();
                self.client.event_loop.waker.answered(&side.ticket.upstream.instance);
            }
            self.exchange.first_byte();
            self.exchange.status(code);
        }
        Ok(true)
    }
}

/// Also of one that is cut in the middle.
impl<S> Drop for Relay<'_, S> {
    fn drop(&mut self) {
        self.exchange.received(self.up.passed());
        self.exchange.sent(self.down.passed());
    }
}

fn read(side: &mut Option<Side>, output: &mut Buffer, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    match side {
        Some(side) => output.poll_read(&mut side.link, context),
        None => Poll::Ready(Ok(0)),
    }
}

/// How the answer's body ends for us, and whether the client gets it in chunks.
fn framing(request: &Request, response: &ResponseHead<'_, '_>) -> (Framing, bool) {
    let framing = response.body(request.head_only);
    (framing, request.http11 && matches!(framing, Framing::Chunked | Framing::Close))
}

/// `closes`: it must, whatever client and proxy wish.
fn connection(client: &Client, request: &Request, closes: bool) -> Connection {
    match request.http11 {
        _ if closes || is_ending(client) || !request.keep_alive => Connection::Close,
        true => Connection::Stays,
        false => Connection::KeepAlive,
    }
}
