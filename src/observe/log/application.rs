//! What the application writes to the error log: to `wsgi.errors`, and by its loggers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{LOGGER, WRITE_TIMEOUT, entry, write_record, write_routed};
use crate::observe::collector::syslog;
use crate::observe::entry::{Entry, TRACEBACK};
use crate::observe::{app_text, escape, request_scope, routed};

/// The event of lines of its loggers.
const MESSAGE_EVENT: &str = "app.message";

/// Writes text of the application to the error log, without a time or level, as data for
/// `wsgi.errors`. It cannot pass for a line of the server: see [`escape::lines`]. In JSON, each
/// line or traceback is an object. Before [`init`](super::init) it goes to standard error. Never
/// fails; what cannot be written is lost.
pub fn write_text(text: &str) {
    if (LOGGER.is_json() || syslog::is_open())
        && let Some(record) = app_text::add(text, write_record)
    {
        write_record(&record);
    }
    if !LOGGER.is_json() {
        write_raw(text);
    }
}

/// A line of an application's logger, or of a server's line that went through Python.
#[derive(Debug, Clone, Copy)]
pub struct AppLine<'a> {
    /// The event id.
    pub event: &'a str,
    /// The name of its level, which may be any.
    pub level: &'a str,
    /// The logger, if it is not the server's.
    pub logger: Option<&'a str>,
    /// The message.
    pub message: &'a str,
    /// The traceback, without the message.
    pub traceback: Option<&'a str>,
    /// The id of the request, if it is not that of the thread's.
    pub request_id: Option<&'a str>,
}

/// Writes a line of any level: the loggers of the application have levels of their own.
pub fn write_line(line: &AppLine<'_>) {
    if !LOGGER.is_open.load(Ordering::Acquire) {
        return;
    }
    let mut entry = entry(line.event, line.level, line.message);
    if let Some(id) = line.request_id {
        entry.request_id = Some(id.into());
    }
    let logger = line.logger.map(|logger| ("logger", logger));
    let traceback = line.traceback.map(|text| (TRACEBACK, text));
    for (name, text) in logger.into_iter().chain(traceback) {
        entry.fields.push((name.into(), text.into()));
    }
    LOGGER.emit(&entry);
    LOGGER.report(LOGGER.writer.write_with_timeout(WRITE_TIMEOUT));
}

/// Writes a line that a formatter of the application has made. In JSON it is the message.
pub fn write_formatted(level: &str, text: &str) {
    let entry = entry(MESSAGE_EVENT, level, text);
    match LOGGER.is_json() {
        true => append(&entry),
        false => write_raw(&format!("{text}\n")),
    }
    syslog::send_error(&entry);
}

fn append(entry: &Entry<'_>) {
    LOGGER.append(LOGGER.render(entry));
    LOGGER.report(LOGGER.writer.write_with_timeout(WRITE_TIMEOUT));
}

fn write_raw(text: &str) {
    let mut escaped = String::with_capacity(text.len());
    escape::lines(text, true, &mut escaped);
    LOGGER.append(request_scope::labelled(escaped));
    LOGGER.report(LOGGER.writer.write_with_timeout(WRITE_TIMEOUT));
}

/// Ends the routing of lines through Python, and gives it this time. The caller does not hold the
/// interpreter. Lines that are left are written as without Python.
pub fn end_routing(limit: Duration) {
    write_routed(&routed::end_within(limit));
}
