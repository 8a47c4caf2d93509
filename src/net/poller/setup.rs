//! What a poller may be given before its first turn.

use std::io;
use std::sync::Arc;

use super::observed::Observed;
use super::prepared::StaticFiles;
use super::queue_membership::HandOver;
use super::{HAND_OVER, Poller};
use crate::net::hand_over::Membership;
use crate::net::tls::Challenges;
use crate::observe::WorkerSlot;
use crate::static_files::StaticSite;

impl Poller {
    /// Lets it exchange connections with other workers, if there is a membership. Fails as the
    /// system does.
    pub fn join_hand_over(&mut self, membership: Option<Membership>) -> io::Result<()> {
        let join = |membership| HandOver::join(membership, self.poll.registry(), HAND_OVER);
        self.state.hand_over = membership.map(join).transpose()?;
        Ok(())
    }

    /// Answers requests of an authority of ACME, where requests are redirected.
    pub fn answer_challenges(&mut self, challenges: Arc<Challenges>) {
        self.state.challenges = Some(challenges);
    }

    /// Shows to the master what the poller does.
    pub fn show_in(&mut self, slot: &Arc<WorkerSlot>) {
        self.state.link.counters.show_in(slot.clone());
        self.state.observed = Some(Box::new(Observed::new(slot)));
    }

    /// Answers requests for the files of `site`.
    pub fn serve_static(&mut self, site: Arc<StaticSite>) {
        self.state.static_files = Some(Box::new(StaticFiles::new(site)));
    }
}
