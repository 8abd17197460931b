//! The torture in short. `make torture` is the same for longer.

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
