//! Keys that are likely to come next, compared without being scanned.

/// A key in quotes and its colon, to be compared by words. A key that JSON writes with escapes is never as expected, nor is
/// one so near the end of the text that a word would reach beyond.
#[derive(Debug)]
pub struct Expected {
    /// The last one is padded with zeros.
    words: Box<[u64]>,
    /// Of the last word.
    mask: u64,
    bytes: usize,
}

impl Expected {
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let is_plain = key.iter().all(|b| *b >= 0x20 && !b"\"\\".contains(b));
        let text = if is_plain {
            [b"\"", key, b"\":"].concat()
        } else {
            Vec::new()
        };
        let words = text.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let padding = text.len().next_multiple_of(8) - text.len();
        Self {
            words: words.collect(),
            mask: u64::MAX >> (8 * padding),
            bytes: text.len(),
        }
    }

    /// If the key and its colon stand at `at`, what follows them.
    #[inline]
    #[must_use]
    pub fn end(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let text = bytes.get(at..at + self.words.len() * 8)?;
        let (text, _) = text.as_chunks::<8>();
        let (last, words) = self.words.split_last()?;
        let (last_text, text) = text.split_last()?;
        let mut pairs = words.iter().zip(text);
        let agree = pairs.all(|(word, text)| *word == u64::from_le_bytes(*text))
            && *last == u64::from_le_bytes(*last_text) & self.mask;
        agree.then_some(at + self.bytes)
    }
}
