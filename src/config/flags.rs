//! Every option, defined once. Parser, help, environment variables and the Python API's keyword
//! arguments are all derived from this struct; [`settings`](super::settings) turns it into what the
//! server uses.
//!
//! Names and short flags are gunicorn's. Names from granian, uvicorn and waitress are hidden aliases
//! where they mean the same thing.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory, Parser, ValueEnum, ValueHint};
use log::LevelFilter;

use super::bind::Bind;
use super::compat::gunicorn;
use super::generate;
use super::notation::{self, WorkerClass};
use super::trust::Trust;
use crate::http1::Underscores;

/// Threads that run the application if nothing is said. Enough for an application that waits for its
/// database now and then, few enough to keep its memory and its contention for the GIL small.
pub(super) const DEFAULT_THREADS: usize = 4;

const APPLICATION: &str = "Application";
const LISTENING: &str = "Listening";
const THREADS: &str = "Processes and threads";
const DEVELOPMENT: &str = "Development";
const RECYCLING: &str = "Recycling: a worker is replaced once its successor is ready";
const PROCESS: &str = "The process";
const TIMEOUTS: &str = "Timeouts, in seconds (decimals allowed; 0 is no timeout unless said)";
const LIMITS: &str = "Limits, in bytes where not said (suffixes k, m, g)";
const LOGS: &str = "Logs";

/// The command line as it was given, before anything is derived from it.
#[derive(Debug, Parser)]
#[command(
    name = "rustwsgi",
    bin_name = "rustwsgi",
    version,
    about = "Serves a Python WSGI application over HTTP/1.1",
    after_help = "Each option can also be given by an environment variable: --keep-alive is \
                  RUSTWSGI_KEEP_ALIVE, or in a file, as keep_alive. The command line wins, then the \
                  environment. --generate completions-bash (-zsh, -fish) and --generate man print \
                  what their names say.",
    args_override_self = true,
    max_term_width = 100
)]
pub(super) struct Flags {
    /// The application: MODULE:NAME, MODULE:FACTORY(), MODULE:FACTORY('literal', key=1), or MODULE (which looks
    /// for app, then application)
    #[arg(value_name = "APP")]
    pub(super) app: Option<String>,

    /// Read options from this file: TOML if its name ends in .toml, else a gunicorn configuration, which may
    /// also be a module, python:NAME. What it does not set may be set by ./rustwsgi.toml, or [tool.rustwsgi] in ./pyproject.toml. Without all three
    /// ./gunicorn.conf.py is read
    #[arg(short, long, value_name = "FILE", help_heading = APPLICATION)]
    pub(super) config: Option<PathBuf>,

    /// NAME in MODULE:NAME is a factory that returns the application
    #[arg(long, help_heading = APPLICATION)]
    pub(super) factory: bool,

    /// Change to this directory before the application is loaded
    #[arg(long, value_name = "DIR", help_heading = APPLICATION)]
    pub(super) chdir: Option<PathBuf>,

    /// Directories to put in front of Python's module search path, separated by commas
    #[arg(long, value_name = "DIR[,DIR]", value_delimiter = ',', help_heading = APPLICATION)]
    pub(super) pythonpath: Vec<PathBuf>,

    /// One directory to put in front of all others
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) app_dir: Option<PathBuf>,

    /// Set an environment variable for the application (repeatable)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = notation::variable,
          help_heading = APPLICATION)]
    pub(super) env: Vec<(String, String)>,

    /// The virtual environment to take packages from; only the stand-alone binary needs it
    /// [default: $VIRTUAL_ENV, then ./.venv]
    #[arg(long, value_name = "DIR", help_heading = APPLICATION)]
    pub(super) venv: Option<PathBuf>,

    /// Load the application, and exit with 0 if that works
    #[arg(long, help_heading = APPLICATION)]
    pub(super) check_config: bool,

    /// Print the settings that result from all options, and exit
    #[arg(long, help_heading = APPLICATION)]
    pub(super) print_config: bool,

    #[allow(rustdoc::broken_intra_doc_links, reason = "the help shows it as it is")]
    /// Where to listen: HOST:PORT, :PORT (all interfaces), [IPV6]:PORT, unix:PATH or fd://N
    /// (repeatable) [default: 127.0.0.1:8000, or 0.0.0.0:$PORT if PORT is set]
    #[arg(short, long, value_name = "ADDRESS", value_delimiter = ',', help_heading = LISTENING)]
    pub(super) bind: Vec<Bind>,

    /// The host of an address to listen at
    #[arg(long, hide = true, value_parser = NonEmptyStringValueParser::new(),
          conflicts_with = "bind")]
    pub(super) host: Option<String>,

    /// The port of an address to listen at
    #[arg(long, hide = true, value_parser = super::bind::port_number, conflicts_with = "bind")]
    pub(super) port: Option<u16>,

    /// A Unix socket to listen at
    #[arg(long, hide = true, value_name = "PATH", conflicts_with = "bind")]
    pub(super) uds: Option<PathBuf>,

    /// An inherited descriptor to listen at
    #[arg(long, hide = true, value_name = "N", conflicts_with = "bind",
          value_parser = notation::number::<RawFd, 0, 1_048_576>)]
    pub(super) fd: Option<RawFd>,

    /// Proxies whose X-Forwarded-Proto is believed: addresses or networks, separated by commas, * for all, or
    /// nothing; clients of a unix socket always are
    #[arg(long, value_name = "IP[,IP]", value_delimiter = ',', default_value = "127.0.0.1,::1",
          help_heading = LISTENING)]
    pub(super) forwarded_allow_ips: Vec<Trust>,

    /// Connections the kernel may hold until they are accepted
    #[arg(long, value_name = "N", default_value = "2048", help_heading = LISTENING,
          value_parser = notation::number::<u32, 1, 2_147_483_647>)]
    pub(super) backlog: u32,

    /// Threads that run the application; 0 is 1, as with gunicorn [default: 4]
    #[arg(long, alias = "blocking-threads", value_name = "N", help_heading = THREADS,
          value_parser = notation::number::<u16, 0, 4096>)]
    pub(super) threads: Option<u16>,

    /// Worker processes [default: $WEB_CONCURRENCY, else 1]
    #[arg(short, long, value_name = "N", help_heading = THREADS,
          value_parser = notation::number::<u16, 1, 1024>)]
    pub(super) workers: Option<u16>,

    /// Import the application once, in the master, before the workers are forked: saves memory and
    /// time, but a reload does not import it again
    #[arg(long, help_heading = THREADS)]
    pub(super) preload: bool,

    /// Leave what was imported to Python's garbage collector, which otherwise looks only at what comes later
    /// (gc.freeze)
    #[arg(long, help_heading = THREADS)]
    pub(super) no_gc_freeze: bool,

    /// Write the master's process number to this file
    #[arg(short, long, value_name = "FILE", help_heading = PROCESS)]
    pub(super) pid: Option<PathBuf>,

    /// How a reload replaces workers: all (start all new ones, then stop the old), or rolling (one at a
    /// time, which needs memory for one more worker only)
    #[arg(long, value_enum, default_value = "all", hide_possible_values = true,
          value_name = "all|rolling", help_heading = THREADS)]
    pub(super) reload_strategy: ReloadStrategy,

    /// Start new workers when a source file changes; for development
    #[arg(long, help_heading = DEVELOPMENT)]
    pub(super) reload: bool,

    /// Another file that --reload looks at (repeatable)
    #[arg(long, value_name = "FILE", help_heading = DEVELOPMENT)]
    pub(super) reload_extra_file: Vec<PathBuf>,

    /// Requests after which a worker is replaced; 0 is never
    #[arg(long, alias = "limit-max-requests", value_name = "N", default_value = "0",
          help_heading = RECYCLING, value_parser = notation::number::<u64, 0, { u64::MAX }>)]
    pub(super) max_requests: u64,

    /// Up to so many more requests, chosen at random, so that workers are not replaced at once
    #[arg(long, value_name = "N", default_value = "0", help_heading = RECYCLING,
          value_parser = notation::number::<u64, 0, { u64::MAX }>)]
    pub(super) max_requests_jitter: u64,

    /// Seconds after which a worker is replaced; 0 is never
    #[arg(long, alias = "workers-lifetime", value_name = "S", default_value = "0",
          help_heading = RECYCLING, value_parser = notation::seconds)]
    pub(super) max_worker_lifetime: Duration,

    /// Memory (its resident set) at which a worker is replaced; 0 is any
    #[arg(long, alias = "workers-max-rss", value_name = "BYTES", default_value = "0",
          help_heading = RECYCLING, value_parser = notation::size)]
    pub(super) max_worker_rss: u64,

    /// Serve as this user, by name or number; the master keeps its own
    #[arg(short, long, value_name = "USER", help_heading = PROCESS,
          value_parser = NonEmptyStringValueParser::new())]
    pub(super) user: Option<String>,

    /// Serve as this group, by name or number [default: the user's]
    #[arg(short, long, value_name = "GROUP", help_heading = PROCESS,
          value_parser = NonEmptyStringValueParser::new())]
    pub(super) group: Option<String>,

    /// The permissions that new files do not get, in octal
    #[arg(short = 'm', long, value_name = "MODE", help_heading = PROCESS,
          value_parser = notation::umask)]
    pub(super) umask: Option<u32>,

    /// What process lists show [default: the application]
    #[arg(short, long, alias = "proc-name", value_name = "NAME", help_heading = PROCESS,
          value_parser = NonEmptyStringValueParser::new())]
    pub(super) name: Option<String>,

    /// Leave the terminal and go on in the background
    #[arg(short = 'D', long, help_heading = PROCESS)]
    pub(super) daemon: bool,

    /// For gunicorn's users: gthread, or sync, which is one thread unless --threads is given
    #[arg(short = 'k', long, value_name = "CLASS", help_heading = THREADS,
          value_parser = notation::worker_class)]
    pub(super) worker_class: Option<WorkerClass>,

    /// Connections that one worker may hold; beyond it, the one that has been idle longest is closed
    #[arg(long, value_name = "N", default_value = "100000", help_heading = THREADS,
          value_parser = notation::number::<u32, 1, 4_294_967_295>)]
    pub(super) worker_connections: u32,

    /// For the application to answer a request; 0 is no limit. What takes longer is interrupted by an
    /// exception in its thread
    #[arg(short, long, value_name = "S", default_value = "0", help_heading = TIMEOUTS,
          value_parser = notation::seconds)]
    pub(super) timeout: Duration,

    /// For the application to be imported and a worker to be ready
    #[arg(long, value_name = "S", default_value = "300", help_heading = TIMEOUTS,
          value_parser = notation::seconds)]
    pub(super) boot_timeout: Duration,

    /// For running requests to finish after the order to stop; 0 does not wait for them
    #[arg(long, alias = "timeout-graceful-shutdown", value_name = "S", default_value = "30",
          help_heading = TIMEOUTS, value_parser = notation::seconds)]
    pub(super) graceful_timeout: Duration,

    /// For the next request on an idle connection; 0 closes connections after each response
    #[arg(long, aliases = ["keepalive", "timeout-keep-alive", "channel-timeout"],
          value_name = "S", default_value = "5", help_heading = TIMEOUTS,
          value_parser = notation::seconds)]
    pub(super) keep_alive: Duration,

    /// For a request's head to arrive, from its first byte to its last
    #[arg(long, value_name = "S", default_value = "15", help_heading = TIMEOUTS,
          value_parser = notation::seconds)]
    pub(super) header_timeout: Duration,

    /// For the next bytes of a request's body to arrive
    #[arg(long, value_name = "S", default_value = "30", help_heading = TIMEOUTS,
          value_parser = notation::seconds)]
    pub(super) body_timeout: Duration,

    /// Bytes per second that a request's body has to arrive with on average; 0 is any
    #[arg(long, value_name = "BYTES", default_value = "500", help_heading = TIMEOUTS,
          value_parser = notation::size)]
    pub(super) body_min_rate: u64,

    /// For the client to take the next bytes of a response
    #[arg(long, value_name = "S", default_value = "30", help_heading = TIMEOUTS,
          value_parser = notation::seconds)]
    pub(super) write_timeout: Duration,

    /// For a complete request to get a thread; after that the client is answered 503
    #[arg(long, value_name = "S", default_value = "60", help_heading = TIMEOUTS,
          value_parser = notation::seconds)]
    pub(super) queue_timeout: Duration,

    /// The request line; 0 leaves it to --limit-request-head
    #[arg(long, value_name = "BYTES", default_value = "8192", help_heading = LIMITS,
          value_parser = notation::head_size)]
    pub(super) limit_request_line: usize,

    /// The number of fields in a request's head; 0, and all above, is the most possible, 32768
    #[arg(long, value_name = "N", default_value = "100", help_heading = LIMITS,
          value_parser = notation::number::<u32, 0, { u32::MAX as u64 }>)]
    pub(super) limit_request_fields: u32,

    /// One field of a request's head; 0 leaves it to --limit-request-head
    #[arg(long, value_name = "BYTES", default_value = "8192", help_heading = LIMITS,
          value_parser = notation::head_size)]
    pub(super) limit_request_field_size: usize,

    /// A request's head: its request line and all its fields
    #[arg(long, value_name = "BYTES", default_value = "64k", help_heading = LIMITS,
          value_parser = notation::whole_head_size)]
    pub(super) limit_request_head: usize,

    /// A request's body; 0 is no limit
    #[arg(long, value_name = "BYTES", default_value = "1g", help_heading = LIMITS,
          value_parser = notation::size)]
    pub(super) limit_request_body: u64,

    /// The extensions of one chunk of a body; 0 allows none
    #[arg(long, value_name = "BYTES", default_value = "4k", help_heading = LIMITS,
          value_parser = notation::head_size)]
    pub(super) limit_chunk_extension: usize,

    /// The trailer fields after a body; 0 allows none
    #[arg(long, value_name = "BYTES", default_value = "16k", help_heading = LIMITS,
          value_parser = notation::head_size)]
    pub(super) limit_trailers: usize,

    /// What happens to a field with an underscore in its name, which WSGI cannot tell from a hyphen:
    /// drop the field, or refuse the request
    #[arg(long, default_value = "drop", value_name = "drop|refuse", help_heading = LIMITS,
          value_parser = notation::header_map)]
    pub(super) header_map: Underscores,

    /// How much of a request's body is held in memory; more goes to a temporary file
    #[arg(long, value_name = "BYTES", default_value = "256k", help_heading = LIMITS,
          value_parser = notation::memory)]
    pub(super) body_buffer_size: usize,

    /// Complete requests that may wait for a thread of one worker; the next is answered 503
    #[arg(long, value_name = "N", default_value = "10000", help_heading = LIMITS,
          value_parser = notation::number::<u32, 1, 4_294_967_295>)]
    pub(super) limit_queue: u32,

    /// What one worker may hold in buffers for requests and responses; over it, requests are answered
    /// 503; 0 is no limit
    #[arg(long, value_name = "BYTES", default_value = "1g", help_heading = LIMITS,
          value_parser = notation::size)]
    pub(super) limit_memory: u64,

    /// What one worker may hold in temporary files for request bodies; 0 is no limit
    #[arg(long, value_name = "BYTES", default_value = "8g", help_heading = LIMITS,
          value_parser = notation::size)]
    pub(super) limit_spool: u64,

    /// Write an access log to this file, or to standard output with -
    #[arg(long, value_name = "FILE", help_heading = LOGS, value_hint = ValueHint::FilePath,
          value_parser = NonEmptyStringValueParser::new())]
    pub(super) access_logfile: Option<String>,

    /// Write an access log to standard output
    #[arg(long, hide = true)]
    pub(super) access_log: bool,

    /// The access log's lines: common, combined (gunicorn's default), json, or gunicorn's atoms such
    /// as '%(h)s %(r)s %(s)s'
    #[arg(long, value_name = "FORMAT", default_value = "combined", help_heading = LOGS,
          value_parser = notation::access_format)]
    pub(super) access_logformat: String,

    /// Write the error log to this file, or to standard error with -
    #[arg(long, visible_alias = "log-file", value_name = "FILE", default_value = "-",
          help_heading = LOGS, value_hint = ValueHint::FilePath,
          value_parser = NonEmptyStringValueParser::new())]
    pub(super) error_logfile: String,

    /// The least important messages to log: debug, info, warning, error or critical
    #[arg(long, value_name = "LEVEL", default_value = "info", help_heading = LOGS,
          value_parser = notation::level)]
    pub(super) log_level: LevelFilter,
}

/// The values of `--reload-strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReloadStrategy {
    /// Old workers go when all new ones are ready.
    All,
    /// One old worker goes for each new one that is ready.
    Rolling,
}

/// What a command line is read with: the options, and gunicorn's that are none here.
pub(super) fn command_line() -> Command {
    let command = gunicorn::extend(Flags::command()).mut_args(|arg| {
        // So that `-1` is judged as a value, and not called an option that there is none of.
        let takes = arg.get_action().takes_values() && !arg.is_positional();
        if takes { arg.allow_negative_numbers(true) } else { arg }
    });
    command.arg(generate::arg()).disable_version_flag(true).arg(
        Arg::new("version")
            .short('V')
            // gunicorn's.
            .short_alias('v')
            .long("version")
            .action(ArgAction::Version)
            .help("Print version"),
    )
}
