//! Landing over an HDFS that loses answers, does things late, cuts files short, or says no more than `false`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::calls::{Calls, Info};
use super::contents::Contents;
use super::fault::{Fault, FaultKind};
use super::land::parent;
use super::{HdfsLake, temporary};
use crate::lake::conformance::{Suite, bytes, mark};
use crate::lake::retry::RetryPolicy;
use crate::lake::{Created, ErrorClass, Lake, Landed, Look, Mark};
use crate::naming::LakePath;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// What happens to the next call of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// It does not happen, for a passing reason.
    Lost,
    /// It happens, and the answer is lost.
    AnswerLost,
    /// A rename that happens when [`Fake::arrive`] is called.
    Late,
    /// A write that breaks off after so many bytes.
    Broken(usize),
    /// A write that is closed after so many bytes, and says that all is well.
    Short(usize),
    /// A rename that answers `false` and did nothing.
    False,
    Denied,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Being written; no rename of one is ever right.
    open: BTreeSet<String>,
    dirs: BTreeSet<String>,
    mishaps: BTreeMap<&'static str, VecDeque<Mishap>>,
    late: Vec<(String, String)>,
    /// Every name that was ever opened for writing.
    opened: Vec<String>,
    renamed: Vec<String>,
}

#[derive(Default)]
struct Fake(Mutex<State>);

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn will(&self, call: &'static str, mishaps: &[Mishap]) {
        let mut state = self.state();
        state.mishaps.entry(call).or_default().extend(mishaps);
    }

    fn mishap(&self, call: &str) -> Option<Mishap> {
        self.state().mishaps.get_mut(call)?.pop_front()
    }

    /// What was on its way arrives.
    fn arrive(&self) {
        let mut state = self.state();
        for (from, to) in std::mem::take(&mut state.late) {
            let _refused = state.rename(&from, &to);
        }
    }
}

impl State {
    fn exists(&self, path: &str) -> bool {
        path == "/" || self.files.contains_key(path) || self.dirs.contains(path)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        if self.exists(to) {
            return Err(Fault::remote("FileAlreadyExistsException", to));
        }
        if !self.files.contains_key(from) || !self.exists(parent(to)) {
            return Err(Fault::remote("FileNotFoundException", from));
        }
        assert!(!self.open.contains(from), "`{from}` is not closed");
        let contents = self.files.remove(from).unwrap();
        self.files.insert(to.to_owned(), contents);
        self.renamed.push(from.to_owned());
        Ok(())
    }
}

fn lost() -> Fault {
    Fault::transient("the connection was cut")
}

impl Calls for Fake {
    fn service(&self) -> String {
        "fake".to_owned()
    }

    async fn info(&self, path: &str) -> Result<Option<Info>, Fault> {
        if self.mishap("info").is_some() {
            return Err(lost());
        }
        let state = self.state();
        let name = path.rsplit('/').next().unwrap().to_owned();
        let length = state.files.get(path).map(Vec::len);
        Ok(state.exists(path).then(|| Info {
            name,
            length: length.unwrap_or(0) as u64,
            is_dir: length.is_none(),
            modified_ms: 0,
        }))
    }

    async fn make_dirs(&self, path: &str) -> Result<(), Fault> {
        let mut state = self.state();
        let mut dir = path;
        while dir != "/" {
            state.dirs.insert(dir.to_owned());
            dir = parent(dir);
        }
        Ok(())
    }

    async fn write(&self, path: &str, contents: &mut Contents) -> Result<(), Fault> {
        if !self.state().exists(parent(path)) {
            return Err(Fault::remote("FileNotFoundException", path));
        }
        let mishap = self.mishap("write");
        if mishap == Some(Mishap::Lost) {
            return Err(lost());
        }
        if mishap == Some(Mishap::Denied) {
            return Err(Fault::remote("AccessControlException", "Permission denied"));
        }
        {
            let mut state = self.state();
            assert!(
                !state.opened.iter().any(|opened| opened == path),
                "`{path}` is opened again"
            );
            state.opened.push(path.to_owned());
            state.files.insert(path.to_owned(), Vec::new());
            state.open.insert(path.to_owned());
        }
        let mut all = Vec::new();
        while let Some(piece) = contents.next(u64::MAX)? {
            all.extend_from_slice(&piece);
        }
        if let Some(Mishap::Broken(length) | Mishap::Short(length)) = mishap {
            all.truncate(length);
        }
        let mut state = self.state();
        state.files.insert(path.to_owned(), all);
        if matches!(mishap, Some(Mishap::Broken(_))) {
            return Err(lost());
        }
        state.open.remove(path);
        if mishap == Some(Mishap::AnswerLost) {
            return Err(lost());
        }
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        match self.mishap("rename") {
            None => self.state().rename(from, to),
            Some(Mishap::AnswerLost) => {
                let answer = self.state().rename(from, to);
                answer.and(Err(lost()))
            }
            Some(Mishap::Late) => {
                let late = (from.to_owned(), to.to_owned());
                self.state().late.push(late);
                Err(lost())
            }
            Some(Mishap::False) => Err(Fault {
                kind: FaultKind::Refused,
                message: "false".to_owned(),
            }),
            Some(Mishap::Denied) => Err(Fault::remote("AccessControlException", "")),
            Some(_) => Err(lost()),
        }
    }

    async fn delete(&self, path: &str) -> Result<bool, Fault> {
        if self.mishap("delete").is_some() {
            return Err(lost());
        }
        let mut state = self.state();
        state.open.remove(path);
        Ok(state.files.remove(path).is_some())
    }

    async fn list(&self, dir: &str) -> Result<Option<Vec<Info>>, Fault> {
        let state = self.state();
        if !state.exists(dir) || state.files.contains_key(dir) {
            return Ok(None);
        }
        let below = |path: &String| parent(path) == dir && path != "/";
        let info = |path: &String, length: usize, is_dir| Info {
            name: path.rsplit('/').next().unwrap().to_owned(),
            length: length as u64,
            is_dir,
            modified_ms: 0,
        };
        let files = state.files.iter().filter(|(path, _)| below(path));
        let dirs = state.dirs.iter().filter(|path| below(path));
        Ok(Some(
            files
                .map(|(path, contents)| info(path, contents.len(), false))
                .chain(dirs.map(|path| info(path, 0, true)))
                .collect(),
        ))
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let mishap = self.mishap("read");
        let Some(contents) = self.state().files.get(path).cloned() else {
            return Ok(false);
        };
        let rest = &contents[range.start as usize..range.end as usize];
        if mishap.is_some() {
            take(&rest[..rest.len() / 2])?;
            return Err(lost());
        }
        take(rest)?;
        Ok(true)
    }
}

fn lake() -> HdfsLake<Fake> {
    let policy = RetryPolicy {
        total: Duration::from_millis(1500),
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
    };
    let runtime = RUNTIME.handle().clone();
    HdfsLake::new("hdfs", Fake::default(), "/lake", runtime, policy)
}

struct Site {
    lake: HdfsLake<Fake>,
    staged: PathBuf,
    mark: Mark,
    path: LakePath,
    contents: Vec<u8>,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let contents = bytes(3_000_000, 5);
        let staged = dir.path().join("staged");
        std::fs::write(&staged, &contents).unwrap();
        Self {
            lake: lake(),
            staged,
            mark: mark(&contents),
            path: LakePath::new("t/dt=1/a.parquet").unwrap(),
            contents,
            _dir: dir,
        }
    }

    fn land(&self) -> Result<Landed, crate::lake::LakeError> {
        self.lake.land(&self.staged, &self.path, &self.mark)
    }

    /// One whole file and nothing beside it, looked at as after a kill.
    fn landed_alone(&self) {
        let look = self.lake.look(&self.path, &self.mark).unwrap();
        assert_eq!(look, Look::Ours);
        self.alone();
    }

    fn alone(&self) {
        let state = self.lake.calls.state();
        let files: Vec<_> = state.files.keys().collect();
        assert_eq!(files, ["/lake/t/dt=1/a.parquet"]);
        assert!(state.files["/lake/t/dt=1/a.parquet"] == self.contents);
    }

    fn nothing(&self) {
        let state = self.lake.calls.state();
        assert!(state.files.is_empty(), "{:?}", state.files.keys());
    }
}

#[test]
fn the_contract_is_kept() {
    let staging = tempfile::tempdir().unwrap();
    let lake = lake();
    let suite = Suite {
        lake: &lake,
        dir: LakePath::new("scratch").unwrap(),
        staging: staging.path().to_owned(),
    };
    suite.all();
    suite.takes_emoji();
    suite.lands_large_files();
    suite.aborts_what_was_begun(&|path| {
        let name = lake.temporary_name(path);
        let mut state = lake.calls.state();
        state.dirs.insert(parent(&name).to_owned());
        state.files.insert(name, b"half".to_vec());
    });
    assert!(lake.probe().unwrap().conditional_writes);
    let colon = LakePath::new("t/a:b.parquet").unwrap();
    let refused = lake.create(&colon, b"x").unwrap_err();
    assert_eq!(refused.class, ErrorClass::Permanent);
    let state = lake.calls.state();
    assert!(!state.files.keys().any(|path| path.contains(".tmp")));
    assert!(state.open.is_empty());
}

#[test]
fn a_rename_whose_answer_was_lost_lands_once() {
    let site = Site::new();
    site.lake.calls.will("rename", &[Mishap::AnswerLost]);
    assert_eq!(site.land().unwrap(), Landed::Look);
    site.landed_alone();
    assert_eq!(site.lake.calls.state().opened.len(), 1);
}

#[test]
fn a_rename_that_did_not_happen_is_repeated_without_writing_again() {
    let site = Site::new();
    site.lake
        .calls
        .will("rename", &[Mishap::Lost, Mishap::Lost, Mishap::False]);
    assert_eq!(site.land().unwrap(), Landed::Yes);
    site.landed_alone();
    assert_eq!(site.lake.calls.state().opened.len(), 1);
}

#[test]
fn a_late_rename_publishes_a_whole_file_or_nothing() {
    // It arrives after a later attempt landed: refused.
    let site = Site::new();
    site.lake.calls.will("rename", &[Mishap::Late]);
    assert_eq!(site.land().unwrap(), Landed::Yes);
    site.lake.calls.arrive();
    site.landed_alone();
    // It arrives after the call was given up and its temporary file removed: it finds nothing.
    let site = Site::new();
    site.lake.calls.will("rename", &[Mishap::Late; 1000]);
    assert_eq!(site.land().unwrap_err().class, ErrorClass::Transient);
    site.lake.calls.arrive();
    site.nothing();
    // It arrives when the file could not be removed either: a whole file of ours.
    let site = Site::new();
    site.lake.calls.will("rename", &[Mishap::Late; 1000]);
    site.lake.calls.will("delete", &[Mishap::Lost; 10]);
    site.land().unwrap_err();
    site.lake.calls.arrive();
    site.landed_alone();
}

#[test]
fn a_writer_that_failed_is_never_followed_by_a_rename() {
    for mishap in [
        Mishap::Broken(1_000_000),
        Mishap::Broken(3_000_000),
        Mishap::Short(2_999_999),
        Mishap::Short(0),
        Mishap::AnswerLost,
    ] {
        let site = Site::new();
        site.lake.calls.will("write", &[mishap, mishap]);
        assert_eq!(site.land().unwrap(), Landed::Yes, "{mishap:?}");
        site.landed_alone();
        let state = site.lake.calls.state();
        assert_eq!(state.opened.len(), 3, "{mishap:?}");
        assert_eq!(state.renamed, state.opened[2..], "{mishap:?}");
    }
}

#[test]
fn every_attempt_has_a_hidden_name_of_its_own() {
    let site = Site::new();
    site.lake.calls.will("write", &[Mishap::Broken(1); 20]);
    site.land().unwrap();
    let state = site.lake.calls.state();
    let names: BTreeSet<_> = state.opened.iter().collect();
    assert_eq!(names.len(), 21);
    for path in names {
        let name = path.strip_prefix("/lake/t/dt=1/").unwrap();
        assert!(temporary::is_for(name, "a.parquet"), "{path}");
    }
}

#[test]
fn what_could_not_be_removed_is_removed_later() {
    let site = Site::new();
    site.lake.calls.will("write", &[Mishap::Broken(7)]);
    site.lake.calls.will("delete", &[Mishap::Lost]);
    assert_eq!(site.land().unwrap(), Landed::Yes);
    site.landed_alone();
}

#[test]
fn what_a_kill_left_is_removed_by_its_final_path_alone() {
    let site = Site::new();
    site.land().unwrap();
    let left = [
        "/lake/t/dt=1/.a.parquet.0123456789abcdef.tmp",
        "/lake/t/dt=1/.a.parquet.gz.0123456789abcdef.tmp",
        "/lake/t/dt=1/.a.parquet.tmp",
    ];
    for path in left {
        let mut state = site.lake.calls.state();
        state.files.insert(path.to_owned(), b"half".to_vec());
        state.open.insert(path.to_owned());
    }
    assert_eq!(site.lake.abort_uploads(&site.path).unwrap(), 1);
    let state = site.lake.calls.state();
    assert!(!state.files.contains_key(left[0]));
    assert!(state.files.contains_key(left[1]) && state.files.contains_key(left[2]));
}

#[test]
fn of_two_writers_of_one_name_the_first_rename_wins() {
    let site = Site::new();
    // Ours is on its way when another's arrives.
    site.lake.calls.will("rename", &[Mishap::Late]);
    let other = bytes(3_000_000, 6);
    {
        let mut state = site.lake.calls.state();
        for dir in ["/lake", "/lake/t", "/lake/t/dt=1"] {
            state.dirs.insert(dir.to_owned());
        }
        let name = format!("/lake/{}", site.path);
        state.files.insert(name, other.clone());
    }
    assert_eq!(site.land().unwrap(), Landed::Look);
    site.lake.calls.arrive();
    let look = site.lake.look(&site.path, &site.mark).unwrap();
    assert!(matches!(
        look,
        Look::Foreign {
            length: 3_000_000,
            ..
        }
    ));
    let state = site.lake.calls.state();
    assert_eq!(state.files.len(), 1, "{:?}", state.files.keys());
    assert!(state.files.values().next().unwrap() == &other);
}

#[test]
fn a_refusal_lasts_and_leaves_nothing() {
    for call in ["write", "rename"] {
        let site = Site::new();
        site.lake.calls.will(call, &[Mishap::Lost, Mishap::Denied]);
        let error = site.land().unwrap_err();
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert!(error.message.contains("-chmod"), "{error}");
        site.nothing();
    }
}

#[test]
fn a_manifest_whose_rename_lost_its_answer_is_ours_and_another_is_not() {
    let lake = lake();
    let path = LakePath::new("_lakeward/manifests/p/1.json").unwrap();
    // The first one meets a directory that is not there yet.
    let lost = [Mishap::AnswerLost, Mishap::AnswerLost];
    lake.calls.will("rename", &lost);
    assert_eq!(lake.create(&path, b"facts").unwrap(), Created::Ours);
    lake.calls.will("rename", &[Mishap::Late]);
    assert_eq!(lake.create(&path, b"other").unwrap(), Created::Other);
    lake.calls.arrive();
    assert_eq!(lake.read(&path).unwrap().unwrap(), b"facts");
}

#[test]
fn a_directory_in_place_of_a_file_is_foreign() {
    let site = Site::new();
    let dir = format!("/lake/{}", site.path);
    RUNTIME.block_on(site.lake.calls.make_dirs(&dir)).unwrap();
    assert_eq!(site.land().unwrap(), Landed::Look);
    let look = site.lake.look(&site.path, &site.mark).unwrap();
    assert!(matches!(look, Look::Foreign { .. }), "{look:?}");
    assert_eq!(site.lake.create(&site.path, b"").unwrap(), Created::Other);
    site.nothing();
}

#[test]
fn reading_goes_on_where_it_was_cut_off() {
    let site = Site::new();
    site.land().unwrap();
    site.lake.calls.will("read", &[Mishap::Lost; 5]);
    let digest = site.lake.digest(&site.path).unwrap();
    assert_eq!(digest, Some(site.mark.copy));
}

#[test]
fn a_look_that_failed_is_an_error_and_never_absent() {
    let site = Site::new();
    site.lake.calls.will("info", &vec![Mishap::Lost; 10_000]);
    let error = site.lake.look(&site.path, &site.mark).unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
}
