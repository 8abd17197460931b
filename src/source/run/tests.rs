use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::Ordering;

use super::super::testing::{Rig, Told, path};
use super::super::{Again, ReadError, SampleLimits, Survey};
use super::*;
use crate::format::{FileContext, InputFormat};
use crate::segment::Segment;
use crate::spool::Retire;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(plain).unwrap();
    e.finish().unwrap()
}

type Packer = fn(&[u8]) -> Vec<u8>;

fn lines(n: u32, line: impl Fn(u32) -> String) -> String {
    (0..n).map(line).collect()
}

/// More than three segments.
fn big() -> String {
    lines(400_000, |i| {
        format!("{{\"id\":{i},\"text\":\"some text or other\"}}\n")
    })
}

fn append(rig: &Rig, name: &str, bytes: &[u8]) {
    let mut file = OpenOptions::new()
        .append(true)
        .open(rig.spool.place(name))
        .unwrap();
    file.write_all(bytes).unwrap();
}

fn committed(rig: &Rig, name: &str, bytes: &[u8]) -> Told {
    rig.spool.write(name, bytes);
    let told = rig.once();
    rig.journal.commit(&told.segments);
    told
}

#[test]
fn ready_files_are_handed_out_whole_and_then_the_spool_is_drained() {
    let rig = Rig::new();
    rig.spool.write("a.json", b"{}\n{}\n");
    rig.spool.write("b.json.gz", &gzip(b"{\"x\":1}\n"));
    rig.spool.write("c.empty", b"");
    let mut source = rig.source();
    let told = Rig::episode(&mut source);
    assert_eq!(told.drained, 1);
    assert_eq!(told.text("a.json"), "{}\n{}\n");
    assert_eq!(told.text("b.json.gz"), "{\"x\":1}\n");
    assert_eq!(told.segments.len(), 3);
    for data in &told.segments {
        assert!(data.segment.last);
        let end = data.end.as_ref().unwrap();
        assert_eq!(end.decoded, data.segment.to);
        let raw = std::fs::read(rig.spool.place(&data.row.path.to_string())).unwrap();
        assert_eq!(end.fingerprint, Some(Digest::of(&raw)));
        assert_eq!(end.torn, None);
    }
    assert_eq!(
        told.segments[1].context.settings.compression,
        Compression::Gzip
    );
    assert_eq!(told.segments[2].segment.records, 0);
    assert_eq!(rig.journal.questions.load(Ordering::Relaxed), 0);
    assert_eq!(source.waiting(), (0, 0));
    assert_eq!(source.backlog().read().0, 3);
}

#[test]
fn a_file_goes_on_at_each_of_its_segments() {
    for packed in [false, true] {
        let rig = Rig::new();
        let text = big();
        let file = if packed {
            gzip(text.as_bytes())
        } else {
            text.clone().into_bytes()
        };
        rig.spool.write("a", &file);
        let whole = rig.once();
        assert!(whole.segments.len() > 3);
        assert_eq!(whole.text("a"), text);
        for n in 1..whole.segments.len() {
            let rig = Rig {
                journal: Arc::default(),
                spool: Arc::clone(&rig.spool),
                settings: rig.settings.clone(),
            };
            rig.journal.commit(&whole.segments[..n]);
            let rest = rig.once();
            let segments = |data: &[crate::channel::SegmentData]| -> Vec<_> {
                data.iter().map(|d| d.segment.clone()).collect()
            };
            assert_eq!(segments(&rest.segments), segments(&whole.segments[n..]));
            assert_eq!(
                rest.segments.last().unwrap().end,
                whole.segments.last().unwrap().end
            );
        }
    }
}

#[test]
fn a_half_read_file_is_resumed_even_if_scans_no_longer_find_it_ready() {
    let rig = Rig::new();
    rig.spool.write("a", big().as_bytes());
    let whole = rig.once();
    rig.journal.commit(&whole.segments[..1]);
    let row = rig.journal.row("a");
    let place = rig.spool.place("a");
    std::fs::rename(&place, rig.spool.place("a.unready")).unwrap();
    rig.journal.files.lock().unwrap().insert(
        row.id,
        FileRow {
            path: path("a.unready"),
            ..row
        },
    );
    assert_eq!(rig.once().segments.len(), whole.segments.len() - 1);
}

#[test]
fn settings_of_a_half_read_file_win_over_the_configuration() {
    let mut rig = Rig::new();
    rig.spool.write("a", big().as_bytes());
    let whole = rig.once();
    rig.journal.commit(&whole.segments[..1]);
    rig.settings.reading.format = InputFormat::Text;
    rig.settings.reading.compression = Compression::Gzip;
    let rest = rig.once();
    assert_eq!(rest.segments.len(), whole.segments.len() - 1);
    assert_eq!(
        rest.segments[0].context.settings.format,
        InputFormat::Ndjson
    );
}

#[test]
fn csv_names_travel_with_the_file() {
    let mut rig = Rig::new();
    rig.settings.reading.format = InputFormat::Csv;
    rig.settings.path_columns = "^(?<kind>[a-z]+)-".into();
    let rows = lines(900_000, |i| format!("{i},x\n"));
    rig.spool
        .write("sale-1", format!("\u{feff}id,name\n{rows}").as_bytes());
    let whole = rig.once();
    assert!(whole.segments.len() > 1);
    let names = ["id".to_owned(), "name".to_owned()];
    for data in &whole.segments {
        assert_eq!(data.context.header.as_deref(), Some(&names[..]));
        assert_eq!(
            data.context.path_columns,
            [("kind".into(), Some("sale".into()))]
        );
    }
    assert_eq!(
        whole
            .segments
            .iter()
            .map(|d| d.segment.records)
            .sum::<u64>(),
        900_000
    );
    rig.journal.commit(&whole.segments[..1]);
    let rest = rig.once();
    assert_eq!(rest.segments[0].context.header.as_deref(), Some(&names[..]));
}

#[test]
fn nothing_is_handed_out_twice_in_an_episode_and_all_again_in_the_next() {
    let rig = Rig::new();
    rig.spool.write("a", b"{}\n");
    let mut source = rig.source();
    let channel = Channel::new(usize::MAX);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut drained = 0;
            let mut segments = 0;
            while drained < 5 {
                match channel.receive(Duration::from_mins(1)) {
                    crate::channel::Received::Event(SourceEvent::Drained) => drained += 1,
                    crate::channel::Received::Event(SourceEvent::Segment(_)) => segments += 1,
                    other => panic!("{other:?}"),
                }
            }
            channel.close();
            assert_eq!(segments, 1);
        });
        source.run(&channel, false);
    });
    assert_eq!(Rig::episode(&mut source).segments.len(), 1);
}

#[test]
fn a_torn_file_gives_its_whole_records_and_says_from_where_the_rest_is_missing() {
    let mut rig = Rig::new();
    let text = lines(100, |i| format!("{{\"id\":{i}}}\n"));
    let file = gzip(text.as_bytes());
    rig.settings.reading.compression = Compression::Gzip;
    for cut in 1..file.len() {
        rig.spool.write("a", &file[..cut]);
        let told = rig.once();
        let data = told.segments.last().unwrap();
        assert!(text.starts_with(&told.text("a")));
        assert!(told.text("a").is_empty() || told.text("a").ends_with('\n'));
        let end = data.end.clone().unwrap();
        assert_eq!(end.decoded, told.text("a").len() as u64);
        assert_eq!(end.fingerprint, Some(Digest::of(&file[..cut])));
        let torn = end.torn.unwrap();
        assert!(
            torn.contains(&format!("from offset {}", end.decoded)),
            "{torn}"
        );
    }
}

#[test]
fn a_file_that_decodes_to_too_much_is_torn_at_the_limit() {
    let mut rig = Rig::new();
    rig.settings.reading.decoded_bytes_max = 1 << 20;
    rig.spool.write("bomb", &gzip(&b"{}\n".repeat(20_000_000)));
    rig.spool
        .write("just", &b"{}\n{} \n".repeat(1 << 18)[..1 << 20]);
    let told = rig.once();
    assert_eq!(told.text("bomb").len(), (1 << 20) / 3 * 3);
    let torn = |name| {
        let of = |d: &&crate::channel::SegmentData| d.row.path == path(name);
        told.segments
            .iter()
            .find(of)
            .unwrap()
            .end
            .clone()
            .unwrap()
            .torn
    };
    assert!(torn("bomb").unwrap().contains("decoded_bytes_max"));
    assert_eq!(torn("just"), None);
}

#[test]
fn a_new_file_that_changes_while_it_is_read_is_quarantined_here() {
    let rig = Rig::new();
    rig.spool.write("a", b"{}\n");
    rig.spool.write("b", b"{}\n");
    let place = rig.spool.place("a");
    let grow = move || {
        let mut file = OpenOptions::new().append(true).open(&place).unwrap();
        file.write_all(b"{\"late\":1}\n").unwrap();
    };
    *rig.spool.on_open.lock().unwrap() = Some(("a".into(), Box::new(grow)));
    let told = rig.once();
    assert_eq!(told.segments.len(), 1);
    assert_eq!(told.text("b"), "{}\n");
    let row = rig.journal.row("a");
    assert_eq!(row.state, FileState::Quarantined);
    assert!(row.reason.unwrap().contains("changed while it was read"));
    assert!(row.quarantined_to.is_some());
    assert!(!rig.spool.place("a").exists());
}

#[test]
fn a_file_that_changes_after_segments_of_it_went_out_is_tainted() {
    let rig = Rig::new();
    rig.spool.write("a", big().as_bytes());
    let place = rig.spool.place("a");
    let grow = move || {
        let mut file = OpenOptions::new().append(true).open(&place).unwrap();
        file.write_all(b"{\"late\":1}\n").unwrap();
    };
    *rig.spool.on_open.lock().unwrap() = Some(("a".into(), Box::new(grow)));
    let told = rig.once();
    assert!(!told.segments.is_empty());
    assert!(told.segments.iter().all(|d| !d.segment.last));
    assert_eq!(told.tainted.len(), 1);
    assert_eq!(told.tainted[0].0.id, told.segments[0].row.id);
    assert_eq!((told.drained, rig.journal.rows().len()), (0, 0));
}

#[test]
fn a_handed_out_file_that_grows_is_tainted_at_the_next_scan() {
    let rig = Rig::new();
    rig.spool.write("a", b"{}\n");
    let mut source = rig.source();
    let channel = Channel::new(usize::MAX);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                match channel.receive(Duration::from_mins(1)) {
                    crate::channel::Received::Event(SourceEvent::Segment(_)) => {
                        append(&rig, "a", b"x");
                    }
                    crate::channel::Received::Event(SourceEvent::Tainted { row, reason }) => {
                        assert_eq!(row.path, path("a"));
                        assert!(reason.contains("changed after it was read"));
                        break;
                    }
                    crate::channel::Received::Event(SourceEvent::Drained) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        source.run(&channel, false);
    });
}

#[test]
fn a_journaled_segment_whose_bytes_changed_under_the_same_stat_taints_the_file() {
    let rig = Rig::new();
    rig.spool.write("a", big().as_bytes());
    let whole = rig.once();
    rig.journal.commit(&whole.segments[..2]);
    rig.journal.ranges.lock().unwrap()[0].digest = Digest(7);
    let told = rig.once();
    assert!(told.segments.is_empty());
    assert_eq!(told.tainted.len(), 1);
}

#[test]
fn committed_files_are_left_alone_until_they_change() {
    let rig = Rig::new();
    committed(&rig, "a", b"{}\n");
    assert!(rig.once().segments.is_empty());
    append(&rig, "a", b"{\"late\":1}\n");
    assert!(rig.once().segments.is_empty());
    let row = rig.journal.row("a");
    assert_eq!((row.state, row.checkpoint), (FileState::Quarantined, 3));
    assert!(row.reason.unwrap().contains("before it was retired"));
}

#[test]
fn another_file_under_the_name_of_one_that_is_not_retired_is_never_guessed() {
    let text = big();
    let shorter = &text[..=(text.len() / 2)];
    let shorter = &shorter[..=shorter.rfind('\n').unwrap()];
    let longer = format!("{text}{{\"id\":-1}}\n");
    for (content, state) in [
        (text.as_str(), FileState::Quarantined),
        (shorter, FileState::Quarantined),
        (&longer, FileState::Quarantined),
        ("{\"id\":0}\n", FileState::Quarantined),
    ] {
        let rig = Rig::new();
        committed(&rig, "a", text.as_bytes());
        rig.spool.write("a", content.as_bytes());
        let told = rig.once();
        assert!(told.segments.is_empty());
        assert_eq!(rig.journal.row("a").state, state, "{} bytes", content.len());
        assert_eq!(rig.journal.rows().len(), 2);
        // The same drop once more joins the quarantined row and lands no more than before.
        rig.spool.write("a", content.as_bytes());
        assert!(rig.once().segments.is_empty());
        assert_eq!(rig.journal.rows().len(), 2);
        assert!(!rig.spool.place("a").exists());
    }
    let rig = Rig::new();
    committed(&rig, "a", b"{\"id\":1}\n");
    rig.spool.write("a", b"{\"id\":2}\n{\"id\":3}\n");
    assert_eq!(rig.once().text("a"), "{\"id\":2}\n{\"id\":3}\n");
}

#[test]
fn a_file_that_was_renamed_but_not_recorded_as_retired_is_retired() {
    let rig = Rig::new();
    committed(&rig, "a", b"{}\n");
    rig.retire("a");
    rig.journal.set("a", |r| r.state = FileState::Committed);
    rig.spool.write("a", b"{}\n");
    let told = rig.once();
    assert!(told.segments.is_empty());
    assert!(rig.journal.row("a").skipped);
}

/// A producer sees that the name is free before the journal learns of it, and uses it for a file too short to be told from
/// a part of the earlier one.
#[test]
fn a_name_used_again_between_retiring_and_its_record_is_a_new_drop() {
    for retire in [Retire::Rename, Retire::Move, Retire::Delete] {
        let mut rig = Rig::new();
        rig.settings.spool.retire = retire;
        committed(&rig, "a", b"{\"id\":1}\n{\"id\":2}\n");
        rig.retire("a");
        rig.journal.set("a", |r| r.state = FileState::Committed);
        rig.spool.write("a", b"{\"id\":3}\n");
        assert_eq!(rig.once().text("a"), "{\"id\":3}\n", "{retire:?}");
    }
}

#[test]
fn a_resent_file_follows_its_policy() {
    for (policy, retire, state) in [
        (Again::Skip, Retire::Rename, Some(FileState::Committed)),
        (
            Again::Quarantine,
            Retire::Rename,
            Some(FileState::Quarantined),
        ),
        (Again::Skip, Retire::Keep, Some(FileState::Quarantined)),
        (Again::Land, Retire::Rename, None),
    ] {
        let mut rig = Rig::new();
        rig.settings.resent = policy;
        rig.settings.spool.retire = retire;
        committed(&rig, "a", b"{\"id\":1}\n");
        rig.retire("a");
        rig.spool.write("a", b"{\"id\":1}\n");
        let told = rig.once();
        assert_eq!(told.segments.is_empty(), state.is_some());
        let row = rig.journal.row("a");
        match state {
            Some(state) => assert_eq!(row.state, state),
            None => assert_eq!(row.state, FileState::Retired),
        }
        if row.skipped {
            assert_eq!((row.decoded, row.skipped_bytes), (Some(9), 9));
            assert_eq!(row.retire_target, Some(path("a.COMPLETED")));
        }
        // Same name and size, other content: new.
        if policy == Again::Skip && retire == Retire::Rename {
            rig.retire("a");
            rig.spool.write("a", b"{\"id\":2}\n");
            assert_eq!(rig.once().text("a"), "{\"id\":2}\n");
        }
    }
}

#[test]
fn the_same_content_under_another_name_follows_its_policy() {
    for policy in [Again::Land, Again::Skip, Again::Quarantine] {
        let mut rig = Rig::new();
        rig.settings.same_content = policy;
        committed(&rig, "a", b"{\"id\":1}\n");
        rig.spool.write("b", b"{\"id\":1}\n");
        rig.spool.write("c", b"{\"id\":2}\n");
        let told = rig.once();
        assert_eq!(told.text("c"), "{\"id\":2}\n");
        assert_eq!(told.text("b").is_empty(), policy != Again::Land);
        if policy != Again::Land {
            let row = rig.journal.row("b");
            assert_eq!(row.skipped, policy == Again::Skip);
            assert!(row.reason.unwrap().contains("`a`"));
        }
    }
}

#[test]
fn a_twin_of_a_file_that_is_still_in_the_channel_waits() {
    let mut rig = Rig::new();
    rig.settings.same_content = Again::Skip;
    rig.spool.write("a", b"{\"id\":1}\n");
    rig.spool.write("b", b"{\"id\":1}\n");
    let mut source = rig.source();
    let told = Rig::episode(&mut source);
    assert_eq!(told.segments.len(), 1);
    assert_eq!(source.backlog().deferred(), 1);
    assert_eq!(source.waiting(), (1, 9));
    rig.journal.commit(&told.segments);
    assert!(rig.once().segments.is_empty());
    assert!(rig.journal.row("b").skipped);
}

#[test]
fn a_file_whose_quarantine_was_cut_short_is_moved_at_the_next_start() {
    let rig = Rig::new();
    let told = committed(&rig, "a", b"{}\n");
    let row = FileRow::clone(&told.segments[0].row);
    rig.journal.quarantine("p", &row, "changed").unwrap();
    assert!(rig.once().segments.is_empty());
    let row = rig.journal.row("a");
    assert!(row.quarantined_to.is_some());
    assert_eq!(rig.journal.rows().len(), 1);
}

#[test]
fn a_file_released_as_new_is_new() {
    let rig = Rig::new();
    committed(&rig, "a", b"{}\n");
    rig.journal.set("a", |r| {
        r.state = FileState::Retired;
        r.reason = Some("released as new".into());
    });
    rig.spool.write("a", b"{}\n");
    assert_eq!(rig.once().text("a"), "{}\n");
}

#[test]
fn payload_is_journaled_first_in_groups_and_handed_out_again_after_a_restart() {
    let mut rig = Rig::new();
    rig.settings.payload = true;
    for i in 0..50 {
        rig.spool
            .write(&format!("f{i:02}"), format!("{{\"id\":{i}}}\n").as_bytes());
    }
    let told = rig.once();
    assert_eq!(told.segments.len(), 50);
    assert_eq!(rig.journal.puts.load(Ordering::Relaxed), 1);
    // The files are gone; the journal has the bytes.
    for i in 0..50 {
        std::fs::remove_file(rig.spool.place(&format!("f{i:02}"))).unwrap();
    }
    let again = rig.once();
    assert_eq!(again.segments.len(), 50);
    for (a, b) in told.segments.iter().zip(&again.segments) {
        assert_eq!(
            (&a.segment, &a.bytes, &a.end),
            (&b.segment, &b.bytes, &b.end)
        );
    }
}

#[test]
fn payload_of_a_file_put_in_part_goes_on_at_the_put_end() {
    let mut rig = Rig::new();
    rig.settings.payload = true;
    rig.spool.write("a", big().as_bytes());
    let whole = rig.once();
    rig.journal.waiting.lock().unwrap().truncate(1);
    let first = whole.segments[0].segment.clone();
    rig.journal.set("a", |r| {
        (r.put_end, r.decoded, r.fingerprint) = (first.to, None, None);
    });
    let again = rig.once();
    assert_eq!(again.text("a"), big());
    assert_eq!(again.segments.len(), whole.segments.len());
}

#[test]
fn once_waits_for_what_is_not_ready_at_most_ready_after() {
    let mut rig = Rig::new();
    rig.settings.spool.ready_after = Duration::from_millis(100);
    rig.spool.write("a.unready", b"{}\n");
    let mut source = rig.source();
    assert_eq!(Rig::episode(&mut source).drained, 1);
    assert_eq!(source.backlog().unready(), 1);
    assert_eq!(source.waiting(), (1, 3));
}

#[test]
fn patience_is_for_files_that_do_not_change() {
    let stat = |size| FileStat {
        inode: 1,
        device: 1,
        size,
        mtime_ns: 1,
    };
    let second = Duration::from_secs(1);
    let unready = |size| HashMap::from([(1, stat(size))]);
    let mut patience = Patience::default();
    assert_eq!(patience.goes_on(unready(1), second, second), Some(second));
    assert!(
        patience
            .goes_on(unready(1), second * 3 / 2, second)
            .is_some()
    );
    assert!(
        patience
            .goes_on(unready(2), second * 3 / 2, second)
            .is_none()
    );
    let mut patience = Patience::default();
    assert!(patience.goes_on(unready(1), second, second).is_some());
    assert!(patience.goes_on(unready(1), second * 2, second).is_none());
    assert!(
        Patience::default()
            .goes_on(HashMap::new(), second, second)
            .is_none()
    );
}

#[test]
fn one_file_that_cannot_be_read_stops_no_other() {
    let rig = Rig::new();
    rig.spool.write("a-forbidden", b"{}\n");
    rig.spool.write("b", b"{}\n");
    let mut source = rig.source();
    let told = Rig::episode(&mut source);
    assert_eq!((told.segments.len(), told.drained), (1, 1));
    let (count, first) = source.backlog().unreadable();
    assert_eq!(count, 1);
    assert!(first.unwrap().contains("a-forbidden"));
}

#[test]
fn a_spool_that_is_not_there_fails_for_now_and_nothing_is_concluded() {
    let rig = Rig::new();
    committed(&rig, "a", b"{}\n");
    rig.spool.down.store(true, Ordering::Relaxed);
    let told = rig.once();
    assert_eq!(told.drained, 0);
    assert!(told.failed.unwrap().1);
    assert_eq!(rig.journal.row("a").state, FileState::Committed);
}

#[test]
fn journaled_segments_can_be_read_again_from_wherever_their_bytes_are() {
    for packed in [false, true] {
        let rig = Rig::new();
        let text = big();
        let file = if packed {
            gzip(text.as_bytes())
        } else {
            text.into_bytes()
        };
        let whole = committed(&rig, "a", &file);
        let row = rig.journal.row("a");
        let reader = || {
            SegmentReader::new(
                Arc::clone(&rig.spool) as Arc<dyn Spool>,
                Arc::clone(&rig.journal) as Arc<dyn Journal>,
                &rig.settings,
            )
            .unwrap()
        };
        let check = || {
            let mut forward = reader();
            for data in &whole.segments {
                let again = forward.read(&row, &data.segment).unwrap();
                assert_eq!((&again.bytes, &again.end), (&data.bytes, &data.end));
                assert_eq!(again.context, data.context);
            }
            let mut backward = reader();
            for data in whole.segments.iter().rev() {
                assert_eq!(
                    backward.read(&row, &data.segment).unwrap().bytes,
                    data.bytes
                );
            }
        };
        check();
        rig.retire("a");
        check();
        let segment = &whole.segments[1].segment;
        let mut other = segment.clone();
        other.digest = Digest(1);
        assert!(matches!(
            reader().read(&row, &other),
            Err(ReadError::Changed { .. })
        ));
        append(&rig, "a.COMPLETED", b"x");
        assert!(matches!(
            reader().read(&row, segment),
            Err(ReadError::Changed { .. })
        ));
        std::fs::remove_file(rig.spool.place("a.COMPLETED")).unwrap();
        assert!(matches!(
            reader().read(&row, segment),
            Err(ReadError::Gone { .. })
        ));
    }
}

#[test]
fn a_cut_record_can_be_read_again() {
    let mut rig = Rig::new();
    rig.settings.reading.record_bytes_max = 100_000;
    let long = format!("{{\"a\":\"{}\"}}\n{{}}\n", "x".repeat(300_000));
    let told = committed(&rig, "a", long.as_bytes());
    assert_eq!(told.segments[0].segment.bytes(), 300_009);
    assert_eq!(told.segments[0].bytes.len(), 64 << 10);
    let mut reader = SegmentReader::new(
        Arc::clone(&rig.spool) as Arc<dyn Spool>,
        Arc::clone(&rig.journal) as Arc<dyn Journal>,
        &rig.settings,
    )
    .unwrap();
    for data in &told.segments {
        let again = reader.read(&rig.journal.row("a"), &data.segment).unwrap();
        assert_eq!(again.bytes, data.bytes);
    }
}

#[test]
fn a_sample_shows_what_waits_and_changes_nothing() {
    let rig = Rig::new();
    committed(&rig, "a", b"{}\n");
    rig.spool.write("b", big().as_bytes());
    rig.spool.write("c", b"{\"c\":1}\n");
    rig.spool.write("d.unready", b"{\"d\":1}\n");
    let mut source = rig.source();
    let mut sample = |limits: SampleLimits| {
        let mut got = Vec::new();
        source
            .sample(limits, &mut |context, segment, bytes| {
                assert_eq!(segment.bytes(), bytes.len() as u64);
                got.push((context.path.to_string(), segment.records));
                ControlFlow::Continue(())
            })
            .unwrap();
        got
    };
    let few = SampleLimits {
        records: 10,
        ..SampleLimits::default()
    };
    let got = sample(few);
    assert_eq!(
        got.iter().map(|g| g.0.as_str()).collect::<Vec<_>>(),
        ["b", "c"]
    );
    let all = SampleLimits {
        records: u64::MAX,
        unready: true,
        ..SampleLimits::default()
    };
    let got = sample(all);
    assert_eq!(got.iter().map(|g| g.1).sum::<u64>(), 400_002);
    let tiny = SampleLimits {
        bytes_in_all: 1,
        ..SampleLimits::default()
    };
    assert_eq!(sample(tiny).len(), 1);
    assert_eq!(
        Rig::episode(&mut source)
            .segments
            .iter()
            .filter(|d| d.segment.last)
            .count(),
        2
    );
}

/// Paths and records.
struct Seen;

impl Survey for Seen {
    type Part = Vec<(String, u64)>;

    fn begin(&self) -> Self::Part {
        Vec::new()
    }

    fn visit(
        &self,
        part: &mut Self::Part,
        context: &FileContext,
        segment: &Segment,
        _bytes: &[u8],
    ) -> ControlFlow<()> {
        part.push((context.path.to_string(), segment.records));
        if context.path.as_bytes() == b"stop" {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn several_threads_sample_what_one_does_and_in_its_order() {
    let rig = Rig::new();
    for name in ["a", "b", "c"] {
        rig.spool.write(name, big().as_bytes());
        rig.spool.write(&format!("{name}-small"), b"{}\n{}\n");
    }
    let mut source = rig.source();
    let mut survey = |threads: usize, limits: SampleLimits| {
        let (mut all, mut parts) = (Vec::new(), 0);
        source
            .survey(limits, threads, &Seen, &mut |part| {
                all.extend(part);
                parts += 1;
            })
            .unwrap();
        (all, parts)
    };
    let whole = SampleLimits {
        records: u64::MAX,
        ..SampleLimits::default()
    };
    let (one, parts) = survey(1, whole);
    assert!(parts > 1, "there is something to share");
    assert_eq!(one.iter().map(|seen| seen.1).sum::<u64>(), 1_200_006);
    assert_eq!(survey(3, whole), (one, parts));
    let tiny = SampleLimits {
        bytes_in_all: 1,
        ..SampleLimits::default()
    };
    assert!((1..=3).contains(&survey(3, tiny).0.len()));
    rig.spool.write("stop", b"{}\n");
    rig.spool.write("stopped", b"{}\n");
    let (all, _) = survey(1, whole);
    assert!(all.iter().all(|seen| seen.0 != "stopped"));
}

#[test]
fn a_changed_file_of_which_payload_was_handed_out_is_tainted() {
    let mut rig = Rig::new();
    rig.settings.payload = true;
    rig.spool.write("a", big().as_bytes());
    let whole = rig.once();
    rig.journal.waiting.lock().unwrap().truncate(1);
    let to = whole.segments[0].segment.to;
    rig.journal
        .set("a", |r| (r.put_end, r.decoded) = (to, None));
    append(&rig, "a", b"x");
    let told = rig.once();
    assert_eq!((told.segments.len(), told.tainted.len()), (1, 1));
    assert_eq!(rig.journal.row("a").state, FileState::Reading);
}

#[test]
fn a_full_journal_makes_the_source_wait_and_say_so() {
    let mut rig = Rig::new();
    rig.settings.payload = true;
    rig.settings.payload_bytes_max = 1;
    rig.spool.write("a", b"{}\n");
    assert_eq!(rig.once().segments.len(), 1);
    rig.spool.write("b", b"{}\n");
    let mut source = rig.source();
    let backlog = source.backlog();
    let channel = Channel::new(usize::MAX);
    std::thread::scope(|scope| {
        scope.spawn(|| source.run(&channel, true));
        while !backlog.payload_full() {
            std::thread::yield_now();
        }
        channel.close();
    });
    assert_eq!(rig.journal.rows().len(), 1);
    assert!(!backlog.payload_full());
}

#[test]
fn every_format_in_every_compression_comes_out_whole() {
    let packers: [Packer; 6] = [
        <[u8]>::to_vec,
        gzip,
        |b| zstd::stream::encode_all(b, 1).unwrap(),
        |b| {
            let mut e = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            e.write_all(b).unwrap();
            e.finish().unwrap()
        },
        |b| {
            let mut e = liblzma::write::XzEncoder::new(Vec::new(), 0);
            e.write_all(b).unwrap();
            e.finish().unwrap()
        },
        |b| {
            let mut e = lz4_flex::frame::FrameEncoder::new(Vec::new());
            e.write_all(b).unwrap();
            e.finish().unwrap()
        },
    ];
    let csv = lines(1000, |i| format!("{i},\"a\nb\"\r\n"));
    let array: Vec<String> = (0..1000).map(|i| format!("{{\"id\": {i}}}")).collect();
    for (format, text, records) in [
        (InputFormat::Ndjson, array.join("\n"), 1000),
        (InputFormat::Json, format!("[{}]\n", array.join(", ")), 1000),
        (InputFormat::Json, array.join(" "), 1000),
        (InputFormat::Csv, format!("id,text\n{csv}"), 1000),
        (InputFormat::Text, csv, 2000),
    ] {
        for pack in packers {
            let mut rig = Rig::new();
            rig.settings.reading.format = format;
            rig.spool.write("a", &pack(text.as_bytes()));
            let told = rig.once();
            assert_eq!(told.text("a"), text);
            let found: u64 = told.segments.iter().map(|d| d.segment.records).sum();
            assert_eq!(found, records, "{format:?}");
        }
    }
}

#[test]
fn utf_16_is_read_as_utf_8() {
    let mut rig = Rig::new();
    rig.settings.reading.charset = "utf-16".into();
    let text = "\u{feff}{\"name\":\"grün\"}\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let told = committed(&rig, "a", &gzip(&bytes));
    assert_eq!(told.text("a"), &text[3..]);
    let mut reader = SegmentReader::new(
        Arc::clone(&rig.spool) as Arc<dyn Spool>,
        Arc::clone(&rig.journal) as Arc<dyn Journal>,
        &rig.settings,
    )
    .unwrap();
    let again = reader.read(&rig.journal.row("a"), &told.segments[0].segment);
    assert_eq!(again.unwrap().bytes, told.segments[0].bytes);
}

#[test]
fn a_half_read_file_whose_name_another_took_does_not_have_that_one_read_twice() {
    let rig = Rig::new();
    rig.spool.write("a", big().as_bytes());
    let told = rig.once();
    rig.journal.commit(&told.segments[..1]);
    let other = big().replace("some", "else");
    rig.spool.write("a", other.as_bytes());
    let told = rig.once();
    assert!(told.segments.len() > 2);
    rig.journal.commit(&told.segments[..1]);
    // Both are half read now, and the name is the second one's.
    let rest = rig.once();
    assert_eq!(rest.segments.len(), told.segments.len() - 1);
    assert!(
        rest.segments
            .iter()
            .all(|data| data.row.id == told.segments[0].row.id)
    );
}
