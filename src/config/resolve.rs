//! From the options as given to the [`Settings`]: combines options that mean one thing together.

use std::ffi::{OsStr, OsString};

use clap::ArgMatches;

use super::app::AppSpec;
use super::bind::{self, Bind};
use super::given::Given;
use super::notation::WorkerClass;
use super::options;
use super::settings::{AccessLogSettings, Replace, Settings};
use crate::observe::LogTarget;

/// Threads per worker by default. Enough for an application that sometimes waits for its database,
/// few enough to keep its memory and its contention for the GIL small.
pub(super) const DEFAULT_THREADS: usize = 4;

/// The environment: the value of a variable.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The settings that all sources together result in. `variables` looks up `PORT` and `SCRIPT_NAME`,
/// which are not options.
///
/// # Errors A sentence about options that contradict each other.
pub(super) fn resolve(matches: &ArgMatches, variables: Variables<'_>) -> Result<Settings, String> {
    let mut given = Given::from(Settings::unset());
    for option in options::all() {
        option.field.store(matches, option.name, &mut given);
    }
    let binds = binds(&given, variables("PORT").as_deref())?;
    let script_name = script_name(&given.settings.env, variables("SCRIPT_NAME"))?;
    let Given { mut settings, .. } = given;
    settings.app = match given.app {
        Some(text) => Some(AppSpec::parse(&text, given.factory)?),
        None => None,
    };
    if let Some(path) = settings.processes.pidfile.as_ref().and_then(|path| path.to_str())
        && path.bytes().all(|byte| byte.is_ascii_digit())
    {
        // flask's -p and uvicorn's --port are easily confused with gunicorn's -p.
        return Err(format!(
            "--pid: '{path}' looks like a port; write --bind :{path}, or --pid ./{path} for a file"
        ));
    }
    settings.binds = binds;
    settings.script_name = script_name;
    settings.threads = match (given.threads, given.worker_class) {
        (Some(threads), _) => threads.max(1),
        (None, Some(WorkerClass::Sync)) => 1,
        (None, _) => DEFAULT_THREADS,
    };
    settings.processes.watch = given.reload.then_some(given.reload_extra_files);
    if given.reload {
        // Otherwise the old worker would serve the code from before the change for a while.
        settings.processes.replace = Replace::StopFirst;
    }
    settings.pythonpath.splice(0..0, given.app_dir);
    let limits = &mut settings.limits;
    for part in [&mut limits.request_line, &mut limits.field_size] {
        if *part == 0 {
            *part = limits.head;
        }
    }
    let target = given.access_log_target.or(given.access_log.then_some(LogTarget::Stdout));
    settings.access_log =
        target.map(|target| AccessLogSettings { target, format: given.access_log_format });
    Ok(settings)
}

/// `--bind`, or the options of other servers that replace it, or the default.
fn binds(given: &Given, port: Option<&OsStr>) -> Result<Vec<Bind>, String> {
    let binds = &given.settings.binds;
    if !binds.is_empty() {
        for (at, bind) in binds.iter().enumerate() {
            // For port 0 the kernel chooses another port each time.
            if !matches!(bind, Bind::Tcp(_, 0)) && binds[..at].contains(bind) {
                return Err(format!("--bind: {bind} is given twice; remove one"));
            }
        }
        return Ok(binds.clone());
    }
    let mut binds = Vec::new();
    if given.host.is_some() || given.port.is_some() {
        let host = given.host.as_deref().unwrap_or(bind::DEFAULT_HOST);
        let port = match given.port {
            Some(port) => port,
            None => environment_port(port)?.unwrap_or(bind::DEFAULT_PORT),
        };
        // Unlike in `--bind`, an IPv6 address needs no brackets here, as no port follows.
        let address = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let bind = address.parse();
        binds.push(bind.map_err(|error: String| format!("--host: {error}"))?);
    }
    binds.extend(given.uds.clone().map(Bind::Unix));
    binds.extend(given.fd.map(Bind::Fd));
    if binds.is_empty() {
        binds.push(match environment_port(port)? {
            // A platform that sets PORT connects from another host.
            Some(port) => Bind::Tcp("0.0.0.0".to_owned(), port),
            None => Bind::Tcp(bind::DEFAULT_HOST.to_owned(), bind::DEFAULT_PORT),
        });
    }
    Ok(binds)
}

fn environment_port(port: Option<&OsStr>) -> Result<Option<u16>, String> {
    let Some(text) = port.filter(|port| !port.is_empty()) else {
        return Ok(None);
    };
    match bind::port_number(&text.to_string_lossy()) {
        Ok(port) => Ok(Some(port)),
        Err(error) => Err(format!("environment variable PORT: {error}")),
    }
}

/// The prefix of the application in the URL, as with gunicorn: that of `--env`, else that of the
/// environment.
fn script_name(env: &[(String, String)], variable: Option<OsString>) -> Result<String, String> {
    let option = env.iter().rev().find(|(name, _)| name == "SCRIPT_NAME");
    let text = match (option, variable) {
        (Some((_, text)), _) => text.clone(),
        (None, Some(text)) => text
            .into_string()
            .map_err(|text| format!("environment variable SCRIPT_NAME: {text:?} is not UTF-8"))?,
        (None, None) => String::new(),
    };
    if !text.is_empty() && !text.starts_with('/') {
        return Err(format!(
            "environment variable SCRIPT_NAME: {text:?} does not begin with '/'; set it to the \
             application's prefix in the URL, or unset it"
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}
