//! Any text as a name of the lake, an escaped path, a type, a template, a quantity: what is read is printed as it was, and
//! read alike again. A name has one form only, or two files would claim to be the same.

use lakeward::config::quantity::{parse_duration, parse_size};
use lakeward::naming::{DataFileName, LakePath, manifest_path, parse_manifest_name};
use lakeward::schema::parse_type;
use lakeward::segment::{Digest, JournalId, RelativePath};
use lakeward::sink::PathTemplate;

/// # Panics
/// Where it does not hold.
pub fn hold(input: &[u8]) {
    if let Ok(path) = RelativePath::new(input) {
        assert_eq!(
            RelativePath::from_escaped(&path.escaped()).as_ref(),
            Ok(&path)
        );
        assert_eq!(path.as_bytes(), input);
        assert!(!path.escaped().chars().any(char::is_control), "{path}");
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(path) = LakePath::new(text) {
        assert_eq!(path.as_str(), text);
        assert_eq!(LakePath::new(path.as_str()).as_ref(), Ok(&path));
        assert!(text.ends_with(path.name()));
    }
    if let Some(name) = DataFileName::parse(text) {
        let extension = [".parquet", ".ndjson.gz", ".ndjson.zst", ".ndjson"]
            .into_iter()
            .find(|extension| text.ends_with(extension))
            .expect("one of a data file's");
        assert_eq!(name.file_name(extension), text);
    }
    if let Some((batch, revision)) = parse_manifest_name(text) {
        let path = manifest_path("p", JournalId(1), batch, revision);
        assert_eq!(path.name(), text);
    }
    if let Ok(path) = RelativePath::from_escaped(text) {
        let again = RelativePath::from_escaped(&path.escaped());
        assert_eq!(again.as_ref(), Ok(&path));
        // Escapes are all that may be written in several ways.
        assert!(text.contains('\\') || path.as_bytes() == input, "{path}");
        assert!(path.escaped().len() < 4 * text.len() + 1);
    }
    if let Ok(id) = text.parse::<JournalId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(kind) = parse_type(text) {
        assert_eq!(parse_type(&kind.to_string()).as_ref(), Ok(&kind));
    }
    if let Ok(template) = PathTemplate::parse(text, "UTC") {
        assert_eq!(template.text(), text);
        let again = PathTemplate::parse(template.text(), "UTC").expect("it was read before");
        assert_eq!(again.columns(), template.columns());
    }
    let _ = parse_size(text);
    let _ = parse_duration(text);
}
