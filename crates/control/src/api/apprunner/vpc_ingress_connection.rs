//! VPC ingress connections: recorded whole, one for each service. A service that is to be reached through one
//! alone (`IsPubliclyAccessible` false) is refused, because nothing serves privately yet.

use super::resource::{self, Missing};
use super::{arn, find, gone, view};
use crate::api::call::Context;
use crate::api::failure;
use apron_model::ids::ServiceId;
use apron_model::resource::{Body, Kind, Resource, VpcIngressConnection};
use apron_store::{ResourceFilter, ServiceSummary};
use apron_wire::Error;
use apron_wire::apprunner as wire;

const KIND: Kind = Kind::VpcIngressConnection;

pub(super) async fn create(
    context: Context<'_>,
    input: wire::CreateVpcIngressConnectionRequest,
) -> Result<wire::CreateVpcIngressConnectionResponse, Error> {
    let service = find(context, &input.service_arn, Missing::Invalid).await?;
    if service.deleted_at.is_some() {
        return Err(gone(&input.service_arn, Missing::Invalid));
    }
    let label = context.platform.draw().url_label();
    let vpc = input.ingress_vpc_configuration;
    let body = Body::VpcIngressConnection(VpcIngressConnection {
        service: service.id.clone(),
        vpc_id: vpc.vpc_id.unwrap_or_default(),
        vpc_endpoint_id: vpc.vpc_endpoint_id.unwrap_or_default(),
        domain_name: format!("{label}.vpce.{}.{}", context.region, context.platform.names.apps_domain),
    });
    let made = resource::create(context, &input.vpc_ingress_connection_name, input.tags, body).await?;
    let vpc_ingress_connection = shown(context, &made.resource).await?;
    Ok(wire::CreateVpcIngressConnectionResponse { vpc_ingress_connection })
}

pub(super) async fn describe(
    context: Context<'_>,
    input: wire::DescribeVpcIngressConnectionRequest,
) -> Result<wire::DescribeVpcIngressConnectionResponse, Error> {
    let known = resource::find(context, KIND, &input.vpc_ingress_connection_arn, Missing::NotFound).await?;
    let vpc_ingress_connection = shown(context, &known.resource).await?;
    Ok(wire::DescribeVpcIngressConnectionResponse { vpc_ingress_connection })
}

pub(super) async fn update(
    context: Context<'_>,
    input: wire::UpdateVpcIngressConnectionRequest,
) -> Result<wire::UpdateVpcIngressConnectionResponse, Error> {
    let vpc = input.ingress_vpc_configuration;
    let arn = &input.vpc_ingress_connection_arn;
    let quotas = context.platform.quotas;
    let known = resource::change(context, KIND, arn, Missing::NotFound, |resource, _| {
        if let Body::VpcIngressConnection(ingress) = &mut resource.body {
            ingress.vpc_id = vpc.vpc_id.unwrap_or_else(|| ingress.vpc_id.clone());
            ingress.vpc_endpoint_id = vpc.vpc_endpoint_id.unwrap_or_else(|| ingress.vpc_endpoint_id.clone());
        }
        resource.body.check(&quotas)
    })
    .await?;
    let vpc_ingress_connection = shown(context, &known.resource).await?;
    Ok(wire::UpdateVpcIngressConnectionResponse { vpc_ingress_connection })
}

pub(super) async fn list(
    context: Context<'_>,
    input: wire::ListVpcIngressConnectionsRequest,
) -> Result<wire::ListVpcIngressConnectionsResponse, Error> {
    let wanted = input.filter.unwrap_or_default();
    let service = match &wanted.service_arn {
        None => None,
        Some(arn) => {
            let (named, name, id) = arn::parse_service(arn)?;
            let found = context.platform.store.service_summary_get(&id).await.map_err(failure::store)?;
            let is_named = |row: ServiceSummary| row.region == named.region && row.name == name;
            if !named.is_of(context) || !found.is_some_and(is_named) {
                let vpc_ingress_connection_summary_list = Vec::new();
                return Ok(wire::ListVpcIngressConnectionsResponse {
                    vpc_ingress_connection_summary_list,
                    next_token: None,
                });
            }
            Some(id)
        }
    };
    let filter = ResourceFilter { service, vpc_endpoint: wanted.vpc_endpoint_id, ..Default::default() };
    let (rows, next_token) =
        resource::list(context, KIND, &filter, input.max_results, input.next_token.as_deref()).await?;
    let mut vpc_ingress_connection_summary_list = Vec::with_capacity(rows.len());
    for known in &rows {
        let shown = shown(context, &known.resource).await?;
        vpc_ingress_connection_summary_list.push(wire::VpcIngressConnectionSummary {
            vpc_ingress_connection_arn: shown.vpc_ingress_connection_arn,
            service_arn: shown.service_arn,
        });
    }
    Ok(wire::ListVpcIngressConnectionsResponse { vpc_ingress_connection_summary_list, next_token })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: wire::DeleteVpcIngressConnectionRequest,
) -> Result<wire::DeleteVpcIngressConnectionResponse, Error> {
    let deleted = resource::delete(context, KIND, &input.vpc_ingress_connection_arn, false).await?;
    let vpc_ingress_connection = shown(context, &deleted).await?;
    Ok(wire::DeleteVpcIngressConnectionResponse { vpc_ingress_connection })
}

async fn shown(context: Context<'_>, resource: &Resource) -> Result<wire::VpcIngressConnection, Error> {
    let Body::VpcIngressConnection(ingress) = &resource.body else {
        return Err(failure::internal("The row of the VPC ingress connection is of another kind."));
    };
    // A service is not deleted while it has one, so its row is there; a deleted one's may be forgotten.
    let service =
        context.platform.store.service_summary_get(&ingress.service).await.map_err(failure::store)?;
    Ok(wire::VpcIngressConnection {
        vpc_ingress_connection_arn: Some(arn::resource(context, resource)),
        vpc_ingress_connection_name: Some(resource.name.clone()),
        service_arn: service.map(|row| arn::summary(context, &row)),
        status: Some(match resource.is_active() {
            true => wire::VpcIngressConnectionStatus::Available,
            false => wire::VpcIngressConnectionStatus::Deleted,
        }),
        account_id: Some(context.platform.names.account.clone()),
        domain_name: Some(ingress.domain_name.clone()),
        ingress_vpc_configuration: Some(wire::IngressVpcConfiguration {
            vpc_id: Some(ingress.vpc_id.clone()),
            vpc_endpoint_id: Some(ingress.vpc_endpoint_id.clone()),
        }),
        created_at: Some(view::seconds(resource.created_at)),
        deleted_at: resource.deleted_at.map(view::seconds),
    })
}

/// Those of a service, as DescribeCustomDomains shows them.
pub(super) async fn dns_targets(
    context: Context<'_>,
    service: &ServiceId,
) -> Result<Vec<wire::VpcDNSTarget>, Error> {
    let filter = ResourceFilter { service: Some(service.clone()), ..Default::default() };
    let (rows, _) = resource::list(context, KIND, &filter, None, None).await?;
    Ok(rows
        .into_iter()
        .filter_map(|known| match known.resource.body {
            Body::VpcIngressConnection(ref ingress) => Some(wire::VpcDNSTarget {
                vpc_ingress_connection_arn: Some(arn::resource(context, &known.resource)),
                vpc_id: Some(ingress.vpc_id.clone()),
                domain_name: Some(ingress.domain_name.clone()),
            }),
            _ => None,
        })
        .collect())
}
