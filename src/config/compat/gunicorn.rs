//! gunicorn's settings, as of 27.0, that are not options here, and how each is treated.
//!
//! A command line or `gunicorn.conf.py` that was written for gunicorn starts this server unchanged.
//! Each setting is treated in one of three ways. It is an option (column `gunicorn` of the table of
//! options); or it is accepted with a warning that says why it has no effect; or it is refused with
//! a message that names the replacement, because its user relies on it. gunicorn's default values
//! are accepted silently.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use crate::config::option::OptionDef;
use crate::config::options;

/// How a setting is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Fate {
    /// The server always behaves so.
    Always,
    /// Accepted without effect: why, or what to use instead.
    Ignored(&'static str),
    /// Refused: why, or what to use instead.
    Refused(&'static str),
}

/// One setting of gunicorn.
pub(in crate::config) struct Setting {
    /// The name in a configuration file.
    pub(in crate::config) name: &'static str,
    /// The flag, followed by `=` if it takes a value and by `=?` if it may; empty if there is none.
    pub(in crate::config) flag: &'static str,
    /// gunicorn's default, if it is none of [`UNSET`].
    default: &'static str,
    pub(in crate::config) fate: Fate,
}

/// Values that leave any setting at its default.
const UNSET: [&str; 5] = ["", "0", "false", "off", "none"];

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

    /// Whether these values differ from gunicorn's default.
    fn is_changed(&self, values: &[String]) -> bool {
        let text = values.join(",");
        if self.name == "sendfile" {
            return text == "false";
        }
        !UNSET.contains(&text.to_ascii_lowercase().as_str()) && text != self.default
    }

    /// The flag, and what follows its `=` if it takes a value.
    pub(in crate::config) fn flag_and_value(&self) -> (&'static str, Option<&'static str>) {
        match self.flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (self.flag, None),
        }
    }

    /// The warning about these values, if they need one.
    ///
    /// # Errors
    /// A sentence if the setting is refused.
    pub(in crate::config) fn check(
        &self,
        values: &[String],
        origin: &str,
    ) -> Result<Option<String>, String> {
        match self.fate {
            _ if !self.is_changed(values) => Ok(None),
            Fate::Always => Ok(None),
            Fate::Ignored(reason) => Ok(Some(format!("{origin} has no effect: {reason}"))),
            Fate::Refused(reason) => Err(format!("{origin} is not supported: {reason}")),
        }
    }
}

const TLS: &str = "TLS is not supported; terminate it in a proxy";
const NO_TLS: &str = "it concerns TLS, which is not supported; terminate it in a proxy";
const HTTP1: &str = "HTTP/2 is not supported; terminate it in a proxy";
const ASGI: &str = "only WSGI applications are supported";
const DIRTY: &str = "dirty workers are not supported; use a task queue";
const STATSD: &str =
    "StatsD is not supported; the access log has the time of each request (%(L)s or json)";
const SYSLOG: &str =
    "syslog is not supported; log to the standard streams, for systemd-journald or logger(1)";
const LOGGING: &str = "use --access-logfile, --access-logformat, --error-logfile and --log-level; \
     a hook may add filters and handlers to the logger gunicorn.access";
const STRICT: &str = "requests are always parsed strictly; what it allows is rejected with 400";
const PASTE: &str = "name the application as MODULE:NAME; its module can load a PasteDeploy file";
/// The reason for hooks that the server does not call.
pub(in crate::config) const NOT_CALLED: &str = "this hook is not called";

/// Every one, in the order of gunicorn's documentation.
pub(in crate::config) const SETTINGS: &[Setting] = &[
    ignored("config", "", "a configuration file cannot name another one; use -c"),
    ignored(
        "reload_engine",
        "reload-engine=",
        "--reload gets notifications from the system, and polls once a second",
    )
    .unless("auto"),
    ignored("spew", "spew", "tracing is not supported; use `python -m trace`"),
    ignored("sendfile", "no-sendfile", "wsgi.file_wrapper always uses sendfile()"),
    ignored("worker_tmp_dir", "worker-tmp-dir=", "the heartbeat of workers uses no file"),
    always("initgroups", "initgroups"),
    ignored("tmp_upload_dir", "", "set TMPDIR in the server's environment"),
    ignored(
        "secure_scheme_headers",
        "",
        "only X-Forwarded-Proto, -Protocol and -Ssl are supported, as by gunicorn's default",
    )
    .unless("X-FORWARDED-PROTO=https,X-FORWARDED-PROTOCOL=ssl,X-FORWARDED-SSL=on"),
    ignored("disable_redirect_access_to_syslog", "disable-redirect-access-to-syslog", SYSLOG),
    ignored(
        "capture_output",
        "capture-output",
        "the output of the application stays on the standard streams",
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
        "--daemon closes the standard streams; use log files",
    ),
    ignored("statsd_host", "statsd-host=", STATSD),
    ignored("dogstatsd_tags", "dogstatsd-tags=", STATSD),
    ignored("statsd_prefix", "statsd-prefix=", STATSD),
    ignored("enable_backlog_metric", "enable-backlog-metric", STATSD),
    ignored("default_proc_name", "", "set proc_name").unless("gunicorn"),
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
    // gunicorn calls it only if there is a certificate, which is refused.
    ignored("ssl_context", "", NO_TLS),
    refused(
        "proxy_protocol",
        "proxy-protocol=?",
        "the PROXY protocol is not supported; let the proxy use HTTP and set X-Forwarded-Proto",
    ),
    ignored("proxy_allow_ips", "proxy-allow-from=", "the PROXY protocol is not supported")
        .unless("127.0.0.1,::1"),
    refused(
        "protocol",
        "protocol=",
        "only HTTP is supported; let the proxy use it (proxy_pass in nginx)",
    )
    .unless("http"),
    ignored("uwsgi_allow_ips", "uwsgi-allow-from=", "the uwsgi protocol is not supported")
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
        "any token is accepted as a method",
    ),
    ignored("permit_unconventional_http_version", "permit-unconventional-http-version", STRICT),
    ignored(
        "casefold_http_method",
        "casefold-http-method",
        "the case of a method is never changed",
    ),
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
    ignored("control_socket", "control-socket=", "there is no control socket; use signals"),
    ignored("control_socket_mode", "control-socket-mode=", "there is no control socket")
        .unless("384"),
    always("control_socket_disable", "no-control-socket"),
];

/// The names of all settings, for the module that executes a configuration.
pub fn gunicorn_settings() -> Vec<&'static str> {
    let options = options::all().filter_map(|option| option.gunicorn);
    options.chain(SETTINGS.iter().map(|setting| setting.name)).collect()
}

/// The option that a setting is here.
pub(in crate::config) fn option(name: &str) -> Option<&'static OptionDef> {
    options::all().find(|option| option.gunicorn == Some(name))
}

/// The setting, if it is no option here.
pub(in crate::config) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// A sentence about a name that is an option here, but no setting of gunicorn. A configuration that
/// also has gunicorn's name, which is among `given`, uses ours for itself; so may any configuration
/// use a single word such as `port`.
pub(in crate::config) fn about_own_name(name: &str, given: &[String]) -> Option<String> {
    let is_own = |option: &&OptionDef| !option.is_positional() && !option.hidden;
    let option = options::find(name).filter(is_own)?;
    match option.gunicorn {
        Some(theirs) => (!given.iter().any(|other| other == theirs))
            .then(|| format!("'{name}' is called '{theirs}' in a gunicorn configuration")),
        None => option.name.contains('_').then(|| {
            format!(
                "'{name}' has no effect in a gunicorn configuration; use --{} or {}",
                option.long(),
                option.variable()
            )
        }),
    }
}

/// Whether the setting is refused, by its name or its flag with underscores.
pub(in crate::config) fn is_rejected(name: &str) -> bool {
    find(name).is_some_and(|setting| matches!(setting.fate, Fate::Refused(_)))
}

/// The flags of settings that are no options here.
pub(in crate::config) fn flags() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().filter(|setting| !setting.flag.is_empty()).map(|setting| {
        let (long, value) = setting.flag_and_value();
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

/// The warnings about those flags on a command line.
///
/// # Errors
/// A sentence about a flag that is refused.
pub(in crate::config) fn check_flags(given: &ArgMatches) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    for setting in SETTINGS.iter().filter(|setting| !setting.flag.is_empty()) {
        if given.value_source(setting.name) != Some(ValueSource::CommandLine) {
            continue;
        }
        let (long, value) = setting.flag_and_value();
        let values = match (value, setting.name) {
            (None, "sendfile") => vec!["false".to_owned()],
            (None, _) => vec!["set".to_owned()],
            _ => given.get_many(setting.name).into_iter().flatten().cloned().collect(),
        };
        warnings.extend(setting.check(&values, &format!("--{long}"))?);
    }
    Ok(warnings)
}

/// What to use instead of a setting of gunicorn, by its name or its flag with underscores.
pub(in crate::config) fn counterpart(name: &str) -> Option<String> {
    if let Some(option) = option(name).filter(|option| option.name != name) {
        return Some(format!("the option is called '{}' here", option.name));
    }
    match find(name)?.fate {
        Fate::Always => Some("the server always behaves so".to_owned()),
        Fate::Ignored(reason) | Fate::Refused(reason) => Some(reason.to_owned()),
    }
}

/// The setting that is no option here, by its name or its flag with underscores.
fn find(name: &str) -> Option<&'static Setting> {
    let flag = |setting: &Setting| setting.flag_and_value().0.replace('-', "_");
    SETTINGS
        .iter()
        .find(|setting| setting.name == name || !name.is_empty() && flag(setting) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_that_is_an_option_is_not_in_this_table() {
        for option in options::all() {
            assert!(option.gunicorn.is_none_or(|name| setting(name).is_none()), "{}", option.name);
        }
    }

    #[test]
    fn own_name_in_a_gunicorn_configuration_is_reported() {
        for (name, given, said) in [
            ("preload", "", Some("'preload' is called 'preload_app' in a gunicorn configuration")),
            ("access_logfile", "", Some("is called 'accesslog'")),
            ("log_file", "", Some("is called 'errorlog'")),
            ("pid", "", Some("is called 'pidfile'")),
            ("env", "", Some("is called 'raw_env'")),
            ("name", "", Some("is called 'proc_name'")),
            ("name", "proc_name", None),
            ("boot_timeout", "", Some("use --boot-timeout or RUSTWSGI_BOOT_TIMEOUT")),
            ("app", "", None),
            ("port", "", None),
            ("factory", "", None),
            ("helper", "", None),
        ] {
            let found = about_own_name(name, &[given.to_owned()]);
            assert_eq!(found.is_some(), said.is_some(), "{name}: {found:?}");
            assert!(found.unwrap_or_default().contains(said.unwrap_or_default()), "{name}");
        }
    }

    #[test]
    fn gunicorns_default_value_changes_nothing() {
        for (name, value, changed) in [
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
            let found = setting(name).unwrap().is_changed(&[value.to_owned()]);
            assert_eq!(found, changed, "{name} {value}");
        }
        assert!(!setting("raw_paste_global_conf").unwrap().is_changed(&[]));
    }
}
