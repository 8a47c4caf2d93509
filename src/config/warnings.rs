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
    let cleartext = settings.http2.cleartext != Cleartext::Off;
    let http2 = (tls.protocols == HttpProtocols::Http1 && cleartext)
        .then_some("--http2-cleartext has no effect with --http-protocols h1");
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
