//! Sockets: accepting, reading, writing and waiting, without Python.
//!
//! - [`listener`] binds addresses and accepts, with [`bind_options`], [`socket_file`] handles the
//!   file of a unix socket,
//! - [`nonblocking`] accepts from a listener that another process may have made blocking,
//! - [`syn_filter`] keeps a listener from accepting further handshakes,
//! - [`forked`] takes the listeners away from processes that the application forks,
//! - [`connection`] is one client: its protocol state, its unparsed input, its unsent output,
//! - [`address`] names the two ends of a connection,
//! - [`body`] collects a request's content in memory or in a temporary file,
//! - [`logged`] is what the access log shows, [`mod@trace`] has ids of requests and their phases,
//! - [`limit_options`] names the option whose limit a request exceeds,
//! - [`mod@hand_over`] passes connections between workers,
//! - [`loader`] waits for the disks of files that are not in memory,
//! - [`memory_budget`] counts what all connections hold,
//! - [`output_queue`] holds unsent bytes in their order and sends them without blocking,
//! - [`read_half`] is the reading half of a connection whose request reads its content as it
//!   arrives, [`streaming`] lends it,
//! - [`write_half`] is the writing half of a connection, shared by the thread that makes the
//!   response and the poller,
//! - [`taken`] connections belong to the application, [`relay`] relays for those over TLS,
//! - [`response_spool`] moves unsent output to temporary files, which are [`segment`]s,
//! - [`write_pace`] decides when a client reads too slowly,
//! - [`transport`] is the byte stream below these, [`tls`] the sessions over it, [`sending`] how
//!   both send, [`read_buffer`] is what the poller reads into,
//! - [`http2`] is the protocol of that name, by streams of which each is a transport,
//! - [`service`] is what a listener does: plain HTTP, HTTPS, or redirects; [`services`] assigns it,
//! - [`deadlines`] decides when a connection times out, [`timers`] holds deadlines, [`date`]
//!   formats the time of day,
//! - [`arena`] stores connections by their ids,
//! - [`poller`] is the event loop that drives all connections, [`poller_link`] is its interface to
//!   them,
//! - [`shutdown`] is the stage of the shutdown,
//! - [`tuning`] has the constants.

mod address;
mod arena;
mod bind_options;
mod body;
mod census;
mod connection;
mod date;
mod deadlines;
mod forked;
mod hand_over;
mod http2;
mod limit_options;
mod listener;
mod loader;
mod logged;
mod memory_budget;
mod nonblocking;
mod output_queue;
mod parsed;
mod poller;
mod poller_link;
mod proxied;
mod read_buffer;
mod read_half;
mod relay;
mod response_spool;
mod segment;
mod sending;
mod service;
mod services;
mod shutdown;
mod socket_file;
mod streaming;
mod syn_filter;
mod taken;
mod timers;
mod tls;
mod trace;
mod transport;
mod tuning;
mod waiting;
mod write_half;
mod write_pace;

pub use crate::sys::clock::Moment;
#[cfg(fuzzing)]
pub use crate::sys::clock::{advance, now};
pub use address::{Local, Peer};
pub use bind_options::BindOptions;
pub use body::Body;
pub use census::Census;
pub use connection::{Connection, Lent};
pub use date::HttpDate;
pub use forked::close_listeners_in_child;
pub use hand_over::{HandOver, Membership};
pub use listener::{Listener, bind, close_in_children, keep_in_children};
pub use output_queue::{Chunk, Flush, OutputQueue};
pub use poller::{Poller, PollerHandle, Verdict};
pub use read_half::{ReadError, ReadHalf, Until};
pub use services::assign_services;
pub use shutdown::Shutdown;
pub use socket_file::SocketFile;
pub use taken::{Taken, UpgradedRequest};
pub use tls::{Challenge, Challenges, Material, Renewal, TicketKeys, Tls, Variable};
pub use trace::SendingTime;
pub use tuning::SWEEP_INTERVAL;
pub use write_half::WriteHalf;
