//! A least number of instances by the clock: the tag `apron:min-size-schedule`.
//!
//! Entries are separated by semicolons, each five fields of cron and a number, such as `0 7 * * 1-5 = 3; 0 19 * * 1-5 = 1`:
//! from seven in the morning, Monday to Friday, three, and from seven in the evening one. At any time the entry holds whose
//! time came last. Times are UTC.

use crate::time::{DAY_MS, WallTime};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// An entry that came last longer ago than this holds no more: longer than from a leap day to the next.
const DAYS_BACK_MAX: i32 = 366 * 8;
/// What cron counts in.
const MINUTE_MS: u64 = 60_000;
/// More of them are a mistake.
const ENTRIES_MAX: usize = 32;
/// AWS has 25; a machine has room for more small ones.
pub const INSTANCES_MAX: u32 = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// As in cron: of a day of the month and a day of the week that are both restricted one is enough.
    either_day: bool,
    least: u32,
}

/// Numbers below 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| number < u64::BITS && self.0 >> number & 1 == 1)
    }

    /// The highest that is no higher than this.
    fn up_to(self, most: i8) -> Option<i8> {
        (0..=most).rev().find(|number| self.has(*number))
    }

    /// The lowest that is no lower than this.
    fn at_least(self, least: i8) -> Option<i8> {
        (least..64).find(|number| self.has(*number))
    }
}

/// A schedule that cannot be understood: what of it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' {why}")]
pub struct ScheduleError {
    text: String,
    why: String,
}

fn wrong(text: &str, why: impl fmt::Display) -> ScheduleError {
    ScheduleError { text: text.trim().to_owned(), why: why.to_string() }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let mut entries: Vec<Entry> = entries(text).map(str::parse).collect::<Result<_, _>>()?;
        match entries.len() {
            0 => Err(wrong(text, "names no time; an entry is 'MINUTE HOUR DAY MONTH WEEKDAY = NUMBER'")),
            1..=ENTRIES_MAX => {
                entries.retain(Entry::comes);
                Ok(Schedule { entries })
            }
            count => Err(wrong(text, format_args!("has {count} entries, {ENTRIES_MAX} are the most"))),
        }
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter(|entry| !entry.trim().is_empty())
}

/// For calls, which refuse an entry whose time never comes. In a row it says nothing.
pub fn check(text: &str) -> Result<(), ScheduleError> {
    for text in entries(text) {
        let entry: Entry = text.parse()?;
        if !entry.comes() {
            let mut fields = text.split_ascii_whitespace().skip(2);
            let [days, months] = [(); 2].map(|()| fields.next().unwrap_or_default());
            let last = entry.months().map(last_day).max().unwrap_or_default();
            return Err(wrong(
                text,
                format_args!(
                    "never comes: no month of '{months}' has a day of '{days}'; name one up to {last}"
                ),
            ));
        }
    }
    Ok(())
}

impl FromStr for Entry {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Entry, ScheduleError> {
        let (times, least) = text
            .split_once('=')
            .ok_or_else(|| wrong(text, "has no '= NUMBER' of instances behind its time"))?;
        let least = number(least.trim(), 0..=INSTANCES_MAX).ok_or_else(|| {
            wrong(least, format_args!("is no number of instances from 0 to {INSTANCES_MAX}"))
        })?;
        let fields: Vec<&str> = times.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(wrong(times, format_args!("has {} fields, cron has five", fields.len())));
        };
        let mut sunday_is_0 = set(weekdays, "day of the week", 0, 7)?;
        // Both 0 and 7 are Sunday.
        sunday_is_0.0 |= sunday_is_0.0 >> 7 & 1;
        Ok(Entry {
            minutes: set(minutes, "minute", 0, 59)?,
            hours: set(hours, "hour", 0, 23)?,
            days: set(days, "day of the month", 1, 31)?,
            months: set(months, "month", 1, 12)?,
            weekdays: sunday_is_0,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
            least,
        })
    }
}

/// One field: `*`, numbers, ranges and steps, separated by commas.
fn set(text: &str, what: &str, min: u32, max: u32) -> Result<Set, ScheduleError> {
    let is_wrong = || {
        wrong(
            text,
            format_args!("is no {what}: numbers from {min} to {max}, such as * or 1-5 or */2 or 0,30"),
        )
    };
    let mut set = Set(0);
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step, 1..=max).ok_or_else(is_wrong)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((first, last)) => (
                number(first, min..=max).ok_or_else(is_wrong)?,
                number(last, min..=max).ok_or_else(is_wrong)?,
            ),
            None => {
                let first = number(range, min..=max).ok_or_else(is_wrong)?;
                (first, if part.contains('/') { max } else { first })
            }
        };
        if first > last {
            return Err(is_wrong());
        }
        (first..=last).step_by(step as usize).for_each(|number| set.0 |= 1 << number);
    }
    Ok(set)
}

fn number(text: &str, within: std::ops::RangeInclusive<u32>) -> Option<u32> {
    // A sign is no digit, though Rust would take it.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && within.contains(number))
}

/// What a schedule says, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the entry whose time came last; of two at the same time the one that stands later. None: there was
    /// no such time in the last years.
    pub least: Option<u32>,
    within: Range<WallTime>,
}

impl Answer {
    /// Whether it is the answer at this time too; the wall clock may have been set, forward or back.
    pub fn holds(&self, now: WallTime) -> bool {
        self.within.contains(&now)
    }
}

/// The day, its hour and its minute. None: further away than calendars go.
fn civil(now: WallTime) -> Option<(Date, (i8, i8))> {
    let now = Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
    let now = Offset::UTC.to_datetime(now);
    Some((now.date(), (now.hour(), now.minute())))
}

impl Schedule {
    /// Holds from the beginning of this minute to the next time of any entry, and to the end of the day at most.
    pub fn answer(&self, now: WallTime) -> Answer {
        let Some((date, time)) = civil(now) else { return Answer { least: None, within: now..now } };
        let next = self.entries.iter().filter_map(|entry| entry.next(date, time)).min();
        let until = next.map_or(DAY_MS, |(hour, minute)| (hour as u64 * 60 + minute as u64) * MINUTE_MS);
        let from = WallTime(now.0 - now.0 % MINUTE_MS);
        let until = WallTime(now.0 - now.0 % DAY_MS + until);
        Answer { least: self.least(date, time), within: from..until }
    }

    /// The most that it ever asks for.
    pub fn most(&self) -> u32 {
        self.entries.iter().map(|entry| entry.least).max().unwrap_or(0)
    }

    fn least(&self, mut date: Date, mut until: (i8, i8)) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        for _ in 0..DAYS_BACK_MAX {
            let times = self.entries.iter().enumerate();
            let last =
                times.filter_map(|(place, entry)| Some((entry.last(date, until)?, place, entry.least))).max();
            if let Some((.., least)) = last {
                return Some(least);
            }
            date = date.yesterday().ok()?;
            until = (23, 59);
        }
        None
    }
}

/// Of a month, where it is longest.
fn last_day(month: i8) -> i8 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Entry {
    fn months(&self) -> impl Iterator<Item = i8> {
        (1..=12).filter(move |month| self.months.has(*month))
    }

    /// Whether it has a time at all. Every date falls on each day of the week in some year.
    fn comes(&self) -> bool {
        self.either_day
            || self.months().any(|month| self.days.at_least(1).is_some_and(|day| day <= last_day(month)))
    }

    fn is_on(&self, date: Date) -> bool {
        let of_month = self.days.has(date.day());
        let of_week = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let day = if self.either_day { of_month || of_week } else { of_month && of_week };
        day && self.months.has(date.month())
    }

    /// Its first time on this day, after this hour and minute.
    fn next(&self, date: Date, (hour, minute): (i8, i8)) -> Option<(i8, i8)> {
        if !self.is_on(date) {
            return None;
        }
        if self.hours.has(hour)
            && let Some(minute) = self.minutes.at_least(minute + 1)
        {
            return Some((hour, minute));
        }
        Some((self.hours.at_least(hour + 1)?, self.minutes.at_least(0)?))
    }

    /// Its last time on this day, up to this hour and minute.
    fn last(&self, date: Date, (hour, minute): (i8, i8)) -> Option<(i8, i8)> {
        if !self.is_on(date) {
            return None;
        }
        let within = |minute| self.minutes.up_to(minute);
        if self.hours.has(hour)
            && let Some(minute) = within(minute)
        {
            return Some((hour, minute));
        }
        Some((self.hours.up_to(hour - 1)?, within(59)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        let time: Timestamp = text.parse().unwrap();
        WallTime(time.as_millisecond() as u64)
    }

    fn check(schedule: &str, now: &str, expect: Option<u32>) {
        let schedule: Schedule = schedule.parse().unwrap();
        assert_eq!(schedule.answer(at(now)).least, expect, "{now} {schedule:?}");
    }

    #[test]
    fn the_entry_whose_time_came_last_holds() {
        // The 23rd of November 2026 is a Monday.
        let office = "0 7 * * 1-5 = 3; 0 19 * * 1-5 = 1";
        check(office, "2026-11-23T06:59:59Z", Some(1));
        check(office, "2026-11-23T07:00:00Z", Some(3));
        check(office, "2026-11-23T18:59:59Z", Some(3));
        check(office, "2026-11-23T19:00:00Z", Some(1));
        check(office, "2026-11-22T12:00:00Z", Some(1));
        check("*/15 * * * * = 2; 5-10/5 8,20 * * * = 4", "2026-11-23T08:09:00Z", Some(4));
        check("*/15 * * * * = 2; 5-10/5 8,20 * * * = 4", "2026-11-23T08:15:00Z", Some(2));
        check("30 0 1 1 * = 9", "2026-12-31T23:59:00Z", Some(9));
        check("0 0 29 2 * = 5", "2027-11-23T00:00:00Z", Some(5));
        check("0 0 30 2 * = 5", "2027-11-23T00:00:00Z", None);
        check("0 0 * * 0 = 1; 0 0 * * 7 = 2", "2026-11-23T00:00:00Z", Some(2));
        // As in cron, one of both days is enough.
        check("0 0 13 * 5 = 6; 0 12 * * * = 1", "2026-11-13T08:00:00Z", Some(6));
        check("0 0 13 * 5 = 6; 0 12 * * * = 1", "2026-11-20T08:00:00Z", Some(6));
        check("0 0 13 * 5 = 6; 0 12 * * * = 1", "2026-11-19T08:00:00Z", Some(1));
    }

    /// Minute by minute over two days, of which the second is a leap day.
    #[test]
    fn an_answer_holds_until_another_one_may_come() {
        for (schedule, answers_max) in [
            ("0 7 * * 1-5 = 3; 0 19 * * 1-5 = 1", 6),
            ("0 0 29 2 * = 5; 30 12 29 2 * = 6", 4),
            ("*/15 * * * * = 2; 5-10/5 8,20 * * * = 4", 2 * (96 + 4)),
            ("59 23 * * * = 1; 0 0 * * * = 2", 5),
            ("0 0 30 2 * = 5", 2),
        ] {
            let schedule: Schedule = schedule.parse().unwrap();
            let (mut answer, mut answers) = (schedule.answer(at("2028-02-28T00:00:30Z")), 1);
            for minute in 0..2 * 24 * 60 {
                let now = WallTime(at("2028-02-28T00:00:59Z").0 + minute * MINUTE_MS);
                if !answer.holds(now) {
                    (answer, answers) = (schedule.answer(now), answers + 1);
                }
                let (fresh, begin) = (schedule.answer(now), WallTime(now.0 - now.0 % MINUTE_MS));
                assert_eq!(answer.least, fresh.least, "{now:?} {schedule:?}");
                assert!(fresh.holds(now) && fresh.holds(begin) && !fresh.holds(WallTime(begin.0 - 1)));
            }
            assert!(answers <= answers_max, "{answers} {schedule:?}");
        }
        let schedule: Schedule = "* * * * * = 1".parse().unwrap();
        let never = schedule.answer(WallTime(u64::MAX));
        assert!(never.least.is_none() && !never.holds(WallTime(u64::MAX)), "no calendar goes so far");
    }

    #[test]
    fn an_entry_that_never_comes_is_refused_and_says_nothing_in_a_row() {
        for (text, expect) in [
            (
                "0 7 * * * = 1; 0 0 30 2 * = 3",
                "'0 0 30 2 * = 3' never comes: no month of '2' has a day of '30'",
            ),
            ("0 0 31 2,4-6/2 *=3", "no month of '2,4-6/2' has a day of '31'; name one up to 30"),
            ("0 0 30-31 2 */2 = 3", "no month of '2' has a day of '30-31'; name one up to 29"),
        ] {
            let error = super::check(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
        for comes in
            ["0 0 29 2 * = 3", "0 0 31 2-3 * = 3", "0 0 30 2 5 = 3", "* * * * * = 0", "0 0 31 */6 * = 1"]
        {
            assert_eq!(super::check(comes), Ok(()), "{comes}");
        }
        assert!(super::check("0 0 30 13 * = 3").unwrap_err().to_string().contains("no month"));
        check("0 7 * * * = 1; 0 0 30 2 * = 3", "2027-11-23T08:00:00Z", Some(1));
    }

    fn check_wrong(text: &str, expect: &str) {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.contains(expect), "{text}: {error}");
    }

    #[test]
    fn what_is_no_schedule_is_said() {
        check_wrong("", "names no time");
        check_wrong(" ; ", "names no time");
        check_wrong("0 7 * * 1-5", "has no '= NUMBER'");
        check_wrong("0 7 * * = 3", "has 4 fields, cron has five");
        check_wrong("0 7 * * * = many", "'many' is no number of instances");
        check_wrong("0 7 * * * = -1", "'-1' is no number of instances");
        check_wrong("60 7 * * * = 1", "'60' is no minute");
        check_wrong("0 24 * * * = 1", "'24' is no hour");
        check_wrong("0 7 0 * * = 1", "'0' is no day of the month");
        check_wrong("0 7 * 13 * = 1", "'13' is no month");
        check_wrong("0 7 * * mon = 1", "'mon' is no day of the week");
        check_wrong("5-1 7 * * * = 1", "'5-1' is no minute");
        check_wrong("*/0 7 * * * = 1", "'*/0' is no minute");
        check_wrong("1,,2 7 * * * = 1", "'1,,2' is no minute");
        check_wrong(&"0 7 * * * = 1;".repeat(33), "has 33 entries");
    }
}
