//! Wall time, for what is shown and signed; nothing is decided by it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "certificates, log lines and Date carry wall time")]
pub(crate) fn since_1970() -> Duration {
    // A clock before 1970 gives a certificate from then, which is made anew when the clock is right.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-11-22T11:40:50.123Z`.
pub(crate) struct Iso8601(pub(crate) Duration);

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((year, month, day), (hour, minute, second)) = civil(self.0.as_secs());
        let ms = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// `Sun, 22 Nov 2026 11:40:50 GMT`, as HTTP writes it (RFC 9110 §5.6.7).
pub(crate) struct HttpDate(pub(crate) Duration);

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first day of 1970 was a Thursday.
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let seconds = self.0.as_secs();
        let ((year, month, day), (hour, minute, second)) = civil(seconds);
        let (weekday, month) = (DAYS[(seconds / 86_400 % 7) as usize], MONTHS[(month - 1) as usize]);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

type Three = (u64, u64, u64);

/// Date and time of day of a number of seconds since 1970.
fn civil(seconds: u64) -> (Three, Three) {
    let of_day = seconds % 86_400;
    (date(seconds / 86_400), (of_day / 3_600, of_day / 60 % 60, of_day % 60))
}

/// Year, month and day of a number of days since 1970. Years are counted from March, so that the leap day is the last.
fn date(days: u64) -> Three {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 1 March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ms: u64, iso: &str, http: &str) {
        let time = Duration::from_millis(ms);
        assert_eq!(
            (Iso8601(time).to_string(), HttpDate(time).to_string()),
            (iso.to_owned(), http.to_owned())
        );
    }

    #[test]
    fn times_are_written_as_people_and_http_expect_them() {
        check(0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777_000, "1994-11-06T08:49:37.000Z", "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_868_799_999, "2000-02-29T23:59:59.999Z", "Tue, 29 Feb 2000 23:59:59 GMT");
        check(1_440_938_160_007, "2015-08-30T12:36:00.007Z", "Sun, 30 Aug 2015 12:36:00 GMT");
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut last = date(0);
        for days in 1..60_000 {
            let next = date(days);
            let (year, month, day) = last;
            let follows = next == (year, month, day + 1)
                || day >= 28 && next == (year, month + 1, 1)
                || day == 31 && month == 12 && next == (year + 1, 1, 1);
            assert!(follows, "{last:?} {next:?}");
            last = next;
        }
    }
}
