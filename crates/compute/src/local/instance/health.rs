//! Health of one instance: what is asked, how answers count, and the last answer as the reason.
//!
//! While an instance starts, its listening socket is looked for every few milliseconds, and the service's own
//! check runs at once when it appears; until the first healthy verdict it is `Starting`, with a hint. After
//! that the check runs on its interval, and thresholds of consecutive answers turn the verdict. `Verdict`
//! decides, `watch` acts.

use crate::local::instance::listening::{self, Readiness};
use apron_model::instance::{Health, HealthCheck, HealthProtocol};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// The listening socket is looked for this often at first, and ever less often for a slow program.
const LISTENING_POLL_MS_MIN: u64 = 2;
const LISTENING_POLL_MS_MAX: u64 = 100;
/// A failed check of an instance that was never healthy is repeated after this time at first, doubled up to
/// the interval: the first healthy answer is what a deployment waits for.
const FIRST_RETRY_MS: u64 = 50;
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
pub type Answer = Result<(), String>;

/// News of an instance's health, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The expected port has a listening socket; seen once per start.
    Listening,
    Health(Health),
}

/// Counts consecutive answers against the service's thresholds.
#[derive(Clone, Debug)]
pub struct Verdict {
    healthy_threshold: u32,
    unhealthy_threshold: u32,
    successes: u32,
    failures: u32,
    health: Health,
}

impl Verdict {
    pub fn new(check: &HealthCheck) -> Verdict {
        Verdict {
            healthy_threshold: check.healthy_threshold.max(1),
            unhealthy_threshold: check.unhealthy_threshold.max(1),
            successes: 0,
            failures: 0,
            health: Health::Starting { hint: None },
        }
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Takes a hint about an instance that is still starting. True when what is reported changes.
    pub fn hint(&mut self, text: String) -> bool {
        match &self.health {
            Health::Starting { hint } if hint.as_deref() != Some(&text) => {
                self.health = Health::Starting { hint: Some(text) };
                true
            }
            Health::Starting { .. } | Health::Healthy | Health::Unhealthy { .. } => false,
        }
    }

    /// Takes one answer. True when what is reported changes.
    pub fn answer(&mut self, answer: Answer) -> bool {
        let before = self.health.clone();
        match answer {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes >= self.healthy_threshold {
                    self.health = Health::Healthy;
                }
            }
            Err(reason) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.health = match before {
                    Health::Starting { .. } => Health::Starting { hint: Some(reason) },
                    Health::Unhealthy { .. } => Health::Unhealthy { reason },
                    Health::Healthy if self.failures >= self.unhealthy_threshold => {
                        Health::Unhealthy { reason }
                    }
                    Health::Healthy => Health::Healthy,
                };
            }
        }
        self.health != before
    }
}

/// Watches one running instance for ever and sends what changes. Ends when nobody listens any more.
/// `pid` is a process in the instance's network namespace. `adopted` says that the instance was healthy before
/// this process started: it counts as healthy until its checks say otherwise.
pub async fn watch(
    check: HealthCheck,
    address: SocketAddr,
    pid: i32,
    adopted: bool,
    news: mpsc::Sender<News>,
) {
    let asked = check.clone();
    let look =
        move || listening::listeners(pid).map(|found| listening::readiness(&found, address.port())).ok();
    let ask = move || {
        let check = asked.clone();
        async move { probe(&check, address).await }
    };
    watch_with(check, adopted, look, ask, news).await;
}

async fn watch_with<F: Future<Output = Answer>>(
    check: HealthCheck,
    adopted: bool,
    look: impl Fn() -> Option<Readiness>,
    ask: impl Fn() -> F,
    news: mpsc::Sender<News>,
) {
    let interval = Duration::from_secs(u64::from(check.interval_s.max(1)));
    let mut verdict = Verdict::new(&check);
    if adopted {
        verdict.health = Health::Healthy;
    } else {
        if wait_for_listener(&mut verdict, look, &news).await.is_err() {
            return;
        }
        if news.send(News::Listening).await.is_err() {
            return;
        }
    }
    let mut retry = Duration::from_millis(FIRST_RETRY_MS);
    loop {
        let began = Instant::now();
        if verdict.answer(ask().await) && news.send(News::Health(verdict.health().clone())).await.is_err() {
            return;
        }
        let pause = match verdict.health() {
            Health::Starting { .. } => {
                let pause = retry.min(interval);
                retry = (retry * 2).min(interval);
                pause
            }
            Health::Healthy | Health::Unhealthy { .. } => interval.saturating_sub(began.elapsed()),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = news.closed() => return,
        }
    }
}

/// Polls until something listens on the port. An error means that nobody wants to know any more.
async fn wait_for_listener(
    verdict: &mut Verdict,
    look: impl Fn() -> Option<Readiness>,
    news: &mpsc::Sender<News>,
) -> Result<(), ()> {
    let mut pause_ms = LISTENING_POLL_MS_MIN;
    loop {
        match look() {
            Some(Readiness::Listening) => return Ok(()),
            Some(Readiness::NotYet { hint }) if verdict.hint(hint.clone()) => {
                news.send(News::Health(verdict.health().clone())).await.map_err(drop)?;
            }
            // Nothing new, or the process is gone: its exit is reported elsewhere and ends this watch.
            Some(Readiness::NotYet { .. }) | None => {}
        }
        tokio::select! {
            () = sleep(Duration::from_millis(pause_ms)) => {}
            () = news.closed() => return Err(()),
        }
        pause_ms = (pause_ms + pause_ms.div_ceil(4)).min(LISTENING_POLL_MS_MAX);
    }
}

/// Asks once. The verdict on an answer comes within the check's time-out; its rest is waited for a moment longer.
pub async fn probe(check: &HealthCheck, address: SocketAddr) -> Answer {
    let limit = Duration::from_secs(u64::from(check.timeout_s.max(1)));
    match &check.protocol {
        HealthProtocol::Tcp => match timeout(limit, connect(address)).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(format!("no connection to port {} in {} s", address.port(), limit.as_secs())),
        },
        HealthProtocol::Http { path } => {
            let Ok(asked) = timeout(limit, http(address, path)).await else {
                return Err(format!("no answer to GET {path} in {} s", limit.as_secs()));
            };
            let (status, stream) = asked?;
            // An unfinished rest says nothing about health.
            let _ = timeout(REST_WAIT, read_rest(stream)).await;
            match status {
                200..=399 => Ok(()),
                _ => Err(format!("GET {path} answered {status}")),
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("connection refused on port {}", address.port()),
        _ => format!("cannot connect to port {}: {e}", address.port()),
    })
}

/// The status of the final answer, and the connection on which the rest of it comes.
async fn http(address: SocketAddr, path: &str) -> Result<(u16, TcpStream), String> {
    // A path with blanks or control characters could end the request line.
    if !path.starts_with('/') || path.chars().any(|c| c.is_ascii_control() || c == ' ') {
        return Err(format!("'{}' is not a path that can be asked for", cut(path)));
    }
    let mut stream = connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Apron-HealthCheck/1.0\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("GET {path} could not be sent: {e}"))?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    loop {
        match final_status(&head) {
            Head::Status(status) => return Ok((status, stream)),
            Head::NotHttp(line) => {
                return Err(format!("GET {path} answered something that is not HTTP/1: {line}"));
            }
            Head::Incomplete if head.len() >= HEAD_BYTES_MAX => {
                return Err(format!("GET {path} got no status in {HEAD_BYTES_MAX} bytes of answer"));
            }
            Head::Incomplete => {}
        }
        let read = stream.read(&mut part).await;
        let length = read.map_err(|e| format!("GET {path} got no whole answer: {e}"))?;
        if length == 0 {
            return Err(match head.is_empty() {
                true => format!("GET {path} got no answer: the connection was closed"),
                false => format!("GET {path} got no whole answer: the connection was closed"),
            });
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
    use std::cell::{Cell, RefCell};
    use tokio::net::TcpListener;

    fn check(protocol: HealthProtocol) -> HealthCheck {
        HealthCheck { protocol, interval_s: 5, timeout_s: 1, healthy_threshold: 2, unhealthy_threshold: 3 }
    }

    #[test]
    fn thresholds_turn_the_verdict() {
        let mut verdict = Verdict::new(&check(HealthProtocol::Tcp));
        assert!(verdict.answer(Err("refused".into())));
        assert_eq!(verdict.health(), &Health::Starting { hint: Some("refused".into()) });
        assert!(!verdict.answer(Ok(())), "one of two");
        assert!(verdict.answer(Ok(())));
        assert_eq!(verdict.health(), &Health::Healthy);
        for _ in 0..2 {
            assert!(!verdict.answer(Err("503".into())));
        }
        assert!(!verdict.answer(Ok(())), "a success in between begins the count anew");
        for _ in 0..2 {
            assert!(!verdict.answer(Err("503".into())));
        }
        assert!(verdict.answer(Err("503".into())));
        assert_eq!(verdict.health(), &Health::Unhealthy { reason: "503".into() });
        assert!(verdict.answer(Err("504".into())), "the reason is the last answer");
        assert!(!verdict.answer(Ok(())));
        assert!(verdict.answer(Ok(())));
        assert_eq!(verdict.health(), &Health::Healthy);
        assert!(!verdict.hint("listening on 8000".into()), "a hint is for starting only");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_check_follows_the_listener_at_once_and_then_the_interval() {
        let (sender, mut news) = mpsc::channel(64);
        let began = Instant::now();
        let looks = Cell::new(0);
        let asked = RefCell::new(Vec::new());
        let look = || {
            looks.set(looks.get() + 1);
            Some(if began.elapsed() < Duration::from_millis(300) {
                Readiness::NotYet { hint: "nothing listens yet".into() }
            } else {
                Readiness::Listening
            })
        };
        let ask = || {
            asked.borrow_mut().push(began.elapsed());
            std::future::ready(Ok(()))
        };
        let watching = watch_with(check(HealthProtocol::Tcp), false, look, ask, sender);
        let reading = async {
            let mut seen = Vec::new();
            while seen.last() != Some(&News::Health(Health::Healthy)) {
                seen.push(news.recv().await.unwrap());
            }
            sleep(Duration::from_secs(11)).await;
            news.close();
            seen
        };
        let ((), seen) = tokio::join!(watching, reading);
        let starting = News::Health(Health::Starting { hint: Some("nothing listens yet".into()) });
        assert_eq!(seen, [starting, News::Listening, News::Health(Health::Healthy)]);
        let asked = asked.into_inner();
        assert!(asked[0] < Duration::from_millis(400), "{asked:?}");
        assert_eq!(asked[1] - asked[0], Duration::from_millis(FIRST_RETRY_MS));
        assert_eq!(asked[2] - asked[1], Duration::from_secs(5));
        assert!(looks.get() < 40, "{} looks", looks.get());
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
        let (redirect, busy, early, late, closed, garbage, endless) = tokio::join!(
            answer_of(b"HTTP/1.0 302 Found\r\n"),
            answer_of(b"HTTP/1.1 503 Busy\r\n"),
            answer_of(then_200.leak()),
            answer_of(then_500.leak()),
            answer_of(b""),
            answer_of(b"SSH-2.0-x\r\n"),
            answer_of(&[b'H'; 2000]),
        );
        assert_eq!(redirect.0, Ok(()));
        assert_eq!(busy.0, Err("GET /up answered 503".into()));
        assert_eq!(early.0, Ok(()));
        assert_eq!(late.0, Err("GET /up answered 500".into()));
        assert_eq!(closed.0, Err("GET /up got no answer: the connection was closed".into()));
        let not_http = "GET /up answered something that is not HTTP/1: ";
        assert_eq!(garbage.0, Err(format!("{not_http}SSH-2.0-x")));
        assert!(endless.0.unwrap_err().starts_with(not_http));
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
        assert_eq!((passed, failed), (Ok(()), Err("no answer to GET /up in 1 s".into())));
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
        assert_eq!(never, Err("GET /up got no status in 16384 bytes of answer".into()));
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
        assert_eq!(probe(&http, address).await, Err("no answer to GET / in 1 s".into()));
        drop(listener);
        let refused = Err(format!("connection refused on port {}", address.port()));
        assert_eq!(probe(&check(HealthProtocol::Tcp), address).await, refused);
        let odd = check(HealthProtocol::Http { path: "/ HTTP/1.1\r\nX: y".into() });
        assert!(probe(&odd, address).await.unwrap_err().contains("not a path"));
    }
}
