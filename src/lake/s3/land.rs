//! Landing: a PUT for small files, a multipart upload for large ones, and what an answer that never came means.

use std::path::Path;
use std::time::Duration;

use opendal::Writer;
use opendal::options::WriteOptions;

use super::fault::{Fault, FaultKind};
use super::{Backoff, LakePath, Landed, Mark, S3Lake, key, metadata_of};
use crate::lake::staged::Staged;

/// From this length on a file is uploaded in parts.
const MULTIPART_BYTES_MIN: u64 = 16 << 20;
/// A part's length, unless the file would have too many.
const PART_BYTES: u64 = 8 << 20;
/// S3 allows 10,000.
const PARTS_MAX: u64 = 9_000;
/// Parts under way at once. With the one that is read and the one that opendal holds back, an upload has so many plus two
/// in memory.
const PARTS_AT_ONCE: usize = 2;
/// Aborting an upload is tidying up: it is not tried for longer.
const ABORT_WITHIN: Duration = Duration::from_secs(5);

impl S3Lake {
    pub(super) async fn land_file(
        &self,
        staged: &Path,
        path: &LakePath,
        mark: &Mark,
    ) -> Result<Landed, Fault> {
        let mut file = Staged::open(staged, mark.copy).map_err(Fault::permanent)?;
        let mut backoff = Backoff::new(self.policy);
        let mut look_first = !self.conditional_writes;
        loop {
            if look_first && self.head(path).await?.is_some() {
                return Ok(Landed::Look);
            }
            match self.upload(&mut file, path, mark).await {
                Ok(()) => return Ok(Landed::Yes),
                Err(fault) if fault.kind == FaultKind::Condition => return Ok(Landed::Look),
                Err(fault) if fault.kind == FaultKind::Permanent => return Err(fault),
                Err(fault) => {
                    if !backoff.pause(&self.store.scrub(&fault.message)).await {
                        return Err(Fault {
                            kind: FaultKind::Transient,
                            ..fault
                        });
                    }
                    tracing::debug!(%path, error = %self.store.scrub(&fault.message), "landed again");
                }
            }
            look_first = true;
        }
    }

    async fn upload(&self, file: &mut Staged, path: &LakePath, mark: &Mark) -> Result<(), Fault> {
        file.rewind().map_err(Fault::permanent)?;
        if mark.copy.length < MULTIPART_BYTES_MIN {
            let contents = file.next(mark.copy.length).map_err(Fault::permanent)?;
            file.check_digest().map_err(Fault::permanent)?;
            let options = self.write_options(metadata_of(mark));
            self.operator
                .write_options(key(path)?, contents, options)
                .await?;
            return Ok(());
        }
        self.upload_parts(file, path, mark).await
    }

    async fn upload_parts(
        &self,
        file: &mut Staged,
        path: &LakePath,
        mark: &Mark,
    ) -> Result<(), Fault> {
        let options = WriteOptions {
            concurrent: PARTS_AT_ONCE,
            ..self.write_options(metadata_of(mark))
        };
        let mut writer = self.operator.writer_options(key(path)?, options).await?;
        let uploaded = self.write_and_complete(&mut writer, file, path, mark).await;
        if uploaded.is_err() {
            self.abort(&mut writer, path).await;
        }
        uploaded
    }

    /// Best effort: what is left of an upload is invisible, and can be aborted by its path later.
    async fn abort(&self, writer: &mut Writer, path: &LakePath) {
        let mut backoff = Backoff::new(self.policy.within(ABORT_WITHIN));
        while let Err(fault) = writer.abort().await.map_err(Fault::from) {
            match fault.kind {
                FaultKind::Absent => return,
                // MinIO, for one, may reset the connection on which it refused to complete.
                FaultKind::Transient if backoff.pause(&self.store.scrub(&fault.message)).await => {}
                _ => {
                    let error = self.store.scrub(&fault.message);
                    tracing::warn!(%path, %error, "upload not aborted");
                    return;
                }
            }
        }
    }

    async fn write_and_complete(
        &self,
        writer: &mut Writer,
        file: &mut Staged,
        path: &LakePath,
        mark: &Mark,
    ) -> Result<(), Fault> {
        let part = part_bytes(mark.copy.length);
        let mut left = mark.copy.length;
        while left > 0 {
            let contents = file.next(part.min(left)).map_err(Fault::permanent)?;
            left -= contents.len() as u64;
            writer.write(contents).await?;
        }
        file.check_digest().map_err(Fault::permanent)?;
        if !self.conditional_writes && self.head(path).await?.is_some() {
            return Err(Fault {
                kind: FaultKind::Condition,
                status: None,
                message: "something has this name".to_owned(),
            });
        }
        self.complete(writer).await
    }

    /// Completes an upload. Completing it again is harmless: it is there already (412), unknown (404), or answered anew.
    async fn complete(&self, writer: &mut Writer) -> Result<(), Fault> {
        let mut backoff = Backoff::new(self.policy);
        loop {
            match writer.close().await.map_err(Fault::from) {
                Ok(_) => return Ok(()),
                Err(fault)
                    if fault.kind == FaultKind::Transient
                        && backoff.pause(&self.store.scrub(&fault.message)).await =>
                {
                    tracing::debug!(error = %self.store.scrub(&fault.message), "completed again");
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// At least [`PART_BYTES`], and so many that [`PARTS_MAX`] suffice.
fn part_bytes(length: u64) -> u64 {
    PART_BYTES.max(length.div_ceil(PARTS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_length_has_fewer_parts_than_s3_allows() {
        assert_eq!(part_bytes(MULTIPART_BYTES_MIN), PART_BYTES);
        let huge = 4 << 40;
        assert!(huge / part_bytes(huge) < 10_000);
    }
}
