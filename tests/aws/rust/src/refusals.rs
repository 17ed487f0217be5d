//! The rows of `errors.py`: each is called, and the SDK must make of the refusal the type of the error that it names.

use crate::client;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::config::http::HttpRequest;
use aws_sdk_apprunner::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apprunner::types::error::{
    InternalServiceErrorException, InvalidRequestException, InvalidStateException, ResourceNotFoundException,
    ServiceQuotaExceededException,
};
use std::error::Error;
use std::fmt::Debug;

const MESSAGE_CHARS_MAX: usize = 600;

/// Calls every row of the file and gives their number.
pub(crate) async fn all(endpoint: &str, key: &str, secret: &str, file: &str) -> usize {
    let rows = std::fs::read_to_string(file).expect("the file of the rows");
    let mut count = 0;
    for row in rows.lines() {
        let [operation, fault, region, words, input] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not five columns: {row}");
        };
        let refusal = refused(&client(endpoint, region, key, secret), operation, input).await;
        assert_eq!(refusal.name, Some(fault), "{operation}: {refusal:?}");
        assert_eq!(refusal.code.as_deref(), Some(fault), "{operation}: {refusal:?}");
        let status = if fault == "InternalServiceErrorException" { 500 } else { 400 };
        assert_eq!(refusal.status, Some(status), "{operation}: {refusal:?}");
        assert!(refusal.message.contains(words), "{operation}: {words}: {refusal:?}");
        assert!(
            (1..=MESSAGE_CHARS_MAX).contains(&refusal.message.chars().count()),
            "{operation}: {refusal:?}"
        );
        count += 1;
    }
    count
}

#[derive(Debug)]
struct Refusal {
    /// Of the type that the SDK has made of it; none of its own is none.
    name: Option<&'static str>,
    code: Option<String>,
    message: String,
    status: Option<u16>,
}

impl Refusal {
    fn of<T: Debug, E: Error + ProvideErrorMetadata + 'static>(sent: Result<T, SdkError<E>>) -> Refusal {
        let error = sent.expect_err("a refusal");
        let status = error.raw_response().map(|response| response.status().as_u16());
        let error = error.as_service_error().unwrap_or_else(|| panic!("no answer of the service: {error:?}"));
        Refusal {
            name: error.source().and_then(name_of),
            code: error.code().map(str::to_owned),
            message: error.message().unwrap_or_default().to_owned(),
            status,
        }
    }
}

macro_rules! names {
    ($($error:ident)*) => {
        /// An operation's error holds one of its model's; what is none of them has no name.
        fn name_of(error: &(dyn Error + 'static)) -> Option<&'static str> {
            $(if error.is::<$error>() {
                return Some(stringify!($error));
            })*
            None
        }
    };
}

names! {
    InternalServiceErrorException InvalidRequestException InvalidStateException ResourceNotFoundException
    ServiceQuotaExceededException
}

macro_rules! operations {
    ($($method:ident)*) => {
        /// Sends this body as the operation's: what is tried here is what the SDK reads, and bodies of one form
        /// need no builder for each.
        async fn refused(aws: &Client, operation: &str, body: &str) -> Refusal {
            match snake(operation).as_str() {
                $(stringify!($method) => {
                    Refusal::of(aws.$method().customize().mutate_request(with(body)).send().await)
                })*
                other => panic!("the SDK has no {other}"),
            }
        }
    };
}

operations! {
    associate_custom_domain create_auto_scaling_configuration create_connection create_observability_configuration
    create_service create_vpc_connector create_vpc_ingress_connection delete_auto_scaling_configuration
    delete_connection delete_observability_configuration delete_service delete_vpc_connector
    delete_vpc_ingress_connection describe_auto_scaling_configuration describe_custom_domains
    describe_observability_configuration describe_service describe_vpc_connector describe_vpc_ingress_connection
    disassociate_custom_domain list_auto_scaling_configurations list_connections list_observability_configurations
    list_operations list_services list_services_for_auto_scaling_configuration list_tags_for_resource
    list_vpc_connectors list_vpc_ingress_connections pause_service resume_service start_deployment tag_resource
    untag_resource update_default_auto_scaling_configuration update_service update_vpc_ingress_connection
}

/// Before the request is signed.
fn with(body: &str) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
    let body = body.to_owned();
    move |request| {
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = body.clone().into();
    }
}

/// `DescribeService` as `describe_service`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}
