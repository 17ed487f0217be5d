//! The walks of CI and of the long list.

use std::io::Write;
use std::time::{Duration, Instant};

/// The walks of every CI run: always the same, so that a change is what makes one fail.
const SEEDS: u64 = 1_000;
/// The long list takes other ones in every run, for this long.
const LONG: Duration = Duration::from_secs(10 * 60);

fn check(seeds: impl Iterator<Item = u64> + Send) {
    let began = Instant::now();
    let (made, failures) = sim::walks(seeds, sim::STEPS);
    println!("{made} walks in {:.1} s", began.elapsed().as_secs_f64());
    let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_thousand_seeds() {
    check(0..SEEDS);
}

/// A number repeats a walk to the last name, also when another walk goes on beside it.
#[test]
fn the_same_seed_is_the_same_walk() {
    for seed in [7, 8] {
        let told = |outcome: Result<sim::Outcome, sim::Failure>| match outcome {
            Ok(outcome) => outcome,
            Err(failure) => panic!("{failure}"),
        };
        let first = told(sim::walk(seed, sim::STEPS));
        let again = told(sim::walk(seed, sim::STEPS));
        assert_eq!(first, again);
        assert!(first.calls > 20 && first.events > 70, "{first}");
    }
}

#[test]
#[ignore = "long: the long list runs it"]
fn new_seeds_for_minutes() {
    let first = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    // libtest keeps what a test prints to itself, and the page of the long list is to have the seed.
    let _ = writeln!(std::io::stdout(), "SEED: walks from {first}, by cargo run -p sim -- --from {first}");
    let end = Instant::now() + LONG;
    check((0..).map(|number: u64| first.wrapping_add(number)).take_while(|_| Instant::now() < end));
}
