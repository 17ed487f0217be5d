//! The connection to control: tables in, acknowledgements and counts out.
//!
//! It is tried again for ever, and nothing that serves waits for it: a proxy without control goes on by its last
//! table. While the proxy drains the link stays, because control waits for the counts of the old instances.

use crate::observe::Common;
use crate::tables::{NotApplied, Tables};
use apron_model::ids::{Generation, ServiceId};
use apron_model::limits::{MESSAGE_BYTES_MAX, PROXY_STATUS_MS};
use apron_model::routes::{FromProxy, Load, PROTOCOL_VERSION, ToProxy};
use apron_model::scaling::SAMPLE_MS;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout};

/// Between two tries to connect: at first control is most likely restarting.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A peer on the same machine that does not take a message for this long hangs.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at lines, however they form.
const LINE_PAUSE: Duration = Duration::from_millis(10);
/// Messages of control that wait to be applied; then its socket is not read.
const MESSAGES_WAITING_MAX: usize = 2;

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("connection to control failed")]
    Io(#[from] io::Error),
    #[error("control closed the connection")]
    Closed,
    #[error("message of control is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    #[error("message of control is not understood")]
    NotUnderstood(#[from] serde_json::Error),
    #[error("control changes a table that is not the one here")]
    OtherBase(#[from] NotApplied),
    #[error("control refuses: {0}")]
    Refused(String),
}

/// Never ends by itself.
pub(crate) async fn run(socket: &Path, tables: &Tables, common: &Common) {
    let mut pause = PAUSE_MIN;
    let mut said = String::new();
    loop {
        let mut heard = false;
        if let Err(error) = session(socket, tables, common, &mut heard).await {
            if heard {
                pause = PAUSE_MIN;
                said.clear();
            }
            // The same reason again is no news.
            let reason = match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            };
            if reason != said {
                tracing::warn!(%reason, "no link to control, serving by the last table");
                said = reason;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One connection, until it breaks. `heard` turns true when control sent something valid.
async fn session(socket: &Path, tables: &Tables, common: &Common, heard: &mut bool) -> Result<(), LinkError> {
    let stream = UnixStream::connect(socket).await?;
    let (read, mut write) = stream.into_split();
    let (sender, mut messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    // Reading is a task of its own, because a line that is half read must survive the other branches below.
    let reader = tokio::spawn(async move {
        let mut read = BufReader::new(read);
        loop {
            let message = read_message(&mut read).await;
            let last = message.is_err();
            if sender.send(message).await.is_err() || last {
                return;
            }
        }
    });
    let _reader = AbortOnDrop(reader);

    let hello = FromProxy::Hello {
        version: PROTOCOL_VERSION,
        pid: std::process::id(),
        generation: tables.greeted_generation(),
        changes: true,
    };
    send(&mut write, &hello).await?;
    let (mut reported, mut told) = (None, Told::default());
    let mut tick = ticks(PROXY_STATUS_MS);
    let mut sample = ticks(SAMPLE_MS);
    loop {
        let generation = tables.acknowledged_generation();
        if reported != Some(generation) {
            send(&mut write, &FromProxy::Serving { generation }).await?;
            // An instance that this table took away and that answers nothing need not wait for the next tick.
            send(&mut write, &status(tables)).await?;
            reported = Some(generation);
        }
        tokio::select! {
            message = messages.recv() => match message.unwrap_or(Err(LinkError::Closed))? {
                ToProxy::Table(table) => {
                    *heard = true;
                    let generation = table.generation;
                    match tables.apply(table) {
                        Ok(()) => tracing::info!(?generation, "new route table"),
                        // After a reconnect control repeats the table that is served already.
                        Err(NotApplied::NotNewer { offered, served }) if offered == served => {}
                        Err(reason) => tracing::warn!(%reason, "route table refused"),
                    }
                }
                ToProxy::Change(change) => {
                    *heard = true;
                    let generation = change.generation;
                    // A new connection begins with the whole of it.
                    tables.change(&change)?;
                    tracing::info!(?generation, "route table changed");
                }
                ToProxy::Refused { reason } => return Err(LinkError::Refused(reason)),
            },
            () = tables.acknowledged() => {}
            _ = tick.tick() => send(&mut write, &status(tables)).await?,
            _ = sample.tick() => tell(&mut write, told.sample(tables, common)).await?,
            () = told.line_formed(tables) => tell(&mut write, told.lines(tables)).await?,
        }
    }
}

fn ticks(ms: u64) -> Interval {
    let mut ticks = interval(Duration::from_millis(ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn status(tables: &Tables) -> FromProxy {
    // Before the counts: what a loop lets in by an older table between the two is then counted.
    let generation = tables.acknowledged_generation();
    FromProxy::Status { generation, in_flight: tables.in_flight() }
}

/// What control was told of the load on one connection.
#[derive(Default)]
struct Told {
    load: HashMap<ServiceId, Load>,
    generation: Generation,
    /// As they were before what was told last.
    steps: Option<u64>,
    at: Option<Instant>,
}

impl Told {
    /// What is new of all services.
    fn sample(&mut self, tables: &Tables, common: &Common) -> BTreeMap<ServiceId, Load> {
        let snapshot = tables.snapshot();
        if snapshot.generation != self.generation {
            self.generation = snapshot.generation;
            self.load.retain(|id, _| snapshot.names(id));
        }
        let steps = Some(common.steps());
        // With thousands of services most moments are quiet, and a look at all of them is not free.
        if steps == self.steps && self.load.values().all(|load| load.in_flight == 0 && load.waiting == 0) {
            return BTreeMap::new();
        }
        self.steps = steps;
        tables.load(&mut self.load, None)
    }

    /// What is new of services in which lines have formed.
    fn lines(&mut self, tables: &Tables) -> BTreeMap<ServiceId, Load> {
        self.at = Some(Instant::now());
        tables.load(&mut self.load, Some(&tables.bell().services()))
    }

    /// Lines may come and go many times in a moment: control hears of the first, and of the others a little later.
    async fn line_formed(&self, tables: &Tables) {
        if let Some(at) = self.at {
            sleep_until(at + LINE_PAUSE).await;
        }
        tables.bell().heard().await;
    }
}

async fn tell(
    write: &mut (impl AsyncWrite + Unpin),
    news: BTreeMap<ServiceId, Load>,
) -> Result<(), LinkError> {
    if news.is_empty() { Ok(()) } else { send(write, &FromProxy::Load(news)).await }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read_message(read: &mut (impl AsyncBufReadExt + Unpin)) -> Result<ToProxy, LinkError> {
    let mut line = Vec::new();
    read.take(MESSAGE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).await?;
    match line.last() {
        Some(b'\n') => Ok(serde_json::from_slice(&line)?),
        _ if line.len() > MESSAGE_BYTES_MAX => Err(LinkError::TooLong),
        _ => Err(LinkError::Closed),
    }
}

async fn send(write: &mut (impl AsyncWrite + Unpin), message: &FromProxy) -> Result<(), LinkError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    match timeout(WRITE_TIMEOUT, write.write_all(&line)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(LinkError::Io(io::ErrorKind::TimedOut.into())),
    }
}
