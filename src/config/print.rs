//! `--print-config`: the settings as lines of TOML, under the options' names.
//!
//! Meant for the operator who wonders which of several sources won, so every setting is shown, in
//! the notation in which it would be given. The values of `--env` are left out: they are the usual place
//! of passwords, and what is printed here ends in bug reports.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use log::LevelFilter;

use super::flags::ReloadStrategy;
use super::settings::{Budget, Settings};
use crate::http1::Underscores;
use crate::observe::LogTarget;

/// What stands for a value that may be a secret.
pub(super) const HIDDEN: &str = "***";

/// All settings, one `key = value` per line.
pub fn describe(settings: &Settings) -> String {
    let Settings { timeouts, limits, .. } = settings;
    let mut lines = Lines(String::new());
    if let Some(app) = &settings.app {
        lines.string("app", app);
    }
    lines.strings("bind", settings.binds.iter());
    lines.strings("forwarded_allow_ips", settings.trusted.iter());
    lines.plain("backlog", settings.backlog);
    lines.plain("workers", settings.processes.workers);
    lines.plain("preload", settings.processes.preload);
    lines.plain("no_gc_freeze", !settings.processes.gc_freeze);
    if let Some(path) = &settings.processes.pidfile {
        lines.string("pid", path.display());
    }
    let processes = &settings.processes;
    for (key, value) in
        [("user", &processes.user), ("group", &processes.group), ("name", &processes.name)]
    {
        if let Some(value) = value {
            lines.string(key, value);
        }
    }
    if let Some(mask) = processes.umask {
        lines.string("umask", format_args!("{mask:03o}"));
    }
    lines.plain("daemon", processes.daemon);
    lines.plain("reload", processes.watch.is_some());
    if let Some(files) = processes.watch.as_ref().filter(|files| !files.is_empty()) {
        lines.strings("reload_extra_file", files.iter().map(|path| path.display()));
    }
    let recycling = &processes.recycling;
    lines.plain("max_requests", recycling.requests);
    lines.plain("max_requests_jitter", recycling.jitter);
    lines.seconds("max_worker_lifetime", recycling.lifetime);
    lines.plain("max_worker_rss", recycling.rss);
    lines.string(
        "reload_strategy",
        match settings.processes.reload {
            ReloadStrategy::All => "all",
            ReloadStrategy::Rolling => "rolling",
        },
    );
    lines.plain("threads", settings.threads);
    lines.plain("worker_connections", settings.worker_connections);
    lines.seconds("timeout", timeouts.request);
    lines.seconds("boot_timeout", timeouts.boot);
    lines.seconds("graceful_timeout", timeouts.graceful);
    lines.seconds("keep_alive", timeouts.keep_alive);
    lines.seconds("header_timeout", timeouts.header);
    lines.seconds("body_timeout", timeouts.body);
    lines.plain("body_min_rate", timeouts.body_min_rate);
    lines.seconds("write_timeout", timeouts.write);
    lines.seconds("queue_timeout", timeouts.queue);
    lines.plain("limit_request_line", limits.request_line);
    lines.plain("limit_request_fields", limits.fields);
    lines.plain("limit_request_field_size", limits.field_size);
    lines.plain("limit_request_head", limits.head);
    let body = if limits.body == u64::MAX { 0 } else { limits.body };
    lines.plain("limit_request_body", body);
    lines.plain("limit_chunk_extension", limits.chunk_extension);
    lines.plain("limit_trailers", limits.trailers);
    let header_map = match limits.underscores {
        Underscores::Drop => "drop",
        Underscores::Refuse => "refuse",
    };
    lines.string("header_map", header_map);
    lines.plain("body_buffer_size", settings.body_buffer);
    lines.plain("limit_queue", settings.queue);
    let Budget { memory, spool } = settings.budget;
    lines.plain("limit_memory", if memory == usize::MAX { 0 } else { memory });
    lines.plain("limit_spool", if spool == u64::MAX { 0 } else { spool });
    if let Some(log) = &settings.access_log {
        lines.string("access_logfile", target(&log.target));
        lines.string("access_logformat", &log.format);
    }
    lines.string("error_logfile", target(&settings.error_log));
    let level = match settings.log_level {
        LevelFilter::Debug | LevelFilter::Trace => "debug",
        LevelFilter::Info => "info",
        LevelFilter::Warn => "warning",
        LevelFilter::Error | LevelFilter::Off => "error",
    };
    lines.string("log_level", level);
    if let Some(dir) = &settings.chdir {
        lines.string("chdir", dir.display());
    }
    lines.strings("pythonpath", settings.pythonpath.iter().map(|dir| dir.display()));
    let variables = settings.env.iter();
    lines.strings("env", variables.map(|(key, _)| format!("{key}={HIDDEN}")));
    if let Some(dir) = &settings.venv {
        lines.string("venv", dir.display());
    }
    lines.0
}

fn target(target: &LogTarget) -> String {
    match target {
        LogTarget::Stdout | LogTarget::Stderr => "-".to_owned(),
        LogTarget::File(path) => path.display().to_string(),
    }
}

/// The text so far.
struct Lines(String);

impl Lines {
    fn plain(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn string(&mut self, key: &str, value: impl Display) {
        self.plain(key, quoted(&value.to_string()));
    }

    fn strings(&mut self, key: &str, values: impl Iterator<Item = impl Display>) {
        let values: Vec<String> = values.map(|value| quoted(&value.to_string())).collect();
        self.plain(key, format_args!("[{}]", values.join(", ")));
    }

    fn seconds(&mut self, key: &str, value: Duration) {
        match value {
            Duration::MAX => self.plain(key, 0),
            value => self.plain(key, value.as_secs_f64()),
        }
    }
}

/// A basic string of TOML 1.0.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_toml_wants() {
        assert_eq!(quoted("a b"), r#""a b""#);
        assert_eq!(quoted("\"\\\n\u{e9}"), "\"\\\"\\\\\\u000A\u{e9}\"");
    }
}
