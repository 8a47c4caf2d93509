//! The sending of a session of HTTP/2, from a buffer that is used again.

use std::io::{self, IoSlice};

use super::WriteHalf;
use crate::net::output_queue::{Flush, OutputQueue};
use crate::net::transport::Then;
use crate::sync::Ordering;

impl WriteHalf {
    /// As [`WriteHalf::send`], for bytes whose buffer the caller uses again. What the socket does
    /// not accept is copied.
    pub(in crate::net) fn send_bytes(&self, bytes: &[u8]) -> io::Result<Flush> {
        let mut state = self.lock();
        state.check()?;
        let mut rest = bytes;
        if state.queue.is_empty() {
            let flush = self.send_slice(&mut rest);
            state.sent += self.transport.accepted((bytes.len() - rest.len()) as u64);
            match flush {
                Ok(Flush::Blocked) => self.begin_to_fill(&mut state),
                Ok(flush) => return Ok(flush),
                Err(error) => return Err(self.fail_locked(&mut state, error)),
            }
        }
        let mut queue = OutputQueue::default();
        queue.gather(|out| out.extend_from_slice(rest));
        state.queue.append(&mut queue);
        self.charge(&mut state);
        self.waiting.store(!state.queue.is_empty(), Ordering::Release);
        Ok(Flush::Blocked)
    }

    /// Sends from the start of `bytes`, which moves on.
    fn send_slice(&self, bytes: &mut &[u8]) -> io::Result<Flush> {
        while !bytes.is_empty() {
            match self.transport.send(&[IoSlice::new(bytes)], Then::Open) {
                Ok(sent) => *bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flush::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if self.transport.flush()? { Flush::Done } else { Flush::Blocked })
    }
}
