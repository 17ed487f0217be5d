//! A service through its whole life, with its tags, custom domains and VPC ingress connection.

use crate::Seen;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::types::{
    ImageRepository, ImageRepositoryType, IngressVpcConfiguration, InstanceConfiguration,
    ListVpcIngressConnectionsFilter, OperationStatus, Service, ServiceStatus, SourceConfiguration, Tag,
};
use std::time::{Duration, Instant};

const SETTLED_S_MAX: u64 = 60;

fn source(image: &str) -> SourceConfiguration {
    let repository = ImageRepository::builder()
        .image_identifier(image)
        .image_repository_type(ImageRepositoryType::Ecr)
        .build()
        .expect("its members are set");
    SourceConfiguration::builder().image_repository(repository).auto_deployments_enabled(false).build()
}

async fn settled(aws: &Client, seen: &mut Seen, arn: &str, status: ServiceStatus) -> Service {
    let deadline = Instant::now() + Duration::from_secs(SETTLED_S_MAX);
    loop {
        let described = aws.describe_service().service_arn(arn).send().await;
        let service = seen.good("DescribeService", described).service.expect("a service");
        if service.status != ServiceStatus::OperationInProgress {
            assert_eq!(service.status, status);
            return service;
        }
        assert!(Instant::now() < deadline, "it does not settle: {service:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn life(aws: &Client, seen: &mut Seen, image: &str) {
    let create = aws.create_service().service_name("by-rust").source_configuration(source(image));
    let made = seen.good("CreateService", create.send().await);
    let arn = made.service.expect("a service").service_arn;
    settled(aws, seen, &arn, ServiceStatus::Running).await;
    let listed = seen.good("ListServices", aws.list_services().send().await);
    assert!(listed.service_summary_list.iter().any(|row| row.service_arn.as_deref() == Some(&arn)));
    assert_eq!(listed.next_token, None);
    let deployed = seen.good("StartDeployment", aws.start_deployment().service_arn(&arn).send().await);
    settled(aws, seen, &arn, ServiceStatus::Running).await;
    let mut pages = aws.list_operations().service_arn(&arn).max_results(1).into_paginator().send();
    let mut operations = Vec::new();
    while let Some(page) = pages.next().await {
        operations.extend(seen.good("ListOperations", page).operation_summary_list.expect("rows"));
    }
    assert_eq!(operations.len(), 2, "{operations:?}");
    assert_eq!(operations[0].id.as_deref(), Some(deployed.operation_id.as_str()));
    assert_eq!(operations[0].status, Some(OperationStatus::Succeeded));
    let size = InstanceConfiguration::builder().cpu("256").memory("512").build();
    seen.good(
        "UpdateService",
        aws.update_service().service_arn(&arn).instance_configuration(size).send().await,
    );
    settled(aws, seen, &arn, ServiceStatus::Running).await;

    tags(aws, seen, &arn).await;
    domains(aws, seen, &arn).await;
    ingress(aws, seen, &arn).await;

    seen.good("PauseService", aws.pause_service().service_arn(&arn).send().await);
    settled(aws, seen, &arn, ServiceStatus::Paused).await;
    seen.good("ResumeService", aws.resume_service().service_arn(&arn).send().await);
    settled(aws, seen, &arn, ServiceStatus::Running).await;
    let again = seen.good("ResumeService", aws.resume_service().service_arn(&arn).send().await);
    assert_eq!(again.operation_id, None);
    seen.good("DeleteService", aws.delete_service().service_arn(&arn).send().await);
    assert!(settled(aws, seen, &arn, ServiceStatus::Deleted).await.deleted_at.is_some());
}

async fn tags(aws: &Client, seen: &mut Seen, arn: &str) {
    let tag = Tag::builder().key("a").value("b").build();
    seen.good("TagResource", aws.tag_resource().resource_arn(arn).tags(tag.clone()).send().await);
    let listed = aws.list_tags_for_resource().resource_arn(arn).send().await;
    assert_eq!(seen.good("ListTagsForResource", listed).tags, Some(vec![tag]));
    seen.good("UntagResource", aws.untag_resource().resource_arn(arn).tag_keys("a").send().await);
}

async fn domains(aws: &Client, seen: &mut Seen, arn: &str) {
    let name = "rust.example.com";
    let associate = aws.associate_custom_domain().service_arn(arn).domain_name(name);
    seen.good("AssociateCustomDomain", associate.enable_www_subdomain(false).send().await);
    let described = aws.describe_custom_domains().service_arn(arn).send().await;
    let described = seen.good("DescribeCustomDomains", described);
    assert_eq!(described.custom_domains[0].domain_name, name);
    let gone = aws.disassociate_custom_domain().service_arn(arn).domain_name(name).send().await;
    seen.good("DisassociateCustomDomain", gone);
}

async fn ingress(aws: &Client, seen: &mut Seen, arn: &str) {
    let vpc = IngressVpcConfiguration::builder()
        .vpc_id("vpc-0a1b2c3d4e5f60718")
        .vpc_endpoint_id("vpce-0a1b2c3d4e5f60718")
        .build();
    let create = aws.create_vpc_ingress_connection().service_arn(arn).vpc_ingress_connection_name("by-rust");
    let made = create.ingress_vpc_configuration(vpc.clone()).send().await;
    let made = seen.good("CreateVpcIngressConnection", made).vpc_ingress_connection.expect("a connection");
    let named = made.vpc_ingress_connection_arn.expect("an ARN");
    let described = aws.describe_vpc_ingress_connection().vpc_ingress_connection_arn(&named).send().await;
    seen.good("DescribeVpcIngressConnection", described);
    let update = aws.update_vpc_ingress_connection().vpc_ingress_connection_arn(&named);
    seen.good("UpdateVpcIngressConnection", update.ingress_vpc_configuration(vpc).send().await);
    let filter = ListVpcIngressConnectionsFilter::builder().service_arn(arn).build();
    let listed = aws.list_vpc_ingress_connections().filter(filter).send().await;
    let listed = seen.good("ListVpcIngressConnections", listed);
    assert_eq!(listed.vpc_ingress_connection_summary_list.len(), 1);
    let deleted = aws.delete_vpc_ingress_connection().vpc_ingress_connection_arn(&named).send().await;
    seen.good("DeleteVpcIngressConnection", deleted);
}
