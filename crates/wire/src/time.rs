//! Time on the wire: epoch seconds as numbers in bodies, ISO 8601 basic format in signatures.

/// Milliseconds since 1970 as AWS JSON writes a timestamp: seconds, with three decimals at most.
pub fn epoch_seconds(wall_ms: u64) -> f64 {
    wall_ms as f64 / 1000.0
}

/// The way back, rounded to the millisecond; times before 1970 and what is not a number become 0.
pub fn wall_ms(epoch_seconds: f64) -> u64 {
    // A cast from float saturates, and NaN becomes 0.
    (epoch_seconds * 1000.0).round() as u64
}

/// `20260131T235959Z`, from whole seconds since 1970.
pub fn iso_basic(epoch_s: u64) -> String {
    let (year, month, day) = date_of_days(epoch_s / 86_400);
    let s = epoch_s % 86_400;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

/// Seconds since 1970 from `20260131T235959Z`; `None` when it is not exactly that format or no real date.
pub fn parse_iso_basic(text: &str) -> Option<u64> {
    let b = text.as_bytes();
    let form = b.len() == 16 && b[8] == b'T' && b[15] == b'Z';
    if !form || !b.iter().enumerate().all(|(i, c)| i == 8 || i == 15 || c.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| b[from..to].iter().fold(0u64, |n, c| n * 10 + u64::from(c - b'0'));
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let (hour, minute, second) = (number(9, 11), number(11, 13), number(13, 15));
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of_date(year, month, day);
    // A day that the month lacks comes back as another date.
    (date_of_days(days) == (year, month, day)).then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 of a Gregorian date, counted in years that begin in March so that the leap day is last.
fn days_of_date(year: u64, month: u64, day: u64) -> u64 {
    let y = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day.saturating_sub(1);
    // Day 0 of this sum is 1 March of year 0, which is 719,468 days before 1970.
    (y * 365 + y / 4 - y / 100 + y / 400 + day_of_year) - 719_468
}

/// The Gregorian date of a count of days since 1970: the inverse of `days_of_date`.
fn date_of_days(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let z = days + 719_468;
    let (era, day) = (z / DAYS_OF_400_YEARS, z % DAYS_OF_400_YEARS);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20150830T123600Z", 1_440_938_160),
            ("20000229T235959Z", 951_868_799),
            ("20261121T090000Z", 1_795_251_600),
        ] {
            assert_eq!(parse_iso_basic(text), Some(seconds), "{text}");
            assert_eq!(iso_basic(seconds), text);
        }
        // Every day of more than 400 years follows the one before.
        for day in 0..150_000 {
            let (y, m, d) = date_of_days(day);
            assert_eq!(days_of_date(y, m, d), day);
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "20150830T123600",
            "20150830 123600Z",
            "20150230T000000Z",
            "20151301T000000Z",
            "20150100T000000Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "19691231T235959Z",
            "2015083aT123600Z",
            "20150830T1236000Z",
        ] {
            assert_eq!(parse_iso_basic(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_keep_their_milliseconds() {
        assert_eq!(serde_json::to_string(&epoch_seconds(1_795_251_600_123)).unwrap(), "1795251600.123");
        assert_eq!(wall_ms(epoch_seconds(1_795_251_600_123)), 1_795_251_600_123);
        assert_eq!(wall_ms(-1.0), 0);
        assert_eq!(wall_ms(f64::NAN), 0);
    }
}
