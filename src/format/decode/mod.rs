//! The decoder: a segment's bytes become rows of a `RecordBatch`, and rejects.
//!
//! ```text
//! bytes ─ cut ─► record ─ scan ─► tape ─ coerce ─► column buffers ─ take ─► RecordBatch
//!                  └──────────────── reject, rolled back ───────────┘
//! ```
//!
//! One decoder serves a lane for a whole batch: buffers live over many small segments. It decodes without I/O and
//! without looking at a clock, so the same segments, schema and settings give the same rows.
//!
//! What can go wrong: a record is malformed (a reject, nothing of it stays in the buffers), a value does not fit its column
//! (NULL there, and in `_rescued` as it came), a key is unknown (the schema is widened in place, or the value rescued, or the
//! record is a reject, as `new_columns` says).
//!
//! It does not check digests, decompress or decide where segments end.

mod arrays;
mod coerce;
mod column;
mod csv;
mod cut;
mod direct;
mod infer;
mod known;
mod passing;
mod raw;
mod rows;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;

pub use arrays::{arrow_schema, arrow_type};
pub use infer::Inference;

use self::coerce::{Rules, Scanned, Stop};
use self::column::OFFSET_MAX;
use self::csv::Fields;
use self::cut::{Cutter, Piece, Place};
use self::rows::{PathValues, Rows};
use self::spans::Spans;
use super::frame::SegmentBytes;
use super::{FileContext, InputFormat};
use crate::record::{Kind, Tape};
use crate::schema::{NewColumns, Schema, SchemaRegistry};
use crate::segment::{BatchNumber, RelativePath, Segment};

/// Of the decoding rules; recorded with each batch, so that a re-encode can be told to be the same or not.
pub const DECODER_VERSION: u32 = 2;

/// How much of a rejected record is kept.
pub const REJECT_RAW_MAX: usize = 64 * 1024;

/// What `_batch` and `_ingested_at` are.
#[derive(Clone, Copy, Debug)]
pub struct DecodeContext {
    pub batch: BatchNumber,
    /// Nanoseconds since 1970.
    pub batch_time_ns: i64,
}

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub path: RelativePath,
    /// Of its first byte in the decompressed stream.
    pub offset: u64,
    /// From 1.
    pub line: u64,
    pub reason: String,
    /// Its first [`REJECT_RAW_MAX`] bytes, without the line end.
    pub raw: Vec<u8>,
    /// All its bytes, without the line end.
    pub bytes: u64,
    /// Index among the lane's segments.
    pub segment: u32,
    /// The record's number within the segment, from 0.
    pub ordinal: u32,
}

/// What became of one segment's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentOutcome {
    pub rejected: u64,
    pub rejected_bytes: u64,
    pub skipped_bytes: u64,
}

/// What [`Decoder::take`] hands over.
#[derive(Clone, Debug)]
pub struct DecodedBatch {
    /// Of the schema.
    pub version: u32,
    pub schema: Arc<Schema>,
    /// Of [`arrow_schema`] of that schema.
    pub batch: RecordBatch,
    /// Segment (index among the lane's) and ordinal of each row.
    pub origins: Vec<(u32, u32)>,
}

/// Decodes the segments of one lane and batch.
pub struct Decoder {
    schemas: Arc<SchemaRegistry>,
    context: DecodeContext,
    rules: Rules,
    version: u32,
    schema: Arc<Schema>,
    rows: Rows,
    origins: Vec<(u32, u32)>,
    spans: Spans,
    tape: Tape,
    fields: Fields,
    /// Of the CSV file in hand, which column each field is for, if each is for one of its own.
    texts: Option<Box<[usize]>>,
    /// Leaves of the schema.
    leaves: usize,
    /// Bytes of segments since the buffers were empty.
    appended: usize,
}

/// The segment in hand.
#[derive(Clone, Copy)]
struct InHand<'a> {
    index: u32,
    context: &'a FileContext,
    range: &'a Segment,
    bytes: &'a [u8],
    /// All of it is UTF-8.
    valid: bool,
    /// Its records may be more than the buffers can still hold.
    tight: bool,
}

impl Decoder {
    #[must_use]
    pub fn new(schemas: Arc<SchemaRegistry>, context: DecodeContext) -> Self {
        let (version, schema) = schemas.current();
        let mut rows = Rows::new(schema.raw);
        rows.level.widen(&schema.columns);
        Self {
            leaves: schema.leaves(),
            appended: 0,
            rules: Rules::new(&schemas.settings),
            schemas,
            context,
            version,
            schema,
            rows,
            origins: Vec::new(),
            spans: Spans::default(),
            tape: Tape::default(),
            fields: Fields::default(),
            texts: None,
        }
    }

    /// Appends the records of a segment; calls `reject` for each that does not decode.
    ///
    /// `segment` is its index among the lane's, `bytes` are those of `range`. A record longer than `record_bytes_max` may come cut:
    /// then `bytes` is shorter than `range` and the segment is that one reject.
    pub fn decode(
        &mut self,
        segment: u32,
        context: &FileContext,
        range: &Segment,
        bytes: &[u8],
        reject: &mut dyn FnMut(Reject),
    ) -> SegmentOutcome {
        if self.rows.raw().is_some() {
            let shared = Arc::new(bytes.to_vec().into());
            return self.decode_shared(segment, context, range, &shared, reject);
        }
        self.decode_bytes(segment, context, range, bytes, reject)
    }

    /// As [`Self::decode`]; raw records are not copied out of `bytes`, which stay until the rows are gone.
    pub fn decode_shared(
        &mut self,
        segment: u32,
        context: &FileContext,
        range: &Segment,
        bytes: &Arc<SegmentBytes>,
        reject: &mut dyn FnMut(Reject),
    ) -> SegmentOutcome {
        if let Some(raw) = self.rows.raw() {
            raw.begin(Arc::clone(bytes));
        }
        let outcome = self.decode_bytes(segment, context, range, bytes, reject);
        if let Some(raw) = self.rows.raw() {
            raw.end();
        }
        outcome
    }

    fn decode_bytes(
        &mut self,
        segment: u32,
        context: &FileContext,
        range: &Segment,
        bytes: &[u8],
        reject: &mut dyn FnMut(Reject),
    ) -> SegmentOutcome {
        self.sync();
        self.rules.closed = self.is_full();
        self.rules.depth_max = context.settings.depth_max;
        let in_hand = InHand {
            index: segment,
            context,
            range,
            bytes,
            valid: simdutf8::basic::from_utf8(bytes).is_ok(),
            tight: self.appended.saturating_add(bytes.len()) > OFFSET_MAX / 8
                || !self.spans.has_room(range.records),
        };
        self.appended = self.appended.saturating_add(bytes.len());
        if in_hand.is_cut() {
            reject(in_hand.cut_reject());
            return SegmentOutcome {
                rejected: 1,
                rejected_bytes: range.bytes(),
                skipped_bytes: 0,
            };
        }
        let mut fields = std::mem::take(&mut self.fields);
        let outcome = self.decode_pieces(in_hand, &mut fields, reject);
        self.fields = fields;
        outcome
    }

    fn decode_pieces(
        &mut self,
        in_hand: InHand<'_>,
        fields: &mut Fields,
        reject: &mut dyn FnMut(Reject),
    ) -> SegmentOutcome {
        let mut outcome = SegmentOutcome::default();
        let mut paths = self.path_values(in_hand.context);
        let mut lines = Lines::new(in_hand.range.line);
        let mut cutter = Cutter::new(in_hand.context, in_hand.range, in_hand.bytes);
        let mut ordinal: u32 = 0;
        loop {
            let at = cutter.at;
            let place = match cutter.next(fields) {
                None => break,
                Some(Piece::Skipped { next }) => {
                    outcome.skipped_bytes += (next - at) as u64;
                    continue;
                }
                Some(Piece::Record(place)) => place,
            };
            let version = self.version;
            match self.decode_record(in_hand, place, fields, &paths) {
                Ok(()) => {
                    if let Some(raw) = self.rows.raw() {
                        raw.push(place.start, place.end);
                    }
                    self.origins.push((in_hand.index, ordinal));
                    self.spans
                        .add_row(in_hand.range.from + place.start as u64, &self.schema);
                }
                Err(reason) => {
                    let line = lines.of(in_hand.bytes, place.start);
                    reject(in_hand.reject(place, line, ordinal, reason));
                    outcome.rejected += 1;
                    outcome.rejected_bytes += (place.next - place.start) as u64;
                }
            }
            if version != self.version {
                paths = self.path_values(in_hand.context);
            }
            ordinal += 1;
        }
        outcome
    }

    /// Appends one record, widening the schema first where it needs that.
    fn decode_record(
        &mut self,
        in_hand: InHand<'_>,
        place: Place,
        fields: &Fields,
        paths: &PathValues,
    ) -> Result<(), String> {
        let InHand { context, bytes, .. } = in_hand;
        let record = &bytes[place.start..place.end];
        let max = context.settings.record_bytes_max;
        if max > 0 && record.len() as u64 > max {
            return Err(too_long(max));
        }
        if let Some(problem) = place.problem {
            return Err(problem.to_owned());
        }
        if !in_hand.valid {
            simdutf8::compat::from_utf8(record)
                .map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to()))?;
        }
        if in_hand.tight && !self.has_room(record.len(), 1) {
            return Err("too large: a column of one batch holds 2 GiB".to_owned());
        }
        match self.append(in_hand, record, fields, paths) {
            Ok(()) => Ok(()),
            Err(Stop::Reject(reason)) => Err(reason),
            Err(Stop::Widen) => {
                self.widen(in_hand, place.start);
                let paths = self.path_values(context);
                match self.append(in_hand, record, fields, &paths) {
                    Ok(()) => Ok(()),
                    Err(Stop::Reject(reason)) => Err(reason),
                    Err(Stop::Widen) => Err("its new keys could not be added".to_owned()),
                }
            }
        }
    }

    fn append(
        &mut self,
        in_hand: InHand<'_>,
        record: &[u8],
        fields: &Fields,
        paths: &PathValues,
    ) -> Result<(), Stop> {
        let context = in_hand.context;
        match context.settings.format {
            InputFormat::Ndjson | InputFormat::Json => {
                if self.rows.append_plain(record, paths, &self.rules) {
                    return Ok(());
                }
                self.tape
                    .scan(record, self.rules.depth_max)
                    .map_err(|malformed| {
                        let text = format!("not JSON at byte {}: {}", malformed.at, malformed.what);
                        Stop::Reject(text)
                    })?;
                let nodes = self.tape.nodes();
                if nodes[0].kind != Kind::Object {
                    return Err(Stop::Reject("not a JSON object".to_owned()));
                }
                let scanned = Scanned {
                    bytes: record,
                    nodes,
                };
                self.rows.append_object(scanned, paths, &self.rules)
            }
            InputFormat::Csv | InputFormat::Tsv => {
                let header = header(context);
                if fields.len() != header.len() {
                    return Err(Stop::Reject(format!(
                        "{} fields, and the header has {}",
                        fields.len(),
                        header.len()
                    )));
                }
                let texts = fields.texts(in_hand.bytes, &context.settings.csv);
                if let Some(slots) = &self.texts
                    && self
                        .rows
                        .append_plain_texts(slots, texts.clone(), &self.rules)
                {
                    return Ok(());
                }
                let named = header.iter().map(String::as_str).zip(texts);
                self.rows.append_texts(named, paths, &self.rules)
            }
            InputFormat::Text => {
                let named = std::iter::once((infer::LINE, Some(record)));
                self.rows.append_texts(named, paths, &self.rules)
            }
        }
    }

    /// Adds what the segment holds from `start` on and the schema does not have yet.
    fn widen(&mut self, in_hand: InHand<'_>, start: usize) {
        let mut inference = Inference::new(&self.schemas.settings);
        inference.observe_rest(in_hand.context, &in_hand.bytes[start..]);
        self.schemas.extend(|schema| inference.widen(schema, false));
        self.sync();
        self.rules.closed = true;
    }

    /// Takes over the newest version of the schema; buffered rows are NULL in its new columns.
    fn sync(&mut self) {
        let (version, schema) = self.schemas.current();
        if version != self.version {
            self.rows.level.widen(&schema.columns);
            self.leaves = schema.leaves();
            (self.version, self.schema) = (version, schema);
        }
    }

    /// Whether so many records of so many bytes can be appended without passing what Arrow's offsets reach.
    fn has_room(&self, bytes: usize, records: u64) -> bool {
        self.rows.has_room(bytes) && self.spans.has_room(records)
    }

    /// Whether nothing can be added to the schema any more.
    fn is_full(&self) -> bool {
        let settings = &self.schemas.settings;
        settings.new_columns == NewColumns::Add
            && settings.columns_max > 0
            && self.leaves >= settings.columns_max
    }

    fn path_values(&mut self, context: &FileContext) -> PathValues {
        self.spans.begin(context, &self.schema);
        let paths = PathValues::new(&self.schema, &context.path_columns);
        self.texts = match context.settings.format {
            InputFormat::Csv | InputFormat::Tsv => self.rows.texts_of(header(context), &paths),
            _ => None,
        };
        paths
    }

    /// Rows buffered.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len
    }

    /// Bytes buffered.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.origins.len() * 8 + self.spans.bytes()
    }

    /// Hands over what is buffered, and is empty again.
    ///
    /// # Panics
    /// Never: all columns are padded to the same length, of the types that the schema names, and text was checked to be
    /// UTF-8 before it was appended.
    #[must_use]
    pub fn take(&mut self) -> DecodedBatch {
        let arrow = arrow_schema(&self.schema);
        let batch = self.rows.finish(|rows, len| {
            let mut arrays = Vec::with_capacity(arrow.fields().len());
            if let Some(raw) = rows.raw() {
                arrays.push(raw.finish()?);
            }
            let data = arrow.fields().iter().skip(arrays.len());
            arrays.extend(rows.level.finish(len, data)?);
            arrays.extend(self.spans.path_arrays(&self.schema, len));
            if !self.schema.raw {
                let text = &arrow::datatypes::DataType::Utf8;
                arrays.push(rows.rescued().finish(len, text)?);
            }
            arrays.extend(self.spans.metadata_arrays(&self.schema, self.context, len));
            RecordBatch::try_new(arrow, arrays)
        });
        self.spans.clear();
        self.appended = 0;
        DecodedBatch {
            version: self.version,
            schema: Arc::clone(&self.schema),
            batch: batch.expect("columns agree in length and type by construction"),
            origins: std::mem::take(&mut self.origins),
        }
    }
}

/// The names of a CSV file's columns.
fn header(context: &FileContext) -> &[String] {
    match &context.header {
        Some(header) => header,
        None => &context.settings.csv.columns,
    }
}

fn too_long(max: u64) -> String {
    format!("longer than `record_bytes_max`, which is {max} bytes")
}

impl InHand<'_> {
    fn reject(&self, place: Place, line: u64, ordinal: u32, reason: String) -> Reject {
        let record = &self.bytes[place.start..place.end];
        Reject {
            path: self.context.path.clone(),
            offset: self.range.from + place.start as u64,
            line,
            reason,
            raw: record[..record.len().min(REJECT_RAW_MAX)].to_vec(),
            bytes: record.len() as u64,
            segment: self.index,
            ordinal,
        }
    }

    /// Whether this is the segment of one record that is too long, framed as such whatever it holds. Its bytes may have come cut.
    fn is_cut(&self) -> bool {
        let max = self.context.settings.record_bytes_max;
        // A record has its line end beside it.
        let long = max > 0 && self.range.bytes() > max.saturating_add(2);
        (self.bytes.len() as u64) < self.range.bytes() || (self.range.records == 1 && long)
    }

    /// The one record of a segment whose bytes came cut.
    fn cut_reject(&self) -> Reject {
        Reject {
            path: self.context.path.clone(),
            offset: self.range.from,
            line: self.range.line,
            reason: too_long(self.context.settings.record_bytes_max),
            raw: self.bytes[..self.bytes.len().min(REJECT_RAW_MAX)].to_vec(),
            bytes: self.range.bytes(),
            segment: self.index,
            ordinal: 0,
        }
    }
}

/// Counts lines as far as somebody asks.
struct Lines {
    at: usize,
    line: u64,
}

impl Lines {
    fn new(line: u64) -> Self {
        Self { at: 0, line }
    }

    /// The line that `at` is in; asked for in ascending order.
    fn of(&mut self, bytes: &[u8], at: usize) -> u64 {
        self.line += memchr::memchr_iter(b'\n', &bytes[self.at..at]).count() as u64;
        self.at = at;
        self.line
    }
}
