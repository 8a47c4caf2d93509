//! Receives the header of the PROXY protocol that connections of `--proxy-allow-from` begin with,
//! and refuses those of other peers.
//!
//! The header is looked at in the socket's buffer, and taken from there once it is complete. So the
//! bytes behind it are read as on any connection: by the parser, or as the start of a TLS
//! handshake.

use std::io;
use std::sync::Arc;

use log::warn;

use super::action::Action;
use crate::config::Settings;
use crate::net::connection::Connection;
use crate::net::poller_link::PollerLink;
use crate::net::proxied::Preamble;
use crate::net::transport::Transport;
use crate::observe::{Count, counted};
use crate::proxies::{MAX_BYTES, Malformed, PREFIX_BYTES, is_proxy_header, parse_proxy_header};

/// What a step of the poller passes on.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Arc<Settings>,
    pub(super) link: &'a PollerLink,
    /// An empty buffer.
    pub(super) buffer: &'a mut Vec<u8>,
    /// The client has shut its sending side: no more bytes will come.
    pub(super) is_half_closed: bool,
}

/// Receives the header. False if more bytes are needed; otherwise the bytes behind it are next. The
/// error is the action that ends the connection.
#[cold]
pub(super) fn receive(
    connection: &mut Connection,
    transport: &Transport,
    context: Context<'_>,
) -> Result<bool, Action> {
    let Context { settings, link, buffer, is_half_closed } = context;
    let is_required = connection.preamble == Preamble::Required;
    let wanted = if is_required { MAX_BYTES } else { PREFIX_BYTES };
    buffer.resize(MAX_BYTES, 0);
    let count = loop {
        match transport.peek(&mut buffer[..wanted]) {
            // A health check, perhaps.
            Ok(0) => return Err(Action::Close),
            Ok(count) => break count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Action::Close),
        }
    };
    let bytes = &buffer[..count];
    if is_required {
        match parse_proxy_header(bytes, settings.proxy_protocol) {
            Ok(Some(header)) => {
                discard(transport, &mut buffer[..header.length]).map_err(|_| Action::Close)?;
                connection.apply_proxy_header(&header, settings);
                return Ok(true);
            }
            Ok(None) if !is_half_closed => return Ok(false),
            Ok(None) | Err(Malformed) => report_malformed(connection, link),
        }
    } else {
        match is_proxy_header(bytes) {
            None if !is_half_closed => return Ok(false),
            None | Some(false) => {
                connection.preamble = Preamble::Done;
                return Ok(true);
            }
            Some(true) => report_refused(connection, link),
        }
    }
    // Unread input would make the close a reset.
    let _ = transport.read_raw(buffer);
    Err(Action::Close)
}

/// Takes the bytes of the header from the socket.
fn discard(transport: &Transport, mut header: &mut [u8]) -> io::Result<()> {
    while !header.is_empty() {
        match transport.read_raw(header) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => header = &mut header[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn report_malformed(connection: &Connection, link: &PollerLink) {
    if let Some(count) = link.counters.increment_and_take_report(Count::ProxyMalformed) {
        warn!(
            target: "proxy.malformed",
            "Closed {} of --proxy-allow-from without a valid PROXY protocol header (last: {})",
            counted(count, "connection"),
            connection.peer.described()
        );
    }
}

fn report_refused(connection: &Connection, link: &PollerLink) {
    if let Some(count) = link.counters.increment_and_take_report(Count::ProxyRefused) {
        warn!(
            target: "proxy.refused",
            "Closed {} with a PROXY protocol header of peers that are not in --proxy-allow-from \
             (last: {})",
            counted(count, "connection"),
            connection.peer.described()
        );
    }
}
