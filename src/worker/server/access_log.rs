//! The access log that the settings describe.

use anyhow::anyhow;

use super::StartError;
use crate::config::{AccessLogSettings, Settings};
use crate::observe::{AccessLog, Exclusion, Format, Sink};

/// The log, if there is one, and the environ keys that its format needs.
pub(super) fn build_access_log(
    settings: &Settings,
    sink: Sink,
) -> Result<Option<(AccessLog, Vec<String>)>, StartError> {
    let Some(AccessLogSettings { target, format }) = &settings.access_log else { return Ok(None) };
    let format = Format::parse(format).map_err(|error| StartError::AccessLog(error.into()))?;
    let patterns = settings.access_log_exclude.iter().map(String::as_str);
    let exclusion = Exclusion::new(patterns)
        .map_err(|reason| StartError::AccessLog(anyhow!("--access-log-exclude: {reason}")))?;
    let keys = format.environ_keys().to_vec();
    let log = AccessLog::new(target, format, sink).excluding(exclusion);
    Ok(Some((log.logging_to(settings.access_outputs()), keys)))
}
