//! Where segments leave the source: into the channel, in payload mode through the journal first.

use std::time::Duration;

use super::backlog::Backlog;
use super::error::Stop;
use crate::channel::{Channel, SegmentData, SourceEvent};
use crate::crash;
use crate::journal::{FileRow, Journal, PutRequest};

/// Segments are put in groups of so many bytes, so that small files share a transaction.
const GROUP_BYTES: usize = 8 << 20;
const GROUP_SEGMENTS: usize = 1000;
/// How often a full journal is looked at again.
const PAYLOAD_POLL: Duration = Duration::from_millis(50);

pub(super) struct Outlet<'a> {
    pub(super) channel: &'a Channel,
    journal: &'a dyn Journal,
    pipeline: &'a str,
    backlog: &'a Backlog,
    /// `None` in offsets mode; else how many bytes the journal may hold.
    payload_bytes_max: Option<u64>,
    group: Vec<SegmentData>,
    group_bytes: usize,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(
        channel: &'a Channel,
        journal: &'a dyn Journal,
        pipeline: &'a str,
        backlog: &'a Backlog,
        payload_bytes_max: Option<u64>,
    ) -> Self {
        Self {
            channel,
            journal,
            pipeline,
            backlog,
            payload_bytes_max,
            group: Vec::new(),
            group_bytes: 0,
        }
    }

    pub(super) fn send(&mut self, data: SegmentData) -> Result<(), Stop> {
        if self.payload_bytes_max.is_none() {
            return self.hand_on(data);
        }
        self.group_bytes += data.bytes.len();
        self.group.push(data);
        if self.group_bytes >= GROUP_BYTES || self.group.len() >= GROUP_SEGMENTS {
            self.flush()?;
        }
        Ok(())
    }

    /// Past the journal: what is in it already, or needs not be.
    pub(super) fn hand_on(&self, data: SegmentData) -> Result<(), Stop> {
        self.channel.send(SourceEvent::Segment(data))?;
        Ok(())
    }

    /// Journals and hands on what waits to share a transaction.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        if self.group.is_empty() {
            return Ok(());
        }
        self.wait_for_room()?;
        let puts: Vec<PutRequest> = self.group.iter().map(put_of).collect();
        self.journal.put(self.pipeline, &puts)?;
        drop(puts);
        self.group_bytes = 0;
        for data in std::mem::take(&mut self.group) {
            self.channel.send(SourceEvent::Segment(data))?;
        }
        Ok(())
    }

    fn wait_for_room(&self) -> Result<(), Stop> {
        let Some(max) = self.payload_bytes_max.filter(|max| *max > 0) else {
            return Ok(());
        };
        // I11 bounded.
        while self.journal.payload_bytes(self.pipeline)? >= max
            && !crash::broken("i11-payload-without-bound")
        {
            self.backlog.set_payload_full(true);
            if self.channel.wait_closed(PAYLOAD_POLL) {
                self.backlog.set_payload_full(false);
                return Err(Stop::Closed);
            }
        }
        self.backlog.set_payload_full(false);
        Ok(())
    }
}

/// The row as it stands once this segment is journaled.
fn put_of(data: &SegmentData) -> PutRequest {
    let end = data.end.as_ref();
    let file = FileRow {
        put_end: data.segment.to,
        decoded: end.map(|end| end.decoded),
        fingerprint: end.and_then(|end| end.fingerprint),
        torn: end.and_then(|end| end.torn.clone()),
        ..FileRow::clone(&data.row)
    };
    PutRequest {
        file,
        segment: data.segment.clone(),
        payload: data.bytes.to_vec(),
    }
}
