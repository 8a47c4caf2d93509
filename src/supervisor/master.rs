//! The master's loop: waits for signals, messages of workers and deadlines, and handles each.
//! Nothing else wakes it.
//!
//! - [`state`] has the master's fields, [`stage`] the stages of its life and the steps between
//!   them,
//! - [`dispatch`] turns each event into an action,
//! - [`renewal`] passes renewed certificates to the workers, [`acme`] orders them,
//! - [`start`] runs before the loop, [`fork`] forks workers, [`exits`] handles processes that have
//!   exited,
//! - [`survey`] answers at the metrics address, [`control`] carries out commands of the control
//!   socket,
//! - [`reload`] replaces the deployment, [`canary`] tries it first, [`upgrade`] replaces the master
//!   itself, [`shutdown`] ends the server.

mod acme;
mod canary;
mod control;
mod dispatch;
mod exits;
mod fork;
mod reload;
mod renewal;
mod shutdown;
mod stage;
mod start;
mod state;
mod survey;
mod upgrade;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use log::{Level, log};
use pyo3::prelude::*;
use rustix::event::PollFlags;

use self::dispatch::Event;
use self::stage::Stage;
use super::admin::Admin;
use super::canary::Trial;
use super::pidfile::Pidfile;
use super::successor::{Predecessor, Successor};
use crate::config::Replace;
use crate::net::Renewal;
use crate::observe;

pub(super) use self::state::{Master, MasterExit};

/// How often the master tries to write log lines that the reader has not taken.
const LOG_RETRY_INTERVAL: Duration = Duration::from_millis(100);

impl Master<'_> {
    /// Runs until the server has ended. Also returns in every worker that is forked.
    pub(super) fn run(&mut self, py: Python<'_>) -> MasterExit {
        let ended = self.preload(py).and_then(|()| {
            loop {
                self.act(py)?;
                self.wait(py)?;
                self.dispatch(py)?;
            }
        });
        let Err(exit): Result<Infallible, MasterExit> = ended;
        match &exit {
            MasterExit::IntoWorker(_) => {}
            MasterExit::Code(code) => self.clean_up(*code),
            MasterExit::Python(_) => self.clean_up(1),
        }
        exit
    }

    /// Carries out what is due: kills, retires and starts workers, or ends the server.
    fn act(&mut self, py: Python<'_>) -> Result<(), MasterExit> {
        let now = Instant::now();
        observe::report_workers(self.workers.iter().count());
        observe::flush();
        self.notifier.beat(now);
        if self.lines_due().is_some_and(|at| at <= now) {
            observe::release_due(now);
        }
        let timeouts = self.kill_timeouts();
        self.workers.kill_overdue(&timeouts, now);
        if let Stage::Stopping(shutdown) = &self.stage {
            if !self.workers.is_empty() {
                return Ok(());
            }
            self.deployment.hooks.call(py, "on_exit", &[]);
            // A start that fails ends with its error.
            let has_failed = shutdown.exit_code != 0 && !self.stage.has_started();
            let level = if has_failed { Level::Debug } else { Level::Info };
            log!(target: "server.stopped", level, "Shut down");
            return Err(MasterExit::Code(shutdown.exit_code));
        }
        self.visit_authority(now);
        self.renew_certificates(now);
        // Every worker reports the same change: one reload is enough, also if it is rejected.
        if self.source_reload.deadline().is_some_and(|at| at <= now) {
            // A rejected reload is logged.
            drop(self.reload(py));
        }
        self.judge_canary(py, now);
        let plan = self.plan();
        let settings = &self.deployment.settings;
        for index in plan.retire {
            self.workers.retire(index, Replace::ReadyFirst, settings.timeouts.graceful);
        }
        for index in plan.end {
            self.workers.retire(index, Replace::StopFirst, settings.yield_timeout());
        }
        self.update_multiprocess(plan.start);
        if plan.start > 0 && self.workers.backoff.end_pause(now) {
            for _ in 0..plan.start {
                self.fork_worker(py)?;
            }
        }
        self.complete_stage(py);
        Ok(())
    }

    /// Notifies the workers whether several workers serve (`wsgi.multiprocess`). Workers of another
    /// master count too.
    fn update_multiprocess(&mut self, starting: usize) {
        let count = self.deployment.target.max(self.workers.iter().count() + starting);
        let beside_another_master = self.successor.is_some() || self.predecessor.is_some();
        self.workers.set_multiprocess(count > 1 || beside_another_master);
    }

    /// Waits for the next event or deadline.
    fn wait(&self, py: Python<'_>) -> Result<(), MasterExit> {
        let left = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let channels = self.workers.channels();
        let channels = channels.chain(self.predecessor.iter().map(Predecessor::lifeline));
        let channels = channels.chain(self.acme.channel());
        let mut watched: Vec<_> = channels.map(|channel| (channel, PollFlags::IN)).collect();
        let accepts = self.accepts_metrics();
        watched.extend(self.admin.iter().flat_map(|admin| admin.interests(accepts)));
        Ok(self.signals.wait(py, &watched, left)?)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let is_stopping = matches!(self.stage, Stage::Stopping(_));
        let starts_workers = !is_stopping && self.plan().start > 0;
        let pause = self.workers.backoff.paused_until().filter(|_| starts_workers);
        let kills = self.workers.next_deadline(&self.kill_timeouts());
        let reload = self.source_reload.deadline().filter(|_| !is_stopping);
        let log = observe::has_backlog().then(|| Instant::now() + LOG_RETRY_INTERVAL);
        let others = reload.into_iter().chain(self.notifier.next_beat()).chain(pause).chain(log);
        let renewal = self.deployment.tls.as_ref().map(Renewal::due).filter(|_| !is_stopping);
        let others = others.chain(self.lines_due()).chain(renewal).chain(self.acme_deadline());
        let others = others.chain(self.admin.as_ref().and_then(Admin::deadline));
        let others = others.chain(self.stage.trial().and_then(Trial::next_check));
        kills.into_iter().chain(others).min()
    }

    /// When lines of the start that are held back are to be written. Not behind the error of a
    /// worker, which usually ends the start.
    fn lines_due(&self) -> Option<Instant> {
        observe::release_deadline().filter(|_| !self.workers.has_failed_to_boot())
    }

    /// Handles all events that have come.
    fn dispatch(&mut self, py: Python<'_>) -> Result<(), MasterExit> {
        // Taken first: a process may have sent its signal because of a message that is handled
        // below.
        let signals = self.signals.take();
        for (pid, message) in self.workers.receive() {
            self.handle(py, Event::Message(pid, message));
        }
        // Before the signals: a client that was served may send a signal that requires a started
        // server.
        self.complete_stage(py);
        for signal in signals {
            self.handle(py, Event::Signal(signal));
        }
        while let Some((mut worker, status)) = self.workers.reap_one() {
            self.receive_last_messages(&mut worker);
            self.keep_counts(&worker);
            self.handle(py, Event::WorkerExited(worker, status));
        }
        self.reap_orphans();
        if let Some(status) = self.successor.as_mut().and_then(|successor| successor.exit_status())
        {
            self.handle(py, Event::SuccessorExited(status));
        }
        if self.predecessor.as_mut().is_some_and(Predecessor::has_exited) {
            self.handle(py, Event::PredecessorExited);
        }
        self.answer(py);
        Ok(())
    }

    /// Cleans up before the process ends: reports a failed start, and keeps files that a new master
    /// uses.
    fn clean_up(&mut self, code: i32) {
        if let Some(start) = self.stage.take_start()
            && let Some(launcher) = start.launcher
        {
            launcher.report_failure(code);
        }
        self.report_end(code);
        let ended = self.successor.take_if(|successor| successor.exit_status().is_some());
        ended.into_iter().for_each(Successor::end);
        if let Some(successor) = &mut self.successor {
            successor.leave_sockets();
            if let Some(admin) = &mut self.admin {
                admin.sockets().for_each(|(_, sockets)| sockets.disown());
                successor.pass_on(&admin.bequeath(&mut self.reloads));
            }
        }
        let successor = self.successor.as_ref().map(|successor| successor.id());
        // A new master with the same --pid takes the file over.
        let is_awaited = |file: &Pidfile| successor.is_some_and(|pid| file.is_awaited_by(pid));
        self.pidfile.iter().filter(|file| !is_awaited(file)).for_each(Pidfile::remove);
    }
}
