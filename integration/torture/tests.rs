//! The torture in short. `make torture` is the same for longer.

use super::{Kind, Torture};

fn short(kind: Kind, kills: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut torture = Torture::new(dir.path(), 1);
    torture.round(kind, kills);
    torture.totals.print();
    assert!(torture.totals.is_clean(), "see above");
    assert!(torture.totals.kills >= kills, "see above");
}

#[test]
fn killed_and_stopped_at_random_moments_over_a_local_lake() {
    short(Kind::Local, 30);
}
