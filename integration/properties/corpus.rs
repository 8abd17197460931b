//! Every input that is kept beside the fuzz targets.

use std::path::Path;

use crate::properties;

fn replay(target: &str, hold: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("integration/fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&dir).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let input = std::fs::read(&path).expect("an input");
        println!("{}", path.display());
        hold(&input);
        inputs += 1;
    }
    assert!(inputs > 0, "`{}` holds no input", dir.display());
}

#[test]
fn what_was_once_found_in_compressed_files_holds() {
    replay("unpack", properties::unpack::hold);
}

#[test]
fn what_was_once_found_in_streams_holds() {
    replay("frame", properties::frame::hold);
}

#[test]
fn what_was_once_found_in_records_holds() {
    replay("decode", properties::decode::hold);
}

#[test]
fn what_was_once_found_in_names_holds() {
    replay("names", properties::names::hold);
}

#[test]
fn what_was_once_found_in_configurations_holds() {
    replay("config", properties::config::hold);
}

#[test]
fn what_was_once_found_in_manifests_holds() {
    replay("manifest", properties::manifest::hold);
}

#[test]
fn what_was_once_found_in_journals_holds() {
    replay("journal", properties::journal::hold);
}
