//! The exception that ends a request which has run too long.

use pyo3::exceptions::PyBaseException;

pyo3::create_exception!(
    rustwsgi,
    RequestTimeout,
    PyBaseException,
    "Raised in the thread of a request that has run longer than --timeout allows.\n\n\
     Not an Exception, so that a loop that survives every error does not survive this one."
);
