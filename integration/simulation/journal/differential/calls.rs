//! Calls: mostly such as a pipeline makes, some beside the mark.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lakeward::journal::conformance::{self, path};
use lakeward::journal::{
    FileRow, FileState, Journal, PartitionWork, PutRequest, Request, StageRequest,
};
use lakeward::protocol::{
    BatchState, DataFileCopy, Manifest, ManifestBody, ManifestSegment, Membership, Tombstone,
};
use lakeward::segment::{BatchNumber, Digest, FileId, FileStat, JournalId, Segment};
use serde_json::json;

use super::{OWN, PIPELINES, Pair};

pub(super) const NAMES: [&str; 4] = ["a", "b", "c/d", "e.gz"];
pub(super) const SIZES: [u64; 3] = [0, 30, 77];

/// A run of segments of a file that a batch takes.
struct Taken {
    row: FileRow,
    segments: Vec<ManifestSegment>,
}

/// What the segment's bytes are.
fn bytes(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|at| at as u8).collect()
}

impl Pair {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.chance.below(of.len() as u64) as usize]
    }

    fn pipeline(&mut self) -> &'static str {
        self.pick(&[PIPELINES[0], PIPELINES[0], PIPELINES[1]])
    }

    /// One more than `number` in most cases.
    fn next(&mut self, number: BatchNumber) -> BatchNumber {
        let wrong = self.chance.below(5);
        match self.chance.below(12) {
            0 => BatchNumber(wrong),
            _ => number.next(),
        }
    }

    fn numbers(&self, pipeline: &str) -> (BatchNumber, BatchNumber) {
        let all = self.memory.pipelines().unwrap();
        let row = all.iter().find(|row| row.name == pipeline).unwrap();
        (row.staged, row.committed)
    }

    fn stat(&mut self) -> FileStat {
        FileStat {
            inode: 1 + self.chance.below(3),
            device: self.chance.below(2),
            size: self.pick(&SIZES),
            mtime_ns: 5,
        }
    }

    /// A row as the source would describe it: new, or one that is journaled.
    fn row(&mut self) -> (&'static str, FileRow) {
        if self.files.is_empty() || self.chance.once_in(4) {
            let id = self.new_file_id();
            let name = path(self.pick(&NAMES));
            let settings = json!({"format": self.pick(&["ndjson", "ndjson", "csv"])});
            let mut row = FileRow::fresh(id, name, self.stat(), Arc::new(settings), 3);
            if self.chance.once_in(3) {
                row.header = Some(vec!["x".into(), "y".into()]);
            }
            let pipeline = self.pipeline();
            self.files.push((pipeline, row.clone()));
            return (pipeline, row);
        }
        let at = self.chance.below(self.files.len() as u64) as usize;
        let (pipeline, known) = self.files[at].clone();
        let stored = self.memory.file(known.id).unwrap();
        let mut row = match stored {
            Some(stored) if !self.chance.once_in(8) => stored,
            _ => known,
        };
        match self.chance.below(40) {
            0 => row.stat = self.stat(),
            1 => row.path = path("b"),
            2 => row.settings = Arc::new(json!({"format": "csv"})),
            3 => return (PIPELINES[0], row),
            _ => {}
        }
        (pipeline, row)
    }

    fn id(&mut self) -> FileId {
        if self.files.is_empty() || self.chance.once_in(15) {
            return FileId(self.chance.below(9) as i64 - 1);
        }
        let at = self.chance.below(self.files.len() as u64) as usize;
        self.files[at].1.id
    }

    /// Ids of the pipeline's files in this state, most of the time.
    fn ids_in(&mut self, pipeline: &str, state: FileState) -> Vec<FileId> {
        let mut ids: Vec<FileId> = self
            .memory
            .files_in(pipeline, &[state])
            .unwrap()
            .iter()
            .map(|row| row.id)
            .collect();
        ids.retain(|_| !self.chance.once_in(3));
        if self.chance.once_in(8) {
            ids.push(self.id());
        }
        ids
    }

    /// The row's end is told with its last segment.
    fn end(&mut self, row: &mut FileRow, at: u64) -> bool {
        if !self.chance.once_in(3) {
            return false;
        }
        row.decoded = Some(at);
        row.fingerprint = Some(Digest(u128::from(at)));
        if self.chance.once_in(5) {
            row.torn = Some("cut off".into());
        }
        !self.chance.once_in(10)
    }

    fn segment(&mut self, from: u64) -> ManifestSegment {
        let from = match self.chance.below(30) {
            0 => from + 5,
            1 => from.saturating_sub(5),
            _ => from,
        };
        let to = from + self.pick(&[0, 5, 5, 10]);
        ManifestSegment {
            file: 0,
            from,
            to,
            line: 1 + from,
            records: to - from,
            rejected: self.chance.below(2),
            rejected_bytes: self.chance.below(3),
            skipped_bytes: self.chance.below(3),
            last: false,
            digest: Digest::of(&bytes(from, to)),
            lane: self.chance.below(2) as u32,
        }
    }

    /// What waits of the file, or else some new segments after what is journaled.
    fn take(&mut self, pipeline: &str, mut row: FileRow) -> Taken {
        let waiting = self.memory.waiting_segments(pipeline).unwrap();
        let waiting = waiting.into_iter().filter(|of| of.file == row.id);
        let mut segments: Vec<ManifestSegment> = Vec::new();
        for waiting in waiting {
            if self.chance.once_in(5) {
                break;
            }
            let mut segment = self.segment(0);
            segment.from = waiting.from;
            segment.to = waiting.to;
            segment.last = waiting.last;
            segment.records = waiting.records;
            segment.digest = waiting.digest;
            if self.chance.once_in(20) {
                segment.digest = Digest(1);
            }
            segments.push(segment);
        }
        if segments.is_empty() || self.chance.once_in(6) {
            for _ in 0..=self.chance.below(2) {
                let from = segments.last().map_or(row.put_end, |last| last.to);
                segments.push(self.segment(from));
            }
        }
        if let Some(mut last) = segments.pop() {
            last.last |= self.end(&mut row, last.to);
            segments.push(last);
        }
        Taken { row, segments }
    }

    fn manifest(
        &mut self,
        journal: JournalId,
        pipeline: &str,
        number: BatchNumber,
        taken: &[Taken],
    ) -> Manifest {
        let parts: Vec<_> = taken.iter().map(|taken| (&taken.row, 0, 0)).collect();
        let (_, committed) = self.numbers(pipeline);
        let mut manifest = conformance::manifest(journal, number.0, committed, &parts);
        manifest.pipeline = pipeline.to_owned();
        let wrong = self.chance.below(60);
        match wrong {
            0 => manifest.committed = BatchNumber(3),
            1 => manifest.lake = "fs:/pond".into(),
            2 => manifest.journal = JournalId(3),
            3 => manifest.format = 2,
            4 => {
                manifest.body = ManifestBody::Tombstone(Tombstone {
                    successor: OWN,
                    adopted: false,
                });
            }
            _ => {}
        }
        let day = self.chance.below(3);
        let version = 1 + self.chance.below(2) as u32;
        let ManifestBody::Batch(facts) = &mut manifest.body else {
            return manifest;
        };
        // The suite's manifests have the settings of the first file only.
        facts.readings = taken.iter().map(|t| (*t.row.settings).clone()).collect();
        for (at, file) in facts.files.iter_mut().enumerate() {
            file.reading = at as u32;
        }
        facts.segments.clear();
        for (file, taken) in taken.iter().enumerate() {
            let file = file as u32;
            let own = taken.segments.iter().cloned();
            facts
                .segments
                .extend(own.map(|segment| ManifestSegment { file, ..segment }));
        }
        if self.chance.once_in(3) {
            facts.segments.reverse();
        }
        facts.encoding.schema_version = version;
        for file in &mut facts.data_files {
            file.path = format!("orders/dt={day}/{number}-{}.parquet", file.number);
            file.partition = format!("dt={day}");
            file.schema_version = version;
        }
        break_a_little(facts, wrong);
        manifest
    }

    fn taken(&mut self, pipeline: &str) -> Vec<Taken> {
        let mut taken: Vec<Taken> = Vec::new();
        for _ in 0..=self.chance.below(3) {
            let (own, row) = self.row();
            let again = taken.iter().any(|taken| taken.row.id == row.id);
            if own == pipeline && !again {
                let one = self.take(pipeline, row);
                taken.push(one);
            }
        }
        taken
    }

    pub(super) fn call(&mut self) {
        match self.chance.below(100) {
            0..22 => self.stage(),
            22..40 => self.commit(),
            40..47 => self.done(),
            47..60 if self.payloads => self.put(),
            47..65 => self.retire(),
            65..80 => self.set_aside(),
            80..84 => self.revise(),
            84..90 => self.partitions(),
            90..94 => self.prune(),
            94..97 => self.request(),
            _ => self.rename_lake(),
        }
    }

    fn stage(&mut self) {
        let pipeline = self.pipeline();
        let taken = self.taken(pipeline);
        let number = self.numbers(pipeline).0;
        let number = self.next(number);
        let manifest = self.manifest(OWN, pipeline, number, &taken);
        let mut schemas = Vec::new();
        if self.chance.once_in(4) {
            let version = 1 + self.chance.below(3) as u32;
            schemas.push((version, json!({"columns": self.pick(&["x", "x", "y"])})));
        }
        let request = StageRequest {
            manifest,
            files: taken.into_iter().map(|taken| taken.row).collect(),
            schemas,
        };
        self.same(format!("stage {request:?}"), |journal| {
            journal.stage(request.clone())
        });
    }

    pub(super) fn adopt(&mut self, old: JournalId) {
        let pipeline = self.pipeline();
        let taken = self.taken(pipeline);
        let number = self.numbers(pipeline).0;
        let number = self.next(number);
        let manifest = self.manifest(old, pipeline, number, &taken);
        let states = [BatchState::Done, BatchState::Committed, BatchState::Staged];
        let state = self.pick(&states);
        self.same(format!("adopt {state:?} {manifest:?}"), |journal| {
            journal.adopt(&manifest, state)
        });
        // The rows have got ids of their own.
        for name in PIPELINES {
            let rows = self
                .memory
                .files_in(name, &[FileState::Reading, FileState::Committed]);
            for row in rows.unwrap() {
                self.files.retain(|(_, known)| known.id != row.id);
                self.files.push((name, row));
            }
        }
    }

    fn work(&mut self, batch: BatchNumber) -> Vec<PartitionWork> {
        let mut work = Vec::new();
        for _ in 0..self.chance.below(3) {
            let day = self.chance.below(3);
            let partition = match self.chance.below(20) {
                0 => "dt=9".to_owned(),
                1 => String::new(),
                _ => format!("dt={day}"),
            };
            work.push(PartitionWork {
                directory: format!("orders/dt={day}"),
                partition,
                schema_version: 1 + self.chance.below(2) as u32,
                batch,
            });
        }
        work
    }

    fn commit(&mut self) {
        let pipeline = self.pipeline();
        let number = self.numbers(pipeline).1;
        let number = self.next(number);
        let targets: Vec<_> = self
            .ids_in(pipeline, FileState::Reading)
            .into_iter()
            .map(|id| (id, path(&format!("{}.COMPLETED", id.0))))
            .collect();
        let work = self.work(number);
        self.same(
            format!("commit {pipeline} {number} {targets:?} {work:?}"),
            |journal| journal.commit(pipeline, number, &targets, &work),
        );
    }

    fn done(&mut self) {
        let pipeline = self.pipeline();
        let committed = self.numbers(pipeline).1;
        let number = match self.chance.below(4) {
            0 => BatchNumber(self.chance.below(5)),
            _ => committed,
        };
        self.same(format!("done {pipeline} {number}"), |journal| {
            journal.done(pipeline, number)
        });
    }

    fn put(&mut self) {
        let (pipeline, mut row) = self.row();
        let mut puts = Vec::new();
        let mut from = row.put_end;
        for _ in 0..=self.chance.below(2) {
            let segment = self.segment(from);
            let last = self.end(&mut row, segment.to);
            from = segment.to;
            let mut payload = bytes(segment.from, segment.to);
            if self.chance.once_in(30) {
                payload.push(1);
            }
            puts.push(PutRequest {
                file: row.clone(),
                segment: Segment {
                    file: row.id,
                    from: segment.from,
                    to: segment.to,
                    line: segment.line,
                    records: segment.records,
                    last,
                    digest: segment.digest,
                },
                payload,
            });
        }
        self.same(format!("put {pipeline} {puts:?}"), |journal| {
            journal.put(pipeline, &puts)
        });
    }

    fn retire(&mut self) {
        let pipeline = self.pipeline();
        if self.chance.once_in(3) {
            let id = self.id();
            let target = path("somewhere");
            self.same(format!("set retire target {id:?}"), |journal| {
                journal.set_retire_target(id, &target)
            });
            return;
        }
        let ids = self.ids_in(pipeline, FileState::Committed);
        self.same(format!("retired {ids:?}"), |journal| journal.retired(&ids));
    }

    fn set_aside(&mut self) {
        let id = self.id();
        match self.chance.below(6) {
            0 | 1 => {
                let (pipeline, row) = self.row();
                self.same(format!("quarantine {pipeline} {row:?}"), |journal| {
                    journal.quarantine(pipeline, &row, "changed")
                });
            }
            2 => self.same(format!("quarantined to {id:?}"), |journal| {
                journal.quarantined_to(id, "there")
            }),
            3 => {
                let (stat, path) = (self.stat(), path(self.pick(&NAMES)));
                self.same(format!("release {id:?} {stat:?} {path}"), |journal| {
                    journal.release(id, &stat, &path)
                });
            }
            4 => self.same(format!("forget {id:?}"), |journal| {
                journal.forget(id, "as new")
            }),
            _ => {
                let (pipeline, mut row) = self.row();
                row.skipped_bytes = 4;
                row.retire_target = Some(path("skipped"));
                let rows = [row];
                self.same(format!("skip {pipeline} {rows:?}"), |journal| {
                    journal.skip(pipeline, &rows)
                });
            }
        }
    }

    fn revise(&mut self) {
        let pipeline = self.pipeline();
        let unfinished = self.memory.unfinished(pipeline).unwrap();
        let Some(batch) = unfinished.last() else {
            return;
        };
        let mut manifest = batch.manifest.clone();
        manifest.revision += u32::from(!self.chance.once_in(6));
        let how = self.chance.below(8);
        let copy = DataFileCopy {
            length: self.chance.below(100),
            digest: Digest(9),
        };
        if let ManifestBody::Batch(facts) = &mut manifest.body {
            match how {
                0 | 1 => {
                    facts.lost_files.push(0);
                    facts.data_files.retain(|file| file.number != 0);
                    for segment in &mut facts.segments {
                        segment.skipped_bytes += 1;
                    }
                }
                2 => drop(facts.segments.pop()),
                3 => facts.data_files.truncate(1),
                4 => facts
                    .data_files
                    .iter_mut()
                    .for_each(|f| f.copies = vec![copy]),
                _ => facts
                    .data_files
                    .iter_mut()
                    .for_each(|f| f.copies.push(copy)),
            }
        }
        self.same(format!("revise {manifest:?}"), |journal| {
            journal.revise(&manifest)
        });
    }

    fn partitions(&mut self) {
        let pipeline = self.pick(&[PIPELINES[0], PIPELINES[1], "nobody"]);
        let waiting = self.memory.waiting_partitions(pipeline, None, 9).unwrap();
        if self.chance.once_in(2) {
            let batch = BatchNumber(self.chance.below(5));
            let work = self.work(batch);
            self.same(format!("queue {pipeline} {work:?}"), |journal| {
                journal.queue_partitions(pipeline, &work)
            });
            return;
        }
        let mut seen = waiting;
        seen.retain(|_| !self.chance.once_in(3));
        for work in &mut seen {
            work.batch.0 -= u64::from(work.batch.0 > 0 && self.chance.once_in(4));
        }
        self.same(format!("registered {pipeline} {seen:?}"), |journal| {
            journal.registered(pipeline, &seen)
        });
    }

    fn prune(&mut self) {
        let pipeline = self.pipeline();
        let now = self.clock.0.load(Ordering::Relaxed);
        let before = now + self.pick(&[1, 1, -3, -20]);
        self.same(format!("prune {pipeline} {before}"), |journal| {
            journal.prune(pipeline, before)
        });
    }

    fn request(&mut self) {
        match self.chance.below(3) {
            0 => {
                let request = Request::Release {
                    file: self.id(),
                    as_new: self.chance.once_in(2),
                };
                self.same(format!("ask {request:?}"), |journal| journal.ask(&request));
            }
            1 => {
                let id = self.chance.below(4) as i64;
                let answer = match self.chance.below(2) {
                    0 => Ok("done".to_owned()),
                    _ => Err("no".to_owned()),
                };
                self.same(format!("answer {id} {answer:?}"), |journal| {
                    journal.answer(id, &answer)
                });
            }
            _ => {
                let pipeline = self.pipeline();
                let word = json!({"waits": self.chance.below(3)});
                self.same(format!("say {pipeline} {word}"), |journal| {
                    journal.say(pipeline, &word);
                    journal.said(pipeline)
                });
                // What is only said a kill may take or leave.
                self.same("tidy".into(), |journal| journal.tidy());
            }
        }
    }

    fn rename_lake(&mut self) {
        let name = self.pick(&[PIPELINES[0], PIPELINES[1], "nobody"]);
        let lake = self.pick(&[conformance::LAKE, conformance::LAKE, "fs:/pond"]);
        self.same(format!("set lake {name} {lake}"), |journal| {
            journal.set_lake(name, lake)
        });
        // Back again, or hardly a batch would be staged.
        self.same(format!("set lake {name} back"), |journal| {
            journal.set_lake(name, conformance::LAKE)
        });
    }
}

fn break_a_little(facts: &mut Membership, wrong: u64) {
    match wrong {
        5 => facts.spool = JournalId(4),
        6 => facts.data_files[0].copies.clear(),
        7 => drop(facts.files.pop()),
        8 => {
            if let Some(segment) = facts.segments.first_mut() {
                segment.file = 9;
            }
        }
        9 => {
            if let Some(segment) = facts.segments.first_mut() {
                std::mem::swap(&mut segment.from, &mut segment.to);
            }
        }
        10 => facts.data_files[1].number = 0,
        _ => {}
    }
}
