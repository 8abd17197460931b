//! What once broke the protocol: each of the 28 holes that a model of its first draft had, and what befell others that do the same
//! work, is one scenario here, driven call by call to exactly that situation.
//!
//! ```text
//! rig.rs      lives of a process, rebuilds, what others do        cues.rs    what happens at a call
//! make.rs     what a rig is made of, another agent beside it      outcome.rs what is looked at afterwards
//! local.rs    2, 3, 4, 18, 20         what a power cut takes            hdfs.rs     5
//! s3.rs       8, 9, 14, 19, 26        answers that are lost or late     lost.rs     6, 7, 9, 10, 12, 24, 27   journals
//! upgrade.rs  11, 21, 22              what was changed between runs     spool.rs    1, 13, 15, 16, 17, 23, 25, 28
//! names.rs    an inode, a name and an index used again, a clock that goes back
//! ```
//!
//! Each scenario runs as the program is and must be sound. Where a wrong variant exists, the same scenario runs with it too, and the
//! check must see it; where there is none, a line says what change of the program makes the test fail.

mod cues;
mod hdfs;
mod local;
mod lost;
mod make;
mod names;
mod outcome;
mod rig;
mod s3;
mod spool;
mod upgrade;

use std::ops::Range;
use std::sync::Arc;

use self::make::Make;
use self::rig::Rig;
use super::world::{Ending, Fate, Part};

const BEFORE: Fate = fate(Part::None, Ending::Death);
const AFTER: Fate = fate(Part::All, Ending::Death);
const DONE_AND_LOST: Fate = fate(Part::All, Ending::Lost);
const LATE: Fate = fate(Part::Late, Ending::Lost);
const LATE_DEATH: Fate = fate(Part::Late, Ending::Death);

const fn fate(part: Part, ending: Ending) -> Fate {
    Fate { part, ending }
}

/// Runs the scenario as the program is, in which nothing may be wrong, and with the wrong variant, of which the check must say `word`
/// with one of the seeds at least.
#[track_caller]
fn told_apart(
    right: impl Fn() -> Make,
    wrong: impl Fn(Make) -> Make,
    seeds: Range<u64>,
    word: &str,
    scenario: impl Fn(&Arc<Rig>) -> Vec<String>,
) {
    let mut seen = Vec::new();
    for seed in seeds {
        let found = scenario(&right().seed(seed).build());
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
        seen.extend(scenario(&wrong(right()).seed(seed).build()));
    }
    assert!(
        seen.iter().any(|text| text.contains(word)),
        "the wrong variant was not seen: {seen:#?}"
    );
}

/// A wrong variant of the program, see `lakeward::crash::broken`.
fn broken(variant: &'static str) -> impl Fn(Make) -> Make {
    move |make| make.broken(variant)
}
