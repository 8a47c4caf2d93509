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

mod app;
mod bind;
mod changes;
mod cli;
mod compat;
mod development;
#[cfg(test)]
mod docs;
mod exit;
mod field;
mod generate;
mod given;
mod habits;
mod help;
mod load;
mod notation;
mod option;
mod options;
mod parse;
mod precedence;
mod print;
mod resolve;
mod settings;
mod sources;
mod suggest;
#[cfg(test)]
mod tests;
mod trust;
mod warnings;

pub use app::AppSpec;
pub use bind::Bind;
pub use changes::{Remedy, changes_needing_restart};
pub use compat::gunicorn::gunicorn_settings;
pub use compat::gunicorn_cfg::gunicorn_values;
pub use development::show_requests;
pub use exit::Exit;
pub use load::{CheckFile, Loaded, parse, parse_api, refuse_master_options};
pub use options::is_command_line_only;
pub use print::print_config;
pub use settings::{
    AccessLogSettings, Budget, Processes, Recycling, ReloadStrategy, Replace, Settings, Timeouts,
};
pub use sources::environment::unknown_variables;
pub use sources::gunicorn_py::Execute;
pub use sources::lookup::Options;
pub use trust::Trust;
