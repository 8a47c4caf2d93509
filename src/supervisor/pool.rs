//! The policy of the pool: which workers are started, and which are retired. It does no I/O and
//! knows no processes, so it is tested by tables.
//!
//! Its one rule: no worker is retired before its replacement is ready to serve.

use std::time::{Duration, Instant};

use super::messages::FromWorker;
use crate::config::ReloadStrategy;

/// The death of a worker that has served for at least this long does not count as an early death.
const PROVEN_AFTER: Duration = Duration::from_secs(10);
/// The first pause after a worker that could not boot; each further one doubles it.
const MIN_BOOT_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after a worker that could not boot.
const MAX_BOOT_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause after a worker that died while serving. Short, because a request that crashes
/// workers must not be able to keep the site down.
const MAX_RESPAWN_PAUSE: Duration = Duration::from_secs(2);
/// The shortest time between two reloads for changed source files.
const MIN_SOURCE_RELOAD_INTERVAL: Duration = Duration::from_millis(500);

/// The state of a worker, as the master knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// Forked; has not reported that it is ready.
    Booting,
    /// Serves requests.
    Ready,
    /// Asked to exit.
    Retiring,
}

/// The facts about a worker that the policy uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkerStatus {
    /// The deployment it was started with.
    pub(super) generation: u32,
    pub(super) state: WorkerState,
    /// It is to be retired as soon as its replacement is ready.
    pub(super) replacement_wanted: bool,
    /// It was started with `--reload`, and so reports changed source files.
    pub(super) watches_files: bool,
}

/// What the master makes of a message. A worker runs the application, which can write to any of its
/// descriptors: so a message is data, which has an effect only in the state that expects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The master acts on it.
    Expected,
    /// The master has changed the worker's state while the message was on its way: ignored.
    Late,
    /// This server never sends it in this state, so something else has written it: ignored.
    Unexpected,
}

impl WorkerStatus {
    /// A worker that was just forked.
    pub(super) fn booting(generation: u32, watches_files: bool) -> WorkerStatus {
        let state = WorkerState::Booting;
        WorkerStatus { generation, state, replacement_wanted: false, watches_files }
    }

    /// Decides about a message of a worker of this status while `generation` runs.
    pub(super) fn judge(&self, message: FromWorker, generation: u32) -> Verdict {
        use {Verdict::*, WorkerState::*};
        match (message, self.state) {
            (FromWorker::Ready { .. }, Booting) => Expected,
            (FromWorker::Ready { .. }, Retiring) => Late,
            (FromWorker::Ready { .. }, Ready) => Unexpected,
            (FromWorker::ReplacementWanted, Booting) => Unexpected,
            (FromWorker::ReplacementWanted, Ready) if !self.replacement_wanted => Expected,
            (FromWorker::ReplacementWanted, Ready | Retiring) => Late,
            (FromWorker::SourceChanged, Booting) => Unexpected,
            (FromWorker::SourceChanged, _) if !self.watches_files => Unexpected,
            // The workers of an older generation report what the reload in progress already
            // answers.
            (FromWorker::SourceChanged, Ready) if self.generation == generation => Expected,
            (FromWorker::SourceChanged, Ready | Retiring) => Late,
        }
    }
}

/// The actions that the master takes next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The number of workers to start.
    pub(super) start: usize,
    /// The workers to retire, as indices into the list of workers.
    pub(super) retire: Vec<usize>,
}

/// Compares the workers with the target: `target` ready workers of this `generation`. `workers` is
/// in the order in which they were started.
pub(super) fn plan(
    workers: &[WorkerStatus],
    target: usize,
    generation: u32,
    strategy: ReloadStrategy,
) -> Plan {
    let is_current = |w: &WorkerStatus| w.generation == generation && !w.replacement_wanted;
    let indices = |wanted: &dyn Fn(&WorkerStatus) -> bool| -> Vec<usize> {
        workers.iter().enumerate().filter(|(_, worker)| wanted(worker)).map(|(at, _)| at).collect()
    };
    let ready = indices(&|w| is_current(w) && w.state == WorkerState::Ready);
    let booting = indices(&|w| is_current(w) && w.state == WorkerState::Booting);
    let outdated = indices(&|w| !is_current(w) && w.state == WorkerState::Ready);
    // A later reload has replaced their deployment before they were ready.
    let mut retire = indices(&|w| !is_current(w) && w.state == WorkerState::Booting);

    let missing = target.saturating_sub(ready.len());
    let reloading = outdated.iter().any(|&at| workers[at].generation != generation);
    let dispensable = match strategy {
        ReloadStrategy::All if reloading && missing > 0 => 0,
        _ => outdated.len().saturating_sub(missing),
    };
    retire.extend(outdated.iter().take(dispensable));
    retire.extend(ready.iter().take(ready.len().saturating_sub(target)));

    let mut start = target.saturating_sub(ready.len() + booting.len());
    // One replacement at a time, also for workers that reach their recycling limits together.
    if (strategy == ReloadStrategy::Rolling || !reloading) && !outdated.is_empty() {
        start = start.min(1_usize.saturating_sub(booting.len()));
    }
    Plan { start, retire }
}

/// Delays new workers after failures, so that a worker that dies at once is not respawned in a
/// loop.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Consecutive workers that could not boot.
    boot_failures: u32,
    /// Consecutive workers that died soon after they were ready.
    early_deaths: u32,
    /// The time until which no worker is started.
    paused_until: Option<Instant>,
}

impl Backoff {
    /// A worker could not boot, or could not be forked.
    pub(super) fn on_boot_failure(&mut self, now: Instant) {
        let pause = MIN_BOOT_PAUSE * 2_u32.pow(self.boot_failures.min(6));
        self.boot_failures += 1;
        self.paused_until = now.checked_add(pause.min(MAX_BOOT_PAUSE));
    }

    /// A worker died after it had served for this long. The first is replaced without a pause.
    pub(super) fn on_death(&mut self, now: Instant, served: Duration) {
        if served >= PROVEN_AFTER {
            self.early_deaths = 0;
            return;
        }
        let pause = match self.early_deaths {
            0 => Duration::ZERO,
            deaths => Duration::from_millis(50) * 2_u32.pow(deaths.min(6)),
        };
        self.early_deaths += 1;
        self.paused_until = now.checked_add(pause.min(MAX_RESPAWN_PAUSE));
    }

    /// A worker is ready.
    pub(super) fn on_ready(&mut self) {
        self.boot_failures = 0;
    }

    /// Ends the pause and clears the failures, after a change by the operator.
    pub(super) fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// The time until which no worker is started, if there is a pause.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends the pause if it is over; returns whether workers may be started.
    pub(super) fn end_pause(&mut self, now: Instant) -> bool {
        let over = self.paused_until.is_none_or(|until| until <= now);
        if over {
            self.paused_until = None;
        }
        over
    }
}

/// Bounds how often changed source files reload the server (`--reload`), whatever workers report.
/// A change that comes too early is not lost: its reload waits.
#[derive(Debug, Default)]
pub(super) struct SourceReload {
    is_wanted: bool,
    /// No reload before this time.
    not_before: Option<Instant>,
}

impl SourceReload {
    /// A worker has reported a changed file.
    pub(super) fn request(&mut self) {
        self.is_wanted = true;
    }

    /// A reload begins, for this or for another reason: it reads every file anew.
    pub(super) fn on_reload(&mut self, now: Instant) {
        self.is_wanted = false;
        self.not_before = now.checked_add(MIN_SOURCE_RELOAD_INTERVAL);
    }

    /// When the next reload is due, if one is wanted.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.is_wanted.then(|| self.not_before.unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReloadStrategy::{All, Rolling};
    use WorkerState::{Booting, Ready, Retiring};

    fn workers(list: &[(u32, WorkerState)]) -> Vec<WorkerStatus> {
        list.iter()
            .map(|&(generation, state)| WorkerStatus {
                state,
                ..WorkerStatus::booting(generation, true)
            })
            .collect()
    }

    /// The plan for generation 1: how many are started, which are retired.
    fn planned(
        list: &[(u32, WorkerState)],
        target: usize,
        strategy: ReloadStrategy,
    ) -> (usize, Vec<usize>) {
        let plan = plan(&workers(list), target, 1, strategy);
        (plan.start, plan.retire)
    }

    #[test]
    fn pool_without_reload_is_kept_at_its_target() {
        for strategy in [All, Rolling] {
            assert_eq!(planned(&[], 3, strategy), (3, vec![]));
            assert_eq!(planned(&[(1, Booting), (1, Ready)], 3, strategy), (1, vec![]));
            assert_eq!(planned(&[(1, Ready), (1, Retiring)], 2, strategy), (1, vec![]));
            assert_eq!(planned(&[(1, Ready), (1, Ready)], 2, strategy), (0, vec![]));
            assert_eq!(planned(&[(1, Ready), (1, Ready)], 1, strategy), (0, vec![0]), "the oldest");
            assert_eq!(planned(&[(1, Ready), (1, Booting)], 0, strategy), (0, vec![0]));
        }
    }

    #[test]
    fn reload_of_all_retires_when_every_replacement_is_ready() {
        assert_eq!(planned(&[(0, Ready), (0, Ready)], 2, All), (2, vec![]));
        let one = [(0, Ready), (0, Ready), (1, Ready), (1, Booting)];
        assert_eq!(planned(&one, 2, All), (0, vec![]), "one is still booting");
        let both = [(0, Ready), (0, Ready), (1, Ready), (1, Ready)];
        assert_eq!(planned(&both, 2, All), (0, vec![0, 1]));
        let overtaken = [(0, Ready), (0, Booting)];
        assert_eq!(planned(&overtaken, 1, All), (1, vec![1]));
        assert_eq!(planned(&[(0, Ready), (0, Ready)], 0, All), (0, vec![0, 1]));
    }

    #[test]
    fn rolling_reload_replaces_one_worker_at_a_time() {
        assert_eq!(planned(&[(0, Ready), (0, Ready)], 2, Rolling), (1, vec![]));
        assert_eq!(planned(&[(0, Ready), (0, Ready), (1, Booting)], 2, Rolling), (0, vec![]));
        assert_eq!(planned(&[(0, Ready), (0, Ready), (1, Ready)], 2, Rolling), (1, vec![0]));
        assert_eq!(planned(&[(0, Ready), (1, Ready), (1, Ready)], 2, Rolling), (0, vec![0]));
    }

    #[test]
    fn reload_to_another_target_starts_and_retires_accordingly() {
        let more = [(0, Ready), (1, Ready), (1, Ready), (1, Ready)];
        assert_eq!(planned(&more[..1], 3, All), (3, vec![]));
        assert_eq!(planned(&more, 3, All), (0, vec![0]));
        let fewer = [(0, Ready), (0, Ready), (0, Ready), (1, Ready)];
        assert_eq!(planned(&fewer[..3], 1, All), (1, vec![]));
        assert_eq!(planned(&fewer, 1, All), (0, vec![0, 1, 2]));
        assert_eq!(planned(&fewer[..3], 1, Rolling), (1, vec![0, 1]), "surplus leaves at once");
    }

    #[test]
    fn recycled_worker_is_retired_when_its_replacement_is_ready() {
        for strategy in [All, Rolling] {
            let mut list = workers(&[(1, Ready), (1, Ready)]);
            list[0].replacement_wanted = true;
            assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 1, retire: vec![] });
            list.extend(workers(&[(1, Booting)]));
            assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 0, retire: vec![] });
            list[2].state = Ready;
            assert_eq!(plan(&list, 2, 1, strategy), Plan { start: 0, retire: vec![0] });
        }
    }

    #[test]
    fn workers_recycled_together_are_replaced_one_by_one() {
        for strategy in [All, Rolling] {
            let mut list = workers(&[(1, Ready), (1, Ready), (1, Ready)]);
            list.iter_mut().for_each(|worker| worker.replacement_wanted = true);
            assert_eq!(plan(&list, 3, 1, strategy), Plan { start: 1, retire: vec![] });
            list.extend(workers(&[(1, Ready)]));
            assert_eq!(plan(&list, 3, 1, strategy), Plan { start: 1, retire: vec![0] });
        }
    }

    #[test]
    fn messages_are_expected_in_one_state_only() {
        use Verdict::{Expected, Late, Unexpected};
        let ready = FromWorker::Ready { serves_error_page: false };
        for (message, generation, state, verdict) in [
            (ready, 1, Booting, Expected),
            (ready, 0, Booting, Expected),
            (ready, 1, Ready, Unexpected),
            (ready, 1, Retiring, Late),
            (FromWorker::ReplacementWanted, 1, Booting, Unexpected),
            (FromWorker::ReplacementWanted, 1, Ready, Expected),
            (FromWorker::ReplacementWanted, 1, Retiring, Late),
            (FromWorker::SourceChanged, 1, Booting, Unexpected),
            (FromWorker::SourceChanged, 1, Ready, Expected),
            (FromWorker::SourceChanged, 0, Ready, Late),
            (FromWorker::SourceChanged, 1, Retiring, Late),
        ] {
            let status = WorkerStatus { state, ..WorkerStatus::booting(generation, true) };
            assert_eq!(status.judge(message, 1), verdict, "{message:?} from {status:?}");
        }
        let booting = WorkerStatus::booting(1, true);
        let status = WorkerStatus { state: Ready, replacement_wanted: true, ..booting };
        assert_eq!(status.judge(FromWorker::ReplacementWanted, 1), Late, "it was accepted before");
    }

    #[test]
    fn source_change_without_reload_option_is_unexpected() {
        for state in [Booting, Ready, Retiring] {
            let status = WorkerStatus { state, ..WorkerStatus::booting(1, false) };
            assert_eq!(status.judge(FromWorker::SourceChanged, 1), Verdict::Unexpected);
        }
    }

    #[test]
    fn source_reloads_keep_their_distance_and_none_is_lost() {
        let now = Instant::now();
        let mut reload = SourceReload::default();
        assert_eq!(reload.deadline(now), None);
        reload.request();
        assert_eq!(reload.deadline(now), Some(now), "the first is due at once");
        reload.on_reload(now);
        assert_eq!(reload.deadline(now), None);
        reload.request();
        reload.request();
        assert_eq!(reload.deadline(now), Some(now + MIN_SOURCE_RELOAD_INTERVAL));
    }

    #[test]
    fn pauses_grow_up_to_their_limits() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut pause_after_death = |served| {
            backoff.on_death(now, served);
            backoff.paused_until().map(|until| until - now)
        };
        let soon = Duration::ZERO;
        assert_eq!(pause_after_death(soon), Some(Duration::ZERO), "the first is an accident");
        assert_eq!(pause_after_death(soon), Some(Duration::from_millis(100)));
        assert_eq!(pause_after_death(soon), Some(Duration::from_millis(200)));
        for _ in 0..100 {
            assert!(pause_after_death(soon) <= Some(MAX_RESPAWN_PAUSE));
        }
        backoff.reset();
        for _ in 0..100 {
            backoff.on_boot_failure(now);
        }
        assert_eq!(backoff.paused_until(), Some(now + MAX_BOOT_PAUSE));
    }

    #[test]
    fn pause_ends_with_time_and_with_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(backoff.end_pause(now), "there is none");
        backoff.on_boot_failure(now);
        assert!(!backoff.end_pause(now));
        assert!(backoff.end_pause(now + MIN_BOOT_PAUSE));
        backoff.on_ready();
        backoff.on_boot_failure(now);
        assert_eq!(backoff.paused_until(), Some(now + MIN_BOOT_PAUSE), "the count starts again");
        backoff.on_death(now, Duration::ZERO);
        backoff.on_death(now, PROVEN_AFTER);
        backoff.on_death(now, Duration::ZERO);
        assert!(backoff.end_pause(now), "an accident again");
    }
}
