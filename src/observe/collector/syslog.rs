//! Messages for syslog, in gunicorn's form: `<PRI>gunicorn.NAME.error: [PID] MESSAGE`.
//!
//! As with Python's handler, which gunicorn uses, there is neither a time nor a host: the collector
//! adds both [RFC 3164 section 4.3.3]. Unlike there, a message is one line, whatever the
//! application logs: a line feed is written `#012`, as rsyslog does.

use super::address::CollectorAddress;
use super::outbox::{Outbox, SEND_THRESHOLD_BYTES};
use crate::observe::entry::{Entry, bounded};
use crate::observe::escape;

/// A message is cut to this, with its prefix: collectors accept no longer ones by default
/// (rsyslog).
const MAX_MESSAGE_BYTES: usize = 8 * 1024;

pub(super) static OUTBOX: Outbox<SyslogForm> = Outbox::new("syslog");

/// What messages have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogForm {
    /// The name of the program, after `gunicorn.`.
    name: String,
    /// The facility's code.
    facility: u8,
    /// What ends a message: LF over TCP [RFC 6587 section 3.4.2], NUL elsewhere, as with Python's
    /// handler.
    end: u8,
}

/// The facilities, with their codes, by gunicorn's names. `security` is an old name.
const FACILITIES: [(&str, u8); 21] = [
    ("auth", 4),
    ("authpriv", 10),
    ("cron", 9),
    ("daemon", 3),
    ("ftp", 11),
    ("kern", 0),
    ("lpr", 6),
    ("mail", 2),
    ("news", 7),
    ("security", 4),
    ("syslog", 5),
    ("user", 1),
    ("uucp", 8),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The code of a facility, by its name.
///
/// # Errors
/// A sentence that names the facilities.
pub fn facility(name: &str) -> Result<u8, String> {
    let name = name.to_ascii_lowercase();
    let found = FACILITIES.iter().find(|(known, _)| *known == name);
    found.map(|(_, code)| *code).ok_or_else(|| {
        let known: Vec<_> = FACILITIES.iter().map(|(name, _)| *name).collect();
        format!("'{name}' is not a facility; write one of {}", known.join(", "))
    })
}

/// The name of a facility.
pub fn facility_name(code: u8) -> &'static str {
    FACILITIES.iter().find(|(_, known)| *known == code).map_or("user", |(name, _)| name)
}

impl SyslogForm {
    /// The form of messages to `address`: `name` is that of the program, without `gunicorn.`.
    pub fn new(name: &str, facility: u8, address: &CollectorAddress) -> SyslogForm {
        // gunicorn replaces colons, which end a tag [RFC 3164 section 4.1.3].
        let is_plain = |c: char| c.is_ascii_graphic() && c != ':';
        let name = name.chars().map(|c| if is_plain(c) { c } else { '.' }).collect();
        SyslogForm { name, facility, end: if address.is_tcp() { b'\n' } else { b'\0' } }
    }

    fn message(&self, severity: u8, log: &str, pid: u32, text: &str) -> Vec<u8> {
        let priority = self.facility * 8 + severity;
        let mut out = format!("<{priority}>gunicorn.{}.{log}: [{pid}] ", self.name);
        let room = MAX_MESSAGE_BYTES.saturating_sub(out.len());
        let mut escaped = String::with_capacity(text.len());
        escape::lines(text.trim_end_matches('\n'), false, &mut escaped);
        out.push_str(&bounded(&escaped.replace('\n', "#012"), room));
        let mut out = out.into_bytes();
        out.push(self.end);
        out
    }
}

/// Whether messages are sent to syslog.
pub(in crate::observe) fn is_open() -> bool {
    OUTBOX.is_open()
}

/// Sends a message of the error log.
pub(in crate::observe) fn send_error(entry: &Entry<'_>) {
    let Some(form) = OUTBOX.form() else { return };
    let mut text = entry.message.trim_end_matches('\n').to_owned();
    if let Some(traceback) = entry.traceback() {
        text.push('\n');
        text.push_str(traceback);
    }
    OUTBOX.push(form.message(severity(entry.level), "error", entry.pid, &text), None);
    OUTBOX.send_now();
}

/// Queues a line of the access log, and sends what is queued if `at_once`.
pub(in crate::observe) fn send_access(line: &str, at_once: bool) {
    let Some(form) = OUTBOX.form() else { return };
    let message = form.message(severity("INFO"), "access", std::process::id(), line);
    if OUTBOX.push(message, None) >= SEND_THRESHOLD_BYTES || at_once {
        OUTBOX.send_now();
    }
}

/// The severity of a level, as in Python's handler. [RFC 5424 section 6.2.1]
fn severity(level: &str) -> u8 {
    match level {
        "CRITICAL" => 2,
        "ERROR" => 3,
        "DEBUG" => 7,
        "INFO" => 6,
        // As there, also that of unknown levels.
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(address: &str) -> SyslogForm {
        let address = CollectorAddress::parse_syslog(address).unwrap();
        SyslogForm::new("shop:app", facility("local0").unwrap(), &address)
    }

    #[test]
    fn message_has_gunicorns_form() {
        let message = |address: &str| {
            let bytes = form(address).message(severity("ERROR"), "error", 7, "a\tb\nc\u{1b}\n");
            String::from_utf8(bytes).unwrap()
        };
        let text = "<131>gunicorn.shop.app.error: [7] a\tb#012c\\u{1b}";
        assert_eq!(message("udp://h:1"), format!("{text}\0"));
        assert_eq!(message("unix:///s#stream"), format!("{text}\0"));
        assert_eq!(message("tcp://h:1"), format!("{text}\n"));
    }

    #[test]
    fn long_message_is_cut() {
        let bytes = form("udp://h:1").message(6, "access", 7, &"\n".repeat(MAX_MESSAGE_BYTES));
        assert!(bytes.len() < MAX_MESSAGE_BYTES + 40);
    }

    #[test]
    fn facility_has_gunicorns_codes() {
        let cases = [("kern", 0), ("USER", 1), ("local7", 23), ("security", 4)];
        assert!(cases.iter().all(|&(name, code)| facility(name) == Ok(code)));
        assert!(facility("local8").unwrap_err().contains("local7"));
        assert_eq!((facility_name(4), facility_name(1)), ("auth", "user"));
    }
}
