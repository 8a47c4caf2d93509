//! Sockets: accepting, reading, writing and waiting, without Python.
//!
//! - [`listener`] binds addresses and accepts, [`socket_file`] minds the file of a unix socket,
//! - [`forked`] takes the listeners from processes that the application forks,
//! - [`connection`] is one client: its protocol state, what it sent, what it is owed,
//! - [`body`] gathers a request's content in memory or in a temporary file,
//! - [`memory_budget`] is the account of what all of them hold,
//! - [`output_queue`] holds what is to be sent, in its order, and sends it without blocking,
//! - [`write_half`] is the writing half of a socket, shared by whoever has bytes for it,
//! - [`timers`] remembers deadlines,
//! - [`date`] is the time of day,
//! - [`poller`] is the readiness loop that drives them all.

mod body;
mod connection;
mod date;
mod forked;
mod listener;
mod memory_budget;
mod output_queue;
mod poller;
mod socket_file;
mod timers;
mod write_half;

#[cfg(fuzzing)]
pub use crate::sys::clock::{advance, now};
pub use body::Body;
pub use connection::{Connection, Peer};
pub use date::HttpDate;
pub use forked::{close_in_children, close_listeners_in_child, keep_in_children};
pub use listener::{Listener, Local, bind};
pub use output_queue::{Chunk, Flush, OutputQueue};
pub use poller::{Poller, PollerHandle, SWEEP_INTERVAL, Verdict};
pub use write_half::WriteHalf;
