//! DescribeStatus: what a service is doing and why, down to its instances.

use super::{operation, revision};
use crate::api::apprunner::lookup;
use crate::api::apprunner::view::int;
use crate::api::call::Context;
use crate::api::failure;
use apron_model::idle::{self, Rung};
use apron_model::ids::{InstanceId, OperationId};
use apron_model::instance::{self, Exit, Health, Phase};
use apron_model::reconcile::Slot;
use apron_model::service::{Revision, Service, Status, status};
use apron_wire::Error;
use apron_wire::apron::{
    DescribeStatusRequest, DescribeStatusResponse, InstanceHealth, InstancePhase, InstanceStatus,
    OpenOperation, RevisionStatus, ServiceStatus, Waterfall,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// Who asks for the status when something hangs is to have an answer.
const NODE_WAIT_MAX: Duration = Duration::from_secs(1);

pub(super) async fn describe(
    context: Context<'_>,
    input: DescribeStatusRequest,
) -> Result<DescribeStatusResponse, Error> {
    let store = &context.platform.store;
    let service = lookup(context, &input.service_arn).await?;
    let revisions = store.revision_list(&service.id).await.map_err(failure::store)?;
    let slots = store.slot_list(&service.id).await.map_err(failure::store)?;
    let open = match &service.operation {
        None => None,
        Some(id) => open_operation(context, id).await?,
    };
    // The rest can be told without it.
    let standing = timeout(NODE_WAIT_MAX, context.platform.node.standing(&service.id)).await;
    let standing = standing.ok().and_then(Result::ok);
    let stand = standing.iter().flatten().filter(|one| !one.is_starting);
    let rungs: Rungs = stand.map(|one| (&one.instance, one.rung)).collect();
    let counts = standing.as_deref().map(idle::counts);
    let names = &context.platform.names;
    Ok(DescribeStatusResponse {
        status: service_status(status(&service)),
        reason: service.last_failure.clone(),
        url: service.config.public.then(|| names.url(&service)),
        revisions: revisions
            .iter()
            .map(|revision| revision_status(&service, revision, &slots, &rungs))
            .collect(),
        provisioned_instances: counts.map(|counts| int(counts.provisioned)),
        active_instances: counts.map(|counts| int(counts.active)),
        operation: open,
    })
}

async fn open_operation(context: Context<'_>, id: &OperationId) -> Result<Option<OpenOperation>, Error> {
    let row = context.platform.store.operation_get(id).await.map_err(failure::store)?;
    Ok(row.map(|row| OpenOperation {
        id: row.id.to_string(),
        r#type: operation::kind(row.kind),
        status: operation::status(row.status),
        step: row.step.as_str().to_owned(),
        reason: row.fault.map(|fault| fault.reason),
    }))
}

fn service_status(status: Status) -> ServiceStatus {
    match status {
        Status::CreateFailed => ServiceStatus::CreateFailed,
        Status::Running => ServiceStatus::Running,
        Status::Deleted => ServiceStatus::Deleted,
        Status::DeleteFailed => ServiceStatus::DeleteFailed,
        Status::Paused => ServiceStatus::Paused,
        Status::OperationInProgress => ServiceStatus::OperationInProgress,
    }
}

/// How far instances sleep.
type Rungs<'a> = BTreeMap<&'a InstanceId, Rung>;

fn revision_status(service: &Service, revision: &Revision, slots: &[Slot], rungs: &Rungs) -> RevisionStatus {
    RevisionStatus {
        number: int(revision.number),
        state: revision::state(service, revision, slots),
        image: revision.image.as_ref().map(ToString::to_string),
        commit: revision.commit.clone(),
        instances: slots
            .iter()
            .filter(|slot| slot.revision == revision.number)
            .map(|slot| instance_status(slot, rungs.get(&slot.id).copied()))
            .collect(),
    }
}

fn instance_status(slot: &Slot, rung: Option<Rung>) -> InstanceStatus {
    let rung = rung.map(super::idle::rung);
    let Some(fact) = &slot.fact else {
        return InstanceStatus {
            instance_id: slot.id.to_string(),
            phase: InstancePhase::Creating,
            health: InstanceHealth::Starting,
            reason: None,
            address: None,
            restarts: 0,
            rung,
            waterfall: Waterfall::default(),
        };
    };
    let (phase, phase_reason) = match &fact.phase {
        Phase::Creating => (InstancePhase::Creating, None),
        Phase::Running => (InstancePhase::Running, None),
        Phase::Exited(exit) => (InstancePhase::Exited, Some(exited(exit))),
        Phase::Failed(fault) => (InstancePhase::Failed, Some(fault.reason.clone())),
        Phase::Stopping => (InstancePhase::Stopping, None),
    };
    let (health, health_reason) = match &fact.health {
        Health::Starting { hint } => (InstanceHealth::Starting, hint.clone()),
        Health::Healthy => (InstanceHealth::Healthy, None),
        Health::Unhealthy { reason } => (InstanceHealth::Unhealthy, Some(reason.clone())),
    };
    // A container that runs again still says how the one before it ended.
    let before = || fact.last_exit.as_ref().map(|exit| format!("before: {}", exited(exit)));
    InstanceStatus {
        instance_id: slot.id.to_string(),
        phase,
        health,
        reason: phase_reason.or(health_reason).or_else(before),
        address: fact.address.map(|address| address.to_string()),
        restarts: int(fact.restarts),
        rung,
        waterfall: waterfall(&fact.waterfall),
    }
}

fn exited(exit: &Exit) -> String {
    match (exit.out_of_memory, exit.code, exit.signal) {
        _ if let Some(reason) = &exit.reason => reason.clone(),
        (true, ..) => "needed more memory than it has".to_owned(),
        (false, Some(code), _) => format!("ended with exit code {code}"),
        (false, None, Some(signal)) => format!("ended by signal {signal}"),
        (false, None, None) => "ended".to_owned(),
    }
}

fn waterfall(seen: &instance::Waterfall) -> Waterfall {
    Waterfall {
        queued_ms: seen.queued_ms.map(int),
        namespace_ms: seen.namespace_ms.map(int),
        mount_ms: seen.mount_ms.map(int),
        exec_ms: seen.exec_ms.map(int),
        listening_ms: seen.listening_ms.map(int),
        healthy_ms: seen.healthy_ms.map(int),
        first_byte_ms: seen.first_byte_ms.map(int),
    }
}
