//! The tuning constants of the network layer, each with its unit and its reason. Values that an
//! operator may want to change are options: see `config`.

use std::time::Duration;

// Reading

/// Bytes that one `read` takes at most. One buffer of this size serves all connections of a worker.
/// It has space for a body of 64 KiB, which many clients send at a time, and for its head.
pub(super) const READ_BUFFER: usize = 72 * 1024;
/// Bytes that the poller reads from one connection per turn, so that a fast upload does not keep
/// it from the other connections.
pub(super) const MAX_READ_PER_TURN: usize = 256 * 1024;
/// A buffer of unparsed bytes is not shrunk below this many bytes: a reallocation costs more than
/// they do.
pub(super) const MIN_INPUT_BUFFER: usize = 1024;

// TLS

/// Bytes of records that one `read` takes at most. Each thread that reads has one buffer.
pub(super) const CIPHERTEXT_BUFFER: usize = 64 * 1024;
/// Bytes of a record, or of a handshake message, that may wait for the rest. A record has 16 KiB at
/// most; certificates of clients may take several.
pub(super) const MAX_INCOMPLETE: usize = 64 * 1024;
/// Encrypted bytes that may wait for the socket. A block is encrypted only when those before it are
/// sent, so a slow reader holds no more than this beside its queue.
pub(super) const MAX_UNSENT: usize = 64 * 1024;
/// Bytes of a file that are read and encrypted at a time.
pub(super) const FILE_BLOCK: usize = 64 * 1024;

// HTTP/2

/// Bytes that the protocol may have ready for the socket. Large enough for one system call to carry
/// the responses of many streams.
pub(super) const HTTP2_OUTPUT: usize = 128 * 1024;
/// Bytes of a stream that the protocol takes from its response ahead of the socket.
pub(super) const HTTP2_SEND_BUFFER: usize = 64 * 1024;
/// Bytes that the protocol takes from all streams of a connection ahead of the socket. Another
/// stream waits, however many a client has opened; those that wait go on in turn.
pub(super) const HTTP2_TAKEN: usize = 256 * 1024;
/// Bytes of content that a client may send over all streams of a connection before some are stored.
pub(super) const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;
/// The largest window. [RFC 9113 section 6.9.1]
pub(super) const HTTP2_MAX_WINDOW: u32 = (1 << 31) - 1;
/// Streams that a client may open and reset within one read.
pub(super) const HTTP2_MAX_PENDING_RESETS: usize = 50;
/// Streams that the server resets because of what the client sends, before it ends the connection
/// (CVE-2025-8671).
pub(super) const HTTP2_MAX_SERVER_RESETS: usize = 100;
/// Bytes of a decoded head up to which the library answers with 431, at least.
pub(super) const HTTP2_MIN_DECODED_HEAD: u32 = 128 * 1024;
/// Times that the protocol and the streams are driven per turn, so that a fast client does not keep
/// the poller from other connections.
pub(super) const HTTP2_ROUNDS_PER_TURN: usize = 4;
/// How long a client may open further streams after it was asked not to, while the server stops:
/// the time of a few round trips.
pub(super) const HTTP2_GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

// Request bodies

/// Bytes of a body that wait in memory for an application that reads its body as it arrives, and
/// that are received before a response begins to see whether the body is complete.
pub(super) const READ_AHEAD: usize = 64 * 1024;
/// Content takes over the buffer that it was read into if it fills at least half of it. Smaller
/// content is copied, so that it does not hold memory which its client did not send.
pub(super) const MIN_ADOPTED: usize = READ_BUFFER / 2;
/// Memory that content of known length gets at first, if its client has sent less.
pub(super) const MIN_BODY_BUFFER: usize = 4 * 1024;
/// Space behind the content in its buffer. A read that leaves some of it free has emptied the
/// socket, which spares another read.
pub(super) const BODY_SLACK: usize = 256;
/// Bytes that are collected in memory before they are appended to a temporary file, so that a
/// client that sends byte by byte does not cost a system call for each.
pub(super) const SPOOL_BLOCK: usize = 64 * 1024;
/// Replaces [`SPOOL_BLOCK`] where a body may hold less than that in memory: the memory budget has
/// passed its soft limit, or `--body-buffer-size` is small.
pub(super) const SMALL_SPOOL_BLOCK: usize = 4 * 1024;
/// Bytes of a body that stay in memory while the memory budget has passed its soft limit. One
/// less than [`SMALL_SPOOL_BLOCK`], which selects the small block.
pub(super) const SMALL_BODY: usize = SMALL_SPOOL_BLOCK - 1;

// Writing

/// Small parts of a response (head, chunk sizes, short blocks) are copied together into buffers of
/// about this many bytes, so that they go out by one system call.
pub(super) const GATHER_BUFFER: usize = 64 * 1024;
/// A worker keeps this many buffers of small responses for the next ones...
pub(super) const MAX_RESPONSE_BUFFERS: usize = 64;
/// ...each with at most this many bytes.
pub(super) const MAX_RESPONSE_BUFFER_BYTES: usize = 4 * 1024;
/// Buffers of one `sendmsg`. More than a response has as a rule, and few enough for the stack.
pub(super) const MAX_SLICES: usize = 16;
/// Bytes that the poller sends to one connection per turn, so that a fast reader does not keep it
/// from the other connections.
pub(super) const MAX_WRITE_PER_TURN: u64 = 1 << 20;
/// A streamed response with this many unsent bytes is sent at once. Below it the poller's next turn
/// sends it, together with what the application adds until then.
pub(super) const FLUSH_THRESHOLD: usize = 64 * 1024;
/// An application that streams waits while more than this many bytes of memory are unsent.
pub(super) const HIGH_WATER_MARK: usize = 256 * 1024;
/// The same while the memory budget has passed its soft limit.
pub(super) const REDUCED_HIGH_WATER_MARK: usize = 32 * 1024;

/// A complete response with this many bytes in memory is large: its client waits for the copy of
/// the bytes, not for a turn of the poller.
pub(super) const LARGE_RESPONSE: usize = 256 * 1024;
/// Large responses that are written at a time to clients on the same machine. With half of it, or
/// twice as many, the server is no faster.
pub(super) const MAX_LARGE_WRITES: usize = 8;
/// Bytes of a large response that the kernel takes ahead of such a client; Linux doubles it. The
/// client reads them while the server writes to another one, and all fit into the caches.
pub(super) const LOCAL_SEND_BUFFER: usize = 256 * 1024;
/// A client that reads as fast as the server writes has its response within this time...
pub(super) const LARGE_WRITE_TIMEOUT: Duration = Duration::from_millis(10);
/// ...and after one that has not, large responses are not limited for this time. So slow readers
/// delay others for less than a tenth of the time.
pub(super) const SLOW_READER_PAUSE: Duration = Duration::from_millis(200);

// Static files

/// Requests for static files of one connection that a turn answers.
pub(super) const MAX_STATIC_PER_TURN: usize = 32;
/// Names whose files stay open until the end of a turn, with up to 64 KiB of each in memory.
pub(super) const MAX_STATIC_PREPARED: usize = 64;
/// Threads that wait for disks. Two, so that one hung file system leaves one for the others.
pub(super) const MAX_LOADERS: usize = 2;
/// Bytes behind a part that the kernel is asked to read as well, while the part is sent.
pub(super) const LOAD_AHEAD: u64 = 2 << 20;

// Response spool

/// A producer waits at least this long for its client before it moves output to a file...
pub(super) const FAST_CLIENT_WAIT: Duration = Duration::from_millis(20);
/// ...and longer while the client reads this many bytes in that time (32 MiB/s). So a response to a
/// fast client is not written to the disk. A slow client holds a thread for that time only once per
/// this many bytes.
pub(super) const FAST_CLIENT_BYTES: u64 = 640 * 1024;
/// A file that holds this many bytes is followed by another one, because its space is freed only
/// once all of it is sent. Large, because each file takes a descriptor.
pub(super) const SEGMENT_BYTES: u64 = 32 << 20;
/// How often a producer that waits looks whether there is space for its output in files again.
pub(super) const SPOOL_RETRY_INTERVAL: Duration = Duration::from_secs(1);

// Accepting

/// Connections that are accepted from one listener per turn, so that a burst of new clients does
/// not delay existing connections.
pub(super) const MAX_ACCEPT_PER_TURN: usize = 128;
/// How long accepting pauses without descriptors or memory, or at the connection limit. The
/// listener stays readable meanwhile, so to retry at once would spin.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a worker without a free thread leaves new connections to other workers. An idle one
/// accepts them at once; if none is idle, a wait in the kernel's accept queue is no worse than one
/// in ours.
pub(super) const YIELD_PAUSE: Duration = Duration::from_millis(100);

/// Replaces it while none of the threads begins a request: they are blocked, and may be stuck. What
/// such a worker accepts waits for them, although the others go on. It still accepts in the end, so
/// that `--queue-timeout` applies if all workers are blocked.
pub(super) const BLOCKED_PAUSE: Duration = Duration::from_secs(5);

// Closing

/// How long input is read and discarded before a close, so that the client gets the response before
/// the reset that unread input would cause. [RFC 9112 section 9.6]
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read and discarded in that time: more than the buffers of both kernels hold
/// (Linux has 6 and 4 MiB at most), so that a client that sends an upload without a pause has sent
/// some of them after the response reached it, and has had the time to see it.
pub(super) const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// Replaces [`LINGER_TIMEOUT`] while the server drains, for a client that has sent complete
/// requests and nothing more: its next request may cross the end of the connection. Any client
/// keeps this much of the time if its connection is closed for a new one.
pub(super) const DRAIN_LINGER_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a connection that has made no request yet may still make one while the server drains.
pub(super) const DRAIN_FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Replaces it with `--reload`, counted from the accept: a client sends its first request with the
/// connection, and a connection that a browser has opened in advance is of no use.
pub(super) const YIELD_FIRST_REQUEST_TIMEOUT: Duration = Duration::from_millis(20);

// Eviction

/// Connections that one search collects, so that not every eviction searches all of them.
pub(super) const EVICTION_BATCH: usize = 64;
/// How long no new search begins after one that has found no idle connection.
pub(super) const EVICTION_SEARCH_PAUSE: Duration = Duration::from_millis(100);
/// A client that has connected sends its request at once, as a rule. One that has sent nothing, or
/// no complete head, for this long may be evicted.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A request may be evicted if none of its content has arrived for this long. A mobile client that
/// changes its cell needs less time.
pub(super) const CONTENT_STALLED_AFTER: Duration = Duration::from_secs(5);
/// A response of which the client has read nothing for this long counts as stalled.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(1);
/// After memory was over its hard limit for this long, responses that are read slowly are aborted
/// as well.
pub(super) const MEMORY_SHORT_AFTER: Duration = Duration::from_secs(2);
/// How often responses are searched for stalled ones while memory is over its hard limit.
pub(super) const RELIEF_INTERVAL: Duration = Duration::from_millis(100);

// Overload

/// How often queued requests are checked for timeouts and disconnected clients.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// A client that shuts down its sending side together with its request may only announce that no
/// other follows. A client that does so this much later has given up.
pub(super) const HALF_CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Seconds after which a client that got a 503 may try again: the value of `Retry-After`.
pub(super) const RETRY_AFTER_SECONDS: &[u8] = b"5";

// The loop

/// Events that one poll returns at most.
pub(super) const MAX_EVENTS: usize = 256;
/// How often an idle poller tries to write log lines that a reader has not taken.
pub(super) const LOG_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Stale entries that the heap of deadlines may hold, besides four for each connection, before it
/// is compacted.
pub(super) const STALE_TIMERS: usize = 256;
