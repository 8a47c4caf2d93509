//! Counts the frames of a client that cost the server more than the client: resets, which let it
//! start requests without end (CVE-2023-44487), and frames that carry nothing (CVE-2019-9512,
//! CVE-2019-9515, CVE-2019-9518). Passes the frames of heads on to [`Heads`]. Without I/O or clock.
//!
//! The library bounds what needs a look into the frames: CONTINUATION without end
//! (CVE-2024-27316), streams that the server has to reset (CVE-2025-8671), and compressed heads.
//!
//! It ends a connection with PROTOCOL_ERROR also where RFC 9113 names another code. Those frames
//! are found here, before the library sees them.

use h2::Reason;

use super::heads::Heads;
use crate::sys::clock::Moment;

/// Bytes that come before the first frame. [RFC 9113 section 3.4]
const PREFACE: usize = 24;
/// Bytes of the header of a frame. [RFC 9113 section 4.1]
const HEADER: usize = 9;

/// Flag of SETTINGS that acknowledge others. [RFC 9113 section 6.5]
const ACK: u8 = 1;
/// Bytes of one setting, and the first two of SETTINGS_INITIAL_WINDOW_SIZE.
const SETTING: usize = 6;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// Streams that a client may reset at once, and how many more in a second. A browser that leaves a
/// page resets all that it has open.
const RESETS: Allowance = Allowance { burst: 200, per_second: 100 };
/// The same for frames that carry nothing: SETTINGS, PING, PRIORITY, unknown ones, and DATA without
/// content that does not end its stream.
const CONTROL_FRAMES: Allowance = Allowance { burst: 1000, per_second: 100 };

/// What a client sends too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Flood {
    /// It resets its streams.
    Resets,
    /// It sends frames that carry nothing.
    ControlFrames,
}

/// Why a client is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offence {
    /// It sends too much of something.
    Flood(Flood),
    /// It sends a frame that RFC 9113 answers with this code.
    Violation(Reason),
}

impl Offence {
    /// The error code of the GOAWAY.
    pub(super) fn reason(self) -> Reason {
        match self {
            Offence::Flood(_) => Reason::ENHANCE_YOUR_CALM,
            Offence::Violation(reason) => reason,
        }
    }
}

struct Allowance {
    burst: u32,
    per_second: u32,
}

/// How much of an allowance is used.
#[derive(Debug)]
struct Bucket {
    used: u32,
    emptied_at: Moment,
}

impl Bucket {
    /// Counts one; false if that is too much.
    fn take(&mut self, allowance: &Allowance, now: Moment) -> bool {
        if self.used >= allowance.burst {
            let seconds = now.saturating_duration_since(self.emptied_at).as_secs();
            let freed = seconds.saturating_mul(allowance.per_second.into());
            self.used = self.used.saturating_sub(u32::try_from(freed).unwrap_or(u32::MAX));
            if freed > 0 {
                self.emptied_at = now;
            }
        }
        self.used += 1;
        self.used <= allowance.burst
    }
}

/// The meter of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes until the next header: of the preface, or of a frame's payload.
    skip: usize,
    /// Bytes of that payload in all.
    payload: usize,
    /// The part of a header that has arrived.
    header: [u8; HEADER],
    header_len: usize,
    /// The frame that is being received belongs to a head.
    is_head: bool,
    /// The frame that is being received has settings, and the part of one that has arrived.
    is_settings: bool,
    setting: [u8; SETTING],
    setting_len: usize,
    /// The heads of requests.
    pub(super) heads: Heads,
    /// The client has reset a stream, which the streams were not asked about.
    pub(super) has_reset: bool,
    /// The client has not acknowledged the settings of the server.
    awaits_ack: bool,
    /// It has acknowledged them, and the session has not looked at its streams since.
    pub(super) has_ack: bool,
    resets: Bucket,
    control_frames: Bucket,
}

impl Meter {
    pub(super) fn new(now: Moment) -> Meter {
        Meter {
            skip: PREFACE,
            payload: PREFACE,
            header: [0; HEADER],
            header_len: 0,
            is_head: false,
            is_settings: false,
            setting: [0; SETTING],
            setting_len: 0,
            heads: Heads::new(),
            has_reset: false,
            awaits_ack: true,
            has_ack: false,
            resets: Bucket { used: 0, emptied_at: now },
            control_frames: Bucket { used: 0, emptied_at: now },
        }
    }

    /// Counts the frames that begin in `bytes`, which follow those of the last call. An offence
    /// comes with the number of bytes before its frame.
    pub(super) fn count(&mut self, bytes: &[u8], now: Moment) -> Result<(), (Offence, usize)> {
        let (mut rest, mut frame_start) = (bytes, 0);
        while !rest.is_empty() {
            let is_payload = self.skip > 0;
            if !is_payload && self.header_len == 0 {
                frame_start = bytes.len() - rest.len();
            }
            let wanted = if is_payload { self.skip } else { HEADER - self.header_len };
            let (part, others) = rest.split_at(wanted.min(rest.len()));
            rest = others;
            let received = if is_payload {
                self.receive_payload(part)
            } else {
                self.receive_header(part, now)
            };
            received.map_err(|offence| (offence, frame_start))?;
        }
        Ok(())
    }

    fn receive_header(&mut self, part: &[u8], now: Moment) -> Result<(), Offence> {
        self.header[self.header_len..self.header_len + part.len()].copy_from_slice(part);
        self.header_len += part.len();
        if self.header_len < HEADER {
            return Ok(());
        }
        self.header_len = 0;
        self.begin_frame(now)
    }

    fn receive_payload(&mut self, part: &[u8]) -> Result<(), Offence> {
        self.skip -= part.len();
        if self.is_head {
            self.heads.receive(part, self.skip == 0);
            return self.check_heads();
        }
        if self.is_settings {
            for &byte in part {
                self.setting[self.setting_len] = byte;
                self.setting_len = (self.setting_len + 1) % SETTING;
                // Windows have at most 2^31-1 bytes. [RFC 9113 section 6.5.2]
                let [a, b, high, ..] = self.setting;
                if self.setting_len == 0 && [a, b] == INITIAL_WINDOW_SIZE && high & 0x80 != 0 {
                    return Err(Offence::Violation(Reason::FLOW_CONTROL_ERROR));
                }
            }
        }
        Ok(())
    }

    /// A block that cannot be decoded ends the connection. [RFC 9113 section 4.3]
    fn check_heads(&self) -> Result<(), Offence> {
        match self.heads.is_undecodable() {
            true => Err(Offence::Violation(Reason::COMPRESSION_ERROR)),
            false => Ok(()),
        }
    }

    fn begin_frame(&mut self, now: Moment) -> Result<(), Offence> {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (self.skip, self.payload) = (length, length);
        (self.is_head, self.is_settings) = (matches!(kind, 1 | 9), kind == 4);
        if !has_valid_length(kind, flags, length) {
            return Err(Offence::Violation(Reason::FRAME_SIZE_ERROR));
        }
        if kind == 4 && flags & ACK != 0 && std::mem::take(&mut self.awaits_ack) {
            self.has_ack = true;
        }
        let (bucket, allowance, flood) = match kind {
            // DATA that has content or ends its stream, PUSH_PROMISE, GOAWAY, WINDOW_UPDATE.
            0 if length > 0 || flags & 1 != 0 => return Ok(()),
            5 | 7 | 8 => return Ok(()),
            // HEADERS, CONTINUATION.
            1 | 9 => {
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                self.heads.begin_frame(stream, flags, kind == 9);
                if length == 0 {
                    self.heads.receive(&[], true);
                    return self.check_heads();
                }
                return Ok(());
            }
            3 => {
                self.has_reset = true;
                (&mut self.resets, &RESETS, Flood::Resets)
            }
            _ => (&mut self.control_frames, &CONTROL_FRAMES, Flood::ControlFrames),
        };
        if bucket.take(allowance, now) { Ok(()) } else { Err(Offence::Flood(flood)) }
    }

    /// Bytes that are held of a frame or a head that is not complete: by the library, which has the
    /// fields of the head as well, and here.
    pub(super) fn held_bytes(&self) -> usize {
        let of_frame = if self.skip > 0 { self.payload - self.skip } else { 0 };
        of_frame + 2 * self.heads.held_bytes()
    }
}

/// False for a frame whose payload must have another length. One over the maximum is left to
/// the library. [RFC 9113 section 6]
fn has_valid_length(kind: u8, flags: u8, length: usize) -> bool {
    match kind {
        2 => length == 5,
        3 | 8 => length == 4,
        4 if flags & ACK != 0 => length == 0,
        4 => length.is_multiple_of(SETTING),
        6 => length == 8,
        7 => length >= 8,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use std::time::Duration;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER + payload, 0);
        frame
    }

    fn meter(now: Moment) -> Meter {
        let mut meter = Meter::new(now);
        meter.count(&[0; PREFACE], now).unwrap();
        meter
    }

    #[test]
    fn useful_frames_are_free() {
        let now = clock::now();
        let mut meter = meter(now);
        for _ in 0..5000 {
            for (kind, flags, payload) in [(0, 0, 1), (0, 1, 0), (1, 4, 699), (8, 0, 4), (9, 4, 3)]
            {
                assert_eq!(meter.count(&frame(kind, flags, payload), now), Ok(()));
            }
        }
    }

    #[test]
    fn flood_is_found_however_its_bytes_are_cut() {
        let now = clock::now();
        for (kind, payload, burst, flood) in [
            (3, 4, RESETS.burst, Flood::Resets),
            (0, 0, CONTROL_FRAMES.burst, Flood::ControlFrames),
            (4, 6, CONTROL_FRAMES.burst, Flood::ControlFrames),
            (6, 8, CONTROL_FRAMES.burst, Flood::ControlFrames),
            (2, 5, CONTROL_FRAMES.burst, Flood::ControlFrames),
            (99, 0, CONTROL_FRAMES.burst, Flood::ControlFrames),
        ] {
            let allowed = frame(kind, 0, payload).repeat(burst as usize);
            for piece in [1, 7, allowed.len()] {
                let mut meter = meter(now);
                for bytes in allowed.chunks(piece) {
                    assert_eq!(meter.count(bytes, now), Ok(()), "{kind}");
                }
                let counted = meter.count(&frame(kind, 0, payload), now);
                assert_eq!(counted, Err((Offence::Flood(flood), 0)), "{kind}");
            }
        }
    }

    #[test]
    fn allowance_grows_with_time() {
        let now = clock::now();
        let mut meter = meter(now);
        let reset = frame(3, 0, 4);
        meter.count(&reset.repeat(RESETS.burst as usize), now).unwrap();
        let later = now + Duration::from_secs(1);
        meter.count(&reset.repeat(RESETS.per_second as usize), later).unwrap();
        assert_eq!(meter.count(&reset, later), Err((Offence::Flood(Flood::Resets), 0)));
    }

    #[test]
    fn frame_with_an_error_of_its_own_is_found_however_it_is_cut() {
        let now = clock::now();
        let window = |high| {
            [&frame(4, 0, 12)[..HEADER], &[0, 3, 0, 0, 0, 9, 0, 4, high, 255, 255, 255]].concat()
        };
        let good = [frame(4, 1, 0), frame(6, 0, 8), window(0x7f)].concat();
        for (bad, reason) in [
            (frame(2, 0, 4), Reason::FRAME_SIZE_ERROR),
            (frame(3, 0, 5), Reason::FRAME_SIZE_ERROR),
            (frame(4, 0, 7), Reason::FRAME_SIZE_ERROR),
            (frame(4, 1, 6), Reason::FRAME_SIZE_ERROR),
            (frame(6, 0, 7), Reason::FRAME_SIZE_ERROR),
            (frame(7, 0, 7), Reason::FRAME_SIZE_ERROR),
            (frame(8, 0, 3), Reason::FRAME_SIZE_ERROR),
            (window(0x80), Reason::FLOW_CONTROL_ERROR),
            // The index 0.
            ([&frame(1, 4, 1)[..HEADER], b"\x80"].concat(), Reason::COMPRESSION_ERROR),
        ] {
            let bytes = [&good[..], &bad].concat();
            for piece in [1, 7, bytes.len()] {
                let mut meter = meter(now);
                let mut found = None;
                for (number, bytes) in bytes.chunks(piece).enumerate() {
                    if let Err((offence, before)) = meter.count(bytes, now) {
                        found = Some((offence, number * piece + before));
                        break;
                    }
                }
                let (offence, before) = found.expect("an offence");
                assert_eq!(offence, Offence::Violation(reason), "{bad:?}");
                // What came in earlier pieces was passed on.
                assert!(before >= good.len() && before < bytes.len(), "{bad:?} {piece}");
                assert!(piece < bytes.len() || before == good.len(), "{bad:?}");
            }
        }
    }
}
