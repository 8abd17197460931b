//! The simulation's tests; `make sim` runs many more seeds of the same.

#[allow(dead_code, unused_imports, reason = "`make sim` uses more of it")]
#[path = "mod.rs"]
mod simulation;
