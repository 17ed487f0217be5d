//! Many requests at once at an instance that is frozen: of a Python server with a short backlog, and of a Node server that
//! slept for longer than it keeps connections.
//!
//! What the sleep adds is told by comparing ranks: the longest of a crowd with the longest of crowds to the same instance
//! awake, the second longest with the second longest, and so on.

use super::super::asks::{self, Asked};
use super::super::instances::{self, Rung};
use super::super::platform::Platform;
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict, interrupt};
use super::{NODE, PYTHON, SOON, scale};
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::Duration;

const CROWD: usize = 40;
const CONCURRENCY: usize = 5;
const HANDLER_MS: u64 = 20;
const POSTS: usize = 10;
/// Node closes a kept connection after 5 s.
const FROZEN_FOR: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// Milliseconds that the sleep may add to any of them.
const ADDED_BAR_MS: f64 = 50.0;

/// Crowds of one kind to one service.
struct Crowds {
    /// Milliseconds of each crowd, shortest first.
    awake: Vec<Vec<f64>>,
    asleep: Vec<Vec<f64>>,
    lost: usize,
}

/// Forty requests at a Python server with a backlog of 5.
pub(super) fn crowd(platform: &Platform, root: &Path, effort: Effort) -> Result<Outcome> {
    scale(platform, root, CONCURRENCY, 1)?;
    let requests = |_| (0..CROWD).map(|_| asks::get(PYTHON, &format!("/?{HANDLER_MS}"))).collect();
    let crowds = crowds(platform, PYTHON, (effort.starts / 2).max(2), Duration::ZERO, requests, |_| true)?;
    let text = format!(
        "{CROWD} requests at once, {HANDLER_MS} ms each in the application, at the Python server with a backlog of 5, \
         MaxConcurrency {CONCURRENCY} and MaxSize 1: {} crowds while it is awake and {} while it is frozen.",
        crowds.awake.len(),
        crowds.asleep.len(),
    );
    crowds.outcome(&text, "requests at once at a frozen Python server")
}

/// POSTs at a Node server that slept for longer than it keeps connections.
pub(super) fn posts(platform: &Platform, effort: Effort) -> Result<Outcome> {
    let requests =
        |crowd: usize| (0..POSTS).map(|number| asks::post(NODE, &format!("{crowd}/{number}"))).collect();
    // Each was taken once and no more.
    let crowds = crowds(platform, NODE, (effort.starts / 4).max(2), FROZEN_FOR, requests, |asked| {
        asked.body.starts_with("1 ")
    })?;
    let text = format!(
        "{POSTS} POSTs at once at a Node server, whose connections the proxy keeps and Node closes after 5 s: {} crowds \
         while it is awake and {} when it has been frozen for {} s. Each body is another, and the server says how often it \
         got it.",
        crowds.awake.len(),
        crowds.asleep.len(),
        FROZEN_FOR.as_secs(),
    );
    crowds.outcome(&text, "POSTs at a Node server frozen for 10 s")
}

/// So many crowds to a service awake, and as many when it has slept for so long. `right` tells a good answer.
fn crowds(
    platform: &Platform,
    service: &str,
    count: usize,
    frozen_for: Duration,
    requests: impl Fn(usize) -> Vec<String>,
    right: impl Fn(&Asked) -> bool,
) -> Result<Crowds> {
    let instance = instances::only(platform, service)?;
    let mut crowds = Crowds { awake: Vec::new(), asleep: Vec::new(), lost: 0 };
    platform.run(&["tag", service, "apron:idle=off", SOON])?;
    // The first one is not like the others: threads and connections are new.
    crowds.one(platform, &requests(0), &right)?;
    for number in 1..=count {
        std::thread::sleep(PAUSE);
        let times = crowds.one(platform, &requests(number), &right)?;
        crowds.awake.push(times);
    }
    platform.run(&["tag", service, Rung::Frozen.tag()])?;
    for number in count + 1..=2 * count {
        interrupt::check()?;
        instance.sleeps(Rung::Frozen)?;
        std::thread::sleep(frozen_for);
        instance.sleeps(Rung::Frozen)?;
        let times = crowds.one(platform, &requests(number), &right)?;
        crowds.asleep.push(times);
    }
    Ok(crowds)
}

impl Crowds {
    /// Times of one crowd, shortest first; those that were not answered well are counted as lost.
    fn one(
        &mut self,
        platform: &Platform,
        requests: &[String],
        right: impl Fn(&Asked) -> bool,
    ) -> Result<Vec<f64>> {
        let asked = asks::at_once(platform.apps(), requests);
        let wrong = asked.iter().flatten().filter(|asked| !right(asked)).count();
        let (mut times, failed) = asks::times(&asked);
        self.lost += failed + wrong;
        ensure!(!times.is_empty(), "no request of a crowd was answered");
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// The most that a request of a crowd took longer than the one of its rank awake, which is the median of theirs.
    fn added(&self) -> Result<f64> {
        let mut added = f64::MIN;
        for crowd in &self.asleep {
            for (rank, asleep) in crowd.iter().rev().enumerate() {
                let awake = self.awake.iter().filter_map(|crowd| crowd.iter().rev().nth(rank).copied());
                added = added.max(asleep - Spread::of(awake)?.median);
            }
        }
        Ok(added)
    }

    fn outcome(&self, text: &str, what: &str) -> Result<Outcome> {
        let cells = |crowds: &[Vec<f64>]| {
            let longest = crowds.iter().filter_map(|crowd| crowd.last().copied());
            let all = Spread::of(crowds.iter().flatten().copied())?;
            Ok::<_, anyhow::Error>(format!("{:.1} | {}", all.median, Spread::of(longest)?.cells(1)))
        };
        let added = self.added()?;
        let text = format!(
            "{text} Milliseconds.\n\n\
             | the instance is | median of all | longest of each crowd: lowest | median | highest |\n|---|---|---|---|---|\n\
             | awake | {} |\n| frozen | {} |\n\n\
             Lost: {}. The most that one took longer than the one of its rank awake: {added:.1} ms.",
            cells(&self.awake)?,
            cells(&self.asleep)?,
            self.lost,
        );
        let verdicts = vec![
            Verdict::new(format!("{what}, lost"), self.lost as f64, 0.0),
            Verdict::new(format!("{what}, most added to any, ms"), added, ADDED_BAR_MS),
        ];
        Ok(Outcome { text, verdicts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_compared() {
        let crowds = Crowds {
            awake: vec![vec![1.0, 20.0, 40.0], vec![1.0, 20.0, 40.0]],
            asleep: vec![vec![2.0, 21.0, 42.0], vec![3.0, 30.0, 41.0]],
            lost: 1,
        };
        assert_eq!(crowds.added().unwrap(), 10.0);
        let outcome = crowds.outcome("Crowds.", "a crowd").unwrap();
        assert_eq!(outcome.verdicts[0].figure, 1.0);
        assert!(outcome.text.contains("| frozen | 25.5 | 41.0 | 41.5 | 42.0 |"), "{}", outcome.text);
    }
}
