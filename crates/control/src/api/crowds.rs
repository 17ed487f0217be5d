//! The API under many callers and greedy ones: rates, and shares of connections, of memory and of long polls.

use super::connections::{Connections, Room};
use super::keys::{bytes, credentials, refused, root};
use super::sockets::{KEY, SOON, Served, bounds, heard, served, served_within};
use super::{Api, Bounds, peer};
use apron_model::limits;
use apron_model::throttle::{Rate, Rates, Source};
use apron_wire::apprunner::{ListServicesRequest, PauseServiceRequest};
use apron_wire::apron::{
    AccessKeyRights, CreateAccessKeyRequest, DeleteAccessKeyRequest, GetAuditLogRequest, PutUploadPartRequest,
};
use apron_wire::sigv4::Credentials;
use apron_wire::{Blob, Call};
use futures_util::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

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
    refused(api.call(&greedy, &pause()).await, "AccessDeniedException", "");
    let audited = api.audited(|call| call["error"] == "ThrottlingException").await;
    assert!(audited.iter().any(|call| call["keyName"] == "greedy" && call["status"] == 400), "{audited:?}");
}

/// Calls are held up by this much, which is more than one takes.
fn strangers_are_held_up() -> Bounds {
    let mut bounds = Bounds { rates: Rates { strangers: LOW, ..Rates::default() }, ..bounds() };
    bounds.waits.held_up = Duration::from_millis(300);
    bounds
}

/// Who cannot sign is told so each time: what is wrong with his call does not pass if he tries again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_goes_on_without_a_signature_is_held_up_and_its_neighbours_are_not() {
    let bounds = strangers_are_held_up();
    let api = served_within(bounds).await;
    let (list, wrong) = (ListServicesRequest::default(), credentials(KEY, "wrong"));
    let began = Instant::now();
    loop {
        let called = Instant::now();
        refused(api.call(&wrong, &list).await, "InvalidSignatureException", "");
        if called.elapsed() >= bounds.waits.held_up {
            break;
        }
        assert!(began.elapsed() < SOON, "it goes on for ever");
    }
    assert!(api.call(&root(), &list).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_the_console_are_counted_too() {
    let bounds = strangers_are_held_up();
    let api = served_within(bounds).await;
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        assert!(is_served(api.address).await);
        if asked.elapsed() >= bounds.waits.held_up {
            break;
        }
        assert!(began.elapsed() < SOON, "it goes on for ever");
    }
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

/// A connection whose call's signature is good and whose body does not come.
async fn at_work(api: &Served, key: &Credentials) -> TcpStream {
    let head = head_alone(api, key, &pause());
    let head = head.strip_suffix("\r\n").unwrap();
    // Who asks for that is told when his body is waited for.
    let mut stream = api.open(&format!("{head}expect: 100-continue\r\n\r\n")).await;
    let said = heard(&mut stream, SOON).await;
    assert!(said.starts_with("HTTP/1.1 100"), "{said}");
    stream
}

fn pause() -> PauseServiceRequest {
    PauseServiceRequest { service_arn: ARN.into() }
}

/// There is room for few connections, and nobody is given up for his slowness.
fn few(room: impl FnOnce(&mut Room)) -> Bounds {
    let mut few = bounds();
    room(&mut few.room);
    (few.waits.head, few.waits.body_idle, few.waits.body) = (4 * SOON, 4 * SOON, 4 * SOON);
    few
}

fn three_connections() -> Bounds {
    few(|room| room.loopback = 3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_a_share_of_the_connections() {
    let api = served_within(three_connections()).await;
    let mut holders = Vec::new();
    for _ in 0..3 {
        holders.push(at_work(&api, &root()).await);
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
async fn of_connections_with_a_signature_they_that_do_nothing_give_way() {
    let api = served_within(three_connections()).await;
    let (mut first, mut second) = (proven(&api).await, proven(&api).await);
    let _works = at_work(&api, &root()).await;
    let list = format!("{}{{}}", api.head("AppRunner.ListServices", KEY, 0, b"{}", "content-length: 2"));
    first.write_all(list.as_bytes()).await.unwrap();
    assert!(heard(&mut first, SOON).await.starts_with("HTTP/1.1 200"));
    assert!(api.call(&root(), &ListServicesRequest::default()).await.is_ok());
    assert_eq!(heard(&mut second, SOON).await, "", "it has been idle for longest");
    first.write_all(list.as_bytes()).await.unwrap();
    assert!(heard(&mut first, SOON).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_a_share_of_the_connections() {
    let api = served_within(few(|room| room.key = 2)).await;
    let greedy = api.key("greedy", AccessKeyRights::Admin).await;
    let mut holders = Vec::new();
    for _ in 0..2 {
        holders.push(at_work(&api, &greedy).await);
    }
    let one_more = api.call(&greedy, &ListServicesRequest::default()).await;
    refused(one_more, "ServiceUnavailable", "key has too many connections");
    // Others have theirs, and of one's own the oldest gives way if it does nothing.
    let mut idle = [proven(&api).await, proven(&api).await];
    drop(proven(&api).await);
    assert_eq!(heard(&mut idle[0], SOON).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_a_deleted_key_give_way_whatever_they_do() {
    let api = served_within(three_connections()).await;
    let gone = api.key("gone", AccessKeyRights::Admin).await;
    let mut of_gone = [at_work(&api, &gone).await, at_work(&api, &gone).await];
    let delete = DeleteAccessKeyRequest { access_key_id: gone.access_key_id.clone() };
    // Whose call ended on its way has deleted it, and repeats the call.
    api.platform.store.access_key_delete(&gone.access_key_id).await.unwrap();
    refused(api.call(&root(), &delete).await, "ResourceNotFoundException", "");
    of_gone[0].write_all(api.signed(&root(), &pause()).body()).await.unwrap();
    assert!(heard(&mut of_gone[0], SOON).await.contains("UnrecognizedClientException"), "it came too late");
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(at_work(&api, &root()).await);
    }
    assert_eq!(heard(&mut of_gone[1], SOON).await, "");
}

/// Its signature can be compared only once its body is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_deleted_while_a_body_comes_changes_nothing_any_more() {
    let api = served_within(few(|_| ())).await;
    let store = &api.platform.store;
    let mut gone = store.access_key_get(KEY).await.unwrap().unwrap();
    (gone.id, gone.name) = ("AKIDGONE".to_owned(), "gone".to_owned());
    store.access_key_put(&gone).await.unwrap();
    let body = br#"{"Name":"late","Rights":"admin"}"#;
    let more = format!("content-length: {}\r\nexpect: 100-continue", body.len());
    let head = api.head("Apron.CreateAccessKey", &gone.id, 0, body, &more);
    let mut late = api.open(&head).await;
    assert!(heard(&mut late, SOON).await.starts_with("HTTP/1.1 100"));
    let delete = DeleteAccessKeyRequest { access_key_id: gone.id };
    assert!(api.call(&root(), &delete).await.is_ok());
    late.write_all(body).await.unwrap();
    let said = heard(&mut late, SOON).await;
    assert!(said.contains("UnrecognizedClientException"), "{said}");
    assert_eq!(store.access_key_list().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_answer_is_not_out_does_not_give_way() {
    let plenty = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let mut bounds = few(|room| room.loopback = 1);
    bounds.rates.strangers = plenty;
    bounds.waits.answer = 4 * SOON;
    let api = served_within(bounds).await;
    let mut answered = proven(&api).await;
    let asked = "GET /console.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2_000);
    // It takes no answer, so there comes a time from which nothing more is read of it.
    while timeout(Duration::from_millis(300), answered.write_all(asked.as_bytes())).await.is_ok() {}
    assert!(!is_served(api.address).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gives_way_before_another_comes() {
    let api = served_within(few(|room| room.all = 2)).await;
    let mut guests = [api.open("").await, api.open("").await];
    for guest in guests.iter_mut().rev() {
        guest.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(heard(guest, SOON).await.contains("UnknownOperationException"));
    }
    assert!(is_served(api.address).await);
    assert_eq!(heard(&mut guests[0], SOON).await, "");
}

/// Between a connection's end being decided and its end a call may come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_told_to_give_way_changes_nothing_any_more() {
    let served = served().await;
    let bounds = few(|room| room.loopback = 1);
    let platform = served.platform.clone();
    let (audit, _writers) = super::audit::audit(&platform.logs, platform.clock.clone());
    let (_end, shutdown) = watch::channel(false);
    let api = Arc::new(Api::new(platform.clone(), bounds, audit, shutdown));
    let connections = Connections::new(bounds.room);
    let (connection, evicted) = connections.enter(Source::Loopback).await.unwrap();
    assert!(connections.enter(Source::Loopback).now_or_never().is_none(), "it waits for the other's place");
    drop(evicted.await);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let create = CreateAccessKeyRequest { name: "late".into(), rights: AccessKeyRights::Admin };
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    stream.write_all(&bytes(&served.signed(&root(), &create))).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    let (_never, evicted) = oneshot::channel();
    let serving = tokio::spawn(peer::serve(accepted, peer.ip(), api, connection, evicted));
    assert!(heard(&mut stream, SOON).await.starts_with("HTTP/1.1 503"));
    assert_eq!(platform.store.access_key_list().await.unwrap().len(), 1);
    serving.abort();
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
    let began = Instant::now();
    while api.call(&greedy, &pause()).await.is_err_and(|error| error.code != "ThrottlingException") {
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

/// A long poll would keep its place for as long as it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_only_reads_takes_no_place_for_a_large_body() {
    let api = served().await;
    let reader = api.key("reader", AccessKeyRights::ReadOnly).await;
    let list = |length| ListServicesRequest { next_token: Some("x".repeat(length)), max_results: None };
    let said = api.said(&head_alone(&api, &reader, &list(70_000)), SOON).await;
    assert!(said.contains("RequestEntityTooLargeException"), "{said}");
    // The longest token that the model allows comes through.
    refused(api.call(&reader, &list(51_200)).await, "InvalidRequestException", "NextToken");
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
async fn a_call_of_a_key_that_is_held_up_keeps_its_place() {
    let rate = Rate { per_second: 1, burst: 1 };
    let mut bounds = few(|room| room.loopback = 1);
    bounds.rates = Rates { reads: rate, strangers: rate, ..Rates::default() };
    bounds.waits.held_up = Duration::from_millis(600);
    let api = served_within(bounds).await;
    let call = format!("{}{{}}", api.head("AppRunner.ListServices", KEY, 0, b"{}", "content-length: 2"));
    let began = Instant::now();
    loop {
        let mut called = api.open(&call).await;
        // When it is held up cannot be seen from outside.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut newcomer = TcpStream::connect(api.address).await.unwrap();
        let said = timeout(Duration::from_millis(100), heard(&mut newcomer, SOON)).await;
        let stays = said.is_ok_and(|said| said.starts_with("HTTP/1.1 503"));
        if stays && heard(&mut called, SOON).await.contains("ThrottlingException") {
            break;
        }
        assert!(began.elapsed() < SOON, "it gives way");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_is_given_up() {
    let plenty = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let rates = Rates { strangers: plenty, ..Rates::default() };
    let api = served_within(Bounds { rates, ..bounds() }).await;
    let began = Instant::now();
    // Many times what buffers of the kernel hold.
    let mut greedy = proven(&api).await;
    let asked = "GET /console.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2_000);
    let kept = async {
        while greedy.write_all(asked.as_bytes()).await.is_ok() {
            // It takes a little now and then, which helps it nothing.
            let _ = greedy.read(&mut [0; 512]).await;
        }
    };
    timeout(SOON, kept).await.expect("its connection ends");
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
