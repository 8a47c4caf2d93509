//! Options that are valid, but have another effect than probably intended.

use super::http2::{Cleartext, HttpProtocols};
use super::settings::{Replace, Settings};
use super::tls::CertReqs;
use crate::observe::{self, Format};

/// A sentence about each.
pub(super) fn warnings(settings: &Settings) -> impl Iterator<Item = String> {
    let format = settings.access_log.as_ref().and_then(|log| about_format(&log.format));
    let processes = &settings.processes;
    let reload = (processes.preload && processes.watch.is_some()).then(|| {
        "--reload does not load new code with --preload, which imports the application only once; \
         remove one of them"
            .to_owned()
    });
    let canary = !processes.canary.is_zero() && processes.replace == Replace::StopFirst;
    let canary = canary.then_some(
        "--respawn-canary has no effect with --replace stop-first and --reload, where no worker \
         serves beside its successor",
    );
    let tls = &settings.tls;
    let unused = match (tls.cert_reqs, &tls.ca_certs, &tls.ca_crl) {
        (CertReqs::None, Some(_), _) => Some("--ca-certs has no effect without --cert-reqs"),
        (CertReqs::None, None, Some(_)) => Some("--ca-crl has no effect without --cert-reqs"),
        _ => None,
    };
    let http2 = match (tls.protocols, settings.http2.cleartext) {
        (HttpProtocols::Http1, cleartext) if cleartext != Cleartext::Off => {
            Some("--http2-cleartext has no effect with --http-protocols h1")
        }
        (HttpProtocols::Http2, cleartext) if cleartext.has_upgrade() => Some(
            "--http2-cleartext: with --http-protocols h2 no request is upgraded; write \
             prior-knowledge",
        ),
        (HttpProtocols::Http2, _) if !tls.is_enabled() => {
            Some("--http-protocols h2 concerns HTTPS: without a certificate HTTP/1.1 is served")
        }
        _ => None,
    };
    let constant = unused.into_iter().chain(http2).chain(canary).map(str::to_owned);
    format.into_iter().chain(reload).chain(constant)
}

fn about_format(text: &str) -> Option<String> {
    let format = Format::parse(text).ok()?;
    if format.is_constant() {
        return Some(format!(
            "--access-logformat: every line will be {text:?}, as it contains no %(...)s; named \
             formats are common, combined and json"
        ));
    }
    let unknown = format.unknown();
    (!unknown.is_empty()).then(|| {
        format!(
            "--access-logformat: unknown atom {}, which is logged as '-'; known atoms are {}",
            unknown.join(", "),
            observe::known_atoms()
        )
    })
}
