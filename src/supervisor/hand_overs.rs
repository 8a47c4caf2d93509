//! The hand-overs of requests that the master makes for its workers: one for each set of addresses,
//! because a worker can only take over a connection if it knows the connection's address.
//!
//! The master keeps them, so that the messages in a queue survive all workers.

use std::sync::Arc;

use log::debug;

use crate::net::{HandOver, Listener, Local, Membership};

/// The hand-overs that workers use.
#[derive(Debug, Default)]
pub(super) struct HandOvers(Vec<Arc<HandOver>>);

impl HandOvers {
    /// A membership for a worker with these listeners, which is about to be forked. `None` if the
    /// system does not have what it needs: the worker keeps its requests.
    pub(super) fn add_worker<'a>(
        &mut self,
        listeners: impl IntoIterator<Item = &'a Listener>,
    ) -> Option<Membership> {
        let numbered = listeners.into_iter().enumerate();
        let locals: Vec<Local> = numbered.map(|(i, listener)| listener.local(i)).collect();
        // Those of addresses that no worker serves any more.
        self.0.retain(|made| Arc::strong_count(made) > 1 || made.is_for(&locals));
        if let Some(made) = self.0.iter().find(|made| made.is_for(&locals)) {
            return made.add_worker();
        }
        match HandOver::new(locals).map(Arc::new) {
            Ok(made) => {
                let membership = made.add_worker();
                self.0.push(made);
                membership
            }
            Err(failure) => {
                debug!("Workers cannot hand requests over to each other: {failure}");
                None
            }
        }
    }

    /// Drops all, in a new worker process, which has its membership.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bind;
    use crate::net::{BindOptions, bind};

    #[test]
    fn workers_share_a_hand_over_if_they_have_the_same_addresses() {
        let listen = || bind(&Bind::Tcp("127.0.0.1".into(), 0), BindOptions::with_backlog(1));
        let [one, other] = [(); 2].map(|()| listen().unwrap());
        let mut hand_overs = HandOvers::default();
        let first = hand_overs.add_worker(&one).unwrap();
        let second = hand_overs.add_worker(&one).unwrap();
        let third = hand_overs.add_worker(&other).unwrap();
        assert_eq!(hand_overs.0.len(), 2);
        drop((second, third));
        let _fourth = hand_overs.add_worker(&one);
        assert_eq!(hand_overs.0.len(), 1, "no worker uses the other one");
        drop(first);
    }
}
