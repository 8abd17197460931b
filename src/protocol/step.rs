//! `next_step`: what to do about one data file, given what was seen of it.

/// What was seen of a data file's staged copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagedCopy {
    /// There, with a recorded length and digest: this process wrote it, or has just verified it.
    Good,
    /// There, but this process neither wrote nor verified it.
    Unverified,
    /// Gone, of another length, or its digest is none that is recorded.
    Lost,
}

/// What was seen at a data file's final path. A look that failed is an error, never `Absent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalCopy {
    Absent,
    /// Ours by length and digest (or by the object's metadata), perhaps not yet durable.
    Ours,
    /// Ours, and made durable by this process (local: file, directory and new parents fsynced).
    Durable,
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the staged copy and compare its digest.
    Verify,
    Land,
    MakeDurable,
    /// Encode again from the batch's segments; the membership must come out equal.
    EncodeAgain,
    Conflict,
    Done,
}

/// The whole policy.
///
/// | staged copy | final path | step |
/// | --- | --- | --- |
/// | any | durable | done |
/// | any | ours | make durable |
/// | any | foreign | conflict |
/// | good | absent | land |
/// | unverified | absent | verify |
/// | lost | absent | encode again |
#[must_use]
pub fn next_step(staged: StagedCopy, landed: FinalCopy) -> Step {
    match (landed, staged) {
        (FinalCopy::Durable, _) => Step::Done,
        (FinalCopy::Ours, _) => Step::MakeDurable,
        (FinalCopy::Foreign, _) => Step::Conflict,
        (FinalCopy::Absent, StagedCopy::Good) => Step::Land,
        (FinalCopy::Absent, StagedCopy::Unverified) => Step::Verify,
        (FinalCopy::Absent, StagedCopy::Lost) => Step::EncodeAgain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_landed_over_something_and_nothing_unverified_is_landed() {
        for staged in [StagedCopy::Good, StagedCopy::Unverified, StagedCopy::Lost] {
            for landed in [
                FinalCopy::Absent,
                FinalCopy::Ours,
                FinalCopy::Durable,
                FinalCopy::Foreign,
            ] {
                let step = next_step(staged, landed);
                if step == Step::Land {
                    assert_eq!((staged, landed), (StagedCopy::Good, FinalCopy::Absent));
                }
                assert_eq!(step == Step::Done, landed == FinalCopy::Durable);
                assert_eq!(step == Step::Conflict, landed == FinalCopy::Foreign);
            }
        }
    }
}
