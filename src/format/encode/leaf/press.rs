//! Pages, compressed.
//!
//! A codec's tables cost a megabyte and some microseconds to make, so all columns of all files that are written at the same time by one
//! lane share them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use flate2::write::GzEncoder;
use parquet::basic::{Compression, Encoding, GzipLevel, PageType, ZstdLevel};

use super::super::{Codec, EncodeError};
use super::packing::zigzag;

/// What snappy takes for its table.
const SNAPPY_MEMORY: usize = 64 << 10;
/// Room that is kept for the pages to come. A value of many megabytes is a page of its own, and seldom.
const ROOM_MAX: usize = 1 << 20;
/// What a page's header may come to.
const HEADER_BYTES: usize = 40;
/// What a page is kept in pieces of: freed ones fit the pages of all columns, where an allocator has regions of its own for each length.
const PIECE_BYTES: usize = 32 << 10;

/// What a footer calls it.
pub(in super::super) fn compression(codec: Codec) -> Result<Compression, EncodeError> {
    Ok(match codec {
        Codec::None => Compression::UNCOMPRESSED,
        Codec::Snappy => Compression::SNAPPY,
        Codec::Gzip => Compression::GZIP(GzipLevel::default()),
        Codec::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level)?),
        Codec::Lz4 => Compression::LZ4_RAW,
    })
}

/// Presses that wait for the next row group, as many as were in use at once.
pub(in super::super) struct Presses {
    codec: Codec,
    idle: Mutex<Vec<Press>>,
    memory: AtomicUsize,
}

impl Presses {
    pub(in super::super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            idle: Mutex::default(),
            memory: AtomicUsize::new(0),
        }
    }

    /// One to be given back.
    pub(in super::super) fn take(&self) -> Result<Press, EncodeError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let Some(press) = idle else {
            return Press::new(self.codec);
        };
        self.memory.fetch_sub(press.memory, Ordering::Relaxed);
        Ok(press)
    }

    pub(in super::super) fn give_back(&self, mut press: Press) {
        press.rest();
        self.memory.fetch_add(press.memory, Ordering::Relaxed);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(press);
    }

    /// Of those that are idle.
    pub(in super::super) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}

/// Compresses pages, and lends the room in which a page is put together.
pub(in super::super) struct Press {
    pub(super) page: Vec<u8>,
    pub(super) squeeze: Squeeze,
    /// While it is idle.
    memory: usize,
}

impl Press {
    fn new(codec: Codec) -> Result<Self, EncodeError> {
        Ok(Self {
            page: Vec::new(),
            squeeze: Squeeze {
                method: Method::of(codec)?,
                squeezed: Vec::new(),
            },
            memory: 0,
        })
    }

    /// Keeps what the next row group will want, and counts it.
    fn rest(&mut self) {
        let tables = match &mut self.squeeze.method {
            Method::Zstd(compressor) => compressor.context_mut().sizeof(),
            Method::Snappy(_) => SNAPPY_MEMORY,
            _ => 0,
        };
        let mut rooms = 0;
        for room in [&mut self.page, &mut self.squeeze.squeezed] {
            room.clear();
            room.shrink_to(ROOM_MAX);
            rooms += room.capacity();
        }
        self.memory = tables + rooms;
    }
}

enum Method {
    None,
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    Snappy(Box<snap::raw::Encoder>),
    Gzip,
    Lz4,
}

impl Method {
    fn of(codec: Codec) -> Result<Self, EncodeError> {
        Ok(match codec {
            Codec::None => Self::None,
            Codec::Zstd(level) => Self::Zstd(Box::new(zstd::bulk::Compressor::new(level)?)),
            Codec::Snappy => Self::Snappy(Box::new(snap::raw::Encoder::new())),
            Codec::Gzip => Self::Gzip,
            Codec::Lz4 => Self::Lz4,
        })
    }
}

pub(super) struct Squeeze {
    method: Method,
    squeezed: Vec<u8>,
}

impl Squeeze {
    fn compress<'a>(&'a mut self, page: &'a [u8]) -> Result<&'a [u8], EncodeError> {
        let squeezed = &mut self.squeezed;
        squeezed.clear();
        match &mut self.method {
            Method::None => return Ok(page),
            Method::Zstd(compressor) => {
                squeezed.reserve(zstd::zstd_safe::compress_bound(page.len()));
                compressor.compress_to_buffer(page, squeezed)?;
            }
            Method::Snappy(encoder) => {
                squeezed.resize(snap::raw::max_compress_len(page.len()), 0);
                let len = encoder.compress(page, squeezed).map_err(io::Error::from)?;
                squeezed.truncate(len);
            }
            Method::Gzip => {
                let level = flate2::Compression::new(GzipLevel::default().compression_level());
                let mut encoder = GzEncoder::new(&mut *squeezed, level);
                encoder.write_all(page)?;
                encoder.finish()?;
            }
            Method::Lz4 => {
                squeezed.resize(lz4_flex::block::get_maximum_output_size(page.len()), 0);
                let len = lz4_flex::block::compress_into(page, squeezed)
                    .map_err(|e| EncodeError::Refused(e.to_string()))?;
                squeezed.truncate(len);
            }
        }
        Ok(squeezed)
    }
}

/// The finished pages of a column chunk, each with its header.
#[derive(Default)]
pub(in super::super) struct Pages {
    /// Goes before the others, and is the last to be known.
    dictionary: Option<Pieces>,
    data: Pieces,
    pub(super) compressed: usize,
    pub(super) uncompressed: usize,
    /// How many data pages there are of each encoding, in the order of their first.
    pub(super) encodings: Vec<(Encoding, i32)>,
}

impl Pages {
    /// A page of the first version: levels and values together.
    pub(super) fn add_data(
        &mut self,
        page: &[u8],
        values: usize,
        encoding: Encoding,
        squeeze: &mut Squeeze,
    ) -> Result<(), EncodeError> {
        let body = squeeze.compress(page)?;
        let header = self.header(PageType::DATA_PAGE, page, body, values, encoding)?;
        self.data.add(&header, body);
        match self.encodings.last_mut() {
            Some((last, count)) if *last == encoding => *count += 1,
            _ => self.encodings.push((encoding, 1)),
        }
        Ok(())
    }

    pub(super) fn add_dictionary(
        &mut self,
        page: &[u8],
        values: usize,
        squeeze: &mut Squeeze,
    ) -> Result<(), EncodeError> {
        let body = squeeze.compress(page)?;
        let kind = PageType::DICTIONARY_PAGE;
        let header = self.header(kind, page, body, values, Encoding::PLAIN)?;
        self.dictionary.get_or_insert_default().add(&header, body);
        Ok(())
    }

    /// Of a page with this body, which is counted.
    fn header(
        &mut self,
        kind: PageType,
        page: &[u8],
        body: &[u8],
        values: usize,
        encoding: Encoding,
    ) -> Result<Vec<u8>, EncodeError> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        for number in [kind as i32, int(page.len())?, int(body.len())?] {
            field(number, &mut header);
        }
        // Field 5 or 7, a struct of numbers; its end and that of the header.
        header.push(match kind {
            PageType::DICTIONARY_PAGE => 0x4c,
            _ => 0x2c,
        });
        field(int(values)?, &mut header);
        field(encoding as i32, &mut header);
        if kind == PageType::DATA_PAGE {
            // Of both kinds of levels.
            field(Encoding::RLE as i32, &mut header);
            field(Encoding::RLE as i32, &mut header);
        }
        header.extend([0, 0]);
        self.uncompressed += header.len() + page.len();
        self.compressed += header.len() + body.len();
        Ok(header)
    }

    /// The length of the dictionary's page; `None` without one.
    pub(super) fn dictionary_len(&self) -> Option<usize> {
        let pieces = &self.dictionary.as_ref()?.0;
        Some(pieces.iter().map(Vec::len).sum())
    }

    /// All of them, as they stand in the file.
    pub(in super::super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let pieces = self.dictionary.iter().chain([&self.data]);
        pieces.flat_map(|pieces| &pieces.0).map(Vec::as_slice)
    }
}

/// Pages one after the other, each in pieces of its own.
#[derive(Default)]
struct Pieces(Vec<Vec<u8>>);

impl Pieces {
    fn add(&mut self, header: &[u8], body: &[u8]) {
        let (first, rest) = body.split_at(body.len().min(PIECE_BYTES - header.len()));
        self.0.push([header, first].concat());
        self.0.extend(rest.chunks(PIECE_BYTES).map(<[u8]>::to_vec));
    }
}

/// Thrift's compact protocol: the field after the last one, a number of 32 bits.
fn field(number: i32, header: &mut Vec<u8>) {
    header.push(0x15);
    zigzag(i64::from(number), header);
}

fn int(len: usize) -> Result<i32, EncodeError> {
    i32::try_from(len).map_err(|_| {
        EncodeError::Refused(format!("a page of {len} bytes is beyond Parquet's 2 GiB"))
    })
}
