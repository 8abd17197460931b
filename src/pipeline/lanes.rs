//! The lanes' threads: work goes in per lane, what became of it comes back on one queue.
//!
//! The coordinator keeps a few megabytes of work with each lane, so that no lane waits for it, and no more, so that
//! memory stays bounded and a roll does not wait long.

use std::sync::Arc;

use super::Halt;
use crate::channel::SegmentData;
use crate::config::AgentSettings;
use crate::sink::{BatchContext, Lane, LaneGauge, LaneResult, SinkError};
use crate::threads::{self, Queue};

/// Bytes of segments that may wait with one lane where there is more than one core; one segment is always let in.
const LANE_QUEUE_BYTES: usize = 2 << 20;

enum Work {
    Open(Box<BatchContext>, usize),
    Segment(Box<SegmentData>),
    Close,
}

enum Done {
    Segment {
        lane: usize,
        bytes: usize,
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

struct Handle {
    work: Arc<Queue<Work>>,
    queued: usize,
    gauge: LaneGauge,
    open: bool,
    thread: Option<threads::Own<()>>,
}

pub struct Lanes {
    handles: Vec<Handle>,
    done: Arc<Queue<Done>>,
    /// Bytes of segments that may wait with each.
    queue_bytes: usize,
}

impl Lanes {
    pub fn start(agent: &AgentSettings, pipeline: &str) -> Result<Self, Halt> {
        let count = agent.lanes;
        // Bounded by bytes, in `give`.
        let mut lanes = Self {
            handles: Vec::with_capacity(count),
            done: Arc::new(Queue::new(usize::MAX)),
            queue_bytes: if agent.cores == 1 {
                0
            } else {
                LANE_QUEUE_BYTES
            },
        };
        for lane in 0..count {
            let work = Arc::new(Queue::new(usize::MAX));
            let thread = {
                let (work, done) = (Arc::clone(&work), Arc::clone(&lanes.done));
                threads::spawn(&format!("lane-{lane}-{pipeline}"), move || {
                    lane_thread(lane, &work, &done);
                })
            };
            lanes.handles.push(Handle {
                work,
                queued: 0,
                gauge: LaneGauge::default(),
                open: false,
                thread: Some(
                    thread.map_err(|e| Halt::NotDone(format!("start a lane's thread: {e}")))?,
                ),
            });
        }
        Ok(lanes)
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Gives a segment to the lane with the least work among the first `active`, waiting for room; answers which.
    pub fn give(
        &mut self,
        data: SegmentData,
        active: usize,
        context: &BatchContext,
        memory: usize,
    ) -> Result<u32, Halt> {
        loop {
            let lane = (0..active.min(self.handles.len()))
                .min_by_key(|lane| self.handles[*lane].queued)
                .unwrap_or(0);
            let handle = &mut self.handles[lane];
            if handle.queued == 0 || handle.queued + data.bytes.len() <= self.queue_bytes {
                if !handle.open {
                    handle.open = true;
                    send(&handle.work, Work::Open(Box::new(context.clone()), memory))?;
                }
                handle.queued += data.bytes.len() + 256;
                send(&handle.work, Work::Segment(Box::new(data)))?;
                return Ok(u32::try_from(lane).unwrap_or(u32::MAX));
            }
            self.wait()?;
        }
    }

    /// Takes in what lanes have finished, without waiting.
    pub fn poll(&mut self) -> Result<(), Halt> {
        while let Some(done) = self.done.try_receive() {
            self.note(done)?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<Option<(usize, LaneResult)>, Halt> {
        let done = self.done.receive().ok_or_else(died)?;
        self.note(done)
    }

    fn note(&mut self, done: Done) -> Result<Option<(usize, LaneResult)>, Halt> {
        match done {
            Done::Segment { lane, bytes, gauge } => {
                let handle = &mut self.handles[lane];
                handle.queued = handle.queued.saturating_sub(bytes + 256);
                handle.gauge = gauge;
                Ok(None)
            }
            Done::Closed { lane, result } => {
                let handle = &mut self.handles[lane];
                handle.open = false;
                handle.queued = 0;
                handle.gauge = LaneGauge::default();
                Ok(Some((lane, *result)))
            }
            Done::Failed(error) => Err(halt_of(error)),
            Done::Died => Err(died()),
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

    /// Closes every open lane and waits for what they leave, by lane.
    pub fn close(&mut self) -> Result<Vec<Option<LaneResult>>, Halt> {
        let mut results: Vec<Option<LaneResult>> = self.handles.iter().map(|_| None).collect();
        let mut open = 0;
        for handle in self.handles.iter().filter(|handle| handle.open) {
            send(&handle.work, Work::Close)?;
            open += 1;
        }
        while open > 0 {
            if let Some((lane, result)) = self.wait()? {
                results[lane] = Some(result);
                open -= 1;
            }
        }
        Ok(results)
    }
}

impl Lanes {
    fn end(&mut self) {
        for handle in &self.handles {
            handle.work.close();
        }
        let threads: Vec<_> = self
            .handles
            .drain(..)
            .filter_map(|mut handle| handle.thread.take())
            .collect();
        for thread in threads {
            // A lane that panicked has said so through the panic hook.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.end();
    }
}

fn send(work: &Queue<Work>, item: Work) -> Result<(), Halt> {
    work.send(item).map_err(|_| died())
}

fn died() -> Halt {
    Halt::Bug("a lane's thread died".into())
}

pub(super) fn halt_of(error: SinkError) -> Halt {
    if error.class() == crate::lake::ErrorClass::Transient {
        Halt::NotDone(error.to_string())
    } else {
        Halt::Stopped(error.to_string())
    }
}

/// Says that the lane has died unless it ended well.
struct Alive<'a>(&'a Queue<Work>, &'a Queue<Done>);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.close();
        if std::thread::panicking() && !threads::is_dying() {
            // Closed: nobody asks any more.
            let _closed = self.1.send(Done::Died);
        }
    }
}

/// Works until its queue is closed or something fails.
fn lane_thread(lane: usize, work: &Queue<Work>, done: &Queue<Done>) {
    let _alive = Alive(work, done);
    let mut open: Option<Lane> = None;
    while let Some(item) = work.receive() {
        let answer = match item {
            Work::Open(context, memory) => {
                match Lane::open(*context, u32::try_from(lane).unwrap_or(u32::MAX), memory) {
                    Ok(fresh) => {
                        open = Some(fresh);
                        continue;
                    }
                    Err(error) => Done::Failed(error),
                }
            }
            Work::Segment(data) => {
                let Some(open) = open.as_mut() else { continue };
                match open.take(&data) {
                    Ok(()) => Done::Segment {
                        lane,
                        bytes: data.bytes.len(),
                        gauge: open.gauge(),
                    },
                    Err(error) => Done::Failed(error),
                }
            }
            Work::Close => match open.take().map(Lane::close) {
                Some(Ok(result)) => Done::Closed {
                    lane,
                    result: Box::new(result),
                },
                Some(Err(error)) => Done::Failed(error),
                None => continue,
            },
        };
        let failed = matches!(answer, Done::Failed(_));
        if done.send(answer).is_err() || failed {
            return;
        }
    }
}
