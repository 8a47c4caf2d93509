//! The name of the application: `module:attr`, `module:factory()`, `module:factory('literal')` or
//! `module`.
//!
//! Only the notation is validated here, so that a malformed name is reported before Python starts.
//! Importing the module, and parsing the arguments of a factory, needs Python. Files are only
//! looked up to suggest a better name.

use std::fmt;
use std::path::Path;

/// The name of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// The dotted name of the module to import.
    pub module: String,
    /// The attribute, possibly dotted; `None` is `app`, or else `application`.
    pub attr: Option<String>,
    /// The arguments of a factory, in Python's notation, possibly empty; `None` if the attribute is
    /// the application itself.
    pub arguments: Option<String>,
}

impl AppSpec {
    /// Parses the notation; with `factory`, the attribute is one even without parentheses.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to write it.
    pub fn parse(text: &str, factory: bool) -> Result<AppSpec, String> {
        let (module, attr) = match text.split_once(':') {
            Some((module, attr)) => (module, Some(attr)),
            None => (text, None),
        };
        check_module(module, attr)?;
        let Some(attr) = attr else {
            return match factory {
                true => {
                    Err(format!("--factory needs the name of the factory: write {module}:NAME"))
                }
                false => Ok(AppSpec { module: module.to_owned(), attr: None, arguments: None }),
            };
        };
        let call = attr.strip_suffix(')').and_then(|call| call.split_once('('));
        let (attr, arguments) = match call {
            Some((name, arguments)) => (name, Some(arguments.trim())),
            None => (attr, None),
        };
        check_attr(module, attr)?;
        Ok(AppSpec {
            module: module.to_owned(),
            attr: Some(attr.to_owned()),
            arguments: arguments.or(factory.then_some("")).map(str::to_owned),
        })
    }
}

fn check_module(module: &str, attr: Option<&str>) -> Result<(), String> {
    if module.is_empty() {
        return Err("the module name is missing: write MODULE:NAME".to_owned());
    }
    if module.contains(['/', '\\']) || module.ends_with(".py") {
        return Err(not_a_path(module, attr));
    }
    if module.contains('(') {
        return Err(format!("'{module}' names no attribute to call: write MODULE:FACTORY()"));
    }
    // Python can import a file whose name is no identifier (`my-app.py`), so only names that are
    // impossible are refused.
    let part_is_name = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    if !module.split('.').all(part_is_name) {
        return Err(format!(
            "'{module}' is not the dotted name of a module: write PACKAGE.MODULE:NAME"
        ));
    }
    Ok(())
}

/// The error for a path, with the name to use instead.
fn not_a_path(path: &str, attr: Option<&str>) -> String {
    let stem = path.strip_suffix(".py").unwrap_or(path);
    let (mut dir, name) = stem.rsplit_once(['/', '\\']).unwrap_or(("", stem));
    let mut module = name.to_owned();
    // A module in a package is imported by its dotted name, from the directory of the package.
    while !dir.is_empty() && Path::new(dir).join("__init__.py").is_file() {
        let (parent, package) = dir.rsplit_once(['/', '\\']).unwrap_or(("", dir));
        module = format!("{package}.{module}");
        dir = parent;
    }
    let chdir = match dir {
        "" | "." => String::new(),
        dir => format!(" with --chdir {dir}"),
    };
    if name == "manage" {
        return format!(
            "'{path}' is Django's command, not the application: write \
             PROJECT.wsgi:application{chdir}"
        );
    }
    let given = attr.filter(|attr| !attr.is_empty());
    let is_dotted = !dir.is_empty() && !dir.starts_with(['.', '/', '\\']);
    if given.is_none() && stem == path && is_dotted && !Path::new(path).exists() {
        let module = dir.replace(['/', '\\'], ".");
        return format!(
            "'{path}' is not a module name, and there is no such file: write {module}:{name}"
        );
    }
    let attr = given.unwrap_or(if name == "wsgi" { "application" } else { "app" });
    format!("'{path}' is a path, not a module name: write {module}:{attr}{chdir}")
}

fn check_attr(module: &str, attr: &str) -> Result<(), String> {
    if attr.is_empty() {
        return Err(format!(
            "the application's name is missing after ':': write {module}:app, or {module} alone"
        ));
    }
    if !attr.split('.').all(is_identifier) {
        return Err(format!(
            "'{attr}' is not an attribute name: write {module}:NAME or {module}:FACTORY()"
        ));
    }
    Ok(())
}

/// Approximates Python's identifiers, without the Unicode tables. Python decides.
fn is_identifier(part: &str) -> bool {
    let mut chars = part.chars();
    let first = |c: char| c == '_' || c.is_alphabetic();
    chars.next().is_some_and(first) && chars.all(|c| c == '_' || c.is_alphanumeric())
}

impl fmt::Display for AppSpec {
    /// The notation that [`AppSpec::parse`] accepts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.module)?;
        if let Some(attr) = &self.attr {
            write!(f, ":{attr}")?;
        }
        match &self.arguments {
            Some(arguments) => write!(f, "({arguments})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(module: &str, attr: Option<&str>, arguments: Option<&str>) -> AppSpec {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        AppSpec { module: module.to_owned(), attr: owned(attr), arguments: owned(arguments) }
    }

    #[test]
    fn every_notation_is_parsed() {
        for (text, factory, expected) in [
            ("wsgi", false, spec("wsgi", None, None)),
            ("a.b.wsgi", false, spec("a.b.wsgi", None, None)),
            ("my-app:app", false, spec("my-app", Some("app"), None)),
            ("a.b:c.d", false, spec("a.b", Some("c.d"), None)),
            ("a:make()", false, spec("a", Some("make"), Some(""))),
            ("a:make", true, spec("a", Some("make"), Some(""))),
            ("a:make()", true, spec("a", Some("make"), Some(""))),
            ("a:m('x:(y)', k=1)", false, spec("a", Some("m"), Some("'x:(y)', k=1"))),
            ("a:m( 1 )", true, spec("a", Some("m"), Some("1"))),
            ("a:_\u{e9}1", false, spec("a", Some("_\u{e9}1"), None)),
        ] {
            let parsed = AppSpec::parse(text, factory).unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(AppSpec::parse(&parsed.to_string(), false), Ok(expected));
        }
    }

    #[test]
    fn malformed_name_is_refused_with_a_suggestion() {
        for (text, factory, hint) in [
            ("", false, "write MODULE:NAME"),
            (":app", false, "write MODULE:NAME"),
            ("app.py", false, "write app:app"),
            ("./app.py:main", false, "write app:main"),
            ("src/web/app.py:app", false, "write app:app with --chdir src/web"),
            ("src/http1", false, "write http1:app with --chdir src"),
            ("src/web", false, "'src/web' is not a module name, and there is no such file"),
            ("a/b/wsgi.py", false, "write wsgi:application with --chdir a/b"),
            ("pkg.wsgi/application", false, "write pkg.wsgi:application"),
            ("manage.py", false, "write PROJECT.wsgi:application"),
            ("site/manage.py", false, "write PROJECT.wsgi:application with --chdir site"),
            ("make()", false, "write MODULE:FACTORY()"),
            (".app", false, "dotted name of a module"),
            ("a..b:c", false, "dotted name of a module"),
            ("a b:c", false, "dotted name of a module"),
            ("a:", false, "write a:app"),
            ("a:()", false, "write a:app"),
            ("a:make('x'", false, "is not an attribute name"),
            ("a:make('x').app", false, "is not an attribute name"),
            ("a:b:c", false, "is not an attribute name"),
            ("a:1b", false, "is not an attribute name"),
            ("a:b..c", false, "is not an attribute name"),
            ("a:b-c", false, "is not an attribute name"),
            ("a", true, "write a:NAME"),
        ] {
            let error = AppSpec::parse(text, factory).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
