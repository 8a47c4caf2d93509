//! Functions that the C library calls around each fork(2).
//!
//! Unlike the hooks of Python, see [`super::fork`], they also run when code in C forks. They do not
//! run around vfork(2) and posix_spawn(3), whose child calls exec at once.

use std::sync::OnceLock;

/// The functions.
struct Functions {
    before: fn(),
    in_parent: fn(),
    in_child: fn(),
}

static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

/// Has each fork from now on call these functions in the thread that forks: `before` it, then
/// `in_parent` and `in_child`. They must not panic. Call it once; a later call changes nothing.
pub(crate) fn register(before: fn(), in_parent: fn(), in_child: fn()) {
    if FUNCTIONS.set(Functions { before, in_parent, in_child }).is_ok() {
        // SAFETY: the three functions live as long as the process, which never unloads this code.
        // It fails only without memory; then nothing is called.
        unsafe {
            libc::pthread_atfork(Some(before_fork), Some(after_in_parent), Some(after_in_child))
        };
    }
}

extern "C" fn before_fork() {
    FUNCTIONS.get().into_iter().for_each(|functions| (functions.before)());
}

extern "C" fn after_in_parent() {
    FUNCTIONS.get().into_iter().for_each(|functions| (functions.in_parent)());
}

extern "C" fn after_in_child() {
    FUNCTIONS.get().into_iter().for_each(|functions| (functions.in_child)());
}
