//! The hooks of a gunicorn configuration: functions that are called at events. An exception is
//! logged, and ends the start of the server or of a worker if it does so in gunicorn.

use log::error;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// The hooks of one configuration; `None` if it is not one of gunicorn's.
#[derive(Debug, Default)]
pub struct Hooks(pub Option<Py<PyAny>>);

impl Hooks {
    /// Calls a hook with numbers, if it is defined.
    ///
    /// # Errors
    /// What the hook raises.
    pub(super) fn try_call(&self, py: Python<'_>, name: &str, numbers: &[i64]) -> PyResult<()> {
        let Some(hooks) = &self.0 else { return Ok(()) };
        let name = PyString::new(py, name).into_any();
        let mut arguments = vec![name];
        for number in numbers {
            arguments.push(number.into_pyobject(py)?.into_any());
        }
        hooks.bind(py).call_method1("call", PyTuple::new(py, arguments)?)?;
        Ok(())
    }

    /// Calls a hook. A failure is only logged.
    pub(super) fn call(&self, py: Python<'_>, name: &str, numbers: &[i64]) {
        if let Err(failure) = self.try_call(py, name, numbers) {
            error!(target: "hook.failed", "The hook {name} failed: {failure}");
        }
    }

    /// Calls post_worker_init, which may replace the application in `worker.wsgi`. Returns the
    /// application.
    pub(super) fn worker_init(&self, py: Python<'_>, app: Py<PyAny>) -> PyResult<Py<PyAny>> {
        let Some(hooks) = &self.0 else { return Ok(app) };
        Ok(hooks.bind(py).call_method1("worker_init", (app,))?.unbind())
    }

    /// Whether there is a post_worker_init, which may replace the application.
    pub fn may_replace_app(&self, py: Python<'_>) -> bool {
        let Some(hooks) = &self.0 else { return false };
        let has = hooks.bind(py).call_method1("has", ("post_worker_init",));
        has.is_ok_and(|has| has.is_truthy().unwrap_or(true))
    }

    /// The hooks that are called before and after each request, if there are any.
    pub(super) fn around_requests(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(hooks) = &self.0 else { return Ok(None) };
        let around = hooks.bind(py).call_method0("around")?;
        Ok((!around.is_none()).then(|| around.unbind()))
    }

    /// Takes over the counts of workers from the hooks of another configuration.
    pub(super) fn adopt(&self, py: Python<'_>, others: &Hooks) {
        if let (Some(ours), Some(others)) = (&self.0, &others.0) {
            let _ = ours.bind(py).call_method1("adopt", (others,));
        }
    }

    /// A second reference to the same hooks.
    pub(super) fn share(&self, py: Python<'_>) -> Hooks {
        Hooks(self.0.as_ref().map(|hooks| hooks.clone_ref(py)))
    }
}
