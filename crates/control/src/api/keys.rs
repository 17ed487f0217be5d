//! Access keys and the audit log as their users meet them: signed calls over real sockets.

use super::sockets::{KEY, SECRET, SOON, Served, served};
use apron_telemetry::{Cursor, Share, Stream};
use apron_wire::apprunner::{
    CreateServiceRequest, ListServicesRequest, PauseServiceRequest, SourceConfiguration,
};
use apron_wire::apron::{
    AccessKeyRights, CreateAccessKeyRequest, DeleteAccessKeyRequest, GetAuditLogRequest,
    ListAccessKeysRequest, ListImagesRequest,
};
use apron_wire::sigv4::{Credentials, SecretKey, sign};
use apron_wire::{Call, Error, client};
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const ARN: &str = "arn:aws:apprunner:us-east-1:123456789012:service/web/0123456789abcdef0123456789abcdef";

pub(super) fn credentials(id: &str, secret: &str) -> Credentials {
    Credentials { access_key_id: id.into(), secret: SecretKey::new(secret), token: None }
}

pub(super) fn root() -> Credentials {
    credentials(KEY, SECRET)
}

/// The bytes of a request; its connection ends with it.
pub(super) fn bytes(request: &Request<Bytes>) -> Vec<u8> {
    let mut text =
        format!("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", request.body().len());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    [text.as_bytes(), b"\r\n", request.body()].concat()
}

impl Served {
    fn now_s(&self) -> u64 {
        self.platform.clock.wall().0 / 1000
    }

    pub(super) fn signed<C: Call>(&self, key: &Credentials, input: &C) -> Request<Bytes> {
        client::request(input, "api.test", "eu-west-1", key, self.now_s()).unwrap()
    }

    async fn exchange(&self, request: &Request<Bytes>) -> (StatusCode, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&bytes(request)).await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an answer in time").unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer.split_off(end + 4))
    }

    pub(super) async fn call<C: Call>(&self, key: &Credentials, input: &C) -> Result<C::Output, Error> {
        let (status, body) = self.exchange(&self.signed(key, input)).await;
        client::answer::<C>(status, &body)
    }

    pub(super) async fn key(&self, name: &str, rights: AccessKeyRights) -> Credentials {
        let made = self.call(&root(), &CreateAccessKeyRequest { name: name.into(), rights }).await.unwrap();
        assert_eq!((made.name.as_str(), made.rights), (name, rights));
        credentials(&made.access_key_id, &made.secret_access_key)
    }

    /// The calls of the audit log once one of them is as wanted.
    pub(super) async fn audited(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let asked_at = Instant::now();
        loop {
            let page = self.call(&root(), &GetAuditLogRequest::default()).await.unwrap();
            let calls: Vec<Value> =
                page.lines.iter().map(|line| serde_json::from_str(&line.text).unwrap()).collect();
            if calls.iter().any(&wanted) {
                return calls;
            }
            assert!(asked_at.elapsed() < SOON, "{calls:#?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

pub(super) fn refused<T>(answer: Result<T, Error>, code: &str, part: &str) {
    let error = answer.err().unwrap_or_else(|| panic!("it is not refused with {code}"));
    assert!(error.code == code && error.message.contains(part), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_key_reads_and_cannot_write() {
    let api = served().await;
    let reader = api.key("viewer", AccessKeyRights::ReadOnly).await;
    let list = ListServicesRequest::default();
    assert!(api.call(&reader, &list).await.unwrap().service_summary_list.is_empty());
    assert!(api.call(&reader, &ListImagesRequest {}).await.unwrap().images.is_empty());

    let denied = "AccessDeniedException";
    let pause = PauseServiceRequest { service_arn: ARN.into() };
    refused(
        api.call(&reader, &pause).await,
        denied,
        "User: arn:aws:iam::123456789012:user/viewer is not authorized to perform: apprunner:PauseService on \
         resource: *",
    );
    let create = CreateAccessKeyRequest { name: "more".into(), rights: AccessKeyRights::Admin };
    refused(api.call(&reader, &create).await, denied, "apron:CreateAccessKey");
    refused(api.call(&reader, &ListAccessKeysRequest {}).await, denied, "apron:ListAccessKeys");
    refused(api.call(&reader, &GetAuditLogRequest::default()).await, denied, "apron:GetAuditLog");
    let delete = DeleteAccessKeyRequest { access_key_id: reader.access_key_id.clone() };
    refused(api.call(&reader, &delete).await, denied, "apron:DeleteAccessKey");

    // Whoever has all rights may do all of that.
    let admin = api.key("deployer", AccessKeyRights::Admin).await;
    refused(api.call(&admin, &pause).await, "ResourceNotFoundException", "");
    assert_eq!(api.call(&admin, &ListAccessKeysRequest {}).await.unwrap().access_keys.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_key_is_refused_at_once_and_the_owners_stays() {
    let api = served().await;
    let made = api.key("ci", AccessKeyRights::Admin).await;
    let again = CreateAccessKeyRequest { name: "ci".into(), rights: AccessKeyRights::Admin };
    refused(api.call(&made, &again).await, "InvalidRequestException", "already exists: ci");
    for name in ["", "a b", "a/b", &"x".repeat(65)] {
        let odd = CreateAccessKeyRequest { name: name.into(), rights: AccessKeyRights::Admin };
        refused(api.call(&made, &odd).await, "InvalidRequestException", "'name'");
    }
    let keys = api.call(&made, &ListAccessKeysRequest {}).await.unwrap().access_keys;
    let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["root", "ci"]);

    let delete = DeleteAccessKeyRequest { access_key_id: made.access_key_id.clone() };
    assert_eq!(api.call(&root(), &delete).await.unwrap().access_key, keys[1]);
    refused(
        api.call(&made, &ListServicesRequest::default()).await,
        "UnrecognizedClientException",
        "security token included in the request is invalid",
    );
    refused(api.call(&root(), &delete).await, "ResourceNotFoundException", &made.access_key_id);
    let delete = DeleteAccessKeyRequest { access_key_id: KEY.into() };
    refused(api.call(&root(), &delete).await, "InvalidRequestException", "cannot be deleted");
    assert!(api.call(&root(), &ListServicesRequest::default()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_written_down_and_values_are_hidden() {
    let api = served().await;
    let source: SourceConfiguration = serde_json::from_value(json!({"ImageRepository": {
        "ImageIdentifier": "web:1", "ImageRepositoryType": "ECR", "ImageConfiguration": {
            "StartCommand": "hush", "RuntimeEnvironmentVariables": {"TOKEN": "hush"}}}}))
    .unwrap();
    let create = CreateServiceRequest::new("web", source);
    let reader = api.key("viewer", AccessKeyRights::ReadOnly).await;
    api.call(&root(), &create).await.unwrap();
    refused(api.call(&reader, &create).await, "AccessDeniedException", "");
    refused(api.call(&credentials(KEY, "hush"), &create).await, "InvalidSignatureException", "");
    refused(api.call(&credentials("AKIDOTHER", "x"), &create).await, "UnrecognizedClientException", "");
    let mut unknown = api.signed(&reader, &create);
    unknown.headers_mut().insert("x-amz-target", "AppRunner.Nothing".parse().unwrap());
    assert_eq!(api.exchange(&unknown).await.0, 400);
    let pages = api.audited(|call| call["error"] == "UnknownOperationException").await;

    let text = json!(pages).to_string();
    assert!(!text.contains("hush"), "{text}");
    let found =
        |error: &str| pages.iter().find(|call| call["error"] == error).unwrap_or_else(|| panic!("{text}"));
    let hidden = "HIDDEN_DUE_TO_SECURITY_REASONS";
    let denied = found("AccessDeniedException");
    assert!(denied.get("parameters").is_none(), "{denied}");
    let created =
        pages.iter().find(|call| call["operation"] == "CreateService" && call["status"] == 200).unwrap();
    assert_eq!(created["parameters"]["ServiceName"], "web");
    let image = &created["parameters"]["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"];
    assert_eq!(image, &json!({"StartCommand": hidden, "RuntimeEnvironmentVariables": {"TOKEN": hidden}}));
    for (member, value) in [
        ("keyId", reader.access_key_id.as_str()),
        ("keyName", "viewer"),
        ("sourceAddress", "127.0.0.1"),
        ("region", "eu-west-1"),
        ("service", "apprunner"),
        ("operation", "CreateService"),
    ] {
        assert_eq!(denied[member], value, "{denied}");
    }
    assert_eq!((&denied["status"], denied["requestId"].as_str().unwrap().len()), (&json!(400), 36));
    // Whoever only claims a key is not written down under its name, nor with what he sent.
    for (error, id) in [("InvalidSignatureException", KEY), ("UnrecognizedClientException", "AKIDOTHER")] {
        let stranger = found(error);
        assert_eq!(stranger["keyId"], id);
        assert!(stranger.get("keyName").is_none() && stranger.get("parameters").is_none(), "{stranger}");
    }
    assert_eq!(found("UnknownOperationException")["operation"], "AppRunner.Nothing");
    let made = pages.iter().find(|call| call["operation"] == "CreateAccessKey").unwrap();
    assert_eq!(made["parameters"], json!({"Name": "viewer", "Rights": "READ_ONLY"}));
    assert_eq!((&made["keyName"], &made["status"]), (&json!("root"), &json!(200)));
}

/// What a call did is known also where the caller did not stay for its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_broken_off_is_written_down() {
    let api = served().await;
    let wait = GetAuditLogRequest { from: Some("1000.1000".into()), wait_seconds: Some(20), max_lines: None };
    let began = Instant::now();
    let broken_off = loop {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(&bytes(&api.signed(&root(), &wait))).await.unwrap();
        // There is no sign from outside that it waits; one that was broken off before is tried again.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        drop(stream);
        let calls = api.audited(|call| call["operation"] == "GetAuditLog").await;
        if let Some(call) = calls.into_iter().find(|call| call["parameters"]["From"] == "1000.1000") {
            break call;
        }
        assert!(began.elapsed() < SOON, "it is not written down");
    };
    assert!(broken_off.get("status").is_none() && broken_off["keyName"] == "root", "{broken_off}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_stands_in_the_log_before_its_answer_comes() {
    let api = served().await;
    for name in ["a", "b", "c"] {
        api.key(name, AccessKeyRights::Admin).await;
        let changes = Stream::Audit(Share::Changes);
        let page = api.platform.logs.read(&changes, Cursor::START, 100).unwrap();
        let last: Value = serde_json::from_str(&page.lines.last().expect("a line").text).unwrap();
        assert_eq!(last["parameters"]["Name"], name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_chunks_is_read() {
    let api = served().await;
    let body = "11\r\n{\"MaxResults\": 7}\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    let mut request = Request::builder()
        .header("host", "api.test")
        .header("content-type", "application/x-amz-json-1.0")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-target", "AppRunner.ListServices")
        .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .header("x-amz-decoded-content-length", "17")
        .header("x-amz-trailer", "x-amz-checksum-crc32")
        .method("POST")
        .body(Bytes::from_static(body.as_bytes()))
        .unwrap();
    sign(&mut request, &root(), "us-east-1", "apprunner", api.now_s()).unwrap();
    let (status, answer) = api.exchange(&request).await;
    assert_eq!((status.as_u16(), answer.as_slice()), (200, b"{\"ServiceSummaryList\":[]}".as_slice()));
}
