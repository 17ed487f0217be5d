//! A request's body as others than its reader see it: how it goes, why it failed, and its first bytes for a second
//! attempt.
//!
//! An HTTP/2 application may refuse a stream of which it has read nothing, although the body is under way already.
//! What was read of it is kept until an answer begins, within bounds, and the rest comes back here when the attempt
//! lets go of it.

use crate::body::BodyError;
use crate::client_body::{ClientBody, ClientBodyError};
use crate::reply::Cause;
use bytes::Bytes;
use http_body::Frame;
use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// What a client must send of a body, on average over each time-out, while its instance waits for it: whoever sends a
/// byte now and then would have a place there for ever.
pub(crate) const UPLOAD_BYTES_PER_S_MIN: u64 = 240;
/// Of a body, what is kept for a second attempt; with more read there is none.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// An attempt that failed lets go of its body within this time.
const RETURN_TIME_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Upload {
    /// When the last byte came.
    last: Cell<Instant>,
    received: Cell<u64>,
    bytes_max: u64,
    failure: Cell<Option<Cause>>,
    abandoned: Cell<bool>,
    answered: Cell<bool>,
    /// Of who waits for the next byte.
    waker: RefCell<Option<Waker>>,
    /// `None` when there can be no second attempt.
    kept: RefCell<Option<Kept>>,
    returned: Notify,
}

#[derive(Default)]
struct Kept {
    read: Vec<Bytes>,
    bytes: usize,
    rest: Option<ClientBody>,
}

/// What a second attempt sends.
pub(crate) struct Again {
    pub(crate) read: Vec<Bytes>,
    pub(crate) rest: ClientBody,
}

impl Upload {
    pub(crate) fn new(bytes_max: Option<u64>, keep: bool) -> Upload {
        Upload {
            last: Cell::new(Instant::now()),
            received: Cell::new(0),
            bytes_max: bytes_max.unwrap_or(u64::MAX),
            failure: Cell::new(None),
            abandoned: Cell::new(false),
            answered: Cell::new(false),
            waker: RefCell::new(None),
            kept: RefCell::new(keep.then(Kept::default)),
            returned: Notify::new(),
        }
    }

    pub(crate) fn last(&self) -> Instant {
        self.last.get()
    }

    /// Bytes so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Why the body ended before its end.
    pub(crate) fn failure(&self) -> Option<Cause> {
        self.failure.get()
    }

    /// A frame came; the same, unless it is too much.
    pub(crate) fn passed(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        self.last.set(Instant::now());
        let Some(data) = frame.data_ref() else {
            // Trailers are not kept.
            self.forget();
            return Ok(frame);
        };
        let received = self.received.get().saturating_add(data.len() as u64);
        self.received.set(received);
        if received > self.bytes_max {
            self.failure.set(Some(Cause::BodyTooLarge));
            return Err(BodyError::TooLarge);
        }
        let mut kept = self.kept.borrow_mut();
        if let Some(parts) = kept.as_mut() {
            parts.bytes += data.len();
            match parts.bytes <= KEPT_BYTES_MAX {
                true => parts.read.push(data.clone()),
                false => *kept = None,
            }
        }
        Ok(frame)
    }

    /// Its next byte did not come in time.
    pub(crate) fn stalled(&self, cause: Cause) {
        self.failure.set(Some(cause));
    }

    /// The client broke off, or its framing is wrong.
    pub(crate) fn broke(&self, error: &ClientBodyError) {
        self.failure.set(Some(if error.is_malformed() { Cause::BadRequest } else { Cause::ClientGone }));
    }

    /// Nobody reads on: whoever waits for the next byte hears it.
    pub(crate) fn abandon(&self) {
        self.abandoned.set(true);
        self.forget();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    /// An answer has begun: there is no second attempt.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
        self.forget();
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        match &*slot {
            Some(known) if known.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    /// There will be no second attempt.
    fn forget(&self) {
        let kept = self.kept.take();
        drop(kept);
    }

    /// An attempt lets go of the body.
    pub(crate) fn give_back(&self, rest: ClientBody) {
        // What is not kept is dropped, which tells the client.
        let unwanted = match self.kept.borrow_mut().as_mut() {
            Some(kept) => kept.rest.replace(rest),
            None => Some(rest),
        };
        drop(unwanted);
        self.returned.notify_one();
    }

    /// The body for a second attempt, once the first has let go of it; once only.
    pub(crate) async fn again(&self) -> Option<Again> {
        let is_back = || self.kept.borrow().as_ref().is_none_or(|kept| kept.rest.is_some());
        let returned = async {
            while !is_back() {
                self.returned.notified().await;
            }
        };
        timeout(RETURN_TIME_MAX, returned).await.ok()?;
        let Kept { read, rest, .. } = self.kept.take()?;
        Some(Again { read, rest: rest? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(length: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![0; length]))
    }

    #[test]
    fn a_body_has_a_limit() {
        let upload = Upload::new(Some(10), false);
        assert!(upload.passed(data(4)).is_ok() && upload.passed(data(6)).is_ok());
        assert_eq!((upload.received(), upload.failure()), (10, None));
        assert!(matches!(upload.passed(data(1)), Err(BodyError::TooLarge)));
        assert_eq!(upload.failure(), Some(Cause::BodyTooLarge));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = |upload: &Upload| upload.kept.borrow().as_ref().map(|kept| kept.bytes);
        let upload = Upload::new(None, true);
        assert!(upload.passed(data(KEPT_BYTES_MAX)).is_ok());
        assert_eq!(kept(&upload), Some(KEPT_BYTES_MAX));
        assert!(upload.passed(data(1)).is_ok());
        assert_eq!(kept(&upload), None);
        let upload = Upload::new(None, true);
        assert!(upload.passed(Frame::trailers(http::HeaderMap::new())).is_ok());
        assert_eq!(kept(&upload), None);
        assert_eq!(kept(&Upload::new(None, false)), None);
    }

    /// While the first attempt holds the body there is no second one.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_back_is_not_sent_again() {
        assert!(Upload::new(None, true).again().await.is_none());
        assert!(Upload::new(None, false).again().await.is_none());
    }
}
