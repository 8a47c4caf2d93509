//! The hooks around Python's forks: one registration with `os.register_at_fork`, to which each part
//! of the server adds its hooks.
//!
//! The application may fork at any time. Its child inherits listening sockets, signal handlers and
//! a copy of the server, none of which it may use.

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

/// The hooks of one part of the server.
pub(crate) struct ForkHooks {
    /// In the parent, before it. Hooks run in reverse order of their registration.
    pub(crate) before: fn(),
    /// In the parent, after it.
    pub(crate) in_parent: fn(),
    /// In the child, which has one thread. An exception is reported on standard error and does not
    /// keep the other hooks from running.
    pub(crate) in_child: fn(Python<'_>) -> PyResult<()>,
}

/// A hook that does nothing.
pub(crate) fn nothing() {}

/// The hooks, in the order of their registration. No lock: another thread could hold it during a
/// fork.
static HOOKS: [OnceLock<&'static ForkHooks>; 4] = [const { OnceLock::new() }; 4];

fn hooks() -> impl DoubleEndedIterator<Item = &'static ForkHooks> {
    HOOKS.iter().filter_map(|slot| slot.get().copied())
}

/// Runs these hooks around each fork from now on. Registering the same ones again changes nothing.
pub(crate) fn register(py: Python<'_>, added: &'static ForkHooks) -> PyResult<()> {
    static REGISTERED: PyOnceLock<()> = PyOnceLock::new();
    REGISTERED.get_or_try_init(py, || register_with_python(py))?;
    let is_new =
        |slot: &&OnceLock<&'static ForkHooks>| std::ptr::eq(*slot.get_or_init(|| added), added);
    match HOOKS.iter().find(is_new) {
        Some(_) => Ok(()),
        None => Err(pyo3::exceptions::PyRuntimeError::new_err("too many fork hooks")),
    }
}

fn register_with_python(py: Python<'_>) -> PyResult<()> {
    let before = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        hooks().rev().for_each(|hooks| (hooks.before)());
    };
    let in_parent = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        hooks().for_each(|hooks| (hooks.in_parent)());
    };
    let in_child = |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let py = arguments.py();
        for hooks in hooks() {
            if let Err(failure) = (hooks.in_child)(py) {
                failure.write_unraisable(py, None);
            }
        }
    };
    let named = PyDict::new(py);
    named.set_item(
        "before",
        PyCFunction::new_closure(py, Some(c"rustwsgi_before_fork"), None, before)?,
    )?;
    named.set_item(
        "after_in_parent",
        PyCFunction::new_closure(py, Some(c"rustwsgi_in_parent"), None, in_parent)?,
    )?;
    named.set_item(
        "after_in_child",
        PyCFunction::new_closure(py, Some(c"rustwsgi_in_child"), None, in_child)?,
    )?;
    py.import("os")?.call_method("register_at_fork", (), Some(&named)).map(drop)
}
