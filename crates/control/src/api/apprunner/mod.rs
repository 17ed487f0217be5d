//! App Runner's own operations.

mod arn;
mod auto_scaling_configuration;
pub(super) mod connection;
mod custom_domain;
mod input;
mod observability_configuration;
mod operation;
mod resource;
mod service;
mod tag;
pub(super) mod view;
mod vpc_connector;
mod vpc_ingress_connection;

pub(super) use arn::service as service_arn;
pub(super) use service::{act, lookup, refused};
use service::{find, gone};

use super::call::{Context, run};
use apron_wire::Error;
use apron_wire::apprunner::Operation;
use bytes::Bytes;
use http::Response;

/// Runs the operation. A new one of the model does not compile until it is handled or refused here.
pub(super) async fn dispatch(
    context: Context<'_>,
    operation: Operation,
    body: &[u8],
    id: &str,
) -> Result<Response<Bytes>, Error> {
    match operation {
        Operation::CreateService => run(body, id, |input| service::create(context, input)).await,
        Operation::DescribeService => run(body, id, |input| service::describe(context, input)).await,
        Operation::ListServices => run(body, id, |input| service::list(context, input)).await,
        Operation::UpdateService => run(body, id, |input| service::update(context, input)).await,
        Operation::PauseService => run(body, id, |input| service::pause(context, input)).await,
        Operation::ResumeService => run(body, id, |input| service::resume(context, input)).await,
        Operation::DeleteService => run(body, id, |input| service::delete(context, input)).await,
        Operation::StartDeployment => run(body, id, |input| service::start_deployment(context, input)).await,
        Operation::ListOperations => run(body, id, |input| operation::list(context, input)).await,
        Operation::ListTagsForResource => run(body, id, |input| tag::list(context, input)).await,
        Operation::TagResource => run(body, id, |input| tag::put(context, input)).await,
        Operation::UntagResource => run(body, id, |input| tag::remove(context, input)).await,
        Operation::AssociateCustomDomain => {
            run(body, id, |input| custom_domain::associate(context, input)).await
        }
        Operation::DescribeCustomDomains => {
            run(body, id, |input| custom_domain::describe(context, input)).await
        }
        Operation::DisassociateCustomDomain => {
            run(body, id, |input| custom_domain::disassociate(context, input)).await
        }
        Operation::CreateAutoScalingConfiguration => {
            run(body, id, |input| auto_scaling_configuration::create(context, input)).await
        }
        Operation::DescribeAutoScalingConfiguration => {
            run(body, id, |input| auto_scaling_configuration::describe(context, input)).await
        }
        Operation::ListAutoScalingConfigurations => {
            run(body, id, |input| auto_scaling_configuration::list(context, input)).await
        }
        Operation::DeleteAutoScalingConfiguration => {
            run(body, id, |input| auto_scaling_configuration::delete(context, input)).await
        }
        Operation::UpdateDefaultAutoScalingConfiguration => {
            run(body, id, |input| auto_scaling_configuration::update_default(context, input)).await
        }
        Operation::ListServicesForAutoScalingConfiguration => {
            run(body, id, |input| auto_scaling_configuration::list_services(context, input)).await
        }
        Operation::CreateObservabilityConfiguration => {
            run(body, id, |input| observability_configuration::create(context, input)).await
        }
        Operation::DescribeObservabilityConfiguration => {
            run(body, id, |input| observability_configuration::describe(context, input)).await
        }
        Operation::ListObservabilityConfigurations => {
            run(body, id, |input| observability_configuration::list(context, input)).await
        }
        Operation::DeleteObservabilityConfiguration => {
            run(body, id, |input| observability_configuration::delete(context, input)).await
        }
        Operation::CreateConnection => run(body, id, |input| connection::create(context, input)).await,
        Operation::ListConnections => run(body, id, |input| connection::list(context, input)).await,
        Operation::DeleteConnection => run(body, id, |input| connection::delete(context, input)).await,
        Operation::CreateVpcConnector => run(body, id, |input| vpc_connector::create(context, input)).await,
        Operation::DescribeVpcConnector => {
            run(body, id, |input| vpc_connector::describe(context, input)).await
        }
        Operation::ListVpcConnectors => run(body, id, |input| vpc_connector::list(context, input)).await,
        Operation::DeleteVpcConnector => run(body, id, |input| vpc_connector::delete(context, input)).await,
        Operation::CreateVpcIngressConnection => {
            run(body, id, |input| vpc_ingress_connection::create(context, input)).await
        }
        Operation::DescribeVpcIngressConnection => {
            run(body, id, |input| vpc_ingress_connection::describe(context, input)).await
        }
        Operation::ListVpcIngressConnections => {
            run(body, id, |input| vpc_ingress_connection::list(context, input)).await
        }
        Operation::UpdateVpcIngressConnection => {
            run(body, id, |input| vpc_ingress_connection::update(context, input)).await
        }
        Operation::DeleteVpcIngressConnection => {
            run(body, id, |input| vpc_ingress_connection::delete(context, input)).await
        }
    }
}
