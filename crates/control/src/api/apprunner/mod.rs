//! App Runner's own operations.

mod arn;
mod input;
mod operation;
mod service;
mod tag;
pub(super) mod view;

pub(super) use service::lookup;

use super::call::{Context, run};
use super::failure;
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
        Operation::AssociateCustomDomain
        | Operation::CreateAutoScalingConfiguration
        | Operation::CreateConnection
        | Operation::CreateObservabilityConfiguration
        | Operation::CreateVpcConnector
        | Operation::CreateVpcIngressConnection
        | Operation::DeleteAutoScalingConfiguration
        | Operation::DeleteConnection
        | Operation::DeleteObservabilityConfiguration
        | Operation::DeleteVpcConnector
        | Operation::DeleteVpcIngressConnection
        | Operation::DescribeAutoScalingConfiguration
        | Operation::DescribeCustomDomains
        | Operation::DescribeObservabilityConfiguration
        | Operation::DescribeVpcConnector
        | Operation::DescribeVpcIngressConnection
        | Operation::DisassociateCustomDomain
        | Operation::ListAutoScalingConfigurations
        | Operation::ListConnections
        | Operation::ListObservabilityConfigurations
        | Operation::ListServicesForAutoScalingConfiguration
        | Operation::ListVpcConnectors
        | Operation::ListVpcIngressConnections
        | Operation::UpdateDefaultAutoScalingConfiguration
        | Operation::UpdateVpcIngressConnection => {
            Err(failure::invalid(format!("The operation {operation} is not supported yet by this platform.")))
        }
    }
}
