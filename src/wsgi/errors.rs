//! `wsgi.errors`: a text stream into the error log. [PEP 3333, "Input and Error Streams"]

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyString};

use crate::observe;

/// The stream in `environ["wsgi.errors"]`. It writes to the error log at once, without a prefix
/// and without buffering. A line that could pass for one of the server is indented. With
/// `--log-format json` and for syslog it waits for the end of the line, or of a traceback.
#[derive(Debug)]
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Errors;

#[pymethods]
impl Errors {
    /// Writes a `str`. Returns how many characters it has.
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        match text.to_str() {
            Ok(utf8) => observe::write_text(utf8),
            // Lone surrogates are escaped: to raise here would hide the error that is reported.
            Err(_) => {
                let bytes = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
                observe::write_text(&String::from_utf8_lossy(bytes.extract()?));
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

    /// Ends a line that waits for its end.
    fn flush(&self) {
        observe::flush_text();
    }
}
