//! The body of a client's request, by either version of HTTP.

use crate::http2::Received;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) enum ClientBody {
    None,
    Hyper(Incoming),
    Http2(Received),
}

/// It broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientBodyError {
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl ClientBodyError {
    /// Whether what came is no body, rather than nothing more.
    pub(crate) fn is_malformed(&self) -> bool {
        match self {
            ClientBodyError::Hyper(error) => {
                let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
                io.is_some_and(|error| {
                    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
                })
            }
            // Then its stream is reset, and nobody waits for an answer.
            ClientBodyError::Http2(_) => false,
        }
    }
}

impl ClientBody {
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match self {
            ClientBody::None => Poll::Ready(None),
            ClientBody::Hyper(incoming) => Pin::new(incoming).poll_frame(context).map_err(Into::into),
            ClientBody::Http2(received) => received.poll_frame(context).map_err(Into::into),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            ClientBody::None => true,
            ClientBody::Hyper(incoming) => incoming.is_end_stream(),
            ClientBody::Http2(received) => received.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            ClientBody::None => SizeHint::with_exact(0),
            ClientBody::Hyper(incoming) => incoming.size_hint(),
            ClientBody::Http2(received) => received.size_hint(),
        }
    }
}
