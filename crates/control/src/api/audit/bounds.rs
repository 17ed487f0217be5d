//! Of whom few lines are written, by the minute: callers without a verified signature, keys that call too often, and
//! whoever reads this log, or he would read of himself without an end.

use super::line::remark;
use apron_model::limits;
use apron_model::time::WallTime;
use apron_telemetry::Line;
use std::collections::{BTreeMap, BTreeSet};

/// Among whose lines a call's counts. Keys go by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    None,
    /// No signature of the call is verified.
    OfStrangers,
    /// A call too many of this key.
    OfThrottled(String),
    /// The first page of this log.
    OfReading(String),
    /// A page behind others.
    OfReadingOn(String),
}

/// What was written in this minute. There are `limits::ACCESS_KEYS_MAX` keys at a time.
#[derive(Default)]
pub(super) struct Quieted {
    minute: u64,
    strangers: u32,
    /// Of those, they that got no line.
    further: u64,
    /// By the key's name: how many calls of it were throttled.
    throttled: BTreeMap<String, u64>,
    /// Keys of which a line says that they read this log.
    readers: BTreeSet<String>,
}

impl Quieted {
    /// Begins a new minute if there is one; what is left to say of the one before.
    pub(super) fn turn(&mut self, now: WallTime) -> Vec<Line> {
        let minute = now.0 / 60_000;
        if minute == self.minute {
            return Vec::new();
        }
        let last = self.end(now);
        *self = Quieted { minute, ..Quieted::default() };
        last
    }

    /// Whether a call gets its line.
    pub(super) fn admit(&mut self, bound: Bound) -> bool {
        match bound {
            Bound::None => true,
            Bound::OfThrottled(key_name) => {
                let count = self.throttled.entry(key_name).or_default();
                *count += 1;
                *count == 1
            }
            Bound::OfReading(key_name) => {
                self.readers.insert(key_name);
                true
            }
            Bound::OfReadingOn(key_name) => self.readers.insert(key_name),
            Bound::OfStrangers if self.strangers < limits::AUDIT_STRANGERS_PER_MINUTE_MAX => {
                self.strangers += 1;
                true
            }
            Bound::OfStrangers => {
                self.further += 1;
                false
            }
        }
    }

    /// What is left to say of this minute.
    pub(super) fn end(&self, now: WallTime) -> Vec<Line> {
        let keys = self.throttled.iter().filter(|(_, count)| **count > 1);
        let mut lines: Vec<_> = keys
            .map(|(name, count)| {
                remark(now, format!("{} further calls of the key {name} were throttled", count - 1))
            })
            .collect();
        let further = self.further;
        if further > 0 {
            let said =
                format!("{further} further calls of unknown keys or with wrong signatures were refused");
            lines.push(remark(now, said));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_throttled_keys_get_few_lines_and_the_rest_is_counted() {
        let mut quieted = Quieted::default();
        let max = limits::AUDIT_STRANGERS_PER_MINUTE_MAX;
        let throttled = || Bound::OfThrottled("ci".into());
        assert!(quieted.turn(WallTime(60_000)).is_empty());
        assert_eq!((0..max + 5).filter(|_| quieted.admit(Bound::OfStrangers)).count(), max as usize);
        assert_eq!((0..8).filter(|_| quieted.admit(throttled())).count(), 1);
        assert!((0..50).all(|_| quieted.admit(Bound::None)));
        assert!(quieted.turn(WallTime(119_999)).is_empty());
        let said: Vec<_> = quieted.turn(WallTime(120_000)).into_iter().map(|line| line.text).collect();
        assert!(said[0].contains("7 further calls of the key ci were throttled"), "{said:?}");
        assert!(said[1].contains("5 further calls of unknown keys"), "{said:?}");
        assert!(quieted.admit(Bound::OfStrangers) && quieted.admit(throttled()));
        assert!(quieted.turn(WallTime(180_000)).is_empty());
    }

    #[test]
    fn who_reads_the_log_is_named_and_does_not_follow_himself() {
        let mut quieted = Quieted::default();
        let first = || Bound::OfReading("ci".into());
        let on = |key: &str| Bound::OfReadingOn(key.into());
        quieted.turn(WallTime(60_000));
        assert!(quieted.admit(first()) && !quieted.admit(on("ci")) && quieted.admit(first()));
        assert!(quieted.admit(on("root")), "a cursor alone hides nobody");
        assert!(!quieted.admit(on("root")));
        quieted.turn(WallTime(120_000));
        assert!(quieted.admit(on("ci")) && !quieted.admit(on("ci")));
    }
}
