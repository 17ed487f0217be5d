//! How a container ends, by itself, for its owner or for the node; and how all of an instance goes.

use super::birth::blocking;
use super::state::{Event, State};
use super::wanted::Removing;
use super::{Instance, birth, send, shim};
use crate::driver::Hint;
use crate::local::container::alive::{Alive, Found};
use apron_model::instance::{Exit, Fault, Health, Phase};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

impl Instance {
    /// Its end is then seen as any other; who asks again repeats what may have failed.
    pub(super) fn end(&mut self, run: u32, reason: String) {
        if !matches!(self.state, State::Running { .. }) || run != self.starts {
            return;
        }
        self.end_reason = Some(reason);
        let (machine, id) = (self.machine.clone(), self.wanted.spec.id.clone());
        self.work(async move |_| {
            let cgroup = machine.instance_cgroup(id.as_str());
            let killed = blocking(move || {
                machine.cgroups.kill_all(&cgroup).map_err(|error| Fault::transient(error.to_string()))
            });
            if let Err(fault) = killed.await {
                tracing::warn!(instance = %id, reason = fault.reason, "cannot be ended yet");
            }
        });
    }

    pub(super) async fn ended(&mut self, found: Found) {
        let dir = self.machine.instance_dir(self.wanted.spec.id.as_str());
        let exit = blocking(move || Ok(exit_of(&dir, found))).await;
        self.forget_verdict().await;
        let exit = exit.unwrap_or_else(|_| unknown_exit());
        let reason = self.end_reason.take();
        self.exited(Exit { reason, ..exit });
    }

    pub(super) fn exited(&mut self, exit: Exit) {
        tracing::info!(
            instance = %self.wanted.spec.id,
            service = self.wanted.spec.service_name,
            code = exit.code,
            signal = exit.signal,
            out_of_memory = exit.out_of_memory,
            reason = exit.reason,
            "exited"
        );
        if !self.does_not_rise() {
            self.off_the_ladder();
        }
        if let Some(place) = &self.place {
            place.ended();
        }
        self.enter(State::Waiting);
        self.machine.news.tell(Hint::Output(self.wanted.spec.id.clone()));
        self.show(|shown| {
            // The phase says it, and its lines travel once.
            shown.last_exit = None;
            shown.phase = Phase::Exited(exit);
            shown.health = Health::Starting { hint: None };
        });
        self.due_after_backoff();
    }

    pub(super) fn stop(&mut self, alive: Arc<Alive>, removing: Removing) {
        // What sleeps hears no signal.
        self.off_the_ladder();
        self.show(|shown| shown.phase = Phase::Stopping);
        self.terminate(alive, removing.grace_ms);
    }

    /// Sends SIGTERM, and waits for its end no longer than the grace.
    pub(super) fn terminate(&mut self, alive: Arc<Alive>, grace_ms: u64) {
        self.enter(State::Stopping { _alive: alive.clone() });
        let id = &self.wanted.spec.id;
        let signal = if alive.hears(libc::SIGTERM) {
            tracing::info!(instance = %id, grace_ms, "is sent SIGTERM");
            libc::SIGTERM
        } else {
            tracing::info!(instance = %id, "is alone and does not handle SIGTERM; is sent SIGKILL");
            libc::SIGKILL
        };
        if let Err(error) = alive.signal(signal) {
            tracing::warn!(instance = %id, signal, %error, "a signal was not delivered");
        }
        self.work(async move |events| send(&events, Event::Ended(alive.ended().await)).await);
        self.work(async move |events| {
            sleep(Duration::from_millis(grace_ms)).await;
            send(&events, Event::Due).await;
        });
    }

    pub(super) fn clear(&mut self, after: Duration) {
        self.off_the_ladder();
        self.enter(State::Clearing);
        self.show(|shown| shown.phase = Phase::Stopping);
        self.machine.news.tell(Hint::Output(self.wanted.spec.id.clone()));
        let (machine, id) = (self.machine.clone(), self.wanted.spec.id.to_string());
        let pair = self.pair.take();
        self.work(async move |events| {
            sleep(after).await;
            send(&events, Event::Cleared(birth::end(&machine, &id, pair).await)).await;
        });
    }

    pub(super) async fn gone(&mut self) {
        if let Some(watch) = self.watch.take() {
            self.machine.news.forget_output(watch);
        }
        let (machine, id) = (self.machine.clone(), self.wanted.spec.id.clone());
        let removed = blocking(move || {
            machine
                .wanted
                .remove(&id)
                .map_err(|e| Fault::transient(format!("its wish cannot be removed: {e}")))
        });
        match removed.await {
            Ok(()) => self.enter(State::Gone),
            Err(fault) => {
                tracing::warn!(instance = %self.wanted.spec.id, reason = fault.reason, "cannot be removed yet");
                let pause = self.next_backoff();
                self.clear(pause);
            }
        }
    }
}

/// What is known of a container's end, from its directory.
pub(in crate::local) fn exit_of(dir: &std::path::Path, found: Found) -> Exit {
    match found {
        Found::Exited(state) | Found::Orphaned(state) => shim::exit(dir, &state),
        Found::Alive(_) | Found::Absent => Exit { last_lines: shim::last_lines(dir), ..unknown_exit() },
    }
}

fn unknown_exit() -> Exit {
    Exit { code: None, signal: None, out_of_memory: false, reason: None, last_lines: Vec::new() }
}
