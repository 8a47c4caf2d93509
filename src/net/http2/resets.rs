//! Streams whose responses were cut short: they are reset once the protocol has written what it has
//! of them. A reset discards the rest, and the client should get what the application has sent.

use h2::{Reason, SendStream};

use super::body::Part;
use crate::sync::{Mutex, ignore_poison};

/// The streams of a connection that are to be reset.
#[derive(Debug, Default)]
pub(super) struct Resets(Mutex<Vec<SendStream<Part>>>);

impl Resets {
    /// Adds a stream. Its connection has to be driven then.
    pub(super) fn add(&self, content: SendStream<Part>) {
        ignore_poison(self.0.lock()).push(content);
    }

    /// The protocol has written all that it may send.
    pub(super) fn send(&self) {
        for mut content in ignore_poison(self.0.lock()).drain(..) {
            content.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}
