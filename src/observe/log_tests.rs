//! Tests of the error log.

use super::*;
use crate::observe::LogTarget;
use crate::sync::ignore_poison;
use std::path::Path;

fn line(target: &str, level: &str, message: &str) -> String {
    let look = Look { shows_events: true, ..Look::default() };
    let entry = Entry { at: SystemTime::UNIX_EPOCH, ..entry(target, level, message) };
    entry.text(look, &mut Stamp::new("[now]"))
}

#[test]
fn message_whose_display_fails_is_cut() {
    struct Failing;
    impl fmt::Display for Failing {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    assert_eq!(message_of(format_args!("failed: {Failing}")), "failed: (this cannot be shown)");
    assert_eq!(message_of(format_args!("failed: {}", 1)), "failed: 1");
    assert_eq!((text_of(&Failing), text_of(&1)), ("(this cannot be shown)".into(), "1".into()));
}

#[test]
fn line_has_gunicorns_format() {
    let pid = std::process::id();
    for (level, name) in [
        (Level::Error, "ERROR"),
        (Level::Warn, "WARNING"),
        (Level::Info, "INFO"),
        (Level::Debug, "DEBUG"),
        (Level::Trace, "DEBUG"),
    ] {
        assert_eq!(
            line("rustwsgi", name_of(level), "Booting\n"),
            format!("[now] [{pid}] [{name}] Booting\n")
        );
    }
    assert_eq!(
        line("worker.booting", "INFO", "Booting"),
        format!("[now] [{pid}] [worker.booting] [INFO] Booting\n")
    );
    assert_eq!(event(module_path!()), None);
    assert_eq!(event("rustwsgi"), None);
}

#[test]
fn control_characters_in_a_message_are_escaped() {
    let line = line("", "INFO", "a\x1b[2J\rb\u{9b}\n\tc\u{e9}");
    assert!(line.ends_with("a\\u{1b}[2J\\rb\\u{9b}\n\tc\u{e9}\n"), "{line}");
}

#[test]
fn events_variable_takes_the_truth_values_of_flags() {
    assert!(["1", "true", "YES", "on"].iter().all(|value| is_true(value)));
    assert!(["", "0", "false", "no", "off", "2"].iter().all(|value| !is_true(value)));
}

#[test]
fn message_of_two_lines_is_one_log_line() {
    let forged = "[2026-11-24 04:14:34 +0000] [1] [CRITICAL] forged";
    let line = line("", "INFO", &format!("{forged}\n{forged}"));
    assert!(line.ends_with(&format!("[INFO] {forged}\n {forged}\n")), "{line}");
}

/// A process has one log, so all of `init` is in one test.
#[test]
fn init_called_again_changes_sink_and_level() {
    let _log = ignore_poison(routed::LOG_OF_TESTS.lock());
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| Sink::open(&LogTarget::File(path.to_owned()));
    let file = |name: &str| open(&dir.path().join(name)).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    // Another test that logs meanwhile writes the line, and may do so later.
    let wait_for = |name: &str, text: &str| {
        let began = Instant::now();
        while !read(name).contains(text) {
            assert!(began.elapsed() < Duration::from_secs(20), "{name} has no {text:?}");
            std::thread::yield_now();
        }
    };
    let emit = |level, text: &str| {
        let args = format_args!("{text}");
        let record = Record::builder().level(level).args(args).build();
        LOGGER.log(&record);
    };

    init(file("one"), LevelFilter::Info).unwrap();
    emit(Level::Info, "to one");
    emit(Level::Debug, "hidden");
    write_text("Traceback\n");
    wait_for("one", &format!(" [{}] [INFO] to one\n", std::process::id()));
    wait_for("one", "\nTraceback\n");
    let one = read("one");
    assert!(one.starts_with('['), "{one}");
    assert!(!one.contains("hidden"), "{one}");

    init(file("two"), LevelFilter::Debug).unwrap();
    emit(Level::Debug, "to two");
    wait_for("two", "[DEBUG] to two\n");
    assert!(!read("one").contains("to two"));

    redirect(file("three"));
    emit(Level::Debug, "to three");
    wait_for("three", "[DEBUG] to three\n");

    #[cfg(target_os = "linux")]
    {
        init(open(Path::new("/dev/full")).unwrap(), LevelFilter::Info).unwrap();
        emit(Level::Error, "into the void");
        write_text("into the void\n");
    }
    // As before: other tests log nothing.
    init(Sink::stderr(), LevelFilter::Off).unwrap();
}
