//! The API under many callers and greedy ones: rates, and shares of connections, of memory and of long polls.

use super::Bounds;
use super::keys::{bytes, credentials, refused, root};
use super::sockets::{KEY, SOON, Served, bounds, heard, served, served_within};
use apron_model::limits;
use apron_model::throttle::{Rate, Rates};
use apron_wire::apprunner::{ListServicesRequest, PauseServiceRequest};
use apron_wire::apron::{AccessKeyRights, GetAuditLogRequest, PutUploadPartRequest};
use apron_wire::sigv4::Credentials;
use apron_wire::{Blob, Call};
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
    assert!(began.elapsed() >= bounds().waits.held_up);
    assert!(api.call(&root(), &list).await.is_ok());
}

/// Whether a connection of its own is served; one that is refused ends before all is written, or after.
async fn is_served(address: std::net::SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    heard(&mut stream, SOON).await.starts_with("HTTP/1.1 200")
}

/// A connection that stays open after a call whose signature is good.
async fn proven(api: &Served) -> TcpStream {
    let head = api.head("AppRunner.ListServices", KEY, 0, b"{}", "content-length: 2");
    let mut stream = api.open(&format!("{head}{{}}")).await;
    assert!(heard(&mut stream, SOON).await.starts_with("HTTP/1.1 200"));
    stream
}

fn three_connections() -> Bounds {
    let mut few = Bounds { loopback_connections: 3, ..bounds() };
    few.waits.head = 4 * SOON;
    few
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_a_share_of_the_connections() {
    let api = served_within(three_connections()).await;
    let mut holders = Vec::new();
    for _ in 0..3 {
        holders.push(proven(&api).await);
    }
    let mut one_more = TcpStream::connect(api.address).await.unwrap();
    let said = heard(&mut one_more, SOON).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("ServiceUnavailable"), "{said}");
    assert!(said.contains("too many connections") && said.contains("x-amzn-requestid"), "{said}");
    assert_eq!(heard(&mut one_more, SOON).await, "", "it is closed");
    // Who sends all he has before he looks sees it too.
    let part =
        PutUploadPartRequest { upload_id: "0".repeat(32), offset: 0, data: Blob::from(vec![7; 4_000_000]) };
    let mut sender = TcpStream::connect(api.address).await.unwrap();
    sender.write_all(&bytes(&api.signed(&root(), &part))).await.expect("all of it is taken");
    assert!(heard(&mut sender, SOON).await.starts_with("HTTP/1.1 503"));
    holders.pop();
    let began = Instant::now();
    while !is_served(api.address).await {
        assert!(began.elapsed() < SOON, "its place is not given back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_signature_give_way() {
    let api = served_within(three_connections()).await;
    let mut with_key = proven(&api).await;
    let mut idle = Vec::new();
    for _ in 0..9 {
        idle.push(TcpStream::connect(api.address).await.unwrap());
    }
    assert!(api.call(&root(), &ListServicesRequest::default()).await.is_ok());
    assert_eq!(heard(&mut idle[0], SOON).await, "", "the oldest is closed");
    let head = api.head("AppRunner.ListServices", KEY, 0, b"{}", "content-length: 2");
    with_key.write_all(format!("{head}{{}}").as_bytes()).await.unwrap();
    assert!(heard(&mut with_key, SOON).await.starts_with("HTTP/1.1 200"), "who has shown his key stays");
}

/// What is refused early with a small body leaves the connection usable, and with a large one says that it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_goes_on_or_says_that_it_ends() {
    let api = served().await;
    let list = "AppRunner.ListServices";
    let incomplete = "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: AppRunner.ListServices\r\n\
                      content-type: application/x-amz-json-1.0\r\ncontent-length: 2\r\n\r\n{}";
    let unknown = format!("{}{{}}", api.head(list, "AKIDOTHER", 0, b"{}", "content-length: 2"));
    let in_chunks = api.head(list, KEY, 0, b"{}", "transfer-encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n";
    let mut stream = api.open("").await;
    for (request, status) in [(incomplete, 400), (&unknown, 400), (&in_chunks, 200), (incomplete, 400)] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = heard(&mut stream, SOON).await;
        let begin = format!("HTTP/1.1 {status}");
        assert!(said.starts_with(&begin) && !said.contains("connection: close"), "{said}");
    }
    let large = api.head(list, "AKIDOTHER", 0, b"", "content-length: 1000000");
    let said = api.said(&large, SOON).await;
    assert!(said.contains("UnrecognizedClient") && said.contains("connection: close"), "{said}");
}

/// The head of a call, whose body never comes.
fn head_alone<C: Call>(api: &Served, key: &Credentials, input: &C) -> String {
    let request = bytes(&api.signed(key, input));
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    String::from_utf8(request[..end + 4].to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_and_rates_are_looked_at_before_the_body() {
    let rates = Rates { writes: LOW, ..Rates::default() };
    let api = served_within(Bounds { rates, ..bounds() }).await;
    let reader = api.key("reader", AccessKeyRights::ReadOnly).await;
    let greedy = api.key("greedy", AccessKeyRights::Admin).await;
    let part =
        PutUploadPartRequest { upload_id: "0".repeat(32), offset: 0, data: Blob::from(vec![7; 1_000_000]) };
    let said = api.said(&head_alone(&api, &reader, &part), SOON).await;
    assert!(said.contains("AccessDenied"), "{said}");
    let pause = PauseServiceRequest { service_arn: ARN.into() };
    let began = Instant::now();
    while api.call(&greedy, &pause).await.is_err_and(|error| error.code != "ThrottlingException") {
        assert!(began.elapsed() < SOON, "it goes on for ever");
    }
    // A bucket that has filled a little meanwhile is emptied by the next.
    let mut said = String::new();
    for _ in 0..3 {
        let mut stream = api.open(&head_alone(&api, &greedy, &part)).await;
        said = heard(&mut stream, SOON).await;
        if said.contains("Throttling") {
            break;
        }
    }
    assert!(said.contains("Throttling"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_goes_on_calling_too_often_is_held_up() {
    let few = Rate { per_second: 1, burst: 1 };
    let rates = Rates { reads: few, strangers: few, ..Rates::default() };
    let mut bounds = Bounds { rates, ..bounds() };
    bounds.waits.held_up = Duration::from_millis(1_200);
    let api = served_within(bounds).await;
    let reader = api.key("reader", AccessKeyRights::ReadOnly).await;
    let list = ListServicesRequest::default();
    let began = Instant::now();
    loop {
        let called = Instant::now();
        let throttled = api.call(&reader, &list).await.is_err();
        if throttled && called.elapsed() >= bounds.waits.held_up {
            break;
        }
        assert!(began.elapsed() < SOON, "it goes on for ever");
    }
    assert!(api.call(&root(), &list).await.is_ok(), "others do not notice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_is_given_up() {
    let api = served_within(Bounds { loopback_connections: 1, ..bounds() }).await;
    let began = Instant::now();
    // Many times what buffers of the kernel hold.
    let mut greedy = proven(&api).await;
    let asked = "GET /console.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2_000);
    greedy.write_all(asked.as_bytes()).await.unwrap();
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
    let said = api.said(&head_alone(&api, &credentials(KEY, "wrong"), &part), SOON).await;
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
