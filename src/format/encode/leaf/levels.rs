//! Where values stand in their records: definition and repetition levels, for leaves at any depth.
//!
//! A definition level counts which of the optional and repeated fields on the way to a leaf are there, a repetition level which
//! list goes on (Parquet's `README.md`, "Nested Encoding"). Most columns have neither NULLs nor lists: their levels are all
//! the same and are only counted.

use std::iter::repeat_n;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};

use super::super::EncodeError;
use super::packing::{hybrid, run, width};

/// How a leaf is reached from its column's array, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Hop {
    /// A struct's field.
    Field(usize),
    /// A list's element.
    Element,
    /// A map's key (0) or value (1).
    Entry(usize),
}

/// The hops to each leaf of a field, in Parquet's order.
pub(in super::super) fn ways(field: &Field) -> Vec<Vec<Hop>> {
    let mut found = Vec::new();
    collect(field.data_type(), &mut Vec::new(), &mut found);
    found
}

fn collect(kind: &DataType, hops: &mut Vec<Hop>, found: &mut Vec<Vec<Hop>>) {
    let mut below = |hop: Hop, field: &Field| {
        hops.push(hop);
        collect(field.data_type(), hops, found);
        hops.pop();
    };
    match kind {
        DataType::Struct(fields) => {
            for (at, field) in fields.iter().enumerate() {
                below(Hop::Field(at), field);
            }
        }
        DataType::List(field) => below(Hop::Element, field),
        DataType::Map(entries, _) => {
            if let DataType::Struct(fields) = entries.data_type() {
                for (at, field) in fields.iter().enumerate() {
                    below(Hop::Entry(at), field);
                }
            }
        }
        _ => found.push(hops.clone()),
    }
}

/// The levels of a page's values.
pub(super) struct LevelRun {
    /// What all of them are, until one is not.
    usual: u16,
    count: usize,
    /// All of them, once one is not.
    mixed: Vec<u16>,
}

impl LevelRun {
    pub(super) fn new(usual: u16) -> Self {
        Self {
            usual,
            count: 0,
            mixed: Vec::new(),
        }
    }

    /// So many more of the usual one.
    pub(super) fn usual(&mut self, count: usize) {
        self.count += count;
        if !self.mixed.is_empty() {
            self.mixed.extend(repeat_n(self.usual, count));
        }
    }

    pub(super) fn extend(&mut self, levels: &[u16]) {
        if self.mixed.is_empty() {
            self.mixed.extend(repeat_n(self.usual, self.count));
        }
        self.count += levels.len();
        self.mixed.extend_from_slice(levels);
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn memory(&self) -> usize {
        self.mixed.capacity() * size_of::<u16>()
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.mixed.clear();
    }

    /// As a page has them, after their length. `max`: the greatest that the column can have.
    pub(super) fn encode(&self, max: u16, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let width = width(max.into());
        if self.mixed.is_empty() {
            run(self.usual.into(), self.count, width, out);
        } else {
            hybrid(&self.mixed, width, out);
        }
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// Levels of some records, and which rows of the leaf's array have their values.
#[derive(Default)]
pub(super) struct Levels {
    pub(super) definition: Vec<u16>,
    pub(super) repetition: Vec<u16>,
    pub(super) rows: Vec<usize>,
}

impl Levels {
    #[inline]
    fn none(&mut self, definition: u16, repetition: u16) {
        self.definition.push(definition);
        self.repetition.push(repetition);
    }

    #[inline]
    fn some(&mut self, definition: u16, repetition: u16, row: usize) {
        self.none(definition, repetition);
        self.rows.push(row);
    }

    /// Elements of one list, none of which is NULL.
    fn elements(&mut self, definition: u16, first: u16, others: u16, rows: Range<usize>) {
        self.repetition.push(first);
        self.repetition.extend(repeat_n(others, rows.len() - 1));
        self.definition.extend(repeat_n(definition, rows.len()));
        self.rows.extend(rows);
    }
}

/// One array of the chain from a column down to a leaf.
pub(super) struct Walk<'a> {
    nullable: bool,
    nulls: Option<&'a NullBuffer>,
    next: Next<'a>,
}

enum Next<'a> {
    Leaf(&'a ArrayRef),
    Field(Box<Walk<'a>>),
    /// Start and end of each element's run.
    Elements(&'a [i32], Box<Walk<'a>>),
}

impl<'a> Walk<'a> {
    /// `array`, of `field`'s type.
    pub(super) fn new(
        field: &Field,
        array: &'a ArrayRef,
        hops: &[Hop],
    ) -> Result<Self, EncodeError> {
        let unexpected = || {
            EncodeError::Refused(format!(
                "column `{}`: an array of {} where the schema has {}",
                field.name(),
                array.data_type(),
                field.data_type()
            ))
        };
        let next = match (hops.split_first(), field.data_type()) {
            (None, _) => Next::Leaf(array),
            (Some((Hop::Field(at), rest)), DataType::Struct(fields)) => {
                let parent = array.as_struct_opt().ok_or_else(unexpected)?;
                let below = Walk::new(&fields[*at], parent.column(*at), rest)?;
                Next::Field(Box::new(below))
            }
            (Some((Hop::Element, rest)), DataType::List(element)) => {
                let list = array.as_list_opt::<i32>().ok_or_else(unexpected)?;
                let below = Walk::new(element, list.values(), rest)?;
                Next::Elements(list.value_offsets(), Box::new(below))
            }
            (Some((Hop::Entry(at), rest)), DataType::Map(entries, _)) => {
                let map = array.as_map_opt().ok_or_else(unexpected)?;
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(unexpected());
                };
                let below = Walk::new(&fields[*at], map.entries().column(*at), rest)?;
                Next::Elements(map.value_offsets(), Box::new(below))
            }
            _ => return Err(unexpected()),
        };
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some() && !field.is_nullable() {
            return Err(EncodeError::Refused(format!(
                "column `{}`: a NULL where the schema allows none",
                field.name()
            )));
        }
        Ok(Self {
            nullable: field.is_nullable(),
            nulls,
            next,
        })
    }

    pub(super) fn leaf(&self) -> &'a ArrayRef {
        match &self.next {
            Next::Leaf(array) => array,
            Next::Field(below) | Next::Elements(_, below) => below.leaf(),
        }
    }

    /// Each record has one value, and none of them is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.nulls.is_none()
            && match &self.next {
                Next::Leaf(_) => true,
                Next::Field(below) => below.is_whole(),
                Next::Elements(..) => false,
            }
    }

    pub(super) fn levels(&self, rows: usize) -> Levels {
        let mut levels = Levels::default();
        if let Some((missing, there, nulls)) = self.only_nulls() {
            let level = |valid: bool| if valid { there } else { missing };
            levels.definition.extend(nulls.iter().map(level));
            levels.repetition.resize(rows, 0);
            levels.rows.extend(nulls.valid_indices());
            return levels;
        }
        for row in 0..rows {
            self.emit(row, 0, 0, 0, &mut levels);
        }
        levels
    }

    /// Without lists, and if just one array of the chain has NULLs: the levels of a value that is missing and of one that is there.
    fn only_nulls(&self) -> Option<(u16, u16, &'a NullBuffer)> {
        let own = u16::from(self.nullable);
        match (&self.next, self.nulls) {
            (Next::Elements(..), _) => None,
            (Next::Leaf(_), nulls) => nulls.map(|nulls| (0, own, nulls)),
            (Next::Field(below), None) => {
                let (missing, there, nulls) = below.only_nulls()?;
                Some((own + missing, own + there, nulls))
            }
            (Next::Field(below), Some(nulls)) => {
                below.is_whole().then(|| (0, own + below.deepest(), nulls))
            }
        }
    }

    /// The level of a value that is there, without lists.
    fn deepest(&self) -> u16 {
        let below = match &self.next {
            Next::Field(below) => below.deepest(),
            _ => 0,
        };
        u16::from(self.nullable) + below
    }

    /// `depth`: lists above this one.
    fn emit(&self, row: usize, definition: u16, repetition: u16, depth: u16, levels: &mut Levels) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            levels.none(definition, repetition);
            return;
        }
        let definition = definition + u16::from(self.nullable);
        match &self.next {
            Next::Leaf(_) => levels.some(definition, repetition, row),
            Next::Field(below) => below.emit(row, definition, repetition, depth, levels),
            Next::Elements(offsets, below) => {
                let elements = offsets[row] as usize..offsets[row + 1] as usize;
                if elements.is_empty() {
                    levels.none(definition, repetition);
                } else if matches!(below.next, Next::Leaf(_)) && below.nulls.is_none() {
                    let definition = definition + 1 + u16::from(below.nullable);
                    levels.elements(definition, repetition, depth + 1, elements);
                } else {
                    for (at, element) in elements.enumerate() {
                        let repetition = if at == 0 { repetition } else { depth + 1 };
                        below.emit(element, definition + 1, repetition, depth + 1, levels);
                    }
                }
            }
        }
    }
}
