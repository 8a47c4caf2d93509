//! Collectors that get a copy of the logs, or counts.

use crate::config::field::{Flag, Maybe, One};
use crate::config::notation::NAME;
use crate::config::notation::logs::{
    FACILITY, METRIC_PREFIX, METRIC_TAGS, STATSD_ADDRESS, SYSLOG_ADDRESS,
};
use crate::config::option::{OptionDef, Reload, option};

/// gunicorn's default.
const SYSLOG: &str = match (cfg!(target_os = "macos"), cfg!(target_os = "freebsd")) {
    (true, _) => "unix:///var/run/syslog",
    (_, true) => "unix:///var/run/log",
    _ => "udp://localhost:514",
};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("log_syslog", &Flag(true, |given| &mut given.settings.logs.syslog))
        .help("Send the error log and the access log to syslog as well")
        .gunicorn("syslog")
        .reload(Reload::ByMaster),
    option("log_syslog_to", &One(SYSLOG_ADDRESS, |given| &mut given.settings.logs.syslog_address))
        .takes("ADDRESS")
        .default(SYSLOG)
        .help(
            "Address of syslog: unix://PATH, unix://PATH#dgram, unix://PATH#stream, \
             udp://HOST:PORT or tcp://HOST:PORT",
        )
        .gunicorn("syslog_addr")
        .reload(Reload::ByMaster),
    option("log_syslog_prefix", &Maybe(NAME, |given| &mut given.settings.logs.syslog_prefix))
        .takes("NAME")
        .help("Name of the program in syslog, behind 'gunicorn.'; by default that of the process")
        .gunicorn("syslog_prefix")
        .reload(Reload::ByMaster),
    option("log_syslog_facility", &One(FACILITY, |given| &mut given.settings.logs.syslog_facility))
        .takes("NAME")
        .default("user")
        .help("Facility of syslog messages: user, daemon, local0 to local7 and others")
        .gunicorn("syslog_facility")
        .reload(Reload::ByMaster),
    option(
        "disable_redirect_access_to_syslog",
        &Flag(true, |given| &mut given.settings.logs.syslog_errors_only),
    )
    .help("Send only the error log to syslog")
    .gunicorn("disable_redirect_access_to_syslog"),
    option("statsd_host", &Maybe(STATSD_ADDRESS, |given| &mut given.settings.logs.statsd))
        .takes("ADDRESS")
        .help(
            "Send gunicorn's metrics of each request to statsd at HOST:PORT or unix://PATH \
             (gunicorn.requests, gunicorn.request.duration and others)",
        )
        .gunicorn("statsd_host")
        .reload(Reload::ByMaster),
    option("statsd_prefix", &One(METRIC_PREFIX, |given| &mut given.settings.logs.statsd_prefix))
        .takes("PREFIX")
        .default("")
        .help("What is in front of the names of metrics; a full stop is added")
        .gunicorn("statsd_prefix")
        .reload(Reload::ByMaster),
    option("dogstatsd_tags", &One(METRIC_TAGS, |given| &mut given.settings.logs.dogstatsd_tags))
        .takes("TAGS")
        .default("")
        .help("Tags of Datadog for all metrics, such as env:prod,service:shop")
        .gunicorn("dogstatsd_tags")
        .reload(Reload::ByMaster),
];
