//! All that can be read of a journal.

use lakeward::journal::conformance::path;
use lakeward::journal::{FileRow, FileState, Journal, KnownFile, Result};
use lakeward::segment::{BatchNumber, FileId};

use super::{PIPELINES, Pair};

const STATES: [FileState; 4] = [
    FileState::Reading,
    FileState::Committed,
    FileState::Retired,
    FileState::Quarantined,
];

/// As text, since values of one kind are compared with themselves only, and a difference is to be read by people.
type Told = Vec<String>;

fn tell(told: &mut Told, what: &str, found: impl std::fmt::Debug) {
    told.push(format!("{what}: {found:?}"));
}

fn of_pipeline(journal: &dyn Journal, name: &str, told: &mut Told) -> Result<()> {
    let mut files: Vec<FileRow> = Vec::new();
    journal.visit_files(name, &mut |row| files.push(row))?;
    for file in &files {
        tell(told, "file", file);
        tell(told, "by id", journal.file(file.id)? == Some(file.clone()));
        let ranges = journal.ranges(file.id)?;
        tell(told, "ranges", &ranges);
        for from in (0..=file.put_end).step_by(5) {
            tell(told, "payload", journal.payload(file.id, from)?);
        }
    }
    let ids = |rows: Vec<FileRow>| rows.iter().map(|row| row.id).collect::<Vec<_>>();
    for name_of_file in super::calls::NAMES {
        let at = journal.file_at(name, &path(name_of_file))?;
        tell(told, name_of_file, at.map(|row| row.id));
    }
    for size in super::calls::SIZES {
        tell(told, "of size", ids(journal.files_of_size(name, size)?));
    }
    for state in STATES {
        tell(told, "in state", ids(journal.files_in(name, &[state])?));
    }
    tell(
        told,
        "in states",
        ids(journal.files_in(name, &STATES[1..])?),
    );
    // How much that is is each journal's own affair.
    tell(told, "payloads", journal.payload_bytes(name)? > 0);
    tell(told, "unfinished", journal.unfinished(name)?);
    for batch in 0..12 {
        let files = journal.data_files(name, BatchNumber(batch));
        tell(told, "data files", files.ok());
    }
    let all = journal.waiting_partitions(name, None, usize::MAX)?;
    let one = journal.waiting_partitions(name, Some("orders/dt=1"), 1)?;
    tell(told, "work", (all, one));
    tell(told, "work", journal.count_waiting_partitions(name)?);
    tell(told, "landed", journal.landed_partitions(name)?);
    tell(told, "schema", journal.schema(name)?);
    for version in 0..4 {
        tell(told, "schema", journal.schema_version(name, version)?);
    }
    Ok(())
}

/// What a difference shows in first.
fn look_at(journal: &dyn Journal) -> Result<Told> {
    let mut told = Told::new();
    tell(&mut told, "pipelines", journal.pipelines()?);
    for name in PIPELINES {
        let visit = &mut |row: FileRow| tell(&mut told, "file", row);
        journal.visit_files(name, visit)?;
        let visit = &mut |file: KnownFile| tell(&mut told, "known file", file);
        journal.visit_known(name, visit)?;
        tell(
            &mut told,
            "waiting segments",
            journal.waiting_segments(name)?,
        );
    }
    Ok(told)
}

fn read(journal: &dyn Journal) -> Result<Told> {
    let mut told = look_at(journal)?;
    tell(&mut told, "id", journal.id());
    for name in PIPELINES.iter().chain(&["nobody"]) {
        of_pipeline(journal, name, &mut told)?;
    }
    tell(&mut told, "no file", journal.file(FileId(-5))?);
    tell(&mut told, "requests", journal.requests()?);
    Ok(told)
}

impl Pair {
    pub(super) fn compare(&self) {
        self.compare_by(read);
    }

    pub(super) fn compare_at_a_glance(&self) {
        self.compare_by(look_at);
    }

    fn compare_by(&self, read: fn(&dyn Journal) -> Result<Told>) {
        let [memory, sqlite] = self.both().map(read);
        let (memory, sqlite) = match (memory, sqlite) {
            (Ok(memory), Ok(sqlite)) => (memory, sqlite),
            (memory, sqlite) => {
                let errors = (memory.err(), sqlite.err());
                self.fail(&format!("cannot be read (memory, SQLite): {errors:?}"));
            }
        };
        if memory == sqlite {
            return;
        }
        let differ: Vec<String> = memory
            .iter()
            .zip(&sqlite)
            .filter(|(a, b)| a != b)
            .map(|(a, b)| format!("memory {a}\nSQLite {b}"))
            .collect();
        let lengths = (memory.len(), sqlite.len());
        self.fail(&format!("{}\nof {lengths:?} lines", differ.join("\n")));
    }

    pub(super) fn compare_said(&self) {
        for name in PIPELINES {
            let [memory, sqlite] = self.both().map(|journal| journal.said(name).unwrap());
            assert_eq!(memory, sqlite);
        }
    }
}
