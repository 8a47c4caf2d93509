//! The objects that a worker thread keeps from request to request: the callables that it passes to
//! the application, and its environ cache.
//!
//! The callables are made once and used for every request, unless an application keeps a reference
//! to one beyond its own request: then the application keeps that object, and the thread makes a
//! new one. A weak reference counts as well, as it can become a strong one at any time; among these
//! objects only the bound method supports weak references.

use std::sync::{Arc, Mutex, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyAny;

use super::client_disconnected::ClientDisconnected;
use super::environ_cache::EnvironCache;
use super::ffi;
use super::response::{Response, ResponseHandle};
use super::start_response::{Responder, Writer};
use crate::http1::ResponseHead;
use crate::sync::ignore_poison;

/// The state of one worker thread.
pub struct ThreadState {
    pub(super) callables: Callables,
    /// `rustwsgi.client_disconnected`.
    pub(super) disconnected: Reusable<ClientDisconnected>,
    pub(super) environ_cache: EnvironCache,
    /// The head of the last response.
    pub(super) head: ResponseHead,
    /// A request's context is kept for the access log, whose filters read its values.
    pub(super) keeps_context: bool,
}

/// `start_response` and `write`, and the response that they act on.
pub(super) struct Callables {
    pub(super) response: Arc<Response>,
    /// The same, for the poller.
    handle: ResponseHandle,
    responder: Reusable<Responder>,
    /// The bound method `responder.start_response`.
    pub(super) start_response: Reusable<PyAny>,
    write: Reusable<Writer>,
}

/// An object that is used again for the next request unless the application has kept a reference.
pub(super) struct Reusable<T> {
    object: Py<T>,
    /// How many references there are while the application holds none.
    own_references: pyo3::ffi::Py_ssize_t,
}

/// The responses of all threads, for a report of the requests that are running. Requests do not
/// write to it: the report reads the responses, once, when a graceful shutdown has timed out.
#[derive(Default)]
pub(super) struct Responses(Mutex<Vec<Weak<Response>>>);

impl Responses {
    fn add(&self, response: &Arc<Response>) {
        let mut responses = ignore_poison(self.0.lock());
        responses.retain(|response| response.strong_count() > 0);
        responses.push(Arc::downgrade(response));
    }

    /// The requests that the application is processing, as the error log names them.
    pub(super) fn running(&self, py: Python<'_>) -> Vec<String> {
        let responses = ignore_poison(self.0.lock()).clone();
        responses.iter().filter_map(|response| response.upgrade()?.describe_request(py)).collect()
    }
}

impl ThreadState {
    /// Makes the objects, and registers the thread's response in `responses`.
    pub(super) fn new(py: Python<'_>, responses: &Responses) -> PyResult<ThreadState> {
        Ok(ThreadState {
            callables: Callables::new(py, responses)?,
            disconnected: Reusable::new(py, Py::new(py, ClientDisconnected::new())?),
            environ_cache: EnvironCache::new(),
            head: ResponseHead::default(),
            keeps_context: false,
        })
    }

    /// Whether [`Outcome::context`](super::Outcome::context) is set. It costs the poller's chance
    /// to end a request whose last values are destroyed slowly, so set it only if the context is
    /// used.
    pub fn keep_context(&mut self, keeps_context: bool) {
        self.keeps_context = keeps_context;
    }

    /// What [`ThreadState::keep_context`] has set.
    pub fn keeps_context(&self) -> bool {
        self.keeps_context
    }

    /// The head of the response to the last request.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// The response of the next request on this thread.
    pub fn response(&self) -> &ResponseHandle {
        &self.callables.handle
    }

    /// Replaces the objects that the application has kept a reference to, so that a late call of
    /// one cannot reach the next request. Fails if memory is short.
    pub(super) fn replace_retained(
        &mut self,
        py: Python<'_>,
        responses: &Responses,
    ) -> PyResult<()> {
        self.callables.replace_retained(py, responses)?;
        if self.disconnected.is_retained(py) {
            self.disconnected = Reusable::new(py, Py::new(py, ClientDisconnected::new())?);
        }
        Ok(())
    }
}

impl Callables {
    fn new(py: Python<'_>, responses: &Responses) -> PyResult<Callables> {
        let response = Arc::new(Response::new());
        responses.add(&response);
        let write = Py::new(py, Writer::new(response.clone()))?;
        let responder = Bound::new(py, Responder::new(response.clone(), write.clone_ref(py)))?;
        let start_response = bound_method(&responder)?;
        Ok(Callables {
            handle: ResponseHandle(response.clone()),
            response,
            responder: Reusable::new(py, responder.unbind()),
            start_response: Reusable::new(py, start_response),
            write: Reusable::new(py, write),
        })
    }

    fn replace_retained(&mut self, py: Python<'_>, responses: &Responses) -> PyResult<()> {
        // Without a GIL another thread may turn a weak reference into a strong one and back between
        // the two checks. Dropping the method first clears its weak references; one that became
        // strong before that keeps the responder, which the check finds.
        if cfg!(Py_GIL_DISABLED) {
            self.start_response = Reusable::new(py, bound_method(self.responder.bind(py))?);
        }
        if self.are_retained(py) {
            *self = Callables::new(py, responses)?;
        }
        Ok(())
    }

    fn are_retained(&self, py: Python<'_>) -> bool {
        self.start_response.is_retained(py)
            || ffi::has_weak_references(self.start_response.bind(py))
            || self.responder.is_retained(py)
            || self.write.is_retained(py)
    }
}

fn bound_method(responder: &Bound<'_, Responder>) -> PyResult<Py<PyAny>> {
    Ok(responder.getattr(intern!(responder.py(), "start_response"))?.unbind())
}

impl<T> Reusable<T> {
    fn new(py: Python<'_>, object: Py<T>) -> Reusable<T> {
        let own_references = ffi::reference_count(py, &object);
        Reusable { object, own_references }
    }

    /// True if the application holds a reference to the object.
    fn is_retained(&self, py: Python<'_>) -> bool {
        ffi::reference_count(py, &self.object) != self.own_references
    }
}

impl<T> std::ops::Deref for Reusable<T> {
    type Target = Py<T>;

    fn deref(&self) -> &Py<T> {
        &self.object
    }
}
