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
//! objects in the environ, [`names`] makes its keys. [`thread_state`] and [`environ_cache`] hold
//! the objects that a thread keeps between requests, and [`forwarder`] knows the fields that only a
//! trusted proxy may set. [`content_error`] has the exceptions of a request body that cannot be
//! read. [`timeout`] interrupts a request, [`fork`] ends a forked process that returns to the
//! server, [`green_threads`] refuses applications that replace threads, [`access_logger`] offers
//! gunicorn's loggers, and [`traceback`] formats exceptions. [`ffi`] calls CPython where PyO3 has
//! no safe function.

mod access_logger;
mod application;
mod block;
mod client_disconnected;
mod content_error;
mod environ;
mod environ_cache;
mod errors;
mod exchange;
#[allow(unsafe_code, reason = "PyO3 has no safe function for these calls of CPython")]
mod ffi;
mod file_wrapper;
mod fork;
mod forwarder;
mod green_threads;
mod input;
mod iterable;
mod loader;
mod names;
mod request;
mod response;
mod signature;
mod start_response;
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
    Client, Content, ContentError, ContentErrorCause, ContentStream, Exchange, Until,
};
pub use file_wrapper::FileWrapper;
pub use green_threads::green_threads_error;
pub use input::Input;
pub use loader::{LoadError, Loaded, load};
pub use request::{Outcome, Wsgi};
pub use response::{Ending, ResponseHandle, Takeover};
pub use signature::{Doubt, doubt};
pub use start_response::{Responder, Writer};
pub use thread_state::ThreadState;
pub use timeout::{RequestTimeout, raise_in_thread, withdraw_from_thread};
pub use traceback::format as format_exception;
