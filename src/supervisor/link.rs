//! The channels between a worker and the master, created before the fork.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::heartbeat::Heartbeat;
use crate::net::Membership;
use crate::observe::WorkerSlot;

/// The channels and the heartbeat between a worker and the master.
pub(super) struct Link {
    pub(super) master_end: UnixStream,
    pub(super) worker_end: UnixStream,
    pub(super) heartbeat: Heartbeat,
    /// The worker's part in the hand-over of requests, if the system has it.
    pub(super) hand_over: Option<Membership>,
    /// Shows the master what the worker does, with `--metrics` or `--control-socket`.
    pub(super) slot: Option<Arc<WorkerSlot>>,
    /// The channel to the worker's inspector, with `--control-socket`: the master's end, and the
    /// worker's.
    pub(super) inspection: Option<(UnixStream, UnixStream)>,
}

impl Link {
    pub(super) fn new() -> io::Result<Link> {
        let (master_end, worker_end) = UnixStream::pair()?;
        master_end.set_nonblocking(true)?;
        let heartbeat = Heartbeat::new()?;
        let (hand_over, slot, inspection) = (None, None, None);
        Ok(Link { master_end, worker_end, heartbeat, hand_over, slot, inspection })
    }

    /// Adds what shows the worker to operators: a slot for this many worker threads, and with
    /// `inspects` the channel to its inspector.
    ///
    /// # Errors
    /// As the system does.
    pub(super) fn show(&mut self, threads: usize, inspects: bool) -> io::Result<()> {
        self.slot = Some(Arc::new(WorkerSlot::new(threads)?));
        self.inspection = inspects.then(UnixStream::pair).transpose()?;
        Ok(())
    }
}
