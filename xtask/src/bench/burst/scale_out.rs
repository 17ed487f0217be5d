//! From one idle instance to three, under forty requests at once.

use super::super::asks::{self, Asked, ms};
use super::super::instances::{self, Rung, Wanted};
use super::super::platform::Platform;
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict, interrupt};
use super::{PYTHON, own_start, scale};
use anyhow::{Context, Result, anyhow, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

const CLIENTS: usize = 40;
const CONCURRENCY: usize = 10;
const INSTANCES: usize = 3;
/// What a request takes in the application.
const HANDLER_MS: u64 = 75;
/// Three that serve, or the burst has failed.
const BURST_TIME_MAX: Duration = Duration::from_secs(20);
/// Twenty quiet seconds, and a drain.
const CALM_TIME_MAX: Duration = Duration::from_secs(180);
/// How exactly the node's list is watched.
const WATCH_PAUSE: Duration = Duration::from_millis(1);
/// Milliseconds over the application's own start, and from a request that has to wait to the decision.
const SERVE_BAR_MS: f64 = 250.0;
const DECISION_BAR_MS: f64 = 100.0;

/// One burst, in milliseconds.
struct Burst {
    /// From the first request to the second and to the third instance's first request.
    second: f64,
    third: f64,
    /// From the first request that found no place to the node's list with another instance in it.
    decision: f64,
    /// Two of the program alone, started at once, until both listen.
    own: f64,
    requests: usize,
    failed: usize,
}

impl Burst {
    /// The platform's part of the later one.
    fn over(&self) -> f64 {
        self.third - self.own
    }
}

/// What clients have seen together.
#[derive(Default)]
struct Seen {
    /// When each process took its first request.
    served: BTreeMap<String, Instant>,
    /// When each client began to write its first request.
    written: Vec<Instant>,
    requests: usize,
    failed: usize,
}

pub(super) fn run(platform: &Platform, root: &Path, effort: Effort) -> Result<Outcome> {
    scale(platform, root, CONCURRENCY, INSTANCES)?;
    let mut bursts = Vec::new();
    for round in 1..=(effort.starts / 4).max(2) {
        eprintln!("burst {round}");
        alone(platform)?;
        let own = own_start::ms_of(platform, INSTANCES - 1)?;
        bursts.push(burst(platform, own)?);
    }
    alone(platform)?;
    outcome(&bursts)
}

/// Waits until the service has one instance, which is idle.
fn alone(platform: &Platform) -> Result<()> {
    let began = Instant::now();
    while instances::of(platform, PYTHON)?.len() != 1 {
        ensure!(began.elapsed() < CALM_TIME_MAX, "more than one instance stays without a request");
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    instances::only(platform, PYTHON)?.sleeps(Rung::Throttled)
}

fn burst(platform: &Platform, own: f64) -> Result<Burst> {
    let data = platform.data()?;
    let before = Wanted::list(&data)?.len();
    let (over, seen) = (AtomicBool::new(false), Mutex::new(Seen::default()));
    let barrier = Barrier::new(CLIENTS + 1);
    let decided = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| client(platform, &barrier, &over, &seen));
        }
        barrier.wait();
        let decided = watch(&data, before, &over);
        let began = Instant::now();
        while !over.load(Ordering::Relaxed) && began.elapsed() < BURST_TIME_MAX {
            std::thread::sleep(WATCH_PAUSE);
        }
        over.store(true, Ordering::Relaxed);
        decided
    });
    let mut seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    seen.written.sort();
    let mut served: Vec<Instant> = seen.served.into_values().collect();
    served.sort();
    ensure!(served.len() == INSTANCES, "{} instances served in {BURST_TIME_MAX:?}", served.len());
    let began = *seen.written.first().context("nobody asked")?;
    // So many have a place; the next one is the first that has to wait.
    let waits = *seen.written.get(CONCURRENCY).context("too few asked")?;
    Ok(Burst {
        second: ms(served[1] - began),
        third: ms(served[2] - began),
        decision: ms(decided?.saturating_duration_since(waits)),
        own,
        requests: seen.requests,
        failed: seen.failed,
    })
}

/// When the node's list had more entries than these.
fn watch(data: &Path, before: usize, over: &AtomicBool) -> Result<Instant> {
    let began = Instant::now();
    while Wanted::list(data)?.len() <= before {
        let late = over.load(Ordering::Relaxed) || began.elapsed() >= BURST_TIME_MAX;
        ensure!(!late, "no further instance was wished");
        std::thread::sleep(WATCH_PAUSE);
    }
    Ok(Instant::now())
}

/// Asks again and again until all instances have served, or one request has failed.
fn client(platform: &Platform, barrier: &Barrier, over: &AtomicBool, seen: &Mutex<Seen>) {
    let request = asks::get(PYTHON, &format!("/?{HANDLER_MS}"));
    let mut connection = Some(asks::connect(platform.apps()));
    barrier.wait();
    let mut first = true;
    while !over.load(Ordering::Relaxed) {
        let stream = connection.take().unwrap_or_else(|| asks::connect(platform.apps()));
        let asked = stream.and_then(|stream| asks::ask(stream, &request));
        let served = asked.and_then(|asked| Ok((process(&asked)?, asked)));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        match served {
            Ok(((name, at), asked)) => {
                if std::mem::take(&mut first) {
                    seen.written.push(asked.began);
                }
                let known = seen.served.entry(name).or_insert(at);
                *known = (*known).min(at);
                if seen.served.len() == INSTANCES {
                    over.store(true, Ordering::Relaxed);
                }
            }
            Err(error) => {
                eprintln!("failed: {error:#}");
                seen.failed += 1;
                return;
            }
        }
    }
}

/// Which process answered, and when it took the request: it says how long it had it.
fn process(asked: &Asked) -> Result<(String, Instant)> {
    let mut words = asked.body.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let took_ms = words.next().and_then(|word| word.parse::<f64>().ok());
    let took_ms = took_ms.ok_or_else(|| anyhow!("the application answers '{}'", asked.body.trim_end()))?;
    Ok((name, asked.answered - Duration::from_secs_f64(took_ms / 1e3)))
}

fn outcome(bursts: &[Burst]) -> Result<Outcome> {
    let mut text = format!(
        "A Python server of the standard library, whose answers take {HANDLER_MS} ms, with MaxConcurrency {CONCURRENCY} and \
         MaxSize {INSTANCES}. Its one instance is throttled when {CLIENTS} clients ask at once, each on a new connection, and \
         again whenever they are answered, until three instances have served. Milliseconds from the first request until the \
         second and the third instance had taken one, by their answers. The decision is seen from outside, in the node's \
         list on disk: from when the {}th request was written, the first that found no place, until a wish for another \
         instance stood there. The program's own start is that of two at once from the same files, without the platform, \
         until both listen, right before.\n\n\
         | burst | decision | second serves | third serves | own start of two | third over that | requests | failed |\n\
         |---|---|---|---|---|---|---|---|\n",
        CONCURRENCY + 1
    );
    for (number, burst) in bursts.iter().enumerate() {
        let Burst { second, third, decision, own, requests, failed } = burst;
        writeln!(
            text,
            "| {} | {decision:.0} | {second:.0} | {third:.0} | {own:.0} | {:.0} | {requests} | {failed} |",
            number + 1,
            burst.over()
        )?;
    }
    let highest = |of: fn(&Burst) -> f64| Ok::<_, anyhow::Error>(Spread::of(bursts.iter().map(of))?.highest);
    let failed: usize = bursts.iter().map(|burst| burst.failed).sum();
    let verdicts = vec![
        Verdict::new(
            "0 to 40 at once, third instance serving over the own start of two, longest ms",
            highest(Burst::over)?,
            SERVE_BAR_MS,
        ),
        Verdict::new(
            "decision after a queue forms, longest ms",
            highest(|burst| burst.decision)?,
            DECISION_BAR_MS,
        ),
        Verdict::new("0 to 40 at once, failed requests", failed as f64, 0.0),
    ];
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_burst_counts_without_the_programs_own_start() {
        let of = |third: f64, decision: f64| Burst {
            second: third - 10.0,
            third,
            decision,
            own: 100.0,
            requests: 40,
            failed: 1,
        };
        let outcome = outcome(&[of(300.0, 20.0), of(250.0, 90.0)]).unwrap();
        let figures: Vec<f64> = outcome.verdicts.iter().map(|verdict| verdict.figure).collect();
        assert_eq!(figures, [200.0, 90.0, 2.0]);
        assert!(outcome.text.contains("| 1 | 20 | 290 | 300 | 100 | 200 | 40 | 1 |"), "{}", outcome.text);
    }

    #[test]
    fn a_process_says_when_it_took_the_request() {
        let answered = Instant::now();
        let asked = |body: &str| Asked { began: answered, answered, body: body.to_owned() };
        let (name, at) = process(&asked("0a1b 75.500 revision 1\n")).unwrap();
        assert_eq!((name.as_str(), answered - at), ("0a1b", Duration::from_micros(75_500)));
        assert!(process(&asked("hello\n")).is_err());
    }
}
