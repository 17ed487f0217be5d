//! The API under many callers and greedy ones: rates, and shares of connections, of memory and of long polls.

use super::Bounds;
use super::keys::{bytes, credentials, refused, root};
use super::sockets::{KEY, SOON, bounds, heard, served, served_within};
use apron_model::limits;
use apron_model::throttle::{Rate, Rates};
use apron_wire::Blob;
use apron_wire::apprunner::{ListServicesRequest, PauseServiceRequest};
use apron_wire::apron::{AccessKeyRights, GetAuditLogRequest, PutUploadPartRequest};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const ARN: &str = "arn:aws:apprunner:us-east-1:123456789012:service/web/0123456789abcdef0123456789abcdef";
/// Of a bucket that a slow machine empties too: a call takes less than a second.
const LOW: Rate = Rate { per_second: 1, burst: 3 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_calls_too_often_is_told_so_and_nobody_else() {
    let rates = Rates { reads: LOW, ..Rates::default() };
    let api = served_within(Bounds { rates, ..bounds() }).await;
    let greedy = api.key("greedy", AccessKeyRights::ReadOnly).await;
    let other = api.key("other", AccessKeyRights::ReadOnly).await;
    let list = ListServicesRequest::default();
    let began = Instant::now();
    let error = loop {
        match api.call(&greedy, &list).await {
            Err(error) => break error,
            Ok(_) => assert!(began.elapsed() < SOON, "it goes on for ever"),
        }
    };
    assert_eq!(
        (error.code.as_ref(), error.message.as_str(), error.status),
        ("ThrottlingException", "Rate exceeded", 400)
    );
    assert!(api.call(&other, &list).await.is_ok());
    // What changes something is counted apart.
    let pause = PauseServiceRequest { service_arn: ARN.into() };
    refused(api.call(&greedy, &pause).await, "AccessDeniedException", "");
    let audited = api.audited(|call| call["error"] == "ThrottlingException").await;
    assert!(audited.iter().any(|call| call["keyName"] == "greedy" && call["status"] == 400), "{audited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_goes_on_without_a_signature_is_held_up_and_its_neighbours_are_not() {
    let rates = Rates { strangers: LOW, ..Rates::default() };
    let api = served_within(Bounds { rates, ..bounds() }).await;
    let (list, wrong) = (ListServicesRequest::default(), credentials(KEY, "wrong"));
    let began = Instant::now();
    let error = loop {
        let error = api.call(&wrong, &list).await.unwrap_err();
        if error.code != "InvalidSignatureException" {
            break error;
        }
        assert!(began.elapsed() < SOON, "it goes on for ever");
    };
    assert_eq!(error.code, "ThrottlingException");
    assert!(began.elapsed() >= bounds().waits.stranger);
    assert!(api.call(&root(), &list).await.is_ok());
}

/// Whether a connection of its own is served; one that is refused ends before all is written, or after.
async fn is_served(address: std::net::SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    heard(&mut stream, SOON).await.starts_with("HTTP/1.1 200")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_a_share_of_the_connections() {
    let mut few = Bounds { loopback_connections: 3, ..bounds() };
    few.waits.head = 2 * SOON;
    let api = served_within(few).await;
    let mut holders = Vec::new();
    for _ in 0..3 {
        holders.push(TcpStream::connect(api.address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(api.address).await.unwrap();
    let said = heard(&mut one_more, SOON).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("ServiceUnavailable"), "{said}");
    assert!(said.contains("too many connections") && said.contains("x-amzn-requestid"), "{said}");
    assert_eq!(heard(&mut one_more, SOON).await, "", "it is closed");
    holders.pop();
    let began = Instant::now();
    while !is_served(api.address).await {
        assert!(began.elapsed() < SOON, "its place is not given back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_is_given_up() {
    let api = served_within(Bounds { loopback_connections: 1, ..bounds() }).await;
    let began = Instant::now();
    // Many times what buffers of the kernel hold.
    let mut greedy = api.open(&"GET /console.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2_000)).await;
    while !is_served(api.address).await {
        assert!(began.elapsed() < SOON, "it keeps its connection");
        // It takes a little now and then, which helps it nothing.
        let _ = greedy.read(&mut [0; 512]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() >= bounds().waits.answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_while_he_sends_sees_the_answer() {
    let api = served().await;
    let length = 12_000_000;
    let more = format!("content-length: {length}");
    for (head, says) in [
        (api.head("AppRunner.ListServices", KEY, 0, b"", &more), "RequestEntityTooLargeException"),
        (
            format!(
                "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: AppRunner.ListServices\r\n\
                 content-type: application/x-amz-json-1.0\r\n{more}\r\n\r\n"
            ),
            "MissingAuthenticationTokenException",
        ),
    ] {
        let mut stream = api.open(&head).await;
        stream.write_all(&vec![b'x'; length]).await.expect("all of it is taken");
        let said = heard(&mut stream, SOON).await;
        assert!(said.contains(says), "{said}");
        assert_eq!(heard(&mut stream, SOON).await, "", "nothing more comes");
    }
    // There is an end to that.
    let endless = 1_000_000_000;
    let head = api.head("AppRunner.ListServices", KEY, 0, b"", &format!("content-length: {endless}"));
    let mut stream = api.open(&head).await;
    let mut sent = 0;
    while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {
        sent += 64 * 1024;
        assert!(sent < endless / 10, "all of it is taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_a_keys_id_alone_does_not_keep_its_holder_from_sending() {
    let api = served().await;
    let large = api.head("Apron.PutUploadPart", KEY, 0, b"", "content-length: 1000000");
    let mut holders = Vec::new();
    for _ in 0..2 * limits::API_ADDRESS_UNPROVEN_BODIES_MAX {
        holders.push(api.open(&large).await);
    }
    let part =
        PutUploadPartRequest { upload_id: "0".repeat(32), offset: 0, data: Blob::from(vec![7; 1_000_000]) };
    refused(api.call(&root(), &part).await, "ResourceNotFoundException", "");
    // Who says what he will send, and has not the secret, is refused before he does.
    let wrong = bytes(&api.signed(&credentials(KEY, "wrong"), &part));
    let end = wrong.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let said = api.said(std::str::from_utf8(&wrong[..end + 4]).unwrap(), SOON).await;
    assert!(said.contains("InvalidSignatureException"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_a_share_of_the_long_polls() {
    let api = served_within(Bounds { key_polls: 2, ..bounds() }).await;
    let other = api.key("other", AccessKeyRights::Admin).await;
    let wait = |seconds| GetAuditLogRequest {
        from: Some("1000.1000".into()),
        wait_seconds: Some(seconds),
        max_lines: None,
    };
    let request = bytes(&api.signed(&root(), &wait(20)));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(api.open(std::str::from_utf8(&request).unwrap()).await);
    }
    let answers = waiting.iter_mut().map(|stream| Box::pin(heard(stream, SOON)));
    let (said, ..) = futures_util::future::select_all(answers).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("ServiceUnavailable"), "{said}");
    // Who does not wait needs no place, and other keys have theirs.
    assert!(api.call(&root(), &ListServicesRequest::default()).await.is_ok());
    assert!(api.call(&other, &wait(1)).await.unwrap().lines.is_empty());
}
