//! `environ["rustwsgi.client_disconnected"]`: lets an application stop long work whose client has
//! disconnected.

use std::sync::{Arc, OnceLock, Weak};

use pyo3::prelude::*;

use super::exchange::Client;
use super::response::Response;

/// A callable that says whether the client of the request has disconnected.
///
/// A thread uses one object for request after request, which answers for the client of the thread's
/// response. If an application keeps a reference beyond its request, the thread makes a new object,
/// and the old one keeps answering for its client.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct ClientDisconnected {
    response: Arc<Response>,
    /// The client of the last request, if the application keeps this object.
    kept: OnceLock<Weak<dyn Client>>,
}

impl ClientDisconnected {
    pub(super) fn new(response: Arc<Response>) -> ClientDisconnected {
        ClientDisconnected { response, kept: OnceLock::new() }
    }

    /// True if the object answers for the next client of `response`.
    pub(super) fn is_of(&self, response: &Arc<Response>) -> bool {
        self.kept.get().is_none() && Arc::ptr_eq(&self.response, response)
    }

    /// Makes the object answer for the client of the current request for ever.
    pub(super) fn keep_client(&self, py: Python<'_>) {
        if let Some(client) = self.response.client(py) {
            let _ = self.kept.set(client);
        }
    }
}

#[pymethods]
impl ClientDisconnected {
    /// True once the client has closed its side of the connection, or the connection is lost.
    fn __call__(&self, py: Python<'_>) -> bool {
        let client = self.kept.get().cloned().or_else(|| self.response.client(py));
        client.and_then(|client| client.upgrade()).is_none_or(|client| client.is_disconnected())
    }
}
