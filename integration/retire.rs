//! `retire` is changed between two runs, whatever was done of the retiring before: nothing lands twice, no file is lost, and whatever
//! was retired stays as it was retired.

use std::fs;

use crate::support::Site;

const WAYS: [&str; 4] = ["rename", "move", "delete", "keep"];

/// Killed nowhere, before anything is retired, and before that is recorded.
const PLACES: [&str; 3] = ["", "before_retire", "before_retired"];

fn configure(site: &Site, retire: &str) {
    let retire_dir = match retire {
        "move" => "retire_dir = \"archive\"\n",
        _ => "",
    };
    let more = format!(
        "retire = \"{retire}\"\n{retire_dir}[pipeline.sink]\npath = \"p\"\nformat = \"ndjson\"\ncompression = \"none\"\n"
    );
    site.configure("type = \"fs\"\nroot = \"lake\"\n", "", &more);
}

/// Where `a.ndjson` may be once it was retired so.
fn place_of(retire: &str) -> Option<&'static str> {
    match retire {
        "rename" => Some("spool/a.ndjson.COMPLETED"),
        "move" => Some("archive/a.ndjson"),
        "delete" => None,
        _ => Some("spool/a.ndjson"),
    }
}

/// Hidden names of deleted files that are left.
fn hidden(site: &Site) -> usize {
    let entries = fs::read_dir(site.path("spool")).expect("a spool").flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().starts_with(b".lakeward-delete-")
        })
        .count()
}

#[test]
fn another_way_to_retire_lands_nothing_again_and_removes_nothing_else() {
    for before in WAYS {
        for after in WAYS.into_iter().filter(|after| *after != before) {
            for place in PLACES {
                let what = format!("{before}, {after}, killed at `{place}`");
                let site = Site::empty();
                fs::create_dir_all(site.path("spool")).expect("a spool");
                configure(&site, before);
                site.drop_ids("a.ndjson", 0, 10);
                if place.is_empty() {
                    site.expect(0, &["run", "--once"]);
                } else {
                    // Nothing is retired under `keep`.
                    site.killed_at(place, 1);
                }
                configure(&site, after);
                for _ in 0..2 {
                    let ended = site.lakeward(&["run", "--once"]);
                    let said = String::from_utf8_lossy(&ended.stderr);
                    assert_eq!(ended.status.code(), Some(0), "{what}: {said}");
                }
                assert_eq!(site.lake().ids(), (0..10).collect::<Vec<_>>(), "{what}");
                let places = [place_of(before), place_of(after)];
                let standing = places.iter().flatten();
                let count = standing.filter(|at| site.path(at).exists()).count();
                let gone = places.contains(&None);
                assert!(count == 1 || (count == 0 && gone), "{what}: {count}");
                assert_eq!(hidden(&site), 0, "{what}");
                site.expect(0, &["audit", "--deep"]);
            }
        }
    }
}
