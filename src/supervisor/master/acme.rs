//! Orders and renews certificates while the server runs, without a wait: a child process does it.

use std::time::Instant;

use chrono::DateTime;
use log::{debug, error, info, warn};

use super::stage::Stage;
use super::state::Master;
use crate::acme::{Outcome, Report};
use crate::observe::as_line;

/// How many characters of a text of the authority are logged.
const MAX_SHOWN: usize = 2000;
/// How many warnings of one visit are logged: more than an honest one has.
const MAX_WARNINGS: usize = 8;

impl Master<'_> {
    /// Starts a visit to the authority if one is due, and handles what the last one has reported.
    pub(super) fn visit_authority(&mut self, now: Instant) {
        if let Some(report) = self.acme.take_report(now) {
            self.on_visit(report);
        }
        if !self.may_visit() {
            if !self.knows_challenges() {
                self.acme.stop();
            }
            return;
        }
        let settings = &self.deployment.settings;
        let Some(tls) = &self.deployment.tls else { return };
        let Some(challenges) = tls.tls().challenges() else { return };
        let order = &settings.tls.acme;
        if !self.acme.is_due(order, now) {
            return;
        }
        let has_redirect = !settings.redirect_binds.is_empty();
        if !tls.has_certificate() && self.acme.is_first() {
            info!(
                target: "acme.no_certificate",
                "No certificate yet, refusing TLS handshakes: ordering one for {} from {}",
                order.domains.join(", "),
                order.directory
            );
        }
        if let Err(failure) = self.acme.visit(order, has_redirect, challenges) {
            error!(
                target: "acme.failed",
                "Cannot start the process of the ACME client, trying again after a pause: {failure}"
            );
        }
    }

    /// When [`Master::visit_authority`] has something to do.
    pub(super) fn acme_deadline(&self) -> Option<Instant> {
        self.acme.deadline().filter(|_| self.acme.pid().is_some() || self.may_visit())
    }

    /// Any worker may be the one that the authority connects to: all of them must know the
    /// responses to its challenges. Those that a reload replaces do not, if it has added ACME.
    fn may_visit(&self) -> bool {
        self.knows_challenges() && matches!(self.stage, Stage::Serving) && self.workers.are_ready(1)
    }

    /// A visit in progress ends when this does: workers of another master do not know the
    /// challenges, nor do those of a deployment without ACME.
    fn knows_challenges(&self) -> bool {
        self.deployment.settings.tls.acme.is_enabled()
            && self.successor.is_none()
            && self.predecessor.is_none()
    }

    fn on_visit(&mut self, Report { outcome, warnings }: Report) {
        for warning in warnings.into_iter().take(MAX_WARNINGS) {
            warn!(target: "acme.warning", "{}", as_line(&printable(&warning)));
        }
        let order = &self.deployment.settings.tls.acme;
        let names = order.domains.join(", ");
        match outcome {
            Outcome::Issued { is_renewal, not_after } => {
                let end =
                    i64::try_from(not_after).ok().and_then(|at| DateTime::from_timestamp(at, 0));
                let end = end.map_or_else(String::new, |end| end.format("%F %R UTC").to_string());
                match is_renewal {
                    true => info!(
                        target: "acme.renewed",
                        "Certificate for {names} renewed: valid until {end}"
                    ),
                    false => info!(
                        target: "acme.ordered",
                        "Certificate for {names} issued: valid until {end}"
                    ),
                }
                self.deployment.tls.iter_mut().for_each(|renewal| renewal.check_now());
            }
            Outcome::Failed { reason, pause } => error!(
                target: "acme.failed",
                "Cannot get a certificate for {names} from {}, trying again in {pause} s (HUP: at \
                 once): {}",
                order.directory,
                as_line(&printable(&reason))
            ),
            Outcome::Unchanged => debug!("The certificate for {names} need not be renewed yet"),
            Outcome::Busy => debug!("Another process orders the certificate for {names}"),
        }
    }
}

/// A text that may come from the authority: it cannot forge a line, act on a terminal, nor fill the
/// log.
fn printable(text: &str) -> String {
    let keep = |letter: char| if matches!(letter, ' '..='~') { letter } else { '?' };
    let mut letters = text.chars().map(keep);
    let mut shown: String = letters.by_ref().take(MAX_SHOWN).collect();
    if letters.next().is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_authority_is_one_short_line() {
        assert_eq!(printable("no\n\u{1b}[31mgood\u{e9}"), "no??[31mgood?");
        let exact = "x".repeat(MAX_SHOWN);
        assert_eq!(printable(&exact), exact);
        assert_eq!(printable(&"x".repeat(1 << 20)), format!("{exact}..."));
    }
}
