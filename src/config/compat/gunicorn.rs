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
    /// The flag, followed by `=` if it takes a value; empty if there is none.
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
    pub(in crate::config) fn is_changed(&self, values: &[String]) -> bool {
        if self.name == SCHEME_HEADERS {
            // All three are applied; many configurations have one of them.
            let is_known = |given: &String| {
                self.default.split(',').any(|known| known.eq_ignore_ascii_case(given))
            };
            return !values.iter().all(is_known);
        }
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

const SSL_VERSION: &str = "TLS 1.2 and 1.3 are supported; use --tls-min-version 1.3 for 1.3 alone";
const CIPHERS: &str =
    "the cipher suites are those of TLS 1.3, and those of TLS 1.2 with forward secrecy";
const ASGI: &str = "only WSGI applications are supported";
const DIRTY: &str = "dirty workers are not supported; use a task queue";
const BACKLOG: &str =
    "the kernel's accept queue is not sampled; --metrics has the requests that wait";
const LOGGING: &str = "use --log-format, --log-config or logconfig_dict; a hook may add filters \
     and handlers to the loggers gunicorn.error and gunicorn.access";
/// The setting that holds pairs, of which the default has several.
const SCHEME_HEADERS: &str = "secure_scheme_headers";
const SCHEME: &str = "the scheme is read from X-Forwarded-Proto, -Protocol and -Ssl, or from \
     Forwarded; let the proxy set X-Forwarded-Proto, and remove the setting";
const STRICT: &str = "requests are always parsed strictly; what it allows is rejected with 400";
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
    refused(SCHEME_HEADERS, "", SCHEME)
        .unless("X-FORWARDED-PROTO=https,X-FORWARDED-PROTOCOL=ssl,X-FORWARDED-SSL=on"),
    ignored(
        "capture_output",
        "capture-output",
        "the output of the application stays on the standard streams",
    ),
    ignored("logger_class", "logger-class=", LOGGING).unless("gunicorn.glogging.Logger"),
    ignored(
        "enable_stdio_inheritance",
        "enable-stdio-inheritance",
        "--daemon closes the standard streams; use log files",
    ),
    ignored("enable_backlog_metric", "enable-backlog-metric", BACKLOG),
    ignored("default_proc_name", "", "set proc_name").unless("gunicorn"),
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
    ignored("ssl_context", "", "this hook is not called; use the options of TLS"),
    refused(
        "protocol",
        "protocol=",
        "only HTTP is supported; let the proxy use it (proxy_pass in nginx)",
    )
    .unless("http"),
    ignored("uwsgi_allow_ips", "uwsgi-allow-from=", "the uwsgi protocol is not supported")
        .unless("127.0.0.1,::1"),
    ignored("ssl_version", "ssl-version=", SSL_VERSION),
    always("suppress_ragged_eofs", "suppress-ragged-eofs"),
    always("do_handshake_on_connect", "do-handshake-on-connect"),
    ignored("ciphers", "ciphers=", CIPHERS),
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
            Some(_) => arg.action(ArgAction::Append),
        };
        match setting.name {
            "enable_stdio_inheritance" => arg.short('R'),
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
            ("dirty_workers", "0", false),
            ("ciphers", "", false),
            ("secure_scheme_headers", "x-forwarded-proto=https", false),
            ("secure_scheme_headers", "X-FORWARDED-PROTO=on", true),
            ("secure_scheme_headers", "X-SCHEME=https", true),
        ] {
            let found = setting(name).unwrap().is_changed(&[value.to_owned()]);
            assert_eq!(found, changed, "{name} {value}");
        }
    }
}
