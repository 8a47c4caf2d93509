//! What one thread keeps from request to request: the objects it hands to the application, and its
//! environ_cache.
//!
//! The objects are made once and serve every request, unless an application keeps one beyond its own_references
//! request: then it may have that one, and the thread gets a new one. A weak reference keeps as well, as it may
//! become a strong one at any time; of these objects only the bound method can have any.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyAny;

use super::client_disconnected::ClientDisconnected;
use super::environ_cache::EnvironCache;
use super::response::Response;
use super::start_response::{Responder, Writer};
use crate::http1::ResponseHead;

/// What a thread serves requests with.
pub struct ThreadState {
    pub(super) callables: Callables,
    /// `rustwsgi.client_disconnected`
    pub(super) disconnected: Reusable<ClientDisconnected>,
    pub(super) environ_cache: EnvironCache,
    /// The head of the last response.
    pub(super) head: ResponseHead,
}

/// `start_response` and `write`, and the response they make.
pub(super) struct Callables {
    pub(super) response: Arc<Response>,
    responder: Reusable<Responder>,
    /// The responder's bound method.
    pub(super) start_response: Reusable<PyAny>,
    write: Reusable<Writer>,
}

/// An object, and how many references there are to it while no application has one.
pub(super) struct Reusable<T> {
    object: Py<T>,
    own_references: pyo3::ffi::Py_ssize_t,
}

/// The responses of all seats, so that another thread can tell what is being served. Nothing is noted for
/// each request: it is asked once, when a server gives up waiting.
#[derive(Default)]
pub(super) struct Responses(Mutex<Vec<Weak<Response>>>);

impl Responses {
    fn add(&self, response: &Arc<Response>) {
        let mut responses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        responses.retain(|response| response.strong_count() > 0);
        responses.push(Arc::downgrade(response));
    }

    /// The requests that the application is at, as the error log names them.
    pub(super) fn running(&self, py: Python<'_>) -> Vec<String> {
        let responses = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        responses.iter().filter_map(|response| response.upgrade()?.request(py)).collect()
    }
}

impl ThreadState {
    /// What a thread needs to serve requests.
    pub(super) fn new(py: Python<'_>, responses: &Responses) -> PyResult<ThreadState> {
        Ok(ThreadState {
            callables: Callables::new(py, responses)?,
            disconnected: Reusable::new(py, Py::new(py, ClientDisconnected::new())?),
            environ_cache: EnvironCache::new(),
            head: ResponseHead::default(),
        })
    }

    /// The head of the response to the last request.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Leaves to an application what it has reusable: a call that comes late must not reach the next request.
    /// Fails if there is no environ_cache for new objects.
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
            response,
            responder: Reusable::new(py, responder.unbind()),
            start_response: Reusable::new(py, start_response),
            write: Reusable::new(py, write),
        })
    }

    fn replace_retained(&mut self, py: Python<'_>, responses: &Responses) -> PyResult<()> {
        // Without a GIL another thread may turn a weak reference into a strong one and back while we look for
        // both. A method that is dropped takes its weak references along, and what has become strong
        // before that shows at the responder.
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
            || has_weak_references(self.start_response.bind(py))
            || self.responder.is_retained(py)
            || self.write.is_retained(py)
    }
}

fn bound_method(responder: &Bound<'_, Responder>) -> PyResult<Py<PyAny>> {
    Ok(responder.getattr(intern!(responder.py(), "start_response"))?.unbind())
}

/// As `weakref.getweakrefcount` would say, which costs a call.
fn has_weak_references(method: &Bound<'_, PyAny>) -> bool {
    use pyo3::ffi::{PyCFunction_Check, PyCFunctionObject};
    // SAFETY: the object is alive, we are attached, and an object of this type, which is checked, is laid
    // out like this.
    unsafe {
        let method = method.as_ptr();
        PyCFunction_Check(method) == 0
            || !(*method.cast::<PyCFunctionObject>()).m_weakreflist.is_null()
    }
}

impl<T> Reusable<T> {
    fn new(py: Python<'_>, object: Py<T>) -> Reusable<T> {
        let mut reusable = Reusable { object, own_references: 0 };
        reusable.own_references = reusable.reference_count(py);
        reusable
    }

    fn reference_count(&self, _py: Python<'_>) -> pyo3::ffi::Py_ssize_t {
        // SAFETY: the object is alive, owned by `self`, and `_py` proves that we are attached.
        unsafe { pyo3::ffi::Py_REFCNT(self.object.as_ptr()) }
    }

    fn is_retained(&self, py: Python<'_>) -> bool {
        self.reference_count(py) != self.own_references
    }
}

impl<T> std::ops::Deref for Reusable<T> {
    type Target = Py<T>;

    fn deref(&self) -> &Py<T> {
        &self.object
    }
}
