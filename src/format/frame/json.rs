//! Units of JSON: the elements of the array that the file is, or values one after another.
//!
//! A unit is what stands before a value (blanks, the opening `[`, one `,`) and the value. Where a value ends is found by its
//! brackets and strings alone. What is no JSON then depends on where it stands:
//!
//! - Inside the array each element is checked, and the commas between them are. After an error nobody can say where
//!   records begin: the rest of the file, from that element on, is one record.
//! - Values one after another (commas between them are let pass) are each a record, and a malformed one with balanced
//!   brackets is a reject by itself. If its brackets do not match, the rest of the file is one record.
//!
//! A rest of nothing but blanks, `,` and `]` is no record. Only the first `[` of a file, before any value, opens the array.

use serde::de::IgnoredAny;

use super::{Kind, UnitEnd, is_blank};

/// How deep the kinds of open brackets are remembered; deeper ones are only counted (and refused by the decoder, whose
/// `depth_max` is far below).
const KINDS_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before anything but blanks.
    Beginning,
    /// Outside of the array, between values.
    Top,
    /// After `[`.
    ArrayStart,
    /// After an element.
    ElementEnd,
    /// After the comma.
    Comma,
    Scalar,
    Nested,
    /// In a string, inside a nested value or as a value.
    Text,
    /// After a backslash in a string.
    Escape,
    /// After a syntax error.
    Rest,
}

pub(super) struct Json {
    at: At,
    in_array: bool,
    /// Closing brackets expected, innermost last.
    closing: Vec<u8>,
    /// Brackets open beyond those.
    deeper: u64,
    /// Bytes of the value so far.
    value: usize,
    /// Only in `Rest`: there is more than blanks, commas and closing brackets in this unit.
    any: bool,
}

impl Default for Json {
    fn default() -> Self {
        Self {
            at: At::Beginning,
            in_array: false,
            closing: Vec::new(),
            deeper: 0,
            value: 0,
            any: false,
        }
    }
}

impl Json {
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Option<UnitEnd> {
        // Where the bytes begin that `value` does not count yet.
        let mut uncounted = 0;
        let end = self.scan_value(bytes, &mut uncounted);
        self.value += end.unwrap_or(bytes.len()) - uncounted;
        Some(self.end(end?))
    }

    /// Where the value ends; `None`: not in these bytes.
    fn scan_value(&mut self, bytes: &[u8], uncounted: &mut usize) -> Option<usize> {
        let mut i = 0;
        while i < bytes.len() {
            let b = bytes[i];
            match self.at {
                At::Rest => {
                    self.any = self.any || !bytes[i..].iter().copied().all(separates);
                    return None;
                }
                At::Beginning | At::Top | At::ArrayStart | At::ElementEnd | At::Comma => {
                    self.between(b);
                    if matches!(self.at, At::Scalar | At::Nested | At::Text) {
                        self.value = 0;
                        *uncounted = i;
                    } else if self.at == At::Rest {
                        continue;
                    }
                    i += 1;
                }
                At::Scalar => {
                    if ends_scalar(b) {
                        return Some(i);
                    }
                    i += 1;
                }
                At::Text => {
                    i += memchr::memchr2(b'"', b'\\', &bytes[i..])?;
                    self.at = if bytes[i] == b'\\' {
                        At::Escape
                    } else {
                        At::Nested
                    };
                    i += 1;
                    if self.at == At::Nested && self.closing.is_empty() {
                        return Some(i);
                    }
                }
                At::Escape => {
                    self.at = At::Text;
                    i += 1;
                }
                At::Nested => {
                    i += 1;
                    match b {
                        b'"' => self.at = At::Text,
                        b'{' => self.open(b'}'),
                        b'[' => self.open(b']'),
                        b'}' | b']' => {
                            self.close(b);
                            if self.at == At::Nested && self.closing.is_empty() {
                                return Some(i);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        None
    }

    /// One byte between values.
    fn between(&mut self, b: u8) {
        if is_blank(&[b]) || b == b'\n' {
            return;
        }
        self.at = match (self.at, b) {
            (At::Beginning, b'[') => {
                self.in_array = true;
                At::ArrayStart
            }
            (At::ArrayStart | At::ElementEnd, b']') => {
                self.in_array = false;
                At::Top
            }
            (At::ElementEnd, b',') => At::Comma,
            (At::Top, b',') => At::Top,
            (At::Beginning | At::Top | At::ArrayStart | At::Comma, _) => self.begin_value(b),
            _ => At::Rest,
        };
    }

    /// Whether the unit that was just ended may stand: an element of the array must be JSON. Otherwise it goes on, as the
    /// rest of the file.
    pub(super) fn accepts(&mut self, unit: &[u8]) -> bool {
        let value = &unit[unit.len() - self.value.min(unit.len())..];
        if !self.in_array || serde_json::from_slice::<IgnoredAny>(value).is_ok() {
            return true;
        }
        self.at = At::Rest;
        self.any = true;
        false
    }

    fn begin_value(&mut self, b: u8) -> At {
        match b {
            b'{' => {
                self.open(b'}');
                At::Nested
            }
            b'[' => {
                self.open(b']');
                At::Nested
            }
            b'"' => At::Text,
            b'}' | b']' | b',' | b':' => At::Rest,
            _ => At::Scalar,
        }
    }

    fn open(&mut self, closing: u8) {
        if self.closing.len() < KINDS_MAX {
            self.closing.push(closing);
        } else {
            self.deeper += 1;
        }
    }

    fn close(&mut self, b: u8) {
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if self.closing.pop() != Some(b) {
            self.at = At::Rest;
            self.any = true;
        }
    }

    fn end(&mut self, taken: usize) -> UnitEnd {
        self.at = if self.in_array {
            At::ElementEnd
        } else {
            At::Top
        };
        UnitEnd {
            taken,
            kind: Kind::Record,
        }
    }

    /// The end of the file. An array that is not closed after a whole element cannot be told from one whose file lost its
    /// end there; nothing that is there is lost.
    pub(super) fn finish(&mut self) -> Kind {
        match self.at {
            At::Scalar => Kind::Record,
            At::Rest if !self.any => Kind::Nothing,
            At::Nested | At::Text | At::Escape | At::Rest => Kind::Rest,
            _ => Kind::Nothing,
        }
    }
}

/// What the decoder passes over between values.
fn separates(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']')
}

fn ends_scalar(b: u8) -> bool {
    matches!(
        b,
        b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' | b'{' | b'}' | b'"'
    )
}
