//! A request of HTTP/1.1 that asks for HTTP/2 (`Upgrade: h2c`), which becomes the first stream.
//! [RFC 7540 section 3.2] RFC 9113 has deprecated it, and curl still does it.
//!
//! The library knows no upgrade. The request is given to it as a HEADERS frame on stream 1, behind
//! the preface and the SETTINGS that the client sends after the 101. The settings of the request
//! come first in that frame: it may leave them out, and there is one acknowledgement for both.
//! [RFC 7540 section 3.2.1]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::http1::{Framing, Head, Version, trim_ows};

/// The answer to the request, in HTTP/1.1.
pub(in crate::net) const SWITCHING_PROTOCOLS: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";

/// Bytes of the preface, and of the header of a frame. [RFC 9113 sections 3.4, 4.1]
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// The largest payload that any receiver takes. [RFC 9113 section 4.2]
const MAX_PAYLOAD: usize = 16_384;

/// Fields that concern the connection of HTTP/1.1. [RFC 9113 section 8.2.2]
const LEFT_OUT: &[&str] = &[
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Flag of SETTINGS that acknowledge others. [RFC 9113 section 6.5]
const ACK: u8 = 1;

/// A request that asks for HTTP/2.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net) struct Upgraded {
    /// The settings of the client, as the payload of a frame.
    settings: Vec<u8>,
    /// The request as a HEADERS frame on stream 1.
    request: Vec<u8>,
}

/// The request, if it asks for HTTP/2. `None` leaves it to HTTP/1.1: a server may ignore an
/// upgrade, and does so for a request with content.
pub(in crate::net) fn upgraded(head: &Head) -> Option<Upgraded> {
    let asks = head.version() == Version::Http11
        && head.framing() == Framing::Empty
        && head.authority().is_none()
        && head.keep_alive()
        && lists(head, b"upgrade", b"h2c")
        && lists(head, b"connection", b"upgrade")
        && lists(head, b"connection", b"http2-settings");
    if !asks {
        return None;
    }
    let mut settings = head.fields().filter(|(name, _)| is(name, "http2-settings"));
    let (Some((_, settings)), None) = (settings.next(), settings.next()) else { return None };
    // Each setting has six bytes.
    let settings = URL_SAFE_NO_PAD.decode(settings).ok().filter(|it| it.len() % 6 == 0)?;
    let mut block = Vec::new();
    write_field(b":method", head.method(), &mut block);
    write_field(b":scheme", b"http", &mut block);
    write_field(b":path", head.raw_target(), &mut block);
    write_field(b":authority", head.field(b"host")?, &mut block);
    for (name, value) in head.fields().chain(head.underscored()) {
        if !LEFT_OUT.iter().any(|known| is(name, known)) {
            write_field(name, value, &mut block);
        }
    }
    let length = u16::try_from(block.len()).ok().filter(|&it| usize::from(it) <= MAX_PAYLOAD)?;
    let [high, low] = length.to_be_bytes();
    // HEADERS with END_HEADERS and END_STREAM.
    let mut request = vec![0, high, low, 1, 5, 0, 0, 0, 1];
    request.extend_from_slice(&block);
    Some(Upgraded { settings, request })
}

fn is(name: &[u8], known: &str) -> bool {
    name.eq_ignore_ascii_case(known.as_bytes())
}

/// True if a field with this name lists the element.
fn lists(head: &Head, name: &[u8], element: &[u8]) -> bool {
    let mut values = head.fields().filter(|(found, _)| found.eq_ignore_ascii_case(name));
    values.any(|(_, value)| {
        value.split(|&b| b == b',').any(|part| trim_ows(part).eq_ignore_ascii_case(element))
    })
}

/// Writes a literal field without indexing, which does not touch the dynamic table. [RFC 7541
/// section 6.2.2]
fn write_field(name: &[u8], value: &[u8], block: &mut Vec<u8>) {
    block.push(0);
    write_string(&name.to_ascii_lowercase(), block);
    write_string(value, block);
}

/// Writes a string without Huffman coding. [RFC 7541 sections 5.1, 5.2]
fn write_string(text: &[u8], block: &mut Vec<u8>) {
    const PREFIX: usize = 127;
    if text.len() < PREFIX {
        block.push(text.len() as u8);
    } else {
        block.push(PREFIX as u8);
        let mut rest = text.len() - PREFIX;
        while rest >= 128 {
            block.push((rest % 128 + 128) as u8);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

/// Puts the frame of the request behind the preface and the SETTINGS of its client, and its
/// settings into these.
#[derive(Debug)]
pub(super) struct Splice {
    upgraded: Upgraded,
    /// What has arrived before the end of the SETTINGS.
    held: Vec<u8>,
}

impl Splice {
    pub(super) fn new(upgraded: Upgraded) -> Splice {
        Splice { upgraded, held: Vec::new() }
    }

    /// Takes received bytes. Returns all bytes so far, with the request, once the SETTINGS are
    /// complete. An error in them is left to the protocol, and the request left out.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.held.extend_from_slice(bytes);
        let header = self.held.get(PREFACE..PREFACE + FRAME_HEADER)?;
        let length =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let end = PREFACE + FRAME_HEADER + length;
        let is_settings = header[3] == 4 && header[4] & ACK == 0 && length <= MAX_PAYLOAD;
        if is_settings && self.held.len() < end {
            return None;
        }
        let mut all = std::mem::take(&mut self.held);
        if is_settings {
            let Upgraded { settings, request } = &mut self.upgraded;
            all.splice(end..end, std::mem::take(request));
            let length = u16::try_from(length + settings.len()).unwrap_or(u16::MAX);
            if usize::from(length) <= MAX_PAYLOAD {
                let start = PREFACE + FRAME_HEADER;
                all.splice(start..start, std::mem::take(settings));
                all[PREFACE + 1..PREFACE + 3].copy_from_slice(&length.to_be_bytes());
            }
        }
        Some(all)
    }

    /// What has arrived of SETTINGS that stay incomplete, without the request.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Connection, Limits};

    const UPGRADE: &str = "Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                           HTTP2-Settings: AAMAAABkAAQAAP__\r\n";

    fn upgraded_from(request: &str) -> Option<Upgraded> {
        let mut http = Connection::new(Limits::default());
        http.receive(format!("{request}\r\n").as_bytes()).unwrap();
        upgraded(http.head())
    }

    #[test]
    fn request_becomes_the_frame_of_stream_1() {
        let found = upgraded_from(&format!("GET /x HTTP/1.1\r\n{UPGRADE}X-A: b\r\n")).unwrap();
        assert_eq!(found.settings, b"\0\x03\0\0\0\x64\0\x04\0\0\xff\xff");
        let frame = found.request;
        let expected = b"\0\0\x43\x01\x05\0\0\0\x01\
            \0\x07:method\x03GET\0\x07:scheme\x04http\0\x05:path\x02/x\0\x0a:authority\x01a\
            \0\x03x-a\x01b";
        assert_eq!(frame[9..], expected[9..]);
        assert_eq!(usize::from(frame[2]), frame.len() - 9);
        assert_eq!(frame[3..9], expected[3..9]);
    }

    #[test]
    fn other_requests_stay_with_http1() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n".to_owned(),
            format!("POST / HTTP/1.1\r\n{UPGRADE}Content-Length: 1\r\n"),
            format!("GET / HTTP/1.0\r\n{UPGRADE}"),
            format!("GET http://a/ HTTP/1.1\r\n{UPGRADE}"),
            format!("GET / HTTP/1.1\r\n{}", UPGRADE.replace("h2c", "websocket")),
            format!("GET / HTTP/1.1\r\n{}", UPGRADE.replace("Upgrade, ", "")),
            format!("GET / HTTP/1.1\r\n{}", UPGRADE.replace(", HTTP2-Settings", "")),
            format!("GET / HTTP/1.1\r\n{}", UPGRADE.replace("AAMA", "*")),
            format!("GET / HTTP/1.1\r\n{UPGRADE}HTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
            // It does not fit into one frame.
            format!("GET / HTTP/1.1\r\n{UPGRADE}{0}{0}{0}", format!("X: {}\r\n", "v".repeat(8000))),
        ] {
            assert_eq!(upgraded_from(&request), None, "{request}");
        }
    }

    #[test]
    fn long_string_has_its_length_in_several_bytes() {
        let mut block = Vec::new();
        write_string(&[b'x'; 1337], &mut block);
        // 1337 - 127 is 1210: 58 and 9 times 128.
        assert_eq!(block[..3], [127, 58 + 128, 9]);
    }

    #[test]
    fn request_follows_the_settings_however_they_are_cut() {
        let preface = [b'p'; PREFACE];
        let client = [&preface[..], &[0, 0, 6, 4, 0, 0, 0, 0, 0], b"window", b"more"].concat();
        let spliced = [&preface[..], &[0, 0, 12, 4, 0, 0, 0, 0, 0], b"tables"].concat();
        let spliced = [&spliced[..], &b"window"[..], b"REQUEST", b"more"].concat();
        for piece in [1, 7, client.len()] {
            let upgraded = Upgraded { settings: b"tables".to_vec(), request: b"REQUEST".to_vec() };
            let mut splice = Splice::new(upgraded);
            let mut all = Vec::new();
            let mut is_done = false;
            for bytes in client.chunks(piece) {
                if is_done {
                    all.extend_from_slice(bytes);
                } else if let Some(bytes) = splice.receive(bytes) {
                    all.extend_from_slice(&bytes);
                    is_done = true;
                }
            }
            assert_eq!(all, spliced, "{piece}");
        }
    }

    #[test]
    fn preface_without_settings_is_left_alone() {
        for header in [[0, 0, 0, 4, ACK, 0, 0, 0, 0], [0, 0, 0, 6, 0, 0, 0, 0, 0]] {
            let client = [&[b'p'; PREFACE][..], &header].concat();
            let mut splice =
                Splice::new(Upgraded { settings: vec![0; 6], request: b"REQUEST".to_vec() });
            assert_eq!(splice.receive(&client), Some(client));
        }
    }
}
