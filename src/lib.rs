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
//!     acme               orders certificates                              (no Python)
//!     static_files       files by their URL: paths, conditions, ranges   (no Python, no sockets)
//!     control            the client of a running server: rustwsgi ctl     (no Python)
//!     config, observe    options -> settings; logs and counters
//! L0  http1              bytes <-> events: parser, framing, encoder      (no I/O, no clock)
//!     proxies            what proxies say of clients: fields, PROXY headers (no I/O)
//!     sync               locks and flags: those of std, or of the model checker
//!     sys                signals, forks, descriptors, clocks; most of the `unsafe` code
//! ```
//!
//! A reader new to WSGI starts with `docs/architecture.md`, then reads [`http1`], then `wsgi`.

pub mod acme;
#[cfg(feature = "python")]
pub mod cli;
pub mod config;
#[cfg_attr(
    not(feature = "python"),
    allow(dead_code, reason = "the other end of the protocol is a process of Python")
)]
pub mod control;
pub mod http1;
#[cfg(feature = "python")]
mod module;
pub mod net;
pub mod observe;
pub mod proxies;
pub mod static_files;
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
