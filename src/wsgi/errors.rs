//! `wsgi.errors`: a text stream into the error log. [PEP 3333, "Input and Error Streams"]

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyString};

use crate::observe;

/// The stream in `environ["wsgi.errors"]`. It writes to the error log at once, without a prefix
/// and without buffering.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Errors;

#[pymethods]
impl Errors {
    /// Writes a `str`. Returns how many characters it has.
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        match text.to_str() {
            Ok(utf8) => observe::write_raw(utf8.as_bytes()),
            // Lone surrogates are escaped: to raise here would hide the error that is reported.
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

    /// Does nothing, as nothing is buffered.
    fn flush(&self) {}
}
