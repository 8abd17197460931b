//! What was done, one JSON object a line, in the order in which it was done: every file that was dropped with the records in
//! it, every kill, stop and fault. The checker reads nothing else.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;

pub struct History {
    path: PathBuf,
    file: Mutex<File>,
    start: Instant,
}

impl History {
    pub fn begin(path: PathBuf) -> Self {
        let file = File::create(&path).expect("a history");
        Self {
            path,
            file: Mutex::new(file),
            start: Instant::now(),
        }
    }

    /// Adds `fact`, an object.
    pub fn add(&self, mut fact: Value) {
        fact["ms"] = (self.start.elapsed().as_millis() as u64).into();
        let mut line = fact.to_string();
        line.push('\n');
        self.file
            .lock()
            .unwrap()
            .write_all(line.as_bytes())
            .expect("the history is written");
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read(&self) -> Vec<Value> {
        std::fs::read_to_string(&self.path)
            .expect("the history")
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of the history"))
            .collect()
    }
}
