//! The wire against botocore, the library under the AWS CLI: what it sends is read and verified here, what is
//! written here is read by it, and both sign alike. Needs python3 with botocore; no network, no root.

use apron_wire::detect::detect;
use apron_wire::sigv4::{Credentials, Presented, SecretKey};
use apron_wire::{Blob, Call, Error, Target, apprunner, apron, client, json, time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// botocore finds the model of our second API here, as `aws configure add-model` would lay it.
static MODELS: LazyLock<PathBuf> = LazyLock::new(|| {
    let models = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire-botocore-models");
    let api = models.join("apron/2026-01-01");
    std::fs::create_dir_all(&api).unwrap();
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/apron.json");
    std::fs::copy(spec, api.join("service-2.json")).unwrap();
    models
});

fn oracle(mode: &str, input: &Value) -> Value {
    let mut python = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle.py"))
        .arg(mode)
        .env("AWS_DATA_PATH", &*MODELS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need python3 with botocore: python3 cannot be started");
    python.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "the oracle failed; its reason stands above");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[derive(Deserialize)]
struct Case {
    name: String,
    service: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    /// What the body holds, where it comes in chunks.
    decoded: Option<String>,
}

impl Case {
    fn request(&self) -> (Parts, Vec<u8>) {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.target);
        for (name, value) in &self.headers {
            request = request.header(name, value.as_bytes());
        }
        (request.body(()).unwrap().into_parts().0, BASE64.decode(&self.body).unwrap())
    }
}

static CASES: LazyLock<Vec<Case>> =
    LazyLock::new(|| serde_json::from_value(oracle("requests", &Value::Null)).unwrap());

static SUITE: LazyLock<Vec<Case>> =
    LazyLock::new(|| serde_json::from_value(oracle("suite", &Value::Null)).unwrap());

fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).unwrap()
}

/// When the request says that it was signed, in seconds since 1970.
fn signed_at(parts: &Parts) -> u64 {
    let header = parts.headers.get("x-amz-date").map(|v| v.to_str().unwrap());
    let query = || parts.uri.query()?.split('&').find_map(|p| p.strip_prefix("X-Amz-Date="));
    time::parse_iso_basic(header.or_else(query).unwrap()).unwrap()
}

fn verify(parts: &Parts, body: &[u8], secret: &str, service: &str, now_s: u64) -> Result<String, Error> {
    let presented = Presented::read(parts)?;
    assert_eq!(presented.access_key_id(), KEY);
    let body = Bytes::copy_from_slice(body);
    presented.verify(&SecretKey::new(secret), body, service, now_s).map(|(caller, _)| caller.region)
}

#[test]
fn every_request_of_botocore_is_verified() {
    assert_eq!(CASES.len(), 14);
    for case in CASES.iter() {
        let (parts, body) = case.request();
        let now = signed_at(&parts);
        for seen in [now - 900, now, now + 900] {
            assert_eq!(
                verify(&parts, &body, SECRET, &case.service, seen).as_deref(),
                Ok("eu-west-3"),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn every_change_of_a_signed_request_is_noticed() {
    for case in CASES.iter() {
        let (parts, body) = case.request();
        let now = signed_at(&parts);
        let invalid = |parts: &Parts, body: &[u8], secret: &str, service: &str, now: u64, why: &str| {
            let error = verify(parts, body, secret, service, now).expect_err(why);
            assert_eq!((error.code.as_ref(), error.status), ("InvalidSignatureException", 400), "{why}");
            error.message
        };
        let does_not_match = |message: String| assert!(message.contains("does not match"), "{message}");
        does_not_match(invalid(&parts, &body, "another secret", &case.service, now, "secret"));
        if case.name != "unsigned payload" {
            let longer = [&body[..], b" "].concat();
            does_not_match(invalid(&parts, &longer, SECRET, &case.service, now, "body"));
        }
        let message = invalid(&parts, &body, SECRET, "s3", now, "service");
        assert_eq!(message, "Credential should be scoped to correct service: 's3'.");
        let message = invalid(&parts, &body, SECRET, &case.service, now + 901, "late");
        assert!(message.starts_with("Signature expired: "), "{message}");
        let message = invalid(&parts, &body, SECRET, &case.service, now - 901, "early");
        assert!(message.starts_with("Signature not yet current: "), "{message}");

        let mut changed = case.request().0;
        changed.method = http::Method::DELETE;
        does_not_match(invalid(&changed, &body, SECRET, &case.service, now, "method"));
        let mut changed = case.request().0;
        changed.headers.insert("host", HeaderValue::from_static("other"));
        does_not_match(invalid(&changed, &body, SECRET, &case.service, now, "host"));
        let mut changed = case.request().0;
        changed.headers.insert("x-amz-added", HeaderValue::from_static("1"));
        let message = invalid(&changed, &body, SECRET, &case.service, now, "added header");
        assert_eq!(message, "'x-amz-added' must be a 'SignedHeader' in the AWS Authorization.");
        let mut changed = case.request().0;
        let more = if case.target.contains('?') { "&more=1" } else { "?more=1" };
        changed.uri = format!("{}{more}", case.target).parse().unwrap();
        does_not_match(invalid(&changed, &body, SECRET, &case.service, now, "query"));
    }
}

/// Requests of every odd form, in the header and as URLs: what botocore signs is verified, and only that.
#[test]
fn the_table_of_odd_requests_is_verified() {
    assert_eq!(SUITE.len(), 181);
    for case in SUITE.iter() {
        let (parts, body) = case.request();
        let now = signed_at(&parts);
        let verified = |parts: &Parts, secret: &str| {
            let body = Bytes::copy_from_slice(&body);
            Presented::read(parts)?
                .verify(&SecretKey::new(secret), body, "apprunner", now)
                .map(|(_, body)| body)
        };
        let expected = case.decoded.as_ref().map_or(body.clone(), |data| BASE64.decode(data).unwrap());
        match verified(&parts, SECRET) {
            Ok(read) => assert!(read == expected, "{}: another body", case.name),
            Err(error) => panic!("{}: {error}", case.name),
        }
        assert!(verified(&parts, "another secret").is_err(), "{}", case.name);
        let mut changed = case.request().0;
        changed.method = if parts.method == "PUT" { http::Method::POST } else { http::Method::PUT };
        assert!(verified(&changed, SECRET).is_err(), "{}", case.name);
    }
}

/// In the chunks of a body every byte counts, but those of what is not signed.
#[test]
fn every_change_of_a_signed_chunk_is_noticed() {
    let small = |case: &&Case| case.name.starts_with("256 in signed chunks");
    assert_eq!(SUITE.iter().filter(small).count(), 4);
    for case in SUITE.iter().filter(small) {
        let (parts, body) = case.request();
        let now = signed_at(&parts);
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 1;
            let refused = verify(&parts, &changed, SECRET, "apprunner", now);
            assert!(refused.is_err(), "{}: byte {at}", case.name);
            assert!(
                verify(&parts, &body[..at], SECRET, "apprunner", now).is_err(),
                "{}: cut at {at}",
                case.name
            );
        }
    }
}

#[test]
fn a_session_token_is_ignored_even_when_it_is_not_signed() {
    let (mut parts, body) = case("apprunner.describe_service").request();
    parts.headers.insert("x-amz-security-token", HeaderValue::from_static("anything"));
    let now = signed_at(&parts);
    assert!(verify(&parts, &body, SECRET, "apprunner", now).is_ok());
}

fn decoded<C: Call>(name: &str) -> (Target, C) {
    let (parts, body) = case(name).request();
    let target = detect(&parts.method, parts.uri.path(), &parts.headers).unwrap();
    (target, json::decode(&body).unwrap())
}

#[test]
fn the_calls_of_botocore_are_read() {
    let (target, input) = decoded::<apprunner::CreateServiceRequest>("apprunner.create_service");
    assert_eq!(target, Target::AppRunner(apprunner::Operation::CreateService));
    let image = input.source_configuration.image_repository.unwrap();
    assert_eq!(image.image_repository_type, apprunner::ImageRepositoryType::EcrPublic);
    let variables = image.image_configuration.unwrap().runtime_environment_variables.unwrap();
    assert_eq!(variables["K"], "é\nÿ");
    assert_eq!(input.tags.unwrap()[0].value.as_deref(), Some("ü"));

    let (target, input) = decoded::<apron::PutUploadPartRequest>("apron.put_upload_part");
    assert_eq!(target, Target::Apron(apron::Operation::PutUploadPart));
    assert_eq!(input.offset, 1 << 40);
    assert_eq!(input.data.0.len(), 256 * 64);
    assert_eq!(input.data.0[..256], (0..=255).collect::<Vec<u8>>());

    let (_, input) = decoded::<apron::GetLogsRequest>("apron.get_logs");
    assert_eq!((input.stream, input.wait_seconds), (apron::LogStream::Deployment, Some(20)));
    assert_eq!(input.from.as_deref(), Some("c"));
}

/// The request as the oracle takes it.
fn described(request: &Request<Bytes>, service: &str) -> Value {
    let header = |(name, value): (&HeaderName, &HeaderValue)| json!([name.as_str(), value.to_str().unwrap()]);
    json!({
        "method": request.method().as_str(), "target": request.uri().to_string(), "service": service,
        "region": "eu-west-3", "headers": request.headers().iter().map(header).collect::<Vec<_>>(),
        "body": BASE64.encode(request.body()),
    })
}

#[test]
fn our_client_signs_as_botocore_does() {
    let key = |token: Option<&str>| Credentials {
        access_key_id: KEY.into(),
        secret: SecretKey::new(SECRET),
        token: token.map(str::to_owned),
    };
    let (host, region, now) = ("127.0.0.1:7070", "eu-west-3", 1_800_000_000);
    let list = apprunner::ListServicesRequest::default();
    let part = apron::PutUploadPartRequest {
        upload_id: "0".repeat(32),
        offset: 7,
        data: Blob::from(vec![0, 255, 254]),
    };
    let requests = [
        (client::request(&list, host, region, &key(None), now).unwrap(), "apprunner"),
        (client::request(&list, host, region, &key(Some("token")), now).unwrap(), "apprunner"),
        (client::request(&part, host, region, &key(None), now).unwrap(), "apron"),
    ];
    let described: Vec<Value> =
        requests.iter().map(|(request, service)| described(request, service)).collect();
    let expected = oracle("resign", &described.into());
    for (i, (request, _)) in requests.iter().enumerate() {
        assert_eq!(request.headers()["authorization"].to_str().ok(), expected[i].as_str());
    }
}

#[test]
fn botocore_reads_what_we_answer() {
    let arn = "arn:aws:apprunner:eu-west-3:123456789012:service/demo/0123456789abcdef0123456789abcdef";
    let described = |service: &str, operation: &str, arguments: Value, response: Response<Bytes>| {
        let header =
            |(name, value): (&HeaderName, &HeaderValue)| json!([name.as_str(), value.to_str().unwrap()]);
        json!({
            "service": service, "operation": operation, "arguments": arguments,
            "status": response.status().as_u16(), "body": BASE64.encode(response.body()),
            "headers": response.headers().iter().map(header).collect::<Vec<_>>(),
        })
    };
    let operations = apprunner::ListOperationsResponse {
        operation_summary_list: Some(vec![apprunner::OperationSummary {
            id: Some("0123456789abcdef0123456789abcdef".into()),
            r#type: Some(apprunner::OperationType::StartDeployment),
            status: Some(apprunner::OperationStatus::RollbackSucceeded),
            target_arn: Some(arn.into()),
            started_at: Some(time::epoch_seconds(1_800_000_000_250)),
            ended_at: None,
            updated_at: Some(time::epoch_seconds(1_800_000_001_000)),
        }]),
        next_token: None,
    };
    let logs = apron::GetLogsResponse {
        lines: vec![apron::LogLine { timestamp: 1.5, source: "build".into(), text: "hello é".into() }],
        next: "9".into(),
        end: true,
    };
    let refused = apprunner::ErrorType::ResourceNotFound.with("no such service");
    let broken = apprunner::ErrorType::InternalServiceError.with("broken");
    let unsigned = Error::missing_authentication_token();
    let outcomes = oracle(
        "answers",
        &json!([
            described(
                "apprunner",
                "list_operations",
                json!({"ServiceArn": arn}),
                json::answer(&operations, "id-1")
            ),
            described(
                "apron",
                "get_logs",
                json!({"ServiceArn": arn, "Stream": "EVENTS"}),
                json::answer(&logs, "id-2")
            ),
            described(
                "apprunner",
                "describe_service",
                json!({"ServiceArn": arn}),
                json::error(&refused, "id-3")
            ),
            described("apron", "describe_platform", json!({}), json::error(&unsigned, "id-4")),
            described("apron", "create_upload", json!({"Kind": "IMAGE"}), json::answer(&json!({}), "id-5")),
        ]),
    );
    let operation = &outcomes[0]["OperationSummaryList"][0];
    assert_eq!(operation["Status"], "ROLLBACK_SUCCEEDED");
    assert_eq!(operation["Type"], "START_DEPLOYMENT");
    assert_eq!(operation["StartedAt"], 1_800_000_000.25);
    assert!(operation.get("EndedAt").is_none() && outcomes[0].get("NextToken").is_none());
    assert_eq!(outcomes[0]["ResponseMetadata"]["RequestId"], "id-1");
    assert_eq!(outcomes[1]["Lines"][0]["Text"], "hello é");
    assert_eq!((&outcomes[1]["Next"], &outcomes[1]["End"]), (&json!("9"), &json!(true)));
    assert_eq!(outcomes[2]["Error"]["Code"], "ResourceNotFoundException");
    assert_eq!(outcomes[2]["Error"]["Message"], "no such service");
    assert_eq!(outcomes[2]["ResponseMetadata"]["HTTPStatusCode"], 400);
    assert_eq!(outcomes[3]["Error"]["Code"], "MissingAuthenticationTokenException");
    assert_eq!(outcomes[4]["ResponseMetadata"]["HTTPStatusCode"], 200);
    assert_eq!(broken.status, 500);
}
