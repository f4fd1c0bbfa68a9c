//! Days and times as people and spreadsheets write them (ISO 8601), always in UTC.

/// Milliseconds in a day; UTC as machines keep it has no leap seconds.
const DAY: u64 = 86_400_000;

/// A time as `2026-01-31T23:59:59Z`; given in milliseconds since the epoch.
pub(crate) fn iso(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    let second = at % DAY / 1_000;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// When a day given as `2026-01-31` begins, in milliseconds since the epoch.
///
/// # Errors
/// The text is no day since 1970.
pub(crate) fn day(text: &str) -> Result<u64, String> {
    let wrong = || String::from("give a day such as 2026-01-31; it is meant in UTC");
    let mut parts = text.splitn(3, '-').map(str::parse::<u64>);
    let mut part = || parts.next().and_then(Result::ok).ok_or_else(wrong);
    let (year, month, day) = (part()?, part()?, part()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(wrong());
    }
    let days = days(year, month, day);
    // The 31st of a month that has none is another month's first.
    if civil(days) == (year, month, day) { Ok(days * DAY) } else { Err(wrong()) }
}

/// When the day after begins.
pub(crate) const fn next_day(at: u64) -> u64 {
    at.saturating_add(DAY)
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"; years count from March, so
/// that the day that comes and goes is the last).
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The way back.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + years;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_read_as_it_is_written() {
        for number in 0..60_000 {
            let text = iso(number * DAY);
            assert_eq!(day(&text[..10]), Ok(number * DAY), "{text}");
        }
    }

    #[test]
    fn known_times_are_written_as_others_write_them() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(iso(1_700_000_000_999), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in
            ["", "2026", "2026-13-01", "2026-02-29", "2026-04-31", "1969-12-31", "2026-01-01T00:00", "-"]
        {
            assert!(day(text).is_err(), "{text:?}");
        }
    }
}
