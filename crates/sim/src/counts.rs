//! How often what happened, in one walk or in many: a walk in which everything is refused proves nothing.

use apron_model::ids::OperationId;
use apron_model::operation::{Asked, Operation, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Everything there was: walks, calls, operations, kills.
pub const IN_ALL: &str = "in all";
/// Calls that were accepted, by their operation.
pub const ACCEPTED: &str = "accepted";
/// Operations that were seen at a step, by its word.
pub const STEP: &str = "steps";
/// Operations by their kind and how they ended.
pub const ENDED: &str = "ended";
/// Operations to which something happened: they were joined, superseded, cancelled.
pub const MET: &str = "met";

const BACK: &str = "goes back to a revision";

/// Numbers by a group, which is one of this module's words, and a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, BTreeMap<String, u64>>);

impl Counts {
    /// 0 where it was never counted.
    pub fn get(&self, group: &str, name: &str) -> u64 {
        self.0.get(group).and_then(|names| names.get(name)).copied().unwrap_or_default()
    }

    /// The names of a group.
    pub fn names(&self, group: &str) -> impl Iterator<Item = &str> {
        self.0.get(group).into_iter().flatten().map(|(name, _)| name.as_str())
    }

    pub(crate) fn add(&mut self, group: &'static str, name: &str, number: u64) {
        *self.0.entry(group).or_default().entry(name.to_owned()).or_default() += number;
    }

    /// Adds all of another one's.
    pub(crate) fn extend(&mut self, other: &Counts) {
        for (group, names) in &other.0 {
            for (name, number) in names {
                self.add(group, name, *number);
            }
        }
    }
}

/// A line for each group.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (group, names)) in self.0.iter().enumerate() {
            let said: Vec<String> = names.iter().map(|(name, number)| format!("{number} {name}")).collect();
            write!(f, "{}{group}: {}", if index == 0 { "" } else { "\n" }, said.join(", "))?;
        }
        Ok(())
    }
}

/// Counts in the course of one walk: of an operation, which is looked at many times, everything once.
#[derive(Default)]
pub(crate) struct Tally {
    counts: Counts,
    seen: BTreeMap<OperationId, BTreeSet<(&'static str, String)>>,
}

impl Tally {
    pub(crate) fn add(&mut self, group: &'static str, name: &str) {
        self.counts.add(group, name, 1);
    }

    /// Something happened to it.
    pub(crate) fn met(&mut self, id: &OperationId, name: &str) {
        self.once(id, MET, name);
    }

    pub(crate) fn knows(&self, id: &OperationId) -> bool {
        self.seen.contains_key(id)
    }

    fn once(&mut self, id: &OperationId, group: &'static str, name: &str) {
        if !self.seen.contains_key(id) {
            self.counts.add(IN_ALL, "operations", 1);
        }
        if self.seen.entry(id.clone()).or_default().insert((group, name.to_owned())) {
            self.counts.add(group, name, 1);
        }
    }

    /// What its row tells.
    pub(crate) fn look(&mut self, operation: &Operation) {
        let id = &operation.id;
        self.once(id, STEP, operation.step.as_str());
        // One that succeeded does not say any more what it was for.
        match operation.asked {
            Some(Asked::RevisionBefore | Asked::Revision(_)) => self.met(id, BACK),
            Some(Asked::Update(_)) | None => {}
        }
        if operation.is_queued() {
            self.met(id, "waits in a queue");
        }
        if operation.automatic {
            self.met(id, "is automatic");
        }
        if let Step::Starting { hindered: Some(_), .. } | Step::Rolling { hindered: Some(_), .. } =
            operation.step
        {
            self.met(id, "is hindered");
        }
        let reasons =
            [operation.cancelled.as_deref(), operation.fault.as_ref().map(|fault| fault.reason.as_str())];
        for reason in reasons.into_iter().flatten() {
            if reason.starts_with("Superseded by ") {
                self.met(id, "is superseded");
            } else if reason.starts_with("Cancelled by ") {
                self.met(id, "is cancelled");
            }
        }
        if operation.status.is_ended() {
            let (kind, status) = (operation.kind.as_str(), operation.status.as_str());
            self.once(id, ENDED, &format!("{kind} {status}"));
            if self.seen[id].contains(&(MET, BACK.to_owned())) {
                self.once(id, ENDED, &format!("rollback {status}"));
            }
        }
    }

    /// All of it, with the walk itself.
    pub(crate) fn end(&self) -> Counts {
        let mut counts = self.counts.clone();
        counts.add(IN_ALL, "walks", 1);
        counts
    }
}
