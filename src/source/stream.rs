//! An open spooled file as a stream of decoded bytes: read, unpacked, transcoded, bounded.

use std::io;
use std::sync::Arc;

use crate::format::charset::Transcoder;
use crate::format::decompress::{Decompressor, Fault, RawInput};
use crate::format::frame::SegmentBytes;
use crate::format::{Compression, ReadingSettings};
use crate::segment::{Digest, FileStat};
use crate::spool::{FileReader, SpooledFile};

/// Files up to this size are read in one go.
const SMALL_BYTES: u64 = 1 << 20;

pub(super) struct Stream {
    file: Arc<dyn SpooledFile>,
    decompressor: Decompressor,
    transcoder: Option<Transcoder>,
    decoded: u64,
    decoded_max: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Goes,
    /// `decoded_bytes_max` was reached and more follows.
    Over,
    Ended,
}

impl Stream {
    /// `fingerprint`: whether [`Self::fingerprint`] will be asked for.
    ///
    /// # Errors
    /// The file cannot be read. Settings with an unknown charset (configurations are checked before).
    pub(super) fn open(
        file: Box<dyn SpooledFile>,
        stat: &FileStat,
        settings: &ReadingSettings,
        fingerprint: bool,
    ) -> io::Result<Self> {
        let transcoder = Transcoder::new(&settings.charset)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let file: Arc<dyn SpooledFile> = file.into();
        let raw = if stat.size <= SMALL_BYTES {
            RawInput::whole(read_whole(&*file, stat.size as usize)?, fingerprint)
        } else {
            RawInput::new(Box::new(FileReader::new(Arc::clone(&file), 0)), fingerprint)
        };
        Ok(Self {
            file,
            decompressor: Decompressor::new(raw, settings.compression),
            transcoder,
            decoded: 0,
            decoded_max: match settings.decoded_bytes_max {
                0 => u64::MAX,
                max => max,
            },
            state: State::Goes,
        })
    }

    /// An uncompressed UTF-8 file from `offset` on, without reading what stands before.
    pub(super) fn open_at(file: Box<dyn SpooledFile>, offset: u64) -> Self {
        let file: Arc<dyn SpooledFile> = file.into();
        let raw = RawInput::new(Box::new(FileReader::new(Arc::clone(&file), offset)), false);
        Self {
            file,
            decompressor: Decompressor::new(raw, Compression::None),
            transcoder: None,
            decoded: offset,
            decoded_max: u64::MAX,
            state: State::Goes,
        }
    }

    /// Decoded bytes handed out, from the file's beginning.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded
    }

    /// What the file is compressed with; known after the first [`Self::fill`].
    pub(super) fn compression(&self) -> Compression {
        self.decompressor.compression()
    }

    /// The next decoded bytes; none: the end, and all of it was whole.
    pub(super) fn fill(&mut self) -> Result<&[u8], Fault> {
        if !self.goes()? {
            return Ok(&[]);
        }
        let chunk = match &mut self.transcoder {
            None => self.decompressor.fill()?,
            Some(transcoder) => transcode(&mut self.decompressor, transcoder)?,
        };
        let (state, length) = admit(self.decoded_max - self.decoded, chunk.len());
        self.state = state;
        self.decoded += length as u64;
        if length == 0 && state == State::Over {
            return Err(over(self.decoded_max));
        }
        Ok(&chunk[..length])
    }

    /// As [`Self::fill`], to the end of `out`; `most` bytes, more or less. None: the end.
    pub(super) fn append(&mut self, out: &mut SegmentBytes, most: usize) -> Result<usize, Fault> {
        if self.transcoder.is_some() {
            let chunk = self.fill()?;
            out.extend_from_slice(chunk);
            return Ok(chunk.len());
        }
        if !self.goes()? {
            return Ok(0);
        }
        let had = out.len();
        let read = self.decompressor.append(out, most)?;
        let (state, length) = admit(self.decoded_max - self.decoded, read);
        out.truncate(had + length);
        self.state = state;
        self.decoded += length as u64;
        if length == 0 && state == State::Over {
            return Err(over(self.decoded_max));
        }
        Ok(length)
    }

    /// Whether there may be more.
    fn goes(&self) -> Result<bool, Fault> {
        match self.state {
            State::Ended => Ok(false),
            State::Over => Err(over(self.decoded_max)),
            State::Goes => Ok(true),
        }
    }

    /// Reads what is left of the file and says its fingerprint.
    pub(super) fn fingerprint(&mut self) -> io::Result<Option<Digest>> {
        self.decompressor.fingerprint()
    }

    /// The open file's stat now.
    pub(super) fn stat(&self) -> io::Result<FileStat> {
        self.file.stat()
    }
}

/// How many of the bytes read may be handed out, where `room` is left for them, and what that makes of the stream.
fn admit(room: u64, read: usize) -> (State, usize) {
    let length = read.min(usize::try_from(room).unwrap_or(usize::MAX));
    let state = match read {
        0 => State::Ended,
        read if read > length => State::Over,
        _ => State::Goes,
    };
    (state, length)
}

fn over(decoded_max: u64) -> Fault {
    Fault::Torn(format!(
        "it decodes to more than decoded_bytes_max = {decoded_max} bytes"
    ))
}

/// The next non-empty piece of UTF-8, or nothing at the end.
fn transcode<'a>(
    decompressor: &mut Decompressor,
    transcoder: &'a mut Transcoder,
) -> Result<&'a [u8], Fault> {
    if transcoder.ended() {
        return Ok(&[]);
    }
    loop {
        let chunk = decompressor.fill()?;
        let last = chunk.is_empty();
        transcoder.push(chunk, last);
        if last || !transcoder.text().is_empty() {
            break;
        }
    }
    Ok(transcoder.text())
}

/// One read where the file is as long as its stat says.
fn read_whole(file: &dyn SpooledFile, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    let mut at = 0;
    while at < size {
        match file.read_at(&mut bytes[at..], at as u64) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

/// The fingerprint of a whole open file.
pub(super) fn fingerprint_of(
    file: Box<dyn SpooledFile>,
    stat: &FileStat,
) -> io::Result<Option<Digest>> {
    let raw = if stat.size <= SMALL_BYTES {
        RawInput::whole(read_whole(&*file, stat.size as usize)?, true)
    } else {
        RawInput::new(Box::new(FileReader::new(file, 0)), true)
    };
    Decompressor::new(raw, Compression::None).fingerprint()
}
