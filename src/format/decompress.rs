//! Unpacks a spooled file's one layer of compression, as a stream of bounded memory.
//!
//! A compressed file is one or more *streams* one after another (gzip members, zstd and lz4 frames, bzip2 and xz
//! streams), with zero bytes between and after them where a tape or a block device padded it. Each library decodes one
//! stream; what may follow is decided here, in one way for all of them:
//!
//! ```text
//! ┌─────────┐ skippable frame ┌─────────┐ padding ┌─────┐
//! │ stream  │ ──────────────► │ stream  │ ──────► │ end │        anything else: torn
//! └─────────┘                 └─────────┘         └─────┘
//! ```
//!
//! What can go wrong: the stream is cut off, damaged, or followed by something else ([`Fault::Torn`]: what was handed
//! out before stands, the rest is missing); or the disk fails ([`Fault::Io`]: nothing can be said of the file). The
//! two are never mixed up: an error of a library counts as the file's only if the reader below it had none.
//!
//! Reads below always ask for the same sizes, so a damaged stream gives the same bytes before its tear each time.

use std::io::{self, BufRead, Read};

use super::Compression;
use super::frame::SegmentBytes;
use super::lz4_frame::Lz4Frame;
use crate::segment::{Digest, Digester};

/// Bytes asked of the file at once.
const RAW_BYTES: usize = 256 << 10;
/// Bytes asked of a decoder at once; what a *damaged* (not merely cut off) stream may lose before its tear.
const OUT_BYTES: usize = 64 << 10;
/// Largest window of zstd: 2^27 bytes, 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// What xz may allocate; its largest preset needs 65 MiB.
const XZ_MEMORY_MAX: u64 = 192 << 20;

/// Why no more bytes come.
#[derive(Debug)]
pub enum Fault {
    /// The file could not be read; reading it again may help.
    Io(io::Error),
    /// The file's content is cut off, damaged, or followed by what does not belong to it; said in words.
    Torn(String),
}

/// The file as it lies on the disk, with its fingerprint computed along the way.
pub struct RawInput {
    inner: Box<dyn Read + Send>,
    /// What was read and not taken is `buffer[at..end]`; what lies beyond is to be read over.
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    consumed: u64,
    digester: Option<Digester>,
    failed: Option<io::Error>,
    ended: bool,
}

impl RawInput {
    /// Reads from `inner` as needed. Without `fingerprint` the digest's work is saved.
    pub fn new(inner: Box<dyn Read + Send>, fingerprint: bool) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            at: 0,
            end: 0,
            consumed: 0,
            digester: fingerprint.then(Digester::default),
            failed: None,
            ended: false,
        }
    }

    /// A small file, read already.
    pub fn whole(bytes: Vec<u8>, fingerprint: bool) -> Self {
        let mut input = Self::new(Box::new(io::empty()), fingerprint);
        if let Some(digester) = &mut input.digester {
            digester.update(&bytes);
        }
        input.end = bytes.len();
        input.buffer = bytes;
        input.ended = true;
        input
    }

    /// Bytes handed to the decoder so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Reads once more behind what is buffered; false at the end.
    fn refill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.copy_within(self.at..self.end, 0);
        let had = self.end - self.at;
        (self.at, self.end) = (0, had);
        if self.buffer.len() < had + RAW_BYTES {
            self.buffer.resize(had + RAW_BYTES, 0);
        }
        let room = &mut self.buffer[had..had + RAW_BYTES];
        let got = match read_full(&mut self.inner, room) {
            Ok(got) => got,
            Err(e) => {
                self.failed = Some(io::Error::new(e.kind(), e.to_string()));
                return Err(e);
            }
        };
        self.ended = got < RAW_BYTES;
        if let Some(digester) = &mut self.digester {
            digester.update(&room[..got]);
        }
        self.end = had + got;
        Ok(got > 0)
    }

    /// The next `n` bytes without taking them; fewer only at the end of the file.
    fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        while self.end - self.at < n && self.refill()? {}
        let end = self.end.min(self.at + n);
        Ok(&self.buffer[self.at..end])
    }

    /// All that is buffered, taken; reads if there is nothing. Empty: the end.
    fn take(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end {
            self.refill()?;
        }
        let from = std::mem::replace(&mut self.at, self.end);
        self.consumed += (self.at - from) as u64;
        Ok(&self.buffer[from..self.end])
    }

    /// Takes the next bytes, up to `most`, to the end of `out`; none: the end.
    fn append(&mut self, out: &mut SegmentBytes, most: usize) -> io::Result<usize> {
        if self.at < self.end || self.ended {
            let n = (self.end - self.at).min(most);
            out.extend_from_slice(&self.buffer[self.at..self.at + n]);
            self.consume(n);
            return Ok(n);
        }
        let had = out.len();
        let got = match out.append(most, |room| read_full(&mut self.inner, room)) {
            Ok(got) => got,
            Err(e) => {
                self.failed = Some(io::Error::new(e.kind(), e.to_string()));
                return Err(e);
            }
        };
        self.ended = got < most;
        if let Some(digester) = &mut self.digester {
            digester.update(&out[had..]);
        }
        self.consumed += got as u64;
        Ok(got)
    }

    /// Skips `n` bytes; false if the file ends before.
    fn skip(&mut self, mut n: u64) -> io::Result<bool> {
        while n > 0 {
            let have = self.fill_buf()?.len();
            if have == 0 {
                return Ok(false);
            }
            let step = usize::try_from(n).map_or(have, |n| n.min(have));
            self.consume(step);
            n -= step as u64;
        }
        Ok(true)
    }

    /// Reads to the end and says the digest of the whole file as it lies on the disk.
    fn fingerprint(&mut self) -> io::Result<Option<Digest>> {
        if self.digester.is_none() {
            return Ok(None);
        }
        while !self.take()?.is_empty() {}
        Ok(self.digester.as_ref().map(Digester::digest))
    }
}

/// Reads until `out` is full or there is no more.
fn read_full(inner: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < out.len() {
        match inner.read(&mut out[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

impl Read for RawInput {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for RawInput {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end {
            self.refill()?;
        }
        Ok(&self.buffer[self.at..self.end])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
        self.consumed += n as u64;
    }
}

enum Stage {
    Plain(RawInput),
    /// Before the first stream, or after one.
    Between(RawInput),
    Gzip(Box<flate2::bufread::GzDecoder<RawInput>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, RawInput>>),
    Bzip2(Box<bzip2::bufread::BzDecoder<RawInput>>),
    Xz(Box<liblzma::bufread::XzDecoder<RawInput>>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<Lz4Frame<RawInput>>>),
    Ended(RawInput),
}

impl Stage {
    /// Decodes into `out`; 0 at the end of the stream.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Zstd(decoder) => decoder.read(out),
            Self::Bzip2(decoder) => decoder.read(out),
            Self::Xz(decoder) => decoder.read(out),
            Self::Lz4(decoder) => {
                let n = decoder.read(out)?;
                if n == 0 {
                    // The library takes a frame that is cut off between two blocks for a whole one.
                    decoder.get_ref().whole()?;
                }
                Ok(n)
            }
            Self::Plain(raw) | Self::Between(raw) | Self::Ended(raw) => raw.read(out),
        }
    }

    fn into_raw(self) -> RawInput {
        match self {
            Self::Plain(raw) | Self::Between(raw) | Self::Ended(raw) => raw,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Bzip2(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Lz4(decoder) => decoder.into_inner().into_inner(),
        }
    }
}

/// A spooled file's decompressed bytes.
pub struct Decompressor {
    /// `None` only while a stage is exchanged for the next.
    stage: Option<Stage>,
    compression: Compression,
    /// Streams begun, so that the first may be anything and later ones may be padding.
    streams: u64,
    out: SegmentBytes,
}

impl Decompressor {
    pub fn new(raw: RawInput, compression: Compression) -> Self {
        let stage = match compression {
            Compression::None => Stage::Plain(raw),
            _ => Stage::Between(raw),
        };
        Self {
            stage: Some(stage),
            compression,
            streams: 0,
            out: SegmentBytes::default(),
        }
    }

    /// What the file is compressed with; still `Auto` before the first [`Self::fill`].
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The next decompressed bytes; none: the end, everything was whole.
    ///
    /// # Errors
    /// After one, only [`Self::fingerprint`] may be called.
    pub fn fill(&mut self) -> Result<&[u8], Fault> {
        loop {
            match self.stage.as_ref() {
                Some(Stage::Plain(_)) => {
                    let Some(Stage::Plain(raw)) = self.stage.as_mut() else {
                        return Ok(&[]);
                    };
                    return raw.take().map_err(Fault::Io);
                }
                Some(Stage::Ended(_)) | None => return Ok(&[]),
                Some(Stage::Between(_)) => self.begin_stream()?,
                Some(_) => {
                    let mut out = std::mem::take(&mut self.out);
                    out.clear();
                    let read = self.read_stream(&mut out);
                    self.out = out;
                    if read? > 0 {
                        return Ok(&self.out);
                    }
                }
            }
        }
    }

    /// As [`Self::fill`], to the end of `out`: `most` bytes at most of a file that is not compressed.
    ///
    /// # Errors
    /// As [`Self::fill`].
    pub fn append(&mut self, out: &mut SegmentBytes, most: usize) -> Result<usize, Fault> {
        loop {
            match self.stage.as_mut() {
                Some(Stage::Plain(raw)) => return raw.append(out, most).map_err(Fault::Io),
                Some(Stage::Ended(_)) | None => return Ok(0),
                Some(Stage::Between(_)) => self.begin_stream()?,
                Some(_) => {
                    let n = self.read_stream(out)?;
                    if n > 0 {
                        return Ok(n);
                    }
                }
            }
        }
    }

    /// Reads what is left of the file and says the digest of all of it, as it lies on the disk. `None`: not asked for.
    pub fn fingerprint(&mut self) -> io::Result<Option<Digest>> {
        match self.take_raw() {
            Some(mut raw) => {
                let digest = raw.fingerprint();
                self.stage = Some(Stage::Ended(raw));
                digest
            }
            None => Ok(None),
        }
    }

    fn take_raw(&mut self) -> Option<RawInput> {
        self.stage.take().map(Stage::into_raw)
    }

    /// Decodes once, to the end of `out`; at the end of the stream, 0 and the stage is `Between`.
    fn read_stream(&mut self, out: &mut SegmentBytes) -> Result<usize, Fault> {
        let read = match self.stage.as_mut() {
            Some(stage) => out.append(OUT_BYTES, |room| stage.read(room)),
            None => Ok(0),
        };
        match read {
            Ok(0) => {
                self.stage = self.take_raw().map(Stage::Between);
                Ok(0)
            }
            Ok(n) => Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.read_stream(out),
            Err(e) => Err(self.fault(&e)),
        }
    }

    /// The disk's fault if it had one, the file's otherwise.
    fn fault(&mut self, error: &io::Error) -> Fault {
        let Some(mut raw) = self.take_raw() else {
            return Fault::Torn(error.to_string());
        };
        let failed = raw.failed.take();
        let at = raw.consumed();
        self.stage = Some(Stage::Ended(raw));
        match failed {
            Some(failed) => Fault::Io(failed),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Fault::Torn(format!(
                "the {} stream is cut off at byte {at} of the file",
                name_of(self.compression)
            )),
            None => Fault::Torn(format!(
                "the {} stream is damaged before byte {at} of the file: {error}",
                name_of(self.compression)
            )),
        }
    }

    /// Decides what follows: padding, a skippable frame, a stream, the end, or nothing that belongs here.
    fn begin_stream(&mut self) -> Result<(), Fault> {
        let Some(mut raw) = self.take_raw() else {
            return Ok(());
        };
        let next = self.next_stage(&mut raw);
        let stage = match next {
            Ok(next) => self.enter(next, raw),
            Err(fault) => {
                self.stage = Some(Stage::Ended(raw));
                return Err(fault);
            }
        };
        match stage {
            Ok(stage) => {
                self.stage = Some(stage);
                Ok(())
            }
            Err(e) => Err(Fault::Io(e)),
        }
    }

    fn next_stage(&mut self, raw: &mut RawInput) -> Result<Next, Fault> {
        if self.streams > 0 {
            skip_zeros(raw).map_err(Fault::Io)?;
        }
        let head = raw.peek(MAGIC_BYTES).map_err(Fault::Io)?;
        if head.is_empty() {
            if self.compression == Compression::Auto {
                // A file of nothing, or of skippable frames alone.
                self.compression = if self.streams == 0 {
                    Compression::None
                } else {
                    Compression::Zstd
                };
            }
            return Ok(Next::End);
        }
        if is_skippable(head) && takes_skippable(self.compression) {
            self.streams += 1;
            let length = skippable_length(raw).map_err(Fault::Io)?;
            let whole = match length {
                Some(length) => raw.skip(8 + u64::from(length)).map_err(Fault::Io)?,
                None => false,
            };
            if !whole {
                return Err(Fault::Torn(format!(
                    "a skippable frame is cut off at byte {} of the file",
                    raw.consumed()
                )));
            }
            return Ok(Next::Again);
        }
        let found = detect(head);
        if self.compression == Compression::Auto {
            if self.streams == 0 || found.is_some() {
                self.compression = found.unwrap_or(Compression::None);
            }
        } else if self.streams == 0 {
            // Fixed by the configuration: the library says what is wrong with another one.
            self.streams += 1;
            return Ok(Next::Stream);
        }
        if self.compression == Compression::None {
            return Ok(Next::Plain);
        }
        if self.streams > 0 && found != Some(self.compression) {
            return Err(Fault::Torn(format!(
                "after the end of a {} stream, at byte {} of the file, stands something else",
                name_of(self.compression),
                raw.consumed()
            )));
        }
        self.streams += 1;
        Ok(Next::Stream)
    }

    fn enter(&self, next: Next, raw: RawInput) -> io::Result<Stage> {
        Ok(match next {
            Next::End => Stage::Ended(raw),
            Next::Plain => Stage::Plain(raw),
            Next::Again => Stage::Between(raw),
            Next::Stream => match self.compression {
                Compression::Gzip => Stage::Gzip(Box::new(flate2::bufread::GzDecoder::new(raw))),
                Compression::Zstd => {
                    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?.single_frame();
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Stage::Zstd(Box::new(decoder))
                }
                Compression::Bzip2 => Stage::Bzip2(Box::new(bzip2::bufread::BzDecoder::new(raw))),
                Compression::Xz => {
                    let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_MAX, 0)?;
                    Stage::Xz(Box::new(liblzma::bufread::XzDecoder::new_stream(
                        raw, stream,
                    )))
                }
                Compression::Lz4 => Stage::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(
                    Lz4Frame::new(raw),
                ))),
                Compression::None | Compression::Auto => Stage::Plain(raw),
            },
        })
    }
}

enum Next {
    End,
    Plain,
    Stream,
    /// Something was skipped: look again.
    Again,
}

fn name_of(compression: Compression) -> &'static str {
    match compression {
        Compression::Auto | Compression::None => "plain",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
        Compression::Bzip2 => "bzip2",
        Compression::Xz => "xz",
        Compression::Lz4 => "lz4",
    }
}

/// `BZh`, level, and the first block's (or the end's) six bytes: "BZh" alone could be text.
const MAGIC_BYTES: usize = 10;

/// What begins with these bytes; a file that is nothing but the beginning of a magic number was cut off in it.
fn detect(head: &[u8]) -> Option<Compression> {
    const MAGICS: [(&[u8], Compression); 4] = [
        (&[0x1f, 0x8b, 0x08], Compression::Gzip),
        (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0x00], Compression::Xz),
        (&[0x04, 0x22, 0x4d, 0x18], Compression::Lz4),
    ];
    for (magic, compression) in MAGICS {
        let n = magic.len().min(head.len());
        if n >= 2 && head[..n] == magic[..n] {
            return Some(compression);
        }
    }
    let bzip2 = head.len() >= 4
        && head.starts_with(b"BZh")
        && head[3].is_ascii_digit()
        && [
            [0x31, 0x41, 0x59, 0x26, 0x53, 0x59],
            [0x17, 0x72, 0x45, 0x38, 0x50, 0x90],
        ]
        .iter()
        .any(|block| block.starts_with(&head[4..]));
    bzip2.then_some(Compression::Bzip2)
}

/// Skippable frames are zstd's and lz4's alike.
fn is_skippable(head: &[u8]) -> bool {
    head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18]
}

fn takes_skippable(compression: Compression) -> bool {
    matches!(
        compression,
        Compression::Auto | Compression::Zstd | Compression::Lz4
    )
}

fn skippable_length(raw: &mut RawInput) -> io::Result<Option<u32>> {
    let head = raw.peek(8)?;
    Ok(head
        .get(4..8)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_le_bytes))
}

fn skip_zeros(raw: &mut RawInput) -> io::Result<()> {
    loop {
        let have = raw.fill_buf()?;
        let zeros = have.iter().take_while(|b| **b == 0).count();
        let more = zeros > 0 && zeros == have.len();
        raw.consume(zeros);
        if !more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
