//! One serving process: joins the network layer to the application.
//!
//! - [`scheduler`] is the thread policy: which thread polls, runs requests, or waits,
//! - [`dispatch`] carries out the roles of a thread, as far as that needs no Python,
//! - `worker_thread` attaches to the interpreter and serves requests,
//! - `main_thread` is the part of the process's main thread, which the control thread calls,
//! - `control_thread` is the thread on which the caller controls the server meanwhile,
//! - `python_thread` starts threads,
//! - `exchange` implements the WSGI layer's view of a connection,
//! - `forks` closes the listeners in processes that the application forks,
//! - `watch` ends requests that run longer than `--timeout`, as `request_stage` decides,
//! - `request_limit` notices that `--max-requests` have run,
//! - `slow_requests` logs those that run longer than `--slow-request`,
//! - `upgrade` lets requests take their connections, which are `upgraded` exchanges then,
//! - `threads` has all worker threads, `shown` shows the master what they do,
//! - `inspector` reads the stacks of the threads for `rustwsgi ctl`,
//! - `server` starts and stops the server.

#[cfg(feature = "python")]
mod control_thread;
pub mod dispatch;
#[cfg(feature = "python")]
mod exchange;
#[cfg(feature = "python")]
mod forks;
#[cfg(feature = "python")]
mod inspector;
#[cfg(feature = "python")]
mod main_thread;
#[cfg(test)]
#[cfg(shuttle)]
mod model;
#[cfg(feature = "python")]
mod python_thread;
#[cfg(feature = "python")]
mod request_limit;
#[cfg(any(feature = "python", test))]
mod request_stage;
pub mod scheduler;
#[cfg(feature = "python")]
mod server;
#[cfg(feature = "python")]
mod shown;
#[cfg(feature = "python")]
mod slow_requests;
#[cfg(feature = "python")]
mod threads;
#[cfg(feature = "python")]
mod upgrade;
#[cfg(feature = "python")]
mod upgraded;
#[cfg(feature = "python")]
mod watch;
#[cfg(feature = "python")]
mod worker_thread;

#[cfg(feature = "python")]
pub use crate::wsgi::Application;
#[cfg(feature = "python")]
pub use control_thread::ControlThread;
#[cfg(feature = "python")]
pub use forks::close_in_children;
#[cfg(feature = "python")]
pub use inspector::{Inspection, Inspector, KnownThreads};
#[cfg(feature = "python")]
pub use main_thread::{MainThread, MainThreadSignals};
#[cfg(feature = "python")]
pub use request_limit::RequestLimit;
#[cfg(feature = "python")]
pub use server::{GracefulEnd, Server, ServerParts, StartError, exit_now};
