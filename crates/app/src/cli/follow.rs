//! Watches an operation to its end: prints its log as it grows, then says how it ended.

use super::client::Client;
use super::progress::{Progress, printable};
use anyhow::{Result, bail};
use apron_model::limits;
use apron_wire::apron::{DescribeOperationRequest, GetLogsRequest, LogStream, OperationStatus};
use std::time::Duration;

/// Every wait of an operation has a deadline; together they stay below this, however many wait before it.
const FOLLOW_MS_MAX: u64 = OPERATION_MS_MAX * (limits::OPERATIONS_QUEUED_MAX as u64 + 1);
const OPERATION_MS_MAX: u64 = limits::BUILD_MS_MAX * 2
    + limits::BECOME_HEALTHY_MS * 4
    + limits::HEALTH_CHECK_GRACE_S_MAX as u64 * 1_000;
/// One long poll; short enough that an end without a last line shows soon.
const POLL_S: i32 = 2;
const LINES_PER_CALL: i32 = 1_000;
/// Between looks at an operation that writes no log.
const LOOK_MS: u64 = 200;

/// Exit code after Ctrl-C, as shells have it: 128 and the signal's number.
pub(crate) const INTERRUPTED: u8 = 130;

/// The user waits no longer. The operation belongs to the platform.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; the platform goes on with the operation, as 'apron status' shows")]
pub(crate) struct Interrupted;

/// How an operation ended.
pub(crate) struct Ended {
    pub status: OperationStatus,
    /// Why it did not succeed.
    pub reason: Option<String>,
}

impl Ended {
    pub(crate) fn succeeded(&self) -> bool {
        self.status == OperationStatus::Succeeded
    }

    /// The reason as the end of a sentence.
    pub(crate) fn because(&self) -> String {
        self.reason.clone().unwrap_or_else(|| format!("the operation ended as {}", self.status))
    }
}

/// Prints the deployment log of an operation until it has ended.
pub(crate) async fn deployment(
    client: &Client,
    arn: &str,
    operation: &str,
    progress: &Progress,
) -> Result<Ended> {
    let mut input = GetLogsRequest::new(arn, LogStream::Deployment);
    input.operation_id = Some(operation.to_owned());
    input.wait_seconds = Some(POLL_S);
    input.max_lines = Some(LINES_PER_CALL);
    let followed = async {
        let mut ended = None;
        loop {
            let page = client.ask(&input).await?;
            for line in &page.lines {
                let text = printable(&line.text);
                progress.line(&text);
                progress.message(text);
            }
            let quiet = page.lines.is_empty();
            input.from = Some(page.next);
            // The log of an ended operation is read to its end: lines are written after the row.
            match ended {
                Some(ended) if quiet || page.end => return Ok::<_, anyhow::Error>(ended),
                Some(_) => {}
                None => ended = look(client, arn, operation).await?,
            }
        }
    };
    bounded(followed).await
}

/// Waits for an operation's end without printing anything.
pub(crate) async fn quietly(client: &Client, arn: &str, operation: &str) -> Result<Ended> {
    let watched = async {
        loop {
            if let Some(ended) = look(client, arn, operation).await? {
                return Ok(ended);
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    };
    bounded(watched).await
}

async fn bounded(work: impl Future<Output = Result<Ended>>) -> Result<Ended> {
    tokio::select! {
        ended = work => ended,
        () = tokio::time::sleep(Duration::from_millis(FOLLOW_MS_MAX)) => {
            bail!("the operation has not ended within {} minutes", FOLLOW_MS_MAX / 60_000)
        }
        // Without signals there is nothing to hear, and the wait goes on.
        Ok(()) = tokio::signal::ctrl_c() => Err(Interrupted.into()),
    }
}

/// The end of an operation, if it has come.
async fn look(client: &Client, arn: &str, operation: &str) -> Result<Option<Ended>> {
    let input = DescribeOperationRequest { service_arn: arn.to_owned(), operation_id: operation.to_owned() };
    let seen = client.ask(&input).await?;
    Ok(match seen.status {
        OperationStatus::Pending | OperationStatus::InProgress | OperationStatus::RollbackInProgress => None,
        OperationStatus::Succeeded
        | OperationStatus::Failed
        | OperationStatus::RollbackFailed
        | OperationStatus::RollbackSucceeded => Some(Ended { status: seen.status, reason: seen.reason }),
    })
}
