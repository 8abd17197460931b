//! Records as text: a strict JSON scanner that writes a flat tape, and the exact readings of numbers, strings and times.
//!
//! ```text
//! {"a":[1,"x"],"b":null}   ─ scan ─►   Object 0..22 · String a · Array · Integer 1 · String x · String b · Null
//! ```
//!
//! Everything works on bytes that are known to be UTF-8 and hands out slices of them, so a value that fits no column
//! can be kept exactly as it came. Numbers are never read through a double unless the column is one.
//!
//! Pure: no I/O, no zones (a time without an offset is left to the caller), no allocation per value.

mod expected;
pub mod number;
pub mod scan;
#[cfg(test)]
mod tests;
pub mod text;
pub mod time;

pub use expected::Expected;
pub use scan::{Kind, Malformed, Node, Tape};
