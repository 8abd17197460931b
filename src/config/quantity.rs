//! Sizes (`128MiB`) and durations (`1h30m`) as people write them.
//!
//! A number without a unit is accepted only where it cannot be misread: bytes for sizes, zero for durations.

use std::time::Duration;

/// What `0` becomes where the consumer compares against a limit: large, yet safe to add to and to keep in SQLite's
/// signed integers.
pub const NO_LIMIT: u64 = i64::MAX as u64;

/// A century: what `forever` becomes where a consumer adds it to the time of day.
pub const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// What a size may look like, for messages.
pub const SIZE_FORM: &str = "bytes such as `128MiB` or `1GB` (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB), or a plain number of bytes";

/// What a duration may look like, for messages.
pub const DURATION_FORM: &str =
    "a duration such as `250ms`, `10s`, `5m`, `1h30m` (ms, s, m, h, d), `0s` or `forever`";

/// # Errors
/// Text that is no size, or one past 2^63; said in words, without the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(format!("allowed are {SIZE_FORM}")),
    };
    if digits.is_empty() {
        return Err(format!("allowed are {SIZE_FORM}"));
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|bytes| *bytes <= NO_LIMIT)
        .ok_or_else(|| "it is too large; 0 means no limit".to_owned())
}

/// `None`: for ever.
///
/// # Errors
/// Text that is no duration, or one past a century; said in words, without the text.
pub fn parse_duration(text: &str) -> Result<Option<Duration>, String> {
    let text = text.trim();
    if text == "forever" {
        return Ok(None);
    }
    if text == "0" {
        return Ok(Some(Duration::ZERO));
    }
    let wrong = || format!("allowed is {DURATION_FORM}");
    let too_long = || "it is too long; `forever` has no end".to_owned();
    let mut total: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, tail) = rest.split_at(digits_end);
        let unit_end = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        if digits.is_empty() {
            return Err(wrong());
        }
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(millis))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(too_long)?;
        rest = tail.trim_start();
    }
    let duration = Duration::from_millis(total);
    if duration > LONGEST {
        return Err(too_long());
    }
    Ok(Some(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("1KiB", 1024),
            ("128MiB", 128 << 20),
            ("8 GiB", 8 << 30),
            ("1TiB", 1 << 40),
            ("1KB", 1000),
            ("3MB", 3_000_000),
            ("2GB", 2_000_000_000),
            ("1TB", 1_000_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_could_be_misread_are_refused() {
        for text in [
            "",
            "MiB",
            "1M",
            "1mb",
            "-1",
            "1.5GiB",
            "1 2",
            "1e6",
            "9999999TiB",
            "18446744073709551616",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_parts() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("10s", 10),
            ("5m", 300),
            ("5min", 300),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("2d", 172_800),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Some(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        assert_eq!(
            parse_duration("250ms"),
            Ok(Some(Duration::from_millis(250)))
        );
        assert_eq!(parse_duration("forever"), Ok(None));
    }

    #[test]
    fn durations_without_a_unit_or_beyond_a_century_are_refused() {
        for text in [
            "",
            "10",
            "s",
            "1y",
            "1h30",
            "-1s",
            "1.5s",
            "40000d",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
