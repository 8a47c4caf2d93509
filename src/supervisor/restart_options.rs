//! The options that a reload cannot apply.

use crate::config::{Processes, Settings};

/// What applies an option that a reload does not.
const RESTART: &str = "a restart";
const UPGRADE: &str = "USR2 or a restart";

/// An option that has changed, and what applies it.
type Change = (&'static str, &'static str);

/// The options that differ between the settings of the start and those of a reload, and that a reload
/// does not apply. Names every setting, so that a new one cannot be forgotten here.
pub(super) fn changed(started: &Settings, new: &Settings) -> Vec<Change> {
    let Settings {
        app,
        pythonpath,
        env,
        processes,
        // The master applies these.
        binds: _,
        backlog: _,
        error_log: _,
        log_level: _,
        // The new workers apply these.
        trusted: _,
        threads: _,
        worker_connections: _,
        timeouts: _,
        limits: _,
        queue: _,
        budget: _,
        body_buffer: _,
        access_log: _,
        script_name: _,
        chdir: _,
        // Without effect on a running server. No file can set `venv`.
        venv: _,
        check_config: _,
        print_config: _,
        files: _,
        notes: _,
    } = new;
    // With --preload the application was imported once, for all workers.
    let preload = started.processes.preload;
    let imported = [
        (*app != started.app, ("app (with preload)", UPGRADE)),
        (*pythonpath != started.pythonpath, ("pythonpath (with preload)", UPGRADE)),
        (*env != started.env, ("env (with preload)", UPGRADE)),
    ];
    let imported = imported.into_iter().filter(|(differs, _)| preload && *differs);
    let changes = imported.map(|(_, change)| change);
    changed_processes(&started.processes, processes).into_iter().chain(changes).collect()
}

fn changed_processes(started: &Processes, new: &Processes) -> Vec<Change> {
    let Processes {
        preload,
        gc_freeze,
        daemon,
        // The master or the new workers apply these.
        workers: _,
        reload: _,
        pidfile: _,
        watch: _,
        recycling: _,
        user: _,
        group: _,
        umask: _,
        name: _,
    } = new;
    let freezes = started.preload && *gc_freeze != started.gc_freeze;
    [
        (*daemon != started.daemon, ("daemon", RESTART)),
        (*preload != started.preload, ("preload", UPGRADE)),
        (freezes, ("no_gc_freeze (with preload)", UPGRADE)),
    ]
    .into_iter()
    .filter_map(|(differs, change)| differs.then_some(change))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_api;

    #[test]
    fn options_that_need_a_restart_are_found() {
        let settings = |options: &[(&str, &str)]| {
            let options: Vec<_> = options
                .iter()
                .map(|(name, value)| (name.to_string(), vec![value.to_string()]))
                .collect();
            parse_api(&options).unwrap()
        };
        let names = |old: &[(&str, &str)], new: &[(&str, &str)]| {
            let found = changed(&settings(old), &settings(new));
            found.iter().map(|(option, _)| *option).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(names(&[], &[("daemon", "true")]), "daemon");
        assert_eq!(names(&[], &[("user", "u"), ("app", "a:b"), ("umask", "077")]), "");
        assert_eq!(names(&[], &[("preload", "true"), ("app", "a:b")]), "preload");
        let preload = ("preload", "true");
        assert_eq!(
            names(&[preload], &[preload, ("app", "a:b"), ("env", "A=1")]),
            "app (with preload), env (with preload)"
        );
    }
}
