//! What others are told of an instance: the meter, who asks why it is awake, who scales by what it uses.

use super::{Enrolment, Member};
use apron_activity::Watched;
use apron_model::idle::{Rung, Standing};
use apron_model::instance::InstanceSize;
use apron_model::meter::{Change, Metered, Use};
use apron_model::scaling::Reading;
use std::time::Instant;

impl Member {
    /// Adds how its use has changed since it was last noted.
    pub(in crate::local::ladder) fn note(&mut self, changes: &mut Vec<Change>) {
        let was_used = std::mem::take(&mut self.used);
        let used = match self.rung {
            Rung::Zero if !self.started => Use::Asleep,
            _ if was_used => Use::Active,
            _ => Use::Quiet,
        };
        let Enrolment { id, service, limits, is_new, .. } = &mut self.enrolment;
        let before = self.noted.replace((used, *limits));
        if before.is_none_or(|(_, noted)| noted != *limits) {
            let InstanceSize { cpu_units, memory_mib } = limits.size();
            let (instance, service) = (id.clone(), service.clone());
            let metered = Metered { instance, service, cpu_units, memory_mib };
            changes.push(Change::Came(metered, std::mem::take(is_new)));
        }
        if before.is_none_or(|(noted, _)| noted != used) {
            changes.push(Change::Uses(id.clone(), used));
        }
    }

    pub(in crate::local::ladder) fn standing(&self, now: Instant) -> Standing {
        Standing {
            instance: self.enrolment.id.clone(),
            rung: self.rung,
            policy: self.enrolment.policy,
            awake: self.awake,
            quiet_ms: now.saturating_duration_since(self.since).as_millis() as u64,
            requests: self.cell.as_ref().map_or(0, Watched::requests),
            tunnels: self.tunnels(),
            is_starting: self.started,
            has_failed: self.failed,
        }
    }

    /// What is known of its use, and the cgroup where the rest is read, unless it has no process.
    pub(in crate::local::ladder) fn reading(&self) -> Option<(Reading, Option<String>)> {
        let Enrolment { id, service, cgroup, limits, .. } = &self.enrolment;
        let reading = Reading {
            instance: id.clone(),
            service: service.clone(),
            size: limits.size(),
            healthy_at_ms: self.healthy_at_ms?,
            is_awake: self.rung == Rung::Active,
            cpu_us: 0,
            memory_bytes: 0,
        };
        Some((reading, (self.rung != Rung::Zero).then(|| cgroup.clone())))
    }
}
