//! Renews certificates and ticket keys while the server runs: the workers go on with the new ones.

use std::io;
use std::time::Instant;

use log::error;

use super::state::Master;
use crate::supervisor::certificates;
use crate::supervisor::messages::ToWorker;

impl Master<'_> {
    /// Renews what is due, and passes it to the workers of the running deployment. Those of an
    /// earlier one keep what they have: their options may be others, and they end soon.
    pub(super) fn renew_certificates(&mut self, now: Instant) {
        let Some(renewal) = self.deployment.tls.as_mut().filter(|renewal| renewal.due() <= now)
        else {
            return;
        };
        if !renewal.renew(now) {
            return;
        }
        let file = match certificates::store(&renewal.encode()) {
            Ok(file) => file,
            Err(failure) => return report(&failure, "the workers keep the old ones"),
        };
        for worker in self.workers.of_generation() {
            match worker.send(ToWorker::Certificates(&file)) {
                Ok(()) => {}
                // The worker has just exited.
                Err(failure) if failure.kind() == io::ErrorKind::BrokenPipe => {}
                Err(failure) => {
                    report(&failure, &format!("worker {} keeps the old ones", worker.pid));
                }
            }
        }
    }
}

fn report(failure: &io::Error, effect: &str) {
    error!(
        target: "tls.not_sent",
        "Cannot pass the renewed certificates on; {effect}, HUP starts others: {failure}"
    );
}
