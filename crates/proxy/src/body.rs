//! Bodies on their way through: streamed frame by frame, never collected, each wait for the next byte bounded.
//!
//! Backpressure is hyper's: a frame is asked of one side only when the other side has room for it.

use crate::client::Active;
use crate::pool::{Connection, Ticket};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("no byte came in time")]
    Stalled,
    #[error("the body was cut off")]
    Broken(#[from] hyper::Error),
}

/// Bounds the wait for the next frame. Only a wait is timed, not the time in which the other side had no room; and
/// the timer is made only when there is a wait: a body that is already there pays nothing.
struct Patience {
    limit: Duration,
    /// Since when this wait goes on.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Patience {
        Patience { limit, since: None, timer: None }
    }

    fn progressed(&mut self) {
        self.since = None;
    }

    /// Ready when this wait has lasted for `limit`. The timer is moved only when it rings.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        while timer.as_mut().poll(context).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// How an upload goes, for whoever waits for the answer.
pub(crate) struct Upload {
    pub(crate) last: Cell<Instant>,
    pub(crate) stalled: Cell<bool>,
}

/// What is sent to an instance.
pub(crate) enum RequestBody {
    Empty,
    Stream(Box<RequestStream>),
}

pub(crate) struct RequestStream {
    incoming: Incoming,
    patience: Patience,
    upload: Rc<Upload>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit: Duration) -> (RequestBody, Option<Rc<Upload>>) {
        if incoming.is_end_stream() {
            return (RequestBody::Empty, None);
        }
        let upload = Rc::new(Upload { last: Cell::new(Instant::now()), stalled: Cell::new(false) });
        let stream = RequestStream { incoming, patience: Patience::new(limit), upload: upload.clone() };
        (RequestBody::Stream(Box::new(stream)), Some(upload))
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
        match Pin::new(&mut stream.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                stream.patience.progressed();
                stream.upload.last.set(Instant::now());
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Poll::Pending => {
                std::task::ready!(stream.patience.poll(context));
                stream.upload.stalled.set(true);
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

/// What is sent to a client.
pub(crate) enum ResponseBody {
    /// An answer of our own.
    Whole(Option<Bytes>),
    /// An instance's answer. Dropping it gives the connection back, or closes it when there was more to read.
    Stream(ResponseStream),
}

pub(crate) struct ResponseStream {
    incoming: Incoming,
    patience: Patience,
    ended: bool,
    // Taken in `drop`.
    connection: Option<Connection>,
    ticket: Ticket,
    _active: Active,
}

impl ResponseBody {
    pub(crate) fn whole(bytes: Bytes) -> ResponseBody {
        ResponseBody::Whole(Some(bytes))
    }

    pub(crate) fn stream(
        incoming: Incoming,
        limit: Duration,
        connection: Connection,
        ticket: Ticket,
        active: Active,
    ) -> ResponseBody {
        ResponseBody::Stream(ResponseStream {
            incoming,
            patience: Patience::new(limit),
            ended: false,
            connection: Some(connection),
            ticket,
            _active: active,
        })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let stream = match &mut *self {
            ResponseBody::Whole(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            ResponseBody::Stream(stream) => stream,
        };
        match Pin::new(&mut stream.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                stream.patience.progressed();
                stream.ended = frame.is_none();
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Poll::Pending => {
                std::task::ready!(stream.patience.poll(context));
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Whole(bytes) => bytes.is_none(),
            ResponseBody::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            ResponseBody::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && (self.ended || self.incoming.is_end_stream())
        {
            self.ticket.upstream.give_back(connection);
        }
    }
}
