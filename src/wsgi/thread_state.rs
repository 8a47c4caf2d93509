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
use super::early_hints::EarlyHints;
use super::environ::Templates;
use super::environ_cache::EnvironCache;
use super::ffi;
use super::raw_connection::Upgrader;
use super::response::{Response, ResponseHandle};
use super::start_response::{Responder, Writer};
use crate::http1::ResponseHead;
use crate::static_files::SendfileRoots;
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
    /// Gives requests their connections, if they may take them.
    pub(super) upgrader: Option<Arc<dyn Upgrader>>,
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
    /// `wsgi.early_hints`.
    pub(super) early_hints: Reusable<EarlyHints>,
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
pub(super) struct Responses {
    all: Mutex<Vec<Weak<Response>>>,
    /// The directories of `--sendfile-root`.
    sendfile: Option<Arc<SendfileRoots>>,
}

impl Responses {
    pub(super) fn new(sendfile: Option<SendfileRoots>) -> Responses {
        Responses { all: Mutex::default(), sendfile: sendfile.map(Arc::new) }
    }

    fn add(&self, response: &Arc<Response>) {
        let mut responses = ignore_poison(self.all.lock());
        responses.retain(|response| response.strong_count() > 0);
        responses.push(Arc::downgrade(response));
    }

    /// The requests that the application is processing, as the error log names them.
    pub(super) fn running(&self, py: Python<'_>) -> Vec<String> {
        let responses = ignore_poison(self.all.lock()).clone();
        responses.iter().filter_map(|response| response.upgrade()?.describe_request(py)).collect()
    }
}

impl ThreadState {
    /// Makes the objects, and registers the thread's response in `responses`.
    pub(super) fn new(
        py: Python<'_>,
        responses: &Responses,
        templates: Templates,
    ) -> PyResult<ThreadState> {
        let callables = Callables::new(py, responses)?;
        let disconnected = ClientDisconnected::new(callables.response.clone());
        Ok(ThreadState {
            callables,
            disconnected: Reusable::new(py, Py::new(py, disconnected)?),
            environ_cache: EnvironCache::new(templates),
            head: ResponseHead::default(),
            keeps_context: false,
            upgrader: None,
        })
    }

    /// Whether [`Outcome::context`](super::Outcome::context) is set. It costs the poller's chance
    /// to end a request whose last values are destroyed slowly, so set it only if the context is
    /// used.
    pub fn keep_context(&mut self, keeps_context: bool) {
        self.keeps_context = keeps_context;
    }

    /// Lets requests that ask for `Upgrade` take their connections.
    pub fn set_upgrader(&mut self, upgrader: Arc<dyn Upgrader>) {
        self.upgrader = Some(upgrader);
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
        self.callables.drop_weak_references(py)?;
        if self.callables.are_retained(py, self.environ_cache.environs()) {
            self.callables = Callables::new(py, responses)?;
            self.environ_cache.replace_early_hints(py, &self.callables.early_hints)?;
        }
        let response = &self.callables.response;
        if !self.disconnected.get().is_of(response) {
            let disconnected = Py::new(py, ClientDisconnected::new(response.clone()))?;
            self.disconnected = Reusable::new(py, disconnected);
            self.environ_cache.replace_disconnected(py, &self.disconnected)?;
        }
        Ok(())
    }

    /// Has `rustwsgi.client_disconnected` answer for the client of this request for ever if the
    /// application holds a reference to it. The cached environs do, too.
    pub(super) fn keep_client_if_retained(&self, py: Python<'_>) {
        if self.disconnected.extra_references(py) != self.environ_cache.environs() as isize {
            self.disconnected.get().keep_client(py);
        }
    }
}

impl Callables {
    fn new(py: Python<'_>, responses: &Responses) -> PyResult<Callables> {
        let response = Arc::new(Response::new(responses.sendfile.clone()));
        responses.add(&response);
        let write = Py::new(py, Writer::new(response.clone()))?;
        let early_hints = Py::new(py, EarlyHints::new(response.clone()))?;
        let responder = Bound::new(py, Responder::new(response.clone(), write.clone_ref(py)))?;
        let start_response = bound_method(&responder)?;
        Ok(Callables {
            handle: ResponseHandle(response.clone()),
            response,
            responder: Reusable::new(py, responder.unbind()),
            start_response: Reusable::new(py, start_response),
            write: Reusable::new(py, write),
            early_hints: Reusable::new(py, early_hints),
        })
    }

    /// Prepares for [`Callables::are_retained`]. Without a GIL another thread may turn a weak
    /// reference into a strong one and back between the two checks. Dropping the method first
    /// clears its weak references; one that became strong before that keeps the responder, which
    /// the check finds.
    fn drop_weak_references(&mut self, py: Python<'_>) -> PyResult<()> {
        if cfg!(Py_GIL_DISABLED) {
            self.start_response = Reusable::new(py, bound_method(self.responder.bind(py))?);
        }
        Ok(())
    }

    /// True if the application holds a reference to one of them. The cached environs hold one each
    /// to `wsgi.early_hints`.
    fn are_retained(&self, py: Python<'_>, cached_environs: usize) -> bool {
        self.start_response.is_retained(py)
            || ffi::has_weak_references(self.start_response.bind(py))
            || self.responder.is_retained(py)
            || self.write.is_retained(py)
            || self.early_hints.extra_references(py) != cached_environs as isize
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
        self.extra_references(py) != 0
    }

    /// How many references to the object there are beyond the first ones.
    fn extra_references(&self, py: Python<'_>) -> pyo3::ffi::Py_ssize_t {
        ffi::reference_count(py, &self.object) - self.own_references
    }
}

impl<T> std::ops::Deref for Reusable<T> {
    type Target = Py<T>;

    fn deref(&self) -> &Py<T> {
        &self.object
    }
}
