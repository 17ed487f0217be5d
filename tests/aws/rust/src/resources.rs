//! What services share: auto scaling and observability configurations, connections, VPC connectors.

use crate::Seen;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::types::{ConnectionStatus, ProviderType, TraceConfiguration, TracingVendor};

pub(crate) async fn all(aws: &Client, seen: &mut Seen) {
    scaling(aws, seen).await;
    observability(aws, seen).await;
    connections(aws, seen).await;
    connectors(aws, seen).await;
}

async fn scaling(aws: &Client, seen: &mut Seen) {
    let create =
        aws.create_auto_scaling_configuration().auto_scaling_configuration_name("by-rust").max_size(2);
    let made = seen.good("CreateAutoScalingConfiguration", create.send().await);
    let made = made.auto_scaling_configuration.expect("a configuration");
    // In lower case on the wire, as the Terraform provider wants it, so that the SDK has no variant of it.
    assert_eq!(made.status.as_ref().map(|status| status.as_str()), Some("active"));
    let arn = made.auto_scaling_configuration_arn.expect("an ARN");
    let described =
        aws.describe_auto_scaling_configuration().auto_scaling_configuration_arn(&arn).send().await;
    seen.good("DescribeAutoScalingConfiguration", described);
    let list = aws.list_auto_scaling_configurations().auto_scaling_configuration_name("by-rust");
    let listed = seen.good("ListAutoScalingConfigurations", list.send().await);
    assert_eq!(listed.auto_scaling_configuration_summary_list.len(), 1);
    let users = aws.list_services_for_auto_scaling_configuration().auto_scaling_configuration_arn(&arn);
    let users = seen.good("ListServicesForAutoScalingConfiguration", users.send().await);
    assert!(users.service_arn_list.is_empty());
    let built_in = "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration";
    let default = aws.update_default_auto_scaling_configuration().auto_scaling_configuration_arn(built_in);
    seen.good("UpdateDefaultAutoScalingConfiguration", default.send().await);
    let deleted = aws.delete_auto_scaling_configuration().auto_scaling_configuration_arn(&arn).send().await;
    seen.good("DeleteAutoScalingConfiguration", deleted);
}

async fn observability(aws: &Client, seen: &mut Seen) {
    let trace = TraceConfiguration::builder().vendor(TracingVendor::Awsxray).build().expect("a vendor");
    let create = aws.create_observability_configuration().observability_configuration_name("by-rust");
    let made = seen.good("CreateObservabilityConfiguration", create.trace_configuration(trace).send().await);
    let made = made.observability_configuration.expect("a configuration");
    let arn = made.observability_configuration_arn.expect("an ARN");
    let described =
        aws.describe_observability_configuration().observability_configuration_arn(&arn).send().await;
    seen.good("DescribeObservabilityConfiguration", described);
    seen.good("ListObservabilityConfigurations", aws.list_observability_configurations().send().await);
    let deleted = aws.delete_observability_configuration().observability_configuration_arn(&arn).send().await;
    seen.good("DeleteObservabilityConfiguration", deleted);
}

async fn connections(aws: &Client, seen: &mut Seen) {
    let create = aws.create_connection().connection_name("by-rust").provider_type(ProviderType::Github);
    let made = seen.good("CreateConnection", create.send().await).connection.expect("a connection");
    assert_eq!(made.status, Some(ConnectionStatus::PendingHandshake));
    seen.good("ListConnections", aws.list_connections().connection_name("by-rust").send().await);
    let arn = made.connection_arn.expect("an ARN");
    seen.good("DeleteConnection", aws.delete_connection().connection_arn(arn).send().await);
}

async fn connectors(aws: &Client, seen: &mut Seen) {
    let create = aws.create_vpc_connector().vpc_connector_name("by-rust").subnets("subnet-0a1b2c3d4e5f60718");
    let made = seen.good("CreateVpcConnector", create.send().await).vpc_connector.expect("a connector");
    let arn = made.vpc_connector_arn.expect("an ARN");
    seen.good("DescribeVpcConnector", aws.describe_vpc_connector().vpc_connector_arn(&arn).send().await);
    seen.good("ListVpcConnectors", aws.list_vpc_connectors().send().await);
    seen.good("DeleteVpcConnector", aws.delete_vpc_connector().vpc_connector_arn(&arn).send().await);
}
