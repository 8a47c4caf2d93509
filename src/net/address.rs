//! The two ends of a connection.

use std::net::{IpAddr, SocketAddr};

/// The address of a connection's other end; one on a unix socket has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<SocketAddr>);

impl Peer {
    /// The address without its port.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.map(|address| address.ip())
    }

    /// The address without port or brackets; empty on a unix socket.
    pub fn address(&self) -> String {
        self.0.map_or_else(String::new, |address| address.ip().to_canonical().to_string())
    }

    /// How the error log names the client.
    pub(super) fn described(&self) -> String {
        self.0.map_or_else(|| "(unix socket)".to_owned(), |_| self.address())
    }
}

/// The server's end, for SERVER_NAME and SERVER_PORT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Which of the server's listeners accepted the connection, counted from 0.
    pub index: usize,
    /// Host name or address, as in a URL; `localhost` for a unix socket.
    pub name: String,
    /// Decimal port. A unix socket has none, but the environ needs one: `80`.
    pub port: String,
    /// Whether the client uses TLS.
    pub is_https: bool,
    /// The port of HTTPS, if every request is redirected there.
    pub redirect_port: Option<u16>,
}
