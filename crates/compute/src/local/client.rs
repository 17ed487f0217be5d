//! The driver of this machine as control sees it: every call goes to the node's socket.

use crate::driver::{Can, Driver, DriverError, Hint, Output};
use crate::local::protocol::{self, FromNode, ToNode};
use apron_model::build::{BuildEvent, BuildSpec};
use apron_model::idle::Standing;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::instance::{Fault, InstanceSpec, Observed};
use apron_model::meter::{Handed, Taken};
use apron_model::scaling::Readings;
use futures_util::Stream;
use futures_util::stream::unfold;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Connecting and greeting; a node that lives does it in less than a millisecond.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// One question. A wish is answered when it is on disk, which a busy disk can delay.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Speaks to the node of one data directory, with a connection of its own for each call: there is nothing to
/// repair after the node was restarted.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// A connection after the greeting.
struct Connection {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
    generation: Generation,
}

impl Client {
    /// `socket` is `<data>/run/node.sock`; it need not exist yet.
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// The highest generation that the node has taken.
    pub async fn generation(&self) -> Result<Generation, DriverError> {
        Ok(self.connect().await?.generation)
    }

    async fn connect(&self) -> Result<Connection, DriverError> {
        timeout(GREETING_TIMEOUT, greet(&self.socket))
            .await
            .unwrap_or_else(|_| Err(unreachable("no greeting in 2 s")))
    }

    async fn ask(&self, question: &ToNode) -> Result<FromNode, DriverError> {
        let mut connection = self.connect().await?;
        connection.ask(question).await
    }

    async fn wish(&self, question: &ToNode) -> Result<(), DriverError> {
        match self.ask(question).await? {
            FromNode::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// A connection whose further messages are a stream of events.
    async fn stream(&self, question: &ToNode) -> Result<Connection, DriverError> {
        let mut connection = self.connect().await?;
        match connection.ask(question).await? {
            FromNode::Done => Ok(connection),
            other => Err(unexpected(&other)),
        }
    }
}

async fn greet(socket: &Path) -> Result<Connection, DriverError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|e| unreachable(format_args!("cannot connect to {}: {e}", socket.display())))?;
    let mut connection =
        Connection { stream: BufReader::new(stream), line: Vec::new(), generation: Generation::default() };
    match connection.ask(&ToNode::Hello { version: protocol::VERSION }).await? {
        FromNode::Hello { generation, version } if version == protocol::VERSION => {
            connection.generation = generation;
            Ok(connection)
        }
        other => Err(unexpected(&other)),
    }
}

impl Connection {
    async fn ask(&mut self, question: &ToNode) -> Result<FromNode, DriverError> {
        let answered = timeout(ANSWER_TIMEOUT, async {
            protocol::send(&mut self.stream, question).await?;
            protocol::receive(&mut self.stream, &mut self.line).await
        });
        match answered.await {
            Ok(Ok(Some(FromNode::Refused { reason }))) => Err(DriverError::Refused(reason)),
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => Err(unreachable("the connection was closed")),
            Ok(Err(error)) => Err(unreachable(error)),
            Err(_) => Err(unreachable("no answer in 20 s")),
        }
    }

    async fn next(&mut self) -> Result<FromNode, String> {
        match protocol::receive(&mut self.stream, &mut self.line).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err("the connection was closed".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn unreachable(reason: impl std::fmt::Display) -> DriverError {
    DriverError::Unreachable(format!("the node ({reason})"))
}

fn unexpected(answer: &FromNode) -> DriverError {
    let name = match answer {
        FromNode::Hello { version, .. } => {
            return DriverError::Refused(format!(
                "the node speaks version {version} of the protocol, control speaks {}",
                protocol::VERSION
            ));
        }
        FromNode::Done => "done",
        FromNode::Refused { reason } => return DriverError::Refused(reason.clone()),
        FromNode::Instances(_) => "instances",
        FromNode::Output(_) => "output",
        FromNode::Changed => "changed",
        FromNode::OutputGrew(_) => "output grew",
        FromNode::Build(_) => "build",
        FromNode::Standing(_) => "standing",
        FromNode::Readings(_) => "readings",
        FromNode::Usage(_) => "usage",
    };
    unreachable(format_args!("it gave an answer to another question: {name}"))
}

impl Driver for Client {
    fn can(&self) -> Can {
        Can { resize_in_place: true, stable_addresses: true }
    }

    async fn ensure(&self, want: &InstanceSpec) -> Result<(), DriverError> {
        self.wish(&ToNode::Ensure(Box::new(want.clone()))).await
    }

    async fn remove(&self, id: &InstanceId, grace: Duration) -> Result<(), DriverError> {
        self.wish(&ToNode::Remove { id: id.clone(), grace_ms: grace.as_millis() as u64 }).await
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        match self.ask(&ToNode::List).await? {
            FromNode::Instances(instances) => Ok(instances),
            other => Err(unexpected(&other)),
        }
    }

    async fn changes(&self) -> Result<impl Stream<Item = Hint> + Send, DriverError> {
        let connection = self.stream(&ToNode::Changes).await?;
        Ok(Box::pin(unfold(connection, async |mut connection| {
            let hint = match connection.next().await.ok()? {
                FromNode::Changed => Hint::Instances,
                FromNode::OutputGrew(id) => Hint::Output(id),
                FromNode::Hello { .. }
                | FromNode::Done
                | FromNode::Refused { .. }
                | FromNode::Instances(_)
                | FromNode::Output(_)
                | FromNode::Build(_)
                | FromNode::Standing(_)
                | FromNode::Readings(_)
                | FromNode::Usage(_) => return None,
            };
            Some((hint, connection))
        })))
    }

    async fn output(&self, id: &InstanceId, from: u64) -> Result<Output, DriverError> {
        match self.ask(&ToNode::Output { id: id.clone(), from }).await? {
            FromNode::Output(output) => Ok(output),
            other => Err(unexpected(&other)),
        }
    }

    async fn standing(&self, service: &ServiceId) -> Result<Vec<Standing>, DriverError> {
        match self.ask(&ToNode::Standing { service: service.clone() }).await? {
            FromNode::Standing(standing) => Ok(standing),
            other => Err(unexpected(&other)),
        }
    }

    async fn readings(&self, services: &[ServiceId]) -> Result<Readings, DriverError> {
        match self.ask(&ToNode::Readings { services: services.to_vec() }).await? {
            FromNode::Readings(readings) => Ok(readings),
            other => Err(unexpected(&other)),
        }
    }

    async fn usage(&self, taken: Option<&Taken>) -> Result<Handed, DriverError> {
        match self.ask(&ToNode::Usage { taken: taken.cloned() }).await? {
            FromNode::Usage(handed) => Ok(handed),
            other => Err(unexpected(&other)),
        }
    }

    async fn forget_service(&self, id: &ServiceId) -> Result<(), DriverError> {
        self.wish(&ToNode::ForgetService { id: id.clone() }).await
    }

    async fn build(&self, spec: &BuildSpec) -> Result<impl Stream<Item = BuildEvent> + Send, DriverError> {
        Ok(build_events(self.stream(&ToNode::Build(Box::new(spec.clone()))).await?))
    }
}

/// Where the connection breaks the stream ends without a result: that is no failure of the build.
fn build_events(connection: Connection) -> impl Stream<Item = BuildEvent> + Send {
    Box::pin(unfold(Some(connection), async |connection| {
        let mut connection = connection?;
        let event = match connection.next().await {
            Ok(FromNode::Build(event)) => event,
            Ok(other) => failed(unexpected(&other)),
            Err(reason) => {
                tracing::warn!(reason, "the connection of a build broke");
                return None;
            }
        };
        let last = matches!(event, BuildEvent::Done { .. } | BuildEvent::Failed { .. });
        Some((event, (!last).then_some(connection)))
    }))
}

fn failed(error: DriverError) -> BuildEvent {
    BuildEvent::Failed { fault: Fault::transient(error.to_string()), built_ms: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test]
    async fn a_node_that_goes_is_no_failure_of_its_builds() {
        let (stream, node) = UnixStream::pair().unwrap();
        let (stream, generation) = (BufReader::new(stream), Generation::default());
        let events = build_events(Connection { stream, line: Vec::new(), generation });
        let mut node = BufReader::new(node);
        let line = BuildEvent::Line("compiling".to_owned());
        protocol::send(&mut node, &FromNode::Build(line.clone())).await.unwrap();
        drop(node);
        assert_eq!(events.collect::<Vec<_>>().await, [line]);
    }
}
