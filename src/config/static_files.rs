//! The options of static files: which directories are served at which URLs, and how.

use std::path::{Path, PathBuf};

/// The settings of static files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StaticSettings {
    /// What is served; empty if nothing is.
    pub sources: Vec<StaticSource>,
    /// What happens to a path that is no file.
    pub fallback: StaticFallback,
    /// The `max-age` of a file whose name has no content hash, in seconds.
    pub max_age: u64,
    /// The file that is served for a directory.
    pub index: Option<String>,
    /// The directories whose files the application may send by their name.
    pub sendfile_roots: Vec<PathBuf>,
}

/// One value of `--static`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StaticSource {
    /// What the settings of the application's framework name.
    Auto,
    /// The files of a directory.
    Map(StaticMap),
}

/// A directory that is served at a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticMap {
    /// The path of the URL, decoded: `/…` without a final slash, or empty for `/`.
    pub url: String,
    /// The directory.
    pub directory: PathBuf,
    /// The application has routes below the URL: a path that is no file is one of them, whatever
    /// `--static-fallback` says.
    pub has_routes: bool,
}

/// What happens to a path below a URL of `--static` that is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StaticFallback {
    /// It gets 404.
    #[default]
    NotFound,
    /// The application is called.
    App,
}

impl StaticSettings {
    /// True if the framework's settings name a directory to serve.
    pub fn is_auto(&self) -> bool {
        self.sources.contains(&StaticSource::Auto)
    }

    /// The directories that the options name.
    pub fn maps(&self) -> Vec<StaticMap> {
        let maps = self.sources.iter().filter_map(|source| match source {
            StaticSource::Auto => None,
            StaticSource::Map(map) => Some(map.clone()),
        });
        maps.collect()
    }

    /// Makes all directories absolute: the application may change the working directory. A relative
    /// one is one of `chdir`.
    pub fn make_absolute(&mut self, chdir: Option<&Path>) {
        let maps = self.sources.iter_mut().filter_map(|source| match source {
            StaticSource::Auto => None,
            StaticSource::Map(map) => Some(&mut map.directory),
        });
        for directory in maps.chain(&mut self.sendfile_roots) {
            let path = chdir.map_or_else(|| directory.clone(), |chdir| chdir.join(&directory));
            // Fails only without a working directory.
            *directory = std::path::absolute(&path).unwrap_or(path);
        }
    }

    /// Refuses a URL that is given twice.
    pub(super) fn check(&self) -> Result<(), String> {
        for (at, source) in self.sources.iter().enumerate() {
            let is_same = |other: &StaticSource| match (source, other) {
                (StaticSource::Map(one), StaticSource::Map(other)) => one.url == other.url,
                _ => false,
            };
            if self.sources[..at].iter().any(is_same) {
                let shown = source.to_string();
                let url = shown.split('=').next().unwrap_or_default();
                return Err(format!("--static: {url} is given twice; remove one"));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for StaticSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StaticSource::Auto => f.write_str("auto"),
            StaticSource::Map(StaticMap { url, directory, .. }) => {
                let url = if url.is_empty() { "/" } else { url };
                write!(f, "{url}={}", directory.display())
            }
        }
    }
}

/// Parses `auto` or `URL=DIR`.
pub(super) fn source(text: &str) -> Result<StaticSource, String> {
    if text == "auto" {
        return Ok(StaticSource::Auto);
    }
    match text.split_once('=') {
        Some((url, directory)) if !directory.is_empty() => {
            let url = static_url(url)?;
            Ok(StaticSource::Map(StaticMap { url, directory: directory.into(), has_routes: false }))
        }
        _ => Err(format!("{text:?} is neither auto nor of the form URL=DIR")),
    }
}

/// Parses the path of a URL, and removes its final slash.
pub fn static_url(text: &str) -> Result<String, String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
    let is_valid = match path.strip_prefix('/') {
        Some(rest) => rest.split('/').all(is_segment),
        None => text == "/",
    };
    if !is_valid || text.contains(|c: char| matches!(c, '?' | '#') || c.is_control()) {
        return Err(format!(
            "{text:?} is not the path of a URL, which begins with '/' and has no query; write \
             /static=DIR, for example"
        ));
    }
    Ok(path.to_owned())
}

/// Parses the name of the file that is served for a directory.
pub(super) fn index(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("not the name of a file; write index.html, for example".to_owned()),
        _ if text.contains(['/', '\0']) => {
            Err(format!("{text:?} has a slash; write a name such as index.html"))
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_and_directory_are_parsed() {
        for (text, url, directory) in [
            ("/static=dir", "/static", "dir"),
            ("/static/=dir/", "/static", "dir/"),
            ("/=public", "", "public"),
            ("/a/b=/srv/a=b", "/a/b", "/srv/a=b"),
            ("/stätic=.", "/stätic", "."),
        ] {
            let (url, directory) = (url.to_owned(), directory.into());
            let map = StaticMap { url, directory, has_routes: false };
            assert_eq!(source(text), Ok(StaticSource::Map(map)), "{text}");
        }
        assert_eq!(source("auto"), Ok(StaticSource::Auto));
    }

    #[test]
    fn other_values_are_refused() {
        for text in [
            "",
            "static",
            "/static",
            "/static=",
            "=dir",
            "static=dir",
            "//=dir",
            "//a=dir",
            "/a//b=dir",
            "/a/../b=dir",
            "/./a=dir",
            "/a?b=dir",
            "/a#b=dir",
            "/a\nb=dir",
            "https://cdn.example/static/=dir",
        ] {
            assert!(source(text).is_err(), "{text:?}");
        }
        for text in ["", ".", "..", "a/b", "/"] {
            assert!(index(text).is_err(), "{text:?}");
        }
        assert_eq!(index("index.html").as_deref(), Ok("index.html"));
    }

    #[test]
    fn url_that_is_given_twice_is_refused() {
        let sources = |texts: &[&str]| StaticSettings {
            sources: texts.iter().map(|text| source(text).unwrap()).collect(),
            ..StaticSettings::default()
        };
        assert_eq!(sources(&["/a=x", "/b=x", "auto"]).check(), Ok(()));
        let refused = sources(&["/a=x", "/a/=y"]).check().unwrap_err();
        assert!(refused.starts_with("--static: /a is given twice"), "{refused}");
    }

    #[test]
    fn relative_directory_is_one_of_chdir() {
        let here = std::env::current_dir().unwrap();
        for (chdir, expected) in [
            (Some("/srv"), ["/srv/x".into(), "/y".into(), "/srv/z".into()]),
            (Some("app"), [here.join("app/x"), "/y".into(), here.join("app/z")]),
            (None, [here.join("x"), "/y".into(), here.join("z")]),
        ] {
            let mut settings = StaticSettings {
                sources: vec![source("/a=x").unwrap(), source("/b=/y").unwrap()],
                sendfile_roots: vec!["z".into()],
                ..StaticSettings::default()
            };
            settings.make_absolute(chdir.map(Path::new));
            let maps = settings.maps().into_iter().map(|map| map.directory);
            let found: Vec<_> = maps.chain(settings.sendfile_roots).collect();
            assert_eq!(found, expected, "{chdir:?}");
        }
    }
}
