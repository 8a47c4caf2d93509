//! What one thread keeps from request to request: the objects it hands to the application, and its
//! memory.
//!
//! The objects are made once and serve every request, unless an application keeps one beyond its own
//! request: then it may have that one, and the thread gets a new one. A weak reference keeps as well, as it may
//! become a strong one at any time; of these objects only the bound method can have any.

use std::sync::{Arc, Mutex, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyAny;

use super::client::Disconnected;
use super::memory::Memory;
use super::reply::Reply;
use super::start_response::{Responder, Writer};
use crate::http1::ResponseHead;
use crate::sync::ignore_poison;

/// What a thread serves requests with.
pub struct ThreadState {
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

/// The responses of all seats, so that another thread can tell what is being served. Nothing is noted for
/// each request: it is asked once, when a server gives up waiting.
#[derive(Default)]
pub(super) struct Replies(Mutex<Vec<Weak<Reply>>>);

impl Replies {
    fn add(&self, reply: &Arc<Reply>) {
        let mut replies = ignore_poison(self.0.lock());
        replies.retain(|reply| reply.strong_count() > 0);
        replies.push(Arc::downgrade(reply));
    }

    /// The requests that the application is at, as the error log names them.
    pub(super) fn running(&self, py: Python<'_>) -> Vec<String> {
        let replies = ignore_poison(self.0.lock()).clone();
        replies.iter().filter_map(|reply| reply.upgrade()?.request(py)).collect()
    }
}

impl ThreadState {
    /// What a thread needs to serve requests.
    pub(super) fn new(py: Python<'_>, replies: &Replies) -> PyResult<ThreadState> {
        Ok(ThreadState {
            callables: Callables::new(py, replies)?,
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
    pub(super) fn renew(&mut self, py: Python<'_>, replies: &Replies) -> PyResult<()> {
        self.callables.renew(py, replies)?;
        if self.disconnected.is_kept(py) {
            self.disconnected = Kept::new(py, Py::new(py, Disconnected::new())?);
        }
        Ok(())
    }
}

impl Callables {
    fn new(py: Python<'_>, replies: &Replies) -> PyResult<Callables> {
        let reply = Arc::new(Reply::new());
        replies.add(&reply);
        let write = Py::new(py, Writer::new(reply.clone()))?;
        let responder = Bound::new(py, Responder::new(reply.clone(), write.clone_ref(py)))?;
        let start_response = bound_method(&responder)?;
        Ok(Callables {
            reply,
            responder: Kept::new(py, responder.unbind()),
            start_response: Kept::new(py, start_response),
            write: Kept::new(py, write),
        })
    }

    fn renew(&mut self, py: Python<'_>, replies: &Replies) -> PyResult<()> {
        // Without a GIL another thread may turn a weak reference into a strong one and back while we look for
        // both. A method that is dropped takes its weak references along, and what has become strong
        // before that shows at the responder.
        if cfg!(Py_GIL_DISABLED) {
            self.start_response = Kept::new(py, bound_method(self.responder.bind(py))?);
        }
        if self.are_kept(py) {
            *self = Callables::new(py, replies)?;
        }
        Ok(())
    }

    fn are_kept(&self, py: Python<'_>) -> bool {
        self.start_response.is_kept(py)
            || has_weak_references(self.start_response.bind(py))
            || self.responder.is_kept(py)
            || self.write.is_kept(py)
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
