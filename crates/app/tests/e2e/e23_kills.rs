//! A scripted day of operations while control, node and proxy are killed at random moments: it ends as the same day
//! without kills ends. Real processes, kill -9; the seed of the moments is printed. Needs root.

mod census;
mod day;

use crate::support::{Platform, http};
use day::Town;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const KILLS: u32 = 50;
/// Between two kills: from a quarter of a deployment to several.
const PAUSE_MS: std::ops::Range<u64> = 50..900;

#[test]
#[ignore = "long: the long list runs it"]
fn a_day_with_fifty_kills_ends_as_one_without() {
    let quiet = Town::new();
    let (expect, _) = quiet.live(&AtomicBool::new(true));
    quiet.clear();
    drop(quiet);

    let seed = std::env::var("APRON_KILLS_SEED").map_or_else(
        |_| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |text| text.parse().expect("APRON_KILLS_SEED is a number"),
    );
    say(&format!("SEED: APRON_KILLS_SEED={seed} repeats the moments of the kills"));
    let town = Town::new();
    let over = AtomicBool::new(false);
    let (got, days) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            // A failed day must not leave the killer running.
            kill(&town.platform, seed);
            over.store(true, Ordering::Relaxed);
        });
        let got = town.live(&over);
        killer.join().expect("the killer ends");
        got
    });
    assert_eq!(got, expect);
    let operations = got.operations();
    say(&format!(
        "COUNT: {KILLS} kills of control, node and proxy in {days} days of {operations} operations each"
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

fn kill(platform: &Platform, seed: u64) {
    let mut state = seed;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..KILLS {
        let pause = PAUSE_MS.start + draw(PAUSE_MS.end - PAUSE_MS.start);
        std::thread::sleep(Duration::from_millis(pause));
        let role = ["control", "node", "proxy"][draw(3) as usize];
        platform.process(role).kill();
    }
}
