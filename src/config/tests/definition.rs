//! The definition of the options itself, and the page that is derived from it.

use super::super::flags::command_line;
use super::*;

#[test]
fn the_definition_is_sound() {
    Flags::command().debug_assert();
    command_line().debug_assert();
}

#[test]
fn every_visible_option_has_a_heading_and_a_help_text() {
    for arg in Flags::command().get_arguments() {
        let name = arg.get_id().as_str();
        assert!(arg.get_help().is_some(), "{name}");
        if !arg.is_hide_set() && !arg.is_positional() {
            assert!(arg.get_help_heading().is_some(), "{name}");
        }
    }
}

#[test]
fn the_help_tells_the_defaults() {
    let help = Flags::command().render_help().to_string();
    // Wherever the lines are broken.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains(&format!("[default: {DEFAULT_THREADS}]")), "{help}");
    assert!(help.contains("[default: 127.0.0.1:8000, or"), "{help}");
    assert!(!help.contains("--host") && !help.contains("--app-dir"), "{help}");
}

/// `make docs` sets UPDATE_DOCS, which writes the page instead.
#[test]
fn the_configuration_page_is_what_the_options_render_to() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let rendered = docs::markdown(&Flags::command());
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(path, &rendered).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == rendered, "docs/configuration.md is out of date: run `make docs`");
}
