//! Opens the directories whose files the server sends by itself.

use std::io;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::config::Settings;
use crate::net::Poller;
use crate::static_files::{SendfileRoots, StaticSite};
use crate::wsgi::{Application, static_directories};

/// Has the poller serve the directories of `--static`, and opens those of `--sendfile-root`.
pub(super) fn open(
    py: Python<'_>,
    app: &Application,
    settings: &Settings,
    poller: &mut Poller,
) -> io::Result<Option<SendfileRoots>> {
    let files = &settings.static_files;
    let maps = static_directories(py, app, settings);
    if let Some(site) = StaticSite::open(&maps, files).map_err(io::Error::other)? {
        poller.serve_static(Arc::new(site));
    }
    SendfileRoots::open(&files.sendfile_roots).map_err(io::Error::other)
}
