//! Configuration files: which are read, their precedence, and errors in them.

use super::*;

#[test]
fn files_are_read_in_their_precedence() {
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
    assert_eq!(
        (settings.threads, settings.backlog, settings.processes.workers),
        (2, 3, WorkerCount::Number(4))
    );
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
fn mistake_in_a_file_is_reported_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let try_file = |text: &str| {
        std::fs::write(dir.path().join("rustwsgi.toml"), text).unwrap();
        parse_at(dir.path(), &[], &["a:b"]).unwrap_err().message
    };
    for (text, parts) in [
        ("thraeds = 2", ["rustwsgi.toml: unknown option 'thraeds'", "'threads'"]),
        ("venv = 'x'", ["rustwsgi.toml: 'venv' cannot be set in a file", "RUSTWSGI_VENV"]),
        ("config = 'x'", ["rustwsgi.toml: unknown option 'config'", ""]),
        ("threads = 'many'", ["rustwsgi.toml: 'threads': invalid value 'many': not", ""]),
        ("threads = [1, 2]", ["rustwsgi.toml: 'threads' takes one value", ""]),
        ("preload = 2", ["rustwsgi.toml: 'preload'", "neither true nor false"]),
        ("bind = [[1]]", ["rustwsgi.toml: 'bind'", "list"]),
        ("[tool.rustwsgi]\nthreads = 1", ["top-level keys", "remove the line [tool.rustwsgi]"]),
        ("[rustwsgi]\nthreads = 1", ["top-level keys", "remove the line [rustwsgi]"]),
        ("dirty_workers = 2", ["rustwsgi.toml: 'dirty_workers' is not supported: ", "queue"]),
        ("a b", ["rustwsgi.toml: line 1, column 3: ", "`=`"]),
        ("# é\nname = 'éé' b", ["rustwsgi.toml: line 2, column 13: ", ""]),
    ] {
        let message = try_file(text);
        assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
    }
    let missing = parse_at(dir.path(), &[], &["-c", "/nonexistent/x.toml", "a:b"]).unwrap_err();
    assert!(missing.message.contains("/nonexistent/x.toml"), "{missing}");
}

#[test]
fn file_without_toml_extension_is_executed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("conf.py");
    std::fs::write(&path, "").unwrap();
    let settings = parse_in(&[], &["-c", path.to_str().unwrap()]).unwrap_err();
    assert!(settings.message.contains("write conf:app"), "{settings}");
    let other = dir.path().join("gunicorn_conf");
    std::fs::write(&other, "a b").unwrap();
    for named in [other.to_str().unwrap(), "python:a.conf", "python:conf.toml"] {
        let nowhere = Path::new("/nonexistent");
        let loaded = load_at(nowhere, &[], &["-c", named, "a:b"]).unwrap();
        assert_eq!(loaded.files, [named]);
    }
}

#[test]
fn gunicorn_conf_py_is_read_without_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("gunicorn.conf.py", "");
    let files = |arguments: &[&str]| {
        let loaded = load_at(dir.path(), &[], arguments).unwrap();
        (loaded.files.join(", "), loaded.warnings.join(", "))
    };
    assert_eq!(files(&["a:b"]), ("gunicorn.conf.py".into(), String::new()));
    write("pyproject.toml", "[tool.other]\nrustwsgi = 1\n");
    assert_eq!(files(&["a:b"]).0, "gunicorn.conf.py");
    write("rustwsgi.toml", "threads = 2\n");
    let (read, warnings) = files(&["a:b"]);
    assert_eq!(read, "rustwsgi.toml");
    assert!(
        warnings.contains("gunicorn.conf.py is not read, as there is rustwsgi.toml"),
        "{warnings}"
    );
    let other = dir.path().join("other.toml");
    write("other.toml", "");
    let (read, warnings) = files(&["-c", other.to_str().unwrap(), "a:b"]);
    assert!(
        read.ends_with("other.toml, rustwsgi.toml") && warnings.is_empty(),
        "{read} {warnings}"
    );
}
