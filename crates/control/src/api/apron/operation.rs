//! DescribeOperation: how one operation stands or ended, and why it failed.

use crate::api::apprunner::lookup;
use crate::api::apprunner::view::seconds;
use crate::api::call::Context;
use crate::api::failure;
use apron_model::ids::{OperationId, ServiceId};
use apron_model::operation::{self, Operation, OperationKind};
use apron_wire::Error;
use apron_wire::apron::{
    DescribeOperationRequest, DescribeOperationResponse, OperationStatus, OperationType,
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
