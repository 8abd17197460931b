//! The first pass over what waits: what the records hold, and so what the columns are.

use super::coerce::{Scanned, plain_key};
use super::csv::Fields;
use super::cut::{Cutter, Piece, Place};
use super::known::knows;
use crate::format::{FileContext, InputFormat};
use crate::record::number::{Number, json_number, parse_i64};
use crate::record::{Kind, Tape, text, time};
use crate::schema::{Kinds, Names, Observed, Schema, SchemaSettings, TYPE_DEPTH_MAX, Widening};
use crate::segment::Segment;

/// The column of a `text` record.
pub(super) const LINE: &str = "line";

/// Gathers what records hold, segment by segment, and widens a schema by it.
///
/// Memory is bounded by `columns_max`: once several times as many keys were seen, new ones are not looked at.
pub struct Inference {
    names: Names,
    partition_keys: Vec<String>,
    columns_max: usize,
    top: Observed,
    /// How many more keys may be watched.
    left: usize,
    records: u64,
    tape: Tape,
    fields: Fields,
    /// For tests that hold the two ways against each other.
    #[cfg(test)]
    pub(super) only_tape: bool,
}

impl Inference {
    #[must_use]
    pub fn new(settings: &SchemaSettings) -> Self {
        let columns_max = settings.columns_max;
        Self {
            names: settings.names,
            partition_keys: settings.partition_keys.clone(),
            columns_max,
            top: Observed::of(Kinds::OBJECT),
            left: match columns_max {
                0 => usize::MAX,
                max => max.saturating_mul(4).saturating_add(1000),
            },
            records: 0,
            tape: Tape::default(),
            fields: Fields::default(),
            #[cfg(test)]
            only_tape: false,
        }
    }

    /// Whether a record adds nothing to what was seen. `false`: the tape tells.
    pub(super) fn knows(&self, record: &[u8], depth_max: u32) -> bool {
        #[cfg(test)]
        if self.only_tape {
            return false;
        }
        knows(&self.top, record, depth_max)
    }

    /// Looks at a segment's records; those that are malformed are passed over.
    pub fn observe(&mut self, context: &FileContext, range: &Segment, bytes: &[u8]) {
        self.observe_pieces(context, Cutter::new(context, range, bytes), bytes);
    }

    /// The rest of a segment, from a record on.
    pub(super) fn observe_rest(&mut self, context: &FileContext, bytes: &[u8]) {
        self.observe_pieces(context, Cutter::midway(context, bytes), bytes);
    }

    fn observe_pieces(&mut self, context: &FileContext, mut cutter: Cutter<'_>, bytes: &[u8]) {
        let valid = simdutf8::basic::from_utf8(bytes).is_ok();
        let mut fields = std::mem::take(&mut self.fields);
        while let Some(piece) = cutter.next(&mut fields) {
            if let Piece::Record(place) = piece
                && place.problem.is_none()
                && (valid || simdutf8::basic::from_utf8(&bytes[place.start..place.end]).is_ok())
            {
                self.observe_record(context, place, bytes, &fields);
            }
        }
        self.fields = fields;
    }

    fn observe_record(
        &mut self,
        context: &FileContext,
        place: Place,
        bytes: &[u8],
        fields: &Fields,
    ) {
        let record = &bytes[place.start..place.end];
        match context.settings.format {
            InputFormat::Ndjson | InputFormat::Json => {
                if self.knows(record, context.settings.depth_max) {
                    self.records += 1;
                    return;
                }
                let scanned = self.tape.scan(record, context.settings.depth_max);
                let nodes = self.tape.nodes();
                if scanned.is_err() || nodes[0].kind != Kind::Object {
                    return;
                }
                let scanned = Scanned {
                    bytes: record,
                    nodes,
                };
                see_fields(&mut self.top, scanned, 0, &mut self.left, 0);
            }
            InputFormat::Csv | InputFormat::Tsv => {
                let header = super::header(context);
                if fields.len() != header.len() {
                    return;
                }
                let texts = fields.texts(bytes, &context.settings.csv);
                for (i, (name, text)) in header.iter().zip(texts).enumerate() {
                    if let Some((_, seen)) = self.top.field(name, i, &mut self.left)
                        && let Some(text) = text
                    {
                        let kinds = text_kinds(text, seen.kinds);
                        seen.see(kinds);
                    }
                }
            }
            InputFormat::Text => {
                if let Some((_, seen)) = self.top.field(LINE, 0, &mut self.left) {
                    seen.see(Kinds::TEXT);
                }
            }
        }
        self.records += 1;
    }

    /// Takes in what another saw of later records.
    pub fn merge(&mut self, later: Self) {
        self.top.merge(later.top, &mut self.left);
        self.records += later.records;
    }

    /// Records that were looked at.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Merges what was seen into the schema: columns that are there (hints) keep their type, new ones follow in the order in
    /// which their keys appeared, up to `columns_max`.
    pub fn finish(&self, schema: &mut Schema) {
        self.widen(schema, true);
    }

    /// As [`Self::finish`], but without `nulls` a key that only came with null waits for a value.
    pub(super) fn widen(&self, schema: &mut Schema, nulls: bool) {
        if schema.raw {
            return;
        }
        let how = Widening {
            names: self.names,
            partition_keys: &self.partition_keys,
            columns_max: self.columns_max,
            nulls,
        };
        schema.widen(&self.top, how);
    }
}

fn see_fields(seen: &mut Observed, scanned: Scanned<'_>, at: u32, left: &mut usize, depth: usize) {
    let end = scanned.nodes[at as usize].next;
    let mut key = at + 1;
    let mut near = 0;
    let mut unescaped = Vec::new();
    while key < end {
        let name = plain_key(&scanned.nodes[key as usize], scanned.bytes, &mut unescaped);
        let value = key + 1;
        key = scanned.nodes[value as usize].next;
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        if let Some((place, field)) = seen.field(name, near, left) {
            near = place + 1;
            see_value(field, scanned, value, left, depth + 1);
        }
    }
}

fn see_value(seen: &mut Observed, scanned: Scanned<'_>, at: u32, left: &mut usize, depth: usize) {
    let node = &scanned.nodes[at as usize];
    let inner = node.inner(scanned.bytes);
    match node.kind {
        Kind::Null => {}
        Kind::False | Kind::True => seen.see(Kinds::BOOLEAN),
        Kind::Integer => seen.see(integer_kinds(inner)),
        Kind::Decimal => seen.see(Kinds::DOUBLE),
        Kind::String if seen.kinds.has(Kinds::TEXT) => {}
        Kind::String if node.escaped => {
            let mut plain = Vec::new();
            text::unescape(inner, &mut plain);
            seen.see(string_kinds(&plain));
        }
        Kind::String => seen.see(string_kinds(inner)),
        Kind::Object => {
            seen.see(Kinds::OBJECT);
            if depth < TYPE_DEPTH_MAX {
                see_fields(seen, scanned, at, left, depth);
            }
        }
        Kind::Array => {
            seen.see(Kinds::ARRAY);
            if depth < TYPE_DEPTH_MAX {
                let mut child = at + 1;
                while child < node.next {
                    see_value(seen.element(), scanned, child, left, depth + 1);
                    child = scanned.nodes[child as usize].next;
                }
            }
        }
    }
}

fn integer_kinds(text: &[u8]) -> Kinds {
    if parse_i64(text).is_some() {
        return Kinds::INTEGER;
    }
    let value = Number::parse(text).and_then(|number| number.integer());
    match value {
        Some(value) if value.unsigned_abs() < 10_u128.pow(38) => Kinds::LARGE,
        _ => Kinds::HUGE,
    }
}

fn string_kinds(text: &[u8]) -> Kinds {
    if time::parse_date_time(text).is_some() {
        Kinds::DATE_TIME
    } else {
        Kinds::TEXT
    }
}

/// Of a CSV field that is not NULL. An empty one in quotes is text among texts, and nothing among others.
fn text_kinds(text: &[u8], seen: Kinds) -> Kinds {
    if seen.has(Kinds::TEXT) {
        return Kinds::TEXT;
    }
    match json_number(text) {
        Some(Kind::Integer) => integer_kinds(text),
        Some(_) => Kinds::DOUBLE,
        None if text.is_empty() => Kinds::NONE,
        None if text == b"true" || text == b"false" => Kinds::BOOLEAN,
        None => string_kinds(text),
    }
}
