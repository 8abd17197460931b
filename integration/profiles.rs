//! What both profiles of Parquet are made of, read from the metadata and the page headers of landed files: nothing that an
//! old reader does not know, but for the encodings of values that do not repeat in `modern`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use parquet::basic::{
    ColumnOrder, Compression, ConvertedType, Encoding, LogicalType, Repetition, Type as Physical,
};
use parquet::column::page::Page;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::Type;

use crate::readers::{data_files, land};
use crate::support::Site;

type File = SerializedFileReader<bytes::Bytes>;

fn open(path: &std::path::Path) -> File {
    SerializedFileReader::new(bytes::Bytes::from(
        std::fs::read(path).expect("a data file"),
    ))
    .expect("Parquet")
}

/// Of every page: its kind by version, its encoding, those of its levels.
fn pages(file: &File) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for at in 0..file.num_row_groups() {
        let group = file.get_row_group(at).expect("a row group");
        for column in 0..group.num_columns() {
            for page in group.get_column_page_reader(column).expect("pages") {
                found.insert(match page.expect("a page") {
                    Page::DataPage {
                        encoding,
                        def_level_encoding,
                        rep_level_encoding,
                        ..
                    } => format!("data 1 {encoding} {def_level_encoding} {rep_level_encoding}"),
                    Page::DataPageV2 { encoding, .. } => format!("data 2 {encoding}"),
                    Page::DictionaryPage { encoding, .. } => format!("dictionary {encoding}"),
                });
            }
        }
    }
    found
}

/// Holds the shape of lists and maps, and that nothing is unsigned.
fn check_type(node: &Type) {
    let info = node.get_basic_info();
    let unsigned = matches!(
        info.converted_type(),
        ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64
    ) || matches!(info.logical_type_ref(), Some(LogicalType::Integer(i)) if !i.is_signed);
    assert!(!unsigned, "{}", node.name());
    if !node.is_group() {
        return;
    }
    let names = |node: &Type| -> Vec<String> {
        let fields = node.get_fields().iter();
        fields.map(|field| field.name().to_owned()).collect()
    };
    let repeated = |node: &Type| node.get_basic_info().repetition() == Repetition::REPEATED;
    match info.converted_type() {
        ConvertedType::LIST => {
            assert_eq!(names(node), ["list"], "{}", node.name());
            let list = &node.get_fields()[0];
            assert!(repeated(list));
            assert_eq!(names(list), ["element"], "{}", node.name());
        }
        ConvertedType::MAP => {
            assert_eq!(names(node), ["key_value"], "{}", node.name());
            let entries = &node.get_fields()[0];
            assert!(repeated(entries));
            assert_eq!(names(entries), ["key", "value"], "{}", node.name());
            let key = entries.get_fields()[0].get_basic_info();
            assert_eq!(key.repetition(), Repetition::REQUIRED, "{}", node.name());
        }
        _ => {}
    }
    node.get_fields().iter().for_each(|field| check_type(field));
}

/// Encodings of pages, beside those of their levels.
fn known(compat: &str) -> Vec<Encoding> {
    let mut known = vec![Encoding::PLAIN, Encoding::RLE_DICTIONARY];
    if compat == "modern" {
        known.extend([Encoding::DELTA_BINARY_PACKED, Encoding::DELTA_BYTE_ARRAY]);
    }
    known
}

fn check(file: &File, compat: &str) {
    let encodings = known(compat);
    let metadata = file.metadata().file_metadata();
    assert_eq!(metadata.version(), 1);
    let created_by = metadata.created_by().expect("a writer");
    assert!(created_by.starts_with("lakeward version "), "{created_by}");
    // An order that a reader does not know makes Hive 4.0 fail.
    let orders = metadata.column_orders().expect("orders");
    let known = orders
        .iter()
        .all(|order| matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_)));
    assert!(known, "{orders:?}");
    let pairs = metadata.key_value_metadata().expect("metadata");
    let proleptic = pairs.iter().find(|p| p.key == "writer.date.proleptic");
    assert_eq!(proleptic.and_then(|p| p.value.as_deref()), Some("true"));
    metadata
        .schema()
        .get_fields()
        .iter()
        .for_each(|field| check_type(field));
    for group in file.metadata().row_groups() {
        for column in group.columns() {
            assert_eq!(column.compression(), Compression::SNAPPY);
            assert!(column.bloom_filter_offset().is_none());
            assert!(column.column_index_offset().is_none());
            let known = column
                .encodings()
                .all(|encoding| encoding == Encoding::RLE || encodings.contains(&encoding));
            assert!(known, "{}", column.column_path());
        }
    }
    let data = encodings.iter().map(|of| format!("data 1 {of} RLE RLE"));
    let known: BTreeSet<String> = data.chain(["dictionary PLAIN".to_owned()]).collect();
    let pages = pages(file);
    assert!(pages.is_subset(&known), "{pages:?}");
}

#[test]
fn both_profiles_are_made_of_what_old_readers_know() {
    for compat in ["hive", "modern"] {
        let site = land(compat);
        for path in data_files(&site) {
            let file = open(&path);
            check(&file, compat);
            let columns = file.metadata().file_metadata().schema_descr().columns();
            let of = |wanted: fn(&Option<LogicalType>) -> bool| -> BTreeSet<String> {
                let found = columns
                    .iter()
                    .filter(|c| wanted(&c.logical_type_ref().cloned()));
                found.map(|c| c.physical_type().to_string()).collect()
            };
            let decimals = of(|t| matches!(t, Some(LogicalType::Decimal(_))));
            let times = of(|t| matches!(t, Some(LogicalType::Timestamp(_))));
            let int96 = columns
                .iter()
                .filter(|c| c.physical_type() == Physical::INT96)
                .count();
            if compat == "hive" {
                assert_eq!(decimals, ["FIXED_LEN_BYTE_ARRAY".to_owned()].into());
                assert_eq!((times.len(), int96), (0, 9));
            } else {
                let compact = ["FIXED_LEN_BYTE_ARRAY", "INT32", "INT64"].map(str::to_owned);
                assert_eq!(decimals, compact.into());
                assert_eq!((times, int96), (["INT64".to_owned()].into(), 0));
            }
        }
    }
}

/// Dictionaries that grow too large, several row groups and pages: what a small file does not show.
#[test]
fn large_files_are_made_of_nothing_else() {
    for compat in ["hive", "modern"] {
        let site = Site::local(&format!(
            "[pipeline.schema]\nmode = \"columns\"\ncolumns = {{ id = \"bigint\", flag = \"boolean\", at = \"timestamp\", times = \"array<timestamp>\", price = \"decimal(12,3)\", text = \"string\", x = \"double\" }}\n[pipeline.sink]\npath = \"t\"\ncompat = \"{compat}\"\n"
        ));
        let mut text = String::new();
        for id in 0..300_000_u64 {
            let micros = id.wrapping_mul(7_919_777) % 1_000_000_000_000;
            let at = format!(
                "{}.{:06}",
                1_600_000_000 + micros / 1_000_000,
                micros % 1_000_000
            );
            writeln!(
                text,
                "{{\"id\":{id},\"flag\":{},\"at\":{at},\"times\":[{at},null],\"price\":{id}.125,\"text\":\"a text of some length {micros}\",\"x\":{micros}.5}}",
                id % 3 == 0
            )
            .expect("writing to a string");
        }
        site.drop_file("a.ndjson", text.as_bytes());
        site.expect(0, &["run", "--once"]);
        let files = data_files(&site);
        assert!(!files.is_empty());
        for path in files {
            let file = open(&path);
            check(&file, compat);
            // Dictionaries are met, and given up.
            assert_eq!(pages(&file).len(), 1 + known(compat).len());
        }
    }
}
