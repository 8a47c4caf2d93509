//! What the operator sees: the error log and the access log.
//!
//! Everything here is written for the day things go wrong: a full disk, a closed stderr or a log
//! collector that has stopped reading may cost log lines, but never a request and never a thread.
//! The layer knows neither sockets nor Python; a request is described to it by [`Record`].
//!
//! - [`log`] is the error log,
//! - [`access_log`] gathers the lines of the access log, which [`mod@format`] and [`json`] make, with [`escape`],
//!   [`user`] and [`clock`],
//! - [`sink`] is the file or stream that a log is written to,
//! - [`counters`] says how often each bound was reached.

mod access_log;
mod clock;
mod counters;
mod escape;
mod format;
mod json;
mod log;
mod sink;
mod user;

pub use access_log::AccessLog;
pub use counters::{Count, Counters};
pub use format::{Format, FormatError, Record, known_atoms};
pub use log::{init, redirect, write_raw};
pub use sink::{LogTarget, Sink, open, remedy};
