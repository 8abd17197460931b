//! The invariants of the design, each with its id and one predicate. Comments, assertions and tests cite them.

/// I5 joined: a checkpoint moves only in a commit, and only from `from` to `to` of segments that join on.
///
/// Returns the new checkpoint, or the first gap or overlap.
///
/// # Errors
/// The offset that was expected and the segment's `from` that was found.
pub fn joined(
    checkpoint: u64,
    segments: impl IntoIterator<Item = (u64, u64)>,
) -> Result<u64, (u64, u64)> {
    let mut at = checkpoint;
    for (from, to) in segments {
        if from != at || to < from {
            return Err((at, from));
        }
        at = to;
    }
    Ok(at)
}

/// I6 retire-last: a spooled file leaves the spool only when its checkpoint is at its end.
#[must_use]
pub fn may_retire(checkpoint: u64, decoded: Option<u64>) -> bool {
    decoded == Some(checkpoint)
}

/// I9 balanced, per spooled file: bytes = landed + rejected + skipped + quarantined.
#[must_use]
pub fn balanced(bytes: u64, landed: u64, rejected: u64, skipped: u64, quarantined: u64) -> bool {
    landed
        .checked_add(rejected)
        .and_then(|sum| sum.checked_add(skipped))
        .and_then(|sum| sum.checked_add(quarantined))
        == Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_gap_or_an_overlap_does_not_move_the_checkpoint() {
        assert_eq!(joined(10, [(10, 20), (20, 20), (20, 25)]), Ok(25));
        assert_eq!(joined(10, [(10, 20), (21, 25)]), Err((20, 21)));
        assert_eq!(joined(10, [(10, 20), (19, 25)]), Err((20, 19)));
        assert_eq!(joined(0, [(10, 20)]), Err((0, 10)));
    }

    #[test]
    fn i6_a_file_whose_end_is_unknown_is_not_retired() {
        assert!(may_retire(7, Some(7)));
        assert!(!may_retire(7, Some(8)));
        assert!(!may_retire(0, None));
    }

    #[test]
    fn i9_every_byte_is_accounted_for_once() {
        assert!(balanced(10, 6, 3, 1, 0));
        assert!(!balanced(10, 6, 3, 0, 0));
        assert!(!balanced(u64::MAX, u64::MAX, 1, 0, 0));
    }
}
