//! The limit of open descriptors.
//!
//! Each connection needs a descriptor, and more while a body is in a temporary file. The soft limit
//! is 1024 on most systems, for the sake of programs that call select(2); the hard limit is what
//! the administrator allows. Servers that do not use select(2) raise the one to the other: the Go
//! and Java runtimes do so for every program.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is of no use to a server, and makes programs slow that close all possible descriptors.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Raises the soft limit to the hard one. If the system refuses, the limit stays as it is.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Some(raised) = raised(limit.current, limit.maximum) {
        let limit = Rlimit { current: Some(raised), maximum: limit.maximum };
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// The new soft limit; `None` to keep the current one. A limit of `None` is none.
fn raised(soft: Option<u64>, hard: Option<u64>) -> Option<u64> {
    let raised = hard.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    soft.is_some_and(|soft| soft < raised).then_some(raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_is_raised_to_the_hard_one_within_reason() {
        for (soft, hard, expected) in [
            (Some(1024), Some(4096), Some(4096)),
            (Some(1024), Some(1 << 30), Some(MAX_DESCRIPTORS)),
            (Some(1024), None, Some(MAX_DESCRIPTORS)),
            (Some(4096), Some(4096), None),
            (Some(1 << 21), Some(1 << 30), None),
            (None, None, None),
        ] {
            assert_eq!(raised(soft, hard), expected, "{soft:?}, {hard:?}");
        }
    }
}
