//! Functions of a gunicorn configuration that are called at events. What they raise is logged; it ends
//! what gunicorn ends by it: the start of the server, or of a worker.

use log::error;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// The hooks of one configuration; none, if it was not a gunicorn one.
#[derive(Debug, Default)]
pub struct Hooks(pub Option<Py<PyAny>>);

impl Hooks {
    /// Calls one; an error is the exception's text. Without such a hook nothing happens.
    pub(super) fn try_call(&self, py: Python<'_>, name: &str, about: &[i64]) -> PyResult<()> {
        let Some(hooks) = &self.0 else { return Ok(()) };
        let name = PyString::new(py, name).into_any();
        let mut arguments = vec![name];
        for number in about {
            arguments.push(number.into_pyobject(py)?.into_any());
        }
        hooks.bind(py).call_method1("call", PyTuple::new(py, arguments)?)?;
        Ok(())
    }

    /// Calls one whose failure changes nothing.
    pub(super) fn call(&self, py: Python<'_>, name: &str, about: &[i64]) {
        if let Err(failure) = self.try_call(py, name, about) {
            error!("the hook {name} failed: {failure}");
        }
    }

    /// Has post_worker_init find the application as `worker.wsgi`, and takes what it has put there.
    pub(super) fn worker_init(&self, py: Python<'_>, app: Py<PyAny>) -> PyResult<Py<PyAny>> {
        let Some(hooks) = &self.0 else { return Ok(app) };
        Ok(hooks.bind(py).call_method1("worker_init", (app,))?.unbind())
    }

    /// Whether there is a post_worker_init; it may do that.
    pub fn may_replace_app(&self, py: Python<'_>) -> bool {
        let Some(hooks) = &self.0 else { return false };
        let has = hooks.bind(py).call_method1("has", ("post_worker_init",));
        has.is_ok_and(|has| has.is_truthy().unwrap_or(true))
    }

    /// What is called around each request, if anything is.
    pub(super) fn around(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(hooks) = &self.0 else { return Ok(None) };
        let around = hooks.bind(py).call_method0("around")?;
        Ok((!around.is_none()).then(|| around.unbind()))
    }

    /// Goes on with what other hooks have seen.
    pub(super) fn adopt(&self, py: Python<'_>, others: &Hooks) {
        if let (Some(ours), Some(others)) = (&self.0, &others.0) {
            let _ = ours.bind(py).call_method1("adopt", (others,));
        }
    }

    pub(super) fn share(&self, py: Python<'_>) -> Hooks {
        Hooks(self.0.as_ref().map(|hooks| hooks.clone_ref(py)))
    }
}
