//! Keeps the master from importing what the workers' user can change: the Python side is in
//! `rustwsgi._import_guard`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::path_trust::WorkerUsers;

/// Guards the imports of this process until it is removed.
#[derive(Debug, Default)]
pub struct ImportGuard(Option<Py<PyAny>>);

impl ImportGuard {
    /// Without users there is nothing to guard.
    ///
    /// # Errors
    /// If Python raises an exception. Imports are not guarded then.
    pub fn install(py: Python<'_>, users: &WorkerUsers) -> PyResult<ImportGuard> {
        if users.is_empty() {
            return Ok(ImportGuard(None));
        }
        let users = users.clone();
        let can_change = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (path,): (PathBuf,) = arguments.extract()?;
            PyResult::Ok(users.can_change(&path))
        };
        let can_change = PyCFunction::new_closure(py, None, None, can_change)?;
        let module = py.import("rustwsgi._import_guard")?;
        let guard = module.getattr("ImportGuard")?.call1((can_change,))?;
        guard.call_method0("install")?;
        Ok(ImportGuard(Some(guard.unbind())))
    }

    /// Allows all imports again.
    ///
    /// # Errors
    /// If Python raises an exception.
    pub fn remove(&mut self, py: Python<'_>) -> PyResult<()> {
        self.0.take().map_or(Ok(()), |guard| guard.bind(py).call_method0("remove").map(drop))
    }
}
