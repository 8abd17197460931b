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
    plain_date_time(text).or_else(|| any_date_time(text))
}

/// Microseconds since 1970 of a date-time in the form that nearly all have: `2026-11-22T10:11:12`, up to six decimals, `Z`.
#[must_use]
pub fn parse_plain(text: &[u8]) -> Option<i64> {
    let written = plain_date_time(text)?;
    (written.offset_seconds == Some(0)).then_some(written.wall_us)
}

/// One written as nearly all are, `2026-11-22T10:11:12` or `2026-11-22 10:11:12`, with a fraction or without, with `Z` or no
/// offset; by words, not by characters.
#[inline]
fn plain_date_time(text: &[u8]) -> Option<Written> {
    let (date, rest) = text.split_first_chunk::<8>()?;
    let (&(mut minutes), rest) = rest.split_first_chunk::<8>()?;
    let (seconds, rest) = rest.split_first_chunk::<3>()?;
    let date = shaped(*date, *b"0000-00-")?;
    if minutes[2] == b' ' {
        minutes[2] = b'T';
    }
    let minutes = shaped(minutes, *b"00T00:00")?;
    let [s1, s2, s3] = *seconds;
    let seconds = shaped([s1, s2, s3, 0, 0, 0, 0, 0], *b":00\0\0\0\0\0")?;
    let pair = |bytes: [u8; 8], at: usize| i64::from(bytes[at] * 10 + bytes[at + 1]);
    let (year, month, day) = (
        pair(date, 0) * 100 + pair(date, 2),
        pair(date, 5),
        pair(minutes, 0),
    );
    let (hour, minute, second) = (pair(minutes, 3), pair(minutes, 6), pair(seconds, 1));
    let (rest, offset_seconds) = match rest {
        [rest @ .., b'Z'] => (rest, Some(0)),
        rest => (rest, None),
    };
    let fraction = match rest {
        [] => 0,
        [b'.', digits @ ..] => short_fraction(digits)?,
        _ => return None,
    };
    let valid = year >= 1
        && (1..=12).contains(&month)
        && day >= 1
        && (day <= 28 || day <= days_in_month(year, month))
        && hour <= 23
        && minute <= 59
        && second <= 59;
    let seconds = hour * 3600 + minute * 60 + second;
    valid.then(|| Written {
        wall_us: days(year, month, day) * DAY + seconds * SECOND + fraction,
        offset_seconds,
    })
}

/// The values of the digits that stand where `shape` has zeros, if the rest is as in `shape`.
#[inline]
fn shaped(text: [u8; 8], shape: [u8; 8]) -> Option<[u8; 8]> {
    // What is added to a byte reaches 0x80 if it is too large: beyond 9 for a digit, beyond 0 for others.
    let room = shape.map(|b| if b == b'0' { 0x76 } else { 0x7f });
    let found = u64::from_le_bytes(text) ^ u64::from_le_bytes(shape);
    let high = found | found.wrapping_add(u64::from_le_bytes(room));
    (high & 0x8080_8080_8080_8080 == 0).then_some(found.to_le_bytes())
}

/// Microseconds of one to six digits and nothing else.
#[inline]
fn short_fraction(digits: &[u8]) -> Option<i64> {
    const POWERS: [i64; 7] = [1_000_000, 100_000, 10_000, 1000, 100, 10, 1];
    if digits.is_empty() {
        return None;
    }
    let power = *POWERS.get(digits.len())?;
    let mut value = 0;
    for b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value * power)
}

fn any_date_time(text: &[u8]) -> Option<Written> {
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

    proptest::proptest! {
        #[test]
        fn plain_date_times_are_read_as_any(
            text in "(0000|[0-9]{4})-([01][0-9]|0[1-9]|1[0-3])-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\\.[0-9]{0,9})?)?(Z|z|\\+01:00|)",
            at in 0..20_usize,
            by in ".?",
        ) {
            let mut texts = vec![text.clone()];
            if let Some((start, end)) = text.split_at_checked(at) {
                texts.push(format!("{start}{by}{}", end.get(1..).unwrap_or_default()));
            }
            for text in texts {
                if let Some(plain) = plain_date_time(text.as_bytes()) {
                    proptest::prop_assert_eq!(Some(plain), any_date_time(text.as_bytes()), "{}", text);
                }
            }
        }
    }

    #[test]
    fn what_producers_write_is_read_the_plain_way() {
        for text in [
            "2026-11-22T10:11:12Z",
            "2024-02-29T23:59:59.1Z",
            "9999-12-31T00:00:00.123456Z",
            "2026-11-22 10:11:12",
            "2026-11-22 10:11:12.345",
        ] {
            assert!(plain_date_time(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "2026-02-29T10:11:12Z",
            "2026-04-31T10:11:12Z",
            "2026-11-22T10:11:12.Z",
            "2026-11-22T10:11:12.1234567Z",
            "2026-11-22t10:11:12Z",
            "2026-11-22T10:11:12 Z",
        ] {
            assert!(plain_date_time(text.as_bytes()).is_none(), "{text}");
        }
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
