//! Shows requests on the terminal of a user who develops, without an option.

use std::io::IsTerminal as _;

use super::settings::{AccessLogSettings, Settings};
use crate::observe::LogTarget;

/// The lines of requests on the terminal while developing: request line, status and time.
const FORMAT: &str = r#""%(r)s" %(s)s %(M)s ms"#;

/// While developing on a terminal, shows the requests there, unless an access log is set.
pub fn show_requests(settings: &mut Settings) {
    let processes = &settings.processes;
    let develops = processes.watch.is_some() && !processes.daemon && !settings.print_config;
    if !develops || settings.access_log.is_some() {
        return;
    }
    // The stream of the error log, if that is the terminal, so that the lines stay in order.
    let on_stderr = settings.error_log == LogTarget::Stderr && std::io::stderr().is_terminal();
    let target = match on_stderr {
        true => LogTarget::Stderr,
        false if std::io::stdout().is_terminal() => LogTarget::Stdout,
        false => return,
    };
    let format = FORMAT.to_owned();
    settings.access_log = Some(AccessLogSettings { target, format });
}
