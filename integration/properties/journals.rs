//! Journals that something else wrote into.

use proptest::prelude::*;

use crate::properties::journal::{hold, widths};

proptest! {
    #![proptest_config(crate::cases(150))]

    #[test]
    fn a_journal_whose_cells_were_changed_says_so_and_tells_no_wrong_checkpoint(
        changes in prop::collection::vec((0..13_u8, 0..26_u8, 0..4_u8, any::<u8>(), prop::collection::vec(any::<u8>(), 16)), 1..3),
    ) {
        let mut input = vec![0];
        for (table, column, row, kind, bytes) in changes {
            input.extend([table, column, row, kind]);
            input.extend(&bytes[..usize::from(kind >> 4)]);
        }
        hold(&input);
    }

    #[test]
    fn a_journal_whose_bytes_were_changed_says_so(
        how in prop::sample::select(vec![1_u8, 1, 1, 5]),
        changes in prop::collection::vec(any::<u8>(), 4..40),
    ) {
        hold(&[&[how][..], &changes].concat());
    }
}

/// Each cell of the first row of each table, with what a number, a text or bytes are at worst.
#[test]
fn every_cell_may_hold_the_worst() {
    // -1, the largest, the smallest, 2^63 - 2, an empty text, empty bytes, a kilobyte of 0xff.
    let worst: [&[u8]; 7] = [
        &[0x10, 0xff],
        &[1],
        &[2],
        &[0x83, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[4],
        &[5],
        &[0x16, 0xff],
    ];
    for (table, width) in widths().into_iter().enumerate() {
        for column in 0..width {
            for value in worst {
                hold(&[&[0, table as u8, column as u8, 0][..], value].concat());
            }
        }
    }
}
