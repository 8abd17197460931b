//! A decoded stream of any bytes: its segments join on from its first byte to its last, each with the digest of its bytes,
//! however the bytes arrive, and framing goes on at the end of each as if it had never stopped.

use lakeward::format::ReadingSettings;
use lakeward::format::frame::{CUT_BYTES, Framed, Framer, is_cut};
use lakeward::segment::Digest;

pub struct Cut {
    pub segments: Vec<Framed>,
    pub header: Option<Vec<u8>>,
    pub misframed: bool,
}

/// Pushes `stream` in pieces of this length.
#[must_use]
pub fn cut(
    settings: &ReadingSettings,
    resume: u64,
    stream: &[u8],
    piece: usize,
    torn: bool,
) -> Cut {
    let mut framer = Framer::new(settings, resume, 0);
    let mut segments = Vec::new();
    for bytes in stream.chunks(piece.max(1)) {
        framer.push(bytes);
        segments.extend(std::iter::from_fn(|| framer.pop()));
    }
    framer.finish(torn);
    segments.extend(std::iter::from_fn(|| framer.pop()));
    Cut {
        segments,
        header: framer.header().map(<[u8]>::to_vec),
        misframed: framer.misframed(),
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').count() as u64 - 1
}

/// Four choices: format, limits, length of the pieces, whether the stream is torn; then the stream.
///
/// # Panics
/// Where it does not hold.
pub fn hold(input: &[u8]) {
    let ([format, limits, piece, torn], stream) = super::choices(input);
    let record_bytes_max = [0, 1, 12, 30, 1 << 20][usize::from(limits % 5)];
    let mut settings = super::reading(
        super::FORMATS[usize::from(format) % super::FORMATS.len()],
        record_bytes_max,
    );
    settings.segment_bytes = [1, 10, 40, 1 << 20][usize::from(limits / 5 % 4)];
    settings.csv.header = limits & 0x80 == 0;
    settings.csv.comment = (limits & 0x40 != 0).then_some(b'#');
    let torn = torn % 2 == 1;

    let whole = cut(&settings, 0, stream, stream.len(), torn);
    let pieced = cut(&settings, 0, stream, usize::from(piece), torn);
    assert_eq!(whole.segments, pieced.segments);
    assert_eq!(whole.header, pieced.header);
    assert!(!whole.misframed);

    let (mut at, mut line) = (0, 1);
    for segment in &whole.segments {
        assert_eq!((segment.from, segment.line), (at, line));
        assert!(segment.to > segment.from);
        let bytes = &stream[segment.from as usize..segment.to as usize];
        assert_eq!(segment.digest, Digest::of(bytes));
        let length = segment.to - segment.from;
        if is_cut(length, segment.records, record_bytes_max) {
            assert_eq!(segment.bytes[..], bytes[..bytes.len().min(CUT_BYTES)]);
        } else {
            assert_eq!(&segment.bytes[..], bytes);
            assert!(length <= settings.segment_bytes as u64 || segment.records <= 1);
        }
        line += newlines(bytes);
        at = segment.to;
    }
    assert!(torn || at == stream.len() as u64, "bytes are left over");
    if torn {
        return;
    }
    for segment in whole.segments.iter().take(5) {
        let again = cut(&settings, segment.to, stream, usize::from(piece), false);
        assert!(!again.misframed, "resumed at {}", segment.to);
        assert_eq!(whole.segments, again.segments);
    }
}
