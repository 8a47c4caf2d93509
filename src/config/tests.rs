//! Tests of the whole way from arguments to settings.

use super::*;
use crate::http1::{Limits, Underscores};
use crate::observe::LogTarget;
use log::LevelFilter;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Parses with nothing in the environment but `variables`, and no files.
fn parse_in(variables: &[(&str, &str)], arguments: &[&str]) -> Result<Settings, Exit> {
    parse_at(Path::new("/nonexistent"), variables, arguments)
}

fn parse_at(
    directory: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Settings, Exit> {
    let argv = std::iter::once(&"rustwsgi").chain(arguments);
    let variable = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let execute = |path: &Path| Ok(vec![("wsgi_app".to_owned(), vec![path.display().to_string()])]);
    parse_with(argv.map(OsString::from).collect(), &variable, directory, &execute)
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

#[test]
fn defaults() {
    let settings = ok(&[]);
    let seconds = Duration::from_secs;
    let expected = Settings {
        app: Some(AppSpec { module: "hello".into(), attr: Some("app".into()), call: false }),
        binds: vec![tcp("127.0.0.1", 8000)],
        processes: Processes {
            workers: 1,
            preload: false,
            gc_freeze: true,
            reload: ReloadStrategy::All,
            pidfile: None,
            watch: None,
            recycling: Recycling { requests: 0, jitter: 0, lifetime: Duration::MAX, rss: 0 },
            user: None,
            group: None,
            umask: None,
            name: None,
            daemon: false,
        },
        threads: DEFAULT_THREADS,
        trusted: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        script_name: String::new(),
        backlog: 2048,
        worker_connections: 100_000,
        timeouts: Timeouts {
            request: Duration::MAX,
            boot: seconds(300),
            header: seconds(15),
            body: seconds(30),
            keep_alive: seconds(5),
            write: seconds(30),
            queue: seconds(60),
            graceful: seconds(30),
            body_min_rate: 500,
        },
        limits: Limits::default(),
        queue: 10_000,
        budget: Budget { memory: 1 << 30, spool: 8 << 30 },
        body_buffer: 256 * 1024,
        access_log: None,
        error_log: LogTarget::Stderr,
        log_level: LevelFilter::Info,
        chdir: None,
        pythonpath: vec![],
        env: vec![],
        venv: None,
        check_config: false,
        print_config: false,
        files: vec![],
        notes: vec![],
    };
    assert_eq!(settings, expected);
    assert_eq!(api(&[]).unwrap(), Settings { app: None, ..expected });
}

#[test]
fn help_and_version_go_to_stdout() {
    for (flag, text) in [
        ("--help", "Usage: rustwsgi [OPTIONS] [APP]"),
        ("-h", "--limit-request-line"),
        ("--version", concat!("rustwsgi ", env!("CARGO_PKG_VERSION"))),
        ("-V", "rustwsgi "),
    ] {
        let exit = parse_in(&[], &[flag]).unwrap_err();
        assert_eq!((exit.code, exit.stdout), (0, true));
        assert!(exit.message.contains(text), "{exit}");
    }
}

#[test]
fn binds_add_up_and_other_servers_options_combine() {
    let both = vec![tcp("0.0.0.0", 80), Bind::Unix("/s".into())];
    assert_eq!(ok(&["-b", ":80", "--bind", "unix:/s"]).binds, both);
    assert_eq!(ok(&["-b:80,unix:/s"]).binds, both);
    assert_eq!(ok(&["--host", "::1"]).binds, [tcp("::1", 8000)]);
    assert_eq!(ok(&["--host", "[::1]", "--port=1"]).binds, [tcp("::1", 1)]);
    assert_eq!(ok(&["--port", "81"]).binds, [tcp("127.0.0.1", 81)]);
    assert_eq!(ok(&["--uds", "/s"]).binds, [Bind::Unix("/s".into())]);
    assert_eq!(ok(&["--fd", "3"]).binds, [Bind::Fd(3)]);
    assert!(bad(&["a:b", "-b", ":80", "--port", "81"]).contains("cannot be used with"));
    assert!(bad(&["a:b", "-b", "::1"]).contains("in brackets"));
    assert!(bad(&["a:b", "--host", "a b"]).contains("'a b' is not a host"));
    assert!(bad(&["a:b", "--port", "65536"]).contains("0 to 65535"));
}

#[test]
fn port_from_the_environment_is_the_default_only() {
    let binds = |port, arguments: &[&str]| {
        let settings = parse_in(&[("PORT", port)], arguments);
        settings.map(|settings| settings.binds)
    };
    assert_eq!(binds("80", &["a"]).unwrap(), [tcp("0.0.0.0", 80)]);
    assert_eq!(binds("", &["a"]).unwrap(), [tcp("127.0.0.1", 8000)]);
    let host = binds("80", &["a", "--host", "h"]);
    assert_eq!(host.unwrap(), [tcp("h", 80)]);
    assert_eq!(binds("x", &["a", "-b", ":1"]).unwrap(), [tcp("0.0.0.0", 1)]);
    let error = binds("x", &["a"]).unwrap_err();
    assert!(error.message.contains("variable PORT: 'x'"), "{error}");
}

#[test]
fn threads_and_worker_class() {
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
fn web_concurrency_is_the_default_number_of_workers() {
    let workers = |value, arguments: &[&str]| {
        let settings = parse_in(&[("WEB_CONCURRENCY", value)], arguments);
        settings.map(|settings| settings.processes.workers)
    };
    assert_eq!(workers("3", &["a"]), Ok(3));
    assert_eq!(workers("", &["a"]), Ok(1));
    assert_eq!(workers("3", &["a", "-w", "2"]), Ok(2));
    assert!(workers("0", &["a"]).unwrap_err().message.contains("WEB_CONCURRENCY: '0'"));
}

#[test]
fn timeouts_of_zero() {
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
    assert_eq!(
        timeouts,
        Timeouts {
            request: Duration::MAX,
            boot: Duration::MAX,
            header: Duration::MAX,
            body: Duration::MAX,
            keep_alive: Duration::ZERO,
            write: Duration::MAX,
            queue: Duration::MAX,
            graceful: Duration::ZERO,
            body_min_rate: 0,
        }
    );
}

#[test]
fn timeouts_by_every_name() {
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
fn limits() {
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
fn limits_of_zero_stay_bounded_by_the_head() {
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
fn logs() {
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
    let unknown = ok(&["--access-log", "--access-logformat", "%(h)s %(x)s %({a}x)d"]);
    assert!(unknown.notes[0].contains("there is no %(x)s, %({a}x)d,"), "{:?}", unknown.notes);
    assert_eq!(ok(&["--error-logfile", "f"]).error_log, file("f"));
    assert_eq!(ok(&["--log-file", "f"]).error_log, file("f"));
    assert_eq!(ok(&["--log-level", "WARNING"]).log_level, LevelFilter::Warn);
    assert!(bad(&["a", "--log-level", "loud"]).contains("debug, info"));
}

#[test]
fn application_options() {
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
    assert!(settings.app.unwrap().call);
    assert_eq!(settings.chdir, Some(PathBuf::from("/srv")));
    assert_eq!(settings.pythonpath, ["a", "b", "c"].map(PathBuf::from));
    let pairs = [("K", "v,w"), ("L", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(settings.env, pairs);
    assert_eq!(settings.venv, Some(PathBuf::from(".v")));
    assert!(settings.check_config && settings.print_config);
}

#[test]
fn the_command_line_needs_an_application() {
    assert!(bad(&[]).contains("MODULE:NAME"));
    assert!(bad(&["--check-config"]).contains("MODULE:NAME"));
    assert!(bad(&["app.py"]).contains("write app:app"));
    assert_eq!(parse_in(&[], &["--print-config"]).unwrap().app, None);
}

#[test]
fn slips_get_a_suggestion() {
    assert!(bad(&["a", "--thread", "4"]).contains("'--threads'"));
    assert!(bad(&["a", "b"]).contains("unexpected argument 'b'"));
}

#[test]
fn what_is_like_no_option_gets_none() {
    for (option, tip) in [
        ("--thraeds=4", "tip: a similar option exists: '--threads'"),
        ("--access_logfiel=x", "tip: a similar option exists: '--access-logfile'"),
        ("--certfile=x", "no TLS"),
        ("--interface", "WSGI applications only"),
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
fn variables_that_are_no_options_are_told() {
    let names = [
        "RUSTWSGI_TREADS",
        "RUSTWSGI_THREADS",
        "RUSTWSGI_APP",
        "RUSTWSGI_KEEPALIVE",
        "RUSTWSGI_FROBNICATE",
        "RUSTWSGI_PREDECESSOR",
        "GUNICORN_CMD_ARGS",
        "PATH",
    ];
    let warnings = layers::stray_variables(&Flags::command(), names.map(String::from).into_iter());
    let expected = [
        "the environment variable RUSTWSGI_FROBNICATE is no option",
        "the environment variable RUSTWSGI_KEEPALIVE is no option; did you mean RUSTWSGI_KEEP_ALIVE?",
        "the environment variable RUSTWSGI_TREADS is no option; did you mean RUSTWSGI_THREADS?",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn underscores_in_option_names_only() {
    let settings = ok(&["--access_logfile=a_b", "--limit_request_line", "100"]);
    let target = settings.access_log.map(|log| log.target);
    assert_eq!(target, Some(LogTarget::File("a_b".into())));
    assert_eq!(settings.limits.request_line, 100);
    let app = parse_in(&[], &["my_app:the_app"]).unwrap().app.unwrap();
    assert_eq!(app.to_string(), "my_app:the_app");
    let spelled = with_hyphens(["p", "--a_b", "--", "--a_b"].map(OsString::from).to_vec());
    assert_eq!(spelled, ["p", "--a-b", "--", "--a_b"]);
}

#[test]
fn the_environment_sets_what_the_command_line_does_not() {
    let variables = [
        ("RUSTWSGI_APP", "env:app"),
        ("RUSTWSGI_THREADS", "7"),
        ("RUSTWSGI_KEEP_ALIVE", "9"),
        ("RUSTWSGI_LOG_LEVEL", ""),
        ("RUSTWSGI_ACCESS_LOG", "yes"),
        ("RUSTWSGI_FACTORY", "false"),
        ("RUSTWSGI_BIND", ":1,:2"),
        ("PORT", "3"),
    ];
    let settings = parse_in(&variables, &["--threads", "5"]).unwrap();
    assert_eq!(settings.app.unwrap().to_string(), "env:app");
    assert_eq!(settings.threads, 5);
    assert_eq!(settings.timeouts.keep_alive, Duration::from_secs(9));
    assert_eq!(settings.log_level, LevelFilter::Info);
    assert!(settings.access_log.is_some());
    assert_eq!(settings.binds, [tcp("0.0.0.0", 1), tcp("0.0.0.0", 2)]);

    let settings = parse_in(&variables, &["cli:app", "-b", ":4"]).unwrap();
    assert_eq!(settings.app.unwrap().to_string(), "cli:app");
    assert_eq!(settings.threads, 7);
    assert_eq!(settings.binds, [tcp("0.0.0.0", 4)]);
    let settings = parse_in(&variables, &["--port", "5"]).unwrap();
    assert_eq!(settings.binds, [tcp("127.0.0.1", 5)]);
}

#[test]
fn gunicorns_variable_comes_after_ours_and_before_files() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rustwsgi.toml"), "backlog = 1\nthreads = 1\n").unwrap();
    let theirs = "-b :1 -b ':2' --threads=2 -w 2 --preload --spew --name 'a b' their:app";
    let variables = [("GUNICORN_CMD_ARGS", theirs), ("RUSTWSGI_WORKERS", "3")];
    let settings = parse_at(dir.path(), &variables, &["-n", "mine"]).unwrap();
    assert_eq!(settings.binds, [tcp("0.0.0.0", 1), tcp("0.0.0.0", 2)]);
    assert_eq!((settings.backlog, settings.threads, settings.processes.workers), (1, 2, 3));
    assert!(settings.processes.preload);
    assert_eq!(settings.processes.name.as_deref(), Some("mine"));
    assert_eq!(settings.app.unwrap().to_string(), "their:app");
    assert!(settings.notes[0].starts_with("--spew has no effect"), "{:?}", settings.notes);
    let settings = parse_in(&variables[..1], &["a:b", "-b", ":9"]).unwrap();
    assert_eq!((settings.binds, settings.processes.workers), (vec![tcp("0.0.0.0", 9)], 2));
    for (text, said) in [
        ("--name 'a", "a quotation mark is not closed"),
        ("--thraeds 2", "unexpected argument '--thraeds'"),
        ("--threads x", "invalid value 'x'"),
        ("--certfile c", "--certfile cannot be honoured"),
        ("-c /nonexistent/x.toml", "/nonexistent/x.toml"),
        ("--version", "not a value"),
    ] {
        let message = parse_in(&[("GUNICORN_CMD_ARGS", text)], &["a:b"]).unwrap_err().message;
        assert!(message.contains(said), "{text}: {message}");
    }
}

#[test]
fn gunicorns_defaults_come_after_files() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = |variables: &[(&str, &str)], args: &[&str]| {
        let trusted = parse_at(dir.path(), variables, args).unwrap().trusted;
        trusted.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let variable = ("FORWARDED_ALLOW_IPS", "*");
    assert_eq!(trusted(&[variable], &["a:b"]), "*");
    assert_eq!(trusted(&[variable], &["a:b", "--forwarded-allow-ips", "1.1.1.1"]), "1.1.1.1");
    let theirs = ("GUNICORN_CMD_ARGS", "--forwarded-allow-ips 1.1.1.2");
    assert_eq!(trusted(&[variable, theirs], &["a:b"]), "1.1.1.2");
    let ours = ("RUSTWSGI_FORWARDED_ALLOW_IPS", "1.1.1.3");
    assert_eq!(trusted(&[variable, theirs, ours], &["a:b"]), "1.1.1.3");
    std::fs::write(dir.path().join("rustwsgi.toml"), "forwarded_allow_ips = ''\n").unwrap();
    assert_eq!(trusted(&[variable], &["a:b"]), "");
}

#[test]
fn the_path_below_which_the_application_is() {
    let script = |variable: &str, args: &[&str]| {
        parse_in(&[("SCRIPT_NAME", variable)], args).map(|settings| settings.script_name)
    };
    for (text, name) in [("", ""), ("/", ""), ("/shop", "/shop"), ("/a/b/", "/a/b")] {
        assert_eq!(script(text, &["a:b"]).unwrap(), name);
        let env = format!("SCRIPT_NAME={text}");
        assert_eq!(script("/other", &["a:b", "-e", &env]).unwrap(), name);
    }
    let message = script("deploy.sh", &["a:b"]).unwrap_err().message;
    assert!(message.contains("SCRIPT_NAME: \"deploy.sh\" does not begin with '/'"), "{message}");
    assert_eq!(api(&[]).unwrap().script_name, "");
}

#[test]
fn a_bad_variable_is_named() {
    for (name, value, reason) in [
        ("RUSTWSGI_THREADS", "many", "not a whole number from 0 to 4096"),
        ("RUSTWSGI_FACTORY", "maybe", "'maybe' is neither"),
        ("RUSTWSGI_APP", "--help", "not a value"),
    ] {
        let exit = parse_in(&[(name, value)], &[]).unwrap_err();
        assert_eq!((exit.code, exit.stdout), (2, false));
        let start = format!("error: the environment variable {name}: ");
        assert!(exit.message.starts_with(&start), "{exit}");
        assert!(exit.message.contains(reason), "{exit}");
        assert!(!exit.message.contains("--help"), "{exit}");
    }
}

#[test]
fn keywords_of_the_python_api() {
    let settings = api(&[
        ("bind", &[":1", "unix:/s"]),
        ("threads", &["2"]),
        ("access_logfile", &["-"]),
        ("keepalive", &["1"]),
        ("check_config", &["true"]),
        ("access_log", &["false"]),
        ("app", &["mod:app"]),
        ("pythonpath", &[]),
    ])
    .unwrap();
    assert_eq!(settings.binds, [tcp("0.0.0.0", 1), Bind::Unix("/s".into())]);
    assert_eq!(settings.threads, 2);
    assert_eq!(settings.access_log.unwrap().target, LogTarget::Stdout);
    assert_eq!(settings.timeouts.keep_alive, Duration::from_secs(1));
    assert!(settings.check_config);
    assert_eq!(settings.app.unwrap().to_string(), "mod:app");
}

#[test]
fn bad_keywords_are_told_in_their_own_words() {
    for (name, values, expected) in [
        ("thraeds", &["2"][..], "unknown option 'thraeds'; the nearest known one is 'threads'"),
        ("help", &["true"], "unknown option 'help'"),
        ("certfile", &["x"], "unknown option 'certfile': this server speaks no TLS"),
        ("debug", &["true"], "unknown option 'debug': debugging is the application's"),
        ("version", &["true"], "unknown option 'version'"),
        ("threads", &["1", "2"], "the option 'threads' takes one value"),
        ("threads", &["x"], "the option 'threads': invalid value 'x'"),
        ("factory", &["x"], "the option 'factory': 'x' is neither"),
        ("app", &["--version"], "the option 'app': not a value"),
        ("app", &["a b"], "'a b' is not the dotted name"),
    ] {
        let exit = api(&[(name, values)]).unwrap_err();
        assert_eq!(exit.code, 2);
        let start = format!("error: {expected}");
        assert!(exit.message.starts_with(&start), "{exit}");
        assert!(!exit.message.contains('\n'), "{exit}");
    }
}

#[test]
fn what_is_described_can_be_given_back() {
    let given = ok(&[
        "-b:1,unix:/s",
        "--access-logfile=-",
        "--write-timeout=0",
        "--keep-alive=0.5",
        "--limit-request-body=0",
        "--limit-memory=0",
        "--limit-spool=0",
        "--pythonpath=p,q",
        "-eK=secret",
        "--chdir=/srv",
        "--venv=.v",
        "--header-map=refuse",
        "--log-level=warning",
    ]);
    let text = describe(&given);
    assert!(text.contains("app = \"hello:app\"\n"), "{text}");
    assert!(text.contains("bind = [\"0.0.0.0:1\", \"unix:/s\"]\n"), "{text}");
    assert!(text.contains("keep_alive = 0.5\n"), "{text}");
    let options: Vec<(String, Vec<String>)> = text
        .lines()
        .map(|line| {
            let (key, value) = line.split_once(" = ").unwrap();
            let items = value.trim_matches(['[', ']']).split(", ");
            let items = items.map(|item| item.trim_matches('"').to_owned());
            (key.to_owned(), items.filter(|item| !item.is_empty()).collect())
        })
        .collect();
    assert!(text.contains("env = [\"K=***\"]\n") && !text.contains("secret"), "{text}");
    let expected = Settings { env: vec![("K".to_owned(), "***".to_owned())], ..given };
    assert_eq!(parse_api(&options).unwrap(), expected);
}

#[test]
fn files_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let named = dir.path().join("mine.toml");
    let named = named.to_str().unwrap();
    write(
        "pyproject.toml",
        "[tool.other]\nx = 1\n[tool.rustwsgi]\nthreads = 1\nbacklog = 1\nworkers = 9\n",
    );
    write(
        "rustwsgi.toml",
        "threads = 2\nbacklog = 2\nbind = [':1', ':2']\napp = 'a:b'\npreload = true\n",
    );
    write("mine.toml", "backlog = 3\nenv = { A = 'x', B = 1 }\nkeep-alive = 1.5\n");
    let settings = parse_at(dir.path(), &[("RUSTWSGI_WORKERS", "4")], &["-c", named]).unwrap();
    assert_eq!((settings.threads, settings.backlog, settings.processes.workers), (2, 3, 4));
    assert_eq!(settings.binds, [tcp("0.0.0.0", 1), tcp("0.0.0.0", 2)]);
    assert_eq!(settings.env, [("A".into(), "x".into()), ("B".into(), "1".into())]);
    assert_eq!(settings.timeouts.keep_alive, Duration::from_millis(1500));
    assert_eq!(settings.app.unwrap().to_string(), "a:b");
    assert!(settings.processes.preload);
    let settings =
        parse_at(dir.path(), &[("RUSTWSGI_CONFIG", named)], &["--port=7", "c:d"]).unwrap();
    assert_eq!((settings.binds, settings.backlog), (vec![tcp("127.0.0.1", 7)], 3));
    assert_eq!(settings.app.unwrap().to_string(), "c:d");
}

#[test]
fn mistakes_in_files_are_told_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let try_file = |text: &str| {
        std::fs::write(dir.path().join("rustwsgi.toml"), text).unwrap();
        parse_at(dir.path(), &[], &["a:b"]).unwrap_err().message
    };
    for (text, parts) in [
        ("thraeds = 2", ["rustwsgi.toml: unknown option 'thraeds'", "'threads'"]),
        ("venv = 'x'", ["rustwsgi.toml: 'venv' comes too late", "RUSTWSGI_VENV"]),
        ("config = 'x'", ["rustwsgi.toml: unknown option 'config'", ""]),
        ("threads = 'many'", ["rustwsgi.toml: 'threads'", "invalid value"]),
        ("threads = [1, 2]", ["rustwsgi.toml: 'threads' takes one value", ""]),
        ("preload = 2", ["rustwsgi.toml: 'preload'", "neither true nor false"]),
        ("bind = [[1]]", ["rustwsgi.toml: 'bind'", "list"]),
        ("a b", ["rustwsgi.toml: ", "line 1"]),
    ] {
        let message = try_file(text);
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
    let missing = parse_at(dir.path(), &[], &["-c", "/nonexistent/x.toml", "a:b"]).unwrap_err();
    assert!(missing.message.contains("/nonexistent/x.toml"), "{missing}");
}

#[test]
fn a_python_file_is_executed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("conf.py");
    std::fs::write(&path, "").unwrap();
    let settings = parse_in(&[], &["-c", path.to_str().unwrap()]).unwrap_err();
    assert!(settings.message.contains("write conf:app"), "{settings}");
    let other = dir.path().join("gunicorn_conf");
    std::fs::write(&other, "a b").unwrap();
    for named in [other.to_str().unwrap(), "python:a.conf", "python:conf.toml"] {
        let settings = parse_in(&[], &["-c", named, "a:b"]).unwrap();
        assert_eq!(settings.files, [named]);
    }
}

#[test]
fn gunicorns_file_is_found_unless_there_is_one_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("gunicorn.conf.py", "");
    let files = |arguments: &[&str]| {
        let settings = parse_at(dir.path(), &[], arguments).unwrap();
        (settings.files.join(", "), settings.notes.join(", "))
    };
    assert_eq!(files(&["a:b"]), ("gunicorn.conf.py".into(), String::new()));
    write("pyproject.toml", "[tool.other]\nrustwsgi = 1\n");
    assert_eq!(files(&["a:b"]).0, "gunicorn.conf.py");
    write("rustwsgi.toml", "threads = 2\n");
    let (read, notes) = files(&["a:b"]);
    assert_eq!(read, "rustwsgi.toml");
    assert!(notes.contains("gunicorn.conf.py is not read, as there is rustwsgi.toml"), "{notes}");
    let other = dir.path().join("other.toml");
    write("other.toml", "");
    let (read, notes) = files(&["-c", other.to_str().unwrap(), "a:b"]);
    assert!(read.ends_with("other.toml, rustwsgi.toml") && notes.is_empty(), "{read} {notes}");
}

/// `make docs` sets UPDATE_DOCS, which writes the page instead.
#[test]
fn the_configuration_page_is_what_the_options_render_to() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let rendered = reference::markdown(&Flags::command());
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(path, &rendered).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == rendered, "docs/configuration.md is out of date: run `make docs`");
}
