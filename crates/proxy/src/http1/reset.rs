//! Streams that can be ended so that nobody takes their end for the end of what was said.

use crate::rewound::Rewound;
use socket2::SockRef;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

pub(crate) trait Reset {
    /// From now on, closing it resets the connection.
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        // It cannot fail on a connected socket; if it did, the connection would end as any other.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl<S: Reset> Reset for Rewound<S> {
    fn reset(&self) {
        self.stream().reset();
    }
}

impl<S: Reset> Reset for TlsStream<S> {
    /// Its end is not that of what was said anyway, since nobody said goodbye.
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}
