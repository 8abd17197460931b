//! Column chunks against the library: its reader gets back what was written, and its own writer says the same of the values.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Encoding, PageType};
use parquet::column::page::Page;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use proptest::prelude::*;

use super::super::nested_tests::{Dice, by_library};
use super::super::{Codec, Compat, Encoder, Layout, OutputFormat};
use super::{DICTIONARY_BYTES, PAGE_BYTES, PAGE_ROWS, int96};

impl Dice {
    /// Numbers of a column, all the same or out of few or of many, some of them missing.
    fn column(&mut self, rows: usize) -> Vec<Option<u64>> {
        let kinds = [1, 2, 3, 40, 5_000, u64::MAX][self.below(6) as usize];
        let missing = [0, 0, 1, 50, 100][self.below(5) as usize];
        let long_runs = self.below(2) == 0;
        let mut last = None;
        (0..rows)
            .map(|_| {
                if !long_runs || self.below(20) == 0 {
                    let there = self.below(100) >= missing;
                    last = there.then(|| self.below(kinds).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                }
                last
            })
            .collect()
    }

    fn leaf(&mut self, kind: u64, rows: usize) -> ArrayRef {
        let values = self.column(rows);
        let longest = [3, 15, 17, 100, 3_000][self.below(5) as usize];
        // The same number is the same text.
        let text = |n: u64| -> String {
            let len = (n >> 7) % longest;
            (0..len)
                .map(|at| ['a', 'ä', '\0', '\u{10ffff}', '7'][((n >> (at % 50)) % 5) as usize])
                .collect()
        };
        let values = values.into_iter();
        match kind {
            0 => Arc::new(
                values
                    .map(|v| v.map(|n| n % 2 == 0))
                    .collect::<BooleanArray>(),
            ),
            1 => Arc::new(values.map(|v| v.map(|n| n as i8)).collect::<Int8Array>()),
            2 => Arc::new(values.map(|v| v.map(|n| n as i16)).collect::<Int16Array>()),
            3 => Arc::new(values.map(|v| v.map(|n| n as i32)).collect::<Int32Array>()),
            4 => Arc::new(values.map(|v| v.map(|n| n as i64)).collect::<Int64Array>()),
            5 => Arc::new(
                values
                    .map(|v| v.map(|n| f32::from_bits(n as u32)))
                    .collect::<Float32Array>(),
            ),
            6 => Arc::new(
                values
                    .map(|v| v.map(f64::from_bits))
                    .collect::<Float64Array>(),
            ),
            7 => Arc::new(values.map(|v| v.map(|n| n as i32)).collect::<Date32Array>()),
            8 => Arc::new(
                values
                    .map(|v| v.map(|n| n as i64))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("+00:00"),
            ),
            9 => Arc::new(values.map(|v| v.map(text)).collect::<StringArray>()),
            10 => Arc::new(
                values
                    .map(|v| v.map(|n| text(n).into_bytes()))
                    .collect::<BinaryArray>(),
            ),
            digits => {
                let precision = [4, 9, 18, 19, 38][digits as usize - 11];
                let end = 10_i128.pow(precision.into());
                let decimal = |n: u64| (i128::from(n as i64) * i128::from(n as i64 | 1)) % end;
                let array: Decimal128Array = values.map(|v| v.map(decimal)).collect();
                Arc::new(array.with_precision_and_scale(precision, 2).unwrap())
            }
        }
    }

    /// Every type that a leaf can have; batches of different lengths.
    fn batches(&mut self, rows: u64) -> Vec<RecordBatch> {
        (0..=self.below(4))
            .map(|_| {
                let len = 1 + self.below(rows) as usize;
                let columns = (0..=15).map(|kind| (format!("c{kind}"), self.leaf(kind, len), true));
                RecordBatch::try_from_iter_with_nullable(columns).unwrap()
            })
            .collect()
    }
}

fn encode(compat: Compat, codec: Codec, batches: &[RecordBatch]) -> Bytes {
    let format = OutputFormat::Parquet { compat, codec };
    let layout = Layout::new(format, batches[0].schema(), &[], false).unwrap();
    let mut encoder = Encoder::open(&layout, Vec::new()).unwrap();
    for batch in batches {
        encoder.write(batch).unwrap();
        assert!(encoder.block_memory() as u64 >= encoder.block_estimate() / 4);
    }
    std::mem::take(encoder.finish().unwrap()).into()
}

/// Whether the file holds these records, in the order in which they were written.
#[track_caller]
fn holds(file: &Bytes, wanted: &RecordBatch) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let read = concat_batches(&schema, &batches).unwrap();
    let columns = wanted.schema();
    for (at, field) in columns.fields().iter().enumerate() {
        let column = cast(read.column(at), field.data_type()).unwrap();
        // Not `assert_eq`: nobody can read 3 MB of values.
        assert!(&column == wanted.column(at), "{field:?}");
    }
}

/// The columns of the only row group.
fn chunks(file: &Bytes) -> Vec<ColumnChunkMetaData> {
    let reader = SerializedFileReader::new(file.clone()).unwrap();
    assert_eq!(reader.num_row_groups(), 1);
    reader.metadata().row_group(0).columns().to_vec()
}

/// What statistics say, zeros without their signs.
fn said(statistics: &Statistics) -> (Vec<Option<Vec<u8>>>, [bool; 3], Option<u64>) {
    let unsigned = |bytes: &[u8]| match statistics {
        Statistics::Float(_) if bytes == (-0.0_f32).to_le_bytes() => vec![0; 4],
        Statistics::Double(_) if bytes == (-0.0_f64).to_le_bytes() => vec![0; 8],
        _ => bytes.to_vec(),
    };
    let bounds = [statistics.min_bytes_opt(), statistics.max_bytes_opt()];
    (
        bounds.map(|bytes| bytes.map(unsigned)).to_vec(),
        [
            statistics.min_is_exact(),
            statistics.max_is_exact(),
            statistics.is_min_max_backwards_compatible(),
        ],
        statistics.null_count_opt(),
    )
}

/// Nothing but NaN has bounds in the library's newer order, and none in the one that all readers know.
fn only_nan(statistics: &Statistics) -> bool {
    match statistics {
        Statistics::Float(s) => s.min_opt().is_some_and(|least| least.is_nan()),
        Statistics::Double(s) => s.min_opt().is_some_and(|least| least.is_nan()),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_written_is_read_and_said_as_the_library_says_it(seed: u64, large in 0..12_u8) {
        let mut dice = Dice(seed);
        let batches = dice.batches(if large == 0 { 30_000 } else { 300 });
        let codec = [Codec::None, Codec::Snappy, Codec::Gzip, Codec::Zstd(1), Codec::Lz4];
        let codec = codec[dice.below(5) as usize];
        let wanted = concat_batches(&batches[0].schema(), &batches).unwrap();
        let file = encode(Compat::Modern, codec, &batches);
        holds(&file, &wanted);

        let library = by_library(&batches);
        for (own, theirs) in chunks(&file).iter().zip(chunks(&library)) {
            let path = own.column_path().string();
            let (statistics, wanted) = (own.statistics().unwrap(), theirs.statistics().unwrap());
            if !only_nan(wanted) {
                prop_assert_eq!(said(statistics), said(wanted), "{}", path);
            }
            prop_assert_eq!(own.num_values(), theirs.num_values(), "{}", path);
        }
        // INT96 holds less than 64 bits of microseconds, and comes back as nanoseconds: `nested_tests` has both.
        let hive: Vec<usize> = (0..wanted.num_columns()).filter(|at| *at != 8).collect();
        let hive_batches: Vec<RecordBatch> = batches.iter().map(|b| b.project(&hive).unwrap()).collect();
        let file = encode(Compat::Hive, codec, &hive_batches);
        holds(&file, &wanted.project(&hive).unwrap());
    }
}

fn one_column(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("c", array)]).unwrap()
}

/// Encodings and numbers of values of the pages of the only column, and the bytes before they were compressed.
fn pages(file: &Bytes) -> Vec<(PageType, Encoding, u32, usize)> {
    let reader = SerializedFileReader::new(file.clone()).unwrap();
    let group = reader.get_row_group(0).unwrap();
    let pages = group.get_column_page_reader(0).unwrap();
    let of = |page: Page| {
        (
            page.page_type(),
            page.encoding(),
            page.num_values(),
            page.buffer().len(),
        )
    };
    pages.map(|page| of(page.unwrap())).collect()
}

#[test]
fn pages_end_at_rows_and_at_bytes() {
    let few = one_column(Arc::new(Int64Array::from_iter_values(
        (0..50_000).map(|n| n % 7),
    )));
    let found = pages(&encode(Compat::Modern, Codec::Zstd(1), &[few]));
    let counts: Vec<u32> = found.iter().map(|page| page.2).collect();
    assert_eq!(counts, [7, PAGE_ROWS as u32, PAGE_ROWS as u32, 10_000]);

    let unlike = |n: u64| format!("{:016x}", Dice(n).number()).repeat(20);
    let texts = StringArray::from_iter_values((0..8_000).map(unlike));
    let batch = one_column(Arc::new(texts));
    for compat in [Compat::Modern, Compat::Hive] {
        let file = encode(compat, Codec::Zstd(1), std::slice::from_ref(&batch));
        let found = pages(&file);
        assert!(found.len() > 8, "{found:?}");
        for (_, encoding, _, bytes) in found {
            assert_ne!(encoding, Encoding::RLE_DICTIONARY);
            assert!(bytes < PAGE_BYTES + (16 << 10), "{bytes}");
        }
        holds(&file, &batch);
    }
}

#[test]
fn a_value_may_be_larger_than_a_page() {
    let texts = StringArray::from_iter_values((0..6).map(|n| n.to_string().repeat(PAGE_BYTES + 1)));
    let batch = one_column(Arc::new(texts));
    for compat in [Compat::Modern, Compat::Hive] {
        let file = encode(
            compat,
            Codec::Snappy,
            &[batch.slice(0, 2), batch.slice(2, 4)],
        );
        holds(&file, &batch);
    }
}

/// A dictionary that outgrows its page is given up where it stands, and what came before stays as it is.
#[test]
fn a_dictionary_is_given_up_when_it_has_outgrown_its_page() {
    // The sample sees few values; those after it are all different.
    let numbers = (0..400_000_i64).map(|n| if n < 8_192 { n % 3 } else { n * 7_919 });
    let texts = (0..400_000_i64).map(|n| if n < 8_192 { n % 3 } else { n * 7_919 });
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
        texts.map(|n| format!("{n:020}")),
    ));
    for (array, sparing) in [
        (numbers, Encoding::DELTA_BINARY_PACKED),
        (texts, Encoding::DELTA_BYTE_ARRAY),
    ] {
        let whole = one_column(array);
        for (compat, plainly) in [(Compat::Modern, sparing), (Compat::Hive, Encoding::PLAIN)] {
            let parts = [
                whole.slice(0, 8_192),
                whole.slice(8_192, whole.num_rows() - 8_192),
            ];
            let file = encode(compat, Codec::Zstd(1), &parts);
            let found = pages(&file);
            assert_eq!(found[0].0, PageType::DICTIONARY_PAGE);
            assert!((DICTIONARY_BYTES..2 * DICTIONARY_BYTES).contains(&found[0].3));
            let data: Vec<Encoding> = found[1..].iter().map(|page| page.1).collect();
            let kept = data
                .iter()
                .take_while(|e| **e == Encoding::RLE_DICTIONARY)
                .count();
            assert!(kept > 1 && kept < data.len() - 1, "{data:?}");
            assert!(
                data[kept..].iter().all(|encoding| *encoding == plainly),
                "{data:?}"
            );
            holds(&file, &whole);
            let chunk = &chunks(&file)[0];
            let wanted = &chunks(&by_library(std::slice::from_ref(&whole)))[0];
            assert_eq!(
                said(chunk.statistics().unwrap()),
                said(wanted.statistics().unwrap())
            );
            let mask = chunk.page_encoding_stats_mask().unwrap();
            assert!(mask.is_set(Encoding::RLE_DICTIONARY) && mask.is_set(plainly));
        }
    }
}

#[test]
fn int96_counts_nanoseconds_of_the_julian_day_before_and_after_1970() {
    let parts = |micros| {
        let value = int96(micros).ok()?;
        let (nanos, day) = value.split_at(8);
        Some((
            u64::from_le_bytes(nanos.try_into().ok()?),
            u32::from_le_bytes(day.try_into().ok()?),
        ))
    };
    assert_eq!(parts(0), Some((0, 2_440_588)));
    assert_eq!(parts(-1), Some((86_399_999_999_000, 2_440_587)));
    assert_eq!(parts(i64::MIN), None);
}
