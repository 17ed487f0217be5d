//! The gate before every transaction and around every effect of the driver. Whoever comes to it waits there until the
//! bench lets one go on: so what runs is one future at a time, and a cut lies between two steps and nowhere else.

use futures_util::future::BoxFuture;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Cloning gives another handle to it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The bench is polling one of its futures at this moment.
    polled: bool,
    /// That future may pass once.
    granted: bool,
    /// That future has come to the gate and may not pass.
    waits: bool,
    /// The try of a build, which is a task of its own, is being waited for.
    tried: bool,
    passed: u64,
    /// After so many nobody passes any more.
    passes_max: Option<u64>,
    closed: bool,
    bench: Option<Waker>,
}

/// How far a future came.
enum Step<T> {
    Ended(T),
    AtTheGate,
    /// Nobody goes on.
    Cut,
}

impl Gate {
    /// What store and driver await.
    pub(super) fn passage(&self) -> Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync> {
        let gate = self.clone();
        Arc::new(move || {
            let gate = gate.clone();
            Box::pin(std::future::poll_fn(move |_| gate.state().come()))
        })
    }

    /// Runs a future to its end, or until it came to the gate so often. None: it was cut, and is dropped. Second: how
    /// often it passed.
    pub async fn alone<T>(
        &self,
        future: impl Future<Output = T>,
        passes_max: Option<u64>,
    ) -> (Option<T>, u64) {
        self.open(passes_max);
        let mut future = std::pin::pin!(future);
        let mut granted = false;
        loop {
            match self.step(future.as_mut(), granted).await {
                Step::Ended(output) => return (Some(output), self.state().passed),
                Step::AtTheGate => granted = true,
                Step::Cut => {
                    let passed = self.state().passed;
                    self.open(None);
                    return (None, passed);
                }
            }
        }
    }

    /// Runs futures until all have ended, one step of one of them at a time; `choose` says which of so many goes on.
    /// None: they were cut after so many passes, and are dropped. What they gave comes in the order of their ends.
    pub async fn together<'a, T>(
        &self,
        futures: Vec<BoxFuture<'a, T>>,
        passes_max: Option<u64>,
        mut choose: impl FnMut(usize) -> usize,
    ) -> Option<Vec<T>> {
        self.open(passes_max);
        let mut left: Vec<(BoxFuture<'a, T>, bool)> =
            futures.into_iter().map(|future| (future, false)).collect();
        let mut ended = Vec::new();
        while !left.is_empty() {
            let index = choose(left.len()) % left.len();
            let (future, granted) = &mut left[index];
            match self.step(future.as_mut(), *granted).await {
                Step::Ended(output) => {
                    ended.push(output);
                    drop(left.remove(index));
                }
                Step::AtTheGate => *granted = true,
                Step::Cut => {
                    self.open(None);
                    return None;
                }
            }
        }
        Some(ended)
    }

    /// While the try of a build is waited for, what comes to the gate from elsewhere is that.
    pub(super) fn set_tried(&self, tried: bool) {
        self.state().tried = tried;
    }

    fn open(&self, passes_max: Option<u64>) {
        *self.state() = State { passes_max, ..State::default() };
    }

    /// Until the future ends or comes to the gate. What it waits for otherwise, a database's thread, comes by itself.
    async fn step<T>(
        &self,
        mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
        granted: bool,
    ) -> Step<T> {
        let mut granted = granted;
        std::future::poll_fn(|context| {
            {
                let mut state = self.state();
                if state.closed {
                    return Poll::Ready(Step::Cut);
                }
                state.polled = true;
                state.granted = std::mem::take(&mut granted);
                state.waits = false;
                state.bench = Some(context.waker().clone());
            }
            let polled = future.as_mut().poll(context);
            let mut state = self.state();
            state.polled = false;
            match polled {
                Poll::Ready(output) => Poll::Ready(Step::Ended(output)),
                Poll::Pending if state.closed => Poll::Ready(Step::Cut),
                Poll::Pending if state.waits => Poll::Ready(Step::AtTheGate),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn come(&mut self) -> Poll<()> {
        if self.polled {
            if !std::mem::take(&mut self.granted) {
                self.waits = true;
                return Poll::Pending;
            }
        } else if !self.tried {
            // A look from outside, which is no part of what runs.
            return Poll::Ready(());
        }
        if self.passes_max.is_some_and(|max| self.passed >= max) {
            self.closed = true;
            if let Some(bench) = self.bench.take() {
                bench.wake();
            }
            return Poll::Pending;
        }
        self.passed += 1;
        Poll::Ready(())
    }
}
