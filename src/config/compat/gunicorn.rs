//! What gunicorn has: every setting of its 27.0, and what becomes of it here.
//!
//! A command line or a `gunicorn.conf.py` that was written for gunicorn is to start this server
//! unchanged. So a setting is an option here, or it is accepted and the log says what it does not do, or
//! (where the server would not be what is relied on) it is refused with what to use instead. A value
//! that is gunicorn's default asks for nothing and is passed over.

use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::layers::closest;
use crate::config::sources::files::Options;

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Fate {
    /// It is this option, whose flag on the command line is the same.
    Is(&'static str),
    /// What it asks for is always so.
    Always,
    /// It is accepted, and has no effect: why, or what to use instead.
    Ignored(&'static str),
    /// The server does not start: why, or what to use instead.
    Refused(&'static str),
}

/// One setting of gunicorn.
pub(in crate::config) struct Setting {
    /// Its name in a configuration file.
    pub(in crate::config) name: &'static str,
    /// Its flag, with `=` behind it if that takes a value and `=?` if it may; empty if there is none, or if
    /// it is an option here.
    pub(in crate::config) flag: &'static str,
    /// A value that asks for nothing, beside those of [`NOTHING`].
    default: &'static str,
    pub(in crate::config) fate: Fate,
}

/// Values that ask for nothing.
const NOTHING: [&str; 5] = ["", "0", "false", "off", "none"];

const fn same(name: &'static str) -> Setting {
    is(name, name)
}

const fn is(name: &'static str, option: &'static str) -> Setting {
    Setting { name, flag: "", default: "", fate: Fate::Is(option) }
}

const fn always(name: &'static str, flag: &'static str) -> Setting {
    Setting { name, flag, default: "", fate: Fate::Always }
}

const fn ignored(name: &'static str, flag: &'static str, reason: &'static str) -> Setting {
    Setting { name, flag, default: "", fate: Fate::Ignored(reason) }
}

const fn refused(name: &'static str, flag: &'static str, reason: &'static str) -> Setting {
    Setting { name, flag, default: "", fate: Fate::Refused(reason) }
}

impl Setting {
    const fn unless(self, default: &'static str) -> Setting {
        Setting { default, ..self }
    }

    /// Whether these values ask for something.
    fn is_wanted(&self, values: &[String]) -> bool {
        let text = values.join(",");
        if self.name == "sendfile" {
            return text == "false";
        }
        !NOTHING.contains(&text.to_ascii_lowercase().as_str()) && text != self.default
    }
}

const TLS: &str = "this server speaks no TLS; a proxy in front of it does";
const NO_TLS: &str = "without TLS it means nothing; a proxy speaks that";
const HTTP1: &str = "this server speaks HTTP/1.1; a proxy in front of it may speak HTTP/2";
const ASGI: &str = "it is for ASGI applications, and this server runs WSGI ones";
const DIRTY: &str = "there are no dirty workers; a task queue runs what takes long";
const STATSD: &str =
    "no metrics are sent; the access log has each request's time (%(L)s, or the format json)";
const SYSLOG: &str =
    "logs go to files and the standard streams, which systemd's journal or logger(1) pass on";
const LOGGING: &str =
    "the logs are set with --access-logfile, --access-logformat, --error-logfile and --log-level";
const STRICT: &str = "requests are always read strictly: what it would allow is refused with 400";
const PASTE: &str =
    "name the application as MODULE:NAME; a module of three lines can load a PasteDeploy file";
/// Of hooks; those that are called do not come here.
pub(in crate::config) const NOT_CALLED: &str = "this hook is not called";

/// Every one, in gunicorn's order.
pub(in crate::config) const SETTINGS: &[Setting] = &[
    ignored("config", "", "the file is being read already; -c names another one"),
    is("wsgi_app", "app"),
    same("bind"),
    same("backlog"),
    same("workers"),
    same("worker_class"),
    same("threads"),
    same("worker_connections"),
    same("max_requests"),
    same("max_requests_jitter"),
    same("timeout"),
    same("graceful_timeout"),
    is("keepalive", "keep_alive"),
    same("limit_request_line"),
    same("limit_request_fields"),
    same("limit_request_field_size"),
    same("reload"),
    ignored("reload_engine", "reload-engine=", "--reload always looks at the files once a second")
        .unless("auto"),
    is("reload_extra_files", "reload_extra_file"),
    ignored("spew", "spew", "no trace is written; Python's own is `python -m trace`"),
    same("check_config"),
    same("print_config"),
    is("preload_app", "preload"),
    ignored("sendfile", "no-sendfile", "files in wsgi.file_wrapper are always sent by sendfile()"),
    ignored("reuse_port", "reuse-port", "all workers share one listening socket"),
    same("chdir"),
    same("daemon"),
    is("raw_env", "env"),
    is("pidfile", "pid"),
    ignored("worker_tmp_dir", "worker-tmp-dir=", "workers need no file for their heartbeat"),
    same("user"),
    same("group"),
    same("umask"),
    always("initgroups", "initgroups"),
    ignored("tmp_upload_dir", "", "set TMPDIR in the server's environment"),
    ignored(
        "secure_scheme_headers",
        "",
        "X-Forwarded-Proto, -Protocol and -Ssl are read as by gunicorn's default, and no others",
    )
    .unless("X-FORWARDED-PROTO=https,X-FORWARDED-PROTOCOL=ssl,X-FORWARDED-SSL=on"),
    same("forwarded_allow_ips"),
    is("accesslog", "access_logfile"),
    ignored("disable_redirect_access_to_syslog", "disable-redirect-access-to-syslog", SYSLOG),
    is("access_log_format", "access_logformat"),
    is("errorlog", "error_logfile"),
    is("loglevel", "log_level"),
    ignored(
        "capture_output",
        "capture-output",
        "what the application prints stays on the standard streams",
    ),
    ignored("logger_class", "logger-class=", LOGGING).unless("gunicorn.glogging.Logger"),
    ignored("logconfig", "log-config=", LOGGING),
    ignored("logconfig_dict", "", LOGGING),
    ignored("logconfig_json", "log-config-json=", LOGGING),
    ignored("syslog_addr", "log-syslog-to=", SYSLOG).unless("udp://localhost:514"),
    ignored("syslog", "log-syslog", SYSLOG),
    ignored("syslog_prefix", "log-syslog-prefix=", SYSLOG),
    ignored("syslog_facility", "log-syslog-facility=", SYSLOG).unless("user"),
    ignored(
        "enable_stdio_inheritance",
        "enable-stdio-inheritance",
        "--daemon closes the standard streams; name log files",
    ),
    ignored("statsd_host", "statsd-host=", STATSD),
    ignored("dogstatsd_tags", "dogstatsd-tags=", STATSD),
    ignored("statsd_prefix", "statsd-prefix=", STATSD),
    ignored("enable_backlog_metric", "enable-backlog-metric", STATSD),
    is("proc_name", "name"),
    ignored("default_proc_name", "", "set proc_name").unless("gunicorn"),
    same("pythonpath"),
    refused("paste", "paste=", PASTE),
    ignored("on_starting", "", NOT_CALLED),
    ignored("on_reload", "", NOT_CALLED),
    ignored("when_ready", "", NOT_CALLED),
    ignored("pre_fork", "", NOT_CALLED),
    ignored("post_fork", "", NOT_CALLED),
    ignored("post_worker_init", "", NOT_CALLED),
    ignored("worker_int", "", NOT_CALLED),
    ignored("worker_abort", "", NOT_CALLED),
    ignored("pre_exec", "", NOT_CALLED),
    ignored("pre_request", "", NOT_CALLED),
    ignored("post_request", "", NOT_CALLED),
    ignored("child_exit", "", NOT_CALLED),
    ignored("worker_exit", "", NOT_CALLED),
    ignored("nworkers_changed", "", NOT_CALLED),
    ignored("on_exit", "", NOT_CALLED),
    refused("ssl_context", "", TLS),
    refused(
        "proxy_protocol",
        "proxy-protocol=?",
        "this server does not speak the PROXY protocol; let the proxy speak HTTP and set \
         X-Forwarded-Proto",
    ),
    ignored("proxy_allow_ips", "proxy-allow-from=", "the PROXY protocol is not spoken")
        .unless("127.0.0.1,::1"),
    refused(
        "protocol",
        "protocol=",
        "this server speaks HTTP only; let the proxy do so (proxy_pass in nginx)",
    )
    .unless("http"),
    ignored("uwsgi_allow_ips", "uwsgi-allow-from=", "the uwsgi protocol is not spoken")
        .unless("127.0.0.1,::1"),
    refused("keyfile", "keyfile=", TLS),
    refused("certfile", "certfile=", TLS),
    ignored("ssl_version", "ssl-version=", NO_TLS),
    ignored("cert_reqs", "cert-reqs=", NO_TLS),
    ignored("ca_certs", "ca-certs=", NO_TLS),
    ignored("suppress_ragged_eofs", "suppress-ragged-eofs", NO_TLS).unless("true"),
    ignored("do_handshake_on_connect", "do-handshake-on-connect", NO_TLS),
    ignored("ciphers", "ciphers=", NO_TLS),
    ignored("http_protocols", "http-protocols=", HTTP1).unless("h1"),
    ignored("http2_cleartext", "http2-cleartext=", HTTP1),
    ignored("http2_max_concurrent_streams", "http2-max-concurrent-streams=", HTTP1).unless("100"),
    ignored("http2_initial_window_size", "http2-initial-window-size=", HTTP1).unless("65535"),
    ignored("http2_max_frame_size", "http2-max-frame-size=", HTTP1).unless("16384"),
    ignored("http2_max_header_list_size", "http2-max-header-list-size=", HTTP1).unless("65536"),
    refused("raw_paste_global_conf", "paste-global=", PASTE),
    ignored("permit_obsolete_folding", "permit-obsolete-folding", STRICT),
    ignored("strip_header_spaces", "strip-header-spaces", STRICT),
    ignored(
        "permit_unconventional_http_method",
        "permit-unconventional-http-method",
        "a method is any token",
    ),
    ignored("permit_unconventional_http_version", "permit-unconventional-http-version", STRICT),
    ignored(
        "casefold_http_method",
        "casefold-http-method",
        "a method stays as the client wrote it",
    ),
    ignored(
        "forwarder_headers",
        "forwarder-headers=",
        "no field sets SCRIPT_NAME or PATH_INFO; a middleware of the application can",
    )
    .unless("SCRIPT_NAME,PATH_INFO"),
    same("header_map"),
    ignored("asgi_loop", "asgi-loop=", ASGI).unless("auto"),
    ignored("asgi_lifespan", "asgi-lifespan=", ASGI).unless("auto"),
    ignored("asgi_disconnect_grace_period", "asgi-disconnect-grace-period=", ASGI).unless("3"),
    ignored("websocket_max_message_size", "websocket-max-message-size=", ASGI).unless("16777216"),
    always("http_parser", "http-parser="),
    ignored("root_path", "root-path=", ASGI),
    refused("dirty_apps", "dirty-app=", DIRTY),
    refused("dirty_workers", "dirty-workers=", DIRTY),
    ignored("dirty_timeout", "dirty-timeout=", DIRTY).unless("300"),
    ignored("dirty_threads", "dirty-threads=", DIRTY).unless("1"),
    ignored("dirty_graceful_timeout", "dirty-graceful-timeout=", DIRTY).unless("30"),
    ignored("on_dirty_starting", "", DIRTY),
    ignored("dirty_post_fork", "", DIRTY),
    ignored("dirty_worker_init", "", DIRTY),
    ignored("dirty_worker_exit", "", DIRTY),
    ignored("control_socket", "control-socket=", "there is no control socket; signals do its work"),
    ignored("control_socket_mode", "control-socket-mode=", "there is no control socket")
        .unless("384"),
    always("control_socket_disable", "no-control-socket"),
];

/// The names of all settings, for whoever executes a configuration.
pub fn names() -> Vec<&'static str> {
    SETTINGS.iter().map(|setting| setting.name).collect()
}

/// A configuration's settings as options, and what is to be said of those that are none. A name that is no
/// setting is the file's own business, unless it looks like one that the file does not have.
///
/// # Errors
/// A sentence about a setting that is refused.
pub(in crate::config) fn translate(
    path: &Path,
    found: Options,
) -> Result<(Options, Vec<String>), String> {
    let (mut options, mut notes) = (Vec::new(), Vec::new());
    let given: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    for (name, values) in found {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let others = SETTINGS.iter().map(|setting| setting.name.to_owned());
            let nearest = closest(&name, others.filter(|other| !given.contains(other)));
            notes.extend(nearest.map(|nearest| {
                let path = path.display();
                format!("{path}: there is no setting '{name}'; did you mean '{nearest}'?")
            }));
            continue;
        };
        match setting.fate {
            // gunicorn's way to say none, but where it means nobody.
            Fate::Is(option) if values == [""] && option != "forwarded_allow_ips" => {}
            Fate::Is(option) => options.push((option.to_owned(), values)),
            _ => notes.extend(judge(
                setting,
                &values,
                &format!("{}: the setting '{name}'", path.display()),
            )?),
        }
    }
    Ok((options, notes))
}

/// The flags that are no options here, so that the parser takes them.
pub(in crate::config) fn flags() -> impl Iterator<Item = Arg> {
    let flags = SETTINGS.iter().filter(|setting| !setting.flag.is_empty());
    flags.map(|setting| {
        let (long, value) =
            setting.flag.split_once('=').map_or((setting.flag, None), |(l, v)| (l, Some(v)));
        let arg = Arg::new(setting.name).long(long).hide(true);
        let arg = match value {
            None => arg.action(ArgAction::SetTrue),
            Some("?") => {
                arg.action(ArgAction::Append).num_args(0..=1).default_missing_value("auto")
            }
            Some(_) => arg.action(ArgAction::Append),
        };
        match setting.name {
            "enable_stdio_inheritance" => arg.short('R'),
            "paste" => arg.alias("paster"),
            _ => arg,
        }
    })
}

/// What is to be said of flags on the command line that are no options here.
///
/// # Errors
/// A sentence about a flag that is refused.
pub(in crate::config) fn look(given: &ArgMatches) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| !setting.flag.is_empty()) {
        if given.value_source(setting.name) != Some(ValueSource::CommandLine) {
            continue;
        }
        let (long, takes) = setting.flag.split_once('=').unwrap_or((setting.flag, "no"));
        let values = match (takes, setting.name) {
            ("no", "sendfile") => vec!["false".to_owned()],
            ("no", _) => vec!["set".to_owned()],
            _ => given.get_many(setting.name).into_iter().flatten().cloned().collect(),
        };
        notes.extend(judge(setting, &values, &format!("--{long}"))?);
    }
    Ok(notes)
}

fn judge(setting: &Setting, values: &[String], origin: &str) -> Result<Option<String>, String> {
    match setting.fate {
        _ if !setting.is_wanted(values) => Ok(None),
        Fate::Is(_) | Fate::Always => Ok(None),
        Fate::Ignored(reason) => Ok(Some(format!("{origin} has no effect: {reason}"))),
        Fate::Refused(reason) => Err(format!("{origin} cannot be honoured: {reason}")),
    }
}

/// What somebody is told who writes a setting of gunicorn's where only this server's options are known.
pub(in crate::config) fn elsewhere(name: &str) -> Option<String> {
    let long = |setting: &Setting| setting.flag.split('=').next().unwrap_or("").replace('-', "_");
    let setting = SETTINGS
        .iter()
        .find(|setting| setting.name == name || long(setting) == name && !name.is_empty())?;
    match setting.fate {
        Fate::Is(option) if option == name => None,
        Fate::Is(option) => Some(format!("the option is called '{option}' here")),
        Fate::Always => Some("this is always so".to_owned()),
        Fate::Ignored(reason) | Fate::Refused(reason) => Some(reason.to_owned()),
    }
}

/// Takes gunicorn's flags along with the options.
pub(in crate::config) fn extend(command: Command) -> Command {
    command.args(flags())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags::Flags;
    use clap::CommandFactory;

    #[test]
    fn what_is_an_option_here_is_one() {
        let command = Flags::command();
        for setting in SETTINGS {
            if let Fate::Is(option) = setting.fate {
                assert!(command.get_arguments().any(|arg| arg.get_id() == option), "{option}");
            }
        }
        extend(command).debug_assert();
    }

    #[test]
    fn defaults_ask_for_nothing() {
        let setting = |name| SETTINGS.iter().find(|setting| setting.name == name).unwrap();
        for (name, value, wanted) in [
            ("spew", "false", false),
            ("spew", "true", true),
            ("sendfile", "true", false),
            ("sendfile", "", false),
            ("sendfile", "false", true),
            ("protocol", "http", false),
            ("protocol", "uwsgi", true),
            ("proxy_protocol", "off", false),
            ("proxy_protocol", "True", true),
            ("dirty_workers", "0", false),
            ("certfile", "", false),
        ] {
            assert_eq!(setting(name).is_wanted(&[value.to_owned()]), wanted, "{name} {value}");
        }
        assert!(!setting("raw_paste_global_conf").is_wanted(&[]));
    }
}
