//! The end of a Parquet file, in the form that readers of today know.
//!
//! The library says of floating point numbers and of INT96 in which order their statistics are, by names that are new to the
//! format. A reader built before finds no order there; Hive 4.0 then takes the column for another than the one it asked for and
//! fails ("does not contain requested field"). The entries are put back to the only order that all know. They have the same
//! length, so nothing else moves:
//!
//! ```text
//! … 19 header ┌ 1C 00 00 ┐ 00  length PAR1        19: field 7, a list; 1C, 2C, 3C: the order of the type, of IEEE 754, of INT96
//!             └ a column ┘ └ end of the metadata
//! ```
//!
//! No statistics are written of INT96. Those of floats keep the rules of the older order: no NaN beside numbers, and readers pass
//! over zeros' signs and over a NaN.

/// The length of the metadata and `PAR1`.
const TRAILER: usize = 8;
const ENTRY: usize = 3;

/// `None` if the file does not end as it should; nothing is changed then.
pub(super) fn use_known_orders(file: &mut [u8], leaves: usize) -> Option<()> {
    let list = file
        .len()
        .checked_sub(TRAILER + 1 + leaves.checked_mul(ENTRY)?)?;
    let (before, end) = file.split_at_mut(list);
    let (entries, rest) = end.split_at_mut(leaves * ENTRY);
    let known = before.ends_with(&header(leaves))
        && entries
            .chunks_exact(ENTRY)
            .all(|entry| matches!(entry, [0x1c | 0x2c | 0x3c, 0, 0]))
        && rest[0] == 0
        && rest.ends_with(b"PAR1");
    if !known {
        return None;
    }
    for entry in entries.chunks_exact_mut(ENTRY) {
        entry[0] = 0x1c;
    }
    Some(())
}

/// Field 7 after field 6, a list of so many structs.
fn header(leaves: usize) -> Vec<u8> {
    let mut header = vec![0x19];
    if leaves < 15 {
        header.push((leaves as u8) << 4 | 0x0c);
        return header;
    }
    header.push(0xfc);
    let mut left = leaves;
    while left >= 0x80 {
        header.push(left as u8 | 0x80);
        left >>= 7;
    }
    header.push(left as u8);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_of_the_known_form_is_changed() {
        let end = |entries: &[[u8; 3]], header: &[u8]| {
            let mut end = b"pages".to_vec();
            end.extend(header);
            end.extend(entries.concat());
            end.extend(b"\0\x01\0\0\0PAR1");
            end
        };
        let mixed = [[0x1c, 0, 0], [0x2c, 0, 0], [0x3c, 0, 0]];
        let mut file = end(&mixed, &[0x19, 0x3c]);
        assert_eq!(use_known_orders(&mut file, 3), Some(()));
        assert_eq!(file, end(&[[0x1c, 0, 0]; 3], &[0x19, 0x3c]));
        for (mut other, leaves) in [
            (end(&mixed, &[0x19, 0x3c]), 2),
            (end(&mixed, &[0x19, 0x4c]), 3),
            (end(&[[0x1c, 0, 0], [0x4c, 0, 0]], &[0x19, 0x2c]), 2),
            (b"PAR1".to_vec(), 1),
        ] {
            let before = other.clone();
            assert_eq!(use_known_orders(&mut other, leaves), None);
            assert_eq!(other, before);
        }
        assert_eq!(header(14), [0x19, 0xec]);
        assert_eq!(header(300), [0x19, 0xfc, 0xac, 0x02]);
    }
}
