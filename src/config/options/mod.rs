//! The table of all options, the one definition of each: a file for each group of them.

mod application;
mod collectors;
mod http2;
mod limits;
mod listening;
mod logs;
mod observability;
mod process;
mod static_files;
mod timeouts;
mod tls;
mod workers;

use super::option::OptionDef;

/// A heading of `--help`, and its options in their order.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) options: &'static [OptionDef],
}

/// The whole table.
pub(super) const SECTIONS: &[Section] = &[
    Section { title: "Application", options: application::OPTIONS },
    Section { title: "Listening", options: listening::OPTIONS },
    Section { title: "Static files", options: static_files::OPTIONS },
    Section { title: "TLS", options: tls::OPTIONS },
    Section { title: "HTTP/2", options: http2::OPTIONS },
    Section { title: "Workers and threads", options: workers::OPTIONS },
    Section { title: "Worker recycling", options: workers::RECYCLING },
    Section {
        title: "Timeouts (seconds; 0 disables one unless noted)",
        options: timeouts::OPTIONS,
    },
    Section { title: "Limits (bytes unless noted; suffixes k, m, g)", options: limits::OPTIONS },
    Section { title: "Logs", options: logs::OPTIONS },
    Section { title: "Syslog and StatsD", options: collectors::OPTIONS },
    Section { title: "Observability", options: observability::OPTIONS },
    Section { title: "Process", options: process::OPTIONS },
    Section { title: "Development", options: process::DEVELOPMENT },
];

/// All options, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = &'static OptionDef> {
    SECTIONS.iter().flat_map(|section| section.options)
}

/// The option with this name or alias, with underscores or hyphens.
pub(super) fn find(name: &str) -> Option<&'static OptionDef> {
    let name = name.replace('-', "_");
    all().find(|option| option.keywords().any(|keyword| keyword == name))
}

/// Whether the Python API refuses this keyword: its caller has loaded the application.
pub fn is_command_line_only(keyword: &str) -> bool {
    all().any(|option| option.command_line_only && option.name == keyword)
}
