//! The body of an instance's answer, on either kind of connection.

use crate::body::BodyError;
use crate::http1::CallBody;
use crate::pool::{Connection, Upstream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

pub(crate) enum InstanceBody {
    Hyper {
        incoming: Incoming,
        /// Given back at the end.
        connection: Connection,
    },
    Call(CallBody),
}

impl InstanceBody {
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            InstanceBody::Hyper { incoming, .. } => {
                Pin::new(incoming).poll_frame(context).map_err(BodyError::from)
            }
            InstanceBody::Call(body) => body.poll_frame(context).map_err(BodyError::from),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            InstanceBody::Hyper { incoming, .. } => incoming.is_end_stream(),
            InstanceBody::Call(body) => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            InstanceBody::Hyper { incoming, .. } => incoming.size_hint(),
            InstanceBody::Call(body) => body.size_hint(),
        }
    }

    /// Gives the connection back whose answer was read to its end.
    pub(crate) fn give_back(self, upstream: &Rc<Upstream>) {
        match self {
            InstanceBody::Hyper { connection, .. } => upstream.give_back(connection),
            InstanceBody::Call(body) => body.give_back(upstream),
        }
    }
}
