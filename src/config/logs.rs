//! Where logs go beside their files, and in which form.

use std::path::PathBuf;

use super::app::AppSpec;
use crate::observe::{CollectorAddress, Collectors, StatsdForm, SyslogForm};

/// The form of the error log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines as gunicorn's.
    #[default]
    Text,
    /// A JSON object for each message.
    Json,
}

/// Parses the form of the error log.
///
/// # Errors
/// A sentence that names both.
pub(super) fn parse_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!(
            "'{text}' is neither text nor json; --access-logformat is that of requests"
        )),
    }
}

/// The form of the error log, collectors, and Python's loggers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// The form of the error log.
    pub format: LogFormat,
    /// Whether logs are sent to syslog as well.
    pub syslog: bool,
    /// The address of syslog.
    pub syslog_address: CollectorAddress,
    /// The name of the program in syslog, after `gunicorn.`; by default that of the process.
    pub syslog_prefix: Option<String>,
    /// The code of the facility.
    pub syslog_facility: u8,
    /// Whether only the error log is sent to syslog.
    pub syslog_errors_only: bool,
    /// The address of statsd.
    pub statsd: Option<CollectorAddress>,
    /// In front of the names of metrics.
    pub statsd_prefix: String,
    /// Tags of metrics, separated by commas.
    pub dogstatsd_tags: String,
    /// Whether lines go through Python's loggers.
    pub python: bool,
    /// A configuration of `logging` in its file format.
    pub config: Option<PathBuf>,
    /// One in JSON.
    pub config_json: Option<PathBuf>,
}

impl LogSettings {
    /// Whether requests are logged somewhere else than in a file.
    pub(super) fn logs_requests(&self) -> bool {
        self.sends_requests() || self.statsd.is_some() || self.python
    }

    /// Whether lines of the access log are sent to syslog.
    pub fn sends_requests(&self) -> bool {
        self.syslog && !self.syslog_errors_only
    }

    /// The collectors, for a process of this name that serves this application.
    pub(super) fn collectors(&self, name: Option<&str>, app: Option<&AppSpec>) -> Collectors {
        let program = self.syslog_prefix.as_deref().or(name).map(str::to_owned);
        let program = program.or_else(|| app.map(AppSpec::to_string));
        let program = program.unwrap_or_else(|| "rustwsgi".to_owned());
        let address = &self.syslog_address;
        let syslog = SyslogForm::new(&program, self.syslog_facility, address);
        let statsd = StatsdForm::new(&self.statsd_prefix, &self.dogstatsd_tags);
        Collectors {
            syslog: self.syslog.then(|| (address.clone(), syslog)),
            statsd: self.statsd.clone().map(|address| (address, statsd)),
        }
    }
}

/// Parses a prefix of metrics.
///
/// # Errors
/// A sentence, if it would break the metrics.
pub(super) fn parse_prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | '|' | '@' | '#');
    match text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} has a character that metrics do not allow in a name")),
    }
}

/// Parses tags of metrics.
///
/// # Errors
/// A sentence, if they would break the metrics.
pub(super) fn parse_tags(text: &str) -> Result<String, String> {
    match text.chars().all(|c| !c.is_control() && c != '|') && text.len() <= 512 {
        true => Ok(text.to_owned()),
        false => Err("not a list of tags, such as env:prod,service:shop".to_owned()),
    }
}
