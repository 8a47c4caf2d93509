//! From the options as given to the [`Settings`]: combines options that mean one thing together.

use std::ffi::{OsStr, OsString};

use clap::ArgMatches;

use super::app::AppSpec;
use super::bind::{self, Bind};
use super::given::Given;
use super::notation::WorkerClass;
use super::options;
use super::paste;
use super::settings::{AccessLogSettings, Replace, Settings};
use super::tls::Purpose;
use crate::observe::LogTarget;
use crate::proxies::ForwardedFields;

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
    settings.app = match (given.app, &given.paste) {
        (Some(_), Some(_)) => {
            return Err("--paste: the file names the application; remove APP or --paste".to_owned());
        }
        (Some(text), None) => Some(AppSpec::parse(&text, given.factory)?),
        (None, Some(uri)) => {
            if !settings.print_config {
                paste::check(uri)?;
            }
            Some(paste::application(uri, &given.paste_global)?)
        }
        (None, None) => None,
    };
    if let Some(path) = settings.processes.pidfile.as_ref().and_then(|path| path.to_str())
        && path.bytes().all(|byte| byte.is_ascii_digit())
    {
        // flask's -p and uvicorn's --port are easily confused with gunicorn's -p.
        return Err(format!(
            "--pid: '{path}' looks like a port; write --bind :{path}, or --pid ./{path} for a file"
        ));
    }
    settings.static_files.check()?;
    settings.binds = binds;
    settings.forwarded_headers = given
        .forwarded_headers
        .iter()
        .try_fold(ForwardedFields::default(), |union, field| union.union(*field))
        .map_err(|error| format!("--forwarded-headers: {error}"))?;
    settings.tls.acme.resolve(variables)?;
    settings.tls.check()?;
    check_addresses(&settings)?;
    settings.script_name = script_name;
    settings.threads = match (given.threads, given.worker_class) {
        (Some(threads), _) => threads.max(1),
        (None, Some(WorkerClass::Sync)) => 1,
        (None, _) => DEFAULT_THREADS,
    };
    let mut watched = given.reload_extra_files;
    watched.extend(given.paste.iter().map(|uri| paste::file(uri).into()));
    settings.processes.watch = given.reload.then_some(watched);
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
    let logs = &mut settings.logs;
    logs.python |= logs.config.is_some() || logs.config_json.is_some();
    let target = given.access_log_target.or(given.access_log.then_some(LogTarget::Stdout));
    let target = target.or(logs.logs_requests().then_some(LogTarget::Nowhere));
    settings.access_log =
        target.map(|target| AccessLogSettings { target, format: given.access_log_format });
    Ok(settings)
}

/// `--bind`, or the options of other servers that replace it, or the default.
fn binds(given: &Given, port: Option<&OsStr>) -> Result<Vec<Bind>, String> {
    let binds = &given.settings.binds;
    if !binds.is_empty() {
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

/// No address is named twice, and there is HTTPS to redirect to.
fn check_addresses(settings: &Settings) -> Result<(), String> {
    let all: Vec<_> = settings.addresses(&settings.binds).collect();
    for (at, (bind, purpose)) in all.iter().enumerate() {
        // For port 0 the kernel chooses another port each time.
        let is_known = |(earlier, _): &(&Bind, _)| earlier == bind;
        if !matches!(bind, Bind::Tcp(_, 0)) && all[..at].iter().any(is_known) {
            let option = match purpose {
                Purpose::Application => "--bind",
                Purpose::Insecure => "--insecure-bind",
                Purpose::Redirect => "--redirect-bind",
            };
            return Err(format!("{option}: {bind} is given twice; remove one"));
        }
    }
    if let Some(metrics) = &settings.observability.metrics
        && !matches!(metrics, Bind::Tcp(_, 0))
        && all.iter().any(|(bind, _)| *bind == metrics)
    {
        return Err(format!(
            "--metrics: {metrics} is an address of the application; choose another one"
        ));
    }
    if !settings.redirect_binds.is_empty() && !settings.tls.is_enabled() {
        return Err("--redirect-bind: there is no HTTPS to redirect to; name a certificate with \
             --certfile, or --acme-domain"
            .to_owned());
    }
    let is_reached = |bind: &Bind| matches!(bind, Bind::Tcp(..) | Bind::Fd(_));
    if settings.tls.acme.is_enabled()
        && !settings.binds.iter().chain(&settings.redirect_binds).any(is_reached)
    {
        return Err("--acme-domain: the authority connects to this server to validate the name; \
             name a TCP address with --bind or --redirect-bind"
            .to_owned());
    }
    Ok(())
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
