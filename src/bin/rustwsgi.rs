//! The embedded binary: a Rust program that starts CPython, then runs the same `main` as the
//! wheel's script.
//!
//! It sets `PyConfig.executable` to the `bin/python` of a virtual environment. From that path
//! CPython finds `pyvenv.cfg`, the standard library and the site-packages. (PYTHONHOME cannot be
//! used: a virtual environment has no standard library.)
#![allow(unsafe_code, reason = "starting and ending an interpreter has no safe wrapper")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use pyo3::prelude::*;
use pyo3::types::PyModule;

use rustwsgi::_rustwsgi;
use rustwsgi::config::FoundApp;

/// The Python modules of the package, so that the binary works without an installed wheel.
const SOURCES: &[(&str, &str)] = &[
    ("rustwsgi", include_str!("../../python/rustwsgi/__init__.py")),
    ("rustwsgi.__main__", include_str!("../../python/rustwsgi/__main__.py")),
    ("rustwsgi._static_files", include_str!("../../python/rustwsgi/_static_files.py")),
    ("rustwsgi._conflicts", include_str!("../../python/rustwsgi/_conflicts.py")),
    ("rustwsgi._factory_arguments", include_str!("../../python/rustwsgi/_factory_arguments.py")),
    ("rustwsgi._load_errors", include_str!("../../python/rustwsgi/_load_errors.py")),
    ("rustwsgi._request_hooks", include_str!("../../python/rustwsgi/_request_hooks.py")),
    ("rustwsgi._settings", include_str!("../../python/rustwsgi/_settings.py")),
    ("rustwsgi._gunicorn", include_str!("../../python/rustwsgi/_gunicorn.py")),
    ("rustwsgi._import_guard", include_str!("../../python/rustwsgi/_import_guard.py")),
    ("rustwsgi._reload", include_str!("../../python/rustwsgi/_reload.py")),
    ("rustwsgi._logger_hook", include_str!("../../python/rustwsgi/_logger_hook.py")),
    ("rustwsgi._log_routing", include_str!("../../python/rustwsgi/_log_routing.py")),
    ("rustwsgi._loggers", include_str!("../../python/rustwsgi/_loggers.py")),
    ("rustwsgi._lingering_threads", include_str!("../../python/rustwsgi/_lingering_threads.py")),
    ("rustwsgi._raw_connection", include_str!("../../python/rustwsgi/_raw_connection.py")),
    ("rustwsgi._suggestions", include_str!("../../python/rustwsgi/_suggestions.py")),
    ("rustwsgi._signals", include_str!("../../python/rustwsgi/_signals.py")),
    ("rustwsgi._launch", include_str!("../../python/rustwsgi/_launch.py")),
    ("rustwsgi._candidates", include_str!("../../python/rustwsgi/_candidates.py")),
    ("rustwsgi._finder", include_str!("../../python/rustwsgi/_finder.py")),
    ("rustwsgi.cli", include_str!("../../python/rustwsgi/cli.py")),
    ("rustwsgi._options", include_str!("../../python/rustwsgi/_options.py")),
    ("rustwsgi.convert", include_str!("../../python/rustwsgi/convert/__init__.py")),
    ("rustwsgi.convert.arguments", include_str!("../../python/rustwsgi/convert/arguments.py")),
    ("rustwsgi.convert.commands", include_str!("../../python/rustwsgi/convert/commands.py")),
    ("rustwsgi.convert.conversion", include_str!("../../python/rustwsgi/convert/conversion.py")),
    ("rustwsgi.convert.gunicorn", include_str!("../../python/rustwsgi/convert/gunicorn.py")),
    ("rustwsgi.convert.mod_wsgi", include_str!("../../python/rustwsgi/convert/mod_wsgi.py")),
    ("rustwsgi.convert.uwsgi", include_str!("../../python/rustwsgi/convert/uwsgi.py")),
    (
        "rustwsgi.convert.uwsgi_command",
        include_str!("../../python/rustwsgi/convert/uwsgi_command.py"),
    ),
    ("rustwsgi.convert.uwsgi_files", include_str!("../../python/rustwsgi/convert/uwsgi_files.py")),
    (
        "rustwsgi.convert.uwsgi_formats",
        include_str!("../../python/rustwsgi/convert/uwsgi_formats.py"),
    ),
    (
        "rustwsgi.convert.uwsgi_log_format",
        include_str!("../../python/rustwsgi/convert/uwsgi_log_format.py"),
    ),
    ("rustwsgi.convert.uwsgi_rules", include_str!("../../python/rustwsgi/convert/uwsgi_rules.py")),
    ("rustwsgi.convert.waitress", include_str!("../../python/rustwsgi/convert/waitress.py")),
    ("rustwsgi.init", include_str!("../../python/rustwsgi/init/__init__.py")),
    ("rustwsgi.init.addresses", include_str!("../../python/rustwsgi/init/addresses.py")),
    ("rustwsgi.init.container_tls", include_str!("../../python/rustwsgi/init/container_tls.py")),
    ("rustwsgi.init.containers", include_str!("../../python/rustwsgi/init/containers.py")),
    ("rustwsgi.init.project", include_str!("../../python/rustwsgi/init/project.py")),
    ("rustwsgi.init.proxies", include_str!("../../python/rustwsgi/init/proxies.py")),
    ("rustwsgi.init.systemd", include_str!("../../python/rustwsgi/init/systemd.py")),
    ("rustwsgi.init.template", include_str!("../../python/rustwsgi/init/template.py")),
    ("rustwsgi.demo", include_str!("../../python/rustwsgi/demo.py")),
    // For applications that use them; the commands of the frameworks belong to the wheel.
    ("rustwsgi.django", include_str!("../../python/rustwsgi/django/__init__.py")),
    ("rustwsgi.django.apps", include_str!("../../python/rustwsgi/django/apps.py")),
    ("rustwsgi.django.checks", include_str!("../../python/rustwsgi/django/checks.py")),
    ("rustwsgi.flask", include_str!("../../python/rustwsgi/flask.py")),
    ("rustwsgi.paste", include_str!("../../python/rustwsgi/paste.py")),
];

fn main() -> ExitCode {
    disable_signal_stack();
    let argv: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = rustwsgi::control::main(&argv) {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    // Help texts and invalid options need no Python, which the user may not have set up yet. A
    // gunicorn configuration file is executed later; until then assume that it names the
    // application.
    let assumed = |_: &Path| Ok(vec![("wsgi_app".to_owned(), vec!["named:later".to_owned()])]);
    let checked_later = |_: Option<&Path>, _: Option<&str>, _: Option<&str>| Ok(());
    let found_later =
        |_: &Path| Ok(FoundApp { name: "found:later".to_owned(), place: String::new() });
    if rustwsgi::cli::command(&argv).is_none()
        && let Err(exit) =
            rustwsgi::config::parse(argv.clone(), &assumed, &checked_later, &found_later)
    {
        return ExitCode::from(u8::try_from(rustwsgi::cli::print_exit(&exit)).unwrap_or(1));
    }
    match start_python(&argv) {
        Ok(()) => {}
        Err(failure) => {
            eprintln!("rustwsgi: {failure:#}");
            return ExitCode::from(1);
        }
    }
    let code = Python::attach(|py| match install_package(py) {
        Ok(()) => rustwsgi::cli::main(py, argv),
        Err(failure) => {
            failure.print(py);
            1
        }
    });
    // Runs the atexit hooks and flushes Python's streams. SAFETY: the interpreter was initialized
    // by this thread, which is attached for the call; no thread of the server is left, or the
    // process has ended in `cli::main`.
    let failed = unsafe {
        pyo3::ffi::PyGILState_Ensure();
        pyo3::ffi::Py_FinalizeEx() < 0
    };
    ExitCode::from(if failed && code == 0 { 120 } else { u8::try_from(code).unwrap_or(1) })
}

/// Disables the alternate signal stack that Rust's runtime gives the main thread. It is small:
/// Python's signal handlers would run on it, and two at a time overflow it.
fn disable_signal_stack() {
    let disabled =
        libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: `disabled` is a valid `stack_t`, and no signal handler is running.
    unsafe { libc::sigaltstack(&raw const disabled, std::ptr::null_mut()) };
}

/// The virtual environment to use: `--venv`, else RUSTWSGI_VENV, else VIRTUAL_ENV, else `./.venv`,
/// else none, which means the interpreter that the binary was built with.
fn choose_venv(argv: &[OsString]) -> Option<PathBuf> {
    let mut arguments = argv.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--venv" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix("--venv=")) {
            return Some(PathBuf::from(path));
        }
    }
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("RUSTWSGI_VENV")
        .or_else(|| named("VIRTUAL_ENV"))
        .or_else(|| Some(PathBuf::from(".venv")).filter(|path| path.join("pyvenv.cfg").is_file()))
}

/// The interpreter of a virtual environment. Fails if its Python version differs from that of this
/// binary.
fn venv_python(venv: &Path) -> Result<PathBuf> {
    let venv = std::path::absolute(venv)?;
    let settings = std::fs::read_to_string(venv.join("pyvenv.cfg")).with_context(|| {
        let venv = venv.display();
        format!(
            "{venv} is not a virtual environment, as its pyvenv.cfg cannot be read: name another \
                 one with --venv"
        )
    })?;
    let version = settings.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "version" | "version_info").then(|| value.trim().to_owned())
    });
    let linked = linked_version();
    if let Some(version) = version {
        let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
        if minor != linked {
            bail!(
                "{} is an environment of Python {minor}, but this binary is linked with Python \
                 {linked}: build it with PYO3_PYTHON=python{minor}, install the wheel into that \
                 environment, or name another one with --venv",
                venv.display()
            );
        }
    }
    let python = venv.join("bin").join("python");
    if !python.exists() {
        bail!(
            "{} does not exist: create the virtual environment anew, or name another one with \
             --venv",
            python.display()
        );
    }
    Ok(python)
}

/// The version of Python that the binary is linked with, as `3.11`.
fn linked_version() -> String {
    // SAFETY: Py_GetVersion returns a static string and may be called before initialization.
    let text = unsafe { std::ffi::CStr::from_ptr(pyo3::ffi::Py_GetVersion()) };
    let text = text.to_string_lossy();
    text.split(' ').next().unwrap_or("").split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Initializes CPython, in the chosen environment.
fn start_python(argv: &[OsString]) -> Result<()> {
    let python = match choose_venv(argv) {
        Some(venv) => Some(venv_python(&venv)?),
        // By default CPython takes the first `python3` of PATH, which may be of another version.
        None => option_env!("RUSTWSGI_PYTHON").map(PathBuf::from).filter(|path| path.exists()),
    };
    pyo3::append_to_inittab!(_rustwsgi);
    embed::initialize(python.as_deref())
}

/// Initializes CPython with PyConfig, which takes unsafe code.
mod embed {
    use std::ffi::{CStr, CString};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use anyhow::{Result, bail};
    use pyo3::ffi;

    /// Starts the interpreter as `python` would start, and detaches from it.
    pub(super) fn initialize(python: Option<&Path>) -> Result<()> {
        let python = python.map(|path| CString::new(path.as_os_str().as_bytes())).transpose()?;
        let mut config = std::mem::MaybeUninit::<ffi::PyConfig>::uninit();
        // SAFETY: `config` is initialized by PyConfig_InitPythonConfig before any other use and is
        // cleared on every path. Nothing else touches Python before this returns. After
        // Py_InitializeFromConfig has succeeded this thread is attached; PyEval_SaveThread detaches
        // it, which is the state `Python::attach` expects.
        unsafe {
            ffi::PyConfig_InitPythonConfig(config.as_mut_ptr());
            let config = &mut *config.as_mut_ptr();
            // The command line is the server's, not Python's; its signal handlers are Python's, as
            // in `python -m rustwsgi`.
            config.parse_argv = 0;
            config.install_signal_handlers = 1;
            let mut status = match &python {
                Some(path) => {
                    let target = &raw mut config.executable;
                    ffi::PyConfig_SetBytesString(config, target, path.as_ptr())
                }
                None => ffi::PyStatus_Ok(),
            };
            if ffi::PyStatus_Exception(status) == 0 {
                let target = &raw mut config.program_name;
                let name = python.as_deref().unwrap_or(c"python3");
                status = ffi::PyConfig_SetBytesString(config, target, name.as_ptr());
            }
            if ffi::PyStatus_Exception(status) == 0 {
                status = ffi::Py_InitializeFromConfig(config);
            }
            ffi::PyConfig_Clear(config);
            if ffi::PyStatus_Exception(status) != 0 {
                let message = if status.err_msg.is_null() {
                    "unknown error".into()
                } else {
                    CStr::from_ptr(status.err_msg).to_string_lossy()
                };
                bail!("cannot start Python: {message}");
            }
            ffi::PyEval_SaveThread();
        }
        Ok(())
    }
}

/// Makes `import rustwsgi` load the modules that the binary contains.
fn install_package(py: Python<'_>) -> PyResult<()> {
    let finder = PyModule::from_code(
        py,
        pyo3::ffi::c_str!(include_str!("package_finder.py")),
        c"rustwsgi/package_finder.py",
        c"_rustwsgi_package_finder",
    )?;
    finder.getattr("install")?.call1((SOURCES.to_vec(),))?;
    Ok(())
}
