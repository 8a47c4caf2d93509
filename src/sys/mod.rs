//! The operating system: signals, forks, descriptors, clocks, the end of a process.
//!
//! The lowest layer, which imports no other. `unsafe` is allowed only here, in `wsgi` and in the
//! embedded binary (`unsafe_code` is denied elsewhere). Each unsafe call states the invariant that
//! makes it sound. Calls for which [`rustix`] or [`nix`] has a safe wrapper are not wrapped here.
//!
//! - [`signals`] blocks signals for a scope and chooses what SIGABRT does,
//! - [`sigpipe`] writes without raising SIGPIPE,
//! - [`process`] signals, reaps and ends processes,
//! - [`fork`] registers the fork hooks of the whole server, [`at_fork`] those that C code needs
//!   too,
//! - [`descriptors`] adopts, duplicates and replaces raw descriptors,
//! - [`limits`] raises the limit of open descriptors,
//! - [`streams`] handles the standard streams,
//! - [`clock`] reads the monotonic clock and the time of day.

#[allow(unsafe_code, reason = "pthread_atfork has no safe wrapper")]
pub(crate) mod at_fork;
pub(crate) mod clock;
#[allow(unsafe_code, reason = "a raw descriptor is a number: whose it is, the caller knows")]
pub(crate) mod descriptors;
#[cfg(feature = "python")]
pub(crate) mod fork;
#[cfg(feature = "python")]
pub(crate) mod limits;
#[allow(unsafe_code, reason = "ending a process at once has no safe wrapper")]
pub(crate) mod process;
#[allow(
    unsafe_code,
    reason = "signal handlers, and which signals are pending, have no safe wrapper"
)]
pub(crate) mod signals;
pub(crate) mod sigpipe;
pub(crate) mod streams;
