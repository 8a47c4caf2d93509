//! Functions that the C library calls around each fork(2).
//!
//! Unlike the hooks of Python, see [`super::fork`], they also run when code in C forks. They do not
//! run around vfork(2) and posix_spawn(3), whose child calls exec at once.

use std::sync::{Once, OnceLock};

/// The functions.
struct Functions {
    before: fn(),
    in_parent: fn(),
    in_child: fn(),
}

/// Those of each caller, in the order of registration. Only read during a fork, without a lock.
static FUNCTIONS: [OnceLock<Functions>; 4] = [const { OnceLock::new() }; 4];

/// Has each fork from now on call these functions in the thread that forks: `before` it, then
/// `in_parent` and `in_child`. They must not panic. Each caller
/// registers once, and there is room for four.
pub(crate) fn register(before: fn(), in_parent: fn(), in_child: fn()) {
    static REGISTERED: Once = Once::new();
    let mut functions = Functions { before, in_parent, in_child };
    for place in &FUNCTIONS {
        match place.set(functions) {
            Ok(()) => break,
            Err(returned) => functions = returned,
        }
    }
    REGISTERED.call_once(|| {
        // SAFETY: the three functions live as long as the process, which never unloads this code.
        // It fails only without memory; then nothing is called.
        unsafe {
            libc::pthread_atfork(Some(before_fork), Some(after_in_parent), Some(after_in_child))
        };
    });
}

fn all() -> impl Iterator<Item = &'static Functions> {
    FUNCTIONS.iter().map_while(OnceLock::get)
}

extern "C" fn before_fork() {
    all().for_each(|functions| (functions.before)());
}

extern "C" fn after_in_parent() {
    all().for_each(|functions| (functions.in_parent)());
}

extern "C" fn after_in_child() {
    all().for_each(|functions| (functions.in_child)());
}
