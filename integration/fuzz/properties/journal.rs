//! A journal whose cells or bytes were changed at will: each command answers, or says that the journal cannot be used and what
//! to do; what is answered could be true: checkpoints within what was read, ranges the right way round.

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use lakeward::journal::sqlite::SqliteJournal;
use lakeward::journal::{
    FileRow, FileState, Journal, JournalError, PutRequest, Request, StageRequest,
};
use lakeward::protocol::{
    DataFile, DataFileCopy, DataFileKind, Encoding, MANIFEST_FORMAT, Manifest, ManifestBody,
    ManifestFile, ManifestSegment, Membership,
};
use lakeward::segment::{BatchNumber, Digest, FileId, FileStat, JournalId, RelativePath, Segment};
use rusqlite::types::Value;
use serde_json::json;

const PIPELINE: &str = "p";
const SPOOL: JournalId = JournalId(7);

/// In memory where there is such a file system: syncing is not what is tried here.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

fn path(name: &str) -> RelativePath {
    RelativePath::new(name.as_bytes()).expect("a path")
}

fn row(journal: &dyn Journal, name: &str, decoded: u64) -> FileRow {
    let id = journal.new_file_id();
    let stat = FileStat {
        inode: 1000 + id.0 as u64,
        device: 5,
        size: decoded,
        mtime_ns: -7,
    };
    FileRow {
        header: Some(vec!["a".into()]),
        decoded: Some(decoded),
        fingerprint: Some(Digest::of(name.as_bytes())),
        ..FileRow::fresh(
            id,
            path(name),
            stat,
            Arc::new(json!({"format": "csv", "compression": "none"})),
            0,
        )
    }
}

fn segment(file: &FileRow, from: u64, to: u64) -> Segment {
    Segment {
        file: file.id,
        from,
        to,
        line: 1,
        records: 3,
        last: Some(to) == file.decoded,
        digest: Digest(9),
    }
}

fn batch(
    journal: JournalId,
    number: u64,
    committed: u64,
    file: &FileRow,
    from: u64,
    to: u64,
) -> Manifest {
    let part = segment(file, from, to);
    let data_file = |number: u32| DataFile {
        number,
        kind: DataFileKind::Data,
        path: format!("t/{number}.parquet"),
        staged: format!(".{number}.staged"),
        copies: vec![DataFileCopy {
            length: 10,
            digest: Digest(11),
        }],
        records: 3,
        membership: Digest(5),
        lane: 0,
        partition: "dt=1".into(),
        schema_version: 1,
    };
    Manifest {
        format: MANIFEST_FORMAT,
        pipeline: PIPELINE.into(),
        journal,
        batch: BatchNumber(number),
        revision: 0,
        committed: BatchNumber(committed),
        lake: "fs:/lake".into(),
        body: ManifestBody::Batch(Membership {
            spool: SPOOL,
            readings: vec![(*file.settings).clone()],
            files: vec![ManifestFile {
                path: file.path.clone(),
                stat: file.stat,
                fingerprint: file.fingerprint,
                reading: 0,
                decoded: file.decoded,
                torn: None,
                header: file.header.clone(),
            }],
            segments: vec![ManifestSegment {
                file: 0,
                from,
                to,
                line: 1,
                records: 3,
                rejected: 0,
                rejected_bytes: 0,
                skipped_bytes: 0,
                last: part.last,
                digest: part.digest,
                lane: 0,
            }],
            data_files: vec![data_file(0)],
            encoding: Encoding {
                schema_version: 1,
                schema: json!({"columns": []}),
                path: "t".into(),
                timezone: "UTC".into(),
                tzdb: "x".into(),
                batch_time_ns: 17,
                zone_of_times: "UTC".into(),
                timestamp_unit: "auto".into(),
                format: "parquet hive snappy".into(),
                versions: "test".into(),
            },
            lost_files: Vec::new(),
        }),
    }
}

/// A manifest in good order.
#[must_use]
pub fn manifest() -> Manifest {
    let stat = FileStat {
        inode: 1,
        device: 5,
        size: 30,
        mtime_ns: -7,
    };
    let settings = Arc::new(json!({"format": "csv", "compression": "none"}));
    let file = FileRow {
        decoded: Some(30),
        header: Some(vec!["a".into()]),
        ..FileRow::fresh(FileId(1), path("a"), stat, settings, 0)
    };
    batch(JournalId(1), 1, 0, &file, 0, 30)
}

fn stage(journal: &dyn Journal, number: u64, committed: u64, file: &FileRow, from: u64, to: u64) {
    let manifest = batch(journal.id(), number, committed, file, from, to);
    let request = StageRequest {
        manifest,
        files: vec![file.clone()],
        schemas: if number == 1 {
            vec![(1, json!({"columns": []}))]
        } else {
            Vec::new()
        },
    };
    journal.stage(request).expect("staged");
}

/// A journal with something in every table, in good order.
fn honest() -> Vec<u8> {
    let dir = scratch();
    let journal = SqliteJournal::open(dir.path()).expect("a journal");
    journal.pipeline(PIPELINE, SPOOL, "fs:/lake").expect("made");
    let a = row(&journal, "a", 30);
    stage(&journal, 1, 0, &a, 0, 30);
    journal
        .commit(
            PIPELINE,
            BatchNumber(1),
            &[(a.id, path("a.COMPLETED"))],
            &[],
        )
        .expect("committed");
    journal.retired(&[a.id]).expect("retired");
    journal.done(PIPELINE, BatchNumber(1)).expect("done");
    let b = row(&journal, "b", 50);
    stage(&journal, 2, 1, &b, 0, 20);
    journal
        .commit(PIPELINE, BatchNumber(2), &[], &[])
        .expect("committed");
    stage(&journal, 3, 2, &b, 20, 50);
    let c = row(&journal, "c", 9);
    journal
        .put(
            PIPELINE,
            &[PutRequest {
                segment: Segment {
                    digest: Digest::of(b"123456789"),
                    ..segment(&c, 0, 9)
                },
                file: c,
                payload: b"123456789".to_vec(),
            }],
        )
        .expect("put");
    let d = row(&journal, "d", 9);
    journal.quarantine(PIPELINE, &d, "torn").expect("set aside");
    journal
        .ask(&Request::Adopt {
            pipeline: PIPELINE.into(),
        })
        .expect("asked");
    journal.close().expect("closed");
    std::fs::read(dir.path().join("journal.db")).expect("a database")
}

static HONEST: LazyLock<Vec<u8>> = LazyLock::new(honest);

pub const TABLES: [&str; 13] = [
    "journal",
    "pipeline",
    "reading",
    "file",
    "segment",
    "payload",
    "batch",
    "manifest",
    "data_file",
    "schema",
    "request",
    "said",
    "partition_work",
];

/// # Panics
/// Where the table is not there.
#[must_use]
pub fn columns(conn: &rusqlite::Connection, table: &str) -> Vec<String> {
    let mut names = conn
        .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
        .expect("a table");
    let found = names.query_map([], |row| row.get(0)).expect("columns");
    found.map(|name| name.expect("a name")).collect()
}

/// How many columns each of [`TABLES`] has.
///
/// # Panics
/// Never: the database is in good order.
#[must_use]
pub fn widths() -> Vec<usize> {
    let dir = scratch();
    let database = dir.path().join("journal.db");
    std::fs::write(&database, &*HONEST).expect("written");
    let conn = rusqlite::Connection::open(database).expect("it opens");
    TABLES.map(|table| columns(&conn, table).len()).to_vec()
}

/// Instructions of four bytes each and those of the value: which table, column and row, and what is put there.
fn change_cells(database: &Path, mut input: &[u8]) {
    let conn = rusqlite::Connection::open(database).expect("it opens");
    while let [table, column, row, kind, rest @ ..] = input {
        let table = TABLES[usize::from(*table) % TABLES.len()];
        let columns = columns(&conn, table);
        let column = columns.get(usize::from(*column)).unwrap_or(&columns[0]);
        let n = rest.len().min(usize::from(kind >> 4));
        let (bytes, after) = rest.split_at(n);
        let value = match kind % 8 {
            0 => Value::Integer(bytes.first().map_or(0, |b| i64::from(*b as i8))),
            1 => Value::Integer(i64::MAX),
            2 => Value::Integer(i64::MIN),
            3 => {
                let mut wide = [0; 8];
                wide[..n.min(8)].copy_from_slice(&bytes[..n.min(8)]);
                Value::Integer(i64::from_le_bytes(wide))
            }
            4 => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
            5 => Value::Blob(bytes.to_vec()),
            6 => Value::Blob(vec![
                0xff;
                usize::from(bytes.first().copied().unwrap_or(0)) * 4
            ]),
            _ => Value::Null,
        };
        // Rows by their number; what a constraint refuses stays as it was.
        let sql = format!(
            "UPDATE \"{table}\" SET \"{column}\" = ?1 WHERE (SELECT count(*) FROM \"{table}\") > 0 AND \"{column}\" IS \
             (SELECT \"{column}\" FROM \"{table}\" LIMIT 1 OFFSET {})",
            row % 4
        );
        let _refused = conn.execute(&sql, [value]);
        input = after;
    }
}

/// # Panics
/// Where the error is not one that says what to do.
fn said<T>(result: Result<T, JournalError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(JournalError::Unusable { message, .. }) => {
            let known = [
                "rebuild",
                "left as it is",
                "install",
                "start `lakeward run`",
            ];
            assert!(
                known.iter().any(|word| message.contains(word)),
                "it does not say what to do: {message}"
            );
            None
        }
        Err(JournalError::Refused(text)) => {
            assert!(!text.is_empty());
            None
        }
        Err(JournalError::Fatal { message, .. }) => {
            assert!(!message.is_empty());
            None
        }
        Err(JournalError::Locked { .. }) => panic!("nobody has it"),
    }
}

/// # Panics
/// Where what a row says cannot be.
fn plausible(row: &FileRow) {
    assert!(row.checkpoint <= row.put_end, "{row:?}");
    assert!(row.decoded.is_none_or(|end| row.put_end <= end), "{row:?}");
}

/// Reads all that can be read.
fn look(journal: &dyn Journal) {
    let rows = RefCell::new(Vec::new());
    let names: Vec<String> = said(journal.pipelines())
        .unwrap_or_default()
        .into_iter()
        .map(|pipeline| {
            assert!(pipeline.committed <= pipeline.staged);
            pipeline.name
        })
        .chain([PIPELINE.to_owned()])
        .collect();
    for name in &names {
        said(journal.visit_files(name, &mut |row| {
            plausible(&row);
            rows.borrow_mut().push(row);
        }));
        for states in [
            &[FileState::Reading][..],
            &[FileState::Committed, FileState::Quarantined],
        ] {
            for row in said(journal.files_in(name, states)).unwrap_or_default() {
                plausible(&row);
                assert!(states.contains(&row.state));
            }
        }
        for size in [9, 30, 50] {
            said(journal.files_of_size(name, size));
        }
        for file in ["a", "b", "c", "d"] {
            said(journal.file_at(name, &path(file)));
        }
        for batch in said(journal.unfinished(name)).unwrap_or_default() {
            let membership = batch.manifest.membership().expect("a batch");
            assert_eq!(batch.files.len(), membership.files.len());
        }
        for batch in 0..4 {
            said(journal.data_files(name, BatchNumber(batch)));
        }
        for waiting in said(journal.waiting_segments(name)).unwrap_or_default() {
            assert!(waiting.from <= waiting.to);
            said(journal.payload(waiting.file, waiting.from));
        }
        said(journal.payload_bytes(name));
        said(journal.waiting_partitions(name, None, 10));
        said(journal.count_waiting_partitions(name));
        said(journal.landed_partitions(name));
        said(journal.schema(name));
        said(journal.schema_version(name, 1));
        said(journal.said(name));
    }
    for row in rows.into_inner() {
        for range in said(journal.ranges(row.id)).unwrap_or_default() {
            assert!(range.segment.from <= range.segment.to);
        }
    }
    said(journal.requests());
}

/// What a recovery would do.
fn go_on(journal: &dyn Journal) {
    for batch in said(journal.unfinished(PIPELINE)).unwrap_or_default() {
        if said(journal.commit(PIPELINE, batch.number, &[], &[])).is_none() {
            return;
        }
        said(journal.done(PIPELINE, batch.number));
        said(journal.retired(&batch.files));
    }
    said(journal.prune(PIPELINE, i64::MAX));
    let id = journal.new_file_id();
    said(journal.file(id));
}

/// The first byte says whether cells are changed or bytes, the rest how.
///
/// # Panics
/// Where it does not hold.
pub fn hold(input: &[u8]) {
    let ([how], changes) = super::choices(input);
    let dir = scratch();
    let database = dir.path().join("journal.db");
    let mut bytes = HONEST.clone();
    if how % 2 == 1 {
        for change in changes.chunks_exact(4) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) * 16
                + usize::from(change[2] % 16);
            let at = at % bytes.len();
            bytes[at] = change[3];
        }
        if how & 4 != 0 {
            bytes.truncate(bytes.len() - changes.len() * 64 % bytes.len());
        }
    }
    std::fs::write(&database, bytes).expect("written");
    if how % 2 == 0 {
        change_cells(&database, changes);
    }
    if let Some(journal) = said(SqliteJournal::read(dir.path())).flatten() {
        look(&journal);
    }
    if let Some(journal) = said(SqliteJournal::open(dir.path())) {
        look(&journal);
        go_on(&journal);
        look(&journal);
    }
}
