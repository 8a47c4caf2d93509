//! The environ: a `dict` that describes the request to the application.
//! [PEP 3333, "environ Variables"; RFC 3875 section 4.1]
//!
//! A template for each listener holds the items that all its requests share; the rest comes from
//! the request head. [`super::environ_cache`] keeps environs by their heads, so that a client that
//! repeats its head costs one copy of a dict. Variables of `os.environ` are not copied in: a
//! variable HTTP_PROXY there must not look like a field that the client sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use percent_encoding::percent_decode;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::client_disconnected::ClientDisconnected;
use super::environ_cache::{CachedValue, EnvironCache};
use super::errors::Errors;
use super::exchange::{Content, Exchange};
use super::ffi::latin1;
use super::file_wrapper::FileWrapper;
use super::forwarder::Forwarder;
use super::input::Input;
use super::names::Names;
use crate::config::Settings;
use crate::http1::{Framing, Head, Version};

/// The address of one listener, as the environ names it.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// SERVER_NAME
    pub name: String,
    /// SERVER_PORT, in decimal
    pub port: String,
}

/// Builds environs.
#[derive(Debug)]
pub(super) struct EnvironBuilder {
    names: Names,
    /// Two for each listener: with `wsgi.multiprocess` False, and with it True.
    templates: Vec<Py<PyDict>>,
    /// Interned REQUEST_METHODs.
    methods: Vec<(&'static str, Py<PyString>)>,
    /// Has the proxies whose fields may set `wsgi.url_scheme`: `--forwarded-allow-ips`.
    settings: Arc<Settings>,
    /// The fields that these proxies may set, too.
    forwarder: Forwarder,
    /// True while other processes serve the application.
    multiprocess: Arc<AtomicBool>,
    /// SCRIPT_NAME, which is stripped from the path to make PATH_INFO.
    prefix: String,
}

impl EnvironBuilder {
    pub(super) fn new(
        py: Python<'_>,
        servers: &[ServerAddress],
        settings: &Arc<Settings>,
        multiprocess: Arc<AtomicBool>,
    ) -> PyResult<EnvironBuilder> {
        let errors = Py::new(py, Errors)?;
        // All requests without content use one stream: an empty stream has no state to share.
        let empty_input = Py::new(py, Input::new(Content::Empty))?;
        let mut templates = Vec::new();
        let multithread = settings.threads > 1;
        for (server, multiprocess) in
            servers.iter().flat_map(|server| [(server, false), (server, true)])
        {
            let template = PyDict::new(py);
            template.set_item(intern!(py, "SERVER_NAME"), latin1(py, server.name.as_bytes()))?;
            template.set_item(intern!(py, "SERVER_PORT"), &server.port)?;
            template.set_item(
                intern!(py, "SERVER_SOFTWARE"),
                concat!("rustwsgi/", env!("CARGO_PKG_VERSION")),
            )?;
            let prefix = latin1(py, settings.script_name.as_bytes());
            template.set_item(intern!(py, "SCRIPT_NAME"), prefix)?;
            template.set_item(intern!(py, "wsgi.version"), (1, 0))?;
            template.set_item(intern!(py, "wsgi.url_scheme"), "http")?;
            template.set_item(intern!(py, "wsgi.errors"), &errors)?;
            template.set_item(intern!(py, "wsgi.multithread"), multithread)?;
            template.set_item(intern!(py, "wsgi.multiprocess"), multiprocess)?;
            template.set_item(intern!(py, "wsgi.run_once"), false)?;
            template.set_item(intern!(py, "wsgi.input_terminated"), true)?;
            template.set_item(intern!(py, "wsgi.file_wrapper"), py.get_type::<FileWrapper>())?;
            template.set_item(intern!(py, "wsgi.input"), &empty_input)?;
            // Keys that every request sets. A dict of 22 entries has room for twenty more, so that
            // no copy of the template has to grow.
            for key in PER_REQUEST_KEYS {
                template.set_item(PyString::intern(py, key), "")?;
            }
            templates.push(template.unbind());
        }
        let methods = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]
            .map(|method| (method, PyString::intern(py, method).unbind()));
        Ok(EnvironBuilder {
            names: Names::new(py),
            templates,
            methods: methods.into(),
            settings: settings.clone(),
            forwarder: Forwarder::new(settings.clone()),
            multiprocess,
            prefix: settings.script_name.clone(),
        })
    }

    /// Builds the environ of the request in `exchange`, and moves the content of the request into
    /// its `wsgi.input`.
    pub(super) fn build<'py>(
        &self,
        py: Python<'py>,
        cache: &mut EnvironCache,
        exchange: &mut dyn Exchange,
        disconnected: &Py<ClientDisconnected>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let template = self.template(exchange.listener());
        let peer = exchange.peer();
        let content = exchange.take_content();
        let received = exchange.http().received_bytes();
        let head = exchange.http().head();
        let claims_https = claims_https(head);
        let is_forwarded =
            head.has_underscored() && self.forwarder.applies(peer.map(|peer| peer.ip()), head);
        // The same head of another client makes another environ.
        let cached = if is_forwarded { self.templates.len() + template } else { template };
        let environ = match cache.get(py, cached, head) {
            Some(environ) => environ.copy()?,
            None => {
                let environ = self.templates[template].bind(py).copy()?;
                let prefix = if is_forwarded { self.forwarder.script_name(head) } else { None };
                let prefix = prefix.as_deref().unwrap_or(self.prefix.as_bytes());
                self.add_request_line(py, &environ, cache, head, prefix)?;
                self.add_fields(py, &environ, cache, head)?;
                if is_forwarded {
                    self.forwarder.add_fields(&environ, head)?;
                }
                cache.insert_if_repeated(cached, head, &environ)?;
                environ
            }
        };
        if let Some(peer) = peer {
            environ.set_item(intern!(py, "REMOTE_ADDR"), cache.address(py, peer.ip()))?;
            let mut port = itoa::Buffer::new();
            let port = port.format(peer.port()).as_bytes();
            environ.set_item(intern!(py, "REMOTE_PORT"), latin1(py, port))?;
        }
        if claims_https && self.settings.trusts(peer.map(|peer| peer.ip())) {
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
        }
        if !matches!(content, Content::Empty) {
            environ.set_item(intern!(py, "wsgi.input"), Py::new(py, Input::new(content))?)?;
        }
        environ.set_item(intern!(py, "rustwsgi.client_disconnected"), disconnected)?;
        if exchange.http().head().framing() == Framing::Chunked {
            // The content is complete and decoded, so the environ describes a request that came
            // with a length. [RFC 9112 section 7.1.3]
            environ.set_item(intern!(py, "CONTENT_LENGTH"), received.to_string())?;
        }
        Ok(environ)
    }

    /// The index of the template for a request to this listener.
    ///
    /// `wsgi.multiprocess` "should evaluate true if an equivalent application object may be
    /// simultaneously invoked by another process". The number of workers changes while the server
    /// runs, so each request reads the flag. It is not always true to be safe: tools that keep
    /// their data in one process's memory (debug toolbars, metrics) refuse to work then. [PEP 3333,
    /// "environ Variables"]
    fn template(&self, listener: usize) -> usize {
        2 * listener + usize::from(self.multiprocess.load(Ordering::Relaxed))
    }

    fn add_request_line<'py>(
        &self,
        py: Python<'py>,
        environ: &Bound<'py, PyDict>,
        cache: &mut EnvironCache,
        head: &Head,
        prefix: &[u8],
    ) -> PyResult<()> {
        let method = head.method();
        match self.methods.iter().find(|(known, _)| known.as_bytes() == method) {
            Some((_, shared)) => environ.set_item(intern!(py, "REQUEST_METHOD"), shared)?,
            None => environ.set_item(intern!(py, "REQUEST_METHOD"), latin1(py, method))?,
        }
        let target = cache.value(py, CachedValue::Target, head.raw_target());
        environ.set_item(intern!(py, "RAW_URI"), &target)?;
        environ.set_item(intern!(py, "REQUEST_URI"), &target)?;
        let path = match head.path() {
            path if path == head.raw_target() && !path.contains(&b'%') && prefix.is_empty() => {
                target
            }
            path => {
                // %2F becomes a slash. An application that needs the difference uses RAW_URI.
                let path: std::borrow::Cow<'_, [u8]> = percent_decode(path).into();
                cache.value(py, CachedValue::Path, strip_script_name(prefix, &path)?)
            }
        };
        environ.set_item(intern!(py, "PATH_INFO"), path)?;
        if !head.query().is_empty() {
            let query = cache.value(py, CachedValue::Query, head.query());
            environ.set_item(intern!(py, "QUERY_STRING"), query)?;
        }
        let version = match head.version() {
            Version::Http11 => intern!(py, "HTTP/1.1"),
            Version::Http10 => intern!(py, "HTTP/1.0"),
        };
        environ.set_item(intern!(py, "SERVER_PROTOCOL"), version)
    }

    fn add_fields(
        &self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        cache: &mut EnvironCache,
        head: &Head,
    ) -> PyResult<()> {
        let chunked = head.framing() == Framing::Chunked;
        let host = intern!(py, "HTTP_HOST");
        // A set of the common names that have occurred, one bit each.
        let mut seen = 0u64;
        // The values of repeated fields by key, joined at the end: to join each to the ones before
        // it would copy those every time.
        let mut repetitions = None;
        for (name, value) in head.fields() {
            if is_hidden(name, chunked, head.authority().is_some()) {
                continue;
            }
            let made_key;
            let (key, value, repeated) = match self.names.find(py, name) {
                Some((index, key)) => {
                    let repeated = seen & (1 << index) != 0;
                    seen |= 1 << index;
                    (key, cache.value(py, CachedValue::Field(index), value), repeated)
                }
                None => {
                    made_key = Names::make_key(py, name);
                    let repeated = environ.contains(&made_key)?;
                    (&made_key, latin1(py, value), repeated)
                }
            };
            if repeated && let Some(first) = environ.get_item(key)? {
                let repetitions = repetitions.get_or_insert_with(|| PyDict::new(py));
                match repetitions.get_item(key)? {
                    Some(values) => values.cast::<PyList>()?.append(value)?,
                    None => repetitions.set_item(key, [first, value.into_any()])?,
                }
            } else {
                environ.set_item(key, value)?;
            }
        }
        // Repeated fields are joined by commas; Cookie's own syntax has semicolons.
        // [RFC 9110 section 5.3, RFC 6265 section 5.4]
        for (key, values) in repetitions.iter().flatten() {
            let is_cookie = key.eq(intern!(py, "HTTP_COOKIE"))?;
            let separator = if is_cookie { intern!(py, "; ") } else { intern!(py, ",") };
            environ.set_item(key, separator.call_method1(intern!(py, "join"), (values,))?)?;
        }
        if let Some(authority) = head.authority() {
            environ.set_item(host, latin1(py, authority))?;
        } else if head.field(b"host").is_none() {
            environ.del_item(host)?;
        }
        Ok(())
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

/// Keys of the template whose values are set for each request.
const PER_REQUEST_KEYS: [&str; 9] = [
    "REMOTE_ADDR",
    "REQUEST_METHOD",
    "RAW_URI",
    "REQUEST_URI",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "HTTP_HOST",
    "rustwsgi.client_disconnected",
];

/// True if a field of a proxy says that the client used https, and none contradicts it. These are
/// the fields of gunicorn's `secure_scheme_headers`.
fn claims_https(head: &Head) -> bool {
    let mut claims = None;
    for (name, value) in head.fields() {
        let secure = match name.len() {
            15 if name.eq_ignore_ascii_case(b"x-forwarded-ssl") => &b"on"[..],
            17 if name.eq_ignore_ascii_case(b"x-forwarded-proto") => b"https",
            20 if name.eq_ignore_ascii_case(b"x-forwarded-protocol") => b"ssl",
            _ => continue,
        };
        claims = Some(claims.unwrap_or(true) && value.eq_ignore_ascii_case(secure));
    }
    claims.unwrap_or(false)
}

/// True for fields that are not passed to the application. `Proxy` would become HTTP_PROXY, which
/// HTTP libraries read as their configuration (CVE-2016-5385). Transfer-Encoding and Trailer
/// describe a coding that the server has decoded. The authority of an absolute target replaces
/// Host.
fn is_hidden(name: &[u8], chunked: bool, absolute: bool) -> bool {
    match name.len() {
        4 => absolute && name.eq_ignore_ascii_case(b"host"),
        5 => name.eq_ignore_ascii_case(b"proxy"),
        7 => chunked && name.eq_ignore_ascii_case(b"trailer"),
        17 => chunked && name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}
