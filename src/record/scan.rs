//! The JSON scanner: RFC 8259 to the letter, onto a reusable flat tape.
//!
//! It refuses what readers disagree about: control characters inside strings, leading zeros, lone surrogates (they have
//! no UTF-8 form), anything after the value. Depth is bounded by the caller and the stack is the scanner's own, so a depth bomb
//! costs one reject. Duplicate keys are all on the tape; what to do with them is the reader's business.

/// What a node is. `Integer` has neither fraction nor exponent, `Decimal` has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    False,
    True,
    Integer,
    Decimal,
    String,
    Object,
    Array,
}

/// A value or a key on the tape; offsets into the scanned bytes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub kind: Kind,
    /// Of a string: it holds `\`.
    pub escaped: bool,
    /// Of a string the first byte after its quote.
    pub start: u32,
    /// One past the last byte; of a string that of its closing quote.
    pub end: u32,
    /// The node after this one and all that it holds.
    pub next: u32,
}

impl Node {
    /// The text as it came; of a string without quotes.
    #[must_use]
    pub fn inner<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// The text as it came; of a string with its quotes.
    #[must_use]
    pub fn raw<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let quote = usize::from(self.kind == Kind::String);
        &bytes[self.start as usize - quote..self.end as usize + quote]
    }
}

/// Where the scanner stopped and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Byte offset into what was scanned.
    pub at: usize,
    pub what: &'static str,
}

type Scanned<T> = Result<T, Malformed>;

fn malformed<T>(at: usize, what: &'static str) -> Scanned<T> {
    Err(Malformed { at, what })
}

/// The nodes of one value, in the order of the text; of an object key, value, key, value.
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
    /// The containers that are open.
    open: Vec<u32>,
}

impl Tape {
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Scans `bytes`, which must hold one JSON value and nothing but white space around it.
    ///
    /// `bytes` must be UTF-8; `depth_max` counts open containers, 0 means no limit.
    ///
    /// # Errors
    /// The first byte that is not JSON. The tape is then of no use.
    pub fn scan(&mut self, bytes: &[u8], depth_max: u32) -> Scanned<()> {
        let end = self.scan_value(bytes, depth_max)?;
        match bytes[skip_blanks(bytes, end)..] {
            [] => Ok(()),
            _ => malformed(skip_blanks(bytes, end), "something follows the value"),
        }
    }

    /// Scans the value that `bytes` begins with and answers its end.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub fn scan_value(&mut self, bytes: &[u8], depth_max: u32) -> Scanned<usize> {
        if bytes.len() > u32::MAX as usize {
            return malformed(0, "longer than 4 GiB");
        }
        let depth_max = if depth_max == 0 {
            usize::MAX
        } else {
            depth_max as usize
        };
        self.nodes.clear();
        self.open.clear();
        let mut at = 0;
        loop {
            at = skip_blanks(bytes, at);
            let Some(&first) = bytes.get(at) else {
                return malformed(at, "a value is missing");
            };
            match first {
                b'"' => at = self.string(bytes, at)?,
                b'{' => {
                    self.begin(Kind::Object, at, depth_max)?;
                    at = skip_blanks(bytes, at + 1);
                    if bytes.get(at) != Some(&b'}') {
                        at = self.key(bytes, at)?;
                        continue;
                    }
                    at += 1;
                    self.end(at);
                }
                b'[' => {
                    self.begin(Kind::Array, at, depth_max)?;
                    at = skip_blanks(bytes, at + 1);
                    if bytes.get(at) != Some(&b']') {
                        continue;
                    }
                    at += 1;
                    self.end(at);
                }
                b'-' | b'0'..=b'9' => {
                    let (end, kind) = number(bytes, at)?;
                    self.push(kind, false, at, end);
                    at = end;
                }
                _ => {
                    let (kind, word) = match first {
                        b't' => (Kind::True, &b"true"[..]),
                        b'f' => (Kind::False, &b"false"[..]),
                        b'n' => (Kind::Null, &b"null"[..]),
                        _ => return malformed(at, "no JSON value begins like this"),
                    };
                    if !bytes[at..].starts_with(word) {
                        return malformed(at, "no JSON value begins like this");
                    }
                    self.push(kind, false, at, at + word.len());
                    at += word.len();
                }
            }
            match self.after_value(bytes, at)? {
                Next::Value(next) => at = next,
                Next::Done(end) => return Ok(end),
            }
        }
    }

    /// Closes what ends at `at`, and goes on to the next value, or to the end of the outermost.
    #[inline]
    fn after_value(&mut self, bytes: &[u8], mut at: usize) -> Scanned<Next> {
        while let Some(&open) = self.open.last() {
            at = skip_blanks(bytes, at);
            let object = self.nodes[open as usize].kind == Kind::Object;
            match bytes.get(at) {
                Some(b',') if object => {
                    let start = skip_blanks(bytes, at + 1);
                    return Ok(Next::Value(self.key(bytes, start)?));
                }
                Some(b',') => return Ok(Next::Value(at + 1)),
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                Some(_) if object => return malformed(at, "`,` or `}` is missing"),
                Some(_) => return malformed(at, "`,` or `]` is missing"),
                None if object => return malformed(at, "the object does not end"),
                None => return malformed(at, "the array does not end"),
            }
            at += 1;
            self.end(at);
        }
        Ok(Next::Done(at))
    }

    #[inline]
    fn push(&mut self, kind: Kind, escaped: bool, start: usize, end: usize) {
        self.nodes.push(Node {
            kind,
            escaped,
            start: start as u32,
            end: end as u32,
            next: self.nodes.len() as u32 + 1,
        });
    }

    fn begin(&mut self, kind: Kind, at: usize, depth_max: usize) -> Scanned<()> {
        if self.open.len() >= depth_max {
            return malformed(at, "nested deeper than `depth_max`");
        }
        self.open.push(self.nodes.len() as u32);
        self.push(kind, false, at, at);
        Ok(())
    }

    fn end(&mut self, end: usize) {
        let next = self.nodes.len() as u32;
        if let Some(open) = self.open.pop() {
            let node = &mut self.nodes[open as usize];
            node.end = end as u32;
            node.next = next;
        }
    }

    /// A key and its colon; answers where the value may begin.
    #[inline]
    fn key(&mut self, bytes: &[u8], at: usize) -> Scanned<usize> {
        if bytes.get(at) != Some(&b'"') {
            return malformed(at, "a key in quotes is missing");
        }
        let end = self.string(bytes, at)?;
        if bytes.get(end) == Some(&b':') {
            return Ok(end + 1);
        }
        let end = skip_blanks(bytes, end);
        if bytes.get(end) == Some(&b':') {
            return Ok(end + 1);
        }
        malformed(end, "`:` is missing")
    }

    /// `at` is the opening quote; answers one past the closing one.
    #[inline]
    fn string(&mut self, bytes: &[u8], at: usize) -> Scanned<usize> {
        let start = at + 1;
        let end = plain_end(bytes, start);
        if bytes.get(end) == Some(&b'"') {
            self.push(Kind::String, false, start, end);
            return Ok(end + 1);
        }
        let end = escaped_end(bytes, end)?;
        self.push(Kind::String, true, start, end);
        Ok(end + 1)
    }
}

enum Next {
    Value(usize),
    Done(usize),
}

/// The first byte from `at` that is not JSON's white space.
#[inline]
#[must_use]
pub fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Whether one of the bytes is `"`, `\` or a control character. The compiler makes vector instructions of it.
#[inline]
#[must_use]
pub fn has_special(bytes: &[u8; 32]) -> bool {
    let special = |b: u8| u8::from(b == b'"') | u8::from(b == b'\\') | u8::from(b < 0x20);
    bytes.iter().fold(0, |found, &b| found | special(b)) != 0
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that is `"`, `\` or a control character; above the lowest one there may be false ones.
#[inline]
#[must_use]
pub fn specials(word: u64) -> u64 {
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_quote | is_backslash | is_control) & HIGHS
}

/// The first byte from `at` that is `"`, `\` or a control character, or the end.
#[inline]
#[must_use]
pub fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    // Most strings end within the first words; long ones are passed in longer strides.
    let stride_from = at + 16;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = specials(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
        if at == stride_from {
            while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
                && !has_special(chunk)
            {
                at += 32;
            }
        }
    }
    while let Some(&b) = bytes.get(at) {
        if b == b'"' || b == b'\\' || b < 0x20 {
            return at;
        }
        at += 1;
    }
    at
}

/// The key without escapes that stands in quotes at `at`, and what follows its colon.
#[inline]
#[must_use]
pub fn plain_key(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = plain_end(bytes, at + 1);
    if bytes.get(end) != Some(&b'"') {
        return None;
    }
    let colon = skip_blanks(bytes, end + 1);
    (bytes.get(colon) == Some(&b':')).then(|| (&bytes[at + 1..end], colon + 1))
}

/// The closing quote of a string whose first `\`, control character or end is at `at`.
fn escaped_end(bytes: &[u8], mut at: usize) -> Scanned<usize> {
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => at = plain_end(bytes, escape_end(bytes, at)?),
            Some(_) => return malformed(at, "a control character inside a string"),
            None => return malformed(at, "the string does not end"),
        }
    }
}

/// The end of the escape whose `\` is at `at`.
///
/// # Errors
/// JSON has no such escape, or it is half a surrogate pair.
pub fn escape_end(bytes: &[u8], at: usize) -> Scanned<usize> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex4(bytes, at + 2) {
            None => malformed(at, "`\\u` without four hexadecimal digits"),
            Some(0xDC00..=0xDFFF) => malformed(at, "half a surrogate pair"),
            Some(0xD800..=0xDBFF) => {
                let low = (bytes.get(at + 6..at + 8) == Some(b"\\u"))
                    .then(|| hex4(bytes, at + 8))
                    .flatten();
                match low {
                    Some(0xDC00..=0xDFFF) => Ok(at + 12),
                    _ => malformed(at, "half a surrogate pair"),
                }
            }
            Some(_) => Ok(at + 6),
        },
        _ => malformed(at, "an escape that JSON does not have"),
    }
}

/// Four hexadecimal digits at `at`.
#[must_use]
pub fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let mut value = 0;
    for b in bytes.get(at..at + 4)? {
        value = value << 4 | (*b as char).to_digit(16)?;
    }
    Some(value)
}

/// The JSON number that begins at `at`: its end, `Integer` or `Decimal`.
///
/// # Errors
/// A leading zero, a sign, point or exponent without digits.
#[inline]
pub fn number(bytes: &[u8], start: usize) -> Scanned<(usize, Kind)> {
    let mut at = start;
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    let first = at;
    at = skip_digits(bytes, at);
    if at == first {
        return malformed(at, "a digit is missing");
    }
    if bytes[first] == b'0' && at > first + 1 {
        return malformed(first, "a leading zero");
    }
    let mut kind = Kind::Integer;
    if bytes.get(at) == Some(&b'.') {
        kind = Kind::Decimal;
        let first = at + 1;
        at = skip_digits(bytes, first);
        if at == first {
            return malformed(at, "a digit is missing");
        }
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        kind = Kind::Decimal;
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        let first = at;
        at = skip_digits(bytes, first);
        if at == first {
            return malformed(at, "a digit is missing");
        }
    }
    Ok((at, kind))
}

#[inline]
fn skip_digits(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}
