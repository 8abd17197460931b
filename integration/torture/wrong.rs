//! The check is checked: deliberately wrong programs (`src/crash.rs`), each of which a round over a local lake must find
//! out within so many kills. What each is found out by is not what shows it first in a test of its own: nothing here
//! drives it to its moment.

use std::sync::Arc;

use super::chance::Chance;
use super::ground::Ground;
use super::history::History;
use super::killing::Mayhem;
use super::pipelines::of_round;
use super::round::Torture;
use super::totals::Totals;

const KILLS_MAX: u64 = 60;
/// Only the end of a round shows it.
const KILLS_AUDITED: u64 = 8;

/// Nothing but kills, stops and spoilt staging.
struct Peace {
    seldom: u64,
}

impl Mayhem for Peace {
    fn strike(&mut self, _: &mut Chance) -> Option<String> {
        None
    }

    fn seldom(&self) -> u64 {
        self.seldom
    }
}

/// A round with this program ends early, with a complaint that has one of these words in it.
#[track_caller]
fn is_found_out(variant: &'static str, seldom: u64, words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let torture = Torture::new(dir.path(), 1);
    let history = Arc::new(History::begin(dir.path().join("history")));
    let mut ground = Ground::local(variant, of_round(1, 3), &history);
    ground.kept = false;
    let kills = match variant {
        "i9-rejects-not-counted" => KILLS_AUDITED,
        _ => KILLS_MAX,
    };
    ground.environment.push(("LAKEWARD_BROKEN", variant));
    let mut totals = Totals::default();
    let mut chance = Chance::of(1);
    torture.fight(
        ground,
        kills,
        &mut Peace { seldom },
        &mut chance,
        &mut totals,
    );
    totals.print();
    let found = |text: &String| words.iter().any(|word| text.contains(word));
    assert!(
        totals.complaints.iter().any(found),
        "`{variant}` was not found out by {words:?} in {} kills",
        totals.kills
    );
}

#[test]
fn i1_a_file_that_does_not_land() {
    is_found_out("i1-file-not-landed", 12, &["LOST"]);
}

#[test]
fn i2_landing_by_copying() {
    is_found_out("i2-land-by-copying", 12, &["I2", "seen by a reader"]);
}

#[test]
fn i2_a_staged_copy_that_is_not_verified() {
    is_found_out(
        "i2-staged-copy-not-verified",
        2,
        &["I2", "seen by a reader"],
    );
}

#[test]
fn i4_landing_before_stage() {
    is_found_out(
        "i4-land-before-stage",
        12,
        &["I4", "this journal is an old copy"],
    );
}

#[test]
fn i4_landing_before_the_manifest() {
    is_found_out("i4-land-before-manifest", 12, &["I4"]);
}

#[test]
fn i5_a_checkpoint_that_moves_at_stage() {
    is_found_out("i5-checkpoint-at-stage", 12, &["I5"]);
}

#[test]
fn i5_a_commit_that_stops_short() {
    is_found_out("i5-commit-stops-short", 12, &["I5"]);
}

#[test]
fn i6_retiring_before_the_commit() {
    is_found_out("i6-retire-what-is-read", 12, &["I6"]);
}

#[test]
fn i7_a_lost_staged_copy_that_is_not_encoded_again() {
    is_found_out("i7-never-encoded-again", 2, &["LOST"]);
}

#[test]
fn i8_recovery_under_another_name() {
    is_found_out("i8-lands-under-a-new-name", 12, &["DUPLICATED", "I2", "I4"]);
}

#[test]
fn i9_rejects_that_are_not_counted() {
    is_found_out("i9-rejects-not-counted", 12, &["the audit does not agree"]);
}

/// One of the three locks keeps a second agent away as well as all; without them SQLite's own may.
#[test]
fn i12_no_lock_at_all() {
    is_found_out(
        "i12-journal-not-locked,i12-staging-not-locked,i12-spool-not-locked",
        2,
        &["beside a frozen agent another ended"],
    );
}
