//! `wsgi.errors`: a text stream into the error log. [PEP 3333, "Input and Error Streams"]

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyString};

use crate::observe;

/// What an application prints its troubles to. What it writes goes to the error log as it is, at
/// once, so `flush` has nothing to do.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Errors;

#[pymethods]
impl Errors {
    /// Writes a `str`; returns how many characters it has.
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        match text.to_str() {
            Ok(utf8) => observe::write_raw(utf8.as_bytes()),
            // Lone surrogates: show them rather than fail while an error is being reported.
            Err(_) => {
                let bytes = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
                observe::write_raw(bytes.extract::<&[u8]>()?);
            }
        }
        text.len()
    }

    /// Writes each `str` of an iterable.
    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    /// Does nothing: nothing is held back.
    fn flush(&self) {}
}
