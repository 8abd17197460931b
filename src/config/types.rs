//! The types of `schema.columns`.

use crate::schema::{DataType, parse_type};

/// The one place where the configuration meets Hive's type language.
///
/// # Errors
/// Text that is no type, said in words.
pub fn parse_column_type(text: &str) -> Result<DataType, String> {
    parse_type(text)
}
