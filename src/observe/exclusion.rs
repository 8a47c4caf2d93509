//! The requests that the access log leaves out: `--access-log-exclude`, as a rule the health checks
//! of a load balancer.

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::record::Record;

/// Statuses from this one on are logged even for an excluded path: a health check that fails is
/// what an operator looks for.
const FIRST_ERROR: u16 = 400;

/// Regular expressions of paths whose requests are not logged.
#[derive(Debug, Clone, Default)]
pub struct Exclusion(RegexSet);

impl Exclusion {
    /// Compiles regular expressions. Matching takes linear time.
    ///
    /// # Errors
    /// The reason why one is malformed.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Exclusion, String> {
        // Without Unicode: a path consists of ASCII, and a path that does not is matched as bytes.
        let set = RegexSetBuilder::new(patterns).unicode(false).build();
        set.map(Exclusion).map_err(|error| {
            // The lines before it show the expression.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            reason.trim_start_matches("error: ").to_owned()
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the record is left out: its path, without the query, matches, and its status is no
    /// error.
    pub(super) fn matches(&self, record: &Record<'_>) -> bool {
        record.status < FIRST_ERROR && self.0.is_match(record.path_and_query().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::access_log::tests::record;

    #[test]
    fn path_that_matches_is_excluded_unless_the_status_is_an_error() {
        let exclusion = Exclusion::new(["^/healthz$", r"\.(?i)PNG$", "^/%C3%A9"]).unwrap();
        for (target, status, expected) in [
            ("/healthz", 200, true),
            ("/healthz?full=1", 204, true),
            ("http://a/healthz", 302, true),
            ("/healthz", 400, false),
            ("/healthz", 503, false),
            ("/healthz/x", 200, false),
            ("/a?/healthz", 200, false),
            ("/logo.png", 304, true),
            ("/%C3%A9", 200, true),
            ("*", 200, false),
        ] {
            let record = Record { target: target.as_bytes(), status, ..record() };
            assert_eq!(exclusion.matches(&record), expected, "{target} {status}");
        }
        assert!(Exclusion::default().is_empty());
        assert!(!Exclusion::default().matches(&record()));
    }

    #[test]
    fn malformed_expression_is_an_error_with_its_reason() {
        assert_eq!(Exclusion::new(["/ok", "/(healthz"]).unwrap_err(), "unclosed group");
    }
}
