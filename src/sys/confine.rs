//! Takes rights from a process that parses the bytes of a network, and that cannot change its user
//! because its files belong to the master's.
//!
//! What a kernel does not support is left out, so this limits what a bug can do, and is no
//! guarantee.

use std::path::Path;

/// From now on this thread, and those that it starts, can create, change and remove files only
/// below `writable`, execute no program, and signal only each other. They have no capability except
/// the one to read: the way to a directory may be another user's.
#[cfg(target_os = "linux")]
pub(super) fn confine(writable: &Path) {
    let _ = rustix::thread::set_no_new_privs(true);
    drop_capabilities();
    let _ = restrict(writable);
}

/// Other systems have no call that an unprivileged process may use.
#[cfg(not(target_os = "linux"))]
pub(super) fn confine(_: &Path) {}

#[cfg(target_os = "linux")]
fn drop_capabilities() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    let Ok(own) = capabilities(None) else { return };
    let kept = own.permitted & CapabilitySet::DAC_READ_SEARCH;
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
    let _ = set_capabilities(None, sets);
}

/// Landlock: landlock(7). The rights of its first version, which all kernels since 5.13 know;
/// moving a file to another directory is forbidden as well. An open file stays usable.
#[cfg(target_os = "linux")]
fn restrict(writable: &Path) -> Result<(), landlock::RulesetError> {
    use landlock::{
        ABI, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
        Scope,
    };

    let writes = AccessFs::from_write(ABI::V1);
    let ruleset = Ruleset::default()
        .handle_access(writes | AccessFs::Execute)?
        .scope(Scope::Signal)?
        .create()?;
    // Without the directory nothing can be written.
    let ruleset = match PathFd::new(writable) {
        Ok(directory) => ruleset.add_rule(PathBeneath::new(directory, writes))?,
        Err(_) => ruleset,
    };
    ruleset.restrict_self().map(drop)
}
