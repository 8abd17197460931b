//! Every type in every form, read back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Encoding, Type as Physical};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;

const ROWS: usize = 50;

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

fn times(count: usize, from: usize) -> TimestampMicrosecondArray {
    let values = (from..from + count).map(|at| {
        let time = 1_795_341_600_123_456 - at as i64 * 7_777_777_777_777;
        (at % 5 != 1).then_some(time)
    });
    values
        .collect::<TimestampMicrosecondArray>()
        .with_timezone("+00:00")
}

fn decimals(count: usize, precision: u8, scale: i8) -> ArrayRef {
    let largest = 10_i128.pow(precision.into()) - 1;
    let values = (0..count).map(|at| match at % 4 {
        0 => Some(largest),
        1 => Some(-largest),
        2 => None,
        _ => Some(at as i128 % largest.min(1000)),
    });
    let array = values.collect::<Decimal128Array>();
    Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
}

/// Lists of 0, 1, 2 elements and NULL in turn, over `values` of them.
fn list_shape() -> (OffsetBuffer<i32>, NullBuffer, usize) {
    let lengths: Vec<usize> = (0..ROWS)
        .map(|row| if row % 4 == 3 { 0 } else { row % 4 })
        .collect();
    let nulls: Vec<bool> = (0..ROWS).map(|row| row % 4 != 3).collect();
    let total = lengths.iter().sum();
    (OffsetBuffer::from_lengths(lengths), nulls.into(), total)
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn list(element: DataType, values: ArrayRef) -> ArrayRef {
    let (offsets, nulls, _) = list_shape();
    Arc::new(ListArray::new(
        Arc::new(field("element", element)),
        offsets,
        values,
        Some(nulls),
    ))
}

fn structure(count: usize, skip: usize) -> (DataType, ArrayRef) {
    let fields: Fields = vec![
        field("at", utc()),
        field("price", DataType::Decimal128(7, 2)),
        field("name", DataType::Utf8),
    ]
    .into();
    let names: StringArray = (0..count)
        .map(|at| (at % 3 != 0).then(|| format!("n{at}")))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times(count, skip)),
        decimals(count, 7, 2),
        Arc::new(names),
    ];
    let nulls: Vec<bool> = (0..count).map(|at| at % 7 != 2).collect();
    let array = StructArray::new(fields.clone(), columns, Some(nulls.into()));
    (DataType::Struct(fields), Arc::new(array))
}

fn map() -> (DataType, ArrayRef) {
    let (offsets, nulls, total) = list_shape();
    let fields: Fields = vec![
        Field::new("key", DataType::Utf8, false),
        field("value", utc()),
    ]
    .into();
    let keys: StringArray = (0..total).map(|at| Some(format!("k{at}"))).collect();
    let entries = StructArray::new(
        fields.clone(),
        vec![Arc::new(keys), Arc::new(times(total, 3))],
        None,
    );
    let entry = Arc::new(Field::new("key_value", DataType::Struct(fields), false));
    let array = MapArray::new(Arc::clone(&entry), offsets, entries, Some(nulls), false);
    (DataType::Map(entry, false), Arc::new(array))
}

/// A column of every type that a schema can have, with NULLs at every level.
fn everything() -> RecordBatch {
    let some = |at: usize| at % 6 != 5;
    let rows = 0..ROWS;
    let (_, _, elements) = list_shape();
    let (struct_type, structs) = structure(ROWS, 0);
    let (inner_type, inner) = structure(elements, 2);
    let (map_type, maps) = map();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "boolean",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(at % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
        ),
        (
            "tinyint",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(at as i8 - 20))
                    .collect::<Int8Array>(),
            ),
        ),
        (
            "smallint",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(at as i16 - 9000))
                    .collect::<Int16Array>(),
            ),
        ),
        (
            "int",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(at as i32 - 1_000_000))
                    .collect::<Int32Array>(),
            ),
        ),
        (
            "bigint",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(i64::MIN + at as i64))
                    .collect::<Int64Array>(),
            ),
        ),
        (
            "float",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(at as f32 / 3.0))
                    .collect::<Float32Array>(),
            ),
        ),
        (
            "double",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(at as f64 / 7.0))
                    .collect::<Float64Array>(),
            ),
        ),
        ("decimal_4_1", decimals(ROWS, 4, 1)),
        ("decimal_18_6", decimals(ROWS, 18, 6)),
        ("decimal_38_0", decimals(ROWS, 38, 0)),
        (
            "string",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then(|| format!("\"ä\n{at}")))
                    .collect::<StringArray>(),
            ),
        ),
        (
            "binary",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then(|| vec![0xff, at as u8]))
                    .collect::<BinaryArray>(),
            ),
        ),
        (
            "date",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(20_779 - at as i32 * 500))
                    .collect::<Date32Array>(),
            ),
        ),
        ("timestamp", Arc::new(times(ROWS, 0))),
        ("struct", structs),
        ("array_timestamp", list(utc(), Arc::new(times(elements, 1)))),
        ("array_struct", list(inner_type, inner)),
        ("map", maps),
        (
            "array_decimal",
            list(DataType::Decimal128(9, 3), decimals(elements, 9, 3)),
        ),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| field(name, array.data_type().clone()))
        .collect();
    assert_eq!(
        (struct_type, map_type),
        (
            fields[14].data_type().clone(),
            fields[17].data_type().clone()
        )
    );
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn encode(compat: Compat, codec: Codec, batch: &RecordBatch) -> Vec<u8> {
    let format = OutputFormat::Parquet { compat, codec };
    let metadata = [("lakeward.batch".to_owned(), "7".to_owned())];
    let layout = Layout::new(format, batch.schema(), &metadata, false).unwrap();
    let mut encoder = Encoder::open(&layout, Vec::new()).unwrap();
    // Slices and several row groups, as a lane makes them.
    encoder.write(&batch.slice(0, 7)).unwrap();
    encoder.write(&batch.slice(7, 20)).unwrap();
    assert!(encoder.block_estimate() > 0 && encoder.block_memory() > 0);
    encoder.flush().unwrap();
    assert_eq!((encoder.block_estimate(), encoder.block_rows()), (0, 0));
    encoder.write(&batch.slice(27, ROWS - 27)).unwrap();
    std::mem::take(encoder.finish().unwrap())
}

fn read_back(bytes: &[u8]) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes)).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// INT96 is read as nanoseconds without a zone: the same instants.
fn as_written(array: &ArrayRef, kind: &DataType) -> ArrayRef {
    cast(array, kind).unwrap()
}

#[test]
fn every_type_comes_back_from_modern_parquet_in_every_codec() {
    let batch = everything();
    for codec in [
        Codec::None,
        Codec::Snappy,
        Codec::Gzip,
        Codec::Zstd(1),
        Codec::Zstd(6),
        Codec::Lz4,
    ] {
        let read = read_back(&encode(Compat::Modern, codec, &batch));
        for (at, field) in batch.schema().fields().iter().enumerate() {
            let column = as_written(read.column(at), field.data_type());
            assert_eq!(&column, batch.column(at), "{} with {codec:?}", field.name());
        }
    }
}

#[test]
fn every_type_comes_back_from_hive_parquet_with_times_in_range_of_nanoseconds() {
    let batch = everything();
    let read = read_back(&encode(Compat::Hive, Codec::Snappy, &batch));
    for (at, field) in batch.schema().fields().iter().enumerate() {
        let column = as_written(read.column(at), field.data_type());
        assert_eq!(&column, batch.column(at), "{}", field.name());
    }
    let timestamp = read.column_by_name("timestamp").unwrap();
    assert!(timestamp.as_any().is::<TimestampNanosecondArray>());
}

#[test]
fn hive_parquet_has_the_physical_types_that_old_hive_reads() {
    let bytes = encode(Compat::Hive, Codec::Snappy, &everything());
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let file = reader.metadata().file_metadata();
    assert_eq!(file.version(), 1);
    assert_eq!(
        file.created_by(),
        Some(concat!("lakeward version ", env!("CARGO_PKG_VERSION")))
    );
    let pairs = file.key_value_metadata().unwrap();
    assert!(
        pairs
            .iter()
            .any(|p| p.key == "lakeward.batch" && p.value.as_deref() == Some("7"))
    );
    let leaf = |path: &str| {
        let columns = file.schema_descr().columns().iter();
        let found = columns
            .clone()
            .find(|column| column.path().string() == path);
        found
            .unwrap_or_else(|| {
                panic!(
                    "{path} of {:?}",
                    columns.map(|c| c.path().string()).collect::<Vec<_>>()
                )
            })
            .clone()
    };
    for path in [
        "timestamp",
        "struct.at",
        "array_timestamp.list.element",
        "array_struct.list.element.at",
        "map.key_value.value",
    ] {
        assert_eq!(leaf(path).physical_type(), Physical::INT96, "{path}");
    }
    for (path, length) in [
        ("decimal_4_1", 2),
        ("decimal_18_6", 8),
        ("decimal_38_0", 16),
        ("struct.price", 4),
        ("array_decimal.list.element", 4),
    ] {
        assert_eq!(
            leaf(path).physical_type(),
            Physical::FIXED_LEN_BYTE_ARRAY,
            "{path}"
        );
        assert_eq!(leaf(path).type_length(), length, "{path}");
    }
    for group in reader.metadata().row_groups() {
        for column in group.columns() {
            let plain = column.encodings().all(|e| {
                matches!(
                    e,
                    Encoding::PLAIN
                        | Encoding::RLE
                        | Encoding::RLE_DICTIONARY
                        | Encoding::PLAIN_DICTIONARY
                )
            });
            assert!(plain, "{}", column.column_path());
            let int96 = column.column_descr().physical_type() == Physical::INT96;
            assert_eq!(
                column.statistics().is_some(),
                !int96,
                "{}",
                column.column_path()
            );
        }
    }
}

/// Far apart, over all that the type holds: differences overflow.
fn wild(at: usize) -> i64 {
    (at as i64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)
}

fn distinct(precision: u8, scale: i8) -> ArrayRef {
    let values = (0..5_000).map(|at| i128::from(wild(at)) % 10_i128.pow(18));
    let array = Decimal128Array::from_iter_values(values);
    Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
}

/// Values that do not repeat, enough of them to be told, of every type that has an encoding for them.
fn varied() -> RecordBatch {
    let rows = 0..5_000_usize;
    let some = |at: usize| at % 6 != 5;
    let wild_array: Int64Array = rows.clone().map(|at| some(at).then(|| wild(at))).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("bigint", Arc::new(wild_array)),
        (
            "int",
            Arc::new(Int32Array::from_iter_values(
                rows.clone().map(|at| wild(at) as i32),
            )),
        ),
        (
            "date",
            Arc::new(Date32Array::from_iter_values(
                rows.clone().map(|at| at as i32 - 2_000),
            )),
        ),
        (
            "timestamp",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then_some(at as i64 * 1_777_777_777_777 - 3))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("+00:00"),
            ),
        ),
        ("decimal_18_6", distinct(18, 6)),
        ("decimal_38_0", distinct(38, 0)),
        (
            "string",
            Arc::new(
                rows.clone()
                    .map(|at| some(at).then(|| format!("ä{at}").repeat(at.min(9))))
                    .collect::<StringArray>(),
            ),
        ),
        (
            "binary",
            Arc::new(BinaryArray::from_iter_values(
                rows.map(|at| wild(at).to_le_bytes()[..at.min(8)].to_vec()),
            )),
        ),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| field(name, array.data_type().clone()))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

#[test]
fn values_that_do_not_repeat_come_back_as_differences_in_modern_and_plain_for_hive() {
    let batch = varied();
    for (compat, expected) in [
        (
            Compat::Modern,
            ["bigint", "int", "date", "timestamp", "decimal_18_6"].as_slice(),
        ),
        (Compat::Hive, &[]),
    ] {
        let format = OutputFormat::Parquet {
            compat,
            codec: Codec::Zstd(1),
        };
        let layout = Layout::new(format, batch.schema(), &[], false).unwrap();
        let mut encoder = Encoder::open(&layout, Vec::new()).unwrap();
        encoder.write(&batch).unwrap();
        let bytes = Bytes::from(std::mem::take(encoder.finish().unwrap()));
        let reader = SerializedFileReader::new(bytes.clone()).unwrap();
        let group = reader.metadata().row_group(0).clone();
        let with = |encoding: Encoding| -> Vec<String> {
            let columns = group.columns().iter();
            columns
                .filter(|column| column.encodings().any(|e| e == encoding))
                .map(|column| column.column_path().string())
                .collect()
        };
        assert_eq!(with(Encoding::DELTA_BINARY_PACKED), expected);
        let texts: &[&str] = match compat {
            Compat::Modern => &["string", "binary"],
            Compat::Hive => &[],
        };
        assert_eq!(with(Encoding::DELTA_BYTE_ARRAY), texts);
        let read = read_back(&bytes);
        for (at, field) in batch.schema().fields().iter().enumerate() {
            let column = as_written(read.column(at), field.data_type());
            assert_eq!(&column, batch.column(at), "{}", field.name());
        }
    }
}

/// Which row groups of a file have a dictionary in their only column.
fn dictionaries(encoder: &mut Encoder<Vec<u8>>) -> Vec<bool> {
    let bytes = Bytes::from(std::mem::take(encoder.finish().unwrap()));
    let reader = SerializedFileReader::new(bytes).unwrap();
    let groups = reader.metadata().row_groups().iter();
    groups
        .map(|group| group.column(0).dictionary_page_offset().is_some())
        .collect()
}

#[test]
fn a_few_rows_are_encoded_as_the_many_before_and_around_them() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5000));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let format = OutputFormat::Parquet {
        compat: Compat::Modern,
        codec: Codec::Zstd(1),
    };
    let open = |layout| Encoder::open(layout, Vec::new()).unwrap();

    let layout = Layout::new(format, batch.schema(), &[], false).unwrap();
    let mut first = open(&layout);
    first.write(&batch.slice(0, 20)).unwrap();
    first.flush().unwrap();
    first.write_rows(&batch, 20, 20).unwrap();
    first.flush().unwrap();
    first.write(&batch.slice(40, 20)).unwrap();
    assert_eq!(dictionaries(&mut first), [true, false, false]);

    let mut second = open(&layout);
    second.write(&batch.slice(60, 20)).unwrap();
    assert_eq!(dictionaries(&mut second), [false], "another file");
}

#[test]
fn memory_of_rows_is_that_of_what_stands_in_their_buffers() {
    let mut roomy: Vec<i64> = Vec::with_capacity(100_000);
    roomy.extend(0..100);
    let text = ["four"; 100];
    let columns: [(&str, ArrayRef); 2] = [
        ("n", Arc::new(Int64Array::from(roomy))),
        ("t", Arc::new(StringArray::from(text.to_vec()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let per_row = 8 + 4 + 4;
    assert_eq!(row_memory(&batch), 100 * per_row + 4);
    assert_eq!(row_memory(&batch.slice(10, 50)), 50 * per_row + 4);
}

#[test]
fn a_time_that_int96_cannot_hold_is_refused_in_words() {
    let array: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN]).with_timezone("+00:00"));
    let batch = RecordBatch::try_from_iter_with_nullable([("t", array, true)]).unwrap();
    let format = OutputFormat::Parquet {
        compat: Compat::Hive,
        codec: Codec::None,
    };
    let layout = Layout::new(format, batch.schema(), &[], false).unwrap();
    let mut encoder = Encoder::open(&layout, Vec::new()).unwrap();
    let error = encoder.write(&batch).unwrap_err().to_string();
    assert!(error.contains("INT96"), "{error}");
}

#[test]
fn ndjson_shows_every_type() {
    let batch = everything();
    for codec in [Codec::None, Codec::Gzip, Codec::Zstd(3)] {
        let layout =
            Layout::new(OutputFormat::Ndjson { codec }, batch.schema(), &[], false).unwrap();
        let mut encoder = Encoder::open(&layout, Vec::new()).unwrap();
        encoder.write(&batch.slice(0, 20)).unwrap();
        encoder.flush().unwrap();
        encoder.write(&batch.slice(20, ROWS - 20)).unwrap();
        let bytes = std::mem::take(encoder.finish().unwrap());
        assert_eq!(encoder.written(), bytes.len() as u64);
        let text = match codec {
            Codec::Gzip => {
                let mut text = Vec::new();
                std::io::Read::read_to_end(
                    &mut flate2::read::MultiGzDecoder::new(&bytes[..]),
                    &mut text,
                )
                .unwrap();
                text
            }
            Codec::Zstd(_) => zstd::decode_all(&bytes[..]).unwrap(),
            _ => bytes,
        };
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), ROWS);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        let line = text.lines().nth(2).unwrap();
        assert_eq!(
            line,
            "{\"boolean\":true,\"tinyint\":-18,\"smallint\":-8998,\"int\":-999998,\"bigint\":-9223372036854775806,\
             \"float\":0.6666667,\"double\":0.2857142857142857,\"decimal_4_1\":null,\"decimal_18_6\":null,\
             \"decimal_38_0\":null,\"string\":\"\\\"ä\\n2\",\"binary\":\"/wI=\",\"date\":\"2024-02-26\",\
             \"timestamp\":\"2026-05-26T09:00:44.567902Z\",\"struct\":null,\
             \"array_timestamp\":[\"2026-05-26T09:00:44.567902Z\",\"2026-02-25T08:31:06.790125Z\"],\
             \"array_struct\":[{\"at\":\"2026-02-25T08:31:06.790125Z\",\"price\":-99999.99,\"name\":\"n1\"},null],\
             \"map\":{\"k1\":\"2025-11-27T08:01:29.012348Z\",\"k2\":\"2025-08-29T07:31:51.234571Z\"},\
             \"array_decimal\":[-999999.999,null]}"
        );
    }
}

#[test]
fn rows_of_an_older_version_get_nulls_at_every_depth() {
    let inner: Fields = vec![field("a", DataType::Int64)].into();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let structs = StructArray::new(inner.clone(), vec![values], None);
    let lists = ListArray::new(
        Arc::new(field("element", DataType::Struct(inner))),
        OffsetBuffer::from_lengths([1, 2]),
        Arc::new(structs),
        None,
    );
    let old = RecordBatch::try_from_iter([("l", Arc::new(lists) as ArrayRef)]).unwrap();
    let wider: Fields = vec![field("a", DataType::Int64), field("b", DataType::Utf8)].into();
    let new: SchemaRef = Arc::new(Schema::new(vec![
        field(
            "l",
            DataType::List(Arc::new(field("element", DataType::Struct(wider)))),
        ),
        field("n", DataType::Boolean),
    ]));
    let widened = widen(&old, &new).unwrap();
    assert_eq!(widened.column(1).null_count(), 2);
    let elements = widened.column(0).as_list::<i32>().values().clone();
    assert_eq!(elements.as_struct().column(1).null_count(), 3);
    assert_eq!(elements.as_struct().column(0).null_count(), 0);

    let changed: SchemaRef = Arc::new(Schema::new(vec![field("l", DataType::Utf8)]));
    assert!(
        widen(&old, &changed)
            .unwrap_err()
            .to_string()
            .contains("only added")
    );
}

/// A disk with so many bytes left.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_from_other_faults_wherever_it_is_met() {
    let batch = everything();
    let write = |format, space| -> Result<usize, EncodeError> {
        let layout = Layout::new(format, batch.schema(), &[], false)?;
        let mut encoder = Encoder::open(&layout, Disk(space))?;
        encoder.write(&batch)?;
        encoder.flush()?;
        encoder.write(&batch)?;
        Ok(space - encoder.finish()?.0)
    };
    let formats = [
        OutputFormat::Parquet {
            compat: Compat::Hive,
            codec: Codec::Snappy,
        },
        OutputFormat::Parquet {
            compat: Compat::Modern,
            codec: Codec::Zstd(1),
        },
        OutputFormat::Ndjson { codec: Codec::Gzip },
        OutputFormat::Ndjson { codec: Codec::None },
    ];
    for format in formats {
        let needed = write(format, 1 << 30).unwrap();
        for space in (0..needed).step_by(97).chain([needed - 1]) {
            match write(format, space) {
                Err(EncodeError::Io(error)) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                }
                other => panic!("{format:?} with {space} bytes left: {other:?}"),
            }
        }
    }
}
