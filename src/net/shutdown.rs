//! The stage of the shutdown, which the poller shares with other threads.

use crate::sync::{AtomicU8, Ordering};

/// The stage of the shutdown. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shutdown {
    /// Not shutting down.
    Serving,
    /// Another process takes over. Nothing is accepted; each connection ends with the response to
    /// its next request, or when it has been idle for `--keep-alive`.
    Retiring,
    /// Another process takes over when this one has ended. Nothing is accepted, so that the clients
    /// in the accept queue meet the other process, and idle connections close at once.
    Yielding,
    /// Nothing is accepted and idle connections close; the server ends once no connection is open.
    Draining,
}

/// A [`Shutdown`] that any thread may move forward.
#[derive(Debug)]
pub(super) struct AtomicShutdown(AtomicU8);

impl AtomicShutdown {
    pub(super) fn new() -> AtomicShutdown {
        AtomicShutdown(AtomicU8::new(Shutdown::Serving as u8))
    }

    pub(super) fn get(&self) -> Shutdown {
        match self.0.load(Ordering::SeqCst) {
            0 => Shutdown::Serving,
            1 => Shutdown::Retiring,
            2 => Shutdown::Yielding,
            _ => Shutdown::Draining,
        }
    }

    /// Moves to a later stage; an earlier one changes nothing.
    pub(super) fn advance(&self, stage: Shutdown) {
        self.0.fetch_max(stage as u8, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;
    use Shutdown::{Draining, Retiring, Serving, Yielding};

    #[test]
    fn shutdown_stage_moves_only_forward() {
        for (stages, expected) in [
            (&[][..], Serving),
            (&[Retiring], Retiring),
            (&[Draining], Draining),
            (&[Retiring, Draining], Draining),
            (&[Draining, Retiring], Draining),
            (&[Retiring, Yielding], Yielding),
            (&[Yielding, Retiring], Yielding),
            (&[Yielding, Draining], Draining),
        ] {
            let shutdown = AtomicShutdown::new();
            stages.iter().for_each(|stage| shutdown.advance(*stage));
            assert_eq!(shutdown.get(), expected, "{stages:?}");
        }
    }
}
