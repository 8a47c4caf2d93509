//! The eviction policy: which connection is closed when there are too many, and which responses are
//! aborted while memory is over its hard limit.
//!
//! In both cases the longest inactive one goes first: a connection that waits for a request, or a
//! response that its client does not read. The policy does no I/O and has no clock; `evict` carries
//! it out.

use std::time::Instant;

use crate::net::arena::ConnectionId;
use crate::net::tuning::{
    IDLE_BATCH, IDLE_SEARCH_PAUSE, MEMORY_SHORT_AFTER, RELIEF_INTERVAL, SILENT_AFTER, STALLED_AFTER,
};

/// A connection that waits for the first byte of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    /// When that wait began.
    pub(super) since: Instant,
    /// Whether it has answered a request before.
    pub(super) has_served: bool,
}

/// The connections to choose from.
pub(super) trait Candidates {
    /// All connections.
    fn ids(&self) -> Vec<ConnectionId>;

    /// The state of a connection; `None` if it is closed or not idle.
    fn idle(&self, id: ConnectionId) -> Option<Idle>;
}

/// The state of the policy.
#[derive(Debug)]
pub(super) struct Eviction {
    /// Idle connections that a search has found, each with the time at which it became idle, the
    /// longest idle one last.
    found: Vec<(Instant, ConnectionId)>,
    /// When a search may be made again after one that has found nothing.
    next_search: Instant,
    /// When responses may be aborted again to free memory.
    next_relief: Instant,
    /// The first of the consecutive reliefs that found memory over its hard limit.
    memory_short_since: Instant,
}

impl Eviction {
    pub(super) fn new(now: Instant) -> Eviction {
        Eviction { found: Vec::new(), next_search: now, next_relief: now, memory_short_since: now }
    }

    /// The connection that has been idle for longest.
    pub(super) fn longest_idle(
        &mut self,
        connections: &impl Candidates,
        now: Instant,
    ) -> Option<ConnectionId> {
        let idle_since = |id| {
            let Idle { since, has_served } = connections.idle(id)?;
            let is_evictable = has_served || now.saturating_duration_since(since) >= SILENT_AFTER;
            is_evictable.then_some(since)
        };
        loop {
            // Connections of the last search have been idle for longer than those that became idle
            // since.
            while let Some((since, id)) = self.found.pop() {
                if idle_since(id) == Some(since) {
                    return Some(id);
                }
            }
            if now < self.next_search {
                return None;
            }
            let ids = connections.ids().into_iter();
            self.found = ids.filter_map(|id| Some((idle_since(id)?, id))).collect();
            if self.found.is_empty() {
                self.next_search = now + IDLE_SEARCH_PAUSE;
                return None;
            }
            if self.found.len() > IDLE_BATCH {
                self.found.select_nth_unstable(IDLE_BATCH);
                self.found.truncate(IDLE_BATCH);
            }
            self.found.sort_unstable_by(|one, other| other.cmp(one));
        }
    }

    /// True if it is time to free memory. Call it when a request needs memory that is over its hard
    /// limit.
    pub(super) fn is_relief_due(&mut self, now: Instant) -> bool {
        if now < self.next_relief {
            return false;
        }
        // Memory was below its hard limit in between, or no request has needed it.
        if now >= self.next_relief + STALLED_AFTER {
            self.memory_short_since = now;
        }
        self.next_relief = now + RELIEF_INTERVAL;
        true
    }

    /// The responses that are not read, the longest stalled one first, each with the time at which
    /// its client last read. `unsent` lists the responses with unsent bytes.
    pub(super) fn stalled(
        unsent: impl Iterator<Item = (Instant, ConnectionId)>,
        now: Instant,
    ) -> Vec<(Instant, ConnectionId)> {
        let is_stalled = |progress| now.saturating_duration_since(progress) >= STALLED_AFTER;
        let mut stalled: Vec<_> = unsent.filter(|(progress, _)| is_stalled(*progress)).collect();
        stalled.sort_unstable();
        stalled
    }

    /// True if memory has been short for so long that the largest response is aborted although its
    /// client reads. A client that reads a byte now and then would otherwise block all others.
    pub(super) fn may_evict_reader(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.memory_short_since) >= MEMORY_SHORT_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// Connections by number: seconds since when each is idle, and whether it has answered a
    /// request.
    struct Site(Instant, BTreeMap<usize, (f64, bool)>);

    impl Candidates for Site {
        fn ids(&self) -> Vec<ConnectionId> {
            self.1.keys().map(|number| ConnectionId::from_token(*number)).collect()
        }

        fn idle(&self, id: ConnectionId) -> Option<Idle> {
            let &(since, has_served) = self.1.get(&id.token())?;
            Some(Idle { since: self.0 + Duration::from_secs_f64(since), has_served })
        }
    }

    /// Evicts until none is left that may be; the numbers in their order.
    fn evict_all(site: &mut Site, at: f64) -> Vec<usize> {
        let mut eviction = Eviction::new(site.0);
        let now = site.0 + Duration::from_secs_f64(at);
        let mut evicted = Vec::new();
        while let Some(id) = eviction.longest_idle(site, now) {
            site.1.remove(&id.token()).unwrap();
            evicted.push(id.token());
        }
        evicted
    }

    #[test]
    fn longest_idle_connection_is_evicted_first() {
        for (idle, at, expected) in [
            (vec![], 9.0, vec![]),
            (vec![(3.0, true), (1.0, true), (2.0, true)], 9.0, vec![1, 2, 0]),
            // One that never made a request counts from a second of silence on.
            (vec![(8.5, false), (8.9, true)], 9.0, vec![1]),
            (vec![(8.0, false), (8.9, true)], 9.0, vec![0, 1]),
        ] {
            let idle = idle.into_iter().enumerate().collect();
            assert_eq!(evict_all(&mut Site(Instant::now(), idle), at), expected);
        }
    }

    #[test]
    fn many_idle_connections_are_evicted_in_order() {
        let count = 3 * IDLE_BATCH + 1;
        let idle = (0..count).map(|number| (number, ((number * 7 % count) as f64, true)));
        let mut site = Site(Instant::now(), idle.collect());
        let order = site.1.clone();
        let evicted = evict_all(&mut site, 1e6);
        assert_eq!(evicted.len(), count);
        assert!(evicted.is_sorted_by_key(|number| order[number].0));
    }

    #[test]
    fn connection_that_became_busy_is_not_evicted() {
        let (start, two) = (Instant::now(), [(1, (1.0, true)), (2, (2.0, true))]);
        let mut site = Site(start, two.into());
        let mut eviction = Eviction::new(start);
        let now = start + Duration::from_secs(5);
        let evicted =
            |eviction: &mut Eviction, site: &Site| Some(eviction.longest_idle(site, now)?.token());
        assert_eq!(evicted(&mut eviction, &site), Some(1));
        // It has answered a request since the search, and is idle anew.
        site.1.insert(2, (3.0, true));
        site.1.remove(&1);
        assert_eq!(evicted(&mut eviction, &site), Some(2));
    }

    #[test]
    fn search_without_result_is_not_repeated_at_once() {
        let start = Instant::now();
        let mut eviction = Eviction::new(start);
        let mut site = Site(start, BTreeMap::new());
        assert_eq!(eviction.longest_idle(&site, start), None);
        site.1.insert(1, (0.0, true));
        for (passed, expected) in [(99, None), (100, Some(1))] {
            let now = start + Duration::from_millis(passed);
            let found = eviction.longest_idle(&site, now).map(ConnectionId::token);
            assert_eq!(found, expected, "after {passed} ms");
        }
    }

    #[test]
    fn stalled_responses_come_longest_first() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let id = ConnectionId::from_token;
        let unsent = [(at(2.0), id(1)), (at(0.5), id(2)), (at(2.1), id(3))];
        let stalled = Eviction::stalled(unsent.into_iter(), at(3.0));
        assert_eq!(stalled, [(at(0.5), id(2)), (at(2.0), id(1))]);
    }

    #[test]
    fn memory_relief_is_rate_limited_and_escalates() {
        let start = Instant::now();
        let mut eviction = Eviction::new(start);
        for (milliseconds, due, may_evict_reader) in [
            (0, true, false),
            (99, false, false),
            (100, true, false),
            (1000, true, false),
            (2000, true, true),
            // Nothing has asked for more than a second: the count begins anew.
            (3100, true, false),
            (4100, true, false),
            (5100, true, true),
        ] {
            let now = start + Duration::from_millis(milliseconds);
            assert_eq!(eviction.is_relief_due(now), due, "after {milliseconds} ms");
            assert_eq!(eviction.may_evict_reader(now), may_evict_reader, "{milliseconds} ms");
        }
    }
}
