//! The processes as the system sees them, and the reloader for development.

use toml::Value;

use crate::config::field::{Flag, Many, Maybe};
use crate::config::notation::{NAME, PATH, UMASK};
use crate::config::option::{OptionDef, Reload, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("pid", &Maybe(PATH, |given| &mut given.settings.processes.pidfile))
        .short('p')
        .takes("FILE")
        .of_master()
        .help("PID file of the master")
        .gunicorn("pidfile")
        .reload(Reload::ByMaster),
    option("user", &Maybe(NAME, |given| &mut given.settings.processes.user))
        .short('u')
        .takes("USER")
        .of_master()
        .help("User to run workers as, by name or number; the master keeps its own")
        .gunicorn("user")
        .uwsgi(&["uid"])
        .reload(Reload::ByMaster),
    option("group", &Maybe(NAME, |given| &mut given.settings.processes.group))
        .short('g')
        .takes("GROUP")
        .of_master()
        .help("Group to run workers as, by name or number [default: the user's]")
        .gunicorn("group")
        .uwsgi(&["gid"])
        .reload(Reload::ByMaster),
    option("umask", &Maybe(UMASK, |given| &mut given.settings.processes.umask))
        .short('m')
        .takes("MODE")
        .of_master()
        .help("File mode creation mask, in octal")
        .gunicorn("umask")
        .reload(Reload::ByMaster),
    option("name", &Maybe(NAME, |given| &mut given.settings.processes.name))
        .short('n')
        .takes("NAME")
        .of_master()
        .help("Process name [default: the application]")
        .aliases(&["proc-name"])
        .gunicorn("proc_name")
        .uwsgi(&["procname", "procname_prefix", "auto_procname"])
        .reload(Reload::ByMaster),
    option("daemon", &Flag(true, |given| &mut given.settings.processes.daemon))
        .short('D')
        .of_master()
        .help("Detach from the terminal and run in the background")
        .gunicorn("daemon")
        .reload(Reload::Restart),
];

pub(in crate::config) const DEVELOPMENT: &[OptionDef] = &[
    option("reload", &Flag(true, |given| &mut given.reload))
        .of_master()
        .help("Restart workers when a source file or template changes; for development")
        .gunicorn("reload")
        .uwsgi(&["py_autoreload", "python_auto_reload", "py_auto_reload"])
        .resolved(|settings| Some(settings.processes.watch.is_some().into())),
    option("reload_extra_file", &Many(PATH, |given| &mut given.reload_extra_files))
        .takes("PATH")
        .of_master()
        .help(
            "Additional file, directory or pattern ('conf/*.yml', '**/*.txt') to watch with \
             --reload (repeatable)",
        )
        .gunicorn("reload_extra_files")
        .resolved(|settings| {
            let files = settings.processes.watch.as_ref()?;
            Some(Value::Array(files.iter().map(PATH.print).collect()))
        }),
];
