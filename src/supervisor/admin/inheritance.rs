//! What an old master passes to a new one (USR2) when it exits: its counts, so that the counters of
//! the new one go on where those of the old one have ended.
//!
//! The masters may be of different versions, so each count has a name. One that the new master does
//! not know is left out.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::ledger::{Ledger, Restart};
use crate::observe::limit_names;
use crate::observe::shared_state::{BOUNDS, CLASSES, Histogram, METHODS, Totals};
use crate::supervisor::reloads::{Outcome, Reloads};

/// All counts as text: `requests/GET/2xx=5`, one a line.
pub(super) fn write(ledger: &mut Ledger, reloads: &mut Reloads) -> String {
    let mut text = String::new();
    for (name, count) in counts(ledger, reloads).into_iter().filter(|(_, count)| **count > 0) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}={count}");
    }
    text
}

/// Adds the counts of an old master. What is not one is ignored.
pub(super) fn add(text: &str, ledger: &mut Ledger, reloads: &mut Reloads) {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let inherited: HashMap<&str, u64> =
        pairs.filter_map(|(name, count)| Some((name, count.parse().ok()?))).collect();
    for (name, count) in counts(ledger, reloads) {
        *count = count.wrapping_add(inherited.get(name.as_str()).copied().unwrap_or(0));
    }
}

/// Every count with its name.
fn counts<'a>(ledger: &'a mut Ledger, reloads: &'a mut Reloads) -> Vec<(String, &'a mut u64)> {
    let Totals { requests, duration, queue, app, body_bytes, accepted, limits } = &mut ledger.ended;
    let mut all = Vec::new();
    for (method, counts) in METHODS.iter().zip(requests) {
        let of_method = CLASSES.iter().zip(counts);
        all.extend(of_method.map(|(class, count)| (format!("requests/{method}/{class}"), count)));
    }
    for (name, histogram) in [("duration", duration), ("queue", queue), ("app", app)] {
        let Histogram { buckets, sum_ns } = histogram;
        let bounds = BOUNDS.into_iter().chain(["+Inf"]).zip(buckets);
        all.extend(bounds.map(|(bound, count)| (format!("{name}/{bound}"), count)));
        all.push((format!("{name}/sum_ns"), sum_ns));
    }
    all.extend(limit_names().zip(limits).map(|(name, count)| (format!("limits/{name}"), count)));
    let restarts = Restart::NAMES.iter().zip(&mut ledger.restarts);
    all.extend(restarts.map(|(name, count)| (format!("restarts/{name}"), count)));
    let reloads = Outcome::NAMES.iter().zip(reloads.counts_mut());
    all.extend(reloads.map(|(name, count)| (format!("reloads/{name}"), count)));
    all.push(("body_bytes/received".to_owned(), &mut body_bytes.received));
    all.push(("body_bytes/sent".to_owned(), &mut body_bytes.sent));
    all.push(("accepted".to_owned(), accepted));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_by_their_names() {
        let (mut ledger, mut reloads) = (Ledger::new(), Reloads::default());
        for (number, (_, count)) in (1..).zip(counts(&mut ledger, &mut reloads)) {
            *count = number;
        }
        let text = write(&mut ledger, &mut reloads);
        let (mut next, mut next_reloads) = (Ledger::new(), Reloads::default());
        next.ended.accepted = 7;
        let of_newer = "limits/of_a_newer_version=3\nrequests/GET/2xx=many\n\n=\n";
        add(&format!("{text}{of_newer}"), &mut next, &mut next_reloads);
        ledger.ended.accepted += 7;
        // The later line of this name is no number.
        let pairs = counts(&mut ledger, &mut reloads).into_iter();
        for (old, new) in pairs.zip(counts(&mut next, &mut next_reloads)) {
            assert_eq!(old, new);
        }
    }

    #[test]
    fn names_are_different() {
        let (mut ledger, mut reloads) = (Ledger::new(), Reloads::default());
        let mut names: Vec<_> =
            counts(&mut ledger, &mut reloads).into_iter().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
