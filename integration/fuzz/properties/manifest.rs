//! Any text as a manifest: refused, or the same after it was written and read again, and not much larger than it was.

use lakeward::protocol::{Manifest, ManifestBody};

/// # Panics
/// Where it does not hold.
pub fn hold(input: &[u8]) {
    let manifest = match Manifest::from_json(input) {
        Ok(manifest) => manifest,
        Err(refused) => {
            assert!(!refused.0.is_empty());
            return;
        }
    };
    let written = manifest.to_json();
    // Keys that may be left out are written; each element of a list stands for some of the input.
    assert!(
        written.len() <= 64 * input.len() + (1 << 10),
        "{}",
        written.len()
    );
    let again = Manifest::from_json(&written).expect("what is written is read");
    assert_eq!(again, manifest);
    assert_eq!(again.to_json(), written);
    let original = manifest.original();
    if let ManifestBody::Batch(_) = &manifest.body {
        assert!(manifest.same_batch(&original), "facts were lost");
    }
    assert_eq!(
        Manifest::from_json(&original.to_json()).expect("read"),
        original
    );
}
