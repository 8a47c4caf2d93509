//! Options in a gunicorn configuration, which is a Python program.

use std::path::Path;

use super::lookup::{self, Options};
use crate::config::compat::gunicorn;
use crate::config::precedence::Entry;
use crate::config::suggest;

/// Executes a configuration file that is a Python program, or the module that `python:NAME` names:
/// the caller has Python. Returns gunicorn's settings, and its other names without values.
pub type Execute<'a> = &'a dyn Fn(&Path) -> Result<Options, String>;

/// The options among the settings of a configuration, and warnings about the others. A name that is
/// no setting belongs to the file, unless it is similar to a setting that the file does not have.
///
/// # Errors
/// A sentence about a setting that is refused.
pub(super) fn entries(
    origin: &str,
    settings: Options,
) -> Result<(Vec<Entry>, Vec<String>), String> {
    let (mut entries, mut warnings) = (Vec::new(), Vec::new());
    let given: Vec<String> = settings.iter().map(|(name, _)| name.clone()).collect();
    for (name, values) in settings {
        if let Some(option) = gunicorn::option(&name) {
            // An empty string is gunicorn's way to unset a setting, except for the trusted proxies
            // and their fields.
            let is_list_of_peers = matches!(
                option.name,
                "forwarded_allow_ips" | "forwarder_headers" | "proxy_allow_from"
            );
            if values != [""] || is_list_of_peers {
                entries.push(lookup::entry(origin, option, &name, values));
            }
        } else if let Some(setting) = gunicorn::setting(&name) {
            warnings.extend(setting.check(&values, &format!("{origin}: setting '{name}'"))?);
        } else if let Some(about) = gunicorn::about_own_name(&name, &given) {
            warnings.push(format!("{origin}: {about}"));
        } else {
            let others = gunicorn::gunicorn_settings().into_iter().map(str::to_owned);
            let nearest = suggest::nearest(&name, others.filter(|other| !given.contains(other)));
            warnings.extend(nearest.map(|nearest| {
                format!("{origin}: unknown setting '{name}'; did you mean '{nearest}'?")
            }));
        }
    }
    Ok((entries, warnings))
}
