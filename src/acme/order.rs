//! One order: proves that this server has each name, and gets the certificate. [RFC 8555 section
//! 7.4]

use std::thread::sleep;
use std::time::{Duration, Instant};

use instant_acme::{
    Account, AuthorizationState, AuthorizationStatus, CertificateIdentifier, ChallengeHandle,
    ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

use super::http::Client;
use super::schedule::Cause;
use crate::net::{Challenge, Challenges};

/// How long the authority may take to validate the names, and to issue the certificate.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// The pauses between questions for the status of an order, if the authority names none.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The type of the problem that a request with an account has that was deleted.
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
/// The type of the problem that a request with an old nonce has, after it was repeated.
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// A sentence for the log.
    pub(super) reason: String,
    /// The authority does not know the account. [RFC 8555 section 6.7]
    pub(super) is_unknown_account: bool,
}

impl Failure {
    pub(super) fn refused(reason: impl Into<String>) -> Failure {
        Failure { cause: Cause::Refused, reason: reason.into(), is_unknown_account: false }
    }
}

impl From<Error> for Failure {
    fn from(failure: Error) -> Failure {
        let kind = match &failure {
            Error::Api(problem) => problem.r#type.clone(),
            _ => None,
        };
        let cause = match failure {
            // Of the client, or of bytes that are no ACME.
            Error::Other(_) | Error::Json(_) | Error::Str(_) => Cause::Unreachable,
            // No decision about the names.
            _ if kind.as_deref() == Some(BAD_NONCE) => Cause::Unreachable,
            _ => Cause::Refused,
        };
        let reason = match &failure {
            Error::Api(problem) => describe(problem),
            _ => failure.to_string(),
        };
        let is_unknown_account = kind.as_deref() == Some(UNKNOWN_ACCOUNT);
        Failure { cause, reason, is_unknown_account }
    }
}

/// The problem in one line, as the authority describes it.
pub(super) fn describe(problem: &instant_acme::Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let detail = problem.detail.as_deref().unwrap_or("without a description");
    let parts = problem.subproblems.iter().map(|part| format!("; {part}")).collect::<String>();
    format!("{detail} ({kind}){parts}")
}

/// What to order, and the means for it.
pub(super) struct Request<'a> {
    pub(super) account: &'a Account,
    pub(super) client: &'a Client,
    pub(super) domains: &'a [String],
    /// The certificate that is renewed, if the authority wants to know.
    pub(super) replaces: Option<CertificateIdentifier<'a>>,
    /// The challenges that this server can meet, the preferred one first.
    pub(super) kinds: &'a [ChallengeType],
    pub(super) challenges: &'a Challenges,
}

/// A certificate chain and its key, in the PEM format.
pub(super) async fn order(request: &Request<'_>) -> Result<String, Failure> {
    let mut order = begin(request).await?;
    meet_challenges(request, &mut order).await?;
    let deadline = Instant::now() + ORDER_TIMEOUT;
    let is_pending = |status| matches!(status, OrderStatus::Pending);
    await_status(request.client, &mut order, deadline, is_pending).await?;
    let key = order.finalize().await?;
    let is_pending = |status| matches!(status, OrderStatus::Ready | OrderStatus::Processing);
    await_status(request.client, &mut order, deadline, is_pending).await?;
    let chain = order.certificate().await?;
    let chain = chain.ok_or_else(|| Failure::refused("the order has no certificate"))?;
    Ok(format!("{}\n{key}", chain.trim_end()))
}

/// Names the certificate that is renewed, if the authority accepts that: it does not if another
/// order has replaced it, whose certificate was lost. [RFC 9773 section 5]
async fn begin(request: &Request<'_>) -> Result<Order, Failure> {
    let identifiers: Vec<_> = request.domains.iter().cloned().map(Identifier::Dns).collect();
    if let Some(replaces) = &request.replaces {
        let renewal = NewOrder::new(&identifiers).replaces(replaces.clone());
        if let Ok(order) = request.account.new_order(&renewal).await {
            return Ok(order);
        }
    }
    Ok(request.account.new_order(&NewOrder::new(&identifiers)).await?)
}

/// Publishes a response for each name that is not validated yet, and then has the authority ask for
/// them. All of them before it asks for any: a response is unreadable while others are written.
async fn meet_challenges(request: &Request<'_>, order: &mut Order) -> Result<(), Failure> {
    let mut published = Vec::new();
    let mut kinds = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        let kind = match authorization.status {
            // From an earlier order.
            AuthorizationStatus::Valid => None,
            AuthorizationStatus::Pending => Some(choose(request, &name, &authorization)?),
            status => {
                return Err(Failure::refused(format!("{name}: the authorization is {status:?}")));
            }
        };
        if let Some(challenge) = kind.clone().and_then(|kind| authorization.challenge(kind)) {
            published.push(response(&name, &challenge)?);
        }
        kinds.push(kind);
    }
    request.challenges.publish(&published).map_err(|failure| {
        Failure::refused(format!("cannot publish the responses to the challenges: {failure}"))
    })?;
    let mut kinds = kinds.into_iter();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let kind = kinds.next().flatten();
        if let Some(mut challenge) = kind.and_then(|kind| authorization.challenge(kind)) {
            challenge.set_ready().await?;
        }
    }
    Ok(())
}

/// The preferred one among the challenges that the authority offers, and this server can meet.
fn choose(
    request: &Request<'_>,
    name: &str,
    authorization: &AuthorizationState,
) -> Result<ChallengeType, Failure> {
    let offered = |kind: &&ChallengeType| {
        authorization.challenges.iter().any(|challenge| challenge.r#type == **kind)
    };
    let kind = request.kinds.iter().find(offered).cloned();
    kind.ok_or_else(|| {
        Failure::refused(format!(
            "{name}: the authority offers neither TLS-ALPN-01 nor, with --redirect-bind, HTTP-01"
        ))
    })
}

fn response(name: &str, challenge: &ChallengeHandle<'_>) -> Result<Challenge, Failure> {
    let authorization = challenge.key_authorization();
    Ok(match challenge.r#type {
        ChallengeType::Http01 => Challenge::Http {
            token: challenge.token.clone(),
            key_authorization: authorization.as_str().to_owned(),
        },
        _ => Challenge::TlsAlpn {
            name: name.to_owned(),
            pem: validation_certificate(name, authorization.digest().as_ref()).map_err(
                |failure| Failure::refused(format!("{name}: cannot make a certificate: {failure}")),
            )?,
        },
    })
}

/// The certificate that a handshake for TLS-ALPN-01 is answered with. [RFC 8737 section 3]
fn validation_certificate(name: &str, digest: &[u8]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    Ok(format!("{}{}", params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Asks for the status of the order until it `is_pending` no more.
async fn await_status(
    client: &Client,
    order: &mut Order,
    deadline: Instant,
    is_pending: impl Fn(OrderStatus) -> bool,
) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        let state = order.refresh().await?;
        if let Some(problem) = &state.error {
            let reason = describe(problem);
            return Err(explain(order).await.unwrap_or(Failure::refused(reason)));
        }
        match state.status {
            OrderStatus::Invalid => {
                let unknown = || Failure::refused("the order was refused without a reason");
                return Err(explain(order).await.unwrap_or_else(unknown));
            }
            status if !is_pending(status) => return Ok(()),
            _ => {}
        }
        let asked = client.retry_after().unwrap_or(pause).clamp(FIRST_PAUSE, ORDER_TIMEOUT);
        if Instant::now() + asked > deadline {
            return Err(Failure::refused(format!(
                "the authority has not completed the order within {} s",
                ORDER_TIMEOUT.as_secs()
            )));
        }
        sleep(asked);
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// The names that could not be validated, and why.
async fn explain(order: &mut Order) -> Option<Failure> {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        // Its state is the one from before the challenge.
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|challenge| {
            let problem = challenge.error.as_ref()?;
            Some(format!("{name}, by {}: {}", label(&challenge.r#type), describe(problem)))
        });
        reasons.extend(errors);
    }
    (!reasons.is_empty()).then(|| Failure::refused(reasons.join("; ")))
}

/// The name of a challenge in the RFCs.
pub(super) fn label(kind: &ChallengeType) -> String {
    match kind {
        ChallengeType::Http01 => "HTTP-01".to_owned(),
        ChallengeType::TlsAlpn01 => "TLS-ALPN-01".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_of_the_authority_is_a_refusal_except_for_a_nonce() {
        for (kind, cause, is_unknown_account) in [
            ("rejectedIdentifier", Cause::Refused, false),
            ("accountDoesNotExist", Cause::Refused, true),
            ("badNonce", Cause::Unreachable, false),
        ] {
            let text = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}"}}"#);
            let failure = Failure::from(Error::Api(serde_json::from_str(&text).unwrap()));
            assert_eq!((failure.cause, failure.is_unknown_account), (cause, is_unknown_account));
            assert_eq!(failure.reason, format!("without a description ({kind})"));
        }
    }
}
