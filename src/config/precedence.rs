//! Which source wins: collects the arguments of all sources behind the command line.
//!
//! Each value becomes a command-line argument, so that one parser validates all of them and a new
//! option works in every source.

use std::ffi::{OsStr, OsString};

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::option::OptionDef;
use super::options;

/// The values of one option in a source.
pub(super) struct Entry {
    pub(super) option: &'static OptionDef,
    /// The place, for error messages.
    pub(super) origin: String,
    pub(super) values: Vec<OsString>,
}

/// One value as a command-line argument.
pub(super) struct Argument {
    pub(super) option: &'static OptionDef,
    /// The place, for error messages.
    pub(super) origin: String,
    /// `None` for a flag that is set to false.
    pub(super) text: Option<OsString>,
}

/// The arguments of the sources so far, from the one with the highest precedence on.
pub(super) struct Precedence<'a> {
    typed: Option<&'a ArgMatches>,
    arguments: Vec<Argument>,
}

impl<'a> Precedence<'a> {
    /// Starts with the typed options, if there is a command line.
    pub(super) fn new(typed: Option<&'a ArgMatches>) -> Precedence<'a> {
        Precedence { typed, arguments: Vec::new() }
    }

    /// Adds the options of a source that no source before it has set.
    ///
    /// # Errors
    /// A sentence about several values of an option that takes one, or a flag that is neither true
    /// nor false.
    pub(super) fn add(&mut self, entries: Vec<Entry>) -> Result<(), String> {
        let mut added = Vec::new();
        for entry in entries.into_iter().filter(|entry| !self.is_set(entry.option)) {
            added.extend(arguments(entry)?);
        }
        self.arguments.extend(added);
        Ok(())
    }

    /// Whether a source has set the option, or one that excludes it.
    fn is_set(&self, option: &OptionDef) -> bool {
        let typed = |other: &OptionDef| {
            let source = self.typed.and_then(|typed| typed.value_source(other.name));
            source == Some(ValueSource::CommandLine)
        };
        options::all().any(|other| other.group() == option.group() && typed(other))
            || self.arguments.iter().any(|argument| argument.option.group() == option.group())
    }

    /// The value of an option that takes one, if a source has set it.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let option = options::find(name)?;
        let typed = self
            .typed
            .filter(|typed| typed.value_source(option.name) == Some(ValueSource::CommandLine));
        let typed = typed.and_then(|typed| typed.get_raw(option.name)?.next());
        let text = || {
            let argument = self.arguments.iter().find(|argument| argument.option.name == name)?;
            argument.text.as_deref()?.to_str()?.split_once('=').map(|(_, value)| value.to_owned())
        };
        typed.map(|value| value.to_string_lossy().into_owned()).or_else(text)
    }

    /// The arguments of all sources.
    pub(super) fn into_arguments(self) -> Vec<Argument> {
        self.arguments
    }
}

/// An argument for each value.
fn arguments(entry: Entry) -> Result<Vec<Argument>, String> {
    let Entry { option, origin, values } = entry;
    if values.len() > 1 && !option.field.is_repeatable() {
        return Err(format!("{origin} takes one value"));
    }
    let text = |value: OsString| {
        if option.is_positional() {
            return Ok(Some(value));
        }
        let long = option.long();
        if option.field.is_flag() {
            return match truth(&value) {
                Some(true) => Ok(Some(format!("--{long}").into())),
                Some(false) => Ok(None),
                None => {
                    let value = value.to_string_lossy();
                    Err(format!("{origin}: '{value}' is neither true nor false"))
                }
            };
        }
        let mut argument = OsString::from(format!("--{long}="));
        argument.push(value);
        Ok(Some(argument))
    };
    values
        .into_iter()
        .map(|value| Ok(Argument { option, text: text(value)?, origin: origin.clone() }))
        .collect()
}

fn truth(value: &OsStr) -> Option<bool> {
    match value.to_str()?.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_of_a_flag_value_is_parsed() {
        for (value, expected) in [
            ("true", Some(true)),
            ("YES", Some(true)),
            ("1", Some(true)),
            ("off", Some(false)),
            ("0", Some(false)),
            ("maybe", None),
            ("", None),
        ] {
            assert_eq!(truth(OsStr::new(value)), expected, "{value}");
        }
    }
}
