//! Timestamps and decimals at any depth, for Hive: types and values that nobody chose come back, with the very levels that the
//! library's own writer gives the same column.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Decimal128Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType as ParquetType;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;

/// Numbers that follow from a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    fn kind(&mut self, depth: u64) -> DataType {
        match self.below(if depth == 0 { 4 } else { 9 }) {
            0 | 1 => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            2 => {
                let precision = 1 + self.below(38) as u8;
                DataType::Decimal128(precision, self.below(u64::from(precision) + 1) as i8)
            }
            3 => DataType::Int64,
            4 | 5 => {
                let fields = (0..=self.below(3)).map(|at| {
                    let name = format!("f{at}");
                    Field::new(name, self.kind(depth - 1), true)
                });
                DataType::Struct(fields.collect::<Fields>())
            }
            6 | 7 => {
                let element = Field::new("element", self.kind(depth - 1), true);
                DataType::List(Arc::new(element))
            }
            _ => {
                let entries = Fields::from(vec![
                    Field::new("key", DataType::Utf8, false),
                    Field::new("value", self.kind(depth - 1), true),
                ]);
                let entries = Field::new("key_value", DataType::Struct(entries), false);
                DataType::Map(Arc::new(entries), false)
            }
        }
    }

    fn nulls(&mut self, len: usize) -> Option<NullBuffer> {
        match self.below(4) {
            0 => None,
            1 => Some(NullBuffer::new_null(len)),
            _ => Some(
                (0..len)
                    .map(|_| self.below(3) > 0)
                    .collect::<Vec<_>>()
                    .into(),
            ),
        }
    }

    /// Runs of elements, those of NULL lists too, which no reader may see.
    fn offsets(&mut self, len: usize) -> OffsetBuffer<i32> {
        OffsetBuffer::from_lengths((0..len).map(|_| self.below(4) as usize))
    }

    fn array(&mut self, kind: &DataType, len: usize) -> ArrayRef {
        let (before, after) = (self.below(3) as usize, self.below(3) as usize);
        let array = self.whole(kind, before + len + after);
        array.slice(before, len)
    }

    fn whole(&mut self, kind: &DataType, len: usize) -> ArrayRef {
        let nulls = self.nulls(len);
        match kind {
            DataType::Timestamp(_, _) => {
                // What nanoseconds hold, which is what comes back.
                let micros = (0..len).map(|_| self.number() as i64 / 1000);
                let array =
                    TimestampMicrosecondArray::new(micros.collect::<Vec<_>>().into(), nulls);
                Arc::new(array.with_timezone("+00:00"))
            }
            DataType::Decimal128(precision, scale) => {
                let end = 10_i128.pow(u32::from(*precision));
                let values = (0..len).map(|_| {
                    let value = i128::from(self.number()) << 64 | i128::from(self.number());
                    value % end
                });
                let array = Decimal128Array::new(values.collect::<Vec<_>>().into(), nulls);
                Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
            }
            DataType::Int64 => {
                let values = (0..len).map(|_| self.number() as i64);
                Arc::new(Int64Array::new(values.collect::<Vec<_>>().into(), nulls))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|f| self.array(f.data_type(), len));
                let columns = columns.collect();
                Arc::new(StructArray::new(fields.clone(), columns, nulls))
            }
            DataType::List(element) => {
                let offsets = self.offsets(len);
                let values = self.array(element.data_type(), offsets.last() as usize);
                Arc::new(ListArray::new(Arc::clone(element), offsets, values, nulls))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    unreachable!()
                };
                let offsets = self.offsets(len);
                let count = offsets.last() as usize;
                let keys: StringArray = (0..count).map(|at| Some(format!("k{at}"))).collect();
                let values = self.array(fields[1].data_type(), count);
                let columns: Vec<ArrayRef> = vec![Arc::new(keys), values];
                let pairs = StructArray::new(fields.clone(), columns, None);
                Arc::new(MapArray::new(
                    Arc::clone(entries),
                    offsets,
                    pairs,
                    nulls,
                    false,
                ))
            }
            other => unreachable!("{other}"),
        }
    }
}

fn encode(compat: Compat, batches: &[RecordBatch]) -> Bytes {
    let format = OutputFormat::Parquet {
        compat,
        codec: Codec::None,
    };
    let layout = Layout::new(format, batches[0].schema(), &[], false).unwrap();
    let mut encoder = Encoder::open(&layout, Vec::new()).unwrap();
    for batch in batches {
        encoder.write(batch).unwrap();
    }
    std::mem::take(encoder.finish().unwrap()).into()
}

/// As the library's own writer has it.
pub(super) fn by_library(batches: &[RecordBatch]) -> Bytes {
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(64))
        .set_coerce_types(true)
        .build();
    let mut file = Vec::new();
    let schema = batches[0].schema();
    let mut writer = ArrowWriter::try_new(&mut file, schema, Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    file.into()
}

/// Definition and repetition levels.
type Levels = (Vec<i16>, Vec<i16>);

/// Of each leaf column.
fn levels(bytes: Bytes) -> Vec<Levels> {
    fn of<T: ParquetType>(mut reader: ColumnReaderImpl<T>) -> Levels {
        let (mut definition, mut repetition, mut values) = Default::default();
        reader
            .read_records(
                usize::MAX,
                Some(&mut definition),
                Some(&mut repetition),
                &mut values,
            )
            .unwrap();
        (definition, repetition)
    }
    let file = SerializedFileReader::new(bytes).unwrap();
    assert_eq!(file.num_row_groups(), 1);
    let group = file.get_row_group(0).unwrap();
    let columns = (0..group.num_columns()).map(|at| match group.get_column_reader(at).unwrap() {
        ColumnReader::Int32ColumnReader(reader) => of(reader),
        ColumnReader::Int64ColumnReader(reader) => of(reader),
        ColumnReader::Int96ColumnReader(reader) => of(reader),
        ColumnReader::ByteArrayColumnReader(reader) => of(reader),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => of(reader),
        _ => unreachable!("no such column is written here"),
    });
    columns.collect()
}

proptest::proptest! {
    #[test]
    fn whatever_is_nested_comes_back_with_the_levels_of_the_librarys_own_writer(seed: u64) {
        let mut dice = Dice(seed);
        let kind = dice.kind(4);
        let batches: Vec<RecordBatch> = (0..=dice.below(3))
            .map(|_| {
                let len = 1 + dice.below(20) as usize;
                let array = dice.array(&kind, len);
                RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap()
            })
            .collect();
        let hive = encode(Compat::Hive, &batches);
        let wanted = levels(by_library(&batches));
        proptest::prop_assert_eq!(&levels(hive.clone()), &wanted);
        proptest::prop_assert_eq!(&levels(encode(Compat::Modern, &batches)), &wanted);

        let reader = ParquetRecordBatchReaderBuilder::try_new(hive).unwrap();
        let schema = Arc::clone(reader.schema());
        let read: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        let read = concat_batches(&schema, &read).unwrap();
        let wanted = concat_batches(&batches[0].schema(), &batches).unwrap();
        let column = cast(read.column(0), &kind).unwrap();
        proptest::prop_assert_eq!(&column, wanted.column(0));
    }
}
