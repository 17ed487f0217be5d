//! Answers on `run/node.sock`: who may ask, and what each question does.

use crate::driver::Hint;
use crate::local::build::queue::Builds;
use crate::local::instance::registry::Instances;
use crate::local::instance::wanted::{Removing, is_plain_id};
use crate::local::machine::Machine;
use crate::local::protocol::{self, FromNode, ToNode};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// Control has a few at a time; one more reconciler than this would be a leak.
const CONNECTIONS_MAX: usize = 256;
/// A connection that asks nothing is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A peer that does not read is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept, so that a lasting error does not spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);
/// A longer grace than this is cut: nothing may stop for ever.
const GRACE_MS_MAX: u64 = 60 * 60 * 1000;

/// What the answers come from.
pub(super) struct Node {
    pub machine: Arc<Machine>,
    pub instances: Arc<Instances>,
    pub builds: Arc<Builds>,
}

type Stream = BufReader<UnixStream>;

/// Accepts for ever.
pub(super) async fn serve(listener: UnixListener, node: Arc<Node>, control_uid: u32) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let node = node.clone();
                connections.spawn(async move {
                    if let Err(error) = connection(stream, &node, control_uid).await {
                        tracing::debug!(%error, "a connection to the node ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the node cannot accept connections");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, node: &Node, control_uid: u32) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let mut stream = BufReader::new(stream);
    if uid != 0 && uid != control_uid {
        tracing::warn!(uid, "refused a connection: neither root nor control");
        return refuse(&mut stream, format!("user {uid} may not drive this node")).await;
    }
    let mut line = Vec::new();
    match next(&mut stream, &mut line).await? {
        Some(ToNode::Hello { version: protocol::VERSION }) => {
            let generation = node.instances.generation();
            reply(&mut stream, &FromNode::Hello { version: protocol::VERSION, generation }).await?;
        }
        Some(ToNode::Hello { version }) => {
            let reason =
                format!("you speak version {version} of the protocol, this node {}", protocol::VERSION);
            return refuse(&mut stream, reason).await;
        }
        Some(_) => return refuse(&mut stream, "the first message must be hello".into()).await,
        None => return Ok(()),
    }
    while let Some(question) = next(&mut stream, &mut line).await? {
        match question {
            // An id names directories that root makes and removes, so nothing else than a name may come through.
            ToNode::Remove { id, .. } | ToNode::Output { id, .. } if !is_plain_id(id.as_str()) => {
                return refuse(&mut stream, format!("{:?} is not the id of an instance", id.as_str())).await;
            }
            ToNode::Build(spec) if !is_plain_id(spec.id.as_str()) => {
                return refuse(&mut stream, format!("{:?} is not the id of a build", spec.id.as_str())).await;
            }
            ToNode::ForgetService { id } => {
                reply(&mut stream, &wish(node.builds.forget_service(id).await)).await?;
            }
            ToNode::Standing { service } => {
                let standing = node.machine.ladder.standing(&service);
                reply(&mut stream, &FromNode::Standing(standing)).await?;
            }
            ToNode::Readings { services } => {
                let machine = node.machine.clone();
                let read = spawn_blocking(move || machine.ladder.readings(&services)).await?;
                reply(&mut stream, &FromNode::Readings(read)).await?;
            }
            ToNode::Usage { taken } => {
                let machine = node.machine.clone();
                let handed = spawn_blocking(move || machine.meter.hand(taken.as_ref())).await?;
                let answer = match handed {
                    Ok(handed) => FromNode::Usage(handed),
                    Err(error) => FromNode::Refused { reason: format!("the meter cannot be kept: {error}") },
                };
                reply(&mut stream, &answer).await?;
            }
            ToNode::Ensure(spec) => {
                let done = node.instances.ensure(*spec).await;
                reply(&mut stream, &wish(done)).await?;
            }
            ToNode::Remove { id, grace_ms } => {
                let removing = Removing { grace_ms: grace_ms.min(GRACE_MS_MAX) };
                let done = node.instances.remove(&id, removing).await;
                reply(&mut stream, &wish(done)).await?;
            }
            ToNode::List => reply(&mut stream, &FromNode::Instances(node.instances.list())).await?,
            ToNode::Output { id, from } => {
                let answer = match node.instances.output(&id, from).await {
                    Ok(output) => FromNode::Output(output),
                    Err(reason) => FromNode::Refused { reason },
                };
                reply(&mut stream, &answer).await?;
            }
            ToNode::Changes => return changes(stream, node.machine.news.listen()).await,
            ToNode::Build(spec) => return build(stream, &node.builds, *spec).await,
            ToNode::Hello { .. } => return refuse(&mut stream, "hello was said before".into()).await,
        }
    }
    Ok(())
}

async fn changes(mut stream: Stream, mut hints: broadcast::Receiver<Hint>) -> io::Result<()> {
    reply(&mut stream, &FromNode::Done).await?;
    loop {
        let mut instances = false;
        let mut grown = BTreeSet::new();
        let first = tokio::select! {
            first = hints.recv() => first,
            () = closed(&mut stream) => return Ok(()),
        };
        let mut note = |hint| match hint {
            Hint::Instances => instances = true,
            Hint::Output(id) => {
                grown.insert(id);
            }
        };
        match first {
            Ok(hint) => note(hint),
            Err(broadcast::error::RecvError::Lagged(_)) => note(Hint::Instances),
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
        // What has come in the meantime goes as one.
        loop {
            match hints.try_recv() {
                Ok(hint) => note(hint),
                Err(broadcast::error::TryRecvError::Lagged(_)) => note(Hint::Instances),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => break,
            }
        }
        if instances {
            reply(&mut stream, &FromNode::Changed).await?;
        }
        for id in grown {
            reply(&mut stream, &FromNode::OutputGrew(id)).await?;
        }
    }
}

/// Sends a build's events; the peer's leaving ends the build.
async fn build(mut stream: Stream, builds: &Builds, spec: apron_model::build::BuildSpec) -> io::Result<()> {
    use futures_util::StreamExt;
    reply(&mut stream, &FromNode::Done).await?;
    let mut events = std::pin::pin!(builds.run(spec));
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = closed(&mut stream) => return Ok(()),
        };
        match event {
            Some(event) => reply(&mut stream, &FromNode::Build(event)).await?,
            None => return Ok(()),
        }
    }
}

/// Returns when the peer has closed the connection or says something where it has nothing to say.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    // An error is an end too.
    let _ = stream.read(&mut [0]).await;
}

async fn next(stream: &mut Stream, line: &mut Vec<u8>) -> io::Result<Option<ToNode>> {
    match timeout(IDLE_TIMEOUT, protocol::receive(stream, line)).await {
        Ok(received) => received,
        Err(_) => Ok(None),
    }
}

async fn reply(stream: &mut Stream, message: &FromNode) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, protocol::send(stream, message)).await.map_err(io::Error::from)?
}

async fn refuse(stream: &mut Stream, reason: String) -> io::Result<()> {
    reply(stream, &FromNode::Refused { reason }).await
}

fn wish(done: Result<(), String>) -> FromNode {
    match done {
        Ok(()) => FromNode::Done,
        Err(reason) => FromNode::Refused { reason },
    }
}
