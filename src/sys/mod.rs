//! The operating system: signals, forks, descriptors, clocks, the end of a process.
//!
//! The lowest layer, which imports no other. `unsafe` is allowed only here, in `wsgi` and in the
//! embedded binary (`unsafe_code` is denied elsewhere). Each unsafe call states the invariant that
//! makes it sound. Calls for which [`rustix`] or [`nix`] has a safe wrapper are not wrapped here.
//!
//! - [`signals`] blocks signals for a scope and chooses what SIGABRT does,
//! - [`sigpipe`] writes without raising SIGPIPE,
//! - `stack_signal` lets a thread write its stacks,
//! - [`process`] signals, reaps and ends processes, [`peer`] is one that has connected,
//! - [`fork`] registers the fork hooks of the whole server, [`at_fork`] those that C code needs
//!   too,
//! - [`descriptors`] adopts, duplicates and replaces raw descriptors,
//! - [`cpus`] counts the CPUs that may be used,
//! - [`limits`] raises the limit of open descriptors,
//! - [`heap`] lets the allocator keep freed memory,
//! - [`shared_memory`] is shared with forked processes, [`worker_table`] is what workers show to
//!   each other in it,
//! - [`nameless`] makes files without a name,
//! - [`helper`] forks a child that runs code of this server, [`confine`] takes rights from it,
//! - [`streams`] handles the standard streams,
//! - [`clock`] reads the monotonic clock and the time of day.

#[allow(unsafe_code, reason = "pthread_atfork has no safe wrapper")]
pub(crate) mod at_fork;
pub(crate) mod clock;
#[cfg(feature = "python")]
mod confine;
#[cfg(feature = "python")]
pub(crate) mod cpus;
#[allow(unsafe_code, reason = "a raw descriptor is a number: whose it is, the caller knows")]
pub(crate) mod descriptors;
#[cfg(feature = "python")]
pub(crate) mod fork;
#[cfg(test)]
pub(crate) mod fork_free;
#[cfg(feature = "python")]
pub(crate) mod heap;
#[cfg(feature = "python")]
#[allow(unsafe_code, reason = "a fork, and closing descriptors by number, have no safe wrapper")]
pub(crate) mod helper;
#[cfg(feature = "python")]
pub(crate) mod limits;
pub(crate) mod nameless;
#[allow(unsafe_code, reason = "no wrapper knows processes of another namespace")]
pub(crate) mod peer;
#[allow(unsafe_code, reason = "ending a process at once has no safe wrapper")]
pub(crate) mod process;
#[allow(unsafe_code, reason = "a shared mapping has no safe wrapper")]
pub(crate) mod shared_memory;
#[allow(
    unsafe_code,
    reason = "signal handlers, and which signals are pending, have no safe wrapper"
)]
pub(crate) mod signals;
pub(crate) mod sigpipe;
#[cfg(all(feature = "python", target_os = "linux"))]
#[allow(unsafe_code, reason = "signal handlers and native frames have no safe wrapper")]
pub(crate) mod stack_signal;
#[cfg(all(feature = "python", not(target_os = "linux")))]
#[path = "no_stack_signal.rs"]
pub(crate) mod stack_signal;
pub(crate) mod streams;
#[allow(unsafe_code, reason = "its rows are in shared memory")]
pub(crate) mod worker_table;
