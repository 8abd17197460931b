//! A batch's facts, as the journal stages them and as the manifest in the lake repeats them.
//!
//! A manifest is what `rebuild` believes. It is created and never overwritten; the numbers of a journal's manifests
//! are dense; a revision (a re-encoded file, an accepted loss) is a new name. A tombstone at a journal's next number
//! closes that journal for ever.

use serde::{Deserialize, Serialize};

use crate::segment::{BatchNumber, Digest, Digester, FileStat, JournalId, RelativePath};

/// The number of the manifest's own format.
pub const MANIFEST_FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub pipeline: String,
    pub journal: JournalId,
    pub batch: BatchNumber,
    /// 0, or counting up where facts were added after the batch was staged.
    pub revision: u32,
    /// The pipeline's highest batch committed when this was staged; 0 for none.
    pub committed: BatchNumber,
    /// Names the lake (type, root, bucket, endpoint), without secrets.
    pub lake: String,
    pub body: ManifestBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per batch, and nearly all are batches"
)]
pub enum ManifestBody {
    Batch(Membership),
    Tombstone(Tombstone),
}

/// Closes a journal: whoever meets it at the number it was about to use stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The journal that took over.
    pub successor: JournalId,
    /// An operator gave the spool to another journal (`adopt`), which believes nothing of what this one wrote. Otherwise
    /// it was rebuilt from this one's manifests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// What a batch is made of. Indices (`file`) count within this manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Membership {
    /// The spool's random id, from its claim.
    pub spool: JournalId,
    /// `format::ReadingSettings` as JSON, each once: a batch may have 100,000 files that are read alike.
    pub readings: Vec<serde_json::Value>,
    pub files: Vec<ManifestFile>,
    pub segments: Vec<ManifestSegment>,
    pub data_files: Vec<DataFile>,
    pub encoding: Encoding,
    /// Numbers of the data files whose loss an operator accepted (`resolve --accept-loss`): those of them that still stand in
    /// staging or in the lake land all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_files: Vec<u32>,
}

/// All that encoding depends on, so that a re-encode can be told to be the same or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    pub schema_version: u32,
    /// The schema of that version (`schema::Schema` as JSON).
    pub schema: serde_json::Value,
    /// The path template.
    pub path: String,
    pub timezone: String,
    /// Version of the time zone database that `timezone` was read from.
    pub tzdb: String,
    /// Nanoseconds since 1970 at which the batch was opened: `_ingested_at` of all its records.
    pub batch_time_ns: i64,
    /// `schema.timezone`: of times without an offset.
    #[serde(default)]
    pub zone_of_times: String,
    /// `schema.timestamp_unit` of numbers: `auto`, `s`, `ms`, `us` or `ns`.
    #[serde(default)]
    pub timestamp_unit: String,
    /// `parquet hive snappy`, for people.
    pub format: String,
    /// Versions of decoder and encoder: `lakeward 0.1.0, decoder 1, encoder 1`.
    pub versions: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestFile {
    pub path: RelativePath,
    pub stat: FileStat,
    /// Of the whole file as it lies on disk; known once all of it was read.
    pub fingerprint: Option<Digest>,
    /// Index into `readings`: how the file is read, fixed at its first segment.
    pub reading: u32,
    /// The file's size in decompressed bytes; known once all of it was read.
    pub decoded: Option<u64>,
    /// Why the rest of the file is missing: it is quarantined once what is whole of it is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<String>,
    /// CSV: the names that its header gave, which later segments do not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestSegment {
    /// Index into `files`.
    pub file: u32,
    pub from: u64,
    pub to: u64,
    pub line: u64,
    pub records: u64,
    pub rejected: u64,
    /// Bytes of the rejected records and of what is no record (blank lines, headers).
    pub rejected_bytes: u64,
    pub skipped_bytes: u64,
    pub last: bool,
    pub digest: Digest,
    /// Which lane encoded it; a lane's segments stand in the order in which it took them.
    pub lane: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFileKind {
    Data,
    Reject,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// Counts from 0 within the batch.
    pub number: u32,
    pub kind: DataFileKind,
    /// Final path below the lake's root.
    pub path: String,
    /// File name within the journal's staging directory.
    pub staged: String,
    /// One per digest: a file encoded again adds a length and a digest.
    pub copies: Vec<DataFileCopy>,
    pub records: u64,
    /// Over (segment index, ordinal) of its records in the order written, see [`MembershipDigester`].
    pub membership: Digest,
    pub lane: u32,
    /// The partition's path below the template's root, `dt=2026-11-22/region=eu`; of a reject file, its directory.
    pub partition: String,
    pub schema_version: u32,
}

/// Length in bytes and digest of one encoding of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFileCopy {
    pub length: u64,
    pub digest: Digest,
}

/// Digest of which records a data file holds: `segment` is the index into the batch's segments *of its lane* (0 for
/// the first that the lane took), `ordinal` the record's number within the segment, from 0.
#[derive(Clone, Default)]
pub struct MembershipDigester(Digester);

impl MembershipDigester {
    pub fn push(&mut self, segment: u32, ordinal: u32) {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&segment.to_le_bytes());
        bytes[4..].copy_from_slice(&ordinal.to_le_bytes());
        self.0.update(&bytes);
    }

    /// As [`Self::push`] of each, at a fraction of its cost.
    pub fn extend(&mut self, origins: &[(u32, u32)]) {
        let mut bytes = [0; 1024];
        for origins in origins.chunks(bytes.len() / 8) {
            let (places, _) = bytes.as_chunks_mut::<8>();
            for (place, (segment, ordinal)) in places.iter_mut().zip(origins) {
                let pair = u64::from(*ordinal) << 32 | u64::from(*segment);
                *place = pair.to_le_bytes();
            }
            self.0.update(&bytes[..origins.len() * 8]);
        }
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest()
    }
}

/// A manifest that could not be believed: input like any other.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ManifestText(pub String);

impl Manifest {
    /// # Panics
    /// Never: every field has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest is plain data")
    }

    /// Reads a manifest and checks what a forged or damaged one could abuse.
    ///
    /// # Errors
    /// Not JSON, a newer format, an index out of range, a path that climbs out of the lake.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestText> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|e| ManifestText(format!("not a manifest: {e}")))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// What [`Self::from_json`] checks: whoever writes a manifest that does not pass could not read it again.
    ///
    /// # Errors
    /// A newer format, an index out of range, a path that climbs out of the lake.
    pub fn check(&self) -> Result<(), ManifestText> {
        if self.format != MANIFEST_FORMAT {
            return Err(ManifestText(format!(
                "format {} is not known to this version, which writes {MANIFEST_FORMAT}",
                self.format
            )));
        }
        match &self.body {
            ManifestBody::Batch(membership) => membership.check(),
            ManifestBody::Tombstone(_) => Ok(()),
        }
    }

    /// Same batch, same segments, same names: the same facts but for `revision`, `committed` and added digests.
    #[must_use]
    pub fn same_batch(&self, other: &Self) -> bool {
        let names = |m: &Membership| -> Vec<(String, Digest, u64)> {
            m.data_files
                .iter()
                .map(|f| (f.path.clone(), f.membership, f.records))
                .collect()
        };
        let (ManifestBody::Batch(a), ManifestBody::Batch(b)) = (&self.body, &other.body) else {
            return false;
        };
        self.pipeline == other.pipeline
            && self.journal == other.journal
            && self.batch == other.batch
            && a.files
                .iter()
                .map(|f| &f.path)
                .eq(b.files.iter().map(|f| &f.path))
            && a.segments == b.segments
            && names(a) == names(b)
    }

    /// Revision 0 of this manifest, byte for byte as it was first written: later revisions only add.
    #[must_use]
    pub fn original(&self) -> Self {
        let mut original = self.clone();
        original.revision = 0;
        if let ManifestBody::Batch(membership) = &mut original.body {
            membership.lost_files.clear();
            for file in &mut membership.data_files {
                file.copies.truncate(1);
            }
        }
        original
    }

    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        match &self.body {
            ManifestBody::Batch(membership) => Some(membership),
            ManifestBody::Tombstone(_) => None,
        }
    }
}

impl Membership {
    fn check(&self) -> Result<(), ManifestText> {
        if self
            .files
            .iter()
            .any(|file| file.reading as usize >= self.readings.len())
        {
            return Err(ManifestText("a file points outside".into()));
        }
        for segment in &self.segments {
            if segment.file as usize >= self.files.len() || segment.to < segment.from {
                return Err(ManifestText("a segment points outside".into()));
            }
        }
        for file in &self.data_files {
            crate::naming::LakePath::new(&file.path).map_err(ManifestText)?;
            let plain = !file.staged.is_empty()
                && !file.staged.contains('/')
                && file.staged != ".."
                && file.staged != ".";
            if !plain {
                return Err(ManifestText(format!(
                    "staged name `{}` is not a plain file name",
                    file.staged
                )));
            }
            if file.copies.is_empty() {
                return Err(ManifestText(format!("`{}` has no digest", file.path)));
            }
        }
        Ok(())
    }
}
