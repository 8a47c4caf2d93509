//! What is read from a certificate: its names, its validity, and its identifier for the authority.

use std::time::Duration;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, Der};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectAltName};

/// The first certificate of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The DNS names, in lower case.
    pub(super) names: Vec<String>,
    /// The begin of its validity, since 1970.
    pub(super) not_before: Duration,
    /// The end of its validity, since 1970.
    pub(super) not_after: Duration,
    /// Identifies it to the authority; `None` if it lacks the identifier of the authority's key.
    /// [RFC 9773 section 4.1]
    pub(super) identifier: Option<CertificateIdentifier<'static>>,
}

impl Facts {
    /// Of the first certificate in a PEM file.
    ///
    /// # Errors
    /// A sentence without the name of the file.
    pub(super) fn read(pem: &[u8]) -> Result<Facts, String> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|failure| failure.to_string())?;
        let parsed = x509_cert::Certificate::from_der(&der);
        let parsed = parsed.map_err(|failure| format!("not a certificate: {failure}"))?;
        let body = parsed.tbs_certificate;
        let alternatives = body.get::<SubjectAltName>().ok().flatten();
        let names = alternatives.map_or_else(Vec::new, |(_, SubjectAltName(names))| names);
        let dns = |name: GeneralName| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            _ => None,
        };
        let key = body.get::<AuthorityKeyIdentifier>().ok().flatten();
        let key = key.and_then(|(_, identifier)| identifier.key_identifier);
        let serial = body.serial_number.as_bytes();
        Ok(Facts {
            names: names.into_iter().filter_map(dns).collect(),
            not_before: body.validity.not_before.to_unix_duration(),
            not_after: body.validity.not_after.to_unix_duration(),
            identifier: key.map(|key| {
                CertificateIdentifier::new(Der::from_slice(key.as_bytes()), Der::from_slice(serial))
                    .into_owned()
            }),
        })
    }

    /// Whether it has these names, and no others.
    pub(super) fn is_for(&self, domains: &[String]) -> bool {
        let covers = |domain: &String| self.names.contains(domain);
        domains.iter().all(covers) && self.names.iter().all(|name| domains.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_the_certificate() {
        let names = ["a.example".to_owned(), "B.example".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let facts = Facts::read(pem.as_bytes()).unwrap();
        assert_eq!(facts.not_after - facts.not_before, Duration::from_secs(90 * 86_400));
        for (domains, expected) in [
            (vec!["b.example", "a.example"], true),
            (vec!["a.example"], false),
            (vec!["a.example", "b.example", "c.example"], false),
        ] {
            let domains: Vec<_> = domains.into_iter().map(str::to_owned).collect();
            assert_eq!(facts.is_for(&domains), expected, "{domains:?}");
        }
        assert!(Facts::read(b"garbage").is_err());
    }
}
