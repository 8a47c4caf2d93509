//! What one thread keeps from request to request: the objects it hands to the application, and its
//! memory.
//!
//! The objects are made once and serve every request, unless an application keeps one beyond its own
//! request: then it may have that one, and the thread gets a new one.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyAny;

use super::client::Disconnected;
use super::memory::Memory;
use super::reply::Reply;
use super::start_response::{Responder, Writer};
use crate::http1::ResponseHead;

/// What a thread serves requests with.
pub struct Seat {
    pub(super) callables: Callables,
    /// `rustwsgi.client_disconnected`
    pub(super) disconnected: Kept<Disconnected>,
    pub(super) memory: Memory,
    /// The head of the last response.
    pub(super) head: ResponseHead,
}

/// `start_response` and `write`, and the response they make.
pub(super) struct Callables {
    pub(super) reply: Arc<Reply>,
    responder: Kept<Responder>,
    /// The responder's bound method.
    pub(super) start_response: Kept<PyAny>,
    write: Kept<Writer>,
}

/// An object, and how many references there are to it while no application has one.
pub(super) struct Kept<T> {
    object: Py<T>,
    own: pyo3::ffi::Py_ssize_t,
}

impl Seat {
    /// What a thread needs to serve requests.
    pub fn new(py: Python<'_>) -> PyResult<Seat> {
        Ok(Seat {
            callables: Callables::new(py)?,
            disconnected: Kept::new(py, Py::new(py, Disconnected::new())?),
            memory: Memory::new(),
            head: ResponseHead::default(),
        })
    }

    /// The head of the response to the last request.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Leaves to an application what it has kept: a call that comes late must not reach the next request.
    /// Fails if there is no memory for new objects.
    pub(super) fn renew(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.callables.are_kept(py) {
            self.callables = Callables::new(py)?;
        }
        if self.disconnected.is_kept(py) {
            self.disconnected = Kept::new(py, Py::new(py, Disconnected::new())?);
        }
        Ok(())
    }
}

impl Callables {
    fn new(py: Python<'_>) -> PyResult<Callables> {
        let reply = Arc::new(Reply::new());
        let write = Py::new(py, Writer::new(reply.clone()))?;
        let responder = Bound::new(py, Responder::new(reply.clone(), write.clone_ref(py)))?;
        let start_response = responder.getattr(intern!(py, "start_response"))?.unbind();
        Ok(Callables {
            reply,
            responder: Kept::new(py, responder.unbind()),
            start_response: Kept::new(py, start_response),
            write: Kept::new(py, write),
        })
    }

    fn are_kept(&self, py: Python<'_>) -> bool {
        self.start_response.is_kept(py) || self.responder.is_kept(py) || self.write.is_kept(py)
    }
}

impl<T> Kept<T> {
    fn new(py: Python<'_>, object: Py<T>) -> Kept<T> {
        let mut kept = Kept { object, own: 0 };
        kept.own = kept.references(py);
        kept
    }

    fn references(&self, _py: Python<'_>) -> pyo3::ffi::Py_ssize_t {
        // SAFETY: the object is alive, owned by `self`, and `_py` proves that we are attached.
        unsafe { pyo3::ffi::Py_REFCNT(self.object.as_ptr()) }
    }

    fn is_kept(&self, py: Python<'_>) -> bool {
        self.references(py) != self.own
    }
}

impl<T> std::ops::Deref for Kept<T> {
    type Target = Py<T>;

    fn deref(&self) -> &Py<T> {
        &self.object
    }
}
