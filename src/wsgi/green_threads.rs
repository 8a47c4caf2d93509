//! Refuses to serve beside green threads in the place of Python's own.
//!
//! gevent and eventlet can replace `threading` by threads that one thread of the system runs in turn. A runner
//! would be one of those, and never let the others go on; and an application that counts on them has work
//! that nobody runs, and locks that only look like locks between real threads. So this is told at the
//! start.

use pyo3::prelude::*;

struct Library {
    /// The module that knows, and how it is asked.
    module: &'static str,
    question: &'static str,
    about: &'static str,
    /// How the replacing is written, and how it is written without threads.
    replaces: &'static str,
    spares: &'static str,
}

const LIBRARIES: [Library; 2] = [
    Library {
        module: "gevent.monkey",
        question: "is_module_patched",
        about: "threading",
        replaces: "gevent.monkey.patch_all()",
        spares: "patch_all(thread=False)",
    },
    Library {
        module: "eventlet.patcher",
        question: "is_monkey_patched",
        about: "thread",
        replaces: "eventlet.monkey_patch()",
        spares: "monkey_patch(thread=False)",
    },
];

/// A sentence, if somebody has replaced Python's threads.
pub fn green_threads_error(py: Python<'_>) -> Option<String> {
    let Library { replaces, spares, .. } =
        LIBRARIES.iter().find(|library| library.has_replaced(py).unwrap_or(false))?;
    Some(format!(
        "{replaces} has put green threads in the place of Python's own, and this server runs the \
         application on real ones: leave it out, or write {spares}"
    ))
}

impl Library {
    fn has_replaced(&self, py: Python<'_>) -> PyResult<bool> {
        // Only what is imported can have replaced anything.
        let modules = py.import("sys")?.getattr("modules")?;
        modules.get_item(self.module)?.call_method1(self.question, (self.about,))?.is_truthy()
    }
}
