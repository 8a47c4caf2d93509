//! What a visit reports to the master, which logs it.

use serde::{Deserialize, Serialize};

/// How a visit has ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A certificate was issued, and is in the cache.
    Issued {
        /// It replaces one for the same names.
        is_renewal: bool,
        /// The end of its validity, in seconds since 1970.
        not_after: u64,
    },
    /// The certificate in the cache need not be renewed yet.
    Unchanged,
    /// Another process that uses the cache orders a certificate at the moment.
    Busy,
    /// No certificate was issued.
    Failed {
        /// Why: a sentence for the log.
        reason: String,
        /// Seconds until the next visit.
        pause: u64,
    },
}

/// The report of a visit.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it has ended.
    pub outcome: Outcome,
    /// What the operator should know besides, such as files of the cache that cannot be used.
    pub warnings: Vec<String>,
}
