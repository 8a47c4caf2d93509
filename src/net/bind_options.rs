//! How listening sockets are bound.

use crate::config::Settings;

/// The permissions of a unix socket. The process's umask, 022 as a rule, does not apply: connecting
/// needs write permission, and the proxy in front runs as another user. gunicorn's default umask is
/// 0, which configurations rely on; the directory, or --umask, keeps other users out.
const SOCKET_MODE: u32 = 0o666;

/// How sockets are bound.
#[derive(Debug, Clone, Copy)]
pub struct BindOptions {
    /// The length of the accept queue.
    pub backlog: u32,
    /// The permissions of the file of a unix socket.
    pub mode: u32,
    /// Whether a TCP socket gets SO_REUSEPORT.
    pub reuse_port: bool,
}

impl BindOptions {
    /// Options with this backlog, and defaults.
    pub fn with_backlog(backlog: u32) -> BindOptions {
        BindOptions { backlog, mode: SOCKET_MODE, reuse_port: false }
    }
}

impl From<&Settings> for BindOptions {
    fn from(settings: &Settings) -> BindOptions {
        BindOptions {
            backlog: settings.backlog,
            mode: SOCKET_MODE & !settings.processes.socket_umask(),
            reuse_port: settings.reuse_port,
        }
    }
}
