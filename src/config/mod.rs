//! Options to settings: what the operator configures becomes what the server runs with.
//!
//! Each option is defined once, as a row of the table in [`options`]. The row names the option and
//! its value's notation, the place in the settings, the help, the default, its names in other
//! servers, and what applies a change. The parser, `--help`, `--print-config`, the completions, the
//! manual page and docs/configuration.md are derived from it.
//!
//! The life of a setting: [`cli`] and the [`sources`] collect values by name, and [`precedence`]
//! decides which source wins. clap parses all values as one command line. [`resolve`] stores them
//! in the [`Settings`], and combines options that belong together. [`load`] runs these steps in
//! order. This layer has no effect on the system: `wsgi` imports the application, and `supervisor`
//! opens the log files.
//!
//! To add an option:
//!
//! 1. add its field to [`settings`];
//! 2. add its row to a file in `options/`, with one of the notations in [`notation`] and the field
//!    that stores its value;
//! 3. use the setting, in one more file;
//! 4. run `make docs`.
//!
//! Only an option that is combined with others, such as `--host` with `--port`, also needs a field
//! in [`given`] and a line in [`resolve`].

mod acme;
mod app;
mod bind;
mod changes;
mod cli;
mod commands;
mod compat;
mod development;
#[cfg(test)]
mod docs;
mod exit;
mod field;
mod foreign;
mod generate;
mod given;
mod habits;
mod help;
mod http2;
mod load;
mod logs;
mod notation;
mod option;
mod options;
mod parse;
mod paste;
mod precedence;
mod print;
mod resolve;
mod settings;
mod sources;
mod static_files;
mod suggest;
#[cfg(test)]
mod tests;
mod tls;
mod trust;
mod warnings;

pub use acme::AcmeSettings;
pub use app::AppSpec;
pub use bind::Bind;
pub use changes::{Remedy, changes_needing_restart};
pub use commands::{
    MAX_PROFILE_SECONDS, MAX_WORKERS, MIN_PROFILE_SECONDS, ctl_command, top_command,
};
pub use compat::gunicorn::gunicorn_settings;
pub use compat::gunicorn_cfg::gunicorn_values;
pub use development::show_requests;
pub use exit::Exit;
pub use foreign::{
    OptionRow, file_values, gunicorn_reason, gunicorn_rows, option_rows, uwsgi_advice,
};
pub use http2::{Cleartext, Http2Settings, HttpProtocols};
pub use load::{CheckFile, FindApp, FoundApp, Loaded, parse, parse_api, refuse_master_options};
pub use logs::{LogFormat, LogSettings};
pub use options::is_command_line_only;
pub use print::print_config;
pub use settings::{
    AccessLogSettings, Budget, Observability, Processes, Recycling, ReloadStrategy, Replace,
    Settings, Timeouts, WorkerCount,
};
pub use sources::environment::unknown_variables;
pub use sources::gunicorn_py::Execute;
pub use sources::integration::{
    VARIABLE as INTEGRATION_VARIABLE, keep_integration, kept_integration,
};
pub use sources::lookup::Options;
pub use static_files::{StaticFallback, StaticMap, StaticSettings, StaticSource, static_url};
pub use suggest::refusal;
pub use tls::{CertReqs, Purpose, TlsSettings, TlsVersion};
pub use trust::Trust;
