//! `apron logs`: what the application wrote, what a deployment did, or what happened to the service.

use super::client::Client;
use super::progress::{is_read, printable};
use super::show::time;
use anyhow::{Result, bail};
use apron_wire::apprunner::ListOperationsRequest;
use apron_wire::apron::{GetLogsRequest, LogLine, LogStream};
use std::process::ExitCode;

const LINES_PER_CALL: i32 = 1_000;
/// The longest poll that the API offers.
const POLL_S: i32 = 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    name: String,
    /// Go on as lines come
    #[arg(short, long)]
    follow: bool,
    /// The latest deployment in place of the application
    #[arg(long, conflicts_with = "events")]
    deployment: bool,
    /// What happened to the service in place of the application
    #[arg(long)]
    events: bool,
}

pub(super) async fn run(client: &Client, arguments: Arguments) -> Result<ExitCode> {
    let found = client.named(&arguments.name).await?;
    let stream = match (arguments.deployment, arguments.events) {
        (true, _) => LogStream::Deployment,
        (_, true) => LogStream::Events,
        (false, false) => LogStream::Application,
    };
    let mut input = GetLogsRequest::new(found.arn.clone(), stream);
    input.max_lines = Some(LINES_PER_CALL);
    if arguments.deployment {
        let page = client.call(&ListOperationsRequest::new(found.arn)).await?;
        let newest = page.operation_summary_list.unwrap_or_default().into_iter().next();
        let Some(id) = newest.and_then(|row| row.id) else {
            bail!("'{}' has had no operation yet", arguments.name)
        };
        input.operation_id = Some(id);
    }
    loop {
        // Who follows stays over a restart of the platform.
        let page = if arguments.follow { client.ask(&input).await? } else { client.call(&input).await? };
        if !page.lines.iter().all(|line| show(line, stream)) {
            return Ok(ExitCode::SUCCESS);
        }
        let quiet = page.lines.is_empty();
        if page.end || (quiet && !arguments.follow) {
            return Ok(ExitCode::SUCCESS);
        }
        // Only at the end of what there is does waiting make sense.
        input.wait_seconds = (quiet && arguments.follow).then_some(POLL_S);
        input.from = Some(page.next);
    }
}

/// False once nobody reads any more.
fn show(line: &LogLine, stream: LogStream) -> bool {
    let at = time(line.timestamp);
    let text = printable(&line.text);
    match stream {
        LogStream::Application => {
            let source: String = printable(&line.source).chars().take(8).collect();
            is_read(&format!("{at} {source} {text}"))
        }
        LogStream::Deployment | LogStream::Events => is_read(&format!("{at} {text}")),
    }
}
