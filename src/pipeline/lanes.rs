//! The lanes' threads: what they take work from is one for all, what became of it comes back the same way.
//!
//! The coordinator keeps a segment ready, so that no lane waits for it, and hardly more: what waits has left the processor's cache when
//! it is decoded, and a roll has to wait for it. Segments are taken in the order in which they were given.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Halt;
use crate::channel::SegmentData;
use crate::config::AgentSettings;
use crate::sink::{BatchContext, Lane, LaneGauge, LaneResult, SinkError};
use crate::threads::{self, Monitor};

/// Bytes of memory of segments that may wait for a lane where there is more than one core; one segment is always let in.
const WAITING_BYTES: usize = 1 << 20;

/// What a batch's lanes are opened with: its context, and bytes of memory for each.
type Opening = (BatchContext, usize);

enum Work {
    Segment(Box<SegmentData>, Arc<Opening>),
    Close,
}

enum Done {
    Segment {
        lane: usize,
        gauge: LaneGauge,
    },
    Closed {
        lane: usize,
        result: Box<LaneResult>,
    },
    Failed(SinkError),
    /// Its thread is gone.
    Died,
}

impl Done {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Died)
    }
}

#[derive(Default)]
struct Shared {
    waiting: VecDeque<Box<SegmentData>>,
    waiting_bytes: usize,
    /// Of the batch; none before its first segment is given.
    opening: Option<Arc<Opening>>,
    /// So many lanes, the first ones, take segments.
    active: usize,
    /// Which lane took each segment of the batch, in the order in which they were given.
    takers: Vec<u32>,
    /// Lanes that wait for work.
    idle: Vec<bool>,
    /// Lanes close what they have open, once nothing waits.
    closing: bool,
    ended: bool,
    done: VecDeque<Done>,
}

impl Shared {
    fn has_work(&self, lane: usize, open: bool) -> bool {
        let takes = lane < self.active && !self.waiting.is_empty();
        self.ended || takes || (open && self.closing && self.waiting.is_empty())
    }

    /// `None`: nothing more will come.
    fn take(&mut self, lane: usize) -> Option<Work> {
        if self.ended {
            return None;
        }
        let Some(data) = self.waiting.pop_front() else {
            return Some(Work::Close);
        };
        self.waiting_bytes -= data.memory();
        self.takers.push(as_number(lane));
        Some(Work::Segment(data, Arc::clone(self.opening.as_ref()?)))
    }

    /// `waiting_max`: bytes; 0: only what a lane takes at once.
    fn has_room(&self, size: usize, waiting_max: usize) -> bool {
        let idle = self.idle.iter().take(self.active).filter(|idle| **idle);
        match waiting_max {
            0 => self.waiting.len() < idle.count(),
            max => self.waiting.is_empty() || self.waiting_bytes + size <= max,
        }
    }
}

fn as_number(lane: usize) -> u32 {
    u32::try_from(lane).unwrap_or(u32::MAX)
}

#[derive(Default)]
struct Handle {
    gauge: LaneGauge,
    open: bool,
}

pub struct Lanes {
    shared: Arc<Monitor<Shared>>,
    handles: Vec<Handle>,
    threads: Vec<threads::Own<()>>,
    /// Segments that were given and not yet answered for.
    pending: usize,
    waiting_max: usize,
}

impl Lanes {
    pub fn start(agent: &AgentSettings, pipeline: &str) -> Result<Self, Halt> {
        let count = agent.lanes;
        let mut lanes = Self {
            shared: Arc::new(Monitor::new(Shared {
                idle: vec![false; count],
                ..Shared::default()
            })),
            handles: std::iter::repeat_with(Handle::default)
                .take(count)
                .collect(),
            threads: Vec::with_capacity(count),
            pending: 0,
            waiting_max: if agent.cores == 1 { 0 } else { WAITING_BYTES },
        };
        for lane in 0..count {
            let shared = Arc::clone(&lanes.shared);
            let name = format!("lane-{lane}-{pipeline}");
            let thread = threads::spawn(&name, move || lane_thread(lane, &shared))
                .map_err(|e| Halt::NotDone(format!("start a lane's thread: {e}")))?;
            lanes.threads.push(thread);
        }
        Ok(lanes)
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Gives a segment to whichever of the first `active` lanes takes it, waiting for room. `opening`: of the batch, which its
    /// first segment begins.
    pub fn give(
        &mut self,
        data: SegmentData,
        active: usize,
        opening: impl FnOnce() -> (BatchContext, usize),
    ) -> Result<(), Halt> {
        let size = data.memory();
        let waiting_max = self.waiting_max;
        let mut shared = self.shared.lock();
        if shared.opening.is_none() {
            shared.active = active;
            shared.opening = Some(Arc::new(opening()));
        }
        drop(shared);
        let mut shared = self.shared.wait_while(None, |shared| {
            !shared.has_room(size, waiting_max) && !shared.done.iter().any(Done::is_failure)
        });
        // Where a lane has failed, that is what is noticed next.
        shared.waiting_bytes += size;
        shared.waiting.push_back(Box::new(data));
        drop(shared);
        self.shared.changed();
        self.pending += 1;
        self.poll()
    }

    /// Takes in what lanes have finished, without waiting.
    pub fn poll(&mut self) -> Result<(), Halt> {
        let done = std::mem::take(&mut self.shared.lock().done);
        for done in done {
            let _closed = self.note(done)?;
        }
        Ok(())
    }

    fn note(&mut self, done: Done) -> Result<Option<(usize, LaneResult)>, Halt> {
        match done {
            Done::Segment { lane, gauge } => {
                self.pending -= 1;
                self.handles[lane] = Handle { gauge, open: true };
                Ok(None)
            }
            Done::Closed { lane, result } => {
                self.handles[lane] = Handle::default();
                Ok(Some((lane, *result)))
            }
            Done::Failed(error) => Err(halt_of(error)),
            Done::Died => Err(Halt::Bug("a lane's thread died".into())),
        }
    }

    /// All open lanes together.
    pub fn gauge(&self) -> LaneGauge {
        let mut sum = LaneGauge::default();
        for handle in self.handles.iter().filter(|handle| handle.open) {
            sum.encoded_bytes += handle.gauge.encoded_bytes;
            sum.records += handle.gauge.records;
            sum.rejected += handle.gauge.rejected;
            sum.memory_bytes += handle.gauge.memory_bytes;
            sum.partitions = sum.partitions.max(handle.gauge.partitions);
            sum.full |= handle.gauge.full;
        }
        sum
    }

    /// Has every open lane closed once nothing waits any more. Answers which lane took each segment, in the order in which they were given,
    /// and what each lane leaves.
    pub fn close(&mut self) -> Result<(Vec<u32>, Vec<Option<LaneResult>>), Halt> {
        self.shared.lock().closing = true;
        self.shared.changed();
        let mut results: Vec<Option<LaneResult>> = self.handles.iter().map(|_| None).collect();
        while self.pending > 0 || self.handles.iter().any(|handle| handle.open) {
            let mut shared = self
                .shared
                .wait_while(None, |shared| shared.done.is_empty());
            let done = std::mem::take(&mut shared.done);
            drop(shared);
            for done in done {
                if let Some((lane, result)) = self.note(done)? {
                    results[lane] = Some(result);
                }
            }
        }
        let mut shared = self.shared.lock();
        shared.closing = false;
        shared.opening = None;
        Ok((std::mem::take(&mut shared.takers), results))
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed();
        for thread in self.threads.drain(..) {
            // A lane that panicked has said so through the panic hook.
            let _panicked = thread.join();
        }
    }
}

pub(super) fn halt_of(error: SinkError) -> Halt {
    if error.class() == crate::lake::ErrorClass::Transient {
        Halt::NotDone(error.to_string())
    } else {
        Halt::Stopped(error.to_string())
    }
}

/// Says that the lane has died unless it ended well.
struct Alive<'a>(&'a Monitor<Shared>);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !threads::is_dying() {
            self.0.lock().done.push_back(Done::Died);
            self.0.changed();
        }
    }
}

/// Works until there is an end to it or something fails.
fn lane_thread(lane: usize, shared: &Monitor<Shared>) {
    let _alive = Alive(shared);
    let mut open: Option<Lane> = None;
    let mut done = None;
    while let Some(work) = next(lane, open.is_some(), done.take(), shared) {
        let result = match work {
            Work::Segment(data, opening) => take(&mut open, lane, &data, &opening)
                .map(|gauge| Some(Done::Segment { lane, gauge })),
            Work::Close => open.take().map(Lane::close).transpose().map(|result| {
                result
                    .map(Box::new)
                    .map(|result| Done::Closed { lane, result })
            }),
        };
        match result {
            Ok(answer) => done = answer,
            Err(error) => {
                shared.lock().done.push_back(Done::Failed(error));
                shared.changed();
                return;
            }
        }
    }
}

/// Says what was done, and waits for work; the coordinator is woken once for both.
fn next(lane: usize, open: bool, done: Option<Done>, shared: &Monitor<Shared>) -> Option<Work> {
    let mut held = shared.lock();
    held.done.extend(done);
    if !held.has_work(lane, open) {
        held.idle[lane] = true;
        drop(held);
        shared.changed();
        held = shared.wait_while(None, |shared| !shared.has_work(lane, open));
        held.idle[lane] = false;
    }
    let work = held.take(lane);
    drop(held);
    shared.changed();
    work
}

fn take(
    open: &mut Option<Lane>,
    lane: usize,
    data: &SegmentData,
    opening: &Opening,
) -> Result<LaneGauge, SinkError> {
    let open = if let Some(open) = open {
        open
    } else {
        let (context, memory) = opening.clone();
        open.insert(Lane::open(context, as_number(lane), memory)?)
    };
    open.take(data)?;
    Ok(open.gauge())
}
