//! The rows of the batch in hand: data columns, what was rescued, and raw records.
//!
//! A record is appended wholly or not at all. A key that comes twice, a value that does not fit, an unknown key and a value
//! for a column that the file's path brings are rescued: `_rescued` holds them as they came, so it may hold a key
//! twice itself.

use std::collections::HashSet;

use super::coerce::{Rules, Scanned, Stop, append, append_text, plain_key};
use super::column::{Column, Level, NONE, OFFSET_MAX, Text, Values};
use super::direct::{self, Worth};
use super::passing::{self, Keys};
use super::raw::RawRecords;
use crate::record::{Kind, text};
use crate::schema::{DataType, NewColumns, Schema, group_value};

/// The data columns that the path of a file brings: slot, name, value. What a record brings for them is rescued.
pub(super) struct PathValues(Vec<(usize, String, Option<String>)>);

impl PathValues {
    pub(super) fn new(schema: &Schema, values: &[(String, Option<String>)]) -> Self {
        if schema.path_columns.is_empty() {
            return Self(Vec::new());
        }
        let columns = schema.columns.iter().enumerate();
        let brought = columns.filter(|(_, column)| schema.path_columns.contains(&column.name));
        let with_value = brought.map(|(slot, column)| {
            let value = group_value(values, &column.name).map(str::to_owned);
            (slot, column.name.clone(), value)
        });
        Self(with_value.collect())
    }

    #[inline]
    fn brings(&self, slot: usize) -> bool {
        self.0.iter().any(|(brought, _, _)| *brought == slot)
    }
}

/// The rows of the batch in hand: data columns and what was rescued.
pub(super) struct Rows {
    pub(super) level: Level,
    rescued: Column,
    /// `{"key":value` of the row in hand; empty: nothing is rescued.
    open: Vec<u8>,
    /// Whole rows.
    pub(super) len: usize,
    /// Slots that the row in hand has set.
    touched: Vec<usize>,
    /// Records land byte for byte; unknown keys are nobody's business.
    raw: Option<RawRecords>,
    /// Of raw records.
    keys: Keys,
    worth: Worth,
    /// For tests that hold the two ways against each other.
    #[cfg(test)]
    pub(super) only_tape: bool,
}

impl Rows {
    pub(super) fn new(raw: bool) -> Self {
        Self {
            level: Level::default(),
            rescued: Column::new(&DataType::String),
            open: Vec::new(),
            touched: Vec::new(),
            len: 0,
            raw: raw.then(RawRecords::default),
            keys: Keys::default(),
            worth: Worth::default(),
            #[cfg(test)]
            only_tape: false,
        }
    }

    fn rescue(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) {
        if self.raw.is_some() {
            return;
        }
        self.open
            .push(if self.open.is_empty() { b'{' } else { b',' });
        key(&mut self.open);
        self.open.push(b':');
        value(&mut self.open);
    }

    /// Appends a record that is in no way out of the ordinary as a row. `false`: nothing was done, the tape says what it is.
    pub(super) fn append_plain(
        &mut self,
        record: &[u8],
        paths: &PathValues,
        rules: &Rules,
    ) -> bool {
        #[cfg(test)]
        if self.only_tape {
            return false;
        }
        if !paths.0.is_empty() || !self.worth.is_worth() {
            return false;
        }
        let (level, row) = (&mut self.level, self.len);
        let went = if self.raw.is_some() {
            passing::append_object(level, &mut self.keys, row, record, rules)
        } else {
            direct::append_object(level, row, record, rules)
        };
        if went {
            self.len += 1;
        } else {
            self.level.truncate(self.len);
        }
        self.worth.learn(went);
        went
    }

    /// Appends the object on the tape as a row.
    ///
    /// # Errors
    /// Nothing of it is left.
    pub(super) fn append_object(
        &mut self,
        scanned: Scanned<'_>,
        paths: &PathValues,
        rules: &Rules,
    ) -> Result<(), Stop> {
        let mut result = self.append_pairs(scanned, paths, rules);
        if result.is_ok() && !paths.0.is_empty() {
            result = self.append_paths(paths, rules);
        }
        self.end_row(result)
    }

    fn append_pairs(
        &mut self,
        scanned: Scanned<'_>,
        paths: &PathValues,
        rules: &Rules,
    ) -> Result<(), Stop> {
        let row = self.len;
        let nodes = scanned.nodes;
        let end = nodes[0].next;
        let mut before = None;
        let mut unescaped = Vec::new();
        let mut key = 1;
        while key < end {
            let name = plain_key(&nodes[key as usize], scanned.bytes, &mut unescaped);
            let pair = key;
            let value = key + 1;
            key = nodes[value as usize].next;
            let Some(found) = self.level.find(name, before) else {
                if self.raw.is_none()
                    && (nodes[value as usize].kind != Kind::Null
                        || rules.new_columns == NewColumns::Reject)
                {
                    rules.unknown(name)?;
                    self.rescue_pair(scanned, pair);
                }
                continue;
            };
            before = Some(found);
            if paths.brings(found) {
                self.rescue_pair(scanned, pair);
                continue;
            }
            let slot = &mut self.level.slots[found];
            if slot.column.len() > row {
                if !slot.is_key(name) {
                    self.rescue_pair(scanned, pair);
                    continue;
                }
                slot.column.truncate(row);
                let earlier = slot.last;
                if earlier != NONE {
                    self.rescue_pair(scanned, earlier);
                }
            }
            self.touched.push(found);
            let slot = &mut self.level.slots[found];
            slot.last = pair;
            slot.column.pad(row);
            if !append(&mut slot.column, scanned, value, rules)? {
                slot.last = NONE;
                self.rescue_pair(scanned, pair);
            }
        }
        Ok(())
    }

    fn rescue_pair(&mut self, scanned: Scanned<'_>, key: u32) {
        let raw = |at: u32| scanned.nodes[at as usize].raw(scanned.bytes);
        self.rescue(
            |open| open.extend_from_slice(raw(key)),
            |open| open.extend_from_slice(raw(key + 1)),
        );
    }

    /// Which column each of a record's texts is for, if each is for one of its own.
    pub(super) fn texts_of(&self, names: &[String], paths: &PathValues) -> Option<Box<[usize]>> {
        let slots = names.iter().map(|name| self.level.slot_of(name.as_bytes()));
        let slots: Box<[usize]> = slots.collect::<Option<_>>()?;
        let distinct: HashSet<usize> = slots.iter().copied().collect();
        (paths.0.is_empty() && distinct.len() == slots.len()).then_some(slots)
    }

    /// Appends a record of texts, each for one of `slots`, as a row; `None` is NULL. `false`: nothing was done, one of them does not
    /// fit.
    pub(super) fn append_plain_texts<'a>(
        &mut self,
        slots: &[usize],
        texts: impl Iterator<Item = Option<&'a [u8]>>,
        rules: &Rules,
    ) -> bool {
        #[cfg(test)]
        if self.only_tape {
            return false;
        }
        if !self.worth.is_worth() {
            return false;
        }
        let row = self.len;
        let fits = slots.iter().zip(texts).all(|(slot, text)| {
            let column = &mut self.level.slots[*slot].column;
            if column.len() < row {
                column.pad(row);
            }
            // Quotes around nothing are a text among texts, elsewhere nothing.
            if let Some(text) = text.filter(|text| !text.is_empty() || column.is_text()) {
                return matches!(append_text(column, text, rules), Ok(true));
            }
            column.push_null();
            true
        });
        if fits {
            self.len += 1;
        } else {
            self.level.truncate(row);
        }
        self.worth.learn(fits);
        fits
    }

    /// Appends a record of named texts as a row; `None` is NULL.
    ///
    /// # Errors
    /// Nothing of it is left.
    pub(super) fn append_texts<'a>(
        &mut self,
        texts: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
        paths: &PathValues,
        rules: &Rules,
    ) -> Result<(), Stop> {
        let mut result = self.append_named(texts, paths, rules);
        if result.is_ok() && !paths.0.is_empty() {
            result = self.append_paths(paths, rules);
        }
        self.end_row(result)
    }

    fn append_named<'a>(
        &mut self,
        texts: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
        paths: &PathValues,
        rules: &Rules,
    ) -> Result<(), Stop> {
        let row = self.len;
        let mut before = None;
        let mut all: Option<Vec<_>> = None;
        for (i, (name, text)) in texts.clone().enumerate() {
            let Some(found) = self.level.find(name.as_bytes(), before) else {
                match text {
                    Some(text) => {
                        rules.unknown(name.as_bytes())?;
                        self.rescue_text(name, text);
                    }
                    None if rules.new_columns == NewColumns::Reject => {
                        rules.unknown(name.as_bytes())?;
                    }
                    None => {}
                }
                continue;
            };
            before = Some(found);
            if paths.brings(found) {
                if let Some(text) = text {
                    self.rescue_text(name, text);
                }
                continue;
            }
            let slot = &mut self.level.slots[found];
            if slot.column.len() > row {
                if !slot.is_key(name.as_bytes()) {
                    if let Some(text) = text {
                        self.rescue_text(name, text);
                    }
                    continue;
                }
                slot.column.truncate(row);
                let earlier = slot.last;
                if earlier != NONE
                    && let all = all.get_or_insert_with(|| texts.clone().collect())
                    && let Some(&(name, Some(text))) = all.get(earlier as usize)
                {
                    self.rescue_text(name, text);
                }
            }
            self.touched.push(found);
            let slot = &mut self.level.slots[found];
            slot.last = i as u32;
            slot.column.pad(row);
            // Quotes around nothing are a text among texts, elsewhere nothing.
            let text = text.filter(|text| !text.is_empty() || slot.column.is_text());
            let Some(text) = text else {
                slot.column.push_null();
                continue;
            };
            if !append_text(&mut slot.column, text, rules)? {
                slot.last = NONE;
                self.rescue_text(name, text);
            }
        }
        Ok(())
    }

    fn rescue_text(&mut self, name: &str, text: &[u8]) {
        self.rescue(
            |open| text::quote(name.as_bytes(), open),
            |open| text::quote(text, open),
        );
    }

    /// Fills the columns whose values the file's path brings.
    fn append_paths(&mut self, paths: &PathValues, rules: &Rules) -> Result<(), Stop> {
        for (found, name, value) in &paths.0 {
            let Some(value) = value else {
                continue;
            };
            self.touched.push(*found);
            let slot = &mut self.level.slots[*found];
            slot.column.pad(self.len);
            if !append_text(&mut slot.column, value.as_bytes(), rules)? {
                self.rescue_text(name, value.as_bytes());
            }
        }
        Ok(())
    }

    /// Lets `finish` take the columns, and is empty again.
    pub(super) fn finish<T>(&mut self, finish: impl FnOnce(&mut Self, usize) -> T) -> T {
        let len = std::mem::take(&mut self.len);
        finish(self, len)
    }

    fn end_row(&mut self, result: Result<(), Stop>) -> Result<(), Stop> {
        if let Err(stop) = result {
            self.roll_back();
            return Err(stop);
        }
        let row = self.len;
        if !self.open.is_empty() {
            self.open.push(b'}');
            self.rescued.pad(row);
            if let Values::Text(Text { offsets, data, .. }) = &mut self.rescued.values {
                data.extend_from_slice(&self.open);
                offsets.push(data.len());
            }
            self.rescued.validity.push(true);
            self.open.clear();
        }
        self.touched.clear();
        self.len += 1;
        Ok(())
    }

    fn roll_back(&mut self) {
        for found in self.touched.drain(..) {
            self.level.slots[found].column.truncate(self.len);
        }
        self.open.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        let raw = self.raw.as_ref().map_or(0, RawRecords::bytes);
        self.level.bytes() + self.rescued.bytes() + raw
    }

    /// Whether a record of so many bytes can be appended without passing what Arrow's offsets reach.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        // A value may stand in a column and in `_rescued`, escaped there to six times its size.
        let raw = self.raw.as_ref().map_or(0, RawRecords::offset);
        let most = self.level.offset().max(self.rescued.offset()).max(raw);
        most.saturating_add(bytes.saturating_mul(8)) < OFFSET_MAX
    }

    /// Records as they came, one for each row: whoever appends a row appends its record here.
    pub(super) fn raw(&mut self) -> Option<&mut RawRecords> {
        self.raw.as_mut()
    }

    pub(super) fn rescued(&mut self) -> &mut Column {
        &mut self.rescued
    }
}
