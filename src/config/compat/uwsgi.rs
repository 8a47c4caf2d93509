//! What to use instead of uWSGI's options that have no equal option here.
//!
//! uWSGI has about a thousand options. Unlike gunicorn's they are not accepted: an unknown option
//! is an error, and for these the message says what to write. An option that replaces one of
//! uWSGI's directly names it in the table of options (column `uwsgi`), and one that has the same
//! name in both servers (`--workers`, `--threads`, `--max-requests`, `--chdir`) needs no entry.

use super::uwsgi_rare;
use crate::config::option::OptionDef;
use crate::config::options;

/// uWSGI's options, with underscores, and what to use instead.
const ADVICE: &[(&[&str], &str)] = &[
    (
        &["socket", "uwsgi_socket"],
        "the uwsgi protocol is not supported: write --bind ADDRESS, and let the proxy use HTTP \
         (proxy_pass in nginx)",
    ),
    (&["https", "https_socket"], "write --bind ADDRESS --certfile FILE --keyfile FILE"),
    (&["shared_socket"], "write --bind fd://N for an inherited socket"),
    (&["listen"], "write --backlog for uWSGI's --listen, and --bind for waitress's"),
    (&["chmod_socket"], "write --umask: a Unix socket has mode 0666 without its bits"),
    (&["chown_socket"], "write --user and --group, which own the socket"),
    (
        &["cheaper", "cheap", "idle"],
        "the number of --workers is fixed; the signals TTIN and TTOU change it",
    ),
    (&["module", "wsgi"], "name the application without an option: rustwsgi MODULE:NAME"),
    (
        &["wsgi_file", "file"],
        "name the application by its module, without an option: rustwsgi MODULE:NAME",
    ),
    (&["callable"], "append it to the module: rustwsgi MODULE:NAME"),
    (
        &["mount", "manage_script_name"],
        "only one application is served; write --env SCRIPT_NAME=/PATH for its prefix in the URL",
    ),
    (
        &["virtualenv", "home"],
        "run the rustwsgi of that environment, or write --venv DIR for the standalone binary",
    ),
    (
        &["lazy_apps", "lazy"],
        "remove it: each worker imports the application itself, unless --preload is given",
    ),
    (
        &["master", "enable_threads", "need_app", "single_interpreter", "vacuum", "die_on_term"],
        "remove it: the server always behaves so",
    ),
    (&["thunder_lock", "plugin", "plugins", "strict"], "remove it: there is nothing to configure"),
    (&["offload_threads"], "remove it: sending a list or a file occupies no thread"),
    (&["harakiri"], "write --timeout SECONDS, which interrupts only the one request"),
    (
        &["socket_timeout", "http_timeout"],
        "write --header-timeout, --body-timeout and --write-timeout",
    ),
    (&["reload_on_rss", "evil_reload_on_rss"], "write --max-worker-rss, in bytes or as 500m"),
    (
        &["post_buffering"],
        "remove it: bodies are always buffered; --body-buffer-size limits the part in memory",
    ),
    (&["daemonize", "daemonize2"], "write --daemon --error-logfile FILE"),
    (&["logto", "logto2"], "write --error-logfile FILE, and --access-logfile FILE for requests"),
    (&["logger"], "log to a file, or to the standard streams for systemd-journald"),
    (&["buffer_size"], "write --limit-request-head and --limit-request-field-size"),
    (&["disable_logging"], "remove it: there is no access log without --access-logfile"),
    (&["log_x_forwarded_for"], "write %({x-forwarded-for}i)s into --access-logformat"),
    (
        &["stats", "stats_server"],
        "write --metrics ADDRESS, which has /metrics (Prometheus) and /status (JSON)",
    ),
    (&["touch_reload", "master_fifo"], "send HUP to the master (--pid FILE stores its PID)"),
    (&["stop"], "send TERM to the master (--pid FILE stores its PID)"),
    (&["check_static"], "write --static /=DIR --static-fallback app"),
    (
        &["ini", "yaml", "yml", "json", "xml", "emperor"],
        "write a TOML file, rustwsgi.toml or -c FILE, and start one server for each application",
    ),
    (&["gevent", "async", "asyncio"], "green threads are not supported: write --threads N"),
    (&["spooler", "cron", "mule", "attach_daemon"], "use a task queue, cron or systemd"),
];

/// The common options of uWSGI that have a counterpart, with what to write.
pub(in crate::config) fn counterparts() -> impl Iterator<Item = (&'static [&'static str], String)> {
    let options = options::all().filter(|option| !option.uwsgi.is_empty());
    let replaced = options.map(|option| (option.uwsgi, format!("write {}", usage(option))));
    replaced.chain(ADVICE.iter().map(|&(names, advice)| (names, advice.to_owned())))
}

/// What to use instead of this option.
pub(in crate::config) fn counterpart(name: &str) -> Option<String> {
    let common = counterparts().find(|(names, _)| names.contains(&name));
    let rare = || uwsgi_rare::counterpart(name).map(str::to_owned);
    common.map(|(_, advice)| advice).or_else(rare)
}

/// `--keep-alive SECONDS`
fn usage(option: &OptionDef) -> String {
    format!("--{} {}", option.long(), option.metavar).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compat::gunicorn;

    /// The parser, or the table of gunicorn's settings, would be asked first.
    #[test]
    fn option_with_a_counterpart_is_no_option_of_ours_or_gunicorn() {
        for (names, _) in counterparts() {
            for name in names {
                assert!(options::find(name).is_none(), "{name}");
                assert!(gunicorn::counterpart(name).is_none(), "{name}");
            }
        }
    }

    #[test]
    fn option_named_in_advice_exists() {
        for (names, advice) in counterparts() {
            let words = advice.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                let theirs = names.contains(&option.replace('-', "_").as_str());
                assert!(theirs || options::find(option).is_some(), "--{option}");
            }
        }
    }
}
