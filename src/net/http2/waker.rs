//! Has the poller drive a connection: the protocol wakes it when another thread gives it something
//! to send, or when a stream may continue.

use std::sync::Arc;
use std::task::Wake;

use crate::net::arena::ConnectionId;
use crate::net::poller_link::PollerLink;
use crate::sync::{AtomicBool, Ordering};

/// The waker of one connection.
#[derive(Debug)]
pub(in crate::net) struct SessionWaker {
    id: ConnectionId,
    link: Arc<PollerLink>,
    /// It was woken since the poller last began to drive the connection.
    is_woken: AtomicBool,
}

impl SessionWaker {
    pub(in crate::net) fn new(id: ConnectionId, link: Arc<PollerLink>) -> SessionWaker {
        SessionWaker { id, link, is_woken: AtomicBool::new(false) }
    }

    /// For the poller, before it drives the connection: whether there is a reason to.
    pub(in crate::net) fn take(&self) -> bool {
        self.is_woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for SessionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            self.link.schedule_session(self.id);
        }
    }
}
