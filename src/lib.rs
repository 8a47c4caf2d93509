//! rustwsgi: a WSGI server that hosts Python applications by embedding CPython.
//!
//! The crate has layers, and each may import only layers below it. `tests/layers.rs` checks this by
//! reading the `use` declarations.
//!
//! ```text
//! L3  module, cli, bin   entry points: Python extension module, command line, embedded binary
//!     supervisor         processes: the master and its workers           (never imports wsgi)
//! L2  worker             one process: joins net and wsgi, assigns roles to threads
//! L1  net                sockets, event loop, timeouts, output           (no Python)
//!     wsgi               the only layer that runs Python code            (no sockets)
//!     config, observe    options -> settings; logs and counters
//! L0  http1              bytes <-> events: parser, framing, encoder      (no I/O, no clock)
//!     sync               locks and flags: those of std, or of the model checker
//!     sys                signals, forks, descriptors, clocks; most of the `unsafe` code
//! ```
//!
//! A reader new to WSGI starts with `docs/architecture.md`, then reads [`http1`], then `wsgi`.

#[cfg(feature = "python")]
pub mod cli;
pub mod config;
pub mod http1;
#[cfg(feature = "python")]
mod module;
pub mod net;
pub mod observe;
#[cfg(feature = "python")]
pub mod supervisor;
mod sync;
#[cfg_attr(
    not(feature = "python"),
    allow(dead_code, reason = "its callers are processes of Python")
)]
mod sys;
pub mod worker;
#[cfg(feature = "python")]
pub mod wsgi;

#[cfg(feature = "python")]
pub use module::_rustwsgi;
