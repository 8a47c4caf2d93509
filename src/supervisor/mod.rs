//! The processes: a master that never touches a client, and the workers it forks.
//!
//! The master binds the sockets, forks workers, waits, and replaces workers that die. It has one
//! thread and does not import the application (except with `--preload`), so that a fork finds no
//! lock held and an application cannot crash it. All workers inherit the same listening sockets: a
//! connection in the accept queue belongs to all of them until one accepts it, so a worker that
//! dies loses only the requests it was running.
//!
//! The modules:
//!
//! - [`master`] is the loop, and the stages of the master's life,
//! - [`worker_main`] is a worker's boot after the fork, [`worker_loop`] its loop while it serves,
//! - [`source_watch`] asks for a reload when a file of the application has changed, [`sources`] are
//!   these files,
//! - [`conflict`] recognizes why a worker cannot boot beside another one,
//! - [`deployment`] is what a reload replaces as a whole, [`canary`] the trial that may precede it,
//!   [`reloads`] are the outcomes,
//! - [`hand_overs`] lets workers hand requests over to each other,
//! - [`workers`] are the processes of the pool, [`worker_process`] is one of them,
//! - [`pool`] is the policy: which workers start, and which retire,
//! - [`pacing`] is how soon the master starts workers after failures and reloads after changes,
//! - [`messages`] defines the messages between master and workers, over a [`link`], [`heartbeat`]
//!   the workers' heartbeat, [`recycling`] the limits of a worker,
//! - [`successor`] is the upgrade to a new master (USR2), [`sockets`] keeps listening sockets
//!   across reloads and upgrades,
//! - [`boot_reports`] keeps workers from logging the same failure several times,
//! - [`certificates`] passes renewed certificates to workers, [`acme`] orders them,
//! - [`signals`] waits for signals, [`guard`] watches foreign code that runs in the master,
//!   [`forks`] keeps signals away from processes that the application forks, [`worker_signals`]
//!   shares the signals of a worker with the application, [`handlers`] are Python handlers,
//! - [`log_files`] opens the logs, [`log_path`] decides with whose rights,
//! - [`path_trust`] knows which files the workers' user can change, [`import_guard`] refuses to
//!   import them,
//! - [`identity`] is users, groups and process names, [`exit_status`] how a process has exited,
//! - [`admin`] answers at the metrics address and at the control socket,
//! - [`background`] detaches from the terminal, [`systemd`] is its protocols, [`pidfile`] the pid
//!   file,
//! - [`hooks`] calls the functions of a gunicorn configuration,
//! - [`entrypoints`] are the functions that the layer above passes in.

mod acme;
mod admin;
mod background;
mod boot_reports;
mod canary;
mod certificates;
mod conflict;
mod deployment;
mod entrypoints;
mod exit_status;
mod forks;
mod guard;
mod hand_overs;
mod handlers;
mod heartbeat;
mod hooks;
mod identity;
mod import_guard;
mod link;
mod log_files;
mod log_path;
mod master;
mod messages;
mod pacing;
mod path_trust;
mod pidfile;
mod pool;
mod recycling;
mod reloads;
mod signals;
mod sockets;
mod source_watch;
mod sources;
mod successor;
mod systemd;
mod worker_loop;
mod worker_main;
mod worker_process;
mod worker_signals;
mod workers;

use std::ffi::OsString;

use log::error;
use pyo3::prelude::*;

use crate::config::Loaded;

pub use conflict::is_conflict;
pub use entrypoints::{Entrypoints, LoadFailure, Parse};
pub use hooks::Hooks;
pub use import_guard::ImportGuard;
pub use log_files::open_error_log;
pub use path_trust::WorkerUsers;

use self::master::{Master, MasterExit};

/// Serves until a signal ends the server. Returns the exit code, in the master and (because a fork
/// returns twice) in every worker. A reload parses `argv` again.
pub fn run(
    py: Python<'_>,
    argv: &[OsString],
    loaded: Loaded,
    hooks: Hooks,
    entrypoints: Entrypoints,
) -> PyResult<i32> {
    let mut master = match Master::start(py, argv, loaded, hooks, entrypoints) {
        Ok(master) => master,
        Err(MasterExit::Code(code)) => return Ok(code),
        Err(MasterExit::Python(failure)) => return Err(failure),
        Err(MasterExit::IntoWorker(_)) => unreachable!("no worker was forked yet"),
    };
    match master.run(py) {
        MasterExit::Code(code) => Ok(code),
        MasterExit::IntoWorker(context) => {
            let listeners = master.into_worker_listeners();
            Ok(worker_main::run(py, *context, listeners, entrypoints))
        }
        MasterExit::Python(failure) => {
            error!(
                target: "server.failed",
                "The master failed: sending SIGKILL to all workers, which must not outlive it"
            );
            master.kill_workers();
            Err(failure)
        }
    }
}
