//! The requests of `instant-acme`, by a client that blocks: a visit has a process of its own, so no
//! future ever waits.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body::Body as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs::default_provider;
use ureq::Agent;
use ureq::http::{Method, Request, Response, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::sync::ignore_poison;

/// How long one request may take, with its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest response; a certificate chain has a few KiB.
const MAX_RESPONSE_BYTES: u64 = 1 << 20;
/// The longest `Retry-After` that is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Sends requests to an authority.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: Agent,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// Trusts the authorities of the system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name,
    /// and uses the proxy of `HTTPS_PROXY` or `ALL_PROXY`.
    ///
    /// # Errors
    /// A sentence, if the system has no certificates of authorities.
    pub(super) fn new() -> Result<Client, String> {
        let native = rustls_native_certs::load_native_certs();
        let roots = native.certs.iter().map(|root| Certificate::from_der(root).to_owned());
        let roots: Vec<_> = roots.collect();
        if roots.is_empty() {
            let reason = native.errors.first().map(|error| format!(": {error}"));
            return Err(format!(
                "this system has no certificates of authorities; install the package \
                 ca-certificates, or name a file with SSL_CERT_FILE{}",
                reason.unwrap_or_default()
            ));
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("rustwsgi/", env!("CARGO_PKG_VERSION"), " instant-acme"))
            .build();
        Ok(Client { agent: config.new_agent(), retry_after: Arc::default() })
    }

    /// The pause that the last response has asked for, if it has.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *ignore_poison(self.retry_after.lock())
    }

    fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (mut head, body) = request.into_parts();
        // The client of this server has a name of its own.
        head.headers.remove(header::USER_AGENT);
        let sent = match head.method {
            Method::POST => self.agent.run(Request::from_parts(head, &content(body)[..])),
            _ => self.agent.run(Request::from_parts(head, ())),
        };
        let (head, mut body) = sent.map_err(other)?.into_parts();
        *ignore_poison(self.retry_after.lock()) = retry_after(&head.headers);
        let body = body.with_config().limit(MAX_RESPONSE_BYTES).read_to_vec().map_err(other)?;
        let (parts, ()) = Response::from_parts(head, ()).into_parts();
        Ok(BytesResponse { parts, body: Box::new(Bytes::from(body)) })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let result = self.send(request);
        Box::pin(async move { result })
    }
}

/// The bytes of a request, which are one frame.
fn content(mut body: BodyWrapper<Bytes>) -> Bytes {
    let frame = wait(poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
    let data = frame.and_then(|Ok(frame)| frame.into_data().ok());
    data.unwrap_or_default()
}

/// Runs a future to its end. None waits for anything but the client, which blocks.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

fn other(failure: ureq::Error) -> Error {
    let reason = match untrusted(&failure) {
        Some(error) => format!(
            "the certificate of the authority cannot be verified: {error}; for an authority of \
             your own, name a file with its root certificate in SSL_CERT_FILE"
        ),
        None => failure.to_string(),
    };
    Error::Other(Box::new(io::Error::other(reason)))
}

/// Why the authority's own certificate cannot be verified, if that is the failure.
fn untrusted(failure: &ureq::Error) -> Option<&rustls::CertificateError> {
    let ureq::Error::Io(failure) = failure else { return None };
    match failure.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(reason) => Some(reason),
        _ => None,
    }
}

/// `Retry-After`, in either of its forms. [RFC 9110 section 10.2.3]
fn retry_after(headers: &ureq::http::HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            at.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_that_cannot_be_verified_is_reported_with_the_remedy() {
        let unknown = rustls::CertificateError::UnknownIssuer;
        let failure = io::Error::other(rustls::Error::InvalidCertificate(unknown));
        let text = other(ureq::Error::Io(failure)).to_string();
        assert!(text.contains("UnknownIssuer") && text.contains("SSL_CERT_FILE"), "{text}");
        let text = other(ureq::Error::Io(io::Error::other("reset"))).to_string();
        assert!(text.contains("reset") && !text.contains("SSL_CERT_FILE"), "{text}");
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let past = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (text, expected) in
            [("120", Some(120)), (past, Some(0)), ("soon", None), ("99999999999", Some(24 * 3600))]
        {
            let mut headers = ureq::http::HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{text}");
        }
    }
}
