//! The name of the application: `module:attr`, `module:factory()` or `module`.
//!
//! Only the notation is judged here; whether the module can be imported is for the layer that knows
//! Python. A mistake that can be told from the text alone is told before Python is even started.

use std::fmt;

/// Where the application is found, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// The dotted name of the module to import.
    pub module: String,
    /// The attribute, possibly dotted; without it, `app` and then `application` are looked for.
    pub attr: Option<String>,
    /// Whether the attribute is a factory: called without arguments, it returns the application.
    pub call: bool,
}

impl AppSpec {
    /// Reads the notation; `factory` says that the attribute is one even without parentheses.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to write it.
    pub fn parse(text: &str, factory: bool) -> Result<AppSpec, String> {
        let (module, attr) = match text.split_once(':') {
            Some((module, attr)) => (module, Some(attr)),
            None => (text, None),
        };
        check_module(module)?;
        let Some(attr) = attr else {
            return match factory {
                true => Err(format!("--factory needs the factory's name: write {module}:NAME")),
                false => Ok(AppSpec { module: module.to_owned(), attr: None, call: false }),
            };
        };
        let (attr, parentheses) = match attr.strip_suffix("()") {
            Some(name) => (name, true),
            None => (attr, false),
        };
        check_attr(module, attr)?;
        Ok(AppSpec {
            module: module.to_owned(),
            attr: Some(attr.to_owned()),
            call: parentheses || factory,
        })
    }
}

fn check_module(module: &str) -> Result<(), String> {
    if module.is_empty() {
        return Err("the module's name is missing: write MODULE:NAME".to_owned());
    }
    if module.contains(['/', '\\']) || module.ends_with(".py") {
        let stem = module.strip_suffix(".py").unwrap_or(module);
        let (dir, name) = match stem.rsplit_once(['/', '\\']) {
            Some((dir, name)) => (Some(dir), name),
            None => (None, stem),
        };
        let chdir = dir.map_or(String::new(), |dir| format!(" with --chdir {dir}"));
        if name == "manage" {
            return Err(format!(
                "'{module}' is Django's command; the application is in the project's package: write \
                 PROJECT.wsgi:application{chdir}"
            ));
        }
        return Err(format!(
            "'{module}' is a file; the application is named by its module: write {name}:app{chdir}"
        ));
    }
    if module.contains('(') {
        return Err(format!("'{module}' has no attribute to call: write MODULE:FACTORY()"));
    }
    // A module's file may have a name that is no identifier (`my-app.py`); importing that by name
    // works, so only what cannot be a name at all is refused.
    let part_is_name = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    if !module.split('.').all(part_is_name) {
        return Err(format!(
            "'{module}' is not the dotted name of a module: write PACKAGE.MODULE:NAME"
        ));
    }
    Ok(())
}

fn check_attr(module: &str, attr: &str) -> Result<(), String> {
    if attr.is_empty() {
        return Err(format!(
            "the application's name is missing after ':': write {module}:app, or {module} alone"
        ));
    }
    if attr.contains('(') {
        return Err(format!(
            "'{attr}' passes arguments, which is not supported: call it in a function without \
             arguments and write {module}:FUNCTION()"
        ));
    }
    if !attr.split('.').all(is_identifier) {
        return Err(format!(
            "'{attr}' is not the name of an attribute: write {module}:NAME or {module}:FACTORY()"
        ));
    }
    Ok(())
}

/// Close to Python's identifiers, without Unicode's tables; Python has the last word.
fn is_identifier(part: &str) -> bool {
    let mut chars = part.chars();
    let first = |c: char| c == '_' || c.is_alphabetic();
    chars.next().is_some_and(first) && chars.all(|c| c == '_' || c.is_alphanumeric())
}

impl fmt::Display for AppSpec {
    /// The notation that [`AppSpec::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.module)?;
        if let Some(attr) = &self.attr {
            write!(f, ":{attr}")?;
        }
        f.write_str(if self.call { "()" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(module: &str, attr: Option<&str>, call: bool) -> AppSpec {
        AppSpec { module: module.to_owned(), attr: attr.map(str::to_owned), call }
    }

    #[test]
    fn reads_every_notation() {
        for (text, factory, expected) in [
            ("wsgi", false, spec("wsgi", None, false)),
            ("a.b.wsgi", false, spec("a.b.wsgi", None, false)),
            ("my-app:app", false, spec("my-app", Some("app"), false)),
            ("a.b:c.d", false, spec("a.b", Some("c.d"), false)),
            ("a:make()", false, spec("a", Some("make"), true)),
            ("a:make", true, spec("a", Some("make"), true)),
            ("a:make()", true, spec("a", Some("make"), true)),
            ("a:_\u{e9}1", false, spec("a", Some("_\u{e9}1"), false)),
        ] {
            let parsed = AppSpec::parse(text, factory).unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(AppSpec::parse(&parsed.to_string(), false), Ok(expected));
        }
    }

    #[test]
    fn says_how_to_write_it() {
        for (text, factory, hint) in [
            ("", false, "write MODULE:NAME"),
            (":app", false, "write MODULE:NAME"),
            ("app.py", false, "write app:app"),
            ("src/web/app.py:app", false, "write app:app with --chdir src/web"),
            ("src/web", false, "write web:app with --chdir src"),
            ("manage.py", false, "write PROJECT.wsgi:application"),
            ("site/manage.py", false, "write PROJECT.wsgi:application with --chdir site"),
            ("make()", false, "write MODULE:FACTORY()"),
            (".app", false, "dotted name of a module"),
            ("a..b:c", false, "dotted name of a module"),
            ("a b:c", false, "dotted name of a module"),
            ("a:", false, "write a:app"),
            ("a:()", false, "write a:app"),
            ("a:make('x')", false, "write a:FUNCTION()"),
            ("a:b:c", false, "is not the name of an attribute"),
            ("a:1b", false, "is not the name of an attribute"),
            ("a:b..c", false, "is not the name of an attribute"),
            ("a:b-c", false, "is not the name of an attribute"),
            ("a", true, "write a:NAME"),
        ] {
            let error = AppSpec::parse(text, factory).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
