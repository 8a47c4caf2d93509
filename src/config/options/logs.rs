//! The access log and the error log.

use crate::config::field::{Flag, Many, Maybe, One};
use crate::config::notation::logs::LOG_FORMAT;
use crate::config::notation::{
    ACCESS_FORMAT, ACCESS_LOG_FILE, ERROR_LOG_FILE, LEVEL, PATH, PATH_PATTERN, print_target,
};
use crate::config::option::{OptionDef, Reload, option};
use crate::observe::LogTarget;

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("access_logfile", &Maybe(ACCESS_LOG_FILE, |given| &mut given.access_log_target))
        .takes("FILE")
        .help("Access log file; - is stdout")
        .gunicorn("accesslog")
        .resolved(|settings| {
            let log = settings.access_log.as_ref().filter(|log| log.target != LogTarget::Nowhere);
            log.map(|log| print_target(&log.target))
        }),
    option("access_log", &Flag(true, |given| &mut given.access_log))
        .help("Write an access log to standard output")
        .hidden()
        .resolved(|_| None),
    option("access_logformat", &One(ACCESS_FORMAT, |given| &mut given.access_log_format))
        .takes("FORMAT")
        .default("combined")
        .help(
            "Access log format: common, combined (gunicorn's default), json, or gunicorn's atoms, \
             such as '%(h)s %(r)s %(s)s'",
        )
        .gunicorn("access_log_format")
        .resolved(|settings| settings.access_log.as_ref().map(|log| log.format.clone().into())),
    option(
        "access_log_exclude",
        &Many(PATH_PATTERN, |given| &mut given.settings.access_log_exclude),
    )
    .takes("REGEX")
    .help(
        "Do not log requests whose path matches, such as ^/healthz$, unless the status is 400 or \
         higher (repeatable)",
    ),
    option("error_logfile", &One(ERROR_LOG_FILE, |given| &mut given.settings.error_log))
        .takes("FILE")
        .default("-")
        .help("Error log file; - is stderr")
        .visible_alias("log-file")
        .gunicorn("errorlog")
        .reload(Reload::ByMaster),
    option("log_level", &One(LEVEL, |given| &mut given.settings.log_level))
        .takes("LEVEL")
        .default("info")
        .help("Lowest level of messages to log: debug, info, warning, error or critical")
        .gunicorn("loglevel")
        .reload(Reload::ByMaster),
    option("log_format", &One(LOG_FORMAT, |given| &mut given.settings.logs.format))
        .takes("FORMAT")
        .default("text")
        .help("Form of the error log: text, or json with one object a message")
        .reload(Reload::ByMaster),
    option("log_python", &Flag(true, |given| &mut given.settings.logs.python))
        .help(
            "Pass the lines of workers through Python's loggers gunicorn.error and \
             gunicorn.access, which takes the interpreter",
        )
        .gunicorn("logconfig_dict"),
    option("log_config", &Maybe(PATH, |given| &mut given.settings.logs.config))
        .takes("FILE")
        .help("Configure Python's logging from a file of its own format; implies --log-python")
        .gunicorn("logconfig")
        .reload(Reload::UnlessPreloaded),
    option("log_config_json", &Maybe(PATH, |given| &mut given.settings.logs.config_json))
        .takes("FILE")
        .help("Configure Python's logging from a dictConfig in JSON; implies --log-python")
        .gunicorn("logconfig_json")
        .reload(Reload::UnlessPreloaded),
];
