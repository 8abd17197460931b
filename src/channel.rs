//! The bounded hand-off of segments from the source to the sink.
//!
//! Source and sink meet only here. What is in the channel is bounded by bytes; the source blocks when it is full.
//! It needs no durability of its own: segments are read again from the spooled file (`offsets`) or the journal
//! (`payload`) when their bytes were lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::crash;
use crate::format::FileContext;
use crate::format::frame::SegmentBytes;
use crate::journal::FileRow;
use crate::segment::Segment;
use crate::threads::Monitor;

/// A segment with its bytes.
#[derive(Clone, Debug)]
pub struct SegmentData {
    pub context: Arc<FileContext>,
    /// The file's row as it stood when its reading began here; `put_end` and what the end tells are kept up by whoever stages.
    pub row: Arc<FileRow>,
    pub segment: Segment,
    /// Decoded UTF-8 (or what claims to be) bytes `[from, to)`.
    pub bytes: Arc<SegmentBytes>,
    /// With the last segment.
    pub end: Option<FileEnd>,
}

impl SegmentData {
    /// Bytes of memory; a few stand for the bookkeeping, so that many tiny segments are bounded too.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + 512
    }
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
    queue: Monitor<Queue>,
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
            queue: Monitor::default(),
            bytes_max,
        }))
    }

    /// Blocks while the channel is full.
    ///
    /// # Errors
    /// The channel was closed; the event is dropped.
    pub fn send(&self, event: SourceEvent) -> Result<(), Closed> {
        let size = event_bytes(&event);
        // I11 bounded: by bytes, whatever the sizes of files.
        let mut queue = self.0.queue.wait_while(None, |queue| {
            !queue.closed
                && queue.bytes > 0
                && queue.bytes + size > self.0.bytes_max
                && !crash::broken("i11-channel-without-bound")
        });
        if queue.closed {
            return Err(Closed);
        }
        queue.bytes += size;
        queue.events.push_back(event);
        crash::holds("channel", queue.bytes);
        drop(queue);
        self.0.queue.changed();
        Ok(())
    }

    #[must_use]
    pub fn receive(&self, timeout: Duration) -> Received {
        let mut queue = self.0.queue.wait_while(Some(timeout), |queue| {
            queue.events.is_empty() && !queue.closed
        });
        let Some(event) = queue.events.pop_front() else {
            return if queue.closed {
                Received::Closed
            } else {
                Received::TimedOut
            };
        };
        queue.bytes -= event_bytes(&event);
        drop(queue);
        self.0.queue.changed();
        Received::Event(event)
    }

    /// Ends the episode for both ends; what waits is dropped.
    pub fn close(&self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        queue.events.clear();
        queue.bytes = 0;
        drop(queue);
        self.0.queue.changed();
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.queue.lock().closed
    }

    /// Waits until the channel is closed, `timeout` at most; true if it is closed.
    #[must_use]
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        self.0
            .queue
            .wait_while(Some(timeout), |queue| !queue.closed)
            .closed
    }
}

fn event_bytes(event: &SourceEvent) -> usize {
    match event {
        SourceEvent::Segment(data) => data.memory(),
        _ => 64,
    }
}
