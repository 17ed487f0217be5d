//! One check of one instance: what is asked, and what the answer says.

use apron_model::instance::{HealthCheck, HealthProtocol};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The status is looked for in this much of an answer: interim answers with their headers may come before it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After the status an answer is read on to its end, because a server that still writes when the connection is
/// closed logs an error at each check; but no longer and no more than this.
const REST_WAIT: Duration = Duration::from_millis(100);
const REST_BYTES_MAX: usize = 64 * 1024;
/// A status line is shorter; what has no line end in so many bytes has none.
const LINE_BYTES_MAX: usize = 1024;
/// Longer status lines and errors are cut in reasons.
const REASON_CHARS_MAX: usize = 200;

/// One answer to one check.
pub(super) type Answer = Result<(), Failing>;

/// A check that was not passed, and why in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// No answer came, as from whoever is still starting.
    Silent(String),
    /// An error that may pass: a status from 500, or one that says "later".
    Later(String),
    /// Whoever asks again is told the same: the path is another, it wants a key, or this is not HTTP.
    Wrong(String),
}

impl Failing {
    pub(super) fn reason(self) -> String {
        match self {
            Failing::Silent(reason) | Failing::Later(reason) | Failing::Wrong(reason) => reason,
        }
    }
}

/// Asks once. The verdict on an answer comes within the check's time-out; its rest is waited for a moment longer.
pub(super) async fn probe(check: &HealthCheck, address: SocketAddr) -> Answer {
    let limit = Duration::from_secs(u64::from(check.timeout_s.max(1)));
    match &check.protocol {
        HealthProtocol::Tcp => match timeout(limit, connect(address)).await {
            Ok(connected) => connected.map(drop),
            Err(_) => {
                let reason = format!("no connection to port {} in {} s", address.port(), limit.as_secs());
                Err(Failing::Silent(reason))
            }
        },
        HealthProtocol::Http { path } => {
            let Ok(asked) = timeout(limit, http(address, path)).await else {
                return Err(Failing::Silent(format!("no answer to GET {path} in {} s", limit.as_secs())));
            };
            let (status, stream) = asked?;
            // An unfinished rest says nothing about health.
            let _ = timeout(REST_WAIT, read_rest(stream)).await;
            let reason = || format!("GET {path} answered {status}");
            match status {
                200..=399 => Ok(()),
                // A time-out, too early, and too many requests.
                408 | 425 | 429 | 500.. => Err(Failing::Later(reason())),
                _ => Err(Failing::Wrong(reason())),
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Failing> {
    TcpStream::connect(address).await.map_err(|e| {
        Failing::Silent(match e.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("connection refused on port {}", address.port()),
            _ => format!("cannot connect to port {}: {e}", address.port()),
        })
    })
}

/// The status of the final answer, and the connection on which the rest of it comes.
async fn http(address: SocketAddr, path: &str) -> Result<(u16, TcpStream), Failing> {
    // A path with blanks or control characters could end the request line.
    if !path.starts_with('/') || path.chars().any(|c| c.is_ascii_control() || c == ' ') {
        return Err(Failing::Wrong(format!("'{}' is not a path that can be asked for", cut(path))));
    }
    let mut stream = connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Apron-HealthCheck/1.0\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|e| Failing::Silent(format!("GET {path} could not be sent: {e}")))?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    loop {
        match final_status(&head) {
            Head::Status(status) => return Ok((status, stream)),
            Head::NotHttp(line) => {
                let reason = format!("GET {path} answered something that is not HTTP/1: {line}");
                return Err(Failing::Wrong(reason));
            }
            Head::Incomplete if head.len() >= HEAD_BYTES_MAX => {
                let reason = format!("GET {path} got no status in {HEAD_BYTES_MAX} bytes of answer");
                return Err(Failing::Wrong(reason));
            }
            Head::Incomplete => {}
        }
        let read = stream.read(&mut part).await;
        let length = read.map_err(|e| Failing::Silent(format!("GET {path} got no whole answer: {e}")))?;
        if length == 0 {
            return Err(Failing::Silent(match head.is_empty() {
                true => format!("GET {path} got no answer: the connection was closed"),
                false => format!("GET {path} got no whole answer: the connection was closed"),
            }));
        }
        head.extend(&part[..length]);
    }
}

/// What the beginning of an answer tells.
enum Head {
    Status(u16),
    NotHttp(String),
    Incomplete,
}

/// The first status that is not an interim one (100 to 199, of which an answer may have several before the final).
fn final_status(mut head: &[u8]) -> Head {
    loop {
        let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
            return match b"HTTP/1.".starts_with(&head[..head.len().min(7)]) && head.len() < LINE_BYTES_MAX {
                true => Head::Incomplete,
                false => Head::NotHttp(cut(&String::from_utf8_lossy(head))),
            };
        };
        let line = String::from_utf8_lossy(&head[..end]);
        match status(&line) {
            Some(100..=199) => match end_of_headers(head) {
                Some(end) => head = &head[end..],
                None => return Head::Incomplete,
            },
            Some(status) => return Head::Status(status),
            None => return Head::NotHttp(cut(&line)),
        }
    }
}

/// Where the first blank line ends.
fn end_of_headers(head: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = head[at..].iter().position(|byte| *byte == b'\n')? + 1;
        let blank = matches!(&head[at..at + length], b"\n" | b"\r\n");
        at += length;
        if blank {
            return Some(at);
        }
    }
}

/// Reads to the end of the answer, within bounds.
async fn read_rest(mut stream: TcpStream) {
    let mut part = [0; 4096];
    let mut left = REST_BYTES_MAX;
    while let Ok(length @ 1..) = stream.read(&mut part).await
        && left > length
    {
        left -= length;
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?.get(1..)?.strip_prefix(' ')?;
    rest.split_whitespace().next().filter(|code| code.len() == 3)?.parse().ok()
}

/// Text for a reason: bounded, and without control characters.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    fn check(protocol: HealthProtocol) -> HealthCheck {
        HealthCheck { protocol, interval_s: 5, timeout_s: 1, healthy_threshold: 1, unhealthy_threshold: 1 }
    }

    fn silent(reason: &str) -> Answer {
        Err(Failing::Silent(reason.to_owned()))
    }

    fn http_check(timeout_s: u32) -> HealthCheck {
        HealthCheck { timeout_s, ..check(HealthProtocol::Http { path: "/up".into() }) }
    }

    /// A server that reads one request and then does with the connection what it is told.
    async fn server<F: Future<Output = ()> + Send>(
        answer: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            answer(stream).await;
            String::from_utf8_lossy(&request[..length]).replace(&address.to_string(), "ADDRESS")
        });
        (address, served)
    }

    /// One answer of a real server to one HTTP check, and the request.
    async fn answer_of(reply: &'static [u8]) -> (Answer, String) {
        let (address, served) = server(async move |mut stream: TcpStream| {
            stream.write_all(reply).await.unwrap();
            // A server that keeps the connection open must not delay the verdict.
            sleep(Duration::from_millis(if reply.is_empty() { 0 } else { 1500 })).await;
        })
        .await;
        (probe(&http_check(1), address).await, served.await.unwrap())
    }

    #[tokio::test]
    async fn http_from_200_to_399_is_healthy() {
        let (answer, request) = answer_of(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(answer, Ok(()));
        assert!(request.starts_with("GET /up HTTP/1.1\r\nHost: ADDRESS\r\n"), "{request}");
        assert!(request.contains("User-Agent: Apron-HealthCheck/1.0\r\n"), "{request}");
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 ";
        let (then_200, then_500) =
            ([&early[..], b"200 OK\r\n"].concat(), [&early[..], b"500 No\r\n"].concat());
        let (redirect, missing, busy, early, late, closed, garbage, endless) = tokio::join!(
            answer_of(b"HTTP/1.0 302 Found\r\n"),
            answer_of(b"HTTP/1.1 404 Not Found\r\n"),
            answer_of(b"HTTP/1.1 503 Busy\r\n"),
            answer_of(then_200.leak()),
            answer_of(then_500.leak()),
            answer_of(b""),
            answer_of(b"SSH-2.0-x\r\n"),
            answer_of(&[b'H'; 2000]),
        );
        assert_eq!(redirect.0, Ok(()));
        assert_eq!(busy.0, Err(Failing::Later("GET /up answered 503".into())));
        assert_eq!(missing.0, Err(Failing::Wrong("GET /up answered 404".into())));
        assert_eq!(early.0, Ok(()));
        assert_eq!(late.0, Err(Failing::Later("GET /up answered 500".into())));
        assert_eq!(closed.0, silent("GET /up got no answer: the connection was closed"));
        let not_http = "GET /up answered something that is not HTTP/1: ";
        assert_eq!(garbage.0, Err(Failing::Wrong(format!("{not_http}SSH-2.0-x"))));
        assert!(endless.0.unwrap_err().reason().starts_with(not_http));
    }

    #[tokio::test]
    async fn the_time_out_is_the_services_own() {
        let slow = async || {
            let (address, _) = server(async |mut stream: TcpStream| {
                sleep(Duration::from_secs(2)).await;
                // The one that does not wait is gone.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            })
            .await;
            address
        };
        let began = Instant::now();
        let (patient, impatient) = (http_check(3), http_check(1));
        let (one, other) = (slow().await, slow().await);
        let asked = async { (probe(&impatient, other).await, began.elapsed()) };
        let (passed, (failed, after)) = tokio::join!(probe(&patient, one), asked);
        assert_eq!((passed, failed), (Ok(()), silent("no answer to GET /up in 1 s")));
        assert!((1000..1300).contains(&after.as_millis()), "{after:?}");
    }

    #[tokio::test]
    async fn what_a_server_sends_without_end_is_not_read_without_end() {
        let flood = async |status: &'static [u8], part: &'static [u8]| {
            let (address, served) = server(async move |mut stream: TcpStream| {
                stream.write_all(status).await.unwrap();
                // Until the check closes the connection.
                while stream.write_all(part).await.is_ok() {}
            })
            .await;
            let began = Instant::now();
            let answer = probe(&http_check(1), address).await;
            let closed = timeout(Duration::from_secs(1), served).await;
            closed.expect("the connection is closed with the verdict").unwrap();
            assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
            answer
        };
        assert_eq!(flood(b"HTTP/1.1 200 OK\r\n\r\n", b"body").await, Ok(()));
        assert_eq!(flood(b"HTTP/1.1 200 OK\r\n", b"x-header: y\r\n").await, Ok(()));
        let never = flood(b"HTTP/1.1 100 Continue\r\n", b"x-header: y\r\n").await;
        assert_eq!(never, Err(Failing::Wrong("GET /up got no status in 16384 bytes of answer".into())));
        let dripping = server(async |mut stream: TcpStream| {
            while stream.write_all(b"H").await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        let (address, _) = dripping.await;
        assert!(probe(&http_check(1), address).await.is_err());
    }

    #[tokio::test]
    async fn a_server_may_finish_its_answer_and_is_then_left() {
        let (address, served) = server(async |mut stream: TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            sleep(Duration::from_millis(30)).await;
            stream.write_all(b"late").await.expect("nobody has closed it");
            let _ = stream.shutdown().await;
            let mut rest = [0; 16];
            let end = timeout(Duration::from_secs(1), stream.read(&mut rest)).await;
            assert_eq!(end.expect("the check closes its end too").unwrap(), 0);
        })
        .await;
        assert_eq!(probe(&http_check(1), address).await, Ok(()));
        served.await.unwrap();
    }

    #[tokio::test]
    async fn silence_and_refusal_have_reasons() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(probe(&check(HealthProtocol::Tcp), address).await, Ok(()));
        let http = check(HealthProtocol::Http { path: "/".into() });
        assert_eq!(probe(&http, address).await, silent("no answer to GET / in 1 s"));
        drop(listener);
        let refused = silent(&format!("connection refused on port {}", address.port()));
        assert_eq!(probe(&check(HealthProtocol::Tcp), address).await, refused);
        let odd = check(HealthProtocol::Http { path: "/ HTTP/1.1\r\nX: y".into() });
        assert!(probe(&odd, address).await.unwrap_err().reason().contains("not a path"));
    }
}
