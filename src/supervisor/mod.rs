//! The processes: a master that never touches a client, and the workers it forks.
//!
//! The master binds the sockets, forks, waits, and starts again what has died. It has one thread and does
//! not import the application (unless told to), so that there is nothing in it that a fork could tear and
//! nothing that could crash. Every worker inherits the same listening sockets: a connection that the
//! kernel has accepted belongs to all of them until one takes it, so a worker that dies takes only what
//! it was working on.
//!
//! - [`master`] is the loop: signals, deaths, deadlines,
//! - [`crew`] is the policy: who is started, who has to go, and when,
//! - [`child`] is a worker's life after the fork, [`channel`] what it and the master say to each other,
//! - [`wear`] and [`pulse`] tell when it has served enough, and when it has stopped to,
//! - [`identity`] is users, groups and names,
//! - [`logs`] opens the log files,
//! - [`background`] leaves the terminal,
//! - [`guard`] minds code that is not ours while the master runs it,
//! - [`hooks`] calls what a gunicorn configuration defines,
//! - [`signals`] lets both wait for signals and for each other, [`forks`] keeps them from the application's
//!   own processes,
//! - [`sockets`] keeps what is listened on across reloads and hands it to a new master,
//! - [`successor`] is the upgrade to another master,
//! - [`systemd`] is told, and asked for sockets,
//! - [`pidfile`] says where the master is, [`process`] how a child has ended.
//!
//! Nothing here knows WSGI: the application is loaded by the function that the entrypoints passes in.

mod background;
mod channel;
mod child;
mod crew;
mod forks;
mod guard;
mod hooks;
mod identity;
mod logs;
mod master;
mod pidfile;
mod process;
mod pulse;
mod signals;
mod sockets;
mod successor;
mod systemd;
mod wear;

use std::ffi::OsString;

use log::error;
use pyo3::prelude::*;

use crate::config::{Loaded, Settings};

pub use hooks::Hooks;
pub use logs::open_error_log;

/// Reads the command line and all it leads to.
pub type Parse = fn(Python<'_>, &[OsString]) -> Result<(Loaded, Hooks), String>;

/// What the supervisor needs of the layers it does not know.
#[derive(Debug, Clone, Copy)]
pub struct Entrypoints {
    /// Reads the command line and all it leads to. An error is a sentence.
    pub parse: Parse,
    /// Imports the application that the settings name.
    pub load: fn(Python<'_>, &Settings) -> Result<Py<PyAny>, LoadFailure>,
}

/// Why there is no application. It is in the log already.
#[derive(Debug)]
pub struct LoadFailure {
    /// The process's exit code.
    pub code: i32,
    /// The traceback, if there is one, and the reason.
    pub text: String,
}

/// Serves until told to stop. Returns the exit code, in the master and (because a fork returns twice) in
/// every worker. `argv` is parsed again by a reload.
pub fn run(
    py: Python<'_>,
    argv: &[OsString],
    loaded: Loaded,
    hooks: Hooks,
    entrypoints: Entrypoints,
) -> PyResult<i32> {
    let mut master = match master::Master::new(py, argv, loaded, hooks, entrypoints) {
        Ok(master) => master,
        Err(master::Stop::Done(code)) => return Ok(code),
        Err(master::Stop::Python(failure)) => return Err(failure),
        Err(master::Stop::Child(_)) => unreachable!("nothing was forked yet"),
    };
    match master.run(py) {
        master::Stop::Done(code) => Ok(code),
        master::Stop::Child(birth) => {
            let listeners = master.leave_to_child();
            Ok(child::run(py, *birth, listeners, entrypoints))
        }
        master::Stop::Python(failure) => {
            // A master that cannot go on must not leave workers without one.
            error!("the master cannot go on");
            master.kill_all();
            Err(failure)
        }
    }
}
