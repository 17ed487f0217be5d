//! Long polls: calls that wait for news, each of which keeps a connection.

use super::shares::{Holder, Shares};
use super::{ending, failure};
use apron_telemetry::LogError;
use apron_wire::Error;
use std::sync::Arc;
use tokio::sync::watch;

/// What a call needs beside its input to wait.
pub(super) struct Poll {
    /// Of all polls.
    pub(super) places: Arc<Shares>,
    pub(super) key_id: String,
    /// True once the process is to end: long polls answer at once.
    pub(super) shutdown: watch::Receiver<bool>,
}

impl Poll {
    /// Waits for what `news` waits for. False when there is none, also because the process is about to end.
    ///
    /// # Errors
    /// `ServiceUnavailable` when so many calls of this key, or of all keys, wait already.
    pub(super) async fn wait(
        mut self,
        news: impl Future<Output = Result<bool, LogError>>,
    ) -> Result<bool, Error> {
        let _place = self.places.take(Holder::Key(self.key_id)).ok_or_else(|| {
            Error::service_unavailable(
                "Too many calls wait for log lines. Try again, or without WaitSeconds.",
            )
        })?;
        tokio::select! {
            news = news => news.map_err(failure::logs),
            () = ending(&mut self.shutdown) => Ok(false),
        }
    }
}
