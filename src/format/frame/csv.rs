//! Units of CSV and TSV: records after RFC 4180, read leniently.
//!
//! A record ends at `\n` outside quotes (a `\r` before it is the decoder's to strip; alone it ends nothing). A quote
//! opens only at a field's beginning; inside, two quotes are one; after the closing one whatever follows up to the
//! delimiter still belongs to the field. Empty lines and lines that begin with the comment byte are no records. The first
//! record is the header where the settings say so.

use super::{Kind, Tail, UnitEnd};
use crate::format::CsvSettings;

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    RecordStart,
    /// A `\r` and nothing else so far.
    CarriageReturn,
    FieldStart,
    Field,
    Quoted,
    /// A quote inside quotes: the closing one, or half of a doubled one.
    QuoteInQuoted,
    Comment,
}

pub(super) struct Csv {
    delimiter: u8,
    /// `None`: quotes mean nothing.
    quote: Option<u8>,
    comment: Option<u8>,
    header_pending: bool,
    at: At,
}

impl Csv {
    pub(super) fn new(settings: &CsvSettings) -> Self {
        Self {
            delimiter: settings.delimiter,
            quote: (settings.quote != 0).then_some(settings.quote),
            comment: settings.comment,
            header_pending: settings.header,
            at: At::RecordStart,
        }
    }

    pub(super) fn scan(&mut self, bytes: &[u8]) -> Option<UnitEnd> {
        if self.at == At::RecordStart
            && let Some(end) = self.whole_record(bytes)
        {
            self.at = At::Field;
            return Some(self.end(end));
        }
        let mut i = 0;
        while i < bytes.len() {
            let b = bytes[i];
            match self.at {
                At::RecordStart | At::CarriageReturn | At::FieldStart => {
                    if b == b'\n' {
                        return Some(self.end(i + 1));
                    }
                    self.at = self.begin_field(b);
                    i += 1;
                }
                At::Field => {
                    i += memchr::memchr2(self.delimiter, b'\n', &bytes[i..])?;
                    if bytes[i] == b'\n' {
                        return Some(self.end(i + 1));
                    }
                    self.at = At::FieldStart;
                    i += 1;
                }
                At::Quoted => {
                    i += memchr::memchr(self.quote?, &bytes[i..])? + 1;
                    self.at = At::QuoteInQuoted;
                }
                At::QuoteInQuoted => {
                    if b == b'\n' {
                        return Some(self.end(i + 1));
                    }
                    self.at = if Some(b) == self.quote {
                        At::Quoted
                    } else if b == self.delimiter {
                        At::FieldStart
                    } else {
                        At::Field
                    };
                    i += 1;
                }
                At::Comment => {
                    i += memchr::memchr(b'\n', &bytes[i..])?;
                    return Some(self.end(i + 1));
                }
            }
        }
        None
    }

    /// One past the end of the record that begins here, if all of it is here: from quote to quote, without a look at fields. A
    /// quote opens one where a delimiter stands before it.
    #[inline]
    fn whole_record(&self, bytes: &[u8]) -> Option<usize> {
        let first = *bytes.first()?;
        if matches!(first, b'\r' | b'\n') || self.comment == Some(first) {
            return None;
        }
        let mut end = memchr::memchr(b'\n', bytes)?;
        let Some(quote) = self.quote else {
            return Some(end + 1);
        };
        let mut at = 0;
        while let Some(found) = memchr::memchr(quote, &bytes[at..end]) {
            at += found + 1;
            if at > 1 && bytes[at - 2] != self.delimiter {
                continue;
            }
            loop {
                at += memchr::memchr(quote, &bytes[at..])? + 1;
                if *bytes.get(at)? != quote {
                    break;
                }
                at += 1;
            }
            if at > end {
                end = at + memchr::memchr(b'\n', &bytes[at..])?;
            }
        }
        Some(end + 1)
    }

    fn begin_field(&self, b: u8) -> At {
        let first = self.at == At::RecordStart;
        if first && self.comment == Some(b) {
            At::Comment
        } else if first && b == b'\r' {
            At::CarriageReturn
        } else if Some(b) == self.quote && self.at != At::CarriageReturn {
            At::Quoted
        } else if b == self.delimiter {
            At::FieldStart
        } else {
            At::Field
        }
    }

    fn end(&mut self, taken: usize) -> UnitEnd {
        UnitEnd {
            taken,
            kind: self.kind(),
        }
    }

    /// What the unit that ends here is; the next one begins.
    fn kind(&mut self) -> Kind {
        let at = std::mem::replace(&mut self.at, At::RecordStart);
        match at {
            At::RecordStart | At::CarriageReturn | At::Comment => Kind::Nothing,
            _ if std::mem::take(&mut self.header_pending) => Kind::Header,
            _ => Kind::Record,
        }
    }

    pub(super) fn finish(&mut self) -> Tail {
        if self.at == At::Quoted {
            Tail::OpenQuote(self.kind())
        } else {
            Tail::Unit(self.kind())
        }
    }
}
