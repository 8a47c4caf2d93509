//! The notations of the options of logs and collectors.

use clap::builder::ValueParser;
use toml::Value;

use super::Notation;
use crate::config::logs::{LogFormat, parse_format, parse_prefix, parse_tags};
use crate::observe::{CollectorAddress, UnixKind, facility, facility_name};

/// `text` or `json`.
pub(in crate::config) const LOG_FORMAT: &Notation<LogFormat> = &Notation::new(
    || ValueParser::new(parse_format),
    |format| {
        Value::from(match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    },
);

/// The address of syslog.
pub(in crate::config) const SYSLOG_ADDRESS: &Notation<CollectorAddress> = &Notation::new(
    || ValueParser::new(CollectorAddress::parse_syslog),
    |address| Value::from(address.to_string()),
);

/// The address of statsd.
pub(in crate::config) const STATSD_ADDRESS: &Notation<CollectorAddress> = &Notation::new(
    || ValueParser::new(CollectorAddress::parse_statsd),
    |address| {
        Value::from(match address {
            CollectorAddress::Unix(path, UnixKind::Datagram) => {
                format!("unix://{}", path.display())
            }
            other => other.to_string().trim_start_matches("udp://").to_owned(),
        })
    },
);

/// A facility of syslog, by its name.
pub(in crate::config) const FACILITY: &Notation<u8> =
    &Notation::new(|| ValueParser::new(facility), |code| Value::from(facility_name(*code)));

/// What is in front of the names of metrics.
pub(in crate::config) const METRIC_PREFIX: &Notation<String> =
    &Notation::new(|| ValueParser::new(parse_prefix), |text| Value::from(text.as_str()));

/// Tags of metrics.
pub(in crate::config) const METRIC_TAGS: &Notation<String> =
    &Notation::new(|| ValueParser::new(parse_tags), |text| Value::from(text.as_str()));
