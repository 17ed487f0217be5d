//! Health of one instance: what is asked, how answers count, and the last answer as the reason.
//!
//! While an instance starts, its listening socket is looked for every few milliseconds, and the service's own
//! check runs at once when it appears; until the first healthy verdict it is `Starting`, with a hint. After
//! that the check runs on its interval, and thresholds of consecutive answers turn the verdict. `Verdict`
//! decides, `watch` acts.

use super::listening::{self, Readiness};
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
/// The status line of an answer is looked for in this much of it.
const STATUS_BYTES_MAX: usize = 1024;
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

/// Asks once, within the check's time-out.
pub async fn probe(check: &HealthCheck, address: SocketAddr) -> Answer {
    let limit = Duration::from_secs(u64::from(check.timeout_s.max(1)));
    let asked = async {
        match &check.protocol {
            HealthProtocol::Tcp => connect(address).await.map(drop),
            HealthProtocol::Http { path } => http(address, path).await,
        }
    };
    timeout(limit, asked).await.unwrap_or_else(|_| {
        Err(match &check.protocol {
            HealthProtocol::Tcp => {
                format!("no connection to port {} in {} s", address.port(), limit.as_secs())
            }
            HealthProtocol::Http { path } => format!("no answer to GET {path} in {} s", limit.as_secs()),
        })
    })
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("connection refused on port {}", address.port()),
        _ => format!("cannot connect to port {}: {e}", address.port()),
    })
}

async fn http(address: SocketAddr, path: &str) -> Answer {
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
    let mut head = Vec::with_capacity(STATUS_BYTES_MAX);
    while !head.contains(&b'\n') && head.len() < STATUS_BYTES_MAX {
        let mut part = [0; STATUS_BYTES_MAX];
        let length =
            stream.read(&mut part).await.map_err(|e| format!("GET {path} got no whole answer: {e}"))?;
        if length == 0 {
            break;
        }
        head.extend(&part[..length]);
    }
    if head.is_empty() {
        return Err(format!("GET {path} got no answer: the connection was closed"));
    }
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\n').next().unwrap_or_default());
    match status(&line) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("GET {path} answered {status}")),
        None => Err(format!("GET {path} answered something that is not HTTP/1: {}", cut(line.trim()))),
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

    /// One answer of a real server to one HTTP check.
    async fn answer_of(reply: &'static [u8]) -> (Answer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(reply).await.unwrap();
            // A server that keeps the connection open must not delay the verdict.
            sleep(Duration::from_millis(if reply.is_empty() { 0 } else { 1500 })).await;
            String::from_utf8_lossy(&request[..length]).replace(&address.to_string(), "ADDRESS")
        });
        let answer = probe(&check(HealthProtocol::Http { path: "/up".into() }), address).await;
        (answer, served.await.unwrap())
    }

    #[tokio::test]
    async fn http_from_200_to_399_is_healthy() {
        let (answer, request) = answer_of(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(answer, Ok(()));
        assert!(request.starts_with("GET /up HTTP/1.1\r\nHost: ADDRESS\r\n"), "{request}");
        assert!(request.contains("User-Agent: Apron-HealthCheck/1.0\r\n"), "{request}");
        assert_eq!(answer_of(b"HTTP/1.0 302 Found\r\n").await.0, Ok(()));
        assert_eq!(answer_of(b"HTTP/1.1 503 Busy\r\n").await.0, Err("GET /up answered 503".into()));
        let closed = Err("GET /up got no answer: the connection was closed".into());
        assert_eq!(answer_of(b"").await.0, closed);
        let (garbage, _) = answer_of(b"SSH-2.0-x\r\n").await;
        assert_eq!(garbage, Err("GET /up answered something that is not HTTP/1: SSH-2.0-x".into()));
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
