//! The walks of CI and of the long list.

use sim::counts::{ACCEPTED, Counts, ENDED, IN_ALL, MET, STEP};
use std::io::Write;
use std::time::{Duration, Instant};

/// The walks of every CI run: always the same, so that a change is what makes one fail.
const SEEDS: u64 = 1_000;
/// The long list takes other ones in every run, for this long.
const LONG: Duration = Duration::from_secs(10 * 60);

/// What the walks must have come to, each at least `FLOOR` times, by the groups of `sim::counts`.
const MUST: [(&str, &[&str]); 5] = [
    (IN_ALL, &["calls", "kills", "operations"]),
    (
        ACCEPTED,
        &[
            "CancelOperation",
            "CreateAutoScalingConfiguration",
            "CreateService",
            "DeleteAutoScalingConfiguration",
            "DeleteService",
            "DescribeOperation",
            "DescribeService",
            "DescribeStatus",
            "ListAutoScalingConfigurations",
            "ListOperations",
            "ListRevisions",
            "ListServices",
            "ListTagsForResource",
            "PauseService",
            "ResumeService",
            "RetryOperation",
            "RollbackService",
            "StartDeployment",
            "TagResource",
            "UntagResource",
            "UpdateService",
        ],
    ),
    (
        STEP,
        &[
            "admitted",
            "building",
            "ended",
            "queued",
            "removing",
            "replacing instances",
            "restoring instances",
            "restoring routes",
            "routing",
            "starting",
            "waiting to build",
        ],
    ),
    (
        ENDED,
        &[
            "CREATE_SERVICE FAILED",
            "CREATE_SERVICE SUCCEEDED",
            "DELETE_SERVICE FAILED",
            "DELETE_SERVICE SUCCEEDED",
            "PAUSE_SERVICE SUCCEEDED",
            "RESUME_SERVICE FAILED",
            "RESUME_SERVICE SUCCEEDED",
            "START_DEPLOYMENT ROLLBACK_SUCCEEDED",
            "START_DEPLOYMENT SUCCEEDED",
            "UPDATE_SERVICE ROLLBACK_SUCCEEDED",
            "UPDATE_SERVICE SUCCEEDED",
            "rollback ROLLBACK_SUCCEEDED",
            "rollback SUCCEEDED",
        ],
    ),
    (
        MET,
        &[
            "ends while its fault lasts",
            "goes back to a revision",
            "is automatic",
            "is cancelled",
            "is hindered",
            "is joined",
            "is superseded",
            "waits in a queue",
        ],
    ),
];
/// Far below what a thousand walks come to, and far above chance.
const FLOOR: u64 = 5;

fn check(seeds: impl Iterator<Item = u64> + Send) -> Counts {
    let began = Instant::now();
    let walked = sim::walks(seeds, sim::STEPS);
    println!("{:.1} s", began.elapsed().as_secs_f64());
    let failures: Vec<String> = walked.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    walked.counts
}

/// Lines that libtest does not keep to itself: the page of the long list has them.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[test]
fn a_thousand_seeds() {
    let counts = check(0..SEEDS);
    for line in counts.to_string().lines() {
        say(&format!("COUNT: a_thousand_seeds, {line}"));
    }
    assert_eq!(counts.get(IN_ALL, "walks"), SEEDS);
    let all = MUST.iter().flat_map(|(group, names)| names.iter().map(|name| (*group, *name)));
    let seldom: Vec<_> = all.filter(|(group, name)| counts.get(group, name) < FLOOR).collect();
    assert!(seldom.is_empty(), "hardly ever happened: {seldom:?}\n{counts}");
    // A step that is new must be walked through too.
    let steps: Vec<&str> = counts.names(STEP).collect();
    assert_eq!(steps, MUST[2].1);
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
        assert!(first.counts.get(IN_ALL, "calls") > 20 && first.events > 70, "{first}");
    }
}

#[test]
#[ignore = "long: the long list runs it"]
fn new_seeds_for_minutes() {
    let first = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    say(&format!("SEED: walks from {first}, by cargo run -p sim -- --from {first}"));
    let end = Instant::now() + LONG;
    let seeds = (0..).map(|number: u64| first.wrapping_add(number));
    let counts = check(seeds.take_while(|_| Instant::now() < end));
    for line in counts.to_string().lines() {
        say(&format!("COUNT: new_seeds_for_minutes, {line}"));
    }
}
