//! kill -9 of the real program: at every step of the protocol, and at random moments while files arrive.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::support::{KILLED, LakeAt, SMALL_BATCHES, Site, Watcher};

/// The steps in their order. A kill counts when the program died of it there, which is when a batch was open or staged.
pub const PLACES: [&str; 8] = [
    "before_stage",
    "before_manifest",
    "before_land",
    "after_land",
    "before_commit",
    "before_retire",
    "before_retired",
    "before_done",
];

/// Killed three times at each place, at the second of the numbers the second time and so on, with files dropped in between:
/// nothing but whole files is ever seen, nothing is lost and nothing lands twice.
#[track_caller]
pub fn kill_at_each(site: &Site, lake: &LakeAt, places: &[(&str, [u32; 3])]) {
    let mut next = 0;
    let mut counts = Vec::new();
    for (place, turns) in places {
        let mut kills = 0;
        for times in *turns {
            for _ in 0..4 {
                next = site.drop_ids(&format!("f{next}.ndjson"), next, 300);
            }
            kills += u32::from(site.killed_at(place, times));
            lake.expect_whole();
        }
        counts.push(format!("{place} {kills}"));
        assert!(
            kills >= 3,
            "{place}: {kills} kills count, 3 are wanted\n{}",
            site.log()
        );
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(lake, 0..next);
    println!("kills: {}", counts.join(", "));
}

fn killed_at_each_step(more: &str) {
    let site = Site::local(more);
    let watcher = Watcher::start(site.path("lake"));
    kill_at_each(&site, &site.lake(), &PLACES.map(|place| (place, [1, 2, 3])));
    println!("the reader looked {} times", watcher.end());
    // I8: recovery run again changes nothing.
    let before = site.lake().list();
    site.expect(0, &["run", "--once"]);
    assert_eq!(site.lake().list(), before);
}

#[test]
fn killed_at_each_step_nothing_is_lost_and_nothing_lands_twice() {
    killed_at_each_step(SMALL_BATCHES);
}

#[test]
fn killed_at_each_step_with_payload_in_the_journal() {
    killed_at_each_step(&format!(
        "[pipeline.channel]\njournal = \"payload\"\n{SMALL_BATCHES}"
    ));
}

#[test]
fn killed_at_each_step_while_files_are_deleted() {
    killed_at_each_step(&format!("retire = \"delete\"\n{SMALL_BATCHES}"));
}

/// One large file, killed again and again: it goes on where it was.
#[test]
fn a_large_file_is_resumed_across_kills() {
    let site = Site::local(
        &format!("{SMALL_BATCHES}bytes = 0\n").replace("records = 500", "records = 20000"),
    );
    let end = site.drop_ids("large.ndjson", 0, 400_000);
    let mut kills = 0;
    for times in 1..=6 {
        let place = ["before_land", "before_commit", "before_stage"][times as usize % 3];
        kills += u32::from(site.killed_at(place, times.min(2)));
        let files = site.expect_json(0, &["files", "--json"]);
        println!("checkpoint {}", files[0]["checkpoint"]);
    }
    assert!(kills >= 3);
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
}

/// A daemon killed at moments that nobody chose, with files arriving all the time.
#[test]
fn killed_at_random_moments_while_files_arrive() {
    let site = Site::local(&format!("{SMALL_BATCHES}age = \"300ms\"\n"));
    let watcher = Watcher::start(site.path("lake"));
    let mut next = 0;
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let (mut kills, mut open_or_staged) = (0, 0);
    while kills < 20 {
        let mut agent = site.spawn(&["run"], &[]);
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let end = Instant::now() + Duration::from_millis(150 + (seed >> 33) % 500);
        while Instant::now() < end {
            next = site.drop_ids(&format!("f{next}.ndjson"), next, 200);
            std::thread::sleep(Duration::from_millis(5));
        }
        agent.kill().expect("kill -9");
        let status = agent.wait().expect("the program ends");
        assert_eq!(status.signal(), Some(KILLED), "{}", site.log());
        kills += 1;
        site.lake().expect_whole();
        let staged = site
            .lake()
            .list()
            .keys()
            .any(|path| path.starts_with("_lakeward/staging/"));
        open_or_staged += u32::from(staged);
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..next);
    println!(
        "kills {kills}, with a batch open or staged {open_or_staged}, looks {}",
        watcher.end()
    );
    assert!(
        open_or_staged >= 3,
        "only {open_or_staged} kills met an open or staged batch"
    );
}

/// I7: whoever empties staging between two runs loses nothing; lost copies are encoded again from the spooled files.
#[test]
fn i7_staging_emptied_after_a_kill_is_encoded_again() {
    for place in [
        "before_manifest",
        "before_land",
        "after_land",
        "before_commit",
    ] {
        let site = Site::local(SMALL_BATCHES);
        let end = site.drop_ids("a.ndjson", 0, 1_200);
        let times = if place.ends_with("land") { 2 } else { 1 };
        assert!(site.killed_at(place, times), "{place}");
        for entry in walk_staging(&site) {
            std::fs::remove_file(entry).expect("staging can be emptied");
        }
        site.expect(0, &["run", "--once"]);
        site.expect_landed(&site.lake(), 0..end);
    }
}

/// A staged copy torn by a power cut has the right length and wrong bytes: it is never landed.
#[test]
fn a_damaged_staged_copy_is_never_landed() {
    let site = Site::local(SMALL_BATCHES);
    let end = site.drop_ids("a.ndjson", 0, 1_200);
    assert!(site.killed_at("before_land", 1));
    for entry in walk_staging(&site) {
        let length = std::fs::metadata(&entry).expect("a staged file").len();
        std::fs::write(&entry, vec![0; usize::try_from(length).expect("small")]).expect("damaged");
    }
    site.expect(0, &["run", "--once"]);
    site.expect_landed(&site.lake(), 0..end);
}

fn walk_staging(site: &Site) -> Vec<std::path::PathBuf> {
    let LakeAt::Local(root) = site.lake() else {
        unreachable!()
    };
    site.lake()
        .list()
        .into_keys()
        .filter(|path| path.starts_with("_lakeward/staging/") && path.ends_with(".staged"))
        .map(|path| root.join(path))
        .collect()
}
