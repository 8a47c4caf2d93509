//! The protocols of systemd: socket activation, notifications (`Type=notify`), and the watchdog.
//! Without systemd all of this does nothing.

use std::time::{Duration, Instant};

use log::debug;
use pyo3::prelude::*;
use sd_notify::NotifyState;

use crate::config::Bind;

/// The variables of socket activation, which are meant for this process only: sd_listen_fds(3).
pub(super) const VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The sockets that systemd has opened for this process. They replace all addresses, as in
/// gunicorn.
pub(super) fn activated() -> Option<Vec<Bind>> {
    let fds: Vec<Bind> = sd_notify::listen_fds().ok()?.map(Bind::Fd).collect();
    (!fds.is_empty()).then_some(fds)
}

/// Makes a new master notify the watchdog from its start. systemd listens only to the main process,
/// which the new master becomes when the old one exits; the variable still names the old one.
pub(super) fn take_over_watchdog(environ: &Bound<'_, PyAny>, predecessor: u32) -> PyResult<()> {
    const NAME: &str = "WATCHDOG_PID";
    if std::env::var(NAME).is_ok_and(|pid| pid == predecessor.to_string()) {
        environ.set_item(NAME, std::process::id().to_string())?;
    }
    Ok(())
}

/// Reports the state of the service.
#[derive(Debug)]
pub(super) struct Notifier {
    /// The interval of the watchdog notifications, and when the next is due.
    watchdog: Option<(Duration, Instant)>,
}

impl Notifier {
    pub(super) fn new() -> Notifier {
        // Half of the timeout, as sd_watchdog_enabled(3) recommends.
        let watchdog = sd_notify::watchdog_enabled().map(|timeout| (timeout / 2, Instant::now()));
        Notifier { watchdog }
    }

    /// The workers are ready.
    pub(super) fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    pub(super) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            notify(&[NotifyState::Reloading, now]);
        }
    }

    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// A new master becomes the main process. Only the old one can report that: with
    /// `NotifyAccess=main` systemd ignores all other processes.
    pub(super) fn handed_over(&self, successor: u32) {
        notify(&[NotifyState::MainPid(successor)]);
    }

    /// This master has taken the place of one that has exited.
    pub(super) fn promoted(&self) {
        notify(&[NotifyState::MainPid(std::process::id())]);
    }

    /// When [`Notifier::beat`] is due.
    pub(super) fn next_beat(&self) -> Option<Instant> {
        self.watchdog.map(|(_, at)| at)
    }

    /// Notifies the watchdog, if it is due.
    pub(super) fn beat(&mut self, now: Instant) {
        if let Some((interval, at)) = &mut self.watchdog
            && *at <= now
        {
            notify(&[NotifyState::Watchdog]);
            *at = now + *interval;
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("Cannot notify systemd: {error}");
    }
}
