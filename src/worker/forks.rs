//! Joins Python's fork hooks to the listeners: see [`net::close_listeners_in_child`].

use pyo3::prelude::*;

use crate::net::{self, Listener};
use crate::sys::fork::{self, ForkHooks};

static HOOKS: ForkHooks = ForkHooks {
    before: fork::nothing,
    in_parent: fork::nothing,
    in_child: |_| {
        net::close_listeners_in_child();
        Ok(())
    },
};

/// Closes these listeners in processes that the application forks from now on.
pub fn close_in_children<'a>(
    py: Python<'_>,
    listeners: impl IntoIterator<Item = &'a Listener>,
) -> PyResult<()> {
    fork::register(py, &HOOKS)?;
    net::close_in_children(listeners);
    Ok(())
}
