//! The torture in short. `make torture` is the same for longer.

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

/// The check is checked: syncs without which something must go wrong are left out of the record.
#[test]
fn a_disk_that_lies_and_directories_that_nobody_syncs_are_found_out() {
    if strace::is_left_out() {
        return println!("left out, as LAKEWARD_TEST_WITHOUT says");
    }
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
        assert!(is_found_out(round, deaf), "{deaf:?}");
    }
}

/// Within some hundred cuts.
fn is_found_out(round: u64, deaf: Deaf) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let history = std::sync::Arc::new(History::begin(dir.path().join("history.jsonl")));
    // They retire by `rename`, `move` and `delete`.
    let mut power = Power::on("deaf", of_round(4 * round, 3), &history);
    power.deaf = Some(deaf);
    let mut chance = Chance::of(round);
    let mut producer = power.producer(&std::sync::Arc::default(), chance.fork());
    let mut totals = Totals::default();
    let found = cut(&mut power, 400, &mut producer, &mut chance, &mut totals);
    found.is_err()
}
