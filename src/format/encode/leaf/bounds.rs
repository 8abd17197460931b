//! The least and the greatest of a column chunk's values, for readers that skip.

use std::cmp::Ordering;

use parquet::file::statistics::{Statistics, ValueStatistics};

/// What is kept of a text.
const TEXT_BYTES: usize = 64;

/// How byte strings compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Byte by byte, without a sign. Texts, of which a beginning is kept.
    Bytes,
    /// Numbers in two's complement, the highest byte first.
    Signed,
    /// None that readers agree on.
    None,
}

/// The least and the greatest byte string.
pub(super) struct Bounds {
    order: Order,
    /// With the first eight bytes of each, as a number.
    found: Option<[(u64, Vec<u8>); 2]>,
}

impl Bounds {
    pub(super) fn new(order: Order) -> Self {
        Self { order, found: None }
    }

    pub(super) fn memory(&self) -> usize {
        let found = self.found.iter().flatten();
        found.map(|(_, value)| value.capacity()).sum()
    }

    #[inline]
    pub(super) fn see(&mut self, value: &[u8]) {
        let head = self.head(value);
        if let Some([(least, _), (greatest, _)]) = &self.found
            && head > *least
            && head < *greatest
        {
            return;
        }
        self.see_closely(head, value);
    }

    /// The first eight bytes in the order's sense: a smaller number means a smaller value, the same one says nothing.
    #[inline]
    fn head(&self, value: &[u8]) -> u64 {
        let head = if let Some(head) = value.first_chunk::<8>() {
            u64::from_be_bytes(*head)
        } else {
            let mut head = [0; 8];
            head[..value.len()].copy_from_slice(value);
            u64::from_be_bytes(head)
        };
        match self.order {
            Order::Signed => head ^ 1 << 63,
            _ => head,
        }
    }

    fn see_closely(&mut self, head: u64, value: &[u8]) {
        if self.order == Order::None {
            return;
        }
        let Some([least, greatest]) = &mut self.found else {
            self.found = Some([(head, value.to_vec()), (head, value.to_vec())]);
            return;
        };
        // The sign is in the first eight bytes: where these are the same, the others are compared without one.
        let order = |than: &(u64, Vec<u8>)| head.cmp(&than.0).then_with(|| value.cmp(&than.1[..]));
        let place = match (order(least), order(greatest)) {
            (Ordering::Less, _) => least,
            (_, Ordering::Greater) => greatest,
            _ => return,
        };
        place.0 = head;
        place.1.clear();
        place.1.extend_from_slice(value);
    }

    /// The least and the greatest, or what is certainly no greater and no less, and whether it is exact. `utf8`: they stay texts.
    pub(super) fn kept(&self, utf8: bool) -> Option<[(Vec<u8>, bool); 2]> {
        let [(_, least), (_, greatest)] = self.found.as_ref()?;
        if self.order != Order::Bytes {
            return Some([(least.clone(), true), (greatest.clone(), true)]);
        }
        let whole = |value: &[u8]| (value.to_vec(), true);
        let begins =
            |value: &Vec<u8>| (value.len() > TEXT_BYTES).then(|| beginning(value, utf8).to_vec());
        Some([
            begins(least).map_or_else(|| whole(least), |cut| (cut, false)),
            begins(greatest)
                .and_then(|cut| next(cut, utf8))
                .map_or_else(|| whole(greatest), |above| (above, false)),
        ])
    }
}

/// What a footer says of a column chunk: the least and the greatest value, each with whether it is exact, and how many levels have no
/// value. `signed`: readers that know only the older fields of a footer, which compare with a sign, may use them, too.
pub(super) fn statistics<T>(bounds: Option<[(T, bool); 2]>, nulls: u64, signed: bool) -> Statistics
where
    Statistics: From<ValueStatistics<T>>,
{
    let statistics = match bounds {
        Some([(least, least_exact), (greatest, greatest_exact)]) => {
            ValueStatistics::new(Some(least), Some(greatest), None, Some(nulls), false)
                .with_min_is_exact(least_exact)
                .with_max_is_exact(greatest_exact)
        }
        None => ValueStatistics::new(None, None, None, Some(nulls), false),
    };
    statistics.with_backwards_compatible_min_max(signed).into()
}

/// The first bytes that are kept, of a text its first characters.
fn beginning(value: &[u8], utf8: bool) -> &[u8] {
    let mut end = TEXT_BYTES.min(value.len());
    // A byte within a character begins with the bits 10.
    while utf8 && end > 0 && end < value.len() && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &value[..end]
}

/// The least that is greater than all that begins like this, with as many bytes at most; `None`: there is none.
fn next(beginning: Vec<u8>, utf8: bool) -> Option<Vec<u8>> {
    if !utf8 {
        let mut bytes = beginning;
        while let Some(last) = bytes.pop() {
            if last < u8::MAX {
                bytes.push(last + 1);
                return Some(bytes);
            }
        }
        return None;
    }
    let mut text = String::from_utf8(beginning).ok()?;
    while let Some(last) = text.pop() {
        // As many bytes as before, and no half of a surrogate pair.
        let above = char::from_u32(last as u32 + 1).filter(|c| c.len_utf8() == last.len_utf8());
        if let Some(above) = above {
            text.push(above);
            return Some(text.into_bytes());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(order: Order, values: &[&[u8]]) -> Option<[Vec<u8>; 2]> {
        let mut bounds = Bounds::new(order);
        for value in values {
            bounds.see(value);
        }
        bounds.kept(true).map(|kept| kept.map(|(value, _)| value))
    }

    #[test]
    fn texts_compare_byte_by_byte_and_the_shorter_comes_first() {
        let texts: [&[u8]; 6] = [b"abcdefgh1", b"abcdefgh", b"abcdefgh12", b"b", b"", b"a\0"];
        assert_eq!(bounds(Order::Bytes, &texts), Some([vec![], b"b".to_vec()]));
        assert_eq!(
            bounds(Order::Bytes, &texts[..3]),
            Some([b"abcdefgh".to_vec(), b"abcdefgh12".to_vec()])
        );
        assert_eq!(
            bounds(Order::Bytes, &[b"a\0", b"a"]),
            Some([b"a".to_vec(), b"a\0".to_vec()])
        );
        assert_eq!(bounds(Order::Bytes, &[]), None);
        assert_eq!(bounds(Order::None, &texts), None);
    }

    #[test]
    fn numbers_compare_with_their_signs() {
        let numbers: Vec<[u8; 16]> = [3, -2, i128::MIN, 1 << 100, -1]
            .map(i128::to_be_bytes)
            .to_vec();
        let numbers: Vec<&[u8]> = numbers.iter().map(|n| &n[..]).collect();
        assert_eq!(
            bounds(Order::Signed, &numbers),
            Some([numbers[2].to_vec(), numbers[3].to_vec()])
        );
        assert_eq!(
            bounds(Order::Signed, &[&[0xff, 0xfe], &[0xff, 0xff]]),
            Some([vec![0xff, 0xfe], vec![0xff, 0xff]])
        );
    }

    #[test]
    fn long_texts_are_cut_to_what_is_no_greater_and_no_less() {
        let kept = |text: &str, utf8| {
            let mut bounds = Bounds::new(Order::Bytes);
            bounds.see(text.as_bytes());
            bounds.kept(utf8).expect("a value was seen")
        };
        let [least, greatest] = kept(&"a".repeat(65), true);
        assert_eq!(least, ("a".repeat(64).into_bytes(), false));
        assert_eq!(
            greatest,
            (format!("{}b", "a".repeat(63)).into_bytes(), false)
        );
        let [least, greatest] = kept(&format!("{}äx", "a".repeat(63)), true);
        assert_eq!(least.0, "a".repeat(63).into_bytes());
        assert_eq!(greatest.0, format!("{}b", "a".repeat(62)).into_bytes());
        let last = "\u{10ffff}".repeat(17);
        let [least, greatest] = kept(&last, true);
        assert_eq!(least, (last.as_bytes()[..64].to_vec(), false));
        assert_eq!(greatest, (last.into_bytes(), true));
        let [_, greatest] = kept(&format!("b{}", "\u{10ffff}".repeat(16)), true);
        assert_eq!(greatest, (b"c".to_vec(), false));
        let [_, greatest] = kept(&format!("{}\u{d7ff}x", "a".repeat(61)), true);
        assert_eq!(greatest.0, format!("{}b", "a".repeat(60)).into_bytes());
        assert!(kept(&"a".repeat(64), true)[1].1);
    }
}
