//! `--daemon`: leaves the terminal, and tells whoever typed the command whether the server serves.
//!
//! The process that the shell waits for does not end before that is known, so a script may send its first
//! request in the next line. Until then the terminal is still there to be told why nothing came of it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};

use pyo3::prelude::*;
use rustix::pipe::PipeFlags;

use super::identity;
use crate::observe::LogTarget;
use crate::sys::process::exit_immediately;
use crate::sys::{sigpipe, streams};

/// The exit code of whoever did not want to wait.
const INTERRUPTED: i32 = 130;

/// The way back to the process that the shell waits for.
#[derive(Debug)]
pub(super) struct Launcher(File);

impl Launcher {
    /// Goes on in a grandchild in a session of its own, and returns there only. It still has the terminal's
    /// output, but nothing that could be typed reaches it. `log` is where the error log goes.
    ///
    /// # Errors
    /// As the system does.
    pub(super) fn leave(py: Python<'_>, log: &LogTarget) -> PyResult<Launcher> {
        let (reader, writer) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
        let os = py.import("os")?;
        let fork = || os.call_method0("fork")?.extract::<i32>();
        if fork()? != 0 {
            drop(writer);
            let code = wait(py, File::from(reader));
            if let (true, LogTarget::File(path)) = (![0, INTERRUPTED].contains(&code), log) {
                eprintln!(
                    "rustwsgi: the server has not started; the log says why: {}",
                    path.display()
                );
            }
            end(code);
        }
        drop(reader);
        os.call_method0("setsid")?;
        // Not the leader of its session, so that no terminal can become its own.
        if fork()? != 0 {
            end(0);
        }
        streams::discard_input()?;
        Ok(Launcher(File::from(writer)))
    }

    /// The server serves: lets go of the terminal.
    pub(super) fn ready(self, py: Python<'_>) {
        let_go(py);
        self.tell(0);
    }

    /// It has ended with this exit code before it did.
    pub(super) fn failed(&self, code: i32) {
        // An end in good order is none for whoever waits for a server.
        self.tell(u8::try_from(code).unwrap_or(1).max(1));
    }

    fn tell(&self, code: u8) {
        // Whoever waited may have been interrupted.
        let _ = sigpipe::suppressed(|| (&self.0).write_all(&[code]));
    }
}

/// From now on output goes nowhere.
pub(super) fn let_go(py: Python<'_>) {
    identity::flush(py);
    let _ = streams::discard_output();
}

/// Ends a process whose work goes on in another one.
fn end(code: i32) -> ! {
    // The exit handlers are the other process's.
    exit_immediately(code)
}

/// The exit code: what the grandchild says, or 1 if it ends without a word.
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
