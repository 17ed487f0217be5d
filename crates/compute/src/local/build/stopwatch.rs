//! How long a build takes, without what the platform does for itself meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Runs from `start` on, and stands still while a `Pause` lives.
#[derive(Default)]
pub(super) struct Stopwatch(Mutex<State>);

#[derive(Default)]
struct State {
    before: Duration,
    /// None: it stands still.
    since: Option<Instant>,
}

/// The stopwatch goes on when it is dropped.
#[must_use = "the stopwatch goes on when it is dropped"]
pub(super) struct Pause<'a>(&'a Stopwatch);

impl Stopwatch {
    pub(super) fn start(&self) {
        self.state().since = Some(Instant::now());
    }

    pub(super) fn pause(&self) -> Pause<'_> {
        let mut state = self.state();
        state.before = state.total();
        state.since = None;
        Pause(self)
    }

    pub(super) fn ms(&self) -> u64 {
        self.state().total().as_millis() as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn total(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, sleep, timeout};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn pauses_do_not_count_also_when_they_are_cut_short() {
        let watch = Stopwatch::default();
        advance(SECOND).await;
        assert_eq!(watch.ms(), 0, "it was not started");
        watch.start();
        advance(2 * SECOND).await;
        let paused = async {
            let _pause = watch.pause();
            sleep(60 * SECOND).await;
        };
        assert!(timeout(5 * SECOND, paused).await.is_err());
        advance(3 * SECOND).await;
        let pause = watch.pause();
        advance(SECOND).await;
        assert_eq!(watch.ms(), 5_000);
        drop(pause);
        advance(SECOND).await;
        assert_eq!(watch.ms(), 6_000);
    }
}
