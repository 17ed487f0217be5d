//! What instances use, from the notes of a journal to sums by service, instance and day.
//!
//! Whoever runs instances notes each second what has changed: who came, who is active, quiet or asleep from this second on,
//! who went. A second in which nothing changed is a note of its time alone. `Book` adds these up; the same notes give the
//! same sums, so a journal of them is all that has to be kept.
//!
//! What is added up is handed on in numbered batches: a batch stays as it is until the next one is asked for, which says
//! that it was taken. So whoever adds them up elsewhere, and keeps the number beside its sums, has added each once.

use crate::ids::{InstanceId, ServiceId};
use crate::price::{ACTIVE_MS_MIN, Usage};
use crate::time::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An instance that was active when nobody wrote any more was so for no longer than this: what came then is not known. Nobody
/// wrote where there is more than this between two notes: the machine was suspended, say.
const UNSEEN_ACTIVE_MS_MAX: u64 = 10_000;
/// Those of before that are not seen again in this time of a new journal's writer have ended meanwhile.
const MISSED_MS: u64 = 60_000;
const SECOND_MS: u64 = 1_000;
/// Rows that wait to be handed on. Of more, a service's instances and days are counted as one.
const ROWS_MAX: usize = 20_000;
/// Rows of one batch.
pub const BATCH_MAX: usize = 5_000;

/// How an instance is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// It has no process.
    Asleep,
    /// It is there, and has nothing to do.
    Quiet,
    /// It had a request, or was starting.
    Active,
}

/// Who is metered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    pub instance: InstanceId,
    pub service: ServiceId,
    pub cpu_units: u32,
    pub memory_mib: u32,
}

/// What changed in a second, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Is there now, or has another size. True: with a new process.
    Came(Metered, bool),
    /// How it is used from this second on.
    Uses(InstanceId, Use),
    /// Is there no more, after this second.
    Went(InstanceId),
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// Somebody begins to write: whoever was there before is to be seen again.
    Began {
        boot_ms: u64,
        /// The start of the machine that `boot_ms` counts from. None: not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot_id: Option<String>,
    },
    /// A second is over. `boot_ms` goes on over whoever writes, and begins again with the machine.
    Second {
        boot_ms: u64,
        wall: WallTime,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        changes: Vec<Change>,
    },
    /// The batch of before was taken, and this is the number of the next.
    Batch { number: u64 },
}

/// Sums of one instance on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub service: ServiceId,
    /// Empty: instances that are counted as one.
    pub instance: InstanceId,
    /// Days since 1970, UTC.
    pub day: u32,
    #[serde(flatten)]
    pub usage: Usage,
}

/// What is handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Greater than that of the one before. Zero: there has been none.
    pub number: u64,
    pub rows: Vec<Row>,
}

/// The last batch that was taken, of which meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub meter: String,
    pub number: u64,
}

/// A batch, and the meter that it is of: numbers of another say nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    pub meter: String,
    pub batch: Batch,
}

/// Everything that the notes so far say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    open: BTreeMap<InstanceId, Open>,
    /// Not handed on yet.
    #[serde(with = "rows")]
    rows: BTreeMap<Key, Usage>,
    batch: Batch,
    /// Since then somebody writes.
    began_ms: u64,
    /// The start of the machine that all these count from. None: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    /// The last second that was noted, and the day that it was of.
    seen_ms: u64,
    #[serde(default)]
    day: u32,
}

type Key = (ServiceId, InstanceId, u32);

/// One that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    who: Metered,
    /// None: not known yet.
    used: Option<Use>,
    /// It is accounted for until then.
    until_ms: u64,
    /// How long the present process has been active, of the least that is charged for. None: it has none.
    active_ms: Option<u64>,
    /// Since when, by who writes now.
    seen_ms: Option<u64>,
}

impl Book {
    /// Takes one note.
    pub fn take(&mut self, note: &Note) {
        match note {
            Note::Began { boot_ms, boot_id } => {
                self.pass_all();
                self.began_ms = *boot_ms;
                self.seen_ms = *boot_ms;
                let is_known = self.boot_id.is_some() && boot_id.is_some();
                let is_new_boot = is_known && self.boot_id != *boot_id;
                self.boot_id.clone_from(boot_id);
                for open in self.open.values_mut() {
                    open.seen_ms = None;
                    if is_new_boot {
                        // For how long the machine was off nobody knows.
                        open.until_ms = *boot_ms;
                    }
                }
            }
            Note::Second { boot_ms, wall, changes } => self.second(*boot_ms, *wall, changes),
            Note::Batch { number } => {
                self.pass_all();
                let rest = self.rows.keys().nth(BATCH_MAX).cloned();
                let rest = rest.map(|key| self.rows.split_off(&key)).unwrap_or_default();
                let rows = std::mem::replace(&mut self.rows, rest).into_iter().map(rows::row).collect();
                self.batch = Batch { number: *number, rows };
            }
        }
    }

    /// What nothing changed for is accounted for when that is over, or when it is to be handed on.
    fn second(&mut self, boot_ms: u64, wall: WallTime, changes: &[Change]) {
        let day = wall.day();
        let is_late = boot_ms.saturating_sub(self.seen_ms) > UNSEEN_ACTIVE_MS_MAX;
        if is_late || day != self.day {
            self.pass_all();
            self.day = day;
        }
        if is_late {
            self.began_ms = boot_ms;
        }
        for change in changes {
            match change {
                Change::Came(who, is_new) => self.came(who, *is_new, boot_ms),
                Change::Uses(instance, used) => self.uses(instance, *used),
                Change::Went(instance) => {
                    self.pass(instance, boot_ms);
                    self.close(instance);
                }
            }
        }
        self.seen_ms = boot_ms;
        if boot_ms.saturating_sub(self.began_ms) >= MISSED_MS {
            let missed = self.open.iter().filter(|(_, open)| open.seen_ms.is_none());
            let missed: Vec<InstanceId> = missed.map(|(id, _)| id.clone()).collect();
            missed.iter().for_each(|instance| self.close(instance));
        }
    }

    fn came(&mut self, who: &Metered, is_new: bool, boot_ms: u64) {
        self.pass(&who.instance, self.seen_ms);
        if is_new {
            self.close(&who.instance);
        }
        // Of this second all is counted: a started second is one. While nobody was there none was noted.
        let until_ms = self.seen_ms.max(boot_ms.saturating_sub(SECOND_MS));
        let active_ms = is_new.then_some(0);
        let new = Open { who: who.clone(), used: None, until_ms, active_ms, seen_ms: None };
        let open = self.open.entry(who.instance.clone()).or_insert(new);
        open.who = who.clone();
        if open.seen_ms.is_none() {
            open.seen_ms = Some(boot_ms);
            // Of before the machine began anew: that clock said more.
            open.until_ms = open.until_ms.min(boot_ms);
        }
    }

    /// Accounts for all that are there until the last second.
    fn pass_all(&mut self) {
        let all: Vec<InstanceId> = self.open.keys().cloned().collect();
        all.iter().for_each(|instance| self.pass(instance, self.seen_ms));
    }

    fn pass(&mut self, instance: &InstanceId, until_ms: u64) {
        let began_ms = self.began_ms;
        let Some(open) = self.open.get_mut(instance) else { return };
        // Of one that came in this second nothing before it is known by who writes now: it is as it is from here on.
        if open.seen_ms.is_some_and(|seen| seen <= until_ms) {
            let (who, usage) = (open.who.clone(), open.pass(began_ms, until_ms));
            self.add(&who, usage);
        }
    }

    /// From this second on.
    fn uses(&mut self, instance: &InstanceId, used: Use) {
        self.pass(instance, self.seen_ms);
        let Some(open) = self.open.get_mut(instance) else { return };
        let before = open.used.replace(used);
        if used == Use::Asleep {
            let (who, short) = (open.who.clone(), open.end());
            self.add(&who, short);
        } else if before == Some(Use::Asleep) {
            open.active_ms = Some(0);
        }
    }

    fn close(&mut self, instance: &InstanceId) {
        if let Some(mut open) = self.open.remove(instance) {
            let short = open.end();
            self.add(&open.who, short);
        }
    }

    fn add(&mut self, who: &Metered, usage: Usage) {
        let day = self.day;
        if usage == Usage::default() {
            return;
        }
        let own = (who.service.clone(), who.instance.clone(), day);
        let key = match self.rows.contains_key(&own) || self.rows.len() < ROWS_MAX {
            true => own,
            false => self.common(who, day),
        };
        *self.rows.entry(key).or_default() += usage;
    }

    /// The row of a service's instances that are counted as one.
    fn common(&self, who: &Metered, day: u32) -> Key {
        let first = (who.service.clone(), InstanceId::new(""), 0);
        let known = self.rows.range(&first..).next().map(|(key, _)| key);
        let known = known.filter(|key| key.0 == first.0 && key.1 == first.1);
        known.cloned().unwrap_or((first.0, first.1, day))
    }

    /// Those that are there by the notes so far, whoever has seen them.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What is handed on at present.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The note that is to be taken before more is handed on, to who has taken these. None: nothing waits for it, or the
    /// present batch is not taken yet. Who has taken one that is not known here has seen a later state of this book, which
    /// was lost: numbers go on behind it.
    pub fn next_batch(&self, taken: Option<u64>) -> Option<Note> {
        let present = self.batch.number;
        let is_taken = present == 0 || taken.is_some_and(|taken| taken >= present);
        let number = present.max(taken.unwrap_or(0)) + 1;
        let has_more = !self.rows.is_empty() || self.open.values().any(|open| open.waits(self.seen_ms));
        (is_taken && has_more).then_some(Note::Batch { number })
    }
}

impl Open {
    /// Whether something until then is not accounted for.
    fn waits(&self, until_ms: u64) -> bool {
        let is_seen = self.seen_ms.is_some_and(|seen| seen <= until_ms);
        is_seen && self.used.is_some() && self.until_ms < until_ms
    }

    /// Time has passed, in which somebody wrote since `began_ms`.
    fn pass(&mut self, began_ms: u64, boot_ms: u64) -> Usage {
        let from_ms = std::mem::replace(&mut self.until_ms, boot_ms);
        let ms = boot_ms.saturating_sub(from_ms);
        let mib_ms = ms.saturating_mul(self.who.memory_mib.into());
        match self.used {
            None => Usage::default(),
            Some(Use::Asleep) => Usage { asleep_mib_ms: mib_ms, ..Usage::default() },
            Some(Use::Quiet) => Usage { provisioned_mib_ms: mib_ms, ..Usage::default() },
            Some(Use::Active) => {
                let unseen_ms = began_ms.saturating_sub(from_ms).min(ms);
                let active_ms = ms - unseen_ms + unseen_ms.min(UNSEEN_ACTIVE_MS_MAX);
                self.active_ms = self.active_ms.map(|sum| sum.saturating_add(active_ms));
                let active_unit_ms = active_ms.saturating_mul(self.who.cpu_units.into());
                Usage { active_unit_ms, provisioned_mib_ms: mib_ms, ..Usage::default() }
            }
        }
    }

    /// Its process has ended, if it had one: what is charged for that beside.
    fn end(&mut self) -> Usage {
        let short_ms = self.active_ms.take().map_or(0, |ms| ACTIVE_MS_MIN.saturating_sub(ms));
        Usage { short_unit_ms: short_ms.saturating_mul(self.who.cpu_units.into()), ..Usage::default() }
    }
}

/// Rows as they are written.
mod rows {
    use super::{Key, Row, Usage};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn row(((service, instance, day), usage): (Key, Usage)) -> Row {
        Row { service, instance, day, usage }
    }

    pub(super) fn serialize<S: Serializer>(rows: &BTreeMap<Key, Usage>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(rows.iter().map(|(key, usage)| row((key.clone(), *usage))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Key, Usage>, D::Error> {
        let rows = Vec::<Row>::deserialize(from)?;
        Ok(rows.into_iter().map(|row| ((row.service, row.instance, row.day), row.usage)).collect())
    }
}

#[cfg(test)]
mod tests;
