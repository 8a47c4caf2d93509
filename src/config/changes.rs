//! Changes of the configuration that a reload does not apply.

use std::fmt;

use super::option::Reload;
use super::options;
use super::settings::Settings;

/// What applies a change that a reload does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Only a restart of the server.
    Restart,
    /// USR2, which starts another master, or a restart.
    Upgrade,
    /// The same, because the master has imported the application.
    UpgradeForPreload,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::Restart => "needs a restart",
            Remedy::Upgrade => "needs USR2 or a restart",
            Remedy::UpgradeForPreload => "needs USR2 or a restart with --preload",
        })
    }
}

/// The options that differ from those at the start of the server (`old`) and that a reload does not
/// apply, each with the action that applies it.
pub fn changes_needing_restart(old: &Settings, new: &Settings) -> Vec<(&'static str, Remedy)> {
    let remedy = |reload| match reload {
        Reload::Restart => Some(Remedy::Restart),
        Reload::Upgrade => Some(Remedy::Upgrade),
        Reload::UnlessPreloaded => old.processes.preload.then_some(Remedy::UpgradeForPreload),
        Reload::ByWorkers | Reload::ByMaster | Reload::Never => None,
    };
    options::all()
        .filter_map(|option| Some((option, remedy(option.reload)?)))
        .filter(|(option, _)| option.value(old) != option.value(new))
        .map(|(option, remedy)| (option.name, remedy))
        .collect()
}
