//! The torture in short. `make torture` is the same for longer.

use std::sync::Arc;

use super::chance::Chance;
use super::history::History;
use super::pipelines::of_round;
use super::power::{Power, cut};
use super::recorded::Deaf;
use super::strace;
use super::totals::Totals;
use super::{Kind, Torture};

fn short(kind: Kind, number: u64, kills: u64) {
    assert!(Kind::ALL.contains(&kind));
    let dir = tempfile::tempdir().unwrap();
    let mut torture = Torture::new(dir.path(), 1);
    let kills = kind.share_of(kills);
    torture.round(kind, number, kills);
    torture.totals.print();
    assert!(torture.totals.is_clean(), "see above");
}

#[test]
fn killed_and_stopped_at_random_moments_over_a_local_lake() {
    short(Kind::Local, 1, 25);
}

#[test]
fn killed_while_a_proxy_spoils_exchanges_and_minio_is_killed_too() {
    short(Kind::Store, 0, 25);
}

#[test]
fn killed_while_the_disk_under_the_lake_is_full_or_read_only() {
    short(Kind::Disks, 2, 25);
}

#[test]
fn killed_and_stopped_over_minio() {
    short(Kind::Minio, 2, 15);
}

#[test]
fn killed_while_rights_are_taken_away() {
    short(Kind::Rights, 3, 25);
}

#[test]
fn the_power_goes_after_any_change_and_any_sync() {
    short(Kind::Power, 2, 25);
}

/// The check is checked: syncs without which something must go wrong are taken for not done.
#[test]
fn a_disk_that_lies_and_directories_that_nobody_syncs_are_found_out() {
    for (round, (to_files, to_dirs, below)) in (0..).zip([
        (true, true, ""),
        (true, false, "lake"),
        (false, true, "lake"),
        (true, false, "var"),
        (false, true, "var"),
        (false, true, "spool"),
        (false, true, "retired"),
    ]) {
        let deaf = Deaf {
            to_files,
            to_dirs,
            below,
        };
        expect_found_out(round, Some(deaf), "");
    }
}

#[test]
fn a_program_that_lands_what_it_must_not_is_found_out_by_power_cuts() {
    for (round, variant) in (7..).zip([
        "i2-staged-copy-not-verified",
        "i4-land-before-stage",
        "i4-land-before-manifest",
    ]) {
        expect_found_out(round, None, variant);
    }
}

/// Within some hundred cuts.
#[track_caller]
fn expect_found_out(round: u64, deaf: Option<Deaf>, variant: &'static str) {
    if strace::is_left_out() {
        return println!("left out, as LAKEWARD_TEST_WITHOUT says");
    }
    // What a run meets depends on its threads, too: three runs at most.
    let mut seen = Vec::new();
    for attempt in 0..3 {
        match found_out(round, attempt, deaf, variant) {
            // By what a cut left, not by something that is wrong without any.
            Some(what) if what.starts_with("a cut after") => return,
            other => seen.push(other),
        }
    }
    panic!("{deaf:?} {variant}: somebody should have noticed: {seen:#?}");
}

fn found_out(
    round: u64,
    attempt: u64,
    deaf: Option<Deaf>,
    variant: &'static str,
) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let history = Arc::new(History::begin(dir.path().join("history.jsonl")));
    // They retire by `rename`, `move` and `delete`.
    let mut power = Power::on("wrong", of_round(4 * round, 3), &history);
    power.deaf = deaf;
    power.ground.environment = vec![("LAKEWARD_BROKEN", variant)];
    let mut chance = Chance::of(round + 1000 * attempt);
    let mut producer = power.producer(&Arc::default(), chance.fork());
    let mut totals = Totals::default();
    let found = cut(&mut power, 400, &mut producer, &mut chance, &mut totals);
    let what = found.err().map(|finding| finding.what);
    println!("{deaf:?} {variant} after {:?}: {what:?}", totals.faults);
    what
}
