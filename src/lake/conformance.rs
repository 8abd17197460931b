//! The suite that every lake passes.
