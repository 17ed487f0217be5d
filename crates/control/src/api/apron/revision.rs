//! ListRevisions, DescribeRevision and RollbackService: what a service has been, and back to it.

use crate::api::apprunner::view::{int, seconds};
use crate::api::apprunner::{act, lookup};
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_model::ids::RevisionNumber;
use apron_model::instance::HealthProtocol;
use apron_model::operation::Call;
use apron_model::reconcile::{Slot, SlotWish};
use apron_model::service::{CodeSource, RepositoryType, Revision, Service, Source};
use apron_wire::Error;
use apron_wire::apron::{
    ConfigurationSource, DescribeRevisionRequest, DescribeRevisionResponse, HealthCheckProtocol,
    ImageRepositoryType, ListRevisionsRequest, ListRevisionsResponse, RevisionAutoScaling,
    RevisionCodeRepository, RevisionConfiguration, RevisionHealthCheck, RevisionImageRepository,
    RevisionState, RevisionSummary, RollbackServiceRequest, RollbackServiceResponse,
};

/// Marks tokens of ListRevisions.
const TOKEN: &str = "r";

pub(super) async fn list(
    context: Context<'_>,
    input: ListRevisionsRequest,
) -> Result<ListRevisionsResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let cursor = |token: String| {
        let [before] = page::parse(TOKEN, &token)?;
        page::number(&before)
    };
    let before = input.next_token.map_or(Ok(RevisionNumber::MAX), cursor)?;
    let store = &context.platform.store;
    let mut rows = store.revision_list(&service.id).await.map_err(failure::store)?;
    let slots = store.slot_list(&service.id).await.map_err(failure::store)?;
    rows.retain(|row| row.number < before);
    let (rows, next_token) = page::cut(rows, page::size(input.max_results), |last| {
        page::token(TOKEN, &[&last.number.to_string()])
    });
    let revisions = rows.iter().map(|row| summary(&service, row, &slots)).collect();
    Ok(ListRevisionsResponse { revisions, next_token })
}

pub(super) async fn describe(
    context: Context<'_>,
    input: DescribeRevisionRequest,
) -> Result<DescribeRevisionResponse, Error> {
    let service = lookup(context, &input.service_arn).await?;
    let store = &context.platform.store;
    let row = store.revision_get(&service.id, number(input.revision)).await.map_err(failure::store)?;
    let row = row.ok_or_else(|| {
        failure::not_found(format!("The service has no revision {}, or not any more.", input.revision))
    })?;
    let slots = store.slot_list(&service.id).await.map_err(failure::store)?;
    let RevisionSummary { number, state, created_at, image, commit, served } =
        summary(&service, &row, &slots);
    let configuration = configuration(&row);
    Ok(DescribeRevisionResponse { number, state, created_at, image, commit, served, configuration })
}

pub(super) async fn roll_back(
    context: Context<'_>,
    input: RollbackServiceRequest,
) -> Result<RollbackServiceResponse, Error> {
    let arn = &input.service_arn;
    let service = lookup(context, arn).await?;
    let revisions = context.platform.store.revision_list(&service.id).await.map_err(failure::store)?;
    let named = input.revision.map(number);
    // Behind another operation it may become another.
    let by_default = || service.rollback_default(&revisions).filter(|_| service.operation.is_none());
    let wanted = named.or_else(by_default);
    // Housekeeping keeps what a row names, but somebody may have removed it by hand.
    let gone = |row: &&Revision| {
        let image = row.image.as_ref();
        Some(row.number) == wanted && image.is_some_and(|image| !context.platform.content.has(image))
    };
    if let Some(row) = revisions.iter().find(gone) {
        return Err(failure::invalid_state(format!(
            "The service cannot be rolled back to revision {}: its image is gone.",
            row.number
        )));
    }
    let called = act(context, arn, &Call::Rollback(named)).await?;
    match called.operation {
        Some(operation) => Ok(RollbackServiceResponse {
            operation_id: operation.to_string(),
            revision: called.revision.map(int),
        }),
        None => Err(failure::internal("The call was admitted without an operation.")),
    }
}

/// The decoder has checked that it is positive.
fn number(written: i32) -> RevisionNumber {
    RevisionNumber::try_from(written).unwrap_or(0)
}

fn summary(service: &Service, row: &Revision, slots: &[Slot]) -> RevisionSummary {
    RevisionSummary {
        number: int(row.number),
        state: state(service, row, slots),
        created_at: seconds(row.created_at),
        image: row.image.as_ref().map(ToString::to_string),
        commit: row.commit.clone(),
        served: row.served,
    }
}

/// What a revision is for. `slots` are those of its service, of other revisions too.
pub(super) fn state(service: &Service, revision: &Revision, slots: &[Slot]) -> RevisionState {
    let number = Some(revision.number);
    let mut own = slots.iter().filter(|slot| slot.revision == revision.number);
    if service.active == number {
        RevisionState::Active
    } else if service.candidate == number {
        RevisionState::Candidate
    } else if own.any(|slot| matches!(slot.wish, SlotWish::Drain { .. })) {
        RevisionState::Draining
    } else if !revision.served {
        RevisionState::Failed
    } else {
        RevisionState::Previous
    }
}

fn configuration(row: &Revision) -> RevisionConfiguration {
    let config = &row.config;
    let (code, image) = match &config.source {
        Source::Code(source) => (Some(code(source)), None),
        Source::Image(source) => {
            let kind = match source.repository_type {
                RepositoryType::Ecr => ImageRepositoryType::Ecr,
                RepositoryType::EcrPublic => ImageRepositoryType::EcrPublic,
            };
            let identifier = source.identifier.clone();
            let image = RevisionImageRepository { image_identifier: identifier, image_repository_type: kind };
            (None, Some(image))
        }
    };
    let tags = row.run.as_ref().map(|run| run.tags).unwrap_or_default();
    let size = tags.size(config.size);
    let (protocol, path) = match &config.health.protocol {
        HealthProtocol::Tcp => (HealthCheckProtocol::Tcp, None),
        HealthProtocol::Http { path } => (HealthCheckProtocol::Http, Some(path.clone())),
    };
    RevisionConfiguration {
        code_repository: code,
        image_repository: image,
        auto_deployments_enabled: config.auto_deployments,
        start_command: row.run.as_ref().and_then(|run| run.start_command.clone()),
        port: row.run.as_ref().map(|run| i32::from(run.port)),
        runtime_environment_variables: row.run.as_ref().map(|run| run.env.clone()),
        cpu: int(size.cpu_units),
        memory: int(size.memory_mib),
        health_check: RevisionHealthCheck {
            protocol,
            path,
            interval: int(config.health.interval_s),
            timeout: int(config.health.timeout_s),
            healthy_threshold: int(config.health.healthy_threshold),
            unhealthy_threshold: int(config.health.unhealthy_threshold),
            grace_seconds: int(tags.health_check_grace_s),
        },
        auto_scaling: RevisionAutoScaling {
            auto_scaling_configuration_arn: config.scaling.arn.clone(),
            max_concurrency: int(config.scaling.max_concurrency),
            min_size: int(config.scaling.min_size),
            max_size: int(config.scaling.max_size),
        },
        instance_role_arn: config.instance_role_arn.clone(),
        access_role_arn: config.access_role_arn.clone(),
        connection_arn: config.connection_arn.clone(),
    }
}

fn code(source: &CodeSource) -> RevisionCodeRepository {
    RevisionCodeRepository {
        repository_url: source.repository_url.clone(),
        branch: source.branch.clone(),
        source_directory: source.source_directory.clone(),
        configuration_source: match source.from_file {
            true => ConfigurationSource::Repository,
            false => ConfigurationSource::Api,
        },
        runtime: source.values.as_ref().map(|values| values.runtime.clone()),
        build_command: source.values.as_ref().and_then(|values| values.build_command.clone()),
    }
}
