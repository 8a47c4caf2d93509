//! The settings under gunicorn's names: what the functions of a gunicorn configuration find in `cfg`.

use std::time::Duration;

use super::settings::Settings;
use super::sources::files::Options;
use crate::http1::Underscores;
use crate::observe::LogTarget;

/// Every setting of gunicorn's that is an option here, with its values as text; without any if it is not
/// set. `python/rustwsgi/_settings.py` knows their types.
pub fn as_gunicorn(settings: &Settings) -> Options {
    let Settings { processes, limits, timeouts, .. } = settings;
    let one = |value: &dyn ToString| vec![value.to_string()];
    let maybe = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    let seconds = |time: Duration| match time {
        Duration::MAX => one(&0),
        time => one(&time.as_secs_f64()),
    };
    let log = |target: &LogTarget| match target {
        LogTarget::Stdout | LogTarget::Stderr => "-".to_owned(),
        LogTarget::File(path) => path.display().to_string(),
    };
    let joined = |items: Vec<String>| match items.is_empty() {
        true => Vec::new(),
        false => vec![items.join(",")],
    };
    let watched = processes.watch.iter().flatten().map(|path| path.display().to_string());
    let trusted = settings.trusted.iter().map(ToString::to_string).collect();
    let path = settings.pythonpath.iter().map(|path| path.display().to_string()).collect();
    let mut options = vec![
        ("wsgi_app", maybe(settings.app.as_ref().map(ToString::to_string))),
        ("bind", settings.binds.iter().map(ToString::to_string).collect()),
        ("backlog", one(&settings.backlog)),
        ("workers", one(&processes.workers)),
        ("worker_class", one(if settings.threads == 1 { &"sync" } else { &"gthread" })),
        ("threads", one(&settings.threads)),
        ("worker_connections", one(&settings.worker_connections)),
        ("max_requests", one(&processes.recycling.requests)),
        ("max_requests_jitter", one(&processes.recycling.jitter)),
        ("timeout", seconds(timeouts.request)),
        ("graceful_timeout", seconds(timeouts.graceful)),
        ("keepalive", seconds(timeouts.keep_alive)),
        ("limit_request_line", one(&limits.request_line)),
        ("limit_request_fields", one(&limits.fields)),
        ("limit_request_field_size", one(&limits.field_size)),
        ("reload", one(&processes.watch.is_some())),
        ("reload_extra_files", watched.collect()),
        ("check_config", one(&settings.check_config)),
        ("print_config", one(&settings.print_config)),
        ("preload_app", one(&processes.preload)),
        ("daemon", one(&processes.daemon)),
        ("raw_env", settings.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        ("pidfile", maybe(processes.pidfile.as_ref().map(|path| path.display().to_string()))),
        ("user", maybe(processes.user.clone())),
        ("group", maybe(processes.group.clone())),
        ("umask", one(&processes.umask.unwrap_or(0))),
        ("forwarded_allow_ips", joined(trusted)),
        ("accesslog", maybe(settings.access_log.as_ref().map(|access| log(&access.target)))),
        ("errorlog", vec![log(&settings.error_log)]),
        (
            "loglevel",
            vec![settings.log_level.as_str().to_ascii_lowercase().replace("warn", "warning")],
        ),
        ("proc_name", maybe(processes.name.clone())),
        ("pythonpath", joined(path)),
        (
            "header_map",
            one(match limits.underscores {
                Underscores::Drop => &"drop",
                Underscores::Refuse => &"refuse",
            }),
        ),
    ];
    if let Some(directory) = &settings.chdir {
        options.push(("chdir", one(&directory.display())));
    }
    if let Some(access) = &settings.access_log {
        options.push(("access_log_format", one(&access.format)));
    }
    options.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
}
