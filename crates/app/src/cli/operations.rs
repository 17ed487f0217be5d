//! `apron cancel`, `rollback` and `retry`: an operation's end before its time, back to an earlier revision, and the
//! same once more.

use super::client::Client;
use super::follow;
use super::progress::{Progress, print};
use anyhow::{Result, bail};
use apron_wire::apron::{
    CancelOperationRequest, DescribeStatusRequest, RetryOperationRequest, RollbackServiceRequest,
    ServiceStatus,
};
use std::process::ExitCode;

pub(super) async fn cancel(client: &Client, name: &str) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let asked = CancelOperationRequest { service_arn: found.arn.clone(), operation_id: None };
    let answer = client.call(&asked).await?;
    let ended = {
        let _progress = Progress::new(format!("cancelling the operation of {name}"));
        follow::quietly(client, &found.arn, &answer.operation_id).await?
    };
    print(&format!(
        "the operation {} of {name} ended as {}: {}",
        answer.operation_id,
        ended.status,
        ended.because()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn roll_back(client: &Client, name: &str, revision: Option<i32>) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let answer = client.call(&RollbackServiceRequest { service_arn: found.arn.clone(), revision }).await?;
    let goal = answer.revision.map_or("what serves before".to_owned(), |number| format!("revision {number}"));
    let ended = {
        let progress = Progress::new(format!("rolling {name} back to {goal}"));
        follow::deployment(client, &found.arn, &answer.operation_id, &progress).await?
    };
    if !ended.succeeded() {
        bail!("'{name}' was not rolled back to {goal}: {}", ended.because());
    }
    shown(client, name, &found.arn).await
}

pub(super) async fn retry(client: &Client, name: &str) -> Result<ExitCode> {
    let found = client.named(name).await?;
    let asked = RetryOperationRequest { service_arn: found.arn.clone(), operation_id: None };
    if let Some(operation) = client.call(&asked).await?.operation_id {
        let progress = Progress::new(format!("repeating the last operation of {name}"));
        let ended = follow::deployment(client, &found.arn, &operation, &progress).await?;
        if !ended.succeeded() {
            bail!("the operation of '{name}' did not succeed this time either: {}", ended.because());
        }
    }
    shown(client, name, &found.arn).await
}

/// Where the service is reached now.
async fn shown(client: &Client, name: &str, arn: &str) -> Result<ExitCode> {
    let status = client.call(&DescribeStatusRequest { service_arn: arn.to_owned() }).await?;
    match (status.status, status.url) {
        (ServiceStatus::Running, Some(url)) => print(&url),
        (status, _) => print(&format!("{name} is {status}")),
    }
    Ok(ExitCode::SUCCESS)
}
