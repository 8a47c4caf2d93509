//! Shuts the server down.

use super::stage::Shutdown;
use super::state::Master;
use crate::config::Replace;
use crate::supervisor::reloads::Outcome;
use crate::supervisor::successor::Successor;
use crate::supervisor::worker_process::EXIT_MARGIN;

impl Master<'_> {
    /// Closes the sockets and asks all workers to exit; `quick` does not wait for running requests.
    pub(super) fn stop(&mut self, exit_code: i32, quick: bool) {
        // A new master that has exited takes nothing over.
        let ended = self.successor.take_if(|successor| successor.exit_status().is_some());
        ended.into_iter().for_each(Successor::end);
        self.note(|ledger| ledger.note("shutdown", None, ""));
        self.end_reload(Outcome::Interrupted, "the server shuts down");
        self.acme.stop();
        self.close_sockets();
        match (&self.successor, &self.predecessor) {
            // The service continues in the other master.
            (Some(successor), _) => self.notifier.handed_over(successor.id()),
            (None, Some(_)) => {}
            (None, None) => self.notifier.stopping(),
        }
        let &Shutdown { quick, .. } = self.stage.stop(exit_code, quick);
        let graceful_timeout = self.deployment.settings.timeouts.graceful;
        if quick {
            // INT also ends a booting worker, without a core file.
            self.workers.stop_all(libc::SIGINT, graceful_timeout.min(EXIT_MARGIN));
        } else if self.successor.is_some() || self.predecessor.is_some() {
            // Another master serves: clients are treated as in a reload.
            self.workers.retire_all(Replace::ReadyFirst, graceful_timeout);
        } else {
            self.workers.stop_all(libc::SIGTERM, graceful_timeout);
        }
    }

    /// Refuses further clients at once, or leaves them to the other master, as far as it has the
    /// sockets: a reload since USR2 may have opened others.
    fn close_sockets(&mut self) {
        let sockets = std::mem::take(&mut self.deployment.sockets);
        self.successor.iter_mut().for_each(Successor::close_sockets);
        sockets.refuse_new_connections();
    }
}
