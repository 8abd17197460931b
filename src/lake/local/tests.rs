use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::lake::ErrorClass;
use crate::lake::conformance::{Suite, bytes, mark};

const JOURNAL: JournalId = JournalId(0xabc);

fn lake() -> (tempfile::TempDir, LocalLake) {
    let dir = tempfile::tempdir().unwrap();
    let lake = LocalLake::open(&dir.path().join("deep/lake")).unwrap();
    (dir, lake)
}

fn path(text: &str) -> LakePath {
    LakePath::new(text).unwrap()
}

fn stage(lake: &LocalLake, name: &str, contents: &[u8]) -> PathBuf {
    let staged = lake.staging_dir(JOURNAL).unwrap().join(name);
    std::fs::write(&staged, contents).unwrap();
    staged
}

#[test]
fn a_local_lake_keeps_the_ports_contract() {
    let (_dir, lake) = lake();
    let suite = Suite {
        lake: &lake,
        dir: path("scratch"),
        staging: lake.staging_dir(JOURNAL).unwrap(),
    };
    suite.all();
    suite.takes_colons();
    suite.takes_emoji();
    suite.lands_large_files();
}

#[test]
fn the_probe_leaves_nothing_behind() {
    let (_dir, lake) = lake();
    assert!(lake.probe().unwrap().conditional_writes);
    let mut found = 0;
    lake.list(&path("_lakeward"), &mut |_| found += 1).unwrap();
    assert_eq!(found, 0);
}

#[test]
fn landing_takes_the_staged_file_away_and_never_copies() {
    let (dir, lake) = lake();
    let staged = stage(&lake, "a", b"contents");
    let landed = lake.land(&staged, &path("t/dt=1/a.parquet"), &mark(b"contents"));
    assert_eq!(landed.unwrap(), Landed::Yes);
    assert!(!staged.try_exists().unwrap());
    let landed = dir.path().join("deep/lake/t/dt=1/a.parquet");
    assert_eq!(std::fs::read(landed).unwrap(), b"contents");
}

#[test]
fn staging_is_private_and_landed_directories_follow_the_umask() {
    let (dir, lake) = lake();
    let staging = lake.staging_dir(JOURNAL).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&staging), 0o700);
    let staged = stage(&lake, "a", b"x");
    lake.land(&staged, &path("t/a.parquet"), &mark(b"x"))
        .unwrap();
    let probe = dir.path().join("umask");
    std::fs::create_dir(&probe).unwrap();
    assert_eq!(mode(&dir.path().join("deep/lake/t")), mode(&probe));
}

#[test]
fn a_lost_staged_copy_is_an_error_unless_something_landed() {
    let (_dir, lake) = lake();
    let gone = lake.staging_dir(JOURNAL).unwrap().join("gone");
    let error = lake
        .land(&gone, &path("t/a.parquet"), &mark(b"x"))
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(error.to_string().contains("is not there"), "{error}");
    lake.create(&path("t/a.parquet"), b"x").unwrap();
    let landed = lake.land(&gone, &path("t/a.parquet"), &mark(b"x"));
    assert_eq!(landed.unwrap(), Landed::Look);
}

#[test]
fn a_link_below_the_metadata_directory_is_not_followed() {
    let (dir, lake) = lake();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("1.json"), b"forged").unwrap();
    let metadata = dir.path().join("deep/lake/_lakeward");
    std::fs::create_dir(&metadata).unwrap();
    symlink(&elsewhere, metadata.join("manifests")).unwrap();
    for result in [
        lake.read(&path("_lakeward/manifests/1.json")).err(),
        lake.create(&path("_lakeward/manifests/2.json"), b"x").err(),
        lake.list(&path("_lakeward/manifests"), &mut |_| {}).err(),
    ] {
        let error = result.unwrap();
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.message.contains("symbolic link"), "{error}");
    }
    let mut found = 0;
    lake.list(&path("_lakeward"), &mut |_| found += 1).unwrap();
    assert_eq!(found, 0);
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
}

#[test]
fn a_linked_partition_is_listed_as_it_is_landed_into_and_a_loop_ends() {
    let (dir, lake) = lake();
    let root = dir.path().join("deep/lake");
    std::fs::create_dir(root.join("real")).unwrap();
    std::fs::create_dir(root.join("t")).unwrap();
    symlink(root.join("real"), root.join("t/linked")).unwrap();
    symlink(root.join("t"), root.join("t/loop")).unwrap();
    let staged = stage(&lake, "a", b"x");
    lake.land(&staged, &path("t/linked/a.parquet"), &mark(b"x"))
        .unwrap();
    let mut found = Vec::new();
    lake.list(&path("t"), &mut |entry| found.push(entry.path))
        .unwrap();
    assert_eq!(found, [path("t/linked/a.parquet")]);
}

#[test]
fn what_stands_at_a_final_path_and_is_no_file_is_foreign() {
    let (dir, lake) = lake();
    let root = dir.path().join("deep/lake");
    std::fs::create_dir_all(root.join("t/a.parquet")).unwrap();
    std::fs::write(root.join("x"), b"x").unwrap();
    symlink(root.join("x"), root.join("t/b.parquet")).unwrap();
    for (name, words) in [("t/a.parquet", "directory"), ("t/b.parquet", "link")] {
        let look = lake.look(&path(name), &mark(b"x")).unwrap();
        assert!(
            matches!(&look, Look::Foreign { found, .. } if found.contains(words)),
            "{look:?}"
        );
        let staged = stage(&lake, "a", b"x");
        let landed = lake.land(&staged, &path(name), &mark(b"x")).unwrap();
        assert_eq!(landed, Landed::Look);
    }
}

#[test]
fn a_file_in_place_of_a_directory_is_an_error_and_not_absence() {
    let (dir, lake) = lake();
    std::fs::write(dir.path().join("deep/lake/t"), b"x").unwrap();
    let error = lake.look(&path("t/a.parquet"), &mark(b"x")).unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(error.message.contains("no directory"), "{error}");
}

#[test]
fn a_root_that_went_away_is_an_error_and_not_an_empty_lake() {
    let (dir, lake) = lake();
    lake.create(&path("a"), b"x").unwrap();
    let root = dir.path().join("deep/lake");
    std::fs::rename(&root, dir.path().join("moved")).unwrap();
    let error = lake.look(&path("a"), &mark(b"x")).unwrap_err();
    assert!(error.message.contains("mounted"), "{error}");
    std::fs::create_dir(&root).unwrap();
    let error = lake.read(&path("a")).unwrap_err();
    assert!(error.message.contains("not the directory"), "{error}");
}

#[test]
fn without_a_rename_that_never_replaces_a_link_does_not_either() {
    let (_dir, lake) = lake();
    let one = stage(&lake, "one", b"1");
    let two = stage(&lake, "two", b"2");
    let parents = lake.tree.made_parents(&path("t/a")).unwrap();
    assert!(link_new(CWD, &one, parents.fd(), "a").unwrap());
    assert!(!one.try_exists().unwrap());
    assert!(!link_new(CWD, &two, parents.fd(), "a").unwrap());
    assert!(two.try_exists().unwrap());
    assert_eq!(lake.read(&path("t/a")).unwrap().unwrap(), b"1");
}

#[test]
fn temporary_names_are_hidden_and_gone_after_a_create() {
    let (dir, lake) = lake();
    lake.create(&path("t/a.json"), b"1").unwrap();
    assert_eq!(
        lake.create(&path("t/a.json"), b"2").unwrap(),
        Created::Other
    );
    let names: Vec<_> = std::fs::read_dir(dir.path().join("deep/lake/t"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["a.json"]);
}

#[test]
fn a_file_of_equal_length_is_told_by_its_digest() {
    let (_dir, lake) = lake();
    lake.create(&path("t/a"), &bytes(3 << 20, 1)).unwrap();
    let ours = mark(&bytes(3 << 20, 1));
    let other = mark(&bytes(3 << 20, 2));
    assert_eq!(lake.look(&path("t/a"), &ours).unwrap(), Look::Ours);
    let look = lake.look(&path("t/a"), &other).unwrap();
    assert!(matches!(look, Look::Foreign { found, .. } if found.contains("digest")));
}
