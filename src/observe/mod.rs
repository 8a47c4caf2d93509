//! What the operator reads: the error log, the access log and the counters.
//!
//! A full disk, a closed stderr or a log collector that has stopped reading costs log lines, but
//! never a request and never a thread. The layer knows neither sockets nor Python; a [`Record`]
//! describes a request to it.
//!
//! - [`log`] is the error log, whose messages are an [`entry`] each, with [`colour`] on a terminal;
//!   [`held`] holds back the lines of a start, [`app_text`] assembles those of the application,
//! - [`collector`] sends both logs to syslog, and counts to statsd; [`routed`] passes lines to
//!   Python,
//! - [`access_log`] buffers and writes the lines of the access log,
//! - [`mod@record`] is what a line shows of a request, and [`mod@trace`] of its trace,
//! - [`mod@format`] and [`json`] format a line, with [`escape`], [`user`] and [`clock`],
//! - [`request_scope`] is the request that a thread works for, whose id the error log shows,
//! - [`exclusion`] leaves out requests of the access log,
//! - [`sink`] is the file or stream that a log is written to,
//! - [`writer`] writes lines to a sink, and buffers those that it does not take,
//! - [`wording`] is the grammar of log lines,
//! - [`counters`] counts how often each limit was reached, [`lost_lines`] lines that were lost,
//! - [`shared_state`] is what a worker shows to the master: counters, histograms and requests.

mod access_log;
mod app_text;
mod clock;
mod collector;
mod colour;
mod counters;
mod entry;
mod escape;
mod exclusion;
mod format;
mod held;
mod json;
mod log;
mod lost_lines;
mod record;
mod request_scope;
mod routed;
pub mod shared_state;
mod sink;
mod trace;
mod user;
mod wording;
mod writer;

pub use access_log::{AccessLog, AccessOutputs};
pub use collector::statsd::{report_workers, send_metric};
pub use collector::{
    CollectorAddress, Collectors, StatsdForm, SyslogForm, UnixKind, facility, facility_name,
    send_to,
};
pub use counters::{Count, Counters, limit_names};
pub use escape::escaped;
pub use exclusion::Exclusion;
pub use format::{AtomValue, Format, FormatError, known_atoms};
pub use log::{
    AppLine, end_routing, finish, flush, flush_text, forget_start, has_backlog, hold_line_of,
    hold_start, inherit_start, init, is_on_terminal, redirect, release_deadline, release_due,
    release_start, set_json, text_of, write_formatted, write_line, write_text,
};
pub use lost_lines::{count_lost_lines_in, take_lost_lines};
pub use record::Record;
pub use request_scope::{RequestId, RequestScope, current_request_id};
pub use routed::{Routed, begin_routing, take_routed};
pub use shared_state::{ThreadRow, WorkerSlot, enter_phase};
pub use sink::{LogTarget, Sink, open, remedy};
pub use trace::{Phases, Trace, traceparent};
pub use wording::{as_line, counted};
