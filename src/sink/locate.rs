//! Finds records of a segment again: where they begin and end.
//!
//! A decoded row knows its segment and ordinal only. Where one must be told by its place and bytes after all (its path
//! would be too long), the segment is decoded once more with a schema of nothing but `_offset`, so that framing stays in
//! the decoder alone. Rare, so its cost does not matter.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::error::SinkError;
use crate::channel::SegmentData;
use crate::format::InputFormat;
use crate::format::decode::{DecodeContext, Decoder, Reject};
use crate::schema::{
    Metadata, Names, NewColumns, Schema, SchemaMode, SchemaRegistry, SchemaSettings,
};
use crate::segment::BatchNumber;

/// Records of one segment as rejects, each for its reason. `ordinals` rise.
pub(super) fn rejects(
    schemas: &SchemaRegistry,
    segment: u32,
    data: &SegmentData,
    ordinals: &[(u32, Arc<str>)],
) -> Result<Vec<Reject>, SinkError> {
    let starts = starts(schemas, segment, data)?;
    ordinals
        .iter()
        .map(|(ordinal, reason)| {
            let at = starts.binary_search_by_key(ordinal, |(found, _)| *found);
            let at = at.map_err(|_| broken(data, *ordinal))?;
            let next = starts
                .get(at + 1)
                .map_or(data.segment.to, |(_, from)| *from);
            reject(segment, data, *ordinal, reason, starts[at].1..next)
        })
        .collect()
}

/// Ordinal and offset of each record, in order.
fn starts(
    schemas: &SchemaRegistry,
    segment: u32,
    data: &SegmentData,
) -> Result<Vec<(u32, u64)>, SinkError> {
    let mut starts = Vec::new();
    let mut decoder = Decoder::new(
        Arc::new(offsets_only(&schemas.settings)),
        DecodeContext {
            batch: BatchNumber(0),
            batch_time_ns: 0,
        },
    );
    decoder.decode(
        segment,
        &data.context,
        &data.segment,
        &data.bytes,
        &mut |reject| starts.push((reject.ordinal, reject.offset)),
    );
    let decoded = decoder.take();
    let offsets = decoded
        .batch
        .column_by_name("_offset")
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| SinkError::Broken("a decoded batch lacks the column `_offset`".into()))?;
    for ((_, ordinal), offset) in decoded.origins.iter().zip(offsets.values()) {
        starts.push((*ordinal, *offset as u64));
    }
    starts.sort_unstable();
    Ok(starts)
}

fn offsets_only(settings: &SchemaSettings) -> SchemaRegistry {
    let settings = SchemaSettings {
        mode: SchemaMode::Columns,
        columns: Vec::new(),
        new_columns: NewColumns::Rescue,
        names: Names::AsIs,
        timezone: settings.timezone.clone(),
        timestamp_unit: settings.timestamp_unit,
        metadata: vec![Metadata::Offset],
        columns_max: settings.columns_max,
        path_columns: Vec::new(),
        partition_keys: Vec::new(),
    };
    let schema = Schema {
        columns: Vec::new(),
        path_columns: Vec::new(),
        metadata: vec![Metadata::Offset],
        raw: false,
    };
    SchemaRegistry::new(settings, None, schema)
}

fn reject(
    segment: u32,
    data: &SegmentData,
    ordinal: u32,
    reason: &str,
    range: std::ops::Range<u64>,
) -> Result<Reject, SinkError> {
    let from = range.start.checked_sub(data.segment.from);
    let to = range.end.checked_sub(data.segment.from);
    let bytes = from
        .zip(to)
        .and_then(|(from, to)| data.bytes.get(from as usize..to as usize))
        .ok_or_else(|| broken(data, ordinal))?;
    let before = &data.bytes[..(range.start - data.segment.from) as usize];
    let raw = record(bytes, data.context.settings.format);
    Ok(Reject {
        path: data.context.path.clone(),
        offset: range.start,
        line: data.segment.line + memchr::memchr_iter(b'\n', before).count() as u64,
        reason: reason.to_owned(),
        raw: raw.to_vec(),
        bytes: raw.len() as u64,
        segment,
        ordinal,
    })
}

/// Without what separates it from the next record.
fn record(bytes: &[u8], format: InputFormat) -> &[u8] {
    match format {
        InputFormat::Text => {
            let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            line.strip_suffix(b"\r").unwrap_or(line)
        }
        InputFormat::Json => {
            let value = bytes.trim_ascii_end();
            value
                .strip_suffix(b",")
                .or_else(|| value.strip_suffix(b"]"))
                .filter(|value| value.trim_ascii_end().ends_with(b"}"))
                .unwrap_or(value)
                .trim_ascii_end()
        }
        InputFormat::Ndjson | InputFormat::Csv | InputFormat::Tsv => bytes.trim_ascii_end(),
    }
}

fn broken(data: &SegmentData, ordinal: u32) -> SinkError {
    SinkError::Broken(format!(
        "record {ordinal} of segment {} to {} of `{}` is not found again",
        data.segment.from, data.segment.to, data.context.path
    ))
}
