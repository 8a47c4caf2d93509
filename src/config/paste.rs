//! `--paste`: the application of a PasteDeploy file.
//!
//! The file is read by a factory in the Python part of the package, so that it becomes an
//! [`AppSpec`] like any other: workers load it, a reload loads it again, and `--check-config`
//! reports what is wrong with it.

use std::fmt::Write as _;
use std::path::Path;

use super::app::AppSpec;

/// The factory: `python/rustwsgi/paste.py`.
const MODULE: &str = "rustwsgi.paste";
const FACTORY: &str = "load";

/// The application that `--paste` and `--paste-global` name. A relative path is one of the
/// directory of the start, as with gunicorn, and not of `--chdir`.
///
/// # Errors
/// A sentence if there is no working directory.
pub(super) fn application(uri: &str, variables: &[(String, String)]) -> Result<AppSpec, String> {
    let uri = uri.strip_prefix("config:").unwrap_or(uri);
    let (file, name) = uri.split_once('#').unwrap_or((uri, ""));
    let path = std::path::absolute(file).map_err(|error| format!("--paste: {error}"))?;
    let mut arguments = literal(&path.to_string_lossy());
    if !name.is_empty() || !variables.is_empty() {
        let _ = write!(arguments, ", {}", literal(name));
    }
    if !variables.is_empty() {
        let pair =
            |(key, value): &(String, String)| format!("{}: {}", literal(key), literal(value));
        let pairs: Vec<_> = variables.iter().map(pair).collect();
        let _ = write!(arguments, ", {{{}}}", pairs.join(", "));
    }
    Ok(AppSpec {
        module: MODULE.to_owned(),
        attr: Some(FACTORY.to_owned()),
        arguments: Some(arguments),
    })
}

/// Refuses a file that does not exist.
pub(super) fn check(uri: &str) -> Result<(), String> {
    match file(uri) {
        path if Path::new(path).is_file() => Ok(()),
        path => Err(format!("--paste: there is no file {path:?}")),
    }
}

/// The file of an application that `--paste` names.
pub(super) fn file(uri: &str) -> &str {
    let uri = uri.strip_prefix("config:").unwrap_or(uri);
    uri.split_once('#').map_or(uri, |(file, _)| file)
}

/// A string in Python's notation.
fn literal(text: &str) -> String {
    let mut quoted = String::from("'");
    for letter in text.chars() {
        match letter {
            '\'' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_name_and_variables_become_the_arguments_of_the_factory() {
        // A file that exists, and whose path is absolute.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        for (uri, variables, expected) in [
            (path.to_owned(), &[][..], format!("'{path}'")),
            (format!("config:{path}"), &[], format!("'{path}'")),
            (format!("{path}#admin"), &[], format!("'{path}', 'admin'")),
            (path.to_owned(), &[pair("a b", "it's")], format!(r"'{path}', '', {{'a b': 'it\'s'}}")),
        ] {
            let app = application(&uri, variables).unwrap();
            assert_eq!(app.to_string(), format!("rustwsgi.paste:load({expected})"));
            assert_eq!(AppSpec::parse(&app.to_string(), false), Ok(app));
            assert_eq!(file(&uri), path);
        }
    }

    #[test]
    fn missing_file_is_reported() {
        let error = check("/nonexistent/x.ini#main").unwrap_err();
        assert_eq!(error, "--paste: there is no file \"/nonexistent/x.ini\"");
    }

    #[test]
    fn literal_escapes_what_would_end_it() {
        assert_eq!(literal("a'b\\c\nd\u{e9}"), "'a\\'b\\\\c\\u000ad\u{e9}'");
    }
}
