//! What the server runs with: the options, resolved.
//!
//! Past this point nothing is optional that has a default, no two options say the same thing, and a
//! timeout that was switched off is one that never comes.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::app::AppSpec;
use super::bind::{self, Bind};
use super::flags::{DEFAULT_THREADS, Flags, ReloadStrategy};
use super::notation::WorkerClass;
use super::trust::Trust;
use crate::http1::Limits;
use crate::observe::LogTarget;

/// gunicorn's bound on the number of fields, which its 0 stands for as well, and whatever is above.
const MAX_FIELDS: usize = 32_768;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The application; `None` only where the caller has it already, as the Python API may.
    pub app: Option<AppSpec>,
    /// Where to listen; never empty.
    pub binds: Vec<Bind>,
    /// Worker processes and how they are kept.
    pub processes: Processes,
    /// Whose word on the request's scheme is taken.
    pub trusted: Vec<Trust>,
    /// Threads that run the application; at least 1.
    pub threads: usize,
    /// Connections the kernel may hold until they are accepted.
    pub backlog: u32,
    /// Connections that may be open at a time in one worker; at least 1.
    pub worker_connections: usize,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// What a request may consist of.
    pub limits: Limits,
    /// Requests that may wait for a thread; at least 1.
    pub queue: usize,
    /// Bytes of buffers and of temporary files that one worker may hold.
    pub budget: Budget,
    /// Bytes of a request's body that are held in memory before it goes to a temporary file.
    pub body_buffer: usize,
    /// The access log, if there is to be one.
    pub access_log: Option<AccessLogSettings>,
    /// Where the error log goes.
    pub error_log: LogTarget,
    /// The least important messages of the error log.
    pub log_level: LevelFilter,
    /// The directory to change to before the application is loaded.
    pub chdir: Option<PathBuf>,
    /// Directories for the front of `sys.path`, in the order in which they are to stand there.
    pub pythonpath: Vec<PathBuf>,
    /// Environment variables to set for the application.
    pub env: Vec<(String, String)>,
    /// The path below which the application is, for SCRIPT_NAME: empty, or `/…` without a slash at its end.
    pub script_name: String,
    /// The virtual environment the stand-alone binary takes packages from.
    pub venv: Option<PathBuf>,
    /// Only load the application.
    pub check_config: bool,
    /// Only print these settings.
    pub print_config: bool,
    /// The files that options were read from, the one that counts most first.
    pub files: Vec<String>,
    /// What the log is to say of what was asked for and is not done.
    pub notes: Vec<String>,
}

impl Settings {
    /// The file of the access log, if it is one, as seen from where the server is started: the path is one of
    /// `--chdir`, as if the worker that has changed to it opened the file.
    pub fn access_log_file(&self) -> Option<PathBuf> {
        match (&self.access_log.as_ref()?.target, &self.chdir) {
            (LogTarget::File(path), Some(directory)) => Some(directory.join(path)),
            (LogTarget::File(path), None) => Some(path.clone()),
            (LogTarget::Stdout | LogTarget::Stderr, _) => None,
        }
    }
}

/// The path below which the application is, as gunicorn takes it: the last of these variables, else that of
/// the environment.
///
/// # Errors
/// A sentence, if it is no path.
pub(super) fn script_name(
    env: &[(String, String)],
    variable: Option<OsString>,
) -> Result<String, String> {
    let ours = env.iter().rev().find(|(name, _)| name == "SCRIPT_NAME");
    let text = match (ours, variable) {
        (Some((_, text)), _) => text.clone(),
        (None, Some(text)) => text.into_string().map_err(|text| {
            format!("the environment variable SCRIPT_NAME: {text:?} is not text")
        })?,
        (None, None) => String::new(),
    };
    if !text.is_empty() && !text.starts_with('/') {
        return Err(format!(
            "the environment variable SCRIPT_NAME: {text:?} does not begin with '/'; it is the path below \
             which the application is: correct or unset it"
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The worker processes and how they are kept. Only the command line's server has them; the Python API
/// serves in the process that calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    /// How many; at least 1.
    pub workers: usize,
    /// Whether the master imports the application before it forks.
    pub preload: bool,
    /// Whether what was imported is taken out of the garbage collector's sight.
    pub gc_freeze: bool,
    /// How a reload replaces workers.
    pub reload: ReloadStrategy,
    /// The file that holds the master's process number.
    pub pidfile: Option<PathBuf>,
    /// Files to look at beside the modules, if a change is to reload the workers.
    pub watch: Option<Vec<PathBuf>>,
    /// When a worker is replaced.
    pub recycling: Recycling,
    /// The user that workers run as, by name or number.
    pub user: Option<String>,
    /// Their group, by name or number.
    pub group: Option<String>,
    /// The permissions that new files do not get; the process's own if it is not given.
    pub umask: Option<u32>,
    /// What process lists show.
    pub name: Option<String>,
    /// Whether to leave the terminal.
    pub daemon: bool,
}

impl Processes {
    /// The permissions that a unix socket's file does not get.
    pub fn socket_umask(&self) -> u32 {
        self.umask.unwrap_or(0)
    }
}

/// What a worker may use up before it is replaced. 0, and [`Duration::MAX`], are no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recycling {
    /// Requests.
    pub requests: u64,
    /// Up to so many more, at random.
    pub jitter: u64,
    /// Time since it began to serve.
    pub lifetime: Duration,
    /// Bytes of its resident set.
    pub rss: u64,
}

/// What the connections of one worker may hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of requests and responses in memory; `usize::MAX` is no limit.
    pub memory: usize,
    /// Bytes of requests in temporary files; `u64::MAX` is no limit.
    pub spool: u64,
}

/// How long to wait for what. [`Duration::MAX`] is a timeout that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the application to answer a request.
    pub request: Duration,
    /// For a worker to import the application and be ready.
    pub boot: Duration,
    /// For a request's head, from its first byte to its last.
    pub header: Duration,
    /// For the next bytes of a request's body.
    pub body: Duration,
    /// For the next request on an idle connection. Zero: close after each response.
    pub keep_alive: Duration,
    /// For the client to take the next bytes of a response.
    pub write: Duration,
    /// For a complete request to get a thread.
    pub queue: Duration,
    /// For running requests to finish after the order to stop. Zero: do not wait.
    pub graceful: Duration,
    /// Bytes per second that a request's body has to arrive with on average; 0 is any rate.
    pub body_min_rate: u64,
}

/// The access log's destination and look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where lines go.
    pub target: LogTarget,
    /// A format that [`Format::parse`](crate::observe::Format::parse) is known to accept.
    pub format: String,
}

/// Turns options into settings. `port` and `concurrency` are the values of the environment's `PORT` and
/// `WEB_CONCURRENCY`, if they count.
///
/// # Errors
/// A sentence about options that are well-formed each but make no sense.
pub(super) fn resolve(
    flags: Flags,
    port: Option<&OsStr>,
    concurrency: Option<&OsStr>,
) -> Result<Settings, String> {
    let app = match &flags.app {
        Some(text) => Some(AppSpec::parse(text, flags.factory)?),
        None => None,
    };
    let binds = binds(&flags, port)?;
    let processes = processes(&flags, concurrency)?;
    let timeouts = timeouts(&flags);
    let limits = limits(&flags);
    let budget = budget(&flags);
    let threads = match (flags.threads, flags.worker_class) {
        (Some(threads), _) => usize::from(threads).max(1),
        (None, Some(WorkerClass::Sync)) => 1,
        (None, _) => DEFAULT_THREADS,
    };
    let access_target = match flags.access_logfile {
        Some(file) => Some(LogTarget::from_option(&file, LogTarget::Stdout)),
        None => flags.access_log.then_some(LogTarget::Stdout),
    };
    Ok(Settings {
        app,
        binds,
        processes,
        trusted: flags.forwarded_allow_ips,
        threads,
        backlog: flags.backlog,
        worker_connections: usize::try_from(flags.worker_connections).unwrap_or(usize::MAX),
        timeouts,
        limits,
        queue: usize::try_from(flags.limit_queue).unwrap_or(usize::MAX),
        budget,
        body_buffer: flags.body_buffer_size,
        access_log: access_target
            .map(|target| AccessLogSettings { target, format: flags.access_logformat }),
        error_log: LogTarget::from_option(&flags.error_logfile, LogTarget::Stderr),
        log_level: flags.log_level,
        chdir: flags.chdir,
        pythonpath: flags.app_dir.into_iter().chain(flags.pythonpath).collect(),
        env: flags.env,
        script_name: String::new(),
        venv: flags.venv,
        check_config: flags.check_config,
        print_config: flags.print_config,
        files: Vec::new(),
        notes: Vec::new(),
    })
}

fn processes(flags: &Flags, concurrency: Option<&OsStr>) -> Result<Processes, String> {
    let from_environment = || match concurrency.filter(|text| !text.is_empty()) {
        None => Ok(1),
        Some(text) => match text.to_str().and_then(|text| text.parse::<u16>().ok()) {
            Some(workers @ 1..=1024) => Ok(workers),
            _ => Err(format!(
                "the environment variable WEB_CONCURRENCY: '{}' is not a number from 1 to 1024",
                text.to_string_lossy()
            )),
        },
    };
    Ok(Processes {
        workers: usize::from(flags.workers.map_or_else(from_environment, Ok)?),
        preload: flags.preload,
        gc_freeze: !flags.no_gc_freeze,
        reload: flags.reload_strategy,
        pidfile: flags.pid.clone(),
        watch: flags.reload.then(|| flags.reload_extra_file.clone()),
        recycling: Recycling {
            requests: flags.max_requests,
            jitter: flags.max_requests_jitter,
            lifetime: zero_is_never(flags.max_worker_lifetime),
            rss: flags.max_worker_rss,
        },
        user: flags.user.clone(),
        group: flags.group.clone(),
        umask: flags.umask,
        name: flags.name.clone(),
        daemon: flags.daemon,
    })
}

/// `--bind`, or what the options of other servers add up to, or the default.
fn binds(flags: &Flags, port: Option<&OsStr>) -> Result<Vec<Bind>, String> {
    if !flags.bind.is_empty() {
        for (at, bind) in flags.bind.iter().enumerate() {
            // The system chooses another port each time for port 0.
            if !matches!(bind, Bind::Tcp(_, 0)) && flags.bind[..at].contains(bind) {
                return Err(format!("--bind: {bind} is given twice; leave one out"));
            }
        }
        return Ok(flags.bind.clone());
    }
    let mut binds = Vec::new();
    if flags.host.is_some() || flags.port.is_some() {
        let host = flags.host.as_deref().unwrap_or(bind::DEFAULT_HOST);
        let port = match flags.port {
            Some(port) => port,
            None => environment_port(port)?.unwrap_or(bind::DEFAULT_PORT),
        };
        // Here, unlike in `--bind`, an IPv6 address needs no brackets, as no port follows.
        let address = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let bind = address.parse();
        binds.push(bind.map_err(|error: String| format!("--host: {error}"))?);
    }
    binds.extend(flags.uds.clone().map(Bind::Unix));
    binds.extend(flags.fd.map(Bind::Fd));
    if binds.is_empty() {
        binds.push(match environment_port(port)? {
            // A platform that sets PORT connects from outside.
            Some(port) => Bind::Tcp("0.0.0.0".to_owned(), port),
            None => Bind::Tcp(bind::DEFAULT_HOST.to_owned(), bind::DEFAULT_PORT),
        });
    }
    Ok(binds)
}

fn environment_port(port: Option<&OsStr>) -> Result<Option<u16>, String> {
    let Some(text) = port.filter(|port| !port.is_empty()) else {
        return Ok(None);
    };
    match bind::port_number(&text.to_string_lossy()) {
        Ok(port) => Ok(Some(port)),
        Err(error) => Err(format!("the environment variable PORT: {error}")),
    }
}

fn zero_is_never(timeout: Duration) -> Duration {
    if timeout.is_zero() { Duration::MAX } else { timeout }
}

fn timeouts(flags: &Flags) -> Timeouts {
    Timeouts {
        request: zero_is_never(flags.timeout),
        boot: zero_is_never(flags.boot_timeout),
        header: zero_is_never(flags.header_timeout),
        body: zero_is_never(flags.body_timeout),
        keep_alive: flags.keep_alive,
        write: zero_is_never(flags.write_timeout),
        queue: zero_is_never(flags.queue_timeout),
        graceful: flags.graceful_timeout,
        body_min_rate: flags.body_min_rate,
    }
}

fn budget(flags: &Flags) -> Budget {
    Budget {
        memory: match flags.limit_memory {
            0 => usize::MAX,
            memory => usize::try_from(memory).unwrap_or(usize::MAX),
        },
        spool: if flags.limit_spool == 0 { u64::MAX } else { flags.limit_spool },
    }
}

fn limits(flags: &Flags) -> Limits {
    let zero_is = |unlimited: usize, limit: usize| if limit == 0 { unlimited } else { limit };
    let head = flags.limit_request_head;
    let fields = usize::try_from(flags.limit_request_fields).unwrap_or(MAX_FIELDS);
    Limits {
        request_line: zero_is(head, flags.limit_request_line),
        fields: zero_is(MAX_FIELDS, fields).min(MAX_FIELDS),
        field_size: zero_is(head, flags.limit_request_field_size),
        head,
        body: match flags.limit_request_body {
            0 => u64::MAX,
            body => body,
        },
        chunk_extension: flags.limit_chunk_extension,
        trailers: flags.limit_trailers,
        underscores: flags.header_map,
    }
}
