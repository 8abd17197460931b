//! The types of `schema.columns`.

use crate::schema::DataType;

/// The one place where the configuration meets Hive's type language.
///
/// # Errors
/// Text that is no type, said in words.
pub fn parse_column_type(text: &str) -> Result<DataType, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "boolean" => Ok(DataType::Boolean),
        "tinyint" => Ok(DataType::TinyInt),
        "smallint" => Ok(DataType::SmallInt),
        "int" | "integer" => Ok(DataType::Int),
        "bigint" => Ok(DataType::BigInt),
        "float" => Ok(DataType::Float),
        "double" => Ok(DataType::Double),
        "string" => Ok(DataType::String),
        "binary" => Ok(DataType::Binary),
        "date" => Ok(DataType::Date),
        "timestamp" => Ok(DataType::Timestamp),
        _ => Err("a Hive type is allowed, such as `bigint`, `string`, `timestamp`".to_owned()),
    }
}
