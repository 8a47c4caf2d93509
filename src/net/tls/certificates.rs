//! The server's certificates: reads them from PEM, and chooses one by the name that a client asks
//! for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef};

use super::challenges::{ACME_TLS, Challenges};
use super::material::{Pair, Source};

/// The name of HTTP/2 in ALPN. [RFC 9113 section 3.2]
pub(super) const HTTP2: &[u8] = b"h2";

thread_local! {
    /// See [`take_server_name`].
    static SERVER_NAME: RefCell<Option<String>> = const { RefCell::new(None) };
    /// See [`take_lack_of_http2`].
    static LACKS_HTTP2: Cell<bool> = const { Cell::new(false) };
}

/// The name that the last client asked for whose handshake this thread has processed since the
/// last call. The unbuffered API of rustls shows it to the resolver of certificates only.
pub(super) fn take_server_name() -> Option<String> {
    SERVER_NAME.take()
}

/// Whether such a client was refused because it does not offer HTTP/2, and nothing else is served.
pub(super) fn take_lack_of_http2() -> bool {
    LACKS_HTTP2.take()
}

/// All certificates, and their names.
#[derive(Debug)]
pub(super) struct Certificates {
    /// In the order of the options, that of ACME last; empty until the first one was issued.
    all: Vec<Arc<CertifiedKey>>,
    /// The certificates for each name, in lower case. A wildcard is `*.example.org`.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The same by the common names of those that have no other names.
    by_common_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For handshakes by which an authority of ACME validates a name.
    challenges: Option<Arc<Challenges>>,
    provider: Arc<CryptoProvider>,
    /// Clients that do not offer HTTP/2 are refused.
    is_http2_only: bool,
}

impl Certificates {
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn new<'a>(
        pairs: impl Iterator<Item = &'a Pair>,
        challenges: Option<&Arc<Challenges>>,
        provider: Arc<CryptoProvider>,
        is_http2_only: bool,
    ) -> Result<Certificates, String> {
        let load = |pair| load(pair, &provider).map(Arc::new);
        let all: Vec<_> = pairs.map(load).collect::<Result<_, String>>()?;
        let mut by_name: HashMap<String, Vec<_>> = HashMap::new();
        let mut by_common_name: HashMap<String, Vec<_>> = HashMap::new();
        for certificate in &all {
            let names = alternative_names(&certificate.cert[0]);
            if names.is_empty()
                && let Some(name) = common_name(&certificate.cert[0])
            {
                by_common_name
                    .entry(name.to_ascii_lowercase())
                    .or_default()
                    .push(certificate.clone());
            }
            for name in names {
                by_name.entry(name.to_ascii_lowercase()).or_default().push(certificate.clone());
            }
        }
        let challenges = challenges.cloned();
        Ok(Certificates { all, by_name, by_common_name, challenges, provider, is_http2_only })
    }

    /// The certificates for a name: for the name itself, else for the wildcard in place of its
    /// first label. [RFC 9525 section 6.3] A common name counts if no subjectAltName matches.
    fn named(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.to_ascii_lowercase();
        let wildcard = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        [&self.by_name, &self.by_common_name]
            .into_iter()
            .find_map(|certificates| {
                certificates.get(&name).or_else(|| certificates.get(&wildcard()?))
            })
            .map(Vec::as_slice)
    }

    /// The certificate for a client that validates a name, and offers no other protocol. `None`
    /// refuses it: an ordinary certificate would prove nothing. [RFC 8737 section 3]
    fn validating(&self, challenges: &Challenges, hello: &ClientHello<'_>) -> Option<CertifiedKey> {
        let is_only = hello.alpn().is_some_and(|offered| offered.count() == 1);
        let name = hello.server_name().filter(|_| is_only)?;
        let pem = challenges.certificate(name)?;
        let chain =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = self.provider.key_provider.load_private_key(key).ok()?;
        // Without the check that they fit: it fails for the critical extension of the certificate,
        // which only an authority knows.
        Some(CertifiedKey::new(chain, key))
    }
}

/// Whether a client offers the protocol by which an authority of ACME validates a name.
fn is_validation(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS))
}

fn offers_http2(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == HTTP2))
}

impl ResolvesServerCert for Certificates {
    /// The first certificate for the name whose key the client can verify. The first of all is for
    /// clients that ask for no name, or for an unknown one.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        SERVER_NAME.set(hello.server_name().map(str::to_owned));
        if let Some(challenges) = &self.challenges
            && is_validation(&hello)
        {
            return self.validating(challenges, &hello).map(Arc::new);
        }
        // rustls refuses clients that offer other protocols, but not those that offer none.
        if self.is_http2_only && !offers_http2(&hello) {
            LACKS_HTTP2.set(true);
            return None;
        }
        let named = hello.server_name().and_then(|name| self.named(name));
        let candidates = named.or_else(|| self.all.get(..1))?;
        let schemes = hello.signature_schemes();
        let usable =
            |candidate: &&Arc<CertifiedKey>| candidate.key.choose_scheme(schemes).is_some();
        candidates.iter().find(usable).or_else(|| candidates.first()).cloned()
    }
}

/// The names of a certificate in its subjectAltName.
fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let end_entity = EndEntityCert::try_from(certificate);
    let names = end_entity.iter().flat_map(|end_entity| end_entity.valid_dns_names());
    names.map(str::to_owned).collect()
}

/// Clients no longer verify it [RFC 9525 section 2], but `openssl req` makes certificates that have
/// nothing else.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    let parsed = Certificate::from_der(certificate).ok()?;
    let attributes = parsed.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let value = &attributes.rev().find(|attribute| attribute.oid == COMMON_NAME)?.value;
    let text = match value.decode_as::<Utf8StringRef<'_>>() {
        Ok(text) => text.as_str().to_owned(),
        Err(_) => value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().to_owned(),
    };
    Some(text)
}

/// # Errors
/// A sentence that names the file.
pub(super) fn load(pair: &Pair, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = certificates(&pair.chain)?;
    if let Err(failure) = EndEntityCert::try_from(&chain[0]) {
        let reason = match failure {
            webpki::Error::UnsupportedCertVersion => {
                "it is of version 1 of X.509; make one with subjectAltName, which is of version 3"
                    .to_owned()
            }
            failure => format!("it is malformed: {failure:?}"),
        };
        return Err(format!("{}: cannot use the certificate: {reason}", pair.chain.name));
    }
    let name = &pair.key.name;
    let key = PrivateKeyDer::from_pem_slice(&pair.key.bytes).map_err(|failure| match failure {
        _ if memchr::memmem::find(&pair.key.bytes, b"ENCRYPTED").is_some() => {
            format!("{name}: the key is encrypted; remove its passphrase with `openssl pkey`")
        }
        pem::Error::NoItemsFound => {
            format!("{name}: no private key was found; name the key with --keyfile")
        }
        failure => not_pem(name, &failure),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|failure| match failure {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "{name}: the key does not match the certificate of {}; name the two files of one \
             certificate",
            pair.chain.name
        ),
        failure => format!("{name}: cannot use the key with {}: {failure}", pair.chain.name),
    })
}

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(source: &Source) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = &source.name;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&source.bytes)
        .collect::<Result<_, _>>()
        .map_err(|failure| not_pem(name, &failure))?;
    if certificates.is_empty() {
        return Err(format!("{name}: no certificate was found; name a file in the PEM format"));
    }
    Ok(certificates)
}

/// A sentence for a file that is not in the PEM format. The error itself would show a line of the
/// file as numbers.
pub(super) fn not_pem(name: &str, failure: &pem::Error) -> String {
    let reason = match failure {
        pem::Error::MissingSectionEnd { .. } => {
            "the line that ends a section is missing".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => {
            "the line that begins a section is malformed".to_owned()
        }
        other => other.to_string(),
    };
    format!("{name}: not a PEM file: {reason}")
}
