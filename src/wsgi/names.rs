//! Maps field names to environ keys: `Accept-Encoding` to `HTTP_ACCEPT_ENCODING`.
//!
//! Nearly every field that a client sends is one of a few dozen. Their keys are made once and
//! interned, so that an environ is built without hashing or allocating them.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::ffi::latin1;

/// The names that browsers, proxies and API clients send.
const COMMON: &[&str] = &[
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Method",
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Cookie",
    "DNT",
    "Date",
    "ETag",
    "Expect",
    "Forwarded",
    "From",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Max-Forwards",
    "Origin",
    "Pragma",
    "Priority",
    "Range",
    "Referer",
    "Sec-CH-UA",
    "Sec-CH-UA-Mobile",
    "Sec-CH-UA-Platform",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "Sec-Fetch-User",
    "Sec-GPC",
    "TE",
    "Traceparent",
    "Tracestate",
    "Upgrade",
    "Upgrade-Insecure-Requests",
    "User-Agent",
    "Via",
    "X-API-Key",
    "X-CSRF-Token",
    "X-CSRFToken",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "X-Request-ID",
    "X-Requested-With",
    "Content-Type",
    "Content-Length",
];

// A `u64` holds a set of them.
const _: () = assert!(COMMON.len() <= 64);

/// The table of common names.
#[derive(Debug)]
pub(super) struct Names {
    /// Indexed by the length of the name.
    by_length: Vec<Vec<CommonName>>,
}

#[derive(Debug)]
struct CommonName {
    name: &'static str,
    /// Its position in [`COMMON`].
    index: usize,
    key: Py<PyString>,
}

impl Names {
    /// How many common names there are, at most 64.
    pub(super) const COUNT: usize = COMMON.len();

    pub(super) fn new(py: Python<'_>) -> Names {
        let longest = COMMON.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut by_length = Vec::new();
        by_length.resize_with(longest + 1, Vec::new);
        for (index, &name) in COMMON.iter().enumerate() {
            let key = PyString::intern(py, &environ_key(name.as_bytes())).unbind();
            by_length[name.len()].push(CommonName { name, index, key });
        }
        Names { by_length }
    }

    /// The index of a common name, below [`Names::COUNT`], and its environ key.
    pub(super) fn find<'py>(
        &self,
        py: Python<'py>,
        name: &[u8],
    ) -> Option<(usize, &Bound<'py, PyString>)> {
        let same = self.by_length.get(name.len())?;
        let common =
            same.iter().find(|common| common.name.as_bytes().eq_ignore_ascii_case(name))?;
        Some((common.index, common.key.bind(py)))
    }

    /// Makes the environ key of any field name, which is a token without underscores.
    pub(super) fn make_key<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
        latin1(py, environ_key(name).as_bytes())
    }
}

/// CONTENT_TYPE and CONTENT_LENGTH have no prefix, as in CGI. [PEP 3333, "environ Variables"]
fn environ_key(name: &[u8]) -> String {
    let upper =
        name.iter().map(|&b| if b == b'-' { '_' } else { char::from(b.to_ascii_uppercase()) });
    let prefix = match name.len() {
        12 if name.eq_ignore_ascii_case(b"content-type") => "",
        14 if name.eq_ignore_ascii_case(b"content-length") => "",
        _ => "HTTP_",
    };
    prefix.chars().chain(upper).collect()
}
