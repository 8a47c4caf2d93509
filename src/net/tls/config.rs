//! Makes rustls's configuration of the files and the options.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::certificates::{Certificates, HTTP2};
use super::challenges::{ACME_TLS, Challenges};
use super::client_auth;
use super::material::Material;
use super::tickets::{TicketKeys, Ticketer};
use crate::config::{HttpProtocols, TlsSettings, TlsVersion};

/// The name of HTTP/1.1 in ALPN. [RFC 7301 section 6]
const HTTP1: &[u8] = b"http/1.1";

/// What `--tls-min-version` admits.
fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        TlsVersion::Tls12 => &ALL,
        TlsVersion::Tls13 => &ALL[..1],
    }
}

/// Early data (0-RTT) stays off: an attacker can repeat it. `SSLKEYLOGFILE` is not read, as
/// no key log is configured.
///
/// # Errors
/// A sentence that names the file that cannot be used.
pub(super) fn build(
    material: &Material,
    keys: &TicketKeys,
    settings: &TlsSettings,
    challenges: Option<&Arc<Challenges>>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(default_provider());
    let verifier = client_auth::verifier(material, settings.cert_reqs, &provider)?;
    let is_http2_only = settings.protocols == HttpProtocols::Http2;
    let pairs = material.all_pairs();
    let certificates = Certificates::new(pairs, challenges, provider.clone(), is_http2_only)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(settings.min_version))
        .map_err(|failure| format!("--tls-min-version: {failure}"))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(certificates));
    // In the order of the server's preference.
    let protocols = match settings.protocols {
        HttpProtocols::Http1 => &[HTTP1][..],
        HttpProtocols::Both => &[HTTP2, HTTP1],
        HttpProtocols::Http2 => &[HTTP2],
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    if challenges.is_some() {
        config.alpn_protocols.push(ACME_TLS.to_vec());
    }
    // Only this process would know such a session, and each would take memory.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(Ticketer::new(keys, admission(material, settings)));
    Ok(config)
}

/// Identifies the rules that admit clients.
fn admission(material: &Material, settings: &TlsSettings) -> Vec<u8> {
    let mut rules = digest::Context::new(&digest::SHA256);
    rules.update(&[settings.cert_reqs as u8]);
    for source in [&material.authorities, &material.revoked] {
        let bytes = source.as_ref().map_or(&[][..], |source| &source.bytes);
        rules.update(digest::digest(&digest::SHA256, bytes).as_ref());
    }
    rules.finish().as_ref().to_vec()
}
