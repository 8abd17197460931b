//! Integers in few bits, as `Encodings.md` of Parquet has them: the hybrid of runs and packed groups of eight, and differences.
//!
//! Both are written for a page at once: what comes next is known, and nothing is kept from one call to the other.

/// Groups of eight in one packed run at most: what keeps its header a single byte, as Java's writer does.
const GROUPS_MAX: usize = 63;
/// Differences that share a least one, and those of them that share a width: Java's, and the smallest that the format allows.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// Bits of the largest value.
pub(super) fn width(largest: u32) -> u32 {
    u32::BITS - largest.leading_zeros()
}

/// Seven bits a byte, the lowest first (LEB128).
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Numbers near 0 become small ones, whatever their sign.
pub(super) fn zigzag(value: i64, out: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)) as u64, out);
}

/// `count` times the same value of so many bits.
pub(super) fn run(value: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Values of so many bits: groups of eight that are all the same as runs, the others packed.
pub(super) fn hybrid<T>(values: &[T], width: u32, out: &mut Vec<u8>)
where
    T: Copy + PartialEq + Default + Into<u32>,
{
    let (groups, rest) = values.as_chunks::<8>();
    let mut at = 0;
    while at < groups.len() {
        let first = groups[at][0];
        if same(&groups[at]) {
            let like = |group: &&[T; 8]| **group == [first; 8];
            let end = at + 1 + groups[at + 1..].iter().take_while(like).count();
            let mut count = (end - at) * 8;
            if end == groups.len() && rest.iter().all(|value| *value == first) {
                count += rest.len();
                return run(first.into(), count, width, out);
            }
            run(first.into(), count, width, out);
            at = end;
        } else {
            let next = groups[at..].iter().take(GROUPS_MAX);
            let end = at + next.take_while(|group| !same(&group[..])).count();
            out.push(((end - at) << 1 | 1) as u8);
            for group in &groups[at..end] {
                pack_group(group, width, out);
            }
            at = end;
        }
    }
    match rest.first() {
        None => {}
        Some(first) if same(rest) => run((*first).into(), rest.len(), width, out),
        Some(_) => {
            let mut group = [T::default(); 8];
            group[..rest.len()].copy_from_slice(rest);
            out.push(1 << 1 | 1);
            pack_group(&group, width, out);
        }
    }
}

fn same<T: PartialEq>(values: &[T]) -> bool {
    values.iter().all(|value| *value == values[0])
}

/// Eight values in as many bytes as one has bits.
#[inline]
fn pack_group<T: Copy + Into<u32>>(group: &[T; 8], width: u32, out: &mut Vec<u8>) {
    if width <= 8 {
        let mut packed = 0_u64;
        for (at, value) in group.iter().enumerate() {
            packed |= u64::from((*value).into()) << (at as u32 * width);
        }
        out.extend_from_slice(&packed.to_le_bytes()[..width as usize]);
    } else if width <= 16 {
        let mut packed = 0_u128;
        for (at, value) in group.iter().enumerate() {
            packed |= u128::from((*value).into()) << (at as u32 * width);
        }
        out.extend_from_slice(&packed.to_le_bytes()[..width as usize]);
    } else {
        let values = group.iter().map(|value| u64::from((*value).into()));
        pack(values, width, out);
    }
}

/// A multiple of eight values, one after the other from the lowest bit on.
fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let (mut packed, mut bits) = (0_u128, 0);
    for value in values {
        packed |= u128::from(value) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(packed as u64).to_le_bytes());
            packed >>= 64;
            bits -= 64;
        }
    }
    out.extend_from_slice(&(packed as u64).to_le_bytes()[..bits as usize / 8]);
}

/// What a number is written as: differences of a narrow one are of 32 bits, too, and overflow as these do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Narrow,
    Wide,
}

impl Size {
    #[inline]
    fn difference(self, from: i64, to: i64) -> i64 {
        let difference = to.wrapping_sub(from);
        match self {
            Self::Narrow => i64::from(difference as i32),
            Self::Wide => difference,
        }
    }
}

/// `DELTA_BINARY_PACKED`.
pub(super) fn differences(
    mut values: impl ExactSizeIterator<Item = i64>,
    size: Size,
    out: &mut Vec<u8>,
) {
    varint(BLOCK as u64, out);
    varint((BLOCK / MINIBLOCK) as u64, out);
    varint(values.len() as u64, out);
    let mut before = values.next().unwrap_or(0);
    zigzag(before, out);
    let mut block = [0; BLOCK];
    while values.len() > 0 {
        let count = values.len().min(BLOCK);
        for (place, value) in block.iter_mut().zip(values.by_ref().take(count)) {
            *place = size.difference(before, value);
            before = value;
        }
        difference_block(&mut block, count, out);
    }
}

/// The least difference, the width of each miniblock, and by how much each difference is more.
fn difference_block(block: &mut [i64; BLOCK], count: usize, out: &mut Vec<u8>) {
    let least = block[..count].iter().copied().min().unwrap_or(0);
    // The last miniblock is written whole.
    block[count..].fill(least);
    let more = block.map(|difference| difference.wrapping_sub(least) as u64);
    zigzag(least, out);
    let widths = out.len();
    let (miniblocks, _) = more.as_chunks::<MINIBLOCK>();
    for miniblock in miniblocks {
        let bits = miniblock.iter().fold(0, |bits, more| bits | more);
        out.push((u64::BITS - bits.leading_zeros()) as u8);
    }
    for (at, miniblock) in miniblocks.iter().enumerate() {
        let width = u32::from(out[widths + at]);
        pack(miniblock.iter().copied(), width, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[u32], width: u32) -> Vec<u8> {
        let mut out = Vec::new();
        hybrid(values, width, &mut out);
        out
    }

    /// The examples of `Encodings.md`, and where a run begins and ends.
    #[test]
    fn runs_and_packed_groups_are_as_the_format_says() {
        assert_eq!(runs(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [3, 0x88, 0xc6, 0xfa]);
        assert_eq!(runs(&[5; 100], 3), [200, 1, 5]);
        assert_eq!(runs(&[300; 9], 9), [18, 0x2c, 1]);
        assert_eq!(runs(&[1, 1, 1], 1), [6, 1]);
        assert_eq!(runs(&[1, 0, 1], 1), [3, 0b101]);
        assert_eq!(runs(&[0; 20], 0), [40]);
        assert!(runs(&[], 7).is_empty());
        let mixed = [&[1; 8][..], &[1, 0], &[0; 6], &[0; 8], &[1, 1]].concat();
        assert_eq!(runs(&mixed, 1), [16, 1, 3, 1, 16, 0, 4, 1]);
    }

    #[test]
    fn differences_are_as_the_format_says() {
        let mut out = Vec::new();
        differences([7, 5, 3, 1, 2, 3, 4, 5].into_iter(), Size::Narrow, &mut out);
        // The second example of `Encodings.md`: -2 the least, its differences 0 0 0 3 3 3 3 in two bits.
        assert_eq!(out[..10], [128, 1, 4, 8, 14, 3, 2, 0, 0, 0]);
        assert_eq!(out[10..], [0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]);
    }
}
