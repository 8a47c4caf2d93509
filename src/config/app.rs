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
    if is_path(module) {
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

/// Whether this is a path rather than the name of a module.
pub(super) fn is_path(module: &str) -> bool {
    module.contains(['/', '\\']) || module.ends_with(".py")
}

/// Whether this can be the name of an attribute.
pub(super) fn is_attribute(text: &str) -> bool {
    text.split('.').all(is_identifier)
}

/// The module and its directory for the path of a source file without its extension. A module in a
/// package is imported by its dotted name, from the directory of the package.
fn module_of_path(stem: &str) -> (String, &str) {
    let (mut dir, name) = stem.rsplit_once(['/', '\\']).unwrap_or(("", stem));
    let mut module = name.to_owned();
    while !dir.is_empty() && Path::new(dir).join("__init__.py").is_file() {
        let (parent, package) = dir.rsplit_once(['/', '\\']).unwrap_or(("", dir));
        module = format!("{package}.{module}");
        dir = parent;
    }
    (module, dir)
}

/// `--chdir DIR ` for an application in this directory, or nothing.
fn chdir(dir: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "%+,-./:=@_".contains(c);
    match dir {
        "" | "." => String::new(),
        dir if dir.chars().all(is_plain) => format!("--chdir {dir} "),
        // As a shell needs it.
        dir => format!("--chdir '{}' ", dir.replace('\'', r"'\''")),
    }
}

/// The name of the application in a source file, and the option that it needs in front.
pub(super) fn name_of_path(path: &str, attr: Option<&str>) -> (String, String) {
    let (module, dir) = module_of_path(path.strip_suffix(".py").unwrap_or(path));
    let is_wsgi = module == "wsgi" || module.ends_with(".wsgi");
    let usual = if is_wsgi { "application" } else { "app" };
    let attr = attr.filter(|attr| !attr.is_empty());
    let attr = attr.map(str::to_owned).or_else(|| attribute_in(path));
    (format!("{module}:{}", attr.as_deref().unwrap_or(usual)), chdir(dir))
}

/// The name of the application of a Django project, and the option that it needs in front.
pub(super) fn django_application(manage: &str) -> (String, String) {
    let project = read_source(manage).and_then(|text| {
        let line = text.lines().find(|line| line.contains("DJANGO_SETTINGS_MODULE"))?;
        let module = line.split(['"', '\'']).nth(3)?;
        let package = module.split('.').next().filter(|package| is_attribute(package))?;
        Some(package.to_owned())
    });
    let dir = manage.rsplit_once('/').map_or("", |(dir, _)| dir);
    let project = project.as_deref().unwrap_or("PROJECT");
    (format!("{project}.wsgi:application"), chdir(dir))
}

/// The first usual name that the source file assigns or defines, at the beginning of a line.
fn attribute_in(path: &str) -> Option<String> {
    let text = read_source(path)?;
    let defines = |line: &str, name: &str| {
        let rest = line.strip_prefix("def ").unwrap_or(line).strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['=', '(', ':']))
    };
    let found = ["application", "app"]
        .into_iter()
        .find(|name| text.lines().any(|line| defines(line, name)))
        .map(str::to_owned);
    let factory = || text.lines().any(|line| defines(line, "create_app"));
    found.or_else(|| factory().then(|| "create_app()".to_owned()))
}

/// The text of a small file.
fn read_source(path: &str) -> Option<String> {
    const MAX_BYTES: u64 = 256 * 1024;
    let metadata = std::fs::metadata(path).ok()?;
    let is_small = metadata.is_file() && metadata.len() <= MAX_BYTES;
    is_small.then(|| std::fs::read_to_string(path).ok())?
}

/// The error for a path, with the name to use instead.
fn not_a_path(path: &str, attr: Option<&str>) -> String {
    let stem = path.strip_suffix(".py").unwrap_or(path);
    let (dir, name) = stem.rsplit_once(['/', '\\']).unwrap_or(("", stem));
    if name == "manage" {
        let (name, chdir) = django_application(path);
        return format!(
            "'{path}' is Django's command, not the application: write {name}{}",
            with(&chdir)
        );
    }
    let (_, root) = module_of_path(stem);
    let given = attr.filter(|attr| !attr.is_empty());
    let is_dotted = !root.is_empty() && !root.starts_with(['.', '/', '\\']);
    if given.is_none() && stem == path && is_dotted && !Path::new(path).exists() {
        let module = dir.replace(['/', '\\'], ".");
        return format!(
            "'{path}' is not a module name, and there is no such file: write {module}:{name}"
        );
    }
    let (name, chdir) = name_of_path(path, attr);
    format!("'{path}' is a path, not a module name: write {name}{}", with(&chdir))
}

/// ` with --chdir DIR`, or nothing.
fn with(option: &str) -> String {
    match option.trim_end() {
        "" => String::new(),
        option => format!(" with {option}"),
    }
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
            ("my site/it's/app.py", false, r"write app:app with --chdir 'my site/it'\''s'"),
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
