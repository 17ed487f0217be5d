//! A scripted day of operations while control, node and proxy are killed at random moments: it ends as the same day
//! without kills ends. Real processes, kill -9; the seed of the moments is printed. Needs root.

mod census;
mod day;
#[path = "../../../control/src/tests/cuts/plain.rs"]
mod plain;

use crate::support::http;
use day::{Kill, Town};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

const KILLS: usize = 50;
/// Days over which they are spread.
const DAYS: usize = 2;
/// The last moment of a kill, in thousandths of what its step takes without kills: it may be quicker another time.
const LATEST: usize = 600;
/// The last moment of one that must come within its step.
const LATEST_OF_PAIR: usize = 300;
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
    let mut struck: BTreeMap<&str, BTreeSet<&str>> =
        steps.iter().map(|step| (step.kind(), BTreeSet::new())).collect();
    for (number, kills) in kills(seed).chunks(steps.len()).enumerate() {
        let (got, by_step) = town.struck(kills, &took);
        let faults = got.faults(&expect);
        assert!(faults.is_empty(), "day {number}: {faults:#?}");
        for (step, roles) in steps.iter().zip(by_step) {
            struck.entry(step.kind()).or_default().extend(roles);
        }
        if number + 1 < DAYS {
            town.clear();
        }
    }
    let missed: Vec<_> = struck.iter().filter(|(_, roles)| roles.len() < ROLES.len()).collect();
    assert!(missed.is_empty(), "not every process was killed within {missed:?}");
    say(&format!(
        "COUNT: {KILLS} kills of control, node and proxy in {DAYS} days of {} operations each, of each process within \
         each of {} kinds of step",
        expect.operations(),
        struck.len()
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

/// For each step of all days the kills within it: every process in every kind of step, and the rest anywhere.
fn kills(seed: u64) -> Vec<Vec<Kill>> {
    let mut state = seed;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let steps: Vec<_> = (0..DAYS).flat_map(|_| day::day()).collect();
    let kinds: BTreeSet<&str> = steps.iter().map(|step| step.kind()).collect();
    let mut places: Vec<(usize, &str, usize)> = Vec::new();
    for (kind, role) in kinds.iter().flat_map(|kind| ROLES.map(|role| (*kind, role))) {
        let of: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].kind() == kind).collect();
        places.push((of[draw(of.len())], role, LATEST_OF_PAIR));
    }
    while places.len() < KILLS {
        places.push((draw(steps.len()), ROLES[draw(ROLES.len())], LATEST));
    }
    assert_eq!(places.len(), KILLS);
    let mut kills = vec![Vec::new(); steps.len()];
    for (at, role, latest) in places {
        kills[at].push(Kill { role, at: draw(latest) as u32 });
    }
    for step in &mut kills {
        step.sort_by_key(|kill: &Kill| kill.at);
    }
    kills
}
