//! What to use instead of uWSGI's options, for those that have another name or no counterpart here.
//!
//! uWSGI has about a thousand options, so unlike gunicorn's they are not accepted: an unknown option ends
//! the start, and for these the message says what to write. The ones that both servers spell and mean alike
//! (`--workers`, `--threads`, `--max-requests`, `--chdir`) need no entry.

/// Options that mean the same, with underscores, and what to say of them.
pub(in crate::config) const ADVICE: &[(&[&str], &str)] = &[
    (&["http", "http_socket", "http11_socket"], "write --bind ADDRESS"),
    (
        &["socket", "uwsgi_socket"],
        "the uwsgi protocol is not spoken: write --bind ADDRESS, and let the proxy speak HTTP to it \
         (proxy_pass in nginx)",
    ),
    (&["https", "https_socket"], "this server speaks no TLS; a proxy in front of it does"),
    (&["shared_socket"], "write --bind fd://N for an inherited socket"),
    (&["listen"], "uWSGI's --listen is --backlog here, waitress's is --bind"),
    (&["chmod_socket"], "write --umask: a unix socket has mode 0666 minus its bits"),
    (&["chown_socket"], "write --user and --group, which the socket is given to"),
    (&["processes"], "write --workers N"),
    (
        &["cheaper", "cheap", "idle"],
        "the number of --workers stays as it is; the signals TTIN and TTOU change it",
    ),
    (&["module", "wsgi"], "write the application by itself: rustwsgi MODULE:NAME"),
    (
        &["wsgi_file", "file"],
        "the application is named by its module, without an option: rustwsgi MODULE:NAME",
    ),
    (&["callable"], "it comes behind the module's name: rustwsgi MODULE:NAME"),
    (
        &["mount", "manage_script_name"],
        "one application is served; write --env SCRIPT_NAME=/PATH if it is below a path",
    ),
    (&["pp", "python_path"], "write --pythonpath DIR"),
    (
        &["virtualenv", "home"],
        "run the rustwsgi of that environment; the embedded binary takes --venv DIR",
    ),
    (
        &["lazy_apps", "lazy"],
        "each worker imports the application itself, unless --preload is given",
    ),
    (
        &["master", "enable_threads", "need_app", "single_interpreter", "vacuum", "die_on_term"],
        "leave it out: this is always so",
    ),
    (
        &["thunder_lock", "plugin", "plugins", "strict"],
        "leave it out: this server needs no such option",
    ),
    (&["offload_threads"], "leave it out: sending a plain list or a file holds no thread"),
    (&["harakiri"], "write --timeout SECONDS, which interrupts the one request"),
    (
        &["socket_timeout", "http_timeout"],
        "write --header-timeout, --body-timeout and --write-timeout",
    ),
    (&["http_keepalive"], "write --keep-alive SECONDS"),
    (&["reload_mercy", "worker_reload_mercy"], "write --graceful-timeout SECONDS"),
    (&["reload_on_rss", "evil_reload_on_rss"], "write --max-worker-rss, in bytes or as 500m"),
    (&["buffer_size"], "write --limit-request-head and --limit-request-field-size"),
    (&["limit_post"], "write --limit-request-body BYTES"),
    (
        &["post_buffering"],
        "leave it out: a body is gathered before the application is called; --body-buffer-size says how \
         much of it in memory",
    ),
    (&["uid"], "write --user USER"),
    (&["gid"], "write --group GROUP"),
    (&["daemonize", "daemonize2"], "write --daemon --error-logfile FILE"),
    (&["procname", "procname_prefix", "auto_procname"], "write --name NAME"),
    (
        &["logto", "logto2"],
        "write --error-logfile FILE, and --access-logfile FILE for the requests",
    ),
    (&["logger"], "logs go to files and the standard streams, which systemd's journal takes on"),
    (&["disable_logging"], "leave it out: there is no access log without --access-logfile"),
    (&["log_format"], "write --access-logformat, which has gunicorn's atoms"),
    (&["log_x_forwarded_for"], "write %({x-forwarded-for}i)s into --access-logformat"),
    (
        &["stats"],
        "there is no statistics server; USR1 makes each worker log its counters, and \
         --access-logformat json has each request's time",
    ),
    (&["py_autoreload", "python_auto_reload", "py_auto_reload"], "write --reload"),
    (&["touch_reload", "master_fifo"], "send HUP to the master (--pid FILE has its number)"),
    (&["stop"], "send TERM to the master (--pid FILE has its number)"),
    (
        &["static_map", "static_map2", "check_static"],
        "static files are for the proxy, or for a middleware such as WhiteNoise",
    ),
    (
        &["ini", "yaml", "yml", "json", "xml", "emperor"],
        "options come from a TOML file, rustwsgi.toml or -c FILE; start one server for each application",
    ),
    (&["gevent", "async", "asyncio"], "there are no green threads: write --threads N"),
    (
        &["spooler", "cron", "mule", "attach_daemon"],
        "this server runs requests only; a task queue, cron or systemd runs the rest",
    ),
];

/// What somebody is told who writes this option, which this server does not have.
pub(in crate::config) fn advice(name: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(names, _)| names.contains(&name)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compat::gunicorn;
    use crate::config::flags::command_line;

    /// Or else the parser, or the list of gunicorn's, would have spoken before.
    #[test]
    fn none_is_known_already() {
        let command = command_line();
        for (names, _) in ADVICE {
            for name in *names {
                let long = name.replace('_', "-");
                let ours = command.get_arguments().any(|arg| {
                    arg.get_long() == Some(&long)
                        || arg.get_all_aliases().unwrap_or_default().contains(&long.as_str())
                });
                assert!(!ours && gunicorn::elsewhere(name).is_none(), "{name}");
            }
        }
    }

    /// What the advice names is what this server takes.
    #[test]
    fn what_it_names_are_options_here() {
        let command = command_line();
        for (names, advice) in ADVICE {
            let words = advice.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                let known = command.get_arguments().any(|arg| arg.get_long() == Some(option));
                let theirs = names.contains(&option.replace('-', "_").as_str());
                assert!(known || theirs, "--{option}");
            }
        }
    }
}
