//! Why the process ends before it serves.

use std::fmt;

/// The exit status for a command line that cannot be used, as that of Python's argparse.
const USAGE: i32 = 2;

/// Printed instead of serving: help, the version, generated text, or an error in the options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The process's exit status: 0 for help and version, 2 for bad usage.
    pub code: i32,
    /// Whether the message goes to standard output; otherwise to standard error.
    pub stdout: bool,
    /// The text to print, without a line feed at the end.
    pub message: String,
}

impl Exit {
    /// An error in the options.
    pub fn usage(message: impl fmt::Display) -> Exit {
        Exit { code: USAGE, stdout: false, message: format!("error: {message}") }
    }

    /// Text that the command line requested.
    pub(super) fn output(message: String) -> Exit {
        Exit { code: 0, stdout: true, message }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}
