//! rustwsgi: a WSGI server that hosts Python applications by embedding CPython.
//!
//! The house has layers, and imports point downward only (`tests/layers.rs` reads the `use` lines and
//! proves it):
//!
//! ```text
//! L3  module, cli, bin      doors: the Python extension module, the command line, the embedded binary
//!     supervisor             processes: the master and its workers            (never imports wsgi)
//! L2  worker                 one process: joins net and wsgi; who polls, who runs
//! L1  net                    sockets, readiness loop, deadlines, output       (no Python)
//!     wsgi                   the only layer that touches Python               (no sockets)
//!     config, observe        options -> settings; logs
//! L0  http1                  bytes <-> events: parser, framing, encoder       (no I/O, no clock)
//!     sync                   locks and flags: std's, or the model checker's
//!     sys                    signals, forks, descriptors, clocks: the home of `unsafe`
//! ```
//!
//! A reader new to WSGI starts with `docs/architecture.md`, then [`http1`], then `wsgi`.

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
