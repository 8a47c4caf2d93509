//! What the operator sees: the error log and the access log.
//!
//! Everything here is written for the day things go wrong: a full disk, a closed stderr or a log
//! collector that has stopped reading may cost log lines, but never a request and never a thread.
//! The layer knows neither sockets nor Python; a request is described to it by [`Record`].

mod access_log;
mod clock;
mod counters;
mod escape;
mod format;
mod json;
pub mod log;
mod sink;
mod user;

pub use access_log::AccessLog;
pub use counters::{Count, Counters};
pub use format::{Format, FormatError, Record, known_atoms};
pub use log::{flush, init, reopen, write_raw};
pub use sink::LogTarget;
