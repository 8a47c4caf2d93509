//! `--daemon`: detaches from the terminal.
//!
//! The process that the shell waits for (the launcher) exits only when the server is ready or has
//! failed, so a script may send a request in its next line. Until then error messages still reach
//! the terminal.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use pyo3::prelude::*;

use super::identity;
use crate::observe::{self, LogTarget};
use crate::sys::process::exit_immediately;
use crate::sys::{sigpipe, streams};

/// The exit code of a launcher that was interrupted.
const INTERRUPTED: i32 = 130;

/// The pipe to the process that the shell waits for.
#[derive(Debug)]
pub(super) struct Launcher(File);

impl Launcher {
    /// Continues in a grandchild with its own session, and returns only there. Its output still
    /// goes to the terminal, but it reads no input from it. `log` is the target of the error log.
    ///
    /// # Errors
    /// As fork(2) and setsid(2).
    pub(super) fn detach(py: Python<'_>, log: &LogTarget) -> PyResult<Launcher> {
        let (reader, writer) = std::io::pipe()?;
        let os = py.import("os")?;
        let fork = || os.call_method0("fork")?.extract::<i32>();
        if fork()? != 0 {
            drop(writer);
            let code = wait(py, File::from(OwnedFd::from(reader)));
            if let (true, LogTarget::File(path)) = (![0, INTERRUPTED].contains(&code), log) {
                eprintln!("rustwsgi: the server has not started; see its log: {}", path.display());
            }
            // The exit handlers belong to the process that continues.
            exit_immediately(code);
        }
        drop(reader);
        os.call_method0("setsid")?;
        // A process that does not lead its session cannot acquire a terminal.
        if fork()? != 0 {
            exit_immediately(0);
        }
        observe::inherit_start();
        streams::discard_input()?;
        Ok(Launcher(File::from(OwnedFd::from(writer))))
    }

    /// The server is ready: lets the launcher exit with 0, and stops writing to the terminal.
    pub(super) fn report_ready(self, py: Python<'_>) {
        discard_output(py);
        self.report(0);
    }

    /// Reports that the server ends with this exit code before it was ready.
    pub(super) fn report_failure(&self, code: i32) {
        // Even an orderly exit is a failed start.
        self.report(u8::try_from(code).unwrap_or(1).max(1));
    }

    fn report(&self, code: u8) {
        // The launcher may have been interrupted.
        let _ = sigpipe::suppressed(|| (&self.0).write_all(&[code]));
    }
}

/// Stops writing to the terminal: standard output and error go to /dev/null from now on.
pub(super) fn discard_output(py: Python<'_>) {
    identity::flush_streams(py);
    observe::finish();
    let _ = streams::discard_output();
}

/// Waits for the exit code that the server reports; 1 if it exits without a report.
fn wait(py: Python<'_>, mut from: File) -> i32 {
    let mut code = [0];
    loop {
        match py.detach(|| from.read(&mut code)) {
            Ok(1) => return code[0].into(),
            Err(failure) if failure.kind() == ErrorKind::Interrupted => {
                if py.check_signals().is_err() {
                    return INTERRUPTED;
                }
            }
            Ok(_) | Err(_) => return 1,
        }
    }
}
