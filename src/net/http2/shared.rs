//! What all streams of a connection share: how to have the connection driven, and whether they may
//! add to its output. That is bounded for all of them together, so a stream may have to wait for
//! the others.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::net::tls::Variable;
use crate::net::tuning::HTTP2_TAKEN;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// What all streams of a connection share.
#[derive(Debug)]
pub(in crate::net) struct Shared {
    /// Has the poller drive the connection in its next turn.
    pub(in crate::net) waker: Waker,
    /// The socket has not taken all bytes: no stream may add any.
    is_congested: AtomicBool,
    /// Bytes that the protocol has taken from streams, and not written out.
    taken_bytes: AtomicUsize,
    /// The number of the first stream that waits for the others or for the socket; 0 if none does.
    first_waiting: AtomicUsize,
    /// What the application sees of the TLS session; `None` if there is none.
    pub(in crate::net) variables: Option<Arc<[Variable]>>,
}

impl Shared {
    pub(in crate::net) fn new(waker: Waker, variables: Option<Arc<[Variable]>>) -> Shared {
        Shared {
            waker,
            is_congested: AtomicBool::new(false),
            taken_bytes: AtomicUsize::new(0),
            first_waiting: AtomicUsize::new(0),
            variables,
        }
    }

    pub(in crate::net) fn is_congested(&self) -> bool {
        self.is_congested.load(Ordering::SeqCst)
    }

    pub(in crate::net) fn set_congested(&self, is_congested: bool) {
        self.is_congested.store(is_congested, Ordering::SeqCst);
    }

    /// True if a stream may add to the output.
    pub(super) fn may_add(&self) -> bool {
        !self.is_congested() && self.taken_bytes.load(Ordering::SeqCst) < HTTP2_TAKEN
    }

    /// A stream waits until it may add to the output.
    pub(super) fn wait(&self, number: usize) {
        let (none, order) = (0, Ordering::SeqCst);
        // Those that wait already come first.
        let _ = self.first_waiting.compare_exchange(none, number, order, order);
    }

    /// For the poller: true if streams wait that may go on.
    pub(in crate::net) fn has_resumable(&self) -> bool {
        self.first_waiting.load(Ordering::SeqCst) > 0 && self.may_add()
    }

    /// The same, as the number of the first one; from now on only those count that wait again.
    pub(in crate::net) fn take_resumable(&self) -> Option<usize> {
        let is_resumable = self.has_resumable();
        is_resumable.then(|| self.first_waiting.swap(0, Ordering::SeqCst))
    }

    /// Bytes that the protocol holds of responses.
    pub(super) fn taken_bytes(&self) -> usize {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count_taken(&self, count: usize) {
        self.taken_bytes.fetch_add(count, Ordering::SeqCst);
    }

    pub(super) fn count_written(&self, count: usize) {
        self.taken_bytes.fetch_sub(count, Ordering::SeqCst);
    }
}

/// The waker of one stream, for the protocol: marks the stream, and has the poller drive the
/// connection. It does not hold the stream, which holds the protocol.
#[derive(Debug)]
pub(super) struct Signal {
    /// Something has changed since the poller last looked at the stream.
    is_set: AtomicBool,
    shared: Arc<Shared>,
}

impl Signal {
    pub(super) fn new(shared: Arc<Shared>) -> Signal {
        Signal { is_set: AtomicBool::new(false), shared }
    }

    /// For the poller: true if something has changed since the last call.
    pub(super) fn take(&self) -> bool {
        self.is_set.load(Ordering::SeqCst) && self.is_set.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::SeqCst);
        self.shared.waker.wake_by_ref();
    }
}
