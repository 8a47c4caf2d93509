//! The policy of the pool: which workers are started, and which are retired. It does no I/O and
//! knows no processes, so it is tested by tables.
//!
//! Its one rule: no worker is retired before its replacement is ready to serve.

use super::messages::FromWorker;
use crate::config::ReloadStrategy;

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

#[cfg(test)]
mod tests;
