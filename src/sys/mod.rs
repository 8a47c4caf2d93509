//! What the operating system does for a process: signals, forks, descriptors, clocks, the end.
//!
//! The lowest layer, which imports nothing of ours. `unsafe` lives here, in `wsgi`, and in the embedding
//! binary, and nowhere else: a caller of this layer states what it wants, and the invariant that makes the
//! system call sound is written beside the call.
//!
//! - [`sigpipe`] writes without raising SIGPIPE.

pub(crate) mod sigpipe;
