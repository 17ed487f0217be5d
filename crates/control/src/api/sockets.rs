//! The API under clients that are slow, greedy or unknown: raw bytes over real sockets.

use super::tests::{Directory, platform};
use super::{Bounds, Waits, serve_within};
use crate::Platform;
use apron_model::access::Rights;
use apron_model::limits;
use apron_model::throttle::Rates;
use apron_store::AccessKey;
use apron_wire::sigv4::{Credentials, SecretKey, sign};
use bytes::Bytes;
use http::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

pub(super) const KEY: &str = "AKIDTEST";
pub(super) const SECRET: &str = "secret";
/// Everything that must come at once comes in this time, also on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(5);
const WAITS: Waits = Waits {
    head: Duration::from_millis(400),
    place: Duration::from_millis(400),
    body_idle: Duration::from_millis(1_500),
    body: Duration::from_millis(4_000),
    answer: Duration::from_millis(400),
    linger: SOON,
    held_up: Duration::from_millis(50),
};

pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) platform: Arc<Platform>,
    _end: watch::Sender<bool>,
    _directory: Directory,
}

/// What callers may take of an API that has little patience.
pub(super) fn bounds() -> Bounds {
    Bounds { waits: WAITS, ..Bounds::standard(Rates::default()) }
}

pub(super) async fn served() -> Served {
    served_within(bounds()).await
}

pub(super) async fn served_within(bounds: Bounds) -> Served {
    let directory = Directory::new();
    let platform = Arc::new(platform(&directory).await);
    let key = AccessKey {
        id: KEY.to_owned(),
        secret: SECRET.to_owned(),
        name: "root".to_owned(),
        rights: Rights::Admin,
        created_at: platform.clock.wall(),
    };
    platform.store.access_key_put(&key).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, shutdown) = watch::channel(false);
    tokio::spawn(serve_within(listener, platform.clone(), bounds, shutdown));
    Served { address, platform, _end: end, _directory: directory }
}

impl Served {
    /// A signed head, with these further lines. The signature is of `body`.
    pub(super) fn head(
        &self,
        target: &str,
        key: &str,
        past_s: u64,
        body: &'static [u8],
        more: &str,
    ) -> String {
        let mut request = Request::builder()
            .method("POST")
            .uri("/")
            .header("host", "api.test")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .body(Bytes::from_static(body))
            .unwrap();
        let credentials =
            Credentials { access_key_id: key.to_owned(), secret: SecretKey::new(SECRET), token: None };
        let service = if target.starts_with("Apron.") { "apron" } else { "apprunner" };
        let now_s = self.platform.clock.wall().0 / 1000 - past_s;
        sign(&mut request, &credentials, "us-east-1", service, now_s).unwrap();
        let mut head = "POST / HTTP/1.1\r\n".to_owned();
        for (name, value) in request.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        format!("{head}{more}\r\n\r\n")
    }

    pub(super) async fn open(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// What comes back to these bytes within a time.
    pub(super) async fn said(&self, bytes: &str, within: Duration) -> String {
        heard(&mut self.open(bytes).await, within).await
    }
}

/// The first bytes that come, or nothing when the connection ends without any.
pub(super) async fn heard(stream: &mut TcpStream, within: Duration) -> String {
    let mut bytes = vec![0; 16 * 1024];
    let count = timeout(within, stream.read(&mut bytes)).await.expect("an answer or an end in time");
    String::from_utf8_lossy(&bytes[..count.unwrap_or(0)]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let api = served().await;
    let began = Instant::now();
    let mut slow = api.open("POST / HTTP/1.1\r\nhost: x\r\n").await;
    // It goes on a byte at a time, which helps it nothing.
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if slow.write_all(b"a").await.is_err() {
                return;
            }
        }
    };
    timeout(SOON, drip).await.expect("the connection is closed");
    assert!(began.elapsed() >= WAITS.head);
    // A connection that has had an answer and asks nothing more.
    let mut idle = api.open("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(heard(&mut idle, SOON).await.contains("UnknownOperationException"));
    assert_eq!(heard(&mut idle, SOON).await, "", "it is closed");
    let large = format!("POST / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert!(api.said(&large, SOON).await.starts_with("HTTP/1.1 431"));
}

/// The bodies of these never come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_before_their_body() {
    let api = served().await;
    let part = "Apron.PutUploadPart";
    let length = "content-length: 4000000";
    for (head, says) in [
        (
            format!(
                "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: {part}\r\n\
                 content-type: application/x-amz-json-1.0\r\n{length}\r\n\r\n"
            ),
            "MissingAuthenticationTokenException",
        ),
        (api.head(part, "AKIDOTHER", 0, b"", length), "UnrecognizedClientException"),
        (api.head(part, KEY, 3_600, b"", length), "Signature expired"),
        (api.head(part, KEY, 0, b"", length).replace("/apron/", "/apprunner/"), "correct service: 'apron'"),
        (
            api.head(
                part,
                KEY,
                0,
                b"",
                &format!("content-length: {}", limits::API_UPLOAD_BODY_BYTES_MAX + 1),
            ),
            "RequestEntityTooLargeException",
        ),
        (api.head("AppRunner.ListServices", KEY, 0, b"", length), "RequestEntityTooLargeException"),
    ] {
        let said = api.said(&head, SOON).await;
        assert!(said.contains(says), "{says}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_is_given_up_and_an_endless_one_is_bounded() {
    let api = served().await;
    let list = "AppRunner.ListServices";
    let mut whole = api.open(&api.head(list, KEY, 0, b"{}", "content-length: 2")).await;
    whole.write_all(b"{}").await.unwrap();
    assert!(heard(&mut whole, SOON).await.contains("ServiceSummaryList"));

    let mut silent = api.open(&api.head(list, KEY, 0, b"", "content-length: 100")).await;
    silent.write_all(b"{").await.unwrap();
    let said = heard(&mut silent, SOON).await;
    assert!(said.starts_with("HTTP/1.1 408") && said.contains("RequestTimeoutException"), "{said}");

    let began = Instant::now();
    let create = "AppRunner.CreateService";
    let mut drip = api.open(&api.head(create, KEY, 0, b"", "content-length: 100000")).await;
    let said = loop {
        drip.write_all(b"{").await.unwrap();
        let mut bytes = vec![0; 4096];
        match timeout(Duration::from_millis(200), drip.read(&mut bytes)).await {
            Ok(count) => break String::from_utf8_lossy(&bytes[..count.unwrap()]).into_owned(),
            Err(_) => assert!(began.elapsed() < WAITS.body + SOON, "it is waited for without end"),
        }
    };
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");

    let mut endless = api.open(&api.head(create, KEY, 0, b"", "transfer-encoding: chunked")).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut sent = 0;
    while endless.write_all(chunk.as_bytes()).await.is_ok() {
        sent += chunk.len();
        if sent > limits::API_BODY_BYTES_MAX + chunk.len() {
            break;
        }
    }
    let said = heard(&mut endless, SOON).await;
    assert!(said.contains("RequestEntityTooLargeException"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_place_for_a_large_body_is_told_so() {
    let api = served().await;
    let large = api.head("Apron.PutUploadPart", KEY, 0, b"", "content-length: 1000000");
    let mut holders = Vec::new();
    for _ in 0..limits::API_ADDRESS_UNPROVEN_BODIES_MAX {
        holders.push(api.open(&large).await);
    }
    // They have their places once they are served; there is no sign of that from outside.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let said = api.said(&large, SOON).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("ServiceUnavailable"), "{said}");
    // Small calls need no place.
    let mut small = api.open(&api.head("AppRunner.ListServices", KEY, 0, b"{}", "content-length: 2")).await;
    small.write_all(b"{}").await.unwrap();
    assert!(heard(&mut small, SOON).await.contains("ServiceSummaryList"));
    // Holders that send nothing lose their places.
    for holder in &mut holders {
        assert!(heard(holder, SOON).await.starts_with("HTTP/1.1 408"));
    }
    let body = b"{\"UploadId\": \"00000000000000000000000000000000\", \"Offset\": 0, \"Data\": \"eA==\"}";
    let mut after =
        api.open(&api.head("Apron.PutUploadPart", KEY, 0, body, "transfer-encoding: chunked")).await;
    after.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await.unwrap();
    after.write_all(body).await.unwrap();
    after.write_all(b"\r\n0\r\n\r\n").await.unwrap();
    let said = heard(&mut after, SOON).await;
    assert!(said.contains("ResourceNotFoundException"), "{said}");
}
