//! The tasks that write the lines, and what waits for them.

use super::bounds::{Bound, Quieted};
use super::line::{Call, remark};
use apron_model::limits;
use apron_model::time::WallTime;
use apron_telemetry::{Line, Logs, Share, Stream};
use apron_wire::time::iso_basic;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Calls of one write: so few that the log takes their lines in one piece, or none of them.
const BATCH_MAX: usize = 8;
/// Lines that the log refused are offered again after this time.
const PAUSE_MS: u64 = 500;

/// A call that is over.
pub(super) struct Entry {
    line: Line,
    bound: Bound,
    /// Closed once the line is written.
    written: Option<oneshot::Sender<Infallible>>,
}

impl Entry {
    /// None for a call that presents no key.
    pub(super) fn of(call: &Call, written: Option<oneshot::Sender<Infallible>>) -> Option<Entry> {
        Some(Entry { line: call.line()?, bound: call.bound(), written })
    }
}

/// Calls that found no place since a line said so.
#[derive(Default)]
pub(super) struct Missed {
    count: u64,
    first: WallTime,
    last: WallTime,
}

impl Missed {
    pub(super) fn add(&mut self, at: WallTime) {
        if self.count == 0 {
            self.first = at;
        }
        self.count += 1;
        self.last = at;
    }

    fn said(&self) -> Option<Line> {
        let [first, last] = [self.first, self.last].map(|at| iso_basic(at.0 / 1000));
        let count = self.count;
        (count > 0).then(|| {
            let said = format!(
                "{count} calls from {first} to {last} are not written down: they came faster than the log could be \
                 written"
            );
            remark(self.last, said)
        })
    }
}

/// Writes what calls left in one share.
pub(in crate::api) struct Writer {
    share: Share,
    calls: mpsc::Receiver<Entry>,
    pub(super) missed: Arc<Mutex<Missed>>,
    /// The log refused what was offered last.
    pub(super) is_stuck: Arc<AtomicBool>,
    logs: Logs,
}

/// The queue of a share, and who empties it.
pub(super) fn queue(share: Share, logs: Logs) -> (mpsc::Sender<Entry>, Writer) {
    let (to_calls, calls) = mpsc::channel(limits::AUDIT_QUEUE_MAX);
    (to_calls, Writer { share, calls, missed: Arc::default(), is_stuck: Arc::default(), logs })
}

impl Writer {
    /// Writes until no call can come any more.
    pub(in crate::api) async fn run(mut self) {
        let mut quieted = Quieted::default();
        let mut entries = Vec::with_capacity(BATCH_MAX);
        let mut now = WallTime::default();
        while self.calls.recv_many(&mut entries, BATCH_MAX).await > 0 {
            let mut lines = Vec::new();
            let mut waiting = Vec::with_capacity(BATCH_MAX);
            for Entry { line, bound, written } in entries.drain(..) {
                now = line.at;
                lines.extend(quieted.turn(now));
                lines.extend(quieted.admit(bound).then_some(line));
                waiting.push(written);
            }
            self.write(lines).await;
            drop(waiting);
        }
        self.write(quieted.end(now)).await;
    }

    /// Returns once the log has the lines. What comes meanwhile waits in the queue, and its bound is that of all.
    async fn write(&self, mut lines: Vec<Line>) {
        let missed = std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner));
        lines.extend(missed.said());
        if lines.is_empty() {
            return;
        }
        loop {
            match crate::blocking(|| self.logs.append_lines(&Stream::Audit(self.share), &lines)) {
                Ok(()) if !self.is_stuck.swap(false, Ordering::AcqRel) => return,
                Ok(()) => return tracing::info!(share = ?self.share, "the audit log is written again"),
                Err(error) if !self.is_stuck.swap(true, Ordering::AcqRel) => {
                    let error = crate::chain(&error);
                    tracing::error!(share = ?self.share, error, "the audit log cannot be written; it is tried again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }
}
