//! DescribeOperation, CancelOperation and RetryOperation: how one operation stands or ended and why it failed, its end
//! before its time, and the same once more.

use crate::api::apprunner::view::seconds;
use crate::api::apprunner::{act, lookup, refused};
use crate::api::call::Context;
use crate::api::failure;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::{self, Call, Operation, OperationKind};
use apron_model::service::Action;
use apron_wire::Error;
use apron_wire::apron::{
    CancelOperationRequest, CancelOperationResponse, DescribeOperationRequest, DescribeOperationResponse,
    OperationStatus, OperationType, RetryOperationRequest, RetryOperationResponse,
};

pub(super) async fn describe(
    context: Context<'_>,
    input: DescribeOperationRequest,
) -> Result<DescribeOperationResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let row = find(context, &service.id, &input.operation_id).await?;
    let (reason, last_lines) = row.fault.map(|fault| (fault.reason, fault.last_lines)).unzip();
    Ok(DescribeOperationResponse {
        operation_id: row.id.to_string(),
        r#type: kind(row.kind),
        status: status(row.status),
        step: row.step.as_str().to_owned(),
        started_at: seconds(row.started_at.unwrap_or(row.created_at)),
        updated_at: seconds(row.updated_at),
        ended_at: row.ended_at.map(seconds),
        reason,
        last_lines: last_lines.unwrap_or_default(),
    })
}

pub(super) async fn cancel(
    context: Context<'_>,
    input: CancelOperationRequest,
) -> Result<CancelOperationResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let id = match &input.operation_id {
        None => None,
        Some(id) => Some(find(context, &service.id, id).await?.id),
    };
    let draw = context.platform.draw();
    let store = &context.platform.store;
    let cancelled = store
        .service_call(&service.id, draw.wall, |standing| operation::cancel(standing, id.as_ref(), &draw))
        .await
        .map_err(failure::store)?
        .ok_or_else(|| failure::not_found("The service is gone."))?
        .map_err(|error| refused(&input.service_arn, Action::Update, error))?;
    context.platform.hints.operation();
    Ok(CancelOperationResponse {
        operation_id: cancelled.operation.to_string(),
        status: status(cancelled.status),
    })
}

pub(super) async fn retry(
    context: Context<'_>,
    input: RetryOperationRequest,
) -> Result<RetryOperationResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let before = match &input.operation_id {
        Some(id) => find(context, &service.id, id).await?,
        None => {
            let last = context.platform.store.operation_list(&service.id, None, 1).await;
            let mut last = last.map_err(failure::store)?.operations;
            last.pop().ok_or_else(|| failure::not_found("The service has no operation that is kept."))?
        }
    };
    let called = act(context, &input.service_arn, &Call::Retry(Box::new(before))).await?;
    Ok(RetryOperationResponse { operation_id: called.operation.map(|id| id.to_string()) })
}

/// An operation of this service; ids of other services' operations are as good as unknown.
pub(super) async fn find(context: Context<'_>, service: &ServiceId, id: &str) -> Result<Operation, Error> {
    let found = context.platform.store.operation_get(&OperationId::new(id)).await.map_err(failure::store)?;
    found
        .filter(|row| row.service == *service)
        .ok_or_else(|| failure::not_found(format!("The service has no operation {id}.")))
}

pub(super) fn kind(kind: OperationKind) -> OperationType {
    match kind {
        OperationKind::CreateService => OperationType::CreateService,
        OperationKind::UpdateService => OperationType::UpdateService,
        OperationKind::StartDeployment => OperationType::StartDeployment,
        OperationKind::PauseService => OperationType::PauseService,
        OperationKind::ResumeService => OperationType::ResumeService,
        OperationKind::DeleteService => OperationType::DeleteService,
    }
}

pub(super) fn status(status: operation::OperationStatus) -> OperationStatus {
    match status {
        operation::OperationStatus::Pending => OperationStatus::Pending,
        operation::OperationStatus::InProgress => OperationStatus::InProgress,
        operation::OperationStatus::Succeeded => OperationStatus::Succeeded,
        operation::OperationStatus::Failed => OperationStatus::Failed,
        operation::OperationStatus::RollbackInProgress => OperationStatus::RollbackInProgress,
        operation::OperationStatus::RollbackSucceeded => OperationStatus::RollbackSucceeded,
    }
}
