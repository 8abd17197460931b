//! ISO 8601 dates and date-times, to the microsecond.
//!
//! ```text
//! 2026-11-22                      a date
//! 2026-11-22T10:11[:12[.3456789]][Z|+01|+0100|+01:00]      a date-time; a blank for the T, and before the offset
//! ```
//!
//! Years 0001 to 9999. Digits past microseconds are cut. A leap second (`:60`) and `24:00` are not read: no reader of the
//! lake has them either.

/// Microseconds of a second and of a day.
pub const SECOND: i64 = 1_000_000;
pub const DAY: i64 = 86_400 * SECOND;

/// A date-time as written: the wall clock, and the offset if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Microseconds of the wall clock since 1970-01-01T00:00:00 on that clock.
    pub wall_us: i64,
    pub offset_seconds: Option<i32>,
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Two digits.
#[inline]
fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let tens = bytes.get(at)?.wrapping_sub(b'0');
    let ones = bytes.get(at + 1)?.wrapping_sub(b'0');
    (tens <= 9 && ones <= 9).then(|| i64::from(tens * 10 + ones))
}

/// The date that `text` begins with, as days since 1970.
#[inline]
fn leading_date(text: &[u8]) -> Option<i64> {
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let month = two(text, 5)?;
    let day = two(text, 8)?;
    let valid = text[4] == b'-'
        && text[7] == b'-'
        && year >= 1
        && (1..=12).contains(&month)
        && day >= 1
        && day <= days_in_month(year, month);
    valid.then(|| days(year, month, day))
}

/// A date and nothing else, as days since 1970.
#[must_use]
pub fn parse_date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 {
        return None;
    }
    leading_date(text).and_then(|days| i32::try_from(days).ok())
}

/// A date-time, whole.
#[must_use]
pub fn parse_date_time(text: &[u8]) -> Option<Written> {
    if text.len() < 16 || !matches!(text[10], b'T' | b't' | b' ') {
        return None;
    }
    let date = leading_date(text)?;
    let hour = two(text, 11)?;
    let minute = two(text, 14)?;
    if text[13] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let mut rest = &text[16..];
    let mut second = 0;
    let mut fraction = 0;
    if let [b':', after @ ..] = rest {
        second = two(after, 0)?;
        if second > 59 {
            return None;
        }
        rest = &after[2..];
        if let [b'.' | b',', after @ ..] = rest {
            (fraction, rest) = leading_fraction(after)?;
        }
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Some(Written {
        wall_us: date * DAY + seconds * SECOND + fraction,
        offset_seconds: parse_offset(rest)?,
    })
}

/// Microseconds of the digits that `text` begins with, and what follows them.
fn leading_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let mut micros = 0;
    let digits = text[..count].iter().map(|b| i64::from(b - b'0'));
    for digit in digits.chain(std::iter::repeat(0)).take(6) {
        micros = micros * 10 + digit;
    }
    Some((micros, &text[count..]))
}

/// `None` for what is no offset, `Some(None)` for no text.
#[expect(
    clippy::option_option,
    reason = "not an offset, no offset, an offset: three answers"
)]
fn parse_offset(text: &[u8]) -> Option<Option<i32>> {
    if text.is_empty() {
        return Some(None);
    }
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, digits) = match text {
        b"Z" | b"z" => return Some(Some(0)),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let hours = two(digits, 0)?;
    let minutes = match &digits[2..] {
        [] => 0,
        rest @ ([_, _] | [b':', _, _]) => two(rest, rest.len() - 2)?,
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(Some(sign * (hours * 3600 + minutes * 60) as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The instant in microseconds, by this module.
    fn instant(text: &str) -> Option<i64> {
        let written = parse_date_time(text.as_bytes())?;
        Some(written.wall_us - i64::from(written.offset_seconds?) * SECOND)
    }

    #[test]
    fn date_times_agree_with_another_reader() {
        for text in [
            "2026-11-22T10:11:12Z",
            "2026-11-22T10:11:12.3456789+01:00",
            "2026-11-22t10:11:12,5-23:59",
            "0001-01-01T00:00:00Z",
            "9999-12-30T21:59:59.999999Z",
            "2024-02-29T00:00:00+0530",
            "1969-12-31T23:59:59.999999Z",
            "1900-03-01T00:00:00Z",
            "2000-02-29T12:00Z",
        ] {
            let other: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(instant(text), Some(other.as_microsecond()), "{text}");
        }
        assert_eq!(
            instant("2026-11-22 10:11:12 +02"),
            instant("2026-11-22T08:11:12Z")
        );
    }

    #[test]
    fn what_is_no_date_time_is_not_read() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T10",
            "2026-13-22T10:11:12Z",
            "2026-02-29T10:11:12Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T23:59:60Z",
            "2026-11-22T10:11:12.Z",
            "2026-11-22T10:11:12X",
            "2026-11-22T10:11:12+1",
            "2026-11-22T10:11:12+01:0",
            "2026-11-22T10:11:12+24:00",
            "2026/11/22T10:11:12Z",
            "0000-01-01T00:00:00Z",
            "2026-11-22T10:11:",
            "2026-11-22T10:11:1",
            "２026-11-22T10:11",
        ] {
            assert_eq!(parse_date_time(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_date(b"1970-01-02"), Some(1));
        assert_eq!(parse_date(b"1970-01-02 "), None);
        assert_eq!(parse_date(b"1970-1-02x"), None);
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = days(1800, 1, 1);
        for year in 1800..2200 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(days(year, month, day), expected);
                    expected += 1;
                }
            }
        }
        assert_eq!(days(1970, 1, 1), 0);
    }
}
