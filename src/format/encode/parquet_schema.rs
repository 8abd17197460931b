//! The Parquet schema of an Arrow schema.
//!
//! | | modern | hive |
//! |---|---|---|
//! | timestamp | INT64 microseconds, adjusted to UTC | INT96, which holds the UTC wall clock |
//! | decimal | INT32 to 9 digits, INT64 to 18, then fixed-length bytes | fixed-length bytes, as few as the precision needs |
//! | list, map | three levels, `element`; `key_value` of `key` and `value` | the same |
//!
//! Both are made by the library's own converter; for Hive the leaves are then replaced.

use std::sync::Arc;

use arrow::datatypes::Schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::{Compat, EncodeError};

/// What Hive calls the root; other readers do not look.
const ROOT: &str = "hive_schema";

/// # Errors
/// A type that Parquet does not have.
pub(super) fn parquet_schema(
    compat: Compat,
    schema: &Schema,
) -> Result<SchemaDescriptor, EncodeError> {
    let converted = ArrowSchemaConverter::new()
        .with_coerce_types(true)
        .schema_root(ROOT)
        .convert(schema)?;
    if compat == Compat::Modern {
        return Ok(converted);
    }
    let root = for_hive(converted.root_schema())?;
    Ok(SchemaDescriptor::new(root))
}

fn for_hive(node: &Type) -> Result<TypePtr, EncodeError> {
    let info = node.get_basic_info();
    if node.is_group() {
        let fields = node
            .get_fields()
            .iter()
            .map(|field| for_hive(field))
            .collect::<Result<Vec<_>, _>>()?;
        let mut builder = Type::group_type_builder(info.name()).with_fields(fields);
        if info.has_repetition() {
            builder = builder.with_repetition(info.repetition());
        }
        return Ok(Arc::new(
            builder
                .with_logical_type(info.logical_type_ref().cloned())
                .with_converted_type(info.converted_type())
                .build()?,
        ));
    }
    let hive = match info.logical_type_ref() {
        Some(LogicalType::Timestamp(_)) => {
            Type::primitive_type_builder(info.name(), Physical::INT96)
                .with_repetition(info.repetition())
                .build()?
        }
        Some(LogicalType::Decimal(decimal)) => {
            let precision = decimal.precision;
            Type::primitive_type_builder(info.name(), Physical::FIXED_LEN_BYTE_ARRAY)
                .with_repetition(info.repetition())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_converted_type(ConvertedType::DECIMAL)
                .with_length(decimal_length(precision))
                .with_precision(precision)
                .with_scale(decimal.scale)
                .build()?
        }
        _ => node.clone(),
    };
    Ok(Arc::new(hive))
}

/// The fewest bytes whose two's complement holds every number of `precision` digits.
fn decimal_length(precision: i32) -> i32 {
    let digits = u32::try_from(precision.clamp(1, 38)).unwrap_or(38);
    let largest = 10_u128.pow(digits) - 1;
    let bits = 128 - largest.leading_zeros() + 1;
    bits.div_ceil(8) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_takes_the_bytes_that_its_precision_needs_and_no_more() {
        for (precision, bytes) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (9, 4),
            (10, 5),
            (18, 8),
            (19, 9),
            (38, 16),
        ] {
            assert_eq!(decimal_length(precision), bytes, "{precision}");
        }
    }
}
