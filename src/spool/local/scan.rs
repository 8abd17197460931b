//! One pass over the spool: names are gathered, sorted, and each file is looked at again when its turn comes.
//!
//! Gathering needs one stat call a file where the order is by time, none where it is by name. Memory: see `listing` and
//! `seen`; open directories: [`OPEN_MAX`]. A directory that cannot be read fails the scan, because nothing could be
//! concluded from what was not found; one that is gone meanwhile does not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;

use rustix::fs::FileType;

use super::directory::{Directory, failure, is_dots};
use super::listing::{self, Listing, write_path};
use super::names::Names;
use super::seen::{Seen, directory_hash, name_hash};
use super::system::{FileSystem, Look};
use crate::segment::RelativePath;
use crate::spool::{Found, Order, SpoolError, SpoolSettings};

/// Directories kept open while files are visited.
const OPEN_MAX: usize = 64;
/// A path of more bytes than Linux takes in one call (`PATH_MAX`): a tree that deep is a mistake.
const PATH_BYTES_MAX: usize = 4095;

const OPERATION: &str = "scan";

pub(super) struct Scan<'a, F: FileSystem> {
    pub(super) settings: &'a SpoolSettings,
    pub(super) names: &'a Names,
    pub(super) root: Directory<F>,
    pub(super) seen: &'a mut Seen,
}

impl<F: FileSystem> Scan<'_, F> {
    pub(super) fn run(
        mut self,
        now_ns: i64,
        visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), SpoolError> {
        self.seen.begin(now_ns);
        let result = self.pass(visit);
        match &result {
            Ok(()) => self.seen.end(),
            Err(_) => self.seen.abandon(),
        }
        result.map_err(|mut error| {
            error.unavailable = true;
            error
        })
    }

    fn pass(&mut self, visit: &mut dyn FnMut(Found) -> ControlFlow<()>) -> Result<(), SpoolError> {
        let mut listing = self.gather()?;
        listing.sort(self.settings.order);
        let mut open = OpenDirectories::new(self.root.clone());
        let mut entries = listing.in_order(self.settings.order);
        while let Some(entry) = entries.next() {
            let Some((directory, hash)) = open.get(&listing, entry.directory())? else {
                continue;
            };
            let Some(found) = self.look(&listing, entry, directory, *hash)? else {
                continue;
            };
            if visit(found).is_break() {
                self.keep_rest(&listing, entries);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a directory that is scanned has a name that is wanted, which may be a hidden one.
    pub(super) fn finds(&self, is_wanted: &dyn Fn(&[u8]) -> bool) -> Result<bool, SpoolError> {
        let mut buffer = Vec::with_capacity(256 << 10);
        let mut left = vec![Vec::new()];
        while let Some(path) = left.pop() {
            let found = self
                .finds_in(&path, is_wanted, &mut left, &mut buffer)
                .map_err(|error| SpoolError {
                    unavailable: true,
                    ..advise(error, &path)
                })?;
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same of one directory; those below it are `left`.
    fn finds_in(
        &self,
        path: &[u8],
        is_wanted: &dyn Fn(&[u8]) -> bool,
        left: &mut Vec<Vec<u8>>,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, SpoolError> {
        let Some(directory) = self.root.below(path)? else {
            return Ok(false);
        };
        let mut found = false;
        let mut full = Vec::new();
        directory.list(buffer.spare_capacity_mut(), &mut |entry| {
            let (name, listed) = entry.map_err(|e| directory.error(OPERATION, &[], e))?;
            if is_dots(name) {
                return Ok(());
            }
            found |= is_wanted(name.to_bytes());
            if listed == FileType::RegularFile {
                return Ok(());
            }
            write_path(&mut full, path, name.to_bytes());
            if let Kind::Directory = self.kind(&directory, name, listed, &full)? {
                left.push(full.clone());
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn gather(&self) -> Result<Listing, SpoolError> {
        let mut listing = Listing::default();
        let mut buffer = Vec::with_capacity(256 << 10);
        listing.add_directory(&[]);
        let mut next = 0;
        while let Some(path) = listing.directory(next).map(<[u8]>::to_vec) {
            self.gather_below(&mut listing, next, &path, &mut buffer)
                .map_err(|error| advise(error, &path))?;
            next += 1;
        }
        Ok(listing)
    }

    /// What vanished, or became something else, since its parent was read, holds no files of ours.
    fn gather_below(
        &self,
        listing: &mut Listing,
        number: u32,
        path: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), SpoolError> {
        match self.root.below(path)? {
            Some(directory) => self.gather_one(
                listing,
                &directory,
                number,
                path,
                buffer.spare_capacity_mut(),
            ),
            None => Ok(()),
        }
    }

    fn gather_one(
        &self,
        listing: &mut Listing,
        directory: &Directory<F>,
        number: u32,
        path: &[u8],
        buffer: &mut [MaybeUninit<u8>],
    ) -> Result<(), SpoolError> {
        let mut full = Vec::new();
        directory.list(buffer, &mut |entry| {
            let (name, listed) = entry.map_err(|e| directory.error(OPERATION, &[], e))?;
            if is_dots(name) {
                return Ok(());
            }
            write_path(&mut full, path, name.to_bytes());
            let is_added = match self.kind(directory, name, listed, &full)? {
                Kind::File(mtime_ns) => listing.add(number, name, mtime_ns).is_some(),
                Kind::Directory => listing.add_directory(&full).is_some(),
                Kind::Nothing => true,
            };
            if !is_added {
                let text = "more than 4 GiB of names wait here; use several spools".into();
                return Err(failure(OPERATION, self.root.path(), text));
            }
            if full.len() > PATH_BYTES_MAX {
                let text = format!(
                    "deeper than {PATH_BYTES_MAX} bytes; move it away or exclude it (exclude = [\"…/**\"])"
                );
                return Err(failure(OPERATION, &self.root.join(&full), text));
            }
            Ok(())
        })
    }

    /// What a directory entry is to this scan. The listing often says what type it is, not always.
    fn kind(
        &self,
        directory: &Directory<F>,
        name: &CStr,
        listed: FileType,
        path: &[u8],
    ) -> Result<Kind, SpoolError> {
        let is_read = self.names.is_read(path, name.to_bytes());
        let is_entered = self.settings.recursive && self.names.is_entered(path, name.to_bytes());
        let may_be_file = is_read && matches!(listed, FileType::RegularFile | FileType::Unknown);
        let may_be_directory =
            is_entered && matches!(listed, FileType::Directory | FileType::Unknown);
        if !may_be_file && !may_be_directory {
            return Ok(Kind::Nothing);
        }
        let needs_stat = listed == FileType::Unknown
            || (listed == FileType::RegularFile && self.settings.order != Order::Name);
        if !needs_stat {
            return Ok(if may_be_file {
                Kind::File(0)
            } else {
                Kind::Directory
            });
        }
        let Some(Look { kind, stat }) = directory.look(name.to_bytes())? else {
            return Ok(Kind::Nothing);
        };
        Ok(match kind {
            FileType::RegularFile if may_be_file => Kind::File(stat.mtime_ns),
            FileType::Directory if may_be_directory => Kind::Directory,
            _ => Kind::Nothing,
        })
    }

    fn look(
        &mut self,
        listing: &Listing,
        entry: listing::Entry,
        directory: &Directory<F>,
        hash: u64,
    ) -> Result<Option<Found>, SpoolError> {
        let name = listing.name(entry);
        let Some(stat) = directory.stat(name.to_bytes())? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let parent = listing.directory(entry.directory()).unwrap_or_default();
        write_path(&mut bytes, parent, name.to_bytes());
        let path = RelativePath::new(&bytes)
            .map_err(|text| failure(OPERATION, &self.root.join(&bytes), text))?;
        let ready = if self.names.has_marker() {
            self.has_marker(directory, name)?
        } else {
            let name = name_hash(hash, name.to_bytes());
            self.seen.is_ready(name, &stat, self.settings.ready_after)
        };
        Ok(Some(Found { path, stat, ready }))
    }

    fn has_marker(&self, directory: &Directory<F>, name: &CStr) -> Result<bool, SpoolError> {
        match self.names.marker_of(name.to_bytes()) {
            Some(marker) => Ok(directory.stat(&marker)?.is_some()),
            None => Ok(false),
        }
    }

    fn keep_rest(&mut self, listing: &Listing, rest: impl Iterator<Item = listing::Entry>) {
        if self.seen.is_empty() {
            return;
        }
        let mut at = None;
        for entry in rest {
            let number = entry.directory();
            let hash = match at {
                Some((known, hash)) if known == number => hash,
                _ => directory_hash(listing.directory(number).unwrap_or_default()),
            };
            at = Some((number, hash));
            let name = listing.name(entry).to_bytes();
            self.seen.keep(name_hash(hash, name));
        }
    }
}

/// Says how to leave an unreadable directory out.
fn advise(mut error: SpoolError, path: &[u8]) -> SpoolError {
    if let Ok(path) = RelativePath::new(path) {
        error.message = format!(
            "{}; or leave it out by exclude = [\"{path}/**\"]",
            error.message
        );
    }
    error
}

enum Kind {
    /// With its mtime where the order needs it.
    File(i64),
    Directory,
    Nothing,
}

/// Directories of a listing, opened once while there are few of them. The hash seeds the hashes of their files.
struct OpenDirectories<F: FileSystem> {
    root: Directory<F>,
    open: HashMap<u32, Option<(Directory<F>, u64)>>,
}

impl<F: FileSystem> OpenDirectories<F> {
    fn new(root: Directory<F>) -> Self {
        Self {
            root,
            open: HashMap::new(),
        }
    }

    /// `None`: it is gone.
    fn get(
        &mut self,
        listing: &Listing,
        number: u32,
    ) -> Result<Option<&(Directory<F>, u64)>, SpoolError> {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&number) {
            self.open.clear();
        }
        let slot = match self.open.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                let path = listing.directory(number).unwrap_or_default();
                let directory = self.root.below(path)?;
                vacant.insert(directory.map(|directory| (directory, directory_hash(path))))
            }
        };
        Ok(slot.as_ref())
    }
}
