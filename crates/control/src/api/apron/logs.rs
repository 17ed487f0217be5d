//! GetLogs: a page of a log, and the wait for the next one.

use super::operation;
use crate::api::apprunner::lookup;
use crate::api::apprunner::view::seconds;
use crate::api::call::Context;
use crate::api::{ending, failure};
use apron_model::ids::ServiceId;
use apron_model::limits;
use apron_telemetry::{Cursor, Logs, Page, Stream};
use apron_wire::Error;
use apron_wire::apron::{GetLogsRequest, GetLogsResponse, LogLine, LogStream};
use std::time::Duration;
use tokio::sync::watch;

/// Lines of one answer when the caller names no number.
const LINES: usize = 1_000;

pub(super) async fn get(
    context: Context<'_>,
    input: GetLogsRequest,
    shutdown: watch::Receiver<bool>,
) -> Result<GetLogsResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let stream = stream(context, &service.id, &input).await?;
    let asked = Asked { from: input.from, wait_s: input.wait_seconds, lines: input.max_lines };
    let page = page(context, &stream, asked, shutdown).await?;
    let (next, end) = (page.next.to_string(), page.end);
    Ok(GetLogsResponse { lines: lines(page), next, end })
}

/// Which part of a log; what is absent has a default.
pub(super) struct Asked {
    /// A cursor that an earlier page gave.
    pub(super) from: Option<String>,
    /// Seconds to wait where there is nothing new.
    pub(super) wait_s: Option<i32>,
    /// The most lines.
    pub(super) lines: Option<i32>,
}

/// A page of a log, after a wait for its lines if that was asked for.
///
/// # Errors
/// `InvalidRequestException` for a cursor that is none.
pub(super) async fn page(
    context: Context<'_>,
    stream: &Stream,
    asked: Asked,
    mut shutdown: watch::Receiver<bool>,
) -> Result<Page, Error> {
    let from = match &asked.from {
        None => Cursor::START,
        Some(text) => text
            .parse::<Cursor>()
            .map_err(|_| failure::invalid("From is not a cursor that this operation gave as Next."))?,
    };
    let max = asked.lines.and_then(|max| usize::try_from(max).ok()).map_or(LINES, |max| max.clamp(1, LINES));
    let wait_s = asked.wait_s.and_then(|s| u64::try_from(s).ok()).unwrap_or(0).min(limits::LOG_WAIT_S_MAX);

    let logs = &context.platform.logs;
    let mut page = read(logs, stream, from, max).await?;
    if wait_s > 0 && page.lines.is_empty() && !page.end {
        let waited = tokio::select! {
            waited = logs.wait(stream, from, Duration::from_secs(wait_s)) => waited,
            () = ending(&mut shutdown) => Ok(false),
        };
        if waited.map_err(failure::logs)? {
            page = read(logs, stream, from, max).await?;
        }
    }
    Ok(page)
}

async fn stream(context: Context<'_>, service: &ServiceId, input: &GetLogsRequest) -> Result<Stream, Error> {
    match (input.stream, &input.operation_id) {
        (LogStream::Events, None) => Ok(Stream::Events(service.clone())),
        (LogStream::Application, None) => Ok(Stream::Application(service.clone())),
        (LogStream::Deployment, Some(id)) => {
            let found = operation::find(context, service, id).await?;
            Ok(Stream::Deployment(service.clone(), found.id))
        }
        (LogStream::Deployment, None) => Err(failure::invalid("Stream DEPLOYMENT needs an OperationId.")),
        (LogStream::Events | LogStream::Application, Some(_)) => {
            Err(failure::invalid("OperationId goes with Stream DEPLOYMENT only."))
        }
    }
}

/// Reads on a thread that may wait for the disk.
async fn read(logs: &Logs, stream: &Stream, from: Cursor, max: usize) -> Result<Page, Error> {
    let (logs, stream) = (logs.clone(), stream.clone());
    let read = tokio::task::spawn_blocking(move || logs.read(&stream, from, max)).await;
    read.map_err(|_| failure::internal("The log could not be read."))?.map_err(failure::logs)
}

/// The lines of a page for its reader, who is told what he missed.
pub(super) fn lines(page: Page) -> Vec<LogLine> {
    let mut lines = Vec::with_capacity(page.lines.len() + 1);
    if page.dropped > 0 {
        lines.push(LogLine {
            timestamp: page.lines.first().map_or(0.0, |line| seconds(line.at)),
            source: "AppRunner".to_owned(),
            text: format!("({} earlier lines are no longer kept)", page.dropped),
        });
    }
    lines.extend(page.lines.into_iter().map(|line| LogLine {
        timestamp: seconds(line.at),
        source: line.source,
        text: line.text,
    }));
    lines
}
