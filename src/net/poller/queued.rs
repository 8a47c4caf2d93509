//! The poller as the dispatcher uses it besides polling: for requests that wait in the queue, and
//! for threads that are stuck.

use super::run::run;
use super::{Poller, Verdict, hand_over, reject};
use crate::net::connection::Lent;
use crate::sys::clock::Moment;

impl Poller {
    /// Sets the number of free threads, or `None` if no other process accepts from the same
    /// sockets. With a number, a turn accepts at most one connection for each free thread; if none
    /// is free, it leaves connections to the other processes for a moment. The listener's readiness
    /// is kept, so no connection is lost if all processes are busy.
    pub fn set_free_threads(&mut self, free_threads: Option<usize>) {
        self.state.admission.set_free_threads(free_threads);
    }

    /// Sets a number that changes whenever a thread begins a request.
    pub fn set_jobs_taken(&mut self, jobs_taken: u64) {
        self.state.admission.set_jobs_taken(jobs_taken);
    }

    /// Sets whether all threads are lost, or occupied by requests that have run too long. Meanwhile
    /// nothing is accepted: new clients wait in the accept queue, for one of the threads or for
    /// another process. A queued request is rejected once the server shuts down.
    pub fn set_stalled(&mut self, is_stalled: bool) {
        self.state.admission.set_stalled(is_stalled);
    }

    /// Ends waits for events at this time.
    pub fn check_at(&mut self, at: Option<Moment>) {
        self.check_at = at;
    }

    /// True once the time of [`Poller::check_at`] has come.
    pub fn is_check_due(&self) -> bool {
        self.check_at.is_some_and(|at| at <= self.state.now)
    }

    /// True if it is time to check the queued requests with [`Poller::verdict`].
    pub fn is_sweep_due(&mut self) -> bool {
        self.state.overload.is_sweep_due(self.state.now)
    }

    /// The verdict on the request of a lent connection that waits in the queue.
    pub fn verdict(&self, connection: &Lent) -> Verdict {
        reject::verdict(&self.state, connection)
    }

    /// Takes back a connection whose request will not run, and rejects or drops it.
    #[cold]
    pub fn reject_queued(&mut self, connection: Lent) {
        let id = connection.id;
        let action = reject::reject_queued(&mut self.state, connection);
        run(&mut self.state, id, action);
    }

    /// Shows the master how many requests wait for a thread.
    #[inline]
    pub fn show_queued(&self, queued: usize) {
        if let Some(observed) = &self.state.observed {
            observed.slot.show_queued(queued);
        }
    }

    /// Shows the master the requests that wait for a thread, the one that runs next first.
    pub fn show_queue(&self, queue: &mut dyn Iterator<Item = &Lent>) {
        if let Some(observed) = &self.state.observed {
            observed.slot.show_queue(queue.map(|lent| lent.shown()));
        }
    }

    /// Sets how many requests would find a free thread, for the hand-over between workers.
    pub fn set_vacant_threads(&mut self, free_threads: usize) {
        if let Some(hand_over) = &mut self.state.hand_over {
            hand_over.set_free_threads(free_threads);
        }
    }

    /// True if requests can be handed over to other workers.
    pub fn has_other_workers(&self) -> bool {
        let hand_over = self.state.hand_over.as_ref();
        hand_over.is_some_and(|hand_over| hand_over.membership().has_others())
    }

    /// True if another worker shows a free thread.
    pub fn has_free_thread_elsewhere(&self) -> bool {
        let hand_over = self.state.hand_over.as_ref();
        hand_over.is_some_and(|hand_over| hand_over.membership().has_free_thread())
    }

    /// True if the request of a lent connection, which waits in the queue, can go to another
    /// worker.
    pub fn is_movable(&self, connection: &Lent) -> bool {
        hand_over::is_movable(&self.state, connection)
    }

    /// Reserves a free thread of another worker for a request to hand over. False if none is free.
    pub fn reserve_thread_elsewhere(&self) -> bool {
        let hand_over = self.state.hand_over.as_ref();
        hand_over.is_some_and(|hand_over| hand_over.membership().reserve_thread())
    }

    /// Hands a connection that [is movable](Poller::is_movable) over to another worker.
    ///
    /// # Errors
    /// Returns the connection if the kernel does not take it.
    pub fn hand_over(&mut self, connection: Lent) -> Result<(), Lent> {
        hand_over::offer(&mut self.state, self.poll.registry(), connection)
    }
}
