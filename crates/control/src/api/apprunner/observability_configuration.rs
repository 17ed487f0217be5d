//! Observability configurations: whether traces are collected. Services cannot use one yet, so all of this is
//! record keeping.

use super::resource::{self, Missing};
use super::{arn, view};
use crate::api::call::Context;
use apron_model::resource::{Body, Kind, Known};
use apron_store::ResourceFilter;
use apron_wire::Error;
use apron_wire::apprunner as wire;

const KIND: Kind = Kind::ObservabilityConfiguration;

pub(super) async fn create(
    context: Context<'_>,
    input: wire::CreateObservabilityConfigurationRequest,
) -> Result<wire::CreateObservabilityConfigurationResponse, Error> {
    let body = Body::ObservabilityConfiguration { traces: input.trace_configuration.is_some() };
    let made = resource::create(context, &input.observability_configuration_name, input.tags, body).await?;
    Ok(wire::CreateObservabilityConfigurationResponse { observability_configuration: shown(context, &made) })
}

pub(super) async fn describe(
    context: Context<'_>,
    input: wire::DescribeObservabilityConfigurationRequest,
) -> Result<wire::DescribeObservabilityConfigurationResponse, Error> {
    let known =
        resource::find(context, KIND, &input.observability_configuration_arn, Missing::NotFound).await?;
    Ok(wire::DescribeObservabilityConfigurationResponse {
        observability_configuration: shown(context, &known),
    })
}

pub(super) async fn list(
    context: Context<'_>,
    input: wire::ListObservabilityConfigurationsRequest,
) -> Result<wire::ListObservabilityConfigurationsResponse, Error> {
    let filter = ResourceFilter {
        name: input.observability_configuration_name,
        latest_only: input.latest_only.unwrap_or(true),
        ..Default::default()
    };
    let (rows, next_token) =
        resource::list(context, KIND, &filter, input.max_results, input.next_token.as_deref()).await?;
    let observability_configuration_summary_list = rows
        .iter()
        .map(|known| wire::ObservabilityConfigurationSummary {
            observability_configuration_arn: Some(arn::resource(context, &known.resource)),
            observability_configuration_name: Some(known.resource.name.clone()),
            observability_configuration_revision: Some(view::int(known.resource.revision)),
        })
        .collect();
    Ok(wire::ListObservabilityConfigurationsResponse { observability_configuration_summary_list, next_token })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: wire::DeleteObservabilityConfigurationRequest,
) -> Result<wire::DeleteObservabilityConfigurationResponse, Error> {
    let deleted = resource::delete(context, KIND, &input.observability_configuration_arn, false).await?;
    let known = Known { resource: deleted, latest: false, in_use: false, is_default: false };
    Ok(wire::DeleteObservabilityConfigurationResponse { observability_configuration: shown(context, &known) })
}

fn shown(context: Context<'_>, known: &Known) -> wire::ObservabilityConfiguration {
    let resource = &known.resource;
    let traces = matches!(resource.body, Body::ObservabilityConfiguration { traces: true });
    wire::ObservabilityConfiguration {
        observability_configuration_arn: Some(arn::resource(context, resource)),
        observability_configuration_name: Some(resource.name.clone()),
        trace_configuration: traces
            .then_some(wire::TraceConfiguration { vendor: wire::TracingVendor::Awsxray }),
        observability_configuration_revision: Some(view::int(resource.revision)),
        latest: Some(known.latest),
        status: Some(match resource.is_active() {
            true => wire::ObservabilityConfigurationStatus::Active,
            false => wire::ObservabilityConfigurationStatus::Inactive,
        }),
        created_at: Some(view::seconds(resource.created_at)),
        deleted_at: resource.deleted_at.map(view::seconds),
    }
}
