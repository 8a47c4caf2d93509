//! The keyword arguments of the Python API, and the description of settings that can be given back to it.

use super::*;

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
        ("processes", &["4"], "unknown option 'processes': write --workers N"),
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
