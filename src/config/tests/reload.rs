//! Changes that a reload does not apply.

use super::*;

#[test]
fn change_that_a_reload_cannot_apply_is_reported() {
    let settings = |options: &[(&str, &str)]| {
        let options: Vec<_> =
            options.iter().map(|(name, value)| (*name, [*value])).collect::<Vec<_>>();
        let options: Vec<(&str, &[&str])> =
            options.iter().map(|(name, values)| (*name, &values[..])).collect();
        api(&options).unwrap()
    };
    let preload = ("preload", "true");
    for (old, new, expected) in [
        (&[][..], &[("daemon", "true")][..], &[("daemon", Remedy::Restart)][..]),
        (&[], &[("user", "u"), ("app", "a:b"), ("umask", "077")], &[]),
        (&[], &[preload, ("app", "a:b")], &[("preload", Remedy::Upgrade)]),
        (
            &[preload],
            &[preload, ("app", "a:b"), ("env", "A=1")],
            &[("app", Remedy::UpgradeForPreload), ("env", Remedy::UpgradeForPreload)],
        ),
        (
            &[preload, ("env", "A=1")],
            &[preload, ("env", "A=2"), ("no_gc_freeze", "true")],
            &[("env", Remedy::UpgradeForPreload), ("no_gc_freeze", Remedy::UpgradeForPreload)],
        ),
    ] {
        assert_eq!(changes_needing_restart(&settings(old), &settings(new)), expected);
    }
}
