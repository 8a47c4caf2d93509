//! `environ["rustwsgi.client_disconnected"]`: lets long work ask whether anybody still waits for it.

use std::sync::{Mutex, PoisonError, Weak};

use pyo3::prelude::*;

use super::exchange::Client;

/// Call it to learn whether the client has gone. One object serves request after request, unless an
/// application keeps it.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct ClientDisconnected {
    client: Mutex<Option<Weak<dyn Client>>>,
}

impl ClientDisconnected {
    pub(super) fn new() -> ClientDisconnected {
        ClientDisconnected { client: Mutex::new(None) }
    }

    /// From now on the question is about `client`.
    pub(super) fn watch(&self, client: Weak<dyn Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
    }
}

#[pymethods]
impl ClientDisconnected {
    /// True once the client has closed its side of the connection or the connection is lost.
    fn __call__(&self) -> bool {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        client.and_then(|client| client.upgrade()).is_none_or(|client| client.is_disconnected())
    }
}
