//! The access log and the error log.

use crate::config::field::{Flag, Many, Maybe, One};
use crate::config::notation::{
    ACCESS_FORMAT, ACCESS_LOG_FILE, ERROR_LOG_FILE, LEVEL, PATH_PATTERN, print_target,
};
use crate::config::option::{OptionDef, Reload, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("access_logfile", &Maybe(ACCESS_LOG_FILE, |given| &mut given.access_log_target))
        .takes("FILE")
        .help("Access log file; - is stdout")
        .gunicorn("accesslog")
        .resolved(|settings| settings.access_log.as_ref().map(|log| print_target(&log.target))),
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
];
