//! What the poller knows about static files in one turn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;

use crate::net::tuning::MAX_STATIC_PREPARED;
use crate::static_files::{Found, Lookup, Prepared, StaticSite, Target};

/// The static files of a poller.
#[derive(Debug)]
pub(super) struct StaticFiles {
    pub(super) site: Arc<StaticSite>,
    /// What was looked up in this turn.
    prepared: HashMap<Target, Prepared>,
}

impl StaticFiles {
    pub(super) fn new(site: Arc<StaticSite>) -> StaticFiles {
        StaticFiles { site, prepared: HashMap::new() }
    }

    /// Closes the files of this turn.
    pub(super) fn end_turn(&mut self) {
        if !self.prepared.is_empty() {
            self.prepared.clear();
        }
    }

    /// Looks up a target, once a turn.
    pub(super) fn prepare(&mut self, target: Target, lookup: Lookup) -> io::Result<&Prepared> {
        if self.prepared.len() >= MAX_STATIC_PREPARED && !self.prepared.contains_key(&target) {
            self.prepared.clear();
        }
        match self.prepared.entry(target) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let found = self.site.find(entry.key(), lookup)?;
                let prepared = self.site.prepare(entry.key(), found);
                Ok(entry.insert(prepared))
            }
        }
    }

    /// Adds what another thread has looked up.
    pub(super) fn insert(&mut self, target: Target, found: Found) {
        let prepared = self.site.prepare(&target, found);
        self.prepared.insert(target, prepared);
    }
}
