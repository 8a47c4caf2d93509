//! What is served: the application, and functions that a gunicorn configuration has called hooks each
//! request.

use log::error;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::{fork, traceback};
use crate::http1::ResponseHead;
use crate::observe;

/// The application, and what is called hooks it.
#[derive(Debug)]
pub struct Application {
    pub(super) callable: Py<PyAny>,
    pub(super) hooks: Option<RequestHooks>,
}

impl Application {
    /// `hooks` is an object of `rustwsgi._around`.
    pub fn new(callable: Py<PyAny>, hooks: Option<Py<PyAny>>) -> Application {
        Application { callable, hooks: hooks.map(RequestHooks) }
    }
}

impl From<Py<PyAny>> for Application {
    fn from(callable: Py<PyAny>) -> Application {
        Application::new(callable, None)
    }
}

/// What is called hooks a request.
#[derive(Debug)]
pub(super) struct RequestHooks(Py<PyAny>);

/// A request that something is called hooks.
pub(super) struct HookedRequest<'py> {
    request: Bound<'py, PyAny>,
    environ: Bound<'py, PyDict>,
}

impl RequestHooks {
    /// The request as gunicorn's functions know it.
    pub(super) fn request<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
    ) -> PyResult<HookedRequest<'py>> {
        let hooks = self.0.bind(environ.py());
        let request = hooks.call_method1(intern!(environ.py(), "request"), (environ,))?;
        Ok(HookedRequest { request, environ: environ.clone() })
    }

    /// Before the application is called. What it raises takes the application's place.
    pub(super) fn before(&self, hooked: &HookedRequest<'_>) -> PyResult<()> {
        let py = hooked.request.py();
        let called = self.0.bind(py).call_method1(intern!(py, "before"), (&hooked.request,));
        fork::exit_if_forked(py, called.as_ref().err());
        called.map(drop)
    }

    /// After all of it, `close()` included. `sent` is the length of the content. What it raises is logged.
    pub(super) fn after(&self, hooked: &HookedRequest<'_>, head: &ResponseHead, sent: u64) {
        let py = hooked.request.py();
        let call = || -> PyResult<()> {
            let fields = head
                .fields()
                .map(|(name, value)| (PyBytes::new(py, name), PyBytes::new(py, value)));
            let fields = PyList::new(py, fields.collect::<Vec<_>>())?;
            let line = PyBytes::new(py, head.line());
            let arguments = (&hooked.request, &hooked.environ, line, fields, sent);
            self.0.bind(py).call_method1(intern!(py, "after"), arguments).map(drop)
        };
        let called = call();
        fork::exit_if_forked(py, called.as_ref().err());
        if let Err(failure) = called {
            error!("the hook post_request failed");
            observe::write_raw(traceback::format(py, &failure).as_bytes());
        }
    }
}
