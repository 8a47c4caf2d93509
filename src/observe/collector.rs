//! Collectors in the network or on this machine that get a copy of the logs, or counts: syslog and
//! statsd.
//!
//! No request waits for one. What is to be sent is put in an [`outbox`], which is bounded, and sent
//! without blocking: by the thread that logs an error, and for requests by the poller at the end of
//! its turn. While a collector is absent, or does not keep up, lines stay in the outbox; beyond its
//! bound they are dropped and counted. Each process has sockets of its own, which it opens when it
//! sends for the first time.

mod address;
mod link;
mod outbox;
pub(super) mod statsd;
pub(super) mod syslog;
mod transfer;

pub use address::{CollectorAddress, UnixKind};
pub use statsd::StatsdForm;
pub use syslog::{SyslogForm, facility, facility_name};

use std::sync::Once;
use std::time::{Duration, Instant};

use log::warn;

use crate::sys::at_fork;

/// How long the end of the process waits for collectors that do not keep up.
const FINISH_TIMEOUT: Duration = Duration::from_millis(200);

/// The collectors that the settings name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collectors {
    /// syslog, and the form of its messages.
    pub syslog: Option<(CollectorAddress, SyslogForm)>,
    /// statsd, and the form of its metrics.
    pub statsd: Option<(CollectorAddress, StatsdForm)>,
}

/// Sends to these collectors from now on. Looks up the addresses of their hosts, which may take as
/// long as the system's resolver does; later nothing is looked up.
pub fn send_to(collectors: &Collectors) {
    static REGISTERED: Once = Once::new();
    if collectors.syslog.is_some() || collectors.statsd.is_some() {
        REGISTERED.call_once(|| at_fork::register(hold_all, outbox::release_held, reset_all));
    }
    report_unresolved("syslog", "--log-syslog-to", syslog::OUTBOX.open(&collectors.syslog));
    report_unresolved("statsd", "--statsd-host", statsd::OUTBOX.open(&collectors.statsd));
}

fn report_unresolved(name: &str, option: &str, opened: Result<(), String>) {
    if let Err(why) = opened {
        warn!(
            target: "collector.unresolved",
            "{option}: {why}: nothing is sent to {name} until a reload finds it"
        );
    }
}

/// True while a collector does not take what was sent.
pub(super) fn has_backlog() -> bool {
    syslog::OUTBOX.has_backlog() || statsd::OUTBOX.has_backlog()
}

/// Sends what is buffered, as far as the collectors take it now.
#[inline]
pub(super) fn flush() {
    syslog::OUTBOX.flush();
    statsd::OUTBOX.flush();
}

/// The same, and gives collectors that are connected a moment, unless one has taken nothing for
/// that long before.
pub(super) fn finish() {
    let end = Instant::now() + FINISH_TIMEOUT;
    syslog::OUTBOX.finish(end, FINISH_TIMEOUT);
    statsd::OUTBOX.finish(end, FINISH_TIMEOUT);
}

fn hold_all() {
    syslog::OUTBOX.hold();
    statsd::OUTBOX.hold();
}

fn reset_all() {
    outbox::reset_held();
    syslog::OUTBOX.reset();
    statsd::OUTBOX.reset();
}
