//! A seeded world. Clients call, instances fail, messages are lost, proxies and the node come and go, control is
//! killed at any step: all by dice, in one thread and in virtual time, so that a number repeats a walk. What runs is
//! the whole of control: API handlers, engine, reconcilers, and the store over a real database.
//!
//! Checkers stand apart from the walk. They see rows, the driver's effects and what proxies serve, and know nothing
//! of what was done.

mod checkers;
mod clients;
pub mod counts;
mod dice;
mod faults;
mod history;
mod outcome;
mod proxies;
mod walk;

pub use outcome::{Failure, Outcome};
pub use walk::walk;

use counts::Counts;

/// Calls, faults and passes of a walk, where nothing else is said.
pub const STEPS: u64 = 70;

/// What came of several walks.
#[derive(Debug, Default)]
pub struct Walked {
    pub failures: Vec<Failure>,
    /// What happened in those that ended well, added up.
    pub counts: Counts,
}

/// Walks one seed after the other on threads of their own, one per core. The first failure of each thread ends it.
pub fn walks(seeds: impl Iterator<Item = u64> + Send, steps: u64) -> Walked {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let seeds = std::sync::Mutex::new(seeds);
    let walker = |core: usize| {
        stay_on(core);
        let mut counts = Counts::default();
        loop {
            let seed = seeds.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            let Some(seed) = seed else { return (counts, None) };
            match walk(seed, steps) {
                Ok(outcome) => counts.extend(&outcome.counts),
                Err(failure) => return (counts, Some(failure)),
            }
        }
    };
    std::thread::scope(|scope| {
        let walker = &walker;
        let walkers: Vec<_> = (0..cores).map(|core| scope.spawn(move || walker(core))).collect();
        let mut walked = Walked::default();
        for ended in walkers {
            let (counts, failure) = ended.join().expect("a walk's panic is caught");
            walked.counts.extend(&counts);
            walked.failures.extend(failure);
        }
        walked
    })
}

/// A walk and its database's threads take turns, so they share one core: waking another one takes longer than what
/// it would do. A machine that does not allow it is only slower.
fn stay_on(core: usize) {
    let mut set = nix::sched::CpuSet::new();
    if set.set(core).is_ok() {
        let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
    }
}
