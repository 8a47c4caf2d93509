//! Certificates of clients: who may connect with `--ca-certs`, `--cert-reqs` and `--ca-crl`.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};

use super::certificates::{certificates, not_pem};
use super::material::{Material, Source};
use crate::config::CertReqs;

/// Decides which clients are admitted.
///
/// # Errors
/// A sentence that names the option.
pub(super) fn verifier(
    material: &Material,
    cert_reqs: CertReqs,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let authorities = match (&material.authorities, cert_reqs) {
        (_, CertReqs::None) | (None, _) => return Ok(Arc::new(NoClientAuth)),
        (Some(authorities), _) => authorities,
    };
    let name = &authorities.name;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots
            .add(certificate)
            .map_err(|failure| format!("{name}: a certificate cannot be used: {failure}"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let verifier = match &material.revoked {
        // All certificates of a chain are checked, and a list that has expired says nothing.
        Some(revoked) => verifier.with_crls(lists(revoked)?).enforce_revocation_expiration(),
        None => verifier,
    };
    let verifier = match cert_reqs {
        CertReqs::Optional => verifier.allow_unauthenticated(),
        CertReqs::None | CertReqs::Required => verifier,
    };
    verifier.build().map(|verifier| verifier as _).map_err(|failure| {
        let name = material.revoked.as_ref().map_or(name, |revoked| &revoked.name);
        format!("{name}: cannot verify clients: {failure}")
    })
}

/// The revocation lists of a PEM file; at least one.
fn lists(source: &Source) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let name = &source.name;
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&source.bytes)
        .collect::<Result<_, _>>()
        .map_err(|failure| not_pem(name, &failure))?;
    if lists.is_empty() {
        return Err(format!("{name}: no revocation list was found; name a file in the PEM format"));
    }
    Ok(lists)
}
