//! Inputs of any bytes, generated and remembered, held against the properties that the fuzz targets hold too.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

#[path = "../fuzz/properties/mod.rs"]
mod properties;

mod compressed;
mod corpus;
mod journals;
mod streams;
mod texts;

/// So many inputs; what fails is printed, and no file is written.
fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: count,
        failure_persistence: None,
        ..Default::default()
    }
}
