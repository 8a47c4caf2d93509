//! The WSGI application, and the hooks of a gunicorn configuration that run before and after each
//! request.

use log::error;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::{fork, traceback};
use crate::http1::ResponseHead;

/// A WSGI application and its request hooks.
#[derive(Debug)]
pub struct Application {
    /// Any callable that takes an environ and `start_response`.
    pub(super) callable: Py<PyAny>,
    pub(super) hooks: Option<RequestHooks>,
}

impl Application {
    /// `hooks` is a `RequestHooks` object of the Python module `rustwsgi._request_hooks`.
    pub fn new(callable: Py<PyAny>, hooks: Option<Py<PyAny>>) -> Application {
        Application { callable, hooks: hooks.map(RequestHooks) }
    }
}

impl From<Py<PyAny>> for Application {
    fn from(callable: Py<PyAny>) -> Application {
        Application::new(callable, None)
    }
}

/// gunicorn's `pre_request` and `post_request`.
#[derive(Debug)]
pub(super) struct RequestHooks(Py<PyAny>);

/// A request for which the hooks are called.
pub(super) struct HookedRequest<'py> {
    /// The request as gunicorn's hooks know it.
    request: Bound<'py, PyAny>,
    environ: Bound<'py, PyDict>,
}

impl RequestHooks {
    /// Makes the request object that the hooks are given.
    pub(super) fn make_request<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
    ) -> PyResult<HookedRequest<'py>> {
        let hooks = self.0.bind(environ.py());
        let request = hooks.call_method1(intern!(environ.py(), "make_request"), (environ,))?;
        Ok(HookedRequest { request, environ: environ.clone() })
    }

    /// Calls `pre_request`. If it raises, the application is not called and the request fails with
    /// that exception.
    pub(super) fn call_pre_request(&self, hooked: &HookedRequest<'_>) -> PyResult<()> {
        let py = hooked.request.py();
        let called = self.0.bind(py).call_method1(intern!(py, "pre_request"), (&hooked.request,));
        fork::exit_if_forked(py, called.as_ref().err());
        called.map(drop)
    }

    /// Calls `post_request`, after `close()`. An exception is logged. `sent_bytes` counts the
    /// content without its framing.
    pub(super) fn call_post_request(
        &self,
        hooked: &HookedRequest<'_>,
        head: &ResponseHead,
        sent_bytes: u64,
    ) {
        let py = hooked.request.py();
        let call = || -> PyResult<()> {
            let fields = head
                .fields()
                .map(|(name, value)| (PyBytes::new(py, name), PyBytes::new(py, value)));
            let fields = PyList::new(py, fields.collect::<Vec<_>>())?;
            let status = PyBytes::new(py, head.line());
            let arguments = (&hooked.request, &hooked.environ, status, fields, sent_bytes);
            self.0.bind(py).call_method1(intern!(py, "post_request"), arguments).map(drop)
        };
        let called = call();
        fork::exit_if_forked(py, called.as_ref().err());
        if let Err(error) = called {
            error!(
                target: "hook.failed",
                traceback = traceback::format(py, &error).as_str();
                "post_request raised an exception; the response was already sent"
            );
        }
    }
}
