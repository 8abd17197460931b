//! Numbers read exactly from their text.

use super::scan::{self, Kind};

/// `±mantissa × 10^exponent`, exactly; the mantissa does not end in 0 unless it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub negative: bool,
    /// At most 38 digits.
    pub mantissa: u128,
    pub exponent: i64,
}

/// The digits that a mantissa holds, those of `decimal(38,…)`.
const DIGITS_MAX: u32 = 38;

/// Exponents are cut here: nothing of this size fits anything, and sums of them cannot overflow.
const EXPONENT_MAX: i64 = 1_000_000_000_000;

/// What the whole of a text is as a JSON number; `None` if it is none.
#[must_use]
pub fn json_number(text: &[u8]) -> Option<Kind> {
    if !matches!(text.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    match scan::number(text, 0) {
        Ok((end, kind)) if end == text.len() => Some(kind),
        _ => None,
    }
}

/// Whether a minus stands in front, and what follows the sign.
#[inline]
fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    }
}

/// A JSON integer, or one with `+` or leading zeros, if it fits.
#[inline]
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    // Summed as a negative number, whose range is the larger one.
    let mut value: i64 = 0;
    if digits.len() <= 18 {
        for b in digits {
            let digit = b.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 - i64::from(digit);
        }
    } else {
        for b in digits {
            let digit = b.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
        }
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

impl Number {
    /// Reads a number as JSON writes it, and more kindly: `+1`, `007`, `.5`, `5.`. `None` for what is no number or has
    /// more than 38 significant digits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, mut rest) = split_sign(text);
        let mut digits = Digits::default();
        let mut seen = false;
        let mut fraction = false;
        let mut scale: i64 = 0;
        while let Some((&b, tail)) = rest.split_first() {
            match b {
                b'0'..=b'9' => {
                    seen = true;
                    scale += i64::from(fraction);
                    digits.push(b - b'0');
                }
                b'.' if !fraction => fraction = true,
                _ => break,
            }
            rest = tail;
        }
        if !seen {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => parse_exponent(rest)?,
            _ => return None,
        };
        let mantissa = digits.mantissa?;
        Some(Self {
            negative,
            mantissa,
            exponent: if mantissa == 0 {
                0
            } else {
                exponent - scale + digits.zeros
            },
        })
    }

    /// The value times `10^scale` if that is an integer.
    #[must_use]
    pub fn unscaled(&self, scale: u8) -> Option<i128> {
        if self.mantissa == 0 {
            return Some(0);
        }
        let power = u32::try_from(self.exponent + i64::from(scale)).ok()?;
        let size = self.mantissa.checked_mul(10_u128.checked_pow(power)?)?;
        let value = i128::try_from(size).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// The value if it is an integer.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        self.unscaled(0)
    }

    /// The value times `10^scale`, later digits cut.
    #[must_use]
    pub fn cut(&self, scale: u8) -> Option<i128> {
        let power = self.exponent + i64::from(scale);
        if power >= 0 {
            return self.unscaled(scale);
        }
        let size = match u32::try_from(-power)
            .ok()
            .and_then(|p| 10_u128.checked_pow(p))
        {
            Some(divisor) => self.mantissa / divisor,
            None => 0,
        };
        let value = i128::try_from(size).ok()?;
        Some(if self.negative { -value } else { value })
    }
}

/// Gathers significant digits: zeros in front do not count, those behind wait until another digit follows.
struct Digits {
    /// `None`: too many digits.
    mantissa: Option<u128>,
    count: u32,
    zeros: i64,
}

impl Default for Digits {
    fn default() -> Self {
        Self {
            mantissa: Some(0),
            count: 0,
            zeros: 0,
        }
    }
}

impl Digits {
    fn push(&mut self, digit: u8) {
        if digit == 0 {
            self.zeros += i64::from(self.count > 0);
            return;
        }
        let Some(mantissa) = self.mantissa else {
            return;
        };
        let places = self.zeros + 1;
        self.zeros = 0;
        self.mantissa = if places + i64::from(self.count) > i64::from(DIGITS_MAX) {
            None
        } else {
            self.count += places as u32;
            Some(mantissa * 10_u128.pow(places as u32) + u128::from(digit))
        };
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for b in digits {
        if !b.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(b - b'0')).min(EXPONENT_MAX);
    }
    Some(if negative { -value } else { value })
}

/// The nearest double. `None` for what is no number, overflows, or is an integer (as written) that a double cannot hold
/// exactly; fractions are the nearest double, as everywhere. `NaN`, `Infinity` and `-Infinity` are read if `names`.
#[must_use]
pub fn parse_f64(text: &[u8], names: bool) -> Option<f64> {
    if let Some(value) = short_f64(text).or_else(|| named(text, names)) {
        return Some(value);
    }
    let value: f64 = plain(text)?.parse().ok()?;
    if !value.is_finite() || (value == 0.0 && !is_zero(text)) {
        return None;
    }
    let exact_below = 9_007_199_254_740_992.0;
    if value.abs() >= exact_below && is_integer(text) {
        let exact = Number::parse(text)?.integer()?;
        // A double of this size is an integer itself, and one below 2^127 converts exactly.
        if value.abs() > 1.7e38 || value as i128 != exact {
            return None;
        }
    }
    Some(value)
}

/// The nearest double of digits with at most one point among them, few enough that both the digits and the power of ten
/// are exact doubles: then one division, which rounds once, gives what a slow reading would.
#[inline]
fn short_f64(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let (negative, digits) = split_sign(text);
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa: u64 = 0;
    let mut point = None;
    for (i, &b) in digits.iter().enumerate() {
        let digit = b.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if b == b'.' && point.is_none() && digits.len() > 1 {
            point = Some(i);
        } else {
            return None;
        }
    }
    if mantissa > 1 << 53 {
        return None;
    }
    let decimals = point.map_or(0, |point| digits.len() - point - 1);
    let value = mantissa as f64 / POWERS.get(decimals)?;
    Some(if negative { -value } else { value })
}

/// As [`parse_f64`], for a float.
#[must_use]
pub fn parse_f32(text: &[u8], names: bool) -> Option<f32> {
    if let Some(value) = named(text, names) {
        return Some(value as f32);
    }
    let value: f32 = plain(text)?.parse().ok()?;
    if !value.is_finite() || (value == 0.0 && !is_zero(text)) {
        return None;
    }
    if value.abs() >= 16_777_216.0 && is_integer(text) {
        let exact = Number::parse(text)?.integer()?;
        if value.abs() > 1.7e38 || value as i128 != exact {
            return None;
        }
    }
    Some(value)
}

fn named(text: &[u8], names: bool) -> Option<f64> {
    match text {
        b"NaN" if names => Some(f64::NAN),
        b"Infinity" if names => Some(f64::INFINITY),
        b"-Infinity" if names => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The text if it is made of what numbers are made of, so that `str::parse` cannot read `inf` out of it.
fn plain(text: &[u8]) -> Option<&str> {
    let number = |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.iter().all(number) {
        return None;
    }
    std::str::from_utf8(text).ok()
}

fn is_integer(text: &[u8]) -> bool {
    !text.iter().any(|b| matches!(b, b'.' | b'e' | b'E'))
}

fn is_zero(text: &[u8]) -> bool {
    let mantissa = text.split(|b| matches!(b, b'e' | b'E')).next();
    mantissa.is_some_and(|m| !m.iter().any(|b| (b'1'..=b'9').contains(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(text: &str) -> Option<i128> {
        Number::parse(text.as_bytes())?.integer()
    }

    #[test]
    fn integers_are_read_exactly_however_they_are_written() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("1.5e1", Some(15)),
            ("120e-1", Some(12)),
            ("1.5", None),
            ("1e-1", None),
            ("1e39", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", None),
            ("007", Some(7)),
            ("+7", Some(7)),
            ("7.", Some(7)),
            (".5e1", Some(5)),
            (".", None),
            ("", None),
            ("-", None),
            ("1e", None),
            ("1e+", None),
            ("1.2.3", None),
            ("0x1", None),
            ("1_0", None),
            (
                "99999999999999999999999999999999999999",
                Some(99_999_999_999_999_999_999_999_999_999_999_999_999),
            ),
            ("123456789012345678901234567890123456789", None),
        ] {
            assert_eq!(integer(text), value, "{text}");
        }
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_i64(b"1.0"), None);
        assert_eq!(parse_i64(b""), None);
    }

    #[test]
    fn a_decimal_is_its_text_or_nothing() {
        let unscaled = |text: &str| Number::parse(text.as_bytes())?.unscaled(2);
        assert_eq!(unscaled("0.1"), Some(10));
        assert_eq!(unscaled("-12.340"), Some(-1234));
        assert_eq!(unscaled("0.001"), None);
        assert_eq!(unscaled("1e2"), Some(10_000));
        let cut = |text: &str| Number::parse(text.as_bytes())?.cut(2);
        assert_eq!(cut("1.239"), Some(123));
        assert_eq!(cut("-1.239"), Some(-123));
        assert_eq!(cut("1e-99999"), Some(0));
    }

    #[test]
    fn a_million_digits_cost_a_look_at_each() {
        let digits = vec![b'9'; 1_000_000];
        assert_eq!(Number::parse(&digits), None);
        let mut zeros = vec![b'0'; 1_000_000];
        zeros.push(b'7');
        assert_eq!(Number::parse(&zeros).unwrap().integer(), Some(7));
        assert_eq!(parse_i64(&digits), None);
    }

    proptest::proptest! {
        #[test]
        fn short_numbers_are_the_nearest_double_too(text in "[-+]?[0-9]{0,16}[.]?[0-9]{0,16}") {
            if let Some(value) = short_f64(text.as_bytes()) {
                let expected: f64 = text.parse().unwrap();
                proptest::prop_assert_eq!(value.to_bits(), expected.to_bits());
            }
        }

        #[test]
        fn an_integer_in_a_double_is_that_integer(integer in proptest::prelude::any::<i64>()) {
            let text = integer.to_string();
            if let Some(value) = parse_f64(text.as_bytes(), false) {
                proptest::prop_assert_eq!(value as i128, i128::from(integer));
            }
        }
    }

    #[test]
    fn doubles_take_no_integer_that_they_would_change() {
        for (text, value) in [
            ("0.1", Some(0.1)),
            ("-0.0", Some(-0.0)),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("9223372036854775808", Some(9_223_372_036_854_775_808.0)),
            ("9007199254740993.0", Some(9_007_199_254_740_992.0)),
            ("1e400", None),
            ("1e-400", None),
            ("0e5", Some(0.0)),
            ("inf", None),
            ("nan", None),
            ("NaN", None),
        ] {
            let read = parse_f64(text.as_bytes(), false);
            assert_eq!(read.map(f64::to_bits), value.map(f64::to_bits), "{text}");
        }
        assert!(parse_f64(b"NaN", true).unwrap().is_nan());
        assert_eq!(parse_f64(b"-Infinity", true), Some(f64::NEG_INFINITY));
        assert_eq!(parse_f32(b"16777217", false), None);
        assert_eq!(parse_f32(b"0.1", false), Some(0.1));
        assert_eq!(parse_f32(b"1e39", false), None);
    }
}
