//! VPC connectors: recorded whole. A service that wants its egress through one is refused, because nothing opens
//! private networks to instances yet.

use super::resource::{self, Missing};
use super::{arn, view};
use crate::api::call::Context;
use crate::api::failure;
use apron_model::resource::{Body, Kind, Resource, VpcConnector};
use apron_store::ResourceFilter;
use apron_wire::Error;
use apron_wire::apprunner as wire;

const KIND: Kind = Kind::VpcConnector;

pub(super) async fn create(
    context: Context<'_>,
    input: wire::CreateVpcConnectorRequest,
) -> Result<wire::CreateVpcConnectorResponse, Error> {
    let body = Body::VpcConnector(VpcConnector {
        subnets: input.subnets,
        security_groups: input.security_groups.unwrap_or_default(),
    });
    let made = resource::create(context, &input.vpc_connector_name, input.tags, body).await?;
    Ok(wire::CreateVpcConnectorResponse { vpc_connector: shown(context, &made.resource)? })
}

pub(super) async fn describe(
    context: Context<'_>,
    input: wire::DescribeVpcConnectorRequest,
) -> Result<wire::DescribeVpcConnectorResponse, Error> {
    let known = resource::find(context, KIND, &input.vpc_connector_arn, Missing::NotFound).await?;
    Ok(wire::DescribeVpcConnectorResponse { vpc_connector: shown(context, &known.resource)? })
}

pub(super) async fn list(
    context: Context<'_>,
    input: wire::ListVpcConnectorsRequest,
) -> Result<wire::ListVpcConnectorsResponse, Error> {
    let filter = ResourceFilter::default();
    let (rows, next_token) =
        resource::list(context, KIND, &filter, input.max_results, input.next_token.as_deref()).await?;
    let vpc_connectors =
        rows.iter().map(|known| shown(context, &known.resource)).collect::<Result<_, Error>>()?;
    Ok(wire::ListVpcConnectorsResponse { vpc_connectors, next_token })
}

pub(super) async fn delete(
    context: Context<'_>,
    input: wire::DeleteVpcConnectorRequest,
) -> Result<wire::DeleteVpcConnectorResponse, Error> {
    let deleted = resource::delete(context, KIND, &input.vpc_connector_arn, false).await?;
    Ok(wire::DeleteVpcConnectorResponse { vpc_connector: shown(context, &deleted)? })
}

fn shown(context: Context<'_>, resource: &Resource) -> Result<wire::VpcConnector, Error> {
    let Body::VpcConnector(connector) = &resource.body else {
        return Err(failure::internal("The row of the VPC connector is of another kind."));
    };
    Ok(wire::VpcConnector {
        vpc_connector_name: Some(resource.name.clone()),
        vpc_connector_arn: Some(arn::resource(context, resource)),
        vpc_connector_revision: Some(view::int(resource.revision)),
        subnets: Some(connector.subnets.clone()),
        security_groups: Some(connector.security_groups.clone()),
        status: Some(match resource.is_active() {
            true => wire::VpcConnectorStatus::Active,
            false => wire::VpcConnectorStatus::Inactive,
        }),
        created_at: Some(view::seconds(resource.created_at)),
        deleted_at: resource.deleted_at.map(view::seconds),
    })
}
