//! The static files that the application's framework knows (`--static auto`), and those that the
//! application names (`--sendfile-root`).

use std::path::PathBuf;

use log::{info, warn};
use pyo3::prelude::*;

use super::application::Application;
use super::request::Wsgi;
use super::thread_state::Responses;
use crate::config::{self, Settings, StaticMap};
use crate::observe::text_of;
use crate::static_files::SendfileRoots;

/// The directories of `--static`: those of the options, then those of the application's framework,
/// if the options ask for them. A failure there is logged, and the application is served without.
pub fn static_directories(
    py: Python<'_>,
    app: &Application,
    settings: &Settings,
) -> Vec<StaticMap> {
    let mut maps = settings.static_files.maps();
    if !settings.static_files.is_auto() {
        return maps;
    }
    let (found, reason) = match find(py, app) {
        Ok(found) => found,
        Err(failure) => (Vec::new(), text_of(&failure)),
    };
    if found.is_empty() {
        warn!(
            target: "static.none_found",
            "--static auto has found no static files, serving the application without: {reason}"
        );
    }
    for FoundMap { url, directory, has_routes } in found {
        let prefix = &settings.script_name;
        // Django adds the prefix itself if it knows it.
        let url = match url.strip_prefix(prefix.as_str()) {
            Some(rest) if rest.starts_with('/') => url,
            _ => format!("{prefix}{url}"),
        };
        match config::static_url(&url) {
            Ok(url) if maps.iter().any(|map| map.url == url) => {}
            Ok(url) => {
                info!(
                    target: "static.found",
                    "--static auto serves {url}/ from {}",
                    directory.display()
                );
                maps.push(StaticMap { url, directory, has_routes });
            }
            Err(reason) => warn!(
                target: "static.none_found",
                "--static auto leaves out the static files in {}: {reason}",
                directory.display()
            ),
        }
    }
    maps
}

impl Wsgi {
    /// Sends files below these directories that the application names.
    pub fn with_sendfile(mut self, roots: Option<SendfileRoots>) -> Wsgi {
        self.responses = Responses::new(roots);
        self
    }
}

/// What `rustwsgi._static_files` finds.
#[derive(FromPyObject)]
struct FoundMap {
    /// The path of the URL.
    url: String,
    directory: PathBuf,
    /// The application has routes below the URL.
    has_routes: bool,
}

fn find(py: Python<'_>, app: &Application) -> PyResult<(Vec<FoundMap>, String)> {
    let module = py.import("rustwsgi._static_files")?;
    module.call_method1("find", (app.callable.bind(py),))?.extract()
}
