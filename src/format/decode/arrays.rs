//! The Arrow form of a schema.

use std::sync::Arc;

use arrow::datatypes::{
    DataType as ArrowType, Field as ArrowField, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit,
};

use crate::schema::{DataType, RAW, Schema};

/// The Arrow schema of [`Schema::landed`]: everything may be NULL but a raw schema's `_raw`, which are views into what was read;
/// lists hold `element`, maps `key_value` of `key` and `value`, as Parquet names them.
#[must_use]
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<ArrowField> = schema
        .landed()
        .iter()
        .map(|(name, data_type)| {
            if schema.raw && name == RAW {
                return ArrowField::new(name, ArrowType::BinaryView, false);
            }
            ArrowField::new(name, arrow_type(data_type), true)
        })
        .collect();
    Arc::new(ArrowSchema::new(fields))
}

/// The Arrow type of a Hive type.
#[must_use]
pub fn arrow_type(data_type: &DataType) -> ArrowType {
    match data_type {
        DataType::Boolean => ArrowType::Boolean,
        DataType::TinyInt => ArrowType::Int8,
        DataType::SmallInt => ArrowType::Int16,
        DataType::Int => ArrowType::Int32,
        DataType::BigInt => ArrowType::Int64,
        DataType::Float => ArrowType::Float32,
        DataType::Double => ArrowType::Float64,
        DataType::Decimal(precision, scale) => ArrowType::Decimal128(*precision, *scale as i8),
        DataType::String | DataType::Varchar(_) | DataType::Char(_) => ArrowType::Utf8,
        DataType::Binary => ArrowType::Binary,
        DataType::Date => ArrowType::Date32,
        DataType::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Struct(fields) => ArrowType::Struct(
            fields
                .iter()
                .map(|f| ArrowField::new(&f.name, arrow_type(&f.data_type), true))
                .collect(),
        ),
        DataType::Array(element) => ArrowType::List(Arc::new(ArrowField::new(
            "element",
            arrow_type(element),
            true,
        ))),
        DataType::Map(key, value) => {
            let entries = Fields::from(vec![
                ArrowField::new("key", arrow_type(key), false),
                ArrowField::new("value", arrow_type(value), true),
            ]);
            let entries = ArrowField::new("key_value", ArrowType::Struct(entries), false);
            ArrowType::Map(Arc::new(entries), false)
        }
    }
}
