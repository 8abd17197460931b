//! The few calls that landing on HDFS is made of. Each is one attempt: whoever calls decides what may be repeated.

use std::ops::Range;

use super::contents::Contents;
use super::fault::Fault;

/// What the NameNode says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The last component.
    pub name: String,
    pub length: u64,
    pub is_dir: bool,
    /// By the NameNode's clock.
    pub modified_ms: u64,
}

/// Paths are absolute. A fault says whether the thing is absent, exists already, will pass or will last.
pub trait Calls: Send + Sync {
    /// The name service or the sorted name nodes, for the lake's identity: no secrets.
    fn service(&self) -> String;

    /// `None` if nothing has this name.
    fn info(&self, path: &str) -> impl Future<Output = Result<Option<Info>, Fault>>;

    /// Makes a directory and those above it. One that is there is as good.
    fn make_dirs(&self, path: &str) -> impl Future<Output = Result<(), Fault>>;

    /// Writes a file that nothing has the name of, syncs its blocks and closes it. `Absent` if its directory is missing.
    /// After any error what stands there must never be renamed.
    fn write(&self, path: &str, contents: &mut Contents)
    -> impl Future<Output = Result<(), Fault>>;

    /// Gives a closed file another name, in one step and never over anything. `Exists`: something has the name. `Absent`:
    /// the file or the new name's directory is missing. `Refused`: it did not happen, and why is to be looked for. What
    /// is transient may have happened.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = Result<(), Fault>>;

    /// Removes a file, closed or not, or an empty directory; `false` if there is none.
    fn delete(&self, path: &str) -> impl Future<Output = Result<bool, Fault>>;

    /// What a directory holds; `None` if there is none of this name.
    fn list(&self, dir: &str) -> impl Future<Output = Result<Option<Vec<Info>>, Fault>>;

    /// Shows a closed file's bytes from an offset to its end, which is where it was when it was looked at; `false` if there
    /// is none.
    fn read(
        &self,
        path: &str,
        range: Range<u64>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> impl Future<Output = Result<bool, Fault>>;
}
