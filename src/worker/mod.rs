//! One process at work: joins the network layer to the application.
//!
//! - [`scheduler`] is the policy: who polls, who runs, who waits,
//! - [`dispatch`] is what a thread does with the role it is given, as far as that needs no Python,
//! - `runner` is the rest of it: having the interpreter, and serving a request,
//! - `exchange` shows a connection to the WSGI layer,
//! - `forks` keeps the listeners from processes that the application forks,
//! - `watch` knows what runs for how long,
//! - `server` starts and stops it all.

pub mod dispatch;
#[cfg(feature = "python")]
mod exchange;
#[cfg(feature = "python")]
mod forks;
#[cfg(test)]
#[cfg(shuttle)]
mod model;
pub mod scheduler;
#[cfg(feature = "python")]
mod server;
#[cfg(feature = "python")]
mod watch;
#[cfg(feature = "python")]
mod worker_thread;

#[cfg(feature = "python")]
pub use crate::wsgi::Application;
#[cfg(feature = "python")]
pub use forks::close_in_children;
#[cfg(feature = "python")]
pub use server::{Parts, Server, StartError, leave_now};
