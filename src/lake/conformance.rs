//! The suite that every lake passes: the contract of [`Lake`] as checks that can be run.
//!
//! Each check works below a directory of its own in the lake, leaves there what it landed, and panics with what it
//! found where the contract is broken. It is part of the library so that simulated lakes, local ones and tests against
//! real servers run the same.

#![expect(
    clippy::unwrap_used,
    reason = "the suite is a test: a failed check is to panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Created, Entry, Lake, Landed, Look, Mark};
use crate::naming::LakePath;
use crate::protocol::DataFileCopy;
use crate::segment::{BatchNumber, Digest, JournalId};

const MIB: usize = 1 << 20;

/// A lake under test.
pub struct Suite<'a> {
    pub lake: &'a dyn Lake,
    /// Below which the checks write; new for each run.
    pub dir: LakePath,
    /// Where files are staged: the lake's own [`Lake::staging_dir`] if it has one, else any directory.
    pub staging: PathBuf,
}

impl Suite<'_> {
    /// All checks but [`Self::lands_large_files`] and [`Self::aborts_what_was_begun`].
    pub fn all(&self) {
        self.creates_only_what_is_not_there();
        self.ensures_what_is_not_there();
        self.one_of_many_creators_wins();
        self.reads_what_was_created();
        self.lands_once_and_then_sees_its_own();
        self.never_lands_over_anything();
        self.one_of_many_landers_wins();
        self.tells_foreign_files_from_its_own();
        self.refuses_a_staged_copy_of_another_length();
        self.takes_any_name();
        self.lists_everything_once();
        self.digests_and_downloads();
    }

    fn path(&self, name: &str) -> LakePath {
        self.dir.join(name).unwrap()
    }

    /// A staged file and its mark.
    fn staged(&self, name: &str, contents: &[u8]) -> (PathBuf, Mark) {
        let path = self.staging.join(format!(
            ".{:016x}-{}.staged",
            super::random(),
            name.replace('/', "_")
        ));
        std::fs::write(&path, contents).unwrap();
        (path, mark(contents))
    }

    fn land(&self, name: &str, contents: &[u8]) -> Mark {
        let (staged, mark) = self.staged("file", contents);
        let landed = self.lake.land(&staged, &self.path(name), &mark).unwrap();
        assert_eq!(landed, Landed::Yes, "{name}");
        mark
    }

    fn look(&self, name: &str, mark: &Mark) -> Look {
        self.lake.look(&self.path(name), mark).unwrap()
    }

    pub fn creates_only_what_is_not_there(&self) {
        let path = self.path("_create/1.json");
        assert_eq!(self.lake.create(&path, b"first").unwrap(), Created::Ours);
        assert_eq!(
            self.lake.create(&path, b"first").unwrap(),
            Created::Ours,
            "creating the same again is the same"
        );
        for other in [&b"second"[..], b"", b"firs", b"first!"] {
            assert_eq!(self.lake.create(&path, other).unwrap(), Created::Other);
        }
        assert_eq!(self.lake.read(&path).unwrap().unwrap(), b"first");
    }

    pub fn ensures_what_is_not_there(&self) {
        let path = self.path("_ensure/dt=1/_DONE");
        for contents in [&b"first"[..], b"first", b"second", b""] {
            self.lake.ensure(&path, contents).unwrap();
            assert_eq!(self.lake.read(&path).unwrap().unwrap(), b"first");
        }
    }

    pub fn one_of_many_creators_wins(&self) {
        for round in 0..5 {
            let path = self.path(&format!("_race/{round}.json"));
            let results = together(8, |n| {
                let contents = vec![b'a' + n as u8; 2000];
                (self.lake.create(&path, &contents).unwrap(), contents)
            });
            let winners: Vec<_> = results
                .iter()
                .filter(|(created, _)| *created == Created::Ours)
                .collect();
            assert_eq!(winners.len(), 1, "one creator of `{path}` wins");
            assert_eq!(self.lake.read(&path).unwrap().unwrap(), winners[0].1);
        }
    }

    pub fn reads_what_was_created(&self) {
        assert_eq!(self.lake.read(&self.path("_read/none")).unwrap(), None);
        for (name, contents) in [("empty", Vec::new()), ("large", bytes(9 * MIB, 1))] {
            let path = self.path(&format!("_read/{name}"));
            assert_eq!(self.lake.create(&path, &contents).unwrap(), Created::Ours);
            let read = self.lake.read(&path).unwrap().unwrap();
            assert!(read == contents, "`{path}` reads back");
        }
    }

    pub fn lands_once_and_then_sees_its_own(&self) {
        for (n, length) in [1, 1000, 6 * MIB].into_iter().enumerate() {
            self.lands_and_sees(&format!("once/dt={n}/file.parquet"), length);
        }
    }

    /// Long enough for an upload in parts: 16 MiB to the byte, and 40 MiB.
    pub fn lands_large_files(&self) {
        for (n, length) in [16 * MIB, 40 * MIB + 1].into_iter().enumerate() {
            self.lands_and_sees(&format!("large/dt={n}/file.parquet"), length);
        }
    }

    fn lands_and_sees(&self, name: &str, length: usize) {
        let contents = bytes(length, length as u64);
        let (staged, mark) = self.staged("file", &contents);
        let path = self.path(name);
        assert_eq!(self.lake.look(&path, &mark).unwrap(), Look::Absent);
        assert_eq!(
            self.lake.land(&staged, &path, &mark).unwrap(),
            Landed::Yes,
            "{name}"
        );
        assert_eq!(self.lake.look(&path, &mark).unwrap(), Look::Ours, "{name}");
        // As after a kill: once with the staged copy still there, once with it gone where landing took it.
        assert_eq!(self.again(&staged, &path, &mark), Landed::Look);
        std::fs::write(&staged, &contents).unwrap();
        assert_eq!(self.again(&staged, &path, &mark), Landed::Look);
        assert_eq!(self.lake.look(&path, &mark).unwrap(), Look::Ours);
        self.lake.make_durable(&path).unwrap();
        assert_eq!(self.lake.digest(&path).unwrap(), Some(mark.copy), "{name}");
        assert_eq!(
            self.lake.abort_uploads(&path).unwrap(),
            0,
            "nothing is left"
        );
    }

    fn again(&self, staged: &Path, path: &LakePath, mark: &Mark) -> Landed {
        self.lake.land(staged, path, mark).unwrap()
    }

    pub fn never_lands_over_anything(&self) {
        let first = self.land("over/file.parquet", b"the first");
        let (staged, second) = self.staged("second", b"the second, longer");
        let path = self.path("over/file.parquet");
        assert_eq!(
            self.lake.land(&staged, &path, &second).unwrap(),
            Landed::Look
        );
        assert_eq!(self.lake.digest(&path).unwrap(), Some(first.copy));
        assert_eq!(self.look("over/file.parquet", &first), Look::Ours);
        assert!(matches!(
            self.look("over/file.parquet", &second),
            Look::Foreign { length: 9, .. }
        ));
    }

    pub fn one_of_many_landers_wins(&self) {
        for round in 0..3 {
            let name = format!("landers/{round}.parquet");
            let path = self.path(&name);
            let results = together(8, |n| {
                let (staged, mark) = self.staged("racer", &bytes(100_000, n as u64));
                (self.lake.land(&staged, &path, &mark).unwrap(), mark)
            });
            let winners: Vec<_> = results
                .iter()
                .filter(|(landed, _)| *landed == Landed::Yes)
                .collect();
            assert_eq!(winners.len(), 1, "one lander of `{path}` wins");
            assert_eq!(self.look(&name, &winners[0].1), Look::Ours);
        }
    }

    pub fn tells_foreign_files_from_its_own(&self) {
        let contents = bytes(5000, 7);
        let ours = mark(&contents);
        // Put there without our marks, of equal and of other length.
        let equal = self.path("foreign/equal.parquet");
        self.lake.create(&equal, &bytes(5000, 8)).unwrap();
        let shorter = self.path("foreign/shorter.parquet");
        self.lake.create(&shorter, b"x").unwrap();
        for (path, expected) in [(&equal, 5000), (&shorter, 1)] {
            match self.lake.look(path, &ours).unwrap() {
                Look::Foreign { length, found } => {
                    assert_eq!(length, expected);
                    assert!(!found.is_empty());
                }
                look => panic!("`{path}` is foreign, and not {look:?}"),
            }
        }
        // Equal bytes are ours, whoever put them there and without our marks.
        let same = self.path("foreign/same.parquet");
        self.lake.create(&same, &contents).unwrap();
        assert_eq!(self.lake.look(&same, &ours).unwrap(), Look::Ours);
        // An earlier encoding of ours counts as ours.
        let first = self.land("foreign/again.parquet", b"first encoding");
        let mut second = mark(b"second encoding");
        second.copies.push(first.copy);
        assert_eq!(self.look("foreign/again.parquet", &second), Look::Ours);
    }

    pub fn refuses_a_staged_copy_of_another_length(&self) {
        let (staged, mark) = self.staged("cut", b"whole");
        std::fs::write(&staged, b"who").unwrap();
        let path = self.path("cut/file.parquet");
        let error = self.lake.land(&staged, &path, &mark).unwrap_err();
        assert!(error.to_string().contains("3 bytes"), "{error}");
        assert_eq!(self.lake.look(&path, &mark).unwrap(), Look::Absent);
    }

    /// Not part of [`Self::all`]: HDFS allows none in a name.
    pub fn takes_colons(&self) {
        let mark = self.land("colons/t=12:30:00/a:b.parquet", b"x");
        assert_eq!(
            self.look("colons/t=12:30:00/a:b.parquet", &mark),
            Look::Ours
        );
    }

    /// Not part of [`Self::all`]: WebHDFS of Hadoop 2 answers such names with what is no HTTP.
    pub fn takes_emoji(&self) {
        let name = "emoji/x=\u{1f600}/\u{1f600}.parquet";
        let mark = self.land(name, b"x");
        assert_eq!(self.look(name, &mark), Look::Ours);
        assert_eq!(self.listed("emoji").len(), 1);
    }

    pub fn takes_any_name(&self) {
        let names = [
            "a b",
            "a+b",
            "a=b",
            "a%20b",
            "a%2Fb",
            "a&b;c",
            "a'b\"c",
            "a(b)!*~",
            "a?b#c",
            "a@c,d",
            "grüße",
            "日本",
            "_hidden",
            ".hidden",
            "__HIVE_DEFAULT_PARTITION__",
            "<a>$^`{|}[]",
        ];
        let expected: BTreeSet<LakePath> = names
            .iter()
            .map(|name| {
                let name = format!("names/x={name}/{name}.parquet");
                let mark = self.land(&name, name.as_bytes());
                assert_eq!(self.look(&name, &mark), Look::Ours, "{name}");
                assert_eq!(self.lake.abort_uploads(&self.path(&name)).unwrap(), 0);
                self.path(&name)
            })
            .collect();
        let listed: BTreeSet<LakePath> = self.listed("names").into_keys().collect();
        assert_eq!(listed, expected);
    }

    fn listed(&self, name: &str) -> BTreeMap<LakePath, u64> {
        let mut entries = BTreeMap::new();
        self.lake
            .list(&self.path(name), &mut |Entry { path, length }| {
                let twice = entries.insert(path.clone(), length);
                assert_eq!(twice, None, "`{path}` is listed once");
            })
            .unwrap();
        entries
    }

    /// More than the thousand that a page of S3 holds, and directories whose names begin with the listed one's.
    pub fn lists_everything_once(&self) {
        assert!(self.listed("list/none").is_empty());
        let mut expected = BTreeMap::new();
        for n in 0..1105_u64 {
            let dir = ["", "_lakeward-like/", "dt=1/region=eu/", ".hidden/"][n as usize % 4];
            expected.insert(self.path(&format!("list/it/{dir}{n}.json")), n % 7);
        }
        let paths: Vec<_> = expected.iter().collect();
        together(8, |thread| {
            for (path, length) in paths.iter().skip(thread).step_by(8) {
                let contents = vec![b'x'; **length as usize];
                assert_eq!(self.lake.create(path, &contents).unwrap(), Created::Ours);
            }
        });
        for beside in ["list/it-too/1.json", "list/it.json"] {
            self.lake.create(&self.path(beside), b"beside").unwrap();
        }
        assert_eq!(self.listed("list/it"), expected);
        assert_eq!(self.listed("list").len(), expected.len() + 2);
    }

    pub fn digests_and_downloads(&self) {
        let contents = bytes(9 * MIB + 5, 3);
        let mark = self.land("whole/file.parquet", &contents);
        let path = self.path("whole/file.parquet");
        assert_eq!(self.lake.digest(&path).unwrap(), Some(mark.copy));
        let to = self.staging.join(".downloaded");
        assert!(self.lake.download(&path, &to).unwrap());
        assert!(std::fs::read(&to).unwrap() == contents);
        let none = self.path("whole/none.parquet");
        assert_eq!(self.lake.digest(&none).unwrap(), None);
        assert!(!self.lake.download(&none, &to).unwrap());
        std::fs::remove_file(&to).unwrap();
    }

    /// `begin` begins an upload to a path and leaves it.
    pub fn aborts_what_was_begun(&self, begin: &dyn Fn(&LakePath)) {
        let path = self.path("uploads/x=a b+c/file.parquet");
        let longer = self.path("uploads/x=a b+c/file.parquet.gz");
        assert_eq!(self.lake.abort_uploads(&path).unwrap(), 0);
        begin(&path);
        begin(&path);
        begin(&longer);
        assert_eq!(self.lake.abort_uploads(&path).unwrap(), 2);
        assert_eq!(self.lake.abort_uploads(&path).unwrap(), 0);
        assert_eq!(
            self.lake.abort_uploads(&longer).unwrap(),
            1,
            "only uploads to this very path are aborted"
        );
    }
}

/// Runs `work` on so many threads at once; results in the order of their numbers.
fn together<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|n| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(n)
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    })
}

/// A mark for a file with these contents.
pub fn mark(contents: &[u8]) -> Mark {
    let copy = DataFileCopy {
        length: contents.len() as u64,
        digest: Digest::of(contents),
    };
    Mark {
        journal: JournalId(0x1a4e),
        batch: BatchNumber(7),
        number: 3,
        copy,
        copies: vec![copy],
    }
}

/// Bytes that look random, the same for the same seed.
pub fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
