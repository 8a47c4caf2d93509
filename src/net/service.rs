//! What a listener does for its clients: plain HTTP, HTTPS, or redirects to HTTPS.

use std::io;
use std::sync::Arc;

use socket2::Socket;

use super::memory_budget::MemoryBudget;
use super::tls::Tls;
use super::transport::Transport;

/// The service of one listener.
#[derive(Debug, Clone)]
pub(super) enum Service {
    Http,
    Https(Arc<Tls>),
    /// Every request is redirected to HTTPS at this port of the same host.
    Redirect(u16),
}

impl Service {
    /// Whether clients use TLS, and the port of HTTPS, if every request is redirected there.
    pub(super) fn facts(&self) -> (bool, Option<u16>) {
        match self {
            Service::Http => (false, None),
            Service::Https(_) => (true, None),
            Service::Redirect(port) => (false, Some(*port)),
        }
    }

    /// A connection over an accepted socket.
    pub(super) fn transport(
        &self,
        socket: Socket,
        memory_budget: &Arc<MemoryBudget>,
    ) -> io::Result<Transport> {
        match self {
            Service::Https(tls) => {
                let stream = tls.accept(socket, memory_budget).map_err(io::Error::other)?;
                Ok(Transport::Tls(Box::new(stream)))
            }
            Service::Http | Service::Redirect(_) => Ok(Transport::Plain(socket)),
        }
    }
}
