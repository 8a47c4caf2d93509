//! The environ: a `dict` that describes the request to the application.
//! [PEP 3333, "environ Variables"; RFC 3875 section 4.1]
//!
//! A template for each listener holds the items that all its requests share; the rest comes from
//! the request head. Without a GIL each thread has its own templates, with objects of its own: a
//! copy changes the reference counts of all values, and only an object's own thread does that
//! without an atomic operation.
//!
//! [`super::environ_cache`] keeps environs by their heads, so that a client that repeats its head
//! costs one copy of a dict. Variables of `os.environ` are not copied in: a variable HTTP_PROXY
//! there must not look like a field that the client sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use percent_encoding::percent_decode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::client_disconnected::ClientDisconnected;
use super::early_hints::EarlyHints;
use super::environ_cache::{CachedValue, EnvironCache, HeadEnviron};
use super::errors::Errors;
use super::exchange::{Content, Exchange};
use super::ffi::latin1;
use super::file_wrapper::FileWrapper;
use super::forwarded::{self, Prefix, claimed_scheme, scheme_string};
use super::forwarder::Forwarder;
use super::input::Input;
use super::names::Names;
use crate::config::Settings;
use crate::http1::{Framing, Head, Version};
use crate::proxies::{Client, ForwardedFields, ProxyProtocol, Untrusted, is_forwarded_field};

/// The address of one listener, as the environ names it.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// SERVER_NAME
    pub name: String,
    /// SERVER_PORT, in decimal
    pub port: String,
    /// Whether its clients use TLS
    pub is_https: bool,
}

/// Two dicts for each listener: with `wsgi.multiprocess` False, and with it True.
pub(super) type Templates = Vec<Py<PyDict>>;

/// Builds environs.
#[derive(Debug)]
pub(super) struct EnvironBuilder {
    names: Names,
    /// The addresses of the listeners.
    servers: Vec<ServerAddress>,
    /// The templates of all threads, if there is a GIL.
    templates: Templates,
    /// Interned REQUEST_METHODs.
    methods: Vec<(&'static str, Py<PyString>)>,
    /// Has the proxies whose fields may set `wsgi.url_scheme`: `--forwarded-allow-ips`.
    settings: Arc<Settings>,
    /// The fields that these proxies may set, too.
    forwarder: Forwarder,
    /// The scheme is read from the fields of these proxies: the default `--forwarded-headers`.
    /// Otherwise [`Exchange::forwarded`] has it.
    claims_scheme: bool,
    /// [`Exchange::forwarded`] may have something.
    reads_forwarded: bool,
    /// Forwarded fields of other peers are left out.
    strips_untrusted: bool,
    /// True while other processes serve the application.
    multiprocess: Arc<AtomicBool>,
    /// The environ key of the field that holds request ids, if requests have ids.
    request_id_key: Option<Py<PyString>>,
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
        let templates = make_templates(py, servers, settings)?;
        let methods = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]
            .map(|method| (method, PyString::intern(py, method).unbind()));
        let id_field = settings.observability.request_id_header.as_ref();
        Ok(EnvironBuilder {
            names: Names::new(py),
            servers: servers.to_vec(),
            templates,
            methods: methods.into(),
            settings: settings.clone(),
            forwarder: Forwarder::new(settings.clone()),
            claims_scheme: settings.forwarded_headers == ForwardedFields::DEFAULT,
            reads_forwarded: settings.forwarded_headers != ForwardedFields::DEFAULT
                || settings.proxy_protocol != ProxyProtocol::Off,
            strips_untrusted: settings.forwarded_untrusted == Untrusted::Strip,
            multiprocess,
            request_id_key: id_field.map(|name| Names::make_key(py, name.as_bytes()).unbind()),
            prefix: settings.script_name.clone(),
        })
    }

    /// The templates for one thread: see the head of this file.
    pub(super) fn templates(&self, py: Python<'_>) -> PyResult<Templates> {
        if cfg!(Py_GIL_DISABLED) {
            return make_templates(py, &self.servers, &self.settings);
        }
        Ok(self.templates.iter().map(|template| template.clone_ref(py)).collect())
    }

    /// Builds the environ of the request in `exchange`, and moves the content of the request into
    /// its `wsgi.input`.
    pub(super) fn build<'py>(
        &self,
        py: Python<'py>,
        cache: &mut EnvironCache,
        exchange: &mut dyn Exchange,
        (disconnected, early_hints): (&Py<ClientDisconnected>, &Py<EarlyHints>),
    ) -> PyResult<Bound<'py, PyDict>> {
        let template = self.template(exchange.listener());
        let peer = exchange.peer();
        let peer_ip = peer.map(|peer| peer.ip());
        let forwarded = if self.reads_forwarded { exchange.forwarded() } else { None };
        let content = exchange.take_content();
        let received = exchange.http().received_bytes();
        let head = exchange.http().head();
        let is_forwarded = head.has_underscored() && self.forwarder.applies(peer_ip, head);
        let strips = self.strips_untrusted && !self.settings.trusts(peer_ip);
        let forwarded_prefix = forwarded.as_ref().and_then(|forwarded| forwarded.prefix.as_deref());
        // The same head of another peer makes another environ.
        let variant = usize::from(is_forwarded)
            + 2 * usize::from(strips)
            + 4 * usize::from(forwarded_prefix.is_some());
        let cached = cache.templates.len() * variant + template;
        let client = forwarded.as_ref().and_then(|forwarded| forwarded.client);
        let peer = || peer.map(|peer| Client { ip: peer.ip(), port: Some(peer.port()) });
        let client = client.or_else(peer);
        let ip = client.map(|client| client.ip);
        let made = match cache.get(py, cached, head, ip)? {
            Some(made) => made,
            None => {
                let environ = cache.templates[template].bind(py).copy()?;
                let prefix = if is_forwarded { self.forwarder.script_name(head) } else { None };
                let prefix = prefix.as_deref().unwrap_or(self.prefix.as_bytes());
                let prefix = match forwarded_prefix {
                    Some(prefix) => Prefix::Optional(prefix),
                    None => Prefix::Required(prefix),
                };
                self.add_request_line(py, &environ, cache, head, prefix)?;
                self.add_fields(py, &environ, cache, head, strips)?;
                if is_forwarded {
                    self.forwarder.add_fields(&environ, head)?;
                }
                if let Some(prefix) = forwarded_prefix {
                    forwarded::set_prefix(&environ, prefix)?;
                }
                if let Some(ip) = ip {
                    environ.set_item(intern!(py, "REMOTE_ADDR"), cache.address(py, ip))?;
                }
                environ.set_item(intern!(py, "rustwsgi.client_disconnected"), disconnected)?;
                environ.set_item(intern!(py, "wsgi.early_hints"), early_hints)?;
                let claimed_scheme = if self.claims_scheme { claimed_scheme(head) } else { None };
                let made = HeadEnviron { environ, claimed_scheme };
                cache.insert_if_repeated(cached, head, ip, &made)?;
                made
            }
        };
        let HeadEnviron { environ, claimed_scheme } = made;
        if let Some(Client { port: Some(port), .. }) = client {
            environ.set_item(intern!(py, "REMOTE_PORT"), cache.port(py, port))?;
        }
        if let Some(forwarded) = &forwarded {
            forwarded::set_url(&environ, forwarded)?;
        }
        if let Some(scheme) = claimed_scheme
            && self.settings.trusts(peer_ip)
        {
            environ.set_item(intern!(py, "wsgi.url_scheme"), scheme_string(py, scheme))?;
        }
        if let Some(variables) = exchange.tls_variables() {
            environ.update(cache.tls(py, variables)?.as_mapping())?;
        }
        let is_stream = matches!(content, Content::Stream(_));
        if !matches!(content, Content::Empty) {
            environ.set_item(intern!(py, "wsgi.input"), Py::new(py, Input::new(content))?)?;
        }
        if exchange.http().head().framing() == Framing::Chunked && !is_stream {
            // The content is complete and decoded, so the environ describes a request that came
            // with a length. [RFC 9112 section 7.1.3] That of a stream is not known: it has no
            // CONTENT_LENGTH, and `wsgi.input_terminated` says that it may be read to its end.
            environ.set_item(intern!(py, "CONTENT_LENGTH"), received.to_string())?;
        }
        if let Some(key) = &self.request_id_key
            && let Some(id) = exchange.request_id()
        {
            set_request_id(&environ, key, &id)?;
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
        prefix: Prefix<'_>,
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
                cache.value(py, CachedValue::Path, prefix.strip(&path)?)
            }
        };
        environ.set_item(intern!(py, "PATH_INFO"), path)?;
        if !head.query().is_empty() {
            let query = cache.value(py, CachedValue::Query, head.query());
            environ.set_item(intern!(py, "QUERY_STRING"), query)?;
        }
        let version = match head.version() {
            Version::Http11 => intern!(py, "HTTP/1.1"),
            Version::Http2 => intern!(py, "HTTP/2"),
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
        strips_forwarded: bool,
    ) -> PyResult<()> {
        let chunked = head.framing() == Framing::Chunked;
        let host = intern!(py, "HTTP_HOST");
        // A set of the common names that have occurred, one bit each.
        let mut seen = 0u64;
        // The values of repeated fields by key, joined at the end: to join each to the ones before
        // it would copy those every time.
        let mut repetitions = None;
        for (name, value) in head.fields() {
            if is_hidden(name, chunked, head.authority().is_some())
                || strips_forwarded && is_forwarded_field(name)
            {
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

/// Sets the id that was taken or made, in place of what the client has sent.
fn set_request_id(environ: &Bound<'_, PyDict>, key: &Py<PyString>, id: &str) -> PyResult<()> {
    let id = latin1(environ.py(), id.as_bytes());
    environ.set_item(key, &id)?;
    environ.set_item(intern!(environ.py(), "rustwsgi.request_id"), id)
}

fn make_templates(
    py: Python<'_>,
    servers: &[ServerAddress],
    settings: &Settings,
) -> PyResult<Templates> {
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
        let scheme = if server.is_https { "https" } else { "http" };
        template.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
        template.set_item(intern!(py, "wsgi.errors"), &errors)?;
        template.set_item(intern!(py, "wsgi.multithread"), multithread)?;
        template.set_item(intern!(py, "wsgi.multiprocess"), multiprocess)?;
        template.set_item(intern!(py, "wsgi.run_once"), false)?;
        template.set_item(intern!(py, "wsgi.input_terminated"), true)?;
        template.set_item(intern!(py, "wsgi.file_wrapper"), py.get_type::<FileWrapper>())?;
        template.set_item(intern!(py, "wsgi.input"), &empty_input)?;
        // Keys that every request sets. A dict of 23 entries has room for nineteen more, so
        // that no copy of the template has to grow.
        for key in PER_REQUEST_KEYS {
            template.set_item(PyString::intern(py, key), "")?;
        }
        templates.push(template.unbind());
    }
    Ok(templates)
}

/// Keys of the template whose values are set for each request.
const PER_REQUEST_KEYS: [&str; 10] = [
    "REMOTE_ADDR",
    "REQUEST_METHOD",
    "RAW_URI",
    "REQUEST_URI",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "HTTP_HOST",
    "rustwsgi.client_disconnected",
    "wsgi.early_hints",
];

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
