//! `apron pause`, `resume` and `rm`: one call each, watched to its end.

use super::client::Client;
use super::follow;
use super::progress::{Progress, print};
use anyhow::{Result, bail};
use apron_wire::apprunner::{DeleteServiceRequest, PauseServiceRequest, ResumeServiceRequest};
use apron_wire::apron::DescribeStatusRequest;
use std::process::ExitCode;

pub(super) async fn pause(client: &Client, name: &str) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let answer = client.call(&PauseServiceRequest { service_arn: found.arn.clone() }).await?;
    let operation = answer.operation_id;
    wait(client, name, &found.arn, operation.as_deref(), "pausing", "was not paused").await?;
    print(&format!("{name} is paused"));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn resume(client: &Client, name: &str) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let answer = client.call(&ResumeServiceRequest { service_arn: found.arn.clone() }).await?;
    let operation = answer.operation_id;
    wait(client, name, &found.arn, operation.as_deref(), "resuming", "was not resumed").await?;
    let status = client.call(&DescribeStatusRequest { service_arn: found.arn }).await?;
    print(&status.url.unwrap_or_else(|| format!("{name} is running")));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn remove(client: &Client, name: &str) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let answer = client.call(&DeleteServiceRequest { service_arn: found.arn.clone() }).await?;
    wait(client, name, &found.arn, Some(&answer.operation_id), "deleting", "was not deleted").await?;
    print(&format!("{name} is deleted"));
    Ok(ExitCode::SUCCESS)
}

/// Waits for an operation, if one was begun; a service that was as asked already has none.
async fn wait(
    client: &Client,
    name: &str,
    arn: &str,
    operation: Option<&str>,
    doing: &str,
    not_done: &str,
) -> Result<()> {
    let Some(operation) = operation else { return Ok(()) };
    let _progress = Progress::new(format!("{doing} {name}"));
    let ended = follow::quietly(client, arn, operation).await?;
    if !ended.succeeded() {
        bail!("'{name}' {not_done}: {}", ended.because());
    }
    Ok(())
}
