//! `cargo run -p sim -- --seed N --steps M`: one walk, told; or many, from a number on.

use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;

/// Random clients and faults over the whole of control, in virtual time.
#[derive(Parser)]
struct Options {
    /// Only this walk.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// So many walks.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The number of the first walk.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Calls, faults and passes of each walk.
    #[arg(long, default_value_t = sim::STEPS)]
    steps: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let failures = match options.seed {
        Some(seed) => match sim::walk(seed, options.steps) {
            Ok(outcome) => {
                println!("seed {seed}: {outcome}");
                Vec::new()
            }
            Err(failure) => vec![failure],
        },
        None => {
            let began = Instant::now();
            let seeds = options.from..options.from.saturating_add(options.seeds);
            let walked = sim::walks(seeds, options.steps);
            println!("{}\n{:.1} s", walked.counts, began.elapsed().as_secs_f64());
            walked.failures
        }
    };
    for failure in &failures {
        println!("{failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
