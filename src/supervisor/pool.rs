//! The policy of the pool: which workers are started, and which are retired. It does no I/O and
//! knows no processes, so it is tested by tables.
//!
//! Its rule: no worker is retired before its replacement is ready to serve. With `--replace
//! stop-first` it is the opposite: no replacement starts before a worker has ended.

use super::messages::FromWorker;
use crate::config::{ReloadStrategy, Replace};

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
    /// It has reported, while it booted, that another process holds a resource that it needs.
    pub(super) has_conflict: bool,
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
        let (replacement_wanted, has_conflict) = (false, false);
        WorkerStatus { generation, state, replacement_wanted, watches_files, has_conflict }
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
            (FromWorker::SourceChanged, _) if !self.watches_files => Unexpected,
            (FromWorker::SourceChanged, Retiring) => Late,
            // The workers of an older generation report what the reload in progress already
            // answers.
            (FromWorker::SourceChanged, _) if self.generation != generation => Late,
            (FromWorker::SourceChanged, Booting | Ready) => Expected,
            (FromWorker::BootConflict, Booting) if !self.has_conflict => Expected,
            (FromWorker::BootConflict, Booting | Ready) => Unexpected,
            (FromWorker::BootConflict, Retiring) => Late,
        }
    }
}

/// How workers are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) reload: ReloadStrategy,
    pub(super) replace: Replace,
    /// One new worker serves beside the old ones for now, which all stay (`--respawn-canary`).
    pub(super) is_on_trial: bool,
}

/// The actions that the master takes next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The number of workers to start.
    pub(super) start: usize,
    /// The workers to retire, as indices into the list of workers.
    pub(super) retire: Vec<usize>,
    /// The workers that end so that their replacement can start, as indices too.
    pub(super) end: Vec<usize>,
}

/// The workers by what they are to the running deployment, as indices.
struct Sorted {
    ready: Vec<usize>,
    booting: Vec<usize>,
    /// They serve until they are replaced.
    outdated: Vec<usize>,
    /// A later reload has replaced their deployment before they were ready.
    overtaken: Vec<usize>,
    retiring: usize,
    /// Some outdated workers belong to an earlier deployment.
    is_reloading: bool,
}

impl Sorted {
    fn new(workers: &[WorkerStatus], generation: u32) -> Sorted {
        let is_current = |w: &WorkerStatus| w.generation == generation && !w.replacement_wanted;
        let indices = |state, current| -> Vec<usize> {
            let wanted = |w: &WorkerStatus| w.state == state && is_current(w) == current;
            (0..workers.len()).filter(|&at| wanted(&workers[at])).collect()
        };
        let outdated = indices(WorkerState::Ready, false);
        Sorted {
            ready: indices(WorkerState::Ready, true),
            booting: indices(WorkerState::Booting, true),
            is_reloading: outdated.iter().any(|&at| workers[at].generation != generation),
            outdated,
            overtaken: indices(WorkerState::Booting, false),
            retiring: workers.iter().filter(|w| w.state == WorkerState::Retiring).count(),
        }
    }

    /// The workers beyond the target, oldest first.
    fn surplus(&self, target: usize) -> &[usize] {
        &self.ready[..self.ready.len().saturating_sub(target)]
    }
}

/// Compares the workers with the target: `target` ready workers of this `generation`. `workers` is
/// in the order in which they were started.
pub(super) fn plan(
    workers: &[WorkerStatus],
    target: usize,
    generation: u32,
    policy: Policy,
) -> Plan {
    let sorted = Sorted::new(workers, generation);
    match policy.replace {
        _ if policy.is_on_trial => {
            plan_trial(&sorted, target, |&at| workers[at].generation == generation)
        }
        Replace::ReadyFirst => plan_ready_first(&sorted, target, policy.reload),
        Replace::StopFirst => plan_stop_first(&sorted, target),
    }
}

fn plan_ready_first(workers: &Sorted, target: usize, strategy: ReloadStrategy) -> Plan {
    let Sorted { ready, booting, outdated, is_reloading, .. } = workers;
    let missing = target.saturating_sub(ready.len());
    let dispensable = match strategy {
        ReloadStrategy::All if *is_reloading && missing > 0 => 0,
        _ => outdated.len().saturating_sub(missing),
    };
    let mut retire = workers.overtaken.clone();
    retire.extend(outdated.iter().take(dispensable));
    retire.extend(workers.surplus(target));

    let mut start = target.saturating_sub(ready.len() + booting.len());
    // One replacement at a time, also for workers that reach their recycling limits together.
    if (strategy == ReloadStrategy::Rolling || !is_reloading) && !outdated.is_empty() {
        start = start.min(1_usize.saturating_sub(booting.len()));
    }
    Plan { start, retire, end: Vec::new() }
}

/// One worker of the new deployment, and one for each old worker that has died meanwhile: none can
/// be started with the old code.
fn plan_trial(workers: &Sorted, target: usize, is_new: impl Fn(&usize) -> bool) -> Plan {
    let Sorted { ready, booting, outdated, overtaken, .. } = workers;
    let recycled: Vec<usize> = outdated.iter().copied().filter(is_new).collect();
    let wanted = target.saturating_sub(outdated.len() - recycled.len()).max(1);
    let mut retire = overtaken.clone();
    let dispensable = recycled.len().saturating_sub(wanted.saturating_sub(ready.len()));
    retire.extend(recycled.into_iter().take(dispensable));
    let start = wanted.saturating_sub(ready.len() + booting.len());
    Plan { start, retire, end: Vec::new() }
}

/// One worker after the other, so that the others keep serving.
fn plan_stop_first(workers: &Sorted, target: usize) -> Plan {
    let Sorted { ready, booting, outdated, overtaken, retiring, .. } = workers;
    let changing = booting.len() + overtaken.len() + retiring;
    let start = target.saturating_sub(ready.len() + outdated.len() + changing);
    let missing = target.saturating_sub(ready.len());
    let next = usize::from(missing > 0 && changing == 0 && start == 0);
    let ending = outdated.len().saturating_sub(missing).max(next);
    let mut end = overtaken.clone();
    end.extend(outdated.iter().take(ending));
    Plan { start, retire: workers.surplus(target).to_vec(), end }
}

/// What is known about a worker that has exited before it was ready.
#[derive(Debug, Clone, Copy)]
pub(super) struct BootFailure {
    /// It was started with the running deployment.
    pub(super) is_current: bool,
    pub(super) has_conflict: bool,
    /// A worker that it was to replace still serves.
    pub(super) has_predecessor: bool,
    /// How that worker is replaced.
    pub(super) replace: Replace,
    /// Without the worker, the server does not start.
    pub(super) ends_server: bool,
    pub(super) is_reloading: bool,
    /// It was the canary of a reload.
    pub(super) is_on_trial: bool,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BootRemedy {
    Ignore,
    /// End the predecessor first, then try once more.
    StopFirst,
    RollBack,
    TryAgainLater,
    ShutDown,
}

impl BootFailure {
    pub(super) fn remedy(self) -> BootRemedy {
        // A canary serves beside the old workers, or not at all.
        let can_stop_first =
            self.has_predecessor && self.replace == Replace::ReadyFirst && !self.is_on_trial;
        match self {
            BootFailure { is_current: false, .. } => BootRemedy::Ignore,
            BootFailure { has_conflict: true, .. } if can_stop_first => BootRemedy::StopFirst,
            BootFailure { is_reloading: true, .. } => BootRemedy::RollBack,
            BootFailure { ends_server: false, .. } => BootRemedy::TryAgainLater,
            BootFailure { ends_server: true, .. } => BootRemedy::ShutDown,
        }
    }
}

#[cfg(test)]
mod tests;
