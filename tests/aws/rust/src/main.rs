//! The AWS SDK for Rust over every operation and every error of App Runner's model, against a running platform.
//! Arguments: endpoint, access key id, secret, an image that serves, an image that never listens, the number of
//! connections that are the quota. With `--fault` in place of the images: the platform's database is away now.

mod resources;
mod services;

use aws_credential_types::Credentials;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::config::{BehaviorVersion, Region};
use aws_sdk_apprunner::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apprunner::operation::describe_service::DescribeServiceError;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Operations of the model; a new one fails here until it is called.
const OPERATIONS: usize = 37;

/// What was called, and which errors came.
#[derive(Default)]
struct Seen {
    operations: BTreeSet<&'static str>,
    errors: BTreeSet<String>,
}

impl Seen {
    /// The output of a call that must succeed.
    fn good<T, E: Debug, R: Debug>(
        &mut self,
        operation: &'static str,
        result: Result<T, SdkError<E, R>>,
    ) -> T {
        self.operations.insert(operation);
        result.unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    /// A call that must be refused by this error, whose message says these words. `typed` tells whether the SDK has
    /// made the error's own type of it.
    fn refused<T: Debug, E: ProvideErrorMetadata + Debug, R: Debug>(
        &mut self,
        result: Result<T, SdkError<E, R>>,
        code: &str,
        words: &str,
        typed: impl FnOnce(&E) -> bool,
    ) {
        let error = result.expect_err(code);
        let error = error.as_service_error().unwrap_or_else(|| panic!("{code}: {error:?}"));
        assert_eq!(error.code(), Some(code), "{error:?}");
        assert!(error.message().is_some_and(|message| message.contains(words)), "{words}: {error:?}");
        assert!(typed(error), "{error:?}");
        self.errors.insert(code.to_owned());
    }
}

fn client(endpoint: &str, key: &str, secret: &str) -> Client {
    let config = aws_sdk_apprunner::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(key, secret, None, None, "the platform under test"))
        .endpoint_url(endpoint)
        .retry_config(aws_sdk_apprunner::config::retry::RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut seen = Seen::default();
    match arguments[..] {
        [endpoint, key, secret, "--fault"] => {
            fault(&client(endpoint, key, secret), &mut seen).await;
            println!("the database's fault is seen");
        }
        [endpoint, key, secret, image, waiting, connections] => {
            let aws = client(endpoint, key, secret);
            services::life(&aws, &mut seen, image).await;
            services::busy(&aws, &mut seen, waiting).await;
            resources::all(&aws, &mut seen).await;
            resources::quota(&aws, &mut seen, connections.parse().expect("a number")).await;
            strangers(endpoint, key).await;
            assert_eq!(seen.operations.len(), OPERATIONS, "{:?}", seen.operations);
            assert_eq!(seen.errors.len(), 4, "{:?}", seen.errors);
            println!("{} operations, {} errors", seen.operations.len(), seen.errors.len());
        }
        _ => panic!("ENDPOINT KEY SECRET IMAGE WAITING CONNECTIONS, or ENDPOINT KEY SECRET --fault"),
    }
}

async fn fault(aws: &Client, seen: &mut Seen) {
    let arn = services::unknown("service");
    seen.refused(
        aws.describe_service().service_arn(arn).send().await,
        "InternalServiceErrorException",
        "",
        DescribeServiceError::is_internal_service_error_exception,
    );
    let listed = aws.list_services().send().await;
    seen.refused(listed, "InternalServiceErrorException", "", |error| {
        error.is_internal_service_error_exception()
    });
}

/// Errors that no model has come without a type, with their code.
async fn strangers(endpoint: &str, key: &str) {
    for (key, code) in
        [("AKIAIOSFODNN7EXAMPLE", "UnrecognizedClientException"), (key, "InvalidSignatureException")]
    {
        let refused = client(endpoint, key, "wrong").list_services().send().await.expect_err(code);
        assert_eq!(refused.as_service_error().and_then(|error| error.code()), Some(code), "{refused:?}");
    }
}
