//! Other charsets to UTF-8, as a stream.
//!
//! Offsets of segments are of the UTF-8 stream that comes out here. UTF-8 itself passes through unchanged and
//! unchecked: the decoder refuses what is no UTF-8, record by record. A byte order mark decides between the UTF-16s
//! (and UTF-8) whatever the label said, and is taken away by this step; a UTF-8 file keeps its mark.
//!
//! Bytes that mean nothing in the charset become one byte `0xFF`, which is never part of UTF-8: so the record they
//! stand in is rejected instead of landed with a replacement character that nobody asked for.

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

/// What stands for bytes that the charset does not know.
const UNKNOWN: u8 = 0xff;

/// A charset's decoder.
pub struct Transcoder {
    decoder: Decoder,
    out: Vec<u8>,
    ended: bool,
}

impl Transcoder {
    /// `None` for UTF-8. `label`: of the WHATWG encoding standard.
    ///
    /// # Errors
    /// No such label, in words.
    pub fn new(label: &str) -> Result<Option<Self>, String> {
        let encoding = Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
            format!("charset `{label}` is not known; labels of the WHATWG encoding standard are, such as `utf-8`, `utf-16le`, `windows-1252`")
        })?;
        if encoding == UTF_8 {
            return Ok(None);
        }
        Ok(Some(Self {
            decoder: encoding.new_decoder(),
            out: Vec::new(),
            ended: false,
        }))
    }

    /// What the last [`Self::push`] made.
    pub fn text(&self) -> &[u8] {
        &self.out
    }

    /// The last bytes were pushed.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Turns `bytes` into UTF-8, as far as it is decided; [`Self::text`] has it. `last`: nothing follows; said once.
    pub fn push(&mut self, bytes: &[u8], last: bool) {
        self.out.clear();
        self.ended = last;
        let mut rest = bytes;
        loop {
            let room = self
                .decoder
                .max_utf8_buffer_length_without_replacement(rest.len())
                .unwrap_or(rest.len().saturating_mul(4))
                + 16;
            let had = self.out.len();
            self.out.resize(had + room, 0);
            let (result, read, written) =
                self.decoder
                    .decode_to_utf8_without_replacement(rest, &mut self.out[had..], last);
            self.out.truncate(had + written);
            rest = &rest[read..];
            match result {
                DecoderResult::InputEmpty => return,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => self.out.push(UNKNOWN),
            }
        }
    }
}
