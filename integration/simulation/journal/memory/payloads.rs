//! Payload mode: segments that carry their bytes until they are committed.

use lakeward::journal::{FileRange, FileState, PutRequest};
use lakeward::segment::{BatchNumber, Digest, FileId, Segment};

use super::batches::joined;
use super::state::{Done, Fresh, NO_BATCH, Payload, Pipeline, State};

/// What is stored of bytes beside them.
const FRAME: u64 = 9;

/// The bytes are what the segment says.
pub(super) fn check(put: &PutRequest) -> Done<()> {
    let segment = &put.segment;
    let whole = segment.file == put.file.id
        && segment.from <= segment.to
        && put.payload.len() as u64 == segment.bytes()
        && Digest::of(&put.payload) == segment.digest;
    if whole {
        return Ok(());
    }
    Err(format!(
        "`{}`: the payload at {} is not what its segment says",
        put.file.path, segment.from
    ))
}

fn stored(bytes: &[u8]) -> u64 {
    bytes.len() as u64 + FRAME
}

impl State {
    pub(super) fn put(&mut self, now_ns: i64, pipeline: &str, puts: &[PutRequest]) -> Done<()> {
        let pipeline = self.pipeline(pipeline)?;
        let mut added = 0;
        for put in puts {
            self.put_file(now_ns, &pipeline, put)?;
            self.put_segment(&pipeline, put)?;
            added += stored(&put.payload);
        }
        self.edit_pipeline(&pipeline.row.name)?.payload_bytes += added;
        Ok(())
    }

    fn put_file(&mut self, now_ns: i64, pipeline: &Pipeline, put: &PutRequest) -> Done<()> {
        let (row, segment) = (&put.file, &put.segment);
        let known = self.files.get(&row.id);
        let begin = known.map_or(0, |known| known.row.put_end);
        let end = joined(&row.path, begin, [(segment.from, segment.to)], "journaled")?;
        let decoded = row.decoded.or(known.and_then(|known| known.row.decoded));
        if segment.last && decoded != Some(end) || decoded.is_some_and(|all| end > all) {
            return Err(format!(
                "`{}`: its segments end at {end} and its size is {decoded:?}",
                row.path
            ));
        }
        let Some(known) = known else {
            self.refuse_twin(pipeline.id, row)?;
            let fresh = Fresh {
                end,
                ..Fresh::empty(FileState::Reading)
            };
            return self.insert_file(pipeline.id, row, fresh, now_ns);
        };
        let same = known.pipeline == pipeline.id
            && known.row.path == row.path
            && known.row.stat.untouched(&row.stat)
            && known.row.settings == row.settings;
        if !same {
            return Err(format!(
                "`{}`: file {} is journaled with another pipeline, path, identity or settings",
                row.path, row.id.0
            ));
        }
        if known.row.state != FileState::Reading {
            return Err(format!("`{}` is not being read any more", row.path));
        }
        self.edit_file(row.id, |file| {
            file.row.put_end = end;
            file.learn(row);
        })
    }

    fn put_segment(&mut self, pipeline: &Pipeline, put: &PutRequest) -> Done<()> {
        let segment = &put.segment;
        self.insert_segment(FileRange {
            file: segment.file,
            batch: NO_BATCH,
            segment: segment.clone(),
            rejected: 0,
            rejected_bytes: 0,
            skipped_bytes: 0,
            lane: 0,
        })?;
        let key = (segment.file, segment.from, segment.to);
        if self.puts.has(&key) {
            return Err("this very payload is there: constraint failed".into());
        }
        let number = self.payloads.rows().last_key_value();
        let number = number.map_or(0, |(last, _)| *last) + 1;
        self.puts.put(key, number);
        let payload = Payload {
            pipeline: pipeline.id,
            file: segment.file,
            from: segment.from,
            to: segment.to,
            bytes: put.payload.clone(),
        };
        self.payloads.put(number, payload);
        Ok(())
    }

    pub(super) fn waiting_segments(&self, pipeline: &str) -> Vec<Segment> {
        let Some(pipeline) = self.find_pipeline(pipeline) else {
            return Vec::new();
        };
        let own = self.payloads.rows().values();
        own.filter(|payload| payload.pipeline == pipeline.id)
            .filter_map(|payload| {
                let key = (payload.file, payload.from, payload.to, NO_BATCH);
                self.segments.get(&key)
            })
            .map(|range| range.segment.clone())
            .collect()
    }

    /// Of an empty segment and one that follows it at the same offset, the latter.
    pub(super) fn payload(&self, file: FileId, from: u64) -> Option<Vec<u8>> {
        let keys = (file, from, 0)..=(file, from, u64::MAX);
        let (_, number) = self.puts.rows().range(keys).next_back()?;
        Some(self.payloads.get(number)?.bytes.clone())
    }

    /// Drops the payload of one segment and answers its stored size.
    pub(super) fn drop_payload(&mut self, file: FileId, from: u64, to: u64) -> u64 {
        let Some(number) = self.puts.remove(&(file, from, to)) else {
            return 0;
        };
        let payload = self.payloads.remove(&number);
        payload.map_or(0, |payload| stored(&payload.bytes))
    }

    /// Drops a file's segments that are in no batch, with their payloads.
    pub(super) fn drop_waiting(&mut self, pipeline: &Pipeline, file: FileId) -> Done<()> {
        let waiting: Vec<(u64, u64)> = self
            .segments_from(file, 0)
            .filter(|range| range.batch == NO_BATCH)
            .map(|range| (range.segment.from, range.segment.to))
            .collect();
        let mut freed = 0;
        for (from, to) in waiting {
            freed += self.drop_payload(file, from, to);
            self.segments.remove(&(file, from, to, BatchNumber(0)));
        }
        self.edit_pipeline(&pipeline.row.name)?.payload_bytes -= freed;
        Ok(())
    }
}
