//! Auto scaling configurations: revisions of a name, one of them the default of the region.

use super::resource::{self, Missing};
use super::{arn, view};
use crate::api::call::Context;
use crate::api::{failure, page};
use apron_model::resource::{AutoScaling, Body, Kind, Known, Resource};
use apron_store::ResourceFilter;
use apron_wire::Error;
use apron_wire::apprunner as wire;

const KIND: Kind = Kind::AutoScalingConfiguration;
/// Marks tokens of ListServicesForAutoScalingConfiguration.
const SERVICES_TOKEN: &str = "as";

pub(super) async fn create(
    context: Context<'_>,
    input: wire::CreateAutoScalingConfigurationRequest,
) -> Result<wire::CreateAutoScalingConfigurationResponse, Error> {
    let default = AutoScaling::default();
    // The decoder has checked the ranges, so nothing is lost.
    let number =
        |number: Option<i32>, default| number.map_or(default, |number| u32::try_from(number).unwrap_or(0));
    let min_size = number(input.min_size, default.min_size);
    let quota = context.platform.quotas.max_size();
    let body = Body::AutoScalingConfiguration(AutoScaling {
        max_concurrency: number(input.max_concurrency, default.max_concurrency),
        min_size,
        max_size: number(input.max_size, default.max_size.min(quota).max(min_size)),
    });
    let made = resource::create(context, &input.auto_scaling_configuration_name, input.tags, body).await?;
    Ok(wire::CreateAutoScalingConfigurationResponse { auto_scaling_configuration: shown(context, &made) })
}

pub(super) async fn describe(
    context: Context<'_>,
    input: wire::DescribeAutoScalingConfigurationRequest,
) -> Result<wire::DescribeAutoScalingConfigurationResponse, Error> {
    let known =
        resource::find(context, KIND, &input.auto_scaling_configuration_arn, Missing::NotFound).await?;
    Ok(wire::DescribeAutoScalingConfigurationResponse { auto_scaling_configuration: shown(context, &known) })
}

pub(super) async fn list(
    context: Context<'_>,
    input: wire::ListAutoScalingConfigurationsRequest,
) -> Result<wire::ListAutoScalingConfigurationsResponse, Error> {
    let filter = ResourceFilter {
        name: input.auto_scaling_configuration_name,
        latest_only: input.latest_only.unwrap_or(true),
        ..Default::default()
    };
    let (rows, next_token) =
        resource::list(context, KIND, &filter, input.max_results, input.next_token.as_deref()).await?;
    let auto_scaling_configuration_summary_list = rows.iter().map(|known| summary(context, known)).collect();
    Ok(wire::ListAutoScalingConfigurationsResponse { auto_scaling_configuration_summary_list, next_token })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: wire::DeleteAutoScalingConfigurationRequest,
) -> Result<wire::DeleteAutoScalingConfigurationResponse, Error> {
    let all = input.delete_all_revisions.unwrap_or(false);
    let deleted = resource::delete(context, KIND, &input.auto_scaling_configuration_arn, all).await?;
    let known = Known { resource: deleted, latest: false, in_use: false, is_default: false };
    Ok(wire::DeleteAutoScalingConfigurationResponse { auto_scaling_configuration: shown(context, &known) })
}

pub(super) async fn update_default(
    context: Context<'_>,
    input: wire::UpdateDefaultAutoScalingConfigurationRequest,
) -> Result<wire::UpdateDefaultAutoScalingConfigurationResponse, Error> {
    let arn = &input.auto_scaling_configuration_arn;
    let known = resource::change(context, KIND, arn, Missing::NotFound, |resource, writes| {
        writes.default_scaling = Some(resource.id.clone());
        Ok(())
    })
    .await?;
    let known = Known { is_default: true, ..known };
    Ok(wire::UpdateDefaultAutoScalingConfigurationResponse {
        auto_scaling_configuration: shown(context, &known),
    })
}

pub(super) async fn list_services(
    context: Context<'_>,
    input: wire::ListServicesForAutoScalingConfigurationRequest,
) -> Result<wire::ListServicesForAutoScalingConfigurationResponse, Error> {
    let known =
        resource::find(context, KIND, &input.auto_scaling_configuration_arn, Missing::NotFound).await?;
    let after = input.next_token.map(|token| page::service_cursor(SERVICES_TOKEN, &token)).transpose()?;
    let size = page::size(input.max_results);
    let rows = context
        .platform
        .store
        .service_list_for_scaling(context.region, &known.resource.id, after.as_ref(), size + 1)
        .await
        .map_err(failure::store)?;
    let (rows, next_token) = page::cut(rows, size, |last| page::service_token(SERVICES_TOKEN, last));
    let service_arn_list = rows.iter().map(|row| arn::summary(context, row)).collect();
    Ok(wire::ListServicesForAutoScalingConfigurationResponse { service_arn_list, next_token })
}

fn numbers(resource: &Resource) -> AutoScaling {
    match &resource.body {
        Body::AutoScalingConfiguration(numbers) => *numbers,
        other => unreachable!("a resource of this kind, not {other:?}"),
    }
}

fn status(resource: &Resource) -> wire::AutoScalingConfigurationStatus {
    match resource.is_active() {
        true => wire::AutoScalingConfigurationStatus::Active,
        false => wire::AutoScalingConfigurationStatus::Inactive,
    }
}

fn shown(context: Context<'_>, known: &Known) -> wire::AutoScalingConfiguration {
    let resource = &known.resource;
    let numbers = numbers(resource);
    wire::AutoScalingConfiguration {
        auto_scaling_configuration_arn: Some(arn::resource(context, resource)),
        auto_scaling_configuration_name: Some(resource.name.clone()),
        auto_scaling_configuration_revision: Some(view::int(resource.revision)),
        latest: Some(known.latest),
        status: Some(status(resource)),
        max_concurrency: Some(view::int(numbers.max_concurrency)),
        min_size: Some(view::int(numbers.min_size)),
        max_size: Some(view::int(numbers.max_size)),
        created_at: Some(view::seconds(resource.created_at)),
        deleted_at: resource.deleted_at.map(view::seconds),
        has_associated_service: Some(known.in_use),
        is_default: Some(known.is_default),
    }
}

fn summary(context: Context<'_>, known: &Known) -> wire::AutoScalingConfigurationSummary {
    let shown = shown(context, known);
    wire::AutoScalingConfigurationSummary {
        auto_scaling_configuration_arn: shown.auto_scaling_configuration_arn,
        auto_scaling_configuration_name: shown.auto_scaling_configuration_name,
        auto_scaling_configuration_revision: shown.auto_scaling_configuration_revision,
        status: shown.status,
        created_at: shown.created_at,
        has_associated_service: shown.has_associated_service,
        is_default: shown.is_default,
    }
}
