//! How much CPU an instance on the ladder has, and when that changes.

use super::Member;
use crate::local::container::cgroup::{CgroupError, Cgroups, Limits};
use crate::local::ladder::{AGAIN_AFTER, Enrolment};
use apron_model::idle::{self, Rung};
use std::time::{Duration, Instant};

/// What is not healthy by then may never be, and has no more CPU than others of its size.
const BOOST_MAX: Duration = Duration::from_secs(5 * 60);

/// How much of the CPU that its size gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cpu {
    Whole,
    /// It is throttled, or its service has reached its cap.
    Cut,
    /// It starts.
    More,
}

impl Member {
    /// Its process was started with more CPU than it has later.
    pub(in crate::local::ladder) fn is_boosted(&mut self) {
        self.cpu = Some(Cpu::More);
        self.boosted_until = Instant::now() + BOOST_MAX;
    }

    /// One that is awake has its whole CPU, unless its service has reached its cap, and while it starts more of it. A start
    /// is not cut: it would not end in the time that it has.
    pub(super) fn heed_cpu(&mut self, cgroups: &Cgroups, now: Instant) {
        if self.rung != Rung::Active && !self.started || now < self.cpu_again_at {
            return;
        }
        let is_capped = self.enrolment.policy.is_capped;
        // Of one that was started for a request the last that is known is how it went to sleep.
        let starts = !self.is_healthy() || self.started;
        let cpu = match self.cpu {
            Some(Cpu::More) if starts && now < self.boosted_until => Cpu::More,
            // It may be ill because of that; but it has cost enough.
            Some(Cpu::Cut) if is_capped => Cpu::Cut,
            _ if is_capped && !starts => Cpu::Cut,
            _ => Cpu::Whole,
        };
        if self.cpu != Some(cpu) {
            match self.give(cpu, cgroups) {
                Ok(()) => self.cpu = Some(cpu),
                Err(error) => {
                    tracing::warn!(instance = %self.enrolment.id, %error, "it has not the CPU that it is to have");
                    self.cpu_again_at = now + AGAIN_AFTER;
                }
            }
        }
    }

    pub(super) fn give(&self, cpu: Cpu, cgroups: &Cgroups) -> Result<(), CgroupError> {
        let Enrolment { cgroup, limits, boost, .. } = &self.enrolment;
        match cpu {
            Cpu::Whole => cgroups.unthrottle(cgroup, limits),
            Cpu::Cut => cgroups.throttle(cgroup, limits, idle::THROTTLED_SHARE),
            Cpu::More => cgroups.unthrottle(cgroup, &limits.boosted(*boost)),
        }
    }

    /// Lets it run, with the CPU that one has which is awake.
    pub(super) fn lift(&mut self, cgroups: &Cgroups) -> Result<(), CgroupError> {
        let Enrolment { cgroup, limits, policy, .. } = &self.enrolment;
        let cpu = if policy.is_capped { Cpu::Cut } else { Cpu::Whole };
        match self.rung {
            Rung::Active | Rung::Zero => return Ok(()),
            Rung::Throttled if cpu == Cpu::Cut => {}
            Rung::Throttled => self.give(cpu, cgroups)?,
            Rung::Frozen => {
                // It has its whole CPU already, unless that could not be given to it then.
                let is_right = (cpu == Cpu::Cut) == cgroups.is_throttled(cgroup, limits);
                let given = if is_right { Ok(()) } else { self.give(cpu, cgroups) };
                cgroups.thaw(cgroup).and(given)?;
            }
        }
        self.cpu = Some(cpu);
        Ok(())
    }

    /// The same for one that is to end: in an orderly way, which takes CPU, whatever its cap says.
    pub(super) fn lift_to_end(&mut self, cgroups: &Cgroups) -> Result<(), CgroupError> {
        self.lift(cgroups)?;
        if self.cpu == Some(Cpu::Cut) {
            self.give(Cpu::Whole, cgroups)?;
            self.cpu = Some(Cpu::Whole);
        }
        Ok(())
    }

    pub(in crate::local::ladder) fn resized(
        &mut self,
        limits: Limits,
        cgroups: &Cgroups,
    ) -> Result<(), CgroupError> {
        self.enrolment.limits = limits;
        // What is frozen has its whole CPU, and what it has later is set with the wake.
        let cpu = if self.rung == Rung::Frozen { Cpu::Whole } else { self.cpu.unwrap_or(Cpu::Whole) };
        self.give(cpu, cgroups)
    }
}
