//! `environ["rustwsgi.client_disconnected"]`: lets long work ask whether anybody still waits for it.

use std::sync::{Mutex, Weak};

use pyo3::prelude::*;

use super::exchange::Client;
use crate::sync::ignore_poison;

/// Call it to learn whether the client has gone. One object serves request after request, unless an
/// application keeps it.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Disconnected {
    client: Mutex<Option<Weak<dyn Client>>>,
}

impl Disconnected {
    pub(super) fn new() -> Disconnected {
        Disconnected { client: Mutex::new(None) }
    }

    /// From now on the question is about `client`.
    pub(super) fn watch(&self, client: Weak<dyn Client>) {
        *ignore_poison(self.client.lock()) = Some(client);
    }
}

#[pymethods]
impl Disconnected {
    /// True once the client has closed its side of the connection or the connection is lost.
    fn __call__(&self) -> bool {
        let client = ignore_poison(self.client.lock()).clone();
        client.and_then(|client| client.upgrade()).is_none_or(|client| client.has_left())
    }
}
