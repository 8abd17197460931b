//! Lands files in a data lake, exactly once.
