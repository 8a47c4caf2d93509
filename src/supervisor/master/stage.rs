//! The stages of the master's life, and all transitions between them.
//!
//! ```text
//!  Starting ──────── all workers ready ────────▶ Serving
//!     │ ▲                                         │ ▲
//!  HUP│ │rolled back                           HUP│ │all new workers ready, or rolled back
//!     ▼ │                                         ▼ │
//!  Reloading (start: Some) ─ all workers ready ─▶ Reloading (start: None)
//!
//!  each of them ── signal, or no worker can boot at the start ──▶ Stopping
//! ```

use crate::supervisor::background::Launcher;
use crate::supervisor::canary::Trial;
use crate::supervisor::deployment::PreviousDeployment;

/// The stage of the server. Generic over the previous deployment, so that tests need none.
pub(super) enum Stage<P = PreviousDeployment> {
    /// Not all workers have been ready yet.
    Starting(Start),
    /// All workers have been ready once.
    Serving,
    /// New workers boot, and the old ones are retired when those are ready.
    Reloading {
        previous: P,
        /// The reload came before the server had started.
        start: Option<Start>,
        /// The trial of the canary, until it has passed.
        trial: Option<Trial>,
    },
    /// The server ends when all workers have exited.
    Stopping(Shutdown),
}

/// A start that is not complete.
#[derive(Default)]
pub(super) struct Start {
    /// The launcher, which waits for the outcome (`--daemon`).
    pub(super) launcher: Option<Launcher>,
    /// A reload was rolled back while some workers served: they keep serving, although the code
    /// that is on the disk by now may not boot.
    pub(super) has_survived_reload: bool,
}

/// A shutdown in progress.
pub(super) struct Shutdown {
    pub(super) exit_code: i32,
    /// Do not wait for running requests.
    pub(super) quick: bool,
    start: Option<Start>,
}

/// What was completed when all workers became ready.
pub(super) struct Completed<P> {
    pub(super) start: Option<Start>,
    pub(super) previous: Option<P>,
}

impl<P> Stage<P> {
    /// Whether all workers have been ready once.
    pub(super) fn has_started(&self) -> bool {
        match self {
            Stage::Starting(_) => false,
            Stage::Serving => true,
            Stage::Reloading { start, .. } | Stage::Stopping(Shutdown { start, .. }) => {
                start.is_none()
            }
        }
    }

    /// Whether a worker that cannot boot ends the server: until all workers have been ready once,
    /// or a failed reload has left workers that serve.
    pub(super) fn ends_with_failed_boot(&self) -> bool {
        match self {
            Stage::Starting(start) => !start.has_survived_reload,
            _ => !self.has_started(),
        }
    }

    pub(super) fn is_reloading(&self) -> bool {
        matches!(self, Stage::Reloading { .. })
    }

    pub(super) fn previous(&self) -> Option<&P> {
        match self {
            Stage::Reloading { previous, .. } => Some(previous),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn previous_mut(&mut self) -> Option<&mut P> {
        match self {
            Stage::Reloading { previous, .. } => Some(previous),
            _ => None,
        }
    }

    /// The trial of a canary, if there is one.
    pub(super) fn trial(&self) -> Option<&Trial> {
        match self {
            Stage::Reloading { trial, .. } => trial.as_ref(),
            _ => None,
        }
    }

    /// The same, to change it. [`Option::take`] ends the trial: the other workers follow.
    pub(super) fn trial_mut(&mut self) -> Option<&mut Option<Trial>> {
        match self {
            Stage::Reloading { trial, .. } => Some(trial),
            _ => None,
        }
    }

    /// The launcher that waits for the outcome of the start, if any.
    pub(super) fn launcher(&self) -> Option<&Launcher> {
        match self {
            Stage::Starting(start) => start.launcher.as_ref(),
            Stage::Serving => None,
            Stage::Reloading { start, .. } | Stage::Stopping(Shutdown { start, .. }) => {
                start.as_ref()?.launcher.as_ref()
            }
        }
    }

    /// All workers are ready: completes the start, the reload, or both.
    pub(super) fn complete(&mut self) -> Completed<P> {
        match self.take() {
            Stage::Starting(start) => Completed { start: Some(start), previous: None },
            Stage::Reloading { previous, start, .. } => {
                Completed { start, previous: Some(previous) }
            }
            Stage::Serving => Completed { start: None, previous: None },
            stopping @ Stage::Stopping(_) => {
                *self = stopping;
                Completed { start: None, previous: None }
            }
        }
    }

    /// A reload was applied. `replaced` makes the deployment to roll back to; its argument is that
    /// of a reload in progress, if any. With `trial` one worker precedes the others.
    pub(super) fn begin_reload(
        &mut self,
        replaced: impl FnOnce(Option<P>) -> P,
        trial: Option<Trial>,
    ) {
        let (earlier, start) = match self.take() {
            Stage::Starting(start) => (None, Some(start)),
            Stage::Serving => (None, None),
            Stage::Reloading { previous, start, .. } => (Some(previous), start),
            stopping @ Stage::Stopping(_) => {
                *self = stopping;
                return;
            }
        };
        *self = Stage::Reloading { previous: replaced(earlier), start, trial };
    }

    /// A reload has failed: returns the deployment to roll back to. `serves` says whether its
    /// workers serve.
    pub(super) fn roll_back(&mut self, serves: bool) -> Option<P> {
        match self.take() {
            Stage::Reloading { previous, start, .. } => {
                *self = start.map_or(Stage::Serving, |mut start| {
                    start.has_survived_reload |= serves;
                    Stage::Starting(start)
                });
                Some(previous)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// Begins the shutdown. A second call can only make it quick; the first exit code stays.
    pub(super) fn stop(&mut self, exit_code: i32, quick: bool) -> &Shutdown {
        let shutdown = match self.take() {
            Stage::Starting(start) => Shutdown { exit_code, quick, start: Some(start) },
            Stage::Serving => Shutdown { exit_code, quick, start: None },
            Stage::Reloading { start, .. } => Shutdown { exit_code, quick, start },
            Stage::Stopping(shutdown) => Shutdown { quick: shutdown.quick || quick, ..shutdown },
        };
        *self = Stage::Stopping(shutdown);
        match self {
            Stage::Stopping(shutdown) => shutdown,
            _ => unreachable!("set in the line above"),
        }
    }

    /// Takes the start that was not completed when the process ends.
    pub(super) fn take_start(&mut self) -> Option<Start> {
        match self {
            Stage::Starting(start) => Some(std::mem::take(start)),
            Stage::Serving => None,
            Stage::Reloading { start, .. } | Stage::Stopping(Shutdown { start, .. }) => {
                start.take()
            }
        }
    }

    /// In a new worker: the previous deployment of a reload in progress.
    pub(super) fn into_previous(self) -> Option<P> {
        match self {
            Stage::Reloading { previous, .. } => Some(previous),
            _ => None,
        }
    }

    fn take(&mut self) -> Stage<P> {
        std::mem::replace(self, Stage::Serving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Named = Stage<&'static str>;

    fn starting() -> Named {
        Stage::Starting(Start::default())
    }

    fn name(stage: &Named) -> String {
        match stage {
            Stage::Starting(_) => "starting".to_owned(),
            Stage::Serving => "serving".to_owned(),
            Stage::Reloading { previous, start, trial: None } => {
                format!("reloading from {previous}, started: {}", start.is_none())
            }
            Stage::Reloading { previous, .. } => format!("trying from {previous}"),
            Stage::Stopping(Shutdown { exit_code, quick, start }) => {
                format!("stopping {exit_code}, quick: {quick}, started: {}", start.is_none())
            }
        }
    }

    type Step = fn(&mut Named);

    fn reload(stage: &mut Named) {
        stage.begin_reload(|earlier| earlier.unwrap_or("one"), None);
    }
    fn reload_on_trial(stage: &mut Named) {
        let trial = Trial::new(std::time::Duration::from_secs(1));
        stage.begin_reload(|earlier| earlier.unwrap_or("one"), Some(trial));
    }
    fn pass(stage: &mut Named) {
        stage.trial_mut().and_then(Option::take);
    }
    fn roll_back(stage: &mut Named) {
        stage.roll_back(true);
    }
    fn complete(stage: &mut Named) {
        stage.complete();
    }
    fn stop(stage: &mut Named) {
        stage.stop(0, false);
    }
    fn stop_quickly(stage: &mut Named) {
        stage.stop(3, true);
    }

    #[test]
    fn each_step_leads_to_its_stage() {
        let cases: &[(&[Step], &str)] = &[
            (&[], "starting"),
            (&[complete], "serving"),
            (&[roll_back], "starting"),
            (&[reload], "reloading from one, started: false"),
            (&[reload, reload], "reloading from one, started: false"),
            (&[reload, roll_back], "starting"),
            (&[reload, complete], "serving"),
            (&[complete, reload], "reloading from one, started: true"),
            (&[complete, reload, roll_back], "serving"),
            (&[complete, reload, complete, complete], "serving"),
            (&[complete, reload_on_trial], "trying from one"),
            (&[complete, reload_on_trial, pass], "reloading from one, started: true"),
            (&[complete, reload_on_trial, reload_on_trial], "trying from one"),
            (&[complete, reload_on_trial, reload], "reloading from one, started: true"),
            (&[complete, reload_on_trial, roll_back], "serving"),
            (&[complete, reload_on_trial, stop], "stopping 0, quick: false, started: true"),
            (&[complete, pass], "serving"),
            (&[stop], "stopping 0, quick: false, started: false"),
            (&[complete, stop], "stopping 0, quick: false, started: true"),
            (&[reload, stop], "stopping 0, quick: false, started: false"),
            (&[complete, stop, stop_quickly], "stopping 0, quick: true, started: true"),
            (&[complete, stop_quickly, stop], "stopping 3, quick: true, started: true"),
            (&[stop, reload, roll_back, complete], "stopping 0, quick: false, started: false"),
        ];
        for (steps, expected) in cases {
            let mut stage = starting();
            steps.iter().for_each(|step| step(&mut stage));
            assert_eq!(name(&stage), *expected);
        }
    }

    #[test]
    fn second_reload_rolls_back_to_the_first_deployment() {
        let mut stage = starting();
        stage.complete();
        stage.begin_reload(|earlier| earlier.unwrap_or("first"), None);
        stage.begin_reload(|earlier| earlier.unwrap_or("second"), None);
        assert_eq!(stage.roll_back(true), Some("first"));
        assert_eq!(stage.roll_back(true), None);
    }

    #[test]
    fn failed_boot_ends_the_server_until_some_workers_serve_for_good() {
        let mut stage = starting();
        assert!(stage.ends_with_failed_boot());
        reload(&mut stage);
        stage.roll_back(false);
        assert!(stage.ends_with_failed_boot(), "no worker serves");
        reload(&mut stage);
        stage.roll_back(true);
        assert!(!stage.has_started() && !stage.ends_with_failed_boot());
        complete(&mut stage);
        assert!(!stage.ends_with_failed_boot());
    }

    #[test]
    fn completion_returns_each_of_start_and_reload_once() {
        let mut stage = starting();
        reload(&mut stage);
        assert!(!stage.has_started() && stage.is_reloading());
        let Completed { start, previous } = stage.complete();
        assert!(start.is_some() && previous == Some("one") && stage.has_started());
        let Completed { start, previous } = stage.complete();
        assert!(start.is_none() && previous.is_none());
    }

    #[test]
    fn start_that_ends_early_is_taken_once() {
        let mut stage = starting();
        stop(&mut stage);
        assert!(stage.take_start().is_some());
        assert!(stage.take_start().is_none());
    }
}
