//! Bodies on their way through: streamed frame by frame, never collected, each wait for the next byte bounded.
//!
//! Backpressure is the reader's: the next frame is asked of one side when the other one has taken the last.

use crate::client::Active;
use crate::client_body::{ClientBody, ClientBodyError};
use crate::instance_body::InstanceBody;
use crate::observe::Exchange;
use crate::pool::Ticket;
use crate::reply::Cause;
use crate::upload::{Again, UPLOAD_BYTES_PER_S_MIN, Upload};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A client that takes nothing of an answer for this long keeps no instance busy with it. It matters for HTTP/2,
/// where a stream can stand still on a connection that lives.
pub(crate) const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("no byte came in time")]
    Stalled,
    #[error("the time of the whole request is up")]
    TimeUp,
    #[error("the body is larger than the service takes")]
    TooLarge,
    #[error("nobody waits for the rest")]
    Abandoned,
    #[error("nobody took what was sent")]
    Untaken,
    #[error("the request was cut off")]
    Client(#[from] ClientBodyError),
    #[error("the answer was cut off")]
    Broken(#[from] hyper::Error),
    #[error("the answer was cut off")]
    Cut(#[from] std::io::Error),
}

/// What bounds the waits of one request.
#[derive(Clone)]
pub(crate) struct Waits {
    /// Without a byte.
    pub(crate) idle: Duration,
    /// Of the whole request, for a service that counts so.
    pub(crate) end: Option<Instant>,
    /// When somebody last said something, where both directions count together: a gRPC stream.
    pub(crate) pulse: Option<Rc<Cell<Instant>>>,
}

impl Waits {
    /// When a wait that goes on since then is over.
    pub(crate) fn due(&self, since: Instant) -> Instant {
        let last = self.pulse.as_ref().map_or(since, |pulse| pulse.get().max(since));
        let idle = last + self.idle;
        self.end.map_or(idle, |end| end.min(idle))
    }

    pub(crate) fn is_time_up(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }
}

/// Bounds the wait for the next frame. Only a wait is timed, not the time in which the other side had no room; and
/// the timer is made only when there is a wait: a body that is already there pays nothing.
pub(crate) struct Patience {
    waits: Waits,
    /// Since when this wait goes on.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(crate) fn new(waits: Waits) -> Patience {
        Patience { waits, since: None, timer: None }
    }

    /// The frame came; gives how long it was waited for, if it was.
    fn progressed(&mut self) -> Option<Duration> {
        if let Some(pulse) = &self.waits.pulse {
            pulse.set(Instant::now());
        }
        self.since.take().map(|since| since.elapsed())
    }

    /// Why the request fails when its wait has; `silent` says who was waited for, where that was one side alone.
    fn cause(&self, error: &BodyError, silent: Cause) -> Cause {
        match error {
            BodyError::TimeUp => Cause::TotalTimedOut,
            _ if self.waits.pulse.is_some() => Cause::StreamIdle,
            _ => silent,
        }
    }

    /// Ready when this wait has lasted for too long. The timer is moved only when it rings.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let waits = &self.waits;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(waits.due(since))));
        while timer.as_mut().poll(context).is_ready() {
            let due = waits.due(since);
            if due <= Instant::now() {
                return Poll::Ready(if waits.is_time_up() { BodyError::TimeUp } else { BodyError::Stalled });
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// What is sent to an instance.
pub(crate) enum RequestBody {
    Empty,
    Stream(Box<RequestStream>),
}

pub(crate) struct RequestStream {
    // Taken in `drop`.
    incoming: Option<ClientBody>,
    /// What an attempt before this one has read of it.
    again: std::collections::VecDeque<Bytes>,
    replayed: bool,
    patience: Patience,
    pace: Pace,
    upload: Rc<Upload>,
}

/// Of a body, how long its client was waited for, and what had come when that began to be counted.
#[derive(Default)]
struct Pace {
    waited: Duration,
    received: u64,
}

impl Pace {
    /// Whether a time-out was spent on waiting in which less came than has to.
    fn is_slow(&mut self, waited: Duration, received: u64, idle: Duration) -> bool {
        self.waited += waited;
        if self.waited < idle {
            return false;
        }
        let enough = self.waited.as_secs_f64() * UPLOAD_BYTES_PER_S_MIN as f64;
        let slow = (received.saturating_sub(self.received) as f64) < enough;
        *self = Pace { waited: Duration::ZERO, received };
        slow
    }
}

impl RequestBody {
    /// `bytes_max` is the service's limit. `keep` is whether the first bytes stay at hand for a second attempt.
    pub(crate) fn new(
        incoming: ClientBody,
        waits: &Waits,
        bytes_max: Option<u64>,
        keep: bool,
    ) -> (RequestBody, Option<Rc<Upload>>) {
        if incoming.is_end_stream() {
            return (RequestBody::Empty, None);
        }
        let upload = Rc::new(Upload::new(bytes_max, keep));
        let stream = RequestStream {
            incoming: Some(incoming),
            again: Default::default(),
            replayed: false,
            patience: Patience::new(waits.clone()),
            pace: Pace::default(),
            upload: upload.clone(),
        };
        (RequestBody::Stream(Box::new(stream)), Some(upload))
    }

    /// The body anew, for a second attempt: what the first one read, and the rest.
    pub(crate) fn again(again: Again, upload: &Rc<Upload>, waits: &Waits) -> RequestBody {
        RequestBody::Stream(Box::new(RequestStream {
            incoming: Some(again.rest),
            again: again.read.into(),
            replayed: true,
            patience: Patience::new(waits.clone()),
            pace: Pace::default(),
            upload: upload.clone(),
        }))
    }
}

impl RequestStream {
    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        // A body at its end is not asked again: this may be its second reading.
        if incoming.is_end_stream() {
            return Poll::Ready(None);
        }
        match incoming.poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let waited = self.patience.progressed();
                let passed = self.upload.passed(frame);
                Poll::Ready(Some(if self.is_slow(waited) { Err(BodyError::Stalled) } else { passed }))
            }
            Poll::Ready(Some(Err(error))) => {
                self.upload.broke(&error);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.upload.register(context.waker());
                let error = std::task::ready!(self.patience.poll(context));
                self.upload.stalled(self.patience.cause(&error, Cause::BodyTimedOut));
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl RequestStream {
    /// Whether the client sends too little for a place that it holds; said of an answer that is waited for, and not of
    /// a stream in which both sides may be silent.
    fn is_slow(&mut self, waited: Option<Duration>) -> bool {
        let Some(waited) = waited.filter(|_| self.patience.waits.pulse.is_none()) else { return false };
        let slow = self.pace.is_slow(waited, self.upload.received(), self.patience.waits.idle);
        let slow = slow && !self.upload.is_answered();
        if slow {
            self.upload.stalled(Cause::BodyTimedOut);
        }
        slow
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let RequestBody::Stream(stream) = &mut *self else { return Poll::Ready(None) };
        if stream.upload.is_abandoned() {
            return Poll::Ready(Some(Err(BodyError::Abandoned)));
        }
        match stream.again.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => stream.poll_incoming(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Stream(stream) => {
                stream.again.is_empty() && stream.incoming.as_ref().is_none_or(ClientBody::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            // The rest says nothing about the whole.
            RequestBody::Stream(stream) if stream.replayed => SizeHint::new(),
            RequestBody::Stream(stream) => {
                stream.incoming.as_ref().map_or(SizeHint::new(), ClientBody::size_hint)
            }
        }
    }
}

impl Drop for RequestStream {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.upload.give_back(incoming);
        }
    }
}

/// What is sent to a client.
pub(crate) enum ResponseBody {
    /// An answer of our own.
    Whole(Option<Bytes>),
    /// An instance's answer.
    Stream(Rc<Answer>),
}

/// What an answer holds until its last byte was read.
pub(crate) struct Held {
    pub(crate) ticket: Ticket,
    /// Present when there is a body.
    pub(crate) upload: Option<Rc<Upload>>,
    pub(crate) exchange: Exchange,
    pub(crate) active: Active,
}

/// An instance's answer on its way to a client.
pub(crate) struct Answer {
    /// `None` when it has ended, or was taken away.
    stream: RefCell<Option<ResponseStream>>,
    /// The client's connection has asked for a frame that has not come. Otherwise it is the client's turn: HTTP/2 asks
    /// for nothing, from the beginning, while there is no window for it.
    asked: Cell<bool>,
    /// Since when the loop has seen that it is.
    untaken_since: Cell<Option<Instant>>,
    taken_away: Cell<bool>,
}

struct ResponseStream {
    // Taken in `drop`.
    body: Option<InstanceBody>,
    patience: Patience,
    /// Among the loop's answers.
    place: usize,
    sent: u64,
    /// Why it ends before its end, when that is not the client's doing.
    failure: Option<Cause>,
    ended: bool,
    // Likewise.
    held: Option<Held>,
}

impl ResponseBody {
    pub(crate) fn whole(bytes: Bytes) -> ResponseBody {
        ResponseBody::Whole(Some(bytes))
    }

    pub(crate) fn empty() -> ResponseBody {
        ResponseBody::Whole(None)
    }

    pub(crate) fn stream(body: InstanceBody, waits: Waits, held: Held) -> ResponseBody {
        ResponseBody::Stream(Rc::new_cyclic(|answer| {
            let place = held.active.event_loop().answers.enter(answer.clone());
            let stream = ResponseStream {
                body: Some(body),
                patience: Patience::new(waits),
                place,
                sent: 0,
                failure: None,
                ended: false,
                held: Some(held),
            };
            Answer {
                stream: RefCell::new(Some(stream)),
                asked: Cell::new(false),
                untaken_since: Cell::new(None),
                taken_away: Cell::new(false),
            }
        }))
    }
}

impl ResponseStream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match body.poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.progressed();
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.ended = frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                // A request whose body failed is what broke the answer off.
                let upload = self.held.as_ref().and_then(|held| held.upload.as_ref());
                self.failure = upload.and_then(|upload| upload.failure()).or(Some(Cause::ResponseCut));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let error = std::task::ready!(self.patience.poll(context));
                self.failure = Some(self.patience.cause(&error, Cause::TimedOut));
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    /// Whether there is nothing more to read.
    fn is_over(&self) -> bool {
        self.ended || self.body.as_ref().is_none_or(InstanceBody::is_end_stream)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            ResponseBody::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ResponseBody::Stream(answer) => answer.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(bytes) => bytes.is_none(),
            ResponseBody::Stream(answer) => match &*answer.stream.borrow() {
                Some(stream) => stream.is_over(),
                None => !answer.taken_away.get(),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            ResponseBody::Stream(answer) => match &*answer.stream.borrow() {
                Some(stream) => stream.body.as_ref().map_or(SizeHint::new(), InstanceBody::size_hint),
                None => SizeHint::new(),
            },
        }
    }
}

impl Answer {
    fn poll(self: &Rc<Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.taken_away.get() {
            return Poll::Ready(Some(Err(BodyError::Untaken)));
        }
        let mut place = self.stream.borrow_mut();
        let Some(stream) = place.as_mut() else { return Poll::Ready(None) };
        let polled = stream.poll(context);
        self.asked.set(polled.is_pending());
        self.untaken_since.set(None);
        // With its last byte read, the instance is free: whether the client takes that byte is no matter of its.
        let ended = polled.is_ready() && (stream.is_over() || stream.failure.is_some());
        let stream = if ended { place.take() } else { None };
        drop(place);
        drop(stream);
        polled
    }

    fn sweep(&self, now: Instant) {
        // While the instance is waited for, a timer bounds that.
        if self.asked.get() {
            return;
        }
        let is_time_up = |stream: &ResponseStream| stream.patience.waits.is_time_up();
        let time_up = self.stream.borrow().as_ref().is_some_and(is_time_up);
        let since = self.untaken_since.get().unwrap_or(now);
        self.untaken_since.set(Some(since));
        if time_up || now.duration_since(since) > UNTAKEN_TIME_MAX {
            self.taken_away.set(true);
            let mut stream = self.stream.take();
            if let Some(stream) = stream.as_mut().filter(|_| time_up) {
                stream.failure = Some(Cause::TotalTimedOut);
            }
            drop(stream);
        }
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        let Some(Held { ticket, upload, mut exchange, active }) = self.held.take() else { return };
        exchange.sent(self.sent);
        if let Some(upload) = &upload {
            exchange.received(upload.received());
        }
        if self.failure.is_none() && self.is_over() {
            if let Some(body) = self.body.take() {
                body.give_back(&ticket.upstream);
            }
        } else {
            exchange.cause(self.failure.unwrap_or_else(|| active.event_loop().why_broken_off()));
            // What the client still sends has no reader any more.
            if let Some(upload) = &upload {
                upload.abandon();
            }
            self.body = None;
        }
        active.event_loop().answers.leave(self.place);
        drop((exchange, ticket, active));
    }
}

/// The answers under way on one loop, each of which knows its place.
#[derive(Default)]
pub(crate) struct Answers(RefCell<Places>);

#[derive(Default)]
struct Places {
    all: Vec<Weak<Answer>>,
    free: Vec<usize>,
}

impl Answers {
    fn enter(&self, answer: Weak<Answer>) -> usize {
        let places = &mut *self.0.borrow_mut();
        match places.free.pop() {
            Some(place) => {
                places.all[place] = answer;
                place
            }
            None => {
                places.all.push(answer);
                places.all.len() - 1
            }
        }
    }

    fn leave(&self, place: usize) {
        let places = &mut *self.0.borrow_mut();
        places.all[place] = Weak::new();
        places.free.push(place);
    }

    /// Takes from clients what they do not take.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        // One that is taken away leaves its place, and may let others in: nothing is borrowed meanwhile.
        let at = |place: usize| self.0.borrow().all.get(place).map(Weak::upgrade);
        let mut place = 0;
        while let Some(answer) = at(place) {
            if let Some(answer) = answer {
                answer.sweep(now);
            }
            place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_pace_while_it_is_waited_for() {
        let (idle, second) = (Duration::from_secs(10), Duration::from_secs(1));
        let least = 10 * UPLOAD_BYTES_PER_S_MIN;
        // One byte each second, and as much as has to come.
        for (per_second, expect) in [(1, true), (UPLOAD_BYTES_PER_S_MIN, false)] {
            let mut pace = Pace::default();
            let slow: Vec<bool> = (1..=30).map(|n| pace.is_slow(second, n * per_second, idle)).collect();
            assert!(slow[..9].iter().all(|slow| !slow), "{per_second}");
            assert_eq!(slow.contains(&true), expect, "{per_second}");
        }
        // What came at once before says nothing about the time after it.
        let mut pace = Pace::default();
        assert!(!pace.is_slow(idle, least, idle) && pace.is_slow(idle, least + 1, idle));
    }
}
