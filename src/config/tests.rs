//! Tests of the whole path from arguments to settings: here those of the command line, and helpers
//! for all of them.

mod definition;
mod environment;
mod files;
mod keywords;
mod logs;
mod observability;
mod proxies;
mod reload;

use std::ffi::OsString;

use super::load::{Place, parse_with};
use super::resolve::DEFAULT_THREADS;
use super::*;
use crate::http1::{Limits, Underscores};
use crate::observe::LogTarget;
use log::LevelFilter;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Parses with only `variables` in the environment, and no files.
fn parse_in(variables: &[(&str, &str)], arguments: &[&str]) -> Result<Settings, Exit> {
    parse_at(Path::new("/nonexistent"), variables, arguments)
}

fn parse_at(
    directory: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Settings, Exit> {
    load_at(directory, variables, arguments).map(|loaded| loaded.settings)
}

fn load_at(
    directory: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Loaded, Exit> {
    let argv = std::iter::once(&"rustwsgi").chain(arguments);
    let variable = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let execute = |path: &Path| Ok(vec![("wsgi_app".to_owned(), vec![path.display().to_string()])]);
    let find = |directory: &Path| match directory.ends_with("project") {
        true => Ok(FoundApp { name: "found:app".to_owned(), place: "found.py".to_owned() }),
        false => Err("nothing there; write rustwsgi MODULE:NAME".to_owned()),
    };
    let place = Place { variables: &variable, directory };
    parse_with(argv.map(OsString::from).collect(), place, &execute, &|_, _, _| Ok(()), &find)
}

fn ok(arguments: &[&str]) -> Settings {
    let all: Vec<_> = arguments.iter().copied().chain(["hello:app"]).collect();
    parse_in(&[], &all).unwrap()
}

fn bad(arguments: &[&str]) -> String {
    let exit = parse_in(&[], arguments).unwrap_err();
    assert_eq!((exit.code, exit.stdout), (2, false), "{exit}");
    assert!(exit.message.starts_with("error: "), "{exit}");
    exit.message
}

fn api(options: &[(&str, &[&str])]) -> Result<Settings, Exit> {
    let owned = |values: &[&str]| values.iter().map(|value| value.to_string()).collect();
    let options: Vec<_> =
        options.iter().map(|(name, values)| (name.to_string(), owned(values))).collect();
    parse_api(&options)
}

fn tcp(host: &str, port: u16) -> Bind {
    Bind::Tcp(host.to_owned(), port)
}

/// What the column of defaults, and with it docs/configuration.md, does not show.
#[test]
fn settings_without_options_are_the_defaults() {
    let settings = ok(&[]);
    let app = AppSpec { module: "hello".into(), attr: Some("app".into()), arguments: None };
    assert_eq!(settings.app, Some(app));
    assert_eq!(settings.binds, [tcp("127.0.0.1", 8000)]);
    assert_eq!(settings.threads, DEFAULT_THREADS);
    assert_eq!(settings.trusted, ["127.0.0.1", "::1"].map(|proxy| proxy.parse().unwrap()));
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.timeouts.request, Duration::MAX);
    assert_eq!(settings.timeouts.keep_alive, Duration::from_secs(5));
    assert_eq!(settings.budget, Budget { memory: 1 << 30, spool: 8 << 30 });
    assert_eq!(settings.access_log, None);
    assert_eq!(settings.error_log, LogTarget::Stderr);
    let processes = &settings.processes;
    assert!(processes.gc_freeze && processes.watch.is_none() && processes.umask.is_none());
    let recycling = Recycling { requests: 0, jitter: 0, lifetime: Duration::MAX, rss: 0 };
    assert_eq!(processes.recycling, recycling);
    assert_eq!(api(&[]).unwrap(), Settings { app: None, ..settings });
}

#[test]
fn help_and_version_are_printed_to_stdout() {
    for (flag, text) in [
        ("--help", "Usage: rustwsgi [OPTIONS] [APP]"),
        ("--help", "--limit-request-line"),
        ("-h", "--help all options"),
        ("--version", concat!("rustwsgi ", env!("CARGO_PKG_VERSION"))),
        ("-V", "rustwsgi "),
    ] {
        let exit = parse_in(&[], &[flag]).unwrap_err();
        assert_eq!((exit.code, exit.stdout), (0, true));
        assert!(exit.message.contains(text), "{exit}");
    }
}

#[test]
fn binds_of_several_options_accumulate() {
    let both = vec![tcp("0.0.0.0", 80), Bind::Unix("/s".into())];
    assert_eq!(ok(&["-b", ":80", "--bind", "unix:/s"]).binds, both);
    assert_eq!(ok(&["-b:80,unix:/s"]).binds, both);
    assert_eq!(ok(&["--host", "::1"]).binds, [tcp("::1", 8000)]);
    assert_eq!(ok(&["--host", "[::1]", "--port=1"]).binds, [tcp("::1", 1)]);
    assert_eq!(ok(&["--port", "81"]).binds, [tcp("127.0.0.1", 81)]);
    assert_eq!(ok(&["--uds", "/s"]).binds, [Bind::Unix("/s".into())]);
    assert_eq!(ok(&["--fd", "3"]).binds, [Bind::Fd(3)]);
    assert!(bad(&["a:b", "-b", ":80", "--port", "81"]).contains("cannot be used with"));
    assert!(bad(&["a:b", "-b", "::1"]).contains("needs brackets"));
    assert!(bad(&["a:b", "--host", "a b"]).contains("'a b' is not a host"));
    assert!(bad(&["a:b", "--port", "65536"]).contains("0 to 65535"));
}

#[test]
fn worker_class_sync_selects_one_thread() {
    assert_eq!(ok(&["--threads", "8"]).threads, 8);
    assert_eq!(ok(&["--blocking-threads=8"]).threads, 8);
    assert_eq!(ok(&["-k", "sync"]).threads, 1);
    assert_eq!(ok(&["-k", "sync", "--threads", "2"]).threads, 2);
    assert_eq!(ok(&["-k", "gthread", "-w", "1"]).threads, DEFAULT_THREADS);
    assert!(bad(&["a", "-k", "gevent"]).contains("green threads"));
    assert!(bad(&["a", "-w", "0"]).contains("--workers"));
    assert_eq!(ok(&["--threads", "0"]).threads, 1);
    // A wrapper script's option may be overridden behind it, as with argparse.
    assert_eq!(ok(&["--threads", "8", "--threads", "2"]).threads, 2);
}

#[test]
fn timeout_of_zero_is_disabled() {
    let timeouts = ok(&[
        "--boot-timeout=0",
        "--header-timeout=0",
        "--body-timeout=0",
        "--write-timeout=0",
        "--queue-timeout=0",
        "--keep-alive=0",
        "--graceful-timeout=0",
        "--body-min-rate=0",
    ])
    .timeouts;
    let Timeouts { boot, header, body, write, queue, .. } = timeouts;
    assert_eq!([boot, header, body, write, queue], [Duration::MAX; 5]);
    assert_eq!([timeouts.keep_alive, timeouts.graceful], [Duration::ZERO; 2]);
    assert_eq!(timeouts.body_min_rate, 0);
}

#[test]
fn timeout_by_an_alias_is_set() {
    let half = Duration::from_millis(500);
    let timeouts = ok(&["--header-timeout", "0.5", "--body-timeout", "0.5"]).timeouts;
    assert_eq!((timeouts.header, timeouts.body), (half, half));
    for name in ["keep-alive", "keepalive", "timeout-keep-alive", "channel-timeout"] {
        let timeouts = ok(&[&format!("--{name}=0.5")]).timeouts;
        assert_eq!(timeouts.keep_alive, half, "{name}");
    }
    for name in ["graceful-timeout", "timeout-graceful-shutdown"] {
        assert_eq!(ok(&[&format!("--{name}=0.5")]).timeouts.graceful, half);
    }
    assert_eq!(ok(&["--write-timeout", "0.5"]).timeouts.write, half);
    assert!(bad(&["a", "--keep-alive", "5s"]).contains("number of seconds"));
}

#[test]
fn limits_are_set() {
    let limits = ok(&[
        "--limit-request-line=1k",
        "--limit-request-fields=7",
        "--limit-request-field-size=2k",
        "--limit-request-head=3k",
        "--limit-request-body=4m",
        "--limit-chunk-extension=5",
        "--limit-trailers=6",
        "--header-map=refuse",
    ])
    .limits;
    let expected = Limits {
        request_line: 1024,
        fields: 7,
        field_size: 2048,
        head: 3072,
        body: 4 << 20,
        chunk_extension: 5,
        trailers: 6,
        underscores: Underscores::Refuse,
    };
    assert_eq!(limits, expected);
    assert_eq!(ok(&["--body-buffer-size", "0"]).body_buffer, 0);
    assert!(bad(&["a", "--header-map", "dangerous"]).contains("use drop or refuse"));
}

#[test]
fn limit_of_zero_is_bounded_by_the_head() {
    let limits = ok(&[
        "--limit-request-line=0",
        "--limit-request-fields=0",
        "--limit-request-field-size=0",
        "--limit-request-head=3k",
        "--limit-request-body=0",
    ])
    .limits;
    assert_eq!((limits.request_line, limits.field_size), (3072, 3072));
    assert_eq!((limits.fields, limits.body), (32_768, u64::MAX));
}

#[test]
fn log_options_are_set() {
    let target = |arguments: &[&str]| ok(arguments).access_log.map(|log| log.target);
    let file = |name: &str| LogTarget::File(PathBuf::from(name));
    assert_eq!(target(&["--access-logfile", "-"]), Some(LogTarget::Stdout));
    assert_eq!(target(&["--access-log"]), Some(LogTarget::Stdout));
    let both = target(&["--access-log", "--access-logfile", "f"]);
    assert_eq!(both, Some(file("f")));
    let format = |arguments: &[&str]| ok(arguments).access_log.map(|log| log.format);
    assert_eq!(format(&["--access-log"]).unwrap(), "combined");
    let json = format(&["--access-log", "--access-logformat", "json"]);
    assert_eq!(json.unwrap(), "json");
    let unknown = ["--access-log", "--access-logformat", "%(h)s %(x)s %({a}x)d", "hello:app"];
    let warnings = load_at(Path::new("/nonexistent"), &[], &unknown).unwrap().warnings;
    assert!(warnings[0].contains("unknown atom %(x)s, %({a}x)d,"), "{warnings:?}");
    assert_eq!(ok(&["--error-logfile", "f"]).error_log, file("f"));
    assert_eq!(ok(&["--log-file", "f"]).error_log, file("f"));
    assert_eq!(ok(&["--log-level", "WARNING"]).log_level, LevelFilter::Warn);
    assert!(bad(&["a", "--log-level", "loud"]).contains("debug, info"));
}

#[test]
fn protocols_that_have_no_effect_cause_a_warning() {
    for (arguments, expected) in [
        (&["--http-protocols", "h1", "--http2-cleartext", "both"][..], "has no effect"),
        (&["--http-protocols", "h2"], "without a certificate HTTP/1.1 is served"),
        (&["--http-protocols", "h2", "--http2-cleartext", "both"], "no request is upgraded"),
        (
            &["--http-protocols", "h2", "--certfile", "a", "--http2-cleartext", "upgrade"],
            "upgraded",
        ),
        (&["--http-protocols", "h2", "--certfile", "a"], ""),
        (&["--http-protocols", "h2,h1", "--http2-cleartext", "both"], ""),
    ] {
        let arguments = [arguments, &["hello:app"]].concat();
        let warnings = load_at(Path::new("/nonexistent"), &[], &arguments).unwrap().warnings;
        assert_eq!(warnings.len(), usize::from(!expected.is_empty()), "{arguments:?}");
        assert!(warnings.iter().all(|warning| warning.contains(expected)), "{warnings:?}");
    }
}

#[test]
fn application_options_are_set() {
    let settings = ok(&[
        "--factory",
        "--chdir=/srv",
        "--pythonpath=b,c",
        "--app-dir=a",
        "-eK=v,w",
        "--env",
        "L=",
        "--venv=.v",
        "--check-config",
        "--print-config",
    ]);
    assert_eq!(settings.app.unwrap().arguments.as_deref(), Some(""));
    assert_eq!(settings.chdir, Some(PathBuf::from("/srv")));
    assert_eq!(settings.pythonpath, ["a", "b", "c"].map(PathBuf::from));
    let pairs = [("K", "v,w"), ("L", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(settings.env, pairs);
    assert_eq!(settings.venv, Some(PathBuf::from(".v")));
    assert!(settings.check_config && settings.print_config);
}

#[test]
fn command_line_without_application_is_refused() {
    assert!(bad(&[]).contains("MODULE:NAME"));
    assert!(bad(&["--check-config"]).contains("MODULE:NAME"));
    assert!(bad(&["app.py"]).contains("write app:app"));
    assert_eq!(parse_in(&[], &["--print-config"]).unwrap().app, None);
}

#[test]
fn misspelt_option_gets_a_suggestion() {
    assert!(bad(&["a", "--thread", "4"]).contains("'--threads'"));
    assert!(bad(&["a", "b"]).contains("unexpected argument 'b'"));
    let message = bad(&["a", "-x"]);
    assert!(message.contains("unexpected argument '-x'") && !message.contains("tip"), "{message}");
}

#[test]
fn option_of_another_server_gets_its_counterpart() {
    for (option, tip) in [
        ("--thraeds=4", "tip: a similar option exists: '--threads'"),
        ("--access_logfiel=x", "tip: a similar option exists: '--access-logfile'"),
        ("--keyfile=x", "there is no certificate"),
        ("--interface", "only WSGI applications"),
        ("--http=:80", "unexpected argument '--http' found: write --bind ADDRESS"),
        ("--wsgi_file", "unexpected argument '--wsgi-file' found: name the application"),
        ("--frobnicate", "unexpected argument '--frobnicate' found\n\nFor more"),
    ] {
        let message = bad(&["a", option]);
        assert!(message.contains(tip), "{message}");
        assert_eq!(message.contains("similar"), tip.contains("similar"), "{message}");
    }
    let message = api(&[("frobnicate", &["x"])]).unwrap_err().message;
    assert_eq!(message, "error: unknown option 'frobnicate'");
}

#[test]
fn underscore_in_option_name_is_replaced() {
    let settings = ok(&["--access_logfile=a_b", "--limit_request_line", "100"]);
    let target = settings.access_log.map(|log| log.target);
    assert_eq!(target, Some(LogTarget::File("a_b".into())));
    assert_eq!(settings.limits.request_line, 100);
    let app = parse_in(&[], &["my_app:the_app"]).unwrap().app.unwrap();
    assert_eq!(app.to_string(), "my_app:the_app");
    let spelled = cli::normalized(["p", "--a_b", "--", "--a_b"].map(OsString::from).to_vec());
    assert_eq!(spelled, ["p", "--a-b", "--", "--a_b"]);
}
