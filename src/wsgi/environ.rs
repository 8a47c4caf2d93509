//! The environ: everything the application learns about a request, as one exact `dict`.
//! [PEP 3333, "environ Variables"; RFC 3875 section 4.1]
//!
//! What is the same for every request of a listener is in a template that is copied; the rest is added from
//! the request's head. Nothing of `os.environ` gets in: a variable called HTTP_PROXY there must not look
//! like a field the client sent.

use percent_encoding::percent_decode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::errors::Errors;
use super::exchange::{Content, Exchange};
use super::file_wrapper::FileWrapper;
use super::input::{Disconnected, Input};
use super::names::Names;
use super::strings::latin1;
use crate::http1::{Framing, Head};

/// The server's side of one listener.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// SERVER_NAME
    pub name: String,
    /// SERVER_PORT, decimal
    pub port: String,
}

/// What environs are made from.
#[derive(Debug)]
pub(super) struct EnvironBuilder {
    names: Names,
    /// One for each listener.
    templates: Vec<Py<PyDict>>,
    /// `wsgi.input` of every request without content.
    empty_input: Py<Input>,
    methods: Vec<(&'static str, Py<PyString>)>,
}

impl EnvironBuilder {
    pub(super) fn new(
        py: Python<'_>,
        servers: &[ServerAddress],
        multithread: bool,
        multiprocess: bool,
    ) -> PyResult<EnvironBuilder> {
        let errors = Py::new(py, Errors)?;
        let mut templates = Vec::new();
        for server in servers {
            let template = PyDict::new(py);
            template.set_item(intern!(py, "SERVER_NAME"), latin1(py, server.name.as_bytes()))?;
            template.set_item(intern!(py, "SERVER_PORT"), &server.port)?;
            template.set_item(
                intern!(py, "SERVER_SOFTWARE"),
                concat!("rustwsgi/", env!("CARGO_PKG_VERSION")),
            )?;
            template.set_item(intern!(py, "SCRIPT_NAME"), "")?;
            template.set_item(intern!(py, "wsgi.version"), (1, 0))?;
            template.set_item(intern!(py, "wsgi.url_scheme"), "http")?;
            template.set_item(intern!(py, "wsgi.errors"), &errors)?;
            template.set_item(intern!(py, "wsgi.multithread"), multithread)?;
            template.set_item(intern!(py, "wsgi.multiprocess"), multiprocess)?;
            template.set_item(intern!(py, "wsgi.run_once"), false)?;
            template.set_item(intern!(py, "wsgi.input_terminated"), true)?;
            template.set_item(intern!(py, "wsgi.file_wrapper"), py.get_type::<FileWrapper>())?;
            templates.push(template.unbind());
        }
        let methods = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"]
            .map(|method| (method, PyString::intern(py, method).unbind()));
        Ok(EnvironBuilder {
            names: Names::new(py),
            templates,
            empty_input: Py::new(py, Input::new(Content::Empty))?,
            methods: methods.into(),
        })
    }

    /// The environ of the request that `exchange` holds. Takes its content.
    pub(super) fn build<'py>(
        &self,
        py: Python<'py>,
        exchange: &mut dyn Exchange,
    ) -> PyResult<Bound<'py, PyDict>> {
        let addresses = exchange.addresses();
        let environ = self.templates[addresses.listener].bind(py).copy()?;
        environ.set_item(intern!(py, "REMOTE_ADDR"), addresses.remote_addr)?;
        if let Some(port) = addresses.remote_port {
            environ.set_item(intern!(py, "REMOTE_PORT"), port)?;
        }
        match exchange.take_content() {
            Content::Empty => environ.set_item(intern!(py, "wsgi.input"), &self.empty_input)?,
            content => {
                environ.set_item(intern!(py, "wsgi.input"), Py::new(py, Input::new(content))?)?
            }
        }
        let probe = Disconnected::new(exchange.disconnect_probe());
        environ.set_item(intern!(py, "rustwsgi.client_disconnected"), Py::new(py, probe)?)?;
        let received = exchange.http().received();
        let head = exchange.http().head();
        self.add_request_line(py, &environ, head)?;
        self.add_fields(py, &environ, head)?;
        if head.framing() == Framing::Chunked {
            // The content is whole and decoded, so the request is described as if it had come with a
            // length. [RFC 9112 section 7.1.3]
            environ.set_item(intern!(py, "CONTENT_LENGTH"), received.to_string())?;
        }
        Ok(environ)
    }

    fn add_request_line(
        &self,
        py: Python<'_>,
        environ: &Bound<'_, PyDict>,
        head: &Head,
    ) -> PyResult<()> {
        let method = head.method();
        match self.methods.iter().find(|(known, _)| known.as_bytes() == method) {
            Some((_, shared)) => environ.set_item(intern!(py, "REQUEST_METHOD"), shared)?,
            None => environ.set_item(intern!(py, "REQUEST_METHOD"), latin1(py, method))?,
        }
        let target = latin1(py, head.raw_target());
        environ.set_item(intern!(py, "RAW_URI"), &target)?;
        environ.set_item(intern!(py, "REQUEST_URI"), &target)?;
        // Decoded once: %2F becomes a slash here, and an application that cares has RAW_URI.
        let path: std::borrow::Cow<'_, [u8]> = percent_decode(head.path()).into();
        environ.set_item(intern!(py, "PATH_INFO"), latin1(py, &path))?;
        environ.set_item(intern!(py, "QUERY_STRING"), latin1(py, head.query()))?;
        environ.set_item(
            intern!(py, "SERVER_PROTOCOL"),
            match head.version() {
                crate::http1::Version::Http11 => intern!(py, "HTTP/1.1"),
                crate::http1::Version::Http10 => intern!(py, "HTTP/1.0"),
            },
        )
    }

    fn add_fields(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, head: &Head) -> PyResult<()> {
        let chunked = head.framing() == Framing::Chunked;
        for (name, value) in head.fields() {
            if is_hidden(name, chunked, head.authority().is_some()) {
                continue;
            }
            let key = self.names.key(py, name);
            let value = latin1(py, value);
            match environ.get_item(&key)? {
                None => environ.set_item(&key, value)?,
                Some(first) => {
                    // One value of several: Cookie's own syntax joins with semicolons.
                    // [RFC 9110 section 5.3, RFC 6265 section 5.4]
                    let separator = if name.eq_ignore_ascii_case(b"cookie") { "; " } else { "," };
                    let joined = first.add(separator)?.add(value)?;
                    environ.set_item(&key, joined)?;
                }
            }
        }
        if let Some(authority) = head.authority() {
            environ.set_item(intern!(py, "HTTP_HOST"), latin1(py, authority))?;
        }
        Ok(())
    }
}

/// Fields that do not reach the application: `Proxy` would become HTTP_PROXY, which HTTP libraries in
/// the application's process take for their configuration (CVE-2016-5385); Transfer-Encoding and
/// Trailer describe a coding that is undone; Host is replaced by an absolute target's.
fn is_hidden(name: &[u8], chunked: bool, absolute: bool) -> bool {
    match name.len() {
        4 => absolute && name.eq_ignore_ascii_case(b"host"),
        5 => name.eq_ignore_ascii_case(b"proxy"),
        7 => chunked && name.eq_ignore_ascii_case(b"trailer"),
        17 => chunked && name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}
