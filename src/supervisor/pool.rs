//! Who is started and who has to go: the policy, apart from processes and signals, so that it can be
//! tested by tables.
//!
//! The rule behind it all: nobody is sent away before whoever replaces him is ready to serve.

use std::time::{Duration, Instant};

use crate::config::ReloadStrategy;

/// A worker that served for so long has shown that it can: its death is an accident.
const PROVEN: Duration = Duration::from_secs(10);
/// The longest pause before a worker is started in place of one that could not boot.
const LONGEST_BOOT_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause before a worker is started in place of one that died at work. Short, because a
/// request that crashes workers must not be able to keep the site down.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has been forked; it has not said that it serves.
    Booting,
    /// It serves.
    Ready,
    /// It has been told to go.
    Leaving,
}

/// What the policy has to know of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Card {
    /// Which configuration it was started with.
    pub(super) generation: u32,
    pub(super) state: State,
    /// It has served enough: it goes as soon as it is replaced.
    pub(super) worn: bool,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// So many workers are started.
    pub(super) start: usize,
    /// These go, by their place in the list.
    pub(super) retire: Vec<usize>,
}

/// Compares what there is with what there should be: `target` workers of this generation. The cards are
/// in the order in which the workers were started.
pub(super) fn plan(
    cards: &[Card],
    target: usize,
    generation: u32,
    strategy: ReloadStrategy,
) -> Plan {
    let is_fresh = |card: &Card| card.generation == generation && !card.worn;
    let places = |wanted: &dyn Fn(&Card) -> bool| -> Vec<usize> {
        cards.iter().enumerate().filter(|(_, card)| wanted(card)).map(|(at, _)| at).collect()
    };
    let ready = places(&|card| is_fresh(card) && card.state == State::Ready);
    let booting = places(&|card| is_fresh(card) && card.state == State::Booting);
    let old = places(&|card| !is_fresh(card) && card.state == State::Ready);
    // Overtaken by the next reload before they were of use.
    let mut retire = places(&|card| !is_fresh(card) && card.state == State::Booting);

    let missing = target.saturating_sub(ready.len());
    let reloading = old.iter().any(|&at| cards[at].generation != generation);
    let may_go = match strategy {
        ReloadStrategy::All if reloading && missing > 0 => 0,
        _ => old.len().saturating_sub(missing),
    };
    retire.extend(old.iter().take(may_go));
    retire.extend(ready.iter().take(ready.len().saturating_sub(target)));

    let mut start = target.saturating_sub(ready.len() + booting.len());
    // Workers that are worn at the same time are replaced one after the other, too.
    if (strategy == ReloadStrategy::Rolling || !reloading) && !old.is_empty() {
        start = start.min(1_usize.saturating_sub(booting.len()));
    }
    Plan { start, retire }
}

/// Keeps workers that die at once from being started at once, for ever.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Workers in a row that could not boot.
    failures: u32,
    /// Workers in a row that died soon after they had begun to serve.
    deaths: u32,
    /// No worker is started before.
    pub(super) not_before: Option<Instant>,
}

impl Backoff {
    /// A worker could not boot.
    pub(super) fn boot_failed(&mut self, now: Instant) {
        let pause = Duration::from_millis(500) * 2_u32.pow(self.failures.min(6));
        self.failures += 1;
        self.not_before = now.checked_add(pause.min(LONGEST_BOOT_PAUSE));
    }

    /// A worker died that had served for so long. The first one is replaced without a pause.
    pub(super) fn died(&mut self, now: Instant, served: Duration) {
        if served >= PROVEN {
            self.deaths = 0;
            return;
        }
        let pause = match self.deaths {
            0 => Duration::ZERO,
            deaths => Duration::from_millis(50) * 2_u32.pow(deaths.min(6)),
        };
        self.deaths += 1;
        self.not_before = now.checked_add(pause.min(LONGEST_PAUSE));
    }

    /// A worker serves.
    pub(super) fn booted(&mut self) {
        self.failures = 0;
    }

    /// The operator has changed something: no more waiting.
    pub(super) fn forgive(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReloadStrategy::{All, Rolling};
    use State::{Booting, Leaving, Ready};

    fn cards(list: &[(u32, State)]) -> Vec<Card> {
        list.iter().map(|&(generation, state)| Card { generation, state, worn: false }).collect()
    }

    fn check(
        list: &[(u32, State)],
        target: usize,
        strategy: ReloadStrategy,
    ) -> (usize, Vec<usize>) {
        let plan = plan(&cards(list), target, 1, strategy);
        (plan.start, plan.retire)
    }

    #[test]
    fn as_many_as_there_should_be() {
        for strategy in [All, Rolling] {
            assert_eq!(check(&[], 3, strategy), (3, vec![]));
            assert_eq!(check(&[(1, Booting), (1, Ready)], 3, strategy), (1, vec![]));
            assert_eq!(check(&[(1, Ready), (1, Leaving)], 2, strategy), (1, vec![]));
            assert_eq!(check(&[(1, Ready), (1, Ready)], 2, strategy), (0, vec![]));
            assert_eq!(check(&[(1, Ready), (1, Ready)], 1, strategy), (0, vec![0]), "the oldest");
            assert_eq!(check(&[(1, Ready), (1, Booting)], 0, strategy), (0, vec![0]));
        }
    }

    #[test]
    fn a_reload_of_all_at_once() {
        assert_eq!(check(&[(0, Ready), (0, Ready)], 2, All), (2, vec![]));
        let one = [(0, Ready), (0, Ready), (1, Ready), (1, Booting)];
        assert_eq!(check(&one, 2, All), (0, vec![]), "not before all are ready");
        let both = [(0, Ready), (0, Ready), (1, Ready), (1, Ready)];
        assert_eq!(check(&both, 2, All), (0, vec![0, 1]));
        let overtaken = [(0, Ready), (0, Booting)];
        assert_eq!(check(&overtaken, 1, All), (1, vec![1]));
        assert_eq!(check(&[(0, Ready), (0, Ready)], 0, All), (0, vec![0, 1]));
    }

    #[test]
    fn a_rolling_reload() {
        assert_eq!(check(&[(0, Ready), (0, Ready)], 2, Rolling), (1, vec![]));
        assert_eq!(check(&[(0, Ready), (0, Ready), (1, Booting)], 2, Rolling), (0, vec![]));
        assert_eq!(check(&[(0, Ready), (0, Ready), (1, Ready)], 2, Rolling), (1, vec![0]));
        assert_eq!(check(&[(0, Ready), (1, Ready), (1, Ready)], 2, Rolling), (0, vec![0]));
    }

    #[test]
    fn a_worn_worker_goes_when_it_is_replaced() {
        for strategy in [All, Rolling] {
            let mut list = cards(&[(1, Ready), (1, Ready)]);
            list[0].worn = true;
            assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 1, retire: vec![] });
            list.extend(cards(&[(1, Booting)]));
            assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 0, retire: vec![] });
            list[2].state = Ready;
            assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 0, retire: vec![0] });
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut died = |served| {
            backoff.died(now, served);
            backoff.not_before.map(|at| at - now)
        };
        assert_eq!(died(Duration::ZERO), Some(Duration::ZERO), "the first is an accident");
        assert_eq!(died(Duration::ZERO), Some(Duration::from_millis(100)));
        assert_eq!(died(Duration::ZERO), Some(Duration::from_millis(200)));
        for _ in 0..100 {
            assert!(died(Duration::ZERO) <= Some(LONGEST_PAUSE));
        }
        backoff.forgive();
        for _ in 0..100 {
            backoff.boot_failed(now);
        }
        assert_eq!(backoff.not_before, Some(now + LONGEST_BOOT_PAUSE));
    }
}
