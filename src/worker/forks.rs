//! Joins Python's fork hooks to the listeners: see [`net::let_go_of_listeners`].

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict};

use crate::net::{self, Listener};

/// From now on processes that the application forks do not get these listeners.
pub fn keep_from_forks<'a>(
    py: Python<'_>,
    listeners: impl IntoIterator<Item = &'a Listener>,
) -> PyResult<()> {
    static REGISTERED: PyOnceLock<()> = PyOnceLock::new();
    let register = || {
        let let_go = PyCFunction::new_closure(py, Some(c"rustwsgi_let_go"), None, |_, _| {
            net::let_go_of_listeners();
        })?;
        let hooks = PyDict::new(py);
        hooks.set_item("after_in_child", let_go)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&hooks)).map(drop)
    };
    REGISTERED.get_or_try_init(py, register)?;
    net::keep_from_forks(listeners);
    Ok(())
}
