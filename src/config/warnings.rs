//! Options that are valid, but have another effect than probably intended.

use super::settings::Settings;
use crate::observe::{self, Format};

/// A sentence about each.
pub(super) fn warnings(settings: &Settings) -> impl Iterator<Item = String> {
    let format = settings.access_log.as_ref().and_then(|log| about_format(&log.format));
    let processes = &settings.processes;
    let reload = (processes.preload && processes.watch.is_some()).then(|| {
        "--reload does not load new code with --preload, which imports the application only once; \
         remove one of them"
            .to_owned()
    });
    format.into_iter().chain(reload)
}

fn about_format(text: &str) -> Option<String> {
    let format = Format::parse(text).ok()?;
    if format.is_constant() {
        return Some(format!(
            "--access-logformat: every line will be {text:?}, as it contains no %(...)s; named \
             formats are common, combined and json"
        ));
    }
    let unknown = format.unknown();
    (!unknown.is_empty()).then(|| {
        format!(
            "--access-logformat: unknown atom {}, which is logged as '-'; known atoms are {}",
            unknown.join(", "),
            observe::known_atoms()
        )
    })
}
