//! The colours of log lines on a terminal.
//!
//! A file, a pipe and journald get none, unless a variable of the environment asks for them. The
//! variables are those of other programs: `NO_COLOR` (no-color.org), `FORCE_COLOR` and
//! `CLICOLOR_FORCE`.

use std::fmt;

use super::sink::Sink;

/// Whether lines have colours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Colours(bool);

/// An attribute of text (ECMA-48, SGR): `{}` begins it, and `{:#}` ends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style(Option<&'static str>);

impl Colours {
    /// The colours for lines to this sink.
    pub(super) fn of(sink: &Sink) -> Colours {
        let variable =
            |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
        Colours(decide(sink.is_terminal(), sink.is_inherited(), &variable))
    }

    pub(super) fn new(are_on: bool) -> Colours {
        Colours(are_on)
    }

    pub(super) fn are_on(self) -> bool {
        self.0
    }

    /// What precedes the level, which is read less often.
    pub(super) fn dim(self) -> Style {
        self.style("2")
    }

    /// The level, by its name.
    pub(super) fn level(self, level: &str) -> Style {
        self.style(match level {
            "INFO" => "32",
            "WARNING" => "33",
            "DEBUG" => "36",
            // ERROR, CRITICAL.
            _ => "1;31",
        })
    }

    fn style(self, code: &'static str) -> Style {
        Style(self.0.then_some(code))
    }
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(_) if f.alternate() => f.write_str("\x1b[0m"),
            Some(code) => write!(f, "\x1b[{code}m"),
            None => Ok(()),
        }
    }
}

/// A file that the server has opened never gets colours: it is read later, and elsewhere.
fn decide(
    is_terminal: bool,
    is_inherited: bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let forces = |name: &str| is_set(name) && variable(name).as_deref() != Some("0");
    if !is_inherited || is_set("NO_COLOR") {
        return false;
    }
    let is_capable = variable("TERM").as_deref() != Some("dumb");
    forces("FORCE_COLOR") || forces("CLICOLOR_FORCE") || is_terminal && is_capable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_has_colours_unless_a_variable_says_otherwise() {
        for (is_terminal, is_inherited, variables, expected) in [
            (true, true, &[][..], true),
            (true, true, &[("NO_COLOR", "1")], false),
            (true, true, &[("NO_COLOR", "")], true),
            (true, true, &[("NO_COLOR", "1"), ("FORCE_COLOR", "1")], false),
            (true, true, &[("TERM", "dumb")], false),
            (true, true, &[("TERM", "dumb"), ("FORCE_COLOR", "1")], true),
            (false, true, &[], false),
            (false, true, &[("FORCE_COLOR", "1")], true),
            (false, true, &[("FORCE_COLOR", "0")], false),
            (false, true, &[("CLICOLOR_FORCE", "1")], true),
            (false, true, &[("CLICOLOR_FORCE", "0")], false),
            (false, false, &[("FORCE_COLOR", "1")], false),
            (true, false, &[], false),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let decided = decide(is_terminal, is_inherited, &variable);
            assert_eq!(decided, expected, "{is_terminal} {is_inherited} {variables:?}");
        }
    }

    #[test]
    fn style_begins_and_ends_only_with_colours() {
        let style = |colours| {
            let style = Colours(colours).level("ERROR");
            format!("{style}[ERROR]{style:#}")
        };
        assert_eq!(style(true), "\x1b[1;31m[ERROR]\x1b[0m");
        assert_eq!(style(false), "[ERROR]");
    }
}
