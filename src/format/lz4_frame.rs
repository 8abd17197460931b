//! Walks along one lz4 frame while it is read, so that its end is known for certain.
//!
//! `lz4_flex` takes a frame that is cut off between two blocks for a whole one, and reads on into the next frame. This
//! reader hands out exactly one frame and then says "end"; whether the frame's end mark was seen is [`Lz4Frame::whole`].
//! Layout after the LZ4 Frame Format specification, version 1.6:
//!
//! ```text
//! magic 4 │ FLG 1 │ BD 1 │ content size 0 or 8 │ dictionary 0 or 4 │ HC 1 │ (size 4 │ data │ checksum 0 or 4)… │ 0 4 │ checksum 0 or 4
//! ```

use std::io::{self, Read};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Magic number, FLG and BD.
    Head,
    /// Content size, dictionary id, header checksum.
    Descriptor,
    BlockSize,
    Block,
    ContentChecksum,
    Done,
}

pub struct Lz4Frame<R> {
    inner: R,
    part: Part,
    /// Bytes missing of this part.
    left: u64,
    /// The bytes so far of a part that is looked into.
    seen: Vec<u8>,
    flags: u8,
}

impl<R> Lz4Frame<R> {
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            part: Part::Head,
            left: 6,
            seen: Vec::with_capacity(6),
            flags: 0,
        }
    }

    pub fn into_inner(self) -> R {
        self.inner
    }

    /// # Errors
    /// The frame's end was not reached.
    pub fn whole(&self) -> io::Result<()> {
        if self.part == Part::Done {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the frame has no end mark",
        ))
    }

    fn flag(&self, bit: u8) -> bool {
        self.flags & (1 << bit) != 0
    }

    fn enter(&mut self, part: Part, length: u64) {
        self.part = part;
        self.left = length;
        self.seen.clear();
    }

    /// The part is complete: which one follows?
    fn advance(&mut self) -> io::Result<()> {
        match self.part {
            Part::Head => {
                if self.seen.get(..4) != Some(&MAGIC[..]) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "not an lz4 frame",
                    ));
                }
                self.flags = self.seen.get(4).copied().unwrap_or_default();
                let size = if self.flag(3) { 8 } else { 0 };
                let dictionary = if self.flag(0) { 4 } else { 0 };
                self.enter(Part::Descriptor, size + dictionary + 1);
            }
            Part::Descriptor | Part::Block => self.enter(Part::BlockSize, 4),
            Part::BlockSize => {
                let bytes: [u8; 4] = self.seen.as_slice().try_into().unwrap_or_default();
                let size = u32::from_le_bytes(bytes);
                if size == 0 {
                    let checksum = if self.flag(2) { 4 } else { 0 };
                    self.enter(Part::ContentChecksum, checksum);
                } else {
                    let checksum = if self.flag(4) { 4 } else { 0 };
                    self.enter(Part::Block, u64::from(size & 0x7fff_ffff) + checksum);
                }
            }
            Part::ContentChecksum | Part::Done => self.enter(Part::Done, 0),
        }
        Ok(())
    }
}

impl<R: Read> Read for Lz4Frame<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 && self.part != Part::Done {
            self.advance()?;
        }
        let most = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut out[..most])?;
        self.left -= n as u64;
        if matches!(self.part, Part::Head | Part::BlockSize) {
            self.seen.extend_from_slice(&out[..n]);
        }
        while self.left == 0 && self.part != Part::Done {
            self.advance()?;
        }
        Ok(n)
    }
}
