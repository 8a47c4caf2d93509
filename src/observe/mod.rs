//! What the operator reads: the error log, the access log and the counters.
//!
//! A full disk, a closed stderr or a log collector that has stopped reading costs log lines, but
//! never a request and never a thread. The layer knows neither sockets nor Python; a [`Record`]
//! describes a request to it.
//!
//! - [`log`] is the error log, with [`colour`] on a terminal; [`held`] holds back the lines of a
//!   start,
//! - [`access_log`] buffers and writes the lines of the access log,
//! - [`mod@format`] and [`json`] format a line, with [`escape`], [`user`] and [`clock`],
//! - [`exclusion`] leaves out requests of the access log,
//! - [`sink`] is the file or stream that a log is written to,
//! - [`writer`] writes lines to a sink, and buffers those that it does not take,
//! - [`wording`] is the grammar of log lines,
//! - [`counters`] counts how often each limit was reached.

mod access_log;
mod clock;
mod colour;
mod counters;
mod escape;
mod exclusion;
mod format;
mod held;
mod json;
mod log;
mod sink;
mod user;
mod wording;
mod writer;

pub use access_log::AccessLog;
pub use counters::{Count, Counters};
pub use escape::escaped;
pub use exclusion::Exclusion;
pub use format::{AtomValue, Format, FormatError, Record, known_atoms};
pub use log::{
    finish, flush, forget_start, has_backlog, hold_line_of, hold_start, inherit_start, init,
    is_on_terminal, redirect, release_deadline, release_due, release_start, write_line, write_text,
};
pub use sink::{LogTarget, Sink, open, remedy};
pub use wording::{as_line, counted};
