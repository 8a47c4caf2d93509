//! One visit to the authority: orders a certificate if one is due, else asks when to renew it.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use instant_acme::{Account, AccountCredentials, CertificateIdentifier, ChallengeType, NewAccount};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::certificate::Facts;
use super::http::{Client, wait};
use super::order::{Failure, Request, order};
use super::report::{Outcome, Report};
use super::schedule::{Cause, State, order_due};
use crate::config::AcmeSettings;
use crate::net::Challenges;

/// The pause after a visit that cannot use the cache, and so cannot write when the next one is due.
const UNUSABLE_CACHE_PAUSE: Duration = Duration::from_secs(60);

/// The account as the cache has it.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The address that the authority knows.
    email: Option<String>,
    credentials: AccountCredentials,
}

/// A visit in progress.
struct Visit<'a> {
    settings: &'a AcmeSettings,
    has_redirect: bool,
    challenges: &'a Challenges,
    cache: Cache,
    warnings: Vec<String>,
}

/// Visits the authority, and returns how that has ended. May take minutes. With `has_redirect`,
/// requests on port 80 reach this server (`--redirect-bind`).
pub fn visit(settings: &AcmeSettings, has_redirect: bool, challenges: &Challenges) -> Report {
    let failed = |reason: String| Report {
        outcome: Outcome::Failed { reason, pause: UNUSABLE_CACHE_PAUSE.as_secs() },
        warnings: Vec::new(),
    };
    let cache = match Cache::open(settings) {
        Ok(cache) => cache,
        Err(reason) => return failed(reason),
    };
    let _lock: File = match cache.lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => return Report { outcome: Outcome::Busy, warnings: Vec::new() },
        Err(failure) => return failed(format!("cannot lock the ACME cache: {failure}")),
    };
    let mut visit = Visit { settings, has_redirect, challenges, cache, warnings: Vec::new() };
    let outcome = visit.run();
    // The authority has what it wanted.
    let _ = challenges.publish(&[]);
    Report { outcome, warnings: visit.warnings }
}

impl Visit<'_> {
    fn run(&mut self) -> Outcome {
        // Another process may have written them since the master has read them.
        let mut state = self.cache.state();
        let facts = self.facts();
        let client = match Client::new() {
            Ok(client) => client,
            Err(reason) => return self.on_failure(state, None, Failure::refused(reason)),
        };
        let result = wait(self.order_or_ask(&client, &mut state, facts.as_ref()));
        match result {
            Ok(outcome) => outcome,
            Err(failure) => self.on_failure(state, client.retry_after(), failure),
        }
    }

    fn facts(&self) -> Option<Facts> {
        Facts::read(&self.cache.certificate()?).ok()
    }

    async fn order_or_ask(
        &mut self,
        client: &Client,
        state: &mut State,
        facts: Option<&Facts>,
    ) -> Result<Outcome, Failure> {
        let identifier = facts.and_then(|facts| facts.identifier.as_ref());
        if order_due(self.settings, state, facts) > now() {
            let account = self.account(client).await?;
            self.ask_for_suggestion(&account, state, identifier).await;
            // The suggestion may be to renew at once.
            if order_due(self.settings, state, facts) > now() {
                state.failures = 0;
                state.next_attempt = 0;
                self.store(|cache| cache.store_state(state))?;
                return Ok(Outcome::Unchanged);
            }
        }
        self.expect_failure(state)?;
        let is_renewal = facts.is_some_and(|facts| facts.is_for(&self.settings.domains));
        let pem = self.order(client, state, identifier.filter(|_| is_renewal)).await?;
        let issued = Facts::read(pem.as_bytes());
        let issued =
            issued.map_err(|reason| Failure::refused(format!("cannot use it: {reason}")))?;
        self.store(|cache| cache.store_certificate(&pem))?;
        if !state.on_issued(self.settings, &issued, now(), random()) {
            self.warnings.push(
                "The certificate has to be replaced already, ordering another one after a pause: \
                 it is for other names than --acme-domain, or this machine's clock is wrong"
                    .to_owned(),
            );
        }
        self.store(|cache| cache.store_state(state))?;
        Ok(Outcome::Issued { is_renewal, not_after: issued.not_after.as_secs() })
    }

    /// Writes that the order has failed, before it begins: so it counts if this process is killed,
    /// or the server restarts, and an authority is not asked for what could not be stored.
    fn expect_failure(&self, state: &State) -> Result<(), Failure> {
        let mut expected = state.clone();
        expected.on_failure(now(), Cause::Unreachable, None, random());
        self.store(|cache| cache.store_state(&expected))
    }

    /// Orders with the account of the cache; with another one, if the authority has forgotten it.
    async fn order(
        &mut self,
        client: &Client,
        state: &State,
        replaces: Option<&CertificateIdentifier<'_>>,
    ) -> Result<String, Failure> {
        let kinds = kinds(self.has_redirect, state.failures);
        let account = self.account(client).await?;
        // An authority that makes no suggestions does not know which certificate is replaced.
        let replaces = match replaces {
            Some(identifier) if account.renewal_info(identifier).await.is_ok() => {
                Some(identifier.clone())
            }
            _ => None,
        };
        let request = Request {
            account: &account,
            client,
            domains: &self.settings.domains,
            replaces,
            kinds: &kinds,
            challenges: self.challenges,
        };
        match order(&request).await {
            Err(failure) if failure.is_unknown_account => {}
            result => return result,
        }
        self.warnings.push(format!(
            "The authority does not know the ACME account of the cache, making another one: {}",
            self.settings.directory
        ));
        let account = self.new_account(client).await?;
        order(&Request { account: &account, ..request }).await
    }

    async fn ask_for_suggestion(
        &mut self,
        account: &Account,
        state: &mut State,
        identifier: Option<&CertificateIdentifier<'_>>,
    ) {
        let Some(identifier) = identifier else { return state.on_no_suggestion(now()) };
        match account.renewal_info(identifier).await {
            Ok((suggestion, interval)) => {
                let window = suggestion.suggested_window;
                let time = |at: i64| Duration::from_secs(u64::try_from(at).unwrap_or(0));
                let (begin, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
                state.on_suggestion(now(), (time(begin), time(end)), interval, random());
            }
            Err(_) => state.on_no_suggestion(now()),
        }
    }

    /// The account of the cache, or a new one.
    async fn account(&mut self, client: &Client) -> Result<Account, Failure> {
        let stored = self.cache.account::<Stored>().unwrap_or_else(|reason| {
            self.warnings.push(format!("Making another ACME account: {reason}"));
            None
        });
        let Some(Stored { email, credentials }) = stored else {
            return self.new_account(client).await;
        };
        let account = builder(client).from_credentials(credentials).await?;
        if email != self.settings.email {
            self.update_email(&account).await;
        }
        Ok(account)
    }

    async fn new_account(&mut self, client: &Client) -> Result<Account, Failure> {
        let contact = self.contact();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            // Documented with --acme-domain.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.settings.directory.clone();
        let (account, credentials) = builder(client).create(&new, directory, None).await?;
        let stored = Stored { email: self.settings.email.clone(), credentials };
        self.store(|cache| cache.store_account(&stored))?;
        Ok(account)
    }

    /// An address that the authority does not accept is no reason to go without a certificate.
    async fn update_email(&mut self, account: &Account) {
        let contact = self.contact();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let updated = account.update_contacts(&contact).await;
        let stored = self.cache.account::<Stored>().ok().flatten();
        let email = self.settings.email.clone();
        match (updated, stored) {
            (Ok(()), Some(stored)) => {
                let _ = self.cache.store_account(&Stored { email, ..stored });
            }
            (Ok(()), None) => {}
            (Err(failure), _) => self.warnings.push(format!(
                "--acme-email: the authority does not accept the address, and keeps the old one: \
                 {failure}"
            )),
        }
    }

    fn contact(&self) -> Option<String> {
        self.settings.email.as_ref().map(|address| format!("mailto:{address}"))
    }

    fn store(&self, store: impl FnOnce(&Cache) -> io::Result<()>) -> Result<(), Failure> {
        store(&self.cache).map_err(|failure| {
            Failure::refused(format!("cannot write to the ACME cache: {failure}"))
        })
    }

    fn on_failure(
        &mut self,
        mut state: State,
        retry_after: Option<Duration>,
        failure: Failure,
    ) -> Outcome {
        let now = now();
        state.on_failure(now, failure.cause, retry_after, random());
        if let Err(failure) = self.cache.store_state(&state) {
            self.warnings.push(format!("Cannot write to the ACME cache: {failure}"));
        }
        let pause = state.next_attempt.saturating_sub(now.as_secs());
        Outcome::Failed { reason: failure.reason, pause }
    }
}

fn builder(client: &Client) -> instant_acme::AccountBuilder {
    Account::builder_with_http(Box::new(client.clone()))
}

/// The challenges that this server can meet. HTTP-01 comes first where port 80 leads here. After a
/// failure the other one does: a proxy or a firewall may be in the way of one of them.
fn kinds(has_redirect: bool, failures: u32) -> Vec<ChallengeType> {
    match (has_redirect, failures % 2) {
        (true, 0) => vec![ChallengeType::Http01, ChallengeType::TlsAlpn01],
        (true, _) => vec![ChallengeType::TlsAlpn01, ChallengeType::Http01],
        (false, _) => vec![ChallengeType::TlsAlpn01],
    }
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// A number from 0 to 1; in the middle without random numbers.
fn random() -> f64 {
    let mut bytes = [0; 2];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX),
        Err(_) => 0.5,
    }
}
