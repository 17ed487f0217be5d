//! The audit log: one line for each call that presents an access key, also for those that are refused.
//!
//! A line is made when its call is over, however it ended: answered, refused, broken off by the client. It waits, small
//! as it is, for the task of its share, which writes it. What changed something has a share of the log to itself, a queue
//! and a writer, so that whoever asks all the time, or is refused all the time, pushes nothing of it out: a change takes
//! its place in the queue before it acts, and its line is handed to the system before its answer leaves. While the log
//! cannot be written no change begins; the lines of those that had begun are kept until it can. No other call waits for
//! its line, and none fails by it. What a caller says of himself counts once his signature is verified; until then the line
//! has the id that he presented and nothing more, and such lines are few. So are those of a key that calls too often, and
//! of one that reads this log on and on.

mod bounds;
mod line;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use writer::Writer;

use crate::clock::Clock;
use apron_model::limits;
use apron_model::time::WallTime;
use apron_telemetry::{Logs, Share};
use apron_wire::{Error, Target};
use line::{Call, Verified};
use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::{Entry, Missed};

/// A change's answer waits this long at most for its line, which takes well under a millisecond.
const WRITTEN_MS_MAX: u64 = 100;

/// Where calls leave their lines.
pub(super) struct Audit {
    changes: mpsc::Sender<Entry>,
    others: mpsc::Sender<Entry>,
    clock: Arc<dyn Clock>,
    /// Calls that found no place among the others.
    missed: Arc<Mutex<Missed>>,
    /// The share of changes could not be written when it was tried last.
    is_stuck: Arc<AtomicBool>,
}

/// Both ends of the queues.
pub(super) fn audit(logs: &Logs, clock: Arc<dyn Clock>) -> (Audit, [Writer; 2]) {
    let [changes, others] = [Share::Changes, Share::Others].map(|share| writer::queue(share, logs.clone()));
    let audit = Audit {
        changes: changes.0,
        others: others.0,
        clock,
        missed: Arc::clone(&others.1.missed),
        is_stuck: Arc::clone(&changes.1.is_stuck),
    };
    (audit, [changes.1, others.1])
}

/// One call while it goes on; dropped, it is a line.
pub(super) struct Record<'a> {
    audit: &'a Audit,
    call: Call,
    /// Of a call that may change something, from before it acts.
    place: Option<mpsc::OwnedPermit<Entry>>,
    /// Closed once the line is written.
    written: Option<oneshot::Sender<Infallible>>,
}

impl Audit {
    /// Begins the record of a call.
    pub(super) fn record(&self, request_id: String, source: IpAddr) -> Record<'_> {
        // A listener for both kinds of addresses writes the old ones as new ones.
        let call = Call { request_id, source: Some(source.to_canonical()), ..Call::default() };
        Record { audit: self, call, place: None, written: None }
    }

    fn misses(&self, at: WallTime) {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).add(at);
    }

    /// # Errors
    /// `ServiceUnavailable` while the lines of changes cannot be written.
    fn check(&self) -> Result<(), Error> {
        match self.is_stuck.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::service_unavailable(
                "The audit log cannot be written, perhaps because its disk is full; nothing was changed. Try again.",
            )),
        }
    }
}

impl Record<'_> {
    /// What the request claims: a key, and an operation, which may be none of ours.
    pub(super) fn claims(&mut self, key_id: Option<&str>, target: Option<Target>, named: Option<&str>) {
        let cut = |text: &str| text.chars().take(limits::AUDIT_CLAIM_CHARS_MAX).collect::<String>();
        self.call.key_id = key_id.map(cut);
        self.call.target = target;
        self.call.unknown_target = named.filter(|_| target.is_none()).map(cut);
    }

    /// The signature is that of this key.
    pub(super) fn verified(&mut self, key_name: &str, region: &str) {
        self.call.verified = Some(Verified { key_name: key_name.to_owned(), region: region.to_owned() });
    }

    /// The key calls too often.
    pub(super) fn throttled(&mut self) {
        self.call.is_throttled = true;
    }

    /// What came with a call that is admitted. Only what may be shown of it is kept.
    pub(super) fn sent(&mut self, body: &[u8]) {
        self.call.read(body);
    }

    /// The call may change something from now on.
    ///
    /// # Errors
    /// `ServiceUnavailable` when there is no place for its line within a time, or lines cannot be written.
    pub(super) async fn begins_change(&mut self, within: Duration) -> Result<(), Error> {
        self.audit.check()?;
        let place = tokio::time::timeout(within, self.audit.changes.clone().reserve_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or_else(|| {
            Error::service_unavailable("The audit log is behind; nothing was changed. Try again.")
        })?;
        self.audit.check()?;
        self.place = Some(place);
        Ok(())
    }

    /// The call has its answer; `error` is the code of a refusal. Waits, within bounds, for a change's line.
    pub(super) async fn answered(mut self, status: u16, error: Option<Cow<'static, str>>) {
        (self.call.status, self.call.error) = (Some(status), error);
        // It changed something, or may have: nothing says that it was refused.
        let has_changed = self.place.is_some() && !self.call.is_refused();
        let (written, line) = oneshot::channel();
        self.written = Some(written);
        drop(self);
        let written = Duration::from_millis(WRITTEN_MS_MAX);
        if has_changed && tokio::time::timeout(written, line).await.is_err() {
            tracing::warn!("a change is answered before its line is in the audit log");
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let mut call = std::mem::take(&mut self.call);
        call.at = self.audit.clock.wall();
        let Some(entry) = Entry::of(&call, self.written.take()) else { return };
        match self.place.take().filter(|_| !call.is_refused()) {
            Some(place) => {
                place.send(entry);
            }
            None if self.audit.others.try_send(entry).is_err() => self.audit.misses(call.at),
            None => {}
        }
    }
}
