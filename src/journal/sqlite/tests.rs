//! Tests of what only this implementation does.
