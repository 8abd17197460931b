//! The identities that everything else is counted in: files, segments, offsets, digests.
//!
//! Pure values: nothing here does I/O or reads a clock.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash3_128;

/// XXH3-128 of some bytes: of a data file, a segment, or (then called a *fingerprint*) a spooled file.
///
/// It guards against accidents (torn writes, changed files, mixed-up names), not against somebody who
/// forges collisions: whoever may write into the spool may land what they like anyhow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of `bytes`, in one go.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(XxHash3_128::oneshot(bytes))
    }
}

/// Computes a [`Digest`] over bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Digester(Box<XxHash3_128>);

impl Digester {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.0.finish_128())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() != 32 || !text.bytes().all(is_hexadecimal) {
            return Err(format!(
                "`{text}` is not a digest: 32 hexadecimal digits are"
            ));
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| format!("`{text}` is not a digest: 32 hexadecimal digits are"))
    }
}

/// As it is printed: no sign, which the standard library would take, and no capitals.
fn is_hexadecimal(digit: u8) -> bool {
    digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// 64 random bits that name a journal for ever; 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalId(pub u64);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalId({self})")
    }
}

impl FromStr for JournalId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() != 16 || !text.bytes().all(is_hexadecimal) {
            return Err(format!(
                "`{text}` is not a journal id: 16 hexadecimal digits are"
            ));
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|e| e.to_string())
    }
}

impl Serialize for JournalId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JournalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A batch's number within its pipeline and journal: 1, 2, 3, … without a gap.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct BatchNumber(pub u64);

impl BatchNumber {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for BatchNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A spooled file's row in the journal. Given out in memory by the one agent that holds the journal's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(pub i64);

/// A path below the spool directory, any bytes but NUL, `/` between components, never absolute, no `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(Arc<[u8]>);

impl RelativePath {
    /// # Errors
    /// An empty, absolute or climbing path, said in words.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        let bad = bytes.is_empty()
            || bytes.contains(&0)
            || bytes
                .split(|b| *b == b'/')
                .any(|part| part.is_empty() || part == b"." || part == b"..");
        if bad {
            return Err(format!(
                "`{}` is not a path below the spool",
                bytes.escape_ascii()
            ));
        }
        Ok(Self(bytes.into()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn as_path(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt;
        std::path::Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }

    /// The last component.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => &self.0[at + 1..],
            None => &self.0,
        }
    }

    /// The directory part without the last `/`, empty at the top.
    #[must_use]
    pub fn parent(&self) -> &[u8] {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => &self.0[..at],
            None => &[],
        }
    }

    /// Text for people: control characters, those that turn the direction of writing, and bytes that are not UTF-8 as
    /// `\xNN`, `\` doubled.
    #[must_use]
    pub fn escaped(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c == '\\' {
                    text.push_str("\\\\");
                } else if c.is_control() || misleads(c) {
                    let mut buffer = [0; 4];
                    for b in c.encode_utf8(&mut buffer).bytes() {
                        text.push_str(&format!("\\x{b:02x}"));
                    }
                } else {
                    text.push(c);
                }
            }
            for b in chunk.invalid() {
                text.push_str(&format!("\\x{b:02x}"));
            }
        }
        text
    }

    /// The bytes that [`Self::escaped`] was made from.
    ///
    /// # Errors
    /// An escape that is not `\\` or `\xNN`, or a path that [`Self::new`] refuses.
    pub fn from_escaped(text: &str) -> Result<Self, String> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&b, tail)) = rest.split_first() {
            if b != b'\\' {
                bytes.push(b);
                rest = tail;
                continue;
            }
            match tail {
                [b'\\', after @ ..] => {
                    bytes.push(b'\\');
                    rest = after;
                }
                [b'x', high, low, after @ ..] => {
                    let digits = [*high, *low];
                    let value = std::str::from_utf8(&digits)
                        .ok()
                        .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
                        .and_then(|d| u8::from_str_radix(d, 16).ok())
                        .ok_or_else(|| format!("`{text}` has a broken escape"))?;
                    bytes.push(value);
                    rest = after;
                }
                _ => return Err(format!("`{text}` has a broken escape")),
            }
        }
        Self::new(&bytes)
    }
}

/// Characters that break a line or turn the direction of what follows, so that a name would show as another.
fn misleads(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped())
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelativePath({self})")
    }
}

/// In JSON a path is its escaped form, which loses nothing.
impl Serialize for RelativePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_escaped(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What a stat call says of a spooled file. Two stats of an untouched file are equal but for `device`, which
/// changes over a reboot and is compared only within one mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    pub inode: u64,
    pub device: u64,
    /// Bytes on disk, compressed as it lies there.
    pub size: u64,
    /// Nanoseconds since 1970; negative before.
    pub mtime_ns: i64,
}

impl FileStat {
    /// Same inode, size and time: the file was not touched.
    #[must_use]
    pub fn untouched(&self, other: &Self) -> bool {
        self.inode == other.inode && self.size == other.size && self.mtime_ns == other.mtime_ns
    }
}

/// A run of whole records of one spooled file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub file: FileId,
    /// Byte offsets into the decompressed stream, `[from, to)`. Segments of a file join on: what is no record
    /// (blank lines, a header, a BOM, commas of a JSON array) belongs to the segment it stands in.
    pub from: u64,
    pub to: u64,
    /// Line number (from 1) of the first byte.
    pub line: u64,
    /// Records framed in it, rejects included.
    pub records: u64,
    /// Nothing of the file follows.
    pub last: bool,
    /// Of the bytes `[from, to)`.
    pub digest: Digest,
}

impl Segment {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.to - self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_path_comes_back_byte_for_byte() {
        for bytes in [
            &b"a/b.json"[..],
            b"x\\y",
            b"\xff\xfe/z",
            "\u{1f600}\u{85}\n".as_bytes(),
        ] {
            let path = RelativePath::new(bytes).unwrap();
            assert_eq!(RelativePath::from_escaped(&path.escaped()).unwrap(), path);
        }
    }

    #[test]
    fn an_escape_or_a_digest_with_a_sign_is_refused() {
        for text in ["a\\x+f", "a\\x-0", "a\\xg0", "a\\x", "a\\", "a\\n"] {
            assert!(RelativePath::from_escaped(text).is_err(), "{text}");
        }
        let digits = "0123456789abcdef0123456789abcde";
        assert!(format!("{digits}f").parse::<Digest>().is_ok());
        for digit in ["+", "-"] {
            assert!(format!("{digit}{digits}").parse::<Digest>().is_err());
        }
        assert!(format!("{digits}F").parse::<Digest>().is_err());
    }

    /// As the reference implementation (xxHash 0.8.4, by Python's `xxhash`) has them: they stand in journals and manifests.
    #[test]
    fn digests_are_those_of_xxh3() {
        for (length, digest) in [
            (0, "99aa06d3014798d86001c324468d497f"),
            (1, "a6cd5e9392000f6ac44bdff4074eecdb"),
            (9, "2021488c8bbb1071c7e79610e2596d53"),
            (100, "43ffd14e26c7e9982acc49e82e431ee4"),
            (240, "fdbc6727ee5245e097bbe517fe96cbef"),
            (241, "51cb00f09ec3d1e0f9b0c86aa1991bb5"),
            (1000, "280551c0a89014f44ec0934c298bbfcf"),
            (1 << 20, "3909cfe9071046be0b82efc4da120e7e"),
        ] {
            let bytes: Vec<u8> = (0..length as u64)
                .map(|i| ((i * i + i / 7) % 251) as u8)
                .collect();
            assert_eq!(Digest::of(&bytes).to_string(), digest, "{length} bytes");
            let mut pieces = Digester::default();
            for piece in bytes.chunks(333) {
                pieces.update(piece);
            }
            assert_eq!(
                pieces.digest().to_string(),
                digest,
                "{length} bytes in pieces"
            );
        }
    }

    #[test]
    fn a_climbing_path_is_refused() {
        for bytes in [&b""[..], b"/a", b"a//b", b"../a", b"a/./b", b"a\0b"] {
            assert!(RelativePath::new(bytes).is_err());
        }
    }
}
