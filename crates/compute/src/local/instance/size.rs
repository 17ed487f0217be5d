//! The size of a running instance follows the wished one, without a start anew.

use super::Instance;
use super::birth::blocking;
use super::send;
use super::state::{Event, State};
use crate::local::container::cgroup::Limits;
use apron_model::instance::Fault;
use std::time::Duration;
use tokio::time::sleep;

/// After limits that could not be changed, doubled up to the longest: a memory limit below what is in use waits for
/// the application, which each try presses.
const RESIZE_PAUSE_MIN: Duration = Duration::from_millis(500);
const RESIZE_PAUSE_MAX: Duration = Duration::from_secs(10);

impl Instance {
    /// Gives a running container the wished size. A memory limit below what is in use may be refused for now.
    /// `again`: the pause after an attempt that failed is over.
    pub(super) async fn resize(&mut self, again: bool) {
        let wished = self.wanted.spec.size;
        if !matches!(self.state, State::Running { .. }) || self.size == Some(wished) {
            return;
        }
        let (machine, id) = (self.machine.clone(), self.wanted.spec.id.clone());
        let limits = Limits::of(wished);
        // Off the runtime: a lower limit of memory may take the kernel a while.
        let resized = blocking(move || {
            let cgroup = machine.instance_cgroup(id.as_str());
            machine.cgroups.set_sizes(&cgroup, &limits).map_err(|e| Fault::transient(e.to_string()))
        });
        let resized = resized.await.and_then(|()| {
            let cpu = self.place.as_ref().map_or(Ok(()), |place| place.resized(limits));
            cpu.map_err(|e| Fault::transient(e.to_string()))
        });
        match resized {
            Ok(()) => {
                self.size = Some(wished);
                self.resizing = None;
            }
            Err(_) if self.resizing.is_some() && !again => {}
            Err(fault) => {
                if self.resizing.is_none() {
                    let id = &self.wanted.spec.id;
                    tracing::warn!(instance = %id, reason = fault.reason, "its limits were not changed; tried again");
                }
                let pause = self.resizing.map_or(RESIZE_PAUSE_MIN, |last| (last * 2).min(RESIZE_PAUSE_MAX));
                self.resizing = Some(pause);
                self.work(async move |events| {
                    sleep(pause).await;
                    send(&events, Event::Resize).await;
                });
            }
        }
    }
}
