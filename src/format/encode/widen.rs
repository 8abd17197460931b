//! Gives rows of an older schema version the columns of a newer one: NULL where they have none.
//!
//! Schemas are only added to, columns at the top and fields inside structs at any depth, so nothing else can differ.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Fields, SchemaRef};

use super::EncodeError;

/// `batch` with `schema`, column by name.
///
/// # Errors
/// A column is of another type than before, which no sequence of schema versions does.
pub fn widen(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, EncodeError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let rows = batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => widen_array(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), rows)),
        })
        .collect::<Result<_, EncodeError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

fn widen_array(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, EncodeError> {
    match (array.data_type(), to) {
        (from, to) if from == to => Ok(Arc::clone(array)),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            Ok(Arc::new(widen_struct(array.as_struct(), fields)?))
        }
        (DataType::List(_), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            let values = widen_array(list.values(), element.data_type())?;
            let widened = ListArray::try_new(
                Arc::clone(element),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            )?;
            Ok(Arc::new(widened))
        }
        (DataType::Map(_, _), DataType::Map(entries, ordered)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(changed(array.data_type(), to));
            };
            let widened = MapArray::try_new(
                Arc::clone(entries),
                map.offsets().clone(),
                widen_struct(map.entries(), fields)?,
                map.nulls().cloned(),
                *ordered,
            )?;
            Ok(Arc::new(widened))
        }
        (from, to) => Err(changed(from, to)),
    }
}

fn widen_struct(array: &StructArray, fields: &Fields) -> Result<StructArray, EncodeError> {
    let columns = fields
        .iter()
        .map(|field| match array.column_by_name(field.name()) {
            Some(column) => widen_array(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), array.len())),
        })
        .collect::<Result<Vec<_>, EncodeError>>()?;
    Ok(StructArray::try_new_with_length(
        fields.clone(),
        columns,
        array.nulls().cloned(),
        array.len(),
    )?)
}

fn changed(from: &DataType, to: &DataType) -> EncodeError {
    EncodeError::Refused(format!(
        "a column of type {from} cannot become {to}: columns are only added"
    ))
}
