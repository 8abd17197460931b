//! Members that zstd makes in one go.
//!
//! A stream's compressor keeps a window of its own, into which every byte is copied, and looks for repetitions in two pieces of
//! memory. Given a whole member it does neither, and keeps nothing until the next one: a lane's files share what
//! compresses. That is worth it as long as a window is much smaller than a member, so for the fastest levels only.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use zstd::bulk::Compressor;

use super::{Codec, EncodeError};

/// Uncompressed bytes of a member, as far as they are gathered for it.
pub(super) const MEMBER_BYTES: usize = 1 << 20;
/// So many bytes that lie together are a member, or several, without being gathered.
pub(super) const MEMBER_MIN: usize = MEMBER_BYTES / 2;
/// Uncompressed bytes of a member at most.
const MEMBER_MAX: usize = 2 * MEMBER_BYTES;
/// The highest level whose window (512 KiB) is small beside a member.
const LEVEL_MAX: i32 = 1;

/// What compresses members; as many as compress at the same time, of one lane one.
pub struct Members {
    level: i32,
    idle: Mutex<Vec<Idle>>,
    /// Memory of those that are idle.
    memory: AtomicUsize,
    /// Bytes that went in and came out so far.
    entered: AtomicU64,
    written: AtomicU64,
}

struct Idle {
    compressor: Compressor<'static>,
    out: Vec<u8>,
}

impl Idle {
    /// What zstd takes for the fastest level: a table, and the literals and sequences of one block.
    const COMPRESSOR_MEMORY: usize = 640 << 10;

    fn memory(&self) -> usize {
        Self::COMPRESSOR_MEMORY + self.out.capacity()
    }
}

impl Members {
    /// `None`: such files are compressed as streams, or not at all.
    pub(super) fn of(codec: Codec) -> Option<Self> {
        let Codec::Zstd(level) = codec else {
            return None;
        };
        (1..=LEVEL_MAX).contains(&level).then(|| Self {
            level,
            idle: Mutex::default(),
            memory: AtomicUsize::new(0),
            entered: AtomicU64::new(0),
            written: AtomicU64::new(0),
        })
    }

    /// Calls `write` with each of the members that `bytes` become.
    pub(super) fn compress(
        &self,
        bytes: &[u8],
        write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), EncodeError> {
        let mut idle = self.take()?;
        let pieces = bytes.len().div_ceil(MEMBER_MAX).max(1);
        for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
            idle.out.clear();
            idle.out
                .reserve(zstd::zstd_safe::compress_bound(piece.len()));
            idle.compressor.compress_to_buffer(piece, &mut idle.out)?;
            write(&idle.out)?;
            self.entered
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
            self.written
                .fetch_add(idle.out.len() as u64, Ordering::Relaxed);
        }
        self.put(idle);
        Ok(())
    }

    fn take(&self) -> Result<Idle, EncodeError> {
        // Nobody waits: whoever comes second makes another one.
        let idle = self.idle.try_lock().ok().and_then(|mut idle| idle.pop());
        if let Some(idle) = idle {
            self.memory.fetch_sub(idle.memory(), Ordering::Relaxed);
            return Ok(idle);
        }
        Ok(Idle {
            compressor: Compressor::new(self.level)?,
            out: Vec::new(),
        })
    }

    fn put(&self, returned: Idle) {
        if let Ok(mut idle) = self.idle.try_lock() {
            self.memory.fetch_add(returned.memory(), Ordering::Relaxed);
            idle.push(returned);
        }
    }

    /// Bytes held between members.
    pub(super) fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Bytes that come out per byte that goes in, once that is known.
    pub(super) fn ratio(&self) -> Option<f64> {
        let entered = self.entered.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        (entered > 0).then(|| written as f64 / entered as f64)
    }
}
