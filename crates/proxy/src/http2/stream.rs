//! One stream: a request, and its answer as the client's window lets it.

use super::Tunnel;
use crate::body::{BodyError, ResponseBody, UNTAKEN_TIME_MAX};
use crate::client::Client;
use crate::client_body::ClientBody;
use crate::forward;
use crate::upgrade::Upgrade;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The body of a request.
pub(crate) struct Received {
    stream: RecvStream,
    /// What its head says of its length, if that can be read.
    length: Option<u64>,
    data_ended: bool,
    /// Whom to tell when the body is waited for, where the client waits for that.
    wanted: Option<Rc<Wanted>>,
}

/// Whether an instance waits for a body whose client does not send it before it is told to (RFC 9110 §10.1.1).
#[derive(Default)]
struct Wanted {
    is: Cell<bool>,
    /// Of the stream's task: who waits is another one.
    waker: RefCell<Option<Waker>>,
}

impl Wanted {
    fn set(&self) {
        self.is.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// True once.
    fn poll(&self, context: &Context<'_>) -> bool {
        self.waker.replace(Some(context.waker().clone()));
        self.is.take()
    }
}

impl Received {
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            let data = self.stream.poll_data(context);
            if data.is_pending()
                && let Some(wanted) = self.wanted.take()
            {
                wanted.set();
            }
            match ready!(data) {
                Some(Ok(bytes)) => {
                    // Who reads it has room for it: the client may send as much again.
                    let _ = self.stream.flow_control().release_capacity(bytes.len());
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        self.stream.poll_trailers(context).map(|trailers| Some(trailers.transpose()?.map(Frame::trailers)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.length {
            _ if self.stream.is_end_stream() => SizeHint::with_exact(0),
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::new(),
        }
    }
}

/// The whole way of a stream. Whatever ends it early resets it.
pub(super) async fn serve(
    client: Rc<Client>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, stream) = request.into_parts();
    let head_only = parts.method == Method::HEAD;
    let (mut tunnel, mut wanted) = (None, None);
    let (body, upgrade) = if parts.method == Method::CONNECT {
        let (sender, receiver) = oneshot::channel();
        tunnel = Some((sender, stream));
        (ClientBody::None, Some(Upgrade::Http2(receiver)))
    } else {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let waits = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        if parts.headers.get(EXPECT).is_some_and(waits) {
            wanted = Some(Rc::new(Wanted::default()));
        }
        let wanted = wanted.clone();
        (ClientBody::Http2(Received { stream, length, data_ended: false, wanted }), None)
    };
    let mut answer = pin!(forward::answer(client, Request::from_parts(parts, body), upgrade));
    let response = poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => {
            if wanted.as_ref().is_some_and(|wanted| wanted.poll(context)) {
                let mut go_on = Response::new(());
                *go_on.status_mut() = StatusCode::CONTINUE;
                let _ = respond.send_informational(go_on);
            }
            // Dropped, it is taken back from the instance too.
            respond.poll_reset(context).map(|_| None)
        }
    });
    let Some(response) = response.await else { return };
    let (parts, body) = response.into_parts();
    let mut head = Response::from_parts(parts, ());
    if let Some((sender, stream)) = tunnel
        && head.status().is_success()
    {
        if let Ok(send) = respond.send_response(head, false) {
            // Without anybody who waits for it the tunnel ends, and with it the stream.
            let _ = sender.send(Tunnel::new(stream, send));
        }
        return;
    }
    let empty = body.is_end_stream();
    if let (false, Some(length)) = (empty, body.size_hint().exact()) {
        head.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    // Of an answer of our own there is a body, which HEAD does not get.
    let ended = empty || head_only;
    match respond.send_response(head, ended) {
        Ok(send) if !ended => pass(send, body).await,
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "no answer for a stream"),
    }
}

/// Passes a body on until its end, or until either side breaks it off.
async fn pass(mut send: SendStream<Bytes>, mut body: ResponseBody) {
    while let Some(frame) = poll_fn(|context| poll_next(&mut send, &mut body, context)).await {
        let sent = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                let ends = body.is_end_stream();
                // Nothing is claimed before there is something to send, and then as little as there is.
                if !data.is_empty() {
                    let room = poll_fn(|context| poll_room(&mut send, 1, context));
                    match timeout(UNTAKEN_TIME_MAX, room).await {
                        Ok(Some(_)) => {}
                        Ok(None) => return,
                        Err(_) => return send.send_reset(Reason::CANCEL),
                    }
                }
                match send.send_data(data, ends) {
                    Ok(()) if ends => return,
                    sent => sent,
                }
            }
            Ok(Err(frame)) => match frame.into_trailers() {
                Ok(trailers) => {
                    let _ = send.send_trailers(trailers);
                    return;
                }
                Err(_) => Ok(()),
            },
            Err(error) => return send.send_reset(reason(&error)),
        };
        if sent.is_err() {
            return;
        }
    }
    // The body ended and had not said that it would; or the client is gone, who does not hear it.
    let _ = send.send_data(Bytes::new(), true);
}

/// The next frame. None: there is none, or nobody wants it.
fn poll_next(
    send: &mut SendStream<Bytes>,
    body: &mut ResponseBody,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    match Pin::new(body).poll_frame(context) {
        // Asked only where there is a wait: what is sent to a stream that was reset is refused.
        Poll::Pending => send.poll_reset(context).map(|_| None),
        ready => ready,
    }
}

/// How much the client's windows let through, once it is anything; None when the stream has ended. `wanted` is claimed
/// of the window of the whole connection, too, which keeps others from it.
pub(super) fn poll_room(
    send: &mut SendStream<Bytes>,
    wanted: usize,
    context: &mut Context<'_>,
) -> Poll<Option<usize>> {
    send.reserve_capacity(wanted);
    while send.capacity() == 0 {
        // Where there is room, what is sent to a stream that was reset is refused.
        if send.poll_reset(context).is_ready() {
            return Poll::Ready(None);
        }
        match ready!(send.poll_capacity(context)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
    Poll::Ready(Some(send.capacity()))
}

/// What the client is told of a body that broke off: what the instance said, where it speaks HTTP/2 too.
fn reason(error: &BodyError) -> Reason {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return reason;
        }
        source = error.source();
    }
    Reason::INTERNAL_ERROR
}
