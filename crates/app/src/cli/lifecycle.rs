//! `apron pause`, `resume`, `rm` and `image import`: one call each, watched to its end.

use super::client::Client;
use super::follow;
use super::progress::{Progress, print};
use super::upload;
use anyhow::{Context, Result, bail};
use apron_wire::apprunner::{DeleteServiceRequest, PauseServiceRequest, ResumeServiceRequest};
use apron_wire::apron::{DescribeStatusRequest, UploadKind};
use std::fs::File;
use std::path::Path;
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

pub(super) async fn import(client: &Client, path: &Path) -> Result<ExitCode> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a file; give an OCI or docker archive", path.display());
    }
    let total_mib = metadata.len() / 1_048_576;
    let progress = Progress::new("importing");
    let sent = |sent: u64| progress.message(format!("uploading {} of {total_mib} MiB", sent / 1_048_576));
    let imported = upload::upload(client, UploadKind::Image, &mut file, sent)
        .await
        .with_context(|| format!("cannot import {}", path.display()))?;
    drop(progress);
    for image in imported.images.unwrap_or_default() {
        print(&format!("{}  {}", image.name, image.digest));
    }
    Ok(ExitCode::SUCCESS)
}
