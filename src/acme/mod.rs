//! Orders certificates with ACME, and renews them. [RFC 8555, 8737, 9773]
//!
//! The master decides when, and forks a child process for each attempt (a *visit*), which runs
//! [`visit()`]: it may wait for the network for minutes, and the master parses nothing that an
//! authority sends. The child publishes its responses to challenges where the workers find them,
//! writes the account and the certificate into the cache, and reports how it has ended.
//!
//! - [`visit`](mod@visit) is one attempt, from the account to the certificate, [`order`] its order,
//! - [`http`] carries the requests,
//! - [`schedule`] decides when the next visit is due,
//! - [`cache`] keeps the account, the certificate and the state; [`certificate`] reads what the
//!   schedule needs to know of a certificate,
//! - [`report`] is what the child reports to the master.

mod cache;
mod certificate;
mod http;
mod order;
mod report;
mod schedule;
mod visit;

pub use cache::Cache;
pub use report::{Outcome, Report};
pub use schedule::{State, next_visit};
pub use visit::visit;
