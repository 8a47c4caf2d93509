//! Options that are taken, and do not do what was probably meant: what the log says of them.

use super::settings::Settings;
use crate::observe::{self, Format};

/// A sentence about each.
pub(super) fn doubts(settings: &Settings) -> impl Iterator<Item = String> {
    let format = settings.access_log.as_ref().and_then(|log| about_format(&log.format));
    let processes = &settings.processes;
    let old_code = processes.preload && processes.watch.is_some();
    let old_code = old_code.then(|| {
        "--reload does nothing for new code under --preload, which imports the application once; leave out one \
         of the two"
            .to_owned()
    });
    format.into_iter().chain(old_code)
}

fn about_format(text: &str) -> Option<String> {
    let format = Format::parse(text).ok()?;
    if format.is_constant() {
        return Some(format!(
            "--access-logformat: every line will be {text:?}, as no %(...)s is in it; the formats that have a \
             name are common, combined and json"
        ));
    }
    let unknown = format.unknown();
    (!unknown.is_empty()).then(|| {
        format!(
            "--access-logformat: there is no {}, and each is '-' in the log; known are {}",
            unknown.join(", "),
            observe::known_atoms()
        )
    })
}
