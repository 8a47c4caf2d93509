//! `environ["rustwsgi.client_disconnected"]`: lets an application stop long work whose client has
//! disconnected.

use std::sync::{Mutex, Weak};

use pyo3::prelude::*;

use super::exchange::Client;
use crate::sync::ignore_poison;

/// A callable that says whether the client of the request has disconnected.
///
/// A thread uses one object for request after request. If an application keeps a reference beyond
/// its request, the thread makes a new object, and the old one keeps answering for its client.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct ClientDisconnected {
    client: Mutex<Option<Weak<dyn Client>>>,
}

impl ClientDisconnected {
    pub(super) fn new() -> ClientDisconnected {
        ClientDisconnected { client: Mutex::new(None) }
    }

    /// Makes the object answer for `client` from now on.
    pub(super) fn watch(&self, client: Weak<dyn Client>) {
        *ignore_poison(self.client.lock()) = Some(client);
    }
}

#[pymethods]
impl ClientDisconnected {
    /// True once the client has closed its side of the connection, or the connection is lost.
    fn __call__(&self) -> bool {
        let client = ignore_poison(self.client.lock()).clone();
        client.and_then(|client| client.upgrade()).is_none_or(|client| client.is_disconnected())
    }
}
