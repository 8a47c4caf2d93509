//! The application, and how it is loaded.

use crate::config::field::{Flag, List, Many, Maybe, Unstored};
use crate::config::notation::{NAME, PATH, TEXT, VARIABLE};
use crate::config::option::{OptionDef, Reload, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("app", &Maybe(TEXT, |given| &mut given.app))
        .takes("APP")
        .help(
            "The application: MODULE:NAME, MODULE:FACTORY(), MODULE:FACTORY('literal', key=1) or \
             MODULE (application, then app)",
        )
        .gunicorn("wsgi_app")
        .command_line_only()
        .reload(Reload::UnlessPreloaded)
        .resolved(|settings| settings.app.as_ref().map(|app| app.to_string().into())),
    option("config", &Unstored)
        .short('c')
        .takes("FILE")
        .of_master()
        .help(
            "Configuration file: TOML if its name ends in .toml, otherwise a gunicorn \
             configuration (or python:MODULE)",
        )
        .reload(Reload::Never),
    option("factory", &Flag(true, |given| &mut given.factory))
        .help("Treat NAME in MODULE:NAME as a factory that returns the application")
        .command_line_only()
        .reload(Reload::UnlessPreloaded)
        .resolved(|_| None),
    option("paste", &Maybe(NAME, |given| &mut given.paste))
        .takes("FILE[#NAME]")
        .help("Serve the application of a PasteDeploy file, after its logging configuration")
        .aliases(&["paster"])
        .gunicorn("paste")
        .uwsgi(&["ini_paste", "ini_paste_logged"])
        .command_line_only()
        .reload(Reload::UnlessPreloaded)
        .resolved(|_| None),
    option("paste_global", &Many(VARIABLE, |given| &mut given.paste_global))
        .takes("KEY=VALUE")
        .help("Variable of the PasteDeploy file (repeatable)")
        .gunicorn("raw_paste_global_conf")
        .secret()
        .command_line_only()
        .reload(Reload::UnlessPreloaded)
        .resolved(|_| None),
    option("chdir", &Maybe(PATH, |given| &mut given.settings.chdir))
        .takes("DIR")
        .help("Change to this directory before loading the application")
        .command_line_only()
        .gunicorn("chdir"),
    option("pythonpath", &List(PATH, |given| &mut given.settings.pythonpath))
        .takes("DIR[,DIR]")
        .help("Directories to prepend to Python's module search path, separated by commas")
        .gunicorn("pythonpath")
        .uwsgi(&["pp", "python_path"])
        .command_line_only()
        .reload(Reload::UnlessPreloaded),
    option("app_dir", &Maybe(PATH, |given| &mut given.app_dir))
        .takes("DIR")
        .help("Directory to prepend to all others in Python's module search path")
        .hidden()
        .command_line_only()
        .reload(Reload::UnlessPreloaded)
        .resolved(|_| None),
    option("env", &Many(VARIABLE, |given| &mut given.settings.env))
        .short('e')
        .takes("KEY=VALUE")
        .help("Environment variable to set for the application (repeatable)")
        .gunicorn("raw_env")
        .secret()
        .command_line_only()
        .reload(Reload::UnlessPreloaded),
    option("venv", &Maybe(PATH, |given| &mut given.settings.venv))
        .takes("DIR")
        .help(
            "Virtual environment to import packages from; only for the standalone binary \
             [default: $VIRTUAL_ENV, then ./.venv]",
        )
        .command_line_only()
        .reload(Reload::Restart),
    option("check_config", &Flag(true, |given| &mut given.settings.check_config))
        .help("Load the application and exit, with status 0 if that succeeds")
        .gunicorn("check_config")
        .command_line_only()
        .reload(Reload::Never),
    option("print_config", &Flag(true, |given| &mut given.settings.print_config))
        .help("Print the settings that result from all options, and exit")
        .gunicorn("print_config")
        .command_line_only()
        .reload(Reload::Never),
];
