//! Connections from one event loop to instances, kept open between requests.
//!
//! Every loop has its own pools, so that a request never leaves its core and a pool needs no lock. When an
//! instance leaves the route table its idle connections are closed at once; requests under way end in peace.
//!
//! An application speaks HTTP/1, over TLS if it wants, with one request at a time on a connection; or HTTP/2 without
//! TLS, where few connections carry many requests (`multiplex`).

use crate::balance::Instance;
use crate::body::RequestBody;
use crate::ejection::{Trial, now_ms};
use crate::http1::RawPool;
use crate::instance_tls;
use crate::multiplex::{Shared, Stream};
use crate::queue::Queue;
use crate::route::{Service, Snapshot};
use apron_model::routes::AppProtocol;
use foldhash::fast::RandomState;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Idle connections that one loop keeps to one instance. A burst above it opens connections and closes them.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 128;
/// An idle connection is closed after this long, before most firewalls and applications would do it.
pub(crate) const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// A connection that was idle for longer is not used for a request that cannot be sent again: the application
/// may be closing it at this moment.
pub(crate) const IDLE_TIME_UNREPLAYABLE_MAX: Duration = Duration::from_secs(1);
/// An instance is on this machine or near it: what takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After an answer, how long a connection may take to be ready for the next request.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Buffer of one direction of one connection; a response head must fit.
pub(crate) const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What carries one request to an instance. A task of its own reads and writes: an upload goes on while the client is
/// slow to take the answer, and a connection that lies in the pool notices its end at once. Driving it from the
/// request's task instead saved nothing measurable.
pub(crate) enum Connection {
    Http1 {
        sender: SendRequest<RequestBody>,
        /// What it speaks, where it may carry another request.
        kept_for: Option<AppProtocol>,
    },
    Http2(Stream),
}

impl Connection {
    /// The head of the answer. The error holds the request when nothing of it was sent.
    pub(crate) async fn try_send_request(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Connection::Http1 { sender, .. } => sender.try_send_request(request).await,
            Connection::Http2(stream) => stream.try_send_request(request).await,
        }
    }

    /// It sent a request back because it ends.
    pub(crate) fn leave(&self) {
        match self {
            // Nobody else uses it.
            Connection::Http1 { .. } => {}
            Connection::Http2(stream) => stream.leave(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect")]
    Io(#[from] io::Error),
    #[error("not connected after {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
    #[error("cannot speak HTTP")]
    Http(#[from] hyper::Error),
    #[error("cannot speak TLS")]
    Tls(#[from] rustls::Error),
    #[error("the connection that others wait for too was not made")]
    Shared,
}

impl ConnectError {
    /// Nobody listens there, or there is no such machine: that is no accident.
    fn is_refused(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let ConnectError::Io(error) = self else { return false };
        matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
    }
}

/// One instance as one loop knows it.
pub(crate) struct Upstream {
    pub(crate) instance: Arc<Instance>,
    queue: Arc<Queue>,
    /// Connections of the common request's own path.
    pub(crate) raw: RawPool,
    idle: RefCell<Vec<Idle>>,
    shared: Shared,
    retired: Cell<bool>,
    /// Raised when all idle connections are closed: what becomes idle later and is of before is closed too.
    age: Cell<u32>,
}

struct Idle {
    sender: SendRequest<RequestBody>,
    protocol: AppProtocol,
    since: Instant,
}

impl Upstream {
    fn new(instance: &Arc<Instance>, service: &Service, retired: bool) -> Rc<Upstream> {
        Rc::new(Upstream {
            instance: instance.clone(),
            queue: service.queue.clone(),
            raw: RawPool::default(),
            idle: RefCell::default(),
            shared: Shared::default(),
            retired: Cell::new(retired),
            age: Cell::new(0),
        })
    }

    /// An instance that this loop's table does not name, such as one that left it while a request was on its way
    /// there: what is opened to it is not kept.
    pub(crate) fn unlisted(instance: &Arc<Instance>, service: &Service) -> Rc<Upstream> {
        Upstream::new(instance, service, true)
    }

    /// An open connection. Of those that carry one request, the one that was used last, so that a surplus of them ages
    /// and is closed.
    pub(crate) fn take(&self, protocol: AppProtocol, replayable: bool) -> Option<Connection> {
        if protocol == AppProtocol::H2c {
            return self.shared.take(replayable).map(Connection::Http2);
        }
        let mut idle = self.idle.borrow_mut();
        // The newest lies on top: below one that is too old are older ones.
        let usable = |top: &mut Idle| replayable || top.since.elapsed() <= IDLE_TIME_UNREPLAYABLE_MAX;
        while let Some(Idle { sender, protocol: spoken, .. }) = idle.pop_if(usable) {
            // One that the application closed meanwhile is not ready, and one from before the service's tag changed is
            // not what is asked for.
            if sender.is_ready() && spoken == protocol {
                return Some(Connection::Http1 { sender, kept_for: Some(protocol) });
            }
        }
        None
    }

    /// Takes a connection back whose answer was read to its end.
    pub(crate) fn give_back(self: &Rc<Self>, connection: Connection) {
        // A stream has given its place back when it is dropped.
        let Connection::Http1 { mut sender, kept_for: Some(protocol) } = connection else { return };
        if sender.is_ready() {
            self.keep(sender, protocol);
        } else if !sender.is_closed() {
            // The request's body is still under way, or the end of the answer is not read yet.
            let (upstream, age) = (self.clone(), self.age.get());
            tokio::task::spawn_local(async move {
                if let Ok(Ok(())) = timeout(READY_TIMEOUT, sender.ready()).await
                    && upstream.age.get() == age
                {
                    upstream.keep(sender, protocol);
                }
            });
        }
    }

    fn keep(&self, sender: SendRequest<RequestBody>, protocol: AppProtocol) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(Idle { sender, protocol, since: Instant::now() });
        }
    }

    /// Opens a connection that serves requests, one after the other or many at a time.
    pub(crate) async fn connect(&self, protocol: AppProtocol) -> Result<Connection, ConnectError> {
        if protocol == AppProtocol::H2c {
            let keep = || !self.retired.get();
            return Ok(Connection::Http2(self.shared.open(|| connect(&self.instance), keep).await?));
        }
        let sender = self.http1(protocol, false).await?;
        Ok(Connection::Http1 { sender, kept_for: Some(protocol) })
    }

    /// Opens a connection whose one request may turn it into a tunnel. It is not pooled.
    pub(crate) async fn connect_for_upgrade(
        &self,
        protocol: AppProtocol,
    ) -> Result<Connection, ConnectError> {
        let sender = self.http1(protocol, true).await?;
        Ok(Connection::Http1 { sender, kept_for: None })
    }

    async fn http1(
        &self,
        protocol: AppProtocol,
        upgrades: bool,
    ) -> Result<SendRequest<RequestBody>, ConnectError> {
        let stream = connect(&self.instance).await?;
        if protocol != AppProtocol::Https {
            return speak_http1(stream, upgrades).await;
        }
        let name = ServerName::from(self.instance.address.ip());
        let handshake = instance_tls::connector()?.connect(name, stream);
        let stream = timeout(CONNECT_TIMEOUT, handshake).await.map_err(|_| ConnectError::TimedOut)??;
        speak_http1(stream, upgrades).await
    }

    fn close_idle(&self, now: Instant) {
        self.raw.close_idle(now);
        self.idle.borrow_mut().retain(|Idle { sender, since, .. }| {
            sender.is_ready() && now.duration_since(*since) < IDLE_TIME_MAX
        });
        self.shared.close_idle(now);
    }

    /// Closes the connections that nobody uses, however young.
    fn close(&self) {
        self.age.set(self.age.get().wrapping_add(1));
        self.raw.close();
        self.idle.borrow_mut().clear();
        self.shared.forget();
    }

    fn retire(&self) {
        self.raw.retire();
        self.retired.set(true);
        self.close();
    }
}

/// A new connection to the instance.
pub(crate) async fn connect(instance: &Instance) -> Result<TcpStream, ConnectError> {
    let opened = timeout(CONNECT_TIMEOUT, TcpStream::connect(instance.address)).await;
    let stream = opened.map_err(|_| ConnectError::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn speak_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    upgrades: bool,
) -> Result<SendRequest<RequestBody>, ConnectError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES_MAX);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let ended = if upgrades { connection.with_upgrades().await } else { connection.await };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection to an instance ended");
        }
    });
    Ok(sender)
}

/// All instances that one loop has sent a request to and that are still in its table.
#[derive(Default)]
pub(crate) struct Upstreams {
    by_key: RefCell<HashMap<u64, Rc<Upstream>, RandomState>>,
}

impl Upstreams {
    pub(crate) fn get(&self, instance: &Arc<Instance>, service: &Service) -> Rc<Upstream> {
        let mut by_key = self.by_key.borrow_mut();
        by_key.entry(instance.key).or_insert_with(|| Upstream::new(instance, service, false)).clone()
    }

    /// Lets go of the instances that a new table does not name any more. `before` is the one that this loop had until
    /// now: it has sent no request to an instance that is not of that.
    pub(crate) fn keep_only(&self, before: &Snapshot, now: &Snapshot) {
        let mut gone: HashSet<u64, RandomState> = before.instances_apart(now).collect();
        now.instances_apart(before).for_each(|key| {
            gone.remove(&key);
        });
        let mut by_key = self.by_key.borrow_mut();
        for upstream in gone.iter().filter_map(|key| by_key.remove(key)) {
            upstream.retire();
        }
    }

    /// Closes the connections to the instance with this tag that nobody uses.
    pub(crate) fn close(&self, tag: u64) {
        let by_key = self.by_key.borrow();
        by_key.values().filter(|upstream| upstream.instance.tag == tag).for_each(|upstream| upstream.close());
    }

    /// Closes what was idle for too long; called about once a second.
    pub(crate) fn close_idle(&self) {
        let now = Instant::now();
        self.by_key.borrow().values().for_each(|upstream| upstream.close_idle(now));
    }
}

/// A request's place on an instance: counted from the moment it was chosen until its answer has ended, was
/// abandoned, or its tunnel is closed. Then it goes to the head of the service's line, or is free.
pub(crate) struct Ticket {
    pub(crate) upstream: Rc<Upstream>,
    /// What the request's end says about an ejection, until it has said it.
    trial: Cell<Trial>,
}

impl Ticket {
    /// Of a place that is counted already.
    pub(crate) fn new(upstream: Rc<Upstream>, trial: Trial) -> Ticket {
        Ticket { upstream, trial: Cell::new(trial) }
    }

    /// There is no connection to the instance.
    pub(crate) fn connect_failed(&self, error: &ConnectError) {
        let instance = &self.upstream.instance;
        tracing::debug!(id = %instance.id, address = %instance.address, %error, "no connection to instance");
        let (ejection, trial, now_ms) = (&instance.ejection, self.trial.take(), now_ms());
        let refused = error.is_refused();
        self.told(if refused { ejection.refused(trial, now_ms) } else { ejection.failed(trial, now_ms) });
    }

    /// A new connection ended before the head of the answer.
    pub(crate) fn failed(&self) {
        self.told(self.upstream.instance.ejection.failed(self.trial.take(), now_ms()));
    }

    fn told(&self, is_out: bool) {
        if is_out {
            let instance = &self.upstream.instance;
            tracing::info!(id = %instance.id, address = %instance.address, "the instance fails and gets a pause");
        }
    }

    /// The head of an answer came, whatever it says.
    pub(crate) fn answered(&self) {
        let instance = &self.upstream.instance;
        if instance.ejection.answered(self.trial.take()) {
            tracing::info!(id = %instance.id, address = %instance.address, "the instance answers again");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.upstream.queue.give_back(&self.upstream.instance, self.trial.get());
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
                let upstream = Upstreams::default().get(&service.instances[0], service);
                let older = upstream.http1(AppProtocol::Http1, false).await.unwrap();
                let newer = upstream.http1(AppProtocol::Http1, false).await.unwrap();
                let (_kept, closed) = (listener.accept().await.unwrap(), listener.accept().await.unwrap());
                pause();
                upstream.keep(older, AppProtocol::Http1);
                advance(IDLE_TIME_UNREPLAYABLE_MAX * 2).await;
                upstream.keep(newer, AppProtocol::Http1);
                drop(closed);
                while upstream.idle.borrow()[1].sender.is_ready() {
                    tokio::task::yield_now().await;
                }
                assert!(upstream.take(AppProtocol::Http1, false).is_none());
                assert!(upstream.take(AppProtocol::Http1, true).is_some());
            })
            .await;
    }
}
