//! GetLogs: a page of a log, and the wait for the next one.

use super::operation;
use crate::api::apprunner::lookup;
use crate::api::apprunner::view::seconds;
use crate::api::call::Context;
use crate::api::failure;
use crate::api::poll::Poll;
use apron_model::ids::ServiceId;
use apron_model::limits;
use apron_telemetry::{Cursor, Line, Logs, Page, Stream};
use apron_wire::Error;
use apron_wire::apron::{GetLogsRequest, GetLogsResponse, LogLine, LogStream};
use std::time::Duration;

/// Lines of one answer when the caller names no number.
const LINES: usize = 1_000;

pub(super) async fn get(
    context: Context<'_>,
    input: GetLogsRequest,
    poll: Poll,
) -> Result<GetLogsResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let stream = stream(context, &service.id, &input).await?;
    let from = input.from.as_deref().map_or(Ok(Cursor::START), cursor)?;
    let asked = Asked { wait_s: input.wait_seconds, lines: input.max_lines };
    let page = page(context, &stream, from, asked, poll).await?;
    let next = page.next.to_string();
    Ok(GetLogsResponse { lines: lines(page.lines, page.dropped), next, end: page.end })
}

/// How much of a log; what is absent has a default.
pub(super) struct Asked {
    /// Seconds to wait where there is nothing new.
    pub(super) wait_s: Option<i32>,
    /// The most lines.
    pub(super) lines: Option<i32>,
}

impl Asked {
    pub(super) fn wait(&self) -> Duration {
        let seconds = self.wait_s.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
        Duration::from_secs(seconds.min(limits::LOG_WAIT_S_MAX))
    }

    pub(super) fn max(&self) -> usize {
        self.lines.and_then(|max| usize::try_from(max).ok()).map_or(LINES, |max| max.clamp(1, LINES))
    }
}

/// A cursor that an earlier page gave.
///
/// # Errors
/// `InvalidRequestException` for one that is none.
pub(super) fn cursor(text: &str) -> Result<Cursor, Error> {
    text.parse().map_err(|_| failure::invalid("From is not a cursor that this operation gave as Next."))
}

/// A page of a log, after a wait for its lines if that was asked for.
async fn page(
    context: Context<'_>,
    stream: &Stream,
    from: Cursor,
    asked: Asked,
    poll: Poll,
) -> Result<Page, Error> {
    let logs = &context.platform.logs;
    let mut page = read(logs, stream, from, asked.max()).await?;
    if page.lines.is_empty()
        && !page.end
        && !asked.wait().is_zero()
        && poll.wait(logs.wait(stream, from, asked.wait())).await?
    {
        page = read(logs, stream, from, asked.max()).await?;
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
pub(super) async fn read(logs: &Logs, stream: &Stream, from: Cursor, max: usize) -> Result<Page, Error> {
    let (logs, stream) = (logs.clone(), stream.clone());
    let read = tokio::task::spawn_blocking(move || logs.read(&stream, from, max)).await;
    read.map_err(|_| failure::internal("The log could not be read."))?.map_err(failure::logs)
}

/// The lines of a page for its reader, who is told how many he missed.
pub(super) fn lines(page: Vec<Line>, dropped: u64) -> Vec<LogLine> {
    let mut lines = Vec::with_capacity(page.len() + 1);
    if dropped > 0 {
        lines.push(LogLine {
            timestamp: page.first().map_or(0.0, |line| seconds(line.at)),
            source: "AppRunner".to_owned(),
            text: format!("({dropped} earlier lines are no longer kept)"),
        });
    }
    lines.extend(page.into_iter().map(|line| LogLine {
        timestamp: seconds(line.at),
        source: line.source,
        text: line.text,
    }));
    lines
}
