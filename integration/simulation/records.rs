//! The records that producers drop, and those that a reader finds in the lake.

use std::collections::BTreeMap;
use std::io::Read;

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::checker::Dropped;

/// A whole record of a drop.
pub fn line(drop: usize, number: u64) -> String {
    // Three days, so that batches have several partitions.
    format!(
        "{{\"id\":\"{drop}-{number}\",\"day\":\"d{}\"}}\n",
        number % 3
    )
}

/// One that cannot be decoded, and so is to be found among the rejects.
pub fn broken_line(drop: usize, number: u64) -> String {
    format!("{{\"id\":\"{drop}-{number}\", broken\n")
}

/// The ids in what was dropped, line by line.
pub fn ids_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter_map(id_in).collect()
}

fn id_in(line: &str) -> Option<String> {
    let (id, _) = line.split("\"id\":\"").nth(1)?.split_once('"')?;
    Some(id.to_owned())
}

/// What a producer drops.
pub fn dropped(number: usize, path: &str, records: u64, broken: u64) -> Dropped {
    let mut text = String::new();
    let mut ids = Vec::new();
    for at in 0..records {
        if at < broken {
            text += &broken_line(number, at);
        } else {
            text += &line(number, at);
        }
        ids.push(format!("{number}-{at}"));
    }
    Dropped {
        path: path.to_owned(),
        bytes: text.into_bytes(),
        ids,
        broken,
        more: Vec::new(),
        cut: false,
        touched: false,
    }
}

/// The same records, larger: with `landing` bytes that land, and `blanks` that do not.
pub fn enlarge(dropped: &mut Dropped, landing: usize, blanks: usize) {
    if (landing, blanks) == (0, 0) {
        return;
    }
    let text = String::from_utf8_lossy(&dropped.bytes).into_owned();
    let lines = text.lines().map(|line| match line.strip_suffix('}') {
        Some(open) if landing > 0 => format!("{open},\"pad\":\"{}\"}}", "p".repeat(landing)),
        _ => line.to_owned(),
    });
    let blanks = " ".repeat(blanks);
    dropped.bytes = lines
        .map(|line| line + &blanks + "\n")
        .collect::<String>()
        .into_bytes();
}

/// Records by their ids, with how often each was found.
pub type Found = BTreeMap<String, u64>;

/// What a data or reject file of the lake holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub records: u64,
    /// Of those that have one.
    pub ids: Vec<String>,
}

/// The records in a data or reject file of the lake, by its name.
///
/// # Errors
/// It is no whole file of its kind.
pub fn held(path: &str, bytes: &[u8]) -> Result<Held, String> {
    if path.ends_with(".parquet") {
        return parquet_ids(bytes);
    }
    let mut text = String::new();
    if path.rsplit('.').next() == Some("gz") {
        flate2::read::MultiGzDecoder::new(bytes)
            .read_to_string(&mut text)
            .map_err(|e| e.to_string())?;
    } else {
        text = String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())?;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line has no end".into());
    }
    let ids: Result<Vec<Option<String>>, String> = text.lines().map(id_of).collect();
    let ids = ids?;
    Ok(Held {
        records: ids.len() as u64,
        ids: ids.into_iter().flatten().collect(),
    })
}

/// `None` for a reject that was torn before its id.
fn id_of(line: &str) -> Result<Option<String>, String> {
    let value: serde_json::Value =
        serde_json::from_str(line).map_err(|e| format!("`{line}`: {e}"))?;
    // A reject shows the record as it was dropped.
    if let Some(raw) = value.get("raw") {
        return Ok(raw.as_str().and_then(id_in));
    }
    match value.get("id").and_then(serde_json::Value::as_str) {
        Some(id) => Ok(Some(id.to_owned())),
        None => Err(format!("`{line}` is no record of ours")),
    }
}

fn parquet_ids(bytes: &[u8]) -> Result<Held, String> {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let reader = SerializedFileReader::new(bytes).map_err(|e| e.to_string())?;
    let mut ids = Vec::new();
    for row in reader.get_row_iter(None).map_err(|e| e.to_string())? {
        let row = row.map_err(|e| e.to_string())?;
        let id = row
            .get_column_iter()
            .find(|(name, _)| *name == "id")
            .map(|(_, value)| value.to_string().trim_matches('"').to_owned());
        ids.push(id.ok_or("a row without id")?);
    }
    Ok(Held {
        records: ids.len() as u64,
        ids,
    })
}
