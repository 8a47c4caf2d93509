//! What the operating system does for a process: signals, forks, descriptors, clocks, the end.
//!
//! The lowest layer, which imports nothing of ours. `unsafe` lives here, in `wsgi`, and in the
//! embedded binary, and nowhere else (`unsafe_code` is denied): a caller of this layer says what it
//! wants, and the invariant that makes the system call sound is written beside the call. Where
//! [`rustix`] or [`nix`] has a safe wrapper, there is none of ours.
//!
//! - [`signals`] blocks signals for a scope and chooses what SIGABRT does,
//! - [`sigpipe`] writes without raising SIGPIPE,
//! - [`process`] signals, reaps and ends processes,
//! - [`fork`] registers what has to happen around a fork, once for the whole server,
//! - [`descriptors`] adopts, duplicates and replaces raw descriptors,
//! - [`streams`] has the standard streams,
//! - [`clock`] has the steady clock and the time of day.

pub(crate) mod clock;
#[allow(unsafe_code, reason = "a raw descriptor is a number: whose it is, the caller knows")]
pub(crate) mod descriptors;
#[cfg(feature = "python")]
pub(crate) mod fork;
#[allow(unsafe_code, reason = "ending a process at once has no safe wrapper")]
pub(crate) mod process;
#[allow(
    unsafe_code,
    reason = "signal handlers, and which signals are pending, have no safe wrapper"
)]
pub(crate) mod signals;
pub(crate) mod sigpipe;
pub(crate) mod streams;
