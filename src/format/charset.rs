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

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(label: &str, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut t = Transcoder::new(label).unwrap().unwrap();
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            t.push(piece, false);
            out.extend_from_slice(t.text());
        }
        t.push(&[], true);
        out.extend_from_slice(t.text());
        out
    }

    #[test]
    fn utf_16_is_told_by_its_mark_whatever_the_label_says() {
        let text = "{\"a\":\"grün \u{1f600}\"}\n";
        let big: Vec<u8> = "\u{feff}"
            .encode_utf16()
            .chain(text.encode_utf16())
            .flat_map(u16::to_be_bytes)
            .collect();
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for piece in [1, 2, 3, 1000] {
            assert_eq!(convert("utf-16", &big, piece), text.as_bytes());
            assert_eq!(convert("utf-16le", &little, piece), text.as_bytes());
        }
        assert_eq!(convert("latin1", b"gr\xfcn", 1), "grün".as_bytes());
    }

    #[test]
    fn what_means_nothing_becomes_a_byte_that_is_no_utf_8() {
        let lone = [0x00, 0xd8, b'a', 0x00];
        assert_eq!(convert("utf-16le", &lone, 1), [UNKNOWN, b'a']);
        assert_eq!(convert("shift_jis", b"a\x81", 1), [b'a', UNKNOWN]);
    }

    #[test]
    fn utf_8_needs_no_conversion_and_an_unknown_label_is_refused() {
        assert!(Transcoder::new("UTF8").unwrap().is_none());
        assert!(Transcoder::new("klingon").is_err());
    }
}
