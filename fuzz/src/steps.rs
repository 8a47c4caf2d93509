//! What a client of HTTP/2 does, as the target `http2` gets it.

use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::frames::*;

/// A connection: the size of the windows of its client, what that does, and what follows.
#[derive(Debug, Arbitrary)]
pub struct Input<'a> {
    pub window: u16,
    pub steps: Vec<Step>,
    pub raw: &'a [u8],
}

/// What happens next. A `which` selects one of the streams that the step is possible for.
#[derive(Debug, Arbitrary)]
pub enum Step {
    Open {
        is_complete: bool,
        has_priority: bool,
        padding: Option<u8>,
        cuts: u8,
    },
    Data {
        which: u8,
        length: u16,
        padding: Option<u8>,
        is_end: bool,
    },
    Trailers {
        which: u8,
    },
    Reset {
        which: u8,
    },
    /// The window of a stream, or of the connection (0), grows.
    Allow {
        which: u8,
        bytes: u16,
    },
    Ping,
    Settings,
    Priority {
        which: u8,
    },
    Unknown {
        kind: u8,
        which: u8,
        length: u8,
    },
    Poll,
    Receive,
    Answer {
        is_aborted: bool,
        has_length: bool,
        more: u16,
    },
    /// A frame that the state of its stream forbids.
    Violate {
        which: u8,
        violation: StreamViolation,
    },
    /// The last step: a frame that no connection allows.
    Break {
        violation: ConnectionViolation,
    },
}

/// Errors of a stream. [RFC 9113 sections 5.1, 6.9]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum StreamViolation {
    DataAfterTheEnd,
    HeadAfterTheEnd,
    EmptyWindowUpdate,
}

/// Errors of a connection. [RFC 9113 sections 5.1.1, 6]
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum ConnectionViolation {
    DataOnIdle,
    ResetOfIdle,
    WindowUpdateOfIdle,
    EvenStream,
    DataOnTheConnection,
    SettingsOnAStream,
    ShortPing,
    EmptyWindowUpdate,
    Push,
    ContinuationAlone,
    FrameWithinAHead,
}

impl StreamViolation {
    pub fn frame(self, id: u32) -> Vec<u8> {
        match self {
            Self::DataAfterTheEnd => frame(DATA, 0, id, b"late"),
            Self::HeadAfterTheEnd => {
                frame(HEADERS, END_STREAM | END_HEADERS, id, b"\x00\x01t\x01v")
            }
            Self::EmptyWindowUpdate => frame(WINDOW_UPDATE, 0, id, &[0; 4]),
        }
    }
}

impl ConnectionViolation {
    /// `idle` is the lowest stream that is not open.
    pub fn frames(self, idle: u32) -> Vec<u8> {
        match self {
            Self::DataOnIdle => frame(DATA, 0, idle, b"x"),
            Self::ResetOfIdle => frame(RST_STREAM, 0, idle, &[0; 4]),
            Self::WindowUpdateOfIdle => frame(WINDOW_UPDATE, 0, idle, &[0, 0, 0, 1]),
            Self::EvenStream => frame(HEADERS, 5, idle + 1, b"\x82\x86\x84"),
            Self::DataOnTheConnection => frame(DATA, 0, 0, b"x"),
            Self::SettingsOnAStream => frame(SETTINGS, 0, 1, &[]),
            Self::ShortPing => frame(PING, 0, 0, b"1234567"),
            Self::EmptyWindowUpdate => frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            Self::Push => frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82\x86\x84"),
            Self::ContinuationAlone => frame(CONTINUATION, 4, 1, b"\x82"),
            Self::FrameWithinAHead => {
                let mut sent = frame(HEADERS, END_STREAM, idle, b"\x82");
                sent.extend(frame(PING, 0, 0, b"12345678"));
                sent
            }
        }
    }
}
