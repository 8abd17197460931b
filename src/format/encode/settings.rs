//! What a data file's bytes look like.

/// Which readers a Parquet file is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    Hive,
    Modern,
}

/// A codec with its level where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Snappy,
    Gzip,
    Zstd(i32),
    Lz4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    Parquet { compat: Compat, codec: Codec },
    Ndjson { codec: Codec },
}

/// What a data file's name ends in, with its dot.
#[must_use]
pub fn extension(format: &OutputFormat) -> &'static str {
    match format {
        OutputFormat::Parquet { .. } => ".parquet",
        OutputFormat::Ndjson { codec: Codec::Gzip } => ".ndjson.gz",
        OutputFormat::Ndjson {
            codec: Codec::Zstd(_),
        } => ".ndjson.zst",
        OutputFormat::Ndjson { .. } => ".ndjson",
    }
}
