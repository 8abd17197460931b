//! The simulation's tests; `make sim` runs many more seeds of the same.

#[path = "mod.rs"]
mod simulation;
