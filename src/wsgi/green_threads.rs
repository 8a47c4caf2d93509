//! Refuses to start if gevent or eventlet has replaced Python's threads.
//!
//! Their monkey patches turn `threading` into green threads, which one system thread runs in turn.
//! A worker thread would be one of them and never yield to the others; and the application would
//! have green threads that nothing runs, and locks that do not exclude real threads. So the server
//! reports the patch at the start.

use pyo3::prelude::*;

/// A library that can replace `threading`.
struct Library {
    /// The module with a function that says whether `threading` is replaced,
    module: &'static str,
    /// the name of that function,
    predicate: &'static str,
    /// and its argument.
    argument: &'static str,
    /// The call that replaces threads, for the message.
    patch: &'static str,
    /// The call that leaves threads alone.
    patch_without_threads: &'static str,
}

const LIBRARIES: [Library; 2] = [
    Library {
        module: "gevent.monkey",
        predicate: "is_module_patched",
        argument: "threading",
        patch: "gevent.monkey.patch_all()",
        patch_without_threads: "patch_all(thread=False)",
    },
    Library {
        module: "eventlet.patcher",
        predicate: "is_monkey_patched",
        argument: "thread",
        patch: "eventlet.monkey_patch()",
        patch_without_threads: "monkey_patch(thread=False)",
    },
];

/// The error to report if a library has replaced Python's threads.
pub fn green_threads_error(py: Python<'_>) -> Option<String> {
    let Library { patch, patch_without_threads, .. } =
        LIBRARIES.iter().find(|library| library.is_patched(py).unwrap_or(false))?;
    Some(format!(
        "{patch} has replaced Python's threads by green threads, and this server runs the \
         application on real ones: remove the call, or write {patch_without_threads}"
    ))
}

impl Library {
    fn is_patched(&self, py: Python<'_>) -> PyResult<bool> {
        // Looked up without an import: a library that is not imported has replaced nothing.
        let modules = py.import("sys")?.getattr("modules")?;
        modules.get_item(self.module)?.call_method1(self.predicate, (self.argument,))?.is_truthy()
    }
}
