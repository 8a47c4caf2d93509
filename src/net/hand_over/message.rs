//! What a worker sends along with the descriptor of a connection.
//!
//! The request itself is bytes as a client sends them, which the receiver parses as if they came
//! from the client. Only what no parser can know stands before them. A worker runs foreign code, so
//! the receiver validates all of it: a wrong message costs its connection, nothing else.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::net::address::Peer;
use crate::sys::clock::Moment;

/// The length of a message, at most. Larger requests stay where they are. The kernel's buffer has
/// room for a few of this size; as a rule a request has less than 1 KiB.
pub(in crate::net) const MAX_MESSAGE: usize = 64 * 1024;

/// The layout. Workers of one master run the same program, so another version is an error.
const VERSION: u8 = 1;

/// When a request arrived, by the monotonic clock, which all processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct Times {
    /// Its first byte.
    pub(in crate::net) started_at: Moment,
    /// When its head was complete.
    pub(in crate::net) head_complete_at: Moment,
    /// When all of it was: `--queue-timeout` counts from here.
    pub(in crate::net) complete_at: Moment,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct Message<'a> {
    /// The address of the peer, by the header of the PROXY protocol if there was one.
    pub(in crate::net) peer: Peer,
    /// Host and port of the listener that accepted the connection.
    pub(in crate::net) local: (&'a str, &'a str),
    /// Requests of this connection were answered.
    pub(in crate::net) has_served: bool,
    /// The client has connected to a proxy over TLS, by the header of the PROXY protocol.
    pub(in crate::net) is_tls: bool,
    /// The client has shut its sending side.
    pub(in crate::net) is_half_closed: bool,
    pub(in crate::net) times: Times,
    /// The request, and what the client has sent behind it.
    pub(in crate::net) bytes: &'a [u8],
}

impl Message<'_> {
    /// Appends the message except its bytes to `out`. False if a part is too long.
    pub(in crate::net) fn encode_head(&self, out: &mut Vec<u8>) -> bool {
        let Message { peer, local: (name, port), times, bytes: _, .. } = self;
        let (Ok(name_length), Ok(port_length)) =
            (u8::try_from(name.len()), u8::try_from(port.len()))
        else {
            return false;
        };
        let flags = [self.is_half_closed, self.has_served, self.is_tls];
        out.push(VERSION);
        out.extend(flags.map(u8::from));
        encode_peer(*peer, out);
        for at in [times.started_at, times.head_complete_at, times.complete_at] {
            out.extend(at.as_nanos().to_ne_bytes());
        }
        out.extend([name_length, port_length]);
        out.extend(name.as_bytes());
        out.extend(port.as_bytes());
        true
    }
}

impl<'a> Message<'a> {
    /// Reads a message; `None` if it is malformed. A time in the future becomes `now`.
    pub(in crate::net) fn decode(message: &'a [u8], now: Moment) -> Option<Message<'a>> {
        let mut rest = Rest(message);
        let [version, flags @ ..]: [u8; 4] = rest.take()?;
        if version != VERSION || flags.iter().any(|&flag| flag > 1) {
            return None;
        }
        let [is_half_closed, has_served, is_tls] = flags.map(|flag| flag == 1);
        let peer = decode_peer(&mut rest)?;
        let mut moment = || Some(Moment::from_nanos(u64::from_ne_bytes(rest.take()?)).min(now));
        let times =
            Times { started_at: moment()?, head_complete_at: moment()?, complete_at: moment()? };
        let [name_length, port_length] = rest.take()?;
        let local = (rest.text(name_length)?, rest.text(port_length)?);
        Some(Message { peer, local, has_served, is_tls, is_half_closed, times, bytes: rest.0 })
    }
}

fn encode_peer(Peer(address): Peer, out: &mut Vec<u8>) {
    match address {
        None => out.push(0),
        Some(SocketAddr::V4(address)) => {
            out.push(4);
            out.extend(address.ip().octets());
            out.extend(address.port().to_ne_bytes());
        }
        Some(SocketAddr::V6(address)) => {
            out.push(6);
            out.extend(address.ip().octets());
            out.extend(address.port().to_ne_bytes());
            out.extend(address.flowinfo().to_ne_bytes());
            out.extend(address.scope_id().to_ne_bytes());
        }
    }
}

fn decode_peer(rest: &mut Rest<'_>) -> Option<Peer> {
    let [family] = rest.take()?;
    let address = match family {
        0 => return Some(Peer(None)),
        4 => SocketAddrV4::new(rest.take::<4>()?.into(), rest.port()?).into(),
        6 => {
            let (ip, port) = (Ipv6Addr::from(rest.take::<16>()?), rest.port()?);
            let [flow, scope] = [rest.take()?, rest.take()?].map(u32::from_ne_bytes);
            SocketAddrV6::new(ip, port, flow, scope).into()
        }
        _ => return None,
    };
    Some(Peer(Some(address)))
}

/// The part of a message that is not decoded yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn port(&mut self) -> Option<u16> {
        self.take().map(u16::from_ne_bytes)
    }

    fn text(&mut self, length: u8) -> Option<&'a str> {
        let (taken, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        std::str::from_utf8(taken).ok()
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::clock;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A message whose request was complete 30 ms after `start`.
    fn message(peer: Option<&str>, start: Moment) -> Message<'static> {
        let at = |ms| start + Duration::from_millis(ms);
        let times = Times { started_at: at(10), head_complete_at: at(20), complete_at: at(30) };
        Message {
            peer: Peer(peer.map(|address| address.parse().unwrap())),
            local: ("[::1]", "8000"),
            has_served: true,
            is_tls: true,
            is_half_closed: true,
            times,
            bytes: b"GET / HTTP/1.1\r\n\r\n",
        }
    }

    fn encode(message: &Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(message.encode_head(&mut out));
        out.extend(message.bytes);
        out
    }

    const PEERS: [Option<&str>; 4] =
        [None, Some("192.0.2.1:80"), Some("[2001:db8::1]:65535"), Some("[fe80::1%3]:1")];

    #[test]
    fn decoded_message_is_the_encoded_one() {
        let start = clock::now();
        for peer in PEERS {
            let message = message(peer, start);
            assert_eq!(Message::decode(&encode(&message), start + HOUR), Some(message));
        }
    }

    #[test]
    fn times_of_the_future_become_the_present() {
        let start = clock::now();
        let encoded = encode(&message(None, start));
        let now = start + Duration::from_millis(15);
        let times = Message::decode(&encoded, now).unwrap().times;
        let expected = Times { head_complete_at: now, complete_at: now, ..times };
        assert_eq!((times, times.started_at), (expected, start + Duration::from_millis(10)));
    }

    #[test]
    fn message_cut_anywhere_before_its_bytes_is_malformed() {
        let start = clock::now();
        for peer in PEERS {
            let message = message(peer, start);
            let encoded = encode(&message);
            for length in 0..encoded.len() - message.bytes.len() {
                assert_eq!(Message::decode(&encoded[..length], start), None, "{peer:?} {length}");
            }
        }
    }

    #[test]
    fn any_changed_byte_is_refused_or_decoded_without_a_panic() {
        let start = clock::now();
        for peer in PEERS {
            let encoded = encode(&message(peer, start));
            for at in 0..encoded.len() {
                for value in [0, 1, 4, 6, 0x7f, 0x80, 0xff] {
                    let mut changed = encoded.clone();
                    changed[at] = value;
                    let decoded = Message::decode(&changed, start);
                    assert!(decoded.is_none_or(|message| message.bytes.len() <= changed.len()));
                }
            }
        }
    }

    #[test]
    fn wrong_version_flag_family_and_text_are_malformed() {
        let start = clock::now();
        let encoded = encode(&message(None, start));
        let name = encoded.len() - message(None, start).bytes.len() - "[::1]8000".len();
        for (at, value) in [(0, VERSION + 1), (1, 2), (2, 2), (3, 2), (4, 5), (name, 0xff)] {
            let mut changed = encoded.clone();
            changed[at] = value;
            assert_eq!(Message::decode(&changed, start), None, "byte {at}");
        }
    }

    #[test]
    fn name_that_is_too_long_is_not_encoded() {
        let start = clock::now();
        let name = "x".repeat(256);
        let message = Message { local: (&name, "80"), ..message(None, start) };
        assert!(!message.encode_head(&mut Vec::new()));
    }
}
