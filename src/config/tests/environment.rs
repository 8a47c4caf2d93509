//! Environment variables: what they set, and their precedence.

use super::*;

#[test]
fn port_variable_sets_only_the_default_address() {
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
fn web_concurrency_sets_the_default_number_of_workers() {
    let workers = |value, arguments: &[&str]| {
        let settings = parse_in(&[("WEB_CONCURRENCY", value)], arguments);
        settings.map(|settings| settings.processes.workers)
    };
    assert_eq!(workers("3", &["a"]), Ok(WorkerCount::Number(3)));
    assert_eq!(workers("auto", &["a"]), Ok(WorkerCount::Auto));
    assert_eq!(workers("", &["a"]), Ok(WorkerCount::Number(1)));
    assert_eq!(workers("3", &["a", "-w", "2"]), Ok(WorkerCount::Number(2)));
    assert!(
        workers("0", &["a"]).unwrap_err().message.contains("WEB_CONCURRENCY: invalid value '0'")
    );
}

#[test]
fn unknown_variable_is_warned_about() {
    let names = [
        "RUSTWSGI_TREADS",
        "RUSTWSGI_THREADS",
        "RUSTWSGI_APP",
        "RUSTWSGI_KEEPALIVE",
        "RUSTWSGI_FROBNICATE",
        "RUSTWSGI_LOG_EVENT",
        "RUSTWSGI_LOG_EVENTS",
        "RUSTWSGI_PREDECESSOR",
        "RUSTWSGI_INHERITED_CONTROL",
        "RUSTWSGI_INTEGRATION",
        "GUNICORN_CMD_ARGS",
        "PATH",
    ];
    let warnings = sources::environment::unknown_among(names.map(String::from).into_iter());
    let expected = [
        "RUSTWSGI_FROBNICATE: there is no such option",
        "RUSTWSGI_KEEPALIVE: there is no such option; did you mean RUSTWSGI_KEEP_ALIVE?",
        "RUSTWSGI_LOG_EVENT: there is no such option; did you mean RUSTWSGI_LOG_EVENTS?",
        "RUSTWSGI_TREADS: there is no such option; did you mean RUSTWSGI_THREADS?",
    ];
    let expected = expected.map(|text| format!("Ignoring environment variable {text}"));
    assert_eq!(warnings, expected);
}

#[test]
fn settings_of_an_integration_override_files_and_its_defaults_nothing() {
    let text = "origin = \"X\"\n[settings]\nthreads = 2\nenv = [\"A=1\"]\n\
                [defaults]\nworkers = 5\nthreads = 9\nreload = true";
    let variable = ("RUSTWSGI_INTEGRATION", text);
    let settings = parse_in(&[variable], &["a"]).unwrap();
    assert_eq!((settings.threads, settings.processes.workers), (2, WorkerCount::Number(5)));
    assert!(settings.processes.watch.is_some());
    assert_eq!(settings.env, [("A".to_owned(), "1".to_owned())]);
    let settings = parse_in(&[variable, ("WEB_CONCURRENCY", "7")], &["a", "--threads", "3"]);
    let settings = settings.unwrap();
    assert_eq!((settings.threads, settings.processes.workers), (3, WorkerCount::Number(7)));
    let threads = ("RUSTWSGI_THREADS", "4");
    assert_eq!(parse_in(&[variable, threads], &["a"]).unwrap().threads, 4);
    let loaded = load_at(Path::new("/nonexistent"), &[variable], &["a"]).unwrap();
    assert_eq!(loaded.files, ["X"]);
    for (text, expected) in [
        ("origin = \"X\"\n[settings]\ntreads = 2", "X: unknown option 'treads'; did you mean"),
        ("[defaults]\nconfig = \"x\"", "RUSTWSGI_INTEGRATION: unknown option 'config'"),
        ("settings = 1", "RUSTWSGI_INTEGRATION: not a table of options"),
        ("x", "RUSTWSGI_INTEGRATION: line 1"),
    ] {
        let error = parse_in(&[("RUSTWSGI_INTEGRATION", text)], &["a"]).unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
}

#[test]
fn application_that_no_source_names_is_searched_for() {
    let app = |loaded: &Loaded| loaded.settings.app.as_ref().map(ToString::to_string);
    for (directory, arguments) in
        [("/nonexistent/project", &[][..]), ("/nonexistent", &["--chdir", "project"])]
    {
        let loaded = load_at(Path::new(directory), &[], arguments).unwrap();
        assert_eq!(app(&loaded).as_deref(), Some("found:app"));
        assert_eq!(loaded.found.as_deref(), Some("found.py"));
    }
    let loaded = load_at(Path::new("/nonexistent/project"), &[("RUSTWSGI_APP", "a:b")], &[]);
    let loaded = loaded.unwrap();
    assert_eq!((app(&loaded).as_deref(), loaded.found), (Some("a:b"), None));
    assert!(bad(&[]).contains("no application given, and none found: nothing there"));
    assert_eq!(parse_in(&[], &["--print-config"]).unwrap().app, None);
}

#[test]
fn command_line_overrides_the_environment() {
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
fn gunicorn_cmd_args_override_files_but_not_our_variables() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rustwsgi.toml"), "backlog = 1\nthreads = 1\n").unwrap();
    let theirs = "-b :1 -b ':2' --threads=2 -w 2 --preload --spew --name 'a b' their:app";
    let variables = [("GUNICORN_CMD_ARGS", theirs), ("RUSTWSGI_WORKERS", "3")];
    let loaded = load_at(dir.path(), &variables, &["-n", "mine"]).unwrap();
    let Loaded { settings, warnings, .. } = loaded;
    assert_eq!(settings.binds, [tcp("0.0.0.0", 1), tcp("0.0.0.0", 2)]);
    assert_eq!(
        (settings.backlog, settings.threads, settings.processes.workers),
        (1, 2, WorkerCount::Number(3))
    );
    assert!(settings.processes.preload);
    assert_eq!(settings.processes.name.as_deref(), Some("mine"));
    assert_eq!(settings.app.unwrap().to_string(), "their:app");
    assert!(warnings[0].starts_with("--spew has no effect"), "{warnings:?}");
    let settings = parse_in(&variables[..1], &["a:b", "-b", ":9"]).unwrap();
    assert_eq!(
        (settings.binds, settings.processes.workers),
        (vec![tcp("0.0.0.0", 9)], WorkerCount::Number(2))
    );
    for (text, said) in [
        ("--name 'a", "a quotation mark is not closed"),
        ("--thraeds 2", "unexpected argument '--thraeds'"),
        ("--threads x", "invalid value 'x'"),
        ("--keyfile c", "there is no certificate"),
        ("-c /nonexistent/x.toml", "/nonexistent/x.toml"),
        ("--version", "not a value"),
    ] {
        let message = parse_in(&[("GUNICORN_CMD_ARGS", text)], &["a:b"]).unwrap_err().message;
        assert!(message.contains(said), "{text}: {message}");
    }
}

#[test]
fn forwarded_allow_ips_variable_is_overridden_by_files() {
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
fn script_name_without_a_slash_is_refused() {
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
fn invalid_variable_is_named() {
    for (name, value, reason) in [
        ("RUSTWSGI_THREADS", "many", "not a whole number from 0 to 4096"),
        ("RUSTWSGI_FACTORY", "maybe", "'maybe' is neither"),
        ("RUSTWSGI_APP", "--help", "not a value"),
    ] {
        let exit = parse_in(&[(name, value)], &[]).unwrap_err();
        assert_eq!((exit.code, exit.stdout), (2, false));
        let start = format!("error: environment variable {name}: ");
        assert!(exit.message.starts_with(&start), "{exit}");
        assert!(exit.message.contains(reason), "{exit}");
        assert!(!exit.message.contains("--help"), "{exit}");
    }
}
