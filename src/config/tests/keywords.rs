//! Keyword arguments of the Python API, and printed settings given back to it.

use super::*;

#[test]
fn keywords_are_set() {
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
fn invalid_keyword_is_reported_by_its_name() {
    for (name, values, expected) in [
        ("thraeds", &["2"][..], "unknown option 'thraeds'; did you mean 'threads'?"),
        ("help", &["true"], "unknown option 'help'"),
        ("dirty_workers", &["2"], "'dirty_workers' is not supported: dirty workers"),
        ("processes", &["4"], "unknown option 'processes': write --workers N"),
        ("debug", &["true"], "unknown option 'debug': configure debugging in the application"),
        ("version", &["true"], "unknown option 'version'"),
        ("threads", &["1", "2"], "option 'threads' takes one value"),
        ("threads", &["x"], "option 'threads': invalid value 'x'"),
        ("factory", &["x"], "option 'factory': 'x' is neither"),
        ("app", &["--version"], "option 'app': not a value"),
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
fn printed_settings_are_parsed_to_the_same_settings() {
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
    let text = print_config(&given);
    assert!(text.contains("app = \"hello:app\"\n"), "{text}");
    assert!(text.contains("bind = [\"0.0.0.0:1\", \"unix:/s\"]\n"), "{text}");
    assert!(
        text.contains("keep_alive = 0.5\nhandshake_timeout = 10\nheader_timeout = 15\n"),
        "{text}"
    );
    assert!(text.contains("env = [\"K=***\"]\n") && !text.contains("secret"), "{text}");

    let dir = tempfile::tempdir().unwrap();
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("venv"))
        .fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(dir.path().join("rustwsgi.toml"), text).unwrap();
    let env = vec![("K".to_owned(), "***".to_owned())];
    let expected = Settings { env, ..given };
    assert_eq!(parse_at(dir.path(), &[], &["--venv=.v"]).unwrap(), expected);
}

#[test]
fn value_with_special_characters_is_printed_as_toml() {
    let name = "\"\\\n\u{e9}'";
    let text = print_config(&ok(&["--name", name]));
    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["name"].as_str(), Some(name));
}
