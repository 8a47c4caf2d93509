//! The table of options itself, and the texts that are derived from it.

use super::super::docs;
use super::super::generate::{ALL, generate};
use super::super::option::Reload;
use super::super::options::{self, SECTIONS};
use super::*;

#[test]
fn command_of_the_table_is_valid() {
    cli::command().debug_assert();
}

#[test]
fn names_of_options_are_unique() {
    let mut names: Vec<_> = options::all().flat_map(|option| option.keywords()).collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn every_option_has_a_help_text() {
    for option in options::all() {
        assert!(!option.help.is_empty() && !option.help.ends_with('.'), "{}", option.name);
    }
    assert!(SECTIONS.iter().all(|section| !section.options.is_empty()));
}

#[test]
fn every_setting_is_printed() {
    // Parts of another option, and those that are unset by default.
    let unprinted = [
        "app",
        "factory",
        "paste",
        "paste_global",
        "chdir",
        "app_dir",
        "venv",
        "host",
        "port",
        "uds",
        "fd",
        "worker_class",
        "access_logfile",
        "access_log",
        "access_logformat",
        "log_config",
        "log_config_json",
        "log_syslog_prefix",
        "statsd_host",
        "pid",
        "user",
        "group",
        "umask",
        "name",
        "reload_extra_file",
        "ca_certs",
        "ca_crl",
        "acme_email",
        "acme_cache",
        "static_index",
        "metrics",
        "health_path",
        "control_socket",
        "request_id_header",
    ];
    let settings = api(&[]).unwrap();
    for option in options::all().filter(|option| option.reload != Reload::Never) {
        let printed = option.value(&settings).is_some();
        assert_eq!(printed, !unprinted.contains(&option.name), "{}", option.name);
    }
}

#[test]
fn help_shows_the_defaults() {
    let help = cli::command().render_help().to_string();
    // Regardless of line breaks.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains(&format!("[default: {DEFAULT_THREADS}]")), "{help}");
    assert!(help.contains("[default: 127.0.0.1:8000, or"), "{help}");
    assert!(!help.contains("--host") && !help.contains("--app-dir"), "{help}");
}

/// `make docs` sets UPDATE_DOCS, which writes the page instead.
#[test]
fn configuration_page_equals_the_rendered_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let rendered = docs::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(path, &rendered).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == rendered, "docs/configuration.md is out of date: run `make docs`");
}

/// `make docs` sets UPDATE_DOCS, which writes the files instead.
#[test]
fn packaged_text_equals_the_generated_one() {
    let share = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/wheel/data/share");
    for (what, file) in [
        ("completions-bash", "bash-completion/completions/rustwsgi"),
        ("completions-zsh", "zsh/site-functions/_rustwsgi"),
        ("completions-fish", "fish/vendor_completions.d/rustwsgi.fish"),
        ("man", "man/man1/rustwsgi.1"),
    ] {
        let what = ALL.iter().find(|(name, _)| *name == what).unwrap().1;
        let path = share.join(file);
        let text = format!("{}\n", generate(what, cli::command()).trim_end_matches('\n'));
        if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let packaged = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            packaged == text,
            "packaging/wheel/data/share/{file} is out of date: run `make docs`"
        );
    }
}

#[test]
fn hidden_option_is_not_generated() {
    for (_, what) in ALL {
        let text = generate(what, cli::command());
        assert!(text.contains("keep"), "{what:?}");
        assert!(!text.contains("dirty-threads") && !text.contains("uds"), "{what:?}");
    }
}
