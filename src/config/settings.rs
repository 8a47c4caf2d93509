//! The settings that the server runs with.
//!
//! A field is an `Option` only if it has no default, and no two fields hold the same fact. A
//! disabled timeout is [`Duration::MAX`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::app::AppSpec;
use super::bind::Bind;
use super::trust::Trust;
use crate::http1::Limits;
use crate::observe::LogTarget;

/// All settings of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The application; `None` if the caller has loaded it, as with the Python API.
    pub app: Option<AppSpec>,
    /// The addresses to listen on; never empty.
    pub binds: Vec<Bind>,
    /// The worker processes.
    pub processes: Processes,
    /// Proxies whose forwarded header fields are trusted.
    pub trusted: Vec<Trust>,
    /// Header fields with an underscore that these proxies may set, in capitals; `*` is all.
    pub forwarder_headers: Vec<String>,
    /// Threads per worker that run the application; at least 1.
    pub threads: usize,
    /// Maximum number of pending connections in the listen queue.
    pub backlog: u32,
    /// Whether TCP sockets are bound with SO_REUSEPORT.
    pub reuse_port: bool,
    /// Maximum number of open connections per worker; at least 1.
    pub worker_connections: usize,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// The limits of one request.
    pub limits: Limits,
    /// Maximum number of requests that wait for a thread; at least 1.
    pub queue: usize,
    /// Memory and temporary files that one worker may use.
    pub budget: Budget,
    /// Bytes of a request body that are kept in memory; more is spooled to a temporary file.
    pub body_buffer: usize,
    /// Unsent bytes of a response that are spooled to temporary files; 0 is none.
    pub response_spool: u64,
    /// The access log, if there is one.
    pub access_log: Option<AccessLogSettings>,
    /// Regular expressions of the paths that the access log leaves out.
    pub access_log_exclude: Vec<String>,
    /// The file of the error log.
    pub error_log: LogTarget,
    /// The lowest level that the error log contains.
    pub log_level: LevelFilter,
    /// The working directory of the application.
    pub chdir: Option<PathBuf>,
    /// Directories to prepend to `sys.path`, in this order.
    pub pythonpath: Vec<PathBuf>,
    /// Environment variables of the application.
    pub env: Vec<(String, String)>,
    /// The prefix of the application in the URL, for SCRIPT_NAME: empty, or `/…` without a final
    /// slash.
    pub script_name: String,
    /// The virtual environment of the embedded interpreter.
    pub venv: Option<PathBuf>,
    /// Whether to load the application and exit.
    pub check_config: bool,
    /// Whether to print these settings and exit.
    pub print_config: bool,
}

impl Settings {
    /// Settings without any value, which the options' values (their defaults at least) replace.
    pub(super) fn unset() -> Settings {
        Settings {
            app: None,
            binds: Vec::new(),
            processes: Default::default(),
            trusted: Vec::new(),
            forwarder_headers: Vec::new(),
            threads: 0,
            backlog: 0,
            reuse_port: false,
            worker_connections: 0,
            timeouts: Default::default(),
            limits: Default::default(),
            queue: 0,
            budget: Default::default(),
            body_buffer: 0,
            response_spool: 0,
            access_log: None,
            access_log_exclude: Vec::new(),
            error_log: LogTarget::Stderr,
            log_level: LevelFilter::Off,
            chdir: None,
            pythonpath: Vec::new(),
            env: Vec::new(),
            script_name: String::new(),
            venv: None,
            check_config: false,
            print_config: false,
        }
    }

    /// Whether a peer is a trusted proxy. `None` is a peer on a Unix socket, which always is.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|ip| self.trusted.iter().any(|trust| trust.covers(ip)))
    }

    /// Whether a trusted proxy may set this header field, whose name has an underscore.
    pub fn is_forwarder_header(&self, name: &[u8]) -> bool {
        let is_named = |known: &String| known == "*" || known.as_bytes().eq_ignore_ascii_case(name);
        self.forwarder_headers.iter().any(is_named)
    }

    /// How long a worker that ends before its successor starts may finish its running requests.
    pub fn yield_timeout(&self) -> Duration {
        let graceful = self.timeouts.graceful;
        if self.processes.watch.is_some() { graceful.min(RELOAD_TIMEOUT) } else { graceful }
    }

    /// The path of the access log, if it is a file. A relative path is one of `--chdir`, where the
    /// workers open it.
    pub fn access_log_file(&self) -> Option<PathBuf> {
        match (&self.access_log.as_ref()?.target, &self.chdir) {
            (LogTarget::File(path), Some(directory)) => Some(directory.join(path)),
            (LogTarget::File(path), None) => Some(path.clone()),
            (LogTarget::Stdout | LogTarget::Stderr, _) => None,
        }
    }
}

/// With `--reload`, a stream that never ends must not keep a change from showing.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// The worker processes. Only the command line has them; the Python API serves in the calling
/// process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Processes {
    /// Number of workers; at least 1.
    pub workers: usize,
    /// Whether the master imports the application before it forks the workers.
    pub preload: bool,
    /// Whether to call `gc.freeze()` once the application is imported.
    pub gc_freeze: bool,
    /// How a reload replaces the workers.
    pub reload: ReloadStrategy,
    /// Whether a worker ends before its successor starts.
    pub replace: Replace,
    /// The PID file of the master.
    pub pidfile: Option<PathBuf>,
    /// With `--reload`: files to watch in addition to the imported modules.
    pub watch: Option<Vec<PathBuf>>,
    /// When workers are recycled.
    pub recycling: Recycling,
    /// The user to run workers as, by name or number.
    pub user: Option<String>,
    /// The group to run workers as, by name or number.
    pub group: Option<String>,
    /// The file mode creation mask; `None` keeps that of the process.
    pub umask: Option<u32>,
    /// The process name.
    pub name: Option<String>,
    /// Whether to detach from the terminal.
    pub daemon: bool,
}

impl Processes {
    /// The mask for the mode of Unix sockets.
    pub fn socket_umask(&self) -> u32 {
        self.umask.unwrap_or(0)
    }
}

/// How a reload replaces the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReloadStrategy {
    /// Start all new workers, then stop the old ones.
    #[default]
    All,
    /// Replace one worker at a time.
    Rolling,
}

/// The order in which a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// The worker retires when its successor is ready.
    #[default]
    ReadyFirst,
    /// The successor starts when the worker has ended.
    StopFirst,
}

/// The limits at which a worker is recycled. 0 and [`Duration::MAX`] are no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recycling {
    /// Number of requests.
    pub requests: u64,
    /// Maximum random addition to the number of requests.
    pub jitter: u64,
    /// Time since the worker started to serve.
    pub lifetime: Duration,
    /// Resident set size in bytes.
    pub rss: u64,
}

/// The resources that all connections of one worker may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Bytes of buffers for requests and responses; `usize::MAX` is no limit.
    pub memory: usize,
    /// Bytes of request bodies and responses in temporary files; `u64::MAX` is no limit.
    pub spool: u64,
}

/// The timeouts. [`Duration::MAX`] is no timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// For the application to handle a request.
    pub request: Duration,
    /// For a worker to import the application and report that it is ready.
    pub boot: Duration,
    /// For a request head, from its first byte to its last.
    pub header: Duration,
    /// For the next bytes of a request body.
    pub body: Duration,
    /// For the next request on an idle connection. Zero closes it after each response.
    pub keep_alive: Duration,
    /// For the client to receive the next bytes of a response.
    pub write: Duration,
    /// For a complete request to be given to a thread.
    pub queue: Duration,
    /// For requests in progress to finish at shutdown. Zero does not wait.
    pub graceful: Duration,
    /// Minimum average rate of a request body in bytes per second; 0 is any rate.
    pub body_min_rate: u64,
    /// Minimum average rate of a client that reads a response, in bytes per second; 0 is any rate.
    pub write_min_rate: u64,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// The file.
    pub target: LogTarget,
    /// The format, which [`Format::parse`](crate::observe::Format::parse) accepts.
    pub format: String,
}
