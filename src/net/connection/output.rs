//! Sends what the response has queued. The thread that makes the response owns the connection, and
//! the poller does once the response is complete.

use std::io;

use super::Connection;
use crate::net::output_queue::Flush;
use crate::net::response_spool::ResponseSpool;
use crate::net::tuning::FLUSH_THRESHOLD;
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

    /// Sends a complete response before its connection is returned, so that the threads of a
    /// free-threaded interpreter send at the same time, and the poller has less to do. The thread
    /// is attached to the interpreter, so this never waits and takes no more than one small
    /// response: what is large, in a file, or behind bytes that wait already is left to the poller.
    /// So is the last response, which goes out together with the end of the connection, and a
    /// failure: the poller finds it when the connection is returned.
    pub fn send_before_return(&mut self) {
        let is_small = self.queue.size() < FLUSH_THRESHOLD && !self.queue.has_file();
        let is_ordinary = is_small && !self.queue.is_empty() && !self.http.is_finished();
        if is_ordinary && !self.write_half.has_waiting() {
            let _ = self.write_half.send(&mut self.queue);
        }
    }

    /// Blocks until the unsent bytes in memory are below the high-water mark: because the client
    /// has read, or because they were moved to a file. Fails if the client has disconnected, or
    /// reads too slowly.
    pub fn make_room(&mut self) -> io::Result<()> {
        let limit = self.poller.response_spool;
        let spool = self.response_spool.get_or_insert_with(|| Box::new(ResponseSpool::new(limit)));
        self.write_half.make_room(spool, self.poller.write_pace, &self.poller)
    }

    /// For the poller: keeps queued bytes for a later turn. Fails if the client has disconnected.
    pub(in crate::net) fn keep(&mut self) -> io::Result<()> {
        self.write_half.enqueue(&mut self.queue).map(|_| ())
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
