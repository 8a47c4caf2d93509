//! HUP: new workers with the configuration as it stands now, while the old ones go on serving.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use pyo3::prelude::*;

use super::{Master, Member, change};
use crate::config::{Loaded, Settings};
use crate::supervisor::crew::State;
use crate::supervisor::guard::Guarded;
use crate::supervisor::hooks::Hooks;
use crate::supervisor::identity::Identity;
use crate::supervisor::pidfile::Pidfile;
use crate::supervisor::sockets::Sockets;

/// What a reload replaces, kept for the case that it fails.
pub(super) struct Past {
    pub(super) settings: Arc<Settings>,
    /// The warnings about them.
    pub(super) warnings: Vec<String>,
    pub(super) hooks: Hooks,
    pub(super) target: usize,
    /// Sockets that the new configuration does not have.
    pub(super) dropped: Sockets,
    /// The user and group that the workers had.
    pub(super) identity: Option<Identity>,
    /// The file of the access log, as it was opened last.
    pub(super) access_log: Option<File>,
}

impl Master<'_> {
    /// Reads the configuration again and starts workers with it. The old ones serve until then.
    pub(super) fn reload(&mut self, py: Python<'_>) {
        self.hooks.call(py, "on_reload", &[]);
        self.notifier.reloading();
        // Whoever asked for it waits for an end. One that is under way already is told at its own.
        if !self.begin_reload(py) && self.started && self.past.is_none() {
            self.notifier.ready();
        }
    }

    /// Returns whether a reload is under way from now on. If not, nothing has changed.
    fn begin_reload(&mut self, py: Python<'_>) -> bool {
        let (Loaded { settings, warnings, .. }, hooks) = match self.read_anew(py) {
            Ok(parsed) => parsed,
            Err(error) => {
                error!("the configuration cannot be read, so nothing changes: {error}");
                return false;
            }
        };
        let identity = match Identity::resolve(py, &settings.processes) {
            Ok(identity) => identity,
            Err(failure) => {
                error!("{}: nothing changes", failure.value(py));
                return false;
            }
        };
        if let Err((_, reason)) = change::check(&settings) {
            error!("nothing changes: {reason}");
            return false;
        }
        let logs = match self.open_logs(py, &settings, identity.as_ref()) {
            Ok(logs) => logs,
            Err(reason) => {
                error!("nothing changes: {reason}");
                return false;
            }
        };
        // Twice in a row: what the first one was to replace is still to be replaced.
        let mut known = std::mem::take(&mut self.sockets);
        let kept = known.len();
        // An address that the first one has dropped is still ours.
        if let Some(past) = &mut self.past {
            known.absorb(std::mem::take(&mut past.dropped));
        }
        let binds = self.activated.as_ref().unwrap_or(&settings.binds);
        match Sockets::open(binds, &settings, &mut known) {
            Ok(sockets) => {
                self.sockets = sockets;
            }
            Err(error) => {
                error!("an address cannot be listened on, so nothing changes: {error:#}");
                let dropped = known.split_off(kept);
                self.sockets = known;
                if let Some(past) = &mut self.past {
                    past.dropped = dropped;
                }
                return false;
            }
        }
        let access_log = self.access_log.take();
        self.become_like(py, &settings, logs);
        for warning in warnings.iter().filter(|warning| !self.warnings.contains(warning)) {
            warn!(target: "config.warning", "{warning}");
        }
        self.tell_what_stays(&settings);
        if let Some(identity) = &identity
            && let Err(failure) = identity.give_sockets(self.sockets.listeners())
        {
            error!("{failure:#}");
        }
        hooks.adopt(py, &self.hooks);
        let hooks = std::mem::replace(&mut self.hooks, hooks);
        info!("Reloading: new workers are started, then the old ones go");
        let target = settings.processes.workers;
        let previous = std::mem::replace(&mut self.settings, Arc::new(settings));
        let previous_warnings = std::mem::replace(&mut self.warnings, warnings);
        let previous_target = std::mem::replace(&mut self.target, target);
        let identity = std::mem::replace(&mut self.identity, identity);
        if target != previous_target {
            self.target_changed(py, previous_target);
        }
        let mut past = self.past.take().unwrap_or(Past {
            settings: previous,
            warnings: previous_warnings,
            hooks,
            target: previous_target,
            dropped: Sockets::default(),
            identity,
            access_log,
        });
        past.dropped.absorb(known);
        self.past = Some(past);
        self.generation += 1;
        self.backoff.forgive();
        true
    }

    /// The configuration may be a program, which a signal may have to end.
    fn read_anew(&mut self, py: Python<'_>) -> Result<(Loaded, Hooks), String> {
        let Master { signals, entrypoints, argv, sockets, pidfile, successor, .. } = self;
        let farewell = |_| {
            // The workers hear of it, and end.
            if successor.is_none() {
                pidfile.iter().for_each(Pidfile::remove);
                sockets.remove_files();
            }
        };
        let guarded = Guarded {
            what: "the execution of the configuration",
            limit: Duration::MAX,
            farewell: &farewell,
        };
        let read = signals.lend(py, &guarded, || (entrypoints.parse)(py, argv));
        read.map_err(|failure| failure.to_string()).and_then(|read| read)
    }

    /// A worker of the new generation cannot boot. The old ones go on as if nothing had happened, and so does
    /// the old configuration if one of them dies; unless (in a rolling reload) some of them were replaced
    /// already: then both kinds serve side by side.
    pub(super) fn call_off(&mut self, py: Python<'_>) {
        let Some(mut past) = self.past.take() else { return };
        let generation = self.generation;
        let serves = |member: &&Member| member.card.state == State::Ready;
        let is_new = |member: &Member| member.card.generation == generation;
        let (new, old): (Vec<&Member>, Vec<&Member>) =
            self.members.iter().filter(serves).partition(|member| is_new(member));
        let back = old.len() >= past.target || new.is_empty();
        if old.is_empty() && back {
            error!("the reload has failed; the old configuration holds");
        } else {
            error!("the reload has failed; the old workers go on serving");
        }
        if self.started {
            self.notifier.ready();
        }
        let target = std::mem::replace(&mut self.target, past.target);
        self.backoff.boot_failed(Instant::now());
        for at in 0..self.members.len() {
            let card = self.members[at].card;
            let is_new = card.generation == generation;
            match card.state {
                State::Booting => self.retire(at),
                State::Ready if is_new && back => self.retire(at),
                State::Ready => self.members[at].card.generation = generation,
                State::Leaving => {}
            }
        }
        if back {
            let logs = self.open_past_logs(py, &mut past);
            self.become_like(py, &past.settings, logs);
            let given = std::mem::replace(&mut self.identity, past.identity).is_some();
            let mut known = std::mem::take(&mut self.sockets);
            known.absorb(past.dropped);
            let binds = self.activated.as_ref().unwrap_or(&past.settings.binds);
            match Sockets::open(binds, &past.settings, &mut known) {
                Ok(sockets) => self.sockets = sockets,
                Err(error) => {
                    error!("{error:#}");
                    self.sockets = known;
                }
            }
            self.settings = past.settings;
            self.warnings = past.warnings;
            let owner = self.identity.clone().unwrap_or_else(Identity::own);
            if given && let Err(failure) = owner.give_sockets(self.sockets.listeners()) {
                error!("{failure:#}");
            }
            past.hooks.adopt(py, &self.hooks);
            self.hooks = past.hooks;
        }
        if target != self.target {
            self.target_changed(py, target);
        }
    }
}
