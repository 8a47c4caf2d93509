//! The Python stack of another thread, read in microseconds: only names and line numbers, without
//! the source lines that [`traceback`](super::traceback) would read from files.

use std::ffi::c_ulong;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::ffi;
use super::traceback::to_utf8;

/// The innermost frames that are shown.
const MAX_FRAMES: usize = 24;
/// The largest part of a file's path that is shown, in characters; it is the end.
const MAX_PATH_CHARS: usize = 120;

/// The `ident` of the calling thread, for [`read_stack`].
pub fn current_thread(py: Python<'_>) -> c_ulong {
    ffi::current_thread(py)
}

/// The stack of the Python thread with this `ident`, innermost frame first, as one line:
/// `/srv/app.py:12 in view, /srv/app.py:30 in app`. `None` if the thread runs no Python code.
pub fn read_stack(py: Python<'_>, ident: c_ulong) -> PyResult<Option<String>> {
    let frames = py.import(intern!(py, "sys"))?.call_method0(intern!(py, "_current_frames"))?;
    let mut frame = frames.cast::<PyDict>()?.get_item(ident)?;
    let mut shown = Vec::new();
    while let Some(current) = frame.filter(|frame| !frame.is_none()) {
        if shown.len() == MAX_FRAMES {
            shown.push("...".to_owned());
            break;
        }
        shown.push(describe(&current)?);
        frame = Some(current.getattr(intern!(py, "f_back"))?);
    }
    // The first frames of a thread are those that have started it.
    let started = shown.iter().rposition(|frame| !is_thread_start(frame));
    shown.truncate(started.map_or(0, |last| last + 1));
    Ok((!shown.is_empty()).then(|| shown.join(", ")))
}

fn describe(frame: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = frame.py();
    let code = frame.getattr(intern!(py, "f_code"))?;
    let text = |name: &Bound<'_, PyString>| to_utf8(code.getattr(name)?.cast::<PyString>()?);
    let (path, name) = (text(intern!(py, "co_filename"))?, text(intern!(py, "co_name"))?);
    let line = frame.getattr(intern!(py, "f_lineno"))?;
    let hidden = path.chars().count().saturating_sub(MAX_PATH_CHARS);
    let start = path.char_indices().nth(hidden).map_or(0, |(at, _)| at);
    let dots = if start > 0 { "..." } else { "" };
    Ok(format!("{dots}{}:{line} in {name}", &path[start..]))
}

/// True for the functions of `threading` that every thread begins with.
fn is_thread_start(frame: &str) -> bool {
    let Some((place, name)) = frame.rsplit_once(" in ") else { return false };
    let Some((path, _)) = place.rsplit_once(':') else { return false };
    path.ends_with("threading.py") && matches!(name, "_bootstrap" | "_bootstrap_inner" | "run")
}
