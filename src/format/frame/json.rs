//! Units of JSON: the elements of an array, or values one after another; arrays and values may follow each other.
//!
//! Only brackets and strings are looked at; whether a value is right inside is the decoder's to say. A unit is what
//! stands before a value (blanks, `[`, one `,`, `]` of an array before) and the value. Between values the grammar is strict:
//! a missing or doubled comma, a stray bracket, a closing bracket of the wrong kind are syntax errors, after which
//! nobody can say where records begin: the rest of the file is one record.

use super::{Kind, UnitEnd};

/// How deep the kinds of open brackets are remembered; deeper ones are only counted (and refused by the decoder, whose
/// `depth_max` is far below).
const KINDS_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Outside of arrays, between values.
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
}

impl Default for Json {
    fn default() -> Self {
        Self {
            at: At::Top,
            in_array: false,
            closing: Vec::new(),
            deeper: 0,
        }
    }
}

impl Json {
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Option<UnitEnd> {
        let mut i = 0;
        while i < bytes.len() {
            let b = bytes[i];
            match self.at {
                At::Rest => return None,
                At::Top | At::ArrayStart | At::ElementEnd | At::Comma => {
                    self.between(b);
                    i += 1;
                }
                At::Scalar => {
                    if ends_scalar(b) {
                        return Some(self.end(i));
                    }
                    i += 1;
                }
                At::Text => {
                    i += memchr::memchr2(b'"', b'\\', &bytes[i..])?;
                    if bytes[i] == b'\\' {
                        self.at = At::Escape;
                        i += 1;
                        continue;
                    }
                    i += 1;
                    if self.closing.is_empty() {
                        return Some(self.end(i));
                    }
                    self.at = At::Nested;
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
                                return Some(self.end(i));
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
        if matches!(b, b' ' | b'\t' | b'\r' | b'\n') {
            return;
        }
        self.at = match (self.at, b) {
            (At::Top, b'[') => {
                self.in_array = true;
                At::ArrayStart
            }
            (At::ArrayStart | At::ElementEnd, b']') => {
                self.in_array = false;
                At::Top
            }
            (At::ElementEnd, b',') => At::Comma,
            (At::Top | At::ArrayStart | At::Comma, _) => self.begin_value(b),
            _ => At::Rest,
        };
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

    /// The end of the file. A value that is not closed, or a comma that nothing follows, is a rest; an array that is not
    /// closed after a whole element cannot be told from a file that ends there, and loses nothing.
    pub(super) fn finish(&mut self) -> Kind {
        match self.at {
            At::Top | At::ArrayStart | At::ElementEnd => Kind::Nothing,
            At::Scalar => {
                self.end(0);
                Kind::Record
            }
            At::Comma | At::Nested | At::Text | At::Escape | At::Rest => Kind::Rest,
        }
    }
}

fn ends_scalar(b: u8) -> bool {
    matches!(
        b,
        b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' | b'{' | b'}' | b'"'
    )
}
