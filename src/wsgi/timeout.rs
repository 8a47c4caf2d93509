//! The exception by which the server interrupts a request that exceeds `--timeout`.

use pyo3::exceptions::PyBaseException;

pyo3::create_exception!(
    rustwsgi,
    RequestTimeout,
    PyBaseException,
    "Raised in the thread of a request that has run longer than --timeout allows.\n\n\
     It is not an Exception: a loop that catches every Exception and goes on does not catch it."
);
