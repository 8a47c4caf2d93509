//! When to visit the authority: the state that outlives a restart, and the policy, which has no I/O
//! and no clock. Times are durations since 1970, because they are compared with certificates and
//! with what an earlier process has written.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::certificate::Facts;
use crate::config::AcmeSettings;

/// The pause after the authority could not be reached, which doubles with each further failure.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(5);
const MAX_UNREACHABLE_PAUSE: Duration = Duration::from_secs(3600);
/// The pause after the authority has refused. Let's Encrypt allows five failed validations an hour
/// for each name.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
const MAX_REFUSED_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// How often the authority is asked when it suggests to renew, if it does not say how often.
const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(3600);
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The longest pause after a failure that is obeyed. A longer one was written while the clock was
/// ahead: all that [`State::on_failure`] makes, an authority's `Retry-After` included, are shorter.
const MAX_PAUSE: Duration = Duration::from_secs(25 * 3600);

/// What the next visit, also of the next process, needs to know of the earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The directory of the authority that has issued the certificate.
    pub(super) directory: String,
    /// The number of visits that have failed since the last one that did not.
    pub(super) failures: u32,
    /// When the next visit may be, after a failure: seconds since 1970.
    pub(super) next_attempt: u64,
    /// When to renew the certificate, if the authority has suggested it: seconds since 1970.
    /// [RFC 9773]
    pub(super) renew_at: Option<u64>,
    /// When to ask for that suggestion again: seconds since 1970.
    pub(super) next_check: Option<u64>,
}

/// Why a visit has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The authority could not be reached, or has not answered.
    Unreachable,
    /// The authority has answered with an error, or could not validate a name.
    Refused,
}

impl State {
    /// A visit at `now` has failed. `retry_after` is what the authority has asked for; `random` is
    /// from 0 to 1.
    pub(super) fn on_failure(
        &mut self,
        now: Duration,
        cause: Cause,
        retry_after: Option<Duration>,
        random: f64,
    ) {
        let (first, longest) = match cause {
            Cause::Unreachable => (UNREACHABLE_PAUSE, MAX_UNREACHABLE_PAUSE),
            Cause::Refused => (REFUSED_PAUSE, MAX_REFUSED_PAUSE),
        };
        let doubled = first.saturating_mul(1 << self.failures.min(20));
        // Many servers may have failed at the same time.
        let pause = doubled.min(longest).mul_f64(0.75 + random / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.next_attempt = (now + pause.max(retry_after.unwrap_or_default())).as_secs();
    }

    /// Ends the pause after a failure.
    pub fn end_pause(&mut self) {
        self.next_attempt = 0;
    }

    /// A certificate was issued by the authority. False if it has to be replaced at once: it is for
    /// other names, or its time is over by this machine's clock. So that orders do not follow each
    /// other, and use up the limits of the authority, the next one waits as after a failure.
    pub(super) fn on_issued(
        &mut self,
        settings: &AcmeSettings,
        issued: &Facts,
        now: Duration,
        random: f64,
    ) -> bool {
        let failures = self.failures;
        *self = State { directory: settings.directory.clone(), ..State::default() };
        self.on_no_suggestion(now);
        let is_usable = order_due(settings, self, Some(issued)) > now;
        if !is_usable {
            self.failures = failures;
            self.on_failure(now, Cause::Refused, None, random);
        }
        is_usable
    }

    /// The authority suggests to renew between `begin` and `end`, and to ask again after
    /// `interval`. `random` chooses from the window: from 0 to 1.
    pub(super) fn on_suggestion(
        &mut self,
        now: Duration,
        (begin, end): (Duration, Duration),
        interval: Duration,
        random: f64,
    ) {
        let chosen = begin + end.saturating_sub(begin).mul_f64(random);
        let is_in_window = |at: &u64| (begin..=end).contains(&Duration::from_secs(*at));
        // One that was chosen earlier stays while the window has it.
        self.renew_at = self.renew_at.filter(is_in_window).or(Some(chosen.as_secs()));
        self.set_next_check(now, interval);
    }

    /// The authority makes no suggestions, or could not be asked.
    pub(super) fn on_no_suggestion(&mut self, now: Duration) {
        self.set_next_check(now, MAX_CHECK_INTERVAL);
    }

    fn set_next_check(&mut self, now: Duration, interval: Duration) {
        let interval = interval.clamp(MIN_CHECK_INTERVAL, MAX_CHECK_INTERVAL);
        self.next_check = Some((now + interval).as_secs());
    }
}

/// When a certificate has to be ordered; zero for at once.
pub(super) fn order_due(settings: &AcmeSettings, state: &State, facts: Option<&Facts>) -> Duration {
    let Some(facts) = facts.filter(|facts| facts.is_for(&settings.domains)) else {
        return Duration::ZERO;
    };
    // A certificate without a state was put there by hand.
    if !state.directory.is_empty() && state.directory != settings.directory {
        return Duration::ZERO;
    }
    let latest = renewal_time(facts);
    state.renew_at.map_or(latest, |at| Duration::from_secs(at).min(latest))
}

/// When a third of the lifetime is left, or up to a tenth of that third earlier. Which, depends on
/// the certificate, so that it is the same after a restart, but not for all servers that were
/// started together.
fn renewal_time(facts: &Facts) -> Duration {
    let third = facts.not_after.saturating_sub(facts.not_before) / 3;
    let serial = facts.identifier.as_ref().map_or(0, |identifier| {
        identifier
            .serial
            .bytes()
            .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
    });
    let earlier = third / 10 * (serial % 1000) / 1000;
    facts.not_after.saturating_sub(third + earlier)
}

/// When to visit the authority next. `certificate` is the PEM file in the cache, if there is one.
/// A time in the past means at once.
pub fn next_visit(
    settings: &AcmeSettings,
    state: &State,
    certificate: Option<&[u8]>,
    now: Duration,
) -> Duration {
    let facts = certificate.and_then(|pem| Facts::read(pem).ok());
    let order = order_due(settings, state, facts.as_ref());
    // A certificate that was never asked for: at once. So is one whose next question is further
    // away than any: the clock was ahead.
    let soon = |at: &Duration, longest| *at <= now.saturating_add(longest);
    let check = state.next_check.map(Duration::from_secs);
    let check = check.filter(|at| soon(at, MAX_CHECK_INTERVAL)).unwrap_or_default();
    let attempt = Duration::from_secs(state.next_attempt);
    order.min(check).max(Some(attempt).filter(|at| soon(at, MAX_PAUSE)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn day(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    fn settings() -> AcmeSettings {
        AcmeSettings {
            domains: vec!["a.example".to_owned()],
            directory: "https://ca/dir".to_owned(),
            ..AcmeSettings::default()
        }
    }

    fn facts(name: &str, lifetime_days: u64) -> Facts {
        Facts {
            names: vec![name.to_owned()],
            not_before: day(1000),
            not_after: day(1000 + lifetime_days),
            identifier: None,
        }
    }

    #[test]
    fn certificate_is_ordered_when_it_is_missing_foreign_or_has_a_third_of_its_life_left() {
        let known = State { directory: "https://ca/dir".to_owned(), ..State::default() };
        let other = State { directory: "https://staging/dir".to_owned(), ..State::default() };
        let suggested = State { renew_at: Some(1010 * DAY), ..known.clone() };
        let late = State { renew_at: Some(1080 * DAY), ..known.clone() };
        for (state, facts, expected) in [
            (&known, None, day(0)),
            (&known, Some(facts("b.example", 90)), day(0)),
            (&other, Some(facts("a.example", 90)), day(0)),
            (&known, Some(facts("a.example", 90)), day(1060)),
            (&State::default(), Some(facts("a.example", 90)), day(1060)),
            (&known, Some(facts("a.example", 6)), day(1004)),
            (&suggested, Some(facts("a.example", 90)), day(1010)),
            (&late, Some(facts("a.example", 90)), day(1060)),
        ] {
            assert_eq!(order_due(&settings(), state, facts.as_ref()), expected, "{state:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_their_limit_and_obey_the_authority() {
        let now = day(1000);
        let pause = |failures, cause, retry_after: Option<u64>, random| {
            let mut state = State { failures, ..State::default() };
            state.on_failure(now, cause, retry_after.map(Duration::from_secs), random);
            assert_eq!(state.failures, failures + 1);
            state.next_attempt - now.as_secs()
        };
        for (failures, cause, retry_after, random, expected) in [
            (0, Cause::Unreachable, None, 0.5, 5),
            (3, Cause::Unreachable, None, 0.5, 40),
            (60, Cause::Unreachable, None, 0.5, 3600),
            (0, Cause::Refused, None, 0.5, 60),
            (0, Cause::Refused, None, 0.0, 45),
            (0, Cause::Refused, None, 1.0, 75),
            (2, Cause::Refused, None, 0.5, 240),
            (60, Cause::Refused, None, 0.5, 6 * 3600),
            (0, Cause::Refused, Some(7200), 0.5, 7200),
        ] {
            assert_eq!(
                pause(failures, cause, retry_after, random),
                expected,
                "{failures} {cause:?}"
            );
        }
    }

    #[test]
    fn certificate_that_has_to_be_replaced_at_once_is_followed_by_a_pause() {
        let ordered = |facts: &Facts, now: Duration| {
            let mut state = State { failures: 2, ..State::default() };
            let is_usable = state.on_issued(&settings(), facts, now, 0.5);
            assert_eq!(state.directory, settings().directory);
            (is_usable, state.failures, state.next_attempt.saturating_sub(now.as_secs()))
        };
        let good = facts("a.example", 90);
        assert_eq!(ordered(&good, day(1001)), (true, 0, 0));
        // The clock is ahead of the authority's, or the name is another one.
        for (issued, now) in [(&good, day(1070)), (&facts("b.example", 90), day(1001))] {
            assert_eq!(ordered(issued, now), (false, 3, 240), "{issued:?}");
        }
    }

    #[test]
    fn suggestion_is_kept_while_the_window_has_it() {
        let mut state = State::default();
        let window = (day(1050), day(1052));
        state.on_suggestion(day(1000), window, Duration::from_secs(6 * 3600), 0.5);
        assert_eq!(
            (state.renew_at, state.next_check),
            (Some(1051 * DAY), Some(1000 * DAY + 21_600))
        );
        state.on_suggestion(day(1001), window, Duration::from_secs(1), 0.0);
        assert_eq!((state.renew_at, state.next_check), (Some(1051 * DAY), Some(1001 * DAY + 3600)));
        state.on_suggestion(day(1002), (day(900), day(901)), day(30), 0.0);
        assert_eq!((state.renew_at, state.next_check), (Some(900 * DAY), Some(1003 * DAY)));
    }

    #[test]
    fn pause_after_a_failure_outlives_a_restart() {
        let state = State { failures: 2, next_attempt: 77, ..State::default() };
        let kept: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        assert_eq!(next_visit(&settings(), &kept, None, day(0)), Duration::from_secs(77));
    }

    #[test]
    fn pause_of_a_clock_that_was_ahead_is_not_obeyed() {
        let now = day(1000);
        let mut state = State { failures: 60, ..State::default() };
        state.on_failure(now, Cause::Refused, Some(Duration::from_secs(DAY)), 1.0);
        let visit = |state: &State| next_visit(&settings(), state, None, now);
        assert_eq!(visit(&state), day(1001), "the longest pause");
        for next_attempt in [1002 * DAY, u64::MAX] {
            assert_eq!(visit(&State { next_attempt, ..state.clone() }), Duration::ZERO);
        }
    }

    #[test]
    fn authority_is_asked_for_its_suggestion_before_the_order_is_due() {
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let pem = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let visit = |state: &State| next_visit(&settings(), state, Some(pem.as_bytes()), day(0));
        let asked = State { next_check: Some(DAY), ..State::default() };
        assert_eq!(visit(&State::default()), Duration::ZERO);
        assert_eq!(visit(&asked), day(1));
        // The clock was ahead.
        assert_eq!(visit(&State { next_check: Some(DAY + 1), ..asked }), Duration::ZERO);
    }
}
