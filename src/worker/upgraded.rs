//! The exchange of a request that has taken its connection: it knows the request, and discards what
//! the application sends by `start_response` and blocks.

use std::any::Any;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use pyo3::intern;
use pyo3::prelude::*;

use crate::http1::{self, BodyTooShort, Frame, ResponseHead};
use crate::net::UpgradedRequest;
use crate::observe::{Count, Record, RequestId};
use crate::proxies::Forwarded;
use crate::wsgi::{Client, Content, ContentError, Exchange, TlsVariable};

/// A request whose connection the application has.
pub(super) struct UpgradedExchange {
    request: UpgradedRequest,
    socket: Arc<TakenSocket>,
}

/// The application's socket: a weak reference to it, once it is open.
#[derive(Default)]
pub(super) struct TakenSocket(OnceLock<Py<PyAny>>);

impl UpgradedExchange {
    pub(super) fn new(mut request: UpgradedRequest, socket: Arc<TakenSocket>) -> UpgradedExchange {
        // The framing of a 101, which has no content.
        request.http.begin(&ResponseHead::switching_protocols(), None, b"", &mut Vec::new());
        UpgradedExchange { request, socket }
    }

    /// The head of the request.
    pub(super) fn head(&self) -> &http1::Head {
        self.request.http.head()
    }

    /// Logs the request, which ends now: calls `log` with its record.
    pub(super) fn log_access(
        &self,
        response: &ResponseHead,
        environ: &[(String, String)],
        log: impl FnOnce(&Record<'_>),
    ) {
        self.request.log_access(response, environ, log);
    }
}

impl TakenSocket {
    pub(super) fn set(&self, reference: Py<PyAny>) {
        let _ = self.0.set(reference);
    }
}

impl Client for TakenSocket {
    fn is_disconnected(&self) -> bool {
        let Some(reference) = self.0.get() else { return false };
        Python::attach(|py| {
            let module = py.import(intern!(py, "rustwsgi._raw_connection"))?;
            module.call_method1(intern!(py, "is_disconnected"), (reference,))?.is_truthy()
        })
        // The application has closed it.
        .unwrap_or(true)
    }
}

impl Exchange for UpgradedExchange {
    fn http(&mut self) -> &mut http1::Connection {
        &mut self.request.http
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.request.peer()
    }

    fn forwarded(&self) -> Option<Arc<Forwarded>> {
        self.request.forwarded().cloned()
    }

    fn listener(&self) -> usize {
        self.request.listener
    }

    fn tls_variables(&self) -> Option<&Arc<[TlsVariable]>> {
        self.request.tls_variables()
    }

    fn is_takable(&self) -> bool {
        false
    }

    fn request_id(&self) -> Option<RequestId> {
        self.request.request_id().cloned()
    }

    fn take_content(&mut self) -> Content {
        Content::Empty
    }

    fn content_error(&self) -> Option<ContentError> {
        None
    }

    fn begin(&mut self, _: &ResponseHead, _: Option<u64>) {}

    fn queue_interim(&mut self, _: &[u8]) {}

    fn queue_copy(&mut self, _: &[u8]) {}

    fn queue_block(&mut self, _: &Frame, _: &[u8]) {}

    fn queue_shared(&mut self, _: Bytes) {}

    fn queue_file(&mut self, _: Arc<File>, _: u64, _: u64) {}

    fn finish(&mut self) -> Result<(), BodyTooShort> {
        self.request.http.finish(&mut Vec::new())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn flush_soon(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_full(&self) -> bool {
        false
    }

    fn make_room(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn client(&self) -> Weak<dyn Client> {
        let client: Weak<TakenSocket> = Arc::downgrade(&self.socket);
        client
    }

    fn count(&self, what: Count) -> Option<u64> {
        self.request.counters().increment_and_take_report(what)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
