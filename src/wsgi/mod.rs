//! The application's side of the server, as PEP 3333 has it. This is the only layer that touches
//! Python, and it never sees a socket: what it needs of a connection is the [`Exchange`] trait.
//!
//! One request is one call of [`Wsgi::serve`]:
//!
//! 1. [`environ`] turns the request's head into a dict,
//! 2. the application is called with it and with `start_response` ([`start_response`]),
//! 3. [`response`] iterates what the application returned, block by block, and calls `close()`.
//!
//! [`reply`] is the response in between, [`block`] what it is made of. [`app`] finds the application,
//! [`application`] is that and what is called around it; [`input`], [`errors`],
//! [`file_wrapper`] and [`client`] are the objects in the environ, [`names`] its keys and [`strings`] its
//! values; [`thread_state`] and [`memory`] are what a thread keeps from request to request. [`timeout`] ends a
//! request that has run too long, [`fork`] a process that the application has forked and that comes back
//! here; [`green`] refuses what cannot run on threads; [`traceback`] shows what an application raised.

mod app;
mod application;
#[allow(unsafe_code, reason = "CPython's own functions are faster, or have no safe wrapper")]
mod block;
mod client;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod fork;
mod green;
mod input;
mod memory;
mod names;
mod reply;
mod response;
mod start_response;
#[allow(unsafe_code, reason = "CPython's own functions are faster, or have no safe wrapper")]
mod strings;
#[allow(unsafe_code, reason = "CPython's own functions are faster, or have no safe wrapper")]
mod thread_state;
#[allow(unsafe_code, reason = "CPython's own functions are faster, or have no safe wrapper")]
mod timeout;
mod traceback;

pub use app::{LoadError, Loaded, load};
pub use application::Application;
pub use block::owes_memory;
pub use environ::ServerAddress;
pub use errors::Errors;
pub use exchange::{Client, Content, Exchange};
pub use file_wrapper::FileWrapper;
pub use green::green_threads;
pub use input::Input;
pub use response::{Outcome, Wsgi};
pub use start_response::{Responder, Writer};
pub use thread_state::ThreadState;
pub use timeout::{RequestTimeout, raise_in_thread, withdraw_from_thread};
pub use traceback::format as format_exception;
