//! Whether a file still begins with what was journaled of it: asked before a quarantined file may go on at its checkpoint.

use super::stream::Stream;
use crate::format::ReadingSettings;
use crate::segment::{Digester, Segment};
use crate::spool::SpooledFile;

/// Reads the file from its beginning and holds each segment's bytes against its digest.
///
/// # Errors
/// The first segment that differs or is missing, in words.
pub fn verify_beginning(
    file: Box<dyn SpooledFile>,
    settings: &ReadingSettings,
    segments: &[Segment],
) -> Result<(), String> {
    let stat = file
        .stat()
        .map_err(|e| format!("it cannot be looked at: {e}"))?;
    let mut stream = Stream::open(file, &stat, settings, false)
        .map_err(|e| format!("it cannot be read: {e}"))?;
    let mut rest: Vec<u8> = Vec::new();
    for segment in segments {
        let mut digester = Digester::default();
        let mut missing = segment.bytes();
        while missing > 0 {
            if rest.is_empty() {
                let bytes = stream.fill().map_err(|fault| {
                    format!("it cannot be read up to offset {}: {fault:?}", segment.to)
                })?;
                if bytes.is_empty() {
                    return Err(format!(
                        "it ends at offset {}, before {} that was journaled",
                        segment.to - missing,
                        segment.to
                    ));
                }
                rest.extend_from_slice(bytes);
            }
            let take = usize::try_from(missing)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            digester.update(&rest[..take]);
            rest.drain(..take);
            missing -= take as u64;
        }
        if digester.digest() != segment.digest {
            return Err(format!(
                "its bytes from offset {} to {} are not those that were read then",
                segment.from, segment.to
            ));
        }
    }
    Ok(())
}
