//! Wakes while control is dead: the way from a request to its instance leads from the proxy to the node alone.
//!
//! Control is killed again right before each request, since the supervisor starts it anew, after longer and longer
//! pauses. Once in between the node is killed too; who asks then waits for the next one.

use super::super::asks::ms;
use super::super::instances::{self, Rung};
use super::super::platform::{Platform, STATIC_IMAGE};
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict, interrupt};
use super::{AFTER_MS, DEPLOY_TIME_MAX};
use anyhow::Result;
use std::time::{Duration, Instant};

const SERVICE: &str = "alone";
/// Control comes back after a pause of some seconds, and its tags with it.
const BACK_TIME_MAX: Duration = Duration::from_secs(60);
const BACK_PAUSE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Wakes {
    /// Milliseconds of those that were answered.
    frozen: Vec<f64>,
    zero: Vec<f64>,
    failed: usize,
    /// Of all of them, those at whose end the next control had not begun.
    without_control: usize,
    /// Milliseconds of the one for which the node had been killed as well.
    without_node: Option<f64>,
}

pub(super) fn run(platform: &Platform, effort: Effort) -> Result<Outcome> {
    platform.deploy(SERVICE, 1, &[STATIC_IMAGE], DEPLOY_TIME_MAX)?;
    let instance = instances::only(platform, SERVICE)?;
    platform.run(&["tag", SERVICE, &format!("apron:idle-after-ms={AFTER_MS}")])?;
    // 25 of each in a whole run.
    let each = effort.starts + effort.starts / 4;
    let mut wakes = Wakes::default();
    for rung in [Rung::Frozen, Rung::Zero] {
        tag_when_back(platform, rung)?;
        for number in 0..each {
            interrupt::check()?;
            instance.sleeps(rung)?;
            // In the middle of all of them.
            let node_too = rung == Rung::Frozen && number + 1 == each;
            wakes.one(platform, rung, node_too);
        }
    }
    // What comes after this has a control from the beginning.
    tag_when_back(platform, Rung::Throttled)?;
    outcome(&wakes, 2 * each)
}

impl Wakes {
    fn one(&mut self, platform: &Platform, rung: Rung, node_too: bool) {
        match woken(platform, node_too) {
            Ok((took_ms, away)) => {
                self.without_control += usize::from(away);
                if node_too {
                    self.without_node = Some(took_ms);
                } else if rung == Rung::Zero {
                    self.zero.push(took_ms);
                } else {
                    self.frozen.push(took_ms);
                }
            }
            Err(error) => {
                eprintln!("a wake from {rung:?} failed: {error:#}");
                self.failed += 1;
            }
        }
    }
}

/// Kills, and asks. Milliseconds, and whether there was no control until the end.
fn woken(platform: &Platform, node_too: bool) -> Result<(f64, bool)> {
    let dead = platform.kill("control")?;
    if node_too {
        platform.kill("node")?;
    }
    let began = Instant::now();
    platform.request(SERVICE)?;
    let took_ms = ms(began.elapsed());
    Ok((took_ms, platform.child("control")? == dead))
}

/// Control answers again some seconds after it was last killed.
fn tag_when_back(platform: &Platform, rung: Rung) -> Result<()> {
    let began = Instant::now();
    loop {
        match platform.run(&["tag", SERVICE, rung.tag()]) {
            Err(error) if began.elapsed() >= BACK_TIME_MAX => return Err(error),
            Err(_) => std::thread::sleep(BACK_PAUSE),
            Ok(_) => return Ok(()),
        }
        interrupt::check()?;
    }
}

fn outcome(wakes: &Wakes, all: usize) -> Result<Outcome> {
    let row = |times: &[f64]| Ok::<_, anyhow::Error>(Spread::of(times.iter().copied())?.cells(2));
    let node = wakes.without_node.map_or("failed".to_owned(), |took_ms| format!("{took_ms:.0} ms"));
    let text = format!(
        "Requests to `examples/static-binary` right after control was killed, once more before each. At the end of {} of \
         {all} no other control had been started yet. For one of them the node was killed as well: {node}. Milliseconds of \
         the others.\n\n\
         | the instance is | requests | lowest | median | longest |\n|---|---|---|---|---|\n\
         | frozen | {} | {} |\n| without a process | {} | {} |\n",
        wakes.without_control,
        wakes.frozen.len(),
        row(&wakes.frozen)?,
        wakes.zero.len(),
        row(&wakes.zero)?,
    );
    let what = format!("of {all} wakes with control killed and one restart of the node, failed");
    Ok(Outcome { text, verdicts: vec![Verdict::new(what, wakes.failed as f64, 0.0)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_may_fail() {
        let wakes = Wakes {
            frozen: vec![1.0, 2.0],
            zero: vec![30.0, 40.0],
            failed: 1,
            without_control: 4,
            without_node: Some(500.0),
        };
        let outcome = outcome(&wakes, 6).unwrap();
        assert_eq!(outcome.verdicts[0].figure, 1.0);
        assert!(
            outcome.text.contains("| without a process | 2 | 30.00 | 35.00 | 40.00 |"),
            "{}",
            outcome.text
        );
    }
}
