//! A spool in a temporary directory and a journal in memory, just as much as the source's tests need.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Again, Source, SourceSettings};
use crate::channel::{Channel, Received, SegmentData, SourceEvent};
use crate::clock::Clock;
use crate::format::{Compression, CsvSettings, InputFormat, ReadingSettings};
use crate::journal::{
    BatchRow, FileRange, FileRow, FileState, Journal, PipelineRow, PutRequest, Request, RequestRow,
    Result, StageRequest,
};
use crate::protocol::{BatchState, DataFile, Manifest};
use crate::segment::{BatchNumber, FileId, FileStat, JournalId, RelativePath, Segment};
use crate::spool::{
    Claim, Found, OpenedFile, Order, Retire, Retired, Spool, SpoolError, SpoolSettings, SpooledFile,
};

pub(super) fn path(text: &str) -> RelativePath {
    RelativePath::new(text.as_bytes()).unwrap()
}

pub(super) fn settings() -> SourceSettings {
    SourceSettings {
        spool: SpoolSettings {
            pipeline: "p".into(),
            path: "/spool".into(),
            recursive: false,
            include: vec!["*".into()],
            exclude: Vec::new(),
            skip_suffixes: Vec::new(),
            order: Order::Name,
            ready_after: Duration::ZERO,
            ready_marker: String::new(),
            retire: Retire::Rename,
            retire_suffix: ".COMPLETED".into(),
            retire_dir: None,
            quarantine_dir: ".quarantine".into(),
        },
        resent: Again::Skip,
        same_content: Again::Land,
        poll: Duration::from_millis(1),
        reading: ReadingSettings {
            format: InputFormat::Ndjson,
            compression: Compression::Auto,
            charset: "utf-8".into(),
            csv: CsvSettings {
                header: true,
                delimiter: b',',
                quote: b'"',
                null: String::new(),
                columns: Vec::new(),
                comment: None,
            },
            record_bytes_max: 1 << 20,
            decoded_bytes_max: 0,
            depth_max: 128,
            segment_bytes: crate::format::frame::SEGMENT_BYTES,
        },
        path_columns: String::new(),
        history: None,
        payload: false,
        payload_bytes_max: 0,
    }
}

pub(super) type Hook = Box<dyn Fn() + Send>;

/// A flat spool in a temporary directory. Files named `*.unready` are not ready.
pub(super) struct FakeSpool {
    pub(super) dir: tempfile::TempDir,
    pub(super) down: AtomicBool,
    /// Done once, right after a file of this name was opened.
    pub(super) on_open: Mutex<Option<(String, Hook)>>,
}

impl FakeSpool {
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        // Another inode each time, as a producer that renames into the spool makes it.
        let temporary = self.place(".new");
        fs::write(&temporary, bytes).unwrap();
        fs::rename(temporary, self.place(name)).unwrap();
    }

    fn check(&self) -> std::result::Result<(), SpoolError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(SpoolError {
                operation: "scan",
                path: "/spool".into(),
                message: "not there".into(),
                unavailable: true,
            });
        }
        Ok(())
    }

    fn error(path: &RelativePath, e: &std::io::Error) -> SpoolError {
        SpoolError {
            operation: "open",
            path: path.to_string(),
            message: e.to_string(),
            unavailable: false,
        }
    }
}

impl Spool for FakeSpool {
    fn scan(
        &self,
        _now_ns: i64,
        visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> std::result::Result<(), SpoolError> {
        self.check()?;
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| !n.starts_with('.') && !n.ends_with(".COMPLETED"))
            .collect();
        names.sort();
        for name in names {
            let file = match fs::File::open(self.place(&name)) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => continue,
                Err(e) => panic!("{e}"),
            };
            let found = Found {
                path: path(&name),
                stat: file.stat().unwrap(),
                ready: !name.ends_with(".unready"),
            };
            if visit(found).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, path: &RelativePath) -> std::result::Result<Option<OpenedFile>, SpoolError> {
        self.check()?;
        let place = self.dir.path().join(path.as_path());
        if path.to_string().contains("forbidden") {
            return Err(Self::error(
                path,
                &std::io::ErrorKind::PermissionDenied.into(),
            ));
        }
        let file = match fs::File::open(&place) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Self::error(path, &e)),
        };
        let stat = file.stat().map_err(|e| Self::error(path, &e))?;
        let mut hook = self.on_open.lock().unwrap();
        if hook
            .as_ref()
            .is_some_and(|(name, _)| *name == path.to_string())
        {
            (hook.take().unwrap().1)();
        }
        Ok(Some((Box::new(file), stat)))
    }

    fn stat(&self, path: &RelativePath) -> std::result::Result<Option<FileStat>, SpoolError> {
        self.check()?;
        let file = fs::File::open(self.dir.path().join(path.as_path())).ok();
        Ok(file.map(|f| f.stat().unwrap()))
    }

    fn retire_target(&self, file: &RelativePath, _attempt: u32) -> RelativePath {
        path(&format!("{file}.COMPLETED"))
    }

    fn gives_target(&self, file: &RelativePath, target: &RelativePath) -> bool {
        *target == self.retire_target(file, 0)
    }

    fn is_retired(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> std::result::Result<bool, SpoolError> {
        let is_it = |there: FileStat| there.untouched(stat);
        Ok(self.stat(target)?.is_some_and(is_it) || self.is_copied(path, stat, target)?)
    }

    fn is_copied(
        &self,
        _path: &RelativePath,
        stat: &FileStat,
        target: &RelativePath,
    ) -> std::result::Result<bool, SpoolError> {
        Ok(self
            .stat(target)?
            .is_some_and(|there| there.size == stat.size && there.inode != stat.inode))
    }

    fn retire(
        &self,
        _path: &RelativePath,
        _stat: &FileStat,
        _target: &RelativePath,
    ) -> std::result::Result<Retired, SpoolError> {
        unimplemented!("the source retires nothing")
    }

    fn sync(&self) -> std::result::Result<(), SpoolError> {
        Ok(())
    }

    fn has_deleted(&self) -> std::result::Result<bool, SpoolError> {
        Ok(false)
    }

    fn unlink_target(&self, _target: &RelativePath) -> std::result::Result<(), SpoolError> {
        unimplemented!("the source retires nothing")
    }

    fn quarantine(
        &self,
        path: &RelativePath,
        stat: &FileStat,
        _reason: &serde_json::Value,
    ) -> std::result::Result<Option<PathBuf>, SpoolError> {
        let from = self.dir.path().join(path.as_path());
        assert_eq!(self.stat(path)?.map(|s| s.inode), Some(stat.inode));
        let to = self.place(&format!(".quarantine-{}-{path}", stat.inode));
        fs::rename(from, &to).unwrap();
        Ok(Some(to))
    }

    fn claim(&self) -> std::result::Result<Option<Claim>, SpoolError> {
        Ok(None)
    }

    fn write_claim(&self, _claim: &Claim) -> std::result::Result<bool, SpoolError> {
        Ok(false)
    }

    fn directory(&self) -> std::result::Result<(u64, u64), SpoolError> {
        self.check()?;
        Ok((1, 1))
    }

    fn lock(&self) -> std::result::Result<Option<Box<dyn Send + Sync>>, SpoolError> {
        Ok(Some(Box::new(())))
    }
}

#[derive(Default)]
pub(super) struct FakeJournal {
    pub(super) files: Mutex<BTreeMap<FileId, FileRow>>,
    pub(super) ranges: Mutex<Vec<Segment>>,
    /// In put order.
    pub(super) waiting: Mutex<Vec<(Segment, Vec<u8>)>>,
    pub(super) puts: AtomicU64,
    pub(super) questions: AtomicU64,
    next: AtomicI64,
}

impl FakeJournal {
    pub(super) fn row(&self, name: &str) -> FileRow {
        self.file_at("p", &path(name)).unwrap().unwrap()
    }

    pub(super) fn rows(&self) -> Vec<FileRow> {
        self.files.lock().unwrap().values().cloned().collect()
    }

    /// What stage and commit of these segments leave behind.
    pub(super) fn commit(&self, data: &[SegmentData]) {
        let mut files = self.files.lock().unwrap();
        for d in data {
            let row = files
                .entry(d.row.id)
                .or_insert_with(|| FileRow::clone(&d.row));
            assert_eq!(row.put_end, d.segment.from, "segments join on");
            row.put_end = d.segment.to;
            row.checkpoint = d.segment.to;
            if let Some(end) = &d.end {
                row.decoded = Some(end.decoded);
                row.fingerprint = end.fingerprint;
                row.torn.clone_from(&end.torn);
                row.state = FileState::Committed;
                row.retire_target = Some(path(&format!("{}.COMPLETED", row.path)));
            }
            self.ranges.lock().unwrap().push(d.segment.clone());
        }
    }

    pub(super) fn set(&self, name: &str, change: impl FnOnce(&mut FileRow)) {
        let mut row = self.row(name);
        change(&mut row);
        self.files.lock().unwrap().insert(row.id, row);
    }
}

impl Journal for FakeJournal {
    fn id(&self) -> JournalId {
        JournalId(1)
    }
    fn pipeline(&self, _: &str, _: JournalId, _: &str) -> Result<PipelineRow> {
        unimplemented!()
    }
    fn pipelines(&self) -> Result<Vec<PipelineRow>> {
        unimplemented!()
    }
    fn set_lake(&self, _: &str, _: &str) -> Result<()> {
        unimplemented!()
    }
    fn new_file_id(&self) -> FileId {
        FileId(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }
    fn file(&self, id: FileId) -> Result<Option<FileRow>> {
        Ok(self.files.lock().unwrap().get(&id).cloned())
    }
    fn file_at(&self, _: &str, path: &RelativePath) -> Result<Option<FileRow>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let files = self.files.lock().unwrap();
        Ok(files.values().rev().find(|r| r.path == *path).cloned())
    }
    fn files_of_size(&self, _: &str, size: u64) -> Result<Vec<FileRow>> {
        let rows = self.rows().into_iter().rev();
        Ok(rows
            .filter(|r| r.stat.size == size && r.state != FileState::Quarantined)
            .collect())
    }
    fn files_in(&self, _: &str, states: &[FileState]) -> Result<Vec<FileRow>> {
        let rows = self.rows().into_iter();
        Ok(rows.filter(|r| states.contains(&r.state)).collect())
    }
    fn visit_files(&self, _: &str, visit: &mut dyn FnMut(FileRow)) -> Result<()> {
        self.rows().into_iter().for_each(visit);
        Ok(())
    }
    fn ranges(&self, file: FileId) -> Result<Vec<FileRange>> {
        let ranges = self.ranges.lock().unwrap();
        let of = ranges.iter().filter(|s| s.file == file);
        Ok(of
            .map(|segment| FileRange {
                file,
                batch: BatchNumber(1),
                segment: segment.clone(),
                rejected: 0,
                rejected_bytes: 0,
                skipped_bytes: 0,
                lane: 0,
            })
            .collect())
    }
    fn quarantine(&self, _: &str, file: &FileRow, reason: &str) -> Result<()> {
        let mut files = self.files.lock().unwrap();
        let row = files.entry(file.id).or_insert_with(|| file.clone());
        if row.state != FileState::Quarantined {
            row.state = FileState::Quarantined;
            row.reason = Some(reason.to_owned());
        }
        Ok(())
    }
    fn quarantined_to(&self, file: FileId, place: &str) -> Result<()> {
        let mut files = self.files.lock().unwrap();
        files.get_mut(&file).unwrap().quarantined_to = Some(place.to_owned());
        Ok(())
    }
    fn skip(&self, _: &str, rows: &[FileRow]) -> Result<()> {
        let mut files = self.files.lock().unwrap();
        files.extend(rows.iter().map(|r| (r.id, r.clone())));
        Ok(())
    }
    fn release(&self, _: FileId, _: &FileStat, _: &RelativePath) -> Result<()> {
        unimplemented!()
    }
    fn forget(&self, _: FileId, _: &str) -> Result<()> {
        unimplemented!()
    }
    fn put(&self, _: &str, puts: &[PutRequest]) -> Result<()> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        for put in puts {
            let mut row = put.file.clone();
            row.put_end = put.segment.to;
            self.files.lock().unwrap().insert(row.id, row);
            let waiting = (put.segment.clone(), put.payload.clone());
            self.waiting.lock().unwrap().push(waiting);
        }
        Ok(())
    }
    fn waiting_segments(&self, _: &str) -> Result<Vec<Segment>> {
        let waiting = self.waiting.lock().unwrap();
        Ok(waiting.iter().map(|w| w.0.clone()).collect())
    }
    fn payload(&self, file: FileId, from: u64) -> Result<Option<Vec<u8>>> {
        let waiting = self.waiting.lock().unwrap();
        let found = waiting
            .iter()
            .find(|w| w.0.file == file && w.0.from == from);
        Ok(found.map(|w| w.1.clone()))
    }
    fn payload_bytes(&self, _: &str) -> Result<u64> {
        let waiting = self.waiting.lock().unwrap();
        Ok(waiting.iter().map(|w| w.1.len() as u64).sum())
    }
    fn stage(&self, _: StageRequest) -> Result<()> {
        unimplemented!()
    }
    fn revise(&self, _: &Manifest) -> Result<()> {
        unimplemented!()
    }
    fn unfinished(&self, _: &str) -> Result<Vec<BatchRow>> {
        unimplemented!()
    }
    fn commit(
        &self,
        _: &str,
        _: BatchNumber,
        _: &[(FileId, RelativePath)],
        _: &[crate::journal::PartitionWork],
    ) -> Result<()> {
        unimplemented!()
    }
    fn done(&self, _: &str, _: BatchNumber) -> Result<()> {
        unimplemented!()
    }
    fn data_files(&self, _: &str, _: BatchNumber) -> Result<Vec<DataFile>> {
        unimplemented!()
    }
    fn set_retire_target(&self, _: FileId, _: &RelativePath) -> Result<()> {
        unimplemented!()
    }
    fn retired(&self, _: &[FileId]) -> Result<()> {
        unimplemented!()
    }
    fn queue_partitions(&self, _: &str, _: &[crate::journal::PartitionWork]) -> Result<()> {
        unimplemented!()
    }
    fn waiting_partitions(
        &self,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<crate::journal::PartitionWork>> {
        unimplemented!()
    }
    fn count_waiting_partitions(&self, _: &str) -> Result<u64> {
        unimplemented!()
    }
    fn landed_partitions(&self, _: &str) -> Result<Vec<crate::journal::PartitionWork>> {
        unimplemented!()
    }
    fn registered(&self, _: &str, _: &[crate::journal::PartitionWork]) -> Result<()> {
        unimplemented!()
    }
    fn prune(&self, _: &str, _: i64) -> Result<u64> {
        unimplemented!()
    }
    fn schema(&self, _: &str) -> Result<Option<(u32, serde_json::Value)>> {
        unimplemented!()
    }
    fn schema_version(&self, _: &str, _: u32) -> Result<Option<serde_json::Value>> {
        unimplemented!()
    }
    fn ask(&self, _: &Request) -> Result<i64> {
        unimplemented!()
    }
    fn requests(&self) -> Result<Vec<RequestRow>> {
        unimplemented!()
    }
    fn answer(&self, _: i64, _: &std::result::Result<String, String>) -> Result<()> {
        unimplemented!()
    }
    fn adopt(&self, _: &Manifest, _: BatchState) -> Result<()> {
        unimplemented!()
    }
    fn say(&self, _: &str, _: &serde_json::Value) {}
    fn said(&self, _: &str) -> Result<Option<serde_json::Value>> {
        Ok(None)
    }
    fn tidy(&self) -> Result<()> {
        Ok(())
    }
}

/// Each look is 10 ms later than the last one.
#[derive(Default)]
pub(super) struct TickingClock(AtomicU64);

impl Clock for TickingClock {
    fn now_ns(&self) -> i64 {
        1
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(10, Ordering::Relaxed))
    }
}

/// A source over fakes.
pub(super) struct Rig {
    pub(super) spool: Arc<FakeSpool>,
    pub(super) journal: Arc<FakeJournal>,
    pub(super) settings: SourceSettings,
}

/// What an episode told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) segments: Vec<SegmentData>,
    pub(super) tainted: Vec<(Arc<FileRow>, String)>,
    pub(super) drained: u32,
    pub(super) failed: Option<(String, bool)>,
}

impl Told {
    /// The bytes of all segments of a file, one after another.
    pub(super) fn text(&self, name: &str) -> String {
        let of = self.segments.iter().filter(|d| d.row.path == path(name));
        let bytes: Vec<u8> = of.flat_map(|d| d.bytes.iter().copied()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self {
            spool: Arc::new(FakeSpool {
                dir: tempfile::tempdir().unwrap(),
                down: AtomicBool::new(false),
                on_open: Mutex::new(None),
            }),
            journal: Arc::default(),
            settings: settings(),
        }
    }

    pub(super) fn source(&self) -> Source {
        Source::new(
            self.settings.clone(),
            Arc::clone(&self.spool) as Arc<dyn Spool>,
            Arc::clone(&self.journal) as Arc<dyn Journal>,
            Arc::new(TickingClock::default()),
            "p".into(),
        )
        .unwrap()
    }

    /// A whole `--once` episode of a new process.
    pub(super) fn once(&self) -> Told {
        Self::episode(&mut self.source())
    }

    pub(super) fn episode(source: &mut Source) -> Told {
        let channel = Channel::new(usize::MAX);
        source.run(&channel, true);
        Self::told(&channel)
    }

    /// All that waits in a channel.
    pub(super) fn told(channel: &Channel) -> Told {
        let mut told = Told::default();
        while let Received::Event(event) = channel.receive(Duration::ZERO) {
            match event {
                SourceEvent::Segment(data) => told.segments.push(data),
                SourceEvent::Tainted { row, reason } => told.tainted.push((row, reason)),
                SourceEvent::Drained => told.drained += 1,
                SourceEvent::Failed { message, transient } => {
                    told.failed = Some((message, transient));
                }
            }
        }
        told
    }

    /// As the pipeline would: rename, and record it.
    pub(super) fn retire(&self, name: &str) {
        let target = format!("{name}.COMPLETED");
        fs::rename(self.spool.place(name), self.spool.place(&target)).unwrap();
        self.journal.set(name, |r| r.state = FileState::Retired);
    }
}
