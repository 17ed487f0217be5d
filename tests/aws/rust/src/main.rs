//! The AWS SDK for Rust over every operation of App Runner's model, against a running platform. Arguments: endpoint,
//! access key id, secret, and an image that serves. With `--errors` and a file of `errors.py` in place of the image,
//! over every error of the model.

mod refusals;
mod resources;
mod services;

use aws_credential_types::Credentials;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::config::{BehaviorVersion, Region};
use aws_sdk_apprunner::error::{ProvideErrorMetadata, SdkError};
use std::collections::BTreeSet;
use std::fmt::Debug;

const REGION: &str = "us-east-1";

/// The operations that were called.
#[derive(Default)]
struct Seen {
    operations: BTreeSet<&'static str>,
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
}

fn client(endpoint: &str, region: &str, key: &str, secret: &str) -> Client {
    let config = aws_sdk_apprunner::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
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
    match arguments[..] {
        [endpoint, key, secret, "--errors", file] => {
            println!("{} refusals", refusals::all(endpoint, key, secret, file).await);
        }
        [endpoint, key, secret, image] => {
            let aws = client(endpoint, REGION, key, secret);
            let mut seen = Seen::default();
            services::life(&aws, &mut seen, image).await;
            resources::all(&aws, &mut seen).await;
            strangers(endpoint, key).await;
            println!("{} operations", seen.operations.len());
        }
        _ => panic!("ENDPOINT KEY SECRET, and IMAGE or --errors FILE"),
    }
}

/// Errors that no model has come without a type, with their code.
async fn strangers(endpoint: &str, key: &str) {
    for (key, code) in
        [("AKIAIOSFODNN7EXAMPLE", "UnrecognizedClientException"), (key, "InvalidSignatureException")]
    {
        let refused = client(endpoint, REGION, key, "wrong").list_services().send().await.expect_err(code);
        assert_eq!(refused.as_service_error().and_then(|error| error.code()), Some(code), "{refused:?}");
    }
}
