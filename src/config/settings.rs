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
use super::http2::Http2Settings;
use super::logs::LogSettings;
use super::static_files::StaticSettings;
use super::tls::{Purpose, TlsSettings};
use super::trust::Trust;
use crate::http1::Limits;
use crate::observe::{AccessOutputs, Collectors, LogTarget};
use crate::proxies::{ForwardedFields, ProxyProtocol, Untrusted};

/// All settings of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The application; `None` if the caller has loaded it, as with the Python API.
    pub app: Option<AppSpec>,
    /// The addresses to listen on; never empty.
    pub binds: Vec<Bind>,
    /// The addresses that speak plain HTTP although there is a certificate.
    pub insecure_binds: Vec<Bind>,
    /// The addresses that redirect every request to HTTPS.
    pub redirect_binds: Vec<Bind>,
    /// Certificates and keys.
    pub tls: TlsSettings,
    /// How the state of the server is shown.
    pub observability: Observability,
    /// HTTP/2.
    pub http2: Http2Settings,
    /// The worker processes.
    pub processes: Processes,
    /// Proxies whose forwarded header fields are trusted.
    pub trusted: Vec<Trust>,
    /// Header fields with an underscore that these proxies may set, in capitals; `*` is all.
    pub forwarder_headers: Vec<String>,
    /// The forwarded fields of these proxies that are applied.
    pub forwarded_headers: ForwardedFields,
    /// What happens to the forwarded fields of other peers.
    pub forwarded_untrusted: Untrusted,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// The peers whose connections do.
    pub proxy_allow_from: Vec<Trust>,
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
    /// Maximum number of requests that have taken their connections; 0 offers none.
    pub max_upgrades: usize,
    /// Memory and temporary files that one worker may use.
    pub budget: Budget,
    /// Whether a request body is received completely before the application runs.
    pub request_buffering: bool,
    /// Bytes of a request body that are kept in memory; more is spooled to a temporary file.
    pub body_buffer: usize,
    /// Unsent bytes of a response that are spooled to temporary files; 0 is none.
    pub response_spool: u64,
    /// The static files.
    pub static_files: StaticSettings,
    /// The access log, if there is one.
    pub access_log: Option<AccessLogSettings>,
    /// Regular expressions of the paths that the access log leaves out.
    pub access_log_exclude: Vec<String>,
    /// The file of the error log.
    pub error_log: LogTarget,
    /// The lowest level that the error log contains.
    pub log_level: LevelFilter,
    /// The form of the logs, and where they go beside their files.
    pub logs: LogSettings,
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
            insecure_binds: Vec::new(),
            redirect_binds: Vec::new(),
            tls: Default::default(),
            observability: Default::default(),
            http2: Default::default(),
            processes: Default::default(),
            trusted: Vec::new(),
            forwarder_headers: Vec::new(),
            forwarded_headers: ForwardedFields::default(),
            forwarded_untrusted: Untrusted::default(),
            proxy_protocol: ProxyProtocol::default(),
            proxy_allow_from: Vec::new(),
            threads: 0,
            backlog: 0,
            reuse_port: false,
            worker_connections: 0,
            timeouts: Default::default(),
            limits: Default::default(),
            queue: 0,
            max_upgrades: 0,
            budget: Default::default(),
            request_buffering: false,
            body_buffer: 0,
            response_spool: 0,
            static_files: Default::default(),
            access_log: None,
            access_log_exclude: Vec::new(),
            error_log: LogTarget::Stderr,
            log_level: LevelFilter::Off,
            logs: Default::default(),
            chdir: None,
            pythonpath: Vec::new(),
            env: Vec::new(),
            script_name: String::new(),
            venv: None,
            check_config: false,
            print_config: false,
        }
    }

    /// All addresses to listen on, each with its purpose. `binds` are those of `--bind`.
    pub fn addresses<'a>(&'a self, binds: &'a [Bind]) -> impl Iterator<Item = (&'a Bind, Purpose)> {
        let of = |purpose| move |bind: &'a Bind| (bind, purpose);
        let insecure = self.insecure_binds.iter().map(of(Purpose::Insecure));
        let redirect = self.redirect_binds.iter().map(of(Purpose::Redirect));
        binds.iter().map(of(Purpose::Application)).chain(insecure).chain(redirect)
    }

    /// Whether TCP clients of an address with this purpose use TLS.
    pub fn is_https(&self, purpose: Purpose) -> bool {
        purpose == Purpose::Application && self.tls.is_enabled()
    }

    /// Whether a peer is a trusted proxy. `None` is a peer on a Unix socket, which always is.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|ip| self.trusted.iter().any(|trust| trust.covers(ip)))
    }

    /// Whether a connection of this peer begins with a header of the PROXY protocol. `None` is a
    /// peer on a Unix socket.
    pub fn expects_proxy_header(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|ip| self.proxy_allow_from.iter().any(|trust| trust.covers(ip)))
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
            (LogTarget::Stdout | LogTarget::Stderr | LogTarget::Nowhere, _) => None,
        }
    }

    /// The collectors that get a copy of the logs, or counts.
    pub fn collectors(&self) -> Collectors {
        self.logs.collectors(self.processes.name.as_deref(), self.app.as_ref())
    }

    /// Where requests are logged beside the file.
    pub fn access_outputs(&self) -> AccessOutputs {
        AccessOutputs {
            syslog: self.logs.sends_requests(),
            statsd: self.logs.statsd.is_some(),
            python: self.logs.python,
        }
    }

    /// Whether requests are lines of a log, rather than only counted.
    pub fn has_access_lines(&self) -> bool {
        let has_file = |log: &AccessLogSettings| log.target != LogTarget::Nowhere;
        let AccessOutputs { syslog, python, .. } = self.access_outputs();
        syslog || python || self.access_log.as_ref().is_some_and(has_file)
    }
}

/// With `--reload`, a stream that never ends must not keep a change from showing.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// The worker processes. Only the command line has them; the Python API serves in the calling
/// process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Processes {
    /// Number of workers.
    pub workers: WorkerCount,
    /// Whether the master imports the application before it forks the workers.
    pub preload: bool,
    /// Whether to call `gc.freeze()` once the application is imported.
    pub gc_freeze: bool,
    /// How a reload replaces the workers.
    pub reload: ReloadStrategy,
    /// Whether a worker ends before its successor starts.
    pub replace: Replace,
    /// How long one new worker serves before the others follow; zero is not at all.
    pub canary: Duration,
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

/// The largest number of workers.
pub(super) const MAX_WORKERS: usize = 1024;

/// How many workers serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkerCount {
    /// One for each CPU that may be used.
    #[default]
    Auto,
    /// This many; at least 1.
    Number(usize),
}

impl WorkerCount {
    /// The number of workers on a system where this many CPUs may be used.
    pub fn number(self, cpus: usize) -> usize {
        match self {
            WorkerCount::Auto => cpus.clamp(1, MAX_WORKERS),
            WorkerCount::Number(number) => number,
        }
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
    /// For the TLS handshake, from the connection on.
    pub handshake: Duration,
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

/// How the state of the server is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observability {
    /// The address at which the master answers.
    pub metrics: Option<Bind>,
    /// How long all threads may be busy before the server counts as not ready; zero is no limit.
    pub ready_busy: Duration,
    /// The path at which workers answer health checks, if there is one.
    pub health_path: Option<String>,
    /// The path of the control socket, if there is one.
    pub control_socket: Option<PathBuf>,
    /// The permissions of the control socket.
    pub control_socket_mode: u32,
    /// The field that holds the id of a request, if requests have ids.
    pub request_id_header: Option<String>,
    /// Responses show their times in a field.
    pub server_timing: bool,
    /// How long a request may run before it is logged as slow; zero is no limit.
    pub slow_request: Duration,
}

impl Observability {
    /// Whether workers show the master what they do.
    pub fn is_enabled(&self) -> bool {
        self.metrics.is_some() || self.control_socket.is_some()
    }
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// The file.
    pub target: LogTarget,
    /// The format, which [`Format::parse`](crate::observe::Format::parse) accepts.
    pub format: String,
}
