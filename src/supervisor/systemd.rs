//! systemd, where it is the one that has started us: sockets it listens on for us, what it wants to hear
//! (`Type=notify`), and the watchdog. Everywhere else all of this does nothing.

use std::time::{Duration, Instant};

use log::debug;
use pyo3::prelude::*;
use sd_notify::NotifyState;

use crate::config::Bind;

/// Variables that are meant for this process and no other.
pub(super) const VARIABLES: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The sockets that were opened for this process; they take the place of all addresses, as in gunicorn.
pub(super) fn activated() -> Option<Vec<Bind>> {
    let fds: Vec<Bind> = sd_notify::listen_fds().ok()?.map(Bind::Fd).collect();
    (!fds.is_empty()).then_some(fds)
}

/// A new master beats for the watchdog as well, from its start: systemd hears only the main process, which it
/// becomes without a warning. The variable that says whom the watchdog is for names the old one.
pub(super) fn take_over_watchdog(environ: &Bound<'_, PyAny>, predecessor: u32) -> PyResult<()> {
    const NAME: &str = "WATCHDOG_PID";
    if std::env::var(NAME).is_ok_and(|pid| pid == predecessor.to_string()) {
        environ.set_item(NAME, std::process::id().to_string())?;
    }
    Ok(())
}

/// What the service is doing.
#[derive(Debug)]
pub(super) struct Notifier {
    /// How often the watchdog is to be told that we live, and when next.
    watchdog: Option<(Duration, Instant)>,
}

impl Notifier {
    pub(super) fn new() -> Notifier {
        // Half of the limit, as sd_watchdog_enabled(3) recommends.
        let watchdog = sd_notify::watchdog_enabled().map(|limit| (limit / 2, Instant::now()));
        Notifier { watchdog }
    }

    /// The workers serve.
    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(super) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Another master takes this one's place. Only the main process of a service may say so under
    /// `NotifyAccess=main`, which is this one until then.
    pub(super) fn handed_over(&self, successor: u32) {
        tell(&[NotifyState::MainPid(successor)]);
    }

    /// This master has taken the place of another.
    pub(super) fn promoted(&self) {
        tell(&[NotifyState::MainPid(std::process::id())]);
    }

    /// When [`Notifier::beat`] has to be called.
    pub(super) fn next_beat(&self) -> Option<Instant> {
        self.watchdog.map(|(_, at)| at)
    }

    /// Tells the watchdog that the master lives, if it is time.
    pub(super) fn beat(&mut self, now: Instant) {
        if let Some((interval, at)) = &mut self.watchdog
            && *at <= now
        {
            tell(&[NotifyState::Watchdog]);
            *at = now + *interval;
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("cannot notify systemd: {error}");
    }
}
