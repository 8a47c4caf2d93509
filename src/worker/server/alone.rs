//! A server without a master, for `rustwsgi.serve()`: it binds its addresses, opens its log, and
//! renews its certificates itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Instant;

use anyhow::anyhow;
use log::info;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{Server, ServerParts, StartError};
use crate::config::{AccessLogSettings, Settings};
use crate::net::{self, Listener, Renewal};
use crate::observe::{Sink, remedy};
use crate::sys::signals::without_signals;
use crate::wsgi::{Application, configure_logging, install_loggers_in_program};

impl Server {
    /// Binds, and serves `app` on new threads until [`Server::stop`]. Calls `on_ready` as
    /// [`Server::start_with`] does.
    pub fn start(
        py: Python<'_>,
        app: Application,
        settings: Arc<Settings>,
        on_ready: impl FnOnce() -> Result<(), StartError>,
    ) -> Result<Server, StartError> {
        install_loggers_in_program(py, &settings)?;
        configure_logging(py, &settings, None).map_err(PyValueError::new_err)?;
        let renewal = settings.tls.is_enabled().then(|| Renewal::read(&settings.tls, None));
        let renewal = renewal.transpose().map_err(StartError::Tls)?;
        let (listeners, access_log) = (bind(&settings)?, open_access_log(&settings)?);
        let parts = ServerParts {
            app,
            listeners,
            hand_over: None,
            slot: None,
            request_limit: None,
            inspected: None,
            tls: renewal.as_ref().map(|renewal| renewal.tls().clone()),
            access_log,
            settings,
            multiprocess: false,
            has_main_thread: false,
        };
        let (mut server, ()) = Server::start_with(py, parts, on_ready)?;
        server._renewal = renewal.map(RenewalThread::start).transpose()?;
        for (_, url) in &server.addresses {
            info!(target: "server.listening", "Listening at: {url}");
        }
        info!(target: "server.ready", "Ready: this process serves");
        Ok(server)
    }
}

/// Binds all addresses of `settings`.
fn bind(settings: &Settings) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for (address, purpose) in settings.addresses(&settings.binds) {
        for mut listener in net::bind(address, settings.into()).map_err(StartError::Bind)? {
            listener.set_purpose(purpose, settings.is_https(purpose));
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

fn open_access_log(settings: &Settings) -> Result<Option<Sink>, StartError> {
    let Some(AccessLogSettings { target, .. }) = &settings.access_log else { return Ok(None) };
    let sink =
        Sink::open(target).map_err(|failure| anyhow!("{target}; {}: {failure}", remedy(&failure)));
    sink.map(Some).map_err(StartError::AccessLog)
}

/// A thread that renews the certificates, until this value is dropped.
pub(super) struct RenewalThread {
    has_ended: Arc<AtomicBool>,
    thread: Thread,
}

impl RenewalThread {
    fn start(mut renewal: Renewal) -> io::Result<RenewalThread> {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ends = has_ended.clone();
        let run = move || {
            while !ends.load(Ordering::Relaxed) {
                let now = Instant::now();
                renewal.renew(now);
                std::thread::park_timeout(renewal.due().saturating_duration_since(now));
            }
        };
        let thread = std::thread::Builder::new().name("rustwsgi-certificates".into());
        let thread = without_signals(|| thread.spawn(run))?.thread().clone();
        Ok(RenewalThread { has_ended, thread })
    }
}

impl Drop for RenewalThread {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}
