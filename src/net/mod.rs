//! Sockets: accepting, reading, writing and waiting, without Python.
//!
//! - [`listener`] binds addresses and accepts, [`socket_file`] handles the file of a unix socket,
//! - [`nonblocking`] accepts from a listener that another process may have made blocking,
//! - [`syn_filter`] keeps a listener from accepting further handshakes,
//! - [`forked`] takes the listeners away from processes that the application forks,
//! - [`connection`] is one client: its protocol state, its unparsed input, its unsent output,
//! - [`address`] names the two ends of a connection,
//! - [`body`] collects a request's content in memory or in a temporary file,
//! - [`limit_options`] names the option whose limit a request exceeds,
//! - [`memory_budget`] counts what all connections hold,
//! - [`output_queue`] holds unsent bytes in their order and sends them without blocking,
//! - [`read_half`] is the reading half of a connection whose request reads its content as it
//!   arrives, [`streaming`] lends it,
//! - [`write_half`] is the writing half of a connection, shared by the thread that makes the
//!   response and the poller,
//! - [`response_spool`] moves unsent output to temporary files, which are [`segment`]s,
//! - [`write_pace`] decides when a client reads too slowly,
//! - [`transport`] is the byte stream below these,
//! - [`deadlines`] decides when a connection times out, [`timers`] holds deadlines, [`date`]
//!   formats the time of day,
//! - [`arena`] stores connections by their ids,
//! - [`poller`] is the event loop that drives all connections, [`poller_link`] is its interface to
//!   them,
//! - [`shutdown`] is the stage of the shutdown,
//! - [`tuning`] has the constants.

mod address;
mod arena;
mod body;
mod census;
mod connection;
mod date;
mod deadlines;
mod forked;
mod limit_options;
mod listener;
mod memory_budget;
mod nonblocking;
mod output_queue;
mod parsed;
mod poller;
mod poller_link;
mod read_half;
mod response_spool;
mod segment;
mod shutdown;
mod socket_file;
mod streaming;
mod syn_filter;
mod timers;
mod transport;
mod tuning;
mod waiting;
mod write_half;
mod write_pace;

#[cfg(fuzzing)]
pub use crate::sys::clock::{advance, now};
pub use address::{Local, Peer};
pub use body::Body;
pub use census::Census;
pub use connection::{Connection, Lent};
pub use date::HttpDate;
pub use forked::close_listeners_in_child;
pub use listener::{BindOptions, Listener, bind, close_in_children, keep_in_children};
pub use output_queue::{Chunk, Flush, OutputQueue};
pub use poller::{Poller, PollerHandle, Verdict};
pub use read_half::{ReadError, ReadHalf, Until};
pub use shutdown::Shutdown;
pub use tuning::SWEEP_INTERVAL;
pub use write_half::WriteHalf;
