//! Health of one instance: what is asked, how answers count, and the last answer as the reason.
//!
//! While an instance starts, its listening socket is looked for every few milliseconds, and the service's own
//! check runs at once when it appears; until the first healthy verdict it is `Starting`, with a hint. An
//! application that is slow leaves its port closed or its callers waiting; one that answers with an error again and
//! again has started, and is `Unhealthy` without ever having been healthy; answers within the grace of a slow starter
//! are not counted for that. After the first verdict the check runs
//! on its interval, and thresholds of consecutive answers turn it. `Verdict` decides, `watch` acts.

mod probe;

use crate::local::instance::listening::{self, Readiness, Sockets};
use apron_model::instance::{Health, HealthCheck};
use apron_model::limits;
use probe::{Answer, Failing, probe};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// The listening socket is looked for this often at first, and ever less often for a slow program.
const LISTENING_POLL_MS_MIN: u64 = 2;
const LISTENING_POLL_MS_MAX: u64 = 100;
/// What a program that does not listen yet is waited for is told after this time: most listen before it.
const HINT_AFTER: Duration = Duration::from_millis(500);
/// A failed check of an instance that was never healthy is repeated after this time at first, doubled up to
/// the interval: the first healthy answer is what a deployment waits for.
const FIRST_RETRY_MS: u64 = 50;
/// News of an instance's health, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The expected port has a listening socket; seen once per start.
    Listening,
    Health(Health),
}

/// Counts consecutive answers against the service's thresholds.
#[derive(Clone, Debug)]
struct Verdict {
    healthy_threshold: u32,
    unhealthy_threshold: u32,
    /// Of an instance that was never healthy, so long each kind of failing answer makes it unhealthy.
    wrong_for: Duration,
    later_for: Duration,
    /// Before it the clock of failing answers does not run.
    counts_from: Instant,
    successes: u32,
    failures: u32,
    /// While it starts: since when every answer was wrong, and since when every one was wrong or an error.
    wrong_since: Option<Instant>,
    answers_since: Option<Instant>,
    health: Health,
}

impl Verdict {
    fn new(check: &HealthCheck, counts_from: Instant) -> Verdict {
        let wrong_for = Duration::from_millis(check.refused_after_ms());
        Verdict {
            healthy_threshold: check.healthy_threshold.max(1),
            unhealthy_threshold: check.unhealthy_threshold.max(1),
            wrong_for,
            later_for: wrong_for.max(Duration::from_millis(limits::ERRORS_AT_START_MS)),
            counts_from,
            successes: 0,
            failures: 0,
            wrong_since: None,
            answers_since: None,
            health: Health::Starting { hint: None },
        }
    }

    fn health(&self) -> &Health {
        &self.health
    }

    /// Takes a hint about an instance that is still starting. True when what is reported changes.
    fn hint(&mut self, text: String) -> bool {
        match &self.health {
            Health::Starting { hint } if hint.as_deref() != Some(&text) => {
                self.health = Health::Starting { hint: Some(text) };
                true
            }
            Health::Starting { .. } | Health::Healthy | Health::Unhealthy { .. } => false,
        }
    }

    /// Takes one answer. True when what is reported changes.
    fn answer(&mut self, answer: Answer, now: Instant) -> bool {
        let before = self.health.clone();
        match answer {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                (self.wrong_since, self.answers_since) = (None, None);
                if self.successes >= self.healthy_threshold {
                    self.health = Health::Healthy;
                } else if matches!(before, Health::Starting { .. }) {
                    self.health = Health::Starting { hint: None };
                }
            }
            Err(failing) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                let refused = self.refuses(&failing, now);
                let reason = failing.reason();
                self.health = match before {
                    Health::Starting { .. } if !refused => Health::Starting { hint: Some(reason) },
                    Health::Starting { .. } | Health::Unhealthy { .. } => Health::Unhealthy { reason },
                    Health::Healthy if self.failures >= self.unhealthy_threshold => {
                        Health::Unhealthy { reason }
                    }
                    Health::Healthy => Health::Healthy,
                };
            }
        }
        self.health != before
    }

    /// Whether one that starts has answered so for long enough.
    fn refuses(&mut self, failing: &Failing, now: Instant) -> bool {
        let (wrong, answers) = match failing {
            Failing::Silent(_) => (false, false),
            Failing::Later(_) => (false, true),
            Failing::Wrong(_) => (true, true),
        };
        self.wrong_since = wrong.then(|| self.wrong_since.unwrap_or(now));
        self.answers_since = answers.then(|| self.answers_since.unwrap_or(now));
        let counted = |since: Instant| now.saturating_duration_since(since.max(self.counts_from));
        let lasts = |since: Option<Instant>, time| since.is_some_and(|since| counted(since) >= time);
        lasts(self.wrong_since, self.wrong_for) || lasts(self.answers_since, self.later_for)
    }
}

/// Watches one running instance for ever and sends what changes. Ends when nobody listens any more.
/// `pid` is a process in the instance's network namespace. `known` is what was said of the same container before, by
/// this process or an earlier one: it holds until the checks say otherwise. Failing answers count from `counts_from`.
/// While `awake` says that the instance is throttled or frozen it is not asked.
pub async fn watch(
    check: HealthCheck,
    counts_from: Instant,
    address: SocketAddr,
    pid: i32,
    known: Health,
    awake: Option<watch::Receiver<bool>>,
    news: mpsc::Sender<News>,
) {
    let asked = check.clone();
    let mut sockets = None;
    let look = move || {
        let sockets = sockets.get_or_insert_with(|| Sockets::of(pid));
        sockets.listeners().map(|found| listening::readiness(&found, address.port())).ok()
    };
    let ask = move || {
        let check = asked.clone();
        async move { probe(&check, address).await }
    };
    watch_with(check, counts_from, known, look, ask, awake, news).await;
}

async fn watch_with<F: Future<Output = Answer>>(
    check: HealthCheck,
    counts_from: Instant,
    known: Health,
    look: impl FnMut() -> Option<Readiness>,
    ask: impl Fn() -> F,
    mut awake: Option<watch::Receiver<bool>>,
    news: mpsc::Sender<News>,
) {
    let interval = Duration::from_secs(u64::from(check.interval_s.max(1)));
    let mut verdict = Verdict::new(&check, counts_from);
    let starts = matches!(known, Health::Starting { .. });
    verdict.health = known;
    if starts {
        if wait_for_listener(&mut verdict, look, &news).await.is_err() {
            return;
        }
        if news.send(News::Listening).await.is_err() {
            return;
        }
    }
    let mut retry = Duration::from_millis(FIRST_RETRY_MS);
    loop {
        if let Some(awake) = &mut awake {
            tokio::select! {
                // Of one that is off the ladder this watch is about to end.
                woken = awake.wait_for(|awake| *awake) => if woken.is_err() { return },
                () = news.closed() => return,
            }
        }
        let began = Instant::now();
        let answer = ask().await;
        if awake.as_ref().is_some_and(|awake| awake.has_changed().unwrap_or(true)) {
            // It may be late because the instance was put to sleep meanwhile.
            continue;
        }
        if verdict.answer(answer, Instant::now())
            && news.send(News::Health(verdict.health().clone())).await.is_err()
        {
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
    mut look: impl FnMut() -> Option<Readiness>,
    news: &mpsc::Sender<News>,
) -> Result<(), ()> {
    let mut pause_ms = LISTENING_POLL_MS_MIN;
    let hints_from = Instant::now() + HINT_AFTER;
    loop {
        match look() {
            Some(Readiness::Listening) => return Ok(()),
            Some(Readiness::NotYet { hint })
                if Instant::now() >= hints_from && verdict.hint(hint.clone()) =>
            {
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

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::instance::HealthProtocol;
    use std::cell::{Cell, RefCell};

    fn check(protocol: HealthProtocol) -> HealthCheck {
        HealthCheck { protocol, interval_s: 5, timeout_s: 1, healthy_threshold: 2, unhealthy_threshold: 3 }
    }

    fn silent(reason: &str) -> Answer {
        Err(Failing::Silent(reason.to_owned()))
    }

    #[test]
    fn thresholds_turn_the_verdict() {
        let now = Instant::now();
        let mut verdict = Verdict::new(&check(HealthProtocol::Tcp), now);
        assert!(verdict.answer(silent("refused"), now));
        assert_eq!(verdict.health(), &Health::Starting { hint: Some("refused".into()) });
        assert!(verdict.answer(Ok(()), now), "one of two");
        assert_eq!(verdict.health(), &Health::Starting { hint: None }, "what was said before is over");
        assert!(verdict.answer(Ok(()), now));
        assert_eq!(verdict.health(), &Health::Healthy);
        for _ in 0..2 {
            assert!(!verdict.answer(silent("503"), now));
        }
        assert!(!verdict.answer(Ok(()), now), "a success in between begins the count anew");
        for _ in 0..2 {
            assert!(!verdict.answer(silent("503"), now));
        }
        assert!(verdict.answer(silent("503"), now));
        assert_eq!(verdict.health(), &Health::Unhealthy { reason: "503".into() });
        assert!(verdict.answer(silent("504"), now), "the reason is the last answer");
        assert!(!verdict.answer(Ok(()), now));
        assert!(verdict.answer(Ok(()), now));
        assert_eq!(verdict.health(), &Health::Healthy);
        assert!(!verdict.hint("listening on 8000".into()), "a hint is for starting only");
    }

    /// After how many seconds of this answer, every second, an instance that starts is unhealthy. Three in a row,
    /// five seconds apart, take ten.
    fn unhealthy_after(grace_s: u64, answer: impl Fn(u64) -> Answer) -> Option<u64> {
        let began = Instant::now();
        let counts_from = began + Duration::from_secs(grace_s);
        let mut verdict = Verdict::new(&check(HealthProtocol::Http { path: "/".into() }), counts_from);
        (0..400).find(|second| {
            verdict.answer(answer(*second), began + Duration::from_secs(*second));
            matches!(verdict.health(), Health::Unhealthy { .. })
        })
    }

    #[test]
    fn who_answers_wrongly_has_started_and_who_is_silent_has_not() {
        let (wrong, later) = (|| Err(Failing::Wrong("404".into())), || Err(Failing::Later("503".into())));
        let later_s = limits::ERRORS_AT_START_MS / 1000;
        assert_eq!(unhealthy_after(0, |_| wrong()), Some(10));
        assert_eq!(unhealthy_after(0, |_| later()), Some(later_s));
        assert_eq!(unhealthy_after(0, |_| silent("no answer")), None);
        assert_eq!(unhealthy_after(0, |at| if at < 60 { later() } else { wrong() }), Some(70));
        assert_eq!(unhealthy_after(0, |at| if at % 9 == 0 { later() } else { wrong() }), Some(later_s));
        assert_eq!(unhealthy_after(0, |at| if at % 9 == 0 { Ok(()) } else { wrong() }), None);
        assert_eq!(unhealthy_after(0, |at| if at % 9 == 0 { silent("closed") } else { later() }), None);
        for grace_s in [60, 120, 200] {
            assert_eq!(unhealthy_after(grace_s, |_| later()), Some(grace_s + later_s));
            assert_eq!(unhealthy_after(grace_s, |_| wrong()), Some(grace_s + 10));
        }
        let slow = |at| match at {
            0..50 => wrong(),
            50..110 => later(),
            _ => Ok(()),
        };
        assert_eq!(unhealthy_after(60, slow), None, "none of its answers was wrong for long after the grace");
        let hasty = HealthCheck { unhealthy_threshold: 1, ..check(HealthProtocol::Tcp) };
        assert_eq!(hasty.refused_after_ms(), 5_000, "no first answer is the last");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_check_follows_the_listener_at_once_and_then_the_interval() {
        let (sender, mut news) = mpsc::channel(64);
        let began = Instant::now();
        let looks = Cell::new(0);
        let asked = RefCell::new(Vec::new());
        let look = || {
            looks.set(looks.get() + 1);
            Some(if began.elapsed() < Duration::from_millis(700) {
                Readiness::NotYet { hint: "nothing listens yet".into() }
            } else {
                Readiness::Listening
            })
        };
        let ask = || {
            asked.borrow_mut().push(began.elapsed());
            std::future::ready(Ok(()))
        };
        let unknown = Health::Starting { hint: None };
        let watching = watch_with(check(HealthProtocol::Tcp), began, unknown, look, ask, None, sender);
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
        // One healthy answer of two ends what was said before.
        let answers = News::Health(Health::Starting { hint: None });
        assert_eq!(seen, [starting, News::Listening, answers, News::Health(Health::Healthy)]);
        let asked = asked.into_inner();
        assert!(asked[0] < Duration::from_millis(800), "{asked:?}");
        assert_eq!(asked[1] - asked[0], Duration::from_millis(FIRST_RETRY_MS));
        assert_eq!(asked[2] - asked[1], Duration::from_secs(5));
        assert!(looks.get() < 40, "{} looks", looks.get());
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_quick_start_no_hint_is_told() {
        let (sender, mut news) = mpsc::channel(64);
        let began = Instant::now();
        let look = || {
            Some(if began.elapsed() < Duration::from_millis(300) {
                Readiness::NotYet { hint: "nothing listens yet".into() }
            } else {
                Readiness::Listening
            })
        };
        let ask = || std::future::ready(Ok(()));
        let unknown = Health::Starting { hint: None };
        let watching = watch_with(check(HealthProtocol::Tcp), began, unknown, look, ask, None, sender);
        let reading = async {
            let seen = [news.recv().await, news.recv().await];
            news.close();
            seen
        };
        let ((), seen) = tokio::join!(watching, reading);
        assert_eq!(seen, [Some(News::Listening), Some(News::Health(Health::Healthy))]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_sleeps_is_not_asked_and_an_answer_from_before_does_not_count() {
        let (sender, mut news) = mpsc::channel(64);
        let (awake_to, awake) = watch::channel(true);
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            let awake_to = awake_to.clone();
            let number = asked.get();
            async move {
                // The second is put to sleep while it is asked, and is late for it.
                match number {
                    2 => {
                        awake_to.send_replace(false);
                        silent("too late")
                    }
                    _ => Ok(()),
                }
            }
        };
        let look = || -> Option<Readiness> { panic!("it has listened") };
        let hasty = HealthCheck { unhealthy_threshold: 1, ..check(HealthProtocol::Tcp) };
        let watching = watch_with(hasty, Instant::now(), Health::Healthy, look, ask, Some(awake), sender);
        let reading = async {
            sleep(Duration::from_secs(100)).await;
            assert_eq!(asked.get(), 2);
            awake_to.send_replace(true);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(asked.get(), 3, "at once when it wakes");
            news.close();
            news.try_recv()
        };
        let ((), heard) = tokio::join!(watching, reading);
        assert!(heard.is_err(), "{heard:?}");
    }

    /// One that hangs is not taken for one that starts, because another process looks at it now.
    #[tokio::test(start_paused = true)]
    async fn what_failed_before_fails_until_it_is_healthy() {
        let (sender, mut news) = mpsc::channel(64);
        let began = Instant::now();
        let look = || -> Option<Readiness> { panic!("it has listened") };
        let ask = || {
            let hangs = began.elapsed() < Duration::from_secs(12);
            std::future::ready(if hangs { silent("no answer") } else { Ok(()) })
        };
        let known = Health::Unhealthy { reason: "no answer".to_owned() };
        let watching = watch_with(check(HealthProtocol::Tcp), began, known, look, ask, None, sender);
        let reading = async {
            let first = news.recv().await;
            news.close();
            (first, began.elapsed().as_secs())
        };
        let ((), seen) = tokio::join!(watching, reading);
        assert_eq!(seen, (Some(News::Health(Health::Healthy)), 20));
    }
}
