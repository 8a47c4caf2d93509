//! Writes what the proxies in front say of a request into its environ: `--forwarded-headers`, and
//! the TLS of a PROXY header. Except for the scheme that gunicorn's fields claim, they are parsed
//! already, and their sender is trusted.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::ffi::{latin1, latin1_bytes};
use crate::http1::Head;
use crate::proxies::{Forwarded, Host, Scheme};

/// Replaces the scheme, the host and the port of the URL.
#[cold]
pub(super) fn set_url(environ: &Bound<'_, PyDict>, forwarded: &Forwarded) -> PyResult<()> {
    let py = environ.py();
    if let Some(scheme) = forwarded.scheme {
        environ.set_item(intern!(py, "wsgi.url_scheme"), scheme_string(py, scheme))?;
    }
    let Forwarded { host, port, .. } = forwarded;
    if host.is_none() && port.is_none() {
        return Ok(());
    }
    let default_port = scheme(environ)?.default_port();
    if let Some(host) = host {
        environ.set_item(intern!(py, "SERVER_NAME"), &host.name)?;
    }
    // The Host field has the port that the client has connected to, and the proxy says another.
    let host = match host {
        Some(host) => Some(host.clone()),
        None => host_of(environ)?,
    };
    if let Some(Host { name, port: own }) = &host {
        // Browsers leave out the default port, and Django compares Host with their Origin.
        let shown = match port {
            Some(port) => Some(*port).filter(|&port| port != default_port),
            None => *own,
        };
        let text = shown.map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        environ.set_item(intern!(py, "HTTP_HOST"), text)?;
    }
    let port = port.or(host.and_then(|host| host.port)).unwrap_or(default_port);
    environ.set_item(intern!(py, "SERVER_PORT"), port.to_string())
}

/// The `str` of a scheme.
pub(super) fn scheme_string(py: Python<'_>, scheme: Scheme) -> &Bound<'_, PyString> {
    match scheme {
        Scheme::Http => intern!(py, "http"),
        Scheme::Https => intern!(py, "https"),
    }
}

fn scheme(environ: &Bound<'_, PyDict>) -> PyResult<Scheme> {
    let py = environ.py();
    let scheme = environ.get_item(intern!(py, "wsgi.url_scheme"))?;
    let is_https = scheme.is_some_and(|scheme| scheme.eq(intern!(py, "https")).unwrap_or(false));
    Ok(if is_https { Scheme::Https } else { Scheme::Http })
}

/// HTTP_HOST, if it is there.
fn host_of(environ: &Bound<'_, PyDict>) -> PyResult<Option<Host>> {
    let Some(host) = environ.get_item(intern!(environ.py(), "HTTP_HOST"))? else { return Ok(None) };
    let Ok(host) = host.cast_into::<PyString>() else { return Ok(None) };
    Ok(latin1_bytes(&host).and_then(Host::parse))
}

/// Sets SCRIPT_NAME to the prefix in the proxy's field.
#[cold]
pub(super) fn set_prefix(environ: &Bound<'_, PyDict>, prefix: &[u8]) -> PyResult<()> {
    let py = environ.py();
    environ.set_item(intern!(py, "SCRIPT_NAME"), latin1(py, prefix))
}

/// What is stripped from the path to make PATH_INFO.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prefix<'a> {
    /// SCRIPT_NAME, which each path begins with.
    Required(&'a [u8]),
    /// The prefix in a proxy's field. The proxy may have removed it from the path.
    Optional(&'a [u8]),
}

impl Prefix<'_> {
    pub(super) fn is_empty(self) -> bool {
        let (Prefix::Required(prefix) | Prefix::Optional(prefix)) = self;
        prefix.is_empty()
    }

    pub(super) fn strip(self, path: &[u8]) -> PyResult<&[u8]> {
        match self {
            Prefix::Required(prefix) => strip_script_name(prefix, path),
            Prefix::Optional(prefix) => Ok(without_prefix(prefix, path)),
        }
    }
}

/// PATH_INFO: the path without the prefix, if the proxy has left that there.
fn without_prefix<'a>(prefix: &[u8], path: &'a [u8]) -> &'a [u8] {
    match path.strip_prefix(prefix) {
        Some(rest) if matches!(rest, [] | [b'/', ..]) => rest,
        _ => path,
    }
}

/// PATH_INFO: the path without SCRIPT_NAME. A path that does not start with it means that a proxy
/// is misconfigured; gunicorn answers 500, too.
fn strip_script_name<'a>(prefix: &[u8], path: &'a [u8]) -> PyResult<&'a [u8]> {
    match path.strip_prefix(prefix) {
        Some(rest) if prefix.is_empty() || rest.is_empty() || rest[0] == b'/' => Ok(rest),
        // `OPTIONS *`
        _ if path.is_empty() => Ok(path),
        _ => Err(PyValueError::new_err(format!(
            "the path {:?} is not below SCRIPT_NAME, which is {:?}",
            String::from_utf8_lossy(path),
            String::from_utf8_lossy(prefix)
        ))),
    }
}

/// The scheme that the client has used, if a field of a proxy says so: `https` only if none
/// contradicts it. These are the fields of gunicorn's `secure_scheme_headers`.
pub(super) fn claimed_scheme(head: &Head) -> Option<Scheme> {
    let mut is_https = None;
    for (name, value) in head.fields() {
        let secure = match name.len() {
            15 if name.eq_ignore_ascii_case(b"x-forwarded-ssl") => &b"on"[..],
            17 if name.eq_ignore_ascii_case(b"x-forwarded-proto") => b"https",
            20 if name.eq_ignore_ascii_case(b"x-forwarded-protocol") => b"ssl",
            _ => continue,
        };
        is_https = Some(is_https.unwrap_or(true) && value.eq_ignore_ascii_case(secure));
    }
    is_https.map(|is_https| if is_https { Scheme::Https } else { Scheme::Http })
}
