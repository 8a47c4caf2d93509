//! The application's side of the server: PEP 3333. This is the only layer that runs Python code,
//! and it sees no sockets: it uses a connection through the trait [`Exchange`].
//!
//! One request is one call of [`Wsgi::serve`] ([`request`]):
//!
//! 1. [`environ`] makes a dict from the head of the request,
//! 2. the application is called with it and with `start_response` ([`start_response`]),
//! 3. [`iterable`] sends what the application returned, block by block; then `close()` is called.
//!
//! Each of them is a [`step`], which catches panics. [`response`] is the response in progress,
//! which these steps share, and [`block`] the `bytes` that it is made of. [`loader`] imports the
//! application, [`signature`] recognizes objects that are none, and [`application`] holds it with
//! its request hooks. [`input`], [`errors`], [`file_wrapper`] and [`client_disconnected`] are
//! objects in the environ, [`names`] makes its keys. [`mod@static_directories`] finds the static
//! files that the application's framework knows. [`thread_state`] and [`environ_cache`] hold the
//! objects that a thread keeps between requests, and [`forwarder`] knows the fields that only a
//! trusted proxy may set. [`failure`] ends responses that are incomplete, [`content_error`] has the
//! exceptions of a request body that cannot be read, and [`raw_connection`] gives the application
//! its connection. [`timeout`] interrupts a request, [`fork`] ends a forked process that returns to
//! the server, [`green_threads`] refuses applications that replace threads, [`access_logger`]
//! offers gunicorn's loggers, [`log_routing`] passes lines through them, [`traceback`] formats
//! exceptions, and [`stack`] and [`mod@python_stacks`] read the stacks of other threads. [`ffi`]
//! calls CPython where PyO3 has no safe function.

mod access_logger;
mod application;
mod block;
mod client_disconnected;
mod content_error;
mod early_hints;
mod environ;
mod environ_cache;
mod errors;
mod exchange;
mod failure;
#[allow(unsafe_code, reason = "PyO3 has no safe function for these calls of CPython")]
mod ffi;
mod file_wrapper;
mod fork;
mod forwarded;
mod forwarder;
mod green_threads;
mod input;
mod iterable;
mod loader;
mod log_routing;
mod names;
mod python_stacks;
mod raw_connection;
mod request;
mod response;
mod signature;
mod stack;
mod start_response;
mod static_directories;
mod step;
mod thread_state;
mod timeout;
mod traceback;

pub use access_logger::{AccessLogger, LoggedRequest, install_loggers, install_loggers_in_program};
pub use application::Application;
pub use block::take_deferred_drops;
pub use content_error::request_body_error;
pub use environ::ServerAddress;
pub use errors::Errors;
pub use exchange::{
    Client, Content, ContentError, ContentErrorCause, ContentStream, Exchange, TlsVariable, Until,
};
pub use ffi::is_attached;
pub use file_wrapper::FileWrapper;
pub use green_threads::green_threads_error;
pub use input::Input;
pub use loader::{LoadError, Loaded, load};
pub use log_routing::{configure_logging, route_logs, stop_routing};
pub use python_stacks::{
    CodeTable, PythonFrame, PythonThread, SwitchInterval, python_stacks, python_threads,
    stack_depth, thread_ident,
};
pub use raw_connection::{PreparedUpgrade, TakenSocket, UpgradeRefusal, Upgrader};
pub use request::{Outcome, Wsgi};
pub use response::{Ending, ResponseHandle, Takeover};
pub use signature::{Doubt, doubt};
pub use stack::{current_thread, read_stack};
pub use start_response::{Responder, Writer};
pub use static_directories::static_directories;
pub use thread_state::ThreadState;
pub use timeout::{RequestTimeout, raise_in_thread, withdraw_from_thread};
pub use traceback::format as format_exception;
