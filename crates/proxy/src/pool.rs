//! Connections from one event loop to instances, kept open between requests.
//!
//! Every loop has its own pools, so that a request never leaves its core and a pool needs no lock. When an
//! instance leaves the route table its idle connections are closed at once; requests under way end in peace.

use crate::balance::Instance;
use crate::body::RequestBody;
use crate::observe::ServiceCounts;
use crate::route::Snapshot;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Idle connections that one loop keeps to one instance. A burst above it opens connections and closes them.
const IDLE_CONNECTIONS_MAX: usize = 128;
/// An idle connection is closed after this long, before most firewalls and applications would do it.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// A connection that was idle for longer is not used for a request that cannot be sent again: the application
/// may be closing it at this moment.
const IDLE_TIME_UNREPLAYABLE_MAX: Duration = Duration::from_secs(1);
/// An instance is on this machine or near it: what takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After an answer, how long a connection may take to be ready for the next request.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Buffer of one direction of one connection; a response head must fit.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A connection to an instance, one request at a time. A task of its own reads and writes: an upload goes on
/// while the client is slow to take the answer, and a connection that lies in the pool notices its end at once.
/// Driving it from the request's task instead saved nothing measurable.
pub(crate) type Connection = SendRequest<RequestBody>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect")]
    Io(#[from] io::Error),
    #[error("not connected after {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    #[error("cannot speak HTTP")]
    Http(#[from] hyper::Error),
}

/// One instance as one loop knows it.
pub(crate) struct Upstream {
    pub(crate) instance: Arc<Instance>,
    pub(crate) counts: Arc<ServiceCounts>,
    idle: RefCell<Vec<Idle>>,
    retired: Cell<bool>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Upstream {
    /// The connection that was used last, so that a surplus of them ages and is closed.
    pub(crate) fn take(&self, replayable: bool) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        // The newest lies on top: below one that is too old are older ones.
        let usable = |top: &mut Idle| replayable || top.since.elapsed() <= IDLE_TIME_UNREPLAYABLE_MAX;
        while let Some(Idle { connection, .. }) = idle.pop_if(usable) {
            // One that the application closed meanwhile is not ready.
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection back whose answer was read to its end.
    pub(crate) fn give_back(self: &Rc<Self>, mut connection: Connection) {
        if connection.is_ready() {
            self.keep(connection);
        } else if !connection.is_closed() {
            // The request's body is still under way, or the end of the answer is not read yet.
            let upstream = self.clone();
            tokio::task::spawn_local(async move {
                if let Ok(Ok(())) = tokio::time::timeout(READY_TIMEOUT, connection.ready()).await {
                    upstream.keep(connection);
                }
            });
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Opens a connection that serves requests one after the other.
    pub(crate) async fn connect(&self) -> Result<Connection, ConnectError> {
        let (sender, connection) = self.handshake().await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to an instance ended");
            }
        });
        Ok(sender)
    }

    /// Opens a connection whose one request may turn it into a tunnel. It is not pooled.
    pub(crate) async fn connect_for_upgrade(&self) -> Result<Connection, ConnectError> {
        let (sender, connection) = self.handshake().await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to an instance ended");
            }
        });
        Ok(sender)
    }

    async fn handshake(
        &self,
    ) -> Result<(Connection, http1::Connection<TokioIo<TcpStream>, RequestBody>), ConnectError> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.instance.address))
            .await
            .map_err(|_| ConnectError::TimedOut)??;
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES_MAX);
        Ok(builder.handshake(TokioIo::new(stream)).await?)
    }

    fn close_idle(&self, now: Instant) {
        self.idle.borrow_mut().retain(|Idle { connection, since }| {
            connection.is_ready() && now.duration_since(*since) < IDLE_TIME_MAX
        });
    }

    fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
    }
}

/// All instances that one loop has sent a request to and that are still in its table.
#[derive(Default)]
pub(crate) struct Upstreams {
    by_key: RefCell<HashMap<u64, Rc<Upstream>>>,
}

impl Upstreams {
    pub(crate) fn get(&self, instance: &Arc<Instance>, counts: &Arc<ServiceCounts>) -> Rc<Upstream> {
        let mut by_key = self.by_key.borrow_mut();
        let upstream = by_key.entry(instance.key).or_insert_with(|| {
            Rc::new(Upstream {
                instance: instance.clone(),
                counts: counts.clone(),
                idle: RefCell::default(),
                retired: Cell::new(false),
            })
        });
        upstream.clone()
    }

    /// Lets go of the instances that a new table does not name.
    pub(crate) fn keep_only(&self, snapshot: &Snapshot) {
        let named: HashSet<u64> = snapshot.instances().map(|instance| instance.key).collect();
        self.by_key.borrow_mut().retain(|key, upstream| {
            let stays = named.contains(key);
            if !stays {
                upstream.retire();
            }
            stays
        });
    }

    /// Closes what was idle for too long; called about once a second.
    pub(crate) fn close_idle(&self) {
        let now = Instant::now();
        self.by_key.borrow().values().for_each(|upstream| upstream.close_idle(now));
    }
}

/// A request's place on an instance: counted from the moment it was chosen until its answer has ended, was
/// abandoned, or its tunnel is closed.
pub(crate) struct Ticket {
    pub(crate) upstream: Rc<Upstream>,
}

impl Ticket {
    pub(crate) fn new(upstream: Rc<Upstream>) -> Ticket {
        upstream.instance.in_flight.fetch_add(1, Ordering::AcqRel);
        Ticket { upstream }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.upstream.instance.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Instances;
    use crate::config::static_table;
    use crate::route::Host;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;
    use tokio::time::{advance, pause};

    /// Two idle connections of which the application has closed the newer one.
    #[tokio::test]
    async fn an_old_connection_is_not_used_for_what_cannot_be_sent_again() {
        LocalSet::new()
            .run_until(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let route = format!("a.localhost={}", listener.local_addr().unwrap());
                let mut instances = Instances::default();
                let snapshot = Snapshot::build(&static_table(&[route.parse().unwrap()]), &mut instances);
                let service = snapshot.find(&Host::parse(b"a.localhost").unwrap()).unwrap();
                let upstream = Upstreams::default().get(&service.instances[0], &service.counts);
                let (older, newer) = (upstream.connect().await.unwrap(), upstream.connect().await.unwrap());
                let (_kept, closed) = (listener.accept().await.unwrap(), listener.accept().await.unwrap());
                pause();
                upstream.keep(older);
                advance(IDLE_TIME_UNREPLAYABLE_MAX * 2).await;
                upstream.keep(newer);
                drop(closed);
                while upstream.idle.borrow()[1].connection.is_ready() {
                    tokio::task::yield_now().await;
                }
                assert!(upstream.take(false).is_none());
                assert!(upstream.take(true).is_some());
            })
            .await;
    }
}
