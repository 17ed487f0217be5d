//! Engine time: what deadlines are written in. It never jumps with the wall clock.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds of engine time: CLOCK_BOOTTIME plus an offset that is stored with the boot id, so that it
/// goes on over a reboot and never back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(d.as_millis() as u64))
    }
}

impl Sub for Timestamp {
    type Output = Duration;
    /// The time from `other` to `self`; zero when `other` is later.
    fn sub(self, other: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(other.0))
    }
}

/// Wall-clock time as milliseconds since 1970, UTC: for display, signatures and certificates only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Whole days since 1970, UTC.
    pub fn day(self) -> u32 {
        u32::try_from(self.0 / DAY_MS).unwrap_or(u32::MAX)
    }

    /// When its calendar month began, UTC.
    pub fn month_begin(self) -> WallTime {
        let day_of_month = date(self.day()).map_or(1, |date| date.day());
        WallTime((u64::from(self.day()) + 1 - day_of_month as u64) * DAY_MS)
    }

    /// The days of its calendar month, UTC. None: further away than calendars go.
    pub(crate) fn days_of_month(self) -> Option<u64> {
        date(self.day()).map(|date| date.days_in_month() as u64)
    }
}

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A day since 1970, such as 2026-11-23.
pub fn day_name(day: u32) -> String {
    date(day).map_or_else(|| format!("day {day}"), |date| date.to_string())
}

/// None: further away than calendars go.
fn date(day: u32) -> Option<jiff::civil::Date> {
    jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(day).ok()?).ok()
}

/// Milliseconds as people read them.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_names_and_months_begin() {
        assert_eq!([day_name(0), day_name(20_780)], ["1970-01-01", "2026-11-23"]);
        let noon = WallTime(20_780 * DAY_MS + DAY_MS / 2);
        assert_eq!((noon.day(), day_name(noon.month_begin().day())), (20_780, "2026-11-01".to_owned()));
        assert_eq!(noon.month_begin().month_begin(), noon.month_begin());
        // February of 2027 and of 2028 from its first moment on, and March.
        let days = [20_850, 20_877, 21_215, 21_243, 21_244].map(|day| WallTime(day * DAY_MS).days_of_month());
        assert_eq!(days, [28, 28, 29, 29, 31].map(Some));
        assert_eq!((noon.days_of_month(), WallTime(u64::MAX).days_of_month()), (Some(30), None));
        assert_eq!((day_name(u32::MAX), WallTime(u64::MAX).day()), (format!("day {}", u32::MAX), u32::MAX));
    }
}
