//! The port's suite: what every journal must do, run on each implementation. It is part of the library so that simulated
//! journals run the same.

#![expect(
    clippy::unwrap_used,
    reason = "the suite is a test: a failed check is to panic"
)]

use serde_json::json;

use super::{
    FileRow, FileState, Journal, JournalError, KnownFile, PartitionWork, PutRequest, Request,
    Result, StageRequest,
};
use crate::protocol::{
    BatchState, DataFile, DataFileCopy, DataFileKind, Encoding, MANIFEST_FORMAT, Manifest,
    ManifestBody, ManifestFile, ManifestSegment, Membership, Tombstone,
};
use crate::segment::{BatchNumber, Digest, FileId, FileStat, JournalId, RelativePath, Segment};

pub const PIPELINE: &str = "orders";
pub const LAKE: &str = "fs:/lake";
pub const SPOOL: JournalId = JournalId(0xfeed_0000_0000_0001);

/// Runs the whole suite, each part on a fresh, empty journal.
pub fn run(fresh: &dyn Fn() -> Box<dyn Journal>) {
    for part in PARTS {
        let journal = fresh();
        journal.pipeline(PIPELINE, SPOOL, LAKE).unwrap();
        part(&*journal);
    }
}

const PARTS: &[fn(&dyn Journal)] = &[
    a_pipeline_is_made_once_and_then_answered_as_it_stands,
    a_file_goes_from_stage_to_commit_to_retired,
    a_file_is_read_in_several_batches_and_its_ranges_join,
    i5_a_gap_is_not_staged,
    a_batch_with_another_number_lake_spool_or_journal_is_not_staged,
    a_manifest_that_could_not_be_read_back_is_refused,
    nothing_is_journaled_past_the_end_of_a_file,
    nothing_is_adopted_past_the_end_of_a_file,
    a_file_is_whole_only_with_its_empty_last_segment,
    settings_identity_and_path_of_a_file_are_fixed,
    the_same_file_is_not_journaled_twice_before_it_is_retired,
    batches_commit_in_the_order_of_their_numbers_and_again_changes_nothing,
    i6_only_a_whole_file_is_retired,
    a_torn_file_stays_for_its_quarantine,
    a_revision_adds_a_copy_and_nothing_else,
    a_loss_may_drop_data_files,
    a_quarantined_file_keeps_its_checkpoint_and_goes_on_after_its_release,
    a_forgotten_file_matches_nothing,
    a_skipped_file_is_retired_without_landing,
    payloads_wait_in_order_and_go_with_the_commit,
    a_payload_that_does_not_fit_is_refused,
    a_payload_is_read_though_another_empty_segment_stands_there,
    quarantine_drops_waiting_payloads,
    schemas_count_up_and_are_never_changed,
    the_lake_changes_only_when_nothing_is_unfinished,
    pruning_forgets_old_retired_files_and_what_only_they_needed,
    pruning_keeps_what_a_batch_in_flight_needs,
    a_batch_that_is_done_after_its_files_were_pruned_leaves_no_data_files,
    requests_are_answered_once,
    words_are_read_back,
    manifests_are_adopted_as_they_stand,
    files_are_found_by_size_and_state,
    partitions_wait_from_the_commit_until_they_are_registered,
    landed_partitions_are_those_of_committed_batches,
];

// ---- what the parts are made of

pub fn path(name: &str) -> RelativePath {
    RelativePath::new(name.as_bytes()).unwrap()
}

pub fn stat_of(id: FileId, size: u64) -> FileStat {
    FileStat {
        inode: 1000 + id.0 as u64,
        device: u64::MAX,
        size,
        mtime_ns: -7,
    }
}

/// A new file as the source describes it: `decoded` bytes, all read.
pub fn row(journal: &dyn Journal, name: &str, decoded: u64) -> FileRow {
    let id = journal.new_file_id();
    let settings = json!({"format": "ndjson", "compression": "none"});
    FileRow {
        header: Some(vec!["a".into(), "b\u{1f600}".into()]),
        decoded: Some(decoded),
        fingerprint: Some(Digest::of(name.as_bytes())),
        ..FileRow::fresh(id, path(name), stat_of(id, decoded), settings.into(), 0)
    }
}

/// A batch of one segment per row, `[from, to)`; one that ends at the row's end is its last.
pub fn request(journal: &dyn Journal, number: u64, parts: &[(&FileRow, u64, u64)]) -> StageRequest {
    let files: Vec<FileRow> = parts.iter().map(|(row, ..)| (*row).clone()).collect();
    let committed = journal
        .pipelines()
        .unwrap()
        .iter()
        .find(|row| row.name == PIPELINE)
        .map_or(BatchNumber(0), |row| row.committed);
    StageRequest {
        manifest: manifest(journal.id(), number, committed, parts),
        files,
        schemas: Vec::new(),
    }
}

pub fn manifest(
    journal: JournalId,
    number: u64,
    committed: BatchNumber,
    parts: &[(&FileRow, u64, u64)],
) -> Manifest {
    let files = parts.iter().map(|(row, ..)| ManifestFile {
        torn: row.torn.clone(),
        header: row.header.clone(),
        path: row.path.clone(),
        stat: row.stat,
        fingerprint: row.fingerprint,
        reading: 0,
        decoded: row.decoded,
    });
    let readings = parts
        .first()
        .map_or_else(Vec::new, |(row, ..)| vec![(*row.settings).clone()]);
    let segments = parts
        .iter()
        .enumerate()
        .map(|(file, (row, from, to))| ManifestSegment {
            file: file as u32,
            from: *from,
            to: *to,
            line: 1 + from,
            records: to - from,
            rejected: 1,
            rejected_bytes: 2,
            skipped_bytes: 3,
            last: row.decoded == Some(*to),
            digest: Digest::of(&to.to_le_bytes()),
            lane: 0,
        });
    Manifest {
        format: MANIFEST_FORMAT,
        pipeline: PIPELINE.into(),
        journal,
        batch: BatchNumber(number),
        revision: 0,
        committed,
        lake: LAKE.into(),
        body: ManifestBody::Batch(Membership {
            readings,
            spool: SPOOL,
            files: files.collect(),
            segments: segments.collect(),
            data_files: vec![data_file(number, 0), data_file(number, 1)],
            encoding: Encoding {
                zone_of_times: "UTC".into(),
                timestamp_unit: "auto".into(),
                schema_version: 1,
                schema: json!({"columns": []}),
                path: "orders".into(),
                timezone: "UTC".into(),
                tzdb: "2026a".into(),
                batch_time_ns: 17,
                format: "parquet hive snappy".into(),
                versions: "test".into(),
            },
            lost_files: Vec::new(),
        }),
    }
}

fn data_file(batch: u64, number: u32) -> DataFile {
    DataFile {
        number,
        kind: match number {
            0 => DataFileKind::Data,
            _ => DataFileKind::Reject,
        },
        path: format!("orders/{batch}-{number}.parquet"),
        staged: format!(".{batch}-{number}.staged"),
        copies: vec![DataFileCopy {
            length: 10 + batch,
            digest: Digest(u128::MAX - u128::from(batch)),
        }],
        records: 3,
        membership: Digest(5),
        lane: 0,
        partition: "dt=1".into(),
        schema_version: 1,
    }
}

fn membership(manifest: &mut Manifest) -> &mut Membership {
    match &mut manifest.body {
        ManifestBody::Batch(membership) => membership,
        ManifestBody::Tombstone(_) => panic!("a batch was made"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, word: &str) {
    match result {
        Err(JournalError::Refused(text)) if text.contains(word) => {}
        other => panic!("a refusal that says `{word}`, and not {other:?}"),
    }
}

fn stage(journal: &dyn Journal, number: u64, parts: &[(&FileRow, u64, u64)]) {
    journal.stage(request(journal, number, parts)).unwrap();
}

fn commit(journal: &dyn Journal, number: u64) {
    journal
        .commit(PIPELINE, BatchNumber(number), &[], &[])
        .unwrap();
}

fn stored(journal: &dyn Journal, id: FileId) -> FileRow {
    journal.file(id).unwrap().unwrap()
}

fn land(journal: &dyn Journal, number: u64, row: &FileRow) {
    stage(journal, number, &[(row, 0, row.decoded.unwrap())]);
    commit(journal, number);
    journal.done(PIPELINE, BatchNumber(number)).unwrap();
    journal.retired(&[row.id]).unwrap();
}

// ---- the parts

fn a_pipeline_is_made_once_and_then_answered_as_it_stands(journal: &dyn Journal) {
    let row = journal.pipeline(PIPELINE, JournalId(9), "other").unwrap();
    assert_eq!((row.spool, row.lake.as_str()), (SPOOL, LAKE));
    assert_eq!(
        (row.staged, row.committed),
        (BatchNumber(0), BatchNumber(0))
    );
    assert_eq!(journal.pipelines().unwrap(), [row]);
}

fn a_file_goes_from_stage_to_commit_to_retired(journal: &dyn Journal) {
    let file = row(journal, "a\\b", 30);
    let request = request(journal, 1, &[(&file, 0, 30)]);
    journal.stage(request.clone()).unwrap();
    let unfinished = journal.unfinished(PIPELINE).unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].state, BatchState::Staged);
    assert_eq!(unfinished[0].manifest, request.manifest);
    assert_eq!(unfinished[0].files, [file.id]);

    let staged = stored(journal, file.id);
    assert_eq!(
        journal.file_at(PIPELINE, &file.path).unwrap(),
        Some(staged.clone())
    );
    let expected = FileRow {
        put_end: 30,
        changed_ns: staged.changed_ns,
        ..file.clone()
    };
    assert_eq!(staged, expected);

    let target = path("a\\b.COMPLETED");
    journal
        .commit(PIPELINE, BatchNumber(1), &[(file.id, target.clone())], &[])
        .unwrap();
    let committed = stored(journal, file.id);
    assert_eq!(committed.state, FileState::Committed);
    assert_eq!((committed.checkpoint, committed.records), (30, 30));
    assert_eq!(
        (
            committed.rejected,
            committed.rejected_bytes,
            committed.skipped_bytes
        ),
        (1, 2, 3)
    );
    assert_eq!(committed.retire_target, Some(target));
    let other = path("a\\b.COMPLETED.2");
    journal.set_retire_target(file.id, &other).unwrap();
    assert_eq!(stored(journal, file.id).retire_target, Some(other.clone()));
    assert_eq!(
        journal.unfinished(PIPELINE).unwrap()[0].state,
        BatchState::Committed
    );

    journal.retired(&[file.id]).unwrap();
    journal.retired(&[file.id]).unwrap();
    assert_eq!(stored(journal, file.id).state, FileState::Retired);
    refused(journal.set_retire_target(file.id, &other), "retir");
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    assert_eq!(journal.unfinished(PIPELINE).unwrap(), []);
    assert_eq!(
        journal.data_files(PIPELINE, BatchNumber(1)).unwrap(),
        [data_file(1, 0), data_file(1, 1)]
    );
    let pipeline = &journal.pipelines().unwrap()[0];
    assert_eq!(
        (pipeline.staged, pipeline.committed),
        (BatchNumber(1), BatchNumber(1))
    );
    assert!(pipeline.committed_ns.is_some());
}

fn a_file_is_read_in_several_batches_and_its_ranges_join(journal: &dyn Journal) {
    let mut file = row(journal, "a", 30);
    file.decoded = None;
    file.fingerprint = None;
    stage(journal, 1, &[(&file, 0, 10)]);
    stage(journal, 2, &[(&file, 10, 20)]);
    commit(journal, 1);
    assert_eq!(stored(journal, file.id).checkpoint, 10);
    file.decoded = Some(30);
    file.fingerprint = Some(Digest(4));
    stage(journal, 3, &[(&file, 20, 30)]);
    commit(journal, 2);
    assert_eq!(stored(journal, file.id).state, FileState::Reading);
    commit(journal, 3);
    let whole = stored(journal, file.id);
    assert_eq!((whole.state, whole.records), (FileState::Committed, 30));
    assert_eq!(whole.fingerprint, Some(Digest(4)));
    let ranges = journal.ranges(file.id).unwrap();
    let told: Vec<_> = ranges
        .iter()
        .map(|range| (range.batch.0, range.segment.from, range.segment.to))
        .collect();
    assert_eq!(told, [(1, 0, 10), (2, 10, 20), (3, 20, 30)]);
    assert_eq!(ranges[2].segment.digest, Digest::of(&30u64.to_le_bytes()));
    assert!(ranges[2].segment.last && !ranges[1].segment.last);
}

fn i5_a_gap_is_not_staged(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    refused(journal.stage(request(journal, 1, &[(&file, 5, 30)])), "I5");
    assert_eq!(journal.file(file.id).unwrap(), None);
    let mut open = file.clone();
    open.decoded = None;
    stage(journal, 1, &[(&open, 0, 10)]);
    refused(journal.stage(request(journal, 2, &[(&file, 11, 30)])), "I5");
    refused(journal.stage(request(journal, 2, &[(&file, 9, 30)])), "I5");
    let mut short = file.clone();
    short.decoded = Some(20);
    refused(
        journal.stage(request(journal, 2, &[(&short, 10, 30)])),
        "30",
    );
    let mut last = request(journal, 2, &[(&open, 10, 30)]);
    membership(&mut last.manifest).segments[0].last = true;
    refused(journal.stage(last), "None");
    stage(journal, 2, &[(&file, 10, 30)]);
}

fn a_batch_with_another_number_lake_spool_or_journal_is_not_staged(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    let good = request(journal, 1, &[(&file, 0, 30)]);
    let but = |change: &dyn Fn(&mut StageRequest), word: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        refused(journal.stage(bad), word);
    };
    but(&|r| r.manifest.batch = BatchNumber(2), "is next");
    but(&|r| r.manifest.batch = BatchNumber(0), "is next");
    but(&|r| r.manifest.lake = "fs:/pond".into(), "lake");
    but(&|r| r.manifest.journal = JournalId(1), "journal");
    but(&|r| r.manifest.committed = BatchNumber(1), "committed");
    but(
        &|r| membership(&mut r.manifest).spool = JournalId(1),
        "spool",
    );
    but(&|r| r.manifest.pipeline = "other".into(), "not known");
    but(&|r| r.files[0].path = path("b"), "files");
    but(&|r| r.files.clear(), "files");
    but(
        &|r| membership(&mut r.manifest).segments[0].file = 1,
        "segment",
    );
    let successor = JournalId(2);
    but(
        &|r| {
            r.manifest.body = ManifestBody::Tombstone(Tombstone {
                successor,
                adopted: false,
            });
        },
        "tombstone",
    );
    assert_eq!(journal.unfinished(PIPELINE).unwrap(), []);
    journal.stage(good.clone()).unwrap();
    refused(journal.stage(good), "is next");
}

/// What was journaled once is read at every start: a row that is not believed then would hold up the pipeline for ever.
fn a_manifest_that_could_not_be_read_back_is_refused(journal: &dyn Journal) {
    let changes: [fn(&mut Manifest); 5] = [
        |m| m.format += 1,
        |m| membership(m).data_files[0].copies.clear(),
        |m| membership(m).data_files[0].path = "../x".into(),
        |m| membership(m).data_files[0].staged = "a/b".into(),
        |m| membership(m).files[0].reading = 1,
    ];
    let file = row(journal, "a", 30);
    let good = request(journal, 1, &[(&file, 0, 30)]);
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad.manifest);
        refused(
            journal.adopt(&bad.manifest, BatchState::Staged),
            "read back",
        );
        refused(journal.stage(bad), "read back");
    }
    assert_eq!(journal.unfinished(PIPELINE).unwrap(), []);
    journal.stage(good.clone()).unwrap();
    for change in changes {
        let mut bad = good.manifest.clone();
        bad.revision = 1;
        change(&mut bad);
        refused(journal.revise(&bad), "read back");
    }
    assert_eq!(
        journal.unfinished(PIPELINE).unwrap()[0].manifest,
        good.manifest
    );
    assert_eq!(
        journal.data_files(PIPELINE, BatchNumber(1)).unwrap().len(),
        2
    );
}

/// The end may be journaled, though the request does not name it.
fn nothing_is_journaled_past_the_end_of_a_file(journal: &dyn Journal) {
    let whole = row(journal, "a", 30);
    stage(journal, 1, &[(&whole, 0, 30)]);
    let mut more = whole.clone();
    more.decoded = None;
    refused(
        journal.stage(request(journal, 2, &[(&more, 30, 40)])),
        "size",
    );
    refused(journal.put(PIPELINE, &[put_of(&more, 30, 40)]), "size");
    assert_eq!(stored(journal, whole.id).put_end, 30);

    let mut long = row(journal, "b", 200);
    long.decoded = None;
    let puts = [put_of(&long, 0, 100), put_of(&long, 100, 200)];
    journal.put(PIPELINE, &puts).unwrap();
    long.decoded = Some(100);
    let mut short = request_of_puts(journal, 2, &[&puts[0]]);
    short.files = vec![long.clone()];
    refused(journal.stage(short), "size");
    assert_eq!(stored(journal, long.id).decoded, None);
}

fn nothing_is_adopted_past_the_end_of_a_file(journal: &dyn Journal) {
    let old = JournalId(0xabc);
    let mut file = row(journal, "a", 30);
    let first = manifest(old, 1, BatchNumber(0), &[(&file, 0, 30)]);
    journal.adopt(&first, BatchState::Staged).unwrap();
    file.decoded = None;
    let second = manifest(old, 2, BatchNumber(0), &[(&file, 30, 40)]);
    refused(journal.adopt(&second, BatchState::Staged), "size");
    let at = journal.file_at(PIPELINE, &file.path).unwrap().unwrap();
    assert_eq!((at.put_end, at.decoded), (30, Some(30)));
}

/// A file whose end was found only when it was read again ends with a segment without bytes, in a later batch.
fn a_file_is_whole_only_with_its_empty_last_segment(journal: &dyn Journal) {
    let mut file = row(journal, "a", 30);
    file.decoded = None;
    stage(journal, 1, &[(&file, 0, 30)]);
    file.decoded = Some(30);
    stage(journal, 2, &[(&file, 30, 30)]);
    commit(journal, 1);
    assert_eq!(stored(journal, file.id).state, FileState::Reading);
    refused(journal.retired(&[file.id]), "I6");
    let target = path("a.COMPLETED");
    journal
        .commit(PIPELINE, BatchNumber(2), &[(file.id, target.clone())], &[])
        .unwrap();
    let whole = stored(journal, file.id);
    assert_eq!(whole.state, FileState::Committed);
    assert_eq!(whole.retire_target, Some(target));

    let mut file = row(journal, "b", 30);
    file.decoded = None;
    let first = put_of(&file, 0, 30);
    journal.put(PIPELINE, std::slice::from_ref(&first)).unwrap();
    journal
        .stage(request_of_puts(journal, 3, &[&first]))
        .unwrap();
    file.decoded = Some(30);
    let last = put_of(&file, 30, 30);
    journal.put(PIPELINE, std::slice::from_ref(&last)).unwrap();
    commit(journal, 3);
    assert_eq!(stored(journal, file.id).state, FileState::Reading);
    assert_eq!(journal.waiting_segments(PIPELINE).unwrap().len(), 1);
    journal
        .stage(request_of_puts(journal, 4, &[&last]))
        .unwrap();
    commit(journal, 4);
    assert_eq!(stored(journal, file.id).state, FileState::Committed);
    assert_eq!(journal.payload_bytes(PIPELINE).unwrap(), 0);
}

fn settings_identity_and_path_of_a_file_are_fixed(journal: &dyn Journal) {
    let mut file = row(journal, "a", 30);
    file.decoded = None;
    stage(journal, 1, &[(&file, 0, 10)]);
    let but = |change: &dyn Fn(&mut FileRow), word: &str| {
        let mut other = file.clone();
        change(&mut other);
        refused(
            journal.stage(request(journal, 2, &[(&other, 10, 20)])),
            word,
        );
    };
    but(
        &|row| row.settings = json!({"format": "csv"}).into(),
        "settings",
    );
    but(&|row| row.stat.mtime_ns += 1, "identity");
    but(&|row| row.stat.size += 1, "identity");
    but(&|row| row.stat.inode += 1, "identity");
    but(&|row| row.path = path("b"), "path");
    let mut rebooted = file.clone();
    rebooted.stat.device = 3;
    stage(journal, 2, &[(&rebooted, 10, 20)]);
    journal.quarantine(PIPELINE, &file, "changed").unwrap();
    refused(
        journal.stage(request(journal, 3, &[(&file, 20, 30)])),
        "not being read",
    );
}

fn the_same_file_is_not_journaled_twice_before_it_is_retired(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    stage(journal, 1, &[(&file, 0, 30)]);
    let mut twin = row(journal, "a", 30);
    twin.stat = file.stat;
    refused(
        journal.stage(request(journal, 2, &[(&twin, 0, 30)])),
        "not retired",
    );
    commit(journal, 1);
    refused(
        journal.stage(request(journal, 2, &[(&twin, 0, 30)])),
        "not retired",
    );
    journal.retired(&[file.id]).unwrap();
    stage(journal, 2, &[(&twin, 0, 30)]);
    assert_eq!(
        journal.file_at(PIPELINE, &path("a")).unwrap().unwrap().id,
        twin.id
    );
}

fn batches_commit_in_the_order_of_their_numbers_and_again_changes_nothing(journal: &dyn Journal) {
    let (a, b) = (row(journal, "a", 30), row(journal, "b", 40));
    refused(
        journal.commit(PIPELINE, BatchNumber(1), &[], &[]),
        "not staged",
    );
    refused(journal.done(PIPELINE, BatchNumber(1)), "not staged");
    stage(journal, 1, &[(&a, 0, 30)]);
    stage(journal, 2, &[(&b, 0, 40)]);
    refused(journal.commit(PIPELINE, BatchNumber(2), &[], &[]), "lowest");
    refused(journal.done(PIPELINE, BatchNumber(1)), "staged to done");
    commit(journal, 1);
    let once = stored(journal, a.id);
    commit(journal, 1);
    assert_eq!(stored(journal, a.id), once);
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    commit(journal, 1);
    commit(journal, 2);
    assert_eq!(stored(journal, b.id).checkpoint, 40);
}

fn i6_only_a_whole_file_is_retired(journal: &dyn Journal) {
    let mut file = row(journal, "a", 30);
    file.decoded = None;
    refused(journal.retired(&[file.id]), "not known");
    stage(journal, 1, &[(&file, 0, 10)]);
    refused(journal.retired(&[file.id]), "I6");
    commit(journal, 1);
    refused(journal.retired(&[file.id]), "I6");
    file.decoded = Some(30);
    stage(journal, 2, &[(&file, 10, 30)]);
    refused(journal.retired(&[file.id]), "I6");
    commit(journal, 2);
    journal.retired(&[file.id]).unwrap();
    refused(journal.quarantine(PIPELINE, &file, "late"), "retired");
}

fn a_torn_file_stays_for_its_quarantine(journal: &dyn Journal) {
    let mut file = row(journal, "a.gz", 30);
    file.torn = Some("the stream ends in mid-block".into());
    stage(journal, 1, &[(&file, 0, 30)]);
    journal
        .commit(PIPELINE, BatchNumber(1), &[(file.id, path("x"))], &[])
        .unwrap();
    let torn = stored(journal, file.id);
    assert_eq!((torn.state, torn.checkpoint), (FileState::Reading, 30));
    assert_eq!(torn.retire_target, None);
    assert_eq!(torn.torn, file.torn);
    journal.quarantine(PIPELINE, &torn, "torn").unwrap();
    refused(journal.retired(&[file.id]), "I6");
}

fn a_revision_adds_a_copy_and_nothing_else(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    let first = request(journal, 1, &[(&file, 0, 30)]);
    journal.stage(first.clone()).unwrap();
    let copy = DataFileCopy {
        length: 99,
        digest: Digest(99),
    };
    let mut next = first.manifest.clone();
    next.revision = 1;
    membership(&mut next).data_files[0].copies.push(copy);
    let but = |change: &dyn Fn(&mut Manifest)| {
        let mut bad = next.clone();
        change(&mut bad);
        refused(journal.revise(&bad), "revision");
    };
    but(&|m| m.revision = 2);
    but(&|m| membership(m).data_files[0].copies = vec![copy]);
    but(&|m| membership(m).data_files[0].path = "orders/x.parquet".into());
    but(&|m| drop(membership(m).data_files.pop()));
    but(&|m| membership(m).segments[0].to = 29);
    journal.revise(&next).unwrap();
    journal.revise(&next).unwrap();
    assert_eq!(journal.unfinished(PIPELINE).unwrap()[0].manifest, next);
    let files = journal.data_files(PIPELINE, BatchNumber(1)).unwrap();
    assert_eq!(files[0].copies.len(), 2);
    commit(journal, 1);
    next.revision = 2;
    refused(journal.revise(&next), "not staged");
}

fn a_loss_may_drop_data_files(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    let first = request(journal, 1, &[(&file, 0, 30)]);
    journal.stage(first.clone()).unwrap();
    let mut next = first.manifest;
    next.revision = 1;
    let lossy = membership(&mut next);
    lossy.lost_files.push(0);
    lossy.data_files.remove(0);
    lossy.segments[0].skipped_bytes = 30;
    journal.revise(&next).unwrap();
    assert_eq!(
        journal.data_files(PIPELINE, BatchNumber(1)).unwrap(),
        [data_file(1, 1)]
    );
    commit(journal, 1);
    assert_eq!(stored(journal, file.id).skipped_bytes, 30);
}

fn a_quarantined_file_keeps_its_checkpoint_and_goes_on_after_its_release(journal: &dyn Journal) {
    let mut file = row(journal, "a", 30);
    file.decoded = None;
    stage(journal, 1, &[(&file, 0, 10)]);
    commit(journal, 1);
    stage(journal, 2, &[(&file, 10, 20)]);
    journal.quarantine(PIPELINE, &file, "changed").unwrap();
    journal.quarantine(PIPELINE, &file, "again").unwrap();
    journal
        .quarantined_to(file.id, "spool/.quarantine/a")
        .unwrap();
    let aside = stored(journal, file.id);
    assert_eq!(
        (aside.state, aside.checkpoint),
        (FileState::Quarantined, 10)
    );
    assert_eq!(aside.reason.as_deref(), Some("changed"));
    assert_eq!(aside.quarantined_to.as_deref(), Some("spool/.quarantine/a"));
    commit(journal, 2);
    let aside = stored(journal, file.id);
    assert_eq!(
        (aside.state, aside.checkpoint),
        (FileState::Quarantined, 20)
    );

    let unseen = row(journal, "new", 5);
    journal.quarantine(PIPELINE, &unseen, "who knows").unwrap();
    assert_eq!(stored(journal, unseen.id).state, FileState::Quarantined);
    refused(journal.quarantined_to(FileId(-1), "x"), "not quarantined");

    let repaired = stat_of(FileId(77), 30);
    refused(
        journal.release(FileId(-1), &repaired, &path("a")),
        "not known",
    );
    journal.release(file.id, &repaired, &path("a")).unwrap();
    journal.release(file.id, &repaired, &path("a")).unwrap();
    let released = stored(journal, file.id);
    assert_eq!((released.state, released.put_end), (FileState::Reading, 20));
    assert_eq!((released.stat, released.reason), (repaired, None));
    // It has yet to be moved back, and a kill may come before.
    assert_eq!(
        released.quarantined_to.as_deref(),
        Some("spool/.quarantine/a")
    );
    let mut rest = file;
    rest.stat = repaired;
    rest.decoded = Some(30);
    stage(journal, 3, &[(&rest, 20, 30)]);
    commit(journal, 3);
    assert_eq!(stored(journal, rest.id).state, FileState::Committed);
    refused(
        journal.release(rest.id, &repaired, &path("a")),
        "not quarantined",
    );
}

fn a_forgotten_file_matches_nothing(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    stage(journal, 1, &[(&file, 0, 30)]);
    refused(journal.forget(file.id, "as new"), "not quarantined");
    journal.quarantine(PIPELINE, &file, "changed").unwrap();
    journal.forget(file.id, "released as new").unwrap();
    journal.forget(file.id, "released as new").unwrap();
    let gone = stored(journal, file.id);
    assert_eq!(gone.state, FileState::Retired);
    assert_eq!(gone.reason.as_deref(), Some("released as new"));
    assert!(gone.fingerprint.is_none() && !gone.stat.untouched(&file.stat));
    commit(journal, 1);
    assert_eq!(stored(journal, file.id).state, FileState::Retired);
    let mut again = row(journal, "a", 30);
    again.stat = file.stat;
    stage(journal, 2, &[(&again, 0, 30)]);
}

fn a_skipped_file_is_retired_without_landing(journal: &dyn Journal) {
    let mut file = row(journal, "a", 30);
    file.reason = Some("resent".into());
    file.retire_target = Some(path("a.COMPLETED"));
    file.skipped_bytes = 30;
    journal.skip(PIPELINE, &[file.clone()]).unwrap();
    journal.skip(PIPELINE, &[file.clone()]).unwrap();
    let skipped = stored(journal, file.id);
    assert!(skipped.skipped && skipped.state == FileState::Committed);
    assert_eq!((skipped.checkpoint, skipped.skipped_bytes), (0, 30));
    assert_eq!(skipped.retire_target, file.retire_target);
    journal.retired(&[file.id]).unwrap();
    let known = row(journal, "b", 30);
    stage(journal, 1, &[(&known, 0, 30)]);
    refused(journal.skip(PIPELINE, &[known]), "journaled");
}

fn put_of(file: &FileRow, from: u64, to: u64) -> PutRequest {
    let payload: Vec<u8> = (from..to).map(|at| at as u8).collect();
    PutRequest {
        file: file.clone(),
        segment: Segment {
            file: file.id,
            from,
            to,
            line: 1 + from,
            records: to - from,
            last: file.decoded == Some(to),
            digest: Digest::of(&payload),
        },
        payload,
    }
}

/// A batch of segments as they were put.
fn request_of_puts(journal: &dyn Journal, number: u64, puts: &[&PutRequest]) -> StageRequest {
    let parts: Vec<_> = puts
        .iter()
        .map(|put| (&put.file, put.segment.from, put.segment.to))
        .collect();
    let mut request = request(journal, number, &parts);
    let facts = membership(&mut request.manifest);
    for (segment, put) in facts.segments.iter_mut().zip(puts) {
        segment.digest = put.segment.digest;
    }
    request
}

fn payloads_wait_in_order_and_go_with_the_commit(journal: &dyn Journal) {
    let mut a = row(journal, "a", 300);
    a.decoded = None;
    let b = row(journal, "b", 50);
    let puts = [put_of(&a, 0, 100), put_of(&b, 0, 50), put_of(&a, 100, 200)];
    journal.put(PIPELINE, &puts[..1]).unwrap();
    journal.put(PIPELINE, &puts[1..]).unwrap();
    let expected: Vec<_> = puts.iter().map(|put| put.segment.clone()).collect();
    assert_eq!(journal.waiting_segments(PIPELINE).unwrap(), expected);
    assert!(journal.payload_bytes(PIPELINE).unwrap() > 0);
    assert_eq!(
        journal.payload(a.id, 100).unwrap().unwrap(),
        puts[2].payload
    );
    assert_eq!(journal.payload(a.id, 50).unwrap(), None);
    assert_eq!(stored(journal, a.id).put_end, 200);
    assert_eq!(journal.ranges(a.id).unwrap(), []);

    let staged = request_of_puts(journal, 1, &[&puts[0], &puts[1]]);
    let mut other = staged.clone();
    membership(&mut other.manifest).segments[0].digest = Digest(1);
    refused(journal.stage(other), "another one");
    let mut cut = staged.clone();
    membership(&mut cut.manifest).segments[0].to = 90;
    refused(journal.stage(cut), "another one");
    journal.stage(staged).unwrap();
    assert_eq!(journal.waiting_segments(PIPELINE).unwrap(), expected[2..]);
    assert_eq!(journal.payload(a.id, 0).unwrap().unwrap(), puts[0].payload);

    a.decoded = Some(300);
    let last = put_of(&a, 200, 300);
    journal.put(PIPELINE, std::slice::from_ref(&last)).unwrap();
    commit(journal, 1);
    assert_eq!(journal.payload(a.id, 0).unwrap(), None);
    assert_eq!(journal.payload(b.id, 0).unwrap(), None);
    assert_eq!(stored(journal, b.id).state, FileState::Committed);
    assert_eq!(stored(journal, a.id).state, FileState::Reading);

    journal
        .stage(request_of_puts(journal, 2, &[&puts[2]]))
        .unwrap();
    journal
        .stage(request_of_puts(journal, 3, &[&last]))
        .unwrap();
    commit(journal, 2);
    commit(journal, 3);
    assert_eq!(stored(journal, a.id).state, FileState::Committed);
    assert_eq!(journal.payload_bytes(PIPELINE).unwrap(), 0);
    assert_eq!(journal.waiting_segments(PIPELINE).unwrap(), []);
}

fn a_payload_that_does_not_fit_is_refused(journal: &dyn Journal) {
    let file = row(journal, "a", 100);
    let good = put_of(&file, 0, 60);
    let but = |change: &dyn Fn(&mut PutRequest), word: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        refused(journal.put(PIPELINE, &[bad]), word);
    };
    but(&|put| put.payload[0] ^= 1, "payload");
    but(&|put| put.payload.truncate(59), "payload");
    but(&|put| *put = put_of(&put.file, 1, 60), "I5");
    but(&|put| put.segment.last = true, "size");
    journal.put(PIPELINE, std::slice::from_ref(&good)).unwrap();
    refused(journal.put(PIPELINE, std::slice::from_ref(&good)), "I5");
    let mut csv = put_of(&file, 60, 100);
    csv.file.settings = json!({"format": "csv"}).into();
    refused(journal.put(PIPELINE, &[csv]), "settings");
    let empty_end = [put_of(&file, 60, 100), put_of(&file, 100, 100)];
    journal.put(PIPELINE, &empty_end).unwrap();
    let staged = request_of_puts(journal, 1, &[&good]);
    journal.stage(staged).unwrap();
    journal
        .stage(request_of_puts(journal, 2, &[&empty_end[0]]))
        .unwrap();
    commit(journal, 1);
    commit(journal, 2);
    assert_eq!(journal.waiting_segments(PIPELINE).unwrap().len(), 1);
}

fn a_payload_is_read_though_another_empty_segment_stands_there(journal: &dyn Journal) {
    let mut file = row(journal, "a", 30);
    file.decoded = None;
    let empty = put_of(&file, 0, 0);
    journal.put(PIPELINE, std::slice::from_ref(&empty)).unwrap();
    // Another than the one that waits, as its digest says.
    stage(journal, 1, &[(&file, 0, 0)]);
    let waiting = journal.waiting_segments(PIPELINE).unwrap();
    assert_eq!(waiting, std::slice::from_ref(&empty.segment));
    assert_eq!(journal.payload(file.id, 0).unwrap(), Some(Vec::new()));
    journal
        .stage(request_of_puts(journal, 2, &[&empty]))
        .unwrap();
    assert_eq!(journal.payload(file.id, 0).unwrap(), Some(Vec::new()));
}

fn quarantine_drops_waiting_payloads(journal: &dyn Journal) {
    let mut file = row(journal, "a", 300);
    file.decoded = None;
    let puts = [put_of(&file, 0, 100), put_of(&file, 100, 200)];
    journal.put(PIPELINE, &puts).unwrap();
    journal
        .stage(request_of_puts(journal, 1, &[&puts[0]]))
        .unwrap();
    journal.quarantine(PIPELINE, &file, "changed").unwrap();
    assert_eq!(journal.waiting_segments(PIPELINE).unwrap(), []);
    assert_eq!(journal.payload(file.id, 100).unwrap(), None);
    assert!(journal.payload(file.id, 0).unwrap().is_some());
    commit(journal, 1);
    assert_eq!(journal.payload_bytes(PIPELINE).unwrap(), 0);
    let aside = stored(journal, file.id);
    assert_eq!((aside.put_end, aside.checkpoint), (100, 100));
    journal.release(file.id, &file.stat, &file.path).unwrap();
    journal.put(PIPELINE, &puts[1..]).unwrap();
}

fn schemas_count_up_and_are_never_changed(journal: &dyn Journal) {
    assert_eq!(journal.schema(PIPELINE).unwrap(), None);
    let (one, two) = (json!({"columns": [1]}), json!({"columns": [1, 2]}));
    let file = row(journal, "a", 30);
    let mut first = request(journal, 1, &[(&file, 0, 30)]);
    first.schemas = vec![(1, one.clone()), (2, two.clone())];
    journal.stage(first).unwrap();
    assert_eq!(journal.schema(PIPELINE).unwrap(), Some((2, two.clone())));
    let other = row(journal, "b", 30);
    let mut next = request(journal, 2, &[(&other, 0, 30)]);
    next.schemas = vec![(2, one)];
    refused(journal.stage(next.clone()), "schema version 2");
    assert_eq!(journal.file(other.id).unwrap(), None);
    next.schemas = vec![(2, two)];
    journal.stage(next).unwrap();
}

fn the_lake_changes_only_when_nothing_is_unfinished(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    stage(journal, 1, &[(&file, 0, 30)]);
    refused(journal.set_lake(PIPELINE, "fs:/pond"), "not done");
    journal.set_lake(PIPELINE, LAKE).unwrap();
    commit(journal, 1);
    refused(journal.set_lake(PIPELINE, "fs:/pond"), "not done");
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    let waiting = work("1", 1);
    let waiting = std::slice::from_ref(&waiting);
    journal.queue_partitions(PIPELINE, waiting).unwrap();
    refused(
        journal.set_lake(PIPELINE, "fs:/pond"),
        "wait to be registered",
    );
    journal.registered(PIPELINE, waiting).unwrap();
    journal.set_lake(PIPELINE, "fs:/pond").unwrap();
    assert_eq!(journal.pipelines().unwrap()[0].lake, "fs:/pond");
}

fn pruning_forgets_old_retired_files_and_what_only_they_needed(journal: &dyn Journal) {
    let [gone, kept, aside] = ["gone", "kept", "aside"].map(|name| row(journal, name, 30));
    land(journal, 1, &gone);
    stage(journal, 2, &[(&kept, 0, 30), (&aside, 0, 30)]);
    commit(journal, 2);
    journal.done(PIPELINE, BatchNumber(2)).unwrap();
    journal.quarantine(PIPELINE, &aside, "changed").unwrap();
    assert_eq!(journal.prune(PIPELINE, i64::MIN).unwrap(), 0);
    assert_eq!(journal.prune(PIPELINE, i64::MAX).unwrap(), 1);
    assert_eq!(journal.file(gone.id).unwrap(), None);
    assert_eq!(journal.ranges(gone.id).unwrap(), []);
    assert_eq!(journal.data_files(PIPELINE, BatchNumber(1)).unwrap(), []);
    assert_eq!(
        journal.data_files(PIPELINE, BatchNumber(2)).unwrap().len(),
        2
    );
    assert_eq!(stored(journal, kept.id).state, FileState::Committed);
    assert_eq!(stored(journal, aside.id).state, FileState::Quarantined);
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    commit(journal, 1);

    // A batch in flight needs its file's row.
    let released = row(journal, "released", 30);
    stage(journal, 3, &[(&released, 0, 30)]);
    journal.quarantine(PIPELINE, &released, "changed").unwrap();
    journal.forget(released.id, "as new").unwrap();
    assert_eq!(journal.prune(PIPELINE, i64::MAX).unwrap(), 0);
    commit(journal, 3);
    journal.done(PIPELINE, BatchNumber(3)).unwrap();
    assert_eq!(journal.prune(PIPELINE, i64::MAX).unwrap(), 1);
}

/// An empty segment moves no offset, and its batch needs the file's row all the same.
fn pruning_keeps_what_a_batch_in_flight_needs(journal: &dyn Journal) {
    let mut ended = row(journal, "ended", 30);
    ended.decoded = None;
    stage(journal, 1, &[(&ended, 0, 30)]);
    commit(journal, 1);
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    ended.decoded = Some(30);
    let empty = row(journal, "empty", 0);
    stage(journal, 2, &[(&ended, 30, 30), (&empty, 0, 0)]);
    for file in [&ended, &empty] {
        journal.quarantine(PIPELINE, file, "changed").unwrap();
        journal.forget(file.id, "as new").unwrap();
    }
    assert_eq!(journal.prune(PIPELINE, i64::MAX).unwrap(), 0);
    commit(journal, 2);
    journal.done(PIPELINE, BatchNumber(2)).unwrap();
    assert_eq!(journal.prune(PIPELINE, i64::MAX).unwrap(), 2);
    assert_eq!(journal.data_files(PIPELINE, BatchNumber(2)).unwrap(), []);
}

/// Follow-up work may take longer than rows are remembered.
fn a_batch_that_is_done_after_its_files_were_pruned_leaves_no_data_files(journal: &dyn Journal) {
    let file = row(journal, "a", 30);
    stage(journal, 1, &[(&file, 0, 30)]);
    commit(journal, 1);
    journal.retired(&[file.id]).unwrap();
    assert_eq!(journal.prune(PIPELINE, i64::MAX).unwrap(), 1);
    let number = BatchNumber(1);
    assert_eq!(journal.unfinished(PIPELINE).unwrap().len(), 1);
    assert_eq!(journal.data_files(PIPELINE, number).unwrap().len(), 2);
    for _ in 0..2 {
        journal.done(PIPELINE, number).unwrap();
        assert_eq!(journal.data_files(PIPELINE, number).unwrap(), []);
    }
    assert_eq!(journal.landed_partitions(PIPELINE).unwrap(), []);
}

fn requests_are_answered_once(journal: &dyn Journal) {
    let release = Request::Release {
        file: FileId(3),
        as_new: true,
    };
    let resolve = Request::Resolve {
        pipeline: PIPELINE.into(),
        batch: BatchNumber(4),
    };
    let first = journal.ask(&release).unwrap();
    let second = journal.ask(&resolve).unwrap();
    assert!(second > first);
    journal.answer(first, &Ok("released".into())).unwrap();
    journal.answer(first, &Err("too late".into())).unwrap();
    journal
        .answer(second, &Err("no such batch".into()))
        .unwrap();
    let all = journal.requests().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(
        (&all[0].request, &all[0].answer),
        (&release, &Some(Ok("released".into())))
    );
    assert_eq!(
        (&all[1].request, &all[1].answer),
        (&resolve, &Some(Err("no such batch".into())))
    );
    refused(journal.answer(99, &Ok(String::new())), "not known");
}

fn words_are_read_back(journal: &dyn Journal) {
    assert_eq!(journal.said(PIPELINE).unwrap(), None);
    for word in [
        json!({"waiting_for": "files"}),
        json!({"waiting_for": "the lake"}),
    ] {
        journal.say(PIPELINE, &word);
        assert_eq!(journal.said(PIPELINE).unwrap(), Some(word));
    }
    journal.tidy().unwrap();
}

fn manifests_are_adopted_as_they_stand(journal: &dyn Journal) {
    let old = JournalId(0xabc);
    let whole = row(journal, "whole", 20);
    let mut half = row(journal, "half", 30);
    half.decoded = None;
    half.fingerprint = None;
    let first = manifest(old, 1, BatchNumber(0), &[(&whole, 0, 20), (&half, 0, 10)]);
    half.decoded = Some(30);
    half.fingerprint = Some(Digest(8));
    half.stat.device = 4;
    let second = manifest(old, 2, BatchNumber(1), &[(&half, 10, 30)]);

    refused(
        journal.adopt(&manifest(old, 0, BatchNumber(0), &[]), BatchState::Staged),
        "next",
    );
    journal.adopt(&first, BatchState::Committed).unwrap();
    refused(journal.adopt(&first, BatchState::Committed), "next");
    let third = manifest(old, 3, BatchNumber(1), &[(&whole, 20, 20)]);
    refused(journal.adopt(&third, BatchState::Committed), "next");
    let at = |name: &str| journal.file_at(PIPELINE, &path(name)).unwrap().unwrap();
    assert_eq!(
        (at("whole").state, at("whole").records),
        (FileState::Committed, 20)
    );
    assert_eq!(
        (at("half").state, at("half").checkpoint),
        (FileState::Reading, 10)
    );

    journal.adopt(&second, BatchState::Staged).unwrap();
    let staged = at("half");
    assert_eq!((staged.checkpoint, staged.put_end), (10, 30));
    assert_eq!(
        (staged.decoded, staged.fingerprint),
        (Some(30), Some(Digest(8)))
    );
    assert_eq!(
        journal.schema(PIPELINE).unwrap(),
        Some((1, json!({"columns": []})))
    );
    let third = manifest(old, 3, BatchNumber(1), &[]);
    refused(journal.adopt(&third, BatchState::Committed), "not");

    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    let unfinished = journal.unfinished(PIPELINE).unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].manifest, second);
    assert_eq!(unfinished[0].files, [staged.id]);
    commit(journal, 2);
    assert_eq!(at("half").state, FileState::Committed);
    assert_eq!(journal.ranges(staged.id).unwrap().len(), 2);
    let next = row(journal, "next", 5);
    stage(journal, 3, &[(&next, 0, 5)]);
    let successor = journal.id();
    let body = ManifestBody::Tombstone(Tombstone {
        successor,
        adopted: false,
    });
    refused(
        journal.adopt(&Manifest { body, ..second }, BatchState::Staged),
        "tombstone",
    );
}

fn files_are_found_by_size_and_state(journal: &dyn Journal) {
    let files: Vec<FileRow> = (0..150)
        .map(|n| row(journal, &format!("f{n}"), if n < 120 { 30 } else { 31 }))
        .collect();
    let parts: Vec<_> = files
        .iter()
        .map(|file| (file, 0, file.decoded.unwrap()))
        .collect();
    stage(journal, 1, &parts);
    let found = journal.files_of_size(PIPELINE, 30).unwrap();
    assert_eq!(found.len(), 100);
    assert_eq!(found[0].id, files[119].id);
    assert_eq!(journal.files_of_size(PIPELINE, 31).unwrap().len(), 30);
    assert_eq!(journal.files_of_size("other", 31).unwrap(), []);
    journal
        .quarantine(PIPELINE, &files[149], "changed")
        .unwrap();
    assert_eq!(journal.files_of_size(PIPELINE, 31).unwrap().len(), 29);
    commit(journal, 1);
    journal.retired(&[files[0].id]).unwrap();
    let ids = |states: &[FileState]| -> Vec<FileId> {
        journal
            .files_in(PIPELINE, states)
            .unwrap()
            .iter()
            .map(|row| row.id)
            .collect()
    };
    assert_eq!(ids(&[FileState::Retired]), [files[0].id]);
    assert_eq!(
        ids(&[FileState::Quarantined, FileState::Retired]),
        [files[0].id, files[149].id]
    );
    assert_eq!(ids(&[FileState::Committed]).len(), 148);
    let mut seen = Vec::new();
    journal
        .visit_files(PIPELINE, &mut |row| seen.push(row.id))
        .unwrap();
    assert_eq!(seen, files.iter().map(|file| file.id).collect::<Vec<_>>());
    visited_in_short(journal);
}

/// What a start asks of each file is what the whole row says.
fn visited_in_short(journal: &dyn Journal) {
    let mut wholly = Vec::new();
    let mut shortly = Vec::new();
    journal
        .visit_files(PIPELINE, &mut |row| wholly.push(KnownFile::of(&row)))
        .unwrap();
    journal
        .visit_known(PIPELINE, &mut |file| shortly.push(file))
        .unwrap();
    assert_eq!(shortly, wholly);
}

fn work(day: &str, batch: u64) -> PartitionWork {
    PartitionWork {
        directory: format!("orders/dt={day}"),
        partition: format!("dt={day}"),
        schema_version: 1,
        batch: BatchNumber(batch),
    }
}

fn waiting(journal: &dyn Journal) -> Vec<PartitionWork> {
    let all = journal.waiting_partitions(PIPELINE, None, 100).unwrap();
    let count = journal.count_waiting_partitions(PIPELINE).unwrap();
    assert_eq!(all.len() as u64, count);
    all
}

fn partitions_wait_from_the_commit_until_they_are_registered(journal: &dyn Journal) {
    assert_eq!(waiting(journal), []);
    assert_eq!(journal.waiting_partitions("nobody", None, 1).unwrap(), []);
    assert_eq!(journal.count_waiting_partitions("nobody").unwrap(), 0);
    let (a, b) = (row(journal, "a", 30), row(journal, "b", 40));
    stage(journal, 1, &[(&a, 0, 30)]);
    stage(journal, 2, &[(&b, 0, 40)]);
    // Nothing is queued by a commit that is refused.
    let early = journal.commit(PIPELINE, BatchNumber(2), &[], &[work("9", 2)]);
    refused(early, "lowest");
    assert_eq!(waiting(journal), []);
    let first = [work("2", 1), work("1", 1)];
    for _ in 0..2 {
        // Again it is as if it had not been called.
        journal
            .commit(PIPELINE, BatchNumber(1), &[], &first)
            .unwrap();
        assert_eq!(waiting(journal), [work("1", 1), work("2", 1)]);
    }
    let seen = waiting(journal);
    assert_eq!(
        journal.waiting_partitions(PIPELINE, None, 1).unwrap(),
        [work("1", 1)]
    );
    assert_eq!(
        journal
            .waiting_partitions(PIPELINE, Some("orders/dt=1"), 9)
            .unwrap(),
        [work("2", 1)]
    );
    // One of them gets more files, of a wider schema, before it is registered.
    let wider = PartitionWork {
        schema_version: 2,
        ..work("1", 2)
    };
    let one = std::slice::from_ref(&wider);
    journal.commit(PIPELINE, BatchNumber(2), &[], one).unwrap();
    for _ in 0..2 {
        journal.registered(PIPELINE, &seen).unwrap();
        assert_eq!(waiting(journal), one);
    }
    // An older batch, as a rebuild queues it, takes nothing back.
    journal.queue_partitions(PIPELINE, &[work("1", 1)]).unwrap();
    assert_eq!(waiting(journal), one);
    journal.registered(PIPELINE, one).unwrap();
    assert_eq!(waiting(journal), []);
    let wrong = PartitionWork {
        directory: "orders/x".into(),
        ..work("1", 2)
    };
    refused(journal.queue_partitions(PIPELINE, &[wrong]), "not below");
}

fn landed_partitions_are_those_of_committed_batches(journal: &dyn Journal) {
    let (a, b) = (row(journal, "a", 30), row(journal, "b", 40));
    stage(journal, 1, &[(&a, 0, 30)]);
    stage(journal, 2, &[(&b, 0, 40)]);
    assert_eq!(journal.landed_partitions(PIPELINE).unwrap(), []);
    commit(journal, 1);
    journal.done(PIPELINE, BatchNumber(1)).unwrap();
    let landed = journal.landed_partitions(PIPELINE).unwrap();
    let of_batch = |work: &PartitionWork| work.batch == BatchNumber(1);
    assert!(!landed.is_empty() && landed.iter().all(of_batch));
    assert_eq!(journal.landed_partitions("nobody").unwrap(), []);
}
