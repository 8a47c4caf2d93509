//! Opens a log file with the rights of the proper user.
//!
//! With `--user` the master is root. A user who can change the path of a log could put a link
//! there, and root would create or open a file elsewhere. (nginx had that: CVE-2016-1247.) So
//! root's rights open only a path that the workers' user cannot change. Links on such a path are
//! the administrator's, such as one from `/var/log` to another disk or to `/dev/stdout`. Any other
//! path is opened with the rights of the workers' user, who then gains nothing from a link.

use std::fs::File;
use std::io;
use std::path::Path;

use pyo3::prelude::*;

use super::identity::Identity;
use super::path_trust::changeable_part;
use crate::observe;

/// Opens the file of a log for workers that run as `user`, if they do not run as this process's
/// user.
///
/// # Errors
/// As open(2).
pub(super) fn open(py: Python<'_>, path: &Path, user: Option<&Identity>) -> io::Result<File> {
    let path = std::path::absolute(path)?;
    match user {
        Some(user) if user.uid != 0 && changeable_part(user, &path).is_some() => {
            let opened = user.with_rights(py, || observe::open(&path)).map_err(io::Error::from)?;
            opened.map_err(|failure| {
                let whose = "for the user of the workers, who can change what is there";
                io::Error::new(failure.kind(), format!("{failure}, {whose}"))
            })
        }
        _ => observe::open(&path),
    }
}
