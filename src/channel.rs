//! The bounded hand-off of segments from the source to the sink.
//!
//! Source and sink meet only here. What is in the channel is bounded by bytes; the source blocks when it is full.
//! It needs no durability of its own: segments are read again from the spooled file (`offsets`) or the journal
//! (`payload`) when their bytes were lost.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::crash;
use crate::format::FileContext;
use crate::journal::FileRow;
use crate::segment::Segment;

/// A segment with its bytes.
#[derive(Clone, Debug)]
pub struct SegmentData {
    pub context: Arc<FileContext>,
    /// The file's row as it stood when its reading began here; `put_end` and what the end tells are kept up by whoever stages.
    pub row: Arc<FileRow>,
    pub segment: Segment,
    /// Decoded UTF-8 (or what claims to be) bytes `[from, to)`.
    pub bytes: Arc<Vec<u8>>,
    /// With the last segment.
    pub end: Option<FileEnd>,
}

/// What is known once all of a file was read.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEnd {
    pub fingerprint: Option<crate::segment::Digest>,
    pub decoded: u64,
    /// The rest of the file is missing or unusable (a torn compressed stream, `decoded_bytes_max`): quarantine after commit.
    pub torn: Option<String>,
}

/// What the source tells the sink.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    Segment(SegmentData),
    /// Segments of this file were handed over and can no longer be trusted: nothing unstaged of it may land. The pipeline
    /// abandons its open batch, quarantines the file and starts over from the journal.
    Tainted {
        row: Arc<FileRow>,
        reason: String,
    },
    /// Nothing is ready now (`--once`: and nothing more will be waited for).
    Drained,
    /// The source cannot go on.
    Failed {
        message: String,
        /// Running again may help.
        transient: bool,
    },
}

#[derive(Default)]
struct Queue {
    events: VecDeque<SourceEvent>,
    bytes: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    bytes_max: usize,
}

/// Both ends of a channel; clones share it.
#[derive(Clone)]
pub struct Channel(Arc<Shared>);

/// The other end is gone: the episode is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// What [`Channel::receive`] answers.
#[derive(Debug)]
pub enum Received {
    Event(SourceEvent),
    TimedOut,
    Closed,
}

impl Channel {
    /// `bytes_max`: how many bytes of segments may wait; one segment is always let in.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            bytes_max,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks while the channel is full.
    ///
    /// # Errors
    /// The channel was closed; the event is dropped.
    pub fn send(&self, event: SourceEvent) -> Result<(), Closed> {
        let size = event_bytes(&event);
        let mut queue = self.lock();
        // I11 bounded: by bytes, whatever the sizes of files.
        while !queue.closed
            && queue.bytes > 0
            && queue.bytes + size > self.0.bytes_max
            && !crash::broken("i11-channel-without-bound")
        {
            queue = self
                .0
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed {
            return Err(Closed);
        }
        queue.bytes += size;
        queue.events.push_back(event);
        self.0.changed.notify_all();
        Ok(())
    }

    #[must_use]
    pub fn receive(&self, timeout: Duration) -> Received {
        let deadline = std::time::Instant::now() + timeout;
        let mut queue = self.lock();
        loop {
            if let Some(event) = queue.events.pop_front() {
                queue.bytes -= event_bytes(&event);
                self.0.changed.notify_all();
                return Received::Event(event);
            }
            if queue.closed {
                return Received::Closed;
            }
            let now = std::time::Instant::now();
            if now >= deadline {
                return Received::TimedOut;
            }
            queue = self
                .0
                .changed
                .wait_timeout(queue, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Ends the episode for both ends; what waits is dropped.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.events.clear();
        queue.bytes = 0;
        self.0.changed.notify_all();
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until the channel is closed, `timeout` at most; true if it is closed.
    #[must_use]
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let queue = self.lock();
        let (queue, _) = self
            .0
            .changed
            .wait_timeout_while(queue, timeout, |q| !q.closed)
            .unwrap_or_else(PoisonError::into_inner);
        queue.closed
    }
}

/// A few bytes stand for the bookkeeping, so that many tiny segments are bounded too.
fn event_bytes(event: &SourceEvent) -> usize {
    match event {
        SourceEvent::Segment(data) => data.bytes.capacity() + 512,
        _ => 64,
    }
}
