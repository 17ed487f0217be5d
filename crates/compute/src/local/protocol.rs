//! What control and node say to each other over `run/node.sock`: JSON, one message per line.
//!
//! Both begin with `Hello` and their version. Then the client asks, one question after another on one
//! connection, and gets one answer for each; `Changes` and `Build` turn the rest of the connection into a
//! stream of their events. Closing the connection of a build cancels it.

use crate::driver::Output;
use apron_model::build::{BuildEvent, BuildSpec};
use apron_model::idle::Standing;
use apron_model::ids::{Generation, InstanceId, ServiceId};
use apron_model::instance::{InstanceSpec, Observed};
use apron_model::limits;
use apron_model::meter::{Handed, Taken};
use apron_model::scaling::Readings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

/// Version of the messages; a peer with another number is refused with both numbers in the reason.
pub const VERSION: u32 = 1;

/// From control to the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToNode {
    Hello {
        version: u32,
    },
    Ensure(Box<InstanceSpec>),
    Remove {
        id: InstanceId,
        grace_ms: u64,
    },
    List,
    /// Hints from now on.
    Changes,
    Output {
        id: InstanceId,
        from: u64,
    },
    Build(Box<BuildSpec>),
    ForgetService {
        id: ServiceId,
    },
    /// How the instances of a service stand on the idle ladder.
    Standing {
        service: ServiceId,
    },
    /// What the instances of these services use.
    Readings {
        services: Vec<ServiceId>,
    },
    /// What instances used since what was taken.
    Usage {
        taken: Option<Taken>,
    },
}

/// From the node to control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromNode {
    Hello {
        version: u32,
        /// The highest generation that the node has taken, so that control starts with an epoch above it.
        generation: Generation,
    },
    /// The wish is durable; for `Changes` and `Build`: the stream begins.
    Done,
    Refused {
        reason: String,
    },
    Instances(Vec<Observed>),
    Output(Output),
    /// Instances may have changed.
    Changed,
    /// This instance has new output.
    OutputGrew(InstanceId),
    Build(BuildEvent),
    Standing(Vec<Standing>),
    Readings(Readings),
    Usage(Handed),
}

/// Writes one message and its line end.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    if line.len() >= limits::MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is longer than allowed"));
    }
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

/// Reads one message; `None` when the peer closed the connection between two. `line` holds what has been read
/// of a message so far: a call that was cancelled goes on where it was, if it gets the same again.
pub async fn receive<T: DeserializeOwned>(
    stream: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<Option<T>> {
    loop {
        let available = stream.fill_buf().await?;
        if available.is_empty() {
            return match line.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        if line.len() + taken >= limits::MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is longer than allowed"));
        }
        line.extend_from_slice(&available[..taken]);
        stream.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            let message = serde_json::from_slice(line)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("no message of ours: {e}")));
            line.clear();
            return message.map(Some);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    async fn read(bytes: &[u8]) -> io::Result<Option<ToNode>> {
        receive(&mut BufReader::with_capacity(7, bytes), &mut Vec::new()).await
    }

    #[tokio::test]
    async fn messages_survive_the_way() {
        let messages = [
            ToNode::Hello { version: VERSION },
            ToNode::List,
            ToNode::Remove { id: InstanceId::new("a"), grace_ms: 5 },
            ToNode::Ensure(Box::new(crate::local::instance::wanted::tests::spec("a"))),
        ];
        let mut bytes = Vec::new();
        for message in &messages {
            send(&mut bytes, message).await.unwrap();
        }
        let mut stream = BufReader::with_capacity(7, &bytes[..]);
        let mut line = Vec::new();
        for message in messages {
            assert_eq!(receive(&mut stream, &mut line).await.unwrap(), Some(message));
        }
        assert_eq!(receive::<ToNode>(&mut stream, &mut line).await.unwrap(), None);
    }

    /// Every instance that there may be has failed, with all the text that may travel.
    #[tokio::test]
    async fn the_longest_list_fits() {
        use apron_model::instance::{self, Exit, Fault, Health, Observed, Phase, Waterfall};
        let ms = Some(u32::MAX);
        let nasty = "\"\\€".repeat(16 * 1024);
        let lines = instance::last_lines(&vec![&nasty; 100]);
        let exit = Exit {
            code: Some(i32::MIN),
            signal: Some(i32::MIN),
            out_of_memory: false,
            reason: Some("x".repeat(200)),
            last_lines: lines.clone(),
        };
        let observed = Observed {
            id: InstanceId::new("a".repeat(64)),
            generation: Generation { epoch: u64::MAX, counter: u64::MAX },
            address: "255.255.255.255:65535".parse().ok(),
            phase: Phase::Failed(Fault::transient(nasty.as_str())),
            health: Health::Unhealthy { reason: instance::reason(&nasty) },
            restarts: u32::MAX,
            last_exit: Some(exit),
            waterfall: Waterfall {
                queued_ms: ms,
                namespace_ms: ms,
                mount_ms: ms,
                exec_ms: ms,
                listening_ms: ms,
                healthy_ms: ms,
                first_byte_ms: ms,
            },
        };
        let list = FromNode::Instances(vec![observed; crate::local::instance::registry::INSTANCES_MAX]);
        let mut bytes = Vec::new();
        send(&mut bytes, &list).await.unwrap();
        assert!(bytes.len() < limits::MESSAGE_BYTES_MAX, "{}", bytes.len());
    }

    #[test]
    fn variables_are_not_shown() {
        let mut spec = crate::local::instance::wanted::tests::spec("a");
        spec.env.insert("TOKEN".to_owned(), "very-secret".to_owned());
        let shown = format!("{:?}", ToNode::Ensure(Box::new(spec)));
        assert!(shown.contains("TOKEN") && !shown.contains("very-secret"), "{shown}");
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        assert!(read(b"").await.unwrap().is_none());
        assert_eq!(read(b"\"lis").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read(b"{\"launch\":1}\n").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let endless = vec![b'x'; limits::MESSAGE_BYTES_MAX + 1];
        assert_eq!(read(&endless).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
