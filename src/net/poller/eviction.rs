//! The eviction policy: which connection is closed when there are too many, and which responses are
//! aborted while memory is over its hard limit.
//!
//! For a new connection, an idle one is evicted first, then one that lingers after its last
//! response, then one that waits for the rest of a head, then one that waits for the rest of a
//! request's content; among equals the one that has waited for longest. So a byte now and then does
//! not protect a connection. One whose request is complete is never closed for a new one. For
//! memory, the response that was not read for longest is aborted first. The policy does no I/O and
//! has no clock; `evict` carries it out.

use std::time::Duration;

use crate::net::arena::ConnectionId;
use crate::net::tuning::{
    CONTENT_STALLED_AFTER, DRAIN_LINGER_TIMEOUT, EVICTION_BATCH, EVICTION_SEARCH_PAUSE,
    MEMORY_SHORT_AFTER, RELIEF_INTERVAL, SILENT_AFTER, STALLED_AFTER,
};
use crate::net::waiting::{Awaited, Waiting};
use crate::sys::clock::Moment;

impl Awaited {
    /// How long a connection waits before it may be evicted.
    fn grace(self) -> Duration {
        match self {
            Awaited::NextRequest => Duration::ZERO,
            Awaited::Close => DRAIN_LINGER_TIMEOUT,
            Awaited::FirstRequest | Awaited::Head => SILENT_AFTER,
            Awaited::Content => CONTENT_STALLED_AFTER,
        }
    }

    /// The order of eviction: the lowest first.
    fn rank(self) -> u8 {
        match self {
            Awaited::NextRequest | Awaited::FirstRequest => IDLE,
            Awaited::Close => 1,
            Awaited::Head => 2,
            Awaited::Content => 3,
        }
    }
}

/// The rank of idle connections.
const IDLE: u8 = 0;

/// The connections to choose from.
pub(super) trait Candidates {
    /// All connections.
    fn ids(&self) -> Vec<ConnectionId>;

    /// What a connection waits for; `None` if it is closed or does not wait for its client's
    /// request.
    fn waiting(&self, id: ConnectionId) -> Option<Waiting>;
}

/// The state of the policy.
#[derive(Debug)]
pub(super) struct Eviction {
    /// Connections that a search has found, each with its rank and with the time since which it
    /// waits, the first one to evict last.
    found: Vec<(u8, Moment, ConnectionId)>,
    /// When a search may be made again after one that has found no idle connection.
    next_search: Moment,
    /// When responses may be aborted again to free memory.
    next_relief: Moment,
    /// The first of the consecutive reliefs that found memory over its hard limit.
    memory_short_since: Moment,
}

impl Eviction {
    pub(super) fn new(now: Moment) -> Eviction {
        Eviction { found: Vec::new(), next_search: now, next_relief: now, memory_short_since: now }
    }

    /// The connection to evict next for a new one, and what it waits for.
    pub(super) fn next(
        &mut self,
        connections: &impl Candidates,
        now: Moment,
    ) -> Option<(Awaited, ConnectionId)> {
        let evictable = |id| {
            let waiting = connections.waiting(id)?;
            let waited = now.saturating_duration_since(waiting.since);
            (waited >= waiting.awaited.grace()).then_some(waiting)
        };
        loop {
            // Idle connections of the last search have been idle for longer than those that became
            // idle since. Others are spared as soon as a connection may have become idle.
            if self.found.last().is_some_and(|(rank, ..)| *rank > IDLE) && now >= self.next_search {
                self.found.clear();
            }
            while let Some((rank, since, id)) = self.found.pop() {
                if let Some(waiting) = evictable(id)
                    && (waiting.awaited.rank(), waiting.since) == (rank, since)
                {
                    return Some((waiting.awaited, id));
                }
            }
            if now < self.next_search {
                return None;
            }
            let found = connections.ids().into_iter().filter_map(|id| {
                let waiting = evictable(id)?;
                Some((waiting.awaited.rank(), waiting.since, id))
            });
            self.found = found.collect();
            if self.found.iter().all(|(rank, ..)| *rank > IDLE) {
                self.next_search = now + EVICTION_SEARCH_PAUSE;
            }
            if self.found.is_empty() {
                return None;
            }
            if self.found.len() > EVICTION_BATCH {
                self.found.select_nth_unstable(EVICTION_BATCH);
                self.found.truncate(EVICTION_BATCH);
            }
            self.found.sort_unstable_by(|one, other| other.cmp(one));
        }
    }

    /// True if it is time to free memory. Call it when a request needs memory that is over its hard
    /// limit.
    pub(super) fn is_relief_due(&mut self, now: Moment) -> bool {
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
        unsent: impl Iterator<Item = (Moment, ConnectionId)>,
        now: Moment,
    ) -> Vec<(Moment, ConnectionId)> {
        let is_stalled = |progress| now.saturating_duration_since(progress) >= STALLED_AFTER;
        let mut stalled: Vec<_> = unsent.filter(|(progress, _)| is_stalled(*progress)).collect();
        stalled.sort_unstable();
        stalled
    }

    /// True if memory has been short for so long that the largest response is aborted although its
    /// client reads. A client that reads a byte now and then would otherwise block all others.
    pub(super) fn may_evict_reader(&self, now: Moment) -> bool {
        now.saturating_duration_since(self.memory_short_since) >= MEMORY_SHORT_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use Awaited::{Close, Content, FirstRequest, Head, NextRequest};
    use std::collections::BTreeMap;

    /// Connections by number: the second since when each waits, and for what.
    struct Site(Moment, BTreeMap<usize, (f64, Awaited)>);

    impl Candidates for Site {
        fn ids(&self) -> Vec<ConnectionId> {
            self.1.keys().map(|number| ConnectionId::from_token(*number)).collect()
        }

        fn waiting(&self, id: ConnectionId) -> Option<Waiting> {
            let &(since, awaited) = self.1.get(&id.token())?;
            Some(Waiting { awaited, since: self.0 + Duration::from_secs_f64(since) })
        }
    }

    /// Evicts until none is left that may be; the numbers in their order.
    fn evict_all(site: &mut Site, at: f64) -> Vec<usize> {
        let mut eviction = Eviction::new(site.0);
        let now = site.0 + Duration::from_secs_f64(at);
        let mut evicted = Vec::new();
        while let Some((_, id)) = eviction.next(site, now) {
            site.1.remove(&id.token()).unwrap();
            evicted.push(id.token());
        }
        evicted
    }

    #[test]
    fn longest_idle_connection_is_evicted_first() {
        for (idle, at, expected) in [
            (vec![], 9.0, vec![]),
            (vec![(3.0, NextRequest), (1.0, NextRequest), (2.0, NextRequest)], 9.0, vec![1, 2, 0]),
            // One that never made a request counts from a second of silence on.
            (vec![(8.5, FirstRequest), (8.9, NextRequest)], 9.0, vec![1]),
            (vec![(8.0, FirstRequest), (8.9, NextRequest)], 9.0, vec![0, 1]),
            // Idle ones, then the oldest heads, then the content that has stalled for longest.
            (vec![(1.0, Head), (0.0, Content), (8.9, NextRequest)], 9.0, vec![2, 0, 1]),
            (vec![(1.0, Head), (8.8, Close), (8.9, NextRequest)], 9.0, vec![2, 1, 0]),
            (vec![(8.9, Close)], 9.0, vec![]),
            (vec![(2.0, Head), (1.0, Head), (0.5, Head)], 9.0, vec![2, 1, 0]),
            (vec![(3.0, Content), (1.0, Content)], 9.0, vec![1, 0]),
            // A client may need a moment for its head, and longer for its content.
            (vec![(8.1, Head), (4.1, Content)], 9.0, vec![]),
            (vec![(8.0, Head), (4.0, Content)], 9.0, vec![0, 1]),
        ] {
            let idle = idle.into_iter().enumerate().collect();
            assert_eq!(evict_all(&mut Site(clock::now(), idle), at), expected);
        }
    }

    #[test]
    fn many_idle_connections_are_evicted_in_order() {
        let count = 3 * EVICTION_BATCH + 1;
        let idle = (0..count).map(|number| (number, ((number * 7 % count) as f64, NextRequest)));
        let mut site = Site(clock::now(), idle.collect());
        let order = site.1.clone();
        let evicted = evict_all(&mut site, 1e6);
        assert_eq!(evicted.len(), count);
        assert!(evicted.is_sorted_by_key(|number| order[number].0));
    }

    #[test]
    fn connection_that_became_busy_is_not_evicted() {
        let (start, two) = (clock::now(), [(1, (1.0, NextRequest)), (2, (2.0, NextRequest))]);
        let mut site = Site(start, two.into());
        let mut eviction = Eviction::new(start);
        let now = start + Duration::from_secs(5);
        let evicted =
            |eviction: &mut Eviction, site: &Site| Some(eviction.next(site, now)?.1.token());
        assert_eq!(evicted(&mut eviction, &site), Some(1));
        // It has answered a request since the search, and is idle anew.
        site.1.insert(2, (3.0, NextRequest));
        site.1.remove(&1);
        assert_eq!(evicted(&mut eviction, &site), Some(2));
    }

    #[test]
    fn search_without_result_is_not_repeated_at_once() {
        let start = clock::now();
        let mut eviction = Eviction::new(start);
        let mut site = Site(start, BTreeMap::new());
        assert_eq!(eviction.next(&site, start), None);
        site.1.insert(1, (0.0, NextRequest));
        for (passed, expected) in [(99, None), (100, Some(1))] {
            let now = start + Duration::from_millis(passed);
            let found = eviction.next(&site, now).map(|(_, id)| id.token());
            assert_eq!(found, expected, "after {passed} ms");
        }
    }

    #[test]
    fn connection_that_became_idle_is_evicted_before_a_head_that_was_found() {
        let start = clock::now();
        let mut site = Site(start, (0..3).map(|number| (number, (0.0, Head))).collect());
        let mut eviction = Eviction::new(start);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let evicted = |eviction: &mut Eviction, site: &mut Site, now| {
            let (awaited, id) = eviction.next(site, now).unwrap();
            site.1.remove(&id.token());
            (awaited, id.token())
        };
        assert_eq!(evicted(&mut eviction, &mut site, at(2000)), (Head, 0));
        site.1.insert(9, (2.0, NextRequest));
        assert_eq!(evicted(&mut eviction, &mut site, at(2099)), (Head, 1), "not searched so soon");
        assert_eq!(evicted(&mut eviction, &mut site, at(2100)), (NextRequest, 9));
        assert_eq!(evicted(&mut eviction, &mut site, at(2100)), (Head, 2));
    }

    #[test]
    fn stalled_responses_come_longest_first() {
        let start = clock::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let id = ConnectionId::from_token;
        let unsent = [(at(2.0), id(1)), (at(0.5), id(2)), (at(2.1), id(3))];
        let stalled = Eviction::stalled(unsent.into_iter(), at(3.0));
        assert_eq!(stalled, [(at(0.5), id(2)), (at(2.0), id(1))]);
    }

    #[test]
    fn memory_relief_is_rate_limited_and_escalates() {
        let start = clock::now();
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
