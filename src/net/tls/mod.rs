//! TLS, by rustls: certificates and keys, sessions over sockets, and what the application sees of
//! them.
//!
//! - [`material`] is the bytes of the files, which the process with the rights to read them passes
//!   to the others,
//! - [`config`] makes rustls's configuration of it, [`certificates`] chooses a certificate by SNI,
//!   [`client_auth`] verifies those of clients,
//! - [`challenges`] are responses to an authority of ACME,
//! - [`tickets`] encrypts sessions for their clients, with keys that all workers share,
//! - [`renewal`] notices files that have changed,
//! - [`server`] is the running configuration of a process, which a renewal replaces,
//! - [`stream`] is a session over a socket, a kind of [`Transport`](super::transport::Transport);
//!   [`session`] is its state machine, [`records`] the part that rustls does,
//! - [`variables`] describes a session to the application.
//!
//! ALPN offers HTTP/2 and HTTP/1.1: see [`config`].

mod certificates;
mod challenges;
mod client_auth;
mod config;
mod material;
mod records;
mod renewal;
mod server;
mod session;
mod stream;
mod tickets;
mod variables;

pub use challenges::{Challenge, Challenges};
pub use material::Material;
pub use renewal::Renewal;
pub use server::Tls;
pub(super) use session::{HANDSHAKE_FAILED, PLAIN_HTTP};
pub(super) use stream::TlsStream;
pub use tickets::TicketKeys;
pub use variables::Variable;

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
#[cfg(test)]
mod trusts_all;
