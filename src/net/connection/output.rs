//! Sends what the response has queued. The thread that makes the response owns the connection, and
//! the poller does once the response is complete.

use std::io;

use super::Connection;
use crate::net::output_queue::Flush;
use crate::net::write_half::Enqueued;

impl Connection {
    /// Sends the queued bytes, as far as the socket accepts them. Fails once the client has
    /// disconnected.
    pub fn send_now(&mut self) -> io::Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        self.write_half.send_all(&mut self.queue, &self.poller)
    }

    /// Schedules the queued bytes for the poller's next turn. The thread that runs this request
    /// takes that turn at the end of its batch; if the batch takes longer than a scheduler tick,
    /// another thread takes it. So the responses of a batch are sent together, after the
    /// interpreter was released, and so are the blocks of a fast generator. Fails if the client has
    /// disconnected.
    pub fn send_soon(&mut self) -> io::Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let will_flush = match self.write_half.enqueue(&mut self.queue)? {
            Enqueued::FlushNow => false,
            Enqueued::Scheduled => !self.poller.is_blocked(),
            Enqueued::Unscheduled => self.poller.schedule_flush(&self.write_half),
        };
        if will_flush { Ok(()) } else { self.write_half.flush_all(&self.poller) }
    }

    /// Blocks until the unsent bytes in memory are below the high-water mark: because the client
    /// has read, or because they were moved to a file. Fails if the client has disconnected, or
    /// reads too slowly.
    pub fn make_room(&mut self) -> io::Result<()> {
        self.write_half.make_room(&mut self.response_spool, self.write_pace, &self.poller)
    }

    /// For the poller: sends queued bytes, within the limit of one turn. Once all are sent,
    /// [`Connection::start_next`] decides what follows.
    pub(in crate::net) fn send(&mut self) -> io::Result<Flush> {
        if self.http.is_finished() {
            self.write_half.send_last(&mut self.queue)
        } else {
            self.write_half.send(&mut self.queue)
        }
    }
}
