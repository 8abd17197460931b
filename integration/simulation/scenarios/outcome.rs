//! What a scenario looks at afterwards.

use std::sync::Arc;

use lakeward::journal::FileRow;
use lakeward::protocol::Manifest;
use lakeward::segment::JournalId;

use super::super::place::PIPELINE;
use super::rig::Rig;

impl Rig {
    /// The journal's rows of a path.
    pub fn rows(&self, path: &str) -> Vec<FileRow> {
        let mut rows = Vec::new();
        if let Some(journal) = self.store.read(Arc::clone(&self.clock)) {
            journal
                .visit_files(PIPELINE, &mut |row| rows.push(row))
                .expect("rows");
        }
        rows.retain(|row| row.path.to_string() == path);
        rows
    }

    /// Whose batches the journal has yet to finish.
    pub fn unfinished(&self) -> Vec<JournalId> {
        let journal = self.store.read(Arc::clone(&self.clock));
        let batches = journal.map(|journal| journal.unfinished(PIPELINE).expect("batches"));
        let batches = batches.into_iter().flatten();
        batches.map(|batch| batch.manifest.journal).collect()
    }

    /// Data files in the lake.
    pub fn data_files(&self) -> Vec<String> {
        self.lake.data_files()
    }

    /// The data file of a partition, which must be the only one there.
    #[track_caller]
    pub fn data_file(&self, partition: &str) -> String {
        let mut files = self.data_files();
        files.retain(|path| path.contains(partition));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    pub fn manifests(&self) -> Vec<(String, Manifest)> {
        let visible = self.lake.visible().into_iter();
        visible
            .filter(|(path, _)| path.starts_with("_lakeward/manifests/"))
            .filter_map(|(path, text)| Some((path, Manifest::from_json(&text).ok()?)))
            .collect()
    }
}
