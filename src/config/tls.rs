//! The settings of TLS, and what each address is for.

use std::path::PathBuf;

use super::acme::AcmeSettings;
use super::http2::HttpProtocols;
use crate::observe::counted;

/// Certificates, keys, and who may connect with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// Files with a certificate chain. Without one, and without ACME, there is no TLS.
    pub certfiles: Vec<PathBuf>,
    /// Their keys, in the same order; none if each chain's file has its key.
    pub keyfiles: Vec<PathBuf>,
    /// The authorities that sign certificates of clients.
    pub ca_certs: Option<PathBuf>,
    /// The certificates that these have revoked.
    pub ca_crl: Option<PathBuf>,
    /// Whether clients need a certificate.
    pub cert_reqs: CertReqs,
    /// The oldest version of the protocol.
    pub min_version: TlsVersion,
    /// The protocols that clients may choose from.
    pub protocols: HttpProtocols,
    /// The certificate that the server orders itself.
    pub acme: AcmeSettings,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertReqs {
    /// They are not asked for one.
    #[default]
    None,
    /// They may have one. One that cannot be verified is refused.
    Optional,
    /// They need one.
    Required,
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2, and later ones.
    #[default]
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// The option that names an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `--bind`
    Application,
    /// `--insecure-bind`
    Insecure,
    /// `--redirect-bind`
    Redirect,
}

impl TlsSettings {
    /// Whether there is a certificate, or will be one.
    pub fn is_enabled(&self) -> bool {
        !self.certfiles.is_empty() || self.acme.is_enabled()
    }

    /// All files that are named. That of ACME is not among them.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let lists = [&self.certfiles, &self.keyfiles].into_iter().flatten();
        lists.chain(&self.ca_certs).chain(&self.ca_crl)
    }

    /// Checks that the options fit each other.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub(super) fn check(&self) -> Result<(), String> {
        let (certificates, keys) = (self.certfiles.len(), self.keyfiles.len());
        if keys != 0 && keys != certificates {
            return Err(match certificates {
                0 => "--keyfile: there is no certificate; name it with --certfile".to_owned(),
                _ => format!(
                    "--keyfile: given {}, but --certfile {}; write one for each certificate, or \
                     none if each --certfile has its key",
                    counted(keys as u64, "time"),
                    counted(certificates as u64, "time")
                ),
            });
        }
        if !self.is_enabled() {
            return match (self.cert_reqs, &self.ca_certs, &self.ca_crl) {
                (CertReqs::None, None, None) => Ok(()),
                (CertReqs::None, None, _) => Err(needs_certificate("--ca-crl")),
                (CertReqs::None, ..) => Err(needs_certificate("--ca-certs")),
                _ => Err(needs_certificate("--cert-reqs")),
            };
        }
        let reqs = match self.cert_reqs {
            CertReqs::None => return Ok(()),
            CertReqs::Optional => "optional",
            CertReqs::Required => "required",
        };
        match self.ca_certs {
            Some(_) => Ok(()),
            None => Err(format!(
                "--cert-reqs: '{reqs}' needs the authorities that sign the clients' certificates; \
                 name them with --ca-certs"
            )),
        }
    }
}

fn needs_certificate(option: &str) -> String {
    format!(
        "{option}: there is no TLS without a certificate; name one with --certfile, or \
         --acme-domain"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let settings = |certificates: usize, keys: usize, cert_reqs, ca: bool| TlsSettings {
            certfiles: vec!["c".into(); certificates],
            keyfiles: vec!["k".into(); keys],
            ca_certs: ca.then(|| "ca".into()),
            cert_reqs,
            ..TlsSettings::default()
        };
        use CertReqs::{None, Optional, Required};
        for (settings, expected) in [
            (settings(0, 0, None, false), Ok(())),
            (settings(1, 0, None, false), Ok(())),
            (settings(2, 2, None, true), Ok(())),
            (settings(1, 1, Required, true), Ok(())),
            (settings(0, 1, None, false), Err("--keyfile: there is no certificate")),
            (settings(2, 1, None, false), Err("--keyfile: given 1 time, but --certfile 2 times")),
            (settings(1, 2, None, false), Err("--keyfile: given 2 times, but --certfile 1 time;")),
            (settings(0, 0, None, true), Err("--ca-certs: there is no TLS")),
            (settings(0, 0, Required, false), Err("--cert-reqs: there is no TLS")),
            (settings(1, 0, Required, false), Err("--cert-reqs: 'required' needs")),
            (settings(1, 0, Optional, false), Err("--cert-reqs: 'optional' needs")),
        ] {
            match (settings.check(), expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(begin)) => assert!(error.starts_with(begin), "{error}"),
                (result, _) => panic!("{settings:?}: {result:?}"),
            }
        }
    }
}
