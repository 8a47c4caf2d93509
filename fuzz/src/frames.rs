//! Frames of HTTP/2, and the rules that the frames of a server keep whatever its client sends: the
//! states of a stream and flow control. [RFC 9113 sections 4.1, 5.1, 6.9]

use std::collections::BTreeMap;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const HAS_PRIORITY: u8 = 0x20;

/// The default of SETTINGS_INITIAL_WINDOW_SIZE, and the window of a connection. [section 6.9.2]
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The default of SETTINGS_MAX_FRAME_SIZE, which the client does not change.
const MAX_FRAME: usize = 16_384;

/// A frame as it is sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// What the server has sent on one stream.
#[derive(Debug, Default)]
pub struct Sent {
    /// The head of the final response has come, or an interim one.
    pub has_head: bool,
    /// The content.
    pub content: Vec<u8>,
    /// END_STREAM has come.
    pub is_complete: bool,
    /// The error code of RST_STREAM.
    pub reset: Option<u32>,
    /// Bytes that the client allows beyond the initial window.
    allowed: u64,
    /// Bytes that count against the window.
    used: u64,
}

impl Sent {
    /// Nothing more may come.
    pub fn has_ended(&self) -> bool {
        self.is_complete || self.reset.is_some()
    }
}

/// Reads the frames of a server, and panics if one of them breaks a rule.
#[derive(Debug)]
pub struct Frames {
    unread: Vec<u8>,
    pub streams: BTreeMap<u32, Sent>,
    /// The last stream and the error code of GOAWAY.
    pub goaway: Option<(u32, u32)>,
    /// The client has opened no stream beyond it.
    pub last_opened: u32,
    /// False once the client has sent bytes that were not reported here: streams, windows, settings.
    pub knows_client: bool,
    has_settings: bool,
    /// The stream whose head continues, and whether its content ends with it.
    continues: Option<(u32, bool)>,
    /// SETTINGS_INITIAL_WINDOW_SIZE of the client.
    initial_window: u32,
    /// As for a stream, for the connection.
    allowed: u64,
    used: u64,
}

impl Frames {
    pub fn new(initial_window: u32) -> Frames {
        Frames {
            unread: vec![],
            streams: BTreeMap::new(),
            goaway: None,
            last_opened: 0,
            knows_client: true,
            has_settings: false,
            continues: None,
            initial_window,
            allowed: 0,
            used: 0,
        }
    }

    /// The client sends WINDOW_UPDATE, for a stream or for the connection (0).
    pub fn allow(&mut self, stream: u32, bytes: u32) {
        match stream {
            0 => self.allowed += u64::from(bytes),
            id => self.streams.entry(id).or_default().allowed += u64::from(bytes),
        }
    }

    /// Takes received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while let Some(&[a, b, c, kind, flags, d, e, f, g]) = self.unread.first_chunk() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            assert!(length <= MAX_FRAME || !self.knows_client, "a frame of {length} bytes");
            if self.unread.len() < 9 + length {
                break;
            }
            let rest = self.unread.split_off(9 + length);
            let frame = std::mem::replace(&mut self.unread, rest);
            let id = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
            self.take(kind, flags, id, &frame[9..]);
        }
    }

    fn take(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let is_first = !std::mem::replace(&mut self.has_settings, true);
        assert!(!is_first || (kind == SETTINGS && flags & 1 == 0), "{kind} before SETTINGS");
        if let Some((stream, _)) = self.continues {
            assert_eq!((kind, id), (CONTINUATION, stream), "a frame within a head");
        }
        match kind {
            SETTINGS | PING | GOAWAY => assert_eq!(id, 0, "{kind} on a stream"),
            WINDOW_UPDATE if id == 0 => {}
            DATA | HEADERS | RST_STREAM | WINDOW_UPDATE | CONTINUATION => self.check_stream(id),
            _ => panic!("a frame of the kind {kind}"),
        }
        match kind {
            DATA => self.take_data(flags, id, payload),
            HEADERS => self.take_head(flags, id),
            CONTINUATION => self.take_continuation(flags, id),
            RST_STREAM => {
                let stream = self.streams.entry(id).or_default();
                assert!(stream.reset.is_none(), "two resets of {id}");
                stream.reset = Some(number(payload));
            }
            GOAWAY => {
                let last = number(payload) & 0x7fff_ffff;
                assert!(self.goaway.is_none_or(|(before, _)| last <= before), "GOAWAY grows");
                self.goaway = Some((last, number(&payload[4..])));
            }
            WINDOW_UPDATE => assert_ne!(number(payload), 0, "an empty WINDOW_UPDATE"),
            _ => {}
        }
    }

    /// The server opens no streams, and answers only those of the client that it has not refused.
    fn check_stream(&self, id: u32) {
        assert_eq!(id % 2, 1, "the server has opened {id}");
        assert!(id <= self.last_opened || !self.knows_client, "{id} is idle");
    }

    fn take_head(&mut self, flags: u8, id: u32) {
        let stream = self.streams.entry(id).or_default();
        assert!(!stream.has_ended(), "a head on {id}, which has ended");
        assert!(stream.content.is_empty(), "trailers on {id}");
        stream.has_head = true;
        let is_end = flags & END_STREAM != 0;
        if flags & END_HEADERS == 0 {
            self.continues = Some((id, is_end));
        } else {
            stream.is_complete = is_end;
        }
    }

    fn take_continuation(&mut self, flags: u8, id: u32) {
        let (_, is_end) = self.continues.expect("a head that continues");
        if flags & END_HEADERS != 0 {
            self.continues = None;
            self.streams.entry(id).or_default().is_complete = is_end;
        }
    }

    fn take_data(&mut self, flags: u8, id: u32, payload: &[u8]) {
        let window = u64::from(self.initial_window);
        let stream = self.streams.entry(id).or_default();
        assert!(stream.has_head, "content on {id} before its head");
        assert!(!stream.has_ended(), "content on {id}, which has ended");
        assert_eq!(flags & PADDED, 0, "padding");
        stream.used += payload.len() as u64;
        self.used += payload.len() as u64;
        if self.knows_client {
            assert!(stream.used <= window + stream.allowed, "{id} exceeds its window");
            assert!(self.used <= u64::from(DEFAULT_WINDOW) + self.allowed, "exceeds the window");
        }
        stream.content.extend_from_slice(payload);
        stream.is_complete = flags & END_STREAM != 0;
    }
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(*payload.first_chunk().expect("four bytes"))
}
