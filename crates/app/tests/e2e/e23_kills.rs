//! A scripted day of operations while control, node and proxy are killed at random moments: it ends as the same day
//! without kills ends. Real processes, kill -9; the seed of the moments is printed. Needs root.

mod census;
mod day;
#[path = "../../../control/src/tests/cuts/plain.rs"]
mod plain;

use crate::support::http;
use day::{From, Kill, Town};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

/// Kills that are drawn over the days, at any moment of any step.
const KILLS: usize = 50;
/// Days over which they are spread.
const DAYS: usize = 2;
/// Days more at most, with kills of what no kill has met yet within an operation.
const FURTHER_DAYS_MAX: usize = 4;
const ROLES: [&str; 3] = ["control", "node", "proxy"];

#[test]
#[ignore = "long: the long list runs it"]
fn a_day_with_fifty_kills_ends_as_one_without() {
    let seed = std::env::var("APRON_KILLS_SEED").map_or_else(
        |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |text| text.parse().expect("APRON_KILLS_SEED is a number"),
    );
    say(&format!("SEED: APRON_KILLS_SEED={seed} repeats the places of the kills"));
    let town = Town::new();
    let (expect, took) = town.quiet();
    town.clear();
    let steps = day::day();
    let mut dice = Dice(seed);
    let pairs: BTreeSet<(&'static str, &'static str)> =
        steps.iter().flat_map(|step| ROLES.map(|role| (step.kind(), role))).collect();
    let mut missed = pairs.clone();
    let (mut days, mut count) = (0, 0);
    let drawn = kills(&mut dice);
    while days < DAYS || (!missed.is_empty() && days < DAYS + FURTHER_DAYS_MAX) {
        if days > 0 {
            town.clear();
        }
        let kills = match drawn.chunks(steps.len()).nth(days) {
            Some(kills) => kills.to_vec(),
            None => further(&mut dice, &missed),
        };
        count += kills.iter().map(Vec::len).sum::<usize>();
        let (got, by_step) = town.struck(&kills, &took);
        let faults = got.faults(&expect);
        assert!(faults.is_empty(), "day {days}: {faults:#?}");
        for (step, roles) in steps.iter().zip(by_step) {
            missed.retain(|(kind, role)| *kind != step.kind() || !roles.contains(role));
        }
        days += 1;
    }
    assert!(missed.is_empty(), "no kill came within an operation: {missed:?}");
    say(&format!(
        "COUNT: {count} kills of control, node and proxy in {days} days of {} operations each; each process was killed \
         within an operation of each of {} kinds of step",
        expect.operations(),
        pairs.len() / ROLES.len()
    ));
    // What was routed last answers without a failure once nothing is killed any more.
    let load = http::Load::start(&town.platform.apps, &town.platform.alias("shop"), 1);
    std::thread::sleep(Duration::from_secs(1));
    let (count, failures) = load.stop();
    assert!(count > 10 && failures.is_empty(), "{} of {count}: {failures:#?}", failures.len());
    town.clear();
}

/// A line that libtest does not keep to itself: the page of the long list has the seed also of a day that went well.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    /// At any moment of a step.
    fn kill(&mut self, role: &'static str) -> Kill {
        Kill { role, at: self.below(1_000) as u32, from: From::Beginning }
    }

    /// Soon after an operation began.
    fn kill_within(&mut self, role: &'static str) -> Kill {
        Kill { role, at: self.below(200) as u32, from: From::Open }
    }

    /// The place of a step of this kind.
    fn one_of(&mut self, steps: &[day::Step], kind: &str) -> usize {
        let of: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].kind() == kind).collect();
        of[self.below(of.len())]
    }
}

/// For each step of the first days the kills in it: every process in every kind of step, and the rest anywhere.
fn kills(dice: &mut Dice) -> Vec<Vec<Kill>> {
    let steps: Vec<_> = (0..DAYS).flat_map(|_| day::day()).collect();
    let kinds: BTreeSet<&str> = steps.iter().map(|step| step.kind()).collect();
    let mut kills = vec![Vec::new(); steps.len()];
    for (kind, role) in kinds.iter().flat_map(|kind| ROLES.map(|role| (*kind, role))) {
        kills[dice.one_of(&steps, kind)].push(dice.kill(role));
    }
    for _ in kinds.len() * ROLES.len()..KILLS {
        let (step, role) = (dice.below(steps.len()), ROLES[dice.below(ROLES.len())]);
        kills[step].push(dice.kill(role));
    }
    in_order(kills)
}

/// One day with a kill for each of these pairs of a kind of step and a process, which wait for an operation.
fn further(dice: &mut Dice, missed: &BTreeSet<(&'static str, &'static str)>) -> Vec<Vec<Kill>> {
    let steps = day::day();
    let mut kills = vec![Vec::new(); steps.len()];
    for (kind, role) in missed {
        kills[dice.one_of(&steps, kind)].push(dice.kill_within(role));
    }
    in_order(kills)
}

fn in_order(mut kills: Vec<Vec<Kill>>) -> Vec<Vec<Kill>> {
    for step in &mut kills {
        step.sort_by_key(|kill| (kill.from, kill.at));
    }
    kills
}
