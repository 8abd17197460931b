//! A compressed file of any bytes: whatever comes out of it comes out the same however the file is read, the fingerprint is
//! of every byte, and nothing is handed out after a fault.

use std::io::{self, Read};

use lakeward::format::Compression;
use lakeward::format::decompress::{Decompressor, Fault, RawInput};
use lakeward::format::frame::SegmentBytes;
use lakeward::segment::Digest;

pub const ASKED: [Compression; 7] = [
    Compression::Auto,
    Compression::None,
    Compression::Gzip,
    Compression::Zstd,
    Compression::Bzip2,
    Compression::Xz,
    Compression::Lz4,
];

/// More than this is not unpacked: a bomb is as good as endless.
const ENOUGH: usize = 8 << 20;

#[derive(Debug, PartialEq)]
pub enum End {
    /// All of it was whole.
    Whole,
    Torn(String),
    /// There is more.
    More,
}

#[derive(Debug, PartialEq)]
pub struct Unpacked {
    pub bytes: Vec<u8>,
    pub end: End,
    pub compression: Compression,
    pub fingerprint: Option<Digest>,
}

/// # Panics
/// Where reading fails, which memory cannot.
#[must_use]
pub fn unpack(raw: RawInput, asked: Compression) -> Unpacked {
    unpack_by(raw, asked, |decompressor, bytes| {
        let chunk = decompressor.fill()?;
        bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    })
}

/// `read` takes what comes next to the end of the bytes, and says how much it was.
fn unpack_by(
    raw: RawInput,
    asked: Compression,
    mut read: impl FnMut(&mut Decompressor, &mut SegmentBytes) -> Result<usize, Fault>,
) -> Unpacked {
    let mut decompressor = Decompressor::new(raw, asked);
    let mut bytes = SegmentBytes::default();
    let end = loop {
        match read(&mut decompressor, &mut bytes) {
            Ok(0) => break End::Whole,
            Ok(_) => {}
            Err(Fault::Torn(reason)) => break End::Torn(reason),
            Err(Fault::Io(error)) => panic!("memory cannot be read: {error}"),
        }
        if bytes.len() >= ENOUGH {
            break End::More;
        }
    };
    Unpacked {
        bytes: bytes.to_vec(),
        compression: decompressor.compression(),
        end,
        fingerprint: decompressor.fingerprint().expect("memory can be read"),
    }
}

/// Hands out a byte, then two, then three, …
struct Dribble {
    bytes: Vec<u8>,
    at: usize,
    next: usize,
}

impl Read for Dribble {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.next.min(out.len()).min(self.bytes.len() - self.at);
        out[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        self.next += 1;
        Ok(n)
    }
}

/// The first byte says as what the file is read, the rest is the file.
///
/// # Panics
/// Where it does not hold.
pub fn hold(input: &[u8]) {
    let ([asked], file) = super::choices(input);
    let asked = ASKED[usize::from(asked) % ASKED.len()];
    let whole = unpack(RawInput::whole(file.to_vec(), true), asked);
    let dribble = Dribble {
        bytes: file.to_vec(),
        at: 0,
        next: 1,
    };
    let streamed = unpack(RawInput::new(Box::new(dribble), true), asked);
    assert_eq!(whole, streamed);
    let most = 1 + usize::from(file.first().copied().unwrap_or_default());
    let small = unpack_by(
        RawInput::new(Box::new(io::Cursor::new(file.to_vec())), true),
        asked,
        |decompressor, bytes| decompressor.append(bytes, most),
    );
    if whole.end != End::More {
        assert_eq!(whole, small);
    }
    assert_eq!(whole.fingerprint, Some(Digest::of(file)));
    if whole.compression == Compression::None && whole.end == End::Whole {
        assert_eq!(whole.bytes, file);
    }
    if let End::Torn(reason) = &whole.end {
        assert!(reason.contains("byte "), "{reason}");
    }
}
