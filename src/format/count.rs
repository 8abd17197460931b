//! How many records a landed file holds, by reading it: what `audit --deep` compares with the journal.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};

/// Rows of a Parquet file, or lines of an NDJSON file, told apart by `name`, the file's final name.
pub fn count_records(path: &Path, name: &str) -> Result<u64, String> {
    let file = File::open(path).map_err(|e| format!("open: {e}"))?;
    let extension = name.rsplit('.').next().unwrap_or("");
    if extension == "parquet" {
        let reader = SerializedFileReader::new(file).map_err(|e| format!("not Parquet: {e}"))?;
        return u64::try_from(reader.metadata().file_metadata().num_rows())
            .map_err(|_| "not Parquet: a negative number of rows".to_owned());
    }
    let file = BufReader::new(file);
    if extension == "gz" {
        count_lines(flate2::bufread::MultiGzDecoder::new(file))
    } else if extension == "zst" {
        let decoder = zstd::stream::read::Decoder::new(file).map_err(|e| format!("zstd: {e}"))?;
        count_lines(decoder)
    } else {
        count_lines(file)
    }
}

fn count_lines(mut reader: impl Read) -> Result<u64, String> {
    let mut buffer = vec![0; 1 << 18];
    let mut lines = 0;
    let mut last = b'\n';
    loop {
        let n = reader.read(&mut buffer).map_err(|e| format!("read: {e}"))?;
        if n == 0 {
            return Ok(lines + u64::from(last != b'\n'));
        }
        lines += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64;
        last = buffer[n - 1];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_line_without_newline_counts() {
        assert_eq!(count_lines(&b""[..]), Ok(0));
        assert_eq!(count_lines(&b"a\nb\n"[..]), Ok(2));
        assert_eq!(count_lines(&b"a\nb"[..]), Ok(2));
    }
}
