//! What must hold of any input whatever, one module for each kind of input. Each has a `hold(input)` that panics where it
//! does not.
//!
//! Two programs call them: the fuzz targets beside this directory, and `integration/properties/`, which hands over generated
//! inputs and every file of `corpus/` in `make unit`. What the fuzzer found stays in `corpus/`.

pub mod config;
pub mod decode;
pub mod frame;
pub mod journal;
pub mod manifest;
pub mod names;
pub mod unpack;

use lakeward::format::frame::SEGMENT_BYTES;
use lakeward::format::{Compression, CsvSettings, InputFormat, ReadingSettings};

pub const FORMATS: [InputFormat; 5] = [
    InputFormat::Ndjson,
    InputFormat::Text,
    InputFormat::Csv,
    InputFormat::Tsv,
    InputFormat::Json,
];

#[must_use]
pub fn reading(format: InputFormat, record_bytes_max: u64) -> ReadingSettings {
    ReadingSettings {
        format,
        compression: Compression::None,
        charset: "utf-8".into(),
        csv: CsvSettings {
            header: true,
            delimiter: match format {
                InputFormat::Tsv => b'\t',
                _ => b',',
            },
            quote: b'"',
            null: String::new(),
            columns: Vec::new(),
            comment: None,
        },
        record_bytes_max,
        decoded_bytes_max: 0,
        depth_max: 128,
        segment_bytes: SEGMENT_BYTES,
    }
}

/// Takes the first `N` bytes as choices; missing ones are 0.
fn choices<const N: usize>(input: &[u8]) -> ([u8; N], &[u8]) {
    let n = input.len().min(N);
    let mut choices = [0; N];
    choices[..n].copy_from_slice(&input[..n]);
    (choices, &input[n..])
}
