//! Where retired or quarantined files go: a hidden directory below the spool, or one elsewhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::directory::{Directory, make_absolute, not_a_directory};
use super::system::FileSystem;
use super::unsynced::Unsynced;
use crate::spool::SpoolError;

#[derive(Debug)]
pub(super) enum Place {
    /// Below the spool, where nothing symbolic is followed at all.
    Below(Vec<u8>),
    /// Elsewhere. Links above it are the operator's affair and followed; it is none itself, nor is anything below it.
    Elsewhere {
        path: PathBuf,
        /// The directories above it are to be synced once by this process, whoever made them.
        is_known: AtomicBool,
    },
}

impl Place {
    /// `path` is absolute or below the spool.
    ///
    /// # Errors
    /// It climbs, or it is below the spool and not hidden there.
    pub(super) fn new(key: &str, path: &Path, spool: &Path) -> Result<Self, String> {
        let below = match path.strip_prefix(spool) {
            Ok(below) => below,
            Err(_) if path.is_relative() => path,
            Err(_) => {
                return Ok(Self::Elsewhere {
                    path: path.to_owned(),
                    is_known: AtomicBool::new(false),
                });
            }
        };
        let mut names: Vec<&OsStr> = Vec::new();
        for component in below.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => return Err(refusal(key, path, "climbs out of the spool")),
            }
        }
        if !names.iter().any(|name| name.as_bytes().starts_with(b".")) {
            return Err(refusal(key, path, "is below the spool and not hidden"));
        }
        let names: Vec<&[u8]> = names.into_iter().map(OsStr::as_bytes).collect();
        Ok(Self::Below(names.join(&b'/')))
    }

    /// The directory `path` below this place, if it is there.
    pub(super) fn find<F: FileSystem>(
        &self,
        root: &Directory<F>,
        path: &[u8],
    ) -> Result<Option<Directory<F>>, SpoolError> {
        let base = match self {
            Self::Below(below) => root.below(below)?,
            Self::Elsewhere { path, .. } => match Directory::open(root.system(), path, false) {
                Ok(directory) => Some(directory),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(not_a_directory(path, errno)),
            },
        };
        match base {
            Some(base) => base.below(path),
            None => Ok(None),
        }
    }

    /// The directory `path` below this place, made where it is missing; all that must be synced for it to last is noted.
    pub(super) fn make<F: FileSystem>(
        &self,
        root: &Directory<F>,
        path: &[u8],
        unsynced: &Unsynced<F>,
    ) -> Result<Directory<F>, SpoolError> {
        let way = match self {
            Self::Below(below) => {
                let whole = if path.is_empty() {
                    below.clone()
                } else {
                    [below, path].join(&b'/')
                };
                root.make_below(&whole)?
            }
            Self::Elsewhere {
                path: base,
                is_known,
            } => {
                let (directory, made) = make_absolute(root.system(), base)?;
                if made || !is_known.load(Ordering::Relaxed) {
                    for above in base.ancestors().skip(1) {
                        match Directory::open(root.system(), above, true) {
                            Ok(above) => unsynced.note(&above)?,
                            // Who may not read it has made nothing in it.
                            Err(Errno::ACCESS | Errno::PERM) => {}
                            Err(errno) => return Err(not_a_directory(above, errno)),
                        }
                    }
                    is_known.store(true, Ordering::Relaxed);
                }
                directory.make_below(path)?
            }
        };
        for directory in &way {
            unsynced.note(directory)?;
        }
        Ok(way[way.len() - 1].clone())
    }
}

fn refusal(key: &str, path: &Path, why: &str) -> String {
    format!(
        "{key}: `{}` {why}; a hidden directory of the spool (its name begins with a dot) or a directory elsewhere is allowed",
        super::directory::shown(path)
    )
}
