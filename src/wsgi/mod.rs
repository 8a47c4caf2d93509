//! The application's side of the server, as PEP 3333 has it. This is the only layer that touches
//! Python, and it never sees a socket: what it needs of a connection is the [`Exchange`] trait.
//!
//! One request is one call of [`Wsgi::serve`]:
//!
//! 1. [`environ`] turns the request's head into a dict,
//! 2. the application is called with it and with `start_response` ([`start_response`]),
//! 3. [`response`] iterates what the application returned, block by block, and calls `close()`.
//!
//! [`app`] finds the application, [`input`], [`errors`] and [`file_wrapper`] are the objects in the
//! environ.

mod app;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod input;
mod names;
mod response;
mod start_response;
mod strings;
mod timeout;
mod traceback;

pub use app::{LoadError, load};
pub use environ::ServerAddress;
pub use errors::Errors;
pub use exchange::{Addresses, Content, Exchange};
pub use file_wrapper::FileWrapper;
pub use input::Input;
pub use response::{Outcome, Seat, Wsgi};
pub use start_response::Responder;
pub use timeout::RequestTimeout;
pub use traceback::format as format_exception;
